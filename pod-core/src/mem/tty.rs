//! A simulated terminal: a line discipline small enough to be right about what it does.
//!
//! Output gets `\r\n` for `\n`. Input is echoed; `^C` sends SIGINT and `^\` SIGQUIT to the programs of
//! the terminal, `^D` ends the input, `\r` becomes `\n`. There is no line editing and no raw mode.

use super::output::CommandOutput;
use super::pipe::{PipeReader, PipeWriter, pipe};
use crate::{LogStream, Signal, TtySize};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

#[derive(Debug, Clone)]
enum Out {
    Pipe(PipeWriter),
    Log(Arc<CommandOutput>),
}

#[derive(Debug)]
pub(super) struct Tty {
    size: watch::Sender<TtySize>,
    out: Out,
}

impl Tty {
    /// A terminal whose output is read from the pipe given back.
    pub(super) fn with_pipe(size: TtySize) -> (Arc<Self>, PipeReader) {
        let (reader, writer) = pipe();
        (Arc::new(Self { size: watch::Sender::new(size), out: Out::Pipe(writer) }), reader)
    }

    /// A terminal whose output is the workload's log.
    pub(super) fn with_log(size: TtySize, log: Arc<CommandOutput>) -> Arc<Self> {
        Arc::new(Self { size: watch::Sender::new(size), out: Out::Log(log) })
    }

    pub(super) fn size(&self) -> TtySize {
        *self.size.borrow()
    }

    pub(super) fn resize(&self, size: TtySize) {
        self.size.send_replace(size);
    }

    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(4096)];
        let mut cooked = Vec::with_capacity(bytes.len() * 2);
        for byte in bytes {
            if *byte == b'\n' {
                cooked.push(b'\r');
            }
            cooked.push(*byte);
        }
        // All or nothing, so that no line end is cut in two.
        match &self.out {
            Out::Pipe(writer) => match writer.poll_space(cx, cooked.len()) {
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Some(space) if space < cooked.len() => return Poll::Pending,
                Some(_) => writer.push(&cooked),
            },
            Out::Log(log) => {
                if log.poll_write(cx, LogStream::Stdout, &cooked, cooked.len()).is_pending() {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }
}

/// Something to be written by the terminal itself.
struct Echo<'a>(&'a Tty);

impl AsyncWrite for Echo<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Carries what is typed to the programs, until the typing or the reading ends.
pub(super) async fn discipline(
    tty: Weak<Tty>,
    mut typed: impl AsyncRead + Unpin,
    programs: PipeWriter,
    signal: impl Fn(Signal),
) {
    let mut programs = Some(programs);
    let mut buf = [0u8; 1024];
    loop {
        let n = match typed.read(&mut buf).await {
            Ok(n) if n > 0 => n,
            _ => return,
        };
        for byte in &mut buf[..n] {
            if *byte == b'\r' {
                *byte = b'\n';
            }
        }
        for piece in buf[..n].split_inclusive(|b| matches!(b, 3 | 4 | 0x1c)) {
            let (text, control) = match piece.split_last() {
                Some((c @ (3 | 4 | 0x1c), text)) => (text, Some(*c)),
                _ => (piece, None),
            };
            let Some(terminal) = tty.upgrade() else { return };
            // Who can't be echoed to has gone; what was typed still counts.
            let _ = Echo(&terminal).write_all(text).await;
            drop(terminal);
            if let Some(writer) = &mut programs
                && writer.write_all(text).await.is_err()
            {
                programs = None;
            }
            match control {
                Some(3) => signal(Signal::INT),
                Some(0x1c) => signal(Signal::QUIT),
                Some(_) => programs = None,
                None => {}
            }
        }
    }
}

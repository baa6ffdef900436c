//! From a program to our stdout and stderr.

use super::{BUFFER, BUFFERS};
use pod::{BoxRead, Error, Result};
#[cfg(not(unix))]
use std::io::Write;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot, watch};

/// How long output may stay away after the program's end before it counts as complete: what the
/// program left running may hold its streams open for ever.
pub(super) const SILENCE: Duration = Duration::from_millis(500);

/// Which of our own streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn write(self, bytes: &[u8]) -> std::io::Result<()> {
        // Locked for one buffer only. The standard library would cut stdout into lines, so it is
        // written beneath that where there are descriptors.
        #[cfg(unix)]
        {
            let mut rest = bytes;
            while !rest.is_empty() {
                let written = match self {
                    Self::Stdout => rustix::io::write(std::io::stdout(), rest),
                    Self::Stderr => rustix::io::write(std::io::stderr(), rest),
                };
                match written {
                    Ok(n) => rest = &rest[n..],
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => self.until_writable()?,
                    Err(e) => return Err(e.into()),
                }
            }
            Ok(())
        }
        #[cfg(not(unix))]
        match self {
            Self::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::Stderr => std::io::stderr().lock().write_all(bytes),
        }
    }

    /// Someone gave us a descriptor that does not block.
    #[cfg(unix)]
    fn until_writable(self) -> std::io::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let fd = match self {
            Self::Stdout => PollFd::new(&stdout, PollFlags::OUT),
            Self::Stderr => PollFd::new(&stderr, PollFlags::OUT),
        };
        match poll(&mut [fd], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether so many bytes can be written now without waiting: a pipe that is writable takes 4,096
    /// bytes (pipe(7), `PIPE_BUF`). A terminal may take fewer.
    fn takes_at_once(self, bytes: usize) -> bool {
        #[cfg(unix)]
        {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
            let fd = match self {
                Self::Stdout => PollFd::new(&stdout, PollFlags::OUT),
                Self::Stderr => PollFd::new(&stderr, PollFlags::OUT),
            };
            let mut fds = [fd];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let terminal = match self {
                Self::Stdout => rustix::termios::isatty(&stdout),
                Self::Stderr => rustix::termios::isatty(&stderr),
            };
            bytes <= 4096
                && !terminal
                && matches!(poll(&mut fds, Some(&now)), Ok(1))
                && fds[0].revents().contains(PollFlags::OUT)
        }
        #[cfg(not(unix))]
        {
            let _ = bytes; // there is no way to ask
            false
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// How a stream of ours ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// All was written.
    All,
    /// Whoever read it has closed it.
    Closed,
}

/// A thread that writes to one of our streams.
pub(super) struct Writer {
    full: mpsc::Sender<Vec<u8>>,
    free: mpsc::Receiver<Vec<u8>>,
    ended: oneshot::Receiver<std::io::Result<()>>,
    stream: Stream,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn begin(stream: Stream) -> Self {
        let (full, mut full_rx) = mpsc::channel::<Vec<u8>>(BUFFERS);
        let (free_tx, free) = mpsc::channel(BUFFERS);
        // The caller comes with a buffer of its own. The channel has room for all.
        for _ in 1..BUFFERS {
            let _ = free_tx.try_send(Vec::new());
        }
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let mut result = Ok(());
            while let Some(mut buffer) = full_rx.blocking_recv() {
                result = stream.write(&buffer);
                buffer.clear();
                // With the receiver gone no buffer is asked for any more.
                if result.is_err() || free_tx.blocking_send(buffer).is_err() {
                    break;
                }
            }
            // Nobody may wait for it.
            let _ = end.send(result);
        });
        Self { full, free, ended, stream }
    }

    /// An empty buffer; `None` when the thread has ended.
    pub(super) async fn buffer(&mut self) -> Option<Vec<u8>> {
        self.free.recv().await
    }

    /// Gives a full buffer to the thread; `false` when it has ended.
    pub(super) async fn write(&self, buffer: Vec<u8>) -> bool {
        self.full.send(buffer).await.is_ok()
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// When the stream can't be written; that it was closed is none.
    pub(super) async fn finish(self) -> Result<Written> {
        let Self { full, free, ended, stream } = self;
        drop(full);
        let result = ended.await.unwrap_or(Ok(()));
        drop(free);
        match result {
            Ok(()) => Ok(Written::All),
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(Written::Closed),
            Err(e) => Err(Error::io(format!("write to {}", stream.name()), e)),
        }
    }
}

/// Writes all that a program prints to one of our streams. After `ended` has become true, it waits no
/// longer than [`SILENCE`] for more.
///
/// A thread that may block does the writing; but the little that most programs print fits into a pipe
/// at once, and is written without one.
pub(super) async fn copy(mut from: BoxRead, stream: Stream, mut ended: watch::Receiver<bool>) -> Result<Written> {
    let mut buffer = Vec::new();
    let mut writer: Option<Writer> = None;
    let copied = loop {
        buffer.reserve(BUFFER);
        let read = tokio::select! {
            biased;
            read = from.read_buf(&mut buffer) => read,
            () = silence(&mut ended) => Ok(0),
        };
        match read {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(e) => break Err(Error::io(format!("read the program's {}", stream.name()), e)),
        }
        if writer.is_none() && stream.takes_at_once(buffer.len()) {
            match stream.write(&buffer) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Written::Closed),
                Err(e) => return Err(Error::io(format!("write to {}", stream.name()), e)),
            }
            buffer.clear();
            continue;
        }
        let writer = writer.get_or_insert_with(|| Writer::begin(stream));
        if !writer.write(std::mem::take(&mut buffer)).await {
            break Ok(());
        }
        match writer.buffer().await {
            Some(empty) => buffer = empty,
            None => break Ok(()),
        }
    };
    drop(from);
    // What was read before an error is written all the same.
    let written = match writer {
        Some(writer) => writer.finish().await?,
        None => Written::All,
    };
    copied.map(|()| written)
}

/// Returns when the program has ended and it has been silent for a while since.
async fn silence(ended: &mut watch::Receiver<bool>) {
    if ended.wait_for(|e| *e).await.is_err() {
        // The session is gone, and with it the wish for output.
        return;
    }
    tokio::time::sleep(SILENCE).await;
}

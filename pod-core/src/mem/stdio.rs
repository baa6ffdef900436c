//! What simulated programs read from and write to.

use super::fs::{Ino, SharedFs};
use super::output::CommandOutput;
use super::pipe::{PipeReader, PipeWriter};
use super::tty::Tty;
use crate::LogStream;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An open file: its clones share one position, as after dup(2).
#[derive(Debug)]
pub(super) struct OpenFile {
    fs: SharedFs,
    ino: Ino,
    position: Mutex<u64>,
    append: bool,
}

impl OpenFile {
    /// Takes over a node that was opened, and with it the duty to release it.
    pub(super) fn new(fs: SharedFs, ino: Ino, append: bool) -> Self {
        Self { fs, ino, position: Mutex::new(0), append }
    }

    fn read(&self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let n = self.fs.lock().read_at(self.ino, *position, buf.initialize_unfilled()).map_err(|e| e.io())?;
        buf.advance(n);
        *position += n as u64;
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fs = self.fs.lock();
        if self.append {
            *position = fs.node(self.ino).map_err(|e| e.io())?.size();
        }
        fs.write_at(self.ino, *position, bytes).map_err(|e| e.io())?;
        *position += bytes.len() as u64;
        Ok(bytes.len())
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.fs.lock().release(self.ino);
    }
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    Empty,
    Pipe(PipeReader),
    Tty(PipeReader),
    File(Arc<OpenFile>),
}

#[derive(Debug, Clone)]
pub(super) enum Sink {
    Null,
    Pipe(PipeWriter),
    File(Arc<OpenFile>),
    Log(Arc<CommandOutput>, LogStream),
    Tty(Arc<Tty>),
}

/// What a simulated program reads. Clones share one position.
#[derive(Debug, Clone)]
pub struct ProgramInput(pub(super) Source);

/// What a simulated program writes to. Clones share one position; what is read slowly at the other end
/// holds the writer back.
#[derive(Debug, Clone)]
pub struct ProgramOutput(pub(super) Sink);

impl ProgramInput {
    /// Whether this is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self.0, Source::Tty(_))
    }
}

impl ProgramOutput {
    /// Whether this is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self.0, Sink::Tty(_))
    }
}

impl AsyncRead for ProgramInput {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Source::Empty => Poll::Ready(Ok(())),
            Source::Pipe(r) | Source::Tty(r) => Pin::new(r).poll_read(cx, buf),
            Source::File(f) => Poll::Ready(f.read(buf)),
        }
    }
}

impl AsyncWrite for ProgramOutput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Sink::Null => Poll::Ready(Ok(bytes.len())),
            Sink::Pipe(w) => Pin::new(w).poll_write(cx, bytes),
            Sink::File(f) => Poll::Ready(f.write(bytes)),
            Sink::Log(out, stream) => out.poll_write(cx, *stream, bytes, bytes.len().min(1)).map(Ok),
            Sink::Tty(tty) => tty.poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

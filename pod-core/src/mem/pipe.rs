//! Bounded pipes between simulated programs.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes a pipe holds, as on Linux (pipe(7)).
pub(super) const CAPACITY: usize = 64 << 10;

#[derive(Debug, Default)]
struct Inner {
    data: VecDeque<u8>,
    readers: usize,
    writers: usize,
    read_wakers: Vec<Waker>,
    write_wakers: Vec<Waker>,
}

#[derive(Debug, Default)]
struct Pipe(Mutex<Inner>);

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|w| w.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

fn wake(wakers: &mut Vec<Waker>) {
    for waker in wakers.drain(..) {
        waker.wake();
    }
}

/// The end that is read. When every clone is dropped, writers get a broken pipe.
#[derive(Debug)]
pub(super) struct PipeReader(Arc<Pipe>);

/// The end that is written. When every clone is dropped, readers see end-of-file.
#[derive(Debug)]
pub(super) struct PipeWriter(Arc<Pipe>);

/// A new pipe.
pub(super) fn pipe() -> (PipeReader, PipeWriter) {
    let pipe = Arc::new(Pipe::default());
    {
        let mut inner = pipe.lock();
        (inner.readers, inner.writers) = (1, 1);
    }
    (PipeReader(pipe.clone()), PipeWriter(pipe))
}

impl Clone for PipeReader {
    fn clone(&self) -> Self {
        self.0.lock().readers += 1;
        Self(self.0.clone())
    }
}

impl Clone for PipeWriter {
    fn clone(&self) -> Self {
        self.0.lock().writers += 1;
        Self(self.0.clone())
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.readers -= 1;
        if inner.readers == 0 {
            inner.data = VecDeque::new();
            wake(&mut inner.write_wakers);
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.writers -= 1;
        if inner.writers == 0 {
            wake(&mut inner.read_wakers);
        }
    }
}

impl AsyncRead for PipeReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        if inner.data.is_empty() {
            if inner.writers == 0 || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            remember(&mut inner.read_wakers, cx);
            return Poll::Pending;
        }
        let n = buf.remaining().min(inner.data.len());
        let (front, back) = inner.data.as_slices();
        let first = n.min(front.len());
        buf.put_slice(&front[..first]);
        buf.put_slice(&back[..n - first]);
        inner.data.drain(..n);
        wake(&mut inner.write_wakers);
        Poll::Ready(Ok(()))
    }
}

impl PipeWriter {
    /// How many bytes fit now; `None` when nobody reads any more. When fewer than `need` fit, `cx` is
    /// woken later.
    pub(super) fn poll_space(&self, cx: &mut Context<'_>, need: usize) -> Option<usize> {
        let mut inner = self.0.lock();
        if inner.readers == 0 {
            return None;
        }
        let space = CAPACITY.saturating_sub(inner.data.len());
        if space < need {
            remember(&mut inner.write_wakers, cx);
        }
        Some(space)
    }

    /// Adds bytes whether or not they fit.
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut inner = self.0.lock();
        if inner.readers > 0 {
            inner.data.extend(bytes);
            wake(&mut inner.read_wakers);
        }
    }
}

impl AsyncWrite for PipeWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.poll_space(cx, 1) {
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(0) if !bytes.is_empty() => Poll::Pending,
            Some(space) => {
                let n = space.min(bytes.len());
                self.push(&bytes[..n]);
                Poll::Ready(Ok(n))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The caller's writing end of a program's stdin: shutting it down gives the program end-of-file, as
/// dropping it does.
#[derive(Debug)]
pub(super) struct ClosingWriter(pub(super) Option<PipeWriter>);

impl AsyncWrite for ClosingWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(writer) => Pin::new(writer).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn bytes_pass_in_order_and_the_end_is_seen() {
        let (mut r, mut w) = pipe();
        let writer = tokio::spawn(async move {
            for i in 0..200_000u32 {
                w.write_all(&i.to_be_bytes()).await.expect("write");
            }
        });
        let mut all = Vec::new();
        r.read_to_end(&mut all).await.expect("read");
        writer.await.expect("writer");
        assert_eq!(all.len(), 800_000);
        assert!(all.chunks(4).zip(0u32..).all(|(c, i)| c == i.to_be_bytes()));
    }

    #[tokio::test]
    async fn a_full_pipe_waits_and_a_closed_one_breaks() {
        let (r, mut w) = pipe();
        w.write_all(&vec![0; CAPACITY]).await.expect("fits");
        let more = tokio::time::timeout(std::time::Duration::from_millis(20), w.write_all(b"x")).await;
        assert!(more.is_err(), "a full pipe took more");
        drop(r);
        let e = w.write_all(b"x").await.expect_err("broken");
        assert_eq!(e.kind(), io::ErrorKind::BrokenPipe);
    }
}

//! The stream to a command that its container outlives: the daemon keeps it open, so it ends here.

use futures_util::future::BoxFuture;
use pod_core::BoxDuplex;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long nothing must have come once the command has ended: somebody may read slowly, and the daemon with
/// it.
const QUIET: Duration = Duration::from_millis(300);

/// A stream that ends when it is quiet after the command's end.
pub(super) struct Until {
    stream: BoxDuplex,
    over: Option<BoxFuture<'static, ()>>,
    quiet: Pin<Box<Sleep>>,
}

impl Until {
    pub(super) fn new(stream: BoxDuplex, over: BoxFuture<'static, ()>) -> Self {
        Self { stream, over: Some(over), quiet: Box::pin(sleep(QUIET)) }
    }
}

impl AsyncRead for Until {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = self.stream.as_mut().poll_read(cx, buf) {
            self.quiet.as_mut().reset(Instant::now() + QUIET);
            return Poll::Ready(read);
        }
        if let Some(over) = &mut self.over {
            ready!(over.as_mut().poll(cx));
            self.over = None;
            self.quiet.as_mut().reset(Instant::now() + QUIET);
        }
        ready!(self.quiet.as_mut().poll(cx));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Until {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn what_comes_slowly_after_the_end_is_read() {
        let (mut far, near) = tokio::io::duplex(4);
        let ended = sleep(Duration::from_millis(2900)).boxed();
        let mut stream = Until::new(Box::pin(near), ended);
        let feed = tokio::spawn(async move {
            for _ in 0..3 {
                far.write_all(b"abcdefgh").await.expect("written");
                sleep(Duration::from_secs(1)).await;
            }
            for _ in 0..3 {
                far.write_all(b"xyz").await.expect("written");
                sleep(QUIET / 2).await;
            }
            far
        });
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("its end");
        assert_eq!(text, "abcdefghabcdefghabcdefgh".to_owned() + "xyzxyzxyz");
        drop(feed.await.expect("no panic"));
    }
}

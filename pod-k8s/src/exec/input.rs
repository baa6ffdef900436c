//! A program's stdin between the caller and a channel loop. Its outputs: [`pod_shell::pipe`].

use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// The most bytes of stdin in one message. The server copies them on in pieces of 32 KiB; larger ones
/// save turns on this side.
pub(crate) const PIECE: usize = 64 << 10;
/// Messages of stdin that wait to be sent.
const QUEUE: usize = 4;

/// A program's stdin at the caller: each write is one message, in its channel's form. Shutting it down or
/// dropping it ends it.
#[derive(Debug)]
pub(crate) struct Stdin {
    queue: PollSender<Bytes>,
    form: fn(&[u8]) -> Bytes,
}

/// A stdin, and where its messages come out; `None` comes when it was ended.
pub(crate) fn stdin(form: fn(&[u8]) -> Bytes) -> (Stdin, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Stdin { queue: PollSender::new(sender), form }, receiver)
}

impl AsyncWrite for Stdin {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match self.queue.poll_reserve(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Poll::Ready(Ok(())) => {
                let now = data.len().min(PIECE);
                let message = (self.form)(&data[..now]);
                match self.queue.send_item(message) {
                    Ok(()) => Poll::Ready(Ok(now)),
                    Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.queue.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn stdin_is_cut_into_messages_and_ends() {
        let (mut stdin, mut queue) = super::stdin(crate::exec::frame::stdin);
        let writer = tokio::spawn(async move {
            stdin.write_all(&vec![7; 3 * PIECE + 5]).await.expect("written");
            stdin.shutdown().await.expect("ended");
            stdin.write_all(b"x").await.expect_err("after its end").kind()
        });
        let mut lengths = Vec::new();
        while let Some(message) = queue.recv().await {
            assert_eq!(message[0], 0);
            lengths.push(message.len() - 1);
        }
        assert_eq!(lengths, [PIECE, PIECE, PIECE, 5]);
        assert_eq!(writer.await.expect("no panic"), io::ErrorKind::BrokenPipe);
    }
}

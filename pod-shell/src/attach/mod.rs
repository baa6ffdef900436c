//! The streams of a workload's own command, where the platform gives what is printed from some moment on
//! that it does not tell, and ends the command's input when who is attached goes away, however.
//!
//! - [`join()`] gives what was printed before, by the log, and then the stream; [`told`] all of it by the log.
//! - [`feed`] writes a stdin from within the workload, and tells when its end may be told.
//! - [`Typing`] is the stdin of a terminal.

pub mod feed;
mod join;
mod seam;

pub use join::{Joined, Live, bytes_of, join, last, told};

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// The stdin of one who is attached to a terminal, which knows an end as `^D` (termios(3), VEOF); it is
/// typed by who shuts it down, not by who lets go.
#[derive(Debug)]
pub struct Typing<W> {
    stdin: W,
    /// The end is still to be typed.
    ends: bool,
}

impl<W> Typing<W> {
    /// Types into this.
    #[must_use]
    pub fn new(stdin: W) -> Self {
        Self { stdin, ends: true }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Typing<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ends {
            // A command that has ended needs no end of its stdin.
            let _ = ready!(Pin::new(&mut self.stdin).poll_write(cx, &[4]));
            self.ends = false;
        }
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn an_end_is_typed_by_who_ends_it_and_not_by_who_lets_go() {
        for (ends, expected) in [(true, &b"text\x04"[..]), (false, b"text")] {
            let (near, mut far) = tokio::io::duplex(64);
            let mut typing = Typing::new(near);
            typing.write_all(b"text").await.expect("written");
            if ends {
                typing.shutdown().await.expect("ended");
            }
            drop(typing);
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.expect("all of it");
            assert_eq!(got, expected);
        }
    }
}

//! From our stdin to a program's.

use super::{BUFFER, BUFFERS};
use bytes::Bytes;
use pod::BoxWrite;
use std::io::Read;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

/// A buffer of [`BUFFER`] bytes, or none yet, and how many of them count.
type Chunk = (Vec<u8>, usize);

/// What our stdin gives, read on a thread that nobody waits for: it may sit in a read for ever.
pub(super) struct Input {
    full: mpsc::Receiver<Chunk>,
    free: mpsc::Sender<Vec<u8>>,
}

impl Input {
    /// Begins to read stdin.
    pub(super) fn begin() -> Self {
        Self::of(|| std::io::stdin().lock())
    }

    /// Begins to read what `open` gives on the thread.
    fn of<R: Read>(open: impl FnOnce() -> R + Send + 'static) -> Self {
        let (full_tx, full) = mpsc::channel(BUFFERS);
        let (free, mut free_rx) = mpsc::channel(BUFFERS);
        for _ in 0..BUFFERS {
            // The channel has room for all of them.
            let _ = free.try_send(Vec::new());
        }
        std::thread::spawn(move || {
            let mut from = open();
            while let Some(mut buffer) = free_rx.blocking_recv() {
                buffer.resize(BUFFER, 0);
                let n = loop {
                    match from.read(&mut buffer) {
                        Ok(n) => break n,
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(e) => {
                            tracing::warn!(error = %e, "stdin can't be read; the program sees its end");
                            break 0;
                        }
                    }
                };
                if n == 0 || full_tx.blocking_send((buffer, n)).is_err() {
                    return;
                }
            }
        });
        Self { full, free }
    }

    /// Writes all of it to a program, then lets the program see the end. A program that wants no more
    /// ends this as well.
    pub(super) async fn feed(mut self, mut program: BoxWrite, mut detach: Option<Detach>) -> Fed {
        while let Some((buffer, n)) = self.full.recv().await {
            let typed;
            let bytes = match &mut detach {
                None => &buffer[..n],
                Some(detach) => match detach.pass(&buffer[..n]) {
                    Some(bytes) => {
                        typed = bytes;
                        &typed
                    }
                    None => return Fed::Detached,
                },
            };
            let written = async {
                program.write_all(bytes).await?;
                program.flush().await
            };
            if let Err(e) = written.await {
                tracing::debug!(error = %e, "the program takes no more input");
                return Fed::All;
            }
            // At the end of stdin the thread is gone, and what it read last is still on its way here.
            let _ = self.free.send(buffer).await;
        }
        if let Err(e) = program.shutdown().await {
            tracing::debug!(error = %e, "the program's stdin was closed already");
        }
        Fed::All
    }
}

/// Our stdin for code that reads asynchronously. The thread that reads it is not waited for at the end,
/// as tokio's own would be.
pub(crate) fn stdin_reader() -> impl AsyncRead + Send + Unpin + 'static {
    let input = Input::begin();
    let chunks = futures_util::stream::unfold(input, |mut input| async move {
        let (buffer, n) = input.full.recv().await?;
        let bytes = Bytes::copy_from_slice(&buffer[..n]);
        // At the end of stdin the thread is gone, and what it read last is still on its way here.
        let _ = input.free.send(buffer).await;
        Some((std::io::Result::Ok(bytes), input))
    });
    StreamReader::new(Box::pin(chunks))
}

/// How feeding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// All was written, or the program wanted no more.
    All,
    /// The user typed the keys that detach.
    Detached,
}

/// Looks for the keys that detach; keys that begin the sequence are held back until it is clear that
/// they don't.
#[derive(Debug, Clone)]
pub(super) struct Detach {
    keys: Vec<u8>,
    held: usize,
}

impl Detach {
    /// Looks for these keys; `None` when there are none.
    pub(super) fn new(keys: &[u8]) -> Option<Self> {
        (!keys.is_empty()).then(|| Self { keys: keys.to_vec(), held: 0 })
    }

    /// Takes what was typed and gives what the program shall get; `None` when the keys were all there.
    fn pass(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut pass = Vec::with_capacity(typed.len() + self.held);
        for &byte in typed {
            if byte != self.keys[self.held] && self.held > 0 {
                pass.extend_from_slice(&self.keys[..self.held]);
                self.held = 0;
            }
            if byte == self.keys[self.held] {
                self.held += 1;
                if self.held == self.keys.len() {
                    return None;
                }
            } else {
                pass.push(byte);
            }
        }
        Some(pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[test]
    fn keys_detach_also_in_pieces_and_others_pass() {
        let mut d = Detach::new(&[16, 17]).expect("keys");
        assert_eq!(d.pass(b"ls\n"), Some(b"ls\n".to_vec()));
        assert_eq!(d.pass(&[16]), Some(vec![]));
        assert_eq!(d.pass(b"x"), Some(vec![16, b'x']));
        assert_eq!(d.pass(&[16, 16]), Some(vec![16]));
        assert_eq!(d.pass(&[17]), None);
        assert!(Detach::new(&[]).is_none());
    }

    /// Gives so many bytes, each read a few, and counts from 0.
    struct Counting(u64, u64);

    impl Read for Counting {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = buffer.len().min((self.1 - self.0) as usize).min(10_007);
            for byte in &mut buffer[..n] {
                *byte = self.0 as u8;
                self.0 += 1;
            }
            Ok(n)
        }
    }

    #[tokio::test]
    async fn a_slow_program_gets_all_of_a_stdin_that_has_ended() {
        const ALL: u64 = 50_003;
        let (program, mut stdin) = tokio::io::duplex(500);
        let feed = tokio::spawn(Input::of(|| Counting(0, ALL)).feed(Box::pin(program), None));
        let mut got = Vec::new();
        // So slowly that the reading thread is at its end long before.
        while stdin.read_buf(&mut got).await.expect("read") > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(got.len() as u64, ALL);
        assert!(got.iter().enumerate().all(|(i, b)| *b == i as u8));
        assert_eq!(feed.await.expect("task"), Fed::All);
    }

    #[tokio::test]
    async fn a_program_that_wants_no_more_ends_the_feeding() {
        let (program, stdin) = tokio::io::duplex(500);
        drop(stdin);
        assert_eq!(Input::of(|| std::io::repeat(7)).feed(Box::pin(program), None).await, Fed::All);
    }
}

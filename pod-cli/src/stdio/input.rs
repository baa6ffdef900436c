//! From our stdin to a program's.

use super::{BUFFER, BUFFERS};
use pod::BoxWrite;
use std::io::Read;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// What our stdin gives, read on a thread that nobody waits for: it may sit in a read for ever.
pub(super) struct Input {
    full: mpsc::Receiver<Vec<u8>>,
    free: mpsc::Sender<Vec<u8>>,
}

impl Input {
    /// Begins to read stdin.
    pub(super) fn begin() -> Self {
        let (full_tx, full) = mpsc::channel(BUFFERS);
        let (free, mut free_rx) = mpsc::channel(BUFFERS);
        for _ in 0..BUFFERS {
            // The channel has room for all of them.
            let _ = free.try_send(Vec::new());
        }
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            while let Some(mut buffer) = free_rx.blocking_recv() {
                buffer.resize(BUFFER, 0);
                match stdin.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(n) => buffer.truncate(n),
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => buffer.clear(),
                    Err(e) => {
                        tracing::warn!(error = %e, "stdin can't be read; the program sees its end");
                        return;
                    }
                }
                if full_tx.blocking_send(buffer).is_err() {
                    return;
                }
            }
        });
        Self { full, free }
    }

    /// Writes all of it to a program, then lets the program see the end. A program that wants no more
    /// ends this as well.
    pub(super) async fn feed(mut self, mut program: BoxWrite, mut detach: Option<Detach>) -> Fed {
        while let Some(mut buffer) = self.full.recv().await {
            if let Some(detach) = &mut detach
                && detach.seen(&mut buffer)
            {
                return Fed::Detached;
            }
            let written = async {
                program.write_all(&buffer).await?;
                program.flush().await
            };
            if let Err(e) = written.await {
                tracing::debug!(error = %e, "the program takes no more input");
                return Fed::All;
            }
            buffer.clear();
            if self.free.send(buffer).await.is_err() {
                break;
            }
        }
        if let Err(e) = program.shutdown().await {
            tracing::debug!(error = %e, "the program's stdin was closed already");
        }
        Fed::All
    }
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

    /// Takes what was typed, leaves in `typed` what the program shall get, and says whether the keys
    /// were all there.
    fn seen(&mut self, typed: &mut Vec<u8>) -> bool {
        let mut pass = Vec::with_capacity(typed.len() + self.held);
        for &byte in typed.iter() {
            if byte != self.keys[self.held] && self.held > 0 {
                pass.extend_from_slice(&self.keys[..self.held]);
                self.held = 0;
            }
            if byte == self.keys[self.held] {
                self.held += 1;
                if self.held == self.keys.len() {
                    return true;
                }
            } else {
                pass.push(byte);
            }
        }
        *typed = pass;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(detach: &mut Detach, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = bytes.to_vec();
        if detach.seen(&mut buffer) { None } else { Some(buffer) }
    }

    #[test]
    fn keys_detach_also_in_pieces_and_others_pass() {
        let mut d = Detach::new(&[16, 17]).expect("keys");
        assert_eq!(typed(&mut d, b"ls\n"), Some(b"ls\n".to_vec()));
        assert_eq!(typed(&mut d, &[16]), Some(vec![]));
        assert_eq!(typed(&mut d, b"x"), Some(vec![16, b'x']));
        assert_eq!(typed(&mut d, &[16, 16]), Some(vec![16]));
        assert_eq!(typed(&mut d, &[17]), None);
        assert!(Detach::new(&[]).is_none());
    }
}

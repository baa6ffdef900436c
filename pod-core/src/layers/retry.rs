//! Repeats what can be repeated.

use super::{Around, Call, CallKind};
use crate::Result;
use std::future::Future;
use std::time::Duration;

/// Repeats a [`CallKind::Read`] call whose error says that a later try may help, with growing pauses.
/// Put it around a [`Timeout`](super::Timeout), so that each try has its own time.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    tries: u32,
    pause: Duration,
}

impl Retry {
    /// Tries at most `tries` times, the first pause `pause`, each next twice as long.
    #[must_use]
    pub fn new(tries: u32, pause: Duration) -> Self {
        Self { tries: tries.max(1), pause }
    }
}

impl Around for Retry {
    async fn around<T, F, Fut>(&self, call: Call, mut attempt: F) -> Result<T>
    where
        T: Send,
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        let mut pause = self.pause;
        for _ in 1..self.tries {
            match attempt().await {
                Err(e) if call.kind == CallKind::Read && e.retry() == crate::Retry::Later => {
                    tracing::debug!(target: "pod", operation = call.operation, error = %e, ?pause, "trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
        attempt().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, ErrorKind};
    use std::sync::atomic::{AtomicU32, Ordering};

    async fn tries(kind: CallKind, retry: crate::Retry) -> u32 {
        let count = AtomicU32::new(0);
        let result: Result<()> = Retry::new(3, Duration::from_secs(1))
            .around(Call { operation: "x", kind }, || async {
                count.fetch_add(1, Ordering::SeqCst);
                Err(Error::new(ErrorKind::Unavailable, "away").with_retry(retry))
            })
            .await;
        assert!(result.is_err());
        count.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn only_reads_with_hope_are_repeated() {
        assert_eq!(tries(CallKind::Read, crate::Retry::Later).await, 3);
        assert_eq!(tries(CallKind::Read, crate::Retry::Never).await, 1);
        assert_eq!(tries(CallKind::Change, crate::Retry::Later).await, 1);
    }
}

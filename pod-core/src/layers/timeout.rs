//! Bounds every short call.

use super::{Around, Call, CallKind};
use crate::{Error, ErrorKind, Result, Retry};
use std::future::Future;
use std::time::Duration;

/// Gives every [`CallKind::Read`] and [`CallKind::Change`] call this long. Calls that last as long as
/// their work (copies, waits with a grace of their own) are not bounded.
#[derive(Debug, Clone, Copy)]
pub struct Timeout {
    limit: Duration,
}

impl Timeout {
    /// Gives every short call `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl Around for Timeout {
    async fn around<T, F, Fut>(&self, call: Call, mut attempt: F) -> Result<T>
    where
        T: Send,
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        if call.kind == CallKind::Long {
            return attempt().await;
        }
        match tokio::time::timeout(self.limit, attempt()).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(ErrorKind::Timeout, format!("no answer within {:?}", self.limit))
                .with_operation(call.operation)
                .with_retry(if call.kind == CallKind::Read { Retry::Later } else { Retry::Never })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn short_calls_are_bounded_and_long_ones_are_not() {
        let layer = Timeout::new(Duration::from_secs(1));
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok(7)
        };
        let read = Call { operation: "list", kind: CallKind::Read };
        let long = Call { operation: "copy", kind: CallKind::Long };
        assert_eq!(layer.around(read, slow).await.map_err(|e| e.kind()), Err(ErrorKind::Timeout));
        assert_eq!(layer.around(long, slow).await.ok(), Some(7));
    }
}

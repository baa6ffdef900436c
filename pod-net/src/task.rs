//! Blocking work for async callers, undone when nobody waits for it any more.

use pod_core::{Error, Result};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Runs `work` on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    blocking_or_undo(work, |_| Ok(())).await
}

/// Runs `work` on a blocking thread. If the caller gives up before it has the result, `undo` gets it.
pub(crate) async fn blocking_or_undo<T, U>(work: impl FnOnce() -> Result<T> + Send + 'static, undo: U) -> Result<T>
where
    T: Send + 'static,
    U: Fn(T) -> Result<()> + Send + Sync + 'static,
{
    let undo = Arc::new(move |value: T| {
        if let Err(error) = undo(value) {
            tracing::warn!(%error, "what a cancelled call had made could not be undone");
        }
    });
    let (sender, receiver) = oneshot::channel();
    let late = Arc::clone(&undo);
    tokio::task::spawn_blocking(move || {
        if let Err(Ok(value)) = sender.send(work()) {
            late(value);
        }
    });
    let mut waiting = Waiting { receiver: Some(receiver), undo };
    let result = match waiting.receiver.as_mut() {
        Some(receiver) => receiver.await,
        None => return Err(Error::unexpected("a task was awaited twice")),
    };
    waiting.receiver = None;
    result.unwrap_or_else(|_| Err(Error::unexpected("a networking task panicked")))
}

/// Gives a result that came in the moment the caller gave up to `undo`.
struct Waiting<T: Send + 'static, U: Fn(T) + Send + Sync + 'static> {
    receiver: Option<oneshot::Receiver<Result<T>>>,
    undo: Arc<U>,
}

impl<T: Send + 'static, U: Fn(T) + Send + Sync + 'static> Drop for Waiting<T, U> {
    fn drop(&mut self) {
        let Some(mut receiver) = self.receiver.take() else { return };
        receiver.close();
        if let Ok(Ok(value)) = receiver.try_recv() {
            let undo = Arc::clone(&self.undo);
            let spawned = std::thread::Builder::new().name("pod-net-undo".into()).spawn(move || undo(value));
            if let Err(error) = spawned {
                tracing::warn!(%error, "what a cancelled call had made could not be undone");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn a_result_that_arrives_is_not_undone() {
        let undone = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&undone);
        let value = blocking_or_undo(
            || Ok(7),
            move |_| {
                seen.fetch_add(1, Ordering::SeqCst);
                Ok(())
            },
        );
        assert_eq!(value.await.expect("value"), 7);
        assert_eq!(undone.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_result_that_nobody_waits_for_is_undone() {
        let (undone, seen) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let undone = std::sync::Mutex::new(undone);
        let task = tokio::spawn(blocking_or_undo(
            move || {
                wait.recv().expect("go");
                Ok(7)
            },
            move |value| {
                undone.lock().expect("lock").send(value).expect("send");
                Ok(())
            },
        ));
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.is_err());
        go.send(()).expect("go");
        assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Ok(7));
    }
}

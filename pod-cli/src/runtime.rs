//! The asynchronous runtime, made only by the commands that need one.

use pod::{IoResultExt, Result};
use std::future::Future;

/// Runs `work` on this thread. Enough for a command that waits for one or a few things.
pub(crate) fn on_this_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing(|| "start the runtime")?;
    let result = runtime.block_on(work);
    // A blocking read that nobody waits for any more must not hold the command up.
    runtime.shutdown_background();
    result
}

/// Runs `work` on every CPU, for commands that do much at once.
pub(crate) fn on_all_threads<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().doing(|| "start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

//! The asynchronous runtime, made only by the commands that need one.

use pod::{IoResultExt, Result};
use std::future::Future;
use std::time::Duration;

/// How long work on other threads has to notice that it was given up: a half copy is removed then.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs `work` on this thread. Enough for a command that waits for one or a few things.
pub(crate) fn on_this_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    run(tokio::runtime::Builder::new_current_thread(), work)
}

/// Runs `work` on every CPU, for commands that do much at once.
pub(crate) fn on_all_threads<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    run(tokio::runtime::Builder::new_multi_thread(), work)
}

fn run<T>(mut builder: tokio::runtime::Builder, work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = builder.enable_all().build().doing(|| "start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(PATIENCE);
    result
}

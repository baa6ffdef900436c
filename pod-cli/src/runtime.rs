//! The asynchronous runtime, made only by the commands that need one.

use pod::{IoResultExt, Result};
use std::future::Future;
use std::time::Duration;

/// How long work on other threads has to notice that it was given up: a half copy is removed then.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much a command does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// It waits for one or a few things: this thread will do.
    Light,
    /// It does much at once, on every CPU.
    Heavy,
}

/// Runs `work`. What runs on other threads at its end has a moment to end as well.
pub(crate) fn run<T>(load: Load, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut builder = match load {
        Load::Light => tokio::runtime::Builder::new_current_thread(),
        Load::Heavy => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().doing(|| "start the runtime")?;
    let result = runtime.block_on(work);
    match load {
        // There is at most a file being read, which is not worth waiting for.
        Load::Light => runtime.shutdown_background(),
        Load::Heavy => runtime.shutdown_timeout(PATIENCE),
    }
    result
}

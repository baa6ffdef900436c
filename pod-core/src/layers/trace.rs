//! Traces every call.

use super::{Around, Call};
use crate::Result;
use std::future::Future;
use tracing::Instrument;

/// Puts every call into a `tracing` span of target `pod`, with its duration and, if it failed, its
/// error. Arguments are left out: they may hold secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trace;

impl Around for Trace {
    async fn around<T, F, Fut>(&self, call: Call, mut attempt: F) -> Result<T>
    where
        T: Send,
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        let span = tracing::debug_span!(target: "pod", "call", operation = call.operation);
        let begun = std::time::Instant::now();
        let result = attempt().instrument(span.clone()).await;
        let _entered = span.entered();
        match &result {
            Ok(_) => tracing::debug!(target: "pod", operation = call.operation, elapsed = ?begun.elapsed(), "done"),
            Err(e) => {
                tracing::debug!(target: "pod", operation = call.operation, elapsed = ?begun.elapsed(), error = %e, "failed");
            }
        }
        result
    }
}

//! Runs the steps of a phase side by side.

use super::Progress;
use crate::{Error, ErrorKind, Result};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// One piece of work: what it is about, such as `workload a1`, and the work.
pub(super) struct Task<'a> {
    pub(super) what: String,
    pub(super) work: BoxFuture<'a, Result<()>>,
}

/// What to do when a task fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// Begin no further task; those that run are finished.
    Stop,
    /// Go on with all the others.
    GoOn,
}

/// Runs tasks, `jobs` at once, and gives their errors.
pub(super) async fn run(
    phase: &str,
    tasks: Vec<Task<'_>>,
    jobs: usize,
    on_failure: OnFailure,
    progress: &dyn Progress,
) -> Vec<(String, Error)> {
    if tasks.is_empty() {
        return Vec::new();
    }
    progress.phase(phase, tasks.len());
    let failed = AtomicBool::new(false);
    let errors = Mutex::new(Vec::new());
    stream::iter(tasks)
        .for_each_concurrent(jobs.max(1), |task| async {
            if on_failure == OnFailure::Stop && failed.load(Ordering::Relaxed) {
                return;
            }
            match task.work.await {
                Ok(()) => progress.step(&task.what),
                Err(e) => {
                    failed.store(true, Ordering::Relaxed);
                    lock(&errors).push((task.what, e));
                }
            }
        })
        .await;
    errors.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The errors as one: the only one as it is, several as a list.
pub(super) fn gather(errors: Vec<(String, Error)>) -> Result<()> {
    let mut errors = errors.into_iter();
    let Some((_, first)) = errors.next() else { return Ok(()) };
    let rest: Vec<(String, Error)> = errors.collect();
    if rest.is_empty() {
        return Err(first);
    }
    let kind = if rest.iter().all(|(_, e)| e.kind() == first.kind()) { first.kind() } else { ErrorKind::Partial };
    let mut out = Error::new(kind, format!("{} steps failed; the first: {}", rest.len() + 1, first.message()));
    for (key, value) in first.context() {
        out = out.with_context(key, value.clone());
    }
    if let Some(hint) = first.hint() {
        out = out.with_hint(hint.to_owned());
    }
    for (what, e) in &rest {
        out = out.with_context("also", format!("{what}: {}", e.message()));
    }
    Err(out.with_source(first))
}

/// Adds a way out to the one an error has.
pub(super) fn and_hint(error: Error, hint: &str) -> Error {
    let whole = match error.hint() {
        Some(first) => format!("{first}; {hint}"),
        None => hint.to_owned(),
    };
    error.with_hint(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    fn task<'a>(n: usize, running: &'a AtomicUsize, most: &'a AtomicUsize, fails: bool) -> Task<'a> {
        let work = Box::pin(async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            if fails { Err(Error::invalid(format!("number {n}"))) } else { Ok(()) }
        });
        Task { what: format!("task {n}"), work }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_run_at_once_and_no_more_begin_after_a_failure() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let tasks = (0..20).map(|n| task(n, &running, &most, false)).collect();
        assert!(run("x", tasks, 4, OnFailure::Stop, &()).await.is_empty());
        assert_eq!(most.load(Ordering::SeqCst), 4);

        let tasks = (0..20).map(|n| task(n, &running, &most, n < 2)).collect();
        let errors = run("x", tasks, 4, OnFailure::Stop, &()).await;
        assert_eq!(errors.len(), 2);
        assert_eq!(running.load(Ordering::SeqCst), 0, "those that ran were finished");
        let e = gather(errors).expect_err("two errors");
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
        assert_eq!(e.to_string(), "2 steps failed; the first: number 0 (also: task 1: number 1)");

        let tasks = (0..20).map(|n| task(n, &running, &most, true)).collect();
        assert_eq!(run("x", tasks, 4, OnFailure::GoOn, &()).await.len(), 20);
    }
}

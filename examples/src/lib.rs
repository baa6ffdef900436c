//! What the example programs share: an error shown well, names that collide with nobody's, and an end
//! that leaves nothing behind.

use pod::prelude::*;
use std::error::Error as _;
use std::process::ExitCode;

/// The label that marks what one run of an example makes.
const RUN: &str = "example";

/// Ends a program: shows an error with its causes, which POD keeps apart.
#[must_use]
pub fn finish(result: Result<(), Error>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        eprintln!("  because: {inner}");
        cause = inner.source();
    }
    ExitCode::FAILURE
}

/// A name of this run's own, such as `web-4711`.
///
/// # Errors
/// `InvalidInput` when `stem` is no name.
pub fn own_name(stem: &str) -> Result<WorkloadName, Error> {
    WorkloadName::new(format!("{stem}-{}", std::process::id()))
}

/// A workload of this run's own, which stays until [`clean_up`]. It has no command: programs are run in
/// it by exec.
///
/// # Errors
/// `InvalidInput` when `stem` is no name.
pub fn own_workload(stem: &str) -> Result<WorkloadSpec, Error> {
    let spec = WorkloadSpec::new(own_name(stem)?).with_keep_alive(true);
    Ok(spec.with_label(RUN, std::process::id().to_string()))
}

/// Removes every workload of this run, then hands `result` on. What a failed clean-up leaves is shown
/// even when the work itself had failed.
///
/// # Errors
/// That of `result`, else that of the clean-up.
pub async fn clean_up<T>(backend: &dyn Backend, result: Result<T, Error>) -> Result<T, Error> {
    let cleaned = remove_all(backend).await;
    match (result, cleaned) {
        (Ok(value), Ok(())) => Ok(value),
        (Ok(_), Err(e)) => Err(e),
        (Err(e), Ok(())) => Err(e),
        (Err(e), Err(left)) => {
            eprintln!("cleaning up failed as well: {left}");
            Err(e)
        }
    }
}

async fn remove_all(backend: &dyn Backend) -> Result<(), Error> {
    let own = Filter::all().with_label(RUN, std::process::id().to_string());
    for workload in backend.list(own).await? {
        backend.remove(RemoveRequest::new(workload.name().clone()).with_force(true)).await?;
    }
    Ok(())
}

/// Keeps the README's program compiling.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

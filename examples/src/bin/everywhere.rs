//! Runs a command in many workloads at once and collects the results: what it printed, how it ended,
//! and where it could not be run at all.
//!
//! ```text
//! everywhere [BACKEND [COMMAND [ARGUMENT]...]]
//! ```
//!
//! It makes eight workloads, and stops one of them to show what a failure among successes looks like.
//! A slow command is killed after ten seconds; the others don't wait for it.

use futures_util::{StreamExt, TryStreamExt, stream};
use pod::prelude::*;
use pod::{Defaults, Output};
use pod_examples::{clean_up, finish, own_workload};
use std::process::ExitCode;
use std::time::Duration;

/// How many workloads are made.
const WORKLOADS: usize = 8;

/// How many things are done at once.
const JOBS: usize = 4;

/// How long the command may take.
const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let backend = arguments.next();
    let mut command: Vec<String> = arguments.collect();
    if command.is_empty() {
        command.push("hostname".into());
    }
    finish(everywhere(backend.as_deref(), &command).await)
}

async fn everywhere(backend: Option<&str>, command: &[String]) -> Result<(), Error> {
    let registry = Registry::from_environment()?;
    let backend = registry.connect(&registry.default_backend(backend)?).await?;
    let result = work(&*backend, command).await;
    clean_up(&*backend, result).await
}

async fn work(backend: &dyn Backend, command: &[String]) -> Result<(), Error> {
    let names = make(backend).await?;
    backend.stop(StopRequest::new(names[WORKLOADS - 1].clone()).with_grace(Duration::ZERO)).await?;

    // `buffered` keeps the order of the names. Each result is a value: one failure ends nothing.
    let results: Vec<(&WorkloadName, Result<Output, Error>)> = stream::iter(&names)
        .map(|name| async move { (name, run(backend, name, command).await) })
        .buffered(JOBS)
        .collect()
        .await;

    let mut succeeded = 0;
    for (name, result) in &results {
        match result {
            Ok(output) if output.status.success() => {
                succeeded += 1;
                println!("{name}: {}", output.stdout_text().trim_end());
            }
            Ok(output) => println!("{name}: {}: {}", output.status, output.stderr_text().trim_end()),
            Err(e) => println!("{name}: not run: {e}"),
        }
    }
    println!("{succeeded} of {WORKLOADS} succeeded");
    if succeeded < WORKLOADS - 1 {
        return Err(Error::new(ErrorKind::CommandFailed, "the command failed in a workload that runs"));
    }
    Ok(())
}

/// Makes and starts the workloads, some at once; the first failure ends it.
async fn make(backend: &dyn Backend) -> Result<Vec<WorkloadName>, Error> {
    let made = stream::iter(1..=WORKLOADS).map(|i| async move {
        let spec = own_workload(&format!("fleet-{i}"))?;
        let workload = backend.create(CreateRequest::new(spec).with_start()).await?;
        Ok(workload.name().clone())
    });
    made.buffered(JOBS).try_collect().await
}

/// Runs the command in one workload.
async fn run(backend: &dyn Backend, name: &WorkloadName, command: &[String]) -> Result<Output, Error> {
    let connection = backend.connect(name).await?;
    connection.run(ExecRequest::new(command.iter().cloned()).with_timeout(TIMEOUT)).await
}

//! Runs a command in a throw-away workload of a backend that is chosen at run time.
//!
//! ```text
//! choose [BACKEND [COMMAND [ARGUMENT]...]]
//!
//! choose local: uname -a
//! choose mem: echo hello
//! ```
//!
//! The backend is an address, or a name from `~/.config/pod/config.toml`; without one it is that file's
//! default, else `local:`. Nothing else in the program depends on it: what a backend can't do is asked,
//! not assumed. The command's exit code is passed on.

use pod::prelude::*;
use pod::{Capability, Defaults};
use pod_examples::{clean_up, finish, own_workload};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let backend = arguments.next();
    let mut command: Vec<String> = arguments.collect();
    if command.is_empty() {
        command = ["uname", "-a"].map(String::from).to_vec();
    }
    match choose(backend.as_deref(), command).await {
        // 128+n for signal n, as a shell says it; a status that was lost is never taken for 0.
        Ok(status) => status.shell_code().map_or(ExitCode::from(125), ExitCode::from),
        Err(e) => finish(Err(e)),
    }
}

async fn choose(backend: Option<&str>, command: Vec<String>) -> Result<ExitStatus, Error> {
    let registry = Registry::from_environment()?;
    let address = registry.default_backend(backend)?;
    let backend = registry.connect(&address).await?;
    let info = backend.info();
    println!("{address} is {} {}", info.product, info.version);

    let mut spec = own_workload("choose")?;
    if backend.capabilities().has(Capability::LimitMemory) {
        spec = spec.with_limits(Limits::default().with_memory(64 << 20));
    } else {
        println!("it can't limit memory: running without a limit");
    }
    let result = run(&*backend, spec, command).await;
    clean_up(&*backend, result).await
}

async fn run(backend: &dyn Backend, spec: WorkloadSpec, command: Vec<String>) -> Result<ExitStatus, Error> {
    let workload = backend.create(CreateRequest::new(spec).with_start()).await?;
    println!("{} is {}", workload.name(), workload.state.word());

    let connection = backend.connect(workload.name()).await?;
    let output = connection.run(ExecRequest::new(command)).await?;
    print!("{}", output.stdout_text());
    eprint!("{}", output.stderr_text());
    println!("the command {}", output.status);
    Ok(output.status)
}

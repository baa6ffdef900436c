//! The project's own commands: `cargo xtask test`, `cargo xtask lab`, `cargo xtask bench`, `cargo xtask docs`.

mod bench;
mod dependencies;
mod docs;
mod install;
mod isolate;
mod lab;
#[cfg(feature = "measure")]
mod measure;
mod names;
mod project;
mod report;
mod second_kernel;
mod tiers;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// The project's own commands
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check and test everything, in tiers
    Test(tiers::Args),
    /// Real servers to test against, on this machine
    Lab(lab::Args),
    /// Measure POD beside other tools
    Bench(bench::Args),
    /// Write the manual pages and shell completions of `pod` to target/docs
    Docs,
    /// Take the measures of `bench`
    #[cfg(feature = "measure")]
    #[command(hide = true)]
    Measure(measure::Args),
    /// Run a program in network and mount namespaces of its own, and look for what it left
    #[command(hide = true)]
    Isolated {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// The inner half of `isolated`
    #[command(hide = true)]
    Inside {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Boot the second kernel, and run a program in it
    #[command(hide = true)]
    SecondKernel {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// The first process of the second kernel
    #[command(hide = true)]
    SecondKernelInit {
        /// What to run
        order: PathBuf,
        /// What the kernel adds by itself
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    // Now, as long as the system knows it.
    if let Err(message) = project::own() {
        eprintln!("xtask: {message}");
        return ExitCode::FAILURE;
    }
    let done = match Cli::parse().command {
        Task::Test(args) => tiers::test(&args),
        Task::Lab(args) => lab::lab(&args),
        Task::Bench(args) => bench::bench(&args),
        Task::Docs => docs::docs(),
        #[cfg(feature = "measure")]
        Task::Measure(args) => measure::measure(&args),
        Task::Isolated { command } => isolate::outer(&command),
        Task::Inside { command } => isolate::inner(&command),
        Task::SecondKernel { command } => second_kernel::outer(&command),
        Task::SecondKernelInit { order, rest: _ } => second_kernel::init(&order),
    };
    match done {
        Ok(code) => code,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

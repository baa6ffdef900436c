//! The project's own commands: `cargo xtask test`.

mod dependencies;
mod install;
mod isolate;
mod names;
mod project;
mod report;
mod tiers;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
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
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Task::Test(args) => tiers::test(&args),
        Task::Isolated { command } => isolate::outer(&command),
        Task::Inside { command } => isolate::inner(&command),
    };
    match done {
        Ok(code) => code,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

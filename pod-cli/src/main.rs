//! The `pod` command.

mod args;
mod commands;
mod context;
mod exit;
mod failure;
mod log;
mod nearest;
mod output;
mod progress;
mod runtime;
mod signals;
mod stdio;
mod targets;
mod terminal;

fn main() -> ! {
    // First of all, before anything is read, opened or allocated for the command: a program that runs
    // the embedded engine may have been started again as one workload's helper.
    #[cfg(target_os = "linux")]
    pod::local::helper::run_if_asked();

    args::complete();
    let code = match args::parse() {
        Ok(args) => commands::dispatch(args),
        Err(code) => code,
    };
    exit::leave(code)
}

//! The contract suite on a real Docker daemon, through the registry.

mod lab;

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::contract::run(lab::Engine::Docker)
}

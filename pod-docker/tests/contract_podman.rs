//! The contract suite on a real Podman, through the registry.

mod lab;

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::contract::run(lab::Engine::Podman)
}

//! The contract suite on a real Docker daemon of today, through the registry.

mod lab;

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::contract::run(lab::Engine::Moby)
}

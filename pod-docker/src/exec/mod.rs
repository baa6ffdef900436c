//! Programs in a running container.
//!
//! Docker gives an exec an environment, a directory and a user, and keeps its exit code; but it has no way
//! to signal or kill one, sizes its terminal only after it began, and holds back its end while something
//! that it left behind still has its output (moby/moby#35703). So a program is started by the image's
//! `/bin/sh` ([`wrap`]), which says by marks in its own output when the program begins, what kept it from
//! that, and how it ended.

mod driver;
pub(crate) mod pump;
mod script;
mod start;
mod wrap;

pub(crate) use script::{Running, never_began, open as open_script, open_as, run as run_script};
pub(crate) use start::{not_running, refused, start};
pub(crate) use wrap::SHELL;

use crate::engine::Engine;
use pod_core::{Error, WorkloadName};

/// The container that a program runs in.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) engine: Engine,
    /// The container's whole id: another of the same name is another.
    pub(crate) id: String,
    pub(crate) name: WorkloadName,
}

impl Target {
    /// Says which workload an error is about.
    pub(crate) fn about(&self, error: Error) -> Error {
        if error.context().iter().any(|(key, _)| *key == "workload") {
            return error;
        }
        error.with_context("workload", self.name.as_str())
    }
}

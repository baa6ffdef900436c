//! The contract suite that every POD backend passes, as a library: a backend's crate runs it from an
//! integration test of its own.
//!
//! ```no_run
//! // tests/contract.rs of the backend's crate, with `harness = false` in its manifest.
//! use pod_core::Registry;
//! use pod_testkit::Target;
//!
//! fn main() -> std::process::ExitCode {
//!     let mut registry = Registry::new();
//!     pod_core::mem::register(&mut registry);
//!     pod_testkit::run(Target::new("mem", registry, "mem:".parse().expect("an address")))
//! }
//! ```
//!
//! Each case names the capabilities it needs. A backend that has them must pass it; of each capability
//! that it says it lacks, it must answer [`Unsupported`](pod_core::ErrorKind::Unsupported) when asked.
//! [`golden::check`] keeps a backend from quietly saying less than it can do. [`faulty`] breaks a backend
//! in one way at a time: it proves that no case of the suite passes whatever happens.
//!
//! Cases make workloads and networks whose names begin with a random prefix, and remove them also when
//! they fail. They run through the layers of [`Registry::connect`](pod_core::Registry::connect).

mod case;
mod cases;
pub mod faulty;
pub mod golden;
mod suite;
mod target;
#[cfg(unix)]
pub mod wire;

pub use case::{Case, Failure, Lab, Outcome};
pub use cases::{all as cases, unsupported::cases as unsupported_cases};
pub use suite::{run, run_case, trials};
pub use target::{Dialect, Target};

//! The command on the embedded engine, as root: what its users were promised.
#![allow(clippy::unwrap_used, missing_docs)]

mod copies;
#[path = "../driver/mod.rs"]
mod driver;
mod engine;
mod execs;
mod forwards;
mod topologies;

pub(crate) use engine::Engine;

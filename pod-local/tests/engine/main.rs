//! The embedded engine on a real kernel, as root: what the contract suite can't ask of every backend.
#![allow(clippy::unwrap_used, missing_docs)]

mod bench_root;
mod hidden;
mod images;
mod leftovers;
mod limits;
mod streams;

pub(crate) use bench_root::Bench;

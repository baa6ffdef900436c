//! The command on a real cluster of two nodes: what its users were promised.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../driver/mod.rs"]
mod driver;
mod forwards;
mod nads;
mod tools;
mod topologies;
mod workloads;
mod world;

pub(crate) use world::World;

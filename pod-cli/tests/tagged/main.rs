//! The command on a kernel with 802.1Q, in a lab of one node: networks whose workloads are on several
//! platforms, told apart by nothing but their tags.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../driver/mod.rs"]
#[expect(dead_code, reason = "the other tests use all of it")]
mod driver;
mod platforms;
mod span;
#[path = "../k8s/world.rs"]
#[expect(dead_code, reason = "the tests of the cluster use all of it")]
mod world;

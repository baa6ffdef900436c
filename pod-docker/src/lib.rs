//! Docker for POD: containers run, reached, copied to and from.
//!
//! A workload is a container; the backend is a daemon that speaks Docker's API, at the endpoint that an
//! address names ([`DockerConfig`]). [`register`] adds `docker:` to a registry, and `podman:`, whose service
//! speaks the same API: it is found, and refused until it is proven to keep the contract. Every container
//! of the daemon is a workload, whoever made it; what is made here carries the owner and the whole
//! specification as labels.
//!
//! The API is spoken as the daemon offers it, 1.40 to 1.44, over a client of POD's own: what streams has no
//! time limit, outputs are taken apart by what was asked for and never by what they look like, and of what a
//! daemon says only what is needed is read.
//!
//! What is not there, and refused as a capability: attaching to a command's own streams, workloads that
//! outlive their command, ports of a workload's own loopback, and networks.

mod auth;
mod backend;
mod config;
mod connection;
mod containers;
mod copy;
mod doctor;
mod engine;
mod errors;
mod events;
mod exec;
mod gc;
mod images;
mod logs;
mod owner;

pub use backend::DockerBackend;
pub use config::{DockerConfig, Flavor, Pull, SCHEMES};
pub use doctor::Diagnosis;
pub use gc::Leftover;
pub use images::PullProgress;

use pod_core::{Address, Backend, BackendFactory, BackendUri, Registry, Result};
use std::sync::Arc;

/// Makes `docker:` and `podman:` backends.
#[derive(Debug)]
struct DockerFactory;

#[async_trait::async_trait]
impl BackendFactory for DockerFactory {
    fn schemes(&self) -> &'static [&'static str] {
        SCHEMES
    }

    fn describe(&self) -> &'static str {
        "containers of a Docker daemon"
    }

    fn split(&self, address: BackendUri) -> Result<Address> {
        pod_core::split_single(address)
    }

    async fn connect(&self, uri: &BackendUri) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(DockerBackend::open(DockerConfig::from_uri(uri)?).await?))
    }
}

/// Adds the schemes `docker` and `podman` to a registry.
pub fn register(registry: &mut Registry) {
    registry.register(Arc::new(DockerFactory));
}

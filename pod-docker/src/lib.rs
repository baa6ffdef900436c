//! Docker and Podman for POD: containers run, reached, copied to and from.
//!
//! A workload is a container; the backend is a daemon that speaks Docker's API, at the endpoint that an
//! address names ([`DockerConfig`]). [`register`] adds `docker:` to a registry, and `podman:`, whose service
//! speaks the same API and keeps the same contract. Every container of the daemon is a workload, whoever
//! made it; what is made here carries the owner and the whole specification as labels.
//!
//! The API is spoken as the daemon offers it, 1.40 to 1.56, over a client of POD's own: what streams has no
//! time limit, outputs are taken apart by what was asked for and never by what they look like, and of what a
//! daemon says only what is needed is read.
//!
//! A workload that outlives its command runs a script in its image's `/bin/sh`, which keeps it up.

mod attach;
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
mod forward;
mod gc;
mod images;
mod libpod;
mod logs;
mod networking;
mod operation;
mod owner;

pub use backend::DockerBackend;
pub use config::{DockerConfig, Flavor, Plugin, Pull, SCHEMES};
pub use doctor::Diagnosis;
pub use gc::{Leftover, LeftoverKind};
pub use images::PullProgress;

use pod_core::{Address, Backend, BackendFactory, BackendUri, Capabilities, Registry, Result};
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
        "containers of a Docker daemon, or of Podman"
    }

    fn split(&self, address: BackendUri) -> Result<Address> {
        pod_core::split_single(address)
    }

    async fn connect(&self, uri: &BackendUri, wanted: Capabilities) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(DockerBackend::open_for(DockerConfig::from_uri(uri)?, wanted).await?))
    }
}

/// Adds the schemes `docker` and `podman` to a registry.
pub fn register(registry: &mut Registry) {
    registry.register(Arc::new(DockerFactory));
}

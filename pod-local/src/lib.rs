//! The embedded engine of POD: containers on this machine with no daemon.
//!
//! Each workload has a helper process that outlives the command, holds its stdio, log and status, and
//! talks to the workload's PID 1; libcontainer makes the container, pod-net its interfaces. The backend
//! is `local:`; [`register`] adds it to a registry.
//!
//! Needs root, overlayfs and control groups; version 1, hybrid and version 2 hierarchies all serve.
#![cfg(target_os = "linux")]

mod backend;
mod cgroup;
mod client;
mod config;
mod connection;
mod doctor;
mod errors;
mod events;
pub mod helper;
mod image;
mod init;
mod logs;
mod networking;
mod overlay;
mod own_files;
mod readiness;
mod root;
mod runtime_spec;
mod store;
mod user;
mod wire;

pub use backend::LocalBackend;
pub use config::{LocalConfig, SCHEMES};
pub use doctor::{Diagnosis, doctor};

use pod_core::{Address, Backend, BackendFactory, BackendUri, Capabilities, Registry, Result, split_single};
use std::sync::Arc;

/// Makes `local:` backends.
#[derive(Debug)]
struct LocalFactory;

#[async_trait::async_trait]
impl BackendFactory for LocalFactory {
    fn schemes(&self) -> &'static [&'static str] {
        SCHEMES
    }

    fn describe(&self) -> &'static str {
        "containers on this machine, with no daemon"
    }

    fn split(&self, address: BackendUri) -> Result<Address> {
        split_single(address)
    }

    async fn connect(&self, uri: &BackendUri, _: Capabilities) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(LocalBackend::open(LocalConfig::from_uri(uri)?).await?))
    }
}

/// Adds the scheme `local` to a registry.
pub fn register(registry: &mut Registry) {
    registry.register(Arc::new(LocalFactory));
}

//! Kubernetes for POD: pods run, reached, wired to networks.
//!
//! A workload is a pod's container: the one that the address or the option `container` names, else the
//! pod's default, else its first. The backend is `k8s:`, one namespace of one context ([`K8sConfig`]);
//! [`register`] adds it to a registry.
//!
//! Kubernetes can't stop a pod and start it again, so `lifecycle.start_stop` is not among the
//! capabilities: a workload is made running, and removed. Its exit status and its log are kept until
//! then. The log does not tell stdout from stderr. What a pod is made with is said at
//! [`K8sBackend::create_pod`], which takes any other pod as well.
//!
//! Everything made carries `app.kubernetes.io/managed-by: pod` and the owner; while a pod is being made
//! it also carries the operation, by which [`K8sBackend::gc_candidates`] finds what a killed program left.

mod allocate;
mod attach;
mod backend;
mod cluster;
pub mod cni;
mod config;
mod connection;
mod copy;
mod credentials;
mod doctor;
mod errors;
mod events;
mod exec;
mod forward;
mod gc;
mod kubeconfig;
mod logs;
pub mod nad;
mod namespaces;
mod networking;
mod owner;
mod pods;
pub mod policy;
mod probe_pod;
pub mod rbac;

pub use backend::K8sBackend;
pub use config::{K8sConfig, Pull, SCHEMES};
pub use doctor::Diagnosis;
pub use gc::Leftover;
pub use namespaces::{CreateNamespaceOutcome, Namespace, Namespaces};
pub use networking::LinkTest;

use pod_core::{Address, Backend, BackendFactory, BackendUri, Capabilities, Registry, Result};
use std::sync::Arc;

/// Makes `k8s:` backends.
#[derive(Debug)]
struct K8sFactory;

#[async_trait::async_trait]
impl BackendFactory for K8sFactory {
    fn schemes(&self) -> &'static [&'static str] {
        SCHEMES
    }

    fn describe(&self) -> &'static str {
        "pods of a Kubernetes cluster"
    }

    fn split(&self, address: BackendUri) -> Result<Address> {
        config::split(address)
    }

    async fn connect(&self, uri: &BackendUri, wanted: Capabilities) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(K8sBackend::open_for(K8sConfig::from_uri(uri)?, wanted).await?))
    }
}

/// Adds the scheme `k8s` to a registry.
pub fn register(registry: &mut Registry) {
    registry.register(Arc::new(K8sFactory));
}

//! Kubernetes for POD: pods run, reached, wired to networks.
//!
//! A workload is a pod's container. The backend is `k8s:`; [`register`] adds it to a registry.
//!
//! Kubernetes can't stop a pod and start it again, so `lifecycle.start_stop` is not among the
//! capabilities: a workload is made running, and removed.

// Until the backend uses all of it.
#![allow(dead_code)]

mod cluster;
mod config;
mod credentials;
mod errors;
mod kubeconfig;
pub mod nad;

pub use config::{K8sConfig, Pull, SCHEMES};

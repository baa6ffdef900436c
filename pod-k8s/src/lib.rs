//! Kubernetes for POD: pods run, reached, and wired to networks.

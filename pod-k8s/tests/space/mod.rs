//! The lab's cluster, and a namespace of each test's own.
#![allow(dead_code, reason = "each test program uses its part")]

use pod_core::{Backend, Connection, CreateRequest, Image, Labels, Registry, Workload, WorkloadName, WorkloadSpec};
use pod_k8s::{K8sBackend, K8sConfig};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The administrator's kubeconfig.
pub(crate) fn kubeconfig() -> PathBuf {
    let path = std::env::var_os("POD_LAB_KUBECONFIG");
    PathBuf::from(path.expect("POD_LAB_KUBECONFIG must name the lab's kubeconfig: run `cargo xtask test`"))
}

/// The image that the lab's nodes have.
pub(crate) fn image() -> Image {
    let name = std::env::var("POD_LAB_IMAGE").unwrap_or_else(|_| "pod.test/busybox:1".into());
    name.parse().expect("an image")
}

pub(crate) fn config(namespace: &str) -> K8sConfig {
    K8sConfig::default()
        .with_kubeconfig(kubeconfig())
        .with_namespace(namespace)
        .with_image(image())
        .with_wait(Duration::from_secs(90))
}

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8])
}

/// A backend in a namespace of the test's own.
pub(crate) struct Own {
    pub(crate) backend: K8sBackend,
    pub(crate) namespace: String,
}

/// Runs a test in a namespace of its own, which is removed afterwards, whatever comes.
pub(crate) fn with<F, Fut>(what: &str, test: F)
where
    F: FnOnce(Arc<Own>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let namespace = unique(what);
        let backend = K8sBackend::open(config(&namespace)).await.expect("the lab's cluster");
        backend.namespaces().create(&namespace, Labels::new()).await.expect("a namespace");
        let own = Arc::new(Own { backend: backend.clone(), namespace: namespace.clone() });
        let ended = tokio::spawn(test(own)).await;
        // By force, or the namespace waits for each pod's grace.
        for pod in backend.list(pod_core::Filter::all()).await.unwrap_or_default() {
            let request = pod_core::RemoveRequest::new(pod.spec.name).with_force(true);
            backend.remove(request).await.expect("a pod is removed");
        }
        let removed = backend.namespaces().remove(&namespace, false).await;
        if let Err(e) = ended {
            std::panic::resume_unwind(e.into_panic());
        }
        removed.expect("the namespace is removed");
    });
}

impl Own {
    pub(crate) fn spec(&self, name: &str) -> WorkloadSpec {
        WorkloadSpec::new(WorkloadName::new(name).expect("a name")).with_command(["sleep", "3600"])
    }

    pub(crate) fn script(&self, name: &str, script: &str) -> WorkloadSpec {
        self.spec(name).with_command(["sh", "-c", script])
    }

    pub(crate) async fn create(&self, spec: WorkloadSpec) -> pod_core::Result<Workload> {
        self.backend.create(CreateRequest::new(spec).with_start()).await
    }

    pub(crate) async fn start(&self, spec: WorkloadSpec) -> Workload {
        let name = spec.name.clone();
        self.create(spec).await.unwrap_or_else(|e| panic!("{name} does not start: {e}"))
    }

    pub(crate) async fn connect(&self, name: &str) -> Arc<dyn Connection> {
        self.backend.connect(&WorkloadName::new(name).expect("a name")).await.expect("a connection")
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        let all = self.backend.list(pod_core::Filter::all()).await.expect("a list");
        all.iter().map(|w| w.name().to_string()).collect()
    }
}

/// Tries until something holds.
pub(crate) async fn eventually<F, Fut>(what: &str, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "it still does not hold that {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The registry with this backend alone.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    pod_k8s::register(&mut registry);
    registry
}

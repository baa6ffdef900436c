//! The lab's daemon.
#![allow(dead_code, reason = "each test program uses its part")]

use pod_core::{
    Backend, BackendUri, Connection, ConnectionExt, CreateRequest, ExecRequest, Image, Registry, RemoveRequest, Result,
    WorkloadName, WorkloadSpec,
};
use std::sync::Arc;

/// The daemon's socket.
pub(crate) fn socket() -> String {
    std::env::var("POD_LAB_DOCKER").expect("POD_LAB_DOCKER must name the lab's Docker socket: run `cargo xtask test`")
}

/// The image that the daemon has.
pub(crate) fn image() -> Image {
    let name = std::env::var("POD_LAB_IMAGE").unwrap_or_else(|_| "pod.test/busybox:1".into());
    name.parse().expect("an image")
}

pub(crate) fn uri() -> BackendUri {
    BackendUri::new("docker").expect("a scheme").with_option("socket", socket())
}

/// The registry with this backend alone.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    pod_docker::register(&mut registry);
    registry
}

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> WorkloadName {
    WorkloadName::new(format!("{what}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8])).expect("a name")
}

/// A workload that runs until the test ends.
pub(crate) struct Running {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) name: WorkloadName,
    pub(crate) connection: Arc<dyn Connection>,
}

pub(crate) fn spec(name: &WorkloadName) -> WorkloadSpec {
    WorkloadSpec::new(name.clone()).with_image(image()).with_command(["sleep", "3600"])
}

impl Running {
    pub(crate) async fn new(what: &str) -> Result<Self> {
        let backend = registry().connect(&uri()).await?;
        let name = unique(what);
        backend.create(CreateRequest::new(spec(&name)).with_start()).await?;
        let connection = backend.connect(&name).await?;
        Ok(Self { backend, name, connection })
    }

    /// Runs a script that must not fail.
    pub(crate) async fn sh(&self, script: &str) -> Result<String> {
        let out = self.connection.run(ExecRequest::shell(script)).await?;
        assert!(out.status.success(), "{script}: {} {}", out.status, out.stderr_text());
        Ok(out.stdout_text())
    }
}

/// Runs a test with a workload, which is removed whatever happens.
pub(crate) async fn with_workload<F, Fut>(what: &str, test: F)
where
    F: FnOnce(Arc<Running>) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let running = Arc::new(Running::new(what).await.expect("a workload"));
    let done = tokio::spawn(test(running.clone())).await;
    running.backend.remove(RemoveRequest::new(running.name.clone()).with_force(true)).await.expect("it is removed");
    match done {
        Ok(done) => done.expect("the test"),
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

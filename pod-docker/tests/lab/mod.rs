//! The lab's engines.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod contract;
pub(crate) mod world;

use pod_core::{
    Backend, BackendUri, Connection, ConnectionExt, CreateRequest, ExecRequest, Image, Registry, RemoveRequest, Result,
    WorkloadName, WorkloadSpec,
};
use std::sync::Arc;

/// Which of the lab's engines is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Debian's.
    Docker,
    /// The one of today.
    Moby,
    Podman,
}

impl Engine {
    pub(crate) const BOTH: [Self; 2] = [Self::Docker, Self::Podman];

    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Docker | Self::Moby => "docker",
            Self::Podman => "podman",
        }
    }

    /// Its socket.
    pub(crate) fn socket(self) -> String {
        let variable = match self {
            Self::Docker => "POD_LAB_DOCKER",
            Self::Moby => "POD_LAB_MOBY",
            Self::Podman => "POD_LAB_PODMAN",
        };
        std::env::var(variable)
            .unwrap_or_else(|_| panic!("{variable} names no socket of the lab's: run `cargo xtask test`"))
    }

    pub(crate) fn uri(self) -> BackendUri {
        BackendUri::new(self.scheme()).expect("a scheme").with_option("socket", self.socket())
    }
}

/// The words before a command that run it in the network namespace of an engine.
pub(crate) async fn machine(engine: Engine) -> std::io::Result<Vec<String>> {
    let who = tokio::net::UnixStream::connect(engine.socket()).await?.peer_cred()?;
    let pid = who.pid().ok_or_else(|| std::io::Error::other("nobody is told to listen there"))?;
    Ok(["nsenter", "--net", "--target", &pid.to_string(), "--"].map(str::to_owned).to_vec())
}

/// The Docker daemon's socket.
pub(crate) fn socket() -> String {
    Engine::Docker.socket()
}

/// The image that all have.
pub(crate) fn image() -> Image {
    let name = std::env::var("POD_LAB_IMAGE").unwrap_or_else(|_| "pod.test/busybox:1".into());
    name.parse().expect("an image")
}

/// The Docker daemon's address.
pub(crate) fn uri() -> BackendUri {
    Engine::Docker.uri()
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
    pub(crate) engine: Engine,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) name: WorkloadName,
    pub(crate) connection: Arc<dyn Connection>,
}

pub(crate) fn spec(name: &WorkloadName) -> WorkloadSpec {
    WorkloadSpec::new(name.clone()).with_image(image()).with_command(["sleep", "3600"])
}

impl Running {
    pub(crate) async fn new(engine: Engine, what: &str) -> Result<Self> {
        let backend = registry().connect(&engine.uri()).await?;
        let name = unique(what);
        backend.create(CreateRequest::new(spec(&name)).with_start()).await?;
        let connection = backend.connect(&name).await?;
        Ok(Self { engine, backend, name, connection })
    }

    /// Runs a script that must not fail.
    pub(crate) async fn sh(&self, script: &str) -> Result<String> {
        let out = self.connection.run(ExecRequest::shell(script)).await?;
        assert!(out.status.success(), "{script}: {} {}", out.status, out.stderr_text());
        Ok(out.stdout_text())
    }
}

/// Runs a test on both engines, with a workload that is removed whatever happens.
pub(crate) async fn with_workload<F, Fut>(what: &str, test: F)
where
    F: Fn(Arc<Running>) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    for engine in Engine::BOTH {
        with_workload_on(engine, what, &test).await;
    }
}

/// Runs a test on one engine, with a workload that is removed whatever happens.
pub(crate) async fn with_workload_on<F, Fut>(engine: Engine, what: &str, test: F)
where
    F: FnOnce(Arc<Running>) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let running = Arc::new(Running::new(engine, what).await.expect("a workload"));
    let done = tokio::spawn(test(running.clone())).await;
    running.backend.remove(RemoveRequest::new(running.name.clone()).with_force(true)).await.expect("it is removed");
    match done {
        Ok(done) => done.unwrap_or_else(|e| panic!("on {engine:?}: {e}")),
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

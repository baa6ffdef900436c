//! Networks of a real daemon, with names and subnets that no other test has.

use super::Engine;
use pod_core::{
    AttachNetworkRequest, AttachmentFilter, AttachmentSpec, Backend, ConnectionExt, CreateNetworkOutcome,
    CreateRequest, Error, ErrorKind, ExecRequest, Network, NetworkName, NetworkSpec, Networking, ProbeOutcome,
    ProbeRequest, ProbeTarget, RemoveRequest, VerifyRequest, WorkloadName, WorkloadSpec,
};
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A script that ends when it is told to.
pub(crate) const BY_HAND: &str = "until rm /go 2>/dev/null; do sleep 0.05; done; exit 3";

/// A daemon, with names and subnets that no other test has; what a test makes goes with it.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) networks: Vec<NetworkName>,
    pub(crate) workloads: Vec<WorkloadName>,
}

impl World {
    async fn new(engine: Engine) -> Self {
        let backend = super::registry().connect(&engine.uri()).await.expect("the daemon");
        Self { engine, backend, networks: Vec::new(), workloads: Vec::new() }
    }

    pub(crate) fn networking(&self) -> Arc<dyn Networking> {
        self.backend.networking().expect("networks")
    }

    /// A specification with a name of its own.
    pub(crate) fn spec(&mut self, subnet: &str) -> NetworkSpec {
        let name: NetworkName = super::unique("net").as_str().parse().expect("a name");
        self.networks.push(name.clone());
        NetworkSpec::new(name).with_subnet(subnet.parse().expect("a subnet"))
    }

    pub(crate) async fn network(&mut self, subnet: &str) -> Network {
        let spec = self.spec(subnet);
        self.made(spec).await
    }

    pub(crate) async fn made(&self, spec: NetworkSpec) -> Network {
        match self.networking().create(spec).await.expect("a network") {
            CreateNetworkOutcome::Created(network) => network,
            CreateNetworkOutcome::AlreadyExists(there) => panic!("it was there: {there:?}"),
        }
    }

    pub(crate) async fn refused(&self, spec: NetworkSpec, kind: ErrorKind) -> Error {
        let name = spec.name.clone();
        let e = self.networking().create(spec).await.expect_err("a refusal");
        assert_eq!(e.kind(), kind, "{e}");
        assert!(
            !self.networking().list().await.expect("a list").iter().any(|n| n.spec.name == name),
            "{name} was left"
        );
        let there = self.docker(&["network", "ls", "-q", "-f", &format!("name=^{name}$")]);
        assert_eq!(there, "", "the daemon has {name}");
        e
    }

    pub(crate) async fn running(&mut self, attachments: Vec<AttachmentSpec>) -> WorkloadName {
        self.run(|spec| attachments.into_iter().fold(spec, WorkloadSpec::with_attachment)).await
    }

    pub(crate) async fn run(&mut self, change: impl FnOnce(WorkloadSpec) -> WorkloadSpec) -> WorkloadName {
        let name = self.named();
        let spec = change(super::spec(&name));
        self.backend.create(CreateRequest::new(spec).with_start()).await.expect("a workload");
        name
    }

    /// A name for a workload that goes with the world, whoever makes it.
    pub(crate) fn named(&mut self) -> WorkloadName {
        let name = super::unique("on");
        self.workloads.push(name.clone());
        name
    }

    /// Lets a workload of [`BY_HAND`] end, and waits until it was started again for the first time.
    pub(crate) async fn again(&self, workload: &WorkloadName) {
        assert_eq!(self.sh(workload, "touch /go").await, "");
        for _ in 0..500 {
            let found = self.backend.inspect(workload).await.expect("a workload");
            if found.restarts == 1 && found.state.is_running() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{workload} was not started again on {:?}", self.engine);
    }

    pub(crate) async fn attach(
        &self,
        workload: &WorkloadName,
        spec: AttachmentSpec,
    ) -> pod_core::Result<pod_core::Attachment> {
        self.networking().attach(AttachNetworkRequest::new(workload.clone(), spec)).await
    }

    pub(crate) async fn attachments(&self, workload: &WorkloadName) -> Vec<pod_core::Attachment> {
        let filter = AttachmentFilter::default().with_workload(workload.clone());
        self.networking().attachments(filter).await.expect("a list")
    }

    pub(crate) async fn probe(&self, from: &WorkloadName, to: &str) -> ProbeOutcome {
        let request = ProbeRequest::new(from.clone(), vec![ProbeTarget::new(ip(to))]);
        self.networking().probe(request).await.expect("a probe").remove(0)
    }

    pub(crate) async fn sh(&self, workload: &WorkloadName, script: &str) -> String {
        let connection = self.backend.connect(workload).await.expect("a connection");
        let out = connection.run(ExecRequest::shell(script)).await.expect("a program");
        format!("{}{}", out.stdout_text(), out.stderr_text())
    }

    /// What Docker's own client prints of this engine.
    pub(crate) fn docker(&self, words: &[&str]) -> String {
        let done =
            Command::new("docker").args(["-H", &format!("unix://{}", self.engine.socket())]).args(words).output();
        let done = done.expect("docker");
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    pub(crate) async fn verified(&self, network: &NetworkName) {
        let report = self.networking().verify(VerifyRequest::of(network.clone())).await.expect("a report");
        assert!(report.ok() && report.checked > 0, "{:?}", report.findings);
    }
}

/// Runs a test in a world of its own, which is cleared whatever happens.
pub(crate) async fn with_world(engine: Engine, test: impl AsyncFnOnce(&mut World)) {
    use futures_util::FutureExt;
    let mut world = World::new(engine).await;
    let done = std::panic::AssertUnwindSafe(test(&mut world)).catch_unwind().await;
    for name in &world.workloads {
        let removed = world.backend.remove(RemoveRequest::new(name.clone()).with_force(true)).await;
        removed.expect("it is removed");
    }
    for name in &world.networks {
        world.networking().remove(name).await.expect("it is removed");
    }
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a test on both engines, in a world of its own on each.
pub(crate) async fn on_both(test: impl AsyncFn(&mut World)) {
    for engine in Engine::BOTH {
        with_world(engine, &test).await;
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn on(network: &Network) -> AttachmentSpec {
    AttachmentSpec::new(network.spec.name.clone())
}

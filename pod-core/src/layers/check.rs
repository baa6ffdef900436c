//! Refuses what a backend can't do, and what makes no sense, before any I/O.

use crate::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use crate::{
    Applied, AttachNetworkRequest, AttachRequest, Attachment, AttachmentFilter, Backend, BackendInfo, BoxDuplex,
    Capabilities, Capability, Connection, CreateNetworkOutcome, CreateRequest, DetachOutcome, DetachRequest, Error,
    EventStream, EventsRequest, ExecRequest, Filter, ForwardRequest, IsolateRequest, LogStreamOf, LogsRequest, Network,
    NetworkIntent, NetworkName, NetworkPlan, NetworkSpec, NetworkStep, Networking, PolicyReport, PolicySpec,
    ProbeOutcome, ProbeRequest, Process, RemoveOutcome, RemoveRequest, Requires, Result, StartOutcome, StartRequest,
    StopOutcome, StopRequest, VerifyReport, VerifyRequest, Workload, WorkloadName,
};
use async_trait::async_trait;
use std::sync::Arc;

/// The gate every request passes: validates it, compares what it needs with the backend's
/// [`Capabilities`], and puts the operation and the backend into every error.
/// [`Registry::connect`](crate::Registry::connect) always puts it on.
#[derive(Debug, Clone)]
pub struct Check<T: ?Sized> {
    gate: Gate,
    inner: Arc<T>,
}

#[derive(Debug, Clone)]
struct Gate {
    capabilities: Capabilities,
    backend: String,
}

impl Gate {
    fn allow(&self, operation: &'static str, request: &impl Requires) -> Result<()> {
        self.allow_all(operation, &request.requires())
    }

    fn allow_all(&self, operation: &'static str, needs: &[Capability]) -> Result<()> {
        match needs.iter().find(|c| !self.capabilities.has(**c)) {
            None => Ok(()),
            Some(missing) => Err(Error::unsupported(missing.lacking())
                .with_context("capability", missing.path())
                .with_hint(format!("`pod backend caps {}` lists what it can do", self.backend))
                .with_operation(operation)
                .with_backend(self.backend.clone())),
        }
    }

    fn name<T>(&self, operation: &'static str, result: Result<T>) -> Result<T> {
        result.map_err(|e| e.with_operation(operation).with_backend(self.backend.clone()))
    }
}

impl Check<dyn Backend> {
    /// Puts the gate before `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        let gate = Gate { capabilities: inner.capabilities(), backend: inner.info().uri.to_string() };
        Self { gate, inner }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Backend for Check<dyn Backend> {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> Capabilities {
        self.gate.capabilities
    }

    async fn ping(&self) -> Result<()> {
        self.gate.name("ping", self.inner.ping().await)
    }

    async fn create(&self, request: CreateRequest) -> Result<Workload> {
        self.gate.name("create", request.spec.validate())?;
        self.gate.allow("create", &request)?;
        self.gate.name("create", self.inner.create(request).await)
    }

    async fn start(&self, request: StartRequest) -> Result<StartOutcome> {
        self.gate.allow("start", &request)?;
        self.gate.name("start", self.inner.start(request).await)
    }

    async fn stop(&self, request: StopRequest) -> Result<StopOutcome> {
        self.gate.allow("stop", &request)?;
        self.gate.name("stop", self.inner.stop(request).await)
    }

    async fn remove(&self, request: RemoveRequest) -> Result<RemoveOutcome> {
        self.gate.allow("remove", &request)?;
        self.gate.name("remove", self.inner.remove(request).await)
    }

    async fn inspect(&self, name: &WorkloadName) -> Result<Workload> {
        self.gate.name("inspect", self.inner.inspect(name).await)
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Workload>> {
        self.gate.allow("list", &filter)?;
        self.gate.name("list", self.inner.list(filter).await)
    }

    async fn logs(&self, request: LogsRequest) -> Result<LogStreamOf> {
        self.gate.allow("logs", &request)?;
        if request.follow {
            self.gate.allow_all("logs", &[Capability::LogsFollow])?;
        }
        if request.since.is_some() {
            self.gate.allow_all("logs", &[Capability::LogTimestamps])?;
        }
        self.gate.name("logs", self.inner.logs(request).await)
    }

    async fn events(&self, request: EventsRequest) -> Result<EventStream> {
        self.gate.allow("events", &request)?;
        self.gate.name("events", self.inner.events(request).await)
    }

    async fn attach(&self, request: AttachRequest) -> Result<Process> {
        self.gate.allow("attach", &request)?;
        self.gate.name("attach", self.inner.attach(request).await)
    }

    async fn connect(&self, name: &WorkloadName) -> Result<Arc<dyn Connection>> {
        let inner = self.gate.name("connect", self.inner.connect(name).await)?;
        Ok(Arc::new(Check::<dyn Connection> { gate: self.gate.clone(), inner }))
    }

    fn networking(&self) -> Option<Arc<dyn Networking>> {
        let inner = self.inner.networking()?;
        Some(Arc::new(Check::<dyn Networking> { gate: self.gate.clone(), inner }))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Connection for Check<dyn Connection> {
    fn workload(&self) -> &WorkloadName {
        self.inner.workload()
    }

    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        self.gate.name("exec", request.validate())?;
        self.gate.allow("exec", &request)?;
        self.gate.name("exec", self.inner.exec(request).await)
    }

    async fn copy_in(&self, request: CopyInRequest) -> Result<CopyReport> {
        self.gate.name("copy", absolute(&request.dest))?;
        self.gate.allow("copy", &request)?;
        self.gate.name("copy", self.inner.copy_in(request).await)
    }

    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream> {
        self.gate.name("copy", absolute(&request.path))?;
        self.gate.allow("copy", &request)?;
        self.gate.name("copy", self.inner.copy_out(request).await)
    }

    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>> {
        self.gate.name("stat", absolute(&request.path))?;
        self.gate.allow_all("stat", &[Capability::CopyOut])?;
        self.gate.name("stat", self.inner.stat(request).await)
    }

    async fn forward(&self, request: ForwardRequest) -> Result<BoxDuplex> {
        self.gate.name("forward", request.validate())?;
        self.gate.allow("forward", &request)?;
        self.gate.name("forward", self.inner.forward(request).await)
    }
}

fn absolute(path: &[u8]) -> Result<()> {
    if path.first() == Some(&b'/') && !path.contains(&0) {
        Ok(())
    } else {
        Err(Error::invalid("a path within a workload is absolute")
            .with_context("path", path.escape_ascii().to_string()))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Networking for Check<dyn Networking> {
    async fn create(&self, spec: NetworkSpec) -> Result<CreateNetworkOutcome> {
        self.gate.name("create network", spec.validate())?;
        self.gate.allow("create network", &spec)?;
        self.gate.name("create network", self.inner.create(spec).await)
    }

    async fn list(&self) -> Result<Vec<Network>> {
        self.gate.allow_all("list networks", &[Capability::Networks])?;
        self.gate.name("list networks", self.inner.list().await)
    }

    async fn remove(&self, network: &NetworkName) -> Result<RemoveOutcome> {
        self.gate.allow_all("remove network", &[Capability::Networks])?;
        self.gate.name("remove network", self.inner.remove(network).await)
    }

    async fn plan(&self, intent: NetworkIntent) -> Result<NetworkPlan> {
        self.gate.allow_all("plan", &[Capability::Plan])?;
        for spec in &intent.networks {
            self.gate.name("plan", spec.validate())?;
            self.gate.allow("plan", spec)?;
        }
        for attachment in &intent.attachments {
            self.gate.allow("plan", attachment)?;
        }
        self.gate.name("plan", self.inner.plan(intent).await)
    }

    async fn apply(&self, plan: NetworkPlan) -> Result<Applied> {
        self.gate.allow_all("apply", &[Capability::Plan])?;
        for step in &plan.steps {
            match step {
                NetworkStep::CreateNetwork(spec) => {
                    self.gate.name("apply", spec.validate())?;
                    self.gate.allow("apply", spec)?;
                }
                NetworkStep::Attach(request) => self.gate.allow("apply", request)?,
                NetworkStep::RemoveNetwork(_) | NetworkStep::Detach(_) => {}
            }
        }
        self.gate.name("apply", self.inner.apply(plan).await)
    }

    async fn attach(&self, request: AttachNetworkRequest) -> Result<Attachment> {
        self.gate.allow("attach", &request)?;
        self.gate.name("attach", self.inner.attach(request).await)
    }

    async fn detach(&self, request: DetachRequest) -> Result<DetachOutcome> {
        self.gate.allow("detach", &request)?;
        self.gate.name("detach", self.inner.detach(request).await)
    }

    async fn attachments(&self, filter: AttachmentFilter) -> Result<Vec<Attachment>> {
        self.gate.name("list attachments", self.inner.attachments(filter).await)
    }

    async fn isolate(&self, request: IsolateRequest) -> Result<PolicyReport> {
        self.gate.allow("isolate", &request)?;
        self.gate.name("isolate", self.inner.isolate(request).await)
    }

    async fn apply_policy(&self, policy: PolicySpec) -> Result<PolicyReport> {
        self.gate.allow("apply policy", &policy)?;
        self.gate.name("apply policy", self.inner.apply_policy(policy).await)
    }

    async fn verify(&self, request: VerifyRequest) -> Result<VerifyReport> {
        self.gate.allow("verify", &request)?;
        self.gate.name("verify", self.inner.verify(request).await)
    }

    async fn probe(&self, request: ProbeRequest) -> Result<Vec<ProbeOutcome>> {
        self.gate.allow("probe", &request)?;
        self.gate.name("probe", self.inner.probe(request).await)
    }
}

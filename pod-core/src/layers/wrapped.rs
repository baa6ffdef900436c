//! Carries a policy through a backend, its connections and its networks.

use crate::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use crate::{
    Applied, AttachNetworkRequest, AttachRequest, Attachment, AttachmentFilter, Backend, BackendInfo, BoxDuplex,
    Capabilities, Connection, CreateNetworkOutcome, CreateRequest, DetachOutcome, DetachRequest, EventStream,
    EventsRequest, ExecRequest, Filter, ForwardRequest, IsolateRequest, LogStreamOf, LogsRequest, Network,
    NetworkIntent, NetworkName, NetworkPlan, NetworkSpec, Networking, PolicyReport, PolicySpec, ProbeOutcome,
    ProbeRequest, Process, RemoveOutcome, RemoveRequest, Result, StartOutcome, StartRequest, StopOutcome, StopRequest,
    VerifyReport, VerifyRequest, Workload, WorkloadName,
};
use async_trait::async_trait;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

/// How a call may be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// It changes nothing: it may be repeated, and it is short.
    Read,
    /// It changes something: it is not repeated, and it is short.
    Change,
    /// It lasts as long as its work does: neither repeated nor bounded.
    Long,
}

/// One call on its way through a layer.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The operation's name.
    pub operation: &'static str,
    /// How it may be treated.
    pub kind: CallKind,
}

/// What happens around a call. An implementor calls `attempt` once, or more often when the call is
/// [`CallKind::Read`].
pub trait Around: Clone + Debug + Send + Sync + 'static {
    /// Carries out one call.
    fn around<T, F, Fut>(&self, call: Call, attempt: F) -> impl Future<Output = Result<T>> + Send
    where
        T: Send,
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send;
}

/// A backend, connection or network with a policy around every call.
#[derive(Debug, Clone)]
pub struct Wrapped<A, T: ?Sized> {
    around: A,
    inner: Arc<T>,
}

impl<A: Around> Wrapped<A, dyn Backend> {
    /// Puts `around` on every call of `inner` and of what it gives.
    #[must_use]
    pub fn new(around: A, inner: Arc<dyn Backend>) -> Self {
        Self { around, inner }
    }
}

impl<A: Around, T: ?Sized + Send + Sync> Wrapped<A, T> {
    async fn read<R: Send, Fut: Future<Output = Result<R>> + Send>(
        &self,
        operation: &'static str,
        attempt: impl FnMut() -> Fut + Send,
    ) -> Result<R> {
        self.around.around(Call { operation, kind: CallKind::Read }, attempt).await
    }

    async fn once<R: Send>(
        &self,
        operation: &'static str,
        kind: CallKind,
        call: impl Future<Output = Result<R>> + Send,
    ) -> Result<R> {
        let mut call = Some(call);
        self.around
            .around(Call { operation, kind }, || {
                let call = call.take();
                async move {
                    match call {
                        Some(call) => call.await,
                        None => Err(crate::Error::unexpected("a layer repeated a call that must not be repeated")),
                    }
                }
            })
            .await
    }
}

use CallKind::{Change, Long};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<A: Around> Backend for Wrapped<A, dyn Backend> {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn ping(&self) -> Result<()> {
        self.read("ping", || self.inner.ping()).await
    }

    async fn create(&self, request: CreateRequest) -> Result<Workload> {
        self.once("create", Long, self.inner.create(request)).await
    }

    async fn start(&self, request: StartRequest) -> Result<StartOutcome> {
        self.once("start", Change, self.inner.start(request)).await
    }

    async fn stop(&self, request: StopRequest) -> Result<StopOutcome> {
        self.once("stop", Long, self.inner.stop(request)).await
    }

    async fn remove(&self, request: RemoveRequest) -> Result<RemoveOutcome> {
        self.once("remove", Change, self.inner.remove(request)).await
    }

    async fn inspect(&self, name: &WorkloadName) -> Result<Workload> {
        self.read("inspect", || self.inner.inspect(name)).await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Workload>> {
        self.read("list", || self.inner.list(filter.clone())).await
    }

    async fn logs(&self, request: LogsRequest) -> Result<LogStreamOf> {
        self.read("logs", || self.inner.logs(request.clone())).await
    }

    async fn events(&self, request: EventsRequest) -> Result<EventStream> {
        self.read("events", || self.inner.events(request.clone())).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<Process> {
        self.once("attach", Change, self.inner.attach(request)).await
    }

    async fn connect(&self, name: &WorkloadName) -> Result<Arc<dyn Connection>> {
        let inner = self.read("connect", || self.inner.connect(name)).await?;
        Ok(Arc::new(Wrapped { around: self.around.clone(), inner }))
    }

    fn networking(&self) -> Option<Arc<dyn Networking>> {
        let inner = self.inner.networking()?;
        Some(Arc::new(Wrapped { around: self.around.clone(), inner }))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<A: Around> Connection for Wrapped<A, dyn Connection> {
    fn workload(&self) -> &WorkloadName {
        self.inner.workload()
    }

    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        self.once("exec", Change, self.inner.exec(request)).await
    }

    async fn copy_in(&self, request: CopyInRequest) -> Result<CopyReport> {
        self.once("copy", Long, self.inner.copy_in(request)).await
    }

    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream> {
        self.read("copy", || self.inner.copy_out(request.clone())).await
    }

    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>> {
        self.read("stat", || self.inner.stat(request.clone())).await
    }

    async fn forward(&self, request: ForwardRequest) -> Result<BoxDuplex> {
        self.once("forward", Change, self.inner.forward(request)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<A: Around> Networking for Wrapped<A, dyn Networking> {
    async fn create(&self, spec: NetworkSpec) -> Result<CreateNetworkOutcome> {
        self.once("create network", Change, self.inner.create(spec)).await
    }

    async fn list(&self) -> Result<Vec<Network>> {
        self.read("list networks", || self.inner.list()).await
    }

    async fn remove(&self, network: &NetworkName) -> Result<RemoveOutcome> {
        self.once("remove network", Change, self.inner.remove(network)).await
    }

    async fn plan(&self, intent: NetworkIntent) -> Result<NetworkPlan> {
        self.read("plan", || self.inner.plan(intent.clone())).await
    }

    async fn apply(&self, plan: NetworkPlan) -> Result<Applied> {
        self.once("apply", Long, self.inner.apply(plan)).await
    }

    async fn attach(&self, request: AttachNetworkRequest) -> Result<Attachment> {
        self.once("attach", Change, self.inner.attach(request)).await
    }

    async fn detach(&self, request: DetachRequest) -> Result<DetachOutcome> {
        self.once("detach", Change, self.inner.detach(request)).await
    }

    async fn attachments(&self, filter: AttachmentFilter) -> Result<Vec<Attachment>> {
        self.read("list attachments", || self.inner.attachments(filter.clone())).await
    }

    async fn isolate(&self, request: IsolateRequest) -> Result<PolicyReport> {
        self.once("isolate", Change, self.inner.isolate(request)).await
    }

    async fn apply_policy(&self, policy: PolicySpec) -> Result<PolicyReport> {
        self.once("apply policy", Change, self.inner.apply_policy(policy)).await
    }

    async fn verify(&self, request: VerifyRequest) -> Result<VerifyReport> {
        self.once("verify", Long, self.inner.verify(request)).await
    }

    async fn probe(&self, request: ProbeRequest) -> Result<Vec<ProbeOutcome>> {
        self.once("probe", Long, self.inner.probe(request)).await
    }
}

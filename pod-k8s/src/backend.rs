//! The `k8s:` backend.

use crate::attach::{self, Attach};
use crate::cluster::Cluster;
use crate::config::K8sConfig;
use crate::connection::K8sConnection;
use crate::errors::is_not_found;
use crate::exec::Target;
use crate::nad::Definitions;
use crate::namespaces::Namespaces;
use crate::networking::{self, Connector, K8sNetworking};
use crate::owner;
use crate::pods::{self, Marks, Starts, main_of};
use crate::policy::NetworkPolicies;
use crate::{events, logs};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use pod_core::{
    AttachRequest, Backend, BackendInfo, Capabilities, Capability, Connection, CreateRequest, Error, ErrorKind,
    EventStream, EventsRequest, Filter, LABEL_TOPOLOGY, LogStreamOf, LogsRequest, Networking, Process, RemoveOutcome,
    RemoveRequest, Result, StartOutcome, StartRequest, State, StopOutcome, StopRequest, Workload, WorkloadName,
};
use std::fmt;
use std::sync::Arc;

/// Pods of one namespace of a Kubernetes cluster. Cheap to clone.
#[derive(Clone)]
pub struct K8sBackend {
    info: BackendInfo,
    capabilities: Capabilities,
    cluster: Cluster,
    owner: String,
    starts: Starts,
}

impl fmt::Debug for K8sBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("K8sBackend").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// What pods can do by themselves.
fn of_pods() -> Capabilities {
    use Capability as C;
    [
        C::Create,
        C::ExitStatusKept,
        C::Logs,
        C::LogsFollow,
        C::LogTimestamps,
        C::Events,
        C::Tty,
        C::Env,
        C::Cwd,
        C::User,
        C::Labels,
        C::KeepAlive,
        C::LimitCpu,
        C::LimitMemory,
        C::Exec,
        C::ExecTty,
        C::ExecResize,
        C::ExecSignal,
        C::ExecKill,
        C::ExecCwd,
        C::ExecEnv,
        C::ExecBytes,
        C::ExecForward,
        C::CopyIn,
        C::CopyOut,
        C::CopySymlinks,
        C::CopyHardlinks,
        C::CopyModes,
        C::CopyBytes,
        C::CopyOwners,
        C::CopyAtomic,
        C::CopyHash,
        C::CopyResume,
    ]
    .into_iter()
    .collect()
}

impl K8sBackend {
    /// Reaches a cluster.
    ///
    /// # Errors
    /// `ConfigInvalid` without a kubeconfig or for a context that it does not have, with those it has;
    /// `Unauthenticated` when the credentials are missing or over; `Unavailable` when the API server does
    /// not answer.
    pub async fn open(config: K8sConfig) -> Result<Self> {
        Self::open_for(config, Capabilities::all()).await
    }

    /// As [`K8sBackend::open`], for one who will ask for no more than `wanted`: without networks among it
    /// the cluster is not asked whether it has them, and they are not among the backend's capabilities.
    ///
    /// # Errors
    /// As [`K8sBackend::open`].
    pub async fn open_for(config: K8sConfig, wanted: Capabilities) -> Result<Self> {
        let owner = match &config.owner {
            Some(owner) => owner.clone(),
            None => owner::this_user()?,
        };
        let uri = config.uri()?;
        let cluster = Cluster::connect(config).await?;
        let info = BackendInfo::new(uri, "Kubernetes", cluster.version.clone());
        let mut capabilities = of_pods();
        if tells_the_end_of_stdin(&cluster.version) {
            capabilities = capabilities.with(Capability::ExecStdin).with(Capability::AttachStdio);
        }
        if wanted.iter().any(|c| c.path().starts_with("network.")) {
            for capability in networking::capabilities(&cluster).await? {
                capabilities = capabilities.with(capability);
            }
        }
        Ok(Self { info, capabilities, cluster, owner, starts: Starts::default() })
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Whose things are made here: the value of the label `pod.owner`.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The namespace that is worked in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.cluster.namespace
    }

    /// The kubeconfig's context in use, or `in-cluster`.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.cluster.context
    }

    /// The cluster's namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Namespaces {
        Namespaces::new(self)
    }

    /// The network attachment definitions of the namespace.
    #[must_use]
    pub fn definitions(&self) -> Definitions {
        Definitions::new(self.cluster.clone())
    }

    /// Policies on the cluster's own network, in the namespace.
    #[must_use]
    pub fn policies(&self) -> NetworkPolicies {
        NetworkPolicies::new(self.clone())
    }

    /// The same backend, whose workloads are made on this node.
    pub(crate) fn on(&self, node: &str) -> Self {
        let mut config = (*self.cluster.config).clone();
        config.node = Some(node.to_owned());
        let mut other = self.clone();
        other.cluster.config = Arc::new(config);
        other
    }

    /// Looks which network plugins the cluster has.
    ///
    /// # Errors
    /// As the server says; what the user may not see is in the report, no error.
    pub async fn cni(&self) -> Result<crate::cni::CniReport> {
        crate::cni::detect(&self.cluster).await.map_err(|e| self.named("cni", e))
    }

    /// Makes a pod as it stands, with several containers, init containers, volumes, or what else a
    /// [`WorkloadSpec`](pod_core::WorkloadSpec) has no place for, and returns when all its containers run
    /// or have run. POD adds its labels; nothing else is changed, so what is safe by default in
    /// [`Backend::create`] is for the caller to say here. On failure or cancellation nothing is left.
    ///
    /// # Errors
    /// As [`Backend::create`]; `InvalidInput` for a pod without a name or of another namespace.
    pub async fn create_pod(&self, mut pod: Pod) -> Result<Workload> {
        if pod.metadata.name.as_deref().is_none_or(str::is_empty) {
            return Err(Error::invalid("the pod has no name").with_operation("create"));
        }
        if let Some(other) = pod.metadata.namespace.as_deref().filter(|n| *n != self.cluster.namespace) {
            return Err(Error::invalid("the pod is of another namespace than this backend")
                .with_context("pod", other)
                .with_context("backend", self.cluster.namespace.clone())
                .with_operation("create"));
        }
        self.make(&mut pod).await.map_err(|e| self.named("create", e))
    }

    fn named(&self, operation: &'static str, error: Error) -> Error {
        error.with_operation(operation).with_backend(self.info.uri.to_string())
    }

    async fn make(&self, pod: &mut Pod) -> Result<Workload> {
        let lease = jiff::Timestamp::now()
            .checked_add(self.cluster.config.wait)
            .and_then(|t| t.checked_add(jiff::SignedDuration::from_secs(60)))
            .map_err(|e| Error::invalid("the wait is too long").with_source(e))?;
        let operation = format!("create-{}", uuid::Uuid::new_v4().simple());
        pods::mark(pod, &Marks { owner: self.owner.clone(), operation, lease });
        let made = pods::create(self.cluster.clone(), self.starts.clone(), pod.clone()).await?;
        if let Err(error) = networking::check_attached(&made) {
            // It runs, and is not what was asked for: on the wrong networks it may do harm.
            let name = made.metadata.name.as_deref().unwrap_or_default();
            let uid = made.metadata.uid.as_deref().unwrap_or_default();
            return Err(match pods::take_back(&self.cluster, name, uid).await {
                Ok(()) => error,
                Err(left) => error.with_context("left_behind", left.to_string()),
            });
        }
        self.workload(&made)
    }

    fn workload(&self, pod: &Pod) -> Result<Workload> {
        let mut workload = pods::workload_of(pod, self.cluster.config.container.as_deref())?;
        workload.attachments = networking::attachments_of(pod)?;
        Ok(workload)
    }

    /// A way into a workload, for probes.
    fn connector(&self) -> Connector {
        let backend = self.clone();
        Arc::new(move |name| {
            let backend = backend.clone();
            Box::pin(async move { backend.connect(&name).await })
        })
    }

    /// Gives back the addresses of a pod that is gone. They are also free when nobody does: a claim
    /// without a pod counts only for a while.
    async fn release(&self, pod: &Pod, error: Error) -> Error {
        match networking::release(&self.cluster, pod).await {
            Ok(()) => error,
            Err(left) => error.with_context("left_behind", left.to_string()),
        }
    }

    /// A workload's pod.
    async fn pod(&self, name: &WorkloadName) -> Result<Pod> {
        let pod = self.cluster.pods().get(&pods::pod_name(name)).await.map_err(|e| {
            if is_not_found(&e) {
                Error::not_found("workload", name.as_str()).with_context("namespace", self.cluster.namespace.clone())
            } else {
                self.cluster.error(e)
            }
        })?;
        Ok(pod)
    }
}

/// Whether a program can be told the end of its stdin: `v5.channel.k8s.io` is on by default since 1.30
/// (KEP-4006).
pub(crate) fn tells_the_end_of_stdin(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(['.', '+', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (1, 30),
        _ => false,
    }
}

/// The error for what Kubernetes can't do.
fn no_start_stop() -> Error {
    Error::unsupported("Kubernetes can't stop a pod and start it again")
        .with_hint("make it running, and remove it: `pod run` and `pod rm -f`")
}

#[async_trait]
impl Backend for K8sBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn ping(&self) -> Result<()> {
        self.cluster
            .client
            .apiserver_version()
            .await
            .map(drop)
            .map_err(|e| crate::errors::from_kube(e).with_context("server", self.cluster.server.clone()))
    }

    async fn create(&self, request: CreateRequest) -> Result<Workload> {
        if !request.start {
            return Err(no_start_stop());
        }
        let mut pod = pods::build(&request.spec, &self.cluster.config)?;
        networking::annotate(&self.cluster, &request.spec, &mut pod).await?;
        match self.make(&mut pod).await {
            Ok(made) => Ok(made),
            Err(error) => {
                let error = networking::explain(&self.cluster, &pod, error).await;
                Err(self.release(&pod, error).await)
            }
        }
    }

    async fn start(&self, _: StartRequest) -> Result<StartOutcome> {
        Err(no_start_stop())
    }

    async fn stop(&self, _: StopRequest) -> Result<StopOutcome> {
        Err(no_start_stop())
    }

    async fn remove(&self, request: RemoveRequest) -> Result<RemoveOutcome> {
        let name = pods::pod_name(&request.name);
        let networks = self.capabilities.has(Capability::Networks);
        let pod = match networks {
            true => self.cluster.pods().get_opt(&name).await.map_err(|e| self.cluster.error(e))?,
            false => None,
        };
        let outcome = pods::remove(&self.cluster, &name, request.force).await?;
        if let Some(pod) = pod {
            networking::release(&self.cluster, &pod).await?;
        }
        Ok(outcome)
    }

    async fn inspect(&self, name: &WorkloadName) -> Result<Workload> {
        self.workload(&self.pod(name).await?)
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Workload>> {
        // What Kubernetes holds as labels it filters by itself; the rest is looked at here.
        let topology = filter.topology.iter().map(|t| (LABEL_TOPOLOGY, t.as_str()));
        let labels = filter.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain(topology);
        let selector: Vec<_> = labels.filter(|(k, v)| pods::is_shown(k, v)).map(|(k, v)| format!("{k}={v}")).collect();
        let mut params = ListParams::default().limit(500);
        if !selector.is_empty() {
            params = params.labels(&selector.join(","));
        }
        let mut found = Vec::new();
        loop {
            let page = self.cluster.pods().list(&params).await.map_err(|e| self.cluster.error(e))?;
            for pod in &page.items {
                match self.workload(pod) {
                    Ok(workload) if filter.matches(&workload) => found.push(workload),
                    Ok(_) => {}
                    // A name that is no workload's, or no container of the name asked for.
                    Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                        tracing::info!(error = %e, pod = pod.metadata.name, "a pod is left out");
                    }
                    Err(e) => return Err(e),
                }
            }
            match page.metadata.continue_.filter(|c| !c.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => break,
            }
        }
        found.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(found)
    }

    async fn logs(&self, request: LogsRequest) -> Result<LogStreamOf> {
        logs::read(&self.cluster, &pods::pod_name(&request.name), &request).await
    }

    async fn events(&self, request: EventsRequest) -> Result<EventStream> {
        events::follow(&self.cluster, request).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<Process> {
        let pod = self.pod(&request.name).await?;
        let workload = self.workload(&pod)?;
        if workload.state != (State::Running { command: None }) {
            return Err(Error::new(ErrorKind::WrongState, "the workload's command does not run")
                .with_context("workload", request.name.as_str())
                .with_context("state", workload.state.to_string()));
        }
        let main = main_of(&pod, self.cluster.config.container.as_deref())?.container;
        let stdin = main.stdin == Some(true);
        if request.stdin && !stdin {
            return Err(Error::new(ErrorKind::WrongState, "the workload was made without a stdin")
                .with_context("workload", request.name.as_str())
                .with_hint("make it with -i, or attach without a stdin"));
        }
        let target =
            Target { cluster: self.cluster.clone(), pod: pods::pod_name(&request.name), container: main.name.clone() };
        let how = Attach {
            stdin: request.stdin,
            logs: request.logs,
            tty: main.tty == Some(true),
            size: request.tty,
            once: main.stdin_once == Some(true),
            shared: pod
                .spec
                .as_ref()
                .is_some_and(|s| s.share_process_namespace == Some(true) || s.host_pid == Some(true)),
            uid: pod.metadata.uid.clone(),
            name: request.name,
        };
        attach::attach(target, how).await
    }

    async fn connect(&self, name: &WorkloadName) -> Result<Arc<dyn Connection>> {
        let pod = self.pod(name).await?;
        let container = main_of(&pod, self.cluster.config.container.as_deref())?.container.name.clone();
        Ok(Arc::new(K8sConnection::new(self.cluster.clone(), name.clone(), pods::pod_name(name), container)))
    }

    fn networking(&self) -> Option<Arc<dyn Networking>> {
        let networks = self.capabilities.has(Capability::Networks);
        networks.then(|| Arc::new(K8sNetworking::new(self.cluster.clone(), self.connector())) as Arc<dyn Networking>)
    }
}

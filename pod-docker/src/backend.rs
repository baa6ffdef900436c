//! The `docker:` and `podman:` backend.

use crate::attach;
use crate::config::DockerConfig;
use crate::connection::DockerConnection;
use crate::containers::{self, Inspected, Turns};
use crate::engine::http::Http;
use crate::engine::{Engine, Info, Kind, Query};
use crate::exec::Target;
use crate::images::{self, PullProgress};
use crate::networking::{self, DockerNetworking};
use crate::{events, logs, owner};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use pod_core::{
    AttachRequest, Backend, BackendInfo, Capabilities, Capability, Connection, CreateRequest, Error, ErrorKind,
    EventStream, EventsRequest, Filter, LABEL_TOPOLOGY, LogStreamOf, LogsRequest, Networking, Process, RemoveOutcome,
    RemoveRequest, Result, StartOutcome, StartRequest, State, StopOutcome, StopRequest, Workload, WorkloadName,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How many containers are looked at at once for a list.
const AT_ONCE: usize = 16;

/// Containers of a Docker daemon, or of Podman. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DockerBackend {
    info: BackendInfo,
    capabilities: Capabilities,
    engine: Engine,
    config: Arc<DockerConfig>,
    owner: String,
    networking: DockerNetworking,
    turns: Turns,
}

/// Whether a daemon must be asked for what it can do (`GET /info`) to know whether it can do this. Docker
/// takes as long for that answer as a tenth of an exec, because it starts programs to ask them.
fn is_asked_for(capability: Capability) -> bool {
    use Capability as C;
    matches!(capability, C::LimitCpu | C::LimitMemory | C::LimitPids) || capability.path().starts_with("network.")
}

/// What a daemon can do, as far as it was asked.
fn capabilities(engine: &Engine, info: Option<&Info>, config: &DockerConfig) -> Capabilities {
    use Capability as C;
    let mut all: Capabilities = [
        C::Create,
        C::StartStop,
        C::ExitStatusKept,
        C::Logs,
        C::LogsFollow,
        C::LogBytes,
        C::LogStreams,
        C::Events,
        C::AttachStdio,
        C::Tty,
        C::Env,
        C::Cwd,
        C::User,
        C::Labels,
        C::Mounts,
        C::Ports,
        C::Restart,
        C::KeepAlive,
        C::Exec,
        C::ExecStdin,
        C::ExecTty,
        C::ExecResize,
        C::ExecSignal,
        C::ExecKill,
        C::ExecUser,
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
    .chain(info.into_iter().flat_map(|info| networking::capabilities(engine, info, config.plugin)))
    .collect();
    for (has, capability) in [
        (info.is_some_and(|i| i.cpu_cfs_quota), C::LimitCpu),
        (info.is_some_and(|i| i.memory_limit), C::LimitMemory),
        (info.is_some_and(|i| i.pids_limit), C::LimitPids),
        // Podman cuts the times of its log to whole seconds.
        (engine.kind == Kind::Docker, C::LogTimestamps),
        // It takes a container whose start failed for one that was never started.
        (engine.kind == Kind::Docker, C::StartFailureKept),
    ] {
        if has {
            all = all.with(capability);
        }
    }
    all
}

impl DockerBackend {
    /// Reaches a daemon, and agrees with it on a version of the API.
    ///
    /// # Errors
    /// `ConfigInvalid` for an endpoint or certificates that can't be used; `Unavailable`,
    /// `PermissionDenied`, `Unauthenticated` when the daemon can't be reached; `Unsupported` for a daemon
    /// that is too old, and for one of Windows containers.
    pub async fn open(config: DockerConfig) -> Result<Self> {
        Self::open_for(config, Capabilities::all()).await
    }

    /// As [`DockerBackend::open`], for one who will ask for no more than `wanted`: without limits and
    /// networks among it the daemon is not asked which of them it has, and they are not among the
    /// backend's capabilities.
    ///
    /// # Errors
    /// As [`DockerBackend::open`].
    pub async fn open_for(config: DockerConfig, wanted: Capabilities) -> Result<Self> {
        let owner = match &config.owner {
            Some(owner) => owner.clone(),
            None => owner::this_user()?,
        };
        let uri = config.uri()?;
        let config = Arc::new(config);
        let reading = config.clone();
        let http = tokio::task::spawn_blocking(move || Http::new(reading.endpoint()?, reading.flavor))
            .await
            .map_err(|e| Error::unexpected("reading the endpoint failed").with_source(e))??;
        let engine = Engine::connect(http).await?;
        let info: Option<Info> = match wanted.iter().any(is_asked_for) {
            true => Some(engine.get("/info", Query::new()).await.map_err(|f| engine.error(f))?),
            false => None,
        };
        let about = BackendInfo::new(uri, engine.kind.product(), engine.about.version.clone());
        let capabilities = capabilities(&engine, info.as_ref(), &config);
        let networking = DockerNetworking::new(engine.clone(), owner.clone(), config.plugin);
        let turns = Turns::default();
        Ok(Self { info: about, capabilities, engine, config, owner, networking, turns })
    }

    pub(crate) fn networks(&self) -> &DockerNetworking {
        &self.networking
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whose things are made here: the value of the label `pod.owner`.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The version of the API that is spoken with the daemon, such as `1.41`.
    #[must_use]
    pub fn api_version(&self) -> String {
        self.engine.version.to_string()
    }

    /// Pulls an image from its registry, with the login that `docker login` or `podman login` keeps, and
    /// tells how it comes on. Twice in a row: the second finds all there.
    ///
    /// # Errors
    /// `NotFound` for an image that the registry does not have, or not for this user; `Unauthenticated`;
    /// `Unavailable` when the registry does not answer.
    pub async fn pull(&self, reference: &str, told: impl Fn(PullProgress) + Send + Sync) -> Result<()> {
        images::pull(&self.engine, &self.config, reference, &told)
            .await
            .map_err(|e| e.with_operation("pull").with_backend(self.info.uri.to_string()))
    }

    async fn make(&self, mut request: CreateRequest) -> Result<Workload> {
        let image = request.spec.image.clone().or_else(|| self.config.image.clone()).ok_or_else(|| {
            Error::invalid("the workload names no image")
                .with_hint(format!("give one with --image, or {}:?image=REF", self.info.uri.scheme()))
        })?;
        request.spec.image = Some(image.clone());
        let told = |p: PullProgress| {
            tracing::debug!(layer = p.layer, status = p.status, bytes = ?p.bytes, "pulling");
        };
        let name = images::ensure(&self.engine, &self.config, &image, &told).await?;
        let (mut avoid, mut cleared) = (BTreeSet::new(), false);
        loop {
            let joining = match self.networking.joining(&request.spec, &avoid).await {
                // The addresses that are asked for may be those of what has the name.
                Err(e) if e.kind() == ErrorKind::Conflict => {
                    let name = &request.spec.name;
                    if !cleared && self.clear(name).await? {
                        cleared = true;
                        continue;
                    }
                    return Err(if self.find(name).await.is_ok() { containers::exists(name) } else { e });
                }
                joining => joining?,
            };
            let free: Vec<IpAddr> = joining.places.iter().filter(|p| p.free).map(|p| p.ip.into()).collect();
            match containers::create(&self.engine, &request, &name, &self.owner, joining).await {
                // Who else chose one of them is not known: another of each.
                Err(e) if !free.is_empty() && avoid.len() < networking::TRIES && networking::is_held(&e) => {
                    avoid.extend(free);
                }
                // Once: what somebody left who was killed is in nobody's way.
                Err(e)
                    if e.kind() == ErrorKind::AlreadyExists && !cleared && self.clear(&request.spec.name).await? =>
                {
                    cleared = true;
                }
                made => return self.shown(made?).await,
            }
        }
    }

    /// A container as a workload, with its attachments.
    async fn shown(&self, found: Inspected) -> Result<Workload> {
        let found = containers::kept::look(&self.engine, found).await.map_err(|f| self.engine.error(f))?;
        let mut workload = found.workload()?;
        if found.networks.any() {
            let known = networking::of_pod(&self.engine).await?;
            workload.attachments = networking::attachments_of(&self.engine, &found, &known).await?;
        }
        Ok(workload)
    }

    async fn find(&self, name: &WorkloadName) -> Result<Inspected> {
        containers::find(&self.engine, name).await
    }
}

#[async_trait]
impl Backend for DockerBackend {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn ping(&self) -> Result<()> {
        self.engine.ping().await.map_err(|f| self.engine.error(f))
    }

    async fn create(&self, request: CreateRequest) -> Result<Workload> {
        let (tell, told) = oneshot::channel();
        let backend = self.clone();
        let turn = self.turns.take(&request.spec.name).await;
        // Not part of the caller's future: what a creation that is given up made is taken back.
        tokio::spawn(async move {
            let _turn = turn;
            let made = backend.make(request).await;
            if let Err(Ok(workload)) = tell.send(made)
                && let Err(f) = containers::remove(&backend.engine, &workload.id, true).await
            {
                let error = backend.engine.error(f);
                tracing::warn!(error = %error, workload = %workload.name(), "a cancelled creation could not be taken back");
            }
        });
        told.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Cancelled, "the runtime was shut down")))
    }

    async fn start(&self, request: StartRequest) -> Result<StartOutcome> {
        let found = self.find(&request.name).await?;
        if found.is_kept() {
            return match containers::kept::start(&self.engine, &found.id, &request.name).await {
                Ok(true) => Ok(StartOutcome::Started),
                Ok(false) => Ok(StartOutcome::AlreadyRunning),
                Err(e) => Err(containers::explained(&self.engine, &found.spec(request.name), e)),
            };
        }
        match containers::start(&self.engine, &found.id).await {
            Ok(http::StatusCode::NOT_MODIFIED) => Ok(StartOutcome::AlreadyRunning),
            Ok(_) => Ok(StartOutcome::Started),
            Err(f) if f.is_not_found() && f.words().is_some_and(|w| w.contains("No such container")) => {
                Err(containers::missing(&request.name))
            }
            Err(f) => {
                let error = containers::start_error(&self.engine, &request.name, f);
                Err(containers::explained(&self.engine, &found.spec(request.name), error))
            }
        }
    }

    async fn stop(&self, request: StopRequest) -> Result<StopOutcome> {
        let found = self.find(&request.name).await?;
        containers::stop(&self.engine, found, &request).await
    }

    async fn remove(&self, request: RemoveRequest) -> Result<RemoveOutcome> {
        let found = match self.find(&request.name).await {
            Ok(found) => found,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(RemoveOutcome::AlreadyAbsent),
            Err(e) => return Err(e),
        };
        if found.is_running() && !request.force {
            return Err(Error::new(ErrorKind::WrongState, "the workload runs")
                .with_context("workload", request.name.as_str())
                .with_hint(format!("stop it first, or remove it by force: `pod rm -f {}`", request.name)));
        }
        let removed = match containers::remove(&self.engine, &found.id, request.force).await {
            Ok(removed) => removed,
            Err(f) => match self.engine.error(f) {
                // Someone else removes it; it is gone when that is done.
                e if e.kind() == ErrorKind::Busy => {
                    containers::gone(&self.engine, &found.id).await.map_err(|f| self.engine.error(f))?;
                    true
                }
                e => return Err(e.with_context("workload", request.name.as_str())),
            },
        };
        Ok(if removed { RemoveOutcome::Removed } else { RemoveOutcome::AlreadyAbsent })
    }

    async fn inspect(&self, name: &WorkloadName) -> Result<Workload> {
        self.shown(self.find(name).await?).await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Workload>> {
        // The daemon leaves out what it can; the rest is looked at here.
        let topology = filter.topology.iter().map(|t| (LABEL_TOPOLOGY, t.as_str()));
        let labels = filter.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).chain(topology);
        let labels: Vec<String> = labels.map(|(k, v)| format!("{k}={v}")).collect();
        let mut filters = json!({});
        if !labels.is_empty() {
            filters["label"] = json!(labels);
        }
        if filter.running {
            filters["status"] = json!(["running", "paused"]);
        }
        let ids = containers::ids(&self.engine, &filters).await?;
        let looked: Vec<Option<Inspected>> = futures_util::stream::iter(ids)
            .map(|id| async move {
                match containers::by_id(&self.engine, &id).await? {
                    Some(found) => containers::kept::look(&self.engine, found).await.map(Some),
                    None => Ok(None),
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
            .map_err(|f| self.engine.error(f))?;
        let mut found = Vec::new();
        // One that was removed since is none any more.
        let looked: Vec<Inspected> = looked.into_iter().flatten().collect();
        let known = match looked.iter().any(|c| c.networks.any()) {
            true => networking::of_pod(&self.engine).await?,
            false => BTreeMap::new(),
        };
        for container in looked {
            match container.workload() {
                Ok(mut workload) if filter.matches(&workload) => {
                    workload.attachments = networking::attachments_of(&self.engine, &container, &known).await?;
                    found.push(workload);
                }
                Ok(_) => {}
                Err(e) => tracing::info!(error = %e, container = container.id, "a container is left out"),
            }
        }
        found.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(found)
    }

    async fn logs(&self, request: LogsRequest) -> Result<LogStreamOf> {
        let found = self.find(&request.name).await?;
        logs::read(&self.engine, &found, &request).await
    }

    async fn events(&self, request: EventsRequest) -> Result<EventStream> {
        events::follow(&self.engine, request, self.networking.changes()).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<Process> {
        let found = self.find(&request.name).await?;
        let found = containers::kept::look(&self.engine, found).await.map_err(|f| self.engine.error(f))?;
        let state = found.state();
        if !matches!(state, State::Running { command: None }) {
            return Err(Error::new(ErrorKind::WrongState, "the workload's command does not run")
                .with_context("workload", request.name.as_str())
                .with_context("state", state.to_string()));
        }
        if request.stdin && !found.config.open_stdin {
            return Err(Error::new(ErrorKind::WrongState, "the workload was made without a stdin")
                .with_context("workload", request.name.as_str())
                .with_hint("make it with -i, or attach without a stdin"));
        }
        let target = Target { engine: self.engine.clone(), id: found.id.clone(), name: request.name.clone() };
        attach::attach(target, &found, &request).await
    }

    async fn connect(&self, name: &WorkloadName) -> Result<Arc<dyn Connection>> {
        let found = self.find(name).await?;
        let target = Target { engine: self.engine.clone(), id: found.id, name: name.clone() };
        Ok(Arc::new(DockerConnection::new(target)))
    }

    fn networking(&self) -> Option<Arc<dyn Networking>> {
        // Without one of its capabilities there is nothing behind it.
        self.capabilities.has(Capability::Networks).then(|| Arc::new(self.networking.clone()) as Arc<dyn Networking>)
    }
}

//! The `docker:` backend.

use crate::config::DockerConfig;
use crate::connection::DockerConnection;
use crate::containers::{self, Inspected};
use crate::engine::http::Http;
use crate::engine::{Engine, Info, Kind, Query, part};
use crate::exec::Target;
use crate::images::{self, PullProgress};
use crate::{events, logs, owner};
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use pod_core::{
    AttachRequest, Backend, BackendInfo, Capabilities, Capability, Connection, CreateRequest, Error, ErrorKind,
    EventStream, EventsRequest, Filter, LABEL_TOPOLOGY, LogStreamOf, LogsRequest, Networking, Process, RemoveOutcome,
    RemoveRequest, Result, Signal, StartOutcome, StartRequest, StopOutcome, StopRequest, Workload, WorkloadName,
};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How many containers are looked at at once for a list.
const AT_ONCE: usize = 16;

/// Containers of a Docker daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DockerBackend {
    info: BackendInfo,
    capabilities: Capabilities,
    engine: Engine,
    config: Arc<DockerConfig>,
    owner: String,
}

/// What a daemon can do.
fn capabilities(info: &Info) -> Capabilities {
    use Capability as C;
    let mut all: Capabilities = [
        C::Create,
        C::StartStop,
        C::ExitStatusKept,
        C::Logs,
        C::LogsFollow,
        C::LogTimestamps,
        C::LogBytes,
        C::LogStreams,
        C::Events,
        C::Tty,
        C::Env,
        C::Cwd,
        C::User,
        C::Labels,
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
        C::CopyIn,
        C::CopyOut,
        C::CopySymlinks,
        C::CopyHardlinks,
        C::CopyModes,
        C::CopyBytes,
        C::CopyOwners,
        C::CopyAtomic,
        C::CopyHash,
    ]
    .into_iter()
    .collect();
    for (has, capability) in
        [(info.cpu_cfs_quota, C::LimitCpu), (info.memory_limit, C::LimitMemory), (info.pids_limit, C::LimitPids)]
    {
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
    /// that is too old, for one of Windows containers, and for Podman.
    pub async fn open(config: DockerConfig) -> Result<Self> {
        let owner = match &config.owner {
            Some(owner) => owner.clone(),
            None => owner::this_user()?,
        };
        let uri = config.uri()?;
        let config = Arc::new(config);
        let reading = config.clone();
        let http = tokio::task::spawn_blocking(move || Http::new(reading.endpoint()?))
            .await
            .map_err(|e| Error::unexpected("reading the endpoint failed").with_source(e))??;
        let engine = Engine::connect(http).await?;
        if engine.kind == Kind::Podman {
            // It is understood, but not proven: names, states and logs differ in places.
            return Err(Error::unsupported("Podman answers there, which is not supported yet")
                .with_context("daemon", engine.place())
                .with_hint("use a Docker daemon"));
        }
        let info: Info = engine.get("/info", Query::new()).await.map_err(|f| engine.error(f))?;
        if info.os_type == "windows" {
            return Err(Error::unsupported("the daemon runs Windows containers")
                .with_context("daemon", engine.place())
                .with_hint("switch it to Linux containers"));
        }
        let about = BackendInfo::new(uri, "Docker Engine", engine.about.version.clone());
        let capabilities = capabilities(&info);
        Ok(Self { info: about, capabilities, engine, config, owner })
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

    /// Pulls an image from its registry, with the login of Docker's own configuration (`docker login`), and
    /// tells how it comes on. Twice in a row: the second finds all there.
    ///
    /// # Errors
    /// `NotFound` for an image that the registry does not have, or not for this user; `Unauthenticated`;
    /// `Unavailable` when the registry does not answer.
    pub async fn pull(&self, reference: &str, told: impl Fn(PullProgress) + Send + Sync) -> Result<()> {
        images::pull(&self.engine, reference, &told)
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
        let name = images::ensure(&self.engine, &image, self.config.pull, &told).await?;
        containers::create(&self.engine, &request, &name, &self.owner).await?.workload()
    }

    async fn find(&self, name: &WorkloadName) -> Result<Inspected> {
        containers::find(&self.engine, name).await
    }

    async fn signal(&self, id: &str, signal: Signal) -> Result<bool> {
        let query = Query::new().with("signal", signal.get().to_string());
        match self.engine.post(&format!("/containers/{}/kill", part(id)), query).await {
            Ok(_) => Ok(true),
            Err(f) if f.is_not_found() => Ok(false),
            Err(f) => match self.engine.error(f) {
                // It has ended by itself just now.
                e if e.kind() == ErrorKind::WrongState => Ok(false),
                e => Err(e),
            },
        }
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
        // Not part of the caller's future: what a creation that is given up made is taken back.
        tokio::spawn(async move {
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
        let path = format!("/containers/{}/start", part(&found.id));
        match self.engine.post(&path, Query::new()).await {
            Ok(http::StatusCode::NOT_MODIFIED) => Ok(StartOutcome::AlreadyRunning),
            Ok(_) => Ok(StartOutcome::Started),
            Err(f) if f.is_not_found() && f.words().is_some_and(|w| w.contains("No such container")) => {
                Err(containers::missing(&request.name))
            }
            Err(f) => Err(containers::start_error(&self.engine, &request.name, f)),
        }
    }

    async fn stop(&self, request: StopRequest) -> Result<StopOutcome> {
        let found = self.find(&request.name).await?;
        if !found.is_running() {
            return Ok(StopOutcome::AlreadyStopped);
        }
        let about = |f| self.engine.error(f).with_context("workload", request.name.as_str());
        if found.state.paused {
            // What is frozen hears no signal.
            self.engine.post(&format!("/containers/{}/unpause", part(&found.id)), Query::new()).await.map_err(about)?;
        }
        if !request.grace.is_zero() {
            self.signal(&found.id, request.signal).await?;
            let ended = containers::stopped(&self.engine, &found.id);
            if let Ok(ended) = tokio::time::timeout(request.grace, ended).await {
                return ended.map(|()| StopOutcome::Stopped).map_err(about);
            }
        }
        let killed = self.signal(&found.id, Signal::KILL).await?;
        containers::stopped(&self.engine, &found.id).await.map_err(about)?;
        Ok(if killed { StopOutcome::Killed } else { StopOutcome::Stopped })
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
        self.find(name).await?.workload()
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
            .map(|id| async move { containers::by_id(&self.engine, &id).await })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
            .map_err(|f| self.engine.error(f))?;
        let mut found = Vec::new();
        // One that was removed since is none any more.
        for container in looked.into_iter().flatten() {
            match container.workload() {
                Ok(workload) if filter.matches(&workload) => found.push(workload),
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
        events::follow(&self.engine, request).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<Process> {
        // The API tells a command the end of its stdin whenever one who attached goes away, or never:
        // letting go and leaving it running can't be had together with an end of stdin.
        Err(Error::unsupported("Docker can't let go of a command's stdin without ending it")
            .with_context("workload", request.name.as_str())
            .with_hint("`pod logs -f` shows what it prints, `pod exec` runs a program beside it"))
    }

    async fn connect(&self, name: &WorkloadName) -> Result<Arc<dyn Connection>> {
        let found = self.find(name).await?;
        let target = Target { engine: self.engine.clone(), id: found.id, name: name.clone() };
        Ok(Arc::new(DockerConnection::new(target)))
    }

    fn networking(&self) -> Option<Arc<dyn Networking>> {
        None
    }
}

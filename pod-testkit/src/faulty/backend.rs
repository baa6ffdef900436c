//! A backend with a fault.

use super::connection::{FaultyConnection, mangle};
use super::networking::{self, FaultyNetworking};
use super::process::{Way, relay};
use super::{Fault, spoilt};
use async_trait::async_trait;
use futures_util::{StreamExt, future, stream};
use pod_core::{
    AttachRequest, Attachment, AttachmentFilter, Backend, BackendInfo, Capabilities, Capability, Connection,
    CreateRequest, DetachRequest, ErrorKind, EventKind, EventStream, EventsRequest, ExitStatus, Filter, Limits,
    LogRecord, LogStream, LogStreamOf, LogsRequest, MountSource, Networking, Process, RemoveOutcome, RemoveRequest,
    RestartPolicy, Result, Signal, StartOutcome, StartRequest, State, StopOutcome, StopRequest, Workload, WorkloadName,
    WorkloadSpec,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a fault must remember.
#[derive(Debug, Default)]
pub(super) struct Memory {
    leaked: Mutex<Vec<Attachment>>,
}

impl Memory {
    pub(super) fn leaked(&self) -> Vec<Attachment> {
        self.leaked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<dyn Backend>,
    fault: Fault,
    info: BackendInfo,
    capabilities: Capabilities,
    memory: Arc<Memory>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Faulty {
    pub(super) fn new(inner: Arc<dyn Backend>, fault: Fault) -> Self {
        let mut info = inner.info().clone();
        if fault == Fault::InfoEmpty {
            info.product = String::new();
        }
        let capabilities = inner.capabilities();
        Self { inner, fault, info, capabilities, memory: Arc::default(), turn: Arc::default() }
    }

    /// One that says it lacks a capability.
    pub(super) fn denying(mut self, capability: Capability) -> Self {
        self.capabilities = self.capabilities.without(capability);
        self
    }

    fn spoil<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|e| spoilt(self.fault, e))
    }

    fn status(&self, status: ExitStatus) -> ExitStatus {
        match self.fault {
            Fault::StatusIsZero => ExitStatus::Exited(0),
            Fault::StatusLost => ExitStatus::Unknown,
            _ => status,
        }
    }

    /// What a fault makes of a workload that is shown.
    fn show(&self, mut workload: Workload) -> Workload {
        workload.state = match workload.state {
            State::Exited(status) => State::Exited(self.status(status)),
            State::Running { command: Some(status) } => State::Running { command: Some(self.status(status)) },
            other => other,
        };
        if self.fault == Fault::IdsRepeat {
            workload.id = "id".into();
        }
        if self.fault == Fault::PortsLinger && workload.ports.is_empty() {
            workload.ports = workload.spec.ports.clone();
        }
        workload.attachments = workload.attachments.into_iter().map(|a| networking::show(self.fault, a)).collect();
        workload
    }

    /// What a fault makes of a workload to make.
    fn mangle(&self, spec: &mut WorkloadSpec) {
        let mut argv = spec.command.iter().map(|a| a.clone().into_bytes()).collect();
        mangle(self.fault, &mut argv);
        spec.command = argv.into_iter().map(|a| String::from_utf8_lossy(&a).into_owned()).collect();
        match self.fault {
            Fault::KeepAliveIgnored => spec.keep_alive = false,
            Fault::EnvDropped => spec.env.clear(),
            Fault::CwdDropped => spec.cwd = None,
            Fault::UserDropped => spec.user = None,
            Fault::HostsDropped => spec.hosts.clear(),
            Fault::LimitsDropped => spec.limits = Limits::default(),
            Fault::MountsDropped => spec.mounts.clear(),
            Fault::MountsWritable => spec.mounts.iter_mut().for_each(|m| m.read_only = false),
            Fault::TmpfsUnbounded => {
                for source in spec.mounts.iter_mut().map(|m| &mut m.source) {
                    if let MountSource::Tmpfs(bytes) = source {
                        *bytes = 1 << 30;
                    }
                }
            }
            Fault::PortsDropped => spec.ports.clear(),
            Fault::RestartDropped => spec.restart = RestartPolicy::No,
            Fault::RestartAlways if !spec.restart.is_no() => spec.restart = RestartPolicy::Always,
            Fault::TtyDropped => spec.tty = false,
            Fault::AttachmentsDropped => spec.attachments.clear(),
            Fault::Unchecked => {
                // Sense is made of nonsense.
                spec.command.retain(|a| !a.is_empty());
                spec.command.iter_mut().for_each(|a| a.retain(|c| c != '\0'));
                spec.env.clear();
                spec.cwd = None;
                spec.labels.clear();
                spec.limits = Limits::default();
                spec.mounts.clear();
                spec.ports.clear();
                spec.restart = RestartPolicy::No;
            }
            _ => {}
        }
        for attachment in &mut spec.attachments {
            networking::mangle(self.fault, attachment);
        }
    }
}

/// Makes a workload that nobody asked for when it is dropped.
struct LeakOnDrop(Option<(Arc<dyn Backend>, WorkloadSpec)>);

impl Drop for LeakOnDrop {
    fn drop(&mut self) {
        if let Some((backend, mut spec)) = self.0.take()
            && let Ok(name) = WorkloadName::new(format!("{}x", spec.name))
        {
            spec.name = name;
            tokio::spawn(async move { backend.create(CreateRequest::new(spec)).await });
        }
    }
}

#[async_trait]
impl Backend for Faulty {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn create(&self, mut request: CreateRequest) -> Result<Workload> {
        let secret = request.spec.env.values().cloned().collect::<Vec<_>>().join(" ");
        self.mangle(&mut request.spec);
        match self.fault {
            Fault::CreateStarts => request.start = true,
            Fault::CreateNeverStarts => request.start = false,
            Fault::CancelLeaks => {
                let mut leak = LeakOnDrop(Some((self.inner.clone(), request.spec.clone())));
                tokio::time::sleep(Duration::from_millis(2)).await;
                leak.0 = None;
            }
            _ => {}
        }
        match self.inner.create(request.clone()).await {
            Err(e) if self.fault == Fault::CreateFinds && e.kind() == ErrorKind::AlreadyExists => {
                self.inner.inspect(&request.spec.name).await
            }
            Err(e) if self.fault == Fault::FailedCreateLeaves => {
                request.start = false;
                request.spec.attachments.clear();
                // What can't be made at all leaves nothing.
                let _ = self.inner.create(request).await;
                Err(e)
            }
            Err(e) if self.fault == Fault::SecretsShown => Err(e.with_context("environment", secret)),
            other => self.spoil(other).map(|w| self.show(w)),
        }
    }

    async fn start(&self, request: StartRequest) -> Result<StartOutcome> {
        match self.fault {
            Fault::StartLost => Ok(StartOutcome::Started),
            Fault::OutcomesLie => self.inner.start(request).await.map(|_| StartOutcome::Started),
            _ => self.spoil(self.inner.start(request).await),
        }
    }

    async fn stop(&self, mut request: StopRequest) -> Result<StopOutcome> {
        match self.fault {
            Fault::StopKills => request.signal = Signal::KILL,
            Fault::StopSignalIgnored => request.signal = Signal::TERM,
            _ => {}
        }
        let name = request.name.clone();
        let outcome = self.spoil(self.inner.stop(request).await)?;
        if self.fault == Fault::StopDetaches
            && let Some(networking) = self.inner.networking()
        {
            for a in networking.attachments(AttachmentFilter::default().with_workload(name.clone())).await? {
                networking.detach(DetachRequest::new(a.workload, a.network)).await?;
            }
        }
        if self.fault == Fault::StopRestarts {
            self.inner.start(StartRequest::new(name)).await?;
        }
        Ok(match (self.fault, outcome) {
            (Fault::OutcomesLie, _) | (Fault::KilledSaysStopped, StopOutcome::Killed) => StopOutcome::Stopped,
            _ => outcome,
        })
    }

    async fn remove(&self, mut request: RemoveRequest) -> Result<RemoveOutcome> {
        match self.fault {
            Fault::RemoveForces => request.force = true,
            Fault::RemoveLost => return Ok(RemoveOutcome::Removed),
            Fault::AttachmentsLeak => {
                if let Ok(workload) = self.inner.inspect(&request.name).await {
                    self.memory.leaked.lock().unwrap_or_else(PoisonError::into_inner).extend(workload.attachments);
                }
            }
            Fault::OutcomesLie => return self.inner.remove(request).await.map(|_| RemoveOutcome::Removed),
            _ => {}
        }
        self.spoil(self.inner.remove(request).await)
    }

    async fn inspect(&self, name: &WorkloadName) -> Result<Workload> {
        self.spoil(self.inner.inspect(name).await).map(|w| self.show(w))
    }

    async fn list(&self, mut filter: Filter) -> Result<Vec<Workload>> {
        match self.fault {
            Fault::LabelsIgnored => filter.labels.clear(),
            Fault::StatesIgnored => filter.running = false,
            _ => {}
        }
        let mut all = self.spoil(self.inner.list(filter).await)?;
        if self.fault == Fault::ListsReversed {
            all.reverse();
        }
        Ok(all.into_iter().map(|w| self.show(w)).collect())
    }

    async fn logs(&self, mut request: LogsRequest) -> Result<LogStreamOf> {
        match self.fault {
            Fault::TailIgnored => request.tail = None,
            Fault::SinceIgnored => request.since = None,
            Fault::FollowIgnored => request.follow = false,
            Fault::LogsCut => request.tail = Some(1),
            _ => {}
        }
        let fault = self.fault;
        let records = self.spoil(self.inner.logs(request).await)?.map(move |record| {
            record.map(|mut r| {
                match fault {
                    Fault::LogStreamsMixed => r.stream = LogStream::Stdout,
                    Fault::LogTimesDropped => r.time = None,
                    Fault::LogLineEndsChanged => {
                        r.data = r.data.iter().copied().filter(|b| *b != b'\r').collect::<Vec<_>>().into();
                    }
                    Fault::BytesReplaced => r.data = String::from_utf8_lossy(&r.data).into_owned().into_bytes().into(),
                    _ => {}
                }
                r
            })
        });
        Ok(match self.fault {
            Fault::LogsGreet => {
                let greeting = LogRecord::new(None, LogStream::Stdout, "welcome\n".into());
                stream::once(future::ready(Ok(greeting))).chain(records).boxed()
            }
            _ => records.boxed(),
        })
    }

    async fn events(&self, request: EventsRequest) -> Result<EventStream> {
        let events = self.spoil(self.inner.events(request).await)?;
        let fault = self.fault;
        let zero = move |status| match fault {
            Fault::StatusIsZero => ExitStatus::Exited(0),
            Fault::StatusLost => ExitStatus::Unknown,
            _ => status,
        };
        Ok(match fault {
            Fault::EventsLost => events
                .filter(|e| {
                    let lost = matches!(e, Ok(e) if matches!(e.kind, EventKind::Exited(_) | EventKind::Attached(_)));
                    future::ready(!lost)
                })
                .boxed(),
            Fault::EventsSwapped => {
                events.chunks(2).flat_map(|pair| stream::iter(pair.into_iter().rev().collect::<Vec<_>>())).boxed()
            }
            Fault::StatusIsZero | Fault::StatusLost => events
                .map(move |e| {
                    e.map(|mut e| {
                        if let EventKind::Exited(status) = e.kind {
                            e.kind = EventKind::Exited(zero(status));
                        }
                        e
                    })
                })
                .boxed(),
            _ => events,
        })
    }

    async fn attach(&self, mut request: AttachRequest) -> Result<Process> {
        if self.fault == Fault::AttachForgets {
            request.logs = false;
        }
        let name = request.name.clone();
        let process = match self.inner.attach(request.clone()).await {
            Err(_) if self.fault == Fault::StdinInvented && request.stdin => {
                request.stdin = false;
                self.inner.attach(request).await?
            }
            other => self.spoil(other)?,
        };
        Ok(relay(process, Way::Attach, self.fault, &self.inner, &name, None))
    }

    async fn connect(&self, name: &WorkloadName) -> Result<Arc<dyn Connection>> {
        let inner = self.spoil(self.inner.connect(name).await)?;
        let (backend, turn) = (self.inner.clone(), self.turn.clone());
        Ok(Arc::new(FaultyConnection { inner, backend, fault: self.fault, turn }))
    }

    fn networking(&self) -> Option<Arc<dyn Networking>> {
        let inner = self.inner.networking()?;
        Some(Arc::new(FaultyNetworking { inner, fault: self.fault, memory: self.memory.clone() }))
    }
}

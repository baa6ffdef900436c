//! A place that runs workloads.

use crate::{
    BackendUri, Capabilities, Capability, Connection, Error, ErrorKind, ExitStatus, Labels, Networking, Process,
    Requires, Result, Signal, State, TtySize, Workload, WorkloadName, WorkloadSpec,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a backend is.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct BackendInfo {
    /// Its address, without secrets.
    pub uri: BackendUri,
    /// What answers: `pod-local`, `Docker Engine`, `Kubernetes`.
    pub product: String,
    /// Its version.
    pub version: String,
    /// The dialect workloads speak unless they say otherwise.
    pub os: String,
}

impl BackendInfo {
    /// The backend at `uri`, served by `product` in `version`.
    #[must_use]
    pub fn new(uri: BackendUri, product: impl Into<String>, version: impl Into<String>) -> Self {
        Self { uri, product: product.into(), version: version.into(), os: "linux".into() }
    }
}

/// Asks for a workload to be made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CreateRequest {
    /// What to make.
    pub spec: WorkloadSpec,
    /// Start it as well: one round trip, and nothing is left when the start fails.
    pub start: bool,
}

impl CreateRequest {
    /// Makes this workload and does not start it.
    #[must_use]
    pub fn new(spec: WorkloadSpec) -> Self {
        Self { spec, start: false }
    }

    /// Starts it as well.
    #[must_use]
    pub fn with_start(mut self) -> Self {
        self.start = true;
        self
    }
}

impl Requires for CreateRequest {
    fn requires(&self) -> Vec<Capability> {
        let mut need = self.spec.requires();
        // What is not started now is to be started later.
        if !self.start {
            need.push(Capability::StartStop);
        }
        need
    }
}

macro_rules! named_request {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty = $default:expr, $(#[$wdoc:meta])* $with:ident;)* } needs $($cap:ident),*) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct $name {
            /// The workload.
            pub name: WorkloadName,
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        impl $name {
            /// The request for this workload, with defaults.
            #[must_use]
            pub fn new(name: WorkloadName) -> Self {
                Self { name, $($field: $default,)* }
            }

            $($(#[$wdoc])*
            #[must_use]
            pub fn $with(mut self, $field: $ty) -> Self {
                self.$field = $field;
                self
            })*
        }

        impl Requires for $name {
            fn requires(&self) -> Vec<Capability> {
                vec![$(Capability::$cap),*]
            }
        }
    };
}

named_request!(
    /// Asks for a workload to be started.
    StartRequest {} needs StartStop
);
named_request!(
    /// Asks for a workload to be stopped.
    StopRequest {
        /// The signal to ask with; SIGTERM unless told.
        signal: Signal = Signal::TERM,
        /// Asks with another signal.
        with_signal;
        /// How long it may take before SIGKILL; 10 s unless told, zero kills at once.
        grace: Duration = Duration::from_secs(10),
        /// Gives it this long.
        with_grace;
    } needs StartStop
);
named_request!(
    /// Asks for a workload and all it holds to be removed.
    RemoveRequest {
        /// Whether a running one is killed; else it is an error.
        force: bool = false,
        /// Kills a running one.
        with_force;
    } needs Create
);
named_request!(
    /// Asks for a command's output.
    LogsRequest {
        /// Whether to go on until the command ends.
        follow: bool = false,
        /// Goes on until the command ends.
        with_follow;
        /// Only the last so many records.
        tail: Option<usize> = None,
        /// Only the last so many records.
        with_tail;
        /// Only what was written at or after this time.
        since: Option<jiff::Timestamp> = None,
        /// Only what was written at or after this time.
        with_since;
    } needs Logs
);
named_request!(
    /// Asks for the streams of a workload's own command.
    AttachRequest {
        /// Whether its stdin can be written; the workload must have been made with `stdin`.
        stdin: bool = false,
        /// Lets the caller write its stdin.
        with_stdin;
        /// Whether what was printed before is given first.
        logs: bool = false,
        /// Gives what was printed before, first.
        with_logs;
        /// The caller's terminal size, for a workload with a terminal.
        tty: Option<TtySize> = None,
        /// Sets the terminal's size.
        with_tty;
    } needs AttachStdio
);

/// Which workloads to list; an empty filter is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only those with all these labels.
    pub labels: Labels,
    /// Only those of this topology.
    pub topology: Option<String>,
    /// Only running ones.
    pub running: bool,
}

impl Filter {
    /// All workloads.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those with this label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Only those of this topology.
    #[must_use]
    pub fn with_topology(mut self, name: impl Into<String>) -> Self {
        self.topology = Some(name.into());
        self
    }

    /// Only running ones.
    #[must_use]
    pub fn with_running(mut self, running: bool) -> Self {
        self.running = running;
        self
    }

    /// Whether `workload` passes.
    #[must_use]
    pub fn matches(&self, workload: &Workload) -> bool {
        let labels = &workload.spec.labels;
        self.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.topology.as_ref().is_none_or(|t| labels.get(crate::LABEL_TOPOLOGY) == Some(t))
            && (!self.running || workload.state.is_running())
    }
}

impl Requires for Filter {
    fn requires(&self) -> Vec<Capability> {
        if self.labels.is_empty() && self.topology.is_none() { vec![] } else { vec![Capability::Labels] }
    }
}

/// Which of a command's streams a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Its stdout; with a terminal, all its output.
    Stdout,
    /// Its stderr.
    Stderr,
}

/// One piece of a command's output: usually a line with its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRecord {
    /// When it was written; `None` without `lifecycle.log_timestamps`.
    pub time: Option<jiff::Timestamp>,
    /// Which stream it came from; `Stdout` throughout without `lifecycle.log_streams`.
    pub stream: LogStream,
    /// The bytes, as they were.
    pub data: Bytes,
}

impl LogRecord {
    /// A record of these parts.
    #[must_use]
    pub fn new(time: Option<jiff::Timestamp>, stream: LogStream, data: Bytes) -> Self {
        Self { time, stream, data }
    }
}

/// What happened to a workload.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// It was made.
    Created,
    /// Its command was started.
    Started,
    /// Its command ended.
    Exited(ExitStatus),
    /// It was removed.
    Removed,
    /// It was attached to a network.
    Attached(crate::NetworkName),
    /// It was detached from a network.
    Detached(crate::NetworkName),
}

/// A change of a workload. Events of one workload come in order.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub time: jiff::Timestamp,
    /// The workload.
    pub workload: WorkloadName,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// An event of now.
    #[must_use]
    pub fn now(workload: WorkloadName, kind: EventKind) -> Self {
        Self { time: jiff::Timestamp::now(), workload, kind }
    }
}

/// Asks for events from now on.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EventsRequest {
    /// Only of this workload.
    pub workload: Option<WorkloadName>,
}

impl EventsRequest {
    /// Only of this workload.
    #[must_use]
    pub fn of(workload: WorkloadName) -> Self {
        Self { workload: Some(workload) }
    }
}

impl Requires for EventsRequest {
    fn requires(&self) -> Vec<Capability> {
        vec![Capability::Events]
    }
}

/// What [`Backend::start`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartOutcome {
    /// It was started.
    Started,
    /// It ran already.
    AlreadyRunning,
}

/// What [`Backend::stop`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopOutcome {
    /// It ended within its grace.
    Stopped,
    /// It was killed when its grace was over.
    Killed,
    /// It did not run.
    AlreadyStopped,
}

/// What a removal did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoveOutcome {
    /// It was removed.
    Removed,
    /// There was none.
    AlreadyAbsent,
}

/// A stream of log records.
pub type LogStreamOf = BoxStream<'static, Result<LogRecord>>;
/// A stream of events.
pub type EventStream = BoxStream<'static, Result<Event>>;

/// A place that runs workloads, chosen at run time by a [`BackendUri`].
///
/// Implementors: no method has a default body on purpose, so that a wrapper can't forget one. Every
/// error names the operation. What a capability denies is refused by the [check
/// layer](crate::layers::Check) before it gets here.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// What this backend is; known since connect.
    fn info(&self) -> &BackendInfo;

    /// What it can do; fixed since connect.
    fn capabilities(&self) -> Capabilities;

    /// Whether it answers.
    ///
    /// # Errors
    /// `Unavailable` with what to do, `Unauthenticated`, `PermissionDenied`.
    async fn ping(&self) -> Result<()>;

    /// Makes a workload, and starts it when asked to.
    ///
    /// One that is not started needs `lifecycle.start_stop`: where that is missing, a workload is made
    /// running.
    ///
    /// Twice in a row: `AlreadyExists`, and the first is untouched. On failure or cancellation nothing
    /// is left, or what is left is found by `gc`. Needs `lifecycle.create` and what the spec's parts
    /// need.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidInput`, `NotFound` (image, network), `CommandFailed` (with `start`),
    /// `Exhausted`.
    async fn create(&self, request: CreateRequest) -> Result<Workload>;

    /// Starts a workload's command; returns when the program has been executed.
    ///
    /// Twice in a row: `AlreadyRunning`. A missing workload is `NotFound`. On cancellation it is either
    /// running or not. Needs `lifecycle.start_stop`.
    ///
    /// # Errors
    /// `CommandFailed` with exit code 126 or 127 when the program can't be run: the workload is then
    /// exited with that code, or without `lifecycle.start_failure` as it was before.
    async fn start(&self, request: StartRequest) -> Result<StartOutcome>;

    /// Asks a workload to end, and kills it when its grace is over; returns when it has ended.
    ///
    /// Twice in a row: `AlreadyStopped`. A missing workload is `NotFound`. On cancellation the asking
    /// stands, the killing may not come. Needs `lifecycle.start_stop`.
    ///
    /// # Errors
    /// As the platform says.
    async fn stop(&self, request: StopRequest) -> Result<StopOutcome>;

    /// Removes a workload and all it holds: its files, its logs, its attachments.
    ///
    /// Twice in a row, or a missing one: `AlreadyAbsent`. Cancelled half-way, a second call finishes.
    /// Needs `lifecycle.create`.
    ///
    /// # Errors
    /// `WrongState` when it runs and `force` is not set.
    async fn remove(&self, request: RemoveRequest) -> Result<RemoveOutcome>;

    /// What a workload is and does.
    ///
    /// # Errors
    /// `NotFound`.
    async fn inspect(&self, name: &WorkloadName) -> Result<Workload>;

    /// The workloads that pass the filter, by name.
    ///
    /// # Errors
    /// As the platform says; none at all is an empty list.
    async fn list(&self, filter: Filter) -> Result<Vec<Workload>>;

    /// A command's output so far, and from now on when asked to follow: then the stream ends when the
    /// command does. Records of one stream come in order. Needs `lifecycle.logs`.
    ///
    /// # Errors
    /// `NotFound`.
    async fn logs(&self, request: LogsRequest) -> Result<LogStreamOf>;

    /// Changes from now on: what happens after this returns is in the stream. Needs
    /// `lifecycle.events`.
    ///
    /// # Errors
    /// As the platform says.
    async fn events(&self, request: EventsRequest) -> Result<EventStream>;

    /// The streams of the workload's own command. Dropping the process lets go of the streams and
    /// leaves the command running; `kill` and `signal` go to the command. Needs `lifecycle.attach`.
    ///
    /// Shutting its stdin down ends the command's input; letting go of it does not.
    /// Without `lifecycle.log_streams`, what was printed before is all on stdout.
    ///
    /// # Errors
    /// `NotFound`; `WrongState` when it does not run.
    async fn attach(&self, request: AttachRequest) -> Result<Process>;

    /// A way into a workload.
    ///
    /// # Errors
    /// `NotFound`.
    async fn connect(&self, name: &WorkloadName) -> Result<Arc<dyn Connection>>;

    /// Its networks; `None` when it has none.
    fn networking(&self) -> Option<Arc<dyn Networking>>;
}

/// Shorter ways to do common things with any [`Backend`].
#[async_trait]
pub trait BackendExt {
    /// The backend's networks.
    ///
    /// # Errors
    /// `Unsupported` when it has none.
    fn require_networking(&self) -> Result<Arc<dyn Networking>>;

    /// Waits until the workload's command has ended, and gives its status. Needs `lifecycle.events`.
    /// A command that is started again by its policy has ended all the same.
    ///
    /// # Errors
    /// `NotFound`, also when it is removed meanwhile; `WrongState` when it was never started.
    async fn wait_exit(&self, name: &WorkloadName) -> Result<ExitStatus>;
}

#[async_trait]
impl<B: Backend + ?Sized> BackendExt for B {
    fn require_networking(&self) -> Result<Arc<dyn Networking>> {
        self.networking()
            .ok_or_else(|| Error::unsupported("this backend has no networks").with_backend(self.info().uri.to_string()))
    }

    async fn wait_exit(&self, name: &WorkloadName) -> Result<ExitStatus> {
        let mut events = self.events(EventsRequest::of(name.clone())).await?;
        loop {
            match self.inspect(name).await?.state {
                State::Exited(status) | State::Running { command: Some(status) } => return Ok(status),
                State::Failed(why) => {
                    return Err(Error::new(ErrorKind::WrongState, why).with_context("workload", name.as_str()));
                }
                State::Created => {
                    return Err(Error::new(ErrorKind::WrongState, "the workload was never started")
                        .with_context("workload", name.as_str())
                        .with_hint("`pod start` starts it"));
                }
                _ => {}
            }
            match events.next().await {
                Some(event) => match event?.kind {
                    EventKind::Exited(status) => return Ok(status),
                    EventKind::Removed => return Err(Error::not_found("workload", name.as_str())),
                    _ => {}
                },
                None => return Err(Error::new(ErrorKind::Unavailable, "the event stream ended")),
            }
        }
    }
}

//! The core of POD: the traits every backend implements, the types they speak in, and what is built
//! on the traits alone: the operating system inside a workload, safe copy, topology files, and a
//! backend in memory.
//!
//! A program usually depends on `pod-sdk`, which re-exports all of this.
//!
//! ```
//! use pod_core::{Backend, ConnectionExt, CreateRequest, ExecRequest, WorkloadName, WorkloadSpec, mem::MemBackend};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let backend = MemBackend::new();
//! let name = WorkloadName::new("web")?;
//! backend.create(CreateRequest::new(WorkloadSpec::new(name.clone())).with_start()).await?;
//! let connection = backend.connect(&name).await?;
//! let output = connection.run(ExecRequest::new(["echo", "hello"])).await?;
//! assert_eq!(output.stdout_text(), "hello\n");
//! # Ok::<(), pod_core::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod capabilities;
mod config;
mod connection;
pub mod copy;
mod error;
pub mod layers;
mod link;
pub mod mem;
mod mounts;
mod names;
mod networking;
pub mod os;
mod ports;
mod process;
mod registry;
mod restart;
mod signal;
pub mod size;
pub mod topology;
mod uri;
mod workload;

pub use backend::{
    AttachRequest, Backend, BackendExt, BackendInfo, CreateRequest, Event, EventKind, EventStream, EventsRequest,
    Filter, LogRecord, LogStream, LogStreamOf, LogsRequest, RemoveOutcome, RemoveRequest, StartOutcome, StartRequest,
    StopOutcome, StopRequest,
};
pub use capabilities::{Capabilities, Capability, Requires};
pub use config::Config;
pub use connection::{BoxDuplex, Connection, ConnectionExt, Duplex, ExecRequest, ForwardRequest, RUN_OUTPUT_LIMIT};
pub use error::{Error, ErrorKind, IoResultExt, Result, ResultExt, Retry};
pub use link::{MacAddr, VlanId, Vni};
pub use mounts::{Mount, MountSource};
pub use names::{IfName, NetworkName, TopologyName, VolumeName, WorkloadName};
pub use networking::{
    Applied, AttachMode, AttachNetworkRequest, Attachment, AttachmentFilter, AttachmentSpec, CreateNetworkOutcome,
    DEFAULT_MTU, DetachOutcome, DetachRequest, Enforcement, Finding, IsolateRequest, Network, NetworkIntent,
    NetworkPlan, NetworkSpec, NetworkStep, Networking, PolicyReport, PolicyRule, PolicySpec, ProbeOutcome,
    ProbeRequest, ProbeTarget, Route, VerifyReport, VerifyRequest,
};
pub use ports::{Protocol, PublishedPort};
pub use process::{BoxRead, BoxWrite, Output, Process, ProcessDriver, Streams, TtySize};
pub use registry::{BackendFactory, Registry, split_single};
pub use restart::RestartPolicy;
pub use signal::Signal;
pub use uri::{Address, BackendUri};
pub use workload::{
    ExitStatus, Image, LABEL_OWNER, LABEL_SPEC_HASH, LABEL_TOPOLOGY, Labels, Limits, OWN_LABEL_PREFIX, State, Workload,
    WorkloadSpec, check_label,
};

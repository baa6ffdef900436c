//! POD runs, reaches and wires workloads wherever they live: one set of traits, a backend per
//! platform, chosen at run time by an address.
//!
//! This crate re-exports [`pod_core`] and puts the backends of the enabled features into a
//! [`Registry`]. Each backend is a feature of its own; `mem`, a backend in memory for tests, is always
//! there.
//!
//! ```no_run
//! use pod::prelude::*;
//!
//! # async fn example() -> pod::Result<()> {
//! let registry = Registry::with_defaults();
//! let address = registry.resolve("local:web", &registry.default_backend(None)?)?;
//! let backend = registry.connect(&address.backend).await?;
//! let connection = backend.connect(address.require_workload()?).await?;
//! let output = connection.run(ExecRequest::new(["uname", "-r"])).await?;
//! print!("{}", output.stdout_text());
//! # Ok(())
//! # }
//! ```

pub use pod_core::*;

/// Docker.
#[cfg(feature = "docker")]
pub use pod_docker as docker;

/// Kubernetes.
#[cfg(feature = "k8s")]
pub use pod_k8s as k8s;

/// The embedded engine of this machine.
#[cfg(all(feature = "local", target_os = "linux"))]
pub use pod_local as local;

mod defaults;

pub use defaults::Defaults;

/// What most programs need: `use pod::prelude::*`.
pub mod prelude {
    pub use crate::Defaults as _;
    pub use pod_core::{
        Address, AttachmentSpec, Backend, BackendExt, BackendUri, Connection, ConnectionExt, CreateRequest, Error,
        ErrorKind, ExecRequest, ExitStatus, Filter, Image, IoResultExt, Limits, NetworkName, NetworkSpec, Networking,
        Output, Process, Registry, RemoveRequest, ResultExt, StartRequest, State, StopRequest, VlanId, Workload,
        WorkloadName, WorkloadSpec,
    };
}

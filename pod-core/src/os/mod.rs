//! The operating system inside a workload, over any connection.
//!
//! [`Os`] runs the [`Plan`]s of an [`OsDialect`]; the dialect itself does no I/O. Every program runs in
//! the C locale. What an image lacks (`ip`, `ps`, `find`) is read from `/proc` and `/sys` instead; what
//! can't be done is a typed error, never a silent success.

mod dialect;
mod facts;
mod files;
mod handle;
#[cfg(all(test, target_os = "linux"))]
mod here;
mod interfaces;
mod linux;
#[cfg(all(test, target_os = "linux"))]
mod local;
mod plan;
mod processes;
mod resources;
mod routes;
mod script;
#[cfg(test)]
mod testing;

pub use dialect::OsDialect;
pub use facts::{InitSystem, OsFacts, PackageManager, Userland};
pub use files::{FileEntry, PathBytes, READ_LIMIT, Removed};
pub use handle::Os;
pub use interfaces::{Interface, LinkKind, LinkState};
pub use linux::Linux;
pub use plan::{Input, Plan, READ_TIMEOUT, Step};
pub use processes::{ProcessInfo, ProcessState};
pub use resources::{Cpu, Disk, Memory};
pub use routes::{RouteEntry, RouteKind};

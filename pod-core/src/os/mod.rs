//! The operating system inside a workload, over any connection.
//!
//! [`Os`] runs the [`Plan`]s of an [`OsDialect`]; the dialect itself does no I/O. Every program runs in
//! the C locale. What an image lacks (`ip`, `ps`, `find`) is read from `/proc` and `/sys` instead; what
//! can't be done is a typed error, never a silent success.

#[cfg(all(test, target_os = "linux"))]
mod changes;
mod dialect;
#[cfg(all(test, target_os = "linux"))]
mod downtime;
mod facts;
mod files;
mod handle;
#[cfg(all(test, target_os = "linux"))]
mod here;
mod host;
mod interfaces;
mod linux;
#[cfg(all(test, target_os = "linux"))]
mod local;
mod network;
mod packages;
mod plan;
mod processes;
mod resources;
mod routes;
#[cfg(all(test, target_os = "linux"))]
mod sandbox;
mod script;
mod services;
#[cfg(test)]
mod testing;
mod users;

pub use dialect::OsDialect;
pub use facts::{InitSystem, OsFacts, PackageManager, Userland};
pub use files::{FileEntry, PathBytes, READ_LIMIT, Removed};
pub use handle::Os;
pub use interfaces::{Interface, LinkKind, LinkState};
pub use linux::Linux;
pub use network::{NameState, NetworkConfig, NetworkManager, NetworkReport, NetworkState, VlanLink};
pub use packages::{Change, PACKAGE_TIMEOUT, Package, PackageChange};
pub use plan::{Input, Plan, READ_TIMEOUT, Step};
pub use processes::{ProcessInfo, ProcessState};
pub use resources::{Cpu, Disk, Memory};
pub use routes::{RouteEntry, RouteKind};
pub use services::{Service, ServiceAction, ServiceOutcome, ServiceState};
pub use users::{NewUser, Password, User};

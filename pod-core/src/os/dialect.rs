//! What every dialect can be asked.

use crate::copy::FileStat;
use crate::os::{
    Change, Cpu, Disk, FileEntry, Interface, Memory, NameState, NetworkConfig, NetworkState, NewUser, OsFacts, Package,
    Password, Plan, ProcessInfo, Removed, RouteEntry, Service, ServiceAction, ServiceOutcome, User,
};
use crate::{IfName, Result, Signal};
use std::fmt;

/// The language of one kind of operating system: an intent becomes programs to run, what they print
/// becomes types. It does no I/O, so it is tested from transcripts.
///
/// Every method gives [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a value that can't
/// be meant, and [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the facts show that
/// the system lacks what is needed; nothing has been run then. What each operation does is written at
/// the method of [`Os`](crate::os::Os) of the same name.
pub trait OsDialect: fmt::Debug + Send + Sync + 'static {
    /// The dialect's name: `gnu` or `busybox`.
    fn name(&self) -> &'static str;
    /// The facts of the system it speaks to.
    fn facts(&self) -> &OsFacts;
    /// Reads what tells one boot from the next.
    fn boot_id(&self) -> Result<Plan<String>>;
    /// Reads the network interfaces.
    fn interfaces(&self) -> Result<Plan<Vec<Interface>>>;
    /// Reads the routes.
    fn routes(&self) -> Result<Plan<Vec<RouteEntry>>>;
    /// Reads how names are resolved over an interface, and who configures the network.
    fn name_state(&self, interface: &IfName) -> Result<Plan<NameState>>;
    /// Makes an interface what the configuration says.
    fn apply_network(&self, config: &NetworkConfig, before: &NetworkState) -> Result<Plan<()>>;
    /// Takes back what [`OsDialect::apply_network`] changed, as far as it came.
    fn restore_network(&self, config: &NetworkConfig, before: &NetworkState, now: &NetworkState) -> Result<Plan<()>>;
    /// Has the configuration kept over a reboot.
    fn persist_network(&self, config: &NetworkConfig, before: &NetworkState) -> Result<Plan<()>>;
    /// Reads the installed packages.
    fn packages(&self) -> Result<Plan<Vec<Package>>>;
    /// Installs or removes packages.
    fn change_packages(&self, names: &[&str], change: Change) -> Result<Plan<()>>;
    /// Reads the services.
    fn services(&self) -> Result<Plan<Vec<Service>>>;
    /// Reads one service.
    fn service(&self, name: &str) -> Result<Plan<Service>>;
    /// Starts, stops, restarts, enables or disables a service.
    fn control_service(&self, name: &str, action: ServiceAction) -> Result<Plan<ServiceOutcome>>;
    /// Reads the users.
    fn users(&self) -> Result<Plan<Vec<User>>>;
    /// Makes a user.
    fn create_user(&self, user: &NewUser) -> Result<Plan<()>>;
    /// Sets a user's password.
    fn set_password(&self, name: &str, password: &Password) -> Result<Plan<()>>;
    /// Removes a user.
    fn delete_user(&self, name: &str, home: bool) -> Result<Plan<Removed>>;
    /// Reads the host name.
    fn hostname(&self) -> Result<Plan<String>>;
    /// Sets the host name.
    fn set_hostname(&self, name: &str) -> Result<Plan<()>>;
    /// Tells the system to reboot.
    fn reboot(&self) -> Result<Plan<()>>;
    /// Tells the system to shut down.
    fn shutdown(&self) -> Result<Plan<()>>;
    /// Reads the processes.
    fn processes(&self) -> Result<Plan<Vec<ProcessInfo>>>;
    /// Sends a signal.
    fn kill(&self, pid: u32, signal: Signal) -> Result<Plan<()>>;
    /// Reads how full the disks are.
    fn disks(&self) -> Result<Plan<Vec<Disk>>>;
    /// Reads the memory.
    fn memory(&self) -> Result<Plan<Memory>>;
    /// Reads the processors.
    fn cpu(&self) -> Result<Plan<Cpu>>;
    /// Looks at a path.
    fn stat(&self, path: &[u8], follow: bool) -> Result<Plan<Option<FileStat>>>;
    /// Reads a file of at most `limit` bytes.
    fn read_file(&self, path: &[u8], limit: usize) -> Result<Plan<Vec<u8>>>;
    /// Writes a file whole.
    fn write_file(&self, path: &[u8], content: Vec<u8>, mode: u32) -> Result<Plan<()>>;
    /// Makes a folder.
    fn make_dir(&self, path: &[u8], parents: bool) -> Result<Plan<()>>;
    /// Removes what is at a path.
    fn remove(&self, path: &[u8], recursive: bool) -> Result<Plan<Removed>>;
    /// Lists a folder.
    fn list_dir(&self, path: &[u8]) -> Result<Plan<Vec<FileEntry>>>;
}

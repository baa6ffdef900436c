//! Linux with GNU or BusyBox tools.
//!
//! Most facts come from `/proc` and `/sys`, which are the same under both; where tools differ, a
//! script asks which it has.

mod detect;
mod files;
mod host;
mod ifconfig;
#[cfg(test)]
mod intents;
mod interfaces;
mod ip_text;
mod network;
mod packages;
mod proc_net;
mod processes;
mod resources;
mod routes;
mod services;
mod sysfs;
#[cfg(test)]
mod transcripts;
mod users;

use crate::copy::FileStat;
use crate::os::dialect::OsDialect;
use crate::os::{
    Change, Cpu, Disk, FileEntry, Interface, Memory, NameState, NetworkConfig, NetworkState, NewUser, OsFacts, Package,
    Password, Plan, ProcessInfo, Removed, RouteEntry, Service, ServiceAction, ServiceOutcome, User, Userland,
};
use crate::{IfName, Result, Signal};

/// The dialect of Linux, with the facts by which it chooses its tools.
#[derive(Debug, Clone)]
pub struct Linux {
    facts: OsFacts,
}

impl Linux {
    /// The plan that reads the facts, for [`Linux::new`].
    #[must_use]
    pub fn detect() -> Plan<OsFacts> {
        detect::plan()
    }

    /// The dialect for a system of which these are the facts.
    #[must_use]
    pub fn new(facts: OsFacts) -> Self {
        Self { facts }
    }
}

impl OsDialect for Linux {
    fn name(&self) -> &'static str {
        match self.facts.userland {
            Userland::Gnu => "gnu",
            Userland::BusyBox => "busybox",
        }
    }

    fn facts(&self) -> &OsFacts {
        &self.facts
    }

    fn boot_id(&self) -> Result<Plan<String>> {
        Ok(detect::boot_id())
    }

    fn interfaces(&self) -> Result<Plan<Vec<Interface>>> {
        Ok(interfaces::plan(&self.facts))
    }

    fn routes(&self) -> Result<Plan<Vec<RouteEntry>>> {
        Ok(routes::plan(&self.facts))
    }

    fn name_state(&self, interface: &IfName) -> Result<Plan<NameState>> {
        Ok(network::name_state(&self.facts, interface))
    }

    fn apply_network(&self, config: &NetworkConfig, before: &NetworkState) -> Result<Plan<()>> {
        Ok(network::apply(config, before))
    }

    fn restore_network(&self, config: &NetworkConfig, before: &NetworkState, now: &NetworkState) -> Result<Plan<()>> {
        Ok(network::restore(config, before, now))
    }

    fn persist_network(&self, config: &NetworkConfig, before: &NetworkState) -> Result<Plan<()>> {
        network::persist(config, before)
    }

    fn packages(&self) -> Result<Plan<Vec<Package>>> {
        packages::list(&self.facts)
    }

    fn change_packages(&self, names: &[&str], change: Change) -> Result<Plan<()>> {
        packages::change(&self.facts, names, change)
    }

    fn services(&self) -> Result<Plan<Vec<Service>>> {
        services::list(&self.facts)
    }

    fn service(&self, name: &str) -> Result<Plan<Service>> {
        services::one(&self.facts, name)
    }

    fn control_service(&self, name: &str, action: ServiceAction) -> Result<Plan<ServiceOutcome>> {
        services::control(&self.facts, name, action)
    }

    fn users(&self) -> Result<Plan<Vec<User>>> {
        Ok(users::list())
    }

    fn create_user(&self, user: &NewUser) -> Result<Plan<()>> {
        users::create(&self.facts, user)
    }

    fn set_password(&self, name: &str, password: &Password) -> Result<Plan<()>> {
        users::set_password(name, password)
    }

    fn delete_user(&self, name: &str, home: bool) -> Result<Plan<Removed>> {
        users::delete(&self.facts, name, home)
    }

    fn hostname(&self) -> Result<Plan<String>> {
        Ok(host::hostname())
    }

    fn set_hostname(&self, name: &str) -> Result<Plan<()>> {
        host::set_hostname(&self.facts, name)
    }

    fn reboot(&self) -> Result<Plan<()>> {
        host::reboot(&self.facts)
    }

    fn shutdown(&self) -> Result<Plan<()>> {
        host::shutdown(&self.facts)
    }

    fn processes(&self) -> Result<Plan<Vec<ProcessInfo>>> {
        Ok(processes::plan())
    }

    fn kill(&self, pid: u32, signal: Signal) -> Result<Plan<()>> {
        processes::kill(pid, signal)
    }

    fn disks(&self) -> Result<Plan<Vec<Disk>>> {
        Ok(resources::disks())
    }

    fn memory(&self) -> Result<Plan<Memory>> {
        Ok(resources::memory())
    }

    fn cpu(&self) -> Result<Plan<Cpu>> {
        Ok(resources::cpu())
    }

    fn stat(&self, path: &[u8], follow: bool) -> Result<Plan<Option<FileStat>>> {
        files::stat(path, follow)
    }

    fn read_file(&self, path: &[u8], limit: usize) -> Result<Plan<Vec<u8>>> {
        files::read_file(path, limit)
    }

    fn write_file(&self, path: &[u8], content: Vec<u8>, mode: u32) -> Result<Plan<()>> {
        files::write_file(path, content, mode)
    }

    fn make_dir(&self, path: &[u8], parents: bool) -> Result<Plan<()>> {
        files::make_dir(path, parents)
    }

    fn remove(&self, path: &[u8], recursive: bool) -> Result<Plan<Removed>> {
        files::remove(path, recursive)
    }

    fn list_dir(&self, path: &[u8]) -> Result<Plan<Vec<FileEntry>>> {
        files::list_dir(path)
    }
}

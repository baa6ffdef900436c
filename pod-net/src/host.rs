//! One instance's networking on this host: where it lives, and its namespace and bridges.

use crate::kernel::KernelFeatures;
use crate::link;
use crate::netlink::Netlink;
use crate::netns::{self, Netns};
use crate::store::{NetworkRecord, Store};
use pod_core::{Error, ErrorKind, IfName, Result};
use sha2::Digest;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where one instance's networking lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNetConfig {
    /// The directory for records that outlast a reboot, such as `/var/lib/pod`.
    pub state_dir: PathBuf,
    /// The directory for what does not, such as `/run/pod`; POD's namespace is mounted beneath it.
    pub run_dir: PathBuf,
    /// What tells this instance's interfaces from another's on the same host.
    pub instance: String,
}

/// A workload's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The workload.
    pub workload: pod_core::WorkloadName,
    /// The file its network namespace is mounted on.
    pub netns: PathBuf,
}

impl Sandbox {
    /// The sandbox of `workload` whose network namespace is mounted on `netns`.
    #[must_use]
    pub fn new(workload: pod_core::WorkloadName, netns: impl Into<PathBuf>) -> Self {
        Self { workload, netns: netns.into() }
    }

    /// Opens its namespace.
    pub(crate) fn open(&self) -> Result<Netns> {
        Netns::open(&self.netns)?.ok_or_else(|| {
            Error::new(ErrorKind::WrongState, "the workload has no network namespace")
                .with_context("workload", self.workload.as_str())
                .with_context("path", self.netns.display().to_string())
        })
    }
}

/// One instance's networks and attachments on this host.
///
/// Bridges and ports live in a network namespace of POD's own, where the host's firewall has no say.
/// Cheap to clone; holds no socket or namespace open between calls.
#[derive(Debug, Clone)]
pub struct HostNet(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) instance: String,
    pub(crate) netns: PathBuf,
    pub(crate) store: Store,
    pub(crate) kernel: KernelFeatures,
}

impl HostNet {
    /// Opens the networking of an instance. Makes nothing.
    ///
    /// # Errors
    /// `PermissionDenied` unless run as root.
    pub async fn open(config: HostNetConfig) -> Result<Self> {
        let kernel = crate::task::blocking(KernelFeatures::detect).await?;
        Ok(Self::open_as(config, kernel))
    }

    /// Opens it as if the kernel could do no more than this: networks as another host would make them.
    #[must_use]
    pub fn open_as(config: HostNetConfig, kernel: KernelFeatures) -> Self {
        Self(Arc::new(Inner {
            instance: config.instance,
            netns: config.run_dir.join("net").join("ns"),
            store: Store::new(config.state_dir.join("net")),
            kernel,
        }))
    }

    /// What this kernel can do.
    #[must_use]
    pub fn kernel(&self) -> &KernelFeatures {
        &self.0.kernel
    }

    /// What this host can do with networks.
    #[must_use]
    pub fn capabilities(&self) -> pod_core::Capabilities {
        self.0.kernel.capabilities()
    }

    /// The file that POD's own namespace is mounted on while there is a network.
    #[must_use]
    pub fn netns(&self) -> &Path {
        &self.0.netns
    }

    /// Runs blocking work on this instance.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        crate::task::blocking(move || work(&inner)).await
    }

    /// Runs blocking work on this instance; `undo` gets what it made if the caller gives up meanwhile.
    pub(crate) async fn blocking_or_undo<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
        undo: impl Fn(&Inner, T) -> Result<()> + Send + Sync + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        let again = Arc::clone(&self.0);
        crate::task::blocking_or_undo(move || work(&inner), move |made| undo(&again, made)).await
    }
}

impl Inner {
    /// An interface name of POD's: a function of the instance and of what it is for.
    pub(crate) fn name(&self, prefix: &str, parts: &[&str]) -> Result<IfName> {
        let mut hash = sha2::Sha256::new();
        hash.update(self.instance.as_bytes());
        for part in parts {
            // names hold no zero byte, so that two lists of parts never give one text
            hash.update([0]);
            hash.update(part.as_bytes());
        }
        let digits: String = hash.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect();
        IfName::new(format!("{prefix}{digits}"))
    }

    /// POD's namespace, if there is one.
    pub(crate) fn existing_netns(&self) -> Result<Option<Netns>> {
        Netns::open(&self.netns)
    }

    /// A socket in POD's namespace, which is made if it is missing. The caller holds the lock.
    pub(crate) fn make_netns(&self) -> Result<Netlink> {
        if let Some(netns) = self.existing_netns()? {
            return netns.netlink();
        }
        netns::create_with(&self.netns, |_| crate::sysctl::quiet_bridges())?;
        match self.existing_netns()? {
            Some(netns) => netns.netlink(),
            None => Err(Error::unexpected("the namespace that was just made is gone")
                .with_context("path", self.netns.display().to_string())),
        }
    }

    /// Removes POD's namespace and what is in it. The caller holds the lock.
    pub(crate) fn remove_netns(&self) -> Result<()> {
        netns::remove(&self.netns)?;
        match self.netns.parent() {
            Some(dir) => crate::lock::remove_dir_if_empty(dir),
            None => Ok(()),
        }
    }

    /// A socket in POD's namespace, the caller's or a new one, and the index of the network's bridge
    /// there. What is missing, as after a reboot, is made again from the record.
    pub(crate) fn bridge(&self, network: &NetworkRecord, outside: Option<Netlink>) -> Result<(Netlink, u32)> {
        let outside = match outside {
            Some(outside) => Some(outside),
            None => self.existing_netns()?.map(|netns| netns.netlink()).transpose()?,
        };
        if let Some(netlink) = outside {
            let joined = match &network.uplink_port {
                Some(port) => netlink.link(port.as_str())?.is_some(),
                None => true,
            };
            if joined && let Some(bridge) = netlink.link(network.bridge.as_str())? {
                return Ok((netlink, bridge.index));
            }
        }
        let _lock = self.store.lock()?;
        let netlink = self.make_netns()?;
        let index = self.make_bridge(&netlink, network)?;
        self.make_uplink(&netlink, network, index)?;
        Ok((netlink, index))
    }

    /// Makes a network's bridge, or finds it made. The caller holds the lock.
    pub(crate) fn make_bridge(&self, netlink: &Netlink, network: &NetworkRecord) -> Result<u32> {
        let name = network.bridge.as_str();
        let at = |e: Error| e.with_context("network", network.spec.name.as_str()).with_context("bridge", name);
        let made = netlink.batch(vec![link::bridge(name, network.pvid.is_some()), link::get(name)]);
        let mut answers = made.map_err(at)?.into_iter();
        match answers.next() {
            Some(Err(refusal)) if !refusal.is_taken() => {
                return Err(at(refusal.into_error("make the network's bridge")));
            }
            _ => {}
        }
        let found = answers.next().and_then(std::result::Result::ok).into_iter().flatten().find_map(link::as_link);
        match found {
            Some(bridge) if bridge.kind.as_deref() == Some("bridge") => Ok(bridge.index),
            _ => Err(at(Error::new(ErrorKind::Conflict, "a link that is no bridge has the bridge's name"))),
        }
    }
}

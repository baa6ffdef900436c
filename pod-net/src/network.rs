//! Networks: made, listed, removed.

use crate::host::{HostNet, Inner};
use crate::store::NetworkRecord;
use crate::uplink;
use pod_core::{
    CreateNetworkOutcome, Error, ErrorKind, Network, NetworkName, NetworkSpec, RemoveOutcome, Result, ResultExt,
};

impl HostNet {
    /// Makes a network. Twice with the same spec: `AlreadyExists` as an outcome, and whatever of it
    /// is missing is made again. On failure or cancellation nothing is left.
    ///
    /// # Errors
    /// `InvalidInput` for a spec that makes no sense; `AlreadyExists` when one of that name has
    /// another spec; `Unsupported` names the kernel option that is missing; `NotFound` for an absent
    /// uplink.
    pub async fn create_network(&self, spec: &NetworkSpec) -> Result<CreateNetworkOutcome> {
        let spec = spec.clone();
        self.blocking_or_undo(
            move |host| host.create_network(&spec).operation("create network"),
            |host, outcome| match outcome {
                CreateNetworkOutcome::Created(network) => host.remove_network(&network.spec.name).map(|_| ()),
                CreateNetworkOutcome::AlreadyExists(_) => Ok(()),
            },
        )
        .await
    }

    /// The networks of this instance, by name.
    ///
    /// # Errors
    /// When a record can't be read.
    pub async fn list(&self) -> Result<Vec<Network>> {
        self.blocking(|host| host.store.networks()?.into_iter().map(|r| host.describe(r)).collect()).await
    }

    /// Removes a network, and POD's namespace with the last one.
    ///
    /// # Errors
    /// `Busy` while a workload is attached, naming it.
    pub async fn remove_network(&self, network: &NetworkName) -> Result<RemoveOutcome> {
        let network = network.clone();
        self.blocking(move |host| host.remove_network(&network).operation("remove network")).await
    }
}

impl Inner {
    fn describe(&self, record: NetworkRecord) -> Result<Network> {
        let attachments = self.store.attached(&record.spec.name)?.len();
        Ok(Network::new(record.spec, record.bridge.as_str(), attachments))
    }

    pub(crate) fn create_network(&self, spec: &NetworkSpec) -> Result<CreateNetworkOutcome> {
        crate::uplink::validate(spec)?;
        self.check_kernel(spec)?;
        let _lock = self.store.lock()?;
        self.create_locked(spec).map_err(|e| match self.clean_if_unused() {
            Ok(()) => e,
            Err(left) => e.with_context("not undone", left.to_string()),
        })
    }

    fn create_locked(&self, spec: &NetworkSpec) -> Result<CreateNetworkOutcome> {
        let existing = self.store.network(&spec.name)?;
        if let Some(record) = &existing
            && record.spec != *spec
        {
            return Err(Error::new(ErrorKind::AlreadyExists, "a network of this name exists with another spec")
                .with_context("network", spec.name.as_str())
                .with_context("differs in", differences(&record.spec, spec))
                .with_hint("remove it first, or choose another name"));
        }
        let made = existing.is_none();
        let record = match existing {
            Some(record) => record,
            None => {
                uplink::check(spec)?;
                self.lay_out(spec, &self.store.networks()?)?
            }
        };
        let result = (|| {
            if made {
                self.store.put_network(&record)?;
            }
            let netlink = self.make_netns()?;
            let bridge = self.make_bridge(&netlink, &record)?;
            self.make_uplink(&netlink, &record, bridge)?;
            self.describe(record.clone())
        })();
        match result {
            Ok(network) if made => Ok(CreateNetworkOutcome::Created(network)),
            Ok(network) => Ok(CreateNetworkOutcome::AlreadyExists(network)),
            Err(e) if made => Err(match self.unmake_network(&record) {
                Ok(()) => e,
                Err(left) => e.with_context("not undone", left.to_string()),
            }),
            Err(e) => Err(e),
        }
    }

    /// Checks that the kernel can do what a network needs.
    pub(crate) fn check_kernel(&self, spec: &NetworkSpec) -> Result<()> {
        let lacks = |what: &str, option: &str| {
            Err(Error::unsupported(format!("this kernel has no {what}"))
                .with_context("network", spec.name.as_str())
                .with_context("missing", option)
                .with_hint(format!("load the module, or use a kernel with {option}")))
        };
        let kernel = &self.kernel;
        if !kernel.bridge {
            return lacks("bridges", "CONFIG_BRIDGE");
        }
        if !kernel.veth {
            return lacks("virtual Ethernet pairs", "CONFIG_VETH");
        }
        if spec.uplink.is_some() && !kernel.vlan_8021q {
            return lacks("802.1Q sub-interfaces, which carry a network's tag on its uplink", "CONFIG_VLAN_8021Q");
        }
        if spec.subnets.iter().any(|n| n.addr().is_ipv6()) && !kernel.ipv6 {
            return lacks("IPv6", "CONFIG_IPV6");
        }
        if spec.isolated && !kernel.port_isolation {
            return lacks("isolated bridge ports", "Linux 4.18 or later");
        }
        Ok(())
    }

    pub(crate) fn remove_network(&self, network: &NetworkName) -> Result<RemoveOutcome> {
        let _lock = self.store.lock()?;
        let Some(record) = self.store.network(network)? else {
            self.clean_if_unused()?;
            return Ok(RemoveOutcome::AlreadyAbsent);
        };
        let attached = self.store.attached(network)?;
        if !attached.is_empty() {
            let list: Vec<_> = attached.iter().map(|w| w.as_str()).collect();
            return Err(Error::new(ErrorKind::Busy, "workloads are attached to the network")
                .with_context("network", network.as_str())
                .with_context("workloads", list.join(", "))
                .with_hint("detach or remove them first"));
        }
        self.unmake_network(&record)?;
        Ok(RemoveOutcome::Removed)
    }

    /// Takes down a network that nothing is attached to. The caller holds the lock.
    fn unmake_network(&self, record: &NetworkRecord) -> Result<()> {
        if let Some(netns) = self.existing_netns()? {
            let netlink = netns.netlink()?;
            if let Some(port) = &record.uplink_port {
                netlink.remove_link(port.as_str())?;
            }
            let shared = |o: &NetworkRecord| o.bridge == record.bridge && o.spec.name != record.spec.name;
            // a link of that name that is no bridge is not POD's to remove
            let bridge = netlink.link(record.bridge.as_str())?.filter(|l| l.kind.as_deref() == Some("bridge"));
            if bridge.is_some() && !self.store.networks()?.iter().any(shared) {
                netlink.remove_link(record.bridge.as_str())?;
            }
        }
        self.store.drop_network(&record.spec.name)?;
        self.clean_if_unused()
    }

    /// Leaves nothing behind when there is no network any more. The caller holds the lock.
    fn clean_if_unused(&self) -> Result<()> {
        if self.store.networks()?.is_empty() {
            self.remove_netns()?;
        }
        self.store.tidy()
    }
}

/// The parts in which two specs of one name differ.
fn differences(old: &NetworkSpec, new: &NetworkSpec) -> String {
    let mut parts = Vec::new();
    for (differs, part) in [
        (old.vlan != new.vlan, "VLAN id"),
        (old.subnets != new.subnets, "subnets"),
        (old.reserved != new.reserved, "reserved addresses"),
        (old.uplink != new.uplink, "uplink"),
        (old.mtu != new.mtu, "MTU"),
        (old.isolated != new.isolated, "isolation"),
        (old.labels != new.labels, "labels"),
    ] {
        if differs {
            parts.push(part);
        }
    }
    parts.join(", ")
}

//! Attachments: a workload on a network by an interface.

use crate::{Capability, IfName, MacAddr, NetworkName, Requires, VlanId, WorkloadName};
use std::net::IpAddr;

/// How an interface carries its network.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttachMode {
    /// Untagged in the workload: the platform adds and strips the tag.
    #[default]
    Access,
    /// Tagged in the workload, each VLAN by a sub-interface named `INTERFACE.VID`; only these VLAN ids
    /// pass. It has addresses of its network only when that network's own id is among them.
    Trunk(Vec<VlanId>),
}

/// A route given with an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The destination, such as `10.0.0.0/8` or `0.0.0.0/0`.
    pub to: ipnet::IpNet,
    /// The next hop, within the attachment's subnet; `None` is on-link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
}

/// One attachment of a workload to a network, as asked for.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct AttachmentSpec {
    /// The network.
    pub network: NetworkName,
    /// Access (the default) or trunk.
    #[serde(default)]
    pub mode: AttachMode,
    /// The interface's name in the workload; `None` is the first free of `eth0`, `eth1`, …, or as the
    /// platform counts: `net1`, `net2`, … in pods.
    #[serde(default)]
    pub interface: Option<IfName>,
    /// The addresses, each within one of the network's subnets; empty is the next free of each.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
    /// The MAC address; `None` is one derived from workload and network.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// The MTU in bytes, 68 to 65535 (IPv6 needs 1280); `None` is the network's.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Routes through this interface.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// DNS servers to write into the workload's `/etc/resolv.conf`.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
}

impl AttachmentSpec {
    /// An access attachment to this network with defaults.
    #[must_use]
    pub fn new(network: NetworkName) -> Self {
        Self {
            network,
            mode: AttachMode::Access,
            interface: None,
            ips: Vec::new(),
            mac: None,
            mtu: None,
            routes: Vec::new(),
            dns: Vec::new(),
        }
    }

    /// Sets the mode.
    #[must_use]
    pub fn with_mode(mut self, mode: AttachMode) -> Self {
        self.mode = mode;
        self
    }

    /// Names the interface.
    #[must_use]
    pub fn with_interface(mut self, name: IfName) -> Self {
        self.interface = Some(name);
        self
    }

    /// Adds an address.
    #[must_use]
    pub fn with_ip(mut self, ip: IpAddr) -> Self {
        self.ips.push(ip);
        self
    }

    /// Sets the MAC address.
    #[must_use]
    pub fn with_mac(mut self, mac: MacAddr) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Sets the MTU.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Adds a route.
    #[must_use]
    pub fn with_route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Adds a DNS server.
    #[must_use]
    pub fn with_dns(mut self, server: IpAddr) -> Self {
        self.dns.push(server);
        self
    }
}

impl Requires for AttachmentSpec {
    fn requires(&self) -> Vec<Capability> {
        let mut need = vec![match self.mode {
            AttachMode::Access => Capability::VlanAccess,
            AttachMode::Trunk(_) => Capability::VlanTrunk,
        }];
        let mut on = |wanted: bool, c| {
            if wanted {
                need.push(c);
            }
        };
        on(!self.ips.is_empty(), Capability::FixedIp);
        on(self.mac.is_some(), Capability::FixedMac);
        on(self.mtu.is_some(), Capability::AttachmentMtu);
        on(self.interface.is_some(), Capability::InterfaceName);
        on(!self.routes.is_empty(), Capability::Routes);
        on(!self.dns.is_empty(), Capability::Dns);
        on(self.ips.iter().any(IpAddr::is_ipv6), Capability::Ipv6);
        need
    }
}

/// One interface of a workload on a network, as it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Attachment {
    /// The workload.
    pub workload: WorkloadName,
    /// The network.
    pub network: NetworkName,
    /// The interface's name in the workload.
    pub interface: IfName,
    /// Access or trunk.
    pub mode: AttachMode,
    /// The network's VLAN id.
    pub vlan: Option<VlanId>,
    /// Its addresses with their prefix lengths.
    pub ips: Vec<ipnet::IpNet>,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Routes through it.
    pub routes: Vec<Route>,
    /// DNS servers given with it.
    pub dns: Vec<IpAddr>,
}

impl Attachment {
    /// An attachment with these parts and no routes or DNS servers.
    #[must_use]
    pub fn new(workload: WorkloadName, network: NetworkName, interface: IfName, mac: MacAddr, mtu: u32) -> Self {
        Self {
            workload,
            network,
            interface,
            mode: AttachMode::Access,
            vlan: None,
            ips: Vec::new(),
            mac,
            mtu,
            routes: Vec::new(),
            dns: Vec::new(),
        }
    }
}

/// Asks for a workload to be attached to a network.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AttachNetworkRequest {
    /// The workload.
    pub workload: WorkloadName,
    /// How.
    pub attachment: AttachmentSpec,
}

impl AttachNetworkRequest {
    /// Attaches `workload` so.
    #[must_use]
    pub fn new(workload: WorkloadName, attachment: AttachmentSpec) -> Self {
        Self { workload, attachment }
    }
}

impl Requires for AttachNetworkRequest {
    fn requires(&self) -> Vec<Capability> {
        let mut need = self.attachment.requires();
        need.push(Capability::HotAttach);
        need
    }
}

/// Asks for a workload to be detached from a network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DetachRequest {
    /// The workload.
    pub workload: WorkloadName,
    /// The network.
    pub network: NetworkName,
}

impl DetachRequest {
    /// Detaches `workload` from `network`.
    #[must_use]
    pub fn new(workload: WorkloadName, network: NetworkName) -> Self {
        Self { workload, network }
    }
}

impl Requires for DetachRequest {
    fn requires(&self) -> Vec<Capability> {
        vec![Capability::HotAttach]
    }
}

/// What a detach did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DetachOutcome {
    /// It was detached.
    Detached,
    /// It was not attached.
    AlreadyDetached,
}

/// Which attachments to list; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachmentFilter {
    /// Only of this workload.
    pub workload: Option<WorkloadName>,
    /// Only on this network.
    pub network: Option<NetworkName>,
}

impl AttachmentFilter {
    /// Only of this workload.
    #[must_use]
    pub fn with_workload(mut self, workload: WorkloadName) -> Self {
        self.workload = Some(workload);
        self
    }

    /// Only on this network.
    #[must_use]
    pub fn with_network(mut self, network: NetworkName) -> Self {
        self.network = Some(network);
        self
    }

    /// Whether `a` passes.
    #[must_use]
    pub fn matches(&self, a: &Attachment) -> bool {
        self.workload.as_ref().is_none_or(|w| *w == a.workload) && self.network.as_ref().is_none_or(|n| *n == a.network)
    }
}

//! The simulated data plane: segments, the ports on them, and what passes between two ports.
//!
//! It stands apart from what the backend has on record, as a kernel's state does: `verify` compares
//! the two, and the `tamper_…` methods of [`MemBackend`](super::MemBackend) change this one alone.

use crate::{AttachMode, Attachment, IfName, Labels, MacAddr, NetworkName, PolicySpec, Route, VlanId, WorkloadName};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment {
    pub(super) vlan: Option<VlanId>,
    pub(super) isolated: bool,
    pub(super) policy: Option<PolicySpec>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Port {
    pub(super) workload: WorkloadName,
    pub(super) segment: NetworkName,
    pub(super) interface: IfName,
    pub(super) mode: AttachMode,
    /// The network's VLAN id.
    pub(super) vlan: Option<VlanId>,
    pub(super) mac: MacAddr,
    pub(super) mtu: u32,
    pub(super) ips: Vec<IpNet>,
    pub(super) routes: Vec<Route>,
}

impl Port {
    pub(super) fn of(a: &Attachment) -> Self {
        Self {
            workload: a.workload.clone(),
            segment: a.network.clone(),
            interface: a.interface.clone(),
            mode: a.mode.clone(),
            vlan: a.vlan,
            mac: a.mac,
            mtu: a.mtu,
            ips: a.ips.clone(),
            routes: a.routes.clone(),
        }
    }

    /// The interface by the name a program in the workload sees for this VLAN.
    fn is_named(&self, name: &IfName, vlan: Option<VlanId>) -> bool {
        match (&self.mode, vlan) {
            (AttachMode::Access, _) | (_, None) => self.interface == *name,
            (_, Some(v)) => name.as_str() == format!("{}.{v}", self.interface),
        }
    }
}

/// What is known of a workload besides its ports.
pub(super) trait Hosts {
    fn is_running(&self, workload: &WorkloadName) -> bool;
    fn labels(&self, workload: &WorkloadName) -> Labels;
}

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    Lost,
    NoRoute,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Plane {
    pub(super) segments: BTreeMap<NetworkName, Segment>,
    pub(super) ports: Vec<Port>,
    /// Segments joined behind the backend's back, the lesser name first.
    pub(super) joins: BTreeSet<(NetworkName, NetworkName)>,
}

impl Plane {
    /// The segments a port speaks on, each with the tag it uses there.
    fn segments_of<'a>(&'a self, port: &'a Port) -> Vec<(&'a NetworkName, Option<VlanId>)> {
        match &port.mode {
            AttachMode::Access => vec![(&port.segment, None)],
            AttachMode::Trunk(vlans) => self
                .segments
                .iter()
                .filter_map(|(name, s)| s.vlan.filter(|v| vlans.contains(v)).map(|v| (name, Some(v))))
                .collect(),
        }
    }

    /// A segment and all it is joined with.
    fn joined<'a>(&'a self, segment: &'a NetworkName) -> BTreeSet<&'a NetworkName> {
        let mut all = BTreeSet::from([segment]);
        let mut grew = true;
        while grew {
            grew = false;
            for (a, b) in &self.joins {
                if all.contains(a) != all.contains(b) {
                    all.extend([a, b]);
                    grew = true;
                }
            }
        }
        all
    }

    /// What becomes of an echo request from a workload to an address, and of its answer.
    pub(super) fn probe(
        &self,
        hosts: &impl Hosts,
        from: &WorkloadName,
        ip: IpAddr,
        interface: Option<&IfName>,
    ) -> Fate {
        let own = || self.ports.iter().filter(|p| p.workload == *from);
        if ip.is_loopback() || own().any(|p| p.ips.iter().any(|n| n.addr() == ip)) {
            return Fate::Answered;
        }
        let mut routed = false;
        for port in own() {
            for (segment, vlan) in self.segments_of(port) {
                if interface.is_some_and(|i| !port.is_named(i, vlan)) {
                    continue;
                }
                let Some(source) = source_address(port, segment, ip) else { continue };
                routed = true;
                for there in self.joined(segment) {
                    let answers = self.ports.iter().filter(|q| q.workload != *from).any(|q| {
                        let on = self.segments_of(q).iter().any(|(s, _)| *s == there);
                        on && q.ips.iter().any(|n| n.addr() == ip)
                            && hosts.is_running(&q.workload)
                            && source_address(q, there, source).is_some()
                            && self.passes(hosts, (from, segment), (&q.workload, there))
                    });
                    if answers {
                        return Fate::Answered;
                    }
                }
            }
        }
        if routed { Fate::Lost } else { Fate::NoRoute }
    }

    /// Whether what one workload sends reaches another, by isolation and rules of both segments.
    fn passes(
        &self,
        hosts: &impl Hosts,
        from: (&WorkloadName, &NetworkName),
        to: (&WorkloadName, &NetworkName),
    ) -> bool {
        let (Some(a), Some(b)) = (self.segments.get(from.1), self.segments.get(to.1)) else { return false };
        if from.1 == to.1 && a.isolated {
            return false;
        }
        let holds = |want: &Labels, have: &Labels| want.iter().all(|(k, v)| have.get(k) == Some(v));
        let (sender, receiver) = (hosts.labels(from.0), hosts.labels(to.0));
        [a, b].iter().filter_map(|s| s.policy.as_ref()).all(|policy| {
            let rule = policy.rules.iter().find(|r| holds(&r.from, &sender) && holds(&r.to, &receiver));
            rule.map_or(policy.default_allow, |r| r.allow)
        })
    }
}

/// The address a port would send from to reach `ip` on a segment; `None` without a route there. A trunk
/// has addresses on the sub-interface of its own network alone.
fn source_address(port: &Port, on: &NetworkName, ip: IpAddr) -> Option<IpAddr> {
    if *on != port.segment {
        return None;
    }
    let direct = port.ips.iter().find(|n| n.contains(&ip)).map(IpNet::addr);
    direct.or_else(|| {
        let on_link = port.routes.iter().any(|r| r.via.is_none() && r.to.contains(&ip));
        port.ips.iter().map(IpNet::addr).find(|a| on_link && a.is_ipv4() == ip.is_ipv4())
    })
}

//! Networks and attachments as the simulated backend has them on record.

use super::plane::{Plane, Port, Segment};
use crate::{
    AttachMode, AttachNetworkRequest, Attachment, AttachmentSpec, CreateNetworkOutcome, Error, ErrorKind, Finding,
    IfName, MacAddr, Network, NetworkIntent, NetworkName, NetworkPlan, NetworkSpec, NetworkStep, PolicySpec, Result,
    VerifyReport, WorkloadName,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) spec: NetworkSpec,
    id: String,
    pub(super) policy: Option<PolicySpec>,
}

/// All networks and attachments, on record and in the data plane. It is cloned before a change and put
/// back when the change fails: that is the roll-back.
#[derive(Debug, Clone, Default)]
pub(super) struct Networks {
    pub(super) records: BTreeMap<NetworkName, Record>,
    pub(super) attachments: BTreeMap<(WorkloadName, IfName), Attachment>,
    pub(super) plane: Plane,
    made: u64,
}

fn conflict(message: String) -> Error {
    Error::new(ErrorKind::Conflict, message)
}

/// Whether an attachment is what a spec asks for.
fn is_as_asked(a: &Attachment, spec: &AttachmentSpec) -> bool {
    let mut given: Vec<IpAddr> = spec.ips.clone();
    let mut there: Vec<IpAddr> = a.ips.iter().map(IpNet::addr).collect();
    given.sort_unstable();
    there.sort_unstable();
    a.network == spec.network
        && a.mode == spec.mode
        && spec.interface.as_ref().is_none_or(|i| *i == a.interface)
        && (given.is_empty() || given == there)
        && spec.mac.is_none_or(|m| m == a.mac)
        && spec.mtu.is_none_or(|m| m == a.mtu)
        && a.routes == spec.routes
        && a.dns == spec.dns
}

/// What was asked for, as it can be asked for again.
fn spec_of(a: &Attachment) -> AttachmentSpec {
    let mut spec = AttachmentSpec::new(a.network.clone())
        .with_mode(a.mode.clone())
        .with_interface(a.interface.clone())
        .with_mac(a.mac)
        .with_mtu(a.mtu);
    spec.ips = a.ips.iter().map(IpNet::addr).collect();
    spec.routes.clone_from(&a.routes);
    spec.dns.clone_from(&a.dns);
    spec
}

impl Networks {
    pub(super) fn record(&self, name: &NetworkName) -> Result<&Record> {
        self.records
            .get(name)
            .ok_or_else(|| Error::not_found("network", name.as_str()).with_hint("`pod net ls` lists those there are"))
    }

    pub(super) fn list(&self) -> Vec<Network> {
        let count = |n: &NetworkName| self.attachments.values().filter(|a| a.network == *n).count();
        self.records.iter().map(|(name, r)| Network::new(r.spec.clone(), r.id.clone(), count(name))).collect()
    }

    pub(super) fn of_workload(&self, workload: &WorkloadName) -> Vec<Attachment> {
        self.attachments.values().filter(|a| a.workload == *workload).cloned().collect()
    }

    fn find(&self, workload: &WorkloadName, network: &NetworkName) -> Option<&Attachment> {
        self.attachments.values().find(|a| a.workload == *workload && a.network == *network)
    }

    pub(super) fn create(&mut self, spec: NetworkSpec) -> Result<CreateNetworkOutcome> {
        spec.validate()?;
        if spec.uplink.is_some() {
            return Err(
                Error::unsupported("networks in memory have no uplink").with_context("network", spec.name.as_str())
            );
        }
        if let Some(record) = self.records.get(&spec.name) {
            if record.spec != spec {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    "there is a network of that name with another specification",
                )
                .with_context("network", spec.name.as_str())
                .with_hint("remove it first, or choose another name"));
            }
            let network = self.list().into_iter().find(|n| n.spec.name == spec.name);
            return network
                .map(CreateNetworkOutcome::AlreadyExists)
                .ok_or_else(|| Error::unexpected("a recorded network is not listed"));
        }
        self.made += 1;
        let id = format!("segment-{}", self.made);
        let segment = Segment { vlan: spec.vlan, isolated: spec.isolated, policy: None };
        self.plane.segments.insert(spec.name.clone(), segment);
        let record = Record { spec: spec.clone(), id: id.clone(), policy: None };
        self.records.insert(spec.name.clone(), record);
        Ok(CreateNetworkOutcome::Created(Network::new(spec, id, 0)))
    }

    /// Removes a network; `false` when there is none.
    pub(super) fn remove(&mut self, name: &NetworkName) -> Result<bool> {
        if let Some(a) = self.attachments.values().find(|a| a.network == *name) {
            return Err(Error::new(ErrorKind::Busy, "a workload is attached to the network")
                .with_context("network", name.as_str())
                .with_context("workload", a.workload.as_str())
                .with_hint(format!("`pod net detach {} {name}` detaches it", a.workload)));
        }
        self.plane.segments.remove(name);
        self.plane.joins.retain(|(a, b)| a != name && b != name);
        Ok(self.records.remove(name).is_some())
    }

    /// Attaches a workload, which exists; `true` with the attachment when it is new.
    pub(super) fn attach(&mut self, request: &AttachNetworkRequest) -> Result<(Attachment, bool)> {
        let AttachNetworkRequest { workload, attachment: spec } = request;
        let about =
            |e: Error| e.with_context("workload", workload.as_str()).with_context("network", spec.network.as_str());
        let network = self.record(&spec.network)?.spec.clone();
        if let Some(there) = self.find(workload, &spec.network) {
            if is_as_asked(there, spec) {
                return Ok((there.clone(), false));
            }
            return Err(about(conflict("the workload is attached to the network in another way".into()))
                .with_hint("detach it first"));
        }
        let attachment = self.resolve(workload, spec, &network).map_err(about)?;
        self.plane.ports.push(Port::of(&attachment));
        self.attachments.insert((workload.clone(), attachment.interface.clone()), attachment.clone());
        Ok((attachment, true))
    }

    /// Checks a spec and fills in what it leaves open.
    fn resolve(&self, workload: &WorkloadName, spec: &AttachmentSpec, network: &NetworkSpec) -> Result<Attachment> {
        let in_network = || self.attachments.values().filter(|a| a.network == spec.network);
        let interface = match &spec.interface {
            Some(name) => {
                if self.attachments.contains_key(&(workload.clone(), name.clone())) || name.as_str() == "lo" {
                    return Err(conflict(format!("the interface name {name} is taken in the workload")));
                }
                name.clone()
            }
            None => (0..)
                .map(|i| IfName::new(format!("eth{i}")))
                .find(|n| n.as_ref().map_or(true, |n| !self.attachments.contains_key(&(workload.clone(), n.clone()))))
                .unwrap_or_else(|| Err(Error::new(ErrorKind::Exhausted, "no interface name is free")))?,
        };
        if let AttachMode::Trunk(vlans) = &spec.mode {
            let unique: BTreeSet<_> = vlans.iter().collect();
            if vlans.is_empty() || unique.len() != vlans.len() {
                return Err(Error::invalid("a trunk needs at least one VLAN id, each given once"));
            }
        }
        let taken = |ip: IpAddr| in_network().find(|a| a.ips.iter().any(|n| n.addr() == ip));
        let mut ips: Vec<IpNet> = Vec::new();
        for ip in &spec.ips {
            let net = network.assignable(*ip)?;
            if ips.contains(&net) {
                return Err(Error::invalid(format!("the address {ip} is given twice")));
            }
            if let Some(other) = taken(*ip) {
                return Err(conflict(format!("the address {ip} is taken by {}", other.workload)));
            }
            ips.push(net);
        }
        // A trunk has addresses of its network only when it carries that network's VLAN.
        let addressed = match &spec.mode {
            AttachMode::Trunk(vlans) => network.vlan.is_some_and(|own| vlans.contains(&own)),
            AttachMode::Access => true,
        };
        if !addressed && (!spec.ips.is_empty() || !spec.routes.is_empty()) {
            return Err(Error::invalid("the trunk does not carry the network's own VLAN, so it has no address of it")
                .with_hint("add the network's VLAN id to the trunk, or leave addresses and routes out"));
        }
        if addressed && spec.ips.is_empty() {
            for subnet in &network.subnets {
                ips.push(network.next_free(*subnet, |ip| taken(ip).is_some())?);
            }
        }
        let mac = spec.mac.unwrap_or_else(|| MacAddr::derived(format!("{workload}/{}", spec.network).as_bytes()));
        if let Some(other) = in_network().find(|a| a.mac == mac) {
            return Err(conflict(format!("the MAC address {mac} is taken by {}", other.workload)));
        }
        let mtu = spec.mtu.unwrap_or(network.mtu);
        let least = if ips.iter().any(|n| n.addr().is_ipv6()) { 1280 } else { 68 };
        if !(least..=network.mtu).contains(&mtu) {
            return Err(Error::invalid(format!("MTU {mtu} is out of range"))
                .with_hint(format!("use {least} to {}, the network's", network.mtu)));
        }
        for route in &spec.routes {
            if let Some(via) = route.via
                && !ips.iter().any(|n| n.contains(&via))
            {
                return Err(Error::invalid(format!("the next hop {via} is in none of the attachment's subnets")));
            }
        }
        let mut attachment = Attachment::new(workload.clone(), spec.network.clone(), interface, mac, mtu);
        attachment.mode = spec.mode.clone();
        attachment.vlan = network.vlan;
        attachment.ips = ips;
        attachment.routes.clone_from(&spec.routes);
        attachment.dns.clone_from(&spec.dns);
        Ok(attachment)
    }

    /// Detaches a workload; `None` when it was not attached.
    pub(super) fn detach(&mut self, workload: &WorkloadName, network: &NetworkName) -> Option<Attachment> {
        let attachment = self.find(workload, network)?.clone();
        self.attachments.remove(&(workload.clone(), attachment.interface.clone()));
        self.plane.ports.retain(|p| p.workload != *workload || p.segment != *network);
        Some(attachment)
    }

    /// Frees all that a removed workload had.
    pub(super) fn forget(&mut self, workload: &WorkloadName) {
        self.attachments.retain(|(w, _), _| w != workload);
        self.plane.ports.retain(|p| p.workload != *workload);
    }

    /// What is to be done to make the intent true, found by doing it to a copy.
    pub(super) fn plan(&self, intent: &NetworkIntent, exists: impl Fn(&WorkloadName) -> bool) -> Result<NetworkPlan> {
        let mut after = self.clone();
        let mut steps = Vec::new();
        for absent in &intent.absent_attachments {
            if let Some(a) = after.detach(&absent.workload, &absent.network) {
                steps.push(NetworkStep::Detach(a));
            }
        }
        let mut again: Vec<AttachNetworkRequest> = Vec::new();
        let mut named = BTreeSet::new();
        for spec in &intent.networks {
            spec.validate()?;
            if !named.insert(&spec.name) {
                return Err(Error::invalid("a network is named twice").with_context("network", spec.name.as_str()));
            }
            if intent.absent_networks.contains(&spec.name) {
                return Err(
                    Error::invalid("a network is both wanted and unwanted").with_context("network", spec.name.as_str())
                );
            }
            match after.records.get(&spec.name).map(|r| r.spec.clone()) {
                Some(there) if there == *spec => continue,
                Some(there) => {
                    let attached: Vec<_> =
                        after.attachments.values().filter(|a| a.network == spec.name).cloned().collect();
                    for a in attached {
                        let wanted = intent
                            .attachments
                            .iter()
                            .any(|w| w.workload == a.workload && w.attachment.network == spec.name);
                        if !wanted {
                            let mut as_before = spec_of(&a);
                            if there.mtu == a.mtu {
                                as_before.mtu = None; // the network's own, which may be another now
                            }
                            again.push(AttachNetworkRequest::new(a.workload.clone(), as_before));
                        }
                        after.detach(&a.workload, &a.network);
                        steps.push(NetworkStep::Detach(a));
                    }
                    after.remove(&spec.name)?;
                    steps.push(NetworkStep::RemoveNetwork(there));
                }
                None => {}
            }
            after.create(spec.clone())?;
            steps.push(NetworkStep::CreateNetwork(spec.clone()));
        }
        // What changes is detached before anything is attached, so that addresses can be swapped.
        for wanted in &intent.attachments {
            if !exists(&wanted.workload) {
                return Err(Error::not_found("workload", wanted.workload.as_str()));
            }
            if let Some(a) = after.find(&wanted.workload, &wanted.attachment.network).cloned()
                && !is_as_asked(&a, &wanted.attachment)
            {
                after.detach(&a.workload, &a.network);
                steps.push(NetworkStep::Detach(a));
            }
        }
        for wanted in intent.attachments.iter().chain(&again) {
            let (a, new) = after.attach(wanted)?;
            if new {
                let mut spec = wanted.attachment.clone();
                spec.ips = a.ips.iter().map(IpNet::addr).collect();
                steps.push(NetworkStep::Attach(AttachNetworkRequest::new(wanted.workload.clone(), spec)));
            }
        }
        for name in &intent.absent_networks {
            if let Some(record) = after.records.get(name).map(|r| r.spec.clone()) {
                after.remove(name)?;
                steps.push(NetworkStep::RemoveNetwork(record));
            }
        }
        Ok(NetworkPlan::new(steps))
    }

    /// Carries out one step of a plan; the attachment it made, if it made one.
    pub(super) fn step(
        &mut self,
        step: &NetworkStep,
        exists: impl Fn(&WorkloadName) -> bool,
    ) -> Result<Option<Attachment>> {
        match step {
            NetworkStep::CreateNetwork(spec) => self.create(spec.clone()).map(|_| None),
            NetworkStep::RemoveNetwork(spec) => self.remove(&spec.name).map(|_| None),
            NetworkStep::Attach(request) => {
                if !exists(&request.workload) {
                    return Err(Error::not_found("workload", request.workload.as_str()));
                }
                self.attach(request).map(|(a, _)| Some(a))
            }
            NetworkStep::Detach(a) => {
                self.detach(&a.workload, &a.network);
                Ok(None)
            }
        }
    }

    /// Compares the data plane with what is on record.
    pub(super) fn verify(&self, only: Option<&NetworkName>) -> Result<VerifyReport> {
        if let Some(name) = only {
            self.record(name)?;
        }
        let wanted = |n: &NetworkName| only.is_none_or(|o| o == n);
        let (mut checked, mut findings) = (0, Vec::new());
        for (name, record) in self.records.iter().filter(|(n, _)| wanted(n)) {
            checked += 1;
            let mut find = |place: &str, expected: String, found: String| {
                if expected != found {
                    findings.push(Finding::new(place, expected, found).with_network(name.clone()));
                }
            };
            let Some(segment) = self.plane.segments.get(name) else {
                find(&record.id, "a segment".into(), "nothing".into());
                continue;
            };
            let tag = |v: Option<crate::VlanId>| v.map_or("untagged".into(), |v| format!("VLAN {v}"));
            find(&record.id, tag(record.spec.vlan), tag(segment.vlan));
            let apart = |isolated: bool| if isolated { "isolated" } else { "not isolated" }.to_owned();
            find(&record.id, apart(record.spec.isolated), apart(segment.isolated));
            let rules = |p: &Option<PolicySpec>| {
                p.as_ref().map_or("no rules".into(), |p| format!("{} rules: {p:?}", p.rules.len()))
            };
            find(&record.id, rules(&record.policy), rules(&segment.policy));
            for (a, b) in self.plane.joins.iter().filter(|(a, b)| a == name || b == name) {
                let other = if a == name { b } else { a };
                find(
                    &format!("{} joined with {other}", record.id),
                    "no link to another segment".into(),
                    format!("a link to network {other}"),
                );
            }
        }
        for a in self.attachments.values().filter(|a| wanted(&a.network)) {
            checked += 1;
            let mut find = |expected: String, found: String| {
                if expected != found {
                    let finding = Finding::new(format!("interface {}", a.interface), expected, found);
                    findings.push(finding.with_network(a.network.clone()).with_workload(a.workload.clone()));
                }
            };
            let Some(port) = self.plane.ports.iter().find(|p| p.workload == a.workload && p.interface == a.interface)
            else {
                find("the interface".into(), "nothing".into());
                continue;
            };
            find(format!("on network {}", a.network), format!("on network {}", port.segment));
            find(format!("MAC {}", a.mac), format!("MAC {}", port.mac));
            find(format!("MTU {}", a.mtu), format!("MTU {}", port.mtu));
            find(format!("addresses {:?}", a.ips), format!("addresses {:?}", port.ips));
            find(format!("routes {:?}", a.routes), format!("routes {:?}", port.routes));
            find(format!("{:?}", a.mode), format!("{:?}", port.mode));
        }
        for port in self.plane.ports.iter().filter(|p| wanted(&p.segment)) {
            if !self.attachments.contains_key(&(port.workload.clone(), port.interface.clone())) {
                let finding = Finding::new(format!("interface {}", port.interface), "nothing", "an interface");
                findings.push(finding.with_network(port.segment.clone()).with_workload(port.workload.clone()));
            }
        }
        Ok(VerifyReport::new(checked, findings))
    }
}

//! What is there, held against what should be.

use crate::address::show_route;
use crate::attach::{carrier, sub_interface};
use crate::bridge_vlan::PortVlans;
use crate::link::{Link, LinkState};
use crate::netlink::Netlink;
use crate::store::{AttachmentRecord, NetworkRecord};
use ipnet::IpNet;
use pod_core::{AttachMode, Finding, NetworkName, Result, VlanId, WorkloadName};

/// Collects what was compared and what differs.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) checked: usize,
    pub(crate) findings: Vec<Finding>,
}

/// What a comparison is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject<'a> {
    pub(crate) network: Option<&'a NetworkName>,
    pub(crate) workload: Option<&'a WorkloadName>,
    pub(crate) place: String,
}

impl<'a> Subject<'a> {
    pub(crate) fn network(network: &'a NetworkName, place: impl Into<String>) -> Self {
        Self { network: Some(network), workload: None, place: place.into() }
    }

    fn of(record: &'a AttachmentRecord, place: String) -> Self {
        let a = &record.attachment;
        Self { network: Some(&a.network), workload: Some(&a.workload), place }
    }
}

impl Comparison {
    /// Compares one thing.
    pub(crate) fn same(&mut self, subject: &Subject<'_>, part: &str, expected: impl ToString, found: impl ToString) {
        self.checked += 1;
        let (expected, found) = (expected.to_string(), found.to_string());
        if expected != found {
            let place = if part.is_empty() { subject.place.clone() } else { format!("{}, {part}", subject.place) };
            let mut finding = Finding::new(place, expected, found);
            finding.network = subject.network.cloned();
            finding.workload = subject.workload.cloned();
            self.findings.push(finding);
        }
    }

    /// Notes that something is there, or is not; gives it back.
    pub(crate) fn present<'l>(
        &mut self,
        subject: &Subject<'_>,
        kind: &str,
        link: Option<&'l Link>,
    ) -> Option<&'l Link> {
        let is = link.map_or("nothing", |l| l.kind.as_deref().unwrap_or("an interface"));
        self.same(subject, "", kind, is);
        link.filter(|l| l.kind.as_deref() == Some(kind))
    }

    /// Compares an attachment's bridge port. `vlans` is asked only of a VLAN-aware bridge's.
    pub(crate) fn port(
        &mut self,
        network: &NetworkRecord,
        record: &AttachmentRecord,
        port: Option<&Link>,
        vlans: &PortVlans,
        name_of: impl Fn(u32) -> String,
    ) {
        let place = format!("bridge port {} of {}", record.port, network.bridge);
        let subject = Subject::of(record, place);
        let Some(port) = self.present(&subject, "veth", port) else { return };
        self.same(&subject, "state", LinkState::Up, port.state);
        self.same(&subject, "MTU", record.attachment.mtu, port.mtu);
        self.same(&subject, "bridge", &network.bridge, master(port, name_of));
        // kernels without port isolation say nothing of it, and refused it when it was asked for
        self.same(&subject, "isolation", on(network.spec.isolated), on(port.isolated.unwrap_or(false)));
        if let Some(expected) = port_vlans(network, &record.attachment.mode) {
            self.same(&subject, "VLANs", expected, vlans);
        }
    }

    /// Compares an attachment from inside the workload's namespace. `port` is the other end's index.
    pub(crate) fn inside(&mut self, record: &AttachmentRecord, inside: &Netlink, port: Option<u32>) -> Result<()> {
        let a = &record.attachment;
        let subject = Subject::of(record, format!("interface {}", a.interface));
        let link = inside.link(a.interface.as_str())?;
        let Some(link) = self.present(&subject, "veth", link.as_ref()) else { return Ok(()) };
        self.same(&subject, "state", LinkState::Up, link.state);
        self.same(&subject, "MTU", a.mtu, link.mtu);
        self.same(&subject, "MAC address", a.mac, link.mac().map_or_else(|| "none".to_owned(), |m| m.to_string()));
        if let Some(port) = port {
            let end = |index: Option<u32>| index.map_or_else(|| "none".to_owned(), |i| format!("link {i}"));
            self.same(&subject, "other end", end(Some(port)), end(link.lower));
        }
        let carrier = carrier(a)?;
        if carrier == a.interface {
            self.addressed(record, inside, &subject, link)?;
        }
        let ids: &[VlanId] = if let AttachMode::Trunk(ids) = &a.mode { ids } else { &[] };
        for id in ids {
            let name = sub_interface(&a.interface, *id)?;
            let subject = Subject::of(record, format!("interface {name}"));
            let tagged = inside.link(name.as_str())?;
            let Some(tagged) = self.present(&subject, "vlan", tagged.as_ref()) else { continue };
            self.same(&subject, "state", LinkState::Up, tagged.state);
            let id_is = tagged.vlan_id.map_or_else(|| "none".to_owned(), |v| v.to_string());
            self.same(&subject, "VLAN id", id, id_is);
            self.same(&subject, "parent", link.index, tagged.lower.unwrap_or(0));
            if name == carrier {
                self.addressed(record, inside, &subject, tagged)?;
            }
        }
        Ok(())
    }

    /// Compares the addresses and routes of the interface that carries an attachment's own.
    fn addressed(
        &mut self,
        record: &AttachmentRecord,
        inside: &Netlink,
        subject: &Subject<'_>,
        link: &Link,
    ) -> Result<()> {
        let a = &record.attachment;
        self.same(subject, "addresses", list(&a.ips), list(&inside.addresses(link.index)?));
        for ipv6 in [false, true] {
            let expected: Vec<_> = a.routes.iter().filter(|r| r.to.addr().is_ipv6() == ipv6).collect();
            if expected.is_empty() {
                continue;
            }
            let routes = inside.routes(link.index, ipv6)?;
            for route in expected {
                let is = routes.iter().find(|r| r.to == route.to).map_or_else(|| "nothing".to_owned(), show_route);
                self.same(subject, &format!("route to {}", route.to), show_route(route), is);
            }
        }
        Ok(())
    }
}

/// The VLANs of an attachment's port; `None` on a plain bridge.
pub(crate) fn port_vlans(network: &NetworkRecord, mode: &AttachMode) -> Option<PortVlans> {
    let pvid = network.pvid?;
    Some(match mode {
        AttachMode::Trunk(ids) => PortVlans { untagged: None, tagged: ids.iter().map(|id| id.get()).collect() },
        _ => PortVlans { untagged: Some(pvid), tagged: [].into() },
    })
}

/// The bridge a port belongs to.
pub(crate) fn master(port: &Link, name_of: impl Fn(u32) -> String) -> String {
    port.master.map_or_else(|| "none".to_owned(), name_of)
}

pub(crate) fn on(isolated: bool) -> &'static str {
    if isolated { "isolated" } else { "not isolated" }
}

fn list(addresses: &[IpNet]) -> String {
    if addresses.is_empty() {
        return "none".into();
    }
    let mut texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.join(", ")
}

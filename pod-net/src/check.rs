//! Checks of an attachment: before it is made, and read back afterwards.

use crate::address;
use crate::attach::{Inside, port_vlans};
use crate::host::{Inner, Sandbox};
use crate::netlink::Netlink;
use crate::store::{AttachmentRecord, NetworkRecord};
use ipnet::IpNet;
use pod_core::{
    AttachMode, Attachment, AttachmentSpec, Error, ErrorKind, Finding, IfName, MacAddr, Result, WorkloadName,
};
use std::net::IpAddr;

/// Checks what can be checked without looking anywhere.
pub(crate) fn spec(spec: &AttachmentSpec) -> Result<()> {
    if let Some(mtu) = spec.mtu
        && !(68..=65535).contains(&mtu)
    {
        return Err(Error::invalid(format!("MTU {mtu} is out of range")).with_hint("use 68 to 65535"));
    }
    for (i, ip) in spec.ips.iter().enumerate() {
        if spec.ips[..i].contains(ip) {
            return Err(Error::invalid(format!("the address {ip} is given twice")));
        }
    }
    for (i, route) in spec.routes.iter().enumerate() {
        if route.to.trunc() != route.to {
            return Err(Error::invalid(format!("{} is an address within a subnet, not a subnet", route.to))
                .with_hint(format!("write {}", route.to.trunc())));
        }
        if spec.routes[..i].iter().any(|r| r.to == route.to) {
            return Err(Error::invalid(format!("the route to {} is given twice", route.to)));
        }
        if let Some(via) = route.via
            && via.is_ipv4() != route.to.addr().is_ipv4()
        {
            return Err(Error::invalid(format!("the route to {} can't go via {via}: one is IPv4, one IPv6", route.to)));
        }
    }
    if spec.interface.as_ref().is_some_and(|i| i.as_str() == "lo") {
        return Err(
            Error::invalid("lo is the workload's loopback interface").with_hint("choose another interface name")
        );
    }
    if let AttachMode::Trunk(ids) = &spec.mode {
        if ids.is_empty() {
            return Err(Error::invalid("a trunk needs at least one VLAN id"));
        }
        for (i, id) in ids.iter().enumerate() {
            if ids[..i].contains(id) {
                return Err(Error::invalid(format!("the VLAN id {id} is given twice")));
            }
        }
    }
    Ok(())
}

/// Checks that a recorded attachment is what is asked for now.
pub(crate) fn same(record: &AttachmentRecord, spec: &AttachmentSpec) -> Result<()> {
    let (had, a) = (&record.spec, &record.attachment);
    if had == spec {
        return Ok(());
    }
    // asked for in other words, it may still be the same
    let addresses: Vec<IpAddr> = a.ips.iter().map(IpNet::addr).collect();
    let mut differs = Vec::new();
    for (same, part) in [
        (had.mode == spec.mode, "mode"),
        (had.interface == spec.interface || spec.interface.as_ref() == Some(&a.interface), "interface name"),
        (had.ips == spec.ips || spec.ips == addresses, "addresses"),
        (had.mac == spec.mac || spec.mac == Some(a.mac), "MAC address"),
        (had.mtu == spec.mtu || spec.mtu == Some(a.mtu), "MTU"),
        (had.routes == spec.routes, "routes"),
        (had.dns == spec.dns, "DNS servers"),
    ] {
        if !same {
            differs.push(part);
        }
    }
    if differs.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "the workload is attached to this network in another way")
        .with_context("workload", a.workload.as_str())
        .with_context("network", a.network.as_str())
        .with_context("differs in", differs.join(", "))
        .with_hint("detach it first"))
}

impl Inner {
    /// Checks an attachment against everything there is, and fills in what was left open. The caller
    /// holds the lock.
    pub(crate) fn allocate(
        &self,
        network: &NetworkRecord,
        sandbox: &Sandbox,
        spec: &AttachmentSpec,
        inside: &Inside,
    ) -> Result<AttachmentRecord> {
        let workload = &sandbox.workload;
        let about =
            |e: Error| e.with_context("workload", workload.as_str()).with_context("network", spec.network.as_str());
        let bad = |message: String| about(Error::invalid(message));
        let conflict = |message: String| about(Error::new(ErrorKind::Conflict, message));
        let net = &network.spec;

        if matches!(spec.mode, AttachMode::Trunk(_)) && network.pvid.is_none() {
            return Err(about(
                Error::unsupported("a trunk needs a bridge that tells VLANs apart, which this kernel has not")
                    .with_context("missing", "CONFIG_BRIDGE_VLAN_FILTERING")
                    .with_hint("use a kernel with CONFIG_BRIDGE_VLAN_FILTERING, or attach to each VLAN's network"),
            ));
        }
        let mtu = spec.mtu.unwrap_or(net.mtu);
        if mtu > net.mtu {
            return Err(bad(format!("MTU {mtu} is more than the network's {}", net.mtu)));
        }

        let mut ips = Vec::new();
        if spec.ips.is_empty() {
            for subnet in &net.subnets {
                // one listing serves all subnets; stale claims are looked into only when nothing else is free
                let claimed = self.store.claimed_ips(&net.name)?;
                let free = net.next_free(*subnet, |ip| claimed.contains(&ip));
                let free = free.or_else(|_| {
                    net.next_free(*subnet, |ip| !matches!(self.store.holder_of_ip(&net.name, ip), Ok(None)))
                });
                ips.push(free.map_err(about)?);
            }
        } else {
            for ip in &spec.ips {
                let ip = net.assignable(*ip).map_err(about)?;
                if let Some(holder) = self.store.holder_of_ip(&net.name, ip.addr())? {
                    return Err(conflict(format!("the address {} is taken", ip.addr()))
                        .with_context("held by", holder.as_str())
                        .with_hint("choose another, or detach the holder"));
                }
                ips.push(ip);
            }
        }
        if mtu < 1280 && ips.iter().any(|ip| ip.addr().is_ipv6()) {
            return Err(bad(format!("IPv6 needs an MTU of 1280 or more, not {mtu}")));
        }
        for route in &spec.routes {
            if let Some(via) = route.via
                && !ips.iter().any(|ip| ip.contains(&via))
            {
                return Err(bad(format!("the next hop {via} is in none of the attachment's subnets")));
            }
        }

        let mac = spec
            .mac
            .unwrap_or_else(|| MacAddr::derived(format!("{}\0{workload}\0{}", self.instance, net.name).as_bytes()));
        if let Some(holder) = self.store.holder_of_mac(&net.name, mac)? {
            return Err(conflict(format!("the MAC address {mac} is taken")).with_context("held by", holder.as_str()));
        }

        let interface = self.pick_interface(workload, spec, inside, &about)?;
        let mut attachment = Attachment::new(workload.clone(), net.name.clone(), interface, mac, mtu);
        attachment.mode = spec.mode.clone();
        attachment.vlan = net.vlan;
        attachment.ips = ips;
        attachment.routes = spec.routes.clone();
        attachment.dns = spec.dns.clone();
        let port = self.name("pv", &[workload.as_str(), net.name.as_str()])?;
        Ok(AttachmentRecord { spec: spec.clone(), attachment, port, netns: sandbox.netns.clone() })
    }

    fn pick_interface(
        &self,
        workload: &WorkloadName,
        spec: &AttachmentSpec,
        inside: &Inside,
        about: &impl Fn(Error) -> Error,
    ) -> Result<IfName> {
        let links = inside.netlink.links()?;
        let records = self.store.attachments_of(workload)?;
        let holder = |name: &str| {
            records
                .iter()
                .find(|r| r.attachment.interface.as_str() == name)
                .map(|r| format!("the attachment to {}", r.attachment.network))
                .or_else(|| {
                    let link = links.iter().find(|l| l.name == name)?;
                    Some(format!("an interface of kind {}", link.kind.as_deref().unwrap_or("unknown")))
                })
        };
        if let Some(name) = &spec.interface {
            return match holder(name.as_str()) {
                None => Ok(name.clone()),
                Some(holder) => Err(about(
                    Error::new(ErrorKind::Conflict, format!("the interface name {name} is taken in the workload"))
                        .with_context("held by", holder)
                        .with_hint("choose another interface name"),
                )),
            };
        }
        // fewer links than names, so one is free
        for n in 0..=links.len() + records.len() {
            let name = format!("eth{n}");
            if holder(&name).is_none() {
                return IfName::new(name);
            }
        }
        Err(about(Error::new(ErrorKind::Exhausted, "no interface name is free in the workload")))
    }
}

/// Compares an attachment with what is there, on both sides.
pub(crate) fn read_back(
    network: &NetworkRecord,
    record: &AttachmentRecord,
    bridge: u32,
    outside: &Netlink,
    inside: &Netlink,
) -> Result<Vec<Finding>> {
    let a = &record.attachment;
    let mut found = Vec::new();
    let mut differ = |place: String, expected: String, is: String| {
        if expected != is {
            found.push(
                Finding::new(place, expected, is).with_network(a.network.clone()).with_workload(a.workload.clone()),
            );
        }
    };
    let port_place = format!("bridge port {} of {}", record.port, network.bridge);
    let Some(port) = outside.link(record.port.as_str())? else {
        differ(port_place, "a veth".into(), "nothing".into());
        return Ok(found);
    };
    let up = |up: bool| if up { "up" } else { "down" }.to_owned();
    let yes = |on: bool| if on { "isolated" } else { "not isolated" }.to_owned();
    differ(format!("{port_place}: state"), up(true), up(port.up));
    differ(format!("{port_place}: MTU"), a.mtu.to_string(), port.mtu.to_string());
    let master = if port.master == Some(bridge) { network.bridge.to_string() } else { "another or none".into() };
    differ(format!("{port_place}: bridge"), network.bridge.to_string(), master);
    // kernels without port isolation say nothing of it, and refused it when it was asked for
    differ(format!("{port_place}: isolation"), yes(network.spec.isolated), yes(port.isolated.unwrap_or(false)));
    if let Some(mut expected) = port_vlans(network, &a.mode) {
        let mut is = outside.port_vlans()?.remove(&port.index).unwrap_or_default();
        expected.tagged.sort_unstable();
        is.tagged.sort_unstable();
        let show = |v: &crate::link::PortVlans| format!("untagged {:?}, tagged {:?}", v.untagged, v.tagged);
        differ(format!("{port_place}: VLANs"), show(&expected), show(&is));
    }

    let place = format!("interface {}", a.interface);
    let Some(interface) = inside.link(a.interface.as_str())? else {
        differ(place, "a veth".into(), "nothing".into());
        return Ok(found);
    };
    differ(format!("{place}: state"), up(true), up(interface.up));
    differ(format!("{place}: MTU"), a.mtu.to_string(), interface.mtu.to_string());
    let mac = interface.mac().map_or_else(|| "none".to_owned(), |m| m.to_string());
    differ(format!("{place}: MAC address"), a.mac.to_string(), mac);
    let peer = |index: Option<u32>| index.map_or_else(|| "none".to_owned(), |i| format!("link {i}"));
    differ(format!("{place}: other end"), peer(Some(port.index)), peer(interface.lower));
    let addresses = inside.addresses(interface.index)?;
    differ(format!("{place}: addresses"), list(&a.ips), list(&addresses));
    for ipv6 in [false, true] {
        let expected: Vec<_> = a.routes.iter().filter(|r| r.to.addr().is_ipv6() == ipv6).collect();
        if expected.is_empty() {
            continue;
        }
        let routes = inside.routes(interface.index, ipv6)?;
        for route in expected {
            let shown = address::show_route(route);
            let is = routes.iter().find(|r| r.to == route.to).map_or_else(|| "nothing".to_owned(), address::show_route);
            differ(format!("{place}: route to {}", route.to), shown, is);
        }
    }
    Ok(found)
}

fn list(addresses: &[IpNet]) -> String {
    if addresses.is_empty() {
        return "none".into();
    }
    let mut texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.join(", ")
}

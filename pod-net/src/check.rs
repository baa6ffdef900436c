//! Checks of what an attachment is asked to be, that need no look at anything but records.

use crate::store::AttachmentRecord;
use ipnet::IpNet;
use pod_core::{AttachMode, AttachmentSpec, Error, ErrorKind, Result};
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

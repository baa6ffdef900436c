//! Interfaces, addresses and routes from `/proc/net` alone (proc_pid_net(5)).

use super::interfaces::{net, vlan_id};
use crate::os::interfaces::{Interface, LinkKind};
use crate::os::routes::{RouteEntry, RouteKind};
use crate::os::script::garbled;
use crate::{Result, VlanId};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Flags of `linux/route.h` and `linux/ipv6_route.h`.
const RTF_UP: u32 = 0x1;
const RTF_GATEWAY: u32 = 0x2;
const RTF_REJECT: u32 = 0x200;
const RTF_ANYCAST: u32 = 0x0010_0000;
const RTF_LOCAL: u32 = 0x8000_0000;

/// Whether a machine of this name (`uname -m`) is big-endian: `/proc/net/route` prints addresses in
/// the machine's order.
pub(super) fn big_endian(arch: &str) -> bool {
    arch.starts_with("s390")
        || matches!(arch, "ppc" | "ppc64" | "mips" | "mips64" | "sparc" | "sparc64" | "m68k" | "parisc")
}

/// The files that tell the addresses.
#[derive(Debug)]
pub(super) struct Files<'a> {
    pub(super) dev: &'a str,
    pub(super) inet6: &'a str,
    pub(super) trie: &'a str,
    pub(super) route: &'a str,
    pub(super) big_endian: bool,
}

/// Reads the interfaces and their addresses.
pub(super) fn interfaces(files: &Files<'_>) -> Result<Vec<Interface>> {
    // Two lines of headings, then `eth0: 1 2 …`.
    let names = files.dev.lines().skip(2).filter_map(|l| l.split_once(':')).map(|(n, _)| n.trim());
    let mut all: Vec<Interface> = names.map(Interface::named).collect();
    for i in &mut all {
        if i.name == "lo" {
            i.kind = LinkKind::Loopback;
        }
    }
    let routes = routes4(files.route, files.big_endian)?;
    for ip in local_ipv4(files.trie) {
        let (dev, prefix) = place(ip, &routes, &all);
        match dev.and_then(|d| all.iter_mut().find(|i| i.name == d)) {
            Some(i) => i.addresses.push(net(IpAddr::V4(ip), u64::from(prefix))?),
            None => tracing::warn!(address = %ip, "the interface of this address can't be told from /proc"),
        }
    }
    for line in files.inet6.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, index, prefix, _, _, name] = words[..] else { continue };
        let hex = |h: &str| u64::from_str_radix(h, 16).map_err(|e| garbled("if_inet6 has no number").with_source(e));
        let ip = ipv6(address)?;
        if let Some(i) = all.iter_mut().find(|i| i.name == name) {
            i.index = u32::try_from(hex(index)?).ok();
            i.addresses.push(net(IpAddr::V6(ip), hex(prefix)?)?);
        }
    }
    Ok(all)
}

/// The interface that an address of this host belongs to, and its prefix length: that of the narrowest
/// network on a link that holds it; one without such a network belongs to the only card there is, or
/// to that of the default route.
fn place(ip: Ipv4Addr, routes: &[RouteEntry], all: &[Interface]) -> (Option<String>, u8) {
    if ip.is_loopback() {
        return (Some("lo".into()), 8);
    }
    let on_link = routes.iter().filter(|r| r.via.is_none() && r.to.prefix_len() > 0 && r.to.contains(&IpAddr::V4(ip)));
    if let Some(r) = on_link.max_by_key(|r| r.to.prefix_len()) {
        return (r.interface.clone(), r.to.prefix_len());
    }
    let mut cards = all.iter().filter(|i| i.kind != LinkKind::Loopback);
    match (cards.next(), cards.next()) {
        (Some(only), None) => (Some(only.name.clone()), 32),
        _ => (routes.iter().find(|r| r.is_default()).and_then(|r| r.interface.clone()), 32),
    }
}

/// The addresses of this host in `/proc/net/fib_trie`: a leaf `|-- 10.0.0.1` followed by
/// `/32 host LOCAL`.
fn local_ipv4(trie: &str) -> Vec<Ipv4Addr> {
    let mut leaf: Option<Ipv4Addr> = None;
    let mut found = Vec::new();
    for line in trie.lines() {
        let line = line.trim();
        if let Some(ip) = line.strip_prefix("|-- ") {
            leaf = ip.parse().ok();
        } else if line.starts_with("/32") && line.ends_with("LOCAL") {
            found.extend(leaf);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Reads `/proc/net/route`.
pub(super) fn routes4(text: &str, big_endian: bool) -> Result<Vec<RouteEntry>> {
    let mut all = Vec::new();
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [dev, to, via, flags, _, _, metric, mask, ..] = words[..] else { continue };
        let flags = hex32(flags)?;
        if flags & RTF_UP == 0 {
            continue;
        }
        let ip = |h: &str| hex32(h).map(|n| Ipv4Addr::from(if big_endian { n } else { n.swap_bytes() }));
        let to =
            Ipv4Net::with_netmask(ip(to)?, ip(mask)?).map_err(|e| garbled("a netmask has holes").with_source(e))?;
        let mut route = RouteEntry::to(IpNet::V4(to));
        route.metric = metric.parse().map_err(|e| garbled("a metric is no number").with_source(e))?;
        if flags & RTF_GATEWAY != 0 {
            route.via = Some(IpAddr::V4(ip(via)?));
        }
        match (dev, flags & RTF_REJECT != 0) {
            ("*", true) => route.kind = RouteKind::Unreachable,
            ("*", false) => route.kind = RouteKind::Blackhole,
            (dev, _) => route.interface = Some(dev.to_owned()),
        }
        all.push(route);
    }
    Ok(all)
}

/// Reads `/proc/net/ipv6_route`; what the kernel keeps in its local table is left out.
pub(super) fn routes6(text: &str) -> Result<Vec<RouteEntry>> {
    let mut all = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [to, prefix, _, _, via, metric, _, _, flags, dev] = words[..] else { continue };
        let (flags, metric, to) = (hex32(flags)?, hex32(metric)?, ipv6(to)?);
        // The kernel's own last entry has the highest metric and refuses everything.
        if (flags & RTF_UP == 0 && metric == u32::MAX) || flags & (RTF_LOCAL | RTF_ANYCAST) != 0 || to.is_multicast() {
            continue;
        }
        let mut route = RouteEntry::to(net(IpAddr::V6(to), u64::from(hex32(prefix)?))?);
        route.metric = metric;
        if flags & RTF_GATEWAY != 0 {
            route.via = Some(IpAddr::V6(ipv6(via)?));
        }
        if flags & RTF_REJECT != 0 {
            route.kind = RouteKind::Unreachable;
        } else {
            route.interface = Some(dev.to_owned());
        }
        all.push(route);
    }
    Ok(all)
}

fn hex32(h: &str) -> Result<u32> {
    u32::from_str_radix(h, 16).map_err(|e| garbled("a field is no hexadecimal number").with_source(e))
}

fn ipv6(h: &str) -> Result<Ipv6Addr> {
    let bits = u128::from_str_radix(h, 16).map_err(|e| garbled("a field is no IPv6 address").with_source(e))?;
    Ok(Ipv6Addr::from(bits))
}

/// Reads `/proc/net/vlan/config`: two lines of headings, then `eth0.100 | 100 | eth0`.
pub(super) fn vlans(text: &str) -> Result<Vec<(String, Option<VlanId>, String)>> {
    let mut all = Vec::new();
    for line in text.lines().skip(2) {
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let [name, id, parent] = parts[..] else { continue };
        let id = id.parse().map_err(|e| garbled("a VLAN id is no number").with_source(e))?;
        all.push((name.to_owned(), vlan_id(id, name)?, parent.to_owned()));
    }
    Ok(all)
}

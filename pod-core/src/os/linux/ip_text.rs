//! `ip address` and `ip route` as text: BusyBox's, and iproute2's before it spoke JSON.

use super::interfaces::{net, vlan_id};
use crate::Result;
use crate::os::interfaces::{Interface, LinkKind, LinkState};
use crate::os::routes::{RouteEntry, RouteKind};
use crate::os::script::garbled;
use ipnet::IpNet;
use std::net::IpAddr;

/// The word behind `key`.
fn after<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.windows(2).find(|w| w[0] == key).map(|w| w[1])
}

/// Reads `ip [-d] address show`.
pub(super) fn interfaces(text: &str) -> Result<Vec<Interface>> {
    let mut all: Vec<Interface> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        if !line.starts_with([' ', '\t']) {
            all.push(head(line, &words)?);
            continue;
        }
        let Some(last) = all.last_mut() else { return Err(garbled("ip printed an address before an interface")) };
        match *first {
            word if word.starts_with("link/") => {
                last.mac = words.get(1).and_then(|m| m.parse().ok());
                last.kind = match &word[5..] {
                    "loopback" => LinkKind::Loopback,
                    // `ether` is all kinds; the next line of `ip -d`, or sysfs, tells more.
                    "ether" => LinkKind::Other("virtual".into()),
                    other => LinkKind::of(other),
                };
            }
            "inet" | "inet6" => {
                let Some(address) = words.get(1) else { continue };
                // `inet 10.0.0.1 peer 10.0.0.2/32`: the prefix stands behind the peer.
                let (ip, prefix) = match address.split_once('/') {
                    Some((ip, prefix)) => (ip, Some(prefix)),
                    None => (*address, after(&words, "peer").and_then(|p| p.split_once('/')).map(|(_, p)| p)),
                };
                let ip: IpAddr = ip.parse().map_err(|e| garbled("ip printed no address").with_source(e))?;
                let host = if ip.is_ipv4() { 32 } else { 128 };
                let prefix = prefix.map_or(Ok(host), str::parse).map_err(|e| garbled("a prefix").with_source(e))?;
                last.addresses.push(net(ip, prefix)?);
            }
            "valid_lft" => {}
            "vlan" => {
                last.kind = LinkKind::Vlan;
                if let Some(id) = after(&words, "id").and_then(|i| i.parse().ok()) {
                    last.vlan = vlan_id(id, &last.name)?;
                }
            }
            kind @ ("veth" | "bridge" | "macvlan" | "macvtap" | "ipvlan" | "vxlan" | "bond" | "dummy" | "tun"
            | "wireguard" | "vrf") => last.kind = LinkKind::of(kind),
            _ => {}
        }
    }
    Ok(all)
}

/// Reads `2: eth0@if25: <BROADCAST,UP> mtu 1500 … master br0 state UP`.
fn head(line: &str, words: &[&str]) -> Result<Interface> {
    let bad = || garbled("ip printed no interface").with_context("line", line.chars().take(80).collect::<String>());
    let mut parts = line.splitn(3, ": ");
    let index = parts.next().and_then(|n| n.trim().parse().ok()).ok_or_else(bad)?;
    let name = parts.next().ok_or_else(bad)?;
    let (name, lower) = name.split_once('@').map_or((name, None), |(n, l)| (n, Some(l)));
    let flags = parts.next().and_then(|r| r.strip_prefix('<')).and_then(|r| r.split_once('>')).map_or("", |(f, _)| f);
    let flag = |wanted: &str| flags.split(',').any(|f| f == wanted);
    let state = match after(words, "state") {
        Some(word) => LinkState::of(word),
        None if flag("LOOPBACK") => LinkState::Unknown,
        None if flag("LOWER_UP") => LinkState::Up,
        None => LinkState::Down,
    };
    Ok(Interface {
        index: Some(index),
        mtu: after(words, "mtu").and_then(|m| m.parse().ok()),
        up: flag("UP"),
        state,
        // Of a cable into another namespace this is `if25` or, with BusyBox, a wrong name.
        parent: lower.filter(|l| !is_number(l)).map(str::to_owned),
        master: after(words, "master").map(str::to_owned),
        ..Interface::named(name)
    })
}

/// Whether this is `if25`, a link of another namespace.
fn is_number(lower: &str) -> bool {
    lower.strip_prefix("if").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) || lower == "NONE"
}

/// Reads `ip route show` and `ip -6 route show`.
pub(super) fn routes(text: &str, v6: bool) -> Result<Vec<RouteEntry>> {
    let mut all: Vec<RouteEntry> = Vec::new();
    let mut open = false; // the last route has no next hop yet: they may stand on the lines below it
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        if *first == "nexthop" {
            let Some(last) = all.last().cloned() else { return Err(garbled("ip printed a next hop before a route")) };
            if open {
                all.pop();
                open = false;
            }
            all.push(hops(last, &words)?);
            continue;
        }
        let (kind, at) = match *first {
            "unicast" => (RouteKind::Unicast, 1),
            "blackhole" => (RouteKind::Blackhole, 1),
            "unreachable" => (RouteKind::Unreachable, 1),
            "prohibit" => (RouteKind::Prohibit, 1),
            "throw" => (RouteKind::Throw, 1),
            "local" | "broadcast" | "multicast" | "anycast" => continue,
            _ => (RouteKind::Unicast, 0),
        };
        let to = words.get(at).ok_or_else(|| garbled("a route has no destination"))?;
        let mut route = RouteEntry { kind, ..RouteEntry::to(destination(to, v6)?) };
        route.metric = after(&words, "metric").and_then(|m| m.parse().ok()).unwrap_or(0);
        route.source = after(&words, "src").and_then(|s| s.parse().ok());
        let route = hops(route, &words)?;
        open = route.via.is_none() && route.interface.is_none();
        all.push(route);
    }
    Ok(all)
}

fn hops(mut route: RouteEntry, words: &[&str]) -> Result<RouteEntry> {
    let via = match after(words, "via") {
        Some("inet6" | "inet") => words.iter().position(|w| *w == "via").and_then(|at| words.get(at + 2)).copied(),
        other => other,
    };
    route.via = via.map(str::parse).transpose().map_err(|e| garbled("a next hop is no address").with_source(e))?;
    route.interface = after(words, "dev").map(str::to_owned);
    Ok(route)
}

/// A route's destination: `default`, an address or a network.
pub(super) fn destination(to: &str, v6: bool) -> Result<IpNet> {
    let to = match (to, v6) {
        ("default", false) => "0.0.0.0/0",
        ("default", true) => "::/0",
        (other, _) => other,
    };
    let parsed = if to.contains('/') { to.parse().ok() } else { to.parse::<IpAddr>().ok().map(IpNet::from) };
    parsed.ok_or_else(|| garbled("a route's destination is no network").with_context("destination", to))
}

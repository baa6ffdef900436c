//! `ifconfig -a` as BusyBox prints it.

use super::interfaces::net;
use crate::Result;
use crate::os::interfaces::{Interface, LinkKind, LinkState};
use crate::os::script::garbled;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

/// Reads it: a line that begins with no white space begins an interface.
pub(super) fn interfaces(text: &str) -> Result<Vec<Interface>> {
    let mut all: Vec<Interface> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        if !line.starts_with([' ', '\t']) {
            let mut i = Interface::named(first.trim_end_matches(':'));
            i.state = LinkState::Down;
            if line.contains("Local Loopback") {
                i.kind = LinkKind::Loopback;
            }
            let mac = words.iter().position(|w| *w == "HWaddr").and_then(|at| words.get(at + 1));
            i.mac = mac.and_then(|m| m.parse().ok());
            all.push(i);
            continue;
        }
        let Some(last) = all.last_mut() else { return Err(garbled("ifconfig printed an address before an interface")) };
        let value = |key: &str| words.iter().find_map(|w| w.strip_prefix(key));
        if words.contains(&"inet") {
            if let (Some(ip), Some(mask)) = (value("addr:"), value("Mask:")) {
                let bad = |e: std::net::AddrParseError| garbled("ifconfig printed no address").with_source(e);
                let (ip, mask): (Ipv4Addr, Ipv4Addr) = (ip.parse().map_err(bad)?, mask.parse().map_err(bad)?);
                let whole = IpNet::with_netmask(IpAddr::V4(ip), IpAddr::V4(mask));
                last.addresses.push(whole.map_err(|e| garbled("a netmask has holes").with_source(e))?);
            }
        } else if words.contains(&"inet6") {
            let address = words.iter().find_map(|w| w.split_once('/'));
            if let Some((ip, prefix)) = address
                && let (Ok(ip), Ok(prefix)) = (ip.parse::<IpAddr>(), prefix.parse())
            {
                last.addresses.push(net(ip, prefix)?);
            }
        } else if let Some(mtu) = value("MTU:") {
            last.mtu = mtu.parse().ok();
            last.up = words.contains(&"UP");
            last.state = match (words.contains(&"RUNNING"), &last.kind) {
                (_, LinkKind::Loopback) => LinkState::Unknown,
                (true, _) => LinkState::Up,
                (false, _) => LinkState::Down,
            };
        }
    }
    Ok(all)
}

//! The `ipam` part of a CNI configuration: where addresses come from.

use super::check::Checked;
use super::keys;
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::net::IpAddr;

fn child(at: &str, key: &str) -> String {
    format!("{at}.{key}")
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok()
}

/// Checks `ipam`; `one` is the plugin's configuration that holds it.
pub(super) fn check(ipam: &Map<String, Value>, one: &Map<String, Value>, at: &str, found: &mut Checked) {
    let kind = match ipam.get("type") {
        Some(Value::String(kind)) if !kind.is_empty() => kind.as_str(),
        None if ipam.is_empty() => {
            let plugin = one.get("type").and_then(Value::as_str).and_then(keys::plugin);
            if let Some(plugin) = plugin.filter(|p| p.needs_ipam) {
                found.fault(at, format!("{} does not work without addresses", plugin.name), None);
            }
            return;
        }
        _ => {
            found.fault(child(at, "type"), "it is missing: no address plugin would be called", None);
            return;
        }
    };
    let Some(known) = keys::ipam(kind) else {
        let message = format!("POD does not know the address plugin {kind:?}: its keys are not checked");
        found.note(child(at, "type"), message, None);
        return;
    };
    for (key, value) in ipam.iter().filter(|(k, _)| *k != "type") {
        match known.keys.iter().find(|(k, _)| k == key) {
            None => {
                let hint = (kind == "static" && matches!(key.as_str(), "address" | "subnet"))
                    .then_some("write `\"addresses\": [{\"address\": \"10.0.0.5/24\"}]`");
                found.fault(child(at, key), format!("{kind} has no such key and ignores it"), hint);
            }
            Some((_, shape)) if !shape.fits(value) => {
                found.fault(child(at, key), format!("it is not {}", shape.name()), None);
            }
            Some(_) => {}
        }
    }
    if ipam.get("dns").and_then(Value::as_object).is_some_and(|d| !d.is_empty()) {
        let message = "no runtime gives an address plugin's DNS servers to a pod";
        found.fault(child(at, "dns"), message, Some("put them into the pods' `dnsConfig`"));
    }
    check_routes(ipam, at, found);
    match kind {
        "static" => check_static(ipam, one, at, found),
        "host-local" => check_host_local(ipam, at, found),
        "whereabouts" => check_whereabouts(ipam, at, found),
        _ => {}
    }
}

/// Checks an address that an interface is to have, with its prefix length.
fn check_address(text: &str, at: &str, found: &mut Checked) -> Option<IpNet> {
    let Some(net) = network(text) else {
        let hint = if text.parse::<IpAddr>().is_ok() { Some("add the prefix length, such as `/24`") } else { None };
        found.fault(at, format!("{text:?} is no address with a prefix length"), hint);
        return None;
    };
    let whole = net.prefix_len() >= net.max_prefix_len() - 1;
    if !whole && net.addr() == net.network() {
        let message = format!("{net} is the network's own address, which no interface can have");
        let first = net.hosts().next().map(|h| format!("use one within it, such as {h}/{}", net.prefix_len()));
        found.fault(at, message, first.as_deref());
        return None;
    }
    if !whole && net.addr().is_ipv4() && net.addr() == net.broadcast() {
        found.fault(at, format!("{net} is the network's broadcast address, which no interface can have"), None);
        return None;
    }
    if net.addr().is_loopback() || net.addr().is_multicast() || net.addr().is_unspecified() {
        found.fault(at, format!("{net} can't be an interface's address"), None);
        return None;
    }
    Some(net)
}

fn check_gateway(text: &str, within: Option<IpNet>, at: &str, found: &mut Checked) {
    let Ok(ip) = text.parse::<IpAddr>() else {
        found.fault(at, format!("{text:?} is no address"), None);
        return;
    };
    if let Some(net) = within {
        if !net.contains(&ip) {
            found.fault(at, format!("the gateway {ip} is outside {}", net.trunc()), None);
        } else if ip == net.network() {
            found.fault(at, format!("{ip} is the network's own address"), None);
        } else if ip == net.addr() && net.addr() != net.network() {
            found.fault(at, format!("{ip} is the pod's own address"), None);
        }
    }
}

fn check_static(ipam: &Map<String, Value>, one: &Map<String, Value>, at: &str, found: &mut Checked) {
    let capability = one.get("capabilities").and_then(|c| c.get("ips")).and_then(Value::as_bool) == Some(true);
    let addresses = ipam.get("addresses").and_then(Value::as_array);
    let place = child(at, "addresses");
    let Some(addresses) = addresses.filter(|a| !a.is_empty()) else {
        if !capability {
            let message = "there are none, and pods can't name theirs: every pod of this definition fails";
            found.fault(place, message, Some("add `\"capabilities\": {\"ips\": true}`, and `ips` to each pod"));
        }
        return;
    };
    for (n, address) in addresses.iter().enumerate() {
        let here = format!("{place}[{n}]");
        let Some(address) = address.as_object() else {
            found.fault(here, "an address is an object with `address`", None);
            continue;
        };
        for key in address.keys().filter(|k| !matches!(k.as_str(), "address" | "gateway")) {
            found.fault(child(&here, key), "static has no such key and ignores it", None);
        }
        let Some(text) = address.get("address").and_then(Value::as_str) else {
            found.fault(child(&here, "address"), "it is missing, or no text", None);
            continue;
        };
        check_address(text, &child(&here, "address"), found);
        if let Some(gateway) = address.get("gateway") {
            let within = network(text);
            match gateway.as_str() {
                Some(gateway) => check_gateway(gateway, within, &child(&here, "gateway"), found),
                None => found.fault(child(&here, "gateway"), "it is no text", None),
            }
        }
    }
    let message = "an address in a definition is every pod's: two pods of it have the same one";
    if capability {
        let hint = "leave it out: pods that name their own get theirs, others fail instead of clashing";
        found.note(place, message, Some(hint));
    } else {
        let hint = "add `\"capabilities\": {\"ips\": true}`, and `ips` to each pod, or use an allocator";
        found.fault(place, message, Some(hint));
    }
}

fn check_host_local(ipam: &Map<String, Value>, at: &str, found: &mut Checked) {
    let message = "host-local counts on each node by itself: pods on two nodes get the same address";
    found.note(child(at, "type"), message, Some("give each node a range of its own, or use whereabouts"));
    let mut sets = Vec::new();
    if ipam.contains_key("subnet") {
        sets.push((at.to_owned(), ipam.clone()));
    }
    for (n, set) in ipam.get("ranges").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let here = format!("{at}.ranges[{n}]");
        let Some(ranges) = set.as_array().filter(|s| !s.is_empty()) else {
            found.fault(here, "a set of ranges is a list of objects", Some("write `\"ranges\": [[{\"subnet\": …}]]`"));
            continue;
        };
        for (m, range) in ranges.iter().enumerate() {
            match range.as_object() {
                Some(range) => sets.push((format!("{here}[{m}]"), range.clone())),
                None => found.fault(format!("{here}[{m}]"), "a range is an object", None),
            }
        }
    }
    if sets.is_empty() && !ipam.contains_key("ranges") {
        found.fault(child(at, "ranges"), "there are none: no address can be handed out", None);
    }
    for (here, range) in sets {
        let inner = here != at;
        for key in range.keys().filter(|_| inner) {
            if !matches!(key.as_str(), "subnet" | "rangeStart" | "rangeEnd" | "gateway") {
                found.fault(child(&here, key), "host-local has no such key and ignores it", None);
            }
        }
        let Some(subnet) = range.get("subnet").and_then(Value::as_str).and_then(network) else {
            found.fault(child(&here, "subnet"), "it is missing, or no network", None);
            continue;
        };
        if subnet.prefix_len() + 2 > subnet.max_prefix_len() {
            found.fault(child(&here, "subnet"), format!("{subnet} has no room for pods"), None);
        }
        for key in ["rangeStart", "rangeEnd"] {
            let Some(text) = range.get(key).and_then(Value::as_str) else { continue };
            match text.parse::<IpAddr>() {
                Ok(ip) if subnet.contains(&ip) && ip != subnet.network() => {}
                _ => found.fault(child(&here, key), format!("{text} is no address for pods in {subnet}"), None),
            }
        }
        if let Some(gateway) = range.get("gateway").and_then(Value::as_str) {
            check_gateway(gateway, Some(subnet.trunc()), &child(&here, "gateway"), found);
        }
    }
}

fn check_whereabouts(ipam: &Map<String, Value>, at: &str, found: &mut Checked) {
    let ranges = ipam.get("ipRanges").and_then(Value::as_array).is_some_and(|r| !r.is_empty());
    let Some(range) = ipam.get("range").and_then(Value::as_str) else {
        if !ranges {
            found.fault(child(at, "range"), "it is missing: no address can be handed out", None);
        }
        return;
    };
    // whereabouts also takes `FIRST-LAST/PREFIX`
    let subnet = network(range.split_once('-').map_or(range, |(_, last)| last));
    let Some(subnet) = subnet else {
        found.fault(child(at, "range"), format!("{range:?} is no network"), None);
        return;
    };
    for key in ["range_start", "range_end", "gateway"] {
        let Some(text) = ipam.get(key).and_then(Value::as_str) else { continue };
        if !text.parse::<IpAddr>().is_ok_and(|ip| subnet.contains(&ip)) {
            found.fault(child(at, key), format!("{text} is outside {}", subnet.trunc()), None);
        }
    }
    let gateway = ipam.get("gateway").and_then(Value::as_str);
    let excluded = ipam.get("exclude").and_then(Value::as_array);
    if let Some(gateway) = gateway.and_then(|g| g.parse::<IpAddr>().ok()) {
        let out = excluded.into_iter().flatten().filter_map(Value::as_str).filter_map(network);
        if !out.into_iter().any(|n| n.contains(&gateway)) && !ipam.contains_key("range_start") {
            let message = format!("whereabouts may hand out the gateway {gateway} itself");
            found.note(child(at, "gateway"), message, Some(&format!("exclude {gateway}/{}", subnet.max_prefix_len())));
        }
    }
}

fn check_routes(ipam: &Map<String, Value>, at: &str, found: &mut Checked) {
    for (n, route) in ipam.get("routes").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let here = format!("{at}.routes[{n}]");
        let Some(route) = route.as_object() else {
            found.fault(here, "a route is an object with `dst`", None);
            continue;
        };
        for key in route.keys() {
            if !matches!(key.as_str(), "dst" | "gw" | "mtu" | "advmss" | "priority" | "table" | "scope") {
                found.fault(child(&here, key), "a route has no such key", Some("`dst` and `gw`"));
            }
        }
        let dst = route.get("dst").and_then(Value::as_str);
        let Some(net) = dst.and_then(network) else {
            found.fault(child(&here, "dst"), "it is missing, or no network", None);
            continue;
        };
        if let Some(gw) = route.get("gw") {
            match gw.as_str().and_then(|g| g.parse::<IpAddr>().ok()) {
                Some(gw) if gw.is_ipv4() == net.addr().is_ipv4() => {}
                Some(gw) => found.fault(child(&here, "gw"), format!("{gw} is of another family than {net}"), None),
                None => found.fault(child(&here, "gw"), "it is no address", None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::check;

    fn places(ipam: &str, capabilities: &str) -> Vec<String> {
        let config = format!(
            r#"{{"cniVersion": "1.0.0", "type": "macvlan", "master": "e", "capabilities": {capabilities}, "ipam": {ipam}}}"#
        );
        check(&config).faults.into_iter().map(|f| f.at).collect()
    }

    #[test]
    fn addresses_that_no_pod_can_have_are_refused() {
        let ips = r#"{"ips": true}"#;
        for (address, at) in [
            ("10.1.0.0/24", "ipam.addresses[0].address"),
            ("10.1.0.255/24", "ipam.addresses[0].address"),
            ("10.1.0.5", "ipam.addresses[0].address"),
            ("127.0.0.1/8", "ipam.addresses[0].address"),
            ("fd00::/64", "ipam.addresses[0].address"),
        ] {
            let ipam = format!(r#"{{"type": "static", "addresses": [{{"address": "{address}"}}]}}"#);
            assert_eq!(places(&ipam, ips), [at], "{address}");
        }
        let ipam = r#"{"type": "static", "addresses": [{"address": "10.1.0.5/24", "gateway": "10.2.0.1"}]}"#;
        assert_eq!(places(ipam, ips), ["ipam.addresses[0].gateway"]);
        assert_eq!(places(r#"{"type": "static", "addresses": [{"address": "10.1.0.5/24"}]}"#, ips), [""; 0]);
        assert_eq!(
            places(r#"{"type": "static", "addresses": [{"address": "10.1.0.5/24"}]}"#, "{}"),
            ["ipam.addresses"]
        );
    }

    #[test]
    fn allocators_are_checked() {
        for (ipam, at) in [
            (r#"{"type": "static"}"#, "ipam.addresses"),
            (
                r#"{"type": "static", "address": "10.1.0.5/24", "addresses": [{"address": "10.1.0.5/24"}]}"#,
                "ipam.address",
            ),
            (r#"{"type": "host-local"}"#, "ipam.ranges"),
            (r#"{"type": "host-local", "ranges": [{"subnet": "10.1.0.0/24"}]}"#, "ipam.ranges[0]"),
            (r#"{"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/31"}]]}"#, "ipam.ranges[0][0].subnet"),
            (
                r#"{"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.0"}]]}"#,
                "ipam.ranges[0][0].rangeStart",
            ),
            (
                r#"{"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24", "gateway": "10.2.0.1"}]]}"#,
                "ipam.ranges[0][0].gateway",
            ),
            (r#"{"type": "whereabouts"}"#, "ipam.range"),
            (r#"{"type": "whereabouts", "range": "10.1.0.0/24", "range_start": "10.2.0.1"}"#, "ipam.range_start"),
            (r#"{"type": "whereabouts", "range": "10.1.0.0/24", "rangeStart": "10.1.0.9"}"#, "ipam.rangeStart"),
            (r#"{"type": "dhcp", "routes": []}"#, "ipam.routes"),
        ] {
            let faults = places(ipam, "{}");
            assert!(faults.contains(&at.to_owned()), "{ipam}: {faults:?}");
        }
        for ipam in [
            r#"{"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}]]}"#,
            r#"{"type": "whereabouts", "range": "10.1.0.0/24", "exclude": ["10.1.0.1/32"], "gateway": "10.1.0.1"}"#,
            r#"{"type": "whereabouts", "range": "10.1.0.10-10.1.0.20/24"}"#,
            r#"{"type": "dhcp"}"#,
        ] {
            assert_eq!(places(ipam, "{}"), [""; 0], "{ipam}");
        }
    }

    #[test]
    fn routes_are_checked() {
        let ips = r#"{"ips": true}"#;
        for (route, at) in [
            (r#"{"to": "10.0.0.0/8"}"#, "ipam.routes[0].to"),
            (r#"{"dst": "10.0.0.0/8", "gw": "fd00::1"}"#, "ipam.routes[0].gw"),
            (r#"{"dst": "10.0.0"}"#, "ipam.routes[0].dst"),
        ] {
            let faults = places(&format!(r#"{{"type": "static", "routes": [{route}]}}"#), ips);
            assert!(faults.contains(&at.to_owned()), "{route}: {faults:?}");
        }
        assert_eq!(places(r#"{"type": "static", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]}"#, ips), [""; 0]);
        assert_eq!(places(r#"{"type": "static", "dns": {"nameservers": ["10.1.0.53"]}}"#, ips), ["ipam.dns"]);
    }
}

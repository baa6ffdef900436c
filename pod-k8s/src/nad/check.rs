//! Whether a CNI configuration does what it says.
//!
//! Plugins drop keys they don't know, so a definition can be accepted, its pods run, and nothing of
//! what it asks for be done: `vlan` in a `macvlan` tags nothing, `dns` reaches no `resolv.conf`. Here
//! each such part is a fault with its place and the way out.

use super::addresses;
use super::keys::{self, CAPABILITIES, COMMON, Key, LIST, Plugin, Shape};
use pod_core::{Error, Result};
use serde_json::{Map, Value};
use std::fmt;

/// The versions of the CNI specification that definitions may name: those whose results list
/// interfaces, without which `network-status` has none.
pub const VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// One thing that a configuration says and no plugin does, or that can't work.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Fault {
    /// Where: a path such as `ipam.addresses[0].address`; empty is the whole.
    pub at: String,
    /// What is wrong, and what comes of it.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.at.is_empty() {
            write!(f, "`{}`: ", self.at)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Checked {
    /// What must not stay so.
    pub faults: Vec<Fault>,
    /// What may be meant so, and is worth knowing.
    pub notes: Vec<Fault>,
}

impl Checked {
    /// Whether nothing must change.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.faults.is_empty()
    }

    /// Nothing when it is sound, else one error that names every fault.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](pod_core::ErrorKind::InvalidInput).
    pub fn into_result(self, name: &str) -> Result<()> {
        if self.ok() {
            return Ok(());
        }
        let count = self.faults.len();
        let faults = if count == 1 { "a fault".to_owned() } else { format!("{count} faults") };
        let mut error = Error::invalid(format!("the network attachment definition has {faults}"))
            .with_context("definition", name)
            .with_hint("`pod k8s nad check --fix` prints one that does what is meant");
        for fault in self.faults {
            error = error.with_context("fault", fault.to_string());
        }
        Err(error)
    }

    pub(super) fn fault(&mut self, at: impl Into<String>, message: impl Into<String>, hint: Option<&str>) {
        self.faults.push(Fault { at: at.into(), message: message.into(), hint: hint.map(str::to_owned) });
    }

    pub(super) fn note(&mut self, at: impl Into<String>, message: impl Into<String>, hint: Option<&str>) {
        self.notes.push(Fault { at: at.into(), message: message.into(), hint: hint.map(str::to_owned) });
    }
}

/// Checks the configuration of a definition: a CNI configuration or a list of them, JSON in a string.
#[must_use]
pub fn check(config: &str) -> Checked {
    let mut found = Checked::default();
    if config.trim().is_empty() {
        let message = "the configuration is empty: Multus then looks for a file on the node, which POD can't see";
        found.fault("", message, Some("write the configuration into `spec.config`"));
        return found;
    }
    match serde_json::from_str::<Value>(config) {
        Ok(Value::Object(whole)) => check_whole(&whole, &mut found),
        Ok(_) => found.fault("", "the configuration is no JSON object", None),
        Err(e) => found.fault("", format!("the configuration is no JSON: {e}"), None),
    }
    found
}

fn check_whole(whole: &Map<String, Value>, found: &mut Checked) {
    check_version(whole, found);
    check_name(whole, found);
    let Some(plugins) = whole.get("plugins") else {
        check_plugin(whole, "", true, found);
        return;
    };
    if whole.contains_key("type") {
        found.fault("type", "a list of `plugins` has no `type` of its own", Some("leave one of the two out"));
    }
    check_keys(whole, LIST, "", "a list of plugins", found);
    let Some(plugins) = plugins.as_array().filter(|p| !p.is_empty()) else {
        found.fault("plugins", "the list of plugins holds none", None);
        return;
    };
    for (n, plugin) in plugins.iter().enumerate() {
        let at = format!("plugins[{n}]");
        match plugin {
            Value::Object(one) => check_plugin(one, &at, n == 0, found),
            _ => found.fault(at, "a plugin's configuration is an object", None),
        }
    }
}

fn check_version(whole: &Map<String, Value>, found: &mut Checked) {
    let list = VERSIONS.join(", ");
    match whole.get("cniVersion") {
        None => {
            let message = "it is missing; the runtime then takes 0.1.0, whose results list no interfaces";
            found.fault("cniVersion", message, Some("write `\"cniVersion\": \"1.0.0\"`"));
        }
        Some(Value::String(v)) if VERSIONS.contains(&v.as_str()) => {
            if v == "1.1.0" {
                let message = "runtimes ask plugins of this version for STATUS and GC, which not all answer";
                found.note("cniVersion", message, Some("1.0.0 works everywhere"));
            }
        }
        Some(Value::String(v)) if matches!(v.as_str(), "0.1.0" | "0.2.0") => {
            found.fault("cniVersion", format!("results of {v} list no interfaces"), Some("use 1.0.0"));
        }
        Some(Value::String(v)) => {
            found.fault("cniVersion", format!("there is no version {v:?} of the CNI specification: {list}"), None);
        }
        // a wrong type is found with the keys
        Some(_) => {}
    }
}

/// CNI 1.0.0, "Section 1: Network configuration format": a letter or digit, then also `_`, `.`, `-`.
fn check_name(whole: &Map<String, Value>, found: &mut Checked) {
    let Some(Value::String(name)) = whole.get("name") else { return };
    let mut chars = name.chars();
    let good = chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !good {
        found.fault("name", format!("{name:?} is no network name"), Some("use letters, digits, '_', '.' and '-'"));
    }
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

fn check_plugin(one: &Map<String, Value>, at: &str, first: bool, found: &mut Checked) {
    let Some(Value::String(kind)) = one.get("type") else {
        found.fault(join(at, "type"), "it is missing: no plugin would be called", None);
        return;
    };
    let known = keys::plugin(kind);
    match known {
        Some(plugin) => {
            let all: Vec<Key> = plugin.keys.iter().chain(COMMON).copied().collect();
            check_keys(one, &all, at, kind, found);
            if first && !plugin.makes {
                let message = format!("{kind} makes no interface, it changes the one that a plugin before it made");
                found.fault(join(at, "type"), message, Some("put one that makes an interface first"));
            }
            check_kind(one, plugin, at, found);
        }
        None => {
            let message = format!("POD does not know the plugin {kind:?}: its keys are not checked");
            found.note(join(at, "type"), message, None);
        }
    }
    if one.get("dns").is_some_and(|d| !d.as_object().is_some_and(Map::is_empty)) {
        let message = "no runtime gives a plugin's DNS servers to a pod: its `/etc/resolv.conf` stays as it is";
        found.fault(join(at, "dns"), message, Some("put them into the pods' `dnsConfig`"));
    }
    if let Some(args) = one.get("args").and_then(Value::as_object) {
        for key in args.keys().filter(|k| *k != "cni") {
            found.fault(join(&join(at, "args"), key), "plugins read `args.cni` alone", None);
        }
    }
    let makes = known.is_none_or(|p| p.makes);
    match one.get("ipam") {
        Some(Value::Object(ipam)) => addresses::check(ipam, one, &join(at, "ipam"), found),
        None if makes && known.is_some() => {
            let hint = if known.is_some_and(|p| p.needs_ipam) {
                "add one, such as `\"ipam\": {\"type\": \"static\"}` with the capability `ips`"
            } else {
                "add one, or write `\"ipam\": {}` for an interface without addresses"
            };
            found.fault(join(at, "ipam"), "it is missing: no pod gets an address", Some(hint));
        }
        _ => {}
    }
    check_capabilities(one, known, at, found);
}

fn check_keys(one: &Map<String, Value>, allowed: &[Key], at: &str, who: &str, found: &mut Checked) {
    for (key, value) in one {
        let Some((_, shape)) = allowed.iter().find(|(k, _)| k == key) else {
            let (message, hint) = unknown_key(who, key, value, allowed);
            found.fault(join(at, key), message, hint.as_deref());
            continue;
        };
        if !shape.fits(value) {
            found.fault(join(at, key), format!("it is {}, not {}", shape_of(value), shape.name()), None);
        } else if let Shape::Whole(from, to) = shape
            && !value.as_u64().is_some_and(|n| (*from..=*to).contains(&n))
        {
            let range = if *to == u64::MAX { format!("{from} or more") } else { format!("{from} to {to}") };
            found.fault(join(at, key), format!("{value} is out of range"), Some(&format!("use {range}")));
        }
    }
}

fn shape_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What to say of a key that a plugin does not read.
fn unknown_key(who: &str, key: &str, value: &Value, allowed: &[Key]) -> (String, Option<String>) {
    match (who, key) {
        ("macvlan" | "ipvlan", "vlan" | "vlanId" | "vlan_id") => (
            format!("the {who} plugin has no such key and ignores it: nothing is tagged"),
            Some(format!("use a `master` that tags, such as `eth0.{}`, or `type: vlan` with `vlanId`", text(value))),
        ),
        ("vlan", "vlan" | "vlan_id" | "vlanID") => {
            ("the vlan plugin ignores it: its key is `vlanId`".into(), Some(format!("write `\"vlanId\": {value}`")))
        }
        ("bridge" | "sriov" | "ovs", "vlanId" | "vlan_id" | "vlanID") => {
            (format!("the {who} plugin ignores it: its key is `vlan`"), Some(format!("write `\"vlan\": {value}`")))
        }
        (_, "runtimeConfig" | "prevResult" | "cni.dev/valid-attachments") => {
            ("the runtime fills it in; what a definition says is dropped".into(), None)
        }
        ("a list of plugins", "ipam" | "capabilities" | "master") => {
            ("a list of plugins ignores it: it belongs to one of the plugins".into(), None)
        }
        _ => {
            let near = allowed.iter().map(|(k, _)| *k).find(|k| near(k, key));
            (
                format!("{who} has no such key and ignores it"),
                Some(near.map_or_else(|| "leave it out".into(), |k| format!("`{k}` may be meant"))),
            )
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether two keys differ by case, signs or one letter. (Go reads keys whatever their case, but
/// other readers of a definition don't.)
fn near(known: &str, given: &str) -> bool {
    let plain = |s: &str| s.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>();
    let (a, b) = (plain(known), plain(given));
    if a == b {
        return true;
    }
    let (long, short) = if a.len() >= b.len() { (&a, &b) } else { (&b, &a) };
    let same = long.iter().zip(short.iter()).take_while(|(x, y)| x == y).count();
    match long.len() - short.len() {
        0 => short.len() > 2 && long[same + 1..] == short[same + 1..],
        1 => short.len() > 2 && long[same + 1..] == short[same..],
        _ => false,
    }
}

/// What only one plugin is to be asked.
fn check_kind(one: &Map<String, Value>, plugin: &Plugin, at: &str, found: &mut Checked) {
    let is = |key: &str| one.get(key).and_then(Value::as_str);
    let one_of = |key: &str, words: &[&str], found: &mut Checked| {
        if let Some(given) = is(key).filter(|g| !g.is_empty() && !words.contains(g)) {
            let message = format!("{} has no {key} {given:?}", plugin.name);
            found.fault(join(at, key), message, Some(&format!("use {}", words.join(", "))));
        }
    };
    match plugin.name {
        "macvlan" => one_of("mode", &["bridge", "private", "vepa", "passthru"], found),
        "ipvlan" => one_of("mode", &["l2", "l3", "l3s"], found),
        "sriov" => {
            for key in ["spoofchk", "trust"] {
                one_of(key, &["on", "off"], found);
            }
            one_of("link_state", &["auto", "enable", "disable"], found);
            one_of("vlanProto", &["802.1q", "802.1Q", "802.1ad", "802.1AD"], found);
        }
        "host-device" if !plugin.keys.iter().any(|(k, _)| one.contains_key(*k)) => {
            let capable = one.get("capabilities").and_then(|c| c.get("deviceID")).and_then(Value::as_bool);
            if capable != Some(true) {
                found.fault(at, "it names no device", Some("add `device`, `hwaddr`, `kernelpath` or `pciBusID`"));
            }
        }
        "vrf" if is("vrfname").is_none() => found.fault(join(at, "vrfname"), "it is missing", None),
        _ => {}
    }
    if matches!(plugin.name, "macvlan" | "ipvlan" | "vlan") {
        match is("master") {
            Some(master) if pod_core::IfName::new(master).is_err() => {
                found.fault(join(at, "master"), format!("{master:?} is no interface name"), None);
            }
            Some(_) => {}
            None if plugin.name == "vlan" => {
                found.fault(join(at, "master"), "it is missing: the plugin has nothing to tag on", None);
            }
            None => found.note(
                join(at, "master"),
                "without it the plugin takes the interface of the default route, which may differ between nodes",
                None,
            ),
        }
    }
    check_vlan(one, plugin, at, found);
}

fn check_vlan(one: &Map<String, Value>, plugin: &Plugin, at: &str, found: &mut Checked) {
    let key = if plugin.name == "vlan" { "vlanId" } else { "vlan" };
    match (plugin.name, one.get(key).and_then(Value::as_u64)) {
        ("vlan", None) if !one.contains_key(key) => {
            found.fault(join(at, key), "it is missing: the plugin would send priority tags (VLAN 0)", None);
        }
        ("vlan", Some(0)) => {
            found.fault(join(at, key), "VLAN 0 is a priority tag, no VLAN", Some("use 1 to 4094"));
        }
        ("vlan" | "bridge" | "sriov" | "ovs", Some(id)) if id > 4094 => {
            let message = format!("VLAN {id} is out of range (IEEE 802.1Q reserves 4095)");
            found.fault(join(at, key), message, Some("use 1 to 4094"));
        }
        ("bridge", Some(id)) if id > 0 => {
            if one.contains_key("vlanTrunk") {
                found.fault(join(at, "vlanTrunk"), "the bridge plugin takes `vlan` or `vlanTrunk`, not both", None);
            }
            let message = "the frames leave a node tagged only if an interface of the node is a port of the bridge";
            found.note(join(at, "bridge"), message, Some("join the nodes' uplink to the bridge, with that VLAN"));
        }
        _ => {}
    }
    if plugin.name == "vlan" {
        let message =
            "a kernel has one tagged interface of an id on a parent: each node runs one pod of this definition";
        found.note(join(at, "type"), message, Some("for more, use macvlan over `MASTER.VID`"));
    }
}

fn check_capabilities(one: &Map<String, Value>, plugin: Option<&'static Plugin>, at: &str, found: &mut Checked) {
    let Some(asked) = one.get("capabilities").and_then(Value::as_object) else { return };
    let ipam = one.get("ipam").and_then(|i| i.get("type")).and_then(Value::as_str);
    let from_ipam = ipam.and_then(keys::ipam);
    for (name, on) in asked {
        let place = join(&join(at, "capabilities"), name);
        let Some(on) = on.as_bool() else {
            found.fault(place, "a capability is true or false", None);
            continue;
        };
        if !CAPABILITIES.contains(&name.as_str()) {
            let near = CAPABILITIES.iter().find(|c| near(c, name)).map(|c| format!("`{c}` may be meant"));
            found.fault(place, "no runtime passes on such a capability", near.as_deref());
            continue;
        }
        // Where a plugin is unknown, so is what it acts on.
        let (Some(plugin), true) = (plugin, ipam.is_none() || from_ipam.is_some()) else { continue };
        let acts = plugin.capabilities.contains(&name.as_str())
            || from_ipam.is_some_and(|i| i.capabilities.contains(&name.as_str()));
        if on && !acts {
            let message = format!("neither {} nor its address plugin acts on it", plugin.name);
            found.fault(place, message, Some("leave it out"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of the report that POD's predecessor was judged by.
    const FIRST: &str = r#"{
        "cniVersion": "0.3.1", "name": "test-vlan100", "type": "macvlan", "master": "eth0", "mode": "bridge",
        "vlan": 100,
        "ipam": {"type": "static", "addresses": [{"address": "10.100.0.0/24", "gateway": "10.100.0.1"}]},
        "dns": {"nameservers": ["8.8.8.8", "8.8.4.4"]}
    }"#;

    fn places(config: &str) -> Vec<String> {
        check(config).faults.into_iter().map(|f| f.at).collect()
    }

    #[test]
    fn the_first_documents_definition_has_four_faults() {
        let found = check(FIRST);
        let mut at: Vec<_> = found.faults.iter().map(|f| f.at.as_str()).collect();
        at.sort_unstable();
        assert_eq!(at, ["dns", "ipam.addresses", "ipam.addresses[0].address", "vlan"]);
        let error = found.into_result("test-vlan100").expect_err("faults").to_string();
        for words in ["4 faults", "nothing is tagged", "network's own address", "every pod", "resolv.conf", "--fix"] {
            assert!(error.contains(words), "{words} in {error}");
        }
    }

    #[test]
    fn a_sound_one_of_each_kind_has_no_fault() {
        let per_pod = r#""capabilities": {"ips": true}, "ipam": {"type": "static"}"#;
        for part in [
            r#""type": "vlan", "master": "eth1", "vlanId": 100"#,
            r#""type": "bridge", "bridge": "br1", "vlan": 100, "mtu": 1400"#,
            r#""type": "macvlan", "master": "eth1.100", "mode": "bridge""#,
            r#""type": "ipvlan", "master": "eth1.100", "mode": "l2""#,
            r#""type": "sriov", "vlan": 100, "vlanQoS": 2"#,
        ] {
            let config = format!(r#"{{"cniVersion": "1.0.0", "name": "n", {part}, {per_pod}}}"#);
            assert_eq!(check(&config).faults, [], "{config}");
        }
    }

    #[test]
    fn what_plugins_ignore_is_refused() {
        let base = r#""cniVersion": "1.0.0", "ipam": {}"#;
        for (part, at) in [
            (r#""type": "macvlan", "master": "a", "vlanId": 3"#, "vlanId"),
            (r#""type": "ipvlan", "master": "a", "vlan": 3, "ipam": {"type": "dhcp"}"#, "vlan"),
            (r#""type": "bridge", "vlanId": 3"#, "vlanId"),
            (r#""type": "macvlan", "master": "a", "mtus": 1400"#, "mtus"),
            (r#""type": "macvlan", "master": "a", "runtimeConfig": {}"#, "runtimeConfig"),
            (r#""type": "macvlan", "master": "a", "capabilities": {"ips": true}"#, "capabilities.ips"),
            (r#""type": "bridge", "capabilities": {"address": true}"#, "capabilities.address"),
            (r#""type": "macvlan", "master": "a", "args": {"x": 1}"#, "args.x"),
            (r#""type": "macvlan", "master": 7"#, "master"),
            (r#""type": "macvlan", "master": "a", "mtu": "1500""#, "mtu"),
            (r#""type": "macvlan", "master": "a", "mtu": 70000"#, "mtu"),
            (r#""type": "macvlan", "master": "a", "mode": "fast""#, "mode"),
            (r#""type": "macvlan", "master": "a/b""#, "master"),
            (r#""type": "bridge", "vlan": 4095"#, "vlan"),
            (r#""type": "tuning""#, "type"),
        ] {
            let config = format!("{{{base}, {part}}}");
            assert_eq!(places(&config), [at], "{config}");
        }
        assert_eq!(
            places(r#"{"cniVersion": "1.0.0", "type": "vlan", "ipam": {"type": "dhcp"}}"#),
            ["master", "vlanId"]
        );
        assert_eq!(places(r#"{"cniVersion": "1.0.0", "type": "macvlan", "master": "a"}"#), ["ipam"]);
        assert_eq!(places(r#"{"type": "bridge", "ipam": {}}"#), ["cniVersion"]);
        assert_eq!(places(r#"{"cniVersion": "2.0", "type": "bridge", "ipam": {}}"#), ["cniVersion"]);
        assert_eq!(places(r#"{"cniVersion": "1.0.0", "name": "a b", "type": "bridge", "ipam": {}}"#), ["name"]);
        assert_eq!(places(r#"{"cniVersion": "1.0.0", "ipam": {}}"#), ["type"]);
        for broken in ["", "[]", "{"] {
            assert_eq!(places(broken), [""], "{broken:?}");
        }
    }

    #[test]
    fn lists_are_checked_plugin_by_plugin() {
        let list = r#"{"cniVersion": "1.0.0", "name": "n", "plugins": [
            {"type": "macvlan", "master": "eth1", "vlan": 5, "ipam": {"type": "static"}, "capabilities": {"ips": true}},
            {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_ignore": "1"}, "mtus": 3}]}"#;
        assert_eq!(places(list), ["plugins[0].vlan", "plugins[1].mtus"]);
        assert_eq!(places(r#"{"cniVersion": "1.0.0", "plugins": []}"#), ["plugins"]);
        assert_eq!(
            places(r#"{"cniVersion": "1.0.0", "ipam": {}, "plugins": [{"type": "bridge", "ipam": {}}]}"#),
            ["ipam"]
        );
    }

    #[test]
    fn a_slip_is_recognised() {
        assert!(near("mtu", "MTU") && near("isGateway", "is_gateway") && near("master", "mster"));
        assert!(!near("master", "bridge") && !near("mac", "mtu"));
    }

    #[test]
    fn an_unknown_plugin_is_a_note() {
        let found = check(r#"{"cniVersion": "1.0.0", "type": "my-own", "what": 1}"#);
        assert!(found.ok() && found.notes.len() == 1, "{found:?}");
    }
}

//! From a definition that does not do what it says to one that does.

use super::check::{Fault, VERSIONS, check};
use super::definition::{Allocator, CNI_VERSION, Kind};
use super::keys;
use super::network::{NETWORK_SPEC, label};
use super::object::NetworkAttachmentDefinition;
use super::parse::{parse, split_tag};
use ipnet::IpNet;
use pod_core::{Error, NetworkName, NetworkSpec, Result};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// A definition that does what was meant, as far as POD can tell.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Fixed {
    /// The definition.
    pub definition: NetworkAttachmentDefinition,
    /// What was changed, in order.
    pub changes: Vec<String>,
    /// The DNS servers that belong into the pods' `dnsConfig`.
    pub dns: Vec<IpAddr>,
    /// The networks that the pods' addresses are meant to be from.
    pub subnets: Vec<IpNet>,
    /// The gateways in them, which no pod gets.
    pub gateways: Vec<IpAddr>,
    /// What is left for the user to decide.
    pub left: Vec<Fault>,
}

/// What a fix collects on its way.
#[derive(Default)]
struct Work {
    changes: Vec<String>,
    dns: Vec<IpAddr>,
    subnets: Vec<IpNet>,
    gateways: Vec<IpAddr>,
}

/// Makes a definition that does what was meant by this one: a VLAN id goes where the plugin reads it,
/// addresses become the pods' own, DNS servers are handed to the caller, and what no plugin reads goes.
/// One without faults comes back as it is.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](pod_core::ErrorKind::InvalidInput) when the configuration is no JSON
/// object.
pub fn fix(object: &NetworkAttachmentDefinition) -> Result<Fixed> {
    let whole: Value = serde_json::from_str(&object.spec.config).map_err(|e| {
        Error::invalid("the configuration is no JSON").with_context("definition", object.name()).with_source(e)
    })?;
    let Value::Object(mut whole) = whole else {
        return Err(Error::invalid("the configuration is no JSON object").with_context("definition", object.name()));
    };
    let mut work = Work::default();
    work.version(&mut whole);
    if whole.contains_key("plugins") {
        work.drop_unknown(&mut whole, keys::LIST, "a list of plugins");
        let plugins = whole.get_mut("plugins").and_then(Value::as_array_mut);
        for one in plugins.into_iter().flatten().filter_map(Value::as_object_mut) {
            work.plugin(one);
        }
    } else {
        work.plugin(&mut whole);
    }
    let mut definition = object.clone();
    if !work.changes.is_empty() {
        definition.spec.config = Value::Object(whole).to_string();
    }
    let left = check(&definition.spec.config).faults;
    let Work { changes, dns, subnets, gateways } = work;
    if left.is_empty() && !subnets.is_empty() {
        remember(&mut definition, &subnets, &gateways)?;
    }
    Ok(Fixed { definition, changes, dns, subnets, gateways, left })
}

/// Writes on a definition which network it is, so that POD hands its addresses out.
fn remember(definition: &mut NetworkAttachmentDefinition, subnets: &[IpNet], gateways: &[IpAddr]) -> Result<()> {
    let (Ok(parsed), Ok(name)) = (parse(definition), NetworkName::new(definition.name())) else { return Ok(()) };
    if parsed.allocator != Allocator::PerPod {
        return Ok(());
    }
    let mut spec = NetworkSpec::new(name);
    spec.vlan = parsed.kind.vlan();
    spec.uplink = match &parsed.kind {
        Kind::Vlan { master, .. } => Some(master.clone()),
        Kind::Macvlan { master, .. } | Kind::Ipvlan { master, .. } => master.clone(),
        Kind::Bridge { bridge, .. } => Some(bridge.clone()),
        Kind::Sriov { .. } => None,
    };
    spec.mtu = parsed.mtu.unwrap_or(spec.mtu);
    spec.subnets = subnets.to_vec();
    spec.reserved = gateways.iter().copied().filter(|g| subnets.iter().any(|n| n.contains(g))).collect();
    spec.validate()?;
    let text = serde_json::to_string(&spec).map_err(|e| Error::unexpected("a network's JSON").with_source(e))?;
    definition.metadata.annotations.get_or_insert_default().insert(NETWORK_SPEC.into(), text);
    label(definition, &spec);
    Ok(())
}

impl Work {
    fn did(&mut self, what: impl Into<String>) {
        self.changes.push(what.into());
    }

    fn version(&mut self, whole: &mut Map<String, Value>) {
        let good = whole.get("cniVersion").and_then(Value::as_str).is_some_and(|v| VERSIONS.contains(&v));
        if !good {
            whole.insert("cniVersion".into(), json!(CNI_VERSION));
            self.did(format!("`cniVersion` is {CNI_VERSION}"));
        }
    }

    fn plugin(&mut self, one: &mut Map<String, Value>) {
        let Some(kind) = one.get("type").and_then(Value::as_str).map(str::to_owned) else { return };
        self.servers(one, "dns");
        self.tag(one, &kind);
        if let Some(plugin) = keys::plugin(&kind) {
            let allowed: Vec<keys::Key> = plugin.keys.iter().chain(keys::COMMON).copied().collect();
            self.drop_unknown(one, &allowed, &kind);
            self.numbers(one, &allowed);
            if plugin.makes && !plugin.needs_ipam && !one.contains_key("ipam") {
                one.insert("ipam".into(), json!({}));
                self.did("`ipam` is empty, for an interface without addresses");
            }
        }
        self.addresses(one);
    }

    /// Moves a VLAN id to where the plugin reads it.
    fn tag(&mut self, one: &mut Map<String, Value>, kind: &str) {
        let wrong: &[&str] = match kind {
            "macvlan" | "ipvlan" => &["vlan", "vlanId", "vlan_id", "vlanID"],
            "vlan" => &["vlan", "vlan_id", "vlanID"],
            "bridge" | "sriov" | "ovs" => &["vlanId", "vlan_id", "vlanID"],
            _ => return,
        };
        for key in wrong {
            let Some(value) = one.get(*key).cloned() else { continue };
            let id = value.as_u64().or_else(|| value.as_str().and_then(|s| s.parse().ok()));
            let Some(id) = id.filter(|id| *id <= 4094) else { continue };
            match kind {
                "macvlan" | "ipvlan" => {
                    let Some(master) = one.get("master").and_then(Value::as_str).map(str::to_owned) else {
                        // Which parent is meant can't be told: the fault stays.
                        continue;
                    };
                    one.remove(*key);
                    if id == 0 {
                        self.did(format!("`{key}` 0 is gone: it means untagged"));
                    } else if split_tag(&master).1.map(|t| u64::from(t.get())) == Some(id) {
                        self.did(format!("`{key}` is gone: `{master}` tags already"));
                    } else {
                        let tagged = format!("{master}.{id}");
                        self.did(format!(
                            "`master` is `{tagged}`, which every node must have \
                             (`ip link add link {master} name {tagged} type vlan id {id}`), instead of `{key}`"
                        ));
                        one.insert("master".into(), json!(tagged));
                    }
                }
                _ => {
                    let right = if kind == "vlan" { "vlanId" } else { "vlan" };
                    one.remove(*key);
                    if !one.contains_key(right) {
                        one.insert(right.into(), json!(id));
                    }
                    self.did(format!("`{key}` is `{right}`"));
                }
            }
        }
    }

    fn drop_unknown(&mut self, one: &mut Map<String, Value>, allowed: &[keys::Key], who: &str) {
        let unknown: Vec<String> = one.keys().filter(|k| !allowed.iter().any(|(a, _)| a == k)).cloned().collect();
        for key in unknown {
            // A VLAN id that could not be placed must not vanish.
            if key.to_ascii_lowercase().starts_with("vlan") {
                continue;
            }
            let meant = allowed.iter().map(|(a, _)| *a).find(|a| a.eq_ignore_ascii_case(&key) && !one.contains_key(*a));
            let Some(value) = one.remove(&key) else { continue };
            match meant {
                Some(meant) => {
                    one.insert(meant.into(), value);
                    self.did(format!("`{key}` is `{meant}`"));
                }
                None => self.did(format!("`{key}` is gone: {who} ignores it")),
            }
        }
    }

    /// Numbers that were written as texts.
    fn numbers(&mut self, one: &mut Map<String, Value>, allowed: &[keys::Key]) {
        for (key, shape) in allowed {
            if let (keys::Shape::Whole(..), Some(Value::String(text))) = (shape, one.get(*key))
                && let Ok(number) = text.parse::<u64>()
            {
                one.insert((*key).to_owned(), json!(number));
                self.did(format!("`{key}` is a number"));
            }
        }
    }

    /// Takes DNS servers out.
    fn servers(&mut self, from: &mut Map<String, Value>, key: &str) {
        let Some(dns) = from.remove(key) else { return };
        let named = dns.get("nameservers").and_then(Value::as_array).into_iter().flatten();
        let servers: Vec<IpAddr> = named.filter_map(Value::as_str).filter_map(|s| s.parse().ok()).collect();
        let place = "the DNS servers belong into the pods' `dnsConfig`";
        if dns.as_object().is_some_and(|d| !d.is_empty()) {
            self.did(format!("`{key}` is gone: no runtime acts on it; {place}"));
        } else {
            self.did(format!("an empty `{key}` is gone"));
        }
        self.dns.extend(servers.into_iter().filter(|s| !self.dns.contains(s)).collect::<Vec<_>>());
    }

    fn addresses(&mut self, one: &mut Map<String, Value>) {
        let Some(mut ipam) = one.get("ipam").and_then(Value::as_object).cloned() else { return };
        self.servers(&mut ipam, "dns");
        let per_pod = one.get("capabilities").and_then(|c| c.get("ips")) == Some(&Value::Bool(true));
        if ipam.get("type").and_then(Value::as_str) == Some("static") {
            let addresses = ipam.get("addresses").and_then(Value::as_array).cloned().unwrap_or_default();
            for address in &addresses {
                let text = address.get("address").and_then(Value::as_str);
                if let Some(net) = text.and_then(|t| t.parse::<IpNet>().ok()) {
                    self.subnets.push(net.trunc());
                }
                let gateway = address.get("gateway").and_then(Value::as_str);
                self.gateways.extend(gateway.and_then(|g| g.parse::<IpAddr>().ok()));
            }
            if !per_pod {
                ipam.remove("addresses");
                let asked = one.entry("capabilities").or_insert_with(|| json!({}));
                if let Some(asked) = asked.as_object_mut() {
                    asked.insert("ips".into(), json!(true));
                }
                let within: Vec<_> = self.subnets.iter().map(ToString::to_string).collect();
                let within = if within.is_empty() { String::new() } else { format!(" within {}", within.join(", ")) };
                self.did(format!(
                    "each pod has an address of its own{within}: POD hands them out, or `ips` names them"
                ));
                for gateway in self.gateways.clone() {
                    self.did(format!("the gateway {gateway} is no pod's; a route is needed for pods to use it"));
                }
            }
        }
        one.insert("ipam".into(), Value::Object(ipam));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(config: &str) -> Fixed {
        fix(&NetworkAttachmentDefinition::new("test-vlan100", config)).expect("fixed")
    }

    #[test]
    fn the_first_documents_definition_does_what_was_meant() {
        let fixed = fixed(
            r#"{"cniVersion": "0.3.1", "name": "test-vlan100", "type": "macvlan", "master": "eth0", "mode": "bridge",
                "vlan": 100,
                "ipam": {"type": "static", "addresses": [{"address": "10.100.0.0/24", "gateway": "10.100.0.1"}]},
                "dns": {"nameservers": ["8.8.8.8", "8.8.4.4"]}}"#,
        );
        assert_eq!(fixed.left, []);
        let config: Value = serde_json::from_str(&fixed.definition.spec.config).expect("JSON");
        assert_eq!(
            config,
            json!({
                "cniVersion": "0.3.1", "name": "test-vlan100", "type": "macvlan", "master": "eth0.100",
                "mode": "bridge", "capabilities": {"ips": true}, "ipam": {"type": "static"}
            })
        );
        let ips = |list: &[&str]| list.iter().map(|s| s.parse().expect("ip")).collect::<Vec<IpAddr>>();
        assert_eq!(fixed.dns, ips(&["8.8.8.8", "8.8.4.4"]));
        assert_eq!(fixed.gateways, ips(&["10.100.0.1"]));
        assert_eq!(fixed.subnets.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.100.0.0/24"]);
        let network = crate::nad::network::network_of(&fixed.definition).expect("JSON").expect("a network");
        assert_eq!((network.reserved.len(), network.vlan.map(pod_core::VlanId::get)), (1, Some(100)));
        let parsed = parse(&fixed.definition).expect("parsed");
        assert_eq!(parsed.kind.vlan().map(pod_core::VlanId::get), Some(100));
        assert!(fixed.changes.iter().any(|c| c.contains("ip link add link eth0 name eth0.100 type vlan id 100")));
    }

    #[test]
    fn a_sound_one_is_left_alone() {
        let config = r#"{"cniVersion": "1.0.0", "type": "macvlan", "master": "eth1.5", "ipam": {"type": "dhcp"}}"#;
        let fixed = fixed(config);
        assert_eq!((fixed.changes.len(), fixed.left.len()), (0, 0));
        assert_eq!(fixed.definition.spec.config, config);
    }

    #[test]
    fn slips_are_put_right() {
        for (config, key, value) in [
            (r#"{"type": "vlan", "master": "e", "vlan": 5, "ipam": {"type": "dhcp"}}"#, "vlanId", json!(5)),
            (r#"{"type": "bridge", "vlanId": "5"}"#, "vlan", json!(5)),
            (r#"{"type": "macvlan", "master": "e", "MTU": "1400"}"#, "mtu", json!(1400)),
            (r#"{"type": "macvlan", "master": "e.5", "vlan": 5}"#, "master", json!("e.5")),
            (r#"{"type": "macvlan", "master": "e", "vlan": 0}"#, "master", json!("e")),
            (r#"{"cniVersion": "7", "type": "bridge"}"#, "cniVersion", json!("1.0.0")),
        ] {
            let fixed = fixed(config);
            let after: Value = serde_json::from_str(&fixed.definition.spec.config).expect("JSON");
            assert_eq!(after[key], value, "{config}");
            assert_eq!(fixed.left, [], "{config}");
        }
        let list = fixed(
            r#"{"cniVersion": "1.0.0", "name": "n", "plugins": [
                {"type": "macvlan", "master": "eth1", "vlan": 9, "ipam": {"type": "dhcp"}}, {"type": "tuning", "x": 1}]}"#,
        );
        let after: Value = serde_json::from_str(&list.definition.spec.config).expect("JSON");
        assert_eq!(
            after["plugins"],
            json!([
            {"type": "macvlan", "master": "eth1.9", "ipam": {"type": "dhcp"}}, {"type": "tuning"}])
        );
        assert_eq!(list.left, []);
    }

    #[test]
    fn what_can_not_be_told_is_left_to_the_user() {
        let fixed = fixed(r#"{"cniVersion": "1.0.0", "type": "macvlan", "vlan": 5, "ipam": {"type": "dhcp"}}"#);
        assert_eq!(fixed.left.iter().map(|f| f.at.as_str()).collect::<Vec<_>>(), ["vlan"]);
        assert!(fix(&NetworkAttachmentDefinition::new("n", "[]")).is_err());
    }
}

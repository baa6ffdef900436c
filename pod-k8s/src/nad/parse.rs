//! What a CNI configuration that is there is made of.

use super::definition::{Allocator, Definition, FixedAddress, IpvlanMode, Kind, MacvlanMode};
use super::object::{NetworkAttachmentDefinition, RESOURCE_NAME};
use ipnet::IpNet;
use pod_core::{Error, IfName, Result, Route, VlanId};
use serde_json::Value;
use std::net::IpAddr;

/// Reads a definition into its parts. A list of plugins is read by its first one, which makes the
/// interface.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](pod_core::ErrorKind::InvalidInput) for what is no JSON, names a plugin
/// that POD does not know, or holds a part of the wrong type. What plugins would ignore is not looked
/// at here: see [`check`](super::check()).
pub fn parse(object: &NetworkAttachmentDefinition) -> Result<Definition> {
    let name = object.name();
    let about = |e: Error| e.with_context("definition", name.to_owned());
    let whole: Value = serde_json::from_str(&object.spec.config)
        .map_err(|e| about(Error::invalid("the configuration is no JSON").with_source(e)))?;
    let one = whole.get("plugins").and_then(|p| p.get(0)).unwrap_or(&whole);
    parts(name, one, object.annotation(RESOURCE_NAME)).map_err(about)
}

/// A name that may hold a VLAN id: `eth1.100` is `eth1` with 100.
pub(super) fn split_tag(name: &str) -> (&str, Option<VlanId>) {
    let tag = name.rsplit_once('.').and_then(|(parent, id)| {
        let id = id.parse::<u16>().ok().and_then(|id| VlanId::try_from(id).ok())?;
        (!parent.is_empty()).then_some((parent, id))
    });
    tag.map_or((name, None), |(parent, id)| (parent, Some(id)))
}

fn parts(name: &str, one: &Value, resource: Option<&str>) -> Result<Definition> {
    let text = |key: &str| one.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
    let id = |key: &str| -> Result<Option<VlanId>> {
        match one.get(key) {
            None => Ok(None),
            Some(v) => {
                let id = v.as_u64().and_then(|n| u16::try_from(n).ok());
                let id = id.ok_or_else(|| Error::invalid(format!("`{key}` is no VLAN id: {v}")))?;
                VlanId::from_tag(id)
            }
        }
    };
    let master = || -> Result<(Option<IfName>, Option<VlanId>)> {
        let Some(master) = text("master") else { return Ok((None, None)) };
        let (parent, tag) = split_tag(master);
        Ok((Some(IfName::new(parent)?), tag))
    };
    let kind = match text("type") {
        Some("vlan") => Kind::Vlan {
            master: IfName::new(text("master").ok_or_else(|| Error::invalid("`master` is missing"))?)?,
            id: id("vlanId")?.ok_or_else(|| Error::invalid("`vlanId` is missing"))?,
        },
        // cni0 is the plugin's own choice
        Some("bridge") => Kind::Bridge { bridge: IfName::new(text("bridge").unwrap_or("cni0"))?, vlan: id("vlan")? },
        Some("macvlan") => {
            let (master, vlan) = master()?;
            let mode = match text("mode") {
                None | Some("bridge") => MacvlanMode::Bridge,
                Some("private") => MacvlanMode::Private,
                Some("vepa") => MacvlanMode::Vepa,
                Some("passthru") => MacvlanMode::Passthru,
                Some(other) => return Err(Error::invalid(format!("macvlan has no mode {other:?}"))),
            };
            Kind::Macvlan { master, vlan, mode }
        }
        Some("ipvlan") => {
            let (master, vlan) = master()?;
            let mode = match text("mode") {
                None | Some("l2") => IpvlanMode::L2,
                Some("l3") => IpvlanMode::L3,
                Some("l3s") => IpvlanMode::L3s,
                Some(other) => return Err(Error::invalid(format!("ipvlan has no mode {other:?}"))),
            };
            Kind::Ipvlan { master, vlan, mode }
        }
        Some("sriov") => Kind::Sriov { resource: resource.unwrap_or_default().to_owned(), vlan: id("vlan")? },
        Some(other) => {
            return Err(Error::invalid(format!("POD does not know the plugin {other:?}")));
        }
        None => return Err(Error::invalid("it names no plugin")),
    };
    let ipam = one.get("ipam").unwrap_or(&Value::Null);
    let mtu = one.get("mtu").and_then(Value::as_u64).and_then(|m| u32::try_from(m).ok()).filter(|m| *m > 0);
    Ok(Definition { name: name.to_owned(), kind, allocator: allocator(ipam, one)?, routes: routes(ipam)?, mtu })
}

fn ip(from: &Value, key: &str) -> Result<Option<IpAddr>> {
    let Some(value) = from.get(key) else { return Ok(None) };
    let parsed = value.as_str().and_then(|s| s.parse().ok());
    parsed.map(Some).ok_or_else(|| Error::invalid(format!("`{key}` is no address: {value}")))
}

fn net(value: &Value, key: &str) -> Result<IpNet> {
    let text = value.get(key).and_then(Value::as_str);
    text.and_then(|s| s.parse().ok()).ok_or_else(|| Error::invalid(format!("`{key}` is missing or no network")))
}

fn allocator(ipam: &Value, one: &Value) -> Result<Allocator> {
    let kind = ipam.get("type").and_then(Value::as_str).unwrap_or_default();
    Ok(match kind {
        "" => Allocator::None,
        "dhcp" => Allocator::Dhcp,
        "static" => {
            let per_pod = one.get("capabilities").and_then(|c| c.get("ips")) == Some(&Value::Bool(true));
            let mut fixed = Vec::new();
            for a in ipam.get("addresses").and_then(Value::as_array).into_iter().flatten() {
                fixed.push(FixedAddress { address: net(a, "address")?, gateway: ip(a, "gateway")? });
            }
            if per_pod && fixed.is_empty() { Allocator::PerPod } else { Allocator::Fixed(fixed) }
        }
        "host-local" => {
            let range = ipam.get("ranges").and_then(|r| r.get(0)).and_then(|s| s.get(0)).unwrap_or(ipam);
            Allocator::HostLocal {
                subnet: net(range, "subnet")?,
                first: ip(range, "rangeStart")?,
                last: ip(range, "rangeEnd")?,
                gateway: ip(range, "gateway")?,
            }
        }
        "whereabouts" => {
            let mut exclude = Vec::new();
            for e in ipam.get("exclude").and_then(Value::as_array).into_iter().flatten() {
                let parsed = e.as_str().and_then(|s| s.parse().ok());
                exclude.push(parsed.ok_or_else(|| Error::invalid(format!("`exclude` holds no network: {e}")))?);
            }
            Allocator::Whereabouts { range: net(ipam, "range")?, exclude, gateway: ip(ipam, "gateway")? }
        }
        other => return Err(Error::invalid(format!("POD does not know the address plugin {other:?}"))),
    })
}

fn routes(ipam: &Value) -> Result<Vec<Route>> {
    let all = ipam.get("routes").and_then(Value::as_array).into_iter().flatten();
    all.map(|r| Ok(Route { to: net(r, "dst")?, via: ip(r, "gw")? })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nad::definition::Definition;

    #[test]
    fn what_is_written_is_read_back() {
        let interface = |n: &str| IfName::new(n).expect("name");
        let vlan = VlanId::try_from(100).ok();
        let range: IpNet = "10.1.0.0/24".parse().expect("net");
        let kinds = [
            Kind::Vlan { master: interface("eth1"), id: VlanId::try_from(100).expect("id") },
            Kind::Bridge { bridge: interface("br1"), vlan },
            Kind::Bridge { bridge: interface("br1"), vlan: None },
            Kind::Macvlan { master: Some(interface("eth1")), vlan, mode: MacvlanMode::Vepa },
            Kind::Macvlan { master: None, vlan: None, mode: MacvlanMode::Bridge },
            Kind::Ipvlan { master: Some(interface("eth1")), vlan, mode: IpvlanMode::L3 },
            Kind::Sriov { resource: "intel.com/net".into(), vlan },
        ];
        let allocators = [
            Allocator::PerPod,
            Allocator::Whereabouts { range, exclude: vec!["10.1.0.1/32".parse().expect("net")], gateway: None },
            Allocator::HostLocal { subnet: range, first: "10.1.0.9".parse().ok(), last: None, gateway: None },
        ];
        for kind in kinds {
            for allocator in &allocators {
                let mut definition = Definition::new("red", kind.clone()).with_allocator(allocator.clone());
                definition.routes = vec![Route { to: "10.9.0.0/16".parse().expect("net"), via: None }];
                if !matches!(kind, Kind::Sriov { .. }) {
                    definition.mtu = Some(1400);
                }
                let read = parse(&definition.object().expect("object")).expect("parsed");
                assert_eq!(read, definition);
            }
        }
    }

    #[test]
    fn tags_are_told_from_dots() {
        assert_eq!(split_tag("eth1.100"), ("eth1", VlanId::try_from(100).ok()));
        assert_eq!(split_tag("eth1"), ("eth1", None));
        assert_eq!(split_tag("br.lan"), ("br.lan", None));
        assert_eq!(split_tag("eth1.5000"), ("eth1.5000", None));
    }

    #[test]
    fn a_list_is_read_by_its_first_plugin() {
        let config = r#"{"cniVersion": "1.0.0", "name": "n", "plugins": [
            {"type": "macvlan", "master": "eth1.5", "ipam": {"type": "dhcp"}}, {"type": "tuning"}]}"#;
        let read = parse(&NetworkAttachmentDefinition::new("n", config)).expect("parsed");
        assert_eq!(read.kind.vlan().map(VlanId::get), Some(5));
        assert_eq!(read.allocator, Allocator::Dhcp);
        for bad in [
            "",
            "{}",
            r#"{"type": "own"}"#,
            r#"{"type": "vlan", "master": "e"}"#,
            r#"{"type": "bridge", "vlan": 5000}"#,
        ] {
            assert!(parse(&NetworkAttachmentDefinition::new("n", bad)).is_err(), "{bad}");
        }
    }
}

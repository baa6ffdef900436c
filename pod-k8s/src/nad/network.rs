//! From a network as POD has it to the definition that is it, and back.

use super::definition::{Allocator, Definition, IpvlanMode, Kind, MacvlanMode};
use super::object::NetworkAttachmentDefinition;
use pod_core::{Error, ErrorKind, IfName, NetworkName, NetworkSpec, Result, Route};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The label of a definition with the network it belongs to.
pub(crate) const LABEL_NETWORK: &str = "pod.network";
/// The annotation of a definition with the network's specification, JSON.
pub(crate) const NETWORK_SPEC: &str = "pod.network-spec";
/// The annotation of a definition with the plugin that it was made for, as [`Plugin`] prints it.
pub(crate) const NETWORK_PLUGIN: &str = "pod.network-plugin";
/// The annotation of a definition with the addresses that are held, JSON.
pub(crate) const ADDRESSES: &str = "pod.addresses";

/// Which plugin makes the attachments of networks with an uplink. Option `plugin` of the address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Plugin {
    /// macvlan over `UPLINK.VID`, or over the uplink itself for an untagged network. Every node has to
    /// have `UPLINK.VID`.
    #[default]
    Macvlan,
    /// ipvlan over the same: pods share the uplink's MAC address.
    Ipvlan,
    /// vlan: tags by itself on the uplink, and runs one pod of a network on each node.
    Vlan,
    /// A VLAN of the bridge whose name the network's `uplink` is.
    Bridge,
    /// A virtual function of this resource.
    Sriov(String),
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Macvlan => f.write_str("macvlan"),
            Self::Ipvlan => f.write_str("ipvlan"),
            Self::Vlan => f.write_str("vlan"),
            Self::Bridge => f.write_str("bridge"),
            Self::Sriov(resource) => write!(f, "sriov:{resource}"),
        }
    }
}

impl FromStr for Plugin {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "macvlan" => Ok(Self::Macvlan),
            "ipvlan" => Ok(Self::Ipvlan),
            "vlan" => Ok(Self::Vlan),
            "bridge" => Ok(Self::Bridge),
            _ => match s.strip_prefix("sriov:").filter(|r| !r.is_empty()) {
                Some(resource) => Ok(Self::Sriov(resource.to_owned())),
                None => Err(Error::new(ErrorKind::ConfigInvalid, "no such plugin")
                    .with_context("plugin", s)
                    .with_hint("macvlan, ipvlan, vlan, bridge, or sriov:RESOURCE")),
            },
        }
    }
}

fn hash(parts: &[&str], length: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        text.push_str(&format!("{byte:02x}"));
        if text.len() >= length {
            break;
        }
    }
    text.truncate(length);
    text
}

/// The name of a network's definition. Multus takes RFC 1123 labels; a name that is none becomes one,
/// with eight digits of its hash, so that two networks never meet in one definition.
pub(crate) fn object_name(network: &NetworkName) -> String {
    let name = network.as_str();
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain {
        return name.to_owned();
    }
    let clean = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let clean: String = name.chars().map(clean).take(54).collect();
    format!("{clean}-{}", hash(&[name], 8))
}

/// The name of the definition for attachments with an MTU or routes of their own.
pub(crate) fn variant_name(network: &NetworkName, mtu: u32, routes: &[Route]) -> String {
    let routes: Vec<_> =
        routes.iter().map(|r| format!("{} {}", r.to, r.via.map_or_else(String::new, |v| v.to_string()))).collect();
    let mut base = object_name(network);
    base.truncate(54);
    let base = base.trim_end_matches('-');
    format!("{base}-{}", hash(&[network.as_str(), &mtu.to_string(), &routes.join("\n")], 8))
}

/// The bridge, on each node, of a network without an uplink.
pub(crate) fn bridge_name(namespace: &str, network: &NetworkName) -> Result<IfName> {
    IfName::new(format!("pod-{}", hash(&[namespace, network.as_str()], 10)))
}

/// What makes the attachments of a network.
pub(crate) fn kind_of(spec: &NetworkSpec, namespace: &str, plugin: &Plugin) -> Result<Kind> {
    let Some(uplink) = &spec.uplink else {
        // A bridge of its own on each node needs no tag to be apart from others.
        return Ok(Kind::Bridge { bridge: bridge_name(namespace, &spec.name)?, vlan: None });
    };
    Ok(match plugin {
        Plugin::Macvlan => {
            Kind::Macvlan { master: Some(uplink.clone()), vlan: spec.vlan, mode: MacvlanMode::default() }
        }
        Plugin::Ipvlan => Kind::Ipvlan { master: Some(uplink.clone()), vlan: spec.vlan, mode: IpvlanMode::default() },
        Plugin::Vlan => match spec.vlan {
            Some(id) => Kind::Vlan { master: uplink.clone(), id },
            None => {
                return Err(Error::invalid("the vlan plugin makes no untagged network")
                    .with_context("network", spec.name.as_str())
                    .with_hint("give the network a VLAN id, or use `?plugin=macvlan`"));
            }
        },
        Plugin::Bridge => Kind::Bridge { bridge: uplink.clone(), vlan: spec.vlan },
        Plugin::Sriov(resource) => Kind::Sriov { resource: resource.clone(), vlan: spec.vlan },
    })
}

/// The definition of a network, for attachments with this MTU and these routes.
pub(crate) fn definition_of(
    spec: &NetworkSpec,
    namespace: &str,
    plugin: &Plugin,
    mtu: u32,
    routes: &[Route],
) -> Result<Definition> {
    let name = if mtu == spec.mtu && routes.is_empty() {
        object_name(&spec.name)
    } else {
        variant_name(&spec.name, mtu, routes)
    };
    let kind = kind_of(spec, namespace, plugin)?;
    let allocator = if spec.subnets.is_empty() { Allocator::None } else { Allocator::PerPod };
    let sriov = matches!(kind, Kind::Sriov { .. });
    let mut definition = Definition::new(name, kind).with_allocator(allocator);
    if !(sriov && mtu == pod_core::DEFAULT_MTU) {
        definition.mtu = Some(mtu);
    }
    definition.routes = routes.to_vec();
    Ok(definition)
}

/// Checks a network, and gives the object to make for it.
pub(crate) fn object_of(spec: &NetworkSpec, namespace: &str, plugin: &Plugin) -> Result<NetworkAttachmentDefinition> {
    spec.validate()?;
    let definition = definition_of(spec, namespace, plugin, spec.mtu, &[])
        .and_then(|d| d.object())
        .map_err(|e| e.with_context("network", spec.name.as_str()))?;
    let mut object = definition;
    let text = serde_json::to_string(spec).map_err(|e| Error::unexpected("a network's JSON").with_source(e))?;
    let meta = &mut object.metadata;
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(NETWORK_SPEC.into(), text);
    annotations.insert(NETWORK_PLUGIN.into(), plugin.to_string());
    label(&mut object, spec);
    Ok(object)
}

/// Labels a definition with its network.
pub(crate) fn label(object: &mut NetworkAttachmentDefinition, spec: &NetworkSpec) {
    let labels = object.metadata.labels.get_or_insert_default();
    labels.insert("app.kubernetes.io/managed-by".into(), "pod".into());
    labels.insert(LABEL_NETWORK.into(), spec.name.as_str().into());
    if let Some(topology) = spec.labels.get(pod_core::LABEL_TOPOLOGY) {
        labels.insert(pod_core::LABEL_TOPOLOGY.into(), topology.clone());
    }
}

/// The plugin that a network was made for.
pub(crate) fn plugin_of(object: &NetworkAttachmentDefinition) -> Result<Plugin> {
    match object.annotation(NETWORK_PLUGIN) {
        Some(text) => text.parse().map_err(|e: Error| e.with_context("definition", object.name())),
        None => Ok(match super::parse(object)?.kind {
            Kind::Vlan { .. } => Plugin::Vlan,
            Kind::Bridge { .. } => Plugin::Bridge,
            Kind::Macvlan { .. } => Plugin::Macvlan,
            Kind::Ipvlan { .. } => Plugin::Ipvlan,
            Kind::Sriov { resource, .. } => Plugin::Sriov(resource),
        }),
    }
}

/// The network that a definition is; `None` for one that POD did not make, and for variants.
pub(crate) fn network_of(object: &NetworkAttachmentDefinition) -> Result<Option<NetworkSpec>> {
    let Some(text) = object.annotation(NETWORK_SPEC) else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|e| {
        Error::new(ErrorKind::Integrity, "a definition's annotation holds no network")
            .with_context("definition", object.name())
            .with_context("annotation", NETWORK_SPEC)
            .with_source(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nad::check;

    fn name(s: &str) -> NetworkName {
        NetworkName::new(s).expect("name")
    }

    fn spec() -> NetworkSpec {
        NetworkSpec::new(name("red")).with_subnet("10.1.0.0/24".parse().expect("net"))
    }

    #[test]
    fn names_become_labels_each_its_own() {
        assert_eq!(object_name(&name("red-1")), "red-1");
        let names = ["Red", "red", "RED", "a.b", "a-b", "a_b"];
        let found: std::collections::BTreeSet<_> = names.iter().map(|n| object_name(&name(n))).collect();
        assert_eq!(found.len(), names.len(), "{found:?}");
        let long = name(&"X".repeat(63));
        assert!(object_name(&long).len() <= 63 && variant_name(&long, 1400, &[]).len() <= 63);
        assert_ne!(variant_name(&name("red"), 1400, &[]), variant_name(&name("red"), 1300, &[]));
    }

    #[test]
    fn a_network_without_an_uplink_has_a_bridge_of_its_own() {
        let kind = |ns: &str, n: &str| {
            let mut spec = spec();
            spec.name = name(n);
            kind_of(&spec, ns, &Plugin::Macvlan).expect("kind")
        };
        assert!(matches!(kind("a", "red"), Kind::Bridge { vlan: None, .. }));
        assert_ne!(kind("a", "red"), kind("b", "red"));
        assert_ne!(kind("a", "red"), kind("a", "blue"));
    }

    #[test]
    fn an_uplink_carries_the_tag() {
        let spec = spec().with_uplink(IfName::new("net1").expect("name")).with_vlan(100.try_into().expect("id"));
        for (plugin, text) in [
            ("macvlan", r#""master":"net1.100""#),
            ("ipvlan", r#""master":"net1.100""#),
            ("vlan", r#""vlanId":100"#),
            ("bridge", r#""vlan":100"#),
            ("sriov:intel.com/net", r#""vlan":100"#),
        ] {
            let plugin: Plugin = plugin.parse().expect("plugin");
            assert_eq!(plugin.to_string().parse::<Plugin>().expect("plugin"), plugin);
            let object = object_of(&spec, "default", &plugin).expect("object");
            assert!(object.spec.config.contains(text), "{plugin}: {}", object.spec.config);
            assert!(check(&object.spec.config).ok());
            assert_eq!(network_of(&object).expect("spec"), Some(spec.clone()));
        }
        assert!("fabric".parse::<Plugin>().is_err());
    }

    #[test]
    fn what_no_definition_does_is_refused() {
        let untagged = spec().with_uplink(IfName::new("net1").expect("name"));
        let error = object_of(&untagged, "default", &Plugin::Vlan).expect_err("refused").to_string();
        assert!(error.contains("untagged"), "{error}");
        assert!(object_of(&untagged, "default", &Plugin::Macvlan).is_ok());
    }
}

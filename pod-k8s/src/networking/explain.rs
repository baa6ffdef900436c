//! Why a pod's sandbox could not be wired, in words that name the way out.

use super::record::records_of;
use crate::cluster::Cluster;
use crate::nad::{Definition, Definitions, Kind, parse};
use k8s_openapi::api::core::v1::Pod;
use pod_core::{Error, ErrorKind};

/// Adds to an error of a start what the plugin left out: it says `Link not found`, and not which.
pub(crate) async fn explain(cluster: &Cluster, pod: &Pod, error: Error) -> Error {
    let said = error.context().iter().find(|(k, _)| *k == "message").map(|(_, v)| v.clone()).unwrap_or_default();
    if !said.contains("network") {
        return error;
    }
    let Ok(records) = records_of(pod) else { return error };
    for record in records {
        if !said.contains(&format!("network \"{}\"", record.definition))
            && !said.contains(&format!(":{}]", record.definition))
        {
            continue;
        }
        // Without the definition there is no more to say than the plugin did.
        let object = Definitions::new(cluster.clone()).get(&record.definition).await.ok();
        if let Some(definition) = object.as_ref().and_then(|o| parse(o).ok())
            && let Some((message, hint)) = reason(&said, &definition)
        {
            let name = pod.metadata.name.clone().unwrap_or_default();
            return Error::new(ErrorKind::Unsupported, message)
                .with_context("pod", name)
                .with_context("network", record.attachment.network.as_str())
                .with_context("plugin", definition.kind.plugin())
                .with_hint(hint)
                .with_source(error);
        }
    }
    error
}

/// What a plugin's words mean for a definition, and what helps.
fn reason(said: &str, definition: &Definition) -> Option<(String, String)> {
    let lower = said.to_ascii_lowercase();
    let plugin = definition.kind.plugin();
    let parent = definition.kind.parent().ok().flatten();
    if lower.contains("link not found") || lower.contains("failed to lookup master") {
        let parent = parent?;
        let message = format!("the pod's node has no interface {parent}, which the network is on");
        let hint = match (definition.kind.vlan(), &definition.kind) {
            (Some(id), Kind::Macvlan { master: Some(master), .. } | Kind::Ipvlan { master: Some(master), .. }) => {
                format!(
                    "make it on every node, whose kernel needs 802.1Q (CONFIG_VLAN_8021Q): \
                 `ip link add link {master} name {parent} type vlan id {id} && ip link set {parent} up`"
                )
            }
            _ => "name an interface that every node has as the network's uplink".to_owned(),
        };
        return Some((message, hint));
    }
    if lower.contains("operation not supported") || lower.contains("unknown device type") {
        let option = match &definition.kind {
            Kind::Vlan { .. } => "CONFIG_VLAN_8021Q",
            Kind::Macvlan { .. } => "CONFIG_MACVLAN",
            Kind::Ipvlan { .. } => "CONFIG_IPVLAN",
            Kind::Bridge { vlan: Some(_), .. } => "CONFIG_BRIDGE_VLAN_FILTERING",
            _ => return None,
        };
        let message = format!("the kernel of the pod's node can't do what {plugin} needs");
        return Some((message, format!("use nodes whose kernel has {option}, or another `?plugin=`")));
    }
    if lower.contains("failed to find plugin") {
        return Some((
            format!("the pod's node lacks a CNI plugin of the network ({plugin})"),
            "install the reference CNI plugins on every node: `pod doctor k8s:` prints how".to_owned(),
        ));
    }
    if lower.contains("file exists") && matches!(definition.kind, Kind::Vlan { .. }) {
        return Some((
            "another pod of the node has the VLAN's only interface there".to_owned(),
            "use `?plugin=macvlan`, by which pods of a node share a VLAN".to_owned(),
        ));
    }
    if lower.contains("invalid mtu") {
        return Some((
            "the network's MTU is more than its parent interface's".to_owned(),
            "lower the network's MTU, or raise that of the nodes' interface".to_owned(),
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nad::MacvlanMode;
    use pod_core::IfName;

    #[test]
    fn plugins_words_are_explained() {
        let master = || IfName::new("net1").expect("name");
        let id = || 100.try_into().expect("id");
        let tagged = Kind::Macvlan { master: Some(master()), vlan: Some(id()), mode: MacvlanMode::Bridge };
        let plain = Kind::Macvlan { master: Some(master()), vlan: None, mode: MacvlanMode::Bridge };
        let vlan = Kind::Vlan { master: master(), id: id() };
        let bridge = Kind::Bridge { bridge: IfName::new("br1").expect("name"), vlan: Some(id()) };
        for (kind, said, words) in [
            (&tagged, "error adding container to network \"red\": Link not found", "no interface net1.100"),
            (&tagged, "failed to lookup master \"net1.100\": Link not found", "CONFIG_VLAN_8021Q"),
            (&plain, "Link not found", "no interface net1,"),
            (&vlan, "failed to create vlan: operation not supported", "CONFIG_VLAN_8021Q"),
            (&bridge, "failed to set vlan filtering: operation not supported", "CONFIG_BRIDGE_VLAN_FILTERING"),
            (&vlan, "failed to create vlan: file exists", "?plugin=macvlan"),
            (&plain, "failed to find plugin \"macvlan\" in path [/opt/cni/bin]", "install the reference"),
            (&plain, "invalid MTU 9000, must be [0, master MTU(1500)]", "lower the network's MTU"),
        ] {
            let (message, hint) = reason(said, &Definition::new("red", kind.clone())).expect(said);
            let all = format!("{message}; {hint}");
            assert!(all.contains(words), "{words} in {all}");
        }
        assert_eq!(reason("no space left on device", &Definition::new("red", plain)), None);
    }
}

//! From what was seen of a cluster to the network plugins it has.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use std::collections::BTreeSet;
use std::fmt;

/// A network plugin that POD knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Plugin {
    /// Calico.
    Calico,
    /// Cilium.
    Cilium,
    /// Flannel.
    Flannel,
    /// Weave Net.
    Weave,
    /// Multus.
    Multus,
    /// Antrea.
    Antrea,
    /// Contiv, also as Contiv-VPP.
    Contiv,
    /// Canal: Flannel's network with Calico's policies.
    Canal,
    /// kube-router.
    KubeRouter,
    /// SR-IOV: its operator or device plugin.
    Sriov,
}

impl Plugin {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Calico,
        Self::Cilium,
        Self::Flannel,
        Self::Weave,
        Self::Multus,
        Self::Antrea,
        Self::Contiv,
        Self::Canal,
        Self::KubeRouter,
        Self::Sriov,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calico => "calico",
            Self::Cilium => "cilium",
            Self::Flannel => "flannel",
            Self::Weave => "weave",
            Self::Multus => "multus",
            Self::Antrea => "antrea",
            Self::Contiv => "contiv",
            Self::Canal => "canal",
            Self::KubeRouter => "kube-router",
            Self::Sriov => "sriov",
        }
    }

    /// What it does, in a few words.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Calico => "the pod network, routed; policies",
            Self::Cilium => "the pod network by eBPF; policies",
            Self::Flannel => "the pod network by VXLAN or routes; no policies by itself",
            Self::Weave => "the pod network, a mesh of VXLANs; policies",
            Self::Multus => "further networks for pods: VLANs, fixed addresses",
            Self::Antrea => "the pod network by Open vSwitch; policies",
            Self::Contiv => "the pod network by VPP or Open vSwitch; policies",
            Self::Canal => "the pod network by Flannel; policies by Calico",
            Self::KubeRouter => "the pod network, routed by BGP; policies",
            Self::Sriov => "virtual functions of network cards for pods, which tag by themselves",
        }
    }

    /// Whether it says of itself that it enforces a `NetworkPolicy`; `None` for what makes no pod network.
    /// Whether it does in this cluster is for a probe to find out.
    #[must_use]
    pub fn policies(self) -> Option<bool> {
        match self {
            Self::Calico
            | Self::Cilium
            | Self::Weave
            | Self::Antrea
            | Self::Contiv
            | Self::Canal
            | Self::KubeRouter => Some(true),
            Self::Flannel => Some(false),
            Self::Multus | Self::Sriov => None,
        }
    }

    fn signs(self) -> Signs {
        match self {
            Self::Calico => Signs {
                groups: &["crd.projectcalico.org", "operator.tigera.io", "projectcalico.org"],
                daemons: &["calico-node"],
                nodes: &["projectcalico.org/"],
            },
            Self::Cilium => Signs {
                groups: &["cilium.io"],
                daemons: &["cilium"],
                nodes: &["network.cilium.io/", "io.cilium.network"],
            },
            Self::Flannel => Signs {
                groups: &[],
                daemons: &["kube-flannel-ds", "kube-flannel"],
                nodes: &["flannel.alpha.coreos.com/"],
            },
            Self::Weave => Signs { groups: &[], daemons: &["weave-net"], nodes: &[] },
            Self::Multus => Signs {
                groups: &[crate::nad::GROUP],
                daemons: &["kube-multus-ds", "multus", "kube-multus"],
                nodes: &[],
            },
            Self::Antrea => {
                Signs { groups: &["crd.antrea.io"], daemons: &["antrea-agent"], nodes: &["node.antrea.io/"] }
            }
            Self::Contiv => Signs {
                groups: &["contivpp.io", "telemetry.contiv.vpp"],
                daemons: &["contiv-netplugin", "contiv-vswitch"],
                nodes: &[],
            },
            Self::Canal => Signs { groups: &[], daemons: &["canal"], nodes: &[] },
            Self::KubeRouter => Signs { groups: &[], daemons: &["kube-router"], nodes: &["kube-router.io/"] },
            Self::Sriov => Signs {
                groups: &["sriovnetwork.openshift.io"],
                daemons: &[
                    "kube-sriov-device-plugin",
                    "sriov-network-config-daemon",
                    "sriov-device-plugin",
                    "kube-sriov-cni-ds",
                ],
                nodes: &["sriovnetwork.openshift.io/"],
            },
        }
    }
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// By what a plugin is known.
struct Signs {
    /// API groups.
    groups: &'static [&'static str],
    /// Names of DaemonSets, whole or followed by `-` (an architecture).
    daemons: &'static [&'static str],
    /// The beginning of annotations and labels on nodes.
    nodes: &'static [&'static str],
}

/// Whether a plugin is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is.
    Present,
    /// It is not: all that would show it was seen.
    Absent,
    /// Nothing was seen of it, and not all could be seen.
    NotSeen,
}

/// What is known of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CniFound {
    /// Which.
    pub plugin: Plugin,
    /// Whether it is there.
    pub presence: Presence,
    /// By what it is known.
    pub evidence: Vec<String>,
    /// Its image's tag, where its DaemonSet shows one.
    pub version: Option<String>,
    /// On how many nodes it is ready, and on how many it should be; `None` without a DaemonSet.
    pub ready: Option<(i32, i32)>,
    /// What could not be looked at, that might show it.
    pub unseen: Vec<String>,
    /// What it does, as [`Plugin::about`] has it.
    pub about: &'static str,
    /// Whether it says that it enforces policies, as [`Plugin::policies`] has it.
    pub policies: Option<bool>,
}

/// A DaemonSet, as far as it tells something.
#[derive(Debug, Clone, Default)]
pub(super) struct DaemonSeen {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) images: Vec<String>,
    pub(super) ready: i32,
    pub(super) desired: i32,
}

impl DaemonSeen {
    pub(super) fn of(set: &DaemonSet) -> Self {
        let containers = set.spec.iter().flat_map(|s| s.template.spec.iter()).flat_map(|s| &s.containers);
        let status = set.status.as_ref();
        Self {
            namespace: set.metadata.namespace.clone().unwrap_or_default(),
            name: set.metadata.name.clone().unwrap_or_default(),
            images: containers.filter_map(|c| c.image.clone()).collect(),
            ready: status.map_or(0, |s| s.number_ready),
            desired: status.map_or(0, |s| s.desired_number_scheduled),
        }
    }
}

/// A node's annotations and labels.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeSeen {
    pub(super) name: String,
    pub(super) keys: BTreeSet<String>,
}

impl NodeSeen {
    pub(super) fn of(node: &Node) -> Self {
        let meta = &node.metadata;
        let keys = meta.annotations.iter().chain(&meta.labels).flat_map(|m| m.keys().cloned()).collect();
        Self { name: meta.name.clone().unwrap_or_default(), keys }
    }
}

/// What was seen; `None` is what was refused.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) groups: Option<Vec<String>>,
    pub(super) daemons: Option<Vec<DaemonSeen>>,
    pub(super) nodes: Option<Vec<NodeSeen>>,
}

/// The tag of an image: what follows the last `:` of its last part.
fn tag(image: &str) -> Option<String> {
    let last = image.rsplit('/').next().unwrap_or(image);
    let last = last.split('@').next().unwrap_or(last);
    last.split_once(':').map(|(_, tag)| tag.to_owned())
}

pub(super) fn classify(seen: &Seen) -> Vec<CniFound> {
    Plugin::ALL.iter().map(|plugin| one(*plugin, seen)).collect()
}

fn one(plugin: Plugin, seen: &Seen) -> CniFound {
    let signs = plugin.signs();
    let mut found = CniFound {
        plugin,
        presence: Presence::Absent,
        evidence: Vec::new(),
        version: None,
        ready: None,
        unseen: Vec::new(),
        about: plugin.about(),
        policies: plugin.policies(),
    };
    match &seen.groups {
        Some(groups) => {
            for group in groups.iter().filter(|g| signs.groups.contains(&g.as_str())) {
                found.evidence.push(format!("API group {group}"));
            }
        }
        None if !signs.groups.is_empty() => found.unseen.push("API groups".into()),
        None => {}
    }
    match &seen.daemons {
        Some(daemons) => {
            let is = |name: &str| {
                signs.daemons.iter().any(|d| name == *d || name.strip_prefix(d).is_some_and(|r| r.starts_with('-')))
            };
            // `cilium-envoy` and the like are helpers, not the network.
            let helper = |name: &str| plugin == Plugin::Cilium && name != "cilium";
            for daemon in daemons.iter().filter(|d| is(&d.name) && !helper(&d.name)) {
                found.evidence.push(format!("DaemonSet {}/{}", daemon.namespace, daemon.name));
                let (ready, desired) = found.ready.unwrap_or_default();
                found.ready = Some((ready + daemon.ready, desired + daemon.desired));
                found.version = found.version.or_else(|| daemon.images.iter().find_map(|i| tag(i)));
            }
        }
        None => found.unseen.push("DaemonSets".into()),
    }
    match &seen.nodes {
        Some(nodes) => {
            let says = |n: &&NodeSeen| n.keys.iter().any(|k| signs.nodes.iter().any(|s| k.starts_with(s)));
            let saying: Vec<_> = nodes.iter().filter(says).map(|n| n.name.as_str()).collect();
            if !saying.is_empty() {
                found.evidence.push(format!("annotations of {}", saying.join(", ")));
            }
        }
        None if !signs.nodes.is_empty() => found.unseen.push("nodes".into()),
        None => {}
    }
    found.presence = if !found.evidence.is_empty() {
        found.unseen.clear();
        Presence::Present
    } else if found.unseen.is_empty() {
        Presence::Absent
    } else {
        Presence::NotSeen
    };
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroupList;

    /// Discovery documents and lists as API servers give them, cut to what matters.
    fn groups(names: &[&str]) -> Option<Vec<String>> {
        let groups: Vec<_> = names
            .iter()
            .map(|n| {
                let version = serde_json::json!({"groupVersion": format!("{n}/v1"), "version": "v1"});
                serde_json::json!({"name": n, "versions": [version], "preferredVersion": version})
            })
            .collect();
        let list = serde_json::json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups});
        let list: APIGroupList = serde_json::from_value(list).expect("groups");
        Some(list.groups.into_iter().map(|g| g.name).collect())
    }

    fn daemon(namespace: &str, name: &str, image: &str) -> DaemonSeen {
        let set: DaemonSet = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "image": image}]}}},
            "status": {"numberReady": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 0},
        }))
        .expect("a DaemonSet");
        DaemonSeen::of(&set)
    }

    fn node(annotation: &str) -> NodeSeen {
        let node: Node = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "node1", "annotations": {annotation: "x"}, "labels": {"kubernetes.io/os": "linux"}},
        }))
        .expect("a node");
        NodeSeen::of(&node)
    }

    fn found(seen: &Seen, plugin: Plugin) -> CniFound {
        classify(seen).into_iter().find(|f| f.plugin == plugin).expect("every plugin")
    }

    fn everything(group: &str, set: DaemonSeen, annotation: &str) -> Seen {
        Seen { groups: groups(&["apps", group]), daemons: Some(vec![set]), nodes: Some(vec![node(annotation)]) }
    }

    #[test]
    fn each_is_known_by_its_signs() {
        for (plugin, group, namespace, set, annotation) in [
            (Plugin::Calico, "crd.projectcalico.org", "calico-system", "calico-node", "projectcalico.org/IPv4Address"),
            (Plugin::Cilium, "cilium.io", "kube-system", "cilium", "network.cilium.io/ipv4-pod-cidr"),
            (Plugin::Flannel, "x", "kube-flannel", "kube-flannel-ds", "flannel.alpha.coreos.com/backend-type"),
            (Plugin::Weave, "x", "kube-system", "weave-net", "x"),
            (Plugin::Multus, "k8s.cni.cncf.io", "kube-system", "kube-multus-ds", "x"),
            (Plugin::Antrea, "crd.antrea.io", "kube-system", "antrea-agent", "node.antrea.io/mac-address"),
            (Plugin::Contiv, "x", "kube-system", "contiv-netplugin", "x"),
            (Plugin::Canal, "x", "kube-system", "canal", "x"),
            (Plugin::KubeRouter, "x", "kube-system", "kube-router", "kube-router.io/pod-cidr"),
            (Plugin::Sriov, "sriovnetwork.openshift.io", "kube-system", "kube-sriov-device-plugin-amd64", "x"),
        ] {
            let seen = everything(group, daemon(namespace, set, "quay.io/x/y:v3.27.0@sha256:ab"), annotation);
            let one = found(&seen, plugin);
            assert_eq!(one.presence, Presence::Present, "{plugin}");
            assert_eq!((one.version.as_deref(), one.ready), (Some("v3.27.0"), Some((1, 2))), "{plugin}");
            let others: Vec<_> = classify(&seen).into_iter().filter(|f| f.presence == Presence::Present).collect();
            assert_eq!(others.len(), 1, "{plugin}: {others:?}");
            // By its group alone, where it has one.
            if group != "x" {
                let seen = Seen { groups: groups(&[group]), ..Seen::default() };
                assert_eq!(found(&seen, plugin).presence, Presence::Present, "{plugin}");
            }
        }
    }

    #[test]
    fn absent_is_told_from_not_allowed_to_see() {
        let nothing = Seen { groups: groups(&["apps"]), daemons: Some(vec![]), nodes: Some(vec![]) };
        assert!(classify(&nothing).iter().all(|f| f.presence == Presence::Absent));
        let refused = Seen { groups: groups(&["apps"]), daemons: None, nodes: None };
        let flannel = found(&refused, Plugin::Flannel);
        assert_eq!(flannel.presence, Presence::NotSeen);
        assert_eq!(flannel.unseen, ["DaemonSets", "nodes"]);
        let half = Seen { groups: groups(&["apps"]), daemons: Some(vec![]), nodes: None };
        assert_eq!(found(&half, Plugin::Weave).presence, Presence::Absent, "nodes say nothing of Weave");
        assert_eq!(found(&half, Plugin::Flannel).presence, Presence::NotSeen);
    }

    #[test]
    fn near_names_are_no_signs() {
        let seen = Seen {
            groups: groups(&["apps"]),
            daemons: Some(vec![daemon("kube-system", "cilium-envoy", "x"), daemon("shop", "canalboat", "x")]),
            nodes: Some(vec![]),
        };
        assert!(classify(&seen).iter().all(|f| f.presence == Presence::Absent));
    }
}

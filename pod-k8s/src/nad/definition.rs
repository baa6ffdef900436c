//! Typed definitions: what an attachment is made of, as the CNI configuration that does it.

use super::check::check;
use super::object::{NetworkAttachmentDefinition, RESOURCE_NAME};
use ipnet::IpNet;
use pod_core::{Error, IfName, Result, Route, VlanId};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// The version of the CNI specification that definitions name unless told: the newest that every
/// runtime and plugin in use answers (1.1.0 adds STATUS and GC, which not all do).
pub const CNI_VERSION: &str = "1.0.0";

/// How a macvlan's pods on one node see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MacvlanMode {
    /// Directly.
    #[default]
    Bridge,
    /// Not at all.
    Private,
    /// By a switch outside that sends their frames back.
    Vepa,
    /// There is one pod, which has the parent to itself.
    Passthru,
}

/// How an ipvlan forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IpvlanMode {
    /// By MAC address; ARP works.
    #[default]
    L2,
    /// By route; no broadcast.
    L3,
    /// As [`L3`](Self::L3), seen by the node's connection tracking.
    L3s,
}

/// Which plugin makes the interface.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// `vlan`: makes the tagged interface itself and gives it to the pod. A kernel has one such
    /// interface of an id on a parent, so a node runs one pod of the definition.
    Vlan {
        /// The node's interface that the frames leave by.
        master: IfName,
        /// The VLAN id.
        id: VlanId,
    },
    /// `bridge`: a port of a bridge of the node, in a VLAN of that bridge if one is given. Frames leave
    /// the node only if the bridge has an interface of the node as a port.
    Bridge {
        /// The bridge; made where there is none.
        bridge: IfName,
        /// The VLAN id; needs bridges that tell VLANs apart (`CONFIG_BRIDGE_VLAN_FILTERING`).
        vlan: Option<VlanId>,
    },
    /// `macvlan` over `MASTER`, or over `MASTER.VID`, an interface that every node must have.
    Macvlan {
        /// The node's interface; `None` is that of its default route.
        master: Option<IfName>,
        /// The VLAN id of the tagged interface over `master`.
        vlan: Option<VlanId>,
        /// How pods on one node see each other.
        mode: MacvlanMode,
    },
    /// `ipvlan` over `MASTER` or `MASTER.VID`: pods share the parent's MAC address.
    Ipvlan {
        /// The node's interface; `None` is that of its default route.
        master: Option<IfName>,
        /// The VLAN id of the tagged interface over `master`.
        vlan: Option<VlanId>,
        /// How it forwards.
        mode: IpvlanMode,
    },
    /// `sriov`: a virtual function of a network card, which tags by itself.
    Sriov {
        /// The device plugin's resource, such as `intel.com/sriov_net`.
        resource: String,
        /// The VLAN id.
        vlan: Option<VlanId>,
    },
}

impl Kind {
    /// The plugin's name.
    #[must_use]
    pub fn plugin(&self) -> &'static str {
        match self {
            Self::Vlan { .. } => "vlan",
            Self::Bridge { .. } => "bridge",
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Sriov { .. } => "sriov",
        }
    }

    /// The VLAN id with which frames leave a pod's node.
    #[must_use]
    pub fn vlan(&self) -> Option<VlanId> {
        match self {
            Self::Vlan { id, .. } => Some(*id),
            Self::Bridge { vlan, .. }
            | Self::Macvlan { vlan, .. }
            | Self::Ipvlan { vlan, .. }
            | Self::Sriov { vlan, .. } => *vlan,
        }
    }

    /// Whether a pod can choose its MAC address.
    #[must_use]
    pub fn takes_mac(&self) -> bool {
        matches!(self, Self::Bridge { .. } | Self::Macvlan { .. } | Self::Sriov { .. })
    }

    /// The node's interface that the plugin works on, with its VLAN id; `None` where it has another way.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](pod_core::ErrorKind::InvalidInput) when `MASTER.VID` is longer than
    /// the 15 bytes of an interface name.
    pub fn parent(&self) -> Result<Option<IfName>> {
        match self {
            Self::Vlan { master, .. } => Ok(Some(master.clone())),
            Self::Macvlan { master, vlan, .. } | Self::Ipvlan { master, vlan, .. } => match (master, vlan) {
                (Some(master), Some(id)) => tagged(master, *id).map(Some),
                (Some(master), None) => Ok(Some(master.clone())),
                (None, Some(id)) => Err(Error::invalid(format!("VLAN {id} needs a parent interface to be tagged on"))
                    .with_hint("name the nodes' interface, such as `eth1`")),
                (None, None) => Ok(None),
            },
            Self::Bridge { .. } | Self::Sriov { .. } => Ok(None),
        }
    }
}

/// The name of the tagged interface of `master` with this id.
pub(crate) fn tagged(master: &IfName, id: VlanId) -> Result<IfName> {
    IfName::new(format!("{master}.{id}")).map_err(|e| {
        e.with_context("master", master.as_str()).with_hint("give the nodes' parent interface a shorter name")
    })
}

/// Where the pods' addresses come from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Allocator {
    /// They have none.
    None,
    /// Each pod names its own (`static`, with the capability `ips`). POD does that, cluster-wide.
    PerPod,
    /// The same for every pod: for a definition that one pod uses.
    Fixed(Vec<FixedAddress>),
    /// `host-local`: each node counts by itself.
    HostLocal {
        /// The network.
        subnet: IpNet,
        /// The first address to hand out.
        first: Option<IpAddr>,
        /// The last one.
        last: Option<IpAddr>,
        /// The gateway, never handed out.
        gateway: Option<IpAddr>,
    },
    /// `whereabouts`: counted once for the cluster, where it is installed.
    Whereabouts {
        /// The network.
        range: IpNet,
        /// What is never handed out.
        exclude: Vec<IpNet>,
        /// The gateway.
        gateway: Option<IpAddr>,
    },
    /// `dhcp`: asked of a server on the network, by a daemon on each node.
    Dhcp,
}

/// An address of [`Allocator::Fixed`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FixedAddress {
    /// The address with its prefix length.
    pub address: IpNet,
    /// The gateway in its network.
    pub gateway: Option<IpAddr>,
}

/// A definition by its parts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Which plugin makes the interface.
    pub kind: Kind,
    /// Where addresses come from.
    pub allocator: Allocator,
    /// Routes through the interface.
    pub routes: Vec<Route>,
    /// The MTU in bytes; `None` is the parent's.
    pub mtu: Option<u32>,
}

impl Definition {
    /// A definition in which each pod names its addresses, without routes.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self { name: name.into(), kind, allocator: Allocator::PerPod, routes: Vec::new(), mtu: None }
    }

    /// Takes addresses from there.
    #[must_use]
    pub fn with_allocator(mut self, allocator: Allocator) -> Self {
        self.allocator = allocator;
        self
    }

    /// Adds a route.
    #[must_use]
    pub fn with_route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Sets the MTU.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// The CNI configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](pod_core::ErrorKind::InvalidInput) for parts that don't go together:
    /// routes without addresses, an MTU for SR-IOV, `ipvlan` without addresses; and for what
    /// [`check`] refuses.
    pub fn config(&self) -> Result<String> {
        let mut one = Map::new();
        let mut put = |key: &str, value: Value| one.insert(key.to_owned(), value);
        put("cniVersion", json!(CNI_VERSION));
        put("name", json!(self.name));
        put("type", json!(self.kind.plugin()));
        if let Some(parent) = self.kind.parent()? {
            put("master", json!(parent.as_str()));
        }
        match &self.kind {
            Kind::Vlan { id, .. } => {
                put("vlanId", json!(id.get()));
            }
            Kind::Bridge { bridge, vlan } => {
                put("bridge", json!(bridge.as_str()));
                if let Some(id) = vlan {
                    put("vlan", json!(id.get()));
                }
            }
            Kind::Macvlan { mode, .. } => {
                put("mode", json!(mode));
            }
            Kind::Ipvlan { mode, .. } => {
                put("mode", json!(mode));
            }
            Kind::Sriov { vlan, .. } => {
                if let Some(id) = vlan {
                    put("vlan", json!(id.get()));
                }
            }
        }
        if let Some(mtu) = self.mtu {
            if matches!(self.kind, Kind::Sriov { .. }) {
                return Err(Error::invalid("the sriov plugin can't set an MTU")
                    .with_context("definition", &self.name)
                    .with_hint("set it on the nodes' card, or leave it out"));
            }
            put("mtu", json!(mtu));
        }
        let per_pod = self.allocator == Allocator::PerPod;
        if per_pod || self.kind.takes_mac() {
            let mut capabilities = Map::new();
            if per_pod {
                capabilities.insert("ips".into(), json!(true));
            }
            if self.kind.takes_mac() {
                capabilities.insert("mac".into(), json!(true));
            }
            put("capabilities", Value::Object(capabilities));
        }
        put("ipam", self.ipam()?);
        let config = Value::Object(one).to_string();
        check(&config).into_result(&self.name)?;
        Ok(config)
    }

    fn ipam(&self) -> Result<Value> {
        let mut ipam = match &self.allocator {
            Allocator::None => json!({}),
            Allocator::PerPod => json!({"type": "static"}),
            Allocator::Fixed(all) => {
                let addresses: Vec<Value> = all
                    .iter()
                    .map(|a| match a.gateway {
                        Some(gateway) => json!({"address": a.address, "gateway": gateway}),
                        None => json!({"address": a.address}),
                    })
                    .collect();
                json!({"type": "static", "addresses": addresses})
            }
            Allocator::HostLocal { subnet, first, last, gateway } => {
                let mut range = json!({"subnet": subnet});
                for (key, ip) in [("rangeStart", first), ("rangeEnd", last), ("gateway", gateway)] {
                    if let Some(ip) = ip {
                        range[key] = json!(ip);
                    }
                }
                json!({"type": "host-local", "ranges": [[range]]})
            }
            Allocator::Whereabouts { range, exclude, gateway } => {
                let mut ipam = json!({"type": "whereabouts", "range": range});
                if !exclude.is_empty() {
                    ipam["exclude"] = json!(exclude);
                }
                if let Some(gateway) = gateway {
                    ipam["gateway"] = json!(gateway);
                }
                ipam
            }
            Allocator::Dhcp => json!({"type": "dhcp"}),
        };
        if !self.routes.is_empty() {
            if matches!(self.allocator, Allocator::None | Allocator::Dhcp) {
                return Err(Error::invalid("routes need addresses that the definition or the pod names")
                    .with_context("definition", &self.name));
            }
            ipam["routes"] = self.routes.iter().map(route_json).collect();
        }
        Ok(ipam)
    }

    /// The object to apply.
    ///
    /// # Errors
    /// As [`config`](Self::config).
    pub fn object(&self) -> Result<NetworkAttachmentDefinition> {
        let mut object = NetworkAttachmentDefinition::new(&self.name, self.config()?);
        if let Kind::Sriov { resource, .. } = &self.kind {
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(RESOURCE_NAME.into(), resource.clone());
        }
        Ok(object)
    }
}

fn route_json(route: &Route) -> Value {
    match route.via {
        Some(via) => json!({"dst": route.to, "gw": via}),
        None => json!({"dst": route.to}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str) -> IfName {
        IfName::new(name).expect("name")
    }

    fn vlan(id: u16) -> VlanId {
        VlanId::try_from(id).expect("id")
    }

    fn config(definition: &Definition) -> Value {
        serde_json::from_str(&definition.config().expect("config")).expect("JSON")
    }

    #[test]
    fn each_kind_says_where_its_tag_is() {
        let kinds = [
            (Kind::Vlan { master: interface("eth1"), id: vlan(100) }, "master", json!("eth1")),
            (Kind::Vlan { master: interface("eth1"), id: vlan(100) }, "vlanId", json!(100)),
            (Kind::Bridge { bridge: interface("br1"), vlan: Some(vlan(100)) }, "vlan", json!(100)),
            (
                Kind::Macvlan { master: Some(interface("eth1")), vlan: Some(vlan(100)), mode: MacvlanMode::Bridge },
                "master",
                json!("eth1.100"),
            ),
            (
                Kind::Ipvlan { master: Some(interface("eth1")), vlan: Some(vlan(100)), mode: IpvlanMode::L3s },
                "mode",
                json!("l3s"),
            ),
            (Kind::Sriov { resource: "intel.com/net".into(), vlan: Some(vlan(100)) }, "vlan", json!(100)),
        ];
        for (kind, key, expected) in kinds {
            assert_eq!(kind.vlan(), Some(vlan(100)));
            let definition = Definition::new("red", kind);
            assert_eq!(config(&definition)[key], expected, "{definition:?}");
            assert!(check(&definition.config().expect("config")).ok());
        }
    }

    #[test]
    fn routes_mtu_and_addresses_are_written() {
        let kind = Kind::Macvlan { master: Some(interface("eth1")), vlan: None, mode: MacvlanMode::Private };
        let route = |to: &str, via: Option<&str>| Route {
            to: to.parse().expect("net"),
            via: via.map(|v| v.parse().expect("ip")),
        };
        let definition = Definition::new("red", kind.clone())
            .with_mtu(1400)
            .with_route(route("10.9.0.0/16", Some("10.1.0.254")))
            .with_route(route("10.8.0.0/16", None));
        let json = config(&definition);
        assert_eq!(json["mtu"], 1400);
        assert_eq!(json["mode"], "private");
        assert_eq!(json["capabilities"], json!({"ips": true, "mac": true}));
        assert_eq!(
            json["ipam"],
            json!({"type": "static", "routes": [{"dst": "10.9.0.0/16", "gw": "10.1.0.254"}, {"dst": "10.8.0.0/16"}]})
        );
        let net: IpNet = "10.1.0.0/24".parse().expect("net");
        let gateway = Some("10.1.0.1".parse().expect("ip"));
        for (allocator, expected) in [
            (Allocator::None, json!({})),
            (Allocator::Dhcp, json!({"type": "dhcp"})),
            (
                Allocator::HostLocal { subnet: net, first: None, last: None, gateway },
                json!({"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}]]}),
            ),
            (
                Allocator::Whereabouts { range: net, exclude: vec!["10.1.0.1/32".parse().expect("net")], gateway },
                json!({"type": "whereabouts", "range": "10.1.0.0/24", "exclude": ["10.1.0.1/32"], "gateway": "10.1.0.1"}),
            ),
        ] {
            assert_eq!(config(&Definition::new("red", kind.clone()).with_allocator(allocator))["ipam"], expected);
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let sriov = Kind::Sriov { resource: "r".into(), vlan: None };
        let ipvlan = Kind::Ipvlan { master: None, vlan: None, mode: IpvlanMode::L2 };
        let long = Kind::Macvlan {
            master: Some(interface("enp0s31f6np0")),
            vlan: Some(vlan(1000)),
            mode: MacvlanMode::Bridge,
        };
        let nowhere = Kind::Macvlan { master: None, vlan: Some(vlan(5)), mode: MacvlanMode::Bridge };
        let own: IpNet = "10.1.0.0/24".parse().expect("net");
        let fixed = Allocator::Fixed(vec![FixedAddress { address: own, gateway: None }]);
        for (bad, words) in [
            (Definition::new("n", sriov).with_mtu(1400), "MTU"),
            (Definition::new("n", ipvlan.clone()).with_allocator(Allocator::None), "without addresses"),
            (Definition::new("n", long), "at most 15 bytes"),
            (Definition::new("n", nowhere), "needs a parent interface"),
            (Definition::new("n", ipvlan).with_allocator(fixed), "own address"),
        ] {
            let error = bad.config().expect_err("refused").to_string();
            assert!(error.contains(words), "{words} in {error}");
        }
    }

    #[test]
    fn sriov_names_its_resource() {
        let kind = Kind::Sriov { resource: "intel.com/net".into(), vlan: Some(vlan(7)) };
        let object = Definition::new("fast", kind).object().expect("object");
        assert_eq!(object.annotation(RESOURCE_NAME), Some("intel.com/net"));
        assert_eq!(object.name(), "fast");
    }
}

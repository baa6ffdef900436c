//! From a network's specification to a network of the daemon's, and back.

use crate::config::Plugin;
use crate::engine::failure::Failure;
use crate::engine::{Engine, Query};
use crate::libpod::{self, Libpod, Net};
use ipnet::{IpNet, Ipv4Net};
use pod_core::{Error, ErrorKind, LABEL_OWNER, Labels, NetworkName, NetworkSpec, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// The label with the whole specification of a network, JSON.
pub(super) const LABEL: &str = "pod.network";

const MTU: &str = "com.docker.network.driver.mtu";
const ICC: &str = "com.docker.network.bridge.enable_icc";
/// The bridge has no address: the machine is none of the network's members.
const INHIBIT: &str = "com.docker.network.bridge.inhibit_ipv4";

/// A network as the daemon has it (`GET /networks`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Raw {
    pub(super) name: String,
    pub(super) id: String,
    #[serde(default)]
    pub(super) driver: String,
    #[serde(default)]
    pub(super) internal: bool,
    #[serde(default)]
    pub(super) options: Option<BTreeMap<String, String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "IPAM", default)]
    ipam: Ipam,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    config: Option<Vec<Pool>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Pool {
    subnet: String,
    gateway: String,
}

impl Raw {
    /// What was asked for, where POD made it. A label that lies about the name is not POD's.
    pub(super) fn spec(&self) -> Option<NetworkSpec> {
        let text = self.labels.as_ref()?.get(LABEL)?;
        let spec: NetworkSpec = serde_json::from_str(text).ok()?;
        (spec.name.as_str() == self.name).then_some(spec)
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its subnets.
    pub(super) fn subnets(&self) -> Vec<IpNet> {
        self.ipam.config.iter().flatten().filter_map(|p| p.subnet.parse().ok()).collect()
    }

    /// The addresses that the daemon keeps for itself.
    pub(super) fn gateways(&self) -> Vec<String> {
        self.ipam.config.iter().flatten().map(|p| p.gateway.clone()).filter(|g| !g.is_empty()).collect()
    }
}

impl From<Net> for Raw {
    fn from(net: Net) -> Self {
        let pools = net.subnets.into_iter().flatten().map(|s| Pool { subnet: s.subnet, gateway: s.gateway });
        Self {
            name: net.name,
            id: net.id,
            driver: net.driver,
            internal: net.internal,
            options: net.options,
            labels: net.labels,
            ipam: Ipam { config: Some(pools.collect()) },
        }
    }
}

/// All networks of the daemon.
pub(super) async fn all(engine: &Engine) -> Result<Vec<Raw>> {
    let all = match engine.libpod {
        Some(_) => libpod::networks(engine).await.map(|all| all.into_iter().map(Raw::from).collect()),
        None => engine.get("/networks", Query::new()).await,
    };
    all.map_err(|f| engine.error(f))
}

/// The networks that POD made, by name.
pub(crate) async fn of_pod(engine: &Engine) -> Result<BTreeMap<NetworkName, (Raw, NetworkSpec)>> {
    let found = all(engine).await?.into_iter();
    Ok(found.filter_map(|raw| raw.spec().map(|spec| (spec.name.clone(), (raw, spec)))).collect())
}

/// The error for a network that is not there.
pub(super) fn missing(name: &NetworkName) -> Error {
    Error::not_found("network", name.as_str()).with_hint("`pod net ls` lists those there are")
}

/// The address that the daemon keeps in each subnet: the lowest that is reserved, as a router's mostly is,
/// else the last. No workload gets it, and with a bridge nobody has it.
pub(super) fn kept(spec: &NetworkSpec) -> Option<Ipv4Addr> {
    let subnet = spec.subnets.iter().find_map(|n| match n {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    })?;
    let is_host = |ip: &Ipv4Addr| subnet.contains(ip) && *ip != subnet.network() && *ip != subnet.broadcast();
    let reserved = spec.reserved.iter().filter_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    });
    reserved.filter(is_host).min().or_else(|| Some(Ipv4Addr::from(u32::from(subnet.broadcast()) - 1)))
}

/// The specification with what the daemon keeps reserved, too: what may be handed out.
pub(super) fn usable(spec: &NetworkSpec) -> NetworkSpec {
    let mut spec = spec.clone();
    spec.reserved.extend(kept(&spec).map(IpAddr::V4));
    spec
}

/// What a network is to be, in the daemon's words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) driver: &'static str,
    pub(crate) internal: bool,
    pub(crate) options: BTreeMap<&'static str, String>,
    pub(crate) subnet: Ipv4Net,
    /// The address that is told the daemon as the machine's.
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// What a specification asks for, of this driver where it has an uplink.
///
/// # Errors
/// `InvalidInput` for a specification that makes no sense; `Unsupported` for what the daemon has not.
pub(super) fn wanted(spec: &NetworkSpec, plugin: Plugin, libpod: Option<&Libpod>) -> Result<Wanted> {
    spec.validate()?;
    let cant = |words: &str, hint: &str| {
        Err(Error::unsupported(words).with_context("network", spec.name.as_str()).with_hint(hint))
    };
    let (subnet, gateway) = match (&spec.subnets[..], kept(spec)) {
        ([IpNet::V4(subnet)], Some(gateway)) => (*subnet, gateway),
        ([], _) => return cant("the daemon has no networks without addresses", "give it a subnet"),
        ([IpNet::V6(_)], _) => return cant("the daemon has no networks without IPv4", "give it an IPv4 subnet"),
        _ => return cant("the daemon gives an interface one IPv4 address", "give the network one IPv4 subnet"),
    };
    if let Some(libpod) = libpod {
        if spec.uplink.is_some() {
            return cant("Podman makes no tagged sub-interfaces", "leave the uplink out");
        }
        if spec.isolated {
            return cant("Podman can't cut the workloads of a bridge off from each other", "give each its own network");
        }
        let options = [("mtu", spec.mtu.to_string())].into();
        // CNI's plugin keeps one address, whether it is told which or not, and gives it to nobody where the
        // network is internal. netavark keeps none, and gives one that it is told to the machine.
        let gateway = libpod.cni.then_some(gateway);
        return Ok(Wanted { driver: "bridge", internal: true, options, subnet, gateway });
    }
    let gateway = Some(gateway);
    let mut options: BTreeMap<_, _> = [(MTU, spec.mtu.to_string())].into();
    let Some(uplink) = &spec.uplink else {
        options.insert(INHIBIT, "true".into());
        options.insert(ICC, (!spec.isolated).to_string());
        return Ok(Wanted { driver: "bridge", internal: true, options, subnet, gateway });
    };
    // The daemon makes a sub-interface of this name, and removes it with the network.
    options.insert("parent", spec.vlan.map_or_else(|| uplink.to_string(), |vid| format!("{uplink}.{vid}")));
    match plugin {
        Plugin::Macvlan => {
            options.insert("macvlan_mode", if spec.isolated { "private" } else { "bridge" }.into());
        }
        Plugin::Ipvlan if spec.isolated => {
            return cant("ipvlan cuts nobody off", "use macvlan for it: docker:?plugin=macvlan");
        }
        Plugin::Ipvlan => {
            options.insert("ipvlan_mode", "l2".into());
        }
    }
    Ok(Wanted { driver: plugin.word(), internal: false, options, subnet, gateway })
}

impl Wanted {
    fn body(&self, spec: &NetworkSpec, labels: &Labels) -> Value {
        json!({
            "Name": spec.name.as_str(),
            "CheckDuplicate": true,
            "Driver": self.driver,
            "Internal": self.internal,
            "EnableIPv6": false,
            "IPAM": {
                "Driver": "default",
                "Config": [{"Subnet": self.subnet.to_string(), "Gateway": self.gateway}],
            },
            "Options": self.options,
            "Labels": labels,
        })
    }
}

/// A network's labels, with what was asked for and whose it is.
fn labels(spec: &NetworkSpec, owner: &str) -> Result<Labels> {
    let text = serde_json::to_string(spec)
        .map_err(|e| Error::unexpected("the specification can't be written down").with_source(e))?;
    let mut labels = spec.labels.clone();
    labels.insert(LABEL_OWNER.into(), owner.to_owned());
    labels.insert(LABEL.into(), text);
    Ok(labels)
}

/// Makes a network; gives its id.
pub(super) async fn create(engine: &Engine, spec: &NetworkSpec, owner: &str, plugin: Plugin) -> Result<String> {
    #[derive(Deserialize)]
    struct Made {
        #[serde(rename = "Id")]
        id: String,
    }
    let wanted = wanted(spec, plugin, engine.libpod.as_ref())?;
    let labels = labels(spec, owner)?;
    if let Some(parent) = wanted.options.get("parent") {
        // An old Docker refuses it by itself; a current one puts both on one wire.
        let of = |n: &Raw| n.options.as_ref().and_then(|o| o.get("parent")) == Some(parent);
        if let Some(other) = all(engine).await?.into_iter().find(of) {
            return Err(parent_taken(spec, parent).with_context("other network", other.name));
        }
    }
    let made = match engine.libpod {
        Some(_) => libpod::create(engine, spec, &wanted, &labels).await,
        None => {
            let body = wanted.body(spec, &labels);
            engine.post_json::<Made>("/networks/create", Query::new(), &body).await.map(|made| made.id)
        }
    };
    match made {
        Ok(id) => Ok(id),
        Err(f) => Err(explained(engine, spec, &wanted, f).await),
    }
}

/// The error for an uplink that carries another network.
fn parent_taken(spec: &NetworkSpec, parent: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("another network has the interface {parent}"))
        .with_context("network", spec.name.as_str())
        .with_hint("an uplink carries one network of each VLAN id; use another, or remove the other network")
}

/// Why a network was refused, by its uplink or by what is there already.
async fn explained(engine: &Engine, spec: &NetworkSpec, wanted: &Wanted, failure: Failure) -> Error {
    let words = failure.words().unwrap_or_default().to_ascii_lowercase();
    let parent = wanted.options.get("parent").cloned().unwrap_or_default();
    let uplink = spec.uplink.as_ref().map(ToString::to_string).unwrap_or_default();
    let error = engine.error(failure).with_context("network", spec.name.as_str());
    let is = |kind, message: String| {
        let about = error.message().to_owned();
        Error::new(kind, message).with_context("network", spec.name.as_str()).with_context("answer", about)
    };
    if words.contains("invalid subinterface vlan name") || words.contains("was not found on the host") {
        return is(ErrorKind::NotFound, format!("there is no interface {uplink} where the daemon runs"))
            .with_hint("name an interface of the daemon's machine as the uplink");
    }
    if words.contains("vlan link") && words.contains("not supported") {
        return is(ErrorKind::Unsupported, format!("the daemon's kernel can't make the tagged sub-interface {parent}"))
            .with_hint("it needs 802.1Q: CONFIG_VLAN_8021Q, the module 8021q");
    }
    if words.contains("already using parent") {
        return parent_taken(spec, &parent).with_context("answer", error.message().to_owned());
    }
    if words.contains("loopback interface is not a valid") {
        return is(ErrorKind::InvalidInput, format!("{uplink} is the loopback interface, which leads nowhere"));
    }
    if words.contains("network already exists") {
        return is(ErrorKind::AlreadyExists, "there is a network of this name".into());
    }
    if ["pool overlaps", "overlapping ipv4", "already used on the host"].iter().any(|w| words.contains(w)) {
        let others = all(engine).await.unwrap_or_default();
        let overlaps = |n: &IpNet| matches!(n, IpNet::V4(n) if n.contains(&wanted.subnet) || wanted.subnet.contains(n));
        let error = is(ErrorKind::Conflict, format!("the subnet {} overlaps with another network's", wanted.subnet));
        let error = match others.iter().find(|o| o.subnets().iter().any(overlaps)) {
            Some(other) => error.with_context("other network", other.name.clone()),
            None => error,
        };
        return error.with_hint("choose another subnet: a daemon has each address once");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> NetworkSpec {
        NetworkSpec::new(NetworkName::new("red").expect("a name")).with_subnet("10.1.0.0/29".parse().expect("a subnet"))
    }

    #[test]
    fn without_an_uplink_it_is_a_bridge_that_leads_nowhere() {
        let wanted = wanted(&spec().with_isolated(true).with_mtu(1400), Plugin::Ipvlan, None).expect("a network");
        assert_eq!((wanted.driver, wanted.internal), ("bridge", true));
        assert_eq!(wanted.options, [(MTU, "1400".to_owned()), (ICC, "false".into()), (INHIBIT, "true".into())].into());
        let body = wanted.body(&spec(), &labels(&spec().with_label("a", "b"), "me.0").expect("labels"));
        assert_eq!(body["IPAM"]["Config"], json!([{"Subnet": "10.1.0.0/29", "Gateway": "10.1.0.6"}]));
        assert_eq!((&body["Labels"]["a"], &body["Labels"]["pod.owner"]), (&json!("b"), &json!("me.0")));
    }

    #[test]
    fn with_one_it_is_on_the_tagged_sub_interface() {
        let up = spec().with_uplink("eth0".parse().expect("a name"));
        let tagged = up.clone().with_vlan(100.try_into().expect("an id"));
        let parent =
            |spec: &NetworkSpec, plugin| wanted(spec, plugin, None).expect("a network").options["parent"].clone();
        assert_eq!(parent(&up, Plugin::Macvlan), "eth0");
        assert_eq!(parent(&tagged, Plugin::Ipvlan), "eth0.100");
        let cut_off = wanted(&up.clone().with_isolated(true), Plugin::Macvlan, None).expect("a network");
        assert_eq!((cut_off.driver, cut_off.options["macvlan_mode"].as_str()), ("macvlan", "private"));
        let refused = wanted(&up.with_isolated(true), Plugin::Ipvlan, None).expect_err("ipvlan");
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn netavark_is_told_of_no_address_to_give_the_machine() {
        let wanted = |spec: &NetworkSpec, cni| {
            let libpod = Libpod { cni, ipv6: true, default: "podman".into() };
            wanted(spec, Plugin::Macvlan, Some(&libpod))
        };
        let made = wanted(&spec().with_mtu(1400), false).expect("a network");
        assert_eq!((made.driver, made.internal, made.gateway), ("bridge", true, None));
        assert_eq!(made.options, [("mtu", "1400".to_owned())].into());
        let kept = wanted(&spec(), true).expect("a network").gateway;
        assert_eq!(kept, Some(Ipv4Addr::new(10, 1, 0, 6)));
        for bad in [spec().with_isolated(true), spec().with_uplink("eth0".parse().expect("a name"))] {
            assert_eq!(wanted(&bad, true).map_err(|e| e.kind()), Err(ErrorKind::Unsupported), "{bad:?}");
        }
    }

    #[test]
    fn the_daemon_keeps_an_address_that_nobody_gets() {
        let reserved = |ips: &[&str]| ips.iter().fold(spec(), |s, ip| s.with_reserved(ip.parse().expect("an address")));
        assert_eq!(kept(&spec()), Some(Ipv4Addr::new(10, 1, 0, 6)));
        assert_eq!(kept(&reserved(&["10.1.0.4", "10.1.0.2"])), Some(Ipv4Addr::new(10, 1, 0, 2)));
        // The subnet's own address can't be a host's.
        assert_eq!(kept(&reserved(&["10.1.0.0", "10.1.0.7"])), Some(Ipv4Addr::new(10, 1, 0, 6)));
        assert!(usable(&spec()).assignable("10.1.0.6".parse().expect("an address")).is_err());
    }

    #[test]
    fn what_docker_has_not_is_refused() {
        let mut none = spec();
        none.subnets.clear();
        for bad in [none, spec().with_subnet("10.2.0.0/24".parse().expect("a subnet"))] {
            assert_eq!(
                wanted(&bad, Plugin::Macvlan, None).map_err(|e| e.kind()),
                Err(ErrorKind::Unsupported),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn only_what_pod_made_has_a_specification() {
        let raw = |name: &str, label: &str| -> Raw {
            serde_json::from_value(json!({"Name": name, "Id": "1", "Labels": {LABEL: label}})).expect("a network")
        };
        let text = serde_json::to_string(&spec()).expect("JSON");
        assert_eq!(raw("red", &text).spec(), Some(spec()));
        assert_eq!(raw("blue", &text).spec(), None);
        assert_eq!(raw("red", "no JSON").spec(), None);
    }
}

//! Who is on which network with which address, as the daemon has it.

use super::network::{self, Raw};
use super::seen;
use crate::containers::{self, Bindings, Inspected};
use crate::engine::{Engine, Version};
use crate::libpod;
use ipnet::IpNet;
use pod_core::{
    Attachment, AttachmentSpec, Error, ErrorKind, IfName, MacAddr, NetworkName, NetworkSpec, Result, WorkloadName,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The first version of the API that takes a MAC address for each interface: Docker 25.
pub(crate) const MAC_EACH: Version = Version(1, 44);
/// The first version of the API that takes one for an interface that is attached later; those before it let
/// it fall.
const MAC_LATER: Version = Version(1, 54);
/// The first version of the API that takes the name of an interface: Docker 28.
const NAMES: Version = Version(1, 48);
/// The option of an attachment that names its interface.
const NAME: &str = "com.docker.network.endpoint.ifname";
/// The option of an attachment that keeps its MAC address: what the daemon shows of one that does not run
/// has none.
const MAC: &str = "pod.mac";

/// The networks that a container is on, and where its ports are published (`NetworkSettings`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Settings {
    networks: Option<BTreeMap<String, Endpoint>>,
    ports: Option<Bindings>,
}

impl Settings {
    /// Whether it may be on a network of POD's: on any that does not come with the daemon.
    pub(crate) fn any(&self) -> bool {
        self.names().any(|n| !matches!(n, "bridge" | "host" | "none"))
    }

    /// Its ports.
    pub(crate) fn ports(&self) -> Option<&Bindings> {
        self.ports.as_ref()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.networks.iter().flat_map(BTreeMap::keys).map(String::as_str)
    }

    pub(super) fn on(&self, network: &NetworkName) -> Option<&Endpoint> {
        self.networks.as_ref()?.get(network.as_str())
    }

    /// Those of these networks that it is on.
    pub(crate) fn among<'a>(&self, networks: impl Iterator<Item = &'a NetworkName>) -> BTreeSet<NetworkName> {
        networks.filter(|n| self.on(n).is_some()).cloned().collect()
    }

    /// How many ends have aliases of which this is true, and how many have not.
    pub(crate) fn count(&self, is: impl Fn(&[String]) -> bool) -> (usize, usize) {
        let all = self.networks.iter().flat_map(BTreeMap::values);
        let (with, without): (Vec<_>, Vec<_>) = all.partition(|e| is(e.aliases()));
        (with.len(), without.len())
    }

    /// The interfaces whose names were asked for, and how many others there are.
    pub(super) fn interfaces(&self) -> (BTreeSet<IfName>, usize) {
        let all = self.networks.iter().flat_map(BTreeMap::values);
        let named: Vec<_> = all.map(Endpoint::named).collect();
        let others = named.iter().filter(|n| n.is_none()).count();
        (named.into_iter().flatten().collect(), others)
    }
}

/// A container's end of a network.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Endpoint {
    #[serde(rename = "IPAMConfig")]
    asked: Option<Asked>,
    #[serde(rename = "IPAddress")]
    ip: String,
    mac_address: String,
    driver_opts: Option<BTreeMap<String, String>>,
    aliases: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Asked {
    #[serde(rename = "IPv4Address")]
    ipv4: String,
}

impl Endpoint {
    fn aliases(&self) -> &[String] {
        self.aliases.as_deref().unwrap_or_default()
    }

    /// Its address: the one it has, else the one it is to have.
    pub(super) fn ip(&self) -> Option<Ipv4Addr> {
        let asked = || self.asked.as_ref()?.ipv4.parse().ok();
        self.ip.parse().ok().or_else(asked).or_else(|| libpod::kept_ip(self.aliases()))
    }

    /// Its MAC address, by the same rule.
    fn mac(&self) -> Option<MacAddr> {
        let kept = || self.driver_opts.as_ref()?.get(MAC)?.parse().ok();
        let kept = || kept().or_else(|| libpod::kept_mac(self.aliases()));
        self.mac_address.parse().ok().or_else(kept).or_else(|| self.ip().and_then(mac_of))
    }

    /// The name that was asked for its interface.
    fn named(&self) -> Option<IfName> {
        let told = self.driver_opts.as_ref().and_then(|o| o.get(NAME)?.parse().ok());
        told.or_else(|| libpod::kept_interface(self.aliases()))
    }
}

/// The MAC address that the daemon derives from an address where none is given (before Docker 28).
fn mac_of(ip: Ipv4Addr) -> Option<MacAddr> {
    let [a, b, c, d] = ip.octets();
    MacAddr::new([0x02, 0x42, a, b, c, d]).ok()
}

/// A container of the list, with its networks.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Member {
    pub(super) id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    network_settings: Settings,
}

impl Member {
    /// Its name. A list also has the names that others call it by (`/other/alias`).
    pub(super) fn name(&self) -> String {
        let own = self.names.iter().filter_map(|n| n.strip_prefix('/')).find(|n| !n.contains('/'));
        own.unwrap_or(&self.id).to_owned()
    }

    pub(super) fn on(&self, network: &NetworkName) -> Option<&Endpoint> {
        self.network_settings.on(network)
    }
}

/// All containers of the daemon with their networks, running or not.
pub(super) async fn members(engine: &Engine) -> Result<Vec<Member>> {
    containers::list(engine, &json!({})).await
}

/// The networks of POD's that each container is on, by the containers' ids.
pub(crate) async fn attached(engine: &Engine) -> Result<BTreeMap<String, BTreeSet<NetworkName>>> {
    let known = network::of_pod(engine).await?;
    let members = members(engine).await?.into_iter();
    Ok(members.map(|m| (m.id, m.network_settings.among(known.keys()))).collect())
}

/// What a container's attachments are to POD's networks, by interface.
pub(crate) async fn attachments_of(
    engine: &Engine,
    found: &Inspected,
    networks: &BTreeMap<NetworkName, (Raw, NetworkSpec)>,
) -> Result<Vec<Attachment>> {
    let workload = found.name()?;
    let on: Vec<_> = networks.values().filter_map(|(_, spec)| Some((spec, found.networks.on(&spec.name)?))).collect();
    if on.is_empty() {
        return Ok(Vec::new());
    }
    let seen = seen::interfaces(engine, found).await.unwrap_or_default();
    let mut all = Vec::new();
    for (spec, endpoint) in on {
        // What another program put there without an address has none until it runs.
        let Some(ip) = endpoint.ip() else { continue };
        let Some(mac) = endpoint.mac() else { continue };
        let net = spec.subnets.iter().find(|n| n.contains(&IpAddr::V4(ip)));
        let there = seen.iter().find(|(n, _)| Some(&IpNet::V4(*n)) == net).map(|(_, name)| name.clone());
        let interface = there
            .or_else(|| endpoint.named())
            .map_or_else(|| expected(&found.networks, found.first_network(), &spec.name), Ok)?;
        let mut a = Attachment::new(workload.clone(), spec.name.clone(), interface, mac, spec.mtu);
        a.vlan = spec.vlan;
        a.ips = net.and_then(|n| IpNet::new(IpAddr::V4(ip), n.prefix_len()).ok()).into_iter().collect();
        all.push(a);
    }
    all.sort_by(|a, b| a.interface.cmp(&b.interface));
    Ok(all)
}

/// The interface that the daemon most likely makes for a network when the container starts: that of the
/// network it was made on first, and of names that were asked for none.
fn expected(networks: &Settings, first: &str, network: &NetworkName) -> Result<IfName> {
    let all = networks.networks.iter().flatten();
    let mut names: Vec<&str> = all.filter(|(_, e)| e.named().is_none()).map(|(n, _)| n.as_str()).collect();
    names.sort_by_key(|n| (*n != first, *n));
    let at = names.iter().position(|n| *n == network.as_str()).unwrap_or(names.len());
    let (asked, _) = networks.interfaces();
    let mut free =
        (0..).map(|n| IfName::new(format!("eth{n}"))).filter(|n| n.as_ref().map_or(true, |n| !asked.contains(n)));
    free.nth(at).ok_or_else(|| Error::unexpected("there is no name for an interface"))?
}

/// An attachment to be made: what to tell the daemon.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The network's name.
    pub(crate) network: NetworkName,
    /// Its address.
    pub(crate) ip: Ipv4Addr,
    /// Whether another will do as well.
    pub(crate) free: bool,
    /// Its MAC address, where the daemon takes one.
    pub(crate) mac: Option<MacAddr>,
    /// The name of its interface, where the daemon takes one.
    pub(crate) interface: Option<IfName>,
    /// Whether no other name will do.
    pub(crate) named: bool,
}

/// Whether a daemon takes a MAC address for each interface.
pub(super) fn takes_mac(engine: &Engine) -> bool {
    engine.libpod.is_some() || engine.version >= MAC_EACH
}

/// Whether a daemon takes one for an interface that is attached later.
pub(super) fn takes_mac_later(engine: &Engine) -> bool {
    engine.libpod.is_some() || engine.version >= MAC_LATER
}

/// Whether a daemon takes the name of an interface.
pub(super) fn takes_names(engine: &Engine) -> bool {
    engine.libpod.is_some() || engine.version >= NAMES
}

impl Place {
    /// Chooses the name of its interface: the one asked for, else the first `eth` that is free, as Podman
    /// itself chooses. Interfaces of unknown names have the first of those.
    ///
    /// # Errors
    /// `Conflict` when the workload has an interface of the name asked for.
    pub(super) fn name(&mut self, asked: Option<&IfName>, used: &mut BTreeSet<IfName>, unknown: usize) -> Result<()> {
        let name = match asked {
            Some(name) if used.contains(name) => {
                return Err(Error::new(ErrorKind::Conflict, format!("the workload has an interface {name} already"))
                    .with_context("network", self.network.as_str())
                    .with_hint("choose another name, or none"));
            }
            Some(name) => name.clone(),
            None => (unknown..)
                .map(|n| IfName::new(format!("eth{n}")))
                .find(|n| n.as_ref().map_or(true, |n| !used.contains(n)))
                .ok_or_else(|| Error::unexpected("there is no name for an interface"))??,
        };
        used.insert(name.clone());
        self.interface = Some(name);
        Ok(())
    }

    /// The settings of the container's end (API, `EndpointSettings`).
    pub(crate) fn settings(&self) -> Value {
        let mut settings = json!({"IPAMConfig": {"IPv4Address": self.ip.to_string()}});
        if let Some(mac) = self.mac {
            settings["MacAddress"] = mac.to_string().into();
            settings["DriverOpts"] = json!({MAC: mac.to_string()});
        }
        // The daemon makes the interfaces in another order at each start, and calls one without a name by the
        // first that is free. So one of them needs none; with one, that would be taken by what others attach.
        if let Some(name) = self.interface.as_ref().filter(|name| self.named || name.as_str() != "eth0") {
            settings["DriverOpts"][NAME] = name.as_str().into();
        }
        settings
    }
}

/// Checks what can be checked of an attachment without looking anywhere.
pub(super) fn check(asked: &AttachmentSpec, network: &NetworkSpec) -> Result<()> {
    let about = |e: Error| e.with_context("network", network.name.as_str());
    for (i, ip) in asked.ips.iter().enumerate() {
        if asked.ips[..i].contains(ip) {
            return Err(about(Error::invalid(format!("the address {ip} is given twice"))));
        }
        let kept = network::kept(network).map(IpAddr::V4);
        if kept == Some(*ip) && !network.reserved.contains(ip) {
            return Err(about(Error::invalid(format!("the daemon keeps the address {ip} of the network for itself")))
                .with_hint("choose another; which it keeps can be chosen by reserving one"));
        }
        network.assignable(*ip)?;
    }
    if asked.ips.len() > 1 {
        return Err(about(Error::unsupported("the daemon gives an interface one IPv4 address")));
    }
    if let Some(mtu) = asked.mtu.filter(|m| *m != network.mtu) {
        return Err(about(Error::unsupported(format!("the daemon gives an interface its network's MTU, not {mtu}"))));
    }
    Ok(())
}

/// Where a workload gets on a network: the address that is asked for, or the next free one that is not to be
/// avoided.
///
/// # Errors
/// `InvalidInput` for an address that nobody gets, `Conflict` for one that is held, `Exhausted`.
pub(super) fn place(
    engine: &Engine,
    workload: &WorkloadName,
    asked: &AttachmentSpec,
    network: &NetworkSpec,
    taken: &BTreeMap<IpAddr, String>,
    avoid: &BTreeSet<IpAddr>,
) -> Result<Place> {
    check(asked, network)?;
    let usable = network::usable(network);
    let ip = match (asked.ips.first(), usable.subnets.first()) {
        (Some(ip), _) => match taken.get(ip) {
            Some(holder) => return Err(held(*ip, network).with_context("held by", holder.clone())),
            None => *ip,
        },
        (None, Some(subnet)) => usable.next_free(*subnet, |ip| taken.contains_key(&ip) || avoid.contains(&ip))?.addr(),
        (None, None) => return Err(Error::unsupported("the daemon has no networks without addresses")),
    };
    let IpAddr::V4(v4) = ip else { return Err(Error::unsupported("the daemon's networks have no IPv6 for POD")) };
    // Docker 28 would give another one at each start.
    let derived = || MacAddr::derived(format!("{workload} {}", network.name).as_bytes());
    let mac = takes_mac(engine).then(|| asked.mac.unwrap_or_else(derived));
    let (free, named) = (asked.ips.is_empty(), asked.interface.is_some());
    Ok(Place { network: network.name.clone(), ip: v4, free, mac, interface: None, named })
}

/// The error for an address that someone has.
pub(super) fn held(ip: IpAddr, network: &NetworkSpec) -> Error {
    Error::new(ErrorKind::Conflict, format!("the address {ip} is taken"))
        .with_context("network", network.name.as_str())
        .with_hint("choose another, or detach its holder")
}

/// Whether a daemon refused an address because someone else has it by now; of a port it says so otherwise.
pub(crate) fn is_held(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict && error.to_string().contains("Address already in use")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_does_not_run_is_what_it_is_to_be() {
        let read = |value: Value| -> Endpoint { serde_json::from_value(value).expect("an endpoint") };
        let stopped = read(json!({"IPAMConfig": {"IPv4Address": "10.1.0.3"}, "IPAddress": "", "MacAddress": ""}));
        assert_eq!(stopped.ip(), Some(Ipv4Addr::new(10, 1, 0, 3)));
        assert_eq!(stopped.mac().map(|m| m.to_string()).as_deref(), Some("02:42:0a:01:00:03"));
        let kept = read(json!({"IPAMConfig": {"IPv4Address": "10.1.0.3"}, "DriverOpts": {MAC: "02:00:00:00:00:07"}}));
        assert_eq!(kept.mac().map(|m| m.to_string()).as_deref(), Some("02:00:00:00:00:07"));
        let running = read(json!({"IPAMConfig": null, "IPAddress": "10.1.0.4", "MacAddress": "02:42:0a:01:00:04"}));
        assert_eq!(running.ip(), Some(Ipv4Addr::new(10, 1, 0, 4)));
        assert_eq!(read(json!({})).ip(), None);
    }

    fn place(interface: &str, named: bool) -> Place {
        Place {
            network: "red".parse().expect("a name"),
            ip: Ipv4Addr::new(10, 1, 0, 3),
            free: true,
            mac: None,
            interface: Some(interface.parse().expect("a name")),
            named,
        }
    }

    #[test]
    fn every_interface_but_the_first_is_told_its_name() {
        let told = |interface, named| place(interface, named).settings()["DriverOpts"][NAME].clone();
        assert_eq!(told("eth0", false), Value::Null);
        for (interface, named) in [("eth0", true), ("eth1", false), ("lan0", true)] {
            assert_eq!(told(interface, named), interface);
        }
    }

    #[test]
    fn an_interface_without_a_name_gets_one_that_nobody_asked_for() {
        let read =
            |networks: Value| -> Settings { serde_json::from_value(json!({"Networks": networks})).expect("some") };
        let of = |all: &Settings, name: &str| {
            expected(all, "blue", &name.parse().expect("a name")).expect("a name").to_string()
        };
        let asked = |name: &str| json!({"DriverOpts": {NAME: name}});
        let some = read(json!({"blue": {}, "green": {}, "red": asked("eth1")}));
        assert_eq!((of(&some, "blue").as_str(), of(&some, "green").as_str()), ("eth0", "eth2"));
        assert_eq!(some.interfaces(), (["eth1".parse().expect("a name")].into(), 2));
        assert_eq!(of(&read(json!({"blue": {}, "red": asked("eth0")})), "blue"), "eth1");
        assert_eq!(of(&read(json!({"blue": {}, "amber": {}})), "amber"), "eth1");
    }

    #[test]
    fn a_taken_address_is_told_from_a_taken_port() {
        let conflict = |words: &str| is_held(&Error::new(ErrorKind::Conflict, words));
        assert!(conflict("the daemon answered: Address already in use"));
        assert!(!conflict("listen tcp4 0.0.0.0:80: bind: address already in use"));
    }

    #[test]
    fn a_container_is_called_by_its_own_name() {
        let member: Member = serde_json::from_value(json!({"Id": "1", "Names": ["/web/db", "/db"]})).expect("one");
        assert_eq!(member.name(), "db");
    }
}

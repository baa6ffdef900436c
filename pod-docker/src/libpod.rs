//! Podman's own API, on the socket of its Docker-compatible one: what networks need that the latter lacks.
//!
//! The compatible API of Podman 4.3 knows no names of interfaces, gives every network an address of the
//! machine's or a name service, and forgets what a container that does not run was attached with. Podman's
//! own takes all that is asked for, and keeps it for the next start. It shows little of it again, though:
//! of an attachment of a container that does not run, only its aliases. So what was asked for is written
//! down as aliases; nothing else reads them, because POD's networks have no name service of Podman's.
//!
//! A container of POD's is made on Podman's default network and taken off it before its program runs, but for
//! one that publishes ports; see [`Libpod::made_with`] and [`ready`].

use crate::containers::Inspected;
use crate::engine::failure::Failure;
use crate::engine::{Engine, Query, part};
use crate::networking::{Place, Wanted};
use pod_core::{Error, ErrorKind, IfName, MacAddr, NetworkSpec, Result, WorkloadSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

/// The first version whose networks are POD's to use.
const OLDEST: u16 = 4;

/// The compatible API's name for Podman's default network, whatever it is called.
const DEFAULT: &str = "bridge";

/// The alias of a container's end of the default network while it is made ready for its start.
const PASSING: &str = "pod.passing";

/// What begins the alias that keeps an address.
const IP: &str = "pod.ip.";
/// The same for a MAC address, with hyphens.
const MAC: &str = "pod.mac.";
/// The same for the name of an interface.
const INTERFACE: &str = "pod.if.";

/// What Podman's networks depend on (`GET /libpod/info`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Libpod {
    /// Whether CNI's plugins make its networks, not netavark.
    pub(crate) cni: bool,
    /// Whether its machine's kernel has IPv6.
    pub(crate) ipv6: bool,
    /// The real name of its default network.
    pub(crate) default: String,
}

impl Libpod {
    /// Asks a Podman. `None` for one whose networks POD can't use: an ordinary user's, or one before
    /// version 4.
    pub(crate) async fn of(engine: &Engine) -> Result<Option<Self>, Failure> {
        #[derive(Deserialize)]
        struct Info {
            host: Host,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Host {
            #[serde(default)]
            network_backend: String,
            security: Security,
        }
        #[derive(Deserialize)]
        struct Security {
            rootless: bool,
        }
        #[derive(Deserialize)]
        struct Named {
            #[serde(rename = "Id")]
            id: String,
        }
        let major = engine.about.version.split('.').next().and_then(|v| v.parse::<u16>().ok());
        if major.is_none_or(|v| v < OLDEST) {
            return Ok(None);
        }
        let Info { host } = engine.get("/libpod/info", Query::new()).await?;
        if host.security.rootless {
            return Ok(None);
        }
        // Elsewhere it is in a virtual machine of Podman's, which has it.
        let here = cfg!(target_os = "linux") && engine.is_local();
        let ipv6 = !here || tokio::fs::try_exists(Path::new("/proc/sys/net/ipv6")).await.unwrap_or(true);
        let Named { id } = engine.get(&format!("/networks/{DEFAULT}"), Query::new()).await?;
        let default = networks(engine).await?.into_iter().find(|n| n.id == id);
        let default = default.map_or_else(|| DEFAULT.to_owned(), |n| n.name);
        Ok(Some(Self { cni: host.network_backend == "cni", ipv6, default }))
    }

    /// What a container is made with: on the default network, for the time being, because one that is made
    /// on none can never be attached to any (API, `HostConfig` and `NetworkingConfig`). One that publishes
    /// ports stays there, as nothing else leads to them.
    pub(crate) fn made_with(&self, spec: &WorkloadSpec, host: &mut Map<String, Value>) -> Value {
        host.insert("NetworkMode".into(), "bridge".into());
        host.extend(self.sysctls().map(|s| ("Sysctls".to_owned(), s)));
        let end = if spec.ports.is_empty() { json!({"Aliases": [PASSING]}) } else { json!({}) };
        json!({"EndpointsConfig": {&*self.default: end}})
    }

    /// The kernel's settings of a container: no IPv6 on any interface, those that come later included
    /// (the kernel's ip-sysctl.txt, `disable_ipv6`). The machine's end of a bridge has a link-local address,
    /// so that a workload with one of its own would reach the machine.
    fn sysctls(&self) -> Option<Value> {
        self.ipv6.then(|| json!({"net.ipv6.conf.all.disable_ipv6": "1"}))
    }
}

/// A network as Podman has it (`GET /libpod/networks/json`).
#[derive(Debug, Deserialize)]
pub(crate) struct Net {
    pub(crate) name: String,
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) driver: String,
    #[serde(default)]
    pub(crate) internal: bool,
    #[serde(default)]
    pub(crate) subnets: Option<Vec<Subnet>>,
    #[serde(default)]
    pub(crate) options: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Subnet {
    pub(crate) subnet: String,
    #[serde(default)]
    pub(crate) gateway: String,
}

/// All networks.
pub(crate) async fn networks(engine: &Engine) -> Result<Vec<Net>, Failure> {
    engine.get("/libpod/networks/json", Query::new()).await
}

/// Makes a network; gives its id.
pub(crate) async fn create(
    engine: &Engine,
    spec: &NetworkSpec,
    wanted: &Wanted,
    labels: &BTreeMap<String, String>,
) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Made {
        id: String,
    }
    let body = network(spec, wanted, labels);
    engine.post_json::<Made>("/libpod/networks/create", Query::new(), &body).await.map(|made| made.id)
}

fn network(spec: &NetworkSpec, wanted: &Wanted, labels: &BTreeMap<String, String>) -> Value {
    let mut subnet = json!({"subnet": wanted.subnet.to_string()});
    if let Some(gateway) = wanted.gateway {
        subnet["gateway"] = gateway.to_string().into();
    }
    json!({
        "name": spec.name.as_str(),
        "driver": wanted.driver,
        "internal": wanted.internal,
        "ipv6_enabled": false,
        "dns_enabled": false,
        "subnets": [subnet],
        "ipam_options": {"driver": "host-local"},
        "options": wanted.options,
        "labels": labels,
    })
}

/// Puts a container on a network, running or not. A refusal leaves it as it was.
pub(crate) async fn connect(engine: &Engine, id: &str, place: &Place) -> Result<()> {
    let path = format!("/libpod/networks/{}/connect", part(place.network.as_str()));
    let about = |e: Error| e.with_context("network", place.network.as_str());
    let Err(failure) = engine.post_body(&path, &end(id, place)).await else { return Ok(()) };
    // What Podman could not carry out it has written down all the same, and shows the container no more.
    let to_undo = failure.words().is_some_and(|w| !w.contains("already connected"));
    let error = about(explained(engine, failure));
    if !to_undo {
        return Err(error);
    }
    Err(match disconnect(engine, id, place.network.as_str()).await {
        Ok(()) => error,
        Err(f) if f.is_not_found() => error,
        Err(left) => error.with_context("left_behind", engine.error(left).to_string()),
    })
}

/// The body of a request that puts a container on a network.
fn end(id: &str, place: &Place) -> Value {
    let mut end = json!({"container": id, "static_ips": [place.ip.to_string()], "aliases": aliases(place)});
    if let Some(mac) = place.mac {
        end["static_mac"] = mac.to_string().into();
    }
    // Two that choose the same name at once would cut each other off; Podman chooses under its lock.
    if let Some(name) = place.interface.as_ref().filter(|_| place.named) {
        end["interface_name"] = name.as_str().into();
    }
    end
}

/// The error of a container that could not be started, or put on a network.
pub(crate) fn explained(engine: &Engine, failure: Failure) -> Error {
    let words = failure.words().unwrap_or_default().to_owned();
    let is = |kind, message: &str| Error::new(kind, message).with_context("answer", words.clone());
    if words.contains("invalid network mode") {
        return is(ErrorKind::WrongState, "the workload has no network of its own to add others to")
            .with_hint("make it again without --network none, host or container");
    }
    if words.contains("is not available in range set") || words.contains("is already allocated to") {
        // As Docker says it.
        return is(ErrorKind::Conflict, "Address already in use");
    }
    if words.contains("already connected") {
        return is(ErrorKind::Conflict, "another put the workload on the network just now");
    }
    engine.error(failure)
}

/// Takes a container off a network that it is on.
async fn disconnect(engine: &Engine, id: &str, network: &str) -> Result<(), Failure> {
    let body = json!({"Container": id, "Force": false});
    match engine.post_body(&format!("/networks/{}/disconnect", part(network)), &body).await {
        Err(f) if f.words().is_some_and(|w| w.contains("is not connected to")) => Ok(()),
        done => done,
    }
}

/// Takes a container that was just made off the default network and puts it on those asked for. Without any
/// it stays until its start, which comes at once.
pub(crate) async fn settle(engine: &Engine, id: &str, places: &[Place], start: bool) -> Result<()> {
    if !start || !places.is_empty() {
        disconnect(engine, id, DEFAULT).await.map_err(|f| engine.error(f))?;
    }
    for place in places {
        connect(engine, id, place).await?;
    }
    Ok(())
}

/// Makes a container that does not run ready for its start.
///
/// Podman switches the loopback interface on with a container's first network, and without any leaves it
/// down. So one without networks is on the default one while Podman sets it up, and off it before its program
/// runs. An alias tells a later start that it was not put there for good.
pub(crate) async fn ready(engine: &Engine, found: &Inspected) -> Result<(), Failure> {
    if found.is_running() || !found.is_on_bridges() {
        return Ok(());
    }
    let (passing, others) = found.networks.count(|aliases| aliases.iter().any(|a| a == PASSING));
    if others > 0 {
        return if passing > 0 { disconnect(engine, &found.id, DEFAULT).await } else { Ok(()) };
    }
    if passing == 0 {
        let body = json!({"Container": found.id, "EndpointConfig": {"Aliases": [PASSING]}});
        match engine.post_body(&format!("/networks/{DEFAULT}/connect"), &body).await {
            Err(f) if !f.words().is_some_and(|w| w.contains("already connected")) => {
                return Err(undone(engine, &found.id, f).await);
            }
            _ => {}
        }
    }
    match engine.post(&format!("/libpod/containers/{}/init", part(&found.id)), Query::new()).await {
        Ok(_) => disconnect(engine, &found.id, DEFAULT).await,
        Err(f) => Err(undone(engine, &found.id, f).await),
    }
}

/// Takes a container off the default network after a failure, which stays the one that is told.
async fn undone(engine: &Engine, id: &str, failure: Failure) -> Failure {
    if let Err(left) = disconnect(engine, id, DEFAULT).await {
        tracing::warn!(error = %engine.error(left), container = id, "it was left on the default network");
    }
    failure
}

/// What an attachment is made with, as aliases.
fn aliases(place: &Place) -> Vec<String> {
    let mac = place.mac.map(|m| format!("{MAC}{}", m.to_string().replace(':', "-")));
    let interface = place.interface.as_ref().map(|i| format!("{INTERFACE}{i}"));
    [format!("{IP}{}", place.ip)].into_iter().chain(mac).chain(interface).collect()
}

fn kept<'a>(aliases: &'a [String], begin: &str) -> Option<&'a str> {
    aliases.iter().find_map(|a| a.strip_prefix(begin))
}

/// The address that aliases keep.
pub(crate) fn kept_ip(aliases: &[String]) -> Option<Ipv4Addr> {
    kept(aliases, IP)?.parse().ok()
}

/// The MAC address that aliases keep.
pub(crate) fn kept_mac(aliases: &[String]) -> Option<MacAddr> {
    kept(aliases, MAC)?.replace('-', ":").parse().ok()
}

/// The name of the interface that aliases keep.
pub(crate) fn kept_interface(aliases: &[String]) -> Option<IfName> {
    kept(aliases, INTERFACE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(named: bool) -> Place {
        Place {
            network: "red".parse().expect("a name"),
            ip: Ipv4Addr::new(10, 1, 0, 3),
            free: false,
            mac: Some("02:5e:10:00:00:77".parse().expect("a MAC address")),
            interface: Some("lan7".parse().expect("a name")),
            named,
        }
    }

    #[test]
    fn aliases_keep_what_was_asked_for() {
        let aliases = aliases(&place(true));
        assert_eq!(aliases, ["pod.ip.10.1.0.3", "pod.mac.02-5e-10-00-00-77", "pod.if.lan7"]);
        assert_eq!(kept_ip(&aliases), Some(Ipv4Addr::new(10, 1, 0, 3)));
        assert_eq!(kept_mac(&aliases), place(true).mac);
        assert_eq!(kept_interface(&aliases), place(true).interface);
        let others = ["web".to_owned(), "pod.ip.".to_owned(), "pod.mac.x".to_owned()];
        assert_eq!((kept_ip(&others), kept_mac(&others), kept_interface(&others)), (None, None, None));
    }

    #[test]
    fn podman_chooses_the_name_that_nobody_asked_for() {
        assert_eq!(end("1", &place(true))["interface_name"], "lan7");
        let end = end("1", &place(false));
        assert_eq!(end["interface_name"], Value::Null);
        assert_eq!((&end["static_ips"], &end["static_mac"]), (&json!(["10.1.0.3"]), &json!("02:5e:10:00:00:77")));
    }

    #[test]
    fn only_a_kernel_with_ipv6_is_told_to_leave_it() {
        let libpod = |ipv6| Libpod { cni: true, ipv6, default: "podman".into() };
        assert_eq!(libpod(false).sysctls(), None);
        let mut host = Map::new();
        let spec = WorkloadSpec::new("web".parse().expect("a name"));
        let on = libpod(true).made_with(&spec, &mut host);
        assert_eq!(on, json!({"EndpointsConfig": {"podman": {"Aliases": ["pod.passing"]}}}));
        assert_eq!(host["Sysctls"], json!({"net.ipv6.conf.all.disable_ipv6": "1"}));
    }

    #[test]
    fn only_what_publishes_ports_stays_on_the_default_network() {
        let libpod = Libpod { cni: false, ipv6: false, default: "podman".into() };
        let spec = WorkloadSpec::new("web".parse().expect("a name")).with_port("80".parse().expect("a port"));
        assert_eq!(libpod.made_with(&spec, &mut Map::new()), json!({"EndpointsConfig": {"podman": {}}}));
    }
}

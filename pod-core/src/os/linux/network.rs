//! Configures interfaces by `ip`, names by resolv.conf(5) or systemd-resolved, and what stays over a
//! reboot by NetworkManager or systemd-networkd.

use crate::os::facts::{InitSystem, OsFacts};
use crate::os::network::{NameState, NetworkConfig, NetworkManager, NetworkState};
use crate::os::plan::Plan;
use crate::os::script::{NONE, Sections, script};
use crate::os::{Interface, LinkKind, RouteEntry};
use crate::{Error, IfName, Result};
use ipnet::IpNet;
use std::fmt::Write;
use std::net::IpAddr;

const NAMES: &str = r#"
s manager
if has nmcli && [ "$(nmcli -t -f RUNNING general 2>/dev/null)" = running ]; then echo nm
elif has systemctl && systemctl is-active --quiet systemd-networkd 2>/dev/null; then echo networkd; fi
s target; if [ -L /etc/resolv.conf ]; then readlink -f /etc/resolv.conf; fi
if [ -e /etc/resolv.conf ]; then s conf; cat /etc/resolv.conf; fi
s servers; if has resolvectl; then resolvectl dns "$1" 2>/dev/null; fi
s domains; if has resolvectl; then resolvectl domain "$1" 2>/dev/null; fi
exit 0
"#;

/// The plan that reads how names are resolved, and who configures the network.
pub(crate) fn name_state(facts: &OsFacts, interface: &IfName) -> Plan<NameState> {
    let resolved = facts.init == Some(InitSystem::Systemd) && facts.has("resolvectl");
    Plan::new(script(NAMES, [interface.as_str()]), move |output| {
        let sections = Sections::of(output)?;
        // `Link 2 (eth0): 192.0.2.1 192.0.2.2`
        let words = |text: String| {
            let line = text.lines().find_map(|l| l.split_once("): ").map(|(_, v)| v.to_owned())).unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect()
        };
        Ok(NameState {
            resolv_conf: sections.bytes("conf").ok().map(<[u8]>::to_vec),
            resolved: resolved && sections.line("target")?.starts_with("/run/systemd/resolve/"),
            servers: words(sections.text("servers")?),
            domains: words(sections.text("domains")?),
            manager: match sections.line("manager")?.as_str() {
                "nm" => Some(NetworkManager::NetworkManager),
                "networkd" => Some(NetworkManager::SystemdNetworkd),
                _ => None,
            },
        })
    })
}

/// Commands, one a line of the script that runs them; a failure ends it.
#[derive(Debug)]
struct Commands(String);

impl Commands {
    fn run(&mut self, words: &[&str]) {
        let quoted: Vec<String> = words.iter().map(|w| quote(w)).collect();
        // Writing to a String can't fail.
        let _ = writeln!(self.0, "{} || exit", quoted.join(" "));
    }

    /// As [`Commands::run`], with the rest tried even if this fails; the script fails in the end.
    fn try_run(&mut self, words: &[&str]) {
        let quoted: Vec<String> = words.iter().map(|w| quote(w)).collect();
        let _ = writeln!(self.0, "{} || bad=$?", quoted.join(" "));
    }
}

/// Quotes a word for the shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Before every change. Asked each time: `ip` may have been installed since the facts were read.
const NEEDS_IP: &str = "has ip || fail 92 'the workload has no `ip`, so its network can not be configured from \
                        inside: install iproute2 in it, or attach it to a network from outside'\n";

fn find<'a>(state: &'a NetworkState, name: &str) -> Option<&'a Interface> {
    state.interfaces.iter().find(|i| i.name == name)
}

fn family(v6: bool) -> &'static str {
    if v6 { "-6" } else { "-4" }
}

/// Whether the kernel gives and takes this address by itself.
fn link_local(address: &IpNet) -> bool {
    match address.addr() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The plan that makes the interface what the configuration says.
pub(crate) fn apply(config: &NetworkConfig, before: &NetworkState) -> Plan<()> {
    let name = config.interface.as_str();
    let there = find(before, name);
    let mut c = Commands(NEEDS_IP.to_owned());
    if let (Some(vlan), None) = (&config.vlan, there) {
        let (parent, id) = (vlan.parent.as_str(), vlan.id.to_string());
        // A kernel without 802.1Q refuses with a word that says so poorly.
        let _ = writeln!(
            c.0,
            "o=$(ip link add link {} name {} type vlan id {id} 2>&1) || case $o in *upported*|*nknown*) fail 92 \
             'the kernel has no 802.1Q VLANs (CONFIG_VLAN_8021Q)' ;; *) printf '%s\\n' \"$o\" >&2; exit 1 ;; esac",
            quote(parent),
            quote(name),
        );
        c.run(&["ip", "link", "set", "dev", parent, "up"]);
    }
    if let Some(mtu) = config.mtu
        && there.and_then(|i| i.mtu) != Some(mtu)
    {
        c.run(&["ip", "link", "set", "dev", name, "mtu", &mtu.to_string()]);
    }
    c.run(&["ip", "link", "set", "dev", name, "up"]);
    let other: Vec<&IpNet> = match there {
        // In reverse: the kernel takes the later addresses of a network away with its first.
        Some(i) if config.exact => {
            i.addresses.iter().rev().filter(|a| !config.addresses.contains(a) && !link_local(a)).collect()
        }
        _ => Vec::new(),
    };
    for address in &other {
        c.run(&["ip", "address", "del", &address.to_string(), "dev", name]);
    }
    let has = |a: &IpNet| other.is_empty() && there.is_some_and(|i| i.addresses.contains(a));
    for address in config.addresses.iter().filter(|a| !has(a)) {
        let verb = if other.is_empty() { "add" } else { "replace" };
        c.run(&["ip", "address", verb, &address.to_string(), "dev", name]);
    }
    if !other.is_empty() {
        // With an address go the routes whose next hop it reached; those that are still reached come back.
        let reached = |r: &&RouteEntry| {
            r.interface.as_deref() == Some(name)
                && r.via.is_some_and(|v| config.addresses.iter().any(|a| a.contains(&v)))
        };
        for r in before.routes.iter().filter(reached) {
            c.run(&route("replace", r).iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    for gateway in &config.gateways {
        c.run(&[
            "ip",
            family(gateway.is_ipv6()),
            "route",
            "replace",
            "default",
            "via",
            &gateway.to_string(),
            "dev",
            name,
        ]);
    }
    let mut conf = Vec::new();
    if !config.dns.is_empty() || !config.search.is_empty() {
        if before.names.resolved {
            let servers: Vec<String> = config.dns.iter().map(ToString::to_string).collect();
            for (what, values) in [("dns", &servers), ("domain", &config.search)] {
                if !values.is_empty() {
                    c.run(&resolvectl(what, name, values));
                }
            }
        } else {
            // In place: in a container the file is mounted.
            c.0.push_str("printf '%s' \"$1\" >/etc/resolv.conf || exit\n");
            conf = resolv_conf(before.names.resolv_conf.as_deref(), config);
        }
    }
    Plan::new(script(&c.0, [conf]), |_| Ok(()))
}

/// `resolvectl WHAT LINK VALUE…`; no value is an empty one, which takes away all.
fn resolvectl<'a>(what: &'a str, link: &'a str, values: &'a [String]) -> Vec<&'a str> {
    let none = values.is_empty().then_some("");
    ["resolvectl", what, link].into_iter().chain(values.iter().map(String::as_str)).chain(none).collect()
}

/// The new resolv.conf(5): servers and domains that were given take the place of the old ones, other
/// lines stay.
fn resolv_conf(old: Option<&[u8]>, config: &NetworkConfig) -> Vec<u8> {
    let mut new = String::new();
    let old = String::from_utf8_lossy(old.unwrap_or_default()).into_owned();
    let key = |l: &str| l.split_whitespace().next().unwrap_or_default().to_owned();
    let stays = |l: &&str| match key(l).as_str() {
        "nameserver" => config.dns.is_empty(),
        "search" | "domain" => config.search.is_empty(),
        _ => true,
    };
    for line in old.lines().filter(stays) {
        new.push_str(line);
        new.push('\n');
    }
    if !config.search.is_empty() {
        let _ = writeln!(new, "search {}", config.search.join(" "));
    }
    for server in &config.dns {
        let _ = writeln!(new, "nameserver {server}");
    }
    new.into_bytes()
}

/// The plan that takes back what differs between two states of one interface, its gateways and names.
/// Every step is tried, the first that failed gives the error.
pub(crate) fn restore(config: &NetworkConfig, before: &NetworkState, now: &NetworkState) -> Plan<()> {
    let name = config.interface.as_str();
    let mut c = Commands(format!("{NEEDS_IP}bad=0\n"));
    // Routes go first, while what they need is there, and come back last.
    let gone_with_link = |r: &RouteEntry| find(before, name).is_none() && r.interface.as_deref() == Some(name);
    let lacks = |of: &NetworkState, r: &RouteEntry| r.is_default() && !of.routes.contains(r);
    for r in now.routes.iter().filter(|r| lacks(before, r) && !gone_with_link(r)) {
        c.try_run(&route("del", r).iter().map(String::as_str).collect::<Vec<_>>());
    }
    match (find(before, name), find(now, name)) {
        (None, Some(_)) => c.try_run(&["ip", "link", "del", "dev", name]),
        (Some(b), Some(n)) => {
            for address in n.addresses.iter().filter(|a| !b.addresses.contains(a) && !link_local(a)) {
                c.try_run(&["ip", "address", "del", &address.to_string(), "dev", name]);
            }
            for address in b.addresses.iter().filter(|a| !n.addresses.contains(a) && !link_local(a)) {
                c.try_run(&["ip", "address", "add", &address.to_string(), "dev", name]);
            }
            if let (Some(old), true) = (b.mtu, b.mtu != n.mtu) {
                c.try_run(&["ip", "link", "set", "dev", name, "mtu", &old.to_string()]);
            }
            if !b.up && n.up {
                c.try_run(&["ip", "link", "set", "dev", name, "down"]);
            }
        }
        (_, None) => {}
    }
    if let Some(vlan) = &config.vlan
        && let (Some(b), Some(n)) = (find(before, vlan.parent.as_str()), find(now, vlan.parent.as_str()))
        && !b.up
        && n.up
    {
        c.try_run(&["ip", "link", "set", "dev", vlan.parent.as_str(), "down"]);
    }
    for r in before.routes.iter().filter(|r| lacks(now, r)) {
        c.try_run(&route("replace", r).iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut conf = Vec::new();
    if before.names.resolved {
        let (dns, domains) = (config.dns.is_empty(), config.search.is_empty());
        for (what, unasked, old) in [("dns", dns, &before.names.servers), ("domain", domains, &before.names.domains)] {
            if !unasked && find(before, name).is_some() {
                c.try_run(&resolvectl(what, name, old));
            }
        }
    } else if now.names.resolv_conf != before.names.resolv_conf {
        match &before.names.resolv_conf {
            Some(old) => {
                c.0.push_str("printf '%s' \"$1\" >/etc/resolv.conf || bad=$?\n");
                conf.clone_from(old);
            }
            None => c.try_run(&["rm", "-f", "/etc/resolv.conf"]),
        }
    }
    c.0.push_str("exit $bad\n");
    Plan::new(script(&c.0, [conf]), |_| Ok(()))
}

/// `ip route VERB …` for a route that was read.
fn route(verb: &str, r: &RouteEntry) -> Vec<String> {
    let to = if r.is_default() { "default".to_owned() } else { r.to.to_string() };
    let mut words: Vec<String> =
        ["ip", family(matches!(r.to, IpNet::V6(_))), "route", verb, &to].map(str::to_owned).to_vec();
    let mut put = |key: &str, value: Option<String>| words.extend(value.into_iter().flat_map(|v| [key.to_owned(), v]));
    put("via", r.via.map(|v| v.to_string()));
    put("dev", r.interface.clone());
    put("metric", (r.metric != 0).then(|| r.metric.to_string()));
    put("src", r.source.map(|s| s.to_string()));
    words
}

/// The plan that has the configuration kept over a reboot.
pub(crate) fn persist(config: &NetworkConfig, before: &NetworkState) -> Result<Plan<()>> {
    let name = config.interface.as_str();
    let kind = find(before, name).map(|i| &i.kind);
    if !matches!(kind, None | Some(LinkKind::Ethernet | LinkKind::Veth | LinkKind::Vlan)) {
        return Err(Error::unsupported("only network cards and VLAN sub-interfaces can be kept over a reboot")
            .with_context("interface", name));
    }
    match before.names.manager {
        Some(NetworkManager::NetworkManager) => network_manager(config),
        Some(NetworkManager::SystemdNetworkd) => networkd(config),
        None => Err(Error::unsupported("nothing in the workload keeps a network configuration over a reboot")),
    }
}

fn join<T: ToString>(items: impl Iterator<Item = T>, with: &str) -> String {
    items.map(|i| i.to_string()).collect::<Vec<_>>().join(with)
}

/// A profile of our own, which wins over others at the next boot; one that is there is changed.
/// Nothing is activated now: the interface has its configuration already.
fn network_manager(config: &NetworkConfig) -> Result<Plan<()>> {
    let name = config.interface.as_str();
    let mut settings: Vec<String> = vec!["connection.autoconnect".into(), "yes".into()];
    let mut set = |key: &str, value: String| settings.extend([key.to_owned(), value]);
    set("connection.autoconnect-priority", "100".into());
    for (v6, prefix) in [(false, "ipv4"), (true, "ipv6")] {
        let of = |a: &&IpNet| matches!(a, IpNet::V6(_)) == v6;
        let addresses = join(config.addresses.iter().filter(of), ",");
        let method = match (addresses.is_empty(), v6) {
            (false, _) => "manual",
            (true, false) => "disabled",
            (true, true) => "link-local",
        };
        // Without an address NetworkManager takes neither servers nor domains of that family.
        let manual = method == "manual";
        let dns = join(config.dns.iter().filter(|d| d.is_ipv6() == v6), ",");
        if !manual && !dns.is_empty() {
            return Err(Error::unsupported("NetworkManager keeps a DNS server only beside an address of its family")
                .with_context("dns", dns));
        }
        set(&format!("{prefix}.addresses"), addresses);
        set(&format!("{prefix}.method"), method.into());
        set(&format!("{prefix}.gateway"), join(config.gateways.iter().filter(|g| g.is_ipv6() == v6), ","));
        set(&format!("{prefix}.dns"), dns);
        set(&format!("{prefix}.dns-search"), if manual { config.search.join(",") } else { String::new() });
    }
    set("802-3-ethernet.mtu", config.mtu.unwrap_or(0).to_string());
    let mut make: Vec<String> = vec!["con-name".into(), format!("pod-{name}"), "ifname".into(), name.to_owned()];
    match &config.vlan {
        Some(v) => make.extend(["type", "vlan", "dev", v.parent.as_str(), "id", &v.id.to_string()].map(str::to_owned)),
        None => make.extend(["type", "ethernet"].map(str::to_owned)),
    }
    let words = |list: &[String]| list.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" ");
    let profile = quote(&format!("pod-{name}"));
    let text = format!(
        "if nmcli -g connection.id connection show {profile} >/dev/null 2>&1; then exec nmcli connection modify \
         {profile} {set} >&2; fi\nexec nmcli connection add {make} {set} >&2",
        set = words(&settings),
        make = words(&make),
    );
    Ok(Plan::new(script(&text, NONE), |_| Ok(())))
}

/// Files that systemd-networkd reads at the next boot. A VLAN must also be named in its parent's file,
/// by a drop-in; where networkd does not configure the parent, making it do so could cut it off.
const NETWORKD: &str = r#"
n=$1 parent=$2 dir=/etc/systemd/network
made=
undo() { for f in $made; do rm -f "$f"; done; exit 1; }
put() { printf '%s' "$2" >"$1" || undo; }
mkdir -p "$dir" || exit
if [ -n "$parent" ]; then
  f=$(networkctl --no-pager status "$parent" 2>/dev/null | while read -r k1 k2 v; do
    case "$k1 $k2" in 'Network File:') printf '%s\n' "$v" ;; esac; done)
  case $f in /*) ;; *) fail 92 "systemd-networkd does not configure $parent, so it can't keep a VLAN on it" ;; esac
  d=$dir/${f##*/}.d
  mkdir -p "$d" || exit
  if [ ! -e "$d/50-pod-$n.conf" ]; then made="$made $d/50-pod-$n.conf"; fi
  put "$d/50-pod-$n.conf" "$5"
  if [ ! -e "$dir/10-pod-$n.netdev" ]; then made="$made $dir/10-pod-$n.netdev"; fi
  put "$dir/10-pod-$n.netdev" "$4"
fi
put "$dir/10-pod-$n.network" "$3"
"#;

fn networkd(config: &NetworkConfig) -> Result<Plan<()>> {
    let name = config.interface.as_str();
    if name.contains(['*', '?', '[', '!']) {
        return Err(
            Error::invalid("systemd-networkd would read this name as a pattern").with_context("interface", name)
        );
    }
    let mut network = format!("[Match]\nName={name}\n\n");
    if let Some(mtu) = config.mtu {
        let _ = write!(network, "[Link]\nMTUBytes={mtu}\n\n");
    }
    network.push_str("[Network]\n");
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(network, "{key}={value}");
    };
    config.addresses.iter().for_each(|a| line("Address", a));
    config.gateways.iter().for_each(|g| line("Gateway", g));
    config.dns.iter().for_each(|d| line("DNS", d));
    if !config.search.is_empty() {
        line("Domains", &config.search.join(" "));
    }
    let (parent, netdev, dropin) = match &config.vlan {
        Some(v) => (
            v.parent.as_str(),
            format!("[NetDev]\nName={name}\nKind=vlan\n\n[VLAN]\nId={}\n", v.id),
            format!("[Network]\nVLAN={name}\n"),
        ),
        None => ("", String::new(), String::new()),
    };
    Ok(Plan::new(script(NETWORKD, [name, parent, &network, &netdev, &dropin]), |_| Ok(())))
}

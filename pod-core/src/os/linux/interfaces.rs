//! Interfaces by `ip -j -d`, by `ip` as text, by `ifconfig`, or by `/proc` and `/sys` alone.

use super::ip_text;
use super::proc_net;
use super::sysfs::{self, SysLink};
use crate::os::facts::OsFacts;
use crate::os::interfaces::{Interface, LinkKind, LinkState};
use crate::os::plan::Plan;
use crate::os::script::{NONE, Sections, garbled, script};
use crate::{Result, VlanId};
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// Where `ip` speaks JSON, that is all; else everything that may tell something.
const SCRIPT: &str = r#"
if has ip && j=$(ip -j -d address show 2>/dev/null); then
  case $j in '['*) s json; printf '%s\n' "$j"; exit 0 ;; esac
fi
s text; if has ip; then ip -d address show 2>/dev/null || ip address show 2>/dev/null; fi
s ifconfig; if has ifconfig; then ifconfig -a 2>/dev/null; fi
s dev; cat /proc/net/dev || fail 92 "/proc/net is not there, so the interfaces can't be read"
s inet6; cat /proc/net/if_inet6 2>/dev/null
s trie; cat /proc/net/fib_trie 2>/dev/null
s route; cat /proc/net/route 2>/dev/null
s vlan; cat /proc/net/vlan/config 2>/dev/null
s sys
for d in /sys/class/net/*; do
  if [ ! -r "$d/ifindex" ]; then continue; fi
  printf 'name %s\n' "${d##*/}"
  for k in ifindex iflink address mtu operstate flags type; do
    v=; { read -r v <"$d/$k"; } 2>/dev/null
    printf '%s %s\n' "$k" "$v"
  done
  { while read -r v; do printf 'uevent %s\n' "$v"; done <"$d/uevent"; } 2>/dev/null
  for l in "$d"/lower_*; do if [ -e "$l" ]; then printf 'lower %s\n' "${l##*/lower_}"; fi; done
  for l in bridge bonding tun_flags device; do if [ -e "$d/$l" ]; then printf 'has %s\n' "$l"; fi; done
  if [ -e "$d/master" ]; then m=$(readlink "$d/master"); printf 'master %s\n' "${m##*/}"; fi
done
exit 0
"#;

/// The plan that reads the interfaces.
pub(crate) fn plan(facts: &OsFacts) -> Plan<Vec<Interface>> {
    let big_endian = proc_net::big_endian(&facts.arch);
    Plan::new(script(SCRIPT, NONE), move |output| read(&Sections::of(output)?, big_endian))
}

fn read(sections: &Sections<'_>, big_endian: bool) -> Result<Vec<Interface>> {
    let mut all = match sections.bytes("json") {
        Ok(json) => from_json(json)?,
        Err(_) => from_text(sections, big_endian)?,
    };
    for i in &mut all {
        // IPv4 first, each family in the kernel's order.
        i.addresses.sort_by_key(|a| matches!(a, IpNet::V6(_)));
        i.addresses.dedup();
    }
    Ok(all)
}

/// Reads what `ip -j -d address show` prints.
fn from_json(json: &[u8]) -> Result<Vec<Interface>> {
    let links: Vec<Value> = serde_json::from_slice(json).map_err(|e| garbled("ip printed no JSON").with_source(e))?;
    // Old versions of ip leave an empty object for each link that a filter took out.
    links.iter().filter(|l| l.get("ifname").is_some()).map(link).collect()
}

fn link(l: &Value) -> Result<Interface> {
    let text = |v: &Value, key: &str| v.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| l.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let name = text(l, "ifname").ok_or_else(|| garbled("an interface has no name"))?;
    let info = l.get("linkinfo").unwrap_or(&Value::Null);
    let link_type = text(l, "link_type").unwrap_or_default();
    let kind = match (text(info, "info_kind"), link_type.as_str()) {
        (Some(kind), _) => LinkKind::of(&kind),
        (None, "ether") => LinkKind::Ethernet,
        (None, other) => LinkKind::of(other),
    };
    let vlan = match (&kind, info.pointer("/info_data/id").and_then(Value::as_u64)) {
        (LinkKind::Vlan, Some(id)) => vlan_id(id, &name)?,
        _ => None,
    };
    let flag = |wanted: &str| {
        l.get("flags").and_then(Value::as_array).is_some_and(|f| f.iter().any(|f| f.as_str() == Some(wanted)))
    };
    let mut addresses = Vec::new();
    for a in l.get("addr_info").and_then(Value::as_array).into_iter().flatten() {
        let (Some(local), Some(prefix)) = (text(a, "local"), a.get("prefixlen").and_then(Value::as_u64)) else {
            continue; // an address family that is no IP
        };
        if let Ok(ip) = local.parse::<IpAddr>() {
            addresses.push(net(ip, prefix)?);
        }
    }
    Ok(Interface {
        index: number("ifindex"),
        mac: text(l, "address").and_then(|m| m.parse().ok()),
        addresses,
        mtu: number("mtu"),
        up: flag("UP"),
        state: LinkState::of(&text(l, "operstate").unwrap_or_default()),
        vlan,
        parent: text(l, "link").filter(|_| kind.stacked()),
        master: text(l, "master"),
        kind,
        name,
    })
}

/// An address with its prefix length.
pub(super) fn net(ip: IpAddr, prefix: u64) -> Result<IpNet> {
    let bad =
        || garbled("an address has an impossible prefix length").with_context("address", format!("{ip}/{prefix}"));
    IpNet::new(ip, u8::try_from(prefix).map_err(|_| bad())?).map_err(|e| bad().with_source(e))
}

/// A VLAN id as the kernel gives it; it takes 0, a priority tag, which is no VLAN.
pub(super) fn vlan_id(id: u64, interface: &str) -> Result<Option<VlanId>> {
    let id = u16::try_from(id).map_err(|e| garbled("a VLAN id is out of range").with_source(e));
    id.and_then(VlanId::from_tag).map_err(|e| e.with_context("interface", interface))
}

/// Puts together what `ip` or `ifconfig` as text, `/proc` and `/sys` say.
fn from_text(sections: &Sections<'_>, big_endian: bool) -> Result<Vec<Interface>> {
    let (text, ifconfig) = (sections.text("text")?, sections.text("ifconfig")?);
    let mut all = if !text.trim().is_empty() {
        ip_text::interfaces(&text)?
    } else if !ifconfig.trim().is_empty() {
        super::ifconfig::interfaces(&ifconfig)?
    } else {
        proc_net::interfaces(&proc_net::Files {
            dev: &sections.text("dev")?,
            inet6: &sections.text("inet6")?,
            trie: &sections.text("trie")?,
            route: &sections.text("route")?,
            big_endian,
        })?
    };
    for i in all.iter_mut().filter(|i| !i.kind.stacked()) {
        i.parent = None; // of a cable, what `ip` prints is its other end, or a wrong name
    }
    let sys = sysfs::links(&sections.text("sys")?);
    for i in &mut all {
        if let Some(s) = sys.iter().find(|s| s.name == i.name && is_same(s, i)) {
            s.complete(i);
        }
    }
    for (name, id, parent) in proc_net::vlans(&sections.text("vlan")?)? {
        if let Some(i) = all.iter_mut().find(|i| i.name == name) {
            (i.kind, i.vlan, i.parent) = (LinkKind::Vlan, id, Some(parent));
        }
    }
    all.sort_by_key(|i| i.index.unwrap_or(u32::MAX));
    Ok(all)
}

/// `/sys` may belong to another network namespace, whose `eth0` is not this one.
fn is_same(s: &SysLink, i: &Interface) -> bool {
    i.index.is_none_or(|n| s.index == Some(n)) && (i.mac.is_none() || i.mac == s.mac)
}

//! Routes by `ip -j route`, by `ip route` as text, or by `/proc/net` alone.

use super::ip_text::{self, destination};
use super::proc_net;
use crate::Result;
use crate::os::facts::OsFacts;
use crate::os::plan::Plan;
use crate::os::routes::{RouteEntry, RouteKind};
use crate::os::script::{NONE, Sections, garbled, script};
use serde_json::Value;

const SCRIPT: &str = r#"
if has ip && j=$(ip -j -4 route show 2>/dev/null); then
  case $j in '['*|'')
    s json4; printf '%s\n' "$j"
    s json6; if [ -e /proc/net/if_inet6 ]; then ip -j -6 route show; fi
    exit
  esac
fi
if has ip && t=$(ip -4 route show 2>/dev/null); then
  s text4; printf '%s\n' "$t"
  s text6; if [ -e /proc/net/if_inet6 ]; then ip -6 route show; fi
  exit
fi
s proc4; cat /proc/net/route || fail 92 "/proc/net is not there, so the routes can't be read"
s proc6; cat /proc/net/ipv6_route 2>/dev/null
exit 0
"#;

/// The plan that reads the routes.
pub(crate) fn plan(facts: &OsFacts) -> Plan<Vec<RouteEntry>> {
    let big_endian = proc_net::big_endian(&facts.arch);
    Plan::new(script(SCRIPT, NONE), move |output| read(&Sections::of(output)?, big_endian))
}

fn read(sections: &Sections<'_>, big_endian: bool) -> Result<Vec<RouteEntry>> {
    let mut all;
    if let Ok(json) = sections.bytes("json4") {
        all = from_json(json, false)?;
        all.extend(from_json(sections.bytes("json6")?, true)?);
    } else if let Ok(text) = sections.text("text4") {
        all = ip_text::routes(&text, false)?;
        all.extend(ip_text::routes(&sections.text("text6")?, true)?);
    } else {
        all = proc_net::routes4(&sections.text("proc4")?, big_endian)?;
        all.extend(proc_net::routes6(&sections.text("proc6")?)?);
    }
    Ok(all)
}

fn from_json(json: &[u8], v6: bool) -> Result<Vec<RouteEntry>> {
    if json.trim_ascii().is_empty() {
        return Ok(Vec::new()); // old versions print nothing for no routes
    }
    let routes: Vec<Value> = serde_json::from_slice(json).map_err(|e| garbled("ip printed no JSON").with_source(e))?;
    let mut all = Vec::new();
    for r in &routes {
        let text = |key: &str| r.get(key).and_then(Value::as_str);
        let kind = match text("type") {
            None | Some("unicast") => RouteKind::Unicast,
            Some("blackhole") => RouteKind::Blackhole,
            Some("unreachable") => RouteKind::Unreachable,
            Some("prohibit") => RouteKind::Prohibit,
            Some("throw") => RouteKind::Throw,
            Some(_) => continue,
        };
        let Some(to) = text("dst") else { continue };
        let mut route = RouteEntry { kind, ..RouteEntry::to(destination(to, v6)?) };
        route.metric = r.get("metric").and_then(Value::as_u64).and_then(|m| u32::try_from(m).ok()).unwrap_or(0);
        route.source = text("prefsrc").and_then(|s| s.parse().ok());
        match r.get("nexthops").and_then(Value::as_array) {
            Some(hops) => {
                for hop in hops {
                    all.push(next_hop(route.clone(), hop)?);
                }
            }
            None => all.push(next_hop(route, r)?),
        }
    }
    Ok(all)
}

fn next_hop(mut route: RouteEntry, hop: &Value) -> Result<RouteEntry> {
    // An IPv4 route over an IPv6 next hop has it in `via`, an object.
    let via = hop.get("gateway").or_else(|| hop.pointer("/via/host")).and_then(Value::as_str);
    route.via = via.map(str::parse).transpose().map_err(|e| garbled("a next hop is no address").with_source(e))?;
    route.interface = hop.get("dev").and_then(Value::as_str).map(str::to_owned);
    Ok(route)
}

//! Which interfaces a container has, by its own table of routes.
//!
//! Docker names interfaces in the order in which it makes them, which is not told and not the same after
//! each start; so an interface is found by the subnet that it leads to (proc(5), `/proc/net/route`). Where
//! the daemon is on this machine, the kernel shows that of any process; else the container is asked.

use crate::connection::DockerConnection;
use crate::containers::Inspected;
use crate::engine::Engine;
use crate::exec::Target;
use ipnet::Ipv4Net;
use pod_core::{ConnectionExt, ExecRequest, IfName};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What prints the table with nothing but a shell.
const SHOW: &str = "while IFS= read -r l; do printf '%s\\n' \"$l\"; done </proc/net/route";

/// The interfaces of a running container with the subnets that they lead to; `None` when it can't be
/// looked into.
pub(super) async fn interfaces(engine: &Engine, found: &Inspected) -> Option<Vec<(Ipv4Net, IfName)>> {
    if !found.is_running() {
        return None;
    }
    let pid = found.state.pid;
    if engine.is_local() && pid > 0 {
        let id = found.id.clone();
        let read = tokio::task::spawn_blocking(move || from_here(pid, &id)).await;
        if let Ok(Some(text)) = read {
            return Some(parse(&text));
        }
    }
    let name = found.name().ok()?;
    let connection = DockerConnection::new(Target { engine: engine.clone(), id: found.id.clone(), name });
    match connection.run(ExecRequest::shell(SHOW)).await {
        Ok(out) if out.status.success() => Some(parse(&out.stdout_text())),
        Ok(_) => None,
        Err(e) => {
            tracing::info!(error = %e, container = found.id, "the interfaces can't be read");
            None
        }
    }
}

/// The table of a process here, if it is the container's: a daemon in a virtual machine has other processes
/// of the same number.
fn from_here(pid: u32, id: &str) -> Option<String> {
    let of = |file: &str| std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}")).join(file)).ok();
    of("cgroup").filter(|groups| groups.contains(id))?;
    of("net/route")
}

/// Reads the table: interface, destination, gateway, flags, three counts, mask, in hexadecimal as the
/// machine has them in memory.
fn parse(text: &str) -> Vec<(Ipv4Net, IfName)> {
    let address = |hex: &str| u32::from_str_radix(hex, 16).ok().map(|n| Ipv4Addr::from(n.to_ne_bytes()));
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [interface, to, via, _, _, _, _, mask, ..] = fields[..] else { return None };
            let (to, via, mask) = (address(to)?, address(via)?, address(mask)?);
            if !via.is_unspecified() {
                return None;
            }
            Some((Ipv4Net::with_netmask(to, mask).ok()?, interface.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn interfaces_are_found_by_their_subnets() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth3\t0000E70A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            eth2\t0000E80A\t00000000\t0001\t0\t0\t0\tF8FFFFFF\t0\t0\t0\n\
            short line\n";
        let found: Vec<_> = parse(text).into_iter().map(|(net, name)| format!("{net} {name}")).collect();
        assert_eq!(found, ["10.231.0.0/24 eth3", "10.232.0.0/29 eth2"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn another_process_is_not_taken_for_the_container() {
        assert_eq!(from_here(std::process::id(), "0123456789abcdef0123456789abcdef"), None);
    }
}

//! What a simulated workload shows of itself in `/proc` and `/sys`, as far as programs ask for it.

use super::fs::{Cred, Fs, FsResult, SharedFs};
use super::plane::Port;
use super::process::Proc;
use crate::{AttachMode, IfName, Limits};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// What the simulated machine has, where no limit says less.
const MEMORY: u64 = 16 << 30;

fn or_max(limit: Option<impl ToString>) -> String {
    limit.map_or("max".into(), |l| l.to_string())
}

/// Writes what stays the same while the workload runs.
pub(super) fn machine(fs: &mut Fs, name: &str, limits: &Limits, started: &str) -> FsResult<()> {
    let kib = MEMORY >> 10;
    let quota = limits.cpus.map_or("max 100000".into(), |c| format!("{:.0} 100000", c * 100_000.0));
    let files: [(&str, String); 13] = [
        (
            "/proc/meminfo",
            format!(
                "MemTotal: {kib} kB\nMemFree: {kib} kB\nMemAvailable: {kib} kB\nCached: 0 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
            ),
        ),
        ("/proc/cpuinfo", "processor\t: 0\nmodel name\t: simulated\n".into()),
        ("/proc/mounts", "pod-mem / pod-mem rw 0 0\n".into()),
        ("/proc/self/mounts", "pod-mem / pod-mem rw 0 0\n".into()),
        ("/proc/self/cgroup", "0::/\n".into()),
        ("/proc/net/if_inet6", String::new()),
        ("/proc/sys/kernel/hostname", format!("{name}\n")),
        ("/proc/sys/kernel/random/boot_id", format!("{started}\n")),
        ("/sys/devices/system/cpu/online", "0\n".into()),
        ("/sys/fs/cgroup/cpu.max", format!("{quota}\n")),
        ("/sys/fs/cgroup/memory.max", format!("{}\n", or_max(limits.memory))),
        ("/sys/fs/cgroup/memory.current", "0\n".into()),
        ("/sys/fs/cgroup/pids.max", format!("{}\n", or_max(limits.pids))),
    ];
    fs.unguarded(|fs| files.iter().try_for_each(|(path, text)| fs.put(path.as_bytes(), 0o444, text.as_bytes())))
}

/// Shows a process, or shows it anew.
pub(super) fn show(fs: &SharedFs, proc: &Proc) {
    let argv = proc.argv();
    let name = argv.first().map(Vec::as_slice).unwrap_or_default();
    let name = String::from_utf8_lossy(name.rsplit(|b| *b == b'/').next().unwrap_or_default()).into_owned();
    let (pid, parent, uid, gid) = (proc.pid, proc.parent, proc.cred.uid, proc.cred.gid);
    let held = proc.memory.load(Ordering::SeqCst) >> 10;
    let status = format!(
        "Name:\t{name}\nState:\tS (sleeping)\nPid:\t{pid}\nPPid:\t{parent}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n\
         Gid:\t{gid}\t{gid}\t{gid}\t{gid}\nVmRSS:\t{held} kB\n"
    );
    let mut command = argv.join(&0);
    command.push(0);
    let files = [
        ("status", status.into_bytes()),
        ("cmdline", command),
        ("comm", format!("{name}\n").into_bytes()),
        ("stat", format!("{pid} ({name}) S {parent}\n").into_bytes()),
    ];
    fs.lock().unguarded(|fs| {
        for (file, text) in files {
            // A full disk hides a process; it does not stop it.
            let _ = fs.put(format!("/proc/{pid}/{file}").as_bytes(), 0o444, &text);
        }
    });
}

/// Takes a process out of sight.
pub(super) fn hide(fs: &SharedFs, pid: u32) {
    fs.lock().unguarded(|fs| {
        if let Ok(dir) = fs.make_dirs(b"/proc") {
            // It may not be shown: see above.
            let _ = fs.remove_tree(Cred::default(), dir, pid.to_string().as_bytes());
        }
    });
}

/// How much memory all programs hold.
pub(super) fn memory(fs: &SharedFs, bytes: u64) {
    fs.lock().unguarded(|fs| {
        // A full disk makes the figure old.
        let _ = fs.put(b"/sys/fs/cgroup/memory.current", 0o444, format!("{bytes}\n").as_bytes());
    });
}

/// An interface as a program in the workload sees it.
#[derive(Debug, Clone)]
pub(super) struct Seen<'a> {
    pub(super) name: String,
    pub(super) port: &'a Port,
    /// A trunk's sub-interface: its parent and VLAN id.
    pub(super) tagged: Option<(&'a IfName, u16)>,
    /// Whether the port's addresses and routes are on it.
    pub(super) addressed: bool,
}

/// The interfaces of these ports, a trunk's sub-interfaces behind it.
pub(super) fn interfaces(ports: &[Port]) -> Vec<Seen<'_>> {
    let mut all = Vec::new();
    for port in ports {
        let AttachMode::Trunk(ids) = &port.mode else {
            all.push(Seen { name: port.interface.to_string(), port, tagged: None, addressed: true });
            continue;
        };
        all.push(Seen { name: port.interface.to_string(), port, tagged: None, addressed: false });
        for id in ids {
            let name = format!("{}.{id}", port.interface);
            let addressed = port.vlan == Some(*id);
            all.push(Seen { name, port, tagged: Some((&port.interface, id.get())), addressed });
        }
    }
    all
}

/// Shows interfaces under `/sys/class/net`.
pub(super) fn network(fs: &SharedFs, ports: &[Port]) {
    fs.lock().unguarded(|fs| {
        // What can't be shown for want of space is not; the interfaces are there all the same.
        let _ = fs.make_dirs(b"/sys/class").and_then(|class| match fs.remove_tree(Cred::default(), class, b"net") {
            Err(super::fs::FsError::NotFound) | Ok(()) => Ok(()),
            Err(e) => Err(e),
        });
        let mut files = vec![("lo".to_owned(), "00:00:00:00:00:00".to_owned(), 65536)];
        files.extend(interfaces(ports).into_iter().map(|s| (s.name, s.port.mac.to_string(), s.port.mtu)));
        for (name, mac, mtu) in files {
            for (file, text) in [("address", format!("{mac}\n")), ("mtu", format!("{mtu}\n"))] {
                let _ = fs.put(format!("/sys/class/net/{name}/{file}").as_bytes(), 0o444, text.as_bytes());
            }
        }
    });
}

/// What `ip address show` prints for people.
pub(super) fn address_text(ports: &[Port]) -> String {
    let mut out =
        String::from("1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 state UNKNOWN\n    inet 127.0.0.1/8 scope host lo\n");
    for (i, seen) in interfaces(ports).iter().enumerate() {
        let parent = seen.tagged.map(|(p, _)| format!("@{p}")).unwrap_or_default();
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "{}: {}{parent}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu {} state UP\n    link/ether {}",
            i + 2,
            seen.name,
            seen.port.mtu,
            seen.port.mac
        );
        for ip in seen.port.ips.iter().filter(|_| seen.addressed) {
            let family = if ip.addr().is_ipv4() { "inet" } else { "inet6" };
            let _ = writeln!(out, "    {family} {ip} scope global {}", seen.name);
        }
    }
    out
}

/// What `ip -j -d address show` prints.
pub(super) fn address_json(ports: &[Port]) -> serde_json::Value {
    let addresses = |ips: &[ipnet::IpNet]| -> Vec<serde_json::Value> {
        ips.iter()
            .map(|ip| {
                let family = if ip.addr().is_ipv4() { "inet" } else { "inet6" };
                serde_json::json!({"family": family, "local": ip.addr().to_string(), "prefixlen": ip.prefix_len()})
            })
            .collect()
    };
    let mut all = vec![serde_json::json!({
        "ifindex": 1, "ifname": "lo", "flags": ["LOOPBACK", "UP", "LOWER_UP"], "mtu": 65536, "operstate": "UNKNOWN",
        "link_type": "loopback", "address": "00:00:00:00:00:00",
        "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}],
    })];
    for (i, seen) in interfaces(ports).iter().enumerate() {
        let mut link = serde_json::json!({
            "ifindex": i + 2, "ifname": seen.name, "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"],
            "mtu": seen.port.mtu, "operstate": "UP", "link_type": "ether", "address": seen.port.mac.to_string(),
            "addr_info": if seen.addressed { addresses(&seen.port.ips) } else { Vec::new() },
        });
        link["linkinfo"] = match seen.tagged {
            Some((parent, id)) => {
                link["link"] = parent.to_string().into();
                serde_json::json!({"info_kind": "vlan", "info_data": {"protocol": "802.1Q", "id": id}})
            }
            None => serde_json::json!({"info_kind": "veth"}),
        };
        all.push(link);
    }
    all.into()
}

/// The routes of one family: destination, next hop, interface, source.
pub(super) fn routes(ports: &[Port], v6: bool) -> Vec<(String, Option<String>, String, Option<String>)> {
    let mut all = Vec::new();
    for seen in interfaces(ports).iter().filter(|s| s.addressed) {
        for ip in seen.port.ips.iter().filter(|ip| ip.addr().is_ipv6() == v6) {
            let source = (!v6).then(|| ip.addr().to_string());
            all.push((ip.trunc().to_string(), None, seen.name.clone(), source));
        }
        for route in seen.port.routes.iter().filter(|r| r.to.addr().is_ipv6() == v6) {
            let to = if route.to.prefix_len() == 0 { "default".into() } else { route.to.to_string() };
            all.push((to, route.via.map(|v| v.to_string()), seen.name.clone(), None));
        }
    }
    all
}

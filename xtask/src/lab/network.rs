//! The lab's network: namespaces with no uplink, and bridges between them.
//!
//! ```text
//!  pod-lab-NAME                     pod-lab-NAME-node-1
//!   nodes  10.99.0.1/24 ── node-1 ── eth0  10.99.0.11/24     the cluster
//!   net1 ──────────── node-1-net1 ── net1                    a parent for networks of tests
//!   net2 ──────────── node-1-net2 ── net2                    another, on a wire of its own
//!                                  pod-lab-NAME-docker
//!   net1 ──────────── docker-net1 ── net1                    the same wires for each Docker
//!   registry  10.98.0.1/24 ───────── registry  10.98.0.2/24  the engines' way to the registry
//!   net1 ──────────── here-net1 ──── up-net1                 and, in this namespace, for the embedded engine
//! ```

use super::parts::Part;
use super::process::{Place, output};
use super::site::{CONTROL, Lab, NODES, Node, PARENTS, PODMAN, REGISTRY};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// The name of the part.
pub(super) const NAME: &str = "network";

/// The bridge of the nodes.
const BRIDGE: &str = "nodes";

/// The bridge by which the engines reach the registry, and their interfaces on it.
const WIRE: &str = "registry";

/// The network namespaces and what is between them.
#[derive(Debug)]
pub(super) struct Network;

impl Part for Network {
    fn name(&self) -> String {
        NAME.into()
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        let main = lab.netns();
        let there = namespaces()?;
        if there.contains(&main) {
            return Ok(());
        }
        for name in &of(lab) {
            run(Command::new("ip").args(["netns", "add", name]), "")?;
        }
        run(Command::new("ip").args(["-n", &main, "-batch", "-"]), &main_script(lab))?;
        for (n, engine) in lab.engines().iter().enumerate() {
            let script = engine_script(lab, n, engine);
            run(Command::new("ip").args(["-n", &lab.engine_netns(engine), "-batch", "-"]), &script)?;
        }
        for node in lab.nodes() {
            let script = node_script(lab, node);
            run(Command::new("ip").args(["-n", &lab.node_netns(node), "-batch", "-"]), &script)?;
            let place = Place { netns: lab.node_netns(node), mounts_of: None };
            output(&mut place.command("sh", ["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]))?;
        }
        Ok(())
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        let there = namespaces()?;
        match of(lab).into_iter().find(|n| !there.contains(n)) {
            Some(missing) => Err(format!("no network namespace {missing}")),
            None => Ok(()),
        }
    }
}

/// The network namespaces that a lab is to have.
fn of(lab: &Lab) -> Vec<String> {
    let engines = lab.engines().iter().map(|e| lab.engine_netns(e));
    std::iter::once(lab.netns()).chain(engines).chain(lab.nodes().map(|n| lab.node_netns(n))).collect()
}

/// The wires that lead to an engine.
fn wires(engine: &str) -> &'static [&'static str] {
    // Podman's networks have no uplinks.
    if engine == PODMAN { &[] } else { PARENTS }
}

fn main_script(lab: &Lab) -> String {
    let mut script = String::new();
    let mut say = |line: String| writeln!(script, "{line}").unwrap_or_default();
    let width = NODES.split('/').next_back().unwrap_or_default();
    say("link set lo up".into());
    say(format!("link add {BRIDGE} up type bridge"));
    say(format!("addr add {CONTROL}/{width} dev {BRIDGE}"));
    if !lab.small {
        say(format!("link add {WIRE} up type bridge"));
        say(format!("addr add {REGISTRY}/24 dev {WIRE}"));
    }
    for parent in PARENTS {
        say(format!("link add {parent} up type bridge"));
        say(format!("link add here-{parent} up master {parent} type veth peer name up-{parent}"));
        say(format!("link set up-{parent} up"));
    }
    for engine in lab.engines() {
        for wire in wires(engine).iter().chain((!lab.small).then_some(&WIRE)) {
            let netns = lab.engine_netns(engine);
            say(format!("link add {engine}-{wire} up master {wire} type veth peer name {wire} netns {netns}"));
        }
    }
    for node in lab.nodes() {
        let (name, netns) = (node.name(), lab.node_netns(node));
        say(format!("link add {name} up master {BRIDGE} type veth peer name eth0 netns {netns}"));
        say(format!("route add {} via {}", node.pods(), node.address()));
        for parent in PARENTS {
            say(format!("link add {name}-{parent} up master {parent} type veth peer name {parent} netns {netns}"));
        }
    }
    script
}

fn engine_script(lab: &Lab, n: usize, engine: &str) -> String {
    let links = ["lo"].iter().chain(wires(engine)).map(|link| format!("link set {link} up\n"));
    let mut script: String = links.collect();
    if !lab.small {
        let [a, b, c, first] = REGISTRY.octets();
        writeln!(script, "addr add {a}.{b}.{c}.{}/24 dev {WIRE}\nlink set {WIRE} up", usize::from(first) + 1 + n)
            .unwrap_or_default();
    }
    script
}

fn node_script(lab: &Lab, node: Node) -> String {
    let width = NODES.split('/').next_back().unwrap_or_default();
    let mut script = String::from("link set lo up\n");
    let mut say = |line: String| writeln!(script, "{line}").unwrap_or_default();
    say(format!("addr add {}/{width} dev eth0", node.address()));
    say("link set eth0 up".into());
    for parent in PARENTS {
        say(format!("link set {parent} up"));
    }
    say(format!("route add default via {CONTROL}"));
    for other in lab.nodes().filter(|other| *other != node) {
        say(format!("route add {} via {}", other.pods(), other.address()));
    }
    script
}

fn run(command: &mut Command, input: &str) -> Result<(), String> {
    let what = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{what}: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|e| format!("{what}: {e}"))?;
    }
    let output = child.wait_with_output().map_err(|e| format!("{what}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The named network namespaces of this machine.
fn namespaces() -> Result<Vec<String>, String> {
    let listed = output(Command::new("ip").args(["netns", "list"]))?;
    Ok(listed.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect())
}

/// The network namespaces of a lab, as their names tell.
pub(super) fn of_lab(name: &str) -> Result<Vec<String>, String> {
    let main = Lab::mark(name);
    let nodes = format!("{main}-");
    Ok(namespaces()?.into_iter().filter(|n| *n == main || n.starts_with(&nodes)).collect())
}

/// Removes the network namespaces of a lab; their links go with them.
pub(super) fn remove(name: &str) -> Result<(), String> {
    for namespace in of_lab(name)? {
        run(Command::new("ip").args(["netns", "delete", &namespace]), "")?;
    }
    Ok(())
}

/// Processes in a lab's own network that are none of its servers: those that `lab run` began.
pub(super) fn visitors(name: &str) -> Result<Vec<(u32, String)>, String> {
    let main = Lab::mark(name);
    if !namespaces()?.contains(&main) {
        return Ok(Vec::new());
    }
    let listed = output(Command::new("ip").args(["netns", "pids", &main]))?;
    let own = super::groups::processes(name);
    let pids = listed.lines().filter_map(|l| l.trim().parse().ok()).filter(|pid| !own.contains(pid));
    let comm = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Ok(pids.map(|pid| (pid, comm(pid).trim().to_owned())).collect())
}

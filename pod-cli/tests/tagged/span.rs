//! Networks that span platforms.

use crate::driver::Driver;
use crate::platforms::{Platforms, bridge, ip};
use pod_testkit::wire::Capture;
use std::sync::{Mutex, PoisonError};

/// Both tests use all there is of the wires and of the processor.
static WIRES: Mutex<()> = Mutex::new(());

/// The words after a row's name.
fn row(matrix: &str, name: &str) -> Vec<String> {
    let line = matrix.lines().find(|l| l.split_whitespace().next() == Some(name)).unwrap_or_else(|| panic!("{matrix}"));
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

/// Each frame that a workload sent had this tag on the wire. By its address: an interface of the plugin `vlan`
/// has the MAC address of the node's own, which speaks for itself, too. Others may name the address on a wire it
/// is not on: the probes of the other network ask for it there.
fn tagged(wire: &[String], p: &Platforms, workload: &str, id: u16) {
    let seen = p.run(["inspect", "-o", "json", workload]).ok().json();
    let address = seen[0]["networks"][0]["addresses"][0].as_str().unwrap_or_else(|| panic!("{seen}"));
    let address = address.split('/').next().unwrap();
    // As tcpdump(8) writes a question, an answer, and packets with and without a port.
    let sent = [
        format!(" tell {address},"),
        format!(" Reply {address} is-at "),
        format!("), {address} > "),
        format!("), {address}."),
    ];
    let frames: Vec<_> = wire.iter().filter(|f| sent.iter().any(|s| f.contains(s))).collect();
    assert!(!frames.is_empty(), "{workload} ({address}) sent nothing on the wire: {wire:#?}");
    for frame in frames {
        assert!(frame.contains(&format!("vlan {id},")), "{workload}: {frame}");
    }
}

#[test]
fn three_platforms_share_two_networks() {
    let _wires = WIRES.lock().unwrap_or_else(PoisonError::into_inner);
    let p = Platforms::new("three");
    for id in [100, 200] {
        ip("node-1", &format!("link add link net1 name net1.{id} up type vlan id {id}"));
    }
    let file = p.example("k8s/three-platforms.yaml");
    let wire = Capture::begin(None, "net1").unwrap();
    let up = p.run(["up", &file]).ok();
    let wire = wire.end().unwrap();
    for (workload, reached) in [
        ("here-red", ["-", "yes", "yes", "no", "no", "no"]),
        ("docker-red", ["yes", "-", "yes", "no", "no", "no"]),
        ("pod-red", ["yes", "yes", "-", "no", "no", "no"]),
        ("here-blue", ["no", "no", "no", "-", "yes", "yes"]),
        ("docker-blue", ["no", "no", "no", "yes", "-", "yes"]),
        ("pod-blue", ["no", "no", "no", "yes", "yes", "-"]),
    ] {
        assert_eq!(row(&up.out, workload), reached, "{}", up.out);
    }
    for (network, id) in [("red", 100), ("blue", 200)] {
        for (platform, name) in [("local:", "here"), ("docker:", "docker"), (&p.0.uri(), "pod")] {
            let workload = match platform.split_once('?') {
                Some((address, _)) => format!("{address}{name}-{network}"),
                None => format!("{platform}{name}-{network}"),
            };
            tagged(&wire, &p, &workload, id);
        }
    }
    // Another id in one place, Docker's: the cells of that workload differ, and no others.
    let text = std::fs::read_to_string(&file).unwrap().replace("vlan: 100", "vlan: 300");
    let elsewhere = |line: &&str| ["here-", "pod-"].iter().any(|name| line.trim_start().starts_with(name));
    let lines: Vec<_> = text.lines().filter(|line| !elsewhere(line)).collect();
    p.run(["up", "--no-verify", &p.0.file("docker-alone.yaml", &lines.join("\n"))]).ok();
    let moved = p.run(["verify", &file]);
    assert_eq!(moved.code, 1, "{}{}", moved.out, moved.err);
    for (workload, reached) in [
        ("here-red", ["-", "NO!", "yes", "no", "no", "no"]),
        // It reaches nobody at all: what that proves is not known.
        ("docker-red", ["?", "-", "?", "?", "?", "?"]),
        ("pod-red", ["yes", "NO!", "-", "no", "no", "no"]),
        ("pod-blue", ["no", "no", "no", "yes", "yes", "-"]),
    ] {
        assert_eq!(row(&moved.out, workload), reached, "{}", moved.out);
    }
    assert!(moved.out.contains("network red: made anew: vlan changed"), "{}{}", moved.out, moved.err);
    p.run(["down", &file]).ok();
    for backend in ["local:", "docker:", &p.0.uri()] {
        assert_eq!(p.run(["-b", backend, "ps", "-a", "-o", "name"]).ok().out, "");
        assert_eq!(p.run(["-b", backend, "net", "ls", "-o", "name"]).ok().out, "");
    }
    for id in [100, 200] {
        ip("node-1", &format!("link del net1.{id}"));
    }
}

#[test]
fn each_kind_of_definition_tags_what_its_pods_send() {
    let _wires = WIRES.lock().unwrap_or_else(PoisonError::into_inner);
    let p = Platforms::new("kinds");
    // The plugin `bridge` takes a bridge of the node's, with the wire as a port that carries the tag.
    ip("node-1", "link add trunk0 up type bridge vlan_filtering 1");
    ip("node-1", "link set net2 master trunk0");
    bridge("vlan add vid 101 dev net2");
    ip("node-1", "link add link net1 name net1.102 up type vlan id 102");
    for (plugin, id, uplinks, wire) in [
        ("vlan", 100, ["up-net1", "net1"], "net1"),
        ("bridge", 101, ["up-net2", "trunk0"], "net2"),
        ("macvlan", 102, ["up-net1", "net1"], "net1"),
    ] {
        let backend = format!("{}&plugin={plugin}", p.0.uri());
        let text = format!(
            "networks:\n  lan: {{ vlan: {id}, subnet: 10.{id}.0.0/24, uplink: {{ local: {}, k8s: {} }} }}\n\
             defaults: {{ command: [sleep, \"1000000\"] }}\nworkloads:\n  \
             here: {{ backend: \"local:\", image: host, networks: [lan] }}\n  \
             there: {{ backend: {backend:?}, networks: {{ lan: {{ ip: 10.{id}.0.21 }} }} }}\n",
            uplinks[0], uplinks[1],
        );
        let file = p.0.file(&format!("{plugin}.yaml"), &text);
        let seen = Capture::begin(None, wire).unwrap();
        let up = p.run(["up", &file]).ok();
        assert!(up.out.contains("all as expected"), "{plugin}: {}{}", up.out, up.err);
        p.pings("local:here", &format!("10.{id}.0.21")).ok();
        let seen = seen.end().unwrap();
        tagged(&seen, &p, "local:here", id);
        tagged(&seen, &p, &format!("k8s:{}/there", p.0.namespace), id);
        p.run(["down", &file]).ok();
    }
    ip("node-1", "link set net2 nomaster");
    ip("node-1", "link del trunk0");
    ip("node-1", "link del net1.102");
}

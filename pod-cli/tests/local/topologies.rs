//! up, plan, verify, down: the two VLANs, proven.

use crate::Engine;
use crate::driver::Driver;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/two-vlans.yaml")
}

fn ids(engine: &Engine) -> Vec<(String, String)> {
    let list = engine.json(&["ps", "-a"]);
    let text = |w: &serde_json::Value, k: &str| w[k].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|w| (text(w, "name"), text(w, "id"))).collect()
}

/// The words after a row's name.
fn row(matrix: &str, name: &str) -> Vec<String> {
    let line = matrix.lines().find(|l| l.split_whitespace().next() == Some(name)).unwrap_or_else(|| panic!("{matrix}"));
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

#[test]
fn two_vlans_come_up_proven_and_go_without_a_trace() {
    let engine = Engine::new();
    let file = example();
    let file = file.to_str().unwrap();
    let up = engine.run(["up", file]).ok();
    assert_eq!(row(&up.out, "a1"), ["-", "yes", "no", "no"]);
    assert_eq!(row(&up.out, "b2"), ["no", "no", "yes", "-"]);
    let list = engine.json(&["ps"]);
    let addresses: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|w| format!("{} {}", w["name"].as_str().unwrap(), w["addresses"]))
        .collect();
    assert_eq!(addresses.len(), 4);
    for (line, ip) in addresses.iter().zip(["10.100.0.11", "10.100.0.12", "10.100.0.21", "10.100.0.22"]) {
        assert!(line.contains(ip), "{line}");
    }
    // They know each other by name, and each only its own.
    let hosts = engine.run(["exec", "a1", "--", "cat", "/etc/hosts"]).ok().out;
    assert!(hosts.contains("10.100.0.12\ta2") && !hosts.contains("b1"), "{hosts}");
    // A second up changes nothing.
    let before = ids(&engine);
    engine.run(["up", file]).ok();
    assert_eq!(ids(&engine), before);
    assert!(engine.run(["plan", file]).ok().out.contains("nothing"));
    engine.run(["down", file]).ok();
    engine.run(["down", file]).ok();
    engine.assert_nothing_left();
}

#[test]
fn the_hosts_firewall_does_not_cut_them() {
    let engine = Engine::new();
    let script = format!(
        "ip link set lo up; iptables -P FORWARD DROP; \
         if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables; fi; \
         iptables -S FORWARD | grep -x -e '-P FORWARD DROP'; pod up {file}; pod down {file}; ip -o link | wc -l",
        file = example().display()
    );
    let ran = engine.elsewhere(&script).ok();
    assert_eq!(row(&ran.out, "a1"), ["-", "yes", "no", "no"]);
    assert_eq!(ran.out.lines().last(), Some("1"), "a link was left: {}", ran.out);
    engine.assert_nothing_left();
}

#[test]
fn a_workload_moved_to_the_other_vlan_turns_the_right_cells() {
    let engine = Engine::new();
    let file = example();
    let file = file.to_str().unwrap();
    engine.run(["up", file]).ok();
    engine.run(["net", "detach", "b1", "red"]).ok();
    engine.run(["net", "attach", "b1", "blue", "--ip", "10.100.0.21"]).ok();
    let verify = engine.run(["verify", file]);
    assert_ne!(verify.code, 0, "{}", verify.out);
    let text = format!("{}{}", verify.out, verify.err);
    for pair in [("a1", "b1"), ("b1", "a2"), ("b1", "b2")] {
        let told = text.lines().any(|l| l.contains(pair.0) && l.contains(pair.1) && l.contains("expected"));
        assert!(told, "{pair:?} is not told: {text}");
    }
    // up puts it back, and recreates nothing for it.
    let before = ids(&engine);
    engine.run(["up", file]).ok();
    assert_eq!(ids(&engine), before);
    // The same move in the file is expected, and green.
    let dir = tempfile::tempdir().unwrap();
    let edited = dir.path().join("two-vlans.yaml");
    let yaml = fs::read_to_string(example()).unwrap();
    let at = yaml.find("b1").unwrap();
    let moved = format!("{}{}", &yaml[..at], yaml[at..].replacen("red", "blue", 1));
    assert_ne!(moved, yaml);
    fs::write(&edited, moved).unwrap();
    let edited = edited.to_str().unwrap();
    assert!(engine.run(["plan", edited]).ok().out.contains("b1"));
    let up = engine.run(["up", edited]).ok();
    assert_eq!(row(&up.out, "a1"), ["-", "yes", "yes", "no"]);
    let after = ids(&engine);
    assert_eq!(after.iter().filter(|i| !before.contains(i)).count(), 0, "only the attachment was to change");
    engine.run(["down", "two-vlans"]).ok();
    engine.assert_nothing_left();
}

#[test]
fn networks_joined_behind_its_back_are_found() {
    let engine = Engine::new();
    let file = example();
    let file = file.to_str().unwrap();
    engine.run(["up", file]).ok();
    engine.run(["net", "verify"]).ok();
    let ns = engine.path().join("run/net/ns");
    let ip = |args: &str| {
        let script = format!("nsenter --net={} ip {args}", ns.display());
        let out = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let bridges: Vec<String> =
        ip("-o link show type bridge").lines().map(|l| l.split(": ").nth(1).unwrap().to_owned()).collect();
    assert_eq!(bridges.len(), 2, "{bridges:?}");
    ip("link add sneak0 type veth peer name sneak1");
    for (port, bridge) in [("sneak0", &bridges[0]), ("sneak1", &bridges[1])] {
        ip(&format!("link set {port} master {bridge} up"));
    }
    let verify = engine.run(["net", "verify"]);
    let text = format!("{}{}", verify.out, verify.err);
    assert_ne!(verify.code, 0, "{text}");
    assert!(text.contains("sneak0") && text.contains("sneak1"), "{text}");
    assert_ne!(engine.run(["verify", file]).code, 0);
    ip("link del sneak0");
    engine.run(["net", "verify"]).ok();
    engine.run(["down", file]).ok();
    engine.assert_nothing_left();
}

#[test]
fn an_up_that_was_killed_is_resumed_or_taken_down() {
    let file = example();
    let file = file.to_str().unwrap();
    for (i, wait) in [5u64, 20, 40, 60, 80, 120].into_iter().enumerate() {
        let engine = Engine::new();
        let mut child = engine.start(["up", file]);
        std::thread::sleep(std::time::Duration::from_millis(wait));
        let _ = kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::KILL);
        child.wait().unwrap();
        if i % 2 == 0 {
            let up = engine.run(["up", file]).ok();
            assert_eq!(row(&up.out, "a1"), ["-", "yes", "no", "no"]);
        }
        engine.run(["down", file]).ok();
        assert_eq!(engine.run(["ps", "-a", "-o", "name"]).ok().out, "");
        assert_eq!(engine.run(["net", "ls", "-o", "name"]).ok().out, "");
    }
}

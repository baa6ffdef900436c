//! `pod k8s nad`.

use crate::World;
use crate::driver::Driver;
use crate::world::image;

/// A definition that asks for a VLAN by a key that its plugin does not read, and so on.
const FIRST: &str = r#"apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: test-vlan100}
spec:
  config: '{"cniVersion": "0.3.1", "name": "test-vlan100", "type": "macvlan", "master": "eth0", "mode": "bridge",
    "vlan": 100, "ipam": {"type": "static", "addresses": [{"address": "10.100.0.0/24", "gateway": "10.100.0.1"}]},
    "dns": {"nameservers": ["8.8.8.8", "8.8.4.4"]}}'
"#;

#[test]
fn a_definition_that_lies_is_refused_and_put_right() {
    let w = World::new("fix");
    let file = w.file("first.yaml", FIRST);
    let refused = w.run(["k8s", "nad", "apply", &file]);
    assert_eq!(refused.code, 125);
    for words in ["4 faults", "nothing is tagged", "resolv.conf", "--fix"] {
        assert!(refused.err.contains(words), "{words} in {}", refused.err);
    }
    assert_eq!(w.run(["k8s", "nad", "ls", "-o", "json"]).ok().out, "[]\n");
    let tried = w.run(["k8s", "nad", "apply", "--fix", "--dry-run", &file]).ok();
    assert_eq!(tried.out, "test-vlan100  would be taken\n");
    assert_eq!(w.run(["k8s", "nad", "ls", "-o", "name"]).ok().out, "");
    assert_eq!(w.run(["k8s", "nad", "diff", &file]).code, 1);
    let applied = w.run(["k8s", "nad", "apply", "--fix", &file]).ok();
    assert_eq!(applied.out, "test-vlan100  created\n");
    assert!(applied.err.contains("eth0.100"), "{}", applied.err);
    // What is there is what `check --fix` prints, and passes the check that it failed.
    let fixed = w.run(["k8s", "nad", "check", "--fix", &file]).ok().out;
    assert_eq!(w.feed(["k8s", "nad", "diff", "-"], fixed.as_bytes()).code, 0);
    assert_eq!(w.feed(["k8s", "nad", "apply", "-"], fixed.as_bytes()).ok().out, "test-vlan100  unchanged\n");
    let there = w.run(["k8s", "nad", "get", "test-vlan100"]).ok().out;
    assert!(w.feed(["k8s", "nad", "check", "-"], there.as_bytes()).ok().out.contains("no faults"));
    let listed = w.run(["k8s", "nad", "ls"]).ok().out;
    let row: Vec<_> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["test-vlan100", "macvlan", "eth0.100", "100", "-", "0", "0"]);
    let elsewhere = there.replace(&w.namespace, "default");
    let other = w.feed(["k8s", "nad", "apply", "-"], elsewhere.as_bytes());
    assert!(other.code == 125 && other.err.contains("-n default"), "{}", other.err);
    assert_eq!(w.run(["k8s", "nad", "rm", "test-vlan100"]).ok().out, "test-vlan100  removed\n");
    assert_eq!(w.run(["k8s", "nad", "rm", "test-vlan100"]).ok().out, "test-vlan100  already absent\n");
}

#[test]
fn a_network_is_verified_from_every_node() {
    let w = World::new("verify");
    w.run(["net", "create", "lan", "--subnet", "10.91.0.0/24", "--uplink", "net1", "--mtu", "1400"]).ok();
    let seen = w.run(["k8s", "nad", "verify", "lan"]).ok();
    let rows: Vec<Vec<_>> = seen.out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NODE", "INTERFACE", "VLAN", "MTU", "ADDRESS", "REACHES"]);
    assert_eq!(rows.len(), 3, "{}", seen.out);
    for (row, (node, other)) in rows[1..].iter().zip([("node-1", "node-2"), ("node-2", "node-1")]) {
        assert_eq!((row[0], row[1], row[2], row[3], row[5]), (node, "net1", "untagged", "1400", other), "{row:?}");
        assert!(row[4].starts_with("10.91.0.") && row[4].ends_with("/24"), "{row:?}");
    }
    // A parent that no node has: told for each, with a code of its own, and nothing is left.
    w.run(["net", "create", "tagged", "--vlan", "7", "--subnet", "10.92.0.0/24", "--uplink", "net1"]).ok();
    let missing = w.run(["k8s", "nad", "verify", "tagged", "--image", &image(), "-o", "json"]);
    assert_eq!(missing.code, 1, "{}", missing.err);
    let view = missing.json();
    assert_eq!((&view["ok"], &view["vlan"], &view["left_behind"]), (&false.into(), &7.into(), &serde_json::json!([])));
    for node in view["nodes"].as_array().unwrap() {
        assert!(node["error"].as_str().unwrap().contains("net1.7"), "{node}");
    }
    assert_eq!(w.run(["ps", "-a", "-o", "name"]).ok().out, "");
    let none = w.run(["k8s", "nad", "verify", "nosuch"]);
    assert!(none.code == 125 && none.err.contains("pod k8s nad ls"), "{}", none.err);
}

#[test]
fn definitions_are_made_from_their_parts() {
    let w = World::new("create");
    let words = ["k8s", "nad", "create", "red", "--master", "net1", "--addresses", "whereabouts:10.93.0.0/24"];
    assert_eq!(w.run(words).ok().out, "red  created\n");
    assert_eq!(w.run(words).ok().out, "red  unchanged\n");
    let other = w.run(["k8s", "nad", "create", "red", "--master", "net2"]);
    assert!(other.code == 125 && other.err.contains("another definition"), "{}", other.err);
    let got = w.kubectl(&["get", "net-attach-def", "red", "-o", "jsonpath={.spec.config}"], "").ok().out;
    let config: serde_json::Value = serde_json::from_str(&got).unwrap();
    assert_eq!((&config["type"], &config["master"]), (&"macvlan".into(), &"net1".into()));
}

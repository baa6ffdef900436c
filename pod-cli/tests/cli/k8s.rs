//! What of `pod k8s`, `pod forward` and `pod gc` needs no cluster.

use crate::support::{Ran, pod, ran, run};
use serde_json::Value;

/// A definition that asks for a VLAN by a key that its plugin does not read, gives every pod the
/// network's own address, and names servers that no runtime looks at.
const FIRST: &str = r#"{
    "cniVersion": "0.3.1", "name": "test-vlan100", "type": "macvlan", "master": "eth0", "mode": "bridge", "vlan": 100,
    "ipam": {"type": "static", "addresses": [{"address": "10.100.0.0/24", "gateway": "10.100.0.1"}]},
    "dns": {"nameservers": ["8.8.8.8", "8.8.4.4"]}}"#;

/// Runs with this text on stdin.
fn feed(arguments: &[&str], text: &str) -> Ran {
    ran(pod().args(arguments).write_stdin(text))
}

#[test]
fn a_definition_that_lies_is_told_and_put_right() {
    let checked = feed(&["k8s", "nad", "check", "-"], FIRST);
    assert_eq!((checked.code, checked.stderr.as_str()), (1, ""));
    insta::assert_snapshot!("nad_check", checked.stdout);
    let fixed = feed(&["k8s", "nad", "check", "--fix", "-"], FIRST);
    assert_eq!(fixed.code, 0);
    insta::assert_snapshot!("nad_fix", format!("{}---- stderr\n{}", fixed.stdout, fixed.stderr));
    // What is printed passes, and is left as it is.
    let again = feed(&["k8s", "nad", "check", "-"], &fixed.stdout);
    assert_eq!((again.code, again.stdout.lines().next()), (0, Some("test-vlan100: no faults")));
    let fixed_again = feed(&["k8s", "nad", "check", "--fix", "-"], &fixed.stdout);
    assert_eq!((fixed_again.stdout, fixed_again.stderr), (fixed.stdout, String::new()));
}

#[test]
fn checks_are_data_too() {
    let checked = feed(&["k8s", "nad", "check", "-", "-o", "json"], FIRST);
    assert_eq!(checked.code, 1);
    let v: Value = serde_json::from_str(&checked.stdout).expect("JSON");
    assert_eq!((&v[0]["name"], &v[0]["ok"]), (&"test-vlan100".into(), &false.into()));
    let places: Vec<_> = v[0]["faults"].as_array().expect("faults").iter().map(|f| f["at"].as_str()).collect();
    assert_eq!(places.len(), 4, "{places:?}");
    assert!(places.contains(&Some("vlan")) && places.contains(&Some("dns")), "{places:?}");
    // What can't be told is left to the user, with a code of its own.
    let nowhere = r#"{"cniVersion": "1.0.0", "type": "macvlan", "vlan": 5, "ipam": {"type": "dhcp"}}"#;
    let left = feed(&["k8s", "nad", "check", "--fix", "-"], nowhere);
    assert_eq!(left.code, 1);
    assert!(left.stderr.contains("left for you: `vlan`"), "{}", left.stderr);
    for (text, words) in [("{", "no YAML"), ("a: b", "no manifest"), ("apiVersion: v1\nkind: Pod", "holds no")] {
        let bad = feed(&["k8s", "nad", "check", "-"], text);
        assert!(bad.code == 125 && bad.stderr.contains(words), "{text}: {}", bad.stderr);
    }
    let none = run(&["k8s", "nad", "check", "/nonexistent/red.yaml"]);
    assert!(none.code == 125 && none.stderr.contains("/nonexistent/red.yaml"), "{}", none.stderr);
}

#[test]
fn definitions_are_made_from_parts() {
    let made = run(&["k8s", "nad", "create", "red", "--master", "eth1", "--vlan", "100", "--mtu", "1400", "--dry-run"]);
    assert_eq!((made.code, made.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("nad_create", made.stdout);
    assert_eq!(feed(&["k8s", "nad", "check", "-"], &made.stdout).code, 0);
    for (flags, words) in [
        (&["--kind", "vlan"][..], "--master"),
        (&["--kind", "vlan", "--master", "eth1"], "--vlan"),
        (&["--kind", "bridge"], "--bridge"),
        (&["--kind", "bridge", "--bridge", "br0", "--master", "eth1"], "no use for --master"),
        (&["--kind", "sriov"], "--resource"),
        (&["--mode", "l3"], "no use for that mode"),
        (&["--gateway", "10.0.0.1"], "goes with host-local or whereabouts"),
        (&["--vlan", "100"], "parent interface"),
    ] {
        let all: Vec<_> = ["k8s", "nad", "create", "red", "--dry-run"].iter().chain(flags).copied().collect();
        let bad = run(&all);
        assert!(bad.code == 125 && bad.stderr.contains(words), "{flags:?}: {}", bad.stderr);
    }
}

#[test]
fn roles_need_no_cluster() {
    let roles = run(&["k8s", "rbac", "exec", "verify", "-n", "shop", "--user", "alice"]);
    assert_eq!((roles.code, roles.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("rbac", roles.stdout);
    // The address may name the namespace.
    let named = ran(pod().env("POD_BACKEND", "k8s:shop/").args(["k8s", "rbac", "exec", "verify", "--user", "alice"]));
    assert_eq!(named.stdout, roles.stdout);
    let list: Value = serde_json::from_str(&run(&["k8s", "rbac", "run", "-o", "json"]).stdout).expect("JSON");
    assert_eq!((&list["kind"], &list["items"][0]["metadata"]["namespace"]), (&"List".into(), &"default".into()));
    assert_eq!(run(&["k8s", "rbac", "everything"]).code, 2);
    assert_eq!(run(&["k8s", "rbac"]).code, 2);
    assert_eq!(run(&["k8s", "rbac", "run", "--user", "a", "--group", "b"]).code, 2);
}

#[test]
fn a_backend_that_is_no_cluster_is_refused() {
    let other = run(&["k8s", "cni"]);
    assert_eq!(other.code, 125);
    insta::assert_snapshot!(other.stderr, @"pod: that backend is no Kubernetes cluster (backend: mem:); name one: -b k8s: or -b k8s://CONTEXT");
    // Without one, the kubeconfig's current context is meant.
    let none = ran(pod().env_remove("POD_BACKEND").env("KUBECONFIG", "/nonexistent/kube").args(["k8s", "cni"]));
    assert_eq!(none.code, 125);
    assert!(none.stderr.contains("kubeconfig"), "{}", none.stderr);
    let gc = run(&["gc"]);
    assert!(gc.code == 125 && gc.stderr.contains("mem:"), "{}", gc.stderr);
}

#[test]
fn a_forward_to_nothing_ends_at_once() {
    let none = run(&["forward", "web", "80"]);
    assert!(none.code == 125 && none.stderr.contains("no such workload"), "{}", none.stderr);
    let open = run(&["forward", "--address", "0.0.0.0", "web", "80"]);
    assert!(open.code == 125 && open.stderr.contains("--allow-remote"), "{}", open.stderr);
    for ports in [&["x"][..], &["80:0"], &["1:2:3"], &[]] {
        let all: Vec<_> = ["forward", "web"].iter().chain(ports).copied().collect();
        assert_eq!(run(&all).code, 2, "{ports:?}");
    }
}

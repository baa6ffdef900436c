//! The lab itself: its networks, its rights, and that its servers can be stopped and come back.
//!
//! `cargo xtask test` starts a lab for these; by hand, `cargo xtask lab up`, then
//! `cargo xtask lab run -- cargo test -p xtask --features lab-tests --test lab`.

use serde_json::{Value, json};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tests that stop a server are not run beside others.
static CLUSTER: Mutex<()> = Mutex::new(());

/// A namespace of the cluster's, gone with the test.
struct Space(&'static str);

impl Space {
    fn new(name: &'static str) -> Self {
        kubectl(&["create", "namespace", name]).expect("a namespace");
        let space = Self(name);
        // Its account comes a moment later, and no pod can be made without.
        eventually("an account", || space.kubectl(&["get", "serviceaccount", "default"]));
        space
    }

    fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        kubectl(&[&["--namespace", self.0], words].concat())
    }

    fn apply(&self, object: &Value) {
        let file = std::env::temp_dir().join(format!("{}-{}.json", self.0, std::process::id()));
        std::fs::write(&file, object.to_string()).expect("a file");
        let applied = self.kubectl(&["apply", "-f", &file.display().to_string()]);
        std::fs::remove_file(&file).expect("the file again");
        applied.expect("it is applied");
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if let Err(why) = kubectl(&["delete", "namespace", self.0, "--timeout=60s"]) {
            eprintln!("{why}");
        }
    }
}

fn run(program: &str, words: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(words).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr)))
}

fn kubectl(words: &[&str]) -> Result<String, String> {
    run("kubectl", &[&["--request-timeout=30s"], words].concat())
}

fn xtask(words: &[&str]) -> Result<String, String> {
    run(env!("CARGO_BIN_EXE_xtask"), &[&["lab"], words].concat())
}

fn eventually(what: &str, mut look: impl FnMut() -> Result<String, String>) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) if Instant::now() > until => panic!("no {what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn network(name: &str, parent: &str, ipam: &Value) -> Value {
    let configuration = json!({
        "cniVersion": "1.0.0", "name": name, "type": "macvlan", "master": parent, "mode": "bridge", "ipam": ipam,
    });
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": { "name": name },
        "spec": { "config": configuration.to_string() },
    })
}

/// A pod on a node, with networks beside its first.
fn pod(name: &str, node: &str, networks: &str) -> Value {
    let image = std::env::var("POD_LAB_IMAGE").expect("run by `cargo xtask lab run`");
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "annotations": { "k8s.v1.cni.cncf.io/networks": networks } },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "main", "image": image }],
        },
    })
}

/// The address of a pod's second interface, as Multus reports it.
fn second_address(space: &Space, pod: &str) -> String {
    let path = r"jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}";
    let status = space.kubectl(&["get", "pod", pod, "-o", path]).expect("a status");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let second = status.as_array().expect("interfaces").iter().find(|i| i["interface"] == "net1").expect("net1");
    second["ips"][0].as_str().expect("an address").to_owned()
}

#[test]
fn a_network_reaches_across_nodes_and_another_parent_is_another_wire() {
    let _alone = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let space = Space::new("lab-networks");
    let ipam = json!({ "type": "whereabouts", "range": "10.70.0.0/24", "network_name": "lab-networks" });
    space.apply(&network("one", "net1", &ipam));
    space.apply(&network("two", "net2", &ipam));
    space.apply(&pod("a", "node-1", "one"));
    space.apply(&pod("b", "node-2", "one"));
    space.apply(&pod("c", "node-2", "two"));
    space.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]).expect("pods");
    let (b, c) = (second_address(&space, "b"), second_address(&space, "c"));
    assert_ne!(b, c, "one range gives each address once");
    let ping = |address: &str| space.kubectl(&["exec", "a", "--", "ping", "-I", "net1", "-c1", "-W2", address]);
    ping(&b).expect("the same wire");
    let error = ping(&c).expect_err("another wire");
    assert!(error.contains("exit code 1"), "{error}");
}

#[test]
fn a_user_may_do_nothing_until_a_role_says_so() {
    let _alone = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let space = Space::new("lab-rights");
    let path = xtask(&["user", "lab-tester", "--group", "lab-group"]).expect("a user");
    let kubeconfig = format!("--kubeconfig={}", path.trim());
    let list = || space.kubectl(&[&kubeconfig, "get", "pods"]);
    let error = list().expect_err("no right");
    assert!(error.contains("Forbidden"), "{error}");
    space.kubectl(&["create", "rolebinding", "view", "--clusterrole=view", "--group=lab-group"]).expect("a role");
    eventually("right", list);
}

#[test]
fn servers_stop_and_come_back() {
    let _alone = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let state = || {
        // It fails when a server is stopped, and prints all the same.
        let words = ["lab", "status", "-o", "json"];
        let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(words).output().expect("a status");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["state"].as_str().expect("a state").to_owned()
    };
    assert_eq!(state(), "up");
    let space = Space::new("lab-outages");
    space.apply(&pod("a", "node-2", ""));
    space.kubectl(&["wait", "--for=condition=Ready", "pod/a", "--timeout=60s"]).expect("a pod");
    for (part, how) in [("apiserver", &["stop", "apiserver"][..]), ("kubelet-2", &["stop", "kubelet-2", "--kill"])] {
        xtask(how).expect("it stops");
        assert_eq!(state(), "partial", "without {part}");
        if part == "apiserver" {
            assert!(kubectl(&["get", "nodes"]).is_err());
        }
        xtask(&["start", part]).expect("it starts");
        assert_eq!(state(), "up");
        kubectl(&["get", "nodes"]).expect("an answer");
        if part == "kubelet-2" {
            space.kubectl(&["exec", "a", "--", "true"]).expect("it knows its pod");
        }
    }
    let error = xtask(&["stop", "nosuchpart"]).expect_err("no such part");
    assert!(error.contains("the servers are etcd, apiserver"), "{error}");
}

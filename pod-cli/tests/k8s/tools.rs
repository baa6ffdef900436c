//! Roles, the doctor, network plugins, namespaces, leftovers, policies.

use crate::World;
use crate::driver::{Driver, Ran};
use std::process::Command;

/// A kubeconfig of someone without any right, whom roles may give some.
fn somebody(name: &str) -> String {
    let lab = std::env::var("POD_LAB_NAME").unwrap_or_else(|_| "main".into());
    format!("/var/tmp/pod-lab-{lab}/{name}")
}

#[test]
fn the_least_roles_are_enough_and_no_more() {
    let w = World::new("rbac");
    w.run(["run", "--name", "web", "--", "sleep", "3600"]).ok();
    // Someone who may do nothing, impersonated.
    let as_alice = |verb: &str, resource: &str| {
        // `pods/exec` would be a pod of that name.
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        let part = format!("--subresource={part}");
        w.kubectl(&["auth", "can-i", verb, resource, &part, "--as", "alice"], "").out.trim() == "yes"
    };
    assert!(!as_alice("create", "pods/exec"));
    let roles = w.run(["k8s", "rbac", "exec", "logs", "-n", &w.namespace, "--user", "alice"]).ok().out;
    w.kubectl(&["apply", "-f", "-"], &roles).ok();
    // The server learns of a role a little after it took it.
    crate::world::eventually("the role counts", || as_alice("get", "pods/log"));
    for (verb, resource, may) in [
        ("create", "pods/exec", true),
        ("get", "pods/log", true),
        ("get", "pods", true),
        ("create", "pods", false),
        ("delete", "pods", false),
        ("get", "secrets", false),
    ] {
        assert_eq!(as_alice(verb, resource), may, "{verb} {resource}");
    }
    let list = w.run(["k8s", "rbac", "verify", "--service-account", "ci", "-o", "json"]).ok().json();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&"List".into(), 4));
    w.kubectl(&["apply", "--dry-run=server", "-f", "-"], &list.to_string()).ok();
}

#[test]
fn the_doctor_finds_what_is_missing() {
    let w = World::new("doctor");
    let seen = w.run(["doctor", &w.uri(), "-o", "json"]).ok().json();
    let of = |subject: &str| {
        let all = seen.as_array().unwrap();
        all.iter().find(|c| c["subject"] == subject).unwrap_or_else(|| panic!("{subject} in {seen}")).clone()
    };
    for subject in
        ["Kubernetes version", "nodes", "namespace", "network attachment definitions", "whereabouts", "may run"]
    {
        assert_eq!(of(subject)["verdict"], "good", "{subject}: {}", of(subject));
    }
    assert_eq!(of("nodes")["found"], "2 of 2 ready");
    let policies = of("NetworkPolicy is enforced");
    assert_eq!((&policies["verdict"], &policies["fix"]), (&"limited".into(), &"pod k8s policy probe".into()));
    let nowhere = w.run(["doctor", "k8s:no-such-namespace/"]);
    assert_eq!(nowhere.code, 1);
    assert!(nowhere.out.contains("pod k8s namespace create no-such-namespace"), "{}", nowhere.out);
    let unreachable = w.file("away", &kubeconfig_at("https://127.0.0.1:1"));
    let away = w.run(["doctor", &format!("k8s:?kubeconfig={unreachable}")]);
    assert_eq!(away.code, 1, "{}{}", away.out, away.err);
    assert!(away.out.contains("MISSING"), "{}", away.out);
}

fn kubeconfig_at(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{{name: x, cluster: {{server: '{server}'}}}}]\n\
         users: [{{name: x, user: {{token: x}}}}]\ncontexts: [{{name: x, context: {{cluster: x, user: x}}}}]\n"
    )
}

#[test]
fn one_without_rights_is_told_how_to_get_them() {
    let w = World::new("rights");
    let token = somebody("token.conf");
    let uri = format!("k8s:{}/?kubeconfig={token}", w.namespace);
    let seen = w.run(["doctor", &uri]).ok().out;
    let row = seen.lines().find(|l| l.starts_with("may exec ")).unwrap();
    assert!(row.contains("limited") && row.contains("create pods/exec"), "{row}");
    assert!(row.contains(&format!("pod k8s rbac exec -n {} --user ", w.namespace)), "{row}");
    // What it says is what helps.
    let fix = row[row.find("pod k8s rbac").unwrap()..].trim();
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_pod")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", fix]).env("PATH", path).env("KUBECONFIG", std::env::var("POD_LAB_KUBECONFIG").unwrap());
    let ran: Ran = shell.output().unwrap().into();
    ran.ok();
    let mut seen = String::new();
    crate::world::eventually("the role counts", || {
        seen = w.run(["doctor", &uri]).ok().out;
        seen.lines().find(|l| l.starts_with("may exec ")).unwrap().contains("good")
    });
    assert!(seen.lines().find(|l| l.starts_with("may run ")).unwrap().contains("limited"), "{seen}");
}

#[test]
fn plugins_namespaces_and_leftovers() {
    let w = World::new("tools");
    let cni = w.run(["k8s", "cni", "-o", "name"]).ok();
    assert_eq!(cni.out, "multus\n");
    let table = w.run(["k8s", "cni"]).ok().out;
    assert!(table.lines().any(|l| l.starts_with("flannel") && l.contains(" no ")), "{table}");
    let again = w.run(["k8s", "namespace", "create", &w.namespace]).ok();
    assert_eq!(again.out, format!("{}  already there\n", w.namespace));
    assert!(w.run(["k8s", "namespace", "ls", "-o", "name"]).ok().out.lines().any(|l| l == w.namespace));
    let others = w.run(["k8s", "namespace", "rm", "kube-public"]);
    assert!(others.code == 125 && others.err.contains("not made by this user"), "{}", others.err);
    let none = w.run(["gc"]).ok();
    assert!(none.err.contains("nothing is left behind"), "{}", none.err);
    // As a killed `pod run` leaves it: the labels of one that was made, and a time that is over.
    w.run(["run", "--name", "left", "--", "sleep", "3600"]).ok();
    w.kubectl(&["label", "pod", "left", "pod.operation=create-1"], "").ok();
    w.kubectl(&["annotate", "pod", "left", "--overwrite", "pod.lease=2020-01-01T00:00:00Z"], "").ok();
    let asked = w.run(["gc"]);
    assert!(asked.code == 125 && asked.out.contains("left") && asked.err.contains("-y"), "{}{}", asked.out, asked.err);
    assert_eq!(w.run(["gc", "-y", "-o", "name"]).ok().out, "left\n");
    assert_eq!(w.run(["ps", "-a", "-o", "name"]).ok().out, "");
}

#[test]
fn a_policy_that_nothing_enforces_is_told() {
    let w = World::new("policy");
    let rule = ["--rule", "deny app=a -> app=b", "--default", "allow"];
    let applied = w.run(["k8s", "policy", "apply", "shop"].into_iter().chain(rule)).ok();
    assert!(applied.out.contains("shop-0  applied"), "{}", applied.out);
    assert_eq!(w.run(["k8s", "policy", "rm", "shop"]).ok().out, "shop  removed\n");
    let probed = w.run(["k8s", "policy", "probe", "-o", "json"]);
    assert_eq!((probed.code, &probed.json()["enforcement"]), (1, &"not_enforced".into()), "{}", probed.err);
    assert_eq!(w.run(["ps", "-a", "-o", "name"]).ok().out, "");
}

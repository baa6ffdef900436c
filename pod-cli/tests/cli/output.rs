//! stdout is data in a stable form, stderr is talk.

use crate::support::{pod, ran, run};
use serde_json::Value;

#[test]
fn a_workload_as_json() {
    let ran =
        run(&["run", "--name", "w", "-o", "json", "-e", "A=1", "-l", "app=x", "--memory", "64M", "--", "sleep", "9"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let mut v: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    for (key, value) in [("id", "[id]"), ("created", "[time]"), ("started", "[time]")] {
        assert!(v[key].is_string(), "{key}");
        v[key] = value.into();
    }
    insta::assert_json_snapshot!(v);
}

#[test]
fn a_name_is_all_that_run_prints() {
    let ran = run(&["run", "--name", "w", "--", "sleep", "9"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "w\n", ""));
    let made_up = run(&["run", "--", "sleep", "9"]);
    assert_eq!(made_up.code, 0);
    assert!(made_up.stdout.starts_with("w-") && made_up.stdout.lines().count() == 1, "{}", made_up.stdout);
}

#[test]
fn an_empty_list_is_a_list() {
    assert_eq!(run(&["ps", "-o", "json"]).stdout, "[]\n");
    assert_eq!(run(&["ps", "-o", "yaml"]).stdout, "[]\n");
    assert_eq!(run(&["ps", "-o", "name"]).stdout, "");
    assert!(run(&["ps"]).stdout.starts_with("NAME"));
    assert_eq!(run(&["net", "ls", "-o", "json"]).stdout, "[]\n");
}

#[test]
fn formats_come_from_the_environment_too() {
    assert_eq!(ran(pod().env("POD_OUTPUT", "json").arg("ps")).stdout, "[]\n");
    // A flag counts before the environment.
    assert_eq!(ran(pod().env("POD_OUTPUT", "json").args(["ps", "-o", "name"])).stdout, "");
    // A flag without a value takes what shells call true.
    let all = ran(pod().env("POD_PS_ALL", "1").arg("ps"));
    assert_eq!(all.code, 0, "{}", all.stderr);
    let bad = ran(pod().env("POD_OUTPUT", "xml").arg("ps"));
    assert_eq!(bad.code, 2);
    assert!(bad.stderr.contains("--output"), "{}", bad.stderr);
}

#[test]
fn capabilities_are_all_there() {
    let ran = run(&["backend", "caps", "mem:", "-o", "json"]);
    let v: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(v["uri"], "mem:");
    assert_eq!(v["capabilities"]["exec"]["stdin"], true);
    assert_eq!(v["capabilities"]["network"].as_object().map(|g| g.contains_key("vlan_access")), Some(true));
    let names = run(&["backend", "caps", "mem:", "-o", "name"]).stdout;
    assert!(names.lines().any(|l| l == "exec.stdin"), "{names}");
    assert_eq!(run(&["backend", "ping"]).stdout, "mem:  answers\n");
    assert_eq!(run(&["doctor", "mem:"]).code, 0);
}

/// What is found and what mends it are told apart.
#[test]
fn the_doctor_tells_the_fix_of_a_server_that_is_not_there() {
    let ran = run(&["doctor", "docker:?socket=/nonexistent/socket", "-o", "json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let checks: serde_json::Value = serde_json::from_str(&ran.stdout).expect(&ran.stdout);
    let text = |key: &str| checks[0][key].as_str().unwrap_or_default().to_owned();
    assert!(text("found").contains("/nonexistent/socket") && text("fix").contains("DOCKER_HOST"), "{checks}");
    assert!(!text("found").contains(&text("fix")), "{checks}");
}

#[test]
fn a_network_is_made_and_told() {
    let made = run(&["net", "create", "red", "--vlan", "100", "--subnet", "10.1.0.0/24"]);
    assert_eq!((made.code, made.stdout.as_str()), (0, "red  created\n"));
    let gone = run(&["net", "rm", "red", "-o", "json"]);
    assert_eq!(gone.code, 0);
    let v: Value = serde_json::from_str(&gone.stdout).expect("JSON");
    assert_eq!(v, serde_json::json!([{ "name": "red", "outcome": "already_absent" }]));
}

#[test]
fn missing_workloads_are_errors_of_the_same_kind_everywhere() {
    for arguments in [
        &["exec", "web", "--", "true"][..],
        &["inspect", "web"],
        &["start", "web"],
        &["stop", "web"],
        &["wait", "web"],
        &["logs", "web"],
        &["attach", "web"],
        &["cp", "web:/etc", "x"],
        &["os", "info", "web"],
        &["net", "attach", "web", "red"],
    ] {
        let e = ran(pod().args(["-o", "json"]).args(arguments));
        assert_eq!(e.code, 125, "{arguments:?}: {}", e.stderr);
        let v: Value = serde_json::from_str(e.stderr.lines().next().unwrap_or_default()).expect("JSON");
        assert_eq!(v["kind"], "not_found", "{arguments:?}: {v}");
    }
    // What is not there is removed already.
    assert_eq!(run(&["rm", "web"]).code, 0);
    insta::assert_snapshot!(
        run(&["exec", "web", "--", "true"]).stderr,
        @"pod: no such workload (workload: web); `pod ps -a` lists those there are"
    );
}

#[test]
fn talk_is_on_stderr_and_can_be_silenced() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("none.yaml");
    std::fs::write(&file, "workloads: { a: {} }\n").expect("write");
    let loud = ran(pod().arg("up").arg("--no-verify").arg(&file));
    assert_eq!(loud.code, 0, "{}", loud.stderr);
    assert!(loud.stderr.contains("pod: none: 1 change in "), "{}", loud.stderr);
    assert_eq!(ran(pod().args(["-q", "up", "--no-verify"]).arg(&file)).stderr, "");
}

#[test]
fn logs_are_filtered_and_can_be_json() {
    let debug = ran(pod().args(["-vv", "ps"]));
    assert!(debug.stderr.contains("operation"), "{}", debug.stderr);
    let json = ran(pod().args(["--log", "pod=debug", "--log-format", "json", "ps"]));
    let first: Value = serde_json::from_str(json.stderr.lines().next().unwrap_or_default()).expect("JSON");
    assert_eq!(first["target"], "pod");
    let bad = ran(pod().args(["--log", "pod=loud", "ps"]));
    assert_eq!(bad.code, 125);
    assert!(bad.stderr.contains("log filter"), "{}", bad.stderr);
}

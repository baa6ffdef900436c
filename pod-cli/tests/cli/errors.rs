//! Errors say what, where and what to do; codes are fixed.

use crate::support::{pod, ran, run};
use serde_json::Value;

#[test]
fn an_unknown_word_gets_a_suggestion() {
    let e = run(&["exce", "web", "--", "true"]);
    assert_eq!(e.code, 2);
    assert!(e.stdout.is_empty());
    insta::assert_snapshot!(e.stderr, @r"
    error: unrecognized subcommand 'exce'

      tip: a similar subcommand exists: 'exec'

    Usage: pod [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
}

#[test]
fn a_command_line_that_can_be_mistaken_for_a_program_returns_125() {
    assert_eq!(run(&["exec", "web"]).code, 125);
    assert_eq!(run(&["run", "--nosuch"]).code, 125);
    assert_eq!(run(&["ps", "--nosuch"]).code, 2);
}

#[test]
fn a_program_without_dashes_before_it_gets_a_tip() {
    for arguments in [&["exec", "web", "ls", "-la"][..], &["run", "sleep", "5"]] {
        let e = run(arguments);
        assert_eq!(e.code, 125);
        assert!(e.stderr.contains("come after `--`"), "{}", e.stderr);
    }
    assert!(!run(&["exec", "--nosuch", "web", "--", "ls"]).stderr.contains("come after"));
}

#[test]
fn what_a_backend_lacks_is_refused_by_name() {
    for (arguments, capability) in [
        (["--mount", "data:/data"], "lifecycle.mounts"),
        (["--tmpfs", "/tmp:1M"], "lifecycle.mounts"),
        (["--publish", "8080:80"], "lifecycle.ports"),
        (["--restart", "on-failure:3"], "lifecycle.restart"),
    ] {
        let e = run(&[&["run"][..], &arguments, &["--", "true"]].concat());
        assert_eq!(e.code, 125);
        assert!(e.stderr.contains(capability), "{}", e.stderr);
    }
    let both = run(&["run", "--rm", "--restart", "always", "--", "true"]);
    assert!(both.code == 125 && both.stderr.contains("--restart"), "{}", both.stderr);
}

#[test]
fn what_can_not_be_mounted_published_or_started_again_is_told() {
    for (arguments, says) in [
        (["--volume", "srv/site:/data"], "./site:/data:ro"),
        (["--mount", "data"], "SOURCE:PLACE"),
        (["--mount", "data:data"], "the path inside is not absolute"),
        (["--tmpfs", "/tmp"], "PLACE:SIZE"),
        (["-p", "80:x"], "8080:80"),
        (["-p", "80/sctp"], "tcp or udp"),
        (["--restart", "sometimes"], "on-failure:3"),
        (["--restart", "on-failure:0"], "no restart policy"),
        (["-v", "data:/data"], "--volume data:/data"),
    ] {
        let e = run(&[&["run"][..], &arguments, &["--", "true"]].concat());
        assert_eq!(e.code, 125);
        assert!(e.stderr.contains(says), "{arguments:?}: {}", e.stderr);
    }
    let twice = run(&["run", "-p", "8080:80", "-p", "8080:81", "--", "true"]);
    assert!(twice.code == 125 && twice.stderr.contains("same port of the machine"), "{}", twice.stderr);
}

#[test]
fn usage_errors_are_json_on_request() {
    for arguments in [["-o", "json", "ps", "--nosuch"], ["ps", "--nosuch", "--output", "json"]] {
        let e = run(&arguments);
        assert_eq!(e.code, 2);
        let v: Value = serde_json::from_str(&e.stderr).expect("one JSON object");
        assert_eq!(v["kind"], "invalid_input");
        assert!(v["message"].as_str().is_some_and(|m| m.contains("--nosuch")), "{v}");
    }
}

#[test]
fn bad_values_name_the_flag_and_the_way_out() {
    let cases: &[&[&str]] = &[
        &["net", "create", "red", "--vlan", "4095"],
        &["net", "create", "red", "--vlan", "0"],
        &["net", "create", "red", "--subnet", "10.0.0.0"],
        &["net", "create", "r d"],
        &["exec", "--timeout", "soon", "web", "--", "true"],
        &["run", "--memory", "lots", "--", "true"],
        &["run", "--net", "red:color=blue", "--", "true"],
        &["run", "--image", "a b", "--", "true"],
        &["stop", "-s", "SIGNOPE", "web"],
        &["net", "policy", "red", "--default", "deny", "--rule", "maybe a -> b"],
        &["-o", "xml", "ps"],
    ];
    let mut all = String::new();
    for case in cases {
        let e = run(case);
        assert!(e.code == 2 || e.code == 125, "{case:?}: {}", e.code);
        all.push_str(&format!(
            "$ pod {}\n{}\n",
            case.join(" "),
            e.stderr.split("\n\nFor more").next().unwrap_or_default()
        ));
    }
    insta::assert_snapshot!("bad_values", all);
}

#[test]
fn an_unknown_scheme_lists_those_there_are() {
    let e = ran(pod().args(["-b", "dokcer:", "ps"]));
    assert_eq!(e.code, 125);
    assert!(e.stderr.starts_with("pod: no backend has the scheme \"dokcer\""), "{}", e.stderr);
    assert!(e.stderr.contains("mem"), "{}", e.stderr);
    let e = ran(pod().args(["-b", "dokcer:", "-o", "json", "ps"]));
    let v: Value = serde_json::from_str(&e.stderr).expect("one JSON object");
    assert_eq!(v["kind"], "config_invalid");
    assert!(v["message"].as_str().is_some_and(|m| m.contains("dokcer")));
}

#[test]
fn a_secret_in_an_address_is_refused_and_not_repeated() {
    let e = ran(pod().args(["-b", "mem://me:hunter2@host/", "ps"]));
    assert_eq!(e.code, 125);
    assert!(!e.stderr.contains("hunter2"), "{}", e.stderr);
}

#[test]
fn a_named_configuration_must_be_there_and_be_understood() {
    let e = ran(pod().args(["--config", "/nonexistent/config.toml", "backend", "ls"]));
    assert_eq!(e.code, 125);
    assert!(e.stderr.contains("/nonexistent/config.toml"), "{}", e.stderr);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "[backends]\nlab = \"mem:\"\ncolour = 3\n").expect("write");
    let e = ran(pod().arg("--config").arg(file.path()).args(["backend", "ls"]));
    assert_eq!(e.code, 125);
    assert!(e.stderr.contains("configuration"), "{}", e.stderr);
    std::fs::write(file.path(), "default = \"lab\"\n[backends]\nlab = \"mem:\"\n").expect("write");
    let ls =
        ran(pod().env_remove("POD_BACKEND").arg("--config").arg(file.path()).args(["backend", "ls", "-o", "json"]));
    let v: Value = serde_json::from_str(&ls.stdout).expect("JSON");
    let lab = v.as_array().and_then(|a| a.iter().find(|b| b["name"] == "lab")).expect("lab is listed");
    assert_eq!(lab["default"], true);
}

#[test]
fn a_helper_to_copy_by_is_for_pods() {
    let e = run(&["cp", "--helper", "busybox:1.36", "Cargo.toml", "mem:web:/x"]);
    assert_eq!(e.code, 125);
    assert!(
        e.stderr.contains("only pods can be given a helper") && e.stderr.contains("leave out --helper"),
        "{}",
        e.stderr
    );
}

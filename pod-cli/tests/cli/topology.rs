//! Topologies from end to end in one process.

use crate::support::{Ran, pod, ran};
use serde_json::Value;

const TWO_VLANS: &str = "
networks:
  blue: { vlan: 100, subnet: 10.100.0.0/24 }
  green: { vlan: 200, subnet: 10.100.0.0/24 }
workloads:
  a1: { networks: { blue: { ip: 10.100.0.11 } } }
  a2: { networks: { blue: { ip: 10.100.0.12 } } }
  b1: { networks: { green: { ip: 10.100.0.21 } } }
  b2: { networks: { green: { ip: 10.100.0.22 } } }
";

/// Runs `pod` with a topology file of this text named `two-vlans.yaml` in its directory.
fn with_file(text: &str, arguments: &[&str]) -> Ran {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("two-vlans.yaml"), text).expect("write");
    ran(pod().current_dir(dir.path()).args(arguments))
}

#[test]
fn up_prints_the_matrix() {
    let up = with_file(TWO_VLANS, &["-q", "up", "two-vlans.yaml"]);
    assert_eq!((up.code, up.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(up.stdout, @r"
    from \ to  a1     a2     b1     b2
    a1         -      yes    no     no
    a2         yes    -      no     no
    b1         no     no     -      yes
    b2         no     no     yes    -

    12 pairs: 4 reached, 8 blocked; all as expected
    ");
}

#[test]
fn one_cell_that_differs_is_exit_1() {
    let text = format!("{TWO_VLANS}reach:\n  - {{ from: a1, to: b1, expect: reached }}\n");
    let up = with_file(&text, &["-q", "up", "two-vlans.yaml"]);
    assert_eq!(up.code, 1);
    assert!(up.stdout.contains("NO!") && up.stdout.contains("a1 -> b1"), "{}", up.stdout);
    // Not looked at is not wrong.
    assert_eq!(with_file(&text, &["-q", "up", "--no-verify", "two-vlans.yaml"]).code, 0);
}

#[test]
fn up_as_json() {
    let up = with_file(TWO_VLANS, &["up", "two-vlans.yaml", "-o", "json"]);
    assert_eq!((up.code, up.stderr.as_str()), (0, ""));
    let v: Value = serde_json::from_str(&up.stdout).expect("JSON");
    assert_eq!(v["topology"], "two-vlans");
    assert_eq!(v["ok"], true);
    assert_eq!(v["plan"]["changes"].as_array().map(Vec::len), Some(6));
    let cells = v["verification"]["matrix"]["cells"].as_array().expect("cells");
    assert_eq!(cells.len(), 12);
    assert!(cells.iter().all(|c| c["ok"] == true));
}

#[test]
fn a_plan_says_what_would_change() {
    let plan = with_file(TWO_VLANS, &["plan", "two-vlans.yaml"]);
    assert_eq!((plan.code, plan.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(plan.stdout, @r"
    + network blue: vlan 100, 10.100.0.0/24
    + network green: vlan 200, 10.100.0.0/24
    + workload a1: blue 10.100.0.11
    + workload a2: blue 10.100.0.12
    + workload b1: green 10.100.0.21
    + workload b2: green 10.100.0.22
    ");
    assert_eq!(with_file(TWO_VLANS, &["up", "--dry-run", "two-vlans.yaml"]).stdout, plan.stdout);
    assert_eq!(with_file(TWO_VLANS, &["plan", "--detailed-exitcode", "two-vlans.yaml"]).code, 2);
}

#[test]
fn down_takes_a_file_or_a_name() {
    for operand in ["two-vlans.yaml", "./two-vlans.yaml", "two-vlans"] {
        for dry in [&["down"][..], &["down", "--dry-run"]] {
            let down = with_file(TWO_VLANS, &[dry, &[operand]].concat());
            assert_eq!((down.code, down.stdout.as_str()), (0, ""), "{operand}");
            assert!(down.stderr.contains("nothing to remove"), "{}", down.stderr);
        }
    }
    let bad = with_file(TWO_VLANS, &["down", "two vlans"]);
    assert_eq!(bad.code, 125);
    assert!(bad.stderr.contains("bad topology name"), "{}", bad.stderr);
    assert_eq!(with_file(TWO_VLANS, &["down", "other.yaml"]).code, 125);
}

#[test]
fn mistakes_name_the_place() {
    let cases = [
        ("workloads:\n  a: { imgae: host }\n", "imgae"),
        ("networks:\n  n: { vlan: 4095 }\n", "4095"),
        ("networks:\n  n: { subnet: 10.0.0.0/31 }\n", "10.0.0.0/31"),
        ("workloads:\n  a: {}\n  a: {}\n", "a"),
    ];
    for (text, word) in cases {
        let e = with_file(text, &["up", "two-vlans.yaml"]);
        assert_eq!(e.code, 125, "{text}");
        assert!(e.stderr.contains(word), "{}", e.stderr);
        assert!(e.stderr.contains("two-vlans.yaml"), "{}", e.stderr);
        assert!(e.stderr.contains('2') || e.stderr.contains('3'), "no line: {}", e.stderr);
        assert!(e.stdout.is_empty());
    }
    let none = with_file(TWO_VLANS, &["up", "nosuch.yaml"]);
    assert_eq!(none.code, 125);
    assert!(none.stderr.contains("nosuch.yaml"), "{}", none.stderr);
}

#[test]
fn verify_of_what_is_not_there_fails() {
    let verify = with_file(TWO_VLANS, &["verify", "two-vlans.yaml"]);
    assert_eq!(verify.code, 1, "{}", verify.stderr);
    assert!(verify.stdout.contains("network blue"), "{}", verify.stdout);
}

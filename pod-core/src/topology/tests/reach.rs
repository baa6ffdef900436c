//! The matrix tells what is from what should be.

use super::*;
use crate::Capability;
use crate::topology::{Measured, Progress};
use std::time::{Duration, Instant};

fn differing(v: &Verification) -> Vec<String> {
    v.matrix.differing().map(|c| format!("{}-{}", c.from, c.to)).collect()
}

#[tokio::test]
async fn a_port_moved_behind_the_back_turns_the_right_cells() {
    let lab = Lab::new();
    lab.up(TWO).await;
    lab.mem.tamper_move(&name("b1"), &network("red"), &network("blue")).expect("tamper");
    let v = lab.deploy(TWO).verify(&()).await.expect("verify");
    assert!(!v.ok());
    assert_eq!(differing(&v), ["a1-b1", "a2-b1", "b1-a1", "b1-a2", "b1-b2", "b2-a1", "b2-a2", "b2-b1"]);
    assert_eq!(v.matrix.cell("b1", "b2").expect("cell").measured, Measured::Blocked);
    for (from, to) in [("a1", "b1"), ("b1", "a2")] {
        assert!(matches!(v.matrix.cell(from, to).expect("cell").measured, Measured::Reached(_)), "{from} {to}");
    }
    // b2 is alone now, and should not be: of it nothing can be proven.
    assert!(v.matrix.to_string().contains("b2 -> a1: expected blocked, unknown: no answer, and no control"), "{v}");
    assert!(v.findings.iter().any(|f| f.workload == Some(name("b1"))), "{v}");
}

#[tokio::test]
async fn joined_networks_are_found_out() {
    let lab = Lab::new();
    lab.up(TWO).await;
    lab.mem.tamper_join(&network("blue"), &network("red")).expect("tamper");
    let v = lab.deploy(TWO).verify(&()).await.expect("verify");
    assert_eq!(differing(&v).len(), 8, "every pair across");
    assert!(v.to_string().contains("a1 -> b1: expected blocked, reached in "), "{v}");
}

#[tokio::test]
async fn a_cable_pulled_is_found_out() {
    let lab = Lab::new();
    let text = TWO.replace("  b1:", "  a3: { networks: [blue] }\n  b1:");
    lab.up(&text).await;
    lab.mem.tamper_unplug(&name("a2"), &network("blue")).expect("tamper");
    let v = lab.deploy(&text).verify(&()).await.expect("verify");
    assert!(!v.ok());
    assert_eq!(v.matrix.cell("a1", "a3").map(|c| c.ok()), Some(true));
    assert_eq!(v.matrix.cell("a1", "a2").map(|c| c.ok()), Some(false));
    assert!(v.findings.iter().any(|f| f.workload == Some(name("a2"))), "{v}");
}

#[tokio::test]
async fn the_file_may_expect_otherwise() {
    let lab = Lab::new();
    let v = lab
        .up(&format!("{TWO}reach: [{{ from: a1, to: b1, expect: reached }}, {{ from: a1, to: b2, expect: any }}]"))
        .await;
    assert_eq!(differing(&v), ["a1-b1"]);
    assert!(v.findings.is_empty());
    let v = lab.up(&format!("{TWO}reach: [{{ from: a1, to: a2, expect: blocked }}]")).await;
    assert_eq!(differing(&v), ["a1-a2"]);
}

#[tokio::test]
async fn the_examples_are_proven() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for file in ["isolated.yaml", "three-tiers.yaml", "two-vlans.yaml"] {
        let lab = Lab::new();
        let topology = Topology::load(&folder.join(file)).expect(file);
        let deployment = Deployment::on(lab.backend.clone(), topology).expect(file);
        deployment.up(&(), 16).await.expect(file);
        let v = deployment.verify(&()).await.expect(file);
        assert!(v.ok(), "{file}: {v}");
        assert!(v.matrix.cells.iter().any(|c| c.measured == Measured::Blocked), "{file}: {v}");
        deployment.down(&()).await.expect(file);
        assert!(lab.is_empty().await, "{file}");
    }
}

/// What meets on a trunk is shown and not expected; what does not meet is proven by every VLAN of the
/// trunk.
#[tokio::test]
async fn trunks_come_up_stay_and_are_probed_by_their_sub_interfaces() {
    let text = "networks:\n  a: { vlan: 5, subnet: 10.0.0.0/24 }\n  b: { vlan: 6, subnet: 10.1.0.0/24 }\n  \
                c: { vlan: 7, subnet: 10.2.0.0/24 }\nworkloads:\n  \
                router: { networks: { a: { trunk: [5, 6] } } }\n  tap: { networks: { b: { trunk: [7] } } }\n  \
                a1: { networks: [a] }\n  a2: { networks: [a] }\n  b1: { networks: [b] }\n  \
                c1: { networks: [c] }\n  c2: { networks: [c] }\n";
    let lab = Lab::new();
    let v = lab.up(text).await;
    assert!(v.ok(), "{v}");
    assert!(matches!(v.matrix.cell("router", "a1").expect("cell").measured, Measured::Reached(_)), "{v}");
    let blocked = v.matrix.cell("router", "c1").expect("cell");
    assert_eq!((blocked.expected, &blocked.measured), (crate::topology::Expect::Blocked, &Measured::Blocked));
    assert!(lab.attachments().await.contains(&"router a 10.0.0.1".to_owned()));
    let plan = planned(&lab.deploy(&text.replace("[5, 6]", "[5, 7]"))).await;
    assert_eq!(plan, ["~ attachment router on a: made anew: trunk changed"]);
}

#[tokio::test]
async fn the_read_back_stands_in_for_who_has_no_one_to_reach_and_a_note_says_so() {
    let text = "networks: { n: { subnet: 10.0.0.0/24 }, m: { subnet: 10.0.0.0/24 } }\n\
                workloads: { a: { networks: [n] }, b: { networks: { m: { ip: 10.0.0.9 } } } }\n";
    let lab = Lab::new();
    let v = lab.up(text).await;
    assert!(v.ok(), "{v}");
    assert!(v.to_string().contains("note: the file gives no one to reach to a, b: "), "{v}");
    // What is not as it was made can't stand in.
    lab.mem.tamper_move(&name("a"), &network("n"), &network("m")).expect("tamper");
    let v = lab.deploy(text).verify(&()).await.expect("verify");
    assert_eq!(differing(&v), ["a-b", "b-a"]);
    // And without a read-back there is nothing to stand on, unless nothing is expected.
    let lab = Lab::of(MemBackend::new().without(Capability::Verify));
    let v = lab.up(text).await;
    assert!(!v.ok());
    assert!(
        v.to_string().contains("a -> b: expected blocked, unknown: no answer, and no control: a reached no other"),
        "{v}"
    );
    let v =
        lab.up(&format!("{text}reach: [{{ from: a, to: b, expect: any }}, {{ from: b, to: a, expect: any }}]")).await;
    assert!(v.ok(), "{v}");
}

#[derive(Default)]
struct Phases(Mutex<Vec<(String, usize)>>);

impl Progress for Phases {
    fn phase(&self, name: &str, total: usize) {
        self.0.lock().expect("phases").push((name.to_owned(), total));
    }
    fn step(&self, _: &str) {}
}

#[tokio::test]
async fn a_hundred_workloads_are_one_round() {
    let lab = Lab::new();
    let mut text = String::from("networks:\n");
    for n in 0..10 {
        text += &format!("  n{n}: {{ vlan: {}, subnet: 10.0.0.0/24 }}\n", 100 + n);
    }
    text += "workloads:\n";
    for w in 0..100 {
        text += &format!("  w{w}: {{ networks: {{ n{}: {{ ip: 10.0.0.{} }} }} }}\n", w % 10, w + 1);
    }
    let deployment = lab.deploy(&text);
    deployment.up(&(), 16).await.expect("up");
    let phases = Phases::default();
    let begun = Instant::now();
    let v = deployment.verify(&phases).await.expect("verify");
    assert!(v.ok(), "{v}");
    assert_eq!(v.matrix.cells.len(), 9900);
    assert_eq!(v.to_string(), "9900 pairs: 900 reached, 9000 blocked; all as expected");
    let phases = phases.0.into_inner().expect("phases");
    assert_eq!(phases, [("read back".to_owned(), 10), ("probe".to_owned(), 100)], "nothing was asked twice");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

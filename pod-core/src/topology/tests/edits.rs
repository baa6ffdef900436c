//! After an edit only the difference is changed.

use super::*;
use crate::RemoveRequest;
use crate::copy::{CopyInRequest, CopySource, Entry, EntryKind};

/// Brings up one text, then another; gives the plan between the two, what it changed, and which
/// workloads stayed the same ones.
async fn edit(lab: &Lab, before: &str, after: &str) -> (Vec<String>, Vec<&'static str>, Vec<String>) {
    lab.up(before).await;
    let ids = lab.ids().await;
    let deployment = lab.deploy(after);
    let plan = planned(&deployment).await;
    deployment.up(&(), 16).await.expect("up");
    let mut changes = lab.recorder.take();
    changes.sort_unstable();
    let verification = lab.up(after).await;
    assert!(verification.ok(), "{verification}");
    let stayed = lab.ids().await.into_iter().filter(|(name, id)| ids.get(name) == Some(id)).map(|(name, _)| name);
    (plan, changes, stayed.collect())
}

#[tokio::test]
async fn a_workload_that_moves_to_another_network_is_moved_and_all_learn_of_it() {
    let lab = Lab::new();
    let after = TWO.replace("b1: { networks: { red", "b1: { networks: { blue");
    let (plan, changes, stayed) = edit(&lab, TWO, &after).await;
    assert_eq!(
        plan,
        [
            "+ attachment b1 on blue: 10.100.0.21",
            "- attachment b1 on red",
            "~ names a1: b1 is 10.100.0.21",
            "~ names a2: b1 is 10.100.0.21",
            "~ names b1: a1 is 10.100.0.11, a2 is 10.100.0.12, b2 is gone",
            "~ names b2: b1 is gone",
        ]
    );
    assert_eq!(changes, ["attach", "copy", "copy", "copy", "copy", "detach"]);
    assert_eq!(stayed, ["a1", "a2", "b1", "b2"], "none was made anew");
    assert_eq!(lab.names("a1").await, ["a2 10.100.0.12", "b1 10.100.0.21"]);
    assert_eq!(lab.names("b2").await, Vec::<String>::new());
    // And back: what it was made with is not what counts.
    let (_, _, stayed) = edit(&lab, &after, TWO).await;
    assert_eq!(stayed.len(), 4);
    assert_eq!(lab.names("a1").await, ["a2 10.100.0.12"]);
    assert_eq!(lab.names("b1").await, ["b2 10.100.0.22"]);
}

#[tokio::test]
async fn a_workload_more_and_one_less() {
    let lab = Lab::new();
    let after = TWO.replace("  b2: { networks: { red: { ip: 10.100.0.22 } } }", "  b3: { networks: [red] }");
    let (plan, changes, stayed) = edit(&lab, TWO, &after).await;
    assert_eq!(
        plan,
        ["+ workload b3: host, red 10.100.0.1", "- workload b2", "~ names b1: b3 is 10.100.0.1, b2 is gone",]
    );
    assert_eq!(changes, ["copy", "create", "remove"]);
    assert_eq!(stayed, ["a1", "a2", "b1"]);
}

#[tokio::test]
async fn what_a_workload_is_made_from_makes_it_anew() {
    for (edited, part) in [
        ("a1: { env: { A: b }, ", "env"),
        ("a1: { command: [sleep, '1000'], ", "command, keep_alive"),
        ("a1: { limits: { pids: 50 }, ", "limits"),
        ("a1: { labels: { tier: x }, ", "labels"),
        ("a1: { image: mem, ", "image"),
    ] {
        let lab = Lab::new();
        let (plan, changes, stayed) = edit(&lab, TWO, &TWO.replace("a1: { ", edited)).await;
        assert_eq!(plan, [format!("~ workload a1: made anew: {part} changed")]);
        assert_eq!(changes, ["create", "remove"]);
        assert_eq!(stayed, ["a2", "b1", "b2"]);
        assert_eq!(lab.attachments().await[0], "a1 blue 10.100.0.11");
    }
}

#[tokio::test]
async fn attachments_change_in_place() {
    let route = "routes: [{ to: 10.9.0.0/16, via: 10.100.0.1 }]";
    for (edited, part) in [
        ("ip: 10.100.0.19", "ip"),
        ("ip: 10.100.0.11, mac: '02:00:00:00:00:77'", "mac"),
        ("ip: 10.100.0.11, mtu: 1400", "mtu"),
        ("ip: 10.100.0.11, interface: lan", "interface"),
        ("ip: 10.100.0.11, dns: [10.100.0.1]", "dns"),
        (&format!("ip: 10.100.0.11, {route}"), "routes"),
    ] {
        let lab = Lab::new();
        let (plan, changes, stayed) = edit(&lab, TWO, &TWO.replace("ip: 10.100.0.11", edited)).await;
        assert_eq!(
            plan[plan.len() - if part == "ip" { 2 } else { 1 }],
            format!("~ attachment a1 on blue: made anew: {part} changed")
        );
        let copies = changes.iter().filter(|c| **c == "copy").count();
        assert_eq!(copies, usize::from(part == "ip"), "a2 learns of a new address only");
        assert_eq!(changes.len() - copies, 2, "{changes:?}");
        assert_eq!(stayed.len(), 4);
    }
}

#[tokio::test]
async fn addresses_can_be_swapped() {
    let lab = Lab::new();
    let after = TWO.replace("0.11", "0.x").replace("0.12", "0.11").replace("0.x", "0.12");
    let (_, changes, stayed) = edit(&lab, TWO, &after).await;
    assert_eq!(changes, ["attach", "attach", "copy", "copy", "detach", "detach"]);
    assert_eq!(stayed.len(), 4);
    assert_eq!(lab.attachments().await[..2], ["a1 blue 10.100.0.12", "a2 blue 10.100.0.11"]);
}

#[tokio::test]
async fn a_network_that_changes_is_made_anew_under_its_workloads() {
    for (edited, part, address) in [
        ("vlan: 201, subnet: 10.100.0.0/24", "vlan", "10.100.0.21"),
        ("vlan: 200, subnet: 10.100.0.0/25", "subnets", "10.100.0.21"),
        ("vlan: 200, subnet: 10.100.0.0/24, mtu: 1400", "mtu", "10.100.0.21"),
        ("vlan: 200, subnet: 10.100.0.0/24, reserved: [10.100.0.1]", "reserved", "10.100.0.21"),
        ("vlan: 200, subnet: 10.100.0.0/24, labels: { a: b }", "labels", "10.100.0.21"),
    ] {
        let lab = Lab::new();
        let after = TWO.replace("vlan: 200, subnet: 10.100.0.0/24", edited);
        let (plan, changes, stayed) = edit(&lab, TWO, &after).await;
        assert_eq!(
            plan,
            [
                "~ attachment b1 on red: made anew with its network".to_owned(),
                "~ attachment b2 on red: made anew with its network".into(),
                format!("~ network red: made anew: {part} changed"),
            ]
        );
        assert_eq!(changes, ["attach", "attach", "create network", "detach", "detach", "remove network"]);
        assert_eq!(stayed.len(), 4);
        assert_eq!(lab.attachments().await[2], format!("b1 red {address}"));
    }
}

#[tokio::test]
async fn a_new_subnet_gives_new_addresses() {
    let lab = Lab::new();
    let before = "networks: { n: { subnet: 10.0.0.0/24 } }\nworkloads: { a: { networks: [n] }, b: { networks: [n] } }";
    edit(&lab, before, &before.replace("10.0.0.0", "10.8.0.0")).await;
    assert_eq!(lab.attachments().await, ["a n 10.8.0.1", "b n 10.8.0.2"]);
    assert_eq!(lab.names("a").await, ["b 10.8.0.2"]);
}

#[tokio::test]
async fn isolation_is_switched_in_place() {
    let lab = Lab::new();
    let before = "networks: { n: { subnet: 10.0.0.0/24 }, w: { subnet: 10.1.0.0/24 }, x: { subnet: 10.2.0.0/24 } }\n\
                  workloads:\n  m: { networks: [w, x] }\n  a: { networks: [n, w] }\n  b: { networks: [n, x] }\n";
    let after = before.replace("10.0.0.0/24 }", "10.0.0.0/24, isolated: true }");
    let (plan, changes, stayed) = edit(&lab, before, &after).await;
    assert_eq!(plan, ["~ network n: isolated from now on"]);
    assert_eq!(changes, ["isolate"]);
    assert_eq!(stayed.len(), 3);
    let (plan, changes, _) = edit(&lab, &after, before).await;
    assert_eq!(plan, ["~ network n: no longer isolated"]);
    assert_eq!(changes, ["isolate"]);
}

#[tokio::test]
async fn addresses_stay_when_workloads_come_and_go() {
    let lab = Lab::new();
    let text = |names: &str| {
        let list: String = names.chars().map(|n| format!("  {n}: {{ networks: [n] }}\n")).collect();
        format!("networks: {{ n: {{ subnet: 10.0.0.0/29 }} }}\nworkloads:\n{list}")
    };
    lab.up(&text("abc")).await;
    assert_eq!(lab.attachments().await, ["a n 10.0.0.1", "b n 10.0.0.2", "c n 10.0.0.3"]);
    // The order of the file has no say in what there is; a gap is filled.
    lab.up(&text("xcb")).await;
    assert_eq!(lab.attachments().await, ["b n 10.0.0.2", "c n 10.0.0.3", "x n 10.0.0.1"]);
    lab.up(&text("abcxyz")).await;
    assert_eq!(lab.ids().await.len(), 6, "the subnet is full");
    assert_eq!(lab.attachments().await[1], "b n 10.0.0.2");
    // Made anew, it has the same address.
    let ids = lab.ids().await;
    lab.up(&text("abcxyz").replace("b: {", "b: { env: { A: b },")).await;
    assert_ne!(lab.ids().await["b"], ids["b"]);
    assert_eq!(lab.attachments().await[1], "b n 10.0.0.2");
}

#[tokio::test]
async fn what_was_changed_by_hand_is_put_right() {
    let lab = Lab::new();
    lab.up(TWO).await;
    let ids = lab.ids().await;
    let networking = lab.backend.networking().expect("networking");
    networking.detach(crate::DetachRequest::new(name("a1"), network("blue"))).await.expect("detach");
    let attachment = crate::AttachmentSpec::new(network("red"));
    networking.attach(crate::AttachNetworkRequest::new(name("a2"), attachment)).await.expect("attach");
    lab.backend.remove(RemoveRequest::new(name("b2")).with_force(true)).await.expect("remove");
    let connection = lab.backend.connect(&name("b1")).await.expect("connect");
    let file = Entry::new("", EntryKind::File { size: 0 });
    let source = CopySource::Memory(vec![(file, Default::default())]);
    connection.copy_in(CopyInRequest::new("/etc/hosts", source)).await.expect("empty the file");
    lab.recorder.take();
    let deployment = lab.deploy(TWO);
    assert_eq!(
        planned(&deployment).await,
        [
            "+ attachment a1 on blue: 10.100.0.11",
            "+ workload b2: host, red 10.100.0.22",
            "- attachment a2 on red",
            "~ names b1: b2 is 10.100.0.22",
        ]
    );
    assert!(lab.up(TWO).await.ok());
    let after = lab.ids().await;
    assert!(["a1", "a2", "b1"].iter().all(|w| after[*w] == ids[*w]));
    assert_eq!(lab.names("b1").await, ["b2 10.100.0.22"]);
}

//! Up and down, from nothing to nothing.

use super::*;
use crate::topology::{DownReport, Progress, down_named};
use crate::{CreateRequest, ErrorKind, LABEL_TOPOLOGY, NetworkSpec, StopRequest, TopologyName, WorkloadSpec};

#[tokio::test]
async fn two_vlans_come_up_are_proven_and_go_without_a_trace() {
    let lab = Lab::new();
    let deployment = lab.deploy(TWO);
    assert_eq!(
        planned(&deployment).await,
        [
            "+ network blue: vlan 100, 10.100.0.0/24",
            "+ network red: vlan 200, 10.100.0.0/24",
            "+ workload a1: host, blue 10.100.0.11",
            "+ workload a2: host, blue 10.100.0.12",
            "+ workload b1: host, red 10.100.0.21",
            "+ workload b2: host, red 10.100.0.22",
        ]
    );
    assert!(lab.recorder.take().is_empty(), "a plan changes nothing");
    assert!(lab.is_empty().await);

    let verification = lab.up(TWO).await;
    assert!(verification.ok(), "{verification}");
    let text: Vec<String> = verification.to_string().lines().map(ToOwned::to_owned).collect();
    assert_eq!(
        text,
        [
            "from \\ to  a1     a2     b1     b2",
            "a1         -      yes    no     no",
            "a2         yes    -      no     no",
            "b1         no     no     -      yes",
            "b2         no     no     yes    -",
            "",
            "12 pairs: 4 reached, 8 blocked; all as expected",
        ]
    );
    assert_eq!(lab.names("a1").await, ["a2 10.100.0.12"]);
    assert_eq!(lab.names("b2").await, ["b1 10.100.0.21"]);
    assert_eq!(
        lab.attachments().await,
        ["a1 blue 10.100.0.11", "a2 blue 10.100.0.12", "b1 red 10.100.0.21", "b2 red 10.100.0.22"]
    );

    let report = deployment.down(&()).await.expect("down");
    assert_eq!((report.workloads.len(), report.networks.len()), (4, 2));
    assert!(lab.is_empty().await);
    assert_eq!(deployment.down(&()).await.ok(), Some(DownReport::default()), "a second down removes nothing");
}

#[tokio::test]
async fn a_topology_goes_by_its_name_alone_and_takes_nothing_else_with_it() {
    let lab = Lab::new();
    lab.up(TWO).await;
    lab.up("name: other\nnetworks: { green: { subnet: 10.7.0.0/24 } }\nworkloads: { c1: { networks: [green] } }").await;
    lab.backend.create(CreateRequest::new(WorkloadSpec::new(name("alone")))).await.expect("create");
    let topology = TopologyName::new("lab").expect("name");
    let report = down_named(lab.backend.clone(), &topology, &()).await.expect("down");
    assert_eq!(report.workloads, ["a1", "a2", "b1", "b2"].map(name));
    assert_eq!(report.networks, ["blue", "red"].map(network));
    assert_eq!(lab.ids().await.into_keys().collect::<Vec<_>>(), ["alone", "c1"]);
    assert_eq!(lab.networks().await, ["green"]);
    assert!(down_named(lab.backend.clone(), &topology, &()).await.expect("down").is_empty());
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn phase(&self, name: &str, total: usize) {
        self.0.lock().expect("heard").push(format!("{name}: {total}"));
    }
    fn step(&self, what: &str) {
        self.0.lock().expect("heard").push(what.to_owned());
    }
}

#[tokio::test]
async fn progress_tells_phases_and_steps() {
    let lab = Lab::new();
    let heard = Heard::default();
    let deployment = lab.deploy(TWO);
    deployment.up(&heard, 1).await.expect("up");
    deployment.verify(&heard).await.expect("verify");
    deployment.down(&heard).await.expect("down");
    let expected = [
        "create networks: 2",
        "network blue",
        "network red",
        "start workloads: 4",
        "workload a1",
        "workload a2",
        "workload b1",
        "workload b2",
        "read back: 2",
        "network blue",
        "network red",
        "probe: 4",
        "a1",
        "a2",
        "b1",
        "b2",
        "remove workloads: 4",
        "workload a1",
        "workload a2",
        "workload b1",
        "workload b2",
        "remove networks: 2",
        "network blue",
        "network red",
    ];
    assert_eq!(*heard.0.lock().expect("heard"), expected);
}

#[tokio::test]
async fn what_was_stopped_is_started_again() {
    let lab = Lab::new();
    lab.up(TWO).await;
    let before = lab.ids().await;
    lab.backend.stop(StopRequest::new(name("b1"))).await.expect("stop");
    let deployment = lab.deploy(TWO);
    let lines = planned(&deployment).await;
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("~ workload b1: started: it is killed by signal 15"), "{lines:?}");
    let verification = deployment.verify(&()).await.expect("verify");
    assert!(!verification.ok());
    assert!(verification.findings[0].to_string().contains("~ workload b1"), "{verification}");
    assert!(verification.to_string().contains("b1 does not run"), "{verification}");
    assert!(lab.up(TWO).await.ok());
    assert_eq!(lab.ids().await, before);
}

/// Things of the same name that are not the topology's: nothing is changed.
#[tokio::test]
async fn what_belongs_to_others_is_a_conflict_before_anything_is_changed() {
    let lab = Lab::new();
    lab.backend.create(CreateRequest::new(WorkloadSpec::new(name("a2")))).await.expect("create");
    lab.recorder.take();
    let refused = async |says: &str, hint: &str| {
        for result in [lab.deploy(TWO).plan().await.map(|_| ()), lab.deploy(TWO).up(&(), 16).await.map(|_| ())] {
            let e = result.expect_err("conflict");
            assert_eq!(e.kind(), ErrorKind::Conflict);
            let text = e.to_string();
            assert!(text.contains(says) && text.contains(hint) && text.contains("place: line "), "{text}");
        }
        assert!(lab.recorder.take().is_empty(), "nothing was changed");
    };
    refused("a workload of this name is there already, and no topology made it", "`pod rm a2`").await;
    let all = lab.deploy(TWO).down(&()).await.expect("down");
    assert!(all.is_empty(), "what is not the topology's is left alone");
    lab.backend.remove(crate::RemoveRequest::new(name("a2"))).await.expect("remove");

    let spec = WorkloadSpec::new(name("a2")).with_label(LABEL_TOPOLOGY, "other");
    lab.backend.create(CreateRequest::new(spec)).await.expect("create");
    lab.recorder.take();
    refused("a workload of this name belongs to the topology other", "`pod down other`").await;
    lab.backend.remove(crate::RemoveRequest::new(name("a2"))).await.expect("remove");

    let networking = lab.backend.networking().expect("networking");
    networking.create(NetworkSpec::new(network("red"))).await.expect("create");
    lab.recorder.take();
    refused("a network of this name is there already", "`pod net rm red`").await;
}

#[tokio::test]
async fn a_network_that_others_are_on_is_not_pulled_away() {
    let lab = Lab::new();
    lab.up(TWO).await;
    let spec = WorkloadSpec::new(name("guest")).with_attachment(crate::AttachmentSpec::new(network("red")));
    lab.backend.create(CreateRequest::new(spec).with_start()).await.expect("create");
    lab.recorder.take();
    for edit in [TWO.replace("vlan: 200", "vlan: 201"), "networks: { blue: { vlan: 100 } }".to_owned()] {
        let e = lab.deploy(&edit).up(&(), 16).await.expect_err("a stranger");
        assert_eq!(e.kind(), ErrorKind::Conflict);
        assert!(
            e.to_string().contains("workload: guest") && e.to_string().contains("`pod net detach guest red`"),
            "{e}"
        );
        assert!(lab.recorder.take().is_empty());
    }
    // Down does what it can and says what it could not.
    let e = lab.deploy(TWO).down(&()).await.expect_err("a stranger");
    assert_eq!(e.kind(), ErrorKind::Busy);
    assert!(e.to_string().contains("workload: guest"), "{e}");
    assert_eq!(lab.ids().await.into_keys().collect::<Vec<_>>(), ["guest"]);
    assert_eq!(lab.networks().await, ["red"]);
    lab.backend.remove(crate::RemoveRequest::new(name("guest")).with_force(true)).await.expect("remove");
    lab.deploy(TWO).down(&()).await.expect("down");
    assert!(lab.is_empty().await);
}

#[tokio::test]
async fn workloads_may_have_commands_counts_and_no_network() {
    let lab = Lab::new();
    let text = "networks: { n: { subnets: [10.0.0.0/24, 'fd00::/64'] } }\n\
                workloads:\n  web: { count: 3, command: [sleep, '1000'], networks: [n] }\n  idle: {}\n";
    let verification = lab.up(text).await;
    assert!(verification.ok(), "{verification}");
    assert_eq!(verification.matrix.cells.len(), 6);
    assert_eq!(lab.attachments().await[1], "web-2 n 10.0.0.2 fd00::2");
    assert_eq!(lab.names("web-1").await, ["web-2 10.0.0.2", "web-3 10.0.0.3"]);
    lab.deploy(text).down(&()).await.expect("down");
    assert!(lab.is_empty().await);
}

#[tokio::test]
async fn results_have_a_stable_json_form() {
    let lab = Lab::new();
    let deployment = lab.deploy("networks: { n: {} }\nworkloads: { a: { networks: [n] } }");
    let report = deployment.up(&(), 1).await.expect("up");
    let mut json = serde_json::to_value(&report).expect("json");
    assert!(json["seconds"].take().is_f64());
    assert_eq!(
        json,
        serde_json::json!({ "seconds": null, "plan": { "topology": "lab", "changes": [
            { "action": "add", "thing": "network", "name": "n", "backend": "mem:", "detail": "untagged" },
            { "action": "add", "thing": "workload", "name": "a", "backend": "mem:", "detail": "n" },
        ] } })
    );
    let verification = deployment.verify(&()).await.expect("verify");
    let json = serde_json::to_value(&verification).expect("json");
    let keys: Vec<_> = json.as_object().expect("object").keys().cloned().collect();
    assert_eq!(keys, ["checked", "findings", "matrix", "notes", "ok", "seconds"]);
    assert_eq!(json["ok"], true);
    let down = deployment.down(&()).await.expect("down");
    assert_eq!(
        serde_json::to_value(&down).expect("json"),
        serde_json::json!({ "workloads": ["a"], "networks": ["n"] })
    );
}

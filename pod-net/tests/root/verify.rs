//! What was changed behind POD's back is found, and said where.

use crate::Case;
use crate::world::{World, inside, network, spec};
use pod_core::{AttachmentSpec, ErrorKind, VerifyReport, VerifyRequest};
use pod_net::{HostNet, Sandbox};
use std::path::PathBuf;

pub(crate) const CASES: &[Case] = &[
    Case::new("two networks joined behind POD's back are found", joined),
    Case::new("every change of an attachment is found", changes),
    Case::new("a namespace that is gone is found", gone),
];

struct Scene {
    host: HostNet,
    boxes: Vec<Sandbox>,
    /// POD's own namespace.
    own: PathBuf,
}

impl Scene {
    /// Two networks, two workloads on each.
    fn new(world: &World) -> Self {
        let host = world.host();
        let boxes: Vec<_> = ["a1", "a2", "b1", "b2"].map(|name| world.sandbox(name)).into();
        world.run(async {
            for name in ["red", "blue"] {
                host.create_network(&spec(name, "10.1.0.0/24")).await.expect("create");
            }
            for (i, sandbox) in boxes.iter().enumerate() {
                let on = network(if i < 2 { "red" } else { "blue" });
                host.attach(sandbox, &AttachmentSpec::new(on)).await.expect("attach");
            }
        });
        Self { host, boxes, own: world.dir.join("run/net/ns") }
    }

    fn verify(&self, world: &World, request: VerifyRequest) -> VerifyReport {
        world.run(self.host.verify(&self.boxes, &request)).expect("verify")
    }

    fn bridge(&self, world: &World, name: &str) -> String {
        let list = world.run(self.host.list()).expect("list");
        list.into_iter().find(|n| n.spec.name == network(name)).expect("network").id
    }

    /// The bridge port of a workload.
    fn port(&self, sandbox: &Sandbox) -> String {
        let end = inside(&sandbox.netns, "ip -o link show eth0");
        let index = end.split("@if").nth(1).and_then(|t| t.split(':').next()).expect("index").to_owned();
        let links = inside(&self.own, "ip -o link");
        let line = links.lines().find(|l| l.starts_with(&format!("{index}: "))).expect("port").to_owned();
        line.split([' ', '@']).nth(1).expect("name").to_owned()
    }
}

fn joined(world: World) {
    let scene = Scene::new(&world);
    let report = scene.verify(&world, VerifyRequest::default());
    assert!(report.ok() && report.checked > 40, "{report:?}");
    let (red, blue) = (scene.bridge(&world, "red"), scene.bridge(&world, "blue"));
    inside(&scene.own, "ip link add j1 type veth peer name j2");
    inside(&scene.own, &format!("ip link set j1 master {red} up"));
    inside(&scene.own, &format!("ip link set j2 master {blue} up"));
    let report = scene.verify(&world, VerifyRequest::default());
    let texts: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:#?}");
    for (bridge, port, far, other_bridge, other) in
        [(&red, "j1", "j2", &blue, "blue"), (&blue, "j2", "j1", &red, "red")]
    {
        let place = format!("bridge {bridge}, port {port}");
        let end = format!("its other end {far} on bridge {other_bridge} of network {other}");
        assert!(texts.iter().any(|t| t.contains(&place) && t.contains(&end)), "{place}, {end}: {texts:#?}");
    }
    let report = scene.verify(&world, VerifyRequest::of(network("red")));
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].network, Some(network("red")));
    let none = world.run(scene.host.verify(&scene.boxes, &VerifyRequest::of(network("green")))).expect_err("none");
    assert_eq!(none.kind(), ErrorKind::NotFound);
    inside(&scene.own, "ip link del j1");
    assert!(scene.verify(&world, VerifyRequest::default()).ok());
}

fn changes(world: World) {
    let scene = Scene::new(&world);
    let a1 = scene.boxes[0].clone();
    let port = scene.port(&a1);
    let (red, blue) = (scene.bridge(&world, "red"), scene.bridge(&world, "blue"));
    let (own, a) = (scene.own.clone(), a1.netns.clone());
    // what is changed, how it is put back, and what the finding says
    let cases: &[(&PathBuf, String, String, &[&str])] = &[
        (
            &a,
            "ip addr add 10.1.0.99/24 dev eth0".into(),
            "ip addr del 10.1.0.99/24 dev eth0".into(),
            &["interface eth0, addresses", "expected 10.1.0.1/24", "found 10.1.0.1/24, 10.1.0.99/24"],
        ),
        (&a, "ip link set eth0 mtu 1400".into(), "ip link set eth0 mtu 1500".into(), &["eth0, MTU", "1500", "1400"]),
        (&own, format!("ip link set {port} mtu 1400"), format!("ip link set {port} mtu 1500"), &[&port, "MTU"]),
        (
            &own,
            format!("ip link set {port} down"),
            format!("ip link set {port} up"),
            &[&port, "expected up, found down"],
        ),
        (
            &own,
            format!("ip link set {port} master {blue}"),
            format!("ip link set {port} master {red}"),
            &[&port, &red, &blue, "bridge: expected"],
        ),
        (
            &own,
            format!("ip link set {port} type bridge_slave isolated on"),
            format!("ip link set {port} type bridge_slave isolated off"),
            &[&port, "expected not isolated, found isolated"],
        ),
        (
            &own,
            format!("ip addr add 10.1.0.200/24 dev {red}"),
            format!("ip addr del 10.1.0.200/24 dev {red}"),
            &[&red, "addresses", "found 10.1.0.200/24"],
        ),
        (&own, format!("ip link set {red} down"), format!("ip link set {red} up"), &[&red, "found down"]),
        (
            &own,
            "ip link add stray type bridge".into(),
            "ip link del stray".into(),
            &["link stray", "a bridge that is not POD's"],
        ),
    ];
    for (namespace, change, back, parts) in cases {
        inside(namespace, change);
        let report = scene.verify(&world, VerifyRequest::default());
        let texts: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
        let found = texts.iter().any(|t| parts.iter().all(|p| t.contains(p)));
        assert!(found, "{change}: no finding has all of {parts:?}: {texts:#?}");
        inside(namespace, back);
        if back.contains("master") && scene.host.kernel().vlan_filtering {
            // a port that changes bridges leaves its VLANs
            inside(namespace, &format!("bridge vlan add vid 1 dev {port} pvid untagged"));
        }
        let report = scene.verify(&world, VerifyRequest::default());
        assert!(report.ok(), "{back}: {:#?}", report.findings);
    }
    inside(&own, &format!("ip link del {port}"));
    let report = scene.verify(&world, VerifyRequest::default());
    let texts: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    for part in
        [format!("bridge port {port} of {red}: expected veth, found nothing"), "interface eth0: expected veth".into()]
    {
        assert!(texts.iter().any(|t| t.contains(&part) && t.contains("workload a1")), "{part}: {texts:#?}");
    }
    world.run(async {
        // attaching again mends it
        scene.host.attach(&a1, &AttachmentSpec::new(network("red"))).await.expect("attach");
    });
    assert!(scene.verify(&world, VerifyRequest::default()).ok());
}

fn gone(world: World) {
    let scene = Scene::new(&world);
    inside(&scene.own, &format!("ip link del {}", scene.bridge(&world, "red")));
    let report = scene.verify(&world, VerifyRequest::default());
    assert!(report.findings.iter().any(|f| f.place.starts_with("bridge ") && f.found == "nothing"), "{report:#?}");
    pod_net::netns::remove(&scene.own).expect("remove");
    let report = scene.verify(&world, VerifyRequest::default());
    assert_eq!(report.findings.len(), 2, "{report:#?}");
    assert!(report.findings.iter().all(|f| f.place.contains("POD's network namespace")), "{report:#?}");
}

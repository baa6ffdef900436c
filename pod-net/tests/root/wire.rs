//! What is seen on the wire between two hosts, and at its ends: every frame, by a capture.

use crate::vlan::carried;
use crate::world::{World, config, inside, interface, ip, network, pings, spec, vlan};
use crate::{Case, Need};
use pod_core::{Attachment, AttachmentSpec, VerifyRequest};
use pod_net::{HostNet, Sandbox, netns};
use pod_testkit::wire::{Capture, of};
use std::path::Path;

pub(crate) const CASES: &[Case] = &[
    Case::on(
        "tags: each frame between two hosts has its network's tag, and no other network sees it",
        Need::Tags,
        |w| {
            between(w, true);
        },
    ),
    Case::on("tags: the same without VLAN-aware bridges", Need::Vlan8021q, |w| between(w, false)),
];

/// A host of its own, with a workload in each of two networks that leave by this uplink.
struct Side {
    host: HostNet,
    boxes: [Sandbox; 2],
    made: [Attachment; 2],
}

impl Side {
    fn new(world: &World, name: &str, uplink: &str, vlan_aware: bool, last: u8) -> Self {
        let mut config = config(&world.dir.join(name));
        config.instance = name.into();
        let mut kernel = world.host().kernel().clone();
        kernel.vlan_filtering &= vlan_aware;
        let host = HostNet::open_as(config, kernel);
        let boxes = ["red", "blue"].map(|n| world.sandbox(&format!("{name}-{n}")));
        let made = world.run(async {
            let mut made = Vec::new();
            for ((name, id), sandbox) in [("red", 100), ("blue", 200)].into_iter().zip(&boxes) {
                let wanted = spec(name, "10.1.0.0/24").with_vlan(vlan(id)).with_uplink(interface(uplink));
                host.create_network(&wanted).await.expect("create");
                let address = format!("10.1.0.{last}").parse().expect("an address");
                made.push(
                    host.attach(sandbox, &AttachmentSpec::new(network(name)).with_ip(address)).await.expect("attach"),
                );
            }
            made
        });
        Self { host, boxes, made: made.try_into().expect("two") }
    }

    fn end(self, world: &World) {
        world.run(async {
            let report = self.host.verify(&self.boxes, &VerifyRequest::default()).await.expect("verify");
            assert!(report.ok(), "{:#?}", report.findings);
            for sandbox in &self.boxes {
                self.host.forget(&sandbox.workload).await.expect("forget");
                netns::remove(&sandbox.netns).expect("remove");
            }
            for name in ["red", "blue"] {
                self.host.remove_network(&network(name)).await.expect("remove");
            }
        });
    }
}

/// Two hosts joined by one wire. Both networks have the same addresses on it, so that only their tags tell
/// them apart.
fn between(world: World, vlan_aware: bool) {
    ip("link add up0 type veth peer name up1");
    ip("link set up0 up");
    ip("link set up1 up");
    carried("up0");
    carried("up1");
    let left = Side::new(&world, "left", "up0", vlan_aware, 1);
    let right = Side::new(&world, "right", "up1", vlan_aware, 2);
    let wire = Capture::begin(None, "up1").expect("a capture");
    let ends = [0, 1].map(|n| Capture::begin(Some(&right.boxes[n].netns), "eth0").expect("a capture"));
    for n in [0, 1] {
        assert!(pings(&left.boxes[n].netns, "10.1.0.2"), "network {n} does not pass");
        // To everybody, by the address that all listen to.
        let broadcast = "ping -b -c2 -i0.2 -W1 10.1.0.255";
        let _ = std::process::Command::new("nsenter")
            .arg(format!("--net={}", left.boxes[n].netns.display()))
            .args(broadcast.split(' '))
            .output()
            .expect("run");
    }
    let (wire, ends) = (wire.end().expect("frames"), ends.map(|end| end.end().expect("frames")));
    let tags = ["vlan 100,", "vlan 200,"];
    for n in [0, 1] {
        let (from, to) = (left.made[n].mac.to_string(), right.made[n].mac.to_string());
        let own = of(&wire, &from);
        assert!(own.iter().any(|f| f.contains(&to)), "frames to the other end: {wire:#?}");
        assert!(own.iter().any(|f| f.contains("ff:ff:ff:ff:ff:ff")), "frames to everybody: {wire:#?}");
        for frame in own.iter().chain(&of(&wire, &to)) {
            assert!(frame.contains(tags[n]), "{frame} has not {}", tags[n]);
        }
        let arrived = of(&ends[n], &from);
        assert!(arrived.iter().any(|f| f.contains("ff:ff:ff:ff:ff:ff")), "{:#?}", ends[n]);
        assert!(arrived.iter().all(|f| !f.contains("vlan")), "tags are taken off: {arrived:#?}");
        assert_eq!(of(&ends[1 - n], &from), [""; 0], "the other network sees them");
        assert_eq!(of(&ends[1 - n], &to), [""; 0], "the other network sees the answers");
    }
    for side in [left, right] {
        side.end(&world);
    }
    assert_eq!(inside(Path::new("/proc/self/ns/net"), "ip -br link").lines().count(), 3, "lo and the wire");
    ip("link del up0");
    world.assert_clean();
}

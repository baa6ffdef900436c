//! Tags: VLAN-aware bridges, uplinks and trunks, on kernels that have them.

use crate::world::{World, config, inside, interface, ip, network, pings, spec, vlan, workload};
use crate::{Case, Need};
use pod_core::{
    AttachMode, AttachmentSpec, ErrorKind, IsolateRequest, NetworkSpec, ProbeOutcome, ProbeRequest, ProbeTarget,
    RemoveOutcome, VerifyRequest,
};
use pod_net::{HostNet, Sandbox, netns};
use std::path::{Path, PathBuf};

pub(crate) const CASES: &[Case] = &[
    Case::on("tags: VLANs of a VLAN-aware bridge are kept apart", Need::VlanFiltering, apart),
    Case::on("tags: an uplink carries a network's tag", Need::Tags, |world| uplink(world, true)),
    Case::on("tags: an uplink carries tags without VLAN-aware bridges too", Need::Vlan8021q, |world| {
        uplink(world, false)
    }),
    Case::on("tags: an uplink that can't be used is refused", Need::Vlan8021q, refused),
    Case::on("tags: a trunk carries the VLANs it lists, tagged, and no other", Need::Tags, trunk),
    Case::on("tags: changed VLANs are found", Need::Tags, verify),
    Case::on("tags: what is missing of an uplink is made again", Need::Tags, remade),
];

fn tagged(name: &str, id: u16) -> NetworkSpec {
    spec(name, "10.1.0.0/24").with_vlan(vlan(id))
}

fn on(name: &str) -> AttachmentSpec {
    AttachmentSpec::new(network(name))
}

fn bridge_of(world: &World, host: &HostNet, name: &str) -> String {
    let list = world.run(host.list()).expect("list");
    list.into_iter().find(|n| n.spec.name == network(name)).expect("network").id
}

fn apart(world: World) {
    let host = world.host();
    let boxes = ["a", "b", "c", "d"].map(|name| world.sandbox(name));
    let [a, b, c, d] = &boxes;
    world.run(async {
        for wanted in [tagged("red", 100), tagged("blue", 200), tagged("other-red", 100), spec("plain", "10.1.0.0/24")]
        {
            host.create_network(&wanted).await.expect("create");
        }
        host.attach(a, &on("red")).await.expect("attach");
        host.attach(b, &on("red")).await.expect("attach");
        host.attach(c, &on("blue").with_ip("10.1.0.3".parse().expect("ip"))).await.expect("attach");
        host.attach(d, &on("other-red").with_ip("10.1.0.4".parse().expect("ip"))).await.expect("attach");
    });
    let bridges = ["red", "blue", "other-red", "plain"].map(|n| bridge_of(&world, &host, n));
    assert_eq!(bridges[0], bridges[1], "one bridge for both VLANs");
    assert!(bridges[2] != bridges[0] && bridges[3] != bridges[0] && bridges[2] != bridges[3], "{bridges:?}");
    assert!(pings(&a.netns, "10.1.0.2"));
    for other in ["10.1.0.3", "10.1.0.4"] {
        assert!(!pings(&a.netns, other), "{other}");
    }
    world.run(async {
        let report = host.verify(&boxes, &VerifyRequest::default()).await.expect("verify");
        assert!(report.ok(), "{:#?}", report.findings);
        host.isolate(&IsolateRequest::new(network("red"), true)).await.expect("isolate");
        assert!(!pings(&a.netns, "10.1.0.2"));
        for sandbox in &boxes {
            host.forget(&sandbox.workload).await.expect("forget");
            netns::remove(&sandbox.netns).expect("remove");
        }
        // the shared bridge stays while one network is on it
        host.remove_network(&network("red")).await.expect("remove");
        assert!(inside(&world.dir.join("run/net/ns"), "ip -br link").contains(&bridges[0]));
        for name in ["blue", "other-red", "plain"] {
            assert_eq!(host.remove_network(&network(name)).await.expect("remove"), RemoveOutcome::Removed);
        }
    });
    world.assert_clean();
}

/// A wire from the host to a namespace outside, which has an interface in each of some VLANs there.
fn wire(world: &World, ids: &[u16]) -> PathBuf {
    let outside = world.dir.join("outside");
    netns::create(&outside).expect("namespace");
    ip(&format!("link add up0 type veth peer name wire0 netns {}", outside.display()));
    ip("link set up0 up");
    inside(&outside, "ip link set wire0 up");
    carried("up0");
    for id in ids {
        inside(&outside, &format!("ip link add link wire0 name wire0.{id} type vlan id {id}"));
        inside(&outside, &format!("ip link set wire0.{id} up"));
    }
    outside
}

/// Waits until a link carries frames: the kernel notices a moment after both its ends are up.
pub(crate) fn carried(link: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !ip(&format!("-br link show {link}")).contains(" UP ") {
        assert!(std::time::Instant::now() < end, "{link} does not come up");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn cut(outside: &Path) {
    ip("link del up0");
    netns::remove(outside).expect("remove");
}

fn uplink(world: World, vlan_aware: bool) {
    let mut kernel = world.host().kernel().clone();
    kernel.vlan_filtering &= vlan_aware;
    let host = HostNet::open_as(config(&world.dir), kernel);
    assert_eq!(host.kernel().vlan_filtering, vlan_aware);
    let outside = wire(&world, &[100, 200]);
    // an address answers on its own interface only
    inside(&outside, "sysctl -q -w net.ipv4.conf.all.arp_ignore=1");
    for (address, peer, interface) in [(250, 11, "wire0.100"), (251, 12, "wire0.200"), (252, 13, "wire0")] {
        inside(&outside, &format!("ip addr add 10.1.0.{address}/32 dev {interface}"));
        inside(&outside, &format!("ip route add 10.1.0.{peer}/32 dev {interface} src 10.1.0.{address}"));
    }
    let boxes = ["a", "b"].map(|name| world.sandbox(name));
    let [a, b] = &boxes;
    world.run(async {
        for (name, id) in [("red", 100), ("blue", 200)] {
            host.create_network(&tagged(name, id).with_uplink(interface("up0"))).await.expect("create");
        }
        host.attach(a, &on("red").with_ip("10.1.0.11".parse().expect("ip"))).await.expect("attach");
        host.attach(b, &on("blue").with_ip("10.1.0.12".parse().expect("ip"))).await.expect("attach");
    });
    assert_eq!(bridge_of(&world, &host, "red") == bridge_of(&world, &host, "blue"), vlan_aware);
    assert!(pings(&a.netns, "10.1.0.250"), "VLAN 100 is tagged 100 on the wire");
    assert!(pings(&b.netns, "10.1.0.251"), "VLAN 200 is tagged 200 on the wire");
    for (from, to) in [(a, "10.1.0.251"), (a, "10.1.0.252"), (b, "10.1.0.250"), (b, "10.1.0.252"), (a, "10.1.0.12")] {
        assert!(!pings(&from.netns, to), "{to} from {from:?}");
    }
    let links = ip("-br link");
    assert_eq!(links.lines().count(), 2, "on the host only lo and the uplink: {links}");
    world.run(async {
        let report = host.verify(&boxes, &VerifyRequest::default()).await.expect("verify");
        assert!(report.ok(), "{:#?}", report.findings);
        for sandbox in &boxes {
            host.forget(&sandbox.workload).await.expect("forget");
            netns::remove(&sandbox.netns).expect("remove");
        }
        for name in ["red", "blue"] {
            host.remove_network(&network(name)).await.expect("remove");
        }
        // the VLAN is free on the wire again
        host.create_network(&tagged("red", 100).with_uplink(interface("up0"))).await.expect("create");
        host.remove_network(&network("red")).await.expect("remove");
    });
    cut(&outside);
    world.assert_clean();
}

fn refused(world: World) {
    let host = world.host();
    let outside = wire(&world, &[]);
    let wanted = || tagged("red", 100).with_uplink(interface("up0"));
    let refuse = |spec: NetworkSpec, kind: ErrorKind, parts: &[&str]| {
        let e = world.run(host.create_network(&spec)).expect_err("refused");
        assert_eq!(e.kind(), kind, "{e}");
        for part in parts {
            assert!(e.to_string().contains(part), "{part:?} is not in: {e}");
        }
        assert!(!world.dir.join("lib/net").exists() && !world.dir.join("run/net").exists(), "something was made");
    };
    refuse(wanted().with_mtu(9000), ErrorKind::InvalidInput, &["9000", "1500", "up0", "red"]);
    ip("link set up0 down");
    refuse(wanted(), ErrorKind::WrongState, &["up0", "down", "`ip link set up0 up`"]);
    ip("link set up0 up");
    carried("up0");
    ip("link add link up0 name mine type vlan id 100");
    refuse(wanted(), ErrorKind::Conflict, &["VLAN 100", "held by: mine", "up0"]);
    ip("link del mine");
    world.run(async {
        host.create_network(&wanted()).await.expect("create");
        let mut other = wanted();
        other.name = network("other");
        let e = host.create_network(&other).await.expect_err("held");
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        assert!(e.to_string().contains("held by: red"), "{e}");
        host.remove_network(&network("red")).await.expect("remove");
    });
    cut(&outside);
    world.assert_clean();
}

fn trunk(world: World) {
    let host = world.host();
    let boxes = ["a", "b", "c", "router"].map(|name| world.sandbox(name));
    let [a, b, c, router] = &boxes;
    let both = || on("red").with_mode(AttachMode::Trunk(vec![vlan(100), vlan(200)]));
    let made = world.run(async {
        for (name, id) in [("red", 100), ("blue", 200), ("green", 300)] {
            host.create_network(&tagged(name, id)).await.expect("create");
        }
        for (sandbox, name, ip) in [(a, "red", "10.1.0.1"), (b, "blue", "10.1.0.2"), (c, "green", "10.1.0.3")] {
            host.attach(sandbox, &on(name).with_ip(ip.parse().expect("ip"))).await.expect("attach");
        }
        // without the network's own VLAN there is no address of it
        let elsewhere = on("red").with_mode(AttachMode::Trunk(vec![vlan(200)]));
        let e = host.attach(router, &elsewhere.clone().with_ip("10.1.0.9".parse().expect("ip"))).await;
        let e = e.expect_err("not its VLAN");
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
        assert_eq!(host.attach(router, &elsewhere).await.expect("attach").ips, []);
        host.detach(router, &network("red")).await.expect("detach");
        let long = both().with_interface(interface("thirteen-long"));
        assert_eq!(host.attach(router, &long).await.expect_err("too long").kind(), ErrorKind::InvalidInput);
        host.attach(router, &both().with_ip("10.1.0.100".parse().expect("ip"))).await.expect("attach")
    });
    assert_eq!((made.interface, made.ips.len()), (interface("eth0"), 1));
    let links = inside(&router.netns, "ip -d -o link");
    for part in ["eth0.100@eth0", "vlan protocol 802.1Q id 100", "eth0.200@eth0", "vlan protocol 802.1Q id 200"] {
        assert!(links.contains(part), "{part}: {links}");
    }
    assert!(pings(&router.netns, "10.1.0.1"));
    assert!(!pings(&router.netns, "10.1.0.2"), "the address is on VLAN 100");
    let by = |name| ProbeTarget::new("10.1.0.1".parse().expect("ip")).with_interface(interface(name));
    let asked = ProbeRequest::new(workload("router"), vec![by("eth0.100"), by("eth0.200"), by("eth0")]);
    let heard = world.run(host.probe(router, &asked)).expect("probe");
    assert_eq!(heard.iter().map(ProbeOutcome::reached).collect::<Vec<_>>(), [true, false, false], "{heard:?}");
    // by hand the same on the other VLAN
    inside(&router.netns, "ip addr flush dev eth0.100");
    inside(&router.netns, "ip addr add 10.1.0.100/24 dev eth0.200");
    assert!(pings(&router.netns, "10.1.0.2"));
    assert!(!pings(&router.netns, "10.1.0.1"));
    // a VLAN that the trunk does not list does not pass, nor do untagged frames
    inside(&router.netns, "ip addr flush dev eth0.200");
    inside(&router.netns, "ip link add link eth0 name eth0.300 type vlan id 300");
    inside(&router.netns, "ip link set eth0.300 up");
    inside(&router.netns, "ip addr add 10.1.0.100/24 dev eth0.300");
    assert!(!pings(&router.netns, "10.1.0.3"));
    inside(&router.netns, "ip addr flush dev eth0.300");
    inside(&router.netns, "ip addr add 10.1.0.100/24 dev eth0");
    for ip in ["10.1.0.1", "10.1.0.2", "10.1.0.3"] {
        assert!(!pings(&router.netns, ip), "{ip}");
    }
    world.run(async {
        let report = host.verify(&boxes, &VerifyRequest::default()).await.expect("verify");
        let texts: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
        assert!(texts.iter().any(|t| t.contains("interface eth0.100, addresses")), "{texts:#?}");
        // attaching again puts it right, and the workload's own sub-interface goes with the old one
        host.attach(router, &both().with_ip("10.1.0.100".parse().expect("ip"))).await.expect("attach");
        let report = host.verify(&boxes, &VerifyRequest::default()).await.expect("verify");
        assert!(report.ok(), "{:#?}", report.findings);
    });
    assert!(pings(&router.netns, "10.1.0.1"));
}

fn verify(world: World) {
    let host = world.host();
    let outside = wire(&world, &[]);
    let boxes = [world.sandbox("a")];
    world.run(async {
        host.create_network(&tagged("red", 100).with_uplink(interface("up0"))).await.expect("create");
        host.create_network(&tagged("blue", 200).with_uplink(interface("up0"))).await.expect("create");
        host.attach(&boxes[0], &on("red")).await.expect("attach");
    });
    let own = world.dir.join("run/net/ns");
    let bridge = bridge_of(&world, &host, "red");
    let links = inside(&own, "ip -br link");
    let name = |prefix: &str| {
        let line = links.lines().find(|l| l.starts_with(prefix)).expect("a link");
        line.split(['@', ' ']).next().expect("name").to_owned()
    };
    let port = name("pv");
    let expect = |change: &str, back: &str, parts: &[&str]| {
        inside(&own, change);
        let report = world.run(host.verify(&boxes, &VerifyRequest::default())).expect("verify");
        let texts: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
        let found = texts.iter().any(|t| parts.iter().all(|p| t.contains(p)));
        assert!(found, "{change}: no finding has all of {parts:?}: {texts:#?}");
        inside(&own, back);
        let report = world.run(host.verify(&boxes, &VerifyRequest::default())).expect("verify");
        assert!(report.ok(), "{back}: {:#?}", report.findings);
    };
    expect(
        &format!("bridge vlan add vid 200 dev {port}"),
        &format!("bridge vlan del vid 200 dev {port}"),
        &[&port, "VLANs: expected 100 untagged, found 100 untagged, 200 tagged"],
    );
    expect(
        &format!("ip link set {bridge} type bridge vlan_filtering 0"),
        &format!("ip link set {bridge} type bridge vlan_filtering 1"),
        &[&bridge, "VLANs: expected kept apart, found not told apart"],
    );
    inside(&own, "ip link add j1 type veth peer name j2");
    for (link, id) in [("j1", 100), ("j2", 200)] {
        inside(&own, &format!("ip link set {link} master {bridge} up"));
        inside(&own, &format!("bridge vlan add vid {id} dev {link} pvid untagged"));
    }
    let report = world.run(host.verify(&boxes, &VerifyRequest::of(network("red")))).expect("verify");
    let texts: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert!(
        texts.len() == 1 && texts[0].contains("j2 on bridge") && texts[0].ends_with("of network blue"),
        "{texts:?}"
    );
    inside(&own, "ip link del j1");
    cut(&outside);
    let report = world.run(host.verify(&boxes, &VerifyRequest::default())).expect("verify");
    let gone = |f: &&pod_core::Finding| f.place.contains("to the uplink up0") && f.found == "nothing";
    assert_eq!(report.findings.iter().filter(gone).count(), 2, "{:#?}", report.findings);
}

fn remade(world: World) {
    let host = world.host();
    let make = || {
        let outside = wire(&world, &[100]);
        inside(&outside, "ip addr add 10.1.0.250/24 dev wire0.100");
        outside
    };
    let outside = make();
    let [a, b]: [Sandbox; 2] = ["a", "b"].map(|name| world.sandbox(name));
    world.run(async {
        let wanted = tagged("red", 100).with_uplink(interface("up0"));
        host.create_network(&wanted).await.expect("create");
        host.attach(&a, &on("red")).await.expect("attach");
        assert!(pings(&a.netns, "10.1.0.250"));
        // the card is pulled and put back
        cut(&outside);
        let e = host.attach(&b, &on("red")).await.expect_err("no uplink");
        assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
        make();
        host.create_network(&wanted).await.expect("the same again mends it");
        inside(&a.netns, "ip neigh flush all");
        assert!(pings(&a.netns, "10.1.0.250"));
        host.attach(&b, &on("red")).await.expect("attach");
        assert!(pings(&b.netns, "10.1.0.250"));
    });
}

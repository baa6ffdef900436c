//! Bad input: each an error that names the thing, the place and the way out, before anything changes.

use crate::world::{World, inside, interface, ip, net, network, run, spec, tree, vlan};
use crate::{Case, Need};
use pod_core::{AttachMode, AttachmentSpec, Error, ErrorKind, MacAddr, NetworkSpec, Route};

pub(crate) const CASES: &[Case] = &[
    Case::new("networks that make no sense are refused", networks),
    Case::new("attachments that make no sense or clash are refused", attachments),
    Case::new("an uplink that does not exist is refused", absent_uplink),
    Case::new("a full disk is an error, and leaves nothing", full_disk),
    Case::new("without root the error says so", no_permission),
    Case::on("an uplink without 802.1Q names the kernel option", Need::NoVlan8021q, no_8021q),
    Case::on("a trunk without VLAN filtering names the kernel option", Need::NoVlanFiltering, no_filtering),
];

/// The error is of this kind and says all of these.
fn says(e: Error, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(e.kind(), kind, "{e}");
    for part in parts {
        assert!(e.to_string().contains(part), "{part:?} is not in: {e}");
    }
}

fn networks(world: World) {
    let host = world.host();
    let bad = |spec: NetworkSpec, parts: &[&str]| {
        let e = world.run(host.create_network(&spec)).expect_err("refused");
        says(e, ErrorKind::InvalidInput, parts);
        world.assert_clean();
    };
    bad(spec("red", "10.1.0.0/31"), &["10.1.0.0/31", "too small", "red", "30 or less"]);
    bad(spec("red", "10.1.0.5/24"), &["10.1.0.5/24", "write 10.1.0.0/24"]);
    bad(spec("red", "10.1.0.0/24").with_subnet(net("10.1.0.128/25")), &["overlap"]);
    bad(spec("red", "10.1.0.0/24").with_mtu(67), &["MTU 67", "68 to 65535"]);
    bad(spec("red", "fd00::/64").with_mtu(1279), &["1280"]);
    bad(spec("red", "10.1.0.0/24").with_reserved("10.2.0.1".parse().expect("ip")), &["10.2.0.1"]);
    // tags are asked for, but no VLAN id is given: that is what 0 means
    bad(spec("red", "10.1.0.0/24").with_uplink(interface("eth9")), &["needs a VLAN id", "`vlan: 1` to `vlan: 4094`"]);
    world.run(async {
        host.create_network(&spec("red", "10.1.0.0/24")).await.expect("create");
        let e = host.create_network(&spec("red", "10.2.0.0/24").with_mtu(1400)).await.expect_err("another");
        says(e, ErrorKind::AlreadyExists, &["red", "subnets, MTU"]);
        assert_eq!(host.list().await.expect("list")[0].spec, spec("red", "10.1.0.0/24"), "untouched");
    });
}

fn attachments(world: World) {
    let host = world.host();
    let [a, b] = ["a", "b"].map(|name| world.sandbox(name));
    let red = || AttachmentSpec::new(network("red"));
    let address = |ip: &str| red().with_ip(ip.parse().expect("ip"));
    let mac: MacAddr = "02:00:00:00:00:07".parse().expect("mac");
    world.run(async {
        let wanted = spec("red", "10.1.0.0/29").with_reserved("10.1.0.6".parse().expect("ip"));
        host.create_network(&wanted).await.expect("create");
        host.create_network(&spec("six", "fd00:1::/64")).await.expect("create");
        host.attach(&b, &address("10.1.0.2").with_mac(mac)).await.expect("attach");
    });
    inside(&a.netns, "ip link add eth5 type bridge");
    let files = tree(&world.dir.join("lib"));
    let bad = |spec: AttachmentSpec, kind: ErrorKind, parts: &[&str]| {
        says(world.run(host.attach(&a, &spec)).expect_err("refused"), kind, parts);
        assert_eq!(tree(&world.dir.join("lib")), files, "something was recorded");
    };
    use ErrorKind::{Conflict, InvalidInput, NotFound};
    bad(AttachmentSpec::new(network("green")), NotFound, &["green"]);
    bad(address("10.1.0.2"), Conflict, &["10.1.0.2", "held by: b", "network: red", "workload: a"]);
    bad(address("10.2.0.2"), InvalidInput, &["10.2.0.2", "outside", "10.1.0.0/29", "red"]);
    bad(address("10.1.0.0"), InvalidInput, &["10.1.0.0", "subnet's own"]);
    bad(address("10.1.0.7"), InvalidInput, &["10.1.0.7", "broadcast"]);
    bad(address("10.1.0.6"), InvalidInput, &["10.1.0.6", "reserved"]);
    bad(address("10.1.0.3").with_ip("10.1.0.3".parse().expect("ip")), InvalidInput, &["given twice"]);
    bad(red().with_mac(mac), Conflict, &["02:00:00:00:00:07", "held by: b"]);
    bad(red().with_mtu(1501), InvalidInput, &["1501", "1500"]);
    bad(red().with_mtu(67), InvalidInput, &["67"]);
    bad(AttachmentSpec::new(network("six")).with_mtu(1279), InvalidInput, &["1280"]);
    bad(red().with_interface(interface("lo")), InvalidInput, &["lo"]);
    bad(red().with_interface(interface("eth5")), Conflict, &["eth5", "kind bridge"]);
    let route = |to: &str, via: &str| Route { to: net(to), via: Some(via.parse().expect("ip")) };
    bad(red().with_route(route("0.0.0.0/0", "10.7.0.1")), InvalidInput, &["10.7.0.1", "0.0.0.0/0"]);
    bad(red().with_route(route("::/0", "10.1.0.1")), InvalidInput, &["IPv4"]);
    bad(red().with_route(route("10.5.0.1/16", "10.1.0.1")), InvalidInput, &["write 10.5.0.0/16"]);
    bad(red().with_mode(AttachMode::Trunk(vec![])), InvalidInput, &["at least one VLAN id"]);
    bad(red().with_mode(AttachMode::Trunk(vec![vlan(5)])), InvalidInput, &["untagged", "red"]);

    world.run(async {
        // .1 .3 .4 .5 are left
        for name in ["c", "d", "e", "f"] {
            host.attach(&world.sandbox(name), &red()).await.expect("attach");
        }
        says(host.attach(&a, &red()).await.expect_err("full"), ErrorKind::Exhausted, &["10.1.0.0/29", "red"]);
    });
}

fn absent_uplink(world: World) {
    let host = world.host();
    ip("link add up0 type veth peer name up1");
    let wanted = spec("red", "10.1.0.0/24").with_vlan(vlan(100)).with_uplink(interface("eth9"));
    let e = world.run(host.create_network(&wanted)).expect_err("refused");
    if host.kernel().vlan_8021q {
        says(e, ErrorKind::NotFound, &["eth9", "red", "up0, up1"]);
    } else {
        says(e, ErrorKind::Unsupported, &["CONFIG_VLAN_8021Q"]);
    }
    ip("link del up0");
    world.assert_clean();
}

fn no_8021q(world: World) {
    let host = world.host();
    ip("link add up0 type veth peer name up1");
    let wanted = spec("red", "10.1.0.0/24").with_vlan(vlan(100)).with_uplink(interface("up0"));
    let e = world.run(host.create_network(&wanted)).expect_err("refused");
    says(e, ErrorKind::Unsupported, &["red", "CONFIG_VLAN_8021Q", "use a kernel with"]);
    ip("link del up0");
    world.assert_clean();
    assert!(!host.capabilities().has(pod_core::Capability::Uplink));
}

fn no_filtering(world: World) {
    let host = world.host();
    let a = world.sandbox("a");
    world.run(async {
        host.create_network(&spec("red", "10.1.0.0/24").with_vlan(vlan(100))).await.expect("create");
        let trunk = AttachmentSpec::new(network("red")).with_mode(AttachMode::Trunk(vec![vlan(100)]));
        let e = host.attach(&a, &trunk).await.expect_err("refused");
        says(e, ErrorKind::Unsupported, &["CONFIG_BRIDGE_VLAN_FILTERING", "workload: a", "network: red"]);
    });
    assert!(!host.capabilities().has(pod_core::Capability::VlanTrunk));
}

fn full_disk(world: World) {
    let host = world.host();
    let a = world.sandbox("a");
    let lib = world.dir.join("lib");
    std::fs::create_dir(&lib).expect("directory");
    run(&format!("mount -t tmpfs -o size=64k,nr_inodes=200 small {}", lib.display()));
    let fill = || {
        // the last page is too much
        let full = std::fs::write(lib.join("fill"), vec![0; 1 << 20]).expect_err("it fills up");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    };
    let free = || std::fs::remove_file(lib.join("fill")).expect("remove");
    fill();
    let e = world.run(host.create_network(&spec("red", "10.1.0.0/24"))).expect_err("full");
    says(e, ErrorKind::Exhausted, &["write a record", "networks/red/network.json", "free some space"]);
    assert!(!lib.join("net").exists() && !world.dir.join("run/net").exists());
    free();
    world.run(host.create_network(&spec("red", "10.1.0.0/24"))).expect("create");
    fill();
    let e = world.run(host.attach(&a, &AttachmentSpec::new(network("red")))).expect_err("full");
    says(e, ErrorKind::Exhausted, &["networks/red/at/a.json", "free some space"]);
    assert_eq!(inside(&a.netns, "ip -br link").lines().count(), 1);
    free();
    world.run(async {
        let made = host.attach(&a, &AttachmentSpec::new(network("red"))).await.expect("attach");
        assert_eq!(made.ips, [net("10.1.0.1/24")], "the address that could not be recorded is free");
        host.forget(&a.workload).await.expect("forget");
        host.remove_network(&network("red")).await.expect("remove");
    });
    pod_net::netns::remove(&a.netns).expect("remove");
    world.assert_clean();
}

fn no_permission(world: World) {
    let refused = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"])
        .arg(std::env::current_exe().expect("this program"))
        .env("POD_NET_CASE", format!("work:open {}", world.dir.display()))
        .output()
        .expect("run");
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(text.contains("permission denied") && text.contains("run as root"), "{text} {refused:?}");
}

/// What the process without permission does.
pub(crate) fn work(dir: &std::path::Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    match runtime.block_on(pod_net::HostNet::open(crate::world::config(dir))) {
        Ok(_) => println!("opened"),
        Err(e) => println!("{}: {e}", e.kind()),
    }
}

//! The host's firewall has no say in POD's networks.

use crate::world::{World, inside, ip, network, pings, run, spec};
use crate::{Case, Need};
use pod_core::AttachmentSpec;

pub(crate) const CASES: &[Case] =
    &[Case::on("a host that forwards nothing cuts no network of POD's", Need::Iptables, drop_all)];

fn drop_all(world: World) {
    run("iptables -P FORWARD DROP");
    run("ip6tables -P FORWARD DROP");
    for key in ["iptables", "ip6tables"] {
        std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{key}"), "1").expect("bridge-nf-call");
    }
    // the control: a bridge of the host's own is cut off
    ip("link add br0 type bridge forward_delay 0");
    ip("link set br0 up");
    let ends = ["x", "y"].map(|name| world.sandbox(name));
    for (n, end) in ends.iter().enumerate() {
        ip(&format!("link add p{n} type veth peer name eth0 netns {}", end.netns.display()));
        ip(&format!("link set p{n} master br0 up"));
        inside(&end.netns, "ip link set eth0 up");
        inside(&end.netns, &format!("ip addr add 10.1.0.{}/24 dev eth0", n + 1));
    }
    assert!(!pings(&ends[0].netns, "10.1.0.2"), "the rules do not act: the test shows nothing");

    let host = world.host();
    let [a, b] = ["a", "b"].map(|name| world.sandbox(name));
    world.run(async {
        let both = spec("red", "10.1.0.0/24").with_subnet("fd00:1::/64".parse().expect("subnet"));
        host.create_network(&both).await.expect("create");
        for sandbox in [&a, &b] {
            host.attach(sandbox, &AttachmentSpec::new(network("red"))).await.expect("attach");
        }
    });
    assert!(pings(&a.netns, "10.1.0.2"));
    assert!(pings(&a.netns, "fd00:1::2"));
}

//! Networks, attachments, and what is refused.

use crate::Case;
use crate::world::{World, inside, interface, ip, network, pings, spec, workload};
use pod_core::{
    AttachmentFilter, AttachmentSpec, CreateNetworkOutcome, DetachOutcome, ErrorKind, RemoveOutcome, VlanId,
};

pub(crate) const CASES: &[Case] = &[("two workloads on one network reach each other and others do not", reach)];

fn vlan(id: u16) -> VlanId {
    VlanId::try_from(id).expect("vlan")
}

fn reach(world: World) {
    let host = world.host();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.sandbox(name));
    world.run(async {
        let made = host.create_network(&spec("red", "10.1.0.0/24").with_vlan(vlan(100))).await.expect("create");
        assert!(matches!(made, CreateNetworkOutcome::Created(_)));
        host.create_network(&spec("blue", "10.1.0.0/24").with_vlan(vlan(200))).await.expect("create");
        let red = AttachmentSpec::new(network("red"));
        let on_a = host.attach(&a, &red.clone().with_ip("10.1.0.11".parse().expect("ip"))).await.expect("attach");
        assert_eq!(on_a.ips, ["10.1.0.11/24".parse().expect("net")]);
        assert_eq!((on_a.vlan, on_a.mtu, on_a.interface), (Some(vlan(100)), 1500, interface("eth0")));
        let on_b = host.attach(&b, &red).await.expect("attach");
        assert_eq!(on_b.ips, ["10.1.0.1/24".parse().expect("net")]);
        let on_c = host.attach(&c, &AttachmentSpec::new(network("blue"))).await.expect("attach");
        assert_eq!(on_c.ips, ["10.1.0.1/24".parse().expect("net")]);
        assert!(pings(&a.netns, "10.1.0.1"));
        assert!(pings(&b.netns, "10.1.0.11"));
        assert!(!pings(&c.netns, "10.1.0.11"));
        assert!(ip("-br link").lines().count() == 1, "a link of POD's is on the host");
        let shown = inside(&a.netns, "ip -o addr show eth0");
        assert!(shown.contains("inet 10.1.0.11/24 brd 10.1.0.255"), "{shown}");

        assert_eq!(host.attachments(&AttachmentFilter::default()).await.expect("list").len(), 3);
        let busy = host.remove_network(&network("red")).await.expect_err("busy");
        assert_eq!(busy.kind(), ErrorKind::Busy);
        assert_eq!(host.detach(&a, &network("red")).await.expect("detach"), DetachOutcome::Detached);
        assert_eq!(host.detach(&a, &network("red")).await.expect("detach"), DetachOutcome::AlreadyDetached);
        host.forget(&workload("b")).await.expect("forget");
        host.forget(&workload("c")).await.expect("forget");
        assert_eq!(inside(&b.netns, "ip -br link").lines().count(), 1);
        for name in ["red", "blue"] {
            assert_eq!(host.remove_network(&network(name)).await.expect("remove"), RemoveOutcome::Removed);
            assert_eq!(host.remove_network(&network(name)).await.expect("remove"), RemoveOutcome::AlreadyAbsent);
        }
    });
    for sandbox in [a, b, c] {
        pod_net::netns::remove(&sandbox.netns).expect("remove");
    }
    world.assert_clean();
}

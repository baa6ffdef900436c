//! Networks and attachments as they are meant to go.

use crate::Case;
use crate::world::{World, config, inside, interface, ip, net, network, pings, spec, vlan, workload};
use pod_core::{
    AttachmentFilter, AttachmentSpec, CreateNetworkOutcome, DetachOutcome, Error, ErrorKind, MacAddr, RemoveOutcome,
    Route, VerifyRequest,
};
use pod_net::{HostNet, Sandbox, netns};
use std::time::{Duration, Instant};

pub(crate) const CASES: &[Case] = &[
    Case::new("two workloads on one network reach each other and others do not", reach),
    Case::new("an attachment is what was asked for, inside", everything),
    Case::new("a workload can be on several networks", several),
    Case::new("the same attach twice is one, another is a conflict", twice),
    Case::new("an address that moves is found at once", moved),
    Case::new("a workload that does not run does not answer", stopped),
    Case::new("a cancelled call leaves nothing", cancelled),
    Case::new("attaching the hundredth costs what the tenth did", cost),
    Case::new("a namespace is made, found and removed", namespaces),
];

fn reach(world: World) {
    let host = world.host();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.sandbox(name));
    world.run(async {
        let made = host.create_network(&spec("red", "10.1.0.0/24").with_vlan(vlan(100))).await.expect("create");
        assert!(matches!(made, CreateNetworkOutcome::Created(_)));
        host.create_network(&spec("blue", "10.1.0.0/24").with_vlan(vlan(200))).await.expect("create");
        let again = host.create_network(&spec("red", "10.1.0.0/24").with_vlan(vlan(100))).await.expect("again");
        assert!(matches!(again, CreateNetworkOutcome::AlreadyExists(_)));
        let red = AttachmentSpec::new(network("red"));
        let on_a = host.attach(&a, &red.clone().with_ip("10.1.0.11".parse().expect("ip"))).await.expect("attach");
        assert_eq!(on_a.ips, [net("10.1.0.11/24")]);
        assert_eq!((on_a.vlan, on_a.mtu, on_a.interface), (Some(vlan(100)), 1500, interface("eth0")));
        let on_b = host.attach(&b, &red).await.expect("attach");
        assert_eq!(on_b.ips, [net("10.1.0.1/24")]);
        let on_c = host.attach(&c, &AttachmentSpec::new(network("blue"))).await.expect("attach");
        assert_eq!(on_c.ips, [net("10.1.0.1/24")]);
        assert!(pings(&a.netns, "10.1.0.1"));
        assert!(pings(&b.netns, "10.1.0.11"));
        assert!(!pings(&c.netns, "10.1.0.11"));
        assert!(ip("-br link").lines().count() == 1, "a link of POD's is on the host");

        let list = host.list().await.expect("list");
        let counts: Vec<_> = list.iter().map(|n| (n.spec.name.as_str(), n.attachments)).collect();
        assert_eq!(counts, [("blue", 1), ("red", 2)]);
        assert_eq!(host.attachments(&AttachmentFilter::default()).await.expect("list").len(), 3);
        let of_red = AttachmentFilter::default().with_network(network("red"));
        assert_eq!(host.attachments(&of_red).await.expect("list").len(), 2);
        let of_c = AttachmentFilter::default().with_workload(workload("c"));
        assert_eq!(host.attachments(&of_c).await.expect("list").len(), 1);

        let busy = host.remove_network(&network("red")).await.expect_err("busy");
        assert_eq!(busy.kind(), ErrorKind::Busy);
        assert!(busy.to_string().contains("a, b"), "{busy}");
        assert_eq!(host.detach(&a, &network("red")).await.expect("detach"), DetachOutcome::Detached);
        assert_eq!(host.detach(&a, &network("red")).await.expect("detach"), DetachOutcome::AlreadyDetached);
        assert_eq!(inside(&a.netns, "ip -br link").lines().count(), 1);
        host.forget(&workload("b")).await.expect("forget");
        host.forget(&workload("c")).await.expect("forget");
        host.forget(&workload("nobody")).await.expect("forget");
        assert_eq!(inside(&b.netns, "ip -br link").lines().count(), 1);
        for name in ["red", "blue"] {
            assert_eq!(host.remove_network(&network(name)).await.expect("remove"), RemoveOutcome::Removed);
            assert_eq!(host.remove_network(&network(name)).await.expect("remove"), RemoveOutcome::AlreadyAbsent);
        }
    });
    for sandbox in [a, b, c] {
        netns::remove(&sandbox.netns).expect("remove");
    }
    world.assert_clean();
}

fn everything(world: World) {
    let host = world.host();
    let [a, b] = ["a", "b"].map(|name| world.sandbox(name));
    world.run(async {
        let wanted = spec("red", "10.1.0.0/24").with_subnet(net("fd00:1::/64")).with_mtu(1400);
        host.create_network(&wanted).await.expect("create");
        let mac: MacAddr = "02:00:00:00:aa:01".parse().expect("mac");
        let wanted = AttachmentSpec::new(network("red"))
            .with_interface(interface("net7"))
            .with_ip("10.1.0.77".parse().expect("ip"))
            .with_ip("fd00:1::77".parse().expect("ip"))
            .with_mac(mac)
            .with_mtu(1300)
            .with_route(Route { to: net("10.9.0.0/16"), via: Some("10.1.0.1".parse().expect("ip")) })
            .with_route(Route { to: net("0.0.0.0/0"), via: Some("10.1.0.2".parse().expect("ip")) })
            .with_route(Route { to: net("10.8.0.0/16"), via: None })
            .with_route(Route { to: net("::/0"), via: Some("fd00:1::1".parse().expect("ip")) })
            .with_dns("10.1.0.53".parse().expect("ip"));
        let made = host.attach(&a, &wanted).await.expect("attach");
        assert_eq!(made.ips, [net("10.1.0.77/24"), net("fd00:1::77/64")]);
        assert_eq!((made.mac, made.mtu, made.dns.len()), (mac, 1300, 1));
        let link = inside(&a.netns, "ip -o link show net7");
        for part in ["mtu 1300", "02:00:00:00:aa:01", "state UP", "LOWER_UP"] {
            assert!(link.contains(part), "{part}: {link}");
        }
        let shown = inside(&a.netns, "ip -o addr show net7");
        assert!(shown.contains("inet 10.1.0.77/24 brd 10.1.0.255 scope global"), "{shown}");
        let v6 = shown.lines().find(|l| l.contains("fd00:1::77/64")).expect("the address");
        assert!(!v6.contains("tentative"), "it acts at once: {v6}");
        let routes = inside(&a.netns, "ip route");
        for part in ["default via 10.1.0.2 dev net7", "10.9.0.0/16 via 10.1.0.1 dev net7", "10.8.0.0/16 dev net7"] {
            assert!(routes.contains(part), "{part}: {routes}");
        }
        let routes = inside(&a.netns, "ip -6 route");
        assert!(routes.contains("default via fd00:1::1 dev net7"), "{routes}");
        assert!(inside(&a.netns, "ip -o link show lo").contains("LOOPBACK,UP"));

        let other = host.attach(&b, &AttachmentSpec::new(network("red"))).await.expect("attach");
        assert_eq!((other.mtu, other.ips.len()), (1400, 2));
        assert_eq!(other.mac.octets()[0], 2, "locally administered");
        assert!(pings(&b.netns, "10.1.0.77"));
        assert!(pings(&b.netns, "fd00:1::77"));
        let alone = inside(&world.dir.join("run/net/ns"), "ip -o addr");
        assert!(!alone.contains("inet6 fe80"), "POD's own interfaces speak no IPv6: {alone}");
    });
}

fn several(world: World) {
    let host = world.host();
    let a = world.sandbox("a");
    world.run(async {
        for n in 0..3 {
            host.create_network(&spec(&format!("n{n}"), &format!("10.{n}.0.0/24"))).await.expect("create");
        }
        for n in [2, 0] {
            host.attach(&a, &AttachmentSpec::new(network(&format!("n{n}")))).await.expect("attach");
        }
        host.detach(&a, &network("n2")).await.expect("detach");
        let made = host.attach(&a, &AttachmentSpec::new(network("n1"))).await.expect("attach");
        assert_eq!(made.interface, interface("eth0"), "the first that is free again");
        let names: Vec<_> = host
            .attachments(&AttachmentFilter::default())
            .await
            .expect("list")
            .into_iter()
            .map(|a| a.interface)
            .collect();
        assert_eq!(names, [interface("eth0"), interface("eth1")]);
    });
}

fn twice(world: World) {
    let host = world.host();
    let a = world.sandbox("a");
    world.run(async {
        host.create_network(&spec("red", "10.1.0.0/24")).await.expect("create");
        let wanted = AttachmentSpec::new(network("red"));
        let first = host.attach(&a, &wanted).await.expect("attach");
        let before = inside(&a.netns, "ip -o link show eth0");
        assert_eq!(host.attach(&a, &wanted).await.expect("again"), first);
        let as_it_is = wanted.clone().with_ip(first.ips[0].addr()).with_mtu(first.mtu).with_mac(first.mac);
        assert_eq!(host.attach(&a, &as_it_is).await.expect("in other words"), first);
        assert_eq!(inside(&a.netns, "ip -o link show eth0"), before, "the same link");
        let e = host.attach(&a, &wanted.with_mtu(1400)).await.expect_err("another");
        assert_eq!(e.kind(), ErrorKind::Conflict);
        assert!(e.to_string().contains("differs in: MTU"), "{e}");
    });
}

fn moved(world: World) {
    let host = world.host();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.sandbox(name));
    world.run(async {
        let both = spec("red", "10.1.0.0/24").with_subnet(net("fd00:1::/64"));
        host.create_network(&both).await.expect("create");
        let floating = AttachmentSpec::new(network("red"))
            .with_ip("10.1.0.99".parse().expect("ip"))
            .with_ip("fd00:1::99".parse().expect("ip"));
        host.attach(&c, &AttachmentSpec::new(network("red"))).await.expect("attach");
        for holder in [&a, &b, &a] {
            host.attach(holder, &floating).await.expect("attach");
            // the first time c asks, then it remembers who had it
            assert!(pings(&c.netns, "10.1.0.99"), "{holder:?}");
            assert!(pings(&c.netns, "fd00:1::99"), "{holder:?}");
            host.detach(holder, &network("red")).await.expect("detach");
        }
    });
}

fn stopped(world: World) {
    let host = world.host();
    let [a, b] = ["a", "b"].map(|name| world.sandbox(name));
    world.run(async {
        host.create_network(&spec("red", "10.1.0.0/24").with_subnet(net("fd00:1::/64"))).await.expect("create");
        for sandbox in [&a, &b] {
            host.attach(sandbox, &AttachmentSpec::new(network("red"))).await.expect("attach");
        }
        for _ in 0..2 {
            host.set_running(&a.workload, false).await.expect("stop");
            assert!(!pings(&b.netns, "10.1.0.1") && !pings(&b.netns, "fd00:1::1"));
            let running = std::slice::from_ref(&b);
            assert!(host.verify(running, &VerifyRequest::default()).await.expect("verify").ok());
            host.set_running(&a.workload, true).await.expect("start");
            assert!(pings(&b.netns, "10.1.0.1") && pings(&b.netns, "fd00:1::1"));
            assert!(host.verify(&[a.clone(), b.clone()], &VerifyRequest::default()).await.expect("verify").ok());
        }
        host.set_running(&workload("nobody"), true).await.expect("nothing to do");
    });
}

fn cancelled(mut world: World) {
    let host = world.host();
    let a = world.sandbox("a");
    world.run(async {
        host.create_network(&spec("red", "10.1.0.0/24")).await.expect("create");
        // given up at many moments, from at once to after it is done
        for i in 0..40 {
            let wanted = AttachmentSpec::new(network("red"));
            let attach = host.attach(&a, &wanted);
            let done = tokio::time::timeout(Duration::from_micros(i * 100), attach).await;
            if done.is_ok() {
                host.detach(&a, &network("red")).await.expect("detach");
            }
            let free = async {
                while !host.attachments(&AttachmentFilter::default()).await.expect("list").is_empty()
                    || inside(&a.netns, "ip -br link").lines().count() != 1
                {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), free).await.expect("it is undone");
        }
        // what nobody waits for may have begun again, and holds the network until it is undone
        let removed = async {
            while let Err(e) = host.remove_network(&network("red")).await {
                assert_eq!(e.kind(), ErrorKind::Busy, "{e}");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), removed).await.expect("it is undone");
        for i in 0..20 {
            let wanted = spec("n", "10.1.0.0/24");
            let made = tokio::time::timeout(Duration::from_micros(i * 150), host.create_network(&wanted));
            if made.await.is_ok() {
                host.remove_network(&network("n")).await.expect("remove");
            }
            let gone = async {
                while world.dir.join("lib/net").exists() || world.dir.join("run/net").exists() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it is undone");
        }
    });
    world.settle();
    netns::remove(&a.netns).expect("remove");
    world.assert_clean();
}

fn cost(world: World) {
    // two instances on one host, so that both are measured under the same load
    let hosts = [10, 100].map(|count| {
        let dir = world.dir.join(count.to_string());
        let host = world.run(HostNet::open(config(&dir))).expect("open");
        world.run(async {
            host.create_network(&spec("red", "10.1.0.0/16")).await.expect("create");
            for i in 0..count {
                let sandbox = world.sandbox(&format!("{count}-w{i}"));
                host.attach(&sandbox, &AttachmentSpec::new(network("red"))).await.expect("attach");
            }
        });
        host
    });
    let one_more = world.sandbox("x");
    let mut times = [Vec::new(), Vec::new()];
    world.run(async {
        for _ in 0..40 {
            for (host, times) in hosts.iter().zip(&mut times) {
                let start = Instant::now();
                host.attach(&one_more, &AttachmentSpec::new(network("red"))).await.expect("attach");
                times.push(start.elapsed());
                host.detach(&one_more, &network("red")).await.expect("detach");
            }
        }
    });
    let [few, many] = times.map(|mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    println!("attach: the eleventh {few:?}, the hundred and first {many:?}");
    // each broadcast of the new one goes to ten times as many, which takes its time on a slow kernel
    assert!(many < few * 2, "{few:?}, {many:?}");
}

fn namespaces(world: World) {
    let path = world.dir.join("deep/down/ns");
    netns::create(&path).expect("create");
    assert!(inside(&path, "ip -o link show lo").contains("UP"));
    assert_eq!(netns::create(&path).map_err(|e: Error| e.kind()), Err(ErrorKind::AlreadyExists));
    assert_eq!(netns::remove(&path).expect("remove"), RemoveOutcome::Removed);
    assert_eq!(netns::remove(&path).expect("remove"), RemoveOutcome::AlreadyAbsent);
    std::fs::write(&path, b"").expect("a file that a crash left");
    netns::create(&path).expect("create over it");
    assert_eq!(netns::remove(&path).expect("remove"), RemoveOutcome::Removed);
    let host = world.host();
    let nowhere = Sandbox::new(workload("a"), &path);
    world.run(async {
        host.create_network(&spec("red", "10.1.0.0/24")).await.expect("create");
        let e = host.attach(&nowhere, &AttachmentSpec::new(network("red"))).await.expect_err("no namespace");
        assert_eq!(e.kind(), ErrorKind::WrongState);
        host.remove_network(&network("red")).await.expect("remove");
    });
    world.assert_clean();
}

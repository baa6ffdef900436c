//! Reach, asked from inside.

use crate::world::{World, inside, interface, network, spec, workload};
use crate::{Case, Need};
use pod_core::{AttachmentSpec, ErrorKind, ProbeOutcome, ProbeRequest, ProbeTarget};
use pod_net::Sandbox;
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub(crate) const CASES: &[Case] = &[
    Case::new("probes tell reached from not answered, refused and unknown", outcomes),
    Case::on("a hundred workloads on ten networks probe each other at once", Need::TwoProcessors, |world| {
        hundred(&world, 10, false)
    }),
    Case::on(
        "so do a hundred on ten networks of their own subnets, by their interfaces",
        Need::TwoProcessors,
        |world| hundred(&world, 10, true),
    ),
    Case::on("a hundred workloads on one network probe each other at once", Need::TwoProcessors, |world| {
        hundred(&world, 1, false)
    }),
];

fn targets(list: &[&str]) -> Vec<ProbeTarget> {
    list.iter().map(|ip| ProbeTarget::new(ip.parse().expect("ip"))).collect()
}

fn outcomes(world: World) {
    let host = world.host();
    let [a, b] = ["a", "b"].map(|name| world.sandbox(name));
    world.run(async {
        let both = spec("red", "10.1.0.0/24").with_subnet("fd00:1::/64".parse().expect("subnet"));
        host.create_network(&both).await.expect("create");
        for sandbox in [&a, &b] {
            host.attach(sandbox, &AttachmentSpec::new(network("red"))).await.expect("attach");
        }
        let ask = |list: Vec<ProbeTarget>| {
            let request = ProbeRequest::new(workload("a"), list).with_timeout(Duration::from_millis(800));
            let (host, a) = (&host, &a);
            async move { host.probe(a, &request).await.expect("probe") }
        };
        let start = Instant::now();
        let heard = ask(targets(&["10.1.0.1", "10.1.0.2", "fd00:1::1", "fd00:1::2", "127.0.0.1", "::1"])).await;
        assert!(heard.iter().all(ProbeOutcome::reached), "{heard:?}");
        assert!(start.elapsed() < Duration::from_millis(300), "it ends when all have answered");
        let bound = |ip: &str| ProbeTarget::new(ip.parse().expect("ip")).with_interface(interface("eth0"));
        let heard = ask(vec![bound("10.1.0.1"), bound("10.1.0.2"), bound("fd00:1::2"), bound("fd00:1::1")]).await;
        assert!(heard.iter().all(ProbeOutcome::reached), "{heard:?}");

        let heard = ask(targets(&["10.1.0.9", "10.9.0.1", "fe80::1", "224.0.0.1", "fd00:1::9", "10.1.0.2"])).await;
        assert_eq!(heard[0], ProbeOutcome::NoAnswer);
        assert_eq!(heard[1], ProbeOutcome::Refused("network is unreachable".into()));
        assert!(matches!(heard[2], ProbeOutcome::Unknown(_)), "{heard:?}");
        assert!(matches!(heard[3], ProbeOutcome::Unknown(_)), "{heard:?}");
        assert_eq!(heard[4], ProbeOutcome::NoAnswer);
        assert!(heard[5].reached());
        let nowhere = ProbeTarget::new("10.1.0.2".parse().expect("ip")).with_interface(interface("eth7"));
        assert_eq!(ask(vec![nowhere]).await, [ProbeOutcome::Unknown("the workload has no interface eth7".into())]);

        for sandbox in [&a, &b] {
            let left = inside(&sandbox.netns, "ip neigh");
            assert!(!left.contains("extern_learn"), "entries are left: {left}");
        }
        let gone = Sandbox::new(workload("gone"), world.dir.join("box/gone"));
        let request = ProbeRequest::new(workload("gone"), targets(&["10.1.0.1"]));
        assert_eq!(host.probe(&gone, &request).await.expect_err("gone").kind(), ErrorKind::WrongState);
    });
}

/// `apart` gives each network a subnet of its own, and asks by interface: what is not on the link is
/// looked for there all the same.
fn hundred(world: &World, networks: usize, apart: bool) {
    let host = world.host();
    let boxes: Vec<_> = (0..100).map(|i| world.sandbox(&format!("w{i}"))).collect();
    world.run(async {
        for n in 0..networks {
            let subnet = if apart { format!("10.{}.0.0/16", n + 1) } else { "10.1.0.0/16".into() };
            host.create_network(&spec(&format!("n{n}"), &subnet)).await.expect("create");
        }
        let on = |i: usize| i % networks;
        let address = |i: usize| -> IpAddr {
            let second = if apart { on(i) + 1 } else { 1 };
            format!("10.{second}.0.{}", 11 + i).parse().expect("ip")
        };
        let target = |i: usize| match ProbeTarget::new(address(i)) {
            target if apart => target.with_interface(interface("eth0")),
            target => target,
        };
        for (i, sandbox) in boxes.iter().enumerate() {
            let wanted = AttachmentSpec::new(network(&format!("n{}", on(i)))).with_ip(address(i));
            host.attach(sandbox, &wanted).await.expect("attach");
        }
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for (i, sandbox) in boxes.iter().cloned().enumerate() {
            let others = (0..boxes.len()).filter(|j| *j != i).map(target).collect();
            let host = host.clone();
            tasks.spawn(async move {
                let request = ProbeRequest::new(sandbox.workload.clone(), others);
                (i, host.probe(&sandbox, &request).await.expect("probe"))
            });
        }
        let mut wrong = Vec::new();
        while let Some(row) = tasks.join_next().await {
            let (i, row) = row.expect("task");
            let others = (0..boxes.len()).filter(|j| *j != i);
            for (j, outcome) in others.zip(row) {
                if outcome.reached() != (on(i) == on(j)) || matches!(outcome, ProbeOutcome::Unknown(_)) {
                    wrong.push((i, j, outcome));
                }
            }
        }
        println!("{networks} networks: {:?}", start.elapsed());
        assert!(wrong.is_empty(), "{} wrong: {:?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    });
}

//! Plans, and that a plan that fails leaves everything as it was.

use crate::Case;
use crate::world::{World, inside, interface, net, network, spec, tree, vlan, workload};
use pod_core::{
    AttachNetworkRequest, AttachmentFilter, AttachmentSpec, DetachRequest, ErrorKind, NetworkIntent, NetworkPlan,
    NetworkStep, VerifyRequest,
};
use pod_net::{HostNet, Sandbox};

pub(crate) const CASES: &[Case] = &[
    Case::new("a plan makes an intent true, and then there is nothing to do", converge),
    Case::new("a plan that fails at any step leaves all as it was", roll_back),
    Case::new("mistakes are found when planning", mistakes),
    Case::new("a plan that is out of date is refused", stale),
];

fn attach(name: &str, on: &str) -> AttachNetworkRequest {
    AttachNetworkRequest::new(workload(name), AttachmentSpec::new(network(on)))
}

fn at(name: &str, on: &str, ip: &str) -> AttachNetworkRequest {
    AttachNetworkRequest::new(workload(name), AttachmentSpec::new(network(on)).with_ip(ip.parse().expect("ip")))
}

fn two() -> NetworkIntent {
    NetworkIntent::default()
        .with_network(spec("red", "10.1.0.0/24").with_vlan(vlan(100)))
        .with_network(spec("blue", "10.1.0.0/24").with_vlan(vlan(200)))
        .with_attachment(attach("a", "red"))
        .with_attachment(at("b", "red", "10.1.0.1"))
        .with_attachment(attach("c", "blue"))
}

fn shown(plan: &NetworkPlan) -> Vec<String> {
    plan.to_string().lines().map(str::to_owned).collect()
}

fn converge(world: World) {
    let host = world.host();
    let boxes = ["a", "b", "c"].map(|name| world.sandbox(name));
    world.run(async {
        let plan = host.plan(&two()).await.expect("plan");
        assert_eq!(
            shown(&plan),
            [
                "+ network red vlan 100 10.1.0.0/24",
                "+ network blue vlan 200 10.1.0.0/24",
                "+ attach b to red 10.1.0.1",
                "+ attach a to red",
                "+ attach c to blue",
            ]
        );
        assert!(!world.dir.join("lib").exists(), "a plan changes nothing");
        let applied = host.apply(&boxes, &plan).await.expect("apply");
        assert_eq!((applied.steps, applied.attachments.len()), (5, 3));
        assert_eq!(applied.attachments[1].ips, [net("10.1.0.2/24")]);
        assert!(host.plan(&two()).await.expect("plan").is_empty());
        assert!(host.verify(&boxes, &VerifyRequest::default()).await.expect("verify").ok());

        // an edit changes only the difference
        let moved = NetworkIntent::default()
            .with_attachment(attach("b", "blue"))
            .without_attachment(DetachRequest::new(workload("b"), network("red")));
        let plan = host.plan(&moved).await.expect("plan");
        assert_eq!(shown(&plan), ["- detach b from red", "+ attach b to blue"]);
        host.apply(&boxes, &plan).await.expect("apply");

        // a network that changes takes its workloads along
        let wider = NetworkIntent::default().with_network(spec("blue", "10.2.0.0/24").with_vlan(vlan(200)));
        let plan = host.plan(&wider).await.expect("plan");
        assert_eq!(
            shown(&plan),
            [
                "- detach b from blue",
                "- detach c from blue",
                "- network blue",
                "+ network blue vlan 200 10.2.0.0/24",
                "+ attach b to blue",
                "+ attach c to blue",
            ]
        );
        let applied = host.apply(&boxes, &plan).await.expect("apply");
        assert_eq!(applied.attachments[0].ips, [net("10.2.0.1/24")]);
        assert!(host.verify(&boxes, &VerifyRequest::default()).await.expect("verify").ok());

        let mut nothing = NetworkIntent::default().without_network(network("red")).without_network(network("blue"));
        for (name, on) in [("a", "red"), ("b", "blue"), ("c", "blue")] {
            nothing = nothing.without_attachment(DetachRequest::new(workload(name), network(on)));
        }
        let plan = host.plan(&nothing).await.expect("plan");
        host.apply(&boxes, &plan).await.expect("apply");
        assert!(host.plan(&nothing).await.expect("plan").is_empty());
    });
    for sandbox in boxes {
        pod_net::netns::remove(&sandbox.netns).expect("remove");
    }
    world.assert_clean();
}

/// All that can be seen of POD's networks, but for the numbers the kernel gives links.
async fn state(world: &World, host: &HostNet, boxes: &[Sandbox]) -> String {
    let attachments = host.attachments(&AttachmentFilter::default()).await.expect("list");
    let mut text = format!("{:#?}\n{attachments:#?}\n", host.list().await.expect("list"));
    text += &format!("{:#?}\n", tree(&world.dir.join("lib")));
    let mut names: Vec<_> = inside(&world.dir.join("run/net/ns"), "ip -br link")
        .lines()
        .map(|l| l.split(['@', ' ']).next().expect("name").to_owned())
        .collect();
    names.sort();
    text += &names.join(" ");
    for sandbox in boxes {
        text += &inside(&sandbox.netns, "ip -br -4 addr")
            .replace('@', " @")
            .split_whitespace()
            .filter(|w| !w.starts_with("@if"))
            .collect::<Vec<_>>()
            .join(" ");
    }
    text
}

fn roll_back(world: World) {
    let host = world.host();
    let boxes = ["a", "b", "c", "d"].map(|name| world.sandbox(name));
    world.run(async {
        let plan = host.plan(&two()).await.expect("plan");
        host.apply(&boxes, &plan).await.expect("apply");
        let before = state(&world, &host, &boxes).await;
        // detaches, removes, makes and attaches; then each step in turn is made to fail by a link in the way
        let change = NetworkIntent::default()
            .with_network(spec("blue", "10.2.0.0/24").with_vlan(vlan(200)))
            .with_network(spec("green", "10.3.0.0/24"))
            .with_attachment(attach("a", "green"))
            .with_attachment(AttachNetworkRequest::new(
                workload("d"),
                AttachmentSpec::new(network("green")).with_interface(interface("eth3")),
            ))
            .without_attachment(DetachRequest::new(workload("b"), network("red")));
        let plan = host.plan(&change).await.expect("plan");
        assert_eq!(plan.steps.len(), 8, "{plan}");
        for k in 0..plan.steps.len() {
            let (step, mut bad) = (&plan.steps[k], plan.clone());
            let own = world.dir.join("run/net/ns");
            let mut undo = None;
            match step {
                // the record is not what the plan saw
                NetworkStep::Detach(a) => {
                    let mut other = a.clone();
                    other.mtu += 1;
                    bad.steps[k] = NetworkStep::Detach(other);
                }
                NetworkStep::RemoveNetwork(n) => bad.steps[k] = NetworkStep::RemoveNetwork(n.clone().with_mtu(1400)),
                // a link that is no bridge has the bridge's name
                NetworkStep::CreateNetwork(n) if n.name == network("green") => {
                    host.create_network(n).await.expect("create");
                    let name =
                        host.list().await.expect("list").into_iter().find(|l| l.spec.name == n.name).expect("it").id;
                    host.remove_network(&n.name).await.expect("remove");
                    inside(&own, &format!("ip link add {name} type veth peer name other"));
                    undo = Some((own.clone(), "ip link del other"));
                }
                NetworkStep::CreateNetwork(n) => {
                    bad.steps[k] = NetworkStep::CreateNetwork(n.clone().with_uplink(interface("eth9")));
                }
                // an interface that POD does not know is in the way
                NetworkStep::Attach(r) if r.workload == workload("d") => {
                    inside(&boxes[3].netns, "ip link add eth3 type bridge");
                    undo = Some((boxes[3].netns.clone(), "ip link del eth3"));
                }
                NetworkStep::Attach(r) => {
                    let mut other = r.clone();
                    other.attachment = other.attachment.with_ip("10.77.0.1".parse().expect("ip"));
                    bad.steps[k] = NetworkStep::Attach(other);
                }
                other => panic!("{other}"),
            }
            let e = host.apply(&boxes, &bad).await.expect_err("it fails");
            assert!(e.to_string().contains(&format!("step: {} of 8", k + 1)), "{e}");
            assert!(!e.to_string().contains("not undone"), "{e}");
            if let Some((namespace, command)) = undo {
                inside(&namespace, command);
            }
            assert_eq!(state(&world, &host, &boxes).await, before, "after step {}: {step}", k + 1);
            assert!(host.verify(&boxes, &VerifyRequest::default()).await.expect("verify").ok());
        }
        host.apply(&boxes, &plan).await.expect("and then it succeeds");
        assert!(host.plan(&change).await.expect("plan").is_empty());
    });
}

fn mistakes(world: World) {
    let host = world.host();
    world.run(async {
        let red = || NetworkIntent::default().with_network(spec("red", "10.1.0.0/24"));
        use ErrorKind::{Busy, Conflict, InvalidInput, NotFound};
        for (intent, kind, part) in [
            (red().with_network(spec("red", "10.1.0.0/24")), InvalidInput, "named twice"),
            (red().without_network(network("red")), InvalidInput, "both wanted and unwanted"),
            (red().with_attachment(attach("a", "blue")), NotFound, "blue"),
            (
                red().with_attachment(attach("a", "red")).with_attachment(attach("a", "red")),
                InvalidInput,
                "named twice",
            ),
            (red().with_attachment(at("a", "red", "10.9.0.1")), InvalidInput, "10.9.0.1"),
            (
                red().with_attachment(at("a", "red", "10.1.0.5")).with_attachment(at("b", "red", "10.1.0.5")),
                Conflict,
                "held by: a",
            ),
            (
                red()
                    .with_attachment(attach("a", "red"))
                    .without_attachment(DetachRequest::new(workload("a"), network("red"))),
                InvalidInput,
                "both wanted and unwanted",
            ),
        ] {
            let e = host.plan(&intent).await.expect_err("a mistake");
            assert_eq!(e.kind(), kind, "{e}");
            assert!(e.to_string().contains(part), "{part}: {e}");
        }
        assert!(!world.dir.join("lib").exists(), "a plan changes nothing");
        host.create_network(&spec("red", "10.1.0.0/24")).await.expect("create");
        host.attach(&world.sandbox("a"), &AttachmentSpec::new(network("red"))).await.expect("attach");
        let e = host.plan(&NetworkIntent::default().without_network(network("red"))).await.expect_err("busy");
        assert_eq!(e.kind(), Busy);
        let taken = NetworkIntent::default().with_attachment(at("b", "red", "10.1.0.1"));
        assert_eq!(host.plan(&taken).await.expect_err("taken").kind(), Conflict);
    });
}

fn stale(world: World) {
    let host = world.host();
    let boxes = ["a", "b", "c"].map(|name| world.sandbox(name));
    world.run(async {
        let plan = host.plan(&two()).await.expect("plan");
        let e = host.apply(&boxes[..2], &plan).await.expect_err("no sandbox");
        assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
        assert!(!world.dir.join("lib/net").exists(), "nothing was begun");
        // someone takes the address meanwhile
        host.create_network(&spec("red", "10.1.0.0/24").with_vlan(vlan(100))).await.expect("create");
        host.attach(&world.sandbox("x"), &AttachmentSpec::new(network("red"))).await.expect("attach");
        let e = host.apply(&boxes, &plan).await.expect_err("taken");
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        assert!(e.to_string().contains("held by: x"), "{e}");
        assert_eq!(host.list().await.expect("list").len(), 1, "blue is gone again, red stays");
    });
}

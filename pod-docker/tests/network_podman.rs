//! What is Podman's own about networks: a workload without any, names of interfaces, and events.

mod lab;

use futures_util::StreamExt;
use lab::Engine;
use lab::world::{BY_HAND, World, ip, on, with_world};
use pod_core::{
    DetachRequest, Error, ErrorKind, EventKind, EventsRequest, NetworkName, RestartPolicy, StartRequest, StopRequest,
    WorkloadName,
};
use std::time::Duration;

/// The names of the interfaces that a workload has, with those that are up.
async fn interfaces(w: &World, workload: &WorkloadName) -> String {
    w.sh(workload, "for i in /sys/class/net/*; do n=${i##*/}; ip link show $n | grep -q '<.*UP' && echo $n; done").await
}

/// It reaches itself, and nothing else.
async fn is_alone(w: &World, workload: &WorkloadName) {
    assert_eq!(interfaces(w, workload).await, "lo\n");
    assert_eq!(w.sh(workload, "ls /sys/class/net").await, "lo\n", "it has another interface, which is down");
    assert_eq!(w.sh(workload, "ip route; ip -6 addr").await, "", "a route or an IPv6 address");
    assert!(w.probe(workload, "127.0.0.1").await.reached(), "its own loopback interface");
    let outside = w.sh(workload, "nc -w 1 10.88.0.1 22 2>&1; echo $?").await;
    assert!(outside.contains("unreachable"), "the machine's address on the default network: {outside}");
}

async fn restart(w: &World, workload: &WorkloadName) {
    w.backend.stop(StopRequest::new(workload.clone()).with_grace(Duration::ZERO)).await.expect("stopped");
    w.backend.start(StartRequest::new(workload.clone())).await.expect("started");
}

#[tokio::test]
async fn a_workload_without_networks_reaches_nothing() {
    with_world(Engine::Podman, async |w| {
        let network = w.network("10.80.0.0/24").await;
        let workload = w.running(vec![]).await;
        is_alone(w, &workload).await;
        restart(w, &workload).await;
        is_alone(w, &workload).await;
        // Attached while it runs, and detached.
        w.attach(&workload, on(&network)).await.expect("an attachment");
        let detach = DetachRequest::new(workload.clone(), network.spec.name.clone());
        w.networking().detach(detach).await.expect("detached");
        is_alone(w, &workload).await;
    })
    .await;
}

/// Podman starts it in the network namespace that it had.
#[tokio::test]
async fn one_that_podman_starts_again_reaches_nothing_either() {
    with_world(Engine::Podman, async |w| {
        let workload =
            w.run(|s| s.with_command(["sh", "-c", BY_HAND]).with_restart(RestartPolicy::OnFailure(None))).await;
        w.again(&workload).await;
        is_alone(w, &workload).await;
    })
    .await;
}

#[tokio::test]
async fn what_a_killed_start_left_is_taken_off_by_the_next() {
    with_world(Engine::Podman, async |w| {
        let workload = w.running(vec![]).await;
        w.backend.stop(StopRequest::new(workload.clone()).with_grace(Duration::ZERO)).await.expect("stopped");
        w.docker(&["network", "connect", "--alias", "pod.passing", "bridge", workload.as_str()]);
        w.backend.start(StartRequest::new(workload.clone())).await.expect("started");
        is_alone(w, &workload).await;
        // With a network of its own, too.
        let network = w.network("10.81.0.0/24").await;
        w.backend.stop(StopRequest::new(workload.clone()).with_grace(Duration::ZERO)).await.expect("stopped");
        w.docker(&["network", "connect", "--alias", "pod.passing", "bridge", workload.as_str()]);
        w.attach(&workload, on(&network)).await.expect("an attachment");
        w.backend.start(StartRequest::new(workload.clone())).await.expect("started");
        assert_eq!(w.sh(&workload, "ip route | cut -d' ' -f1").await, "10.81.0.0/24\n");
        w.verified(&network.spec.name).await;
    })
    .await;
}

#[tokio::test]
async fn a_network_has_no_holes() {
    with_world(Engine::Podman, async |w| {
        let spec = w.spec("10.82.0.0/24").with_reserved(ip("10.82.0.1"));
        let network = w.made(spec).await;
        let other = w.network("10.83.0.0/24").await;
        let (a, b, c) = (
            w.running(vec![on(&network)]).await,
            w.running(vec![on(&network)]).await,
            w.running(vec![on(&other)]).await,
        );
        let at = async |of: &WorkloadName| w.attachments(of).await[0].ips[0].addr().to_string();
        assert!(w.probe(&a, &at(&b).await).await.reached(), "its neighbour is not reached");
        assert!(!w.probe(&a, &at(&c).await).await.reached(), "another network's workload is reached");
        for machine in ["10.82.0.1", "10.83.0.254", "10.88.0.1"] {
            assert!(!w.probe(&a, machine).await.reached(), "{machine} is reached");
        }
        assert_eq!(w.sh(&a, "ip route | cut -d' ' -f1").await, "10.82.0.0/24\n", "more than its own subnet");
        // By a link-local address it would reach the machine's.
        assert_eq!(w.sh(&a, "ip -6 addr").await, "", "an IPv6 address");
    })
    .await;
}

#[tokio::test]
async fn a_name_of_an_interface_that_is_taken_cuts_nobody_off() {
    with_world(Engine::Podman, async |w| {
        let (first, second) = (w.network("10.84.0.0/24").await, w.network("10.85.0.0/24").await);
        let (workload, peer) = (w.running(vec![]).await, w.running(vec![on(&first)]).await);
        let lan = || "lan0".parse().expect("a name");
        w.attach(&workload, on(&first).with_interface(lan())).await.expect("an attachment");
        let e = w.attach(&workload, on(&second).with_interface(lan())).await.expect_err("it is taken");
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        assert!(e.to_string().contains("lan0"), "{e}");
        let at = w.attachments(&peer).await[0].ips[0].addr().to_string();
        assert!(w.probe(&workload, &at).await.reached(), "the first attachment is dead");
        // Many at once get names of their own.
        let name = w.attach(&workload, on(&second)).await.expect("an attachment").interface;
        assert_eq!(name.as_str(), "eth0");
        let mut before = w.attachments(&workload).await;
        restart(w, &workload).await;
        let mut after = w.attachments(&workload).await;
        before.sort_by(|a, b| a.network.cmp(&b.network));
        after.sort_by(|a, b| a.network.cmp(&b.network));
        assert_eq!(after, before, "after a restart");
        // Made so from the start, whichever is named first.
        let eth0 = || "eth0".parse().expect("a name");
        let third = w.running(vec![on(&first), on(&second).with_interface(eth0())]).await;
        let names: Vec<_> =
            w.attachments(&third).await.into_iter().map(|a| (a.interface.to_string(), a.network)).collect();
        let (one, two) = (first.spec.name.clone(), second.spec.name.clone());
        assert_eq!(names, [("eth0".to_owned(), two), ("eth1".to_owned(), one)]);
        w.verified(&first.spec.name).await;
        w.verified(&second.spec.name).await;
    })
    .await;
}

#[tokio::test]
async fn an_address_that_another_program_gave_away() {
    with_world(Engine::Podman, async |w| {
        let network = w.network("10.86.0.0/24").await;
        let other = lab::unique("other");
        w.workloads.push(other.clone());
        let (image, name) = (lab::image().to_string(), network.spec.name.to_string());
        w.docker(&[
            "run",
            "-d",
            "--name",
            other.as_str(),
            "--network",
            &name,
            "--ip",
            "10.86.0.1",
            &image,
            "sleep",
            "600",
        ]);
        // A free one is another.
        let workload = w.running(vec![on(&network)]).await;
        assert_eq!(w.attachments(&workload).await[0].ips[0].to_string(), "10.86.0.2/24");
        let late = w.running(vec![]).await;
        let e = w.attach(&late, on(&network).with_ip(ip("10.86.0.1"))).await.expect_err("it is taken");
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        assert_eq!(w.attachments(&late).await, []);
    })
    .await;
}

#[tokio::test]
async fn events_tell_what_others_do() {
    with_world(Engine::Podman, async |w| {
        let network: NetworkName = w.network("10.87.0.0/24").await.spec.name;
        let workload = w.running(vec![]).await;
        // Another program: what it hears, it hears from Podman.
        let far = lab::registry().connect(&Engine::Podman.uri()).await.expect("the daemon");
        let mut events = far.events(EventsRequest::of(workload.clone())).await.expect("events");
        let mut next = async || {
            let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("an event");
            Ok::<_, Error>(event.expect("the stream goes on")?.kind)
        };
        w.docker(&["network", "connect", network.as_str(), workload.as_str()]);
        assert_eq!(next().await.expect("an event"), EventKind::Attached(network.clone()));
        w.docker(&["network", "disconnect", network.as_str(), workload.as_str()]);
        assert_eq!(next().await.expect("an event"), EventKind::Detached(network));
    })
    .await;
}

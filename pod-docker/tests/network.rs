//! Networks of a real daemon: what goes wrong with them, each a clear error of the right kind and nothing left
//! behind; uplinks; and what leads out of a network and into it.

mod lab;

use lab::Engine;
use lab::world::{ip, on, on_both, with_world};
use pod_core::topology::{Deployment, Topology};
use pod_core::{
    AttachNetworkRequest, CreateRequest, DetachRequest, Error, ErrorKind, RemoveOutcome, RemoveRequest, StartRequest,
    StopRequest, WorkloadName,
};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

#[tokio::test]
async fn an_uplink_that_is_not_there() {
    with_world(Engine::Docker, async |w| {
        let spec = w.spec("10.61.0.0/24");
        for bad in [spec.clone(), spec.clone().with_vlan(7.try_into().expect("an id"))] {
            let e = w.refused(bad.with_uplink("nowhere0".parse().expect("a name")), ErrorKind::NotFound).await;
            assert!(e.to_string().contains("nowhere0") && e.hint().is_some(), "{e}");
        }
        // One that is there: a kernel without tags says so.
        let tagged = spec.clone().with_uplink("net1".parse().expect("a name")).with_vlan(7.try_into().expect("an id"));
        match w.networking().create(tagged.clone()).await {
            Ok(_) => {
                w.networking().remove(&tagged.name).await.expect("removed");
            }
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
                assert!(e.hint().is_some_and(|h| h.contains("8021Q")), "{e}");
            }
        }
        w.refused(spec.with_uplink("lo".parse().expect("a name")), ErrorKind::InvalidInput).await;
    })
    .await;
}

#[tokio::test]
async fn a_subnet_that_overlaps() {
    on_both(async |w| {
        let first = w.network("10.62.0.0/24").await;
        for subnet in ["10.62.0.0/24", "10.62.0.128/25", "10.62.0.0/16"] {
            let spec = w.spec(subnet);
            let e = w.refused(spec, ErrorKind::Conflict).await;
            assert!(e.to_string().contains(first.spec.name.as_str()), "the other network is not named: {e}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_taken() {
    on_both(async |w| {
        let spec = w.spec("10.63.0.0/24");
        let name = spec.name.to_string();
        w.docker(&["network", "create", "--internal", "--subnet", "10.63.1.0/24", &name]);
        let e = w.networking().create(spec.clone()).await.expect_err("it is another's");
        assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{e}");
        assert!(e.message().contains("not POD's"), "{e}");
        // What is not POD's is not taken away.
        assert_eq!(w.networking().remove(&spec.name).await.expect("an answer"), RemoveOutcome::AlreadyAbsent);
        assert_ne!(w.docker(&["network", "ls", "-q", "-f", &format!("name=^{name}$")]), "");
        w.docker(&["network", "rm", &name]);
        w.made(spec).await;
    })
    .await;
}

#[tokio::test]
async fn an_address_in_use_is_refused_whoever_has_it() {
    on_both(async |w| {
        let network = w.network("10.64.0.0/24").await;
        let holder = w.running(vec![on(&network).with_ip(ip("10.64.0.10"))]).await;
        let second = w.running(vec![]).await;
        let asked = || on(&network).with_ip(ip("10.64.0.10"));
        let e = w.attach(&second, asked()).await.expect_err("it is taken");
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        assert!(e.to_string().contains("10.64.0.10") && e.to_string().contains(holder.as_str()), "{e}");
        // One that is stopped keeps its address; the daemon itself would give it away.
        w.backend.stop(StopRequest::new(holder.clone()).with_grace(Duration::ZERO)).await.expect("stopped");
        assert_eq!(w.attach(&second, asked()).await.map_err(|e| e.kind()), Err(ErrorKind::Conflict));
        assert_eq!(w.attachments(&second).await, []);
        // A workload that can't have it is not made.
        let name = lab::unique("on");
        let made = w.backend.create(CreateRequest::new(lab::spec(&name).with_attachment(asked())).with_start()).await;
        assert_eq!(made.map_err(|e| e.kind()), Err(ErrorKind::Conflict));
        assert_eq!(w.backend.inspect(&name).await.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
        w.backend.start(StartRequest::new(holder)).await.expect("it has its address again");
        w.verified(&network.spec.name).await;
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_nobodys_to_have() {
    on_both(async |w| {
        let network = w.network("10.65.0.0/29").await;
        let workload = w.running(vec![]).await;
        // Its own, the broadcast address, the one that the daemon keeps, and one of another subnet.
        for bad in ["10.65.0.0", "10.65.0.7", "10.65.0.6", "10.66.0.1"] {
            let e = w.attach(&workload, on(&network).with_ip(ip(bad))).await.expect_err(bad);
            assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
        }
        assert_eq!(w.attachments(&workload).await, []);
        // All others are had.
        let mut all = vec![w.attach(&workload, on(&network)).await.expect("one").ips];
        for _ in 0..4 {
            let next = w.running(vec![on(&network)]).await;
            all.push(w.attachments(&next).await.remove(0).ips);
        }
        let all: Vec<String> = all.into_iter().flatten().map(|n| n.addr().to_string()).collect();
        assert_eq!(all, ["10.65.0.1", "10.65.0.2", "10.65.0.3", "10.65.0.4", "10.65.0.5"]);
    })
    .await;
}

#[tokio::test]
async fn a_container_that_died_is_attached_for_its_next_start() {
    on_both(async |w| {
        let network = w.network("10.67.0.0/24").await;
        let name = w.running(vec![]).await;
        w.backend.stop(StopRequest::new(name.clone()).with_grace(Duration::ZERO)).await.expect("stopped");
        let made = w.attach(&name, on(&network).with_ip(ip("10.67.0.9"))).await.expect("an attachment");
        assert_eq!(w.attachments(&name).await, std::slice::from_ref(&made));
        // The daemon looks only at what runs; its workload would not start again.
        assert_eq!(w.networking().remove(&network.spec.name).await.map_err(|e| e.kind()), Err(ErrorKind::Busy));
        w.backend.start(StartRequest::new(name.clone())).await.expect("started");
        assert_eq!(w.attachments(&name).await[0].ips, made.ips);
        w.verified(&network.spec.name).await;
        w.backend.remove(RemoveRequest::new(name.clone()).with_force(true)).await.expect("removed");
        let e = w.attach(&name, on(&network)).await.expect_err("it is gone");
        assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
    })
    .await;
}

#[tokio::test]
async fn what_has_no_network_of_its_own_says_so() {
    on_both(async |w| {
        let network = w.network("10.68.0.0/24").await;
        let name = lab::unique("none");
        w.workloads.push(name.clone());
        w.docker(&[
            "run",
            "-d",
            "--name",
            name.as_str(),
            "--network",
            "none",
            &lab::image().to_string(),
            "sleep",
            "600",
        ]);
        let e = w.attach(&name, on(&network)).await.expect_err("it has no network");
        assert_eq!(e.kind(), ErrorKind::WrongState, "{e}");
        assert_eq!(w.attachments(&name).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_network_without_an_uplink_has_no_holes() {
    with_world(Engine::Docker, async |w| {
        let spec = w.spec("10.69.0.0/24").with_reserved(ip("10.69.0.1"));
        let network = w.made(spec).await;
        let workload = w.running(vec![on(&network)]).await;
        let other = w.running(vec![on(&network)]).await;
        let peer = w.attachments(&other).await[0].ips[0].addr();
        assert!(w.probe(&workload, &peer.to_string()).await.reached(), "its neighbour is reached");
        // A published port of another container, on the daemon's usual network and its machine.
        let web = lab::unique("web");
        w.workloads.push(web.clone());
        let image = lab::image().to_string();
        let served = ["run", "-d", "--name", web.as_str(), "-p", "7469:80", &image, "httpd", "-f", "-p", "80"];
        w.docker(&served);
        let place =
            w.docker(&["inspect", "-f", "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}", web.as_str()]);
        let (inside, machine) = place.split_once(' ').expect("two addresses");
        let ask = async |from: &WorkloadName, at: &str, port: u16| {
            w.sh(from, &format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {at} {port} 2>&1 || :")).await
        };
        // It answers, so that silence means a wall: an answer of the server is that there is no such page.
        let neighbour = w.backend.create(CreateRequest::new(lab::spec(&lab::unique("near"))).with_start()).await;
        let neighbour = neighbour.expect("a workload").spec.name;
        let answer = ask(&neighbour, inside, 80).await;
        let removed = w.backend.remove(RemoveRequest::new(neighbour).with_force(true)).await;
        removed.expect("removed");
        assert!(answer.contains("404"), "the server does not answer its neighbour: {answer}");
        for (at, port) in [(inside, 80), (machine, 7469), ("10.69.0.1", 7469)] {
            let answer = ask(&workload, at, port).await;
            assert!(!answer.contains("404"), "{at}:{port} is reached: {answer}");
        }
        // The machine has no address in it.
        assert!(!w.probe(&workload, "10.69.0.1").await.reached(), "the address that the daemon keeps answers");
        assert!(!w.probe(&workload, machine).await.reached(), "the machine answers");
        w.verified(&network.spec.name).await;
    })
    .await;
}

#[tokio::test]
async fn a_network_with_an_uplink_is_on_its_wire() {
    with_world(Engine::Docker, async |w| {
        let up = |name: &str| name.parse().expect("a name");
        let spec = w.spec("10.70.0.0/24").with_uplink(up("net2"));
        let network = w.made(spec.clone()).await;
        let (a, b) = (w.running(vec![on(&network)]).await, w.running(vec![on(&network)]).await);
        let ips: Vec<IpAddr> =
            [&w.attachments(&a).await[0], &w.attachments(&b).await[0]].map(|x| x.ips[0].addr()).to_vec();
        assert!(w.probe(&a, &ips[1].to_string()).await.reached(), "its neighbour is reached");
        w.verified(&network.spec.name).await;
        // The uplink is taken.
        let second = w.spec("10.71.0.0/24").with_uplink(up("net2"));
        let e = w.refused(second, ErrorKind::Conflict).await;
        assert!(e.to_string().contains("net2"), "{e}");
        // Hot: off, and on again with the same address.
        w.networking().detach(DetachRequest::new(a.clone(), network.spec.name.clone())).await.expect("detached");
        assert!(!w.probe(&b, &ips[0].to_string()).await.reached(), "it still answers");
        w.attach(&a, on(&network).with_ip(ips[0])).await.expect("an attachment");
        assert!(w.probe(&b, &ips[0].to_string()).await.reached(), "it does not answer");
        // Cut off, and joined again.
        for isolated in [true, false] {
            let request = pod_core::IsolateRequest::new(network.spec.name.clone(), isolated);
            let report = w.networking().isolate(request).await.expect("a report");
            assert_eq!(report.enforcement, pod_core::Enforcement::Enforced, "{:?}", report.evidence);
            assert_eq!(w.probe(&b, &ips[0].to_string()).await.reached(), !isolated, "isolated: {isolated}");
            w.verified(&network.spec.name).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_change_that_nobody_waits_for_leaves_nothing() {
    on_both(async |w| {
        let network = w.network("10.72.0.0/24").await;
        let workload = w.running(vec![]).await;
        for wait in [0, 1, 5, 20, 60] {
            let networking = w.networking();
            let attaching = networking.attach(AttachNetworkRequest::new(workload.clone(), on(&network)));
            let given_up = tokio::time::timeout(Duration::from_millis(wait), attaching).await;
            if given_up.is_err() {
                let end = tokio::time::Instant::now() + Duration::from_secs(20);
                // It may be seen for the moment until it is undone, but not for good.
                loop {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    if w.attachments(&workload).await.is_empty() {
                        break;
                    }
                    assert!(tokio::time::Instant::now() < end, "an attachment for nobody stays");
                }
            } else {
                let detach = DetachRequest::new(workload.clone(), network.spec.name.clone());
                w.networking().detach(detach).await.expect("detached");
            }
        }
        w.verified(&network.spec.name).await;
    })
    .await;
}

/// An example's topology, on the backend that runs containers by default, with this image.
fn example(file: &str) -> Topology {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(file);
    let text = std::fs::read_to_string(path).expect("an example");
    assert!(text.contains("image: host"), "{text}");
    Topology::parse(&text.replace("image: host", &format!("image: {}", lab::image())), file).expect("a topology")
}

#[tokio::test]
async fn an_example_comes_up_as_on_the_embedded_engine() {
    let topology = example("isolated.yaml");
    let deployment = Deployment::connect(&lab::registry(), topology, &lab::uri()).await.expect("connected");
    let done = async {
        deployment.up(&(), 4).await?;
        let again = deployment.plan().await?;
        let verified = deployment.verify(&()).await?;
        Ok::<_, Error>((again.is_empty(), verified))
    };
    let done = done.await;
    let down = deployment.down(&()).await;
    let (again, verified) = done.expect("up");
    assert!(again, "a second `up` would change something");
    assert!(verified.ok(), "{verified:?}");
    down.expect("down");
    let backend = lab::registry().connect(&lab::uri()).await.expect("the daemon");
    let left = backend.networking().expect("networks").list().await.expect("a list");
    assert!(!left.iter().any(|n| ["guests", "watch-1", "watch-2"].contains(&n.spec.name.as_str())), "{left:?}");
}

#[tokio::test]
async fn one_subnet_for_two_networks_is_refused_before_anything_is_made() {
    let topology = example("two-vlans.yaml");
    let deployment = Deployment::connect(&lab::registry(), topology, &lab::uri()).await.expect("connected");
    let e = deployment.up(&(), 4).await.expect_err("Docker has each address once");
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    assert!(e.to_string().contains("10.100.0.0/24"), "{e}");
    assert!(deployment.down(&()).await.expect("down").is_empty(), "something was made");
}

/// Docker makes the interfaces of a container in another order at each start.
#[tokio::test]
async fn interfaces_keep_their_names_at_each_start() {
    for engine in [Engine::Moby, Engine::Podman] {
        with_world(engine, async |w| {
            let mut asked = Vec::new();
            for subnet in ["10.76.0.0/24", "10.77.0.0/24", "10.78.0.0/24"] {
                asked.push(on(&w.network(subnet).await));
            }
            let wanted: Vec<_> = asked.iter().map(|a| a.network.clone()).collect();
            let workload = w.running(asked).await;
            for _ in 0..4 {
                let found = w.attachments(&workload).await;
                let order: Vec<_> = found.iter().map(|a| a.network.clone()).collect();
                assert_eq!(order, wanted, "on {engine:?}: {found:?}");
                let names: Vec<_> = found.iter().map(|a| a.interface.to_string()).collect();
                assert_eq!(names, ["eth0", "eth1", "eth2"], "on {engine:?}");
                for a in &found {
                    let shown = w.sh(&workload, &format!("ip -4 -o addr show {}", a.interface)).await;
                    assert!(shown.contains(&a.ips[0].to_string()), "on {engine:?}: {a:?}: {shown}");
                }
                w.backend.stop(StopRequest::new(workload.clone()).with_grace(Duration::ZERO)).await.expect("stopped");
                assert_eq!(w.attachments(&workload).await, found, "on {engine:?}, while it is stopped");
                w.backend.start(StartRequest::new(workload.clone())).await.expect("started");
            }
        })
        .await;
    }
}

/// What another program attaches has no name, and takes none that is asked for.
#[tokio::test]
async fn what_others_attach_keeps_nobody_from_starting() {
    with_world(Engine::Moby, async |w| {
        let (first, second) = (w.network("10.79.0.0/24").await, w.network("10.75.0.0/24").await);
        let workload = w.running(vec![on(&first)]).await;
        w.docker(&["network", "connect", second.spec.name.as_str(), workload.as_str()]);
        for _ in 0..6 {
            w.backend.stop(StopRequest::new(workload.clone()).with_grace(Duration::ZERO)).await.expect("stopped");
            w.backend.start(StartRequest::new(workload.clone())).await.expect("started");
        }
        assert_eq!(w.attachments(&workload).await.len(), 2);
    })
    .await;
}

//! What a crash or a reboot leaves is finished or cleaned by the next call.

use crate::Case;
use crate::world::{World, inside, network, pings, spec, workload};
use pod_core::{
    AttachNetworkRequest, AttachmentFilter, AttachmentSpec, CreateNetworkOutcome, NetworkIntent, NetworkStep,
    VerifyRequest,
};
use pod_net::{HostNet, Sandbox, netns};
use std::path::Path;

pub(crate) const CASES: &[Case] = &[
    Case::new("records without links are made whole", records_only),
    Case::new("links without records are taken over or cleaned", links_only),
    Case::new("a half-made attachment is finished by the same call", half_made),
    Case::new("claims and indexes that no record confirms are nothing", stale_claims),
    Case::new("a crash at any moment can be resumed or taken down", killed),
    Case::new("a reboot is survived", reboot),
];

async fn make(host: &HostNet, boxes: &[Sandbox]) {
    host.create_network(&spec("red", "10.1.0.0/24")).await.expect("create");
    for sandbox in boxes {
        host.attach(sandbox, &AttachmentSpec::new(network("red"))).await.expect("attach");
    }
}

async fn take_down(host: &HostNet, boxes: &[Sandbox]) {
    for sandbox in boxes {
        host.forget(&sandbox.workload).await.expect("forget");
        netns::remove(&sandbox.netns).expect("remove");
    }
    for network in host.list().await.expect("list") {
        host.remove_network(&network.spec.name).await.expect("remove");
    }
    host.remove_network(&network("never-was")).await.expect("remove");
}

fn records_only(world: World) {
    let host = world.host();
    let boxes = ["a", "b"].map(|name| world.sandbox(name));
    let own = world.dir.join("run/net/ns");
    world.run(async {
        make(&host, &boxes).await;
        netns::remove(&own).expect("remove");
        let again = host.create_network(&spec("red", "10.1.0.0/24")).await.expect("again");
        assert!(matches!(again, CreateNetworkOutcome::AlreadyExists(_)));
        // the veth pairs went with POD's namespace
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while inside(&boxes[0].netns, "ip -br link").contains("eth0") {
            assert!(std::time::Instant::now() < deadline, "the old links are still there");
        }
        for sandbox in &boxes {
            host.attach(sandbox, &AttachmentSpec::new(network("red"))).await.expect("attach");
        }
        assert!(pings(&boxes[0].netns, "10.1.0.2"));
        assert!(host.verify(&boxes, &VerifyRequest::default()).await.expect("verify").ok());
        netns::remove(&own).expect("remove");
        take_down(&host, &boxes).await;
    });
    world.assert_clean();
}

fn links_only(world: World) {
    let host = world.host();
    let boxes = ["a", "b"].map(|name| world.sandbox(name));
    world.run(async {
        make(&host, &boxes).await;
        std::fs::remove_dir_all(world.dir.join("lib/net")).expect("remove");
        host.create_network(&spec("red", "10.1.0.0/24")).await.expect("create");
        let e = host.attach(&boxes[0], &AttachmentSpec::new(network("red"))).await;
        let made = e.expect("the old port is POD's by its name, and is replaced");
        assert_eq!(made.interface.as_str(), "eth0");
        host.attach(&boxes[1], &AttachmentSpec::new(network("red"))).await.expect("attach");
        assert!(pings(&boxes[0].netns, "10.1.0.2"));
        assert!(host.verify(&boxes, &VerifyRequest::default()).await.expect("verify").ok());
        std::fs::remove_dir_all(world.dir.join("lib/net")).expect("remove");
        take_down(&host, &boxes).await;
    });
    world.assert_clean();
}

fn half_made(world: World) {
    let host = world.host();
    let [a, b] = ["a", "b"].map(|name| world.sandbox(name));
    world.run(async {
        make(&host, &[a.clone(), b.clone()]).await;
        // the pair is there, but not up, addressed or enslaved
        inside(&a.netns, "ip addr flush dev eth0");
        inside(&a.netns, "ip link set eth0 down");
        let made = host.attach(&a, &AttachmentSpec::new(network("red"))).await.expect("attach");
        assert_eq!(made.ips[0].to_string(), "10.1.0.1/24");
        assert!(pings(&a.netns, "10.1.0.2"));
        // a fresh namespace under the same name, the old one not yet gone
        let old = std::fs::File::open(&a.netns).expect("keep it");
        netns::remove(&a.netns).expect("remove");
        netns::create(&a.netns).expect("create");
        host.restore(&a).await.expect("restore");
        assert!(pings(&a.netns, "10.1.0.2"));
        drop(old);
    });
}

fn stale_claims(world: World) {
    let host = world.host();
    let a = world.sandbox("a");
    let net = world.dir.join("lib/net");
    world.run(async {
        host.create_network(&spec("red", "10.1.0.0/29")).await.expect("create");
        for n in 1..=6 {
            std::os::unix::fs::symlink("ghost", net.join(format!("networks/red/ip/10.1.0.{n}"))).expect("claim");
        }
        std::fs::create_dir_all(net.join("workloads/ghost")).expect("index");
        std::fs::write(net.join("workloads/ghost/red"), b"").expect("index");
        std::fs::write(net.join("networks/red/at/.a.json.1.1"), b"{").expect("half a record");
        assert!(host.attachments(&AttachmentFilter::default()).await.expect("list").is_empty());
        let made = host.attach(&a, &AttachmentSpec::new(network("red"))).await.expect("attach");
        assert_eq!(made.ips[0].to_string(), "10.1.0.1/29");
        let fixed = AttachmentSpec::new(network("red")).with_ip("10.1.0.5".parse().expect("ip"));
        let b = world.sandbox("b");
        host.attach(&b, &fixed).await.expect("attach");
        take_down(&host, &[a.clone(), b]).await;
    });
    world.assert_clean();
}

/// Kills a process that makes and removes at many moments, then goes on where it was.
fn killed(world: World) {
    let host = world.host();
    let boxes = ["a", "b"].map(|name| world.sandbox(name));
    for i in 0..30u64 {
        let mut child = crate::command(&format!("work:make {}", world.dir.display())).spawn().expect("spawn");
        std::thread::sleep(std::time::Duration::from_micros(3000 + 700 * i));
        child.kill().expect("kill");
        child.wait().expect("wait");
        world.run(async {
            let made = host.attachments(&AttachmentFilter::default()).await.expect("list");
            for a in &made {
                let seen = inside(&world.dir.join("box").join(a.workload.as_str()), "ip -br addr show dev eth0");
                assert!(seen.contains(&a.ips[0].to_string()), "{i}: what is listed is there: {a:?}, {seen}");
            }
            if i % 4 == 0 {
                make(&host, &boxes).await;
            } else if i % 2 == 0 {
                let wanted =
                    |b: &Sandbox| AttachNetworkRequest::new(b.workload.clone(), AttachmentSpec::new(network("red")));
                let intent = NetworkIntent::default()
                    .with_network(spec("red", "10.1.0.0/24"))
                    .with_attachment(wanted(&boxes[0]))
                    .with_attachment(wanted(&boxes[1]));
                let plan = host.plan(&intent).await.expect("plan");
                let attach = plan.steps.iter().filter(|s| matches!(s, NetworkStep::Attach(_))).count();
                assert_eq!(attach, boxes.len() - made.len(), "{i}: what is not whole is planned: {plan:?}, {made:?}");
                host.apply(&boxes, &plan).await.expect("apply");
                assert_eq!(host.attachments(&AttachmentFilter::default()).await.expect("list").len(), 2, "{i}");
            }
            if i % 2 == 0 {
                let report = host.verify(&boxes, &VerifyRequest::default()).await.expect("verify");
                assert!(report.ok(), "{i}: {:#?}", report.findings);
                assert!(pings(&boxes[0].netns, "10.1.0.2") || pings(&boxes[0].netns, "10.1.0.1"));
            }
            for sandbox in &boxes {
                host.forget(&sandbox.workload).await.expect("forget");
                assert_eq!(inside(&sandbox.netns, "ip -br link").lines().count(), 1, "{i}");
            }
            host.remove_network(&network("red")).await.expect("remove");
        });
        assert!(!world.dir.join("lib/net").exists() && !world.dir.join("run/net").exists(), "{i}");
    }
    for sandbox in &boxes {
        netns::remove(&sandbox.netns).expect("remove");
    }
    world.assert_clean();
}

/// What the killed process does, for ever.
pub(crate) fn work(dir: &Path) {
    let (runtime, host) = crate::world::visit(dir);
    let boxes = ["a", "b"].map(|name| Sandbox::new(workload(name), dir.join("box").join(name)));
    runtime.block_on(async {
        loop {
            make(&host, &boxes).await;
            for sandbox in &boxes {
                host.forget(&sandbox.workload).await.expect("forget");
            }
            host.remove_network(&network("red")).await.expect("remove");
        }
    });
}

fn reboot(world: World) {
    let host = world.host();
    let boxes = ["a", "b"].map(|name| world.sandbox(name));
    world.run(async {
        make(&host, &boxes).await;
        let before = host.attachments(&AttachmentFilter::default()).await.expect("list");
        // namespaces and run_dir go, records stay
        for sandbox in &boxes {
            netns::remove(&sandbox.netns).expect("remove");
        }
        netns::remove(&world.dir.join("run/net/ns")).expect("remove");
        std::fs::remove_dir_all(world.dir.join("run")).expect("remove");
        assert!(host.verify(&[], &VerifyRequest::default()).await.expect("verify").findings.len() == 1);
        for sandbox in &boxes {
            netns::create(&sandbox.netns).expect("create");
            assert_eq!(host.restore(sandbox).await.expect("restore").len(), 1);
            assert_eq!(host.restore(sandbox).await.expect("again").len(), 1);
        }
        assert!(pings(&boxes[0].netns, "10.1.0.2"));
        assert_eq!(host.attachments(&AttachmentFilter::default()).await.expect("list"), before);
        assert!(host.verify(&boxes, &VerifyRequest::default()).await.expect("verify").ok());
        let nobody = world.sandbox("nobody");
        assert!(host.restore(&nobody).await.expect("restore").is_empty());
    });
}

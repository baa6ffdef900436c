//! Isolation by the bridge.

use crate::Case;
use crate::world::{World, network, pings, spec};
use pod_core::{AttachmentSpec, Enforcement, ErrorKind, IsolateRequest, VerifyRequest};

pub(crate) const CASES: &[Case] = &[
    Case::new("isolation cuts workloads off, now and later, and can be taken back", isolation),
    Case::new("a network is isolated from the start", from_the_start),
];

fn isolation(world: World) {
    let host = world.host();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.sandbox(name));
    world.run(async {
        let red = network("red");
        let e = host.isolate(&IsolateRequest::new(red.clone(), true)).await.expect_err("no network");
        assert_eq!(e.kind(), ErrorKind::NotFound);
        host.create_network(&spec("red", "10.1.0.0/24")).await.expect("create");
        let report = host.isolate(&IsolateRequest::new(red.clone(), false)).await.expect("isolate");
        assert_eq!((report.enforcement, report.evidence.len()), (Enforcement::Enforced, 1));
        for sandbox in [&a, &b] {
            host.attach(sandbox, &AttachmentSpec::new(red.clone())).await.expect("attach");
        }
        assert!(pings(&a.netns, "10.1.0.2"));
        let report = host.isolate(&IsolateRequest::new(red.clone(), true)).await.expect("isolate");
        assert_eq!(report.enforcement, Enforcement::Enforced);
        assert!(report.evidence.iter().all(|e| e.ends_with("is isolated")), "{report:?}");
        host.attach(&c, &AttachmentSpec::new(red.clone())).await.expect("attach");
        for (from, to) in [(&a, "10.1.0.2"), (&b, "10.1.0.1"), (&a, "10.1.0.3"), (&c, "10.1.0.1")] {
            assert!(!pings(&from.netns, to), "{to}");
        }
        let boxes = [a.clone(), b.clone(), c.clone()];
        assert!(host.verify(&boxes, &VerifyRequest::default()).await.expect("verify").ok());
        assert!(host.list().await.expect("list")[0].spec.isolated);
        let report = host.isolate(&IsolateRequest::new(red, false)).await.expect("join");
        assert_eq!((report.enforcement, report.evidence.len()), (Enforcement::Enforced, 3));
        assert!(pings(&a.netns, "10.1.0.2") && pings(&c.netns, "10.1.0.1"));
        assert!(host.verify(&boxes, &VerifyRequest::default()).await.expect("verify").ok());
    });
}

fn from_the_start(world: World) {
    let host = world.host();
    let [a, b] = ["a", "b"].map(|name| world.sandbox(name));
    world.run(async {
        host.create_network(&spec("red", "10.1.0.0/24").with_isolated(true)).await.expect("create");
        for sandbox in [&a, &b] {
            host.attach(sandbox, &AttachmentSpec::new(network("red"))).await.expect("attach");
        }
        assert!(pings(&a.netns, "10.1.0.1"), "itself");
        assert!(!pings(&a.netns, "10.1.0.2") && !pings(&b.netns, "10.1.0.1"));
    });
}

//! Several backends, and backends that can't do everything.

use super::*;
use crate::{BackendUri, Capability, ErrorKind, ExitStatus, Registry, mem};
use tokio::io::AsyncReadExt;

fn registry() -> (Registry, BackendUri) {
    let mut registry = Registry::new();
    mem::register(&mut registry);
    (registry, "mem:?name=topology-default".parse().expect("uri"))
}

#[tokio::test]
async fn workloads_run_where_the_file_says() {
    let (registry, default) = registry();
    let text = "backend: 'mem:?name=topology-one'\n\
                networks: { n: { subnet: 10.0.0.0/24 }, m: { subnet: 10.0.0.0/24 } }\n\
                workloads:\n  a1: { networks: [n] }\n  a2: { networks: [n] }\n  \
                b1: { backend: 'mem:?name=topology-two', networks: { m: { ip: 10.0.0.21 } } }\n  \
                b2: { backend: 'mem:?name=topology-two', networks: { m: { ip: 10.0.0.22 } } }\n";
    let topology = Topology::parse(text, "spread").expect("topology");
    let deployment = Deployment::connect(&registry, topology, &default).await.expect("connect");
    let plan = deployment.plan().await.expect("plan").to_string();
    assert!(plan.contains("+ workload b1: m 10.0.0.21 [mem:?name=topology-two]"), "{plan}");
    deployment.up(&(), 16).await.expect("up");
    assert!(deployment.plan().await.expect("plan").is_empty());
    let v = deployment.verify(&()).await.expect("verify");
    assert!(v.ok(), "{v}");
    for (backend, workloads, networks) in [("topology-one", ["a1", "a2"], "n"), ("topology-two", ["b1", "b2"], "m")] {
        let lab = Lab::of(MemBackend::named(backend));
        assert_eq!(lab.ids().await.into_keys().collect::<Vec<_>>(), workloads);
        assert_eq!(lab.networks().await, [networks]);
    }
    assert!(Lab::of(MemBackend::named("topology-default")).is_empty().await);
    deployment.down(&()).await.expect("down");
    for backend in ["topology-one", "topology-two"] {
        assert!(Lab::of(MemBackend::named(backend)).is_empty().await);
    }
}

#[tokio::test]
async fn a_network_that_nothing_joins_may_not_span_backends() {
    let (registry, default) = registry();
    let text = "networks:\n  n: { subnet: 10.0.0.0/24 }\nworkloads:\n  a: { networks: [n] }\n  \
                b: { backend: 'mem:?name=topology-other', networks: [n] }\n";
    let topology = Topology::parse(text, "t").expect("topology");
    let e = Deployment::connect(&registry, topology, &default).await.expect_err("two parts");
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    let text = e.to_string();
    assert!(
        text.contains("network: n") && text.contains("place: line 2, column 3") && text.contains("`uplink:`"),
        "{text}"
    );
}

#[tokio::test]
async fn a_network_leaves_each_platform_by_an_interface_of_its_own() {
    let (registry, default) = registry();
    let text = |uplink: &str| {
        format!(
            "networks:\n  n: {{ vlan: 5, subnet: 10.0.0.0/24, uplink: {uplink} }}\nworkloads:\n  \
             a: {{ networks: [n] }}\n  b: {{ backend: 'mem:?name=topology-far', networks: [n] }}\n"
        )
    };
    let connect = async |uplink: &str| {
        let topology = Topology::parse(&text(uplink), "t").expect("topology");
        Deployment::connect(&registry, topology, &default).await
    };
    let uplinks = |deployment: Deployment| -> Vec<String> {
        let specs = deployment.sites.iter().flat_map(|s| s.networks.values());
        specs.map(|n| n.uplink.as_ref().map(ToString::to_string).unwrap_or_default()).collect()
    };
    let by_scheme = connect("{ mem: eth1, 'mem:?name=topology-far': eth2, docker: eth3 }").await.expect("connect");
    assert_eq!(uplinks(by_scheme), ["eth1", "eth2"], "an address goes before a scheme");
    let same = connect("eth4").await.expect("connect");
    assert_eq!(uplinks(same), ["eth4", "eth4"]);
    let missing = connect("{ docker: eth1 }").await.expect_err("none for mem:");
    assert_eq!(missing.kind(), ErrorKind::InvalidInput);
    let text = missing.to_string();
    assert!(text.contains("network: n") && text.contains("line 2") && text.contains("`mem: INTERFACE`"), "{text}");
}

#[tokio::test]
async fn a_backend_that_is_none_is_named_with_its_place() {
    let (registry, default) = registry();
    for text in ["workloads:\n  a: { backend: 'docke:' }", "backend: 'docke:'\nworkloads:\n  a: {}"] {
        let topology = Topology::parse(text, "t").expect("topology");
        let e = Deployment::connect(&registry, topology, &default).await.expect_err("no such scheme");
        assert_eq!(e.kind(), ErrorKind::ConfigInvalid);
        assert!(e.to_string().contains("docke"), "{e}");
    }
    let topology = Topology::parse("workloads:\n  a: { backend: 'docke:' }", "t").expect("topology");
    let e = Deployment::connect(&registry, topology, &default).await.expect_err("no such scheme");
    assert!(e.to_string().contains("place: line 2, column 3"), "{e}");
}

#[tokio::test]
async fn what_a_backend_lacks_is_refused_before_anything_is_changed() {
    let uplink = TWO.replace("vlan: 200, ", "vlan: 200, uplink: eth7, ");
    for (mem, text, says, about, place) in [
        (MemBackend::new(), uplink.as_str(), "network.uplink", "network: red", "line 3"),
        (MemBackend::new().without(Capability::Labels), TWO, "lifecycle.labels", "workload: a1", "line 6"),
        (MemBackend::new().without(Capability::FixedIp), TWO, "network.fixed_ip", "workload: a1", "line 6"),
        (MemBackend::new().without(Capability::Networks), TWO, "network.networks", "network: blue", "line 2"),
        (
            MemBackend::new().without(Capability::LimitPids),
            "workloads:\n  a: {}\n  b: { limits: { pids: 9 } }",
            "lifecycle.limit_pids",
            "workload: b",
            "line 3",
        ),
    ] {
        let lab = Lab::of(mem);
        let e = lab.deploy(text).up(&(), 16).await.expect_err(says);
        let text = e.to_string();
        assert_eq!(e.kind(), ErrorKind::Unsupported, "{text}");
        for part in [says, about, place, "`pod backend caps mem:`"] {
            assert!(text.contains(part), "{text} says nothing of {part}");
        }
        assert!(lab.recorder.take().is_empty());
        assert!(lab.is_empty().await);
    }
}

/// What a backend finds wrong with the networks is found before anything is changed.
#[tokio::test]
async fn mistakes_that_only_the_backend_sees_are_found_first() {
    let lab = Lab::new();
    lab.up("networks: { n: { subnet: 10.0.0.0/24 } }\nworkloads: { a: { networks: [n] } }").await;
    // Someone else's workload holds an address that the file asks for now.
    let spec = crate::WorkloadSpec::new(name("guest"))
        .with_attachment(crate::AttachmentSpec::new(network("n")).with_ip("10.0.0.9".parse().expect("ip")));
    lab.backend.create(crate::CreateRequest::new(spec)).await.expect("create");
    lab.recorder.take();
    let text =
        "networks: { n: { subnet: 10.0.0.0/24 } }\nworkloads:\n  a: { networks: { n: { ip: 10.0.0.9 } } }\n  z: {}";
    let e = lab.deploy(text).up(&(), 16).await.expect_err("taken");
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.to_string().contains("in use by: guest") && e.to_string().contains("place: line 3"), "{e}");
    assert!(lab.recorder.take().is_empty());
}

#[tokio::test]
async fn a_mistake_in_a_network_has_its_place() {
    let lab = Lab::new();
    lab.recorder.0.lock().expect("log").mistaken = Some("red");
    let e = lab.deploy(TWO).up(&(), 16).await.expect_err("an uplink that does not exist");
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert_eq!(e.to_string(), "no such uplink (uplink: eth7, network: red, place: line 3, column 3)");
    assert!(lab.is_empty().await && lab.recorder.take().is_empty());
}

#[tokio::test]
async fn without_hot_attach_a_workload_is_made_anew() {
    let lab = Lab::of(MemBackend::new().without(Capability::HotAttach));
    lab.up(TWO).await;
    let before = lab.ids().await;
    let after = TWO.replace("b1: { networks: { red", "b1: { networks: { blue");
    let plan = planned(&lab.deploy(&after)).await;
    assert!(plan.iter().any(|l| l.starts_with("~ workload b1: made anew: its attachments changed")), "{plan:?}");
    let v = lab.up(&after).await;
    assert!(v.ok(), "{v}");
    let ids = lab.ids().await;
    assert_ne!(ids["b1"], before["b1"]);
    assert!(["a1", "a2", "b2"].iter().all(|w| ids[*w] == before[*w]));
    // A network made anew takes its workloads with it.
    let v = lab.up(&TWO.replace("vlan: 100", "vlan: 101")).await;
    assert!(v.ok(), "{v}");
}

#[tokio::test]
async fn without_isolation_in_place_or_a_plan_all_is_done_all_the_same() {
    let lab = Lab::of(MemBackend::new().without(Capability::Plan).without(Capability::Verify));
    let v = lab.up(TWO).await;
    assert!(v.ok(), "{v}");
    assert_eq!(v.notes, ["mem: can't read its networks back"]);
}

#[tokio::test]
async fn without_probes_nothing_is_known() {
    let lab = Lab::of(MemBackend::new().without(Capability::Probe));
    let v = lab.up(TWO).await;
    assert!(!v.ok());
    assert_eq!(v.matrix.differing().count(), 12);
    assert!(v.to_string().contains("a1 -> a2: expected reached, unknown: this backend can't probe"), "{v}");
}

#[tokio::test]
async fn keep_alive_is_only_asked_of_backends_that_have_it() {
    let lab = Lab::of(MemBackend::new().without(Capability::KeepAlive));
    lab.deploy("workloads: { a: {} }").up(&(), 1).await.expect("the default is left out");
    let e = lab.deploy("workloads: { b: { keep_alive: true } }").up(&(), 1).await.expect_err("asked for");
    assert_eq!(e.kind(), ErrorKind::Unsupported);
}

/// A shell that knows one command.
fn with_shell(mem: MemBackend) -> MemBackend {
    mem.with_program("sh", |mut cx| async move {
        if cx.args() != ["-c", "cat > /etc/hosts"] || cx.uid() != 0 {
            return cx.fail(2, "not what was expected").await;
        }
        let mut text = Vec::new();
        let read = cx.stdin.read_to_end(&mut text).await.is_ok();
        ExitStatus::Exited(u8::from(!read || cx.write_file("/etc/hosts", &text).is_err()))
    })
}

/// Names reach a workload by copy, or by a program where nothing can be copied; without either way in
/// they are left as they were made.
#[tokio::test]
async fn names_find_a_way_in() {
    let after = TWO.replace("  b1:", "  a3: { networks: [blue] }\n  b1:");
    for (lacks, way) in [
        (vec![], Some("copy")),
        (vec![Capability::CopyIn], Some("exec")),
        (vec![Capability::CopyIn, Capability::CopyOut, Capability::ExecUser], Some("exec")),
        (vec![Capability::CopyIn, Capability::CopyOut, Capability::Exec], None),
    ] {
        let lab = Lab::of(lacks.iter().fold(with_shell(MemBackend::new()), |m, c| m.without(*c)));
        let deployment = lab.deploy(TWO);
        deployment.up(&(), 16).await.expect("up");
        lab.recorder.take();
        let deployment = lab.deploy(&after);
        deployment.up(&(), 16).await.expect("up");
        let changes = lab.recorder.take();
        match way {
            Some(way) => assert!(changes.contains(&way), "{lacks:?}: {changes:?}"),
            None => assert_eq!(changes, ["create"], "{lacks:?}"),
        }
        if !lacks.contains(&Capability::Exec) {
            assert_eq!(lab.names("a1").await, ["a2 10.100.0.12", "a3 10.100.0.1"], "{lacks:?}");
        }
        assert!(deployment.plan().await.expect("plan").is_empty(), "{lacks:?}");
    }
}

/// A hosts file that is a mount takes no other in its place, but can be written over.
#[tokio::test]
async fn a_hosts_file_that_no_copy_can_replace_is_written_over() {
    let lab = Lab::of(with_shell(MemBackend::new()));
    lab.deploy(TWO).up(&(), 1).await.expect("up");
    let after = lab.deploy(&TWO.replace("  b1:", "  a3: { networks: [blue] }\n  b1:"));
    // The second change is the first copy.
    lab.recorder.arm(1, Fault::Fails);
    after.up(&(), 1).await.expect("up");
    let mut changes = lab.recorder.take();
    changes.sort_unstable();
    assert_eq!(changes, ["copy", "copy", "create", "exec"]);
    assert_eq!(lab.names("a1").await, ["a2 10.100.0.12", "a3 10.100.0.1"]);
    assert_eq!(lab.names("a2").await, ["a1 10.100.0.11", "a3 10.100.0.1"]);
    // Where neither works, the error is of the copy, and says what the shell said.
    let lab = Lab::of(MemBackend::new().with_program("sh", |_| async { ExitStatus::Exited(9) }));
    lab.deploy(TWO).up(&(), 1).await.expect("up");
    lab.recorder.arm(1, Fault::Fails);
    let e =
        lab.deploy(&TWO.replace("  b1:", "  a3: { networks: [blue] }\n  b1:")).up(&(), 1).await.expect_err("neither");
    let text = e.to_string();
    assert!(
        text.starts_with(
            "told to fail (and a shell could not write it: the hosts file can't be written: the shell exited (9)"
        ),
        "{text}"
    );
    assert!(text.contains("workload: a1"), "{text}");
}

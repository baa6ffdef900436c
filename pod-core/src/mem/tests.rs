use super::*;
use crate::copy::{CopyInRequest, CopyOutRequest, CopySource, Entry, EntryKind, Item};
use crate::{
    AttachNetworkRequest, AttachmentSpec, BackendExt, ConnectionExt, CreateRequest, ExecRequest, NetworkSpec,
    ProbeRequest, ProbeTarget, RemoveRequest, StopOutcome, StopRequest, VerifyRequest, WorkloadSpec,
};
use std::time::Duration;

fn name(s: &str) -> WorkloadName {
    WorkloadName::new(s).expect("name")
}

fn net(s: &str) -> NetworkName {
    NetworkName::new(s).expect("name")
}

async fn run(backend: &MemBackend, workload: &str, argv: &[&str]) -> (ExitStatus, String, String) {
    let connection = backend.connect(&name(workload)).await.expect("connect");
    let out = connection.run(ExecRequest::new(argv.iter().copied())).await.expect("run");
    (out.status, out.stdout_text(), out.stderr_text())
}

async fn start(backend: &MemBackend, workload: &str) {
    let spec = WorkloadSpec::new(name(workload));
    backend.create(CreateRequest::new(spec).with_start()).await.expect("create");
}

#[tokio::test]
async fn the_default_command_runs_until_stopped() {
    let backend = MemBackend::new();
    start(&backend, "w").await;
    let grace = Duration::from_secs(5);
    let outcome = backend.stop(StopRequest::new(name("w")).with_grace(grace)).await.expect("stop");
    assert_eq!(outcome, StopOutcome::Stopped);
    assert_eq!(backend.wait_exit(&name("w")).await.expect("status"), ExitStatus::Signaled(15));
    backend.remove(RemoveRequest::new(name("w"))).await.expect("remove");
    assert!(backend.list(crate::Filter::all()).await.expect("list").is_empty());
}

#[tokio::test]
async fn files_go_in_and_come_out() {
    let backend = MemBackend::new();
    start(&backend, "w").await;
    let connection = backend.connect(&name("w")).await.expect("connect");
    let entries = vec![
        (Entry::new("", EntryKind::Dir), bytes::Bytes::new()),
        (Entry::new("a", EntryKind::File { size: 5 }).with_mode(0o755), "hello".into()),
        (Entry::new("b", EntryKind::Hardlink { target: b"a".to_vec() }), bytes::Bytes::new()),
    ];
    let request = CopyInRequest::new("/tmp/t", CopySource::Memory(entries)).with_verify(crate::copy::Verify::Hash);
    let report = connection.copy_in(request).await.expect("copy in");
    assert_eq!((report.entries, report.bytes), (3, 5));
    assert_eq!(run(&backend, "w", &["cat", "/tmp/t/b"]).await.1, "hello");
    let mut out = connection.copy_out(CopyOutRequest::new("/tmp/t")).await.expect("copy out");
    let mut kinds = Vec::new();
    while let Some(item) = out.next().await.expect("item") {
        if let Item::Entry(e) = item {
            kinds.push(e.kind);
        }
    }
    let target = b"a".to_vec();
    assert_eq!(kinds, [EntryKind::Dir, EntryKind::File { size: 5 }, EntryKind::Hardlink { target }]);
}

#[tokio::test]
async fn tampering_is_found_and_seen_by_probes() {
    let backend = MemBackend::new();
    let networking = backend.require_networking().expect("networking");
    for (n, w, ip) in [("red", "a", "10.0.0.11"), ("blue", "b", "10.0.0.21")] {
        let spec = NetworkSpec::new(net(n)).with_subnet("10.0.0.0/24".parse().expect("subnet"));
        networking.create(spec).await.expect("network");
        start(&backend, w).await;
        let spec = AttachmentSpec::new(net(n)).with_ip(ip.parse().expect("ip"));
        networking.attach(AttachNetworkRequest::new(name(w), spec)).await.expect("attach");
    }
    let probe = || ProbeRequest::new(name("a"), vec![ProbeTarget::new("10.0.0.21".parse().expect("ip"))]);
    assert!(networking.verify(VerifyRequest::default()).await.expect("verify").ok());
    assert!(!networking.probe(probe()).await.expect("probe")[0].reached());
    backend.tamper_join(&net("red"), &net("blue")).expect("join");
    assert!(networking.probe(probe()).await.expect("probe")[0].reached());
    let report = networking.verify(VerifyRequest::of(net("red"))).await.expect("verify");
    assert!(report.findings.iter().any(|f| f.to_string().contains("blue")), "{report:?}");
    backend.tamper_unplug(&name("b"), &net("blue")).expect("unplug");
    let report = networking.verify(VerifyRequest::of(net("blue"))).await.expect("verify");
    assert!(report.findings.iter().any(|f| f.workload == Some(name("b"))), "{report:?}");
}

#[tokio::test]
async fn a_full_disk_is_exhausted() {
    let backend = MemBackend::new().with_disk(1 << 20);
    start(&backend, "w").await;
    let connection = backend.connect(&name("w")).await.expect("connect");
    let entry = Entry::new("", EntryKind::File { size: 2 << 20 });
    let source = CopySource::Memory(vec![(entry, vec![1; 2 << 20].into())]);
    let e = connection.copy_in(CopyInRequest::new("/tmp/big", source)).await.expect_err("full");
    assert_eq!(e.kind(), ErrorKind::Exhausted);
    assert_eq!(run(&backend, "w", &["ls", "/tmp"]).await.1, "");
}

#[tokio::test]
async fn the_runtimes_end_ends_the_workload() {
    let backend = MemBackend::new();
    let other = backend.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        runtime.block_on(start(&other, "w"));
    })
    .join()
    .expect("thread");
    assert_eq!(backend.wait_exit(&name("w")).await.expect("status"), ExitStatus::Unknown);
}

#[tokio::test]
async fn a_program_that_panics_is_aborted() {
    let backend = MemBackend::new().with_program("bad", |_| async { panic!("on purpose") });
    start(&backend, "w").await;
    assert_eq!(run(&backend, "w", &["bad"]).await.0, ExitStatus::Signaled(6));
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_does_not_run() {
    let backend = MemBackend::new();
    start(&backend, "w").await;
    let connection = backend.connect(&name("w")).await.expect("connect");
    let mut sleeper = connection.exec(ExecRequest::new(["sleep", "1"])).await.expect("exec");
    sleeper.signal("STOP".parse().expect("signal")).await.expect("stop");
    assert!(tokio::time::timeout(Duration::from_secs(10), sleeper.wait()).await.is_err());
    sleeper.signal("CONT".parse().expect("signal")).await.expect("continue");
    assert_eq!(sleeper.wait().await.expect("status"), ExitStatus::Exited(0));
}

#[test]
fn one_name_is_one_backend() {
    assert!(Arc::ptr_eq(&MemBackend::named("x").shared, &MemBackend::named("x").shared));
    assert!(!Arc::ptr_eq(&MemBackend::named("x").shared, &MemBackend::named("y").shared));
}

#[tokio::test]
async fn bad_addresses_are_refused() {
    let mut registry = Registry::new();
    register(&mut registry);
    for bad in ["mem:?nmae=x", "mem://host", "mem:?name=", "mem:?images=all", "mem:?latency_ms=x"] {
        let e = registry.connect(&bad.parse().expect(bad)).await.expect_err(bad);
        assert_eq!((e.kind(), e.operation()), (ErrorKind::ConfigInvalid, Some("connect")), "{bad}");
    }
    assert!(registry.connect(&"mem:?name=tests&images=any".parse().expect("uri")).await.is_ok());
}

//! A daemon that dies and comes back. It is stopped: nothing else runs beside this.

mod lab;

use futures_util::StreamExt;
use pod_core::copy::{Chunk, CopyInRequest, CopySource, Entry, EntryKind, EntryStream, Item, StatRequest};
use pod_core::{
    AttachNetworkRequest, AttachmentFilter, AttachmentSpec, Backend, BackendExt, ConnectionExt, CreateRequest,
    DetachRequest, ErrorKind, EventsRequest, ExecRequest, Image, NetworkName, NetworkSpec, RemoveOutcome,
    RemoveRequest, StartRequest, State, VerifyRequest,
};
use pod_docker::{DockerBackend, DockerConfig};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// One outage at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn exists(w: &lab::Running, path: &str) -> bool {
    w.connection.stat(StatRequest::new(path)).await.expect("a look").is_some()
}

/// Stops or starts the lab's daemon.
fn server(words: &[&str]) {
    let xtask = std::env::var("POD_LAB_XTASK").expect("POD_LAB_XTASK names xtask");
    let lab = std::env::var("POD_LAB_NAME").expect("POD_LAB_NAME names the lab");
    let done = Command::new(xtask).arg("lab").args(words).args(["--name", &lab]).output().expect("xtask");
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Kills the lab's daemon in the middle of an exec, a copy, and while events are followed, and starts it
/// again.
#[tokio::test]
async fn a_daemon_that_dies_is_told_at_once_and_leaves_nothing() {
    let _turn = TURN.lock().await;
    let w = Arc::new(lab::Running::new(lab::Engine::Docker, "outage").await.expect("a workload"));
    let mut process = w.connection.exec(ExecRequest::new(["sleep", "60"])).await.expect("a program");
    let mut events = w.backend.events(EventsRequest::of(w.name.clone())).await.expect("events");
    let (sink, stream) = EntryStream::channel();
    let feed = tokio::spawn(async move {
        sink.send(Ok(Item::Entry(Entry::new("", EntryKind::File { size: 1 << 30 })))).await;
        for i in 0..(1u64 << 14) {
            let chunk = Chunk { offset: i << 16, data: vec![7; 64 << 10].into() };
            if !sink.send(Ok(Item::Chunk(chunk))).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let copying = {
        let w = w.clone();
        tokio::spawn(
            async move { w.connection.copy_in(CopyInRequest::new("/tmp/half", CopySource::Stream(stream))).await },
        )
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::task::spawn_blocking(|| server(&["stop", "dockerd", "--kill"])).await.expect("it is killed");

    let soon = Duration::from_secs(20);
    let e = tokio::time::timeout(soon, copying).await.expect("the copy ends").expect("no panic").expect_err("it broke");
    assert!(matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Integrity), "{e}");
    let e = tokio::time::timeout(soon, process.wait()).await.expect("the exec ends").expect_err("its end is not known");
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
    let e = tokio::time::timeout(soon, events.next()).await.expect("the events end");
    assert!(e.is_none_or(|e| e.is_err_and(|e| e.kind() == ErrorKind::Unavailable)));
    let e = w.backend.inspect(&w.name).await.expect_err("no daemon");
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
    let e = w.backend.create(CreateRequest::new(lab::spec(&lab::unique("outage"))).with_start()).await;
    assert_eq!(e.expect_err("no daemon").kind(), ErrorKind::Unavailable);
    feed.await.expect("the source ends");

    tokio::task::spawn_blocking(|| server(&["start", "dockerd"])).await.expect("it starts");
    // Without live-restore, a daemon that comes back finds its containers ended.
    let found = w.backend.inspect(&w.name).await.expect("it is there");
    if !found.state.is_running() {
        assert!(matches!(found.state, State::Exited(_)), "{}", found.state);
        w.backend.start(StartRequest::new(w.name.clone())).await.expect("it starts again");
    }
    assert!(!exists(&w, "/tmp/half").await, "half a file was left");
    // What was being copied is still beside it, and goes with the next copy.
    let source = CopySource::Memory(vec![(Entry::new("", EntryKind::File { size: 1 }), "x".into())]);
    w.connection.copy_in(CopyInRequest::new("/tmp/whole", source)).await.expect("a copy");
    let out = w.connection.run(ExecRequest::shell("ls -A /tmp")).await.expect("a program");
    assert_eq!(out.stdout_text(), "whole\n", "what is left");
    w.backend.remove(RemoveRequest::new(w.name.clone()).with_force(true)).await.expect("removed");
}

/// Kills the lab's daemon while a container is attached to a network and detached from it, over and over, and
/// starts it again.
#[tokio::test]
async fn a_daemon_that_dies_during_an_attach_leaves_no_half_of_it() {
    let _turn = TURN.lock().await;
    let config = DockerConfig::from_uri(&lab::uri().with_option("owner", lab::unique("o").as_str())).expect("options");
    let backend = Arc::new(DockerBackend::open(config).await.expect("the daemon"));
    let networking = backend.require_networking().expect("networks");
    let network: NetworkName = lab::unique("net").as_str().parse().expect("a name");
    let spec = NetworkSpec::new(network.clone()).with_subnet("10.73.0.0/24".parse().expect("a subnet"));
    networking.create(spec).await.expect("a network");
    let name = lab::unique("outage");
    backend.create(CreateRequest::new(lab::spec(&name)).with_start()).await.expect("a workload");
    let asked = AttachmentSpec::new(network.clone()).with_ip("10.73.0.9".parse().expect("an address"));
    let attach = || networking.attach(AttachNetworkRequest::new(name.clone(), asked.clone()));
    let detach = || networking.detach(DetachRequest::new(name.clone(), network.clone()));
    for _ in 0..2 {
        let killed = tokio::task::spawn_blocking(|| server(&["stop", "dockerd", "--kill"]));
        let broken = async {
            loop {
                if let Err(e) = attach().await {
                    return e;
                }
                if let Err(e) = detach().await {
                    return e;
                }
            }
        };
        let e = tokio::time::timeout(Duration::from_secs(30), broken).await.expect("it is told");
        assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
        killed.await.expect("it is killed");
        assert_eq!(attach().await.map_err(|e| e.kind()), Err(ErrorKind::Unavailable));

        tokio::task::spawn_blocking(|| server(&["start", "dockerd"])).await.expect("it starts");
        assert_eq!(backend.gc_candidates().await.expect("a list"), []);
        backend.start(StartRequest::new(name.clone())).await.expect("it starts again");
        // All of it, or nothing.
        let filter = AttachmentFilter::default().with_workload(name.clone());
        let found = networking.attachments(filter).await.expect("a list");
        assert!(found.len() <= 1, "{found:?}");
        let report = networking.verify(VerifyRequest::of(network.clone())).await.expect("a report");
        assert!(report.ok(), "{:?}", report.findings);
        // And the address is no ghost's.
        let made = attach().await.expect("an attachment");
        assert_eq!(made.ips, ["10.73.0.9/24".parse().expect("an address")]);
        detach().await.expect("detached");
    }
    backend.remove(RemoveRequest::new(name).with_force(true)).await.expect("removed");
    assert_eq!(networking.remove(&network).await.expect("removed"), RemoveOutcome::Removed);
}

/// Kills the lab's daemon while containers on two networks are made, of an image that it has and of one that is
/// loaded each time, and starts it again.
#[tokio::test]
async fn a_daemon_that_dies_during_a_create_leaves_all_of_it_or_what_gc_finds() {
    let _turn = TURN.lock().await;
    let config = DockerConfig::from_uri(&lab::uri().with_option("owner", lab::unique("o").as_str())).expect("options");
    let backend = Arc::new(DockerBackend::open(config).await.expect("the daemon"));
    let networking = backend.require_networking().expect("networks");
    let networks: [NetworkName; 2] = [(); 2].map(|()| lab::unique("net").as_str().parse().expect("a name"));
    for (network, subnet) in networks.iter().zip(["10.71.0.0/24", "10.72.0.0/24"]) {
        let spec = NetworkSpec::new(network.clone()).with_subnet(subnet.parse().expect("a subnet"));
        networking.create(spec).await.expect("a network");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let archive = dir.path().join("image.tar").display().to_string();
    let saved = Command::new("docker").args(["save", "-o", &archive, &lab::image().to_string()]).output();
    assert!(saved.expect("docker").status.success());
    let name = lab::unique("outage");
    let spec = networks.iter().fold(lab::spec(&name).with_keep_alive(true), |spec, network| {
        spec.with_attachment(AttachmentSpec::new(network.clone()))
    });
    let remove = || backend.remove(RemoveRequest::new(name.clone()).with_force(true));
    let (mut collected, mut retried) = (0, 0);
    for round in 0..8 {
        let spec = match round % 2 {
            0 => spec.clone(),
            _ => spec.clone().with_image(Image::Archive(archive.clone())),
        };
        let create = || backend.create(CreateRequest::new(spec.clone()).with_start());
        let killed = tokio::task::spawn_blocking(|| server(&["stop", "dockerd", "--kill"]));
        let broken = async {
            // Another moment of it each time.
            tokio::time::sleep(Duration::from_millis(110 * round)).await;
            loop {
                if let Err(e) = create().await {
                    return (e, true);
                }
                if let Err(e) = remove().await {
                    return (e, false);
                }
            }
        };
        let (e, creating) = tokio::time::timeout(Duration::from_secs(60), broken).await.expect("it is told");
        assert_eq!(e.kind(), ErrorKind::Unavailable, "round {round}: {e}");
        assert!(e.hint().is_some() || !creating, "round {round}: {e}");
        killed.await.expect("it is killed");
        tokio::task::spawn_blocking(|| server(&["start", "dockerd"])).await.expect("it starts");
        let left = backend.gc_candidates().await.expect("a list");
        match backend.inspect(&name).await {
            Err(e) => assert_eq!((e.kind(), &left[..]), (ErrorKind::NotFound, &[][..]), "round {round}"),
            Ok(found) if left.is_empty() => {
                assert_eq!(found.attachments.len(), 2, "round {round}: {}", found.state);
                assert!(found.started.is_some(), "round {round}: {}", found.state);
                remove().await.expect("removed");
            }
            // By gc, or by who comes next.
            Ok(_) if round % 4 < 2 => {
                assert_eq!(backend.gc(&left).await.expect("collected"), 1, "round {round}: {left:?}");
                collected += 1;
            }
            Ok(_) => retried += 1,
        }
        let made = create().await.unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert!(made.state.is_running() && made.attachments.len() == 2, "round {round}: {}", made.state);
        remove().await.expect("removed");
    }
    println!("{collected} collected, {retried} made again over what was left");
    for network in &networks {
        assert_eq!(networking.remove(network).await.expect("removed"), RemoveOutcome::Removed);
    }
}

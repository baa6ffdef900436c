//! Crashes, races and refusals leave nothing behind.

use crate::Bench;
use crate::bench_root::{name, spec, walk};
use pod_core::{
    AttachmentSpec, Backend, ConnectionExt, CreateRequest, ErrorKind, ExecRequest, ExitStatus, Filter, Image,
    NetworkName, NetworkSpec, RemoveOutcome, RemoveRequest, StartOutcome, StartRequest, State, StopOutcome,
    StopRequest, VerifyRequest,
};
use std::time::Duration;

#[tokio::test]
async fn a_workload_from_start_to_end_leaves_nothing() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"])).await;
    assert_eq!(bench.backend.stop(StopRequest::new(name("w"))).await.unwrap(), StopOutcome::Stopped);
    assert_eq!(bench.backend.inspect(&name("w")).await.unwrap().state, State::Exited(ExitStatus::Signaled(15)));
    assert_eq!(bench.backend.start(StartRequest::new(name("w"))).await.unwrap(), StartOutcome::Started);
    bench.remove("w").await;
    bench.assert_nothing_left();
}

#[tokio::test]
async fn a_killed_helper_takes_its_workload_along_and_can_be_cleaned_up() {
    let bench = Bench::new().await;
    let workload = bench.run(spec("w", &["sleep", "600"])).await;
    let helper = rustix::process::Pid::from_raw(bench.helper("w")).unwrap();
    let command = workload.pid.unwrap();
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
    for _ in 0..1000 {
        if !std::path::Path::new(&format!("/proc/{command}")).exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!std::path::Path::new(&format!("/proc/{command}")).exists(), "the command outlived its helper");
    let found = bench.backend.inspect(&name("w")).await.unwrap();
    assert_eq!(found.state, State::Exited(ExitStatus::Unknown));
    let e = bench.connect("w").await.exec(ExecRequest::new(["true"])).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::WrongState, "{e}");
    // It can be started again, and removed.
    assert_eq!(bench.backend.start(StartRequest::new(name("w"))).await.unwrap(), StartOutcome::Started);
    assert_eq!(bench.sh("w", "echo back").await.stdout_text(), "back\n");
    bench.remove("w").await;
    bench.assert_nothing_left();
}

#[tokio::test]
async fn refused_creations_leave_nothing() {
    let bench = Bench::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let images = [
        (Image::Rootfs("/nonexistent".into()), ErrorKind::NotFound),
        (Image::Rootfs(file.path().to_str().unwrap().into()), ErrorKind::InvalidInput),
        (Image::Archive("/nonexistent.tar".into()), ErrorKind::NotFound),
        (Image::Archive(file.path().to_str().unwrap().into()), ErrorKind::InvalidInput),
        (Image::Reference("debian:12".into()), ErrorKind::Unsupported),
    ];
    for (image, kind) in images {
        let request = CreateRequest::new(spec("w", &["true"]).with_image(image.clone()));
        let e = bench.backend.create(request).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{image}: {e}");
    }
    let e = bench.backend.create(CreateRequest::new(spec("w", &["nosuch"])).with_start()).await.unwrap_err();
    assert_eq!((e.kind(), e.exit_code()), (ErrorKind::CommandFailed, Some(127)));
    let e = bench
        .backend
        .create(CreateRequest::new(spec("w", &["sleep", "1"]).with_user("nosuch")).with_start())
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
    bench.assert_nothing_left();
}

#[tokio::test]
async fn the_first_of_two_with_one_name_is_untouched() {
    let bench = Bench::new().await;
    let first = bench.run(spec("w", &["sleep", "600"])).await;
    let e = bench.backend.create(CreateRequest::new(spec("w", &["true"])).with_start()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyExists);
    let found = bench.backend.inspect(&name("w")).await.unwrap();
    assert_eq!((found.id, found.pid), (first.id, first.pid));
    bench.remove("w").await;
    bench.assert_nothing_left();
}

#[tokio::test]
async fn many_at_once_by_one_name_make_exactly_one() {
    let bench = Bench::new().await;
    let tries = (0..8).map(|_| bench.backend.create(CreateRequest::new(spec("w", &["sleep", "600"])).with_start()));
    let made = futures_util::future::join_all(tries).await;
    let (good, bad): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert_eq!(good.len(), 1, "{bad:?}");
    for e in bad {
        assert_eq!(e.unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(bench.backend.list(Filter::all()).await.unwrap().len(), 1);
    let removals = (0..4).map(|_| bench.backend.remove(RemoveRequest::new(name("w")).with_force(true)));
    let outcomes: Vec<_> = futures_util::future::join_all(removals).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|o| **o == RemoveOutcome::Removed).count(), 1, "{outcomes:?}");
    bench.assert_nothing_left();
}

#[tokio::test]
async fn a_cancelled_creation_is_taken_back() {
    let bench = Bench::new().await;
    for wait in [1, 5, 10, 20] {
        let create = bench.backend.create(CreateRequest::new(spec("w", &["sleep", "600"])).with_start());
        let done = tokio::time::timeout(Duration::from_millis(wait), create).await;
        if done.is_ok() {
            bench.remove("w").await;
        }
        // The creation and its taking back go on by themselves, each a task; before the first has begun nothing
        // is there either.
        let tasks = tokio::runtime::Handle::current().metrics();
        let mut waits = 0..10_000;
        while tasks.num_alive_tasks() > 0 && waits.next().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(tasks.num_alive_tasks(), 0, "the taking back has not ended");
        bench.assert_nothing_left();
    }
}

#[tokio::test]
async fn an_attachment_that_was_left_half_made_is_whole_after_the_start() {
    let bench = Bench::new().await;
    let networking = bench.backend.networking().unwrap();
    let network = NetworkName::new("red").unwrap();
    let subnet = "10.77.0.0/24".parse().unwrap();
    networking.create(NetworkSpec::new(network.clone()).with_subnet(subnet)).await.unwrap();
    let spec = spec("w", &["sleep", "600"]).with_attachment(AttachmentSpec::new(network.clone()));
    bench.backend.create(CreateRequest::new(spec)).await.unwrap();
    // As a creation leaves it that was killed between the pair and its addresses.
    let netns = format!("--net={}", bench.root.path().join("run/netns/w").display());
    for change in [["ip", "addr", "flush", "dev", "eth0"].as_slice(), &["ip", "link", "set", "eth0", "down"]] {
        let done = std::process::Command::new("nsenter").arg(&netns).args(change).status().unwrap();
        assert!(done.success());
    }
    bench.backend.start(StartRequest::new(name("w"))).await.unwrap();
    let report = networking.verify(VerifyRequest::default()).await.unwrap();
    assert!(report.ok(), "{:?}", report.findings);
    let shown = bench.sh("w", "ip -4 addr show eth0").await.stdout_text();
    assert!(shown.contains("10.77.0.1/24"), "{shown}");
    bench.remove("w").await;
    networking.remove(&network).await.unwrap();
    bench.assert_nothing_left();
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing() {
    let bench = Bench::new().await;
    let place = tempfile::Builder::new().prefix("pod-full-").tempdir_in("/var/tmp").unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", place.path(), "tmpfs", flags, Some(c"size=64k")).unwrap();
    let filler = place.path().join("filler");
    let _ = std::fs::write(&filler, vec![1u8; 1 << 20]);
    let full = pod_local::LocalBackend::open(pod_local::LocalConfig::default().with_root(place.path())).await.unwrap();
    let e = full.create(CreateRequest::new(spec("w", &["sleep", "600"])).with_start()).await.unwrap_err();
    let left = walk(place.path());
    rustix::mount::unmount(place.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(e.kind(), ErrorKind::Exhausted, "{e}");
    assert!(e.hint().is_some(), "{e}");
    assert_eq!(left, [filler], "something was left");
    drop(bench);
}

#[tokio::test]
async fn a_stopped_workload_can_be_copied_to_and_from() {
    use pod_core::copy::{CopyInRequest, CopyOutRequest, CopySource, Entry, EntryKind, Item};
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"])).await;
    bench.backend.stop(StopRequest::new(name("w")).with_grace(Duration::ZERO)).await.unwrap();
    let connection = bench.connect("w").await;
    let entry = Entry::new("", EntryKind::File { size: 3 });
    let source = CopySource::Memory(vec![(entry, bytes::Bytes::from_static(b"abc"))]);
    connection.copy_in(CopyInRequest::new("/etc/new", source)).await.unwrap();
    let mut out = connection.copy_out(CopyOutRequest::new("/etc/new")).await.unwrap();
    let mut data = Vec::new();
    while let Some(item) = out.next().await.unwrap() {
        if let Item::Chunk(chunk) = item {
            data.extend_from_slice(&chunk.data);
        }
    }
    assert_eq!(data, b"abc");
    bench.backend.start(StartRequest::new(name("w"))).await.unwrap();
    assert_eq!(connection.run(ExecRequest::new(["cat", "/etc/new"])).await.unwrap().stdout_text(), "abc");
    bench.remove("w").await;
    bench.assert_nothing_left();
}

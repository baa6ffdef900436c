//! Mounts, ports and restarts against real engines: what can't be is a clear error that leaves nothing, a volume
//! stays when its workload goes, and published ports and networks keep apart.

mod lab;

use lab::Engine;
use lab::world::{BY_HAND, on, on_both};
use pod_core::{
    Backend, Capability, ConnectionExt, CreateRequest, Error, ErrorKind, ExecRequest, Mount, MountSource,
    PublishedPort, RemoveRequest, RestartPolicy, Signal, StartRequest, StopRequest, VolumeName, WorkloadName,
    WorkloadSpec,
};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The engine's client.
fn client(engine: Engine) -> Command {
    let mut docker = Command::new("docker");
    docker.args(["-H", &format!("unix://{}", engine.socket())]);
    docker
}

/// What a command prints, which must not fail.
fn printed(command: &mut Command) -> String {
    let done = command.output().expect("a command");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}

async fn connected(engine: Engine) -> Arc<dyn Backend> {
    lab::registry().connect(&engine.uri()).await.expect("the engine")
}

fn host(path: &str) -> Mount {
    Mount::new(MountSource::Host(path.into()), "/data")
}

/// The error of what can't be started. Nothing of it is left.
async fn refused(engine: Engine, change: impl FnOnce(WorkloadSpec) -> WorkloadSpec) -> Error {
    let backend = connected(engine).await;
    let name = lab::unique("refused");
    let made = backend.create(CreateRequest::new(change(lab::spec(&name))).with_start()).await;
    let left = printed(client(engine).args(["ps", "-aq", "--filter", &format!("name={name}")]));
    if made.is_ok() || !left.is_empty() {
        backend.remove(RemoveRequest::new(name).with_force(true)).await.expect("removed");
    }
    let error = made.expect_err("it can't be");
    assert_eq!(left, "", "on {engine:?} something was left: {error}");
    error
}

#[tokio::test]
async fn paths_that_can_not_be_mounted() {
    for engine in Engine::BOTH {
        let e = refused(engine, |s| s.with_mount(host("srv/site"))).await;
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
        assert!(e.to_string().contains("not absolute") && e.to_string().contains("srv/site"), "{e}");
        let e = refused(engine, |s| s.with_mount(host("/srv")).with_mount(host("/opt"))).await;
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
        for path in ["/nonexistent/pod", "/etc/passwd/pod"] {
            let e =
                refused(engine, |s| s.with_mount(host(path)).with_mount(Mount::new(MountSource::Tmpfs(4096), "/m")))
                    .await;
            assert_eq!(e.kind(), ErrorKind::NotFound, "on {engine:?}: {e}");
            assert!(e.to_string().contains(path) && e.hint().is_some(), "{e}");
        }
        assert!(!std::path::Path::new("/nonexistent").exists(), "{engine:?} made the path");
    }
}

/// A path that goes between the making of a workload and its start.
#[tokio::test]
async fn a_path_that_has_gone_at_the_start() {
    for engine in Engine::BOTH {
        let backend = connected(engine).await;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().to_str().expect("UTF-8").to_owned();
        let name = lab::unique("gone");
        backend.create(CreateRequest::new(lab::spec(&name).with_mount(host(&path)))).await.expect("a workload");
        drop(dir);
        let started = backend.start(StartRequest::new(name.clone())).await;
        let left = backend.inspect(&name).await;
        backend.remove(RemoveRequest::new(name)).await.expect("removed");
        let e = started.expect_err("the path is gone");
        assert_eq!(e.kind(), ErrorKind::NotFound, "on {engine:?}: {e}");
        assert!(e.to_string().contains(&path), "{e}");
        assert!(!left.expect("a workload").state.is_running());
        assert!(!std::path::Path::new(&path).exists(), "{engine:?} made the path");
    }
}

#[tokio::test]
async fn ports_that_can_not_be_published() {
    for engine in Engine::BOTH {
        let at = |text: &str| text.parse::<PublishedPort>().expect(text);
        let e = refused(engine, |s| s.with_port(at("7411:80")).with_port(at("7411:81"))).await;
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
        // A program of the engine's machine listens there, and no container.
        let words = lab::machine(engine).await.expect("the engine's process");
        let folder = tempfile::tempdir().expect("a folder");
        let mut holder = Command::new(&words[0])
            .args(&words[1..])
            .args(["busybox", "httpd", "-f", "-p", "127.0.0.1:7412", "-h"])
            .arg(folder.path())
            .spawn()
            .expect("a listener");
        let mut seen = String::new();
        for _ in 0..500 {
            seen = printed(Command::new(&words[0]).args(&words[1..]).args(["ss", "-Hltn", "sport = :7412"]));
            if !seen.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let e = refused(engine, |s| s.with_port(at("7412:80"))).await;
        holder.kill().expect("it ends");
        holder.wait().expect("it ended");
        assert!(seen.contains("127.0.0.1:7412"), "nothing listens there: {seen}");
        assert_eq!(e.kind(), ErrorKind::Conflict, "on {engine:?}: {e}");
        assert!(e.to_string().contains("127.0.0.1:7412:80/tcp") && e.hint().is_some(), "{e}");
        if engine == Engine::Podman {
            let e = refused(engine, |s| s.with_port(at("[::1]:7414:80"))).await;
            assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
            assert!(e.to_string().contains("[::1]:7414:80/tcp"), "{e}");
        }
        // An address that the machine does not have.
        let e = refused(engine, |s| s.with_port(at("192.0.2.1:7413:80"))).await;
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "on {engine:?}: {e}");
        assert!(e.to_string().contains("192.0.2.1"), "{e}");
    }
}

async fn ran(engine: Engine, volume: &VolumeName, read_only: bool, script: &str) -> pod_core::Output {
    let backend = connected(engine).await;
    let name: WorkloadName = lab::unique("volume");
    let mount = Mount::new(MountSource::Volume(volume.clone()), "/data").with_read_only(read_only);
    backend.create(CreateRequest::new(lab::spec(&name).with_mount(mount)).with_start()).await.expect("a workload");
    let out = backend.connect(&name).await.expect("a connection").run(ExecRequest::shell(script)).await;
    backend.remove(RemoveRequest::new(name).with_force(true)).await.expect("removed");
    out.expect("a program")
}

#[tokio::test]
async fn a_volume_outlives_its_workload() {
    for engine in Engine::BOTH {
        let volume = VolumeName::new(lab::unique("volume").as_str()).expect("a name");
        let first = ran(engine, &volume, false, "echo kept >/data/file").await;
        let second = ran(engine, &volume, false, "cat /data/file").await;
        let third = ran(engine, &volume, true, "cat /data/file; echo lost >/data/file").await;
        let fourth = ran(engine, &volume, false, "cat /data/file").await;
        printed(client(engine).args(["volume", "rm", volume.as_str()]));
        assert!(first.status.success() && !third.status.success(), "on {engine:?}: {first:?} {third:?}");
        for out in [second, third, fourth] {
            assert_eq!(out.stdout_text(), "kept\n", "on {engine:?}");
        }
    }
}

/// Also where POD did not make it: its ports would be a way around the network's walls.
#[tokio::test]
async fn what_publishes_ports_is_attached_to_no_network() {
    on_both(async |w| {
        let network = w.network("10.92.0.0/24").await;
        let ours = w.run(|s| s.with_port("80".parse().expect("a port"))).await;
        let (some, all) = (w.named(), w.named());
        let image = lab::image().to_string();
        for (name, ports) in [(&some, ["-p", "127.0.0.1::80"]), (&all, ["-P", "--expose=80"])] {
            w.docker(&["run", "-d", "--name", name.as_str(), ports[0], ports[1], &image, "sleep", "3600"]);
        }
        for workload in [ours, some, all] {
            let e = w.attach(&workload, on(&network)).await.expect_err("it publishes ports");
            assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
            assert!(e.to_string().contains(Capability::PortsOnNetworks.path()) && e.hint().is_some(), "{e}");
            assert_eq!(w.attachments(&workload).await, [], "on {:?}", w.engine);
        }
    })
    .await;
}

/// What it was made on, and what was attached while it ran.
#[tokio::test]
async fn who_is_started_again_is_on_the_same_networks() {
    on_both(async |w| {
        let (red, blue) = (w.network("10.93.0.0/24").await, w.network("10.94.0.0/24").await);
        let policy = RestartPolicy::OnFailure(None);
        let workload =
            w.run(|s| s.with_command(["sh", "-c", BY_HAND]).with_attachment(on(&red)).with_restart(policy)).await;
        w.attach(&workload, on(&blue)).await.expect("an attachment");
        // Docker names the interfaces anew.
        let told = async || {
            let all = w.attachments(&workload).await;
            all.into_iter().map(|a| (a.network, (a.ips, a.mac))).collect::<BTreeMap<_, _>>()
        };
        let before = told().await;
        w.again(&workload).await;
        assert_eq!(told().await, before, "on {:?}", w.engine);
        let other = w.running(vec![on(&red), on(&blue)]).await;
        for to in w.attachments(&other).await {
            assert!(w.probe(&workload, &to.ips[0].addr().to_string()).await.reached(), "{to:?} on {:?}", w.engine);
        }
        for network in [red, blue] {
            w.verified(&network.spec.name).await;
        }
    })
    .await;
}

/// Podman, above all, starts again what a signal ended, and says of one that is about to be started that it
/// does not run.
#[tokio::test]
async fn a_stop_ends_what_ends_all_the_time() {
    on_both(async |w| {
        let always =
            |s: WorkloadSpec, script: &str| s.with_command(["sh", "-c", script]).with_restart(RestartPolicy::Always);
        let failing = w.run(|s| always(s, "exit 1")).await;
        let hung = w.run(|s| always(s, "trap 'exit 0' HUP; while :; do sleep 0.05; done")).await;
        for (workload, signal) in [(failing, Signal::TERM), (hung, Signal::HUP)] {
            let grace = Duration::from_secs(2);
            let stop = StopRequest::new(workload.clone()).with_signal(signal).with_grace(grace);
            w.backend.stop(stop).await.expect("a stop");
            let ended = w.backend.inspect(&workload).await.expect("a workload");
            tokio::time::sleep(Duration::from_secs(2)).await;
            let later = w.backend.inspect(&workload).await.expect("a workload");
            assert!(!ended.state.is_running() && !later.state.is_running(), "on {:?}: {later:?}", w.engine);
            assert_eq!(ended.restarts, later.restarts, "on {:?}", w.engine);
        }
    })
    .await;
}

//! What goes wrong with a real daemon: each a clear error of the right kind, and nothing left behind.

mod lab;

use futures_util::StreamExt;
use pod_core::{
    Backend, BackendExt, BackendUri, CreateRequest, Error, ErrorKind, EventKind, EventsRequest, ExecRequest, Filter,
    Image, RemoveRequest,
};
use pod_docker::{DockerBackend, DockerConfig};
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn refused(text: &str) -> Error {
    let uri: BackendUri = text.parse().expect(text);
    match lab::registry().connect(&uri).await {
        Ok(_) => panic!("{text} was reached"),
        Err(e) => e,
    }
}

/// A server at a unix socket or port that answers each connection so.
fn answering(text: &'static str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            // A client that asks nothing is answered nothing.
            if stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                stream.write_all(text.as_bytes()).await.expect("sent");
            }
        }
    });
    let uri = format!("docker:?socket={}", path.display());
    (dir, uri)
}

#[tokio::test]
async fn daemons_that_can_not_be_reached() {
    let e = refused("docker:?socket=/nonexistent/docker.sock").await;
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.to_string().contains("/nonexistent/docker.sock") && e.hint().is_some(), "{e}");

    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let e = refused(&format!("docker:?socket={}", path.display())).await;
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");

    let e = refused("podman:?socket=/nonexistent/podman.sock").await;
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    let hint = e.hint().unwrap_or_default();
    assert!(hint.contains("systemctl --user start podman.socket") && hint.contains("CONTAINER_HOST"), "{hint}");

    let e = refused("docker://127.0.0.1:1?tls=false").await;
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
}

#[tokio::test]
async fn what_answers_and_is_no_daemon() {
    let (_dir, uri) = answering("SSH-2.0-OpenSSH_9.2\r\n");
    let e = refused(&uri).await;
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.message().contains("HTTP"), "{e}");

    let (_dir, uri) = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
    let e = refused(&uri).await;
    assert_eq!(e.kind(), ErrorKind::ConfigInvalid, "{e}");

    let (_dir, uri) = answering("HTTP/1.1 200 OK\r\nApi-Version: 1.24\r\nContent-Length: 2\r\n\r\nOK");
    let e = refused(&uri).await;
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(e.message().contains("1.24"), "{e}");
}

#[tokio::test]
async fn tls_that_does_not_fit() {
    let dir = tempfile::tempdir().expect("a folder");
    let openssl = |words: &[&str]| {
        let done = Command::new("openssl").args(words).current_dir(dir.path()).output().expect("openssl");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    for name in ["one", "two"] {
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
        ]);
    }
    // A server with the first certificate; the client trusts the second.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let mut server = Command::new("openssl")
        .args(["s_server", "-quiet", "-cert", "one.pem", "-key", "one.key", "-accept", &format!("127.0.0.1:{port}")])
        .current_dir(dir.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("a server");
    std::fs::copy(dir.path().join("two.pem"), dir.path().join("ca.pem")).expect("a file");
    let uri = format!("docker://127.0.0.1:{port}?cert_path={}", dir.path().display());
    let mut e = refused(&uri).await;
    for _ in 0..200 {
        if !e.to_string().contains("refused") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        e = refused(&uri).await;
    }
    server.kill().expect("it ends");
    server.wait().expect("it ended");
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.message().contains("certificate"), "{e}");

    // A plain daemon, asked by TLS.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let e = refused(&format!("docker://127.0.0.1:{port}?cert_path={}", dir.path().display())).await;
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.message().contains("TLS"), "{e}");
}

#[tokio::test]
async fn images_that_are_not_to_be_had() {
    let backend = lab::registry().connect(&lab::uri()).await.expect("the daemon");
    let asked = |image: Image| CreateRequest::new(lab::spec(&lab::unique("image")).with_image(image)).with_start();
    // The lab has no uplink: the registry can't be asked.
    let e = backend.create(asked("pod.test/none:1".parse().expect("an image"))).await.expect_err("no image");
    assert!(matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::NotFound), "{e}");
    assert!(e.to_string().contains("pod.test/none:1"), "{e}");

    let never = DockerBackend::open(DockerConfig::from_uri(&lab::uri().with_option("pull", "never")).expect("options"));
    let e = never.await.expect("the daemon").create(asked("pod.test/none:1".parse().expect("an image"))).await;
    assert_eq!(e.expect_err("no image").kind(), ErrorKind::NotFound);

    for image in ["host", "rootfs:/"] {
        let e = backend.create(asked(image.parse().expect("an image"))).await.expect_err(image);
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
    }
    let e = backend.create(asked(Image::Archive("/nonexistent.tar".into()))).await.expect_err("no file");
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("a.tar"), vec![7; 4096]).expect("a file");
    let e = backend.create(asked(Image::Archive(dir.path().join("a.tar").display().to_string()))).await;
    let e = e.expect_err("no archive");
    assert!(matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unexpected), "{e}");
    assert!(e.to_string().contains("a.tar"), "{e}");
    let left = backend.list(Filter::all()).await.expect("a list");
    assert!(!left.iter().any(|w| w.name().as_str().starts_with("image-")), "something was left");
}

#[tokio::test]
async fn the_beginning_of_an_id_is_no_name() {
    lab::with_workload("named", async |w| {
        let id = w.backend.inspect(&w.name).await?.id;
        let short: pod_core::WorkloadName = id[..12].parse()?;
        assert_eq!(w.backend.inspect(&short).await.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
        let removed = w.backend.remove(RemoveRequest::new(short).with_force(true)).await?;
        assert_eq!(removed, pod_core::RemoveOutcome::AlreadyAbsent);
        assert!(w.backend.inspect(&w.name).await?.state.is_running());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn gc_takes_only_what_was_to_be_started_and_never_was() {
    for engine in lab::Engine::BOTH {
        gc_on(engine).await;
    }
}

async fn gc_on(engine: lab::Engine) {
    let owner = format!("gc{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let config = DockerConfig::from_uri(&engine.uri().with_option("owner", owner.clone())).expect("options");
    let backend = DockerBackend::open(config).await.expect("the daemon");
    let name = lab::unique("gc");
    backend.create(CreateRequest::new(lab::spec(&name)).with_start()).await.expect("a workload");
    let stopped = lab::unique("gc");
    backend.create(CreateRequest::new(lab::spec(&stopped))).await.expect("another");
    // What a creation that was killed between its two steps leaves, its time over.
    let left = lab::unique("gc");
    let label = |key: &str, value: &str| format!("pod.{key}={value}");
    let done = Command::new("docker")
        .args(["-H", &format!("unix://{}", engine.socket()), "create", "--name", left.as_str()])
        .args(["--label", &label("owner", &owner), "--label", &label("operation", "create-1")])
        .args(["--label", &label("lease", "2020-01-01T00:00:00Z"), &lab::image().to_string()])
        .output()
        .expect("docker");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let found = backend.gc_candidates().await.expect("a list");
    assert_eq!(found.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), [left.as_str()]);
    assert_eq!(backend.gc(&found).await.expect("collected"), 1);
    assert_eq!(backend.gc(&found).await.expect("nothing more"), 0);
    assert_eq!(backend.inspect(&left).await.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    for name in [name, stopped] {
        backend.remove(RemoveRequest::new(name).with_force(true)).await.expect("removed");
    }
}

#[tokio::test]
async fn an_image_without_a_shell_says_so() {
    // The image's own BusyBox, with its shell away.
    lab::with_workload("shellless", async |w| {
        w.sh("rm /bin/sh").await?;
        let e = w.connection.exec(ExecRequest::new(["ls"])).await.expect_err("there is no shell");
        assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
        assert!(e.message().contains("/bin/sh"), "{e}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn events_and_status_of_what_is_removed_while_it_runs() {
    lab::with_workload("gone", async |w| {
        let mut events = w.backend.events(EventsRequest::of(w.name.clone())).await?;
        let mut process = w.connection.exec(ExecRequest::new(["sleep", "60"])).await?;
        w.backend.remove(RemoveRequest::new(w.name.clone()).with_force(true)).await?;
        let end = tokio::time::timeout(Duration::from_secs(20), process.wait()).await.expect("the program's end");
        assert!(!end.as_ref().is_ok_and(|s| s.success()), "{end:?}");
        let mut kinds = Vec::new();
        while kinds.last() != Some(&EventKind::Removed) {
            let next = tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("an event");
            kinds.push(next.expect("an event")?.kind);
        }
        assert!(kinds.iter().any(|k| matches!(k, EventKind::Exited(_))), "{kinds:?}");
        assert_eq!(w.backend.wait_exit(&w.name).await.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
        Ok(())
    })
    .await;
}

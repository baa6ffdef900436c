//! What a daemon is asked, and no more: to tell what it can do takes it longer than many a request.

mod lab;

use lab::Engine;
use pod_core::copy::{CopyOptions, download, upload};
use pod_core::{BackendUri, Capabilities, Capability, ConnectionExt, ExecRequest};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// A socket before an engine's own that writes down what is asked.
struct Recorder {
    _dir: tempfile::TempDir,
    uri: BackendUri,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn new(engine: Engine) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("s.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = asked.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, engine.socket(), record.clone()));
            }
        });
        let uri = BackendUri::new(engine.scheme()).expect("a scheme").with_option("socket", path.display().to_string());
        Self { _dir: dir, uri, asked }
    }

    /// What was asked since the last time: methods and paths without the version, a container's or exec's id
    /// as `ID`.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }
}

/// Each request has a connection of its own.
async fn pass(mut client: UnixStream, socket: String, record: Arc<Mutex<Vec<String>>>) {
    let mut head = vec![0; 64 << 10];
    let Ok(length @ 1..) = client.read(&mut head).await else { return };
    let text = String::from_utf8_lossy(&head[..length]).into_owned();
    let mut words = text.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let part = |part: &str| match part.len() {
        64 => "ID".to_owned(),
        _ => part.to_owned(),
    };
    let parts: Vec<_> = path.split('/').filter(|p| !p.starts_with("v1.")).map(part).collect();
    record.lock().expect("no panic").push(format!("{method} {}", parts.join("/")));
    let mut server = UnixStream::connect(socket).await.expect("the engine");
    server.write_all(&head[..length]).await.expect("sent");
    // Either side may end it at any time.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

#[tokio::test]
async fn an_exec_is_four_requests() {
    lab::with_workload_on(Engine::Docker, "asked", |w| async move {
        let recorder = Recorder::new(Engine::Docker);
        let backend = lab::registry().connect_for(&recorder.uri, Capabilities::none()).await?;
        let connection = backend.connect(&w.name).await?;
        assert!(connection.run(ExecRequest::new(["true"])).await?.status.success());
        let (find, asked) = (format!("GET /containers/{}/json", w.name), recorder.asked());
        assert_eq!(asked, ["GET /_ping", &find, "POST /containers/ID/exec", "POST /exec/ID/start"]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn only_who_wants_limits_or_networks_has_the_daemon_asked_for_them() {
    let recorder = Recorder::new(Engine::Docker);
    let backend = lab::registry().connect(&recorder.uri).await.expect("the daemon");
    assert_eq!(recorder.asked(), ["GET /_ping", "GET /info"]);
    assert!(backend.capabilities().has(Capability::LimitMemory) && backend.networking().is_some());
    let named = (backend.info().product.clone(), backend.info().version.clone());
    let few = lab::registry().connect_for(&recorder.uri, Capabilities::none()).await.expect("the daemon");
    assert_eq!(recorder.asked(), ["GET /_ping"]);
    assert!(!few.capabilities().has(Capability::LimitMemory) && few.networking().is_none());
    assert_eq!((few.info().product.clone(), few.info().version.clone()), named);

    let recorder = Recorder::new(Engine::Podman);
    let backend = lab::registry().connect(&recorder.uri).await.expect("Podman");
    assert!(!recorder.asked().iter().any(|a| a == "GET /version"));
    assert_eq!((backend.info().product.as_str(), backend.info().version.is_empty()), ("Podman", false));
}

#[tokio::test]
async fn a_copy_makes_no_archive_to_look_at_a_path() {
    lab::with_workload_on(Engine::Docker, "asked", |w| async move {
        let (recorder, dir) = (Recorder::new(Engine::Docker), tempfile::tempdir().expect("a folder"));
        let (here, back) = (dir.path().join("file"), dir.path().join("back"));
        std::fs::write(&here, "content").expect("a file");
        let backend = lab::registry().connect_for(&recorder.uri, Capabilities::none()).await?;
        let connection = backend.connect(&w.name).await?;
        let archives = || {
            let asked = recorder.asked();
            asked.into_iter().filter(|a| a.ends_with("/archive")).collect::<Vec<_>>()
        };
        let options = CopyOptions::new();
        upload(&*connection, &here, b"/tmp/file", &options).await?;
        // Of what is not there, a head has no words to say so.
        let [head, get, put] = ["HEAD", "GET", "PUT"].map(|m| format!("{m} /containers/ID/archive"));
        assert_eq!(archives(), [&*head, &*get, &*put]);
        upload(&*connection, &here, b"/tmp/file", &options).await?;
        assert_eq!(archives(), [&*head, &*put]);
        download(&*connection, b"/tmp/file", &back, &options).await?;
        assert_eq!(archives(), [&*head, &*get]);
        assert_eq!(std::fs::read(&back).expect("a file"), b"content");
        Ok(())
    })
    .await;
}

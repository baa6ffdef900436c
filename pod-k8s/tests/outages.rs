//! Outages of a cluster, each under an exec, copies, a creation, a log and watches. What breaks is told
//! soon, what can go on goes on, nothing is done twice, and nothing is left.
//!
//! Servers that all tests share are stopped here, so one test runs at a time, and each leaves them ready.

mod space;

use bytes::Bytes;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams};
use pod_core::copy::{
    Chunk, CopyInRequest, CopyOutRequest, CopyReport, CopySource, Entry, EntryKind, EntryStream, Item,
};
use pod_core::layers::{Retry, Wrapped};
use pod_core::{
    AttachmentSpec, Backend, BackendExt, Connection, ConnectionExt, CreateRequest, Error, ErrorKind, Event, EventKind,
    EventsRequest, ExecRequest, ExitStatus, Filter, LogsRequest, NetworkName, Process, RemoveOutcome, RemoveRequest,
    Result, Workload, WorkloadName,
};
use pod_k8s::K8sBackend;
use space::{Own, client, eventually, with_no_wait};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;

/// Within this time everything that breaks has to say so.
const SOON: Duration = Duration::from_secs(8);

/// Tests that stop a server are not run beside others.
static CLUSTER: Mutex<()> = Mutex::new(());

/// Runs a test by itself, in a namespace of its own.
fn alone<F, Fut>(what: &str, test: F)
where
    F: FnOnce(Arc<Own>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let _alone = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    with_no_wait(what, test);
}

fn run(program: &str, words: &[&str]) {
    // The runtime goes on with the rest meanwhile.
    let output = tokio::task::block_in_place(|| Command::new(program).args(words).output());
    let told = match output {
        Ok(output) if output.status.success() => return,
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(e) => e.to_string(),
    };
    let why = format!("{program} {}: {told}", words.join(" "));
    // What follows a failed test must not hide it.
    if std::thread::panicking() { eprintln!("{why}") } else { panic!("{why}") }
}

fn lab(words: &[&str]) {
    let xtask = std::env::var("POD_LAB_XTASK").expect("POD_LAB_XTASK names xtask: run by `cargo xtask lab run`");
    run(&xtask, &[&["lab"], words].concat());
}

/// Servers that were killed; they are started again and ready when this ends, whatever becomes of the test.
struct Killed(&'static [&'static str]);

impl Killed {
    fn kill(parts: &'static [&'static str]) -> Self {
        let killed = Self(parts);
        for part in parts {
            lab(&["stop", part, "--kill"]);
        }
        killed
    }

    fn start(&mut self) {
        for part in std::mem::take(&mut self.0).iter().rev() {
            lab(&["start", part]);
        }
    }

    fn end(mut self) {
        let begun = Instant::now();
        self.start();
        println!("back after {:?}", begun.elapsed());
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.start();
    }
}

/// A node that is gone: its wire is cut, so that nothing refuses a connection and nothing answers, and then
/// its servers end.
struct Gone {
    node: &'static str,
    servers: Killed,
}

impl Gone {
    fn cut(node: &'static str, servers: &'static [&'static str]) -> Self {
        run("ip", &["link", "set", node, "down"]);
        Self { node, servers: Killed::kill(servers) }
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        run("ip", &["link", "set", self.node, "up"]);
        // What waits for an answer from the node has to wait no longer.
        self.servers.start();
        run("kubectl", &["wait", "--for=condition=Ready", &format!("node/{}", self.node), "--timeout=60s"]);
    }
}

fn name(text: &str) -> WorkloadName {
    WorkloadName::new(text).expect("a name")
}

async fn pods(own: &Own) -> kube::Api<Pod> {
    kube::Api::namespaced(client().await, &own.namespace)
}

/// What a task gave, soon after what broke it.
async fn soon<T>(what: &str, since: Instant, task: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(SOON.saturating_sub(since.elapsed()), task).await;
    let done = done.unwrap_or_else(|_| panic!("{what} says nothing {SOON:?} after the outage began"));
    println!("{what}: after {:?}", since.elapsed());
    done
}

/// What a task gives when the cluster is back.
async fn goes_on<T>(what: &str, task: JoinHandle<T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(30), task).await;
    done.unwrap_or_else(|_| panic!("{what} does not go on")).expect("no panic")
}

/// An error that says that it may pass, and where it happened.
fn is_away(what: &str, error: &Error) {
    println!("{what}: {error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
    assert!(!error.context().is_empty(), "{what} says not where: {error}");
}

/// A pod and the way into it.
struct There {
    connection: Arc<dyn Connection>,
    name: &'static str,
}

/// A pod that is used in every way while something breaks.
struct Busy {
    there: Arc<There>,
    exec: Process,
    copy_in: JoinHandle<Result<CopyReport>>,
    copy_out: EntryStream,
}

/// A file that never ends, slowly.
fn endless() -> CopySource {
    let (sink, stream) = EntryStream::channel();
    tokio::spawn(async move {
        sink.send(Ok(Item::Entry(Entry::new("", EntryKind::File { size: 1 << 40 })))).await;
        let mut offset = 0;
        loop {
            let chunk = Chunk { offset, data: Bytes::from(vec![1; 4096]) };
            if !sink.send(Ok(Item::Chunk(chunk))).await {
                return;
            }
            offset += 4096;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    CopySource::Stream(stream)
}

impl Busy {
    async fn begin(own: &Own, backend: &K8sBackend, pod: &'static str) -> Self {
        // It ends when it is asked to; `sleep` as a first process would not.
        let spec = own.script(pod, "trap 'exit 0' TERM; sleep 3600 & wait");
        backend.create(CreateRequest::new(spec).with_start()).await.expect("a pod");
        let connection = backend.connect(&name(pod)).await.expect("a connection");
        let script = "echo run >>/tmp/runs; echo began; while :; do sleep 1; done";
        let mut exec = connection.exec(ExecRequest::shell(script)).await.expect("an exec");
        let mut began = [0; 6];
        exec.take_stdout().expect("stdout").read_exact(&mut began).await.expect("it began");
        connection.run(ExecRequest::shell("mkdir /tmp/in; truncate -s 4G /tmp/big")).await.expect("a file");
        let to = connection.clone();
        let copy_in = tokio::spawn(async move { to.copy_in(CopyInRequest::new("/tmp/in/file", endless())).await });
        let mut copy_out = connection.copy_out(CopyOutRequest::new("/tmp/big")).await.expect("a copy");
        copy_out.next().await.expect("an entry");
        let there = Arc::new(There { connection, name: pod });
        eventually("the copy is under way", || async { !there.hidden().await.is_empty() }).await;
        Self { there, exec, copy_in, copy_out }
    }

    /// What was under way has ended, none of it as if it had gone well.
    async fn breaks(&mut self, since: Instant) {
        let status = soon("exec", since, self.exec.wait()).await.expect("a status");
        assert_eq!(status, ExitStatus::Unknown, "the status was lost");
        let copied = soon("copy in", since, &mut self.copy_in).await.expect("no panic");
        is_away("copy in", &copied.map(drop).expect_err("it was cut"));
        let read = soon("copy out", since, async {
            loop {
                match self.copy_out.next().await {
                    Ok(Some(_)) => {}
                    other => break other.map(drop),
                }
            }
        });
        let error = read.await.expect_err("it was cut");
        println!("copy out: {error}");
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Integrity), "{error}");
    }
}

impl There {
    async fn sh(&self, script: &str) -> String {
        let out = self.connection.run(ExecRequest::shell(script)).await.unwrap_or_else(|e| panic!("{script}: {e}"));
        assert!(out.status.success(), "{script}: {}", out.stderr_text());
        out.stdout_text()
    }

    /// What copies have laid down and not yet put in place.
    async fn hidden(&self) -> String {
        self.sh("find /tmp -name '.pod-*'").await
    }

    /// New uses of the pod say at once that there is none now.
    async fn is_out_of_reach(&self, since: Instant) {
        let exec = soon("a new exec", since, self.connection.exec(ExecRequest::new(["true"]))).await;
        is_away("a new exec", &exec.map(drop).expect_err("nobody answers"));
        let memory = vec![(Entry::new("", EntryKind::File { size: 0 }), Bytes::new())];
        let copy = self.connection.copy_in(CopyInRequest::new("/tmp/late", CopySource::Memory(memory)));
        is_away("a new copy", &soon("a new copy", since, copy).await.map(drop).expect_err("nobody answers"));
        let out = soon("a new copy out", since, self.connection.copy_out(CopyOutRequest::new("/etc/passwd"))).await;
        is_away("a new copy out", &out.map(drop).expect_err("nobody answers"));
    }

    /// The pod is as it was: what was cut was done once, and has left nothing.
    async fn is_whole(&self) {
        assert_eq!(self.sh("cat /tmp/runs").await, "run\n", "the exec of {} was repeated", self.name);
        assert_eq!(self.sh("ls -A /tmp/in; ls /tmp/late 2>/dev/null || true").await, "");
        eventually("nothing of the copies is left", || async { self.hidden().await.is_empty() }).await;
    }
}

/// A pod that is a while in starting.
fn slow(pod: &str, seconds: u32) -> Pod {
    let image = space::image().to_string();
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": pod},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "initContainers": [{"name": "wait", "image": image, "command": ["sleep", seconds.to_string()]}],
            "containers": [{"name": "main", "image": image, "command": ["sleep", "3600"]}]}
    }))
    .expect("a pod")
}

/// Makes a slow pod, and returns when its start is under way.
async fn starting(own: &Arc<Own>, pod: &'static str, seconds: u32) -> JoinHandle<Result<Workload>> {
    let backend = own.backend.clone();
    let creation = tokio::spawn(async move { backend.create_pod(slow(pod, seconds)).await });
    let pods = pods(own).await;
    eventually("it starts", || async {
        let found = pods.get_opt(pod).await.expect("an answer");
        let statuses = found.and_then(|p| p.status).and_then(|s| s.init_container_statuses);
        statuses.is_some_and(|all| all.iter().any(|s| s.state.as_ref().is_some_and(|s| s.running.is_some())))
    })
    .await;
    creation
}

/// Collects events until one is there.
async fn events_until(backend: &K8sBackend, last: impl Fn(&Event) -> bool + Send + 'static) -> JoinHandle<Vec<Event>> {
    let mut stream = backend.events(EventsRequest::default()).await.expect("events");
    tokio::spawn(async move {
        let mut all = Vec::new();
        loop {
            let event = stream.next().await.expect("the stream goes on").expect("an event");
            let over = last(&event);
            all.push(event);
            if over {
                return all;
            }
        }
    })
}

fn of<'a>(events: &'a [Event], workload: &str) -> Vec<&'a EventKind> {
    events.iter().filter(|e| e.workload.as_str() == workload).map(|e| &e.kind).collect()
}

#[test]
fn the_api_server_is_killed_under_everything() {
    alone("api", |own| async move {
        let backend = &own.backend;
        let counting = "i=0; until [ -e /tmp/stop ]; do echo $i; i=$((i+1)); sleep 0.05; done";
        let ending = "until [ -e /tmp/end ]; do sleep 0.05; done; sleep 1; exit 5";
        let (mut busy, _, _) = tokio::join!(
            Busy::begin(&own, backend, "busy"),
            own.start(own.script("counts", counting)),
            own.start(own.script("ends", ending)),
        );
        let begun = starting(&own, "slow", 6).await;
        let mut log = backend.logs(LogsRequest::new(name("counts")).with_follow(true)).await.expect("a log");
        let log = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(record) = log.next().await {
                all.extend_from_slice(&record.expect("a record").data);
            }
            String::from_utf8(all).expect("text")
        });
        let seen = events_until(backend, |e| e.workload.as_str() == "last" && e.kind == EventKind::Created).await;
        let waiter = backend.clone();
        let ended = tokio::spawn(async move { waiter.wait_exit(&name("ends")).await });
        // One of little patience, whose creation fails in the outage; others' pods, and nobody's.
        let hasty = K8sBackend::open(space::config(&own.namespace).with_wait(Duration::from_secs(2))).await;
        let other = K8sBackend::open(space::config(&own.namespace).with_owner("somebody-else.7")).await;
        let (hasty, other, pods) = (hasty.expect("the cluster"), other.expect("the cluster"), pods(&own).await);
        other.create(CreateRequest::new(own.spec("theirs")).with_start()).await.expect("a pod");
        pods.create(&Default::default(), &slow("unmanaged", 600)).await.expect("a pod");
        let maker = hasty.clone();
        let left = tokio::spawn(async move { maker.create_pod(slow("left", 600)).await });
        eventually("it is made", || async { pods.get_opt("left").await.expect("an answer").is_some() }).await;
        let ends = own.connect("ends").await;
        ends.run(ExecRequest::shell("touch /tmp/end")).await.expect("a sign");

        let killed = Killed::kill(&["apiserver"]);
        let since = Instant::now();
        busy.breaks(since).await;
        busy.there.is_out_of_reach(since).await;
        let create = soon("a creation", since, own.create(own.spec("never"))).await;
        is_away("a creation", &create.map(drop).expect_err("nobody answers"));
        let list = soon("a list", since, backend.list(Filter::all())).await;
        is_away("a list", &list.map(drop).expect_err("nobody answers"));
        let candidates = soon("gc", since, backend.gc_candidates()).await;
        is_away("gc", &candidates.map(drop).expect_err("nobody answers"));
        let removal = soon("a removal", since, backend.remove(RemoveRequest::new(name("counts")))).await;
        is_away("a removal", &removal.map(drop).expect_err("nobody answers"));
        // A read that is to be tried again is answered when there is somebody to do so.
        let again: Arc<dyn Backend> =
            Arc::new(Wrapped::new(Retry::new(9, Duration::from_millis(100)), Arc::new(backend.clone())));
        let again = tokio::spawn(async move { again.list(Filter::all()).await });
        let error = soon("a hasty creation", since, left).await.expect("no panic").map(drop).expect_err("an outage");
        println!("a hasty creation: {error}");
        assert!(error.context().iter().any(|(key, _)| *key == "left_behind"), "{error}");
        assert!(!ended.is_finished() && !begun.is_finished() && !seen.is_finished() && !log.is_finished());
        killed.end();

        let since = Instant::now();
        assert!(goes_on("the creation", begun).await.expect("it starts").state.is_running());
        assert_eq!(goes_on("the wait", ended).await.expect("a status"), ExitStatus::Exited(5));
        assert_eq!(again.await.expect("no panic").expect("a list").len(), 7);
        println!("goes on: after {:?}", since.elapsed());
        busy.there.is_whole().await;
        own.connect("counts").await.run(ExecRequest::shell("touch /tmp/stop")).await.expect("a sign");
        let counted = goes_on("the log", log).await;
        let counted: Vec<usize> = counted.lines().map(|l| l.parse().expect("a number")).collect();
        assert_eq!(counted, (0..counted.len()).collect::<Vec<_>>(), "a line was lost, or came twice");
        assert!(counted.len() > 20, "{}", counted.len());
        // On a node of its own choice: the scheduler takes longer to come back.
        let on = K8sBackend::open(space::config(&own.namespace).with_node("node-1")).await.expect("the cluster");
        on.create(CreateRequest::new(own.spec("last")).with_start()).await.expect("a pod");
        let seen = goes_on("the watch", seen).await;
        assert_eq!(of(&seen, "ends"), [&EventKind::Exited(ExitStatus::Exited(5))]);
        assert_eq!(of(&seen, "slow"), [&EventKind::Started]);
        only_what_is_left_is_collected(&hasty, &other, &pods).await;
        assert_eq!(own.names().await, ["busy", "counts", "ends", "last", "slow", "theirs", "unmanaged"]);
        pods.delete("unmanaged", &DeleteParams::default().grace_period(0)).await.expect("gone");
    });
}

/// `left` is the only pod that its owner's `gc` takes, and that when its time is over.
async fn only_what_is_left_is_collected(backend: &K8sBackend, other: &K8sBackend, pods: &kube::Api<Pod>) {
    assert_eq!(backend.gc_candidates().await.expect("a list"), [], "its time is not over");
    let over = serde_json::json!({"metadata": {"annotations": {"pod.lease": "2020-01-01T00:00:00Z"}}});
    for pod in ["left", "busy", "slow", "theirs", "unmanaged"] {
        pods.patch(pod, &PatchParams::default(), &Patch::Merge(&over)).await.expect("a patch");
    }
    let left = backend.gc_candidates().await.expect("a list");
    assert_eq!(left.iter().map(|l| l.pod.as_str()).collect::<Vec<_>>(), ["left"]);
    assert_eq!(other.gc_candidates().await.expect("a list"), []);
    assert_eq!(backend.gc(&left).await.expect("collected"), 1);
}

#[test]
fn a_kubelet_that_is_killed_comes_back_to_the_same_pods() {
    alone("kubelet", |own| async move {
        let on = K8sBackend::open(space::config(&own.namespace).with_node("node-2")).await.expect("the cluster");
        let mut busy = Busy::begin(&own, &on, "busy").await;
        let before = on.inspect(&name("busy")).await.expect("the pod").id;
        let mut hasty = space::config(&own.namespace).with_node("node-2").with_wait(Duration::from_secs(2));
        hasty.owner = Some("hasty.1".into());
        let hasty = K8sBackend::open(hasty).await.expect("the cluster");

        let killed = Killed::kill(&["kubelet-2"]);
        let since = Instant::now();
        busy.breaks(since).await;
        busy.there.is_out_of_reach(since).await;
        // The API server answers, so what needs no node goes on.
        assert!(on.inspect(&name("busy")).await.expect("the pod").state.is_running());
        let maker = on.clone();
        let spec = own.spec("patient");
        let patient = tokio::spawn(async move { maker.create(CreateRequest::new(spec).with_start()).await });
        let late = hasty.create(CreateRequest::new(own.spec("late")).with_start()).await;
        let error = late.map(drop).expect_err("nobody starts it");
        println!("a creation: {error}");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.to_string().contains("node-2"), "{error}");
        assert!(!own.names().await.contains(&"late".to_owned()), "it is left");
        killed.end();

        assert!(goes_on("the creation", patient).await.expect("it starts").state.is_running());
        busy.there.is_whole().await;
        assert_eq!(on.inspect(&name("busy")).await.expect("the pod").id, before);
        assert!(hasty.gc_candidates().await.expect("a list").is_empty());
        assert!(on.gc_candidates().await.expect("a list").is_empty());
    });
}

#[test]
fn a_node_that_is_gone_is_told_and_its_pods_can_be_removed() {
    alone("node", |own| async move {
        let on = K8sBackend::open(space::config(&own.namespace).with_node("node-2")).await.expect("the cluster");
        let mut busy = Busy::begin(&own, &on, "busy").await;
        let mut silent = busy.there.connection.exec(ExecRequest::shell("echo a; sleep 3600")).await.expect("an exec");
        silent.take_stdout().expect("stdout").read_exact(&mut [0; 2]).await.expect("it began");
        let gone = Gone::cut("node-2", &["kubelet-2", "containerd-2"]);
        let since = Instant::now();
        // Nothing on the way says so: that its node is lost is the cluster's word, which takes 20 s here.
        let status = tokio::time::timeout(Duration::from_secs(40), silent.wait()).await;
        println!("exec: after {:?}", since.elapsed());
        assert_eq!(status.expect("it ends").expect("a status"), ExitStatus::Unknown);
        busy.breaks(Instant::now()).await;
        let begun = Instant::now();
        let removal = on.remove(RemoveRequest::new(name("busy")).with_force(true)).await;
        println!("a removal by force: after {:?}", begun.elapsed());
        assert_eq!(removal.expect("it is taken off the books"), RemoveOutcome::Removed);
        assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
        drop(gone);
        let made = on.create(CreateRequest::new(own.spec("again")).with_start()).await.expect("the node is back");
        assert!(made.state.is_running());
    });
}

#[test]
fn pods_evicted_and_deleted_behind_pods_back_are_told() {
    alone("behind", |own| async move {
        let pods = pods(&own).await;
        let (mut evicted, mut deleted) =
            tokio::join!(Busy::begin(&own, &own.backend, "evicted"), Busy::begin(&own, &own.backend, "deleted"),);
        let creation = starting(&own, "starts", 600).await;
        let seen = events_until(&own.backend, |e| e.workload.as_str() == "last").await;
        let waiter = own.backend.clone();
        let waits = tokio::spawn(async move { waiter.wait_exit(&name("deleted")).await });
        pods.evict("evicted", &EvictParams::default()).await.expect("evicted");
        pods.delete("deleted", &DeleteParams::default()).await.expect("deleted");
        pods.delete("starts", &DeleteParams::default()).await.expect("deleted");
        eventually("they are gone", || async { own.names().await.is_empty() }).await;
        let since = Instant::now();
        for busy in [&mut evicted, &mut deleted] {
            let status = soon("exec", since, busy.exec.wait()).await.expect("a status");
            assert!(!status.success(), "{status}");
            let copied = soon("copy in", since, &mut busy.copy_in).await.expect("no panic");
            println!("copy in: {}", copied.map(drop).expect_err("the pod is gone"));
            let read = async {
                while busy.copy_out.next().await?.is_some() {}
                Ok::<_, Error>(())
            };
            println!("copy out: {}", soon("copy out", since, read).await.expect_err("the pod is gone"));
            let error = busy.there.connection.exec(ExecRequest::new(["true"])).await.map(drop).expect_err("no pod");
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
        let error =
            soon("the creation", since, creation).await.expect("no panic").map(drop).expect_err("it was deleted");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        let error = soon("the wait", since, waits).await.expect("no panic").map(drop);
        let removed = matches!(&error, Err(e) if e.kind() == ErrorKind::NotFound) || error.is_ok();
        assert!(removed, "{error:?}");
        own.start(own.spec("last")).await;
        let seen = seen.await.expect("no panic");
        for pod in ["evicted", "deleted", "starts"] {
            assert_eq!(of(&seen, pod).last(), Some(&&EventKind::Removed), "{pod}: {seen:?}");
        }
        assert!(own.backend.gc_candidates().await.expect("a list").is_empty());
        assert_eq!(own.names().await, ["last"]);
    });
}

/// A kind that was taken out of the cluster; it is back when this ends.
struct Missing {
    file: tempfile::NamedTempFile,
    name: String,
}

impl Missing {
    async fn take_out(name: &str) -> Self {
        let all: kube::Api<CustomResourceDefinition> = kube::Api::all(client().await);
        let mut kind = all.get(name).await.expect("the kind");
        kind.metadata = kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() };
        kind.status = None;
        let mut value = serde_json::to_value(&kind).expect("a value");
        value["apiVersion"] = "apiextensions.k8s.io/v1".into();
        value["kind"] = "CustomResourceDefinition".into();
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), value.to_string()).expect("written");
        let missing = Self { file, name: name.to_owned() };
        run("kubectl", &["delete", "crd", name, "--timeout=30s"]);
        missing
    }
}

impl Drop for Missing {
    fn drop(&mut self) {
        run("kubectl", &["apply", "--server-side", "--filename", &self.file.path().display().to_string()]);
        run("kubectl", &["wait", "--for=condition=Established", "crd", &self.name, "--timeout=30s"]);
    }
}

#[test]
fn a_cluster_without_definitions_says_what_is_missing() {
    alone("kinds", |own| async move {
        let missing = Missing::take_out("network-attachment-definitions.k8s.cni.cncf.io").await;
        let client = client().await;
        eventually("nobody serves it", || async {
            let served = client.list_api_group_resources("k8s.cni.cncf.io/v1").await;
            !served.is_ok_and(|l| l.resources.iter().any(|r| r.name == "network-attachment-definitions"))
        })
        .await;
        let spec = own.spec("wired").with_attachment(AttachmentSpec::new(NetworkName::new("lan").expect("a name")));
        // One that was connected before learns it from the answer; one that connects now, from the start.
        for error in [
            own.backend.definitions().list().await.map(drop).expect_err("no kind"),
            own.create(spec.clone()).await.map(drop).expect_err("no kind"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            let text = error.to_string();
            assert!(text.contains("network-attachment-definitions.k8s.cni.cncf.io"), "{error}");
            assert!(error.hint().is_some_and(|h| h.contains("Multus")), "{error}");
        }
        let fresh = K8sBackend::open(space::config(&own.namespace)).await.expect("the cluster is of use without");
        assert!(fresh.networking().is_none());
        let registry = space::registry();
        let uri = format!("k8s:{}/?kubeconfig={}", own.namespace, space::kubeconfig().display());
        let checked = registry.connect(&uri.parse().expect("an address")).await.expect("the cluster");
        let error = checked.create(CreateRequest::new(spec).with_start()).await.map(drop).expect_err("no kind");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        println!("{error}");
        drop(missing);
        eventually("it is back", || async { own.backend.definitions().list().await.is_ok() }).await;
    });
}

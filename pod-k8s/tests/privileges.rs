//! What `pod_k8s::rbac` gives is enough for its purpose and for no other, and what is not allowed is told
//! from what is not there.
//!
//! The contract suite runs with these roles, too: see `contract.rs`.

mod space;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, join_all};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use pod_core::copy::{CopyOutRequest, StatRequest};
use pod_core::{
    AttachRequest, Backend, BackendExt, ConnectionExt, CreateRequest, Enforcement, Error, ErrorKind, EventsRequest,
    ExecRequest, Filter, ForwardRequest, IfName, IsolateRequest, Labels, LogsRequest, NetworkName, NetworkSpec,
    PolicyRule, RemoveRequest, Result, WorkloadName, WorkloadSpec,
};
use pod_k8s::K8sBackend;
use pod_k8s::rbac::Purpose;
use space::{Own, User, client, unique, with};
use std::time::Duration;

/// The pod that all deeds are about.
const TARGET: &str = "target";
/// The port on which it listens.
const PORT: u16 = 7000;

fn name(text: &str) -> WorkloadName {
    WorkloadName::new(text).expect("a name")
}

fn network(text: &str) -> NetworkName {
    NetworkName::new(text).expect("a name")
}

/// Something a user does, and the purposes that are each enough for it.
struct Deed {
    what: &'static str,
    enough: &'static [Purpose],
    act: for<'a> fn(&'a K8sBackend) -> BoxFuture<'a, Result<()>>,
}

async fn list(backend: &K8sBackend) -> Result<()> {
    backend.list(Filter::all()).await.map(drop)
}

async fn inspect(backend: &K8sBackend) -> Result<()> {
    backend.inspect(&name(TARGET)).await.map(drop)
}

async fn run(backend: &K8sBackend) -> Result<()> {
    let spec = WorkloadSpec::new(name(&unique("run"))).with_command(["sleep", "3600"]);
    let pod = spec.name.clone();
    backend.create(CreateRequest::new(spec).with_start()).await?;
    backend.remove(RemoveRequest::new(pod).with_force(true)).await?;
    let left = backend.gc_candidates().await?;
    backend.gc(&left).await.map(drop)
}

async fn logs(backend: &K8sBackend) -> Result<()> {
    let mut stream = backend.logs(LogsRequest::new(name(TARGET))).await?;
    let first = stream.next().await.ok_or_else(|| Error::unexpected("no log"))??;
    assert_eq!(first.data, "hello\n");
    Ok(())
}

/// The next event; something always happens, see [`changes`].
async fn events(backend: &K8sBackend) -> Result<()> {
    let mut stream = backend.events(EventsRequest::default()).await?;
    let next = tokio::time::timeout(Duration::from_secs(30), stream.next()).await;
    next.expect("an event").ok_or_else(|| Error::unexpected("the stream ended"))?.map(drop)
}

async fn exec(backend: &K8sBackend) -> Result<()> {
    let out = backend.connect(&name(TARGET)).await?.run(ExecRequest::new(["echo", "a"])).await?;
    assert_eq!(out.stdout, b"a\n");
    Ok(())
}

async fn attach(backend: &K8sBackend) -> Result<()> {
    backend.attach(AttachRequest::new(name(TARGET))).await?.detach().await
}

async fn copy(backend: &K8sBackend) -> Result<()> {
    let connection = backend.connect(&name(TARGET)).await?;
    connection.stat(StatRequest::new("/etc/passwd")).await?;
    let mut stream = connection.copy_out(CopyOutRequest::new("/etc/passwd")).await?;
    while stream.next().await?.is_some() {}
    Ok(())
}

async fn forward(backend: &K8sBackend) -> Result<()> {
    backend.connect(&name(TARGET)).await?.forward(ForwardRequest::new(PORT)).await.map(drop)
}

async fn networks(backend: &K8sBackend) -> Result<()> {
    let networking = backend.require_networking()?;
    let spec = NetworkSpec::new(network(&unique("net"))).with_subnet("10.86.0.0/24".parse().expect("a subnet"));
    let made = spec.name.clone();
    networking.create(spec).await?;
    networking.list().await?;
    networking.attachments(Default::default()).await?;
    backend.definitions().list().await?;
    networking.remove(&made).await.map(drop)
}

async fn policy(backend: &K8sBackend) -> Result<()> {
    let policies = backend.policies();
    let made = network(&unique("policy"));
    let from = Labels::from([("app".to_owned(), "nobody".to_owned())]);
    policies.apply(&made, vec![PolicyRule::new(from, Labels::new(), false)], true).await?;
    policies.remove(&made).await?;
    let isolated = backend.require_networking()?.isolate(IsolateRequest::new(network("lan"), true)).await?;
    assert_eq!(isolated.enforcement, Enforcement::Unknown, "there are no pods to prove it by");
    Ok(())
}

async fn verify(backend: &K8sBackend) -> Result<()> {
    let seen = backend.definitions().verify(backend, "lan", None).await?;
    assert!(seen.ok() && seen.left_behind.is_empty(), "{seen:?}");
    Ok(())
}

async fn namespaces(backend: &K8sBackend) -> Result<()> {
    let made = unique("made");
    backend.namespaces().create(&made, Labels::new()).await?;
    backend.namespaces().list().await?;
    backend.namespaces().remove(&made, false).await.map(drop)
}

async fn doctor(backend: &K8sBackend) -> Result<()> {
    let seen = backend.cni().await?;
    match seen.blind.first() {
        None => Ok(()),
        Some(blind) => Err(Error::new(ErrorKind::PermissionDenied, blind.clone()).with_hint("pod k8s rbac")),
    }
}

macro_rules! deed {
    ($what:ident, [$($purpose:ident),* $(,)?]) => {
        Deed { what: stringify!($what), enough: &[$(Purpose::$purpose),*], act: |backend| $what(backend).boxed() }
    };
}

/// Every deed, and all the purposes that are enough for it.
fn deeds() -> Vec<Deed> {
    vec![
        deed!(list, [Inspect, Run, Logs, Events, Exec, Attach, Copy, CopyHelper, Networks, Policy, Verify, Doctor]),
        deed!(inspect, [Inspect, Run, Logs, Events, Exec, Attach, Copy, CopyHelper, Forward, Networks, Policy, Verify]),
        deed!(run, [Run, Verify]),
        deed!(logs, [Logs, Attach]),
        deed!(events, [Run, Logs, Events, Exec, Attach, Copy, CopyHelper, Networks, Policy, Verify]),
        deed!(exec, [Exec, Attach, Copy, CopyHelper, Policy, Verify]),
        deed!(attach, [Attach]),
        deed!(copy, [Exec, Attach, Copy, CopyHelper, Policy, Verify]),
        deed!(forward, [Forward]),
        deed!(networks, [Networks]),
        deed!(policy, [Policy]),
        deed!(verify, [Verify]),
        deed!(namespaces, [Namespaces]),
        deed!(doctor, [Doctor]),
    ]
}

/// Makes pods that nobody starts and removes them, for those who wait for an event.
async fn changes(own: &Own) {
    let pods: kube::Api<Pod> = kube::Api::namespaced(client().await, &own.namespace);
    let image = space::image().to_string();
    let pod: Pod = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "changes"},
        "spec": {"nodeName": "no-such-node", "containers": [{"name": "main", "image": image}]}
    }))
    .expect("a pod");
    loop {
        pods.create(&PostParams::default(), &pod).await.expect("a pod");
        pods.delete("changes", &DeleteParams::default().grace_period(0)).await.expect("gone");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn prepared(own: &Own) {
    let listens = format!("echo hello; while :; do nc -l -p {PORT} -e true; done");
    own.start(own.script(TARGET, &listens)).await;
    let lan = NetworkSpec::new(network("lan"))
        .with_subnet("10.87.0.0/24".parse().expect("a subnet"))
        .with_uplink(IfName::new("net2").expect("a name"));
    own.backend.require_networking().expect("networks").create(lan).await.expect("a network");
}

/// What a user is told who may not do a thing.
fn is_refused(who: &str, error: &Error) {
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{who}: {error}");
    assert!(error.hint().is_some_and(|h| h.contains("pod k8s rbac")), "{who}: {error}");
}

#[test]
fn each_purpose_is_enough_for_itself_and_for_no_other() {
    with("purposes", |own| async move {
        prepared(&own).await;
        let deeds = deeds();
        let users =
            join_all(Purpose::ALL.iter().map(|p| User::new(&own.namespace, p.as_str(), std::slice::from_ref(p)))).await;
        let one = async |purpose: Purpose, user: &User| {
            let backend = user.open().await;
            let mut wrong = Vec::new();
            for deed in &deeds {
                let who = format!("{purpose} for {}", deed.what);
                let done = (deed.act)(&backend).await;
                match (done, deed.enough.contains(&purpose)) {
                    (Ok(()), true) => {}
                    (Err(error), false) => is_refused(&who, &error),
                    (Err(error), true) => wrong.push(format!("{who} is too little: {error}")),
                    (Ok(()), false) => wrong.push(format!("{who} is too much")),
                }
            }
            wrong
        };
        let all = join_all(Purpose::ALL.iter().zip(&users).map(|(purpose, user)| one(*purpose, user)));
        let wrong = tokio::select! {
            wrong = all => wrong.concat(),
            () = changes(&own) => unreachable!("it goes on for ever"),
        };
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        for deed in &deeds {
            assert!(!deed.enough.is_empty(), "{}", deed.what);
        }
    });
}

#[test]
fn a_helper_is_a_purpose_of_its_own_and_pod_security_is_told() {
    with("helper", |own| async move {
        own.start(own.spec(TARGET)).await;
        let (copier, helped) = tokio::join!(
            User::new(&own.namespace, "copier", &[Purpose::Copy]),
            User::new(&own.namespace, "helped", &[Purpose::CopyHelper])
        );
        let open = async |user: &User| {
            K8sBackend::open(user.config().with_helper(space::image())).await.expect("the cluster knows this user")
        };
        is_refused("copy by a helper", &copy(&open(&copier).await).await.expect_err("not allowed"));
        let helped = open(&helped).await;
        // The pod was let in before the namespace became strict; another container in it is not.
        let spaces: kube::Api<Namespace> = kube::Api::all(client().await);
        let level = async |level: Option<&str>| {
            let labels = serde_json::json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
            let patched = spaces.patch(&own.namespace, &PatchParams::default(), &Patch::Merge(labels)).await;
            patched.expect("the namespace's level");
        };
        level(Some("restricted")).await;
        let error = copy(&helped).await.expect_err("not let in");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(error.hint().is_some_and(|h| h.contains("Pod Security")), "{error}");
        level(None).await;
        copy(&helped).await.expect("the purpose is enough");
    });
}

#[test]
fn a_user_of_one_namespace_is_told_what_may_not_be_seen() {
    with("narrow", |own| async move {
        prepared(&own).await;
        let some = [Purpose::Run, Purpose::Networks, Purpose::Policy];
        let (user_of, nobody_of) =
            tokio::join!(User::new(&own.namespace, "user", &some), User::new(&own.namespace, "nobody", &[]));
        let (user, nobody) = (user_of.open().await, nobody_of.open().await);
        // The cluster's: nodes, namespaces, DaemonSets, the definitions of custom resources.
        for (who, refused) in [
            ("namespaces", user.namespaces().list().await.map(drop)),
            ("a namespace", user.namespaces().create(&unique("no"), Labels::new()).await.map(drop)),
            ("removing one", user.namespaces().remove("default", true).await.map(drop)),
            ("nodes", verify(&user).await),
            ("pods", nobody.list(Filter::all()).await.map(drop)),
            ("a pod", nobody.inspect(&name("absent")).await.map(drop)),
            ("connecting", nobody.connect(&name("absent")).await.map(drop)),
            ("events", nobody.events(EventsRequest::default()).await.map(drop)),
            ("definitions", nobody.definitions().list().await.map(drop)),
            ("a definition", nobody.definitions().get("absent").await.map(drop)),
            ("removal", nobody.remove(RemoveRequest::new(name("absent"))).await.map(drop)),
            ("gc", nobody.gc_candidates().await.map(drop)),
        ] {
            let error = refused.expect_err(who);
            is_refused(who, &error);
            let keys: Vec<_> = error.context().iter().map(|(key, _)| *key).collect();
            assert!(keys.contains(&"verb") && keys.contains(&"resource"), "{who}: {error}");
        }
        // Absent is told from refused by one who may see.
        let absent = user.inspect(&name("absent")).await.map(drop).expect_err("there is none");
        assert_eq!(absent.kind(), ErrorKind::NotFound, "{absent}");
        let absent = user.definitions().get("absent").await.map(drop).expect_err("there is none");
        assert_eq!(absent.kind(), ErrorKind::NotFound, "{absent}");
        // Another namespace is another's.
        let elsewhere = user_of.config().with_namespace("default");
        let elsewhere = K8sBackend::open(elsewhere).await.expect("the cluster");
        let error = elsewhere.list(Filter::all()).await.map(drop).expect_err("another's");
        is_refused("another namespace", &error);
        assert!(error.to_string().contains("default"), "{error}");
    });
}

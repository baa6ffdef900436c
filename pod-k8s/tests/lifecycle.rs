//! Pods on a real cluster: what the contract suite does not ask, for only Kubernetes has it.

mod space;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use pod_core::{
    Backend, BackendExt, CreateRequest, Error, ErrorKind, ExitStatus, Filter, LABEL_OWNER, Labels, Limits, LogsRequest,
    RemoveOutcome, RemoveRequest, State, WorkloadName,
};
use pod_k8s::{CreateNamespaceOutcome, K8sBackend};
use space::{Own, eventually, with};
use std::time::{Duration, Instant};

fn name(text: &str) -> WorkloadName {
    WorkloadName::new(text).expect("a name")
}

async fn log_of(own: &Own, workload: &str) -> String {
    let mut stream = own.backend.logs(LogsRequest::new(name(workload)).with_follow(true)).await.expect("a log");
    let mut all = Vec::new();
    while let Some(record) = stream.next().await {
        all.extend_from_slice(&record.expect("a record").data);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn what_is_asked_for_comes_back_whole() {
    with("whole", |own| async move {
        let mut spec = own
            .script("Web_1", "sleep 3600")
            .with_env("A", "$(B)")
            .with_label("note", "any = text")
            .with_label("app", "web");
        spec.hosts.insert("other.example".into(), "10.1.2.3".parse().expect("an address"));
        let made = own.start(spec.clone()).await;
        assert_eq!(made.state, State::Running { command: None });
        let found = own.backend.inspect(&spec.name).await.expect("the workload");
        let mut asked = spec.clone();
        asked.image = Some(space::image());
        asked.labels.insert(LABEL_OWNER.into(), own.backend.owner().to_owned());
        assert_eq!(found.spec, asked);
        assert!(found.notes.is_empty(), "{:?}", found.notes);
        for (key, value) in [("note", "any = text"), ("app", "web")] {
            let listed = own.backend.list(Filter::all().with_label(key, value)).await.expect("a list");
            assert_eq!(listed.len(), 1, "{key}");
        }
        assert_eq!(own.names().await, ["Web_1"]);
    });
}

#[test]
fn a_kept_alive_one_tells_how_its_command_ended() {
    with("kept", |own| async move {
        let spec = own.script("kept", "echo one; sleep 1; echo two; exit 7").with_keep_alive(true);
        let made = own.start(spec).await;
        assert!(made.state.is_running());
        let status = own.backend.wait_exit(&name("kept")).await.expect("a status");
        assert_eq!(status, ExitStatus::Exited(7));
        let found = own.backend.inspect(&name("kept")).await.expect("the workload");
        assert_eq!(found.state, State::Running { command: Some(ExitStatus::Exited(7)) });
        let begun = Instant::now();
        assert_eq!(log_of(&own, "kept").await, "one\ntwo\n");
        assert!(begun.elapsed() < Duration::from_secs(10), "following did not end with the command");
        let refused = own.backend.remove(RemoveRequest::new(name("kept"))).await;
        assert_eq!(refused.map_err(|e| e.kind()), Err(ErrorKind::WrongState));
        let removed = own.backend.remove(RemoveRequest::new(name("kept")).with_force(true)).await;
        assert_eq!(removed.expect("removed"), RemoveOutcome::Removed);
    });
}

#[test]
fn a_program_that_a_kept_alive_one_lacks_is_told() {
    with("lacks", |own| async move {
        for (program, code) in [("no-such-program", 127), ("/etc/passwd", 126), ("/no/such", 127)] {
            let spec = own.spec("lacks").with_command([program]).with_keep_alive(true);
            let e = own.create(spec).await.map(drop).expect_err(program);
            assert_eq!((e.kind(), e.exit_code()), (ErrorKind::CommandFailed, Some(code)), "{program}: {e}");
        }
        assert!(own.names().await.is_empty());
    });
}

#[test]
fn a_pod_of_several_containers_is_made_as_it_stands() {
    with("several", |own| async move {
        let image = space::image().to_string();
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "several"},
            "spec": {
                "restartPolicy": "Never",
                "volumes": [{"name": "v", "emptyDir": {}}],
                "initContainers": [{"name": "init", "image": image, "command": ["sh", "-c", "echo made >/v/file"],
                                    "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
                "containers": [
                    {"name": "one", "image": image, "command": ["sh", "-c", "cat /v/file; sleep 3600"],
                     "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
                    {"name": "two", "image": image, "command": ["sh", "-c", "echo second; exit 5"]}]}
        }))
        .expect("a pod");
        let made = own.backend.create_pod(pod).await.expect("the pod");
        assert_eq!(made.state, State::Running { command: None });
        let second = space::registry();
        let uri = format!("k8s:{}/several/two?kubeconfig={}", own.namespace, space::kubeconfig().display());
        let address = second.resolve(&uri, &pod_core::BackendUri::new("k8s").expect("a scheme")).expect("an address");
        let two = second.connect(&address.backend).await.expect("the cluster");
        let workload = address.workload.expect("a pod");
        assert_eq!(two.wait_exit(&workload).await.expect("a status"), ExitStatus::Exited(5));
        let mut log = two.logs(LogsRequest::new(workload.clone())).await.expect("a log");
        assert_eq!(log.next().await.expect("a record").expect("a record").data, "second\n");
        let found = two.inspect(&workload).await.expect("the workload");
        assert_eq!(found.state, State::Exited(ExitStatus::Exited(5)));
        assert_eq!(own.backend.inspect(&workload).await.expect("the first").state, State::Running { command: None });
    });
}

#[test]
fn nodes_are_chosen() {
    with("nodes", |own| async move {
        for node in ["node-1", "node-2"] {
            let backend = K8sBackend::open(space::config(&own.namespace).with_node(node)).await.expect("the cluster");
            let spec = own.script(node, "hostname; echo here");
            backend.create(CreateRequest::new(spec).with_start()).await.unwrap_or_else(|e| panic!("{node}: {e}"));
        }
        let config = space::config(&own.namespace).with_node("node-9");
        let nowhere = K8sBackend::open(config).await.expect("the cluster");
        let begun = Instant::now();
        let e =
            nowhere.create(CreateRequest::new(own.spec("nowhere")).with_start()).await.map(drop).expect_err("nowhere");
        assert!(e.to_string().contains("Unschedulable"), "{e}");
        assert!(begun.elapsed() < Duration::from_secs(6), "it took {:?}", begun.elapsed());
        assert_eq!(own.names().await, ["node-1", "node-2"]);
    });
}

#[test]
fn many_at_once_share_a_watch() {
    with("many", |own| async move {
        let begun = Instant::now();
        let made = futures_util::future::join_all((0..20).map(|n| own.create(own.spec(&format!("many{n}"))))).await;
        for workload in made {
            assert!(workload.expect("a workload").state.is_running());
        }
        println!("20 pods at once: {:?}", begun.elapsed());
        let removed =
            (0..20).map(|n| own.backend.remove(RemoveRequest::new(name(&format!("many{n}"))).with_force(true)));
        for outcome in futures_util::future::join_all(removed).await {
            assert_eq!(outcome.expect("removed"), RemoveOutcome::Removed);
        }
    });
}

#[test]
fn a_cancelled_creation_leaves_nothing() {
    with("cancel", |own| async move {
        for after in [1, 20, 200, 700, 1200] {
            let creation = own.create(own.spec("cancelled"));
            let ended = tokio::time::timeout(Duration::from_millis(after), creation).await;
            if ended.is_ok() {
                let request = RemoveRequest::new(name("cancelled")).with_force(true);
                own.backend.remove(request).await.expect("removed");
            }
            eventually("nothing is left", || async { own.names().await.is_empty() }).await;
        }
    });
}

/// A pod as a killed program would have left it.
fn unfinished(owner: &str, name: &str, lease: &str) -> Pod {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": name,
            "labels": {"app.kubernetes.io/managed-by": "pod", "pod.owner": owner, "pod.operation": "create-1"},
            "annotations": {"pod.lease": lease}},
        "spec": {"containers": [{"name": "main", "image": space::image().to_string(), "command": ["sleep", "3600"]}]}
    }))
    .expect("a pod")
}

#[test]
fn gc_takes_only_what_this_owner_left() {
    with("gc", |own| async move {
        let second =
            K8sBackend::open(space::config(&own.namespace).with_owner("somebody-else.7")).await.expect("the cluster");
        own.start(own.spec("mine")).await;
        let spec = own.spec("theirs");
        second.create(CreateRequest::new(spec).with_start()).await.expect("a workload");
        let kubeconfig = kube::config::Kubeconfig::read_from(space::kubeconfig()).expect("the kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("a config");
        let client = kube::Client::try_from(config).expect("a client");
        let pods: kube::Api<Pod> = kube::Api::namespaced(client, &own.namespace);
        let (over, later) = ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
        for (name, owner, lease) in [
            ("left", own.backend.owner(), over),
            ("under-way", own.backend.owner(), later),
            ("left-by-another", "somebody-else.7", over),
        ] {
            pods.create(&Default::default(), &unfinished(owner, name, lease)).await.expect("a pod");
        }
        let candidates = own.backend.gc_candidates().await.expect("a list");
        assert_eq!(candidates.iter().map(|c| c.pod.as_str()).collect::<Vec<_>>(), ["left"]);
        assert_eq!(own.backend.gc(&candidates).await.expect("collected"), 1);
        assert_eq!(own.backend.gc(&candidates).await.expect("nothing"), 0);
        assert_eq!(own.names().await, ["left-by-another", "mine", "theirs", "under-way"]);
        let theirs = second.gc_candidates().await.expect("a list");
        assert_eq!(theirs.iter().map(|c| c.pod.as_str()).collect::<Vec<_>>(), ["left-by-another"]);
    });
}

/// A program that is killed while it probes leaves pods and a policy, which are found.
#[test]
fn gc_takes_what_a_probe_left() {
    with("probe-gc", |own| async move {
        let client = space::client().await;
        let policies: kube::Api<NetworkPolicy> = kube::Api::namespaced(client.clone(), &own.namespace);
        let pods: kube::Api<Pod> = kube::Api::namespaced(client, &own.namespace);
        let all = kube::api::ListParams::default();
        let probe = own.backend.policies();
        let probing = tokio::spawn(async move { probe.probe(None).await });
        eventually("the probe's policy is there", async || {
            !policies.list(&all).await.expect("a list").items.is_empty()
        })
        .await;
        probing.abort();
        assert!(probing.await.expect_err("it was cut off").is_cancelled());
        assert_eq!(own.backend.gc_candidates().await.expect("a list"), [], "its time is not over");
        let over = serde_json::json!({"metadata": {"labels": {"pod.probe-until": "1"}}});
        for pod in pods.list(&all).await.expect("a list").items {
            let name = pod.metadata.name.expect("a name");
            pods.patch(&name, &Default::default(), &kube::api::Patch::Merge(&over)).await.expect("patched");
        }
        let second =
            K8sBackend::open(space::config(&own.namespace).with_owner("somebody-else.7")).await.expect("the cluster");
        assert_eq!(second.gc_candidates().await.expect("a list"), []);
        let left = own.backend.gc_candidates().await.expect("a list");
        assert_eq!(left.iter().map(|l| l.operation.as_str()).collect::<Vec<_>>(), ["probe"; 2]);
        assert_eq!(own.backend.gc(&left).await.expect("collected"), 2);
        assert_eq!(own.names().await, [""; 0]);
        eventually("the policy went with its pod", async || {
            policies.list(&all).await.expect("a list").items.is_empty()
        })
        .await;
    });
}

#[test]
fn namespaces_are_made_listed_and_removed() {
    with("spaces", |own| async move {
        let spaces = own.backend.namespaces();
        let name = space::unique("space");
        let labels = Labels::from([("team".to_owned(), "a".to_owned())]);
        let made = spaces.create(&name, labels.clone()).await.expect("a namespace");
        assert!(matches!(&made, CreateNamespaceOutcome::Created(n) if n.labels["team"] == "a"), "{made:?}");
        let again = spaces.create(&name, labels).await.expect("the namespace");
        assert!(matches!(again, CreateNamespaceOutcome::AlreadyExists(_)));
        let listed = spaces.list().await.expect("a list");
        assert!(listed.is_sorted_by_key(|n| n.name.clone()) && listed.iter().any(|n| n.name == name));
        let other = K8sBackend::open(space::config(&own.namespace).with_owner("other.1")).await.expect("the cluster");
        let refused = other.namespaces().remove(&name, false).await.map_err(|e| e.kind());
        assert_eq!(refused, Err(ErrorKind::WrongState));
        assert_eq!(spaces.remove(&name, false).await.expect("removed"), RemoveOutcome::Removed);
        assert_eq!(spaces.remove(&name, false).await.expect("absent"), RemoveOutcome::AlreadyAbsent);
        let bad: Result<_, Error> = spaces.create("Not_one", Labels::new()).await;
        assert_eq!(bad.map(drop).map_err(|e| e.kind()), Err(ErrorKind::InvalidInput));
    });
}

#[test]
fn limits_are_read_back_and_reserve_nothing() {
    with("limits", |own| async move {
        let limits = Limits::default().with_cpus(64.0).with_memory(64 << 30);
        let spec = own.spec("large").with_limits(limits);
        let made = own.start(spec).await;
        assert_eq!(made.spec.limits, limits);
    });
}

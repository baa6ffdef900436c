//! What goes wrong on a real cluster is told clearly, at once, and leaves nothing.

mod space;

use base64::Engine;
use k8s_openapi::api::core::v1::Pod;
use pod_core::{Backend, Error, ErrorKind, WorkloadSpec};
use pod_k8s::{K8sBackend, K8sConfig};
use space::{Own, with};
use std::time::{Duration, Instant};

/// Makes what can't start: the error, and how long it took.
async fn fails(own: &Own, spec: WorkloadSpec) -> (Error, Duration) {
    let begun = Instant::now();
    let name = spec.name.clone();
    let error = own.create(spec).await.map(drop).expect_err("it can't start");
    let took = begun.elapsed();
    let left = own.backend.list(pod_core::Filter::all()).await.expect("a list");
    assert!(!left.iter().any(|w| *w.name() == name), "{name} is left");
    (error, took)
}

#[test]
fn an_image_that_is_not_there() {
    with("image", |own| async move {
        let spec = own.spec("image").with_image("pod.test/no-such-image:1".parse().expect("an image"));
        let (error, took) = fails(&own, spec).await;
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unavailable), "{error}");
        assert!(error.to_string().contains("no-such-image"), "{error}");
        assert!(took < Duration::from_secs(30), "it took {took:?}");
        let spec = own.spec("name").with_image("Not:A:Name".parse().expect("an image"));
        let (error, _) = fails(&own, spec).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let mut never = space::config(&own.namespace);
        never.pull = Some(pod_k8s::Pull::Never);
        let never = K8sBackend::open(never).await.expect("the cluster");
        let own = Own { backend: never, namespace: own.namespace.clone() };
        let spec = own.spec("never").with_image("pod.test/no-such-image:1".parse().expect("an image"));
        let (error, took) = fails(&own, spec).await;
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(took < Duration::from_secs(10), "it took {took:?}");
    });
}

#[test]
fn a_program_that_is_not_there() {
    with("program", |own| async move {
        for (program, code) in [("no-such-program", 127), ("/no/such", 127), ("/etc/passwd", 126), ("/etc", 126)] {
            let (error, took) = fails(&own, own.spec("program").with_command([program])).await;
            assert_eq!((error.kind(), error.exit_code()), (ErrorKind::CommandFailed, Some(code)), "{program}: {error}");
            assert!(took < Duration::from_secs(15), "{program} took {took:?}");
        }
    });
}

#[test]
fn a_user_that_is_no_number() {
    with("user", |own| async move {
        let (error, took) = fails(&own, own.spec("user").with_user("nobody")).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.hint().is_some_and(|h| h.contains("1000")) && took < Duration::from_secs(1), "{error}");
    });
}

#[test]
fn a_network_definition_that_is_not_there() {
    with("nad", |own| async move {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "wired", "annotations": {"k8s.v1.cni.cncf.io/networks": "no-such-network"}},
            "spec": {"containers": [{"name": "main", "image": space::image().to_string(), "command": ["sleep", "60"]}]}
        }))
        .expect("a pod");
        let begun = Instant::now();
        let error = own.backend.create_pod(pod).await.map(drop).expect_err("it can't start");
        println!("a missing definition is told after {:?}: {error}", begun.elapsed());
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("no-such-network"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
        assert!(own.names().await.is_empty());
    });
}

#[test]
fn more_than_the_nodes_have() {
    with("room", |own| async move {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "large"},
            "spec": {"containers": [{"name": "main", "image": space::image().to_string(),
                                     "resources": {"requests": {"cpu": "4000"}}}]}
        }))
        .expect("a pod");
        let error = own.backend.create_pod(pod).await.map(drop).expect_err("it can't start");
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
        assert!(error.to_string().contains("Insufficient cpu"), "{error}");
    });
}

#[test]
fn an_init_container_that_fails_and_a_volume_that_is_not_there() {
    with("init", |own| async move {
        let image = space::image().to_string();
        let pod = |spec: serde_json::Value| -> Pod {
            serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
        };
        let failing = pod(serde_json::json!({
            "restartPolicy": "Never",
            "initContainers": [{"name": "setup", "image": image, "command": ["sh", "-c", "exit 3"]}],
            "containers": [{"name": "main", "image": image, "command": ["sleep", "60"]}]}));
        let error = own.backend.create_pod(failing).await.map(drop).expect_err("it can't start");
        assert!(error.to_string().contains("setup ended with 3"), "{error}");
        let missing = pod(serde_json::json!({
            "volumes": [{"name": "v", "configMap": {"name": "no-such-map"}}],
            "containers": [{"name": "main", "image": image, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}));
        let error = own.backend.create_pod(missing).await.map(drop).expect_err("it can't start");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("no-such-map"), "{error}");
        assert!(own.names().await.is_empty());
    });
}

#[test]
fn a_namespace_that_is_not_there() {
    with("space", |own| async move {
        let nowhere = K8sBackend::open(space::config("no-such-namespace")).await.expect("the cluster");
        let request = pod_core::CreateRequest::new(own.spec("web")).with_start();
        let error = nowhere.create(request).await.map(drop).expect_err("no namespace");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.hint().is_some_and(|h| h.contains("namespace")), "{error}");
    });
}

/// A copy of the kubeconfig with something changed.
fn changed(dir: &std::path::Path, change: impl Fn(&mut serde_json::Value)) -> K8sConfig {
    let kubeconfig = kube::config::Kubeconfig::read_from(space::kubeconfig()).expect("the kubeconfig");
    let mut value = serde_json::to_value(&kubeconfig).expect("a value");
    change(&mut value);
    let path = dir.join("kubeconfig");
    std::fs::write(&path, value.to_string()).expect("a file");
    K8sConfig::default().with_kubeconfig(path).with_namespace("default")
}

async fn refused(config: K8sConfig) -> Error {
    let begun = Instant::now();
    let error = K8sBackend::open(config).await.map(drop).expect_err("it can't be reached");
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    error
}

#[tokio::test]
async fn no_cluster_wrong_context_and_expired_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let nobody = changed(dir.path(), |k| {
        k["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into();
    });
    let error = refused(nobody).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    let error = refused(changed(dir.path(), |_| {}).with_context("nowhere")).await;
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{error}");
    assert!(error.hint().is_some_and(|h| h.starts_with("there are: ")), "{error}");
    let expired = changed(dir.path(), |k| {
        k["users"][0]["user"] = serde_json::json!({"token": "no-longer-good"});
    });
    let error = refused(expired).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(!format!("{error} {error:?}").contains("no-longer-good"), "{error:?}");
    let untrusted = changed(dir.path(), |k| {
        let cluster = &mut k["clusters"][0]["cluster"];
        cluster.as_object_mut().expect("a cluster").retain(|key, _| key == "server");
    });
    let error = refused(untrusted).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// The administrator's credentials by a plugin that counts its runs, and gives no end: those it gave
/// first are refused from then on.
#[tokio::test]
async fn a_plugin_is_asked_again_when_what_it_gave_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let count = dir.path().join("count");
    let config = changed(dir.path(), |k| {
        let user = &mut k["users"][0]["user"];
        let text = |key: &str| user[key].as_str().map(str::to_owned);
        let pem = |key: &str| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text(key).expect("a certificate and a key"));
            String::from_utf8(bytes.expect("base64")).expect("PEM")
        };
        let status = match text("token") {
            Some(token) => serde_json::json!({"token": token}),
            None => serde_json::json!({
                "clientCertificateData": pem("client-certificate-data"),
                "clientKeyData": pem("client-key-data"),
            }),
        };
        for (name, status) in [("first", serde_json::json!({"token": "old"})), ("next", status)] {
            let answer = serde_json::json!({"kind": "ExecCredential", "status": status});
            std::fs::write(dir.path().join(name), answer.to_string()).expect("a file");
        }
        let script = "echo run >>count; if [ $(wc -l <count) = 1 ]; then cat first; else cat next; fi";
        let script = format!("cd {}; {script}", dir.path().display());
        *user = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh",
            "args": ["-c", script], "interactiveMode": "Never"}});
    });
    let backend = K8sBackend::open(config).await.expect("the second credentials are good");
    backend.ping().await.expect("they go on being so");
    assert_eq!(std::fs::read_to_string(count).expect("the count"), "run\nrun\n");
}

#[test]
fn a_context_named_as_eks_and_openshift_name_them_works() {
    with("context", |own| async move {
        let dir = tempfile::tempdir().expect("a folder");
        for context in ["arn:aws:eks:eu-west-1:1234:cluster/x", "default/api-host:6443/user", "admin@a:b"] {
            changed(dir.path(), |k| {
                k["contexts"][0]["name"] = context.into();
                k["current-context"] = "".into();
            });
            let registry = space::registry();
            let encoded = context.replace('%', "%25").replace('/', "%2F").replace(':', "%3A").replace('@', "%40");
            let path = dir.path().join("kubeconfig");
            for address in [
                format!("k8s://{encoded}/{}/?kubeconfig={}", own.namespace, path.display()),
                format!("k8s:{}/?context={context}&kubeconfig={}", own.namespace, path.display()),
            ] {
                let backend = registry.connect(&address.parse().expect(&address)).await;
                backend.unwrap_or_else(|e| panic!("{address}: {e}")).ping().await.expect("an answer");
            }
        }
    });
}

#[test]
fn a_pod_that_goes_while_it_is_used() {
    with("goes", |own| async move {
        own.start(own.spec("goes")).await;
        let name = pod_core::WorkloadName::new("goes").expect("a name");
        let request = pod_core::RemoveRequest::new(name.clone()).with_force(true);
        own.backend.remove(request).await.expect("removed");
        let error = own.backend.inspect(&name).await.map(drop).expect_err("it is gone");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

//! What goes wrong on a real cluster is told clearly, at once, and leaves nothing.

mod space;

use base64::Engine;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod, ServiceAccount};
use pod_core::{Backend, BackendExt, Error, ErrorKind, WorkloadSpec};
use pod_k8s::nad::NetworkAttachmentDefinition;
use pod_k8s::rbac::Purpose;
use pod_k8s::{K8sBackend, K8sConfig};
use space::{Own, User, with};
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
        let events: kube::Api<Event> = kube::Api::namespaced(space::client().await, &own.namespace);
        let warned = tokio::spawn(async move {
            let config = kube::runtime::watcher::Config::default().fields("type=Warning");
            let mut events = std::pin::pin!(kube::runtime::watcher(events, config));
            loop {
                if let Some(Ok(kube::runtime::watcher::Event::Apply(event))) = events.next().await
                    && event.reason.as_deref() == Some("FailedCreatePodSandBox")
                {
                    return Instant::now();
                }
            }
        });
        let error = own.backend.create_pod(pod).await.map(drop).expect_err("it can't start");
        let told = Instant::now();
        let warned = tokio::time::timeout(Duration::from_secs(5), warned).await.expect("an event").expect("no panic");
        println!("a missing definition is told {:?} after the event: {error}", told.saturating_duration_since(warned));
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("no-such-network"), "{error}");
        assert!(told.saturating_duration_since(warned) < Duration::from_secs(2), "it was told late");
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

/// The same, with an end that is always near: each request is made with new credentials.
#[tokio::test]
async fn a_plugin_is_asked_again_before_what_it_gave_is_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let token = static_token();
    let config = changed(dir.path(), |k| {
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(30);
        let status = serde_json::json!({"token": token, "expirationTimestamp": soon.to_string()});
        let answer = serde_json::json!({"kind": "ExecCredential", "status": status});
        std::fs::write(dir.path().join("answer"), answer.to_string()).expect("a file");
        let script = format!("cd {}; echo run >>count; cat answer", dir.path().display());
        k["users"][0]["user"] = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1",
            "command": "/bin/sh", "args": ["-c", script], "interactiveMode": "Never"}});
    });
    let backend = K8sBackend::open(config).await.expect("the credentials are good");
    let runs = || std::fs::read_to_string(dir.path().join("count")).expect("the count").lines().count();
    let before = runs();
    backend.ping().await.expect("an answer");
    assert_eq!(runs(), before + 1);
}

/// The token of the lab's user who has one, which no role lets do anything.
fn static_token() -> String {
    let path = space::kubeconfig().with_file_name("token.conf");
    let kubeconfig = kube::config::Kubeconfig::read_from(path).expect("the lab's token.conf");
    let value = serde_json::to_value(&kubeconfig).expect("a value");
    value["users"][0]["user"]["token"].as_str().expect("a token").to_owned()
}

#[test]
fn a_token_file_is_read_again_when_its_token_is_refused() {
    with("token", |own| async move {
        let user = User::new(&own.namespace, "reader", &[Purpose::Inspect]).await;
        let good = user.token();
        user.write_token("not-yet-good");
        let error = refused(user.config()).await;
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        user.write_token(&good);
        let backend = user.open().await;
        backend.list(pod_core::Filter::all()).await.expect("the right to list");
        // The account goes, and with it the token's use; the file gets another's. The server may believe
        // the old one for some seconds.
        let second = User::new(&own.namespace, "second", &[Purpose::Inspect]).await;
        let accounts: kube::Api<ServiceAccount> = kube::Api::namespaced(space::client().await, &own.namespace);
        accounts.delete("reader", &Default::default()).await.expect("it goes");
        space::eventually("the token is refused", || async {
            backend.list(pod_core::Filter::all()).await.is_err_and(|e| e.kind() == ErrorKind::Unauthenticated)
        })
        .await;
        user.write_token(&second.token());
        backend.list(pod_core::Filter::all()).await.expect("the file is read again");
    });
}

/// A certificate that was good until yesterday, by the lab's own authority.
#[tokio::test]
async fn an_expired_certificate_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let pki = space::kubeconfig().with_file_name("pki");
    let script = "set -e; cd \"$1\"; openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
                  -subj /CN=late -config \"$2/openssl.cnf\" -keyout key -out csr; openssl x509 -req -in csr -CA \
                  \"$2/ca.crt\" -CAkey \"$2/ca.key\" -CAserial serial -CAcreateserial -extfile \"$2/openssl.cnf\" -extensions user -days -1 -out crt";
    let mut openssl = std::process::Command::new("sh");
    let made = openssl.args(["-c", script, "sh"]).arg(dir.path()).arg(&pki).output().expect("sh runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let config = changed(dir.path(), |k| {
        let file = |name: &str| dir.path().join(name).display().to_string();
        k["users"][0]["user"] = serde_json::json!({"client-certificate": file("crt"), "client-key": file("key")});
    });
    let error = refused(config).await;
    println!("{error}");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.hint().is_some_and(|h| h.contains("log in again")), "{error}");
}

/// As within a pod: a service account in files, the server in the environment, no kubeconfig. The files'
/// place is fixed, so this test runs once more in a mount namespace where they are there.
#[test]
fn a_pods_own_service_account_is_found() {
    const WITHIN: &str = "POD_TEST_WITHIN";
    if std::env::var_os(WITHIN).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let backend = K8sBackend::open(K8sConfig::default()).await.expect("the cluster");
            assert_eq!(backend.context(), "in-cluster");
            backend.list(pod_core::Filter::all()).await.expect("the right to list");
            println!("namespace {}", backend.namespace());
            let named = refused(K8sConfig::default().with_context("lab")).await;
            assert_eq!(named.kind(), ErrorKind::ConfigInvalid, "{named}");
        });
        return;
    }
    with("within", |own| async move {
        let user = User::new(&own.namespace, "account", &[Purpose::Inspect]).await;
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("token"), user.token()).expect("a file");
        std::fs::write(dir.path().join("namespace"), &own.namespace).expect("a file");
        let authority = space::kubeconfig().with_file_name("pki").join("ca.crt");
        std::fs::copy(authority, dir.path().join("ca.crt")).expect("a file");
        let script = "set -e; at=/run/secrets/kubernetes.io/serviceaccount; mount -t tmpfs none /run; \
                      mkdir -p \"$at\"; cp \"$1\"/* \"$at\"; shift; exec \"$@\"";
        let mut within = tokio::process::Command::new("unshare");
        within.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(dir.path());
        within.arg(std::env::current_exe().expect("this program"));
        within.args(["--exact", "a_pods_own_service_account_is_found", "--nocapture"]);
        within.env(WITHIN, "1").env("HOME", "/nonexistent").env_remove("KUBECONFIG");
        let (host, port) = space::server();
        let said = within.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port).output().await;
        let said = said.expect("unshare runs");
        let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success() && text.contains(&format!("namespace {}", own.namespace)), "{text}");
    });
}

/// Each of these says what, where, and what to do, and nothing of it comes to the cluster.
#[test]
fn bad_input_is_refused_before_anything_is_made() {
    with("input", |own| async move {
        let vlan = pod_core::VlanId::try_from(4095).map(drop).expect_err("it is reserved");
        let tagged = r#"{"cniVersion": "1.0.0", "name": "n", "type": "bridge", "bridge": "br0", "vlan": 4095}"#;
        let definition = NetworkAttachmentDefinition::new("tagged", tagged);
        let applied = own.backend.definitions().apply(&definition).await.map(drop).expect_err("no such id");
        let name = pod_core::NetworkName::new("lan").expect("a name");
        let lan = pod_core::NetworkSpec::new(name.clone()).with_subnet("10.88.0.0/24".parse().expect("a subnet"));
        own.backend.require_networking().expect("networks").create(lan).await.expect("a network");
        let asks = pod_core::AttachmentSpec::new(name).with_ip("10.88.0.0".parse().expect("an address"));
        let address = own.create(own.spec("web").with_attachment(asks)).await.map(drop).expect_err("the network's own");
        for (error, words) in [(&vlan, "4094"), (&applied, "4095"), (&address, "10.88.0.0")] {
            println!("{error}");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        assert!(vlan.hint().is_some() && applied.to_string().contains("tagged"), "{applied}");
        assert!(own.names().await.is_empty());
        let listed = own.backend.definitions().list().await.expect("a list");
        assert_eq!(listed.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["lan"]);
    });
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

//! The lab's cluster, and a namespace of each test's own.
#![allow(dead_code, reason = "each test program uses its part")]

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use pod_core::{Backend, Connection, CreateRequest, Image, Labels, Registry, Workload, WorkloadName, WorkloadSpec};
use pod_k8s::rbac::{self, Purpose, Who};
use pod_k8s::{K8sBackend, K8sConfig};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The administrator's kubeconfig.
pub(crate) fn kubeconfig() -> PathBuf {
    let path = std::env::var_os("POD_LAB_KUBECONFIG");
    PathBuf::from(path.expect("POD_LAB_KUBECONFIG must name the lab's kubeconfig: run `cargo xtask test`"))
}

/// The image that the lab's nodes have.
pub(crate) fn image() -> Image {
    let name = std::env::var("POD_LAB_IMAGE").unwrap_or_else(|_| "pod.test/busybox:1".into());
    name.parse().expect("an image")
}

pub(crate) fn config(namespace: &str) -> K8sConfig {
    K8sConfig::default()
        .with_kubeconfig(kubeconfig())
        .with_namespace(namespace)
        .with_image(image())
        .with_wait(Duration::from_secs(90))
}

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8])
}

/// A backend in a namespace of the test's own.
pub(crate) struct Own {
    pub(crate) backend: K8sBackend,
    pub(crate) namespace: String,
}

/// Runs a test in a namespace of its own, which is removed afterwards, whatever comes.
pub(crate) fn with<F, Fut>(what: &str, test: F)
where
    F: FnOnce(Arc<Own>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    within(what, test, async |own| {
        own.backend.namespaces().remove(&own.namespace, false).await.expect("the namespace is removed");
    });
}

/// The same, and the namespace goes by itself: a cluster that comes back from an outage takes its time.
pub(crate) fn with_no_wait<F, Fut>(what: &str, test: F)
where
    F: FnOnce(Arc<Own>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    within(what, test, async |own| {
        let spaces: kube::Api<Namespace> = kube::Api::all(client().await);
        spaces.delete(&own.namespace, &Default::default()).await.expect("the namespace begins to go");
    });
}

fn within<F, Fut>(what: &str, test: F, end: impl AsyncFnOnce(&Own))
where
    F: FnOnce(Arc<Own>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let namespace = unique(what);
        let backend = K8sBackend::open(config(&namespace)).await.expect("the lab's cluster");
        backend.namespaces().create(&namespace, Labels::new()).await.expect("a namespace");
        let own = Arc::new(Own { backend: backend.clone(), namespace: namespace.clone() });
        let ended = tokio::spawn(test(own.clone())).await;
        // By force, or the namespace waits for each pod's grace.
        let left = backend.list(pod_core::Filter::all()).await.unwrap_or_default();
        let removals =
            left.into_iter().map(|pod| backend.remove(pod_core::RemoveRequest::new(pod.spec.name).with_force(true)));
        for removed in futures_util::future::join_all(removals).await {
            removed.expect("a pod is removed");
        }
        end(&own).await;
        if let Err(e) = ended {
            std::panic::resume_unwind(e.into_panic());
        }
    });
}

impl Own {
    pub(crate) fn spec(&self, name: &str) -> WorkloadSpec {
        WorkloadSpec::new(WorkloadName::new(name).expect("a name")).with_command(["sleep", "3600"])
    }

    pub(crate) fn script(&self, name: &str, script: &str) -> WorkloadSpec {
        self.spec(name).with_command(["sh", "-c", script])
    }

    pub(crate) async fn create(&self, spec: WorkloadSpec) -> pod_core::Result<Workload> {
        self.backend.create(CreateRequest::new(spec).with_start()).await
    }

    pub(crate) async fn start(&self, spec: WorkloadSpec) -> Workload {
        let name = spec.name.clone();
        self.create(spec).await.unwrap_or_else(|e| panic!("{name} does not start: {e}"))
    }

    pub(crate) async fn connect(&self, name: &str) -> Arc<dyn Connection> {
        self.backend.connect(&WorkloadName::new(name).expect("a name")).await.expect("a connection")
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        let all = self.backend.list(pod_core::Filter::all()).await.expect("a list");
        all.iter().map(|w| w.name().to_string()).collect()
    }
}

/// Tries until something holds.
pub(crate) async fn eventually<F, Fut>(what: &str, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "it still does not hold that {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The registry with this backend alone.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    pod_k8s::register(&mut registry);
    registry
}

/// The API server's host and port.
pub(crate) fn server() -> (String, String) {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig()).expect("the kubeconfig");
    let server = kubeconfig.clusters[0].cluster.as_ref().and_then(|c| c.server.clone()).expect("a server");
    let (host, port) = server.trim_start_matches("https://").split_once(':').expect("a host and a port");
    (host.to_owned(), port.to_owned())
}

/// The cluster as its administrator sees it, past POD.
pub(crate) async fn client() -> kube::Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig()).expect("the kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("a config");
    kube::Client::try_from(config).expect("a client")
}

/// A service account that may do what some purposes need in one namespace, and nothing else. It goes with
/// the namespace.
pub(crate) struct User {
    dir: tempfile::TempDir,
    namespace: String,
}

impl User {
    pub(crate) async fn new(namespace: &str, name: &str, purposes: &[Purpose]) -> Self {
        let client = client().await;
        let accounts: kube::Api<ServiceAccount> = kube::Api::namespaced(client.clone(), namespace);
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(name.to_owned());
        accounts.create(&PostParams::default(), &account).await.expect("a service account");
        if !purposes.is_empty() {
            give(&client, namespace, name, purposes).await;
        }
        let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let token = accounts.create_token_request(name, &PostParams::default(), &request).await.expect("a token");
        let user = Self { dir: tempfile::tempdir().expect("a folder"), namespace: namespace.to_owned() };
        user.write_token(&token.status.expect("a token").token);
        let mut kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig()).expect("the kubeconfig");
        for user_of in &mut kubeconfig.auth_infos {
            let auth = serde_json::json!({"tokenFile": user.token_file()});
            user_of.auth_info = Some(serde_json::from_value(auth).expect("credentials"));
        }
        let text = serde_json::to_string(&kubeconfig).expect("a kubeconfig");
        std::fs::write(user.kubeconfig(), text).expect("a file");
        user
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.token_file()).expect("the token")
    }

    pub(crate) fn write_token(&self, token: &str) {
        std::fs::write(self.token_file(), token).expect("a file");
    }

    pub(crate) fn config(&self) -> K8sConfig {
        config(&self.namespace).with_kubeconfig(self.kubeconfig())
    }

    pub(crate) async fn open(&self) -> K8sBackend {
        K8sBackend::open(self.config()).await.expect("the cluster knows this user")
    }
}

/// Applies the roles that POD prints.
async fn give(client: &kube::Client, namespace: &str, name: &str, purposes: &[Purpose]) {
    let roles =
        rbac::yaml(&format!("{namespace}-{name}"), namespace, purposes, Some(&Who::ServiceAccount(name.to_owned())));
    let spaces: kube::Api<Namespace> = kube::Api::all(client.clone());
    let uid = spaces.get(namespace).await.expect("the namespace").metadata.uid.expect("a uid");
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Namespace".into(),
        name: namespace.to_owned(),
        uid,
        ..OwnerReference::default()
    };
    for document in roles.expect("roles").split("---\n") {
        let mut object: DynamicObject = serde_saphyr::from_str(document).expect(document);
        let kind = object.types.clone().expect("a kind").kind;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", &kind));
        let api: kube::Api<DynamicObject> = if object.metadata.namespace.is_some() {
            kube::Api::namespaced_with(client.clone(), namespace, &resource)
        } else {
            object.metadata.owner_references = Some(vec![owner.clone()]);
            kube::Api::all_with(client.clone(), &resource)
        };
        api.create(&PostParams::default(), &object).await.unwrap_or_else(|e| panic!("{document}: {e}"));
    }
}

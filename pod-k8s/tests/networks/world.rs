//! A namespace of one test, and what is made in it.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use pod_core::{
    AttachmentSpec, Backend, BackendExt, ConnectionExt, CreateRequest, ExecRequest, Image, Labels, NetworkName,
    NetworkSpec, Networking, RemoveRequest, Result, Workload, WorkloadName, WorkloadSpec,
};
use pod_k8s::{K8sBackend, K8sConfig};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) type Outcome = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

pub(crate) fn kubeconfig_of() -> PathBuf {
    std::env::var_os("POD_LAB_KUBECONFIG").expect("POD_LAB_KUBECONFIG names the test cluster's kubeconfig").into()
}

pub(crate) fn image() -> Image {
    let name = std::env::var("POD_LAB_IMAGE").unwrap_or_else(|_| "pod.test/busybox:1".into());
    Image::Reference(name)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a network")
}

pub(crate) fn workload(name: &str) -> WorkloadName {
    WorkloadName::new(name).expect("a name")
}

pub(crate) fn network(name: &str, subnet: &str) -> NetworkSpec {
    NetworkSpec::new(NetworkName::new(name).expect("a name")).with_subnet(net(subnet))
}

/// A backend in a namespace of its own.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) backend: K8sBackend,
    pub(crate) namespace: String,
}

fn config(namespace: &str) -> K8sConfig {
    K8sConfig::default().with_kubeconfig(kubeconfig_of()).with_namespace(namespace).with_image(image())
}

impl World {
    /// Runs a test in a new namespace, which goes with all that is in it.
    pub(crate) fn run<F, Fut>(name: &str, test: F)
    where
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let id = uuid::Uuid::new_v4().simple().to_string();
            let namespace = format!("net-{name}-{}", &id[..6]);
            let backend = K8sBackend::open(config(&namespace)).await.expect("the test cluster");
            backend.namespaces().create(&namespace, Labels::new()).await.expect("a namespace");
            let world = Self { backend, namespace: namespace.clone() };
            let backend = world.backend.clone();
            let done = tokio::spawn(test(world)).await;
            let gone = backend.namespaces().remove(&namespace, false).await;
            match done {
                Ok(done) => done.expect("the test"),
                Err(e) => std::panic::resume_unwind(e.into_panic()),
            }
            gone.expect("the namespace goes");
        });
    }

    pub(crate) fn networking(&self) -> Arc<dyn Networking> {
        self.backend.require_networking().expect("the cluster has definitions")
    }

    /// The same namespace, with pods on one node.
    pub(crate) async fn on(&self, node: &str) -> Result<K8sBackend> {
        let mut config = config(&self.namespace);
        config.node = Some(node.to_owned());
        K8sBackend::open(config).await
    }

    pub(crate) async fn start(
        &self,
        name: impl AsRef<str>,
        attachments: impl IntoIterator<Item = AttachmentSpec>,
    ) -> Result<Workload> {
        self.start_on(&self.backend, name, attachments).await
    }

    pub(crate) async fn start_on(
        &self,
        backend: &K8sBackend,
        name: impl AsRef<str>,
        attachments: impl IntoIterator<Item = AttachmentSpec>,
    ) -> Result<Workload> {
        let mut spec = WorkloadSpec::new(workload(name.as_ref())).with_command(["sleep", "3600"]);
        spec.attachments = attachments.into_iter().collect();
        backend.create(CreateRequest::new(spec).with_start()).await
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        self.backend.remove(RemoveRequest::new(workload(name)).with_force(true)).await.map(drop)
    }

    /// Runs a script in a pod; it must not fail.
    pub(crate) async fn sh(&self, name: &str, script: &str) -> Result<String> {
        let connection = self.backend.connect(&workload(name)).await?;
        let out = connection.run(ExecRequest::shell(script)).await?;
        assert!(out.status.success(), "{script}: {}", out.stderr_text());
        Ok(out.stdout_text())
    }

    /// A kubeconfig of someone who may do nothing but what everybody may.
    pub(crate) async fn reader(
        &self,
    ) -> std::result::Result<tempfile::NamedTempFile, Box<dyn std::error::Error + Send + Sync>> {
        let mut kubeconfig = Kubeconfig::read_from(kubeconfig_of())?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
        let client = kube::Client::try_from(config)?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &self.namespace);
        let mut account = ServiceAccount::default();
        account.metadata.name = Some("nobody".into());
        accounts.create(&PostParams::default(), &account).await?;
        let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let token = accounts.create_token_request("nobody", &PostParams::default(), &request).await?;
        let token = token.status.ok_or("no token")?.token;
        for user in &mut kubeconfig.auth_infos {
            let auth = serde_json::json!({"token": token});
            user.auth_info = Some(serde_json::from_value(auth)?);
        }
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), serde_json::to_string(&plain(&kubeconfig)?)?)?;
        Ok(file)
    }
}

/// A kubeconfig as JSON with its token: kube hides secrets when it writes them.
fn plain(kubeconfig: &Kubeconfig) -> std::result::Result<serde_json::Value, serde_json::Error> {
    serde_json::to_value(kubeconfig)
}

//! What the tests on a real cluster share: the backend, pods, a tool to ask the API with.

#![allow(dead_code)] // each test program uses a part

use pod_core::{
    Backend, BackendUri, Connection, ConnectionExt, CreateRequest, ExecRequest, Image, Registry, RemoveRequest, Result,
    WorkloadName, WorkloadSpec,
};
use std::sync::Arc;

/// The cluster's kubeconfig.
pub(crate) fn kubeconfig() -> String {
    std::env::var("POD_LAB_KUBECONFIG").expect("POD_LAB_KUBECONFIG names the kubeconfig of the test cluster")
}

/// An image with BusyBox that the nodes have.
pub(crate) fn image() -> String {
    std::env::var("POD_LAB_IMAGE").unwrap_or_else(|_| "pod.test/busybox:1".into())
}

/// The address of the cluster, in the namespace `default`.
pub(crate) fn uri() -> BackendUri {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let text = format!("k8s:?kubeconfig={}&image={}&pull=never", encode(&kubeconfig()), encode(&image()));
    text.parse().expect("an address")
}

pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    pod_k8s::register(&mut registry);
    registry
}

/// A pod that is removed at the end.
pub(crate) struct Pod {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) name: WorkloadName,
    pub(crate) connection: Arc<dyn Connection>,
}

impl Pod {
    pub(crate) async fn new() -> Result<Self> {
        Self::of(&image()).await
    }

    /// A pod of this image.
    pub(crate) async fn of(image: &str) -> Result<Self> {
        let backend = registry().connect(&uri()).await?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let name = WorkloadName::new(format!("t{}", &id[..12]))?;
        let spec =
            WorkloadSpec::new(name.clone()).with_image(Image::Reference(image.into())).with_command(["sleep", "3600"]);
        backend.create(CreateRequest::new(spec).with_start()).await?;
        let connection = backend.connect(&name).await?;
        Ok(Self { backend, name, connection })
    }

    /// Runs a script that must not fail.
    pub(crate) async fn sh(&self, script: &str) -> Result<String> {
        let out = self.connection.run(ExecRequest::shell(script)).await?;
        assert!(out.status.success(), "{script}: {} {}", out.status, out.stderr_text());
        Ok(out.stdout_text())
    }

    pub(crate) async fn remove(&self) -> Result<()> {
        self.backend.remove(RemoveRequest::new(self.name.clone()).with_force(true)).await.map(drop)
    }
}

/// Runs a test with a pod, which is removed whatever happens.
pub(crate) fn with_pod<F, Fut>(
    runtime: &tokio::runtime::Runtime,
    test: F,
) -> std::result::Result<(), libtest_mimic::Failed>
where
    F: FnOnce(Arc<Pod>) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    runtime.block_on(async {
        let pod = Arc::new(Pod::new().await.map_err(|e| format!("{e:?}"))?);
        let done = tokio::spawn(test(pod.clone())).await;
        let removed = pod.remove().await;
        match done {
            Ok(Ok(())) => removed.map_err(|e| format!("{e:?}").into()),
            Ok(Err(e)) => Err(format!("{e:?}").into()),
            Err(e) => Err(format!("{e}").into()),
        }
    })
}

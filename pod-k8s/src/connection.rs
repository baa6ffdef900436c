//! Exec, copy and forward in a container of a pod.

use crate::cluster::Cluster;
use crate::copy::{Container, Helper};
use crate::exec::Target;
use crate::exec::start::Starter;
use crate::forward;
use async_trait::async_trait;
use pod_core::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use pod_core::{BoxDuplex, Connection, ExecRequest, ForwardRequest, Image, Process, Result, WorkloadName};
use pod_shell::copy::{self, Far};
use std::sync::Arc;

/// A way into a container of a pod.
#[derive(Debug)]
pub(crate) struct K8sConnection {
    name: WorkloadName,
    starter: Starter,
    /// What copies go by, where the container's own tools are not to be used.
    helper: Option<Arc<Helper>>,
}

impl K8sConnection {
    /// A way into this container. Nothing is asked of the cluster.
    pub(crate) fn new(cluster: Cluster, name: WorkloadName, pod: String, container: String) -> Self {
        let image = match &cluster.config.helper {
            Some(Image::Reference(image)) => Some(image.clone()),
            _ => None,
        };
        let starter = Starter::new(Target { cluster, pod, container });
        let at = Container { target: starter.target.clone(), watch: starter.watch.clone() };
        Self { name, starter, helper: image.map(|image| Arc::new(Helper::new(at, image))) }
    }

    fn far(&self) -> Arc<dyn Far> {
        match &self.helper {
            Some(helper) => helper.clone(),
            None => Arc::new(Container { target: self.starter.target.clone(), watch: self.starter.watch.clone() }),
        }
    }
}

#[async_trait]
impl Connection for K8sConnection {
    fn workload(&self) -> &WorkloadName {
        &self.name
    }

    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        self.starter.start(request).await
    }

    async fn copy_in(&self, request: CopyInRequest) -> Result<CopyReport> {
        copy::copy_in(self.far(), request).await
    }

    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream> {
        copy::copy_out(self.far(), request).await
    }

    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>> {
        copy::stat(&*self.far(), &request).await
    }

    async fn forward(&self, request: ForwardRequest) -> Result<BoxDuplex> {
        forward::forward(&self.starter.target, request).await
    }
}

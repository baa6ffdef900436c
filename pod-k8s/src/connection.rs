//! Exec, copy and forward in a container of a pod.

use crate::cluster::Cluster;
use crate::copy::{self, Container};
use crate::exec::Target;
use crate::exec::start::Starter;
use crate::forward;
use async_trait::async_trait;
use pod_core::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use pod_core::{BoxDuplex, Connection, ExecRequest, ForwardRequest, Process, Result, WorkloadName};
use std::sync::Arc;

/// A way into a container of a pod.
#[derive(Debug)]
pub(crate) struct K8sConnection {
    name: WorkloadName,
    starter: Starter,
}

impl K8sConnection {
    /// A way into this container. Nothing is asked of the cluster.
    pub(crate) fn new(cluster: Cluster, name: WorkloadName, pod: String, container: String) -> Self {
        Self { name, starter: Starter::new(Target { cluster, pod, container }) }
    }

    fn far(&self) -> Container {
        Container { target: self.starter.target.clone(), watch: self.starter.watch.clone() }
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
        copy::copy_in(Arc::new(self.far()), request).await
    }

    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream> {
        copy::copy_out(Arc::new(self.far()), request).await
    }

    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>> {
        copy::stat(&self.far(), &request).await
    }

    async fn forward(&self, request: ForwardRequest) -> Result<BoxDuplex> {
        forward::forward(&self.starter.target, request).await
    }
}

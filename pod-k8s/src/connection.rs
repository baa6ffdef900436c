//! Exec, copy and forward in a container of a pod.

use crate::cluster::Cluster;
use crate::exec::Target;
use crate::exec::start::Starter;
use crate::forward;
use async_trait::async_trait;
use pod_core::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use pod_core::{BoxDuplex, Connection, Error, ExecRequest, ForwardRequest, Process, Result, WorkloadName};

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
}

#[async_trait]
impl Connection for K8sConnection {
    fn workload(&self) -> &WorkloadName {
        &self.name
    }

    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        self.starter.start(request).await
    }

    async fn copy_in(&self, _: CopyInRequest) -> Result<CopyReport> {
        Err(Error::unsupported("this backend lacks copy.in"))
    }

    async fn copy_out(&self, _: CopyOutRequest) -> Result<EntryStream> {
        Err(Error::unsupported("this backend lacks copy.out"))
    }

    async fn stat(&self, _: StatRequest) -> Result<Option<FileStat>> {
        Err(Error::unsupported("this backend lacks copy.out"))
    }

    async fn forward(&self, request: ForwardRequest) -> Result<BoxDuplex> {
        forward::forward(&self.starter.target, request).await
    }
}

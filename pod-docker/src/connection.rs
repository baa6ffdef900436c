//! Exec and copy in a container.

use crate::exec::{self, Target};
use crate::{copy, forward};
use async_trait::async_trait;
use pod_core::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use pod_core::{BoxDuplex, Connection, ExecRequest, ForwardRequest, Process, Result, WorkloadName};

/// A way into one container.
#[derive(Debug)]
pub(crate) struct DockerConnection {
    target: Target,
}

impl DockerConnection {
    pub(crate) fn new(target: Target) -> Self {
        Self { target }
    }
}

#[async_trait]
impl Connection for DockerConnection {
    fn workload(&self) -> &WorkloadName {
        &self.target.name
    }

    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        request.validate()?;
        exec::start(self.target.clone(), request).await
    }

    async fn copy_in(&self, request: CopyInRequest) -> Result<CopyReport> {
        copy::copy_in(&self.target, request).await
    }

    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream> {
        copy::copy_out(&self.target, request).await
    }

    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>> {
        copy::stat(&self.target, &request).await
    }

    async fn forward(&self, request: ForwardRequest) -> Result<BoxDuplex> {
        forward::forward(&self.target, request).await
    }
}

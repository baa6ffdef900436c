//! A way into a simulated workload.

use super::Shared;
use super::copying;
use super::fs::{Cred, FsError, ROOT};
use super::machine::Machine;
use crate::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use crate::{BoxDuplex, Capabilities, Connection, ExecRequest, ForwardRequest, Process, Result, WorkloadName};
use async_trait::async_trait;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct MemConnection {
    pub(super) machine: Arc<Machine>,
    pub(super) shared: Arc<Shared>,
    pub(super) capabilities: Capabilities,
}

#[async_trait]
impl Connection for MemConnection {
    fn workload(&self) -> &WorkloadName {
        &self.machine.name
    }

    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        request.validate()?;
        self.shared.travel().await;
        // Dropped on its way back, the process is killed.
        let process = self.machine.exec(request, self.capabilities)?;
        self.shared.travel().await;
        Ok(process)
    }

    async fn copy_in(&self, request: CopyInRequest) -> Result<CopyReport> {
        self.shared.travel().await;
        self.machine.present()?;
        copying::copy_in(self.machine.fs.clone(), request).await
    }

    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream> {
        self.shared.travel().await;
        self.machine.present()?;
        copying::copy_out(self.machine.fs.clone(), &request)
    }

    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>> {
        self.shared.travel().await;
        self.machine.present()?;
        let fs = self.machine.fs.lock();
        match fs.lookup(Cred::default(), ROOT, &request.path, request.follow) {
            Ok(ino) => fs.node(ino).map(|n| Some(n.stat())).map_err(|e| e.at("read the status", &request.path)),
            Err(FsError::NotFound | FsError::NotDir) => Ok(None),
            Err(e) => Err(e.at("read the status", &request.path)),
        }
    }

    async fn forward(&self, request: ForwardRequest) -> Result<BoxDuplex> {
        self.shared.travel().await;
        self.machine.forward(request)
    }
}

//! A way into a simulated workload.

use super::copying;
use super::fs::{Cred, FsError, ROOT};
use super::machine::Machine;
use crate::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use crate::{Connection, ExecRequest, Process, Result, WorkloadName};
use async_trait::async_trait;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct MemConnection(pub(super) Arc<Machine>);

#[async_trait]
impl Connection for MemConnection {
    fn workload(&self) -> &WorkloadName {
        &self.0.name
    }

    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        request.validate()?;
        self.0.exec(request)
    }

    async fn copy_in(&self, request: CopyInRequest) -> Result<CopyReport> {
        self.0.present()?;
        copying::copy_in(self.0.fs.clone(), request).await
    }

    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream> {
        self.0.present()?;
        copying::copy_out(self.0.fs.clone(), &request)
    }

    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>> {
        self.0.present()?;
        let fs = self.0.fs.lock();
        match fs.lookup(Cred::default(), ROOT, &request.path, request.follow) {
            Ok(ino) => fs.node(ino).map(|n| Some(n.stat())).map_err(|e| e.at("read the status", &request.path)),
            Err(FsError::NotFound | FsError::NotDir) => Ok(None),
            Err(e) => Err(e.at("read the status", &request.path)),
        }
    }
}

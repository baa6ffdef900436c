//! Exec and copy in a local workload.

use crate::backend::{Engine, blocking, to_bytes};
use crate::client;
use crate::root::Root;
use crate::store::Record;
use crate::user;
use crate::wire::Program;
use async_trait::async_trait;
use pod_core::copy::tree::{WriteOptions, read_tree, stat_in, write_tree};
use pod_core::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use pod_core::{
    BoxDuplex, Connection, Error, ErrorKind, ExecRequest, ForwardRequest, IoResultExt, Process, Result, ResultExt,
    WorkloadName,
};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use tokio::net::TcpStream;

/// A way into one local workload.
#[derive(Debug)]
pub(crate) struct LocalConnection {
    engine: Engine,
    name: WorkloadName,
    record: Record,
}

impl LocalConnection {
    pub(crate) fn new(engine: Engine, name: WorkloadName, record: Record) -> Self {
        Self { engine, name, record }
    }

    fn not_running(&self) -> Error {
        match self.engine.store.record(&self.name) {
            Ok(_) => Error::new(ErrorKind::WrongState, "the workload does not run")
                .with_context("workload", self.name.as_str())
                .with_hint(format!("start it: `pod start {}`", self.name)),
            Err(e) => e,
        }
    }

    /// The environment of a program: the workload's, then the request's.
    fn environment(&self, request: &ExecRequest) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut env = to_bytes(&self.record.env);
        if request.tty.is_some() && !self.record.env.iter().any(|(k, _)| k == "TERM") {
            env.push((b"TERM".to_vec(), b"xterm".to_vec()));
        }
        for (key, value) in &request.env {
            env.retain(|(k, _)| k != key);
            env.push((key.clone(), value.clone()));
        }
        env
    }

    /// Whom files copied in belong to: the workload's user.
    fn file_owner(&self, root: &OwnedFd) -> Result<(u32, u32)> {
        if self.record.user.is_none() {
            return Ok((0, 0));
        }
        let read = |path: &str| {
            let mut text = String::new();
            let file = openat2(
                root,
                path,
                OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
                Mode::empty(),
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            );
            // Without the file only numbers can be resolved.
            if let Ok(fd) = file {
                let _ = File::from(fd).take(1 << 20).read_to_string(&mut text);
            }
            text
        };
        user::resolve(self.record.user.as_deref(), &read("etc/passwd"), &read("etc/group"))
            .map(|i| (i.uid, i.gid))
            .map_err(Error::invalid)
    }
}

#[async_trait]
impl Connection for LocalConnection {
    fn workload(&self) -> &WorkloadName {
        &self.name
    }

    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        let channel = client::dial(&self.engine.store.run_dir(&self.name))?.ok_or_else(|| self.not_running())?;
        let program = Program {
            env: self.environment(&request),
            argv: request.argv,
            cwd: request.cwd.or_else(|| self.record.cwd.clone()),
            user: request.user.or_else(|| self.record.user.clone()),
            tty: request.tty.map(|t| (t.rows, t.cols)),
        };
        let (driver, streams) = client::exec(channel, program, request.stdin).await?;
        Ok(Process::spawn(Box::new(driver), streams, request.timeout))
    }

    async fn copy_in(&self, request: CopyInRequest) -> Result<CopyReport> {
        let root = self.engine.root(&self.name).await?;
        let owner = self.file_owner(&root.fd)?;
        let stream = request.source.open()?;
        blocking(move || {
            let mut options = WriteOptions::new().with_verify(request.verify).with_archive(request.archive);
            if !request.archive {
                options = options.with_owner(owner.0, owner.1);
            }
            // Held to the end: nobody starts a stopped workload under the copy.
            let Root { fd, lock: _lock } = root;
            write_tree(fd, &request.dest, stream, options).context("path", request.dest.escape_ascii().to_string())
        })
        .await
    }

    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream> {
        let root = self.engine.root(&self.name).await?;
        blocking(move || {
            let Root { fd, lock } = root;
            // What is read is read while the stream is.
            read_tree(fd, &request.path, request.follow).map(|stream| stream.holding(lock))
        })
        .await
    }

    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>> {
        let root = self.engine.root(&self.name).await?;
        blocking(move || stat_in(&root.fd, &request.path, request.follow)).await
    }

    async fn forward(&self, request: ForwardRequest) -> Result<BoxDuplex> {
        request.validate()?;
        let store = self.engine.store.clone();
        let name = self.name.clone();
        let stream = blocking(move || {
            if !store.workload(&name)?.state.is_running() {
                return Err(Error::new(ErrorKind::WrongState, "the workload does not run")
                    .with_context("workload", name.as_str())
                    .with_hint(format!("start it: `pod start {name}`")));
            }
            pod_net::netns::connect_loopback(&store.netns(&name), request.port).context("workload", name.as_str())
        })
        .await?;
        Ok(Box::pin(TcpStream::from_std(stream).doing(|| "take the connection")?))
    }
}

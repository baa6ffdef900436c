//! Exec and copy in a local workload.

use crate::backend::{Engine, blocking, to_bytes};
use crate::client;
use crate::overlay;
use crate::store::{Lock, Record};
use crate::user;
use crate::wire::Program;
use async_trait::async_trait;
use pod_core::copy::tree::{WriteOptions, read_tree, stat_in, write_tree};
use pod_core::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use pod_core::{Connection, Error, ErrorKind, ExecRequest, IoResultExt, Process, Result, ResultExt, WorkloadName};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

/// A way into one local workload.
#[derive(Debug)]
pub(crate) struct LocalConnection {
    engine: Engine,
    name: WorkloadName,
    record: Record,
}

/// A workload's root, and what keeps it from changing under a copy while it does not run.
struct Root {
    fd: OwnedFd,
    _lock: Option<Lock>,
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

    /// The workload's root: of a running one as its processes see it, mounts and all; of a stopped one
    /// its layers, mounted for the copy alone.
    async fn root(&self) -> Result<Root> {
        for _ in 0..3 {
            let (store, name) = (self.engine.store.clone(), self.name.clone());
            let running = blocking(move || {
                let Some(status) = store.status(&name)?.filter(|_| store.alive(&name).unwrap_or(false)) else {
                    return Ok(None);
                };
                let path = format!("/proc/{}/root", status.init);
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let fd = rustix::fs::open(path, flags, Mode::empty());
                // The number may be another process's if the workload ended meanwhile.
                Ok(fd.ok().filter(|_| store.alive(&name).unwrap_or(false)))
            })
            .await?;
            if let Some(fd) = running {
                return Ok(Root { fd, _lock: None });
            }
            let lock = self.engine.lock(&self.name).await?;
            let (store, name, record) = (self.engine.store.clone(), self.name.clone(), self.record.clone());
            let stopped = blocking(move || {
                if store.alive(&name)? {
                    return Ok(None); // started meanwhile
                }
                let place = store.run_dir(&name).join("root");
                std::fs::create_dir_all(&place).doing(|| "make a mount point")?;
                overlay::open_stopped(record.lower, store.dir(&name), place)
                    .doing(|| "mount the stopped workload's root")
                    .map(Some)
            })
            .await?;
            if let Some(fd) = stopped {
                return Ok(Root { fd, _lock: Some(lock) });
            }
        }
        Err(Error::new(ErrorKind::Busy, "the workload is being started and stopped")
            .with_context("workload", self.name.as_str()))
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
        let root = self.root().await?;
        let owner = self.file_owner(&root.fd)?;
        let stream = request.source.open()?;
        blocking(move || {
            let mut options = WriteOptions::new().with_verify(request.verify).with_archive(request.archive);
            if !request.archive {
                options = options.with_owner(owner.0, owner.1);
            }
            let Root { fd, _lock } = root;
            write_tree(fd, &request.dest, stream, options).context("path", request.dest.escape_ascii().to_string())
        })
        .await
    }

    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream> {
        let root = self.root().await?;
        blocking(move || {
            let Root { fd, _lock } = root;
            read_tree(fd, &request.path, request.follow)
        })
        .await
    }

    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>> {
        let root = self.root().await?;
        blocking(move || stat_in(&root.fd, &request.path, request.follow)).await
    }
}

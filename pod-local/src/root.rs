//! A workload's root file system, opened from outside.

use crate::backend::{Engine, blocking};
use crate::overlay;
use crate::store::Lock;
use pod_core::{Error, ErrorKind, IoResultExt, Result, WorkloadName};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;

/// A workload's root, and what keeps it from changing hands while the workload does not run.
pub(crate) struct Root {
    /// The folder, opened with `O_PATH`.
    pub(crate) fd: OwnedFd,
    /// A stopped workload's lock: it is not started while this is held.
    pub(crate) lock: Option<Lock>,
}

impl Engine {
    /// The root of a workload: of a running one as its processes see it, mounts and all; of a stopped
    /// one its layers, mounted for the caller alone.
    pub(crate) async fn root(&self, name: &WorkloadName) -> Result<Root> {
        for _ in 0..3 {
            let (store, workload) = (self.store.clone(), name.clone());
            let running = blocking(move || {
                let Some(status) = store.status(&workload)?.filter(|_| store.alive(&workload).unwrap_or(false)) else {
                    return Ok(None);
                };
                let path = format!("/proc/{}/root", status.init);
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let fd = rustix::fs::open(path, flags, Mode::empty());
                // The number may be another process's if the workload ended meanwhile.
                Ok(fd.ok().filter(|_| store.alive(&workload).unwrap_or(false)))
            })
            .await?;
            if let Some(fd) = running {
                return Ok(Root { fd, lock: None });
            }
            let lock = self.lock(name).await?;
            let (store, workload) = (self.store.clone(), name.clone());
            let stopped = blocking(move || {
                if store.alive(&workload)? {
                    return Ok(None); // started meanwhile
                }
                let place = store.run_dir(&workload).join("root");
                std::fs::create_dir_all(&place).doing(|| "make a mount point")?;
                overlay::open_stopped(store.record(&workload)?.lower, store.dir(&workload), place)
                    .doing(|| "mount the stopped workload's root")
                    .map(Some)
            })
            .await?;
            if let Some(fd) = stopped {
                return Ok(Root { fd, lock: Some(lock) });
            }
        }
        Err(Error::new(ErrorKind::Busy, "the workload is being started and stopped")
            .with_context("workload", name.as_str()))
    }
}

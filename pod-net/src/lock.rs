//! Locks between processes: `flock` on directories, so that no lock file is left behind.

use pod_core::{Error, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// An exclusive lock on a directory, held until dropped.
#[derive(Debug)]
pub(crate) struct DirLock {
    _fd: OwnedFd,
    path: PathBuf,
}

impl DirLock {
    /// Locks the directory at `path`, which is made if it is missing. Blocks while another thread or
    /// process holds the lock.
    pub(crate) fn make(path: &Path) -> Result<Self> {
        loop {
            match std::fs::create_dir_all(path) {
                // it or a parent was removed while this was being made
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && !is_other_file(path) => continue,
                made => made.map_err(|e| fail(path, e))?,
            }
            if let Some(lock) = Self::existing(path)? {
                return Ok(lock);
            }
        }
    }

    /// Locks the directory at `path`; `None` when there is none.
    pub(crate) fn existing(path: &Path) -> Result<Option<Self>> {
        loop {
            let fd = match rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => return Ok(None),
                Err(e) => return Err(fail(path, e.into())),
            };
            match rustix::fs::flock(&fd, FlockOperation::LockExclusive) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(e) => return Err(fail(path, e.into())),
            }
            // the last holder may have removed the directory, and another made a new one
            let locked = rustix::fs::fstat(&fd).map_err(|e| fail(path, e.into()))?;
            match rustix::fs::stat(path) {
                Ok(now) if (now.st_dev, now.st_ino) == (locked.st_dev, locked.st_ino) => {
                    return Ok(Some(Self { _fd: fd, path: path.to_owned() }));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(e) => return Err(fail(path, e.into())),
            }
        }
    }

    /// Removes the locked directory if nothing is in it.
    pub(crate) fn remove_if_empty(&self) -> Result<()> {
        remove_dir_if_empty(&self.path)
    }
}

/// Removes a directory unless something is in it or it is gone already.
pub(crate) fn remove_dir_if_empty(path: &Path) -> Result<()> {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => Ok(()),
        Err(e) => Err(Error::io("remove the directory", e.into()).with_context("path", path.display().to_string())),
    }
}

fn is_other_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| !m.is_dir())
}

fn fail(path: &Path, e: std::io::Error) -> Error {
    Error::io("lock the directory", e).with_context("path", path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_holder_at_a_time_though_the_directory_comes_and_goes() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("a/b");
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = DirLock::make(&path).expect("lock");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                        lock.remove_if_empty().expect("remove");
                    }
                });
            }
        });
        assert!(!path.exists());
        assert!(DirLock::existing(&path).expect("look").is_none());
    }
}

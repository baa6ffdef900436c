//! Trees on a file system: a reader, and the extractor that never leaves its root.
//!
//! Both work by directory descriptors; no path is ever checked first and used later. Names are bytes.
//!
//! **What the reader gives**: the root first, with an empty path; parents before children; the names of
//! a directory in byte order. Hard links are found by device and inode, holes by `SEEK_DATA` and
//! `SEEK_HOLE` (`lseek(2)`). Sockets, FIFOs and devices are given as [`EntryKind::Special`]. Mount points
//! in the tree are entered, as `docker cp` does, but not those of the kernel's own file systems (`/proc`,
//! `/sys`, cgroups and their like): of these only the mount point itself is given. A file that shrinks
//! while it is read is an error; one that grows is given up to the size it had.
//!
//! **What the extractor takes**: see [`write_tree`].

mod file;
mod have;
mod read;
mod write;

pub(super) use have::files_at;
pub(super) use read::read_local;
pub use read::read_tree;
pub use write::{WriteOptions, write_tree};

use super::check::show;
use super::resolve::{self, Located};
use super::{Entry, EntryKind, FileStat, FileType, check};
use crate::{Error, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, Stat};
use rustix::io::Errno;

/// What is at `path` inside the directory `root`: absolute links and `..` stay inside, magic links
/// (`/proc/PID/fd/N`) are refused. `None` when nothing is there. Blocks as long as the file system does.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when `path` is not absolute or leads
/// through a file; else as the system says.
pub fn stat_in(root: &OwnedFd, path: &[u8], follow: bool) -> Result<Option<FileStat>> {
    absolute(path)?;
    match resolve::locate(root.as_fd(), path, follow) {
        Ok(at) => file_stat(&at).map(Some).map_err(|e| failed("look at", path, e)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(failed("look at", path, e)),
    }
}

fn file_stat(at: &Located) -> std::result::Result<FileStat, Errno> {
    let meta = Meta::of(&at.stat);
    let mut stat = FileStat::new(meta.kind.file_type(), meta.size);
    (stat.mode, stat.mtime, stat.uid, stat.gid) = (meta.mode, meta.mtime, meta.uid, meta.gid);
    if stat.kind == FileType::Symlink {
        stat.target = Some(rustix::fs::readlinkat(&at.dir, at.name.as_slice(), Vec::new())?.into_bytes());
    }
    Ok(stat)
}

fn absolute(path: &[u8]) -> Result<()> {
    if path.first() != Some(&b'/') || path.contains(&0) {
        return Err(Error::invalid("the path is not absolute, or holds a zero byte").with_context("path", show(path)));
    }
    Ok(())
}

/// An error of the system at an absolute path.
fn failed(doing: &str, path: &[u8], e: Errno) -> Error {
    let error = Error::io(format!("can't {doing} this path"), e.into()).with_context("path", show(path));
    if e == Errno::LOOP { error.with_hint("a symbolic link there leads in circles or into /proc") } else { error }
}

/// What a file is, as the directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Dir,
    Symlink,
    Special(&'static str),
}

impl Kind {
    fn file_type(self) -> FileType {
        match self {
            Self::File => FileType::File,
            Self::Dir => FileType::Dir,
            Self::Symlink => FileType::Symlink,
            Self::Special(_) => FileType::Other,
        }
    }
}

/// A file's attributes in the same types on every system.
#[derive(Debug, Clone, Copy)]
struct Meta {
    kind: Kind,
    size: u64,
    mode: u32,
    mtime: (i64, u32),
    uid: u32,
    gid: u32,
    /// Device and inode.
    id: (u64, u64),
    links: u64,
    /// Bytes that the file takes on the disk.
    used: u64,
}

impl Meta {
    // The fields' types differ between systems.
    #[allow(clippy::unnecessary_cast)]
    fn of(stat: &Stat) -> Self {
        use rustix::fs::FileType as T;
        let kind = match T::from_raw_mode(stat.st_mode) {
            T::RegularFile => Kind::File,
            T::Directory => Kind::Dir,
            T::Symlink => Kind::Symlink,
            T::Fifo => Kind::Special("FIFO"),
            T::Socket => Kind::Special(check::SOCKET),
            T::CharacterDevice => Kind::Special("character device"),
            T::BlockDevice => Kind::Special("block device"),
            T::Unknown => Kind::Special("file of an unknown kind"),
        };
        Self {
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode as u32 & 0o7777,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            uid: stat.st_uid as u32,
            gid: stat.st_gid as u32,
            id: (stat.st_dev as u64, stat.st_ino as u64),
            links: stat.st_nlink as u64,
            used: (stat.st_blocks as u64).saturating_mul(512),
        }
    }

    fn entry(&self, path: Vec<u8>, kind: EntryKind) -> Entry {
        Entry::new(path, kind)
            .with_mode(self.mode)
            .with_mtime(self.mtime.0, self.mtime.1)
            .with_owner(self.uid, self.gid)
    }
}

// Mode bits are 16 wide on some systems.
#[allow(clippy::unnecessary_cast)]
fn mode_bits(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode as rustix::fs::RawMode)
}

//! The reader of a tree.

use super::{Kind, Meta, absolute, failed};
use crate::copy::check::show;
use crate::copy::resolve::{self, LIST, Located};
use crate::copy::stream::Batch;
use crate::copy::{Chunk, Entry, EntryKind, EntrySink, EntryStream, Item};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;

/// The most bytes of one [`Chunk`].
const CHUNK: usize = 256 << 10;
/// The most pieces that a file with holes is read in.
const MAX_EXTENTS: usize = 1 << 18;
/// Directories held open at once, one per level; above these a level is opened again by `..`.
const MAX_OPEN: usize = 64;

/// Reads the file or tree at `path` inside the directory `root`, on a thread of its own; absolute links
/// and `..` of the path stay inside, magic links are refused. A symbolic link at the path itself is
/// followed only with `follow`, links beneath it never. See the [module](super) for what is given.
///
/// Finding the path blocks as long as the file system does; the reading never blocks the caller.
///
/// # Errors
/// `NotFound` when there is nothing; `InvalidInput` when `path` is not absolute; `Unsupported` when it
/// lies in a kernel file system such as `/proc`, whose files have no size before they are read. Later
/// errors come in the stream and name the entry.
pub fn read_tree(root: OwnedFd, path: &[u8], follow: bool) -> Result<EntryStream> {
    absolute(path)?;
    let at = resolve::locate(root.as_fd(), path, follow).map_err(|e| failed("read", path, e))?;
    start(at, path)
}

/// Reads a file or tree of this machine, its path as the process sees it; a trailing `/` or `/.` follows
/// a link.
pub(in crate::copy) fn read_local(path: &Path) -> Result<EntryStream> {
    use std::os::unix::ffi::OsStrExt;
    let text = path.as_os_str().as_bytes();
    let (parent, name) = match text.iter().rposition(|b| *b == b'/') {
        Some(0) => (&b"/"[..], &text[1..]),
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (&b"."[..], text),
    };
    let find = || {
        let (parent, name) = if matches!(name, b"" | b"." | b"..") { (text, &b"."[..]) } else { (parent, name) };
        let dir = rustix::fs::openat(rustix::fs::CWD, parent, resolve::DIR, Mode::empty())?;
        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Located { dir, name: name.to_vec(), stat })
    };
    start(find().map_err(|e| failed("read", text, e))?, text)
}

fn start(at: Located, path: &[u8]) -> Result<EntryStream> {
    let meta = Meta::of(&at.stat);
    if let (Kind::File | Kind::Dir, Some(fs)) = (meta.kind, kernel_fs_at(&at)) {
        return Err(Error::unsupported(format!(
            "that lies in a file system of the kernel's own ({fs}), which has no sizes to copy by"
        ))
        .with_context("path", show(path))
        .with_hint("read it by a program instead, such as `cat`"));
    }
    let (sink, stream) = EntryStream::channel();
    let reader = Reader { sink, batch: Batch::default(), links: HashMap::new() };
    std::thread::Builder::new()
        .name("pod-copy-read".into())
        .spawn(move || reader.run(at))
        .map_err(|e| Error::io("can't start a thread to read with", e))?;
    Ok(stream)
}

/// Why a read ends early.
enum Stop {
    /// Nobody listens any more.
    Gone,
    Failed(Error),
}

struct Reader {
    sink: EntrySink,
    batch: Batch,
    /// Files with several names: device and inode, and the path they were given under.
    links: HashMap<(u64, u64), Vec<u8>>,
}

/// A directory being walked.
struct Level {
    /// Open, unless the walk is too deep below it.
    dir: Option<OwnedFd>,
    /// To know it again.
    id: (u64, u64),
    /// The names left, the next one last.
    names: Vec<CString>,
    /// The length of its path.
    path_len: usize,
}

impl Reader {
    fn run(mut self, at: Located) {
        let answer = self.walk(&at);
        // What came before an error still counts.
        let listening = self.batch.blocking_flush(&self.sink);
        match answer {
            Ok(()) if listening => self.sink.blocking_finish(),
            Ok(()) => {}
            Err(Stop::Failed(e)) => {
                // Nobody listening is no fault of this side.
                let _ = self.sink.blocking_send(Err(e));
            }
            Err(Stop::Gone) => {}
        }
    }

    fn walk(&mut self, at: &Located) -> std::result::Result<(), Stop> {
        let mut path = Vec::new();
        let mut levels: Vec<Level> = Vec::new();
        let dev = Meta::of(&at.stat).id.0;
        if let Some(level) = self.visit(at.dir.as_fd(), &at.name, &path, dev)? {
            levels.push(level);
        }
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                up(&mut levels, &path)?;
                continue;
            };
            path.truncate(level.path_len);
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            let dev = level.id.0;
            let Some(dir) = &level.dir else {
                return Err(Stop::Failed(Error::unexpected("a directory was closed while it was read")));
            };
            if let Some(below) = self.visit(dir.as_fd(), name.as_bytes(), &path, dev)? {
                levels.push(below);
                if let Some(above) = levels.len().checked_sub(MAX_OPEN + 1) {
                    levels[above].dir = None;
                }
            }
        }
        Ok(())
    }

    /// Sends one entry with its contents; a directory to walk next comes back.
    fn visit(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        dev: u64,
    ) -> std::result::Result<Option<Level>, Stop> {
        let fail = |doing: &str, e: Errno| {
            Stop::Failed(
                Error::io(format!("can't {doing} this entry of the copy"), e.into()).with_context("entry", show(path)),
            )
        };
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Deleted since its directory was listed: as if it had been deleted a moment before.
            Err(Errno::NOENT) if !path.is_empty() => return Ok(None),
            other => other.map_err(|e| fail("look at", e))?,
        };
        let meta = Meta::of(&stat);
        match meta.kind {
            Kind::Special(what) => self.entry(meta.entry(path.to_vec(), EntryKind::Special(what)))?,
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(|e| fail("read", e))?.into_bytes();
                self.entry(meta.entry(path.to_vec(), EntryKind::Symlink { target }))?;
            }
            Kind::File => {
                // O_NONBLOCK: should a FIFO have taken the file's place, the open does not wait for a writer.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|e| fail("read", e))?;
                let meta = Meta::of(&rustix::fs::fstat(&fd).map_err(|e| fail("look at", e))?);
                if meta.kind != Kind::File {
                    return Err(Stop::Failed(changed("a file was replaced while it was read", path)));
                }
                if meta.links > 1 {
                    if let Some(target) = self.links.get(&meta.id) {
                        let kind = EntryKind::Hardlink { target: target.clone() };
                        self.entry(meta.entry(path.to_vec(), kind))?;
                        return Ok(None);
                    }
                    self.links.insert(meta.id, path.to_vec());
                }
                let mut entry = meta.entry(path.to_vec(), EntryKind::File { size: meta.size });
                // Fewer bytes on the disk than in the file: it has holes, or is compressed.
                if meta.used < meta.size {
                    entry.extents = extents(fd.as_fd(), meta.size).map_err(|e| fail("read", e))?;
                }
                let pieces = entry.extents.clone();
                self.entry(entry)?;
                for (start, length) in pieces.unwrap_or_else(|| vec![(0, meta.size)]) {
                    self.contents(fd.as_fd(), start, start + length, path, &fail)?;
                }
            }
            Kind::Dir => {
                let fd =
                    rustix::fs::openat(dir, name, LIST | OFlags::RDONLY, Mode::empty()).map_err(|e| fail("read", e))?;
                let meta = Meta::of(&rustix::fs::fstat(&fd).map_err(|e| fail("look at", e))?);
                self.entry(meta.entry(path.to_vec(), EntryKind::Dir))?;
                if meta.id.0 != dev && kernel_fs(fd.as_fd()).is_some() {
                    return Ok(None);
                }
                let names = list(fd.as_fd()).map_err(|e| fail("list", e))?;
                return Ok(Some(Level { dir: Some(fd), id: meta.id, names, path_len: path.len() }));
            }
        }
        Ok(None)
    }

    fn send(&mut self, item: Item) -> std::result::Result<(), Stop> {
        let full = self.batch.add(item);
        if !full || self.batch.blocking_flush(&self.sink) { Ok(()) } else { Err(Stop::Gone) }
    }

    fn entry(&mut self, entry: Entry) -> std::result::Result<(), Stop> {
        self.send(Item::Entry(entry))
    }

    fn contents(
        &mut self,
        fd: BorrowedFd<'_>,
        mut at: u64,
        end: u64,
        path: &[u8],
        fail: &dyn Fn(&str, Errno) -> Stop,
    ) -> std::result::Result<(), Stop> {
        while at < end {
            let room = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let mut data = Vec::with_capacity(room);
            while data.len() < room {
                let from = at + data.len() as u64;
                match rustix::io::pread(fd, rustix::buffer::spare_capacity(&mut data), from) {
                    Ok(0) => return Err(Stop::Failed(changed("a file shrank while it was read", path))),
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(e) => return Err(fail("read", e)),
                }
            }
            // A vector may hold more room than was asked for.
            data.truncate(room);
            let chunk = Chunk { offset: at, data: Bytes::from(data) };
            at += room as u64;
            self.send(Item::Chunk(chunk))?;
        }
        Ok(())
    }
}

fn changed(message: &str, path: &[u8]) -> Error {
    Error::new(ErrorKind::Integrity, message)
        .with_context("entry", show(path))
        .with_hint("copy it again when nothing writes to it")
}

/// Leaves the deepest level; the one above is opened again if it had been closed.
fn up(levels: &mut Vec<Level>, path: &[u8]) -> std::result::Result<(), Stop> {
    let below = levels.pop();
    if let (Some(Level { dir: Some(below), .. }), Some(level)) = (below, levels.last_mut())
        && level.dir.is_none()
    {
        let above = rustix::fs::openat(&below, "..", LIST | OFlags::RDONLY, Mode::empty());
        let same = |fd: &OwnedFd| rustix::fs::fstat(fd).is_ok_and(|s| Meta::of(&s).id == level.id);
        level.dir = above.ok().filter(same);
        if level.dir.is_none() {
            return Err(Stop::Failed(changed("a directory was moved while it was read", path)));
        }
    }
    Ok(())
}

/// The names of a directory, the first in byte order last.
fn list(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

/// Where a file's data lies, when it has holes. Beyond [`MAX_EXTENTS`] pieces the rest counts as data.
fn extents(fd: BorrowedFd<'_>, size: u64) -> rustix::io::Result<Option<Vec<(u64, u64)>>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let Some((start, end)) = next_data(fd, at)? else { break };
        if start >= size {
            break;
        }
        let end = if pieces.len() < MAX_EXTENTS { end.min(size) } else { size };
        pieces.push((start, end - start));
        at = end;
    }
    Ok(if pieces == [(0, size)] { None } else { Some(pieces) })
}

/// The next piece of a file that is no hole, from `at` on. A file system that knows no holes gives all.
pub(super) fn next_data(fd: BorrowedFd<'_>, at: u64) -> rustix::io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(fd, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL) => return Ok(Some((at, u64::MAX))),
        Err(e) => return Err(e),
    };
    let end = match rustix::fs::seek(fd, SeekFrom::Hole(start)) {
        Ok(end) => end,
        // It shrank between the two calls; reading on finds out.
        Err(Errno::NXIO) => u64::MAX,
        Err(e) => return Err(e),
    };
    // A piece is never empty, else the reader would stay where it is.
    Ok(Some((start, if end > start { end } else { u64::MAX })))
}

/// The name of the kernel file system that `fd` lies in, if it is one: their files are made up as they
/// are read. The numbers are those of `statfs(2)` and the kernel's `include/uapi/linux/magic.h`.
#[cfg(target_os = "linux")]
fn kernel_fs(fd: BorrowedFd<'_>) -> Option<&'static str> {
    let magic = rustix::fs::fstatfs(fd).ok()?.f_type;
    Some(match u32::try_from(magic).ok()? {
        0x9fa0 => "proc",
        0x6265_6572 => "sysfs",
        0x0027_e0eb | 0x6367_7270 => "cgroup",
        0x6462_6720 => "debugfs",
        0x7472_6163 => "tracefs",
        0x7363_6673 => "securityfs",
        0xcafe_4a11 => "bpf",
        0x6165_676c => "pstore",
        0x6265_6570 => "configfs",
        0xf97c_ff8c => "selinuxfs",
        0xde5e_81e4 => "efivarfs",
        0x4249_4e4d => "binfmt_misc",
        0x6573_5543 => "fusectl",
        0x6e73_6673 => "nsfs",
        0x1980_0202 => "mqueue",
        0x1cd1 => "devpts",
        _ => return None,
    })
}

#[cfg(target_os = "linux")]
fn kernel_fs_at(at: &Located) -> Option<&'static str> {
    let handle = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    kernel_fs(rustix::fs::openat(&at.dir, at.name.as_slice(), handle, Mode::empty()).ok()?.as_fd())
}

#[cfg(not(target_os = "linux"))]
fn kernel_fs_at(_: &Located) -> Option<&'static str> {
    None
}

#[cfg(not(target_os = "linux"))]
fn kernel_fs(_: BorrowedFd<'_>) -> Option<&'static str> {
    None
}

//! One regular file being written: nameless or hidden until it is whole, then put in its place at once.

use super::{Meta, mode_bits};
use crate::copy::Chunk;
use crate::{Error, ErrorKind, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The attributes an entry gets on the disk; `None` leaves them as they come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attributes {
    pub(super) mode: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) owner: Option<(u32, u32)>,
}

/// Times for the system: the access time stays, nanoseconds are kept below a second.
pub(super) fn times(mtime: (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.0, tv_nsec: mtime.1.min(999_999_999).into() },
    }
}

/// Sets the owner; `false` when this process may not.
pub(super) fn chown(fd: BorrowedFd<'_>, owner: (u32, u32)) -> rustix::io::Result<bool> {
    match rustix::fs::fchown(fd, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1))) {
        Ok(()) => Ok(true),
        Err(Errno::PERM) => Ok(false),
        Err(e) => Err(e),
    }
}

/// A name for something that is not in its place yet.
pub(super) fn hidden_name() -> Vec<u8> {
    format!(".pod-{}", uuid::Uuid::new_v4().simple()).into_bytes()
}

/// A regular file on its way.
#[derive(Debug)]
pub(super) struct NewFile {
    fd: OwnedFd,
    parent: Arc<OwnedFd>,
    /// Its name until it is in its place, where the file system has no nameless files.
    hidden: Option<Vec<u8>>,
    size: u64,
    /// The end of what was written; what comes next can't begin before it.
    at: u64,
    /// Bytes written, holes not counted.
    pub(super) written: u64,
    hash: Option<Hashed>,
}

/// What was written: where, and the hash over it.
#[derive(Debug, Default)]
struct Hashed {
    pieces: Vec<(u64, u64)>,
    sha256: Sha256,
}

impl NewFile {
    /// Begins a file of `size` bytes that will stand in `parent`; with `hash` it can be checked by
    /// [`NewFile::check_hash`].
    pub(super) fn create(parent: &Arc<OwnedFd>, size: u64, hash: bool) -> rustix::io::Result<Self> {
        let access = if hash { OFlags::RDWR } else { OFlags::WRONLY } | OFlags::CLOEXEC;
        let (fd, hidden) = create(parent.as_fd(), access)?;
        let hash = hash.then(Hashed::default);
        Ok(Self { fd, parent: parent.clone(), hidden, size, at: 0, written: 0, hash })
    }

    /// Writes one piece.
    pub(super) fn write(&mut self, chunk: &Chunk) -> Result<()> {
        let end = chunk.offset.checked_add(chunk.data.len() as u64).filter(|end| *end <= self.size);
        let Some(end) = end.filter(|_| chunk.offset >= self.at) else {
            return Err(Error::new(
                ErrorKind::Integrity,
                "the contents don't fit the size given, or come out of order",
            )
            .with_context("size", self.size.to_string())
            .with_context("offset", chunk.offset.to_string()));
        };
        let mut rest = &chunk.data[..];
        while !rest.is_empty() {
            match rustix::io::pwrite(&self.fd, rest, end - rest.len() as u64) {
                Ok(0) => return Err(failed("write", Errno::NOSPC)),
                Ok(n) => rest = &rest[n..],
                Err(Errno::INTR) => {}
                Err(e) => return Err(failed("write", e)),
            }
        }
        if let Some(hash) = &mut self.hash
            && !chunk.data.is_empty()
        {
            hash.sha256.update(&chunk.data);
            match hash.pieces.last_mut() {
                Some(last) if last.1 == chunk.offset => last.1 = end,
                _ => hash.pieces.push((chunk.offset, end)),
            }
        }
        self.written += chunk.data.len() as u64;
        self.at = end;
        Ok(())
    }

    /// Makes the file whole and puts it at `name`, in place of a file or link there. Returns whether its
    /// owner could be set.
    pub(super) fn place(&mut self, name: &[u8], attributes: &Attributes) -> Result<bool> {
        if self.at < self.size {
            rustix::fs::ftruncate(&self.fd, self.size).map_err(|e| failed("make room for", e))?;
        }
        let mut owned = true;
        if let Some(owner) = attributes.owner {
            owned = chown(self.fd.as_fd(), owner).map_err(|e| failed("set the owner of", e))?;
        }
        if let Some(mode) = attributes.mode {
            // Set-id bits are meant for the owner that could not be set.
            let mode = if owned { mode } else { mode & 0o1777 };
            rustix::fs::fchmod(&self.fd, mode_bits(mode)).map_err(|e| failed("set the mode of", e))?;
        }
        if let Some(mtime) = attributes.mtime {
            rustix::fs::futimens(&self.fd, &times(mtime)).map_err(|e| failed("set the time of", e))?;
        }
        if self.hidden.is_none() {
            match link_nameless(self.fd.as_fd(), self.parent.as_fd(), name) {
                Ok(()) => return Ok(owned),
                Err(Errno::EXIST) => {
                    let hidden = hidden_name();
                    link_nameless(self.fd.as_fd(), self.parent.as_fd(), &hidden).map_err(|e| failed("name", e))?;
                    self.hidden = Some(hidden);
                }
                Err(e) => return Err(failed("name", e)),
            }
        }
        if let Some(hidden) = &self.hidden {
            replace(self.parent.as_fd(), hidden, name)?;
            self.hidden = None;
        }
        Ok(owned)
    }

    /// Reads the file's attributes back by its name and compares.
    pub(super) fn check_length(&self, name: &[u8]) -> Result<()> {
        let mine = rustix::fs::fstat(&self.fd).map_err(|e| failed("look at", e))?;
        let there =
            rustix::fs::statat(&*self.parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("read back", e))?;
        let (mine, there) = (Meta::of(&mine), Meta::of(&there));
        if mine.id != there.id || there.size != self.size {
            return Err(differs("length").with_context("size", self.size.to_string()));
        }
        Ok(())
    }

    /// Reads the file back and compares its SHA-256; holes must read as zeros.
    pub(super) fn check_hash(self) -> Result<()> {
        let Some(written) = &self.hash else { return Err(Error::unexpected("the file was written without a hash")) };
        let mut buffer = vec![0; 256 << 10];
        let mut sha256 = Sha256::new();
        let mut hole = 0;
        for (start, end) in written.pieces.iter().copied().chain([(self.size, self.size)]) {
            if !self.is_zero(hole, start, &mut buffer)? {
                return Err(differs("contents of a hole"));
            }
            self.read(start, end, &mut buffer, |piece| {
                sha256.update(piece);
                true
            })?;
            hole = end;
        }
        if sha256.finalize() != written.sha256.clone().finalize() {
            return Err(differs("SHA-256"));
        }
        Ok(())
    }

    fn is_zero(&self, mut at: u64, end: u64, buffer: &mut [u8]) -> Result<bool> {
        while at < end {
            let (start, stop) = match super::read::next_data(self.fd.as_fd(), at) {
                Ok(Some((start, stop))) => (start.min(end), stop.min(end)),
                Ok(None) => return Ok(true),
                Err(e) => return Err(failed("read back", e)),
            };
            if !self.read(start, stop, buffer, |piece| piece.iter().all(|b| *b == 0))? {
                return Ok(false);
            }
            at = stop;
        }
        Ok(true)
    }

    /// Gives the bytes from `at` to `end` to `take` until it says no; `false` then.
    fn read(&self, mut at: u64, end: u64, buffer: &mut [u8], mut take: impl FnMut(&[u8]) -> bool) -> Result<bool> {
        while at < end {
            let room = usize::try_from(end - at).map_or(buffer.len(), |n| n.min(buffer.len()));
            match rustix::io::pread(&self.fd, &mut buffer[..room], at) {
                Ok(0) => return Err(differs("length")),
                Ok(n) => {
                    if !take(&buffer[..n]) {
                        return Ok(false);
                    }
                    at += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(failed("read back", e)),
            }
        }
        Ok(true)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            // An error is on its way already; the name says what the file is.
            let _ = rustix::fs::unlinkat(&*self.parent, hidden.as_slice(), AtFlags::empty());
        }
    }
}

fn differs(what: &str) -> Error {
    Error::new(ErrorKind::Integrity, format!("the copy differs from its source: {what}"))
        .with_hint("something else wrote to it meanwhile, or the disk is at fault")
}

fn failed(doing: &str, e: Errno) -> Error {
    Error::io(format!("can't {doing} this file of the copy"), e.into())
}

/// Puts what stands at `hidden` in the place of the file or link at `name`.
pub(super) fn replace(parent: BorrowedFd<'_>, hidden: &[u8], name: &[u8]) -> Result<()> {
    rustix::fs::renameat(parent, hidden, parent, name).map_err(|e| match e {
        Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST => in_the_way("a directory"),
        Errno::BUSY => Error::io("a mount point can't be replaced", e.into())
            .with_hint("write into it by a program instead, such as `tee`"),
        e => failed("replace", e),
    })
}

/// Something at the destination forbids the entry.
pub(super) fn in_the_way(what: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("{what} is in the way at the destination"))
        .with_hint("remove it, or choose another destination")
}

/// A nameless file where the file system has such (`O_TMPFILE`, `open(2)`), so that even a killed process
/// leaves nothing; else a hidden one.
fn create(parent: BorrowedFd<'_>, access: OFlags) -> rustix::io::Result<(OwnedFd, Option<Vec<u8>>)> {
    let mode = Mode::RUSR | Mode::WUSR;
    #[cfg(target_os = "linux")]
    match rustix::fs::openat(parent, ".", access | OFlags::TMPFILE, mode) {
        Ok(fd) => return Ok((fd, None)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    create_hidden(parent, access, mode)
}

fn create_hidden(parent: BorrowedFd<'_>, access: OFlags, mode: Mode) -> rustix::io::Result<(OwnedFd, Option<Vec<u8>>)> {
    let hidden = hidden_name();
    let flags = access | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(parent, hidden.as_slice(), flags, mode)?;
    Ok((fd, Some(hidden)))
}

/// Gives a nameless file its first name: by the descriptor itself where that is allowed (with
/// `CAP_DAC_READ_SEARCH`, or since Linux 6.10), else by `/proc` (`open(2)`, `O_TMPFILE`).
#[cfg(target_os = "linux")]
fn link_nameless(fd: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    use rustix::fd::AsRawFd;
    match rustix::fs::linkat(fd, "", parent, name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::linkat(rustix::fs::CWD, path, parent, name, AtFlags::SYMLINK_FOLLOW)
}

#[cfg(not(target_os = "linux"))]
fn link_nameless(_: BorrowedFd<'_>, _: BorrowedFd<'_>, _: &[u8]) -> rustix::io::Result<()> {
    Err(Errno::NOTSUP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Folder {
        tmp: tempfile::TempDir,
        fd: Arc<OwnedFd>,
    }

    impl Folder {
        fn new() -> Self {
            let tmp = tempfile::tempdir().expect("a temporary directory");
            let fd = fs::File::open(tmp.path()).expect("a directory");
            Self { tmp, fd: Arc::new(fd.into()) }
        }

        /// A file of 1 MiB with data at its start and its middle.
        fn file(&self) -> NewFile {
            let mut file = NewFile::create(&self.fd, 1 << 20, true).expect("a file");
            for offset in [0, 512 << 10] {
                file.write(&Chunk { offset, data: vec![5; 10_000].into() }).expect("it is written");
            }
            file
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(self.tmp.path()).expect("a directory");
            names.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
        }
    }

    fn kind(answer: Result<()>) -> std::result::Result<(), ErrorKind> {
        answer.map_err(|e| e.kind())
    }

    #[test]
    fn a_change_after_the_write_is_found() {
        use std::os::unix::fs::FileExt;
        let folder = Folder::new();
        for (at, found) in [(None, false), (Some(1), true), (Some((512 << 10) + 5), true), (Some(300_000), true)] {
            let mut file = folder.file();
            file.place(b"f", &Attributes::default()).expect("it is placed");
            if let Some(at) = at {
                let other = fs::File::options().write(true).open(folder.tmp.path().join("f")).expect("the file");
                other.write_all_at(b"x", at).expect("it changes");
            }
            file.check_length(b"f").expect("the length is right");
            assert_eq!(kind(file.check_hash()), if found { Err(ErrorKind::Integrity) } else { Ok(()) }, "{at:?}");
        }
        let mut file = folder.file();
        file.place(b"f", &Attributes::default()).expect("it is placed");
        fs::remove_file(folder.tmp.path().join("f")).expect("removed");
        fs::write(folder.tmp.path().join("f"), "another").expect("a file");
        assert_eq!(kind(file.check_length(b"f")), Err(ErrorKind::Integrity));
    }

    #[test]
    fn without_nameless_files_a_hidden_one_serves() {
        let folder = Folder::new();
        let hide = |mut file: NewFile| {
            let mode = Mode::RUSR | Mode::WUSR;
            (file.fd, file.hidden) = create_hidden(folder.fd.as_fd(), OFlags::RDWR, mode).expect("a hidden file");
            file
        };
        let file = hide(NewFile::create(&folder.fd, 3, false).expect("a file"));
        assert_eq!(folder.names().len(), 1);
        drop(file);
        assert!(folder.names().is_empty(), "given up, nothing stays");
        for text in ["one", "two"] {
            let mut file = hide(NewFile::create(&folder.fd, 3, false).expect("a file"));
            file.write(&Chunk { offset: 0, data: text.into() }).expect("it is written");
            file.place(b"f", &Attributes::default()).expect("it is placed");
            drop(file);
            assert_eq!(folder.names(), ["f"]);
            assert_eq!(fs::read_to_string(folder.tmp.path().join("f")).expect("the file"), text);
        }
    }
}

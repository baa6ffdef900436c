//! The extractor: writes a stream of entries that may be hostile, and nothing outside its destination.

use super::file::{Attributes, NewFile, chown, hidden_name, in_the_way, replace, times};
use super::{Kind, Meta, absolute, failed, mode_bits};
use crate::copy::check::{self, StreamCheck, name_place, show};
use crate::copy::resolve::{self, DIR, LIST};
use crate::copy::{Chunk, CopyReport, Entry, EntryKind, EntryStream, Item, Verify};
use crate::{Error, ErrorKind, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How [`write_tree`] writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// How each file is checked once it is in its place.
    pub verify: Verify,
    /// Keep owners and set-id bits. Where the process may not set an owner, the set-id bits go too and
    /// the report says `owners`.
    pub archive: bool,
    /// Without `archive`: the owner and group of what is new; `None` is the process's own.
    pub owner: Option<(u32, u32)>,
    /// The entries are an image layer for overlayfs: `.wh.NAME` becomes a whiteout (character device
    /// 0/0), `.wh..wh..opq` makes its directory opaque, and devices and FIFOs are left out.
    pub layer: bool,
    /// The most bytes, counting each file with its apparent size.
    pub max_bytes: Option<u64>,
    /// The most entries.
    pub max_entries: Option<u64>,
    /// Take [`EntryKind::Same`] for the file that is there; else it is refused.
    pub resume: bool,
}

impl WriteOptions {
    /// Checks lengths, keeps no owners, has no limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how to check.
    #[must_use]
    pub fn with_verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Keeps owners and set-id bits.
    #[must_use]
    pub fn with_archive(mut self, archive: bool) -> Self {
        self.archive = archive;
        self
    }

    /// Sets the owner and group of what is new, unless owners are kept.
    #[must_use]
    pub fn with_owner(mut self, uid: u32, gid: u32) -> Self {
        self.owner = Some((uid, gid));
        self
    }

    /// Takes [`EntryKind::Same`] for the file that is there.
    #[must_use]
    pub fn with_resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Writes an image layer for overlayfs.
    #[must_use]
    pub fn with_layer(mut self, layer: bool) -> Self {
        self.layer = layer;
        self
    }

    /// Limits entries and bytes; `None` is no limit.
    #[must_use]
    pub fn with_limits(mut self, max_entries: Option<u64>, max_bytes: Option<u64>) -> Self {
        (self.max_entries, self.max_bytes) = (max_entries, max_bytes);
        self
    }
}

/// Writes `stream` so that its root entry becomes `dest` inside the directory `root`. A stream whose first
/// entry has a path fills the directory `dest`. Blocks: call it where that is allowed, never on a thread
/// that runs async tasks.
///
/// The entries may be hostile. Each passes [`StreamCheck`]; `dest`'s parent is found with links that stay
/// inside `root`; what lies beneath `dest` is reached by descriptors, through no symbolic link at all,
/// whether the stream made it or someone else just did. A regular file appears when it is whole, in place
/// of a file or link of its name (which is never written through); a directory joins one that is there;
/// a directory never takes the place of anything else, nor the other way round. Hard links are made only
/// to files of this stream. Set-id bits go unless `archive`. Sockets are left out and noted in
/// [`CopyReport::not_kept`]; devices and FIFOs are refused. Modes and times of directories are set at
/// the end; a root directory that was there before keeps its mode and owner.
///
/// # Errors
/// All name the entry as `entry`. `InvalidInput` for a hostile or malformed entry; `Conflict` when
/// something at the destination is in the way; `Exhausted` past a limit or on a full disk; `NotFound`
/// when `dest`'s parent does not exist; `Integrity` when the stream is cut or a check finds a difference.
/// Entries before the failing one stay; of the failing one nothing does.
pub fn write_tree(root: OwnedFd, dest: &[u8], mut stream: EntryStream, options: WriteOptions) -> Result<CopyReport> {
    absolute(dest)?;
    let mut writer = Writer::new(root, dest, options)?;
    let written = writer.run(&mut stream);
    // Also after a failure: directories made so far get the modes they should have.
    let settled = writer.settle();
    written.and(settled)?;
    Ok(writer.report)
}

/// A directory whose attributes are set at the end.
#[derive(Debug)]
struct Pending {
    attributes: Attributes,
    /// Made by this copy.
    fresh: bool,
}

struct Writer {
    /// What `dest` is resolved in.
    root: OwnedFd,
    dest: Vec<u8>,
    /// Where the root entry goes: its directory, and its name there (empty: the directory itself).
    parent: Arc<OwnedFd>,
    name: Vec<u8>,
    options: WriteOptions,
    check: StreamCheck,
    report: CopyReport,
    /// The root entry's own directory, once there is one.
    base: Option<Arc<OwnedFd>>,
    /// The directory last written into.
    last: Option<(Vec<u8>, Arc<OwnedFd>)>,
    dirs: BTreeMap<Vec<u8>, Pending>,
    /// The file being written, with its entry.
    open: Option<(Entry, NewFile)>,
    /// The path of the entry that came last, for errors of the stream itself.
    current: Vec<u8>,
    superuser: bool,
}

impl Writer {
    fn new(root: OwnedFd, dest: &[u8], options: WriteOptions) -> Result<Self> {
        let mut end = dest.len();
        while end > 1 && dest[end - 1] == b'/' {
            end -= 1;
        }
        let dest = &dest[..end];
        let (above, name) = match resolve::split_last(dest) {
            (_, b"" | b"." | b"..") => (dest, &b""[..]),
            split => split,
        };
        if name.len() > check::MAX_NAME {
            return Err(
                Error::invalid("the destination's name is longer than 255 bytes").with_context("path", show(dest))
            );
        }
        let parent = resolve::open_in_root(root.as_fd(), above, DIR).map_err(|e| match e {
            Errno::NOENT => Error::new(ErrorKind::NotFound, "the directory to copy into does not exist")
                .with_context("path", show(above))
                .with_hint("make it first"),
            Errno::NOTDIR => Error::invalid("the destination leads through something that is no directory")
                .with_context("path", show(above)),
            e => failed("open", above, e),
        })?;
        Ok(Self {
            root,
            dest: dest.to_vec(),
            parent: Arc::new(parent),
            name: name.to_vec(),
            check: StreamCheck::new(options.max_entries, options.max_bytes),
            report: CopyReport { checked: options.verify, ..CopyReport::default() },
            options,
            base: None,
            last: None,
            dirs: BTreeMap::new(),
            open: None,
            current: Vec::new(),
            superuser: rustix::process::geteuid().is_root(),
        })
    }

    fn run(&mut self, stream: &mut EntryStream) -> Result<()> {
        loop {
            let item = stream.blocking_next();
            let item = item.map_err(|e| name_place(e, self.open.is_some(), &self.current))?;
            match item {
                Some(Item::Entry(entry)) => {
                    self.finish_file()?;
                    self.current.clone_from(&entry.path);
                    self.entry(entry).map_err(|e| self.name_entry(e))?;
                }
                Some(Item::Chunk(chunk)) => self.chunk(&chunk).map_err(|e| self.name_entry(e))?,
                None => break,
            }
        }
        self.finish_file()?;
        Ok(())
    }

    /// Says which entry the error is about, unless it does so itself.
    fn name_entry(&self, e: Error) -> Error {
        name_place(e, true, &self.current)
    }

    fn entry(&mut self, entry: Entry) -> Result<()> {
        if self.options.layer && matches!(entry.kind, EntryKind::Special(_)) {
            check::check_path(&entry.path)?;
            self.note("devices, FIFOs and sockets");
            return Ok(());
        }
        self.check.entry(&entry)?;
        if matches!(entry.kind, EntryKind::Special(_)) {
            self.note("sockets");
            return Ok(());
        }
        if entry.path.is_empty() {
            return self.root(entry);
        }
        let (above, name) = check::split(&entry.path);
        let parent = self.dir(above)?;
        let name = name.to_vec();
        if self.options.layer && self.whiteout(&parent, &name)? {
            self.report.entries += 1;
            return Ok(());
        }
        self.make(&parent, &name, entry)
    }

    /// The stream's own root.
    fn root(&mut self, entry: Entry) -> Result<()> {
        if entry.kind == EntryKind::Dir {
            let attributes = self.attributes(&entry, true);
            self.open_base(Some(attributes))?;
            self.report.entries += 1;
            return Ok(());
        }
        if self.base.is_some() || self.name.is_empty() {
            return Err(in_the_way("a directory"));
        }
        let (parent, name) = (self.parent.clone(), self.name.clone());
        self.make(&parent, &name, entry)
    }

    /// The root's directory: what is there (also by a link, resolved inside `root`), or a new one.
    fn open_base(&mut self, new: Option<Attributes>) -> Result<Arc<OwnedFd>> {
        if let Some(base) = &self.base {
            return Ok(base.clone());
        }
        // What is there is taken as it is; a mistake in finding it shows when it is to be made.
        let there = match self.name.as_slice() {
            b"" => Some(self.parent.clone()),
            _ => resolve::open_in_root(self.root.as_fd(), &self.dest, DIR).ok().map(Arc::new),
        };
        let base = match there {
            Some(fd) => {
                if let Some(new) = new {
                    let attributes = Attributes { mtime: new.mtime, ..Attributes::default() };
                    self.dirs.insert(Vec::new(), Pending { attributes, fresh: false });
                }
                fd
            }
            None => {
                let (fd, fresh) = self.make_dir(&self.parent, &self.name)?;
                let attributes = new.unwrap_or_else(|| self.implied());
                self.dirs.insert(Vec::new(), Pending { attributes, fresh });
                Arc::new(fd)
            }
        };
        self.base = Some(base.clone());
        Ok(base)
    }

    /// The directory of this copy at `path`; what is missing of it is made.
    fn dir(&mut self, path: &[u8]) -> Result<Arc<OwnedFd>> {
        if let Some((last, fd)) = &self.last
            && last == path
        {
            return Ok(fd.clone());
        }
        let base = self.open_base(None)?;
        if path.is_empty() {
            return Ok(base);
        }
        let fd = match resolve::open_beneath(base.as_fd(), path, DIR) {
            Ok(fd) => Arc::new(fd),
            Err(Errno::NOENT) => {
                let (above, name) = check::split(path);
                let parent = self.dir(above)?;
                let (fd, fresh) = self.make_dir(&parent, name)?;
                if fresh {
                    self.dirs.insert(path.to_vec(), Pending { attributes: self.implied(), fresh });
                }
                Arc::new(fd)
            }
            Err(e) => return Err(through(path, e)),
        };
        self.last = Some((path.to_vec(), fd.clone()));
        Ok(fd)
    }

    /// A new directory that only this process can use yet, or the one that is there.
    fn make_dir(&self, parent: &OwnedFd, name: &[u8]) -> Result<(OwnedFd, bool)> {
        let fresh = match rustix::fs::mkdirat(parent, name, mode_bits(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(doing("make this directory", e)),
        };
        let fd = rustix::fs::openat(parent, name, DIR | OFlags::NOFOLLOW, mode_bits(0)).map_err(|e| match e {
            Errno::LOOP | Errno::NOTDIR => self.what_is(parent, name),
            e => doing("open this directory", e),
        })?;
        Ok((fd, fresh))
    }

    fn what_is(&self, parent: &OwnedFd, name: &[u8]) -> Error {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| Meta::of(&s).kind) {
            Ok(Kind::Symlink) => in_the_way("a symbolic link"),
            Ok(Kind::Dir) => in_the_way("a directory"),
            Ok(Kind::File) => in_the_way("a file"),
            Ok(Kind::Special(what)) => in_the_way(&format!("a {what}")),
            Err(e) => doing("look at the destination of", e),
        }
    }

    fn make(&mut self, parent: &Arc<OwnedFd>, name: &[u8], entry: Entry) -> Result<()> {
        match &entry.kind {
            EntryKind::Dir => {
                let (fd, made) = self.make_dir(parent, name)?;
                if !made && !self.superuser {
                    let_owner_write(&fd);
                }
                let fresh = made || self.dirs.get(&entry.path).is_some_and(|d| d.fresh);
                let attributes = self.attributes(&entry, fresh);
                self.dirs.insert(entry.path, Pending { attributes, fresh });
            }
            EntryKind::File { size } => {
                // Better said before the contents than after.
                if let Ok(stat) = rustix::fs::statat(&**parent, name, AtFlags::SYMLINK_NOFOLLOW)
                    && Meta::of(&stat).kind == Kind::Dir
                {
                    return Err(in_the_way("a directory"));
                }
                let hash = self.options.verify == Verify::Hash;
                let file = NewFile::create(parent, *size, hash).map_err(|e| doing("make this file", e))?;
                self.open = Some((entry, file));
                return Ok(());
            }
            EntryKind::Same { size } => {
                self.keep(parent, name, &entry, *size)?;
                self.report.resumed += 1;
            }
            EntryKind::Symlink { target } => {
                let made = place(parent, name, |at| rustix::fs::symlinkat(target.as_slice(), &**parent, at));
                made.map_err(|e| e.unwrap_or_else(|| self.what_is(parent, name)))?;
                self.dress_link(parent, name, &entry)?;
            }
            EntryKind::Hardlink { target } => {
                let (above, old) = check::split(target);
                let from = self.dir(above)?;
                let made = place(parent, name, |at| rustix::fs::linkat(&*from, old, &**parent, at, AtFlags::empty()));
                made.map_err(|e| e.unwrap_or_else(|| self.what_is(parent, name)))?;
                let kind = rustix::fs::statat(&**parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| Meta::of(&s).kind);
                if kind != Ok(Kind::File) {
                    return Err(Error::new(ErrorKind::Conflict, "the file to link to was replaced meanwhile")
                        .with_context("target", show(target)));
                }
            }
            EntryKind::Special(what) => return Err(Error::unexpected(format!("a {what} passed the checks"))),
        }
        self.report.entries += 1;
        Ok(())
    }

    /// Takes the regular file that is there for the entry, and gives it the entry's attributes.
    fn keep(&mut self, parent: &OwnedFd, name: &[u8], entry: &Entry, size: u64) -> Result<()> {
        if !self.options.resume {
            return Err(Error::invalid("the far end leaves out a file that it was not told of"));
        }
        let changed = || {
            Error::new(ErrorKind::Conflict, "a file that was there when the copy began has changed or gone")
                .with_hint("copy again when nothing else writes there")
        };
        // A FIFO put in its place must not hold it up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, mode_bits(0)).map_err(|e| match e {
            Errno::NOENT | Errno::LOOP => changed(),
            e => doing("open this file", e),
        })?;
        let meta = Meta::of(&rustix::fs::fstat(&fd).map_err(|e| doing("look at this file", e))?);
        if meta.kind != Kind::File || meta.size != size || meta.mtime.0 != entry.mtime.0 {
            return Err(changed());
        }
        let Attributes { mut mode, owner, .. } = self.attributes(entry, true);
        if let Some(owner) = owner
            && !chown(fd.as_fd(), owner).map_err(|e| doing("set the owner of this file", e))?
        {
            self.note("owners");
            mode = mode.map(|m| m & 0o1777);
        }
        if let Some(mode) = mode
            && (mode != meta.mode || owner.is_some())
        {
            rustix::fs::fchmod(&fd, mode_bits(mode)).map_err(|e| doing("set the mode of this file", e))?;
        }
        Ok(())
    }

    fn dress_link(&mut self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> Result<()> {
        let attributes = self.attributes(entry, true);
        if let Some(owner) = attributes.owner {
            use rustix::fs::{Gid, Uid};
            let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            match rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(()) => {}
                Err(Errno::PERM) => self.note("owners"),
                Err(e) => return Err(doing("set the owner of this link", e)),
            }
        }
        if let Some(mtime) = attributes.mtime {
            match rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(()) => {}
                // Some file systems keep no times of links.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.note("times of links"),
                Err(e) => return Err(doing("set the time of this link", e)),
            }
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<()> {
        match &mut self.open {
            Some((_, file)) => file.write(chunk),
            None => Err(Error::new(ErrorKind::Integrity, "contents came for something that is no file")),
        }
    }

    /// The file before is whole: it gets its attributes and its place.
    fn finish_file(&mut self) -> Result<()> {
        let Some((entry, file)) = self.open.take() else { return Ok(()) };
        self.finish(&entry, file).map_err(|e| self.name_entry(e))
    }

    fn finish(&mut self, entry: &Entry, mut file: NewFile) -> Result<()> {
        let name = if entry.path.is_empty() { self.name.clone() } else { check::split(&entry.path).1.to_vec() };
        let attributes = self.attributes(entry, true);
        if !file.place(&name, &attributes)? {
            self.note("owners");
        }
        self.report.entries += 1;
        self.report.bytes += file.written;
        if self.options.verify != Verify::None {
            file.check_length(&name)?;
        }
        if self.options.verify == Verify::Hash {
            file.check_hash()?;
        }
        Ok(())
    }

    /// What a directory gets that the stream did not name.
    fn implied(&self) -> Attributes {
        let owner = if self.options.archive { None } else { self.options.owner };
        Attributes { mode: Some(0o755), mtime: None, owner }
    }

    fn attributes(&self, entry: &Entry, fresh: bool) -> Attributes {
        let archive = self.options.archive;
        let owner = match (archive, fresh) {
            (true, _) => Some((entry.uid, entry.gid)),
            (false, true) => self.options.owner,
            (false, false) => None,
        };
        let mode = entry.mode & if archive { 0o7777 } else { 0o1777 };
        Attributes { mode: Some(mode), mtime: Some(entry.mtime), owner }
    }

    fn note(&mut self, what: &str) {
        if !self.report.not_kept.iter().any(|n| n == what) {
            self.report.not_kept.push(what.to_owned());
        }
    }

    /// Gives the directories their attributes, the deepest first; the first error comes back.
    fn settle(&mut self) -> Result<()> {
        let mut answer = Ok(());
        // A file under way when the copy failed goes first: its name is in one of these directories.
        self.open = None;
        for (path, pending) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let done = self.settle_one(&path, &pending).map_err(|e| e.with_context("entry", show(&path)));
            answer = answer.and(done);
        }
        answer
    }

    fn settle_one(&mut self, path: &[u8], pending: &Pending) -> Result<()> {
        let Some(base) = self.base.clone() else { return Ok(()) };
        let fd = resolve::open_beneath(base.as_fd(), path, LIST | OFlags::RDONLY).map_err(|e| through(path, e))?;
        let Attributes { mut mode, mtime, owner } = pending.attributes;
        if let Some(owner) = owner
            && !chown(fd.as_fd(), owner).map_err(|e| doing("set the owner of this directory", e))?
        {
            self.note("owners");
            mode = mode.map(|m| m & 0o1777);
        }
        let mut set = |what: &str, done: rustix::io::Result<()>| match done {
            // One that was there and is another user's: the copy may fill it, no more.
            Err(Errno::PERM) if !pending.fresh => {
                // The root was only chosen to copy into: its time is a courtesy.
                if !path.is_empty() {
                    self.note("modes and times of directories of other users");
                }
                Ok(())
            }
            done => done.map_err(|e| doing(what, e)),
        };
        if let Some(mode) = mode {
            set("set the mode of this directory", rustix::fs::fchmod(&fd, mode_bits(mode)))?;
        }
        if let Some(mtime) = mtime {
            set("set the time of this directory", rustix::fs::futimens(&fd, &times(mtime)))?;
        }
        Ok(())
    }

    /// Overlay's marks for what a layer takes away (`.wh.` names, OCI image specification, `layer.md`);
    /// `false` when the entry is an ordinary one.
    #[cfg(target_os = "linux")]
    fn whiteout(&self, parent: &OwnedFd, name: &[u8]) -> Result<bool> {
        use rustix::fs::{FileType, XattrFlags};
        let Some(hidden) = name.strip_prefix(b".wh.") else { return Ok(false) };
        if name == b".wh..wh..opq" {
            let fd = rustix::fs::openat(parent, ".", LIST | OFlags::RDONLY, mode_bits(0))
                .map_err(|e| doing("open the directory of this mark", e))?;
            // Without privileges over the whole system overlayfs reads `user.` instead (`userxattr`).
            let set = |key: &str| rustix::fs::fsetxattr(&fd, key, b"y", XattrFlags::empty());
            let done = match set("trusted.overlay.opaque") {
                Err(Errno::PERM) => set("user.overlay.opaque"),
                other => other,
            };
            done.map_err(|e| doing("make a directory opaque by this mark", e))?;
            return Ok(true);
        }
        if hidden.starts_with(b".wh.") {
            // Marks of aufs for its own use.
            return Ok(true);
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::invalid("a mark of the layer hides no name"));
        }
        let make = |at: &[u8]| rustix::fs::mknodat(parent, at, FileType::CharacterDevice, mode_bits(0), 0);
        place(parent, hidden, make).map_err(|e| e.unwrap_or_else(|| self.what_is(parent, hidden)))?;
        Ok(true)
    }

    #[cfg(not(target_os = "linux"))]
    fn whiteout(&self, _: &OwnedFd, _: &[u8]) -> Result<bool> {
        Err(Error::unsupported("image layers are written on Linux only"))
    }
}

/// A directory of this user's own that it may not write into is opened up until the end, where every
/// directory of the stream gets its mode. Where that fails, the write itself will say so.
fn let_owner_write(dir: &OwnedFd) {
    let Ok(fd) = rustix::fs::openat(dir, ".", LIST | OFlags::RDONLY, mode_bits(0)) else { return };
    let Ok(stat) = rustix::fs::fstat(&fd) else { return };
    let mode = Meta::of(&stat).mode;
    if mode & 0o700 != 0o700 {
        let _ = rustix::fs::fchmod(&fd, mode_bits(mode | 0o700));
    }
}

/// Makes something by `make`, in place of a file or link of that name. An error without a value means that
/// a directory is in the way.
fn place(
    parent: &OwnedFd,
    name: &[u8],
    make: impl Fn(&[u8]) -> rustix::io::Result<()>,
) -> std::result::Result<(), Option<Error>> {
    match make(name) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => {}
        Err(e) => return Err(Some(doing("make this entry", e))),
    }
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| Meta::of(&s).kind) {
        Ok(Kind::Dir) => return Err(None),
        Ok(_) | Err(Errno::NOENT) => {}
        Err(e) => return Err(Some(doing("look at the destination of", e))),
    }
    let hidden = hidden_name();
    make(&hidden).map_err(|e| Some(doing("make this entry", e)))?;
    let replaced = replace(parent.as_fd(), &hidden, name);
    // rename(2) does nothing when both names are the same file's already, and a failed one leaves the
    // hidden name: either way it has to go.
    match rustix::fs::unlinkat(parent, hidden.as_slice(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => replaced.map_err(Some),
        Err(e) => Err(Some(doing("clean up after this entry", e))),
    }
}

fn doing(what: &str, e: Errno) -> Error {
    Error::io(format!("can't {what}"), e.into())
}

/// A directory of the copy could not be reached.
fn through(path: &[u8], e: Errno) -> Error {
    match e {
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV => Error::new(
            ErrorKind::Conflict,
            "the path leads through something at the destination that is no directory, such as a symbolic link",
        )
        .with_context("through", show(path))
        .with_hint("remove it, or choose another destination"),
        e => doing("open the directory of this entry", e).with_context("directory", show(path)),
    }
}

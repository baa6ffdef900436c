//! The file system of a simulated workload: nodes, names and permissions.

use super::content::Content;
use crate::copy::{FileStat, FileType};
use crate::{Error, ErrorKind};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A node's number.
pub(super) type Ino = u64;
/// The root directory's number.
pub(super) const ROOT: Ino = 1;
/// More links than this on one path are a loop (path_resolution(7)).
const MAX_LINKS: u32 = 40;
/// The longest name of a directory entry (`NAME_MAX`, limits.h(0p)).
const NAME_MAX: usize = 255;

/// What went wrong, with the meaning of the error number of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FsError {
    NotFound,
    NotDir,
    IsDir,
    Exists,
    Denied,
    ReadOnly,
    Loop,
    NoSpace,
    NotEmpty,
    NameTooLong,
    Invalid,
}

impl FsError {
    /// The text of strerror(3).
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::NotFound => "No such file or directory",
            Self::NotDir => "Not a directory",
            Self::IsDir => "Is a directory",
            Self::Exists => "File exists",
            Self::Denied => "Permission denied",
            Self::ReadOnly => "Read-only file system",
            Self::Loop => "Too many levels of symbolic links",
            Self::NoSpace => "No space left on device",
            Self::NotEmpty => "Directory not empty",
            Self::NameTooLong => "File name too long",
            Self::Invalid => "Invalid argument",
        }
    }

    pub(super) fn io(self) -> std::io::Error {
        use std::io::ErrorKind as Io;
        let kind = match self {
            Self::NotFound => Io::NotFound,
            Self::NotDir => Io::NotADirectory,
            Self::IsDir => Io::IsADirectory,
            Self::Exists => Io::AlreadyExists,
            Self::Denied => Io::PermissionDenied,
            Self::ReadOnly => Io::ReadOnlyFilesystem,
            Self::NoSpace => Io::StorageFull,
            Self::NotEmpty => Io::DirectoryNotEmpty,
            Self::NameTooLong => Io::InvalidFilename,
            Self::Loop | Self::Invalid => Io::InvalidInput,
        };
        std::io::Error::new(kind, self.text())
    }

    /// As an error of POD about this path.
    pub(super) fn at(self, doing: &str, path: &[u8]) -> Error {
        Error::io(doing, self.io()).with_context("path", path.escape_ascii().to_string())
    }
}

pub(super) type FsResult<T> = Result<T, FsError>;

/// A device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    Null,
    Zero,
    Full,
}

#[derive(Debug)]
pub(super) enum NodeKind {
    File(Content),
    Dir(BTreeMap<Vec<u8>, Ino>),
    Symlink(Vec<u8>),
    Device(Device),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    pub(super) nlink: u32,
    /// A directory's own parent; of the root, itself.
    parent: Ino,
    /// Open handles: a node without a name lives while there is one.
    opens: u32,
    /// Nothing is made or changed here: it is the system's own, and takes no space.
    read_only: bool,
}

impl Node {
    pub(super) fn file_type(&self) -> FileType {
        match self.kind {
            NodeKind::File(_) => FileType::File,
            NodeKind::Dir(_) => FileType::Dir,
            NodeKind::Symlink(_) => FileType::Symlink,
            NodeKind::Device(_) => FileType::Other,
        }
    }

    pub(super) fn size(&self) -> u64 {
        match &self.kind {
            NodeKind::File(c) => c.size(),
            NodeKind::Symlink(t) => t.len() as u64,
            NodeKind::Dir(_) | NodeKind::Device(_) => 0,
        }
    }

    pub(super) fn stat(&self) -> FileStat {
        let mut stat = FileStat::new(self.file_type(), self.size());
        (stat.mode, stat.mtime, stat.uid, stat.gid) = (self.mode, self.mtime, self.uid, self.gid);
        if let NodeKind::Symlink(t) = &self.kind {
            stat.target = Some(t.clone());
        }
        stat
    }
}

/// Who asks: user 0 may do anything but write in a read-only place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cred {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

const READ: u32 = 4;
const WRITE: u32 = 2;
const EXEC: u32 = 1;

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OpenHow {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) create: bool,
    pub(super) truncate: bool,
    /// Permission bits that what is created does not get (umask(2)).
    pub(super) umask: u32,
}

impl OpenHow {
    pub(super) fn read() -> Self {
        Self { read: true, ..Self::default() }
    }

    /// Makes the file where it is missing; `append` keeps what it holds.
    pub(super) fn write(append: bool, umask: u32) -> Self {
        Self { write: true, create: true, truncate: !append, umask, read: false }
    }
}

/// A file system, shared by a workload's programs and copies.
#[derive(Debug, Clone)]
pub(super) struct SharedFs(Arc<Mutex<Fs>>);

impl SharedFs {
    pub(super) fn new(fs: Fs) -> Self {
        Self(Arc::new(Mutex::new(fs)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Fs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Fs {
    nodes: HashMap<Ino, Node>,
    next: Ino,
    /// Bytes that contents may take; `None` is no limit.
    capacity: Option<u64>,
    used: u64,
    /// The system itself is at work: read-only places are its own.
    unguarded: bool,
}

pub(super) fn now() -> (i64, u32) {
    let t = jiff::Timestamp::now();
    (t.as_second(), t.subsec_nanosecond().unsigned_abs())
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".")
}

impl Fs {
    pub(super) fn new(capacity: Option<u64>) -> Self {
        let mut fs = Self { nodes: HashMap::new(), next: ROOT, capacity, used: 0, unguarded: false };
        fs.add_node(NodeKind::Dir(BTreeMap::new()), 0o755, Cred::default());
        fs
    }

    fn add_node(&mut self, kind: NodeKind, mode: u32, cred: Cred) -> Ino {
        let ino = self.next;
        self.next += 1;
        let node = Node {
            kind,
            mode,
            uid: cred.uid,
            gid: cred.gid,
            mtime: now(),
            nlink: 0,
            parent: ROOT,
            opens: 0,
            read_only: false,
        };
        self.nodes.insert(ino, node);
        ino
    }

    /// The node of this number; every number handed out stays valid while it has a name or a handle.
    pub(super) fn node(&self, ino: Ino) -> FsResult<&Node> {
        self.nodes.get(&ino).ok_or(FsError::NotFound)
    }

    pub(super) fn node_mut(&mut self, ino: Ino) -> FsResult<&mut Node> {
        self.nodes.get_mut(&ino).ok_or(FsError::NotFound)
    }

    fn dir(&self, ino: Ino) -> FsResult<&BTreeMap<Vec<u8>, Ino>> {
        match &self.node(ino)?.kind {
            NodeKind::Dir(entries) => Ok(entries),
            _ => Err(FsError::NotDir),
        }
    }

    fn dir_mut(&mut self, ino: Ino) -> FsResult<&mut BTreeMap<Vec<u8>, Ino>> {
        match &mut self.node_mut(ino)?.kind {
            NodeKind::Dir(entries) => Ok(entries),
            _ => Err(FsError::NotDir),
        }
    }

    fn allow(&self, ino: Ino, cred: Cred, want: u32) -> FsResult<()> {
        let node = self.node(ino)?;
        if want & WRITE != 0 && node.read_only && !self.unguarded {
            return Err(FsError::ReadOnly);
        }
        if cred.uid == 0 {
            return Ok(());
        }
        let shift = if node.uid == cred.uid {
            6
        } else if node.gid == cred.gid {
            3
        } else {
            0
        };
        if (node.mode >> shift) & want == want { Ok(()) } else { Err(FsError::Denied) }
    }

    /// Finds what is at `path`, from `cwd` when it is relative. A link is followed where it stands
    /// before the last part, and there too with `follow`. `..` never leaves the root.
    pub(super) fn lookup(&self, cred: Cred, cwd: Ino, path: &[u8], follow: bool) -> FsResult<Ino> {
        self.walk(cred, cwd, path, follow, &mut 0)
    }

    fn walk(&self, cred: Cred, cwd: Ino, path: &[u8], follow: bool, links: &mut u32) -> FsResult<Ino> {
        if path.is_empty() {
            return Err(FsError::NotFound);
        }
        let mut at = if path[0] == b'/' { ROOT } else { cwd };
        let must_be_dir = path.ends_with(b"/") || path.ends_with(b"/.");
        let mut rest = parts(path).peekable();
        while let Some(part) = rest.next() {
            self.dir(at)?;
            self.allow(at, cred, EXEC)?;
            if part == b".." {
                at = self.node(at)?.parent;
                continue;
            }
            let next = *self.dir(at)?.get(part).ok_or(FsError::NotFound)?;
            if let NodeKind::Symlink(target) = &self.node(next)?.kind
                && (follow || must_be_dir || rest.peek().is_some())
            {
                *links += 1;
                if *links > MAX_LINKS {
                    return Err(FsError::Loop);
                }
                at = self.walk(cred, at, target, true, links)?;
            } else {
                at = next;
            }
        }
        if must_be_dir {
            self.dir(at)?;
        }
        Ok(at)
    }

    /// The directory that holds, or would hold, the last part of `path`, and that part.
    pub(super) fn parent_of(&self, cred: Cred, cwd: Ino, path: &[u8]) -> FsResult<(Ino, Vec<u8>)> {
        let trimmed = path.len() - path.iter().rev().take_while(|b| **b == b'/').count();
        let path = &path[..trimmed];
        let cut = path.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        let (dir, name) = path.split_at(cut);
        if name.is_empty() || name == b"." || name == b".." {
            return Err(FsError::Invalid);
        }
        if name.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        let dir = if dir.is_empty() { cwd } else { self.lookup(cred, cwd, dir, true)? };
        self.dir(dir)?;
        Ok((dir, name.to_vec()))
    }

    /// What `name` in directory `dir` is.
    pub(super) fn child(&self, dir: Ino, name: &[u8]) -> FsResult<Option<Ino>> {
        Ok(self.dir(dir)?.get(name).copied())
    }

    /// A directory's entries.
    pub(super) fn entries(&self, cred: Cred, dir: Ino) -> FsResult<Vec<(Vec<u8>, Ino)>> {
        self.allow(dir, cred, READ)?;
        Ok(self.dir(dir)?.iter().map(|(n, i)| (n.clone(), *i)).collect())
    }

    /// Puts a node under a name that is free.
    pub(super) fn link(&mut self, cred: Cred, dir: Ino, name: &[u8], ino: Ino) -> FsResult<()> {
        self.allow(dir, cred, WRITE | EXEC)?;
        if name.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        let entries = self.dir_mut(dir)?;
        if entries.contains_key(name) {
            return Err(FsError::Exists);
        }
        entries.insert(name.to_vec(), ino);
        let parent = self.node_mut(dir)?;
        parent.mtime = now();
        let read_only = parent.read_only;
        let node = self.node_mut(ino)?;
        node.nlink += 1;
        node.read_only |= read_only;
        if matches!(node.kind, NodeKind::Dir(_)) {
            node.parent = dir;
        }
        Ok(())
    }

    /// Takes a name away; a directory must be empty.
    pub(super) fn unlink(&mut self, cred: Cred, dir: Ino, name: &[u8]) -> FsResult<()> {
        self.allow(dir, cred, WRITE | EXEC)?;
        let ino = *self.dir(dir)?.get(name).ok_or(FsError::NotFound)?;
        if let NodeKind::Dir(entries) = &self.node(ino)?.kind
            && !entries.is_empty()
        {
            return Err(FsError::NotEmpty);
        }
        self.dir_mut(dir)?.remove(name);
        self.node_mut(dir)?.mtime = now();
        self.node_mut(ino)?.nlink -= 1;
        self.reap(ino);
        Ok(())
    }

    /// Takes a name and all beneath it away.
    pub(super) fn remove_tree(&mut self, cred: Cred, dir: Ino, name: &[u8]) -> FsResult<()> {
        let ino = *self.dir(dir)?.get(name).ok_or(FsError::NotFound)?;
        if let NodeKind::Dir(entries) = &self.node(ino)?.kind {
            let names: Vec<_> = entries.keys().cloned().collect();
            for child in names {
                self.remove_tree(cred, ino, &child)?;
            }
        }
        self.unlink(cred, dir, name)
    }

    /// Moves a name, replacing a file that stands at the new one.
    pub(super) fn rename(&mut self, cred: Cred, from: (Ino, &[u8]), to: (Ino, &[u8])) -> FsResult<()> {
        let ino = self.child(from.0, from.1)?.ok_or(FsError::NotFound)?;
        self.allow(from.0, cred, WRITE | EXEC)?;
        if let Some(there) = self.child(to.0, to.1)? {
            if there == ino {
                return Ok(());
            }
            match (&self.node(ino)?.kind, &self.node(there)?.kind) {
                (NodeKind::Dir(_), NodeKind::Dir(_)) => {}
                (NodeKind::Dir(_), _) => return Err(FsError::NotDir),
                (_, NodeKind::Dir(_)) => return Err(FsError::IsDir),
                _ => {}
            }
            self.unlink(cred, to.0, to.1)?;
        }
        self.link(cred, to.0, to.1, ino)?;
        self.dir_mut(from.0)?.remove(from.1);
        self.node_mut(ino)?.nlink -= 1;
        Ok(())
    }

    fn reap(&mut self, ino: Ino) {
        if self.nodes.get(&ino).is_some_and(|n| n.nlink == 0 && n.opens == 0)
            && let Some(Node { kind: NodeKind::File(content), read_only: false, .. }) = self.nodes.remove(&ino)
        {
            self.used = self.used.saturating_sub(content.allocated());
        }
    }

    /// Keeps a node alive without a name.
    pub(super) fn hold(&mut self, ino: Ino) -> FsResult<()> {
        self.node_mut(ino)?.opens += 1;
        Ok(())
    }

    /// Ends a [`Fs::hold`].
    pub(super) fn release(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.opens = node.opens.saturating_sub(1);
            self.reap(ino);
        }
    }

    /// A file without a name, held until [`Fs::release`].
    pub(super) fn detached_file(&mut self, cred: Cred, mode: u32) -> Ino {
        let ino = self.add_node(NodeKind::File(Content::default()), mode, cred);
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.opens = 1;
        }
        ino
    }

    fn make(&mut self, cred: Cred, dir: Ino, name: &[u8], kind: NodeKind, mode: u32) -> FsResult<Ino> {
        let ino = self.add_node(kind, mode, cred);
        match self.link(cred, dir, name, ino) {
            Ok(()) => Ok(ino),
            Err(e) => {
                self.reap(ino);
                Err(e)
            }
        }
    }

    pub(super) fn make_file(&mut self, cred: Cred, dir: Ino, name: &[u8], mode: u32) -> FsResult<Ino> {
        self.make(cred, dir, name, NodeKind::File(Content::default()), mode)
    }

    pub(super) fn make_dir(&mut self, cred: Cred, dir: Ino, name: &[u8], mode: u32) -> FsResult<Ino> {
        self.make(cred, dir, name, NodeKind::Dir(BTreeMap::new()), mode)
    }

    pub(super) fn make_symlink(&mut self, cred: Cred, dir: Ino, name: &[u8], target: &[u8]) -> FsResult<Ino> {
        self.make(cred, dir, name, NodeKind::Symlink(target.to_vec()), 0o777)
    }

    pub(super) fn make_device(&mut self, dir: Ino, name: &[u8], device: Device) -> FsResult<Ino> {
        self.make(Cred::default(), dir, name, NodeKind::Device(device), 0o666)
    }

    /// Makes a directory and those above it that are missing.
    pub(super) fn make_dirs(&mut self, path: &[u8]) -> FsResult<Ino> {
        let mut at = ROOT;
        for part in parts(path).map(<[u8]>::to_vec).collect::<Vec<_>>() {
            at = match self.child(at, &part)? {
                Some(ino) => ino,
                None => self.make_dir(Cred::default(), at, &part, 0o755)?,
            };
        }
        Ok(at)
    }

    /// Nothing is made or changed in this directory from now on.
    pub(super) fn set_read_only(&mut self, dir: Ino, read_only: bool) -> FsResult<()> {
        self.node_mut(dir)?.read_only = read_only;
        Ok(())
    }

    /// Opens a file; it is held until [`Fs::release`].
    pub(super) fn open(&mut self, cred: Cred, cwd: Ino, path: &[u8], how: OpenHow) -> FsResult<Ino> {
        let ino = match self.lookup(cred, cwd, path, true) {
            Ok(ino) => ino,
            Err(FsError::NotFound) if how.create => {
                let (dir, name) = self.parent_of(cred, cwd, path)?;
                if self.child(dir, &name)?.is_some() {
                    return Err(FsError::NotFound); // a link that leads nowhere
                }
                self.make(cred, dir, &name, NodeKind::File(Content::default()), 0o666 & !how.umask)?
            }
            Err(e) => return Err(e),
        };
        if matches!(self.node(ino)?.kind, NodeKind::Dir(_)) {
            return Err(FsError::IsDir);
        }
        if how.read {
            self.allow(ino, cred, READ)?;
        }
        if how.write {
            self.allow(ino, cred, WRITE)?;
        }
        if how.truncate {
            self.truncate(ino, 0)?;
        }
        self.hold(ino)?;
        Ok(ino)
    }

    /// Whether the node may be executed.
    pub(super) fn may_execute(&self, cred: Cred, ino: Ino) -> FsResult<()> {
        let node = self.node(ino)?;
        if !matches!(node.kind, NodeKind::File(_)) || node.mode & 0o111 == 0 {
            return Err(FsError::Denied);
        }
        self.allow(ino, cred, EXEC)
    }

    pub(super) fn may(&self, cred: Cred, ino: Ino, read: bool, write: bool) -> bool {
        let want = if read { READ } else { 0 } | if write { WRITE } else { 0 };
        self.allow(ino, cred, want).is_ok()
    }

    /// Reads into `buf`; fewer bytes mean the end of the file.
    pub(super) fn read_at(&self, ino: Ino, offset: u64, buf: &mut [u8]) -> FsResult<usize> {
        match &self.node(ino)?.kind {
            NodeKind::File(content) => Ok(content.read_at(offset, buf)),
            NodeKind::Device(Device::Null) => Ok(0),
            NodeKind::Device(Device::Zero | Device::Full) => {
                buf.fill(0);
                Ok(buf.len())
            }
            NodeKind::Dir(_) => Err(FsError::IsDir),
            NodeKind::Symlink(_) => Err(FsError::Invalid),
        }
    }

    pub(super) fn write_at(&mut self, ino: Ino, offset: u64, bytes: &[u8]) -> FsResult<()> {
        let (capacity, used) = (self.capacity, self.used);
        let node = self.node_mut(ino)?;
        match &mut node.kind {
            NodeKind::File(content) => {
                let grown = if node.read_only { 0 } else { content.growth(offset, bytes.len()) };
                if capacity.is_some_and(|c| used.saturating_add(grown) > c) {
                    return Err(FsError::NoSpace);
                }
                content.write_at(offset, bytes);
                node.mtime = now();
                self.used += grown;
                Ok(())
            }
            NodeKind::Device(Device::Full) => Err(FsError::NoSpace),
            NodeKind::Device(_) => Ok(()),
            NodeKind::Dir(_) => Err(FsError::IsDir),
            NodeKind::Symlink(_) => Err(FsError::Invalid),
        }
    }

    /// Sets a file's size; what is added is a hole. A device stays as it is.
    pub(super) fn truncate(&mut self, ino: Ino, size: u64) -> FsResult<()> {
        let node = self.node_mut(ino)?;
        if let NodeKind::File(content) = &mut node.kind {
            let before = content.allocated();
            content.set_size(size);
            let freed = if node.read_only { 0 } else { before - content.allocated() };
            node.mtime = now();
            self.used = self.used.saturating_sub(freed);
        }
        Ok(())
    }

    /// The absolute path of a directory.
    pub(super) fn path_of(&self, mut dir: Ino) -> FsResult<Vec<u8>> {
        let mut names = Vec::new();
        while dir != ROOT {
            let parent = self.node(dir)?.parent;
            let name = self.dir(parent)?.iter().find(|(_, i)| **i == dir).map(|(n, _)| n.clone());
            names.push(name.ok_or(FsError::NotFound)?);
            dir = parent;
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }

    /// Writes a whole file as root, making it and its directories where they are missing.
    pub(super) fn put(&mut self, path: &[u8], mode: u32, bytes: &[u8]) -> FsResult<()> {
        let cut = path.iter().rposition(|b| *b == b'/').ok_or(FsError::Invalid)?;
        self.make_dirs(&path[..cut])?;
        let ino = self.open(Cred::default(), ROOT, path, OpenHow::write(false, 0))?;
        let written = self.write_at(ino, 0, bytes);
        self.node_mut(ino)?.mode = mode;
        self.release(ino);
        written
    }

    /// Bytes that contents take, and how many they may take.
    pub(super) fn usage(&self) -> (u64, Option<u64>) {
        (self.used, self.capacity)
    }

    /// Lets the system itself write in its read-only places.
    pub(super) fn unguarded<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        self.unguarded = true;
        let done = act(self);
        self.unguarded = false;
        done
    }

    /// The absolute path that a path stands for, every link followed; its last part need not exist.
    pub(super) fn canonical(&self, cred: Cred, cwd: Ino, path: &[u8]) -> FsResult<Vec<u8>> {
        let (mut cwd, mut path) = (cwd, path.to_vec());
        for _ in 0..MAX_LINKS {
            let (dir, name) = match self.parent_of(cred, cwd, &path) {
                // `/`, `.` and `..` are directories without a name of their own.
                Err(FsError::Invalid) => return self.path_of(self.lookup(cred, cwd, &path, true)?),
                found => found?,
            };
            match self.child(dir, &name)?.map(|ino| self.node(ino)).transpose()?.map(|n| &n.kind) {
                Some(NodeKind::Symlink(target)) => (cwd, path) = (dir, target.clone()),
                _ => {
                    let mut whole = self.path_of(dir)?;
                    if whole != b"/" {
                        whole.push(b'/');
                    }
                    whole.extend(name);
                    return Ok(whole);
                }
            }
        }
        Err(FsError::Loop)
    }
}

/// The kind of error that a full disk and the like give.
impl From<FsError> for ErrorKind {
    fn from(e: FsError) -> Self {
        Error::io("", e.io()).kind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Cred = Cred { uid: 1000, gid: 1000 };

    fn with_tree() -> Fs {
        let mut fs = Fs::new(Some(1 << 20));
        fs.put(b"/etc/motd", 0o644, b"hello").expect("put");
        fs.put(b"/secret", 0o600, b"x").expect("put");
        fs.make_symlink(Cred::default(), ROOT, b"e", b"etc").expect("link");
        fs.make_symlink(Cred::default(), ROOT, b"out", b"../../../etc/motd").expect("link");
        fs.make_symlink(Cred::default(), ROOT, b"loop", b"loop").expect("link");
        fs
    }

    #[test]
    fn links_are_followed_within_the_root() {
        let fs = with_tree();
        let motd = fs.lookup(ME, ROOT, b"/etc/motd", true).expect("motd");
        for path in ["/e/motd", "/out", "/etc/../../etc//./motd"] {
            assert_eq!(fs.lookup(ME, ROOT, path.as_bytes(), true), Ok(motd), "{path}");
        }
        assert_ne!(fs.lookup(ME, ROOT, b"/out", false), Ok(motd));
        assert_eq!(fs.lookup(ME, ROOT, b"/loop", true), Err(FsError::Loop));
        assert_eq!(fs.lookup(ME, ROOT, b"/etc/motd/", true), Err(FsError::NotDir));
    }

    #[test]
    fn permissions_bind_users_and_not_root() {
        let mut fs = with_tree();
        let read = OpenHow::read();
        assert_eq!(fs.open(ME, ROOT, b"/secret", read), Err(FsError::Denied));
        assert!(fs.open(Cred::default(), ROOT, b"/secret", read).is_ok());
        let create = OpenHow::write(true, 0o022);
        assert_eq!(fs.open(ME, ROOT, b"/new", create), Err(FsError::Denied));
        fs.set_read_only(ROOT, true).expect("root");
        assert_eq!(fs.open(Cred::default(), ROOT, b"/new", create), Err(FsError::ReadOnly));
    }

    #[test]
    fn an_open_file_outlives_its_name_and_frees_its_space() {
        let mut fs = with_tree();
        let before = fs.usage().0;
        let how = OpenHow { read: true, ..OpenHow::write(false, 0o022) };
        let ino = fs.open(Cred::default(), ROOT, b"/tmp", how).expect("open");
        fs.write_at(ino, 0, &[7; 5000]).expect("write");
        assert_eq!(fs.write_at(ino, 0, &vec![0; 2 << 20]), Err(FsError::NoSpace));
        fs.unlink(Cred::default(), ROOT, b"tmp").expect("unlink");
        assert_eq!(fs.canonical(ME, ROOT, b"e/../out"), Ok(b"/etc/motd".to_vec()));
        assert_eq!(fs.canonical(ME, ROOT, b"/e/."), Ok(b"/etc".to_vec()));
        assert_eq!(fs.node(ino).map(Node::size), Ok(5000));
        fs.release(ino);
        assert_eq!(fs.usage().0, before);
        assert!(fs.node(ino).is_err());
    }
}

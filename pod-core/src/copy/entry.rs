//! The items a copy is made of, and its requests and reports.

use super::EntryStream;
use crate::{Capability, Requires};
use bytes::Bytes;
use std::path::PathBuf;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file of `size` bytes; its [`Chunk`]s follow, and what they leave out is a hole.
    File {
        /// Its apparent size in bytes.
        size: u64,
    },
    /// A regular file that the receiver has already ([`CopyOutRequest::have`]): no contents follow, and
    /// what it has gets this entry's mode and time.
    Same {
        /// Its apparent size in bytes.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link; the target is kept as it is and never followed by a copy.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// Another name of a regular file that came before in the same stream.
    Hardlink {
        /// That file's path, relative as [`Entry::path`].
        target: Vec<u8>,
    },
    /// A device, FIFO or socket; no copy writes one.
    Special(
        /// What it is, in words.
        &'static str,
    ),
}

/// One thing in a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its path below the copy's root, `/` between the parts, any other bytes as they are; empty for
    /// the root itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with set-id and sticky bits (`0o7777`).
    pub mode: u32,
    /// Modification time: seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a file with holes: where its data lies, as offsets and lengths in their order, apart and inside
    /// the file. `None` when that is not known beforehand; then the chunks alone tell.
    pub extents: Option<Vec<(u64, u64)>>,
}

impl Entry {
    /// An entry of this path and kind: mode 0755 for directories, else 0644; time 0; owner root.
    #[must_use]
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind) -> Self {
        let mode = if matches!(kind, EntryKind::Dir) { 0o755 } else { 0o644 };
        Self { path: path.into(), kind, mode, mtime: (0, 0), uid: 0, gid: 0, extents: None }
    }

    /// Sets the permission bits.
    #[must_use]
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o7777;
        self
    }

    /// Sets the modification time.
    #[must_use]
    pub fn with_mtime(mut self, seconds: i64, nanos: u32) -> Self {
        self.mtime = (seconds, nanos);
        self
    }

    /// Sets owner and group.
    #[must_use]
    pub fn with_owner(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// The path as text for messages, odd bytes escaped.
    #[must_use]
    pub fn display_path(&self) -> String {
        if self.path.is_empty() { ".".into() } else { self.path.escape_ascii().to_string() }
    }
}

/// A piece of the regular file whose entry came last. Pieces come in order and don't overlap; a gap,
/// or a missing end, is a hole that reads as zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where in the file it stands, in bytes.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
}

/// An entry, or a piece of the file before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// The next entry.
    Entry(Entry),
    /// A piece of the last entry.
    Chunk(Chunk),
}

/// Where entries come from.
#[derive(Debug)]
#[non_exhaustive]
pub enum CopySource {
    /// A file or tree of this machine; it can be read again.
    Local(PathBuf),
    /// Entries and contents held in memory; they can be read again.
    Memory(Vec<(Entry, Bytes)>),
    /// A stream of entries, which can't be read again: a tar stream, another workload.
    Stream(EntryStream),
}

/// How a copy is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// Every file's length is compared.
    #[default]
    Length,
    /// Every file is read back and its SHA-256 compared.
    Hash,
    /// Nothing is compared.
    None,
}

/// How a copy was checked.
pub type CopyCheck = Verify;

/// Asks for entries to be copied in.
#[derive(Debug)]
#[non_exhaustive]
pub struct CopyInRequest {
    /// What the source's root entry becomes: an absolute path whose parent exists.
    pub dest: Vec<u8>,
    /// The entries.
    pub source: CopySource,
    /// How to check.
    pub verify: Verify,
    /// Keep owners and set-id bits; else the entries belong to the workload's user.
    pub archive: bool,
    /// Take up an earlier copy to the same destination that was made with this set and broke off: a file
    /// that arrived whole then, of the same size, mode and time (and the same SHA-256 with
    /// [`Verify::Hash`]), is not sent again. If this copy breaks off, what arrived whole stays, hidden
    /// beside the destination, until a copy to the same destination succeeds, with or without this.
    /// Needs `copy.resume`.
    pub resume: bool,
}

impl CopyInRequest {
    /// Copies `source` to `dest`.
    #[must_use]
    pub fn new(dest: impl Into<Vec<u8>>, source: CopySource) -> Self {
        Self { dest: dest.into(), source, verify: Verify::Length, archive: false, resume: false }
    }

    /// Takes up a copy that broke off, and lets this one be taken up.
    #[must_use]
    pub fn with_resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
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
}

impl Requires for CopyInRequest {
    fn requires(&self) -> Vec<Capability> {
        let mut need = vec![Capability::CopyIn];
        if self.archive {
            need.push(Capability::CopyOwners);
        }
        if self.verify == Verify::Hash {
            need.push(Capability::CopyHash);
        }
        if self.resume {
            need.push(Capability::CopyResume);
        }
        need
    }
}

/// A regular file that the receiver of a copy has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Had {
    /// Its path, as [`Entry::path`].
    pub path: Vec<u8>,
    /// Its size in bytes.
    pub size: u64,
    /// Its modification time: seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Its SHA-256. With it, the contents are compared, too.
    pub sha256: Option<[u8; 32]>,
}

impl Had {
    /// A file at this path of the copy.
    #[must_use]
    pub fn new(path: impl Into<Vec<u8>>, size: u64, mtime: (i64, u32)) -> Self {
        Self { path: path.into(), size, mtime, sha256: None }
    }

    /// Sets the SHA-256.
    #[must_use]
    pub fn with_sha256(mut self, sha256: [u8; 32]) -> Self {
        self.sha256 = Some(sha256);
        self
    }

    /// Whether a regular file of the copy has the same size and time. Where either has no part below a
    /// second, which some tools leave out, the seconds count.
    #[must_use]
    pub fn looks_like(&self, entry: &Entry) -> bool {
        let (own, there) = (self.mtime, entry.mtime);
        entry.kind == EntryKind::File { size: self.size }
            && own.0 == there.0
            && (own.1 == there.1 || own.1 == 0 || there.1 == 0)
    }
}

/// Asks for a file or tree to be copied out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOutRequest {
    /// Its absolute path. Symbolic links in its parents are followed within the workload; the last
    /// part's only with `follow`.
    pub path: Vec<u8>,
    /// Follow a symbolic link at the path itself.
    pub follow: bool,
    /// The files that the receiver has from an earlier copy. Those that are the same there come as
    /// [`EntryKind::Same`], without contents. Needs `copy.resume`, also when it holds nothing.
    pub have: Option<Vec<Had>>,
}

impl CopyOutRequest {
    /// Copies out what is at `path`.
    #[must_use]
    pub fn new(path: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), follow: false, have: None }
    }

    /// Leaves out the contents of these files where they are the same.
    #[must_use]
    pub fn with_have(mut self, have: Vec<Had>) -> Self {
        self.have = Some(have);
        self
    }

    /// Follows a symbolic link at the path itself.
    #[must_use]
    pub fn with_follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }
}

impl Requires for CopyOutRequest {
    fn requires(&self) -> Vec<Capability> {
        let mut need = vec![Capability::CopyOut];
        if self.have.is_some() {
            need.push(Capability::CopyResume);
        }
        need
    }
}

/// Asks what is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatRequest {
    /// The absolute path.
    pub path: Vec<u8>,
    /// Follow a symbolic link at the path itself.
    pub follow: bool,
    /// Only the kind is wanted: what else is answered may be left at its default, where a platform tells it
    /// only for a higher price.
    pub kind_only: bool,
}

impl StatRequest {
    /// Asks what is at `path`, following links.
    #[must_use]
    pub fn new(path: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), follow: true, kind_only: false }
    }

    /// Asks for the kind only.
    #[must_use]
    pub fn kind_only(mut self) -> Self {
        self.kind_only = true;
        self
    }

    /// Sets whether a symbolic link at the path itself is followed.
    #[must_use]
    pub fn with_follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }
}

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// Anything else.
    Other,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct FileStat {
    /// Its kind.
    pub kind: FileType,
    /// Its size in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Modification time: seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Where a symbolic link points.
    pub target: Option<Vec<u8>>,
}

impl FileStat {
    /// What is at a path, of this kind and size; mode 0, time 0, owner root.
    #[must_use]
    pub fn new(kind: FileType, size: u64) -> Self {
        Self { kind, size, mode: 0, mtime: (0, 0), uid: 0, gid: 0, target: None }
    }
}

/// What a copy did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CopyReport {
    /// Entries written, directories included.
    pub entries: u64,
    /// Bytes of regular files, holes not counted.
    pub bytes: u64,
    /// How it was checked.
    pub checked: CopyCheck,
    /// What the far end could not carry, in words, such as `owners`.
    pub not_kept: Vec<String>,
    /// Files among them that an earlier copy had brought whole, and this one did not send.
    pub resumed: u64,
}

impl CopyReport {
    /// A report of nothing yet, that will be checked so.
    #[must_use]
    pub fn checked_by(checked: CopyCheck) -> Self {
        Self { checked, ..Self::default() }
    }
}

//! The source's entries on their way into the image's `tar`.

use super::kept::{Kept, Taken};
use crate::Manifest;
use bytes::Bytes;
use pod_core::copy::tar::{TarOptions, write_with};
use pod_core::copy::{
    Chunk, CopyReport, CopySource, Entry, EntryKind, EntrySink, EntryStream, Item, SOCKET, StreamCheck, Verify,
};
use pod_core::{Error, ErrorKind, Result};

/// The tar of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tar {
    Gnu,
    Other,
}

/// What the source's first entry says of the whole.
#[derive(Debug)]
pub(super) struct First {
    pub(super) item: Option<Item>,
    /// It is a directory, or entries that fill one.
    pub(super) is_dir: bool,
}

impl First {
    /// Takes the first entry.
    ///
    /// # Errors
    /// What the source gives; `InvalidInput` for a root that can't be made.
    pub(super) async fn take(stream: &mut EntryStream) -> Result<Self> {
        let item = stream.next().await?;
        let is_dir = match &item {
            None => true,
            Some(Item::Entry(entry)) => !entry.path.is_empty() || entry.kind == EntryKind::Dir,
            Some(_) => return Err(Error::new(ErrorKind::Integrity, "contents came before any entry")),
        };
        Ok(Self { item, is_dir })
    }
}

/// How a copy is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) verify: Verify,
    pub(super) archive: bool,
    pub(super) resume: bool,
}

/// Brings the source's entries into the form the script takes: the root is `r`, the list of what to check
/// `e`, which comes last; directories come once more before it, so that their modes and times are set
/// when nothing is written into them any more. BusyBox's tar makes links at the very end of an archive
/// only, so there the directories are an archive of their own, the file `d`. What an earlier copy brought
/// is not sent: the file `k` moves it into its place, before `d`.
pub(super) struct Relay {
    sink: Option<EntrySink>,
    check: StreamCheck,
    archive: bool,
    tar: Tar,
    superuser: bool,
    dirs: Vec<Entry>,
    pub(super) manifest: Manifest,
    pub(super) report: CopyReport,
    /// What an earlier copy brought, and what of it is taken.
    kept: Option<(Kept, Taken)>,
    /// The file under way: what of it came.
    open: Option<Open>,
}

struct Open {
    size: u64,
    came: u64,
    mapped: bool,
    body: Body,
}

/// What becomes of a file's contents.
enum Body {
    Sent,
    /// The far end has them.
    Left,
    /// The far end has them if the hash is this one; they wait until that is known.
    Held {
        entry: Entry,
        from: Vec<u8>,
        hash: String,
        chunks: Vec<Chunk>,
    },
}

impl Relay {
    pub(super) fn new(sink: EntrySink, how: How, tar: Tar, superuser: bool, kept: Option<Kept>) -> Self {
        Self {
            sink: Some(sink),
            check: StreamCheck::new(None, None),
            archive: how.archive,
            tar,
            superuser,
            dirs: Vec::new(),
            manifest: Manifest::new(how.verify),
            report: CopyReport::checked_by(how.verify),
            kept: kept.map(|kept| (kept, Taken::default())),
            open: None,
        }
    }

    fn lacks(&mut self, what: &str) {
        if !self.report.not_kept.iter().any(|w| w == what) {
            self.report.not_kept.push(what.to_owned());
        }
    }

    /// Sends an item on; an error when nobody takes it any more, which the writer explains.
    async fn send(&self, item: Item) -> Result<()> {
        match &self.sink {
            Some(sink) if sink.send(Ok(item)).await => Ok(()),
            _ => Err(gone()),
        }
    }

    pub(super) async fn run(&mut self, mut source: EntryStream, first: First) -> Result<()> {
        let sent = self.all(&mut source, first).await;
        match (sent, self.sink.take()) {
            (Ok(()), Some(sink)) => {
                sink.finish().await;
                Ok(())
            }
            // A sink that is dropped makes the writer stop without an end mark.
            (Err(e), _) if is_gone(&e) => Ok(()), // the writer knows why
            (sent, _) => sent,
        }
    }

    async fn all(&mut self, source: &mut EntryStream, first: First) -> Result<()> {
        self.send(Item::Entry(Entry::new("", EntryKind::Dir).with_mode(0o700))).await?;
        let mut next = first.item;
        if !matches!(&next, Some(Item::Entry(entry)) if entry.path.is_empty()) {
            // Entries without a root of their own fill a directory that is there.
            self.send(Item::Entry(Entry::new("r", EntryKind::Dir))).await?;
        }
        while let Some(item) = next {
            match item {
                Item::Entry(entry) => {
                    self.settle().await?;
                    self.entry(entry).await?;
                }
                Item::Chunk(chunk) => self.chunk(chunk).await?,
                _ => return Err(Error::unexpected("the copy holds an item of an unknown kind")),
            }
            next = source.next().await?;
        }
        self.settle().await?;
        let dirs: Vec<_> = std::mem::take(&mut self.dirs).into_iter().rev().collect();
        if let Some((_, taken)) = &self.kept {
            self.file("k", taken.script()).await?;
        }
        // What is moved into a directory later changes its time.
        if self.tar == Tar::Gnu && self.kept.is_none() {
            for dir in dirs {
                self.send(Item::Entry(dir)).await?;
            }
        } else if !dirs.is_empty() {
            let list = archive(dirs).await?;
            self.file("d", list).await?;
        }
        let list = self.manifest.list();
        self.file("e", list).await
    }

    /// Sends a file of our own.
    async fn file(&self, name: &str, data: Bytes) -> Result<()> {
        self.send(Item::Entry(Entry::new(name, EntryKind::File { size: data.len() as u64 }))).await?;
        if !data.is_empty() {
            self.send(Item::Chunk(Chunk { offset: 0, data })).await?;
        }
        Ok(())
    }

    async fn entry(&mut self, mut entry: Entry) -> Result<()> {
        self.check.entry(&entry)?;
        if entry.kind == EntryKind::Special(SOCKET) {
            self.lacks("sockets");
            return Ok(());
        }
        if !self.archive {
            entry.mode &= 0o1777;
        } else if !self.superuser {
            self.lacks("owners");
            entry.mode &= 0o1777;
        }
        if self.tar != Tar::Gnu && entry.mtime.1 != 0 {
            self.lacks("times below a second");
            entry.mtime.1 = 0;
        }
        if self.tar != Tar::Gnu && matches!(entry.kind, EntryKind::Symlink { .. }) {
            self.lacks("times of symbolic links");
        }
        entry.path = below(&entry.path);
        if let Some((_, taken)) = &mut self.kept {
            taken.replaced(&entry.path);
        }
        match &mut entry.kind {
            EntryKind::File { size } => {
                let size = *size;
                self.manifest.file(&entry.path, size);
                self.report.entries += 1;
                return self.begin(entry, size).await;
            }
            EntryKind::Hardlink { target } => {
                *target = below(target);
                self.manifest.link(&entry.path, target);
                if let Some((_, taken)) = &mut self.kept
                    && taken.has(target)
                {
                    // Its target comes into its place only when the archive is unpacked.
                    taken.link(entry.path, target);
                    self.report.entries += 1;
                    return Ok(());
                }
            }
            EntryKind::Dir => {
                let mut now = entry.clone();
                // Written into by whoever the container's user is; as it shall be in the end, later.
                now.mode |= 0o700;
                std::mem::swap(&mut now, &mut entry);
                self.dirs.push(now);
            }
            EntryKind::Same { .. } => {
                return Err(Error::invalid("the copy says of a file that it is there already"));
            }
            _ => self.manifest.other(&entry.path),
        }
        self.report.entries += 1;
        self.send(Item::Entry(entry)).await
    }

    /// Begins a file: its contents are sent, unless the far end has them.
    async fn begin(&mut self, entry: Entry, size: u64) -> Result<()> {
        let mapped = entry.extents.is_some();
        let owners = self.archive && self.superuser;
        let found = self.kept.as_ref().and_then(|(kept, _)| kept.find(&entry, owners));
        let body = match found {
            None => {
                self.send(Item::Entry(entry)).await?;
                Body::Sent
            }
            Some(found) => match found.waits_for() {
                Some(hash) => {
                    let (from, hash) = (found.from.clone(), hash.to_owned());
                    Body::Held { entry, from, hash, chunks: Vec::new() }
                }
                None => {
                    let from = found.from.clone();
                    self.take(entry.path, from);
                    Body::Left
                }
            },
        };
        self.open = Some(Open { size, came: 0, mapped, body });
        Ok(())
    }

    fn take(&mut self, path: Vec<u8>, from: Vec<u8>) {
        if let Some((_, taken)) = &mut self.kept {
            taken.file(path, from);
            self.report.resumed += 1;
        }
    }

    async fn chunk(&mut self, chunk: Chunk) -> Result<()> {
        let end = chunk.offset.checked_add(chunk.data.len() as u64);
        let open = match &mut self.open {
            Some(open) if end.is_some_and(|end| end <= open.size) => open,
            _ => {
                return Err(Error::new(ErrorKind::Integrity, "the contents don't fit the size given")
                    .with_context("offset", chunk.offset.to_string()));
            }
        };
        open.came += chunk.data.len() as u64;
        self.report.bytes += chunk.data.len() as u64;
        self.manifest.data(&chunk);
        match &mut open.body {
            Body::Sent => self.send(Item::Chunk(chunk)).await,
            Body::Left => Ok(()),
            Body::Held { chunks, .. } => {
                chunks.push(chunk);
                Ok(())
            }
        }
    }

    /// Closes the file under way.
    async fn settle(&mut self) -> Result<()> {
        self.manifest.settle();
        let Some(Open { size, came, mapped, body }) = self.open.take() else { return Ok(()) };
        match body {
            Body::Left => return Ok(()),
            Body::Sent => {}
            Body::Held { entry, from, hash, .. } if self.manifest.hash(&entry.path) == Some(hash.as_str()) => {
                self.take(entry.path, from);
                return Ok(());
            }
            Body::Held { entry, chunks, .. } => {
                self.send(Item::Entry(entry)).await?;
                for chunk in chunks {
                    self.send(Item::Chunk(chunk)).await?;
                }
            }
        }
        if came < size && !(self.tar == Tar::Gnu && mapped) {
            self.lacks("holes");
        }
        Ok(())
    }
}

/// An archive of these directories.
async fn archive(dirs: Vec<Entry>) -> Result<Bytes> {
    let mut data = Vec::new();
    let entries = CopySource::Memory(dirs.into_iter().map(|dir| (dir, Bytes::new())).collect()).open()?;
    write_with(entries, &mut data, &TarOptions::new()).await?;
    Ok(data.into())
}

/// A path of the copy as the script has it.
pub(super) fn below(path: &[u8]) -> Vec<u8> {
    if path.is_empty() { b"r".to_vec() } else { [b"r/", path].concat() }
}

fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "nobody takes the copy any more")
}

fn is_gone(error: &Error) -> bool {
    error.kind() == ErrorKind::Cancelled && error.message() == "nobody takes the copy any more"
}

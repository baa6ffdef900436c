//! Copies into and out of a simulated file system.

use super::fs::{Cred, Fs, FsError, FsResult, Ino, NodeKind, ROOT, SharedFs};
use crate::copy::{
    Chunk, CopyInRequest, CopyOutRequest, CopyReport, Entry, EntryKind, EntrySink, EntryStream, Had, Item, SOCKET,
    StreamCheck, Verify, show, split,
};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

const ROOT_CRED: Cred = Cred { uid: 0, gid: 0 };
/// The most that one chunk of a copy out holds.
const CHUNK: u64 = 64 << 10;

/// A file on its way in: it gets its name when it is whole.
struct Incoming {
    fs: SharedFs,
    ino: Ino,
    entry: Entry,
    size: u64,
    at: u64,
    hash: Sha256,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.fs.lock().release(self.ino);
    }
}

fn hash_zeros(hash: &mut Sha256, mut n: u64) {
    const ZEROS: [u8; 4096] = [0; 4096];
    while n > 0 {
        let step = n.min(ZEROS.len() as u64);
        hash.update(&ZEROS[..step as usize]);
        n -= step;
    }
}

struct Receiver {
    fs: SharedFs,
    /// The directory that holds the root entry, and the root entry's name there.
    base: (Ino, Vec<u8>),
    archive: bool,
    verify: Verify,
    /// A file that is there already, whole, is left as it is.
    resume: bool,
    report: CopyReport,
    /// Times of directories, set when all within them is written.
    times: Vec<(Ino, (i64, u32))>,
    file: Option<Incoming>,
}

/// Carries out [`Connection::copy_in`](crate::Connection::copy_in).
pub(super) async fn copy_in(fs: SharedFs, request: CopyInRequest) -> Result<CopyReport> {
    let at_dest = |e: FsError| e.at("copy to the workload", &request.dest);
    let base = {
        let fs = fs.lock();
        if request.dest.iter().all(|b| *b == b'/') {
            Ok((ROOT, Vec::new()))
        } else {
            fs.parent_of(ROOT_CRED, ROOT, &request.dest)
        }
    };
    let base = base.map_err(at_dest)?;
    let mut stream = request.source.open()?;
    let mut check = StreamCheck::new(None, None);
    let mut receiver = Receiver {
        fs,
        base,
        archive: request.archive,
        verify: request.verify,
        resume: request.resume,
        report: CopyReport { checked: request.verify, ..CopyReport::default() },
        times: Vec::new(),
        file: None,
    };
    let mut first = true;
    while let Some(item) = stream.next().await? {
        match item {
            Item::Entry(entry) => {
                receiver.finish_file()?;
                if first && !entry.path.is_empty() {
                    return Err(
                        Error::invalid("a copy begins with its root entry").with_context("entry", show(&entry.path))
                    );
                }
                first = false;
                check.entry(&entry)?;
                receiver.entry(&entry).map_err(|e| match e {
                    Refused::Fs(e) => {
                        e.at("copy to the workload", &request.dest).with_context("entry", show(&entry.path))
                    }
                    Refused::Other(e) => e.with_context("entry", show(&entry.path)),
                })?;
            }
            Item::Chunk(chunk) => receiver.chunk(&chunk)?,
        }
    }
    receiver.finish_file()?;
    if first {
        return Err(Error::invalid("the copy holds nothing"));
    }
    let mut fs = receiver.fs.lock();
    for (ino, mtime) in &receiver.times {
        fs.node_mut(*ino).map_err(at_dest)?.mtime = *mtime;
    }
    drop(fs);
    Ok(receiver.report.clone())
}

enum Refused {
    Fs(FsError),
    Other(Error),
}

impl From<FsError> for Refused {
    fn from(e: FsError) -> Self {
        Self::Fs(e)
    }
}

impl Receiver {
    /// The directory and name of a path of the copy. No part of it below the root entry is followed.
    fn place(&self, fs: &mut Fs, path: &[u8]) -> FsResult<(Ino, Vec<u8>)> {
        if path.is_empty() {
            return Ok(self.base.clone());
        }
        let mut at = match &self.base {
            (dir, name) if name.is_empty() => *dir,
            (dir, name) => fs.child(*dir, name)?.ok_or(FsError::NotFound)?,
        };
        let (parent, name) = split(path);
        for part in parent.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
            at = match fs.child(at, part)? {
                Some(ino) => ino,
                None => fs.make_dir(ROOT_CRED, at, part, 0o755)?,
            };
        }
        Ok((at, name.to_vec()))
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Refused> {
        let shared = self.fs.clone();
        let mut fs = shared.lock();
        let (dir, name) = self.place(&mut fs, &entry.path)?;
        let there = if name.is_empty() { Some(dir) } else { fs.child(dir, &name)? };
        let is_dir = |fs: &Fs, ino: Ino| matches!(fs.node(ino).map(|n| &n.kind), Ok(NodeKind::Dir(_)));
        match &entry.kind {
            EntryKind::Dir => {
                let ino = match there {
                    Some(ino) if is_dir(&fs, ino) => ino,
                    Some(_) => return Err(FsError::NotDir.into()),
                    None => fs.make_dir(ROOT_CRED, dir, &name, 0o755)?,
                };
                self.dress(&mut fs, ino, entry)?;
                self.times.push((ino, entry.mtime));
            }
            EntryKind::File { size } => {
                if there.is_some_and(|ino| is_dir(&fs, ino)) {
                    return Err(FsError::IsDir.into());
                }
                // Whether it may be made here at all is told before its content comes.
                let probe = fs.detached_file(ROOT_CRED, 0);
                let allowed = match there {
                    None => fs.link(ROOT_CRED, dir, &name, probe).and_then(|()| fs.unlink(ROOT_CRED, dir, &name)),
                    Some(_) if fs.may(ROOT_CRED, dir, false, true) => Ok(()),
                    Some(_) => Err(FsError::ReadOnly),
                };
                if let Err(e) = allowed {
                    fs.release(probe);
                    return Err(e.into());
                }
                let file = Incoming {
                    fs: shared.clone(),
                    ino: probe,
                    entry: entry.clone(),
                    size: *size,
                    at: 0,
                    hash: Sha256::new(),
                };
                self.file = Some(file);
                return Ok(());
            }
            EntryKind::Same { .. } => {
                return Err(Refused::Other(Error::invalid("the copy says of a file that it is here already")));
            }
            EntryKind::Symlink { target } => {
                self.replace(&mut fs, there, dir, &name)?;
                let ino = fs.make_symlink(ROOT_CRED, dir, &name, target)?;
                self.dress(&mut fs, ino, entry)?;
                fs.node_mut(ino)?.mtime = entry.mtime;
            }
            EntryKind::Hardlink { target } => {
                let (from_dir, from_name) = self.place(&mut fs, target)?;
                let ino = fs.child(from_dir, &from_name)?.ok_or(FsError::NotFound)?;
                if there != Some(ino) {
                    self.replace(&mut fs, there, dir, &name)?;
                    fs.link(ROOT_CRED, dir, &name, ino)?;
                }
            }
            EntryKind::Special(what) if *what == SOCKET => {
                if !self.report.not_kept.iter().any(|w| w == "sockets") {
                    self.report.not_kept.push("sockets".into());
                }
                return Ok(());
            }
            EntryKind::Special(what) => {
                return Err(Refused::Other(Error::invalid(format!("a copy never makes a {what}"))));
            }
        }
        self.report.entries += 1;
        Ok(())
    }

    fn replace(&self, fs: &mut Fs, there: Option<Ino>, dir: Ino, name: &[u8]) -> FsResult<()> {
        match there {
            None => Ok(()),
            Some(ino) if matches!(fs.node(ino)?.kind, NodeKind::Dir(_)) => Err(FsError::IsDir),
            Some(_) => fs.unlink(ROOT_CRED, dir, name),
        }
    }

    fn dress(&self, fs: &mut Fs, ino: Ino, entry: &Entry) -> FsResult<()> {
        let node = fs.node_mut(ino)?;
        if !matches!(node.kind, NodeKind::Symlink(_)) {
            node.mode = if self.archive { entry.mode & 0o7777 } else { entry.mode & 0o1777 };
        }
        if self.archive {
            (node.uid, node.gid) = (entry.uid, entry.gid);
        }
        Ok(())
    }

    /// Whether the file that came stands in its place already, as an earlier copy brought it.
    fn stands(&self, fs: &mut Fs, file: &Incoming) -> FsResult<bool> {
        let (dir, name) = self.place(fs, &file.entry.path)?;
        let Some(there) = fs.child(dir, &name)? else { return Ok(false) };
        let node = fs.node(there)?;
        let mode = file.entry.mode & if self.archive { 0o7777 } else { 0o1777 };
        let owned = !self.archive || (node.uid, node.gid) == (file.entry.uid, file.entry.gid);
        let looks = matches!(node.kind, NodeKind::File(_))
            && (node.size(), node.mtime, node.mode, owned) == (file.size, file.entry.mtime, mode, true);
        if !looks || self.verify != Verify::Hash {
            return Ok(looks);
        }
        let mut hash = file.hash.clone();
        hash_zeros(&mut hash, file.size - file.at);
        Ok(hash_locked(fs, there)? == hash.finalize().as_slice())
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Err(Error::new(ErrorKind::Integrity, "a piece of a file came with no file before it"));
        };
        let refuse = |message: &str| {
            Err(Error::new(ErrorKind::Integrity, message).with_context("entry", show(&file.entry.path)))
        };
        let Some(end) = chunk.offset.checked_add(chunk.data.len() as u64) else {
            return refuse("a piece of a file lies beyond any file");
        };
        if chunk.offset < file.at {
            return refuse("pieces of a file overlap");
        }
        if end > file.size {
            return refuse("a file is longer than was said");
        }
        if self.verify == Verify::Hash {
            hash_zeros(&mut file.hash, chunk.offset - file.at);
            file.hash.update(&chunk.data);
        }
        file.at = end;
        self.report.bytes += chunk.data.len() as u64;
        let written = self.fs.lock().write_at(file.ino, chunk.offset, &chunk.data);
        written.map_err(|e| e.at("copy to the workload", &file.entry.path))
    }

    /// Gives the file its name: what stood there before is replaced only now.
    fn finish_file(&mut self) -> Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let stands = self.resume && {
            let shared = self.fs.clone();
            let mut fs = shared.lock();
            self.stands(&mut fs, &file).map_err(|e| e.at("copy to the workload", &file.entry.path))?
        };
        if stands {
            self.report.entries += 1;
            self.report.resumed += 1;
            return Ok(());
        }
        let named = {
            let mut fs = self.fs.lock();
            let size = fs.node(file.ino).map(super::fs::Node::size);
            let sized = match size {
                Ok(there) if there < file.size => fs.truncate(file.ino, file.size),
                Ok(_) => Ok(()),
                Err(e) => Err(e),
            };
            sized
                .and_then(|()| self.dress(&mut fs, file.ino, &file.entry))
                .and_then(|()| {
                    fs.node_mut(file.ino)?.mtime = file.entry.mtime;
                    Ok(())
                })
                .and_then(|()| {
                    let (dir, name) = self.place(&mut fs, &file.entry.path)?;
                    let there = fs.child(dir, &name)?;
                    self.replace(&mut fs, there, dir, &name)?;
                    fs.link(ROOT_CRED, dir, &name, file.ino)
                })
        };
        named.map_err(|e| e.at("copy to the workload", &file.entry.path))?;
        self.report.entries += 1;
        match self.verify {
            Verify::None => Ok(()),
            Verify::Length => {
                let there = self.fs.lock().node(file.ino).map(super::fs::Node::size).ok();
                if there == Some(file.size) { Ok(()) } else { Err(differs(&file.entry, "length")) }
            }
            Verify::Hash => {
                hash_zeros(&mut file.hash, file.size - file.at);
                let sent = std::mem::take(&mut file.hash).finalize();
                let there = hash_of(&self.fs, file.ino).map_err(|e| e.at("read back", &file.entry.path))?;
                if there == sent.as_slice() { Ok(()) } else { Err(differs(&file.entry, "SHA-256")) }
            }
        }
    }
}

fn differs(entry: &Entry, what: &str) -> Error {
    Error::new(ErrorKind::Integrity, format!("the {what} of what arrived differs from what was sent"))
        .with_context("entry", show(&entry.path))
}

fn hash_of(fs: &SharedFs, ino: Ino) -> FsResult<Vec<u8>> {
    hash_locked(&fs.lock(), ino)
}

fn hash_locked(fs: &Fs, ino: Ino) -> FsResult<Vec<u8>> {
    let mut hash = Sha256::new();
    let mut buf = vec![0; CHUNK as usize];
    let mut at = 0;
    loop {
        let n = fs.read_at(ino, at, &mut buf)?;
        if n == 0 {
            return Ok(hash.finalize().to_vec());
        }
        hash.update(&buf[..n]);
        at += n as u64;
    }
}

/// Carries out [`Connection::copy_out`](crate::Connection::copy_out).
pub(super) fn copy_out(fs: SharedFs, request: &CopyOutRequest) -> Result<EntryStream> {
    let root = {
        let fs = fs.lock();
        fs.lookup(ROOT_CRED, ROOT, &request.path, request.follow)
    };
    let root = root.map_err(|e| e.at("copy from the workload", &request.path))?;
    let (sink, stream) = EntryStream::channel();
    let path = request.path.clone();
    let have = request.have.iter().flatten().map(|h| (h.path.clone(), h.clone())).collect();
    tokio::spawn(async move {
        match send_tree(&fs, root, &have, &sink).await {
            Ok(true) => sink.finish().await,
            Ok(false) => {} // the receiver has gone
            Err(e) => {
                // The receiver may have gone too.
                let _ = sink.send(Err(e.at("copy from the workload", &path).with_operation("copy"))).await;
            }
        }
    });
    Ok(stream)
}

/// Sends a tree, parents first; `false` when nobody listens any more.
async fn send_tree(fs: &SharedFs, root: Ino, have: &HashMap<Vec<u8>, Had>, sink: &EntrySink) -> FsResult<bool> {
    let mut names: HashMap<Ino, Vec<u8>> = HashMap::new();
    let mut todo = vec![(Vec::new(), root)];
    while let Some((path, ino)) = todo.pop() {
        let (entry, children) = {
            let fs = fs.lock();
            let Ok(node) = fs.node(ino) else { continue }; // removed meanwhile
            let mut children = Vec::new();
            let kind = match &node.kind {
                NodeKind::File(content) => match names.get(&ino) {
                    Some(first) => EntryKind::Hardlink { target: first.clone() },
                    None => {
                        if node.nlink > 1 {
                            names.insert(ino, path.clone());
                        }
                        EntryKind::File { size: content.size() }
                    }
                },
                NodeKind::Dir(entries) => {
                    for (name, child) in entries.iter().rev() {
                        let whole = if path.is_empty() { name.clone() } else { [&path, &b"/"[..], name].concat() };
                        children.push((whole, *child));
                    }
                    EntryKind::Dir
                }
                NodeKind::Symlink(target) => EntryKind::Symlink { target: target.clone() },
                NodeKind::Device(_) => EntryKind::Special("character device"),
            };
            let entry = Entry::new(path, kind)
                .with_mode(node.mode)
                .with_mtime(node.mtime.0, node.mtime.1)
                .with_owner(node.uid, node.gid);
            (entry, children)
        };
        todo.extend(children);
        let mut entry = entry;
        if let (Some(had), EntryKind::File { size }) = (have.get(&entry.path), &entry.kind)
            && had.looks_like(&entry)
            && had.sha256.is_none_or(|h| hash_of(fs, ino).is_ok_and(|there| there == h))
        {
            entry.kind = EntryKind::Same { size: *size };
        }
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        if !sink.send(Ok(Item::Entry(entry))).await {
            return Ok(false);
        }
        if is_file && !send_content(fs, ino, sink).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn send_content(fs: &SharedFs, ino: Ino, sink: &EntrySink) -> FsResult<bool> {
    let mut at = 0;
    loop {
        let chunk = {
            let fs = fs.lock();
            let NodeKind::File(content) = &fs.node(ino)?.kind else { return Err(FsError::Invalid) };
            let Some((start, len)) = content.next_data(at) else { return Ok(true) };
            let mut data = vec![0; usize::try_from(len.min(CHUNK)).unwrap_or(usize::MAX)];
            let n = content.read_at(start, &mut data);
            data.truncate(n);
            Chunk { offset: start, data: Bytes::from(data) }
        };
        at = chunk.offset + chunk.data.len() as u64;
        if !sink.send(Ok(Item::Chunk(chunk))).await {
            return Ok(false);
        }
    }
}

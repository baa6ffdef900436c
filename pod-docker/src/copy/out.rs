//! Copying out, and what is at a path.

use crate::engine::failure::Failure;
use crate::engine::{Query, part};
use crate::exec::Target;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::TryStreamExt;
use http::{HeaderMap, Method};
use pod_core::copy::{
    CopyOutRequest, Entry, EntryKind, EntryStream, FileStat, FileType, Item, StatRequest, StreamCheck, show, split, tar,
};
use pod_core::{Error, ErrorKind, Result};
use std::io;
use tokio_util::io::StreamReader;

/// The most symbolic links that are followed (as `ELOOP`, path_resolution(7)).
const LINKS: usize = 40;

/// Whether the daemon says that nothing is at the path: it has two ways to say so.
fn is_absent(failure: &Failure) -> bool {
    let said = |words: &str| {
        let lower = words.to_ascii_lowercase();
        lower.contains("no such file or directory")
            || lower.contains("not a directory")
            || lower.contains("could not find the file")
    };
    failure.words().is_some_and(said)
}

/// The tar stream of what is at a path; `None` when nothing is.
async fn open(target: &Target, path: &[u8]) -> Result<Option<EntryStream>> {
    let query = Query::new().with("path", path);
    let of = format!("/containers/{}/archive", part(&target.id));
    match target.engine.stream(Method::GET, &of, query, &[]).await {
        Ok((_, stream)) => {
            let reader = StreamReader::new(stream.map_err(io::Error::other));
            Ok(Some(tar::read(reader)))
        }
        Err(f) if is_absent(&f) => Ok(None),
        Err(f) if f.is_not_found() => Err(Error::not_found("workload", target.name.as_str())),
        Err(f) => Err(target.about(target.engine.error(f)).with_context("path", show(path))),
    }
}

/// What is left of a path when its slashes and dots at the end are taken off.
fn trimmed(path: &[u8]) -> &[u8] {
    let path = pod_core::copy::target::trimmed(path);
    if path.is_empty() { b"/" } else { path }
}

/// The first entry of a stream, which is what the path itself is.
async fn first(stream: &mut EntryStream) -> Result<Entry> {
    match stream.next().await? {
        Some(Item::Entry(entry)) => Ok(entry),
        _ => Err(Error::new(ErrorKind::Integrity, "the daemon's archive begins with no entry")),
    }
}

/// Where a link at `path` leads, by the words alone: the daemon resolves what is before the last part.
fn beside(path: &[u8], link: &[u8]) -> Vec<u8> {
    if link.first() == Some(&b'/') {
        return link.to_vec();
    }
    [split(trimmed(path)).0, b"/", link].concat()
}

/// Opens what is at a path, links followed when asked to; with its first entry and the path that it is at.
async fn look(target: &Target, path: &[u8], follow: bool) -> Result<Option<(Entry, EntryStream)>> {
    // A path that ends in a slash is what is behind a link.
    let follow = follow || pod_core::copy::target::into_itself(path);
    let mut at = trimmed(path).to_vec();
    for _ in 0..LINKS {
        let Some(mut stream) = open(target, &at).await? else { return Ok(None) };
        let entry = first(&mut stream).await.map_err(|e| target.about(e).with_context("path", show(&at)))?;
        match &entry.kind {
            EntryKind::Symlink { target } if follow => at = beside(&at, target),
            _ => return Ok(Some((entry, stream))),
        }
    }
    Err(target.about(Error::invalid("too many levels of symbolic links").with_context("path", show(path))))
}

/// What the head of an archive tells of its path (API, "Get information about files in a container"): no
/// owner, and where a link leads at last, not what stands in it.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    size: u64,
    /// As Go's `fs.FileMode` has it.
    mode: u32,
    #[serde(default)]
    mtime: String,
    #[serde(default)]
    link_target: String,
}

impl Head {
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = BASE64.decode(headers.get("x-docker-container-path-stat")?).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn mtime(&self) -> Option<jiff::Timestamp> {
        self.mtime.parse().ok()
    }

    /// The kind (Go's documentation, package io/fs, `FileMode`).
    fn kind(&self) -> FileType {
        const DIR: u32 = 1 << 31;
        const SYMLINK: u32 = 1 << 27;
        /// Devices of both kinds, pipes, sockets, what Go does not know.
        const OTHER: u32 = 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;
        match self.mode {
            m if m & DIR != 0 => FileType::Dir,
            m if m & SYMLINK != 0 => FileType::Symlink,
            m if m & OTHER != 0 => FileType::Other,
            _ => FileType::File,
        }
    }
}

/// The kind of what is at a path, without an archive of it, which the daemon starts a program to make; `None`
/// where that does not tell.
async fn kind(target: &Target, path: &[u8], follow: bool) -> Option<FileStat> {
    let follow = follow || pod_core::copy::target::into_itself(path);
    let mut at = trimmed(path).to_vec();
    for _ in 0..LINKS {
        let query = Query::new().with("path", &at);
        let answer = target.engine.head(&format!("/containers/{}/archive", part(&target.id)), query).await.ok()?;
        let head = Head::of(&answer)?;
        match head.kind() {
            FileType::Symlink if follow && !head.link_target.is_empty() => at = head.link_target.into_bytes(),
            kind => return Some(FileStat::new(kind, head.size)),
        }
    }
    None
}

/// What is at a path; `None` when nothing is.
///
/// # Errors
/// As [`Connection::stat`](pod_core::Connection::stat).
pub(crate) async fn stat(target: &Target, request: &StatRequest) -> Result<Option<FileStat>> {
    // A head that is refused has no words to say why: whether nothing is there, or no container.
    if request.kind_only
        && let Some(found) = kind(target, &request.path, request.follow).await
    {
        return Ok(Some(found));
    }
    let Some((entry, _)) = look(target, &request.path, request.follow).await? else { return Ok(None) };
    let (kind, size, link) = match entry.kind {
        EntryKind::File { size } => (FileType::File, size, None),
        EntryKind::Dir => (FileType::Dir, 0, None),
        EntryKind::Symlink { target } => (FileType::Symlink, target.len() as u64, Some(target)),
        _ => (FileType::Other, 0, None),
    };
    let mut found = FileStat::new(kind, size);
    found.mode = entry.mode;
    found.mtime = entry.mtime;
    (found.uid, found.gid) = (entry.uid, entry.gid);
    found.target = link;
    Ok(Some(found))
}

/// Streams a file or tree out of a container.
///
/// # Errors
/// As [`Connection::copy_out`](pod_core::Connection::copy_out).
pub(crate) async fn copy_out(target: &Target, request: CopyOutRequest) -> Result<EntryStream> {
    let Some((first, entries)) = look(target, &request.path, request.follow).await? else {
        return Err(target.about(
            Error::new(ErrorKind::NotFound, "there is nothing at that path").with_context("path", show(&request.path)),
        ));
    };
    let (sink, stream) = EntryStream::channel();
    let target = target.clone();
    tokio::spawn(async move {
        let passed = tokio::select! {
            passed = relay(first, entries, &sink) => passed,
            () = sink.closed() => return,
        };
        match passed {
            Ok(true) => sink.finish().await,
            Ok(false) => {}
            Err(e) => {
                sink.send(Err(target.about(e))).await;
            }
        }
    });
    Ok(stream)
}

/// Passes entries on under the names that a copy has: the archive's own begin with the last part of the
/// path. `false` when nobody takes them any more.
async fn relay(first: Entry, mut entries: EntryStream, sink: &pod_core::copy::EntrySink) -> Result<bool> {
    let root = first.path.clone();
    let below = |path: &[u8]| -> Result<Vec<u8>> {
        if root.is_empty() || path == root {
            return Ok(if path == root { Vec::new() } else { path.to_vec() });
        }
        match path.strip_prefix(root.as_slice()).and_then(|rest| rest.strip_prefix(b"/")) {
            Some(rest) => Ok(rest.to_vec()),
            None => Err(Error::new(ErrorKind::Integrity, "the daemon's archive holds an entry beside the root")
                .with_context("entry", show(path))),
        }
    };
    let mut check = StreamCheck::new(None, None);
    let mut pass = |item: &mut Item| {
        if let Item::Entry(entry) = item {
            entry.path = below(&entry.path)?;
            if let EntryKind::Hardlink { target } = &mut entry.kind {
                *target = below(target)?;
            }
            check.entry(entry)?;
        }
        Ok(())
    };
    let mut first = Item::Entry(first);
    pass(&mut first)?;
    Ok(sink.send(Ok(first)).await && sink.pass_on(&mut entries, pass).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_on_from_where_they_are() {
        assert_eq!(beside(b"/tmp/link", b"d/file"), b"/tmp/d/file");
        assert_eq!(beside(b"/tmp/link/", b"../x"), b"/tmp/../x");
        assert_eq!(beside(b"/tmp/link", b"/etc"), b"/etc");
        assert_eq!(beside(b"/link", b"x"), b"/x");
    }

    #[tokio::test]
    async fn an_archive_that_lies_is_refused() {
        let entry = |path: &str| Entry::new(path, EntryKind::File { size: 0 });
        for hostile in ["../escaped", "/etc/passwd", "tree/../../x", "other/x", "treex"] {
            let (sink, entries) = EntryStream::channel();
            sink.send(Ok(Item::Entry(entry(hostile)))).await;
            sink.finish().await;
            let (out, _stream) = EntryStream::channel();
            let passed = relay(Entry::new("tree", EntryKind::Dir), entries, &out).await;
            assert!(passed.is_err(), "{hostile}");
        }
    }

    #[tokio::test]
    async fn a_path_through_a_link_of_the_archive_is_refused() {
        let (sink, entries) = EntryStream::channel();
        let link = Entry::new("tree/l", EntryKind::Symlink { target: b"/etc".to_vec() });
        sink.send(Ok(Item::Entry(link))).await;
        sink.send(Ok(Item::Entry(Entry::new("tree/l/passwd", EntryKind::File { size: 0 })))).await;
        sink.finish().await;
        let (out, _stream) = EntryStream::channel();
        let passed = relay(Entry::new("tree", EntryKind::Dir), entries, &out).await;
        assert!(passed.is_err_and(|e| e.to_string().contains("l/passwd")));
    }
}

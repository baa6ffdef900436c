//! Single files and links, copied in and out.

use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use bytes::Bytes;
use pod_core::copy::{
    Chunk, CopyInRequest, CopyOutRequest, CopyReport, CopySource, Entry, EntryKind, EntryStream, FileType, Item,
    StatRequest, Verify,
};
use pod_core::{Connection, ErrorKind};

cases! { "copy":
    a_file_arrives [Create, Exec, CopyIn];
    a_file_comes_out [Create, Exec, CopyOut];
    an_empty_file_is_kept [Create, CopyIn, CopyOut];
    a_large_file_is_kept [Create, CopyIn, CopyOut];
    modes_are_kept [Create, CopyIn, CopyOut, CopyModes];
    set_id_bits_are_dropped [Create, CopyIn, CopyOut, CopyModes];
    times_are_kept [Create, CopyIn, CopyOut, CopyTimes];
    owners_are_kept_on_request [Create, CopyIn, CopyOut, CopyOwners];
    holes_stay_holes [Create, CopyIn, CopyOut, CopySparse];
    a_link_is_kept [Create, CopyIn, CopyOut, CopySymlinks];
    a_link_is_followed_on_request [Create, Exec, CopyOut, CopySymlinks];
    a_file_replaces_a_file [Create, Exec, CopyIn];
    a_copy_can_be_checked_by_hash [Create, CopyIn, CopyHash];
    the_report_counts [Create, CopyIn];
    stat_tells_what_is_there [Create, Exec, CopyOut];
    what_is_absent_is_not_found [Create, CopyOut];
    a_parent_must_exist [Create, CopyIn];
}

pub(super) fn file(path: &str, size: u64) -> Entry {
    Entry::new(path, EntryKind::File { size })
}

/// A file's entry and content.
pub(super) fn with_content(path: impl Into<Vec<u8>>, content: impl Into<Bytes>) -> (Entry, Bytes) {
    let content = content.into();
    (Entry::new(path, EntryKind::File { size: content.len() as u64 }), content)
}

/// Copies these entries to a path.
pub(super) async fn put(
    connection: &dyn Connection,
    dest: &str,
    entries: Vec<(Entry, Bytes)>,
) -> pod_core::Result<CopyReport> {
    connection.copy_in(CopyInRequest::new(dest, CopySource::Memory(entries))).await
}

/// An entry with the pieces of its content.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Got {
    pub(super) entry: Entry,
    pub(super) chunks: Vec<Chunk>,
}

impl Got {
    /// The content as bytes; for files that fit into memory.
    pub(super) fn content(&self) -> Vec<u8> {
        let size = match self.entry.kind {
            EntryKind::File { size } => size as usize,
            _ => 0,
        };
        let mut all = vec![0; size];
        for chunk in &self.chunks {
            let at = chunk.offset as usize;
            all[at..at + chunk.data.len()].copy_from_slice(&chunk.data);
        }
        all
    }
}

/// Everything of a stream.
pub(super) async fn drain(lab: &Lab, mut stream: EntryStream) -> Result<Vec<Got>, Failure> {
    let mut all: Vec<Got> = Vec::new();
    while let Some(item) = lab.within(30_000, "the next piece of the copy", stream.next()).await?? {
        match item {
            Item::Entry(entry) => all.push(Got { entry, chunks: Vec::new() }),
            Item::Chunk(chunk) => {
                let last = all.last_mut().ok_or_else(|| Failure::new("a piece came before any entry"))?;
                let size = match last.entry.kind {
                    EntryKind::File { size } => size,
                    _ => return Err(Failure::new(format!("a piece came for {:?}", last.entry.kind))),
                };
                let begin = last.chunks.last().map_or(0, |c| c.offset + c.data.len() as u64);
                let end = chunk.offset + chunk.data.len() as u64;
                ensure!(
                    chunk.offset >= begin && end <= size,
                    "a piece {}..{end} comes after {begin} in a file of {size}",
                    chunk.offset
                );
                last.chunks.push(chunk);
            }
            other => return Err(Failure::new(format!("an unknown item: {other:?}"))),
        }
    }
    ensure!(
        all.first().is_some_and(|g| g.entry.path.is_empty()),
        "the first entry is not the root's: {:?}",
        all.first()
    );
    Ok(all)
}

/// Copies a path out.
pub(super) async fn get(lab: &Lab, connection: &dyn Connection, path: &str) -> Result<Vec<Got>, Failure> {
    let stream = connection.copy_out(CopyOutRequest::new(path)).await?;
    drain(lab, stream).await
}

/// Copies one thing out.
pub(super) async fn get_one(lab: &Lab, connection: &dyn Connection, path: &str) -> Result<Got, Failure> {
    let mut all = get(lab, connection, path).await?;
    ensure_eq!(all.len(), 1, "how many entries {path} gives");
    all.pop().ok_or_else(|| Failure::new("no entry"))
}

async fn a_file_arrives(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let content = b"first\n\x00\xff second\n".to_vec();
    put(&*connection, "/tmp/file", vec![with_content("", content.clone())]).await?;
    let out = pod_core::ConnectionExt::run(&*connection, pod_core::ExecRequest::new(["cat", "/tmp/file"])).await?;
    ensure_eq!(out.stdout, content, "what a program reads");
    Ok(())
}

async fn a_file_comes_out(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "printf 'first\\n\\000\\377 second\\n' >/tmp/file").await?;
    let got = get_one(lab, &*connection, "/tmp/file").await?;
    ensure_eq!(got.content(), b"first\n\x00\xff second\n", "what came out");
    Ok(())
}

async fn an_empty_file_is_kept(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    put(&*connection, "/tmp/empty", vec![with_content("", Bytes::new())]).await?;
    let got = get_one(lab, &*connection, "/tmp/empty").await?;
    ensure_eq!(got.entry.kind, EntryKind::File { size: 0 }, "what came out");
    ensure!(got.chunks.is_empty(), "an empty file has pieces: {:?}", got.chunks);
    Ok(())
}

/// Bytes in which a moved or lost piece shows.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect()
}

async fn a_large_file_is_kept(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let content = pattern((9 << 20) + 12_345);
    put(&*connection, "/tmp/large", vec![with_content("", content.clone())]).await?;
    let got = get_one(lab, &*connection, "/tmp/large").await?;
    ensure!(got.content() == content, "what came out differs from what went in");
    Ok(())
}

async fn modes_are_kept(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for mode in [0o644, 0o755, 0o600, 0o400, 0o777, 0o1755] {
        let (entry, content) = with_content("", "x");
        put(&*connection, "/tmp/file", vec![(entry.with_mode(mode), content)]).await?;
        let got = get_one(lab, &*connection, "/tmp/file").await?;
        ensure_eq!(got.entry.mode, mode, "the mode, in octal {mode:o}");
    }
    let dir = Entry::new("", EntryKind::Dir).with_mode(0o711);
    put(&*connection, "/tmp/dir", vec![(dir, Bytes::new())]).await?;
    ensure_eq!(get_one(lab, &*connection, "/tmp/dir").await?.entry.mode, 0o711, "a directory's mode");
    Ok(())
}

async fn set_id_bits_are_dropped(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let (entry, content) = with_content("", "x");
    put(&*connection, "/tmp/file", vec![(entry.with_mode(0o6755), content)]).await?;
    let got = get_one(lab, &*connection, "/tmp/file").await?;
    ensure_eq!(got.entry.mode, 0o755, "the mode of a set-id file copied without archive");
    Ok(())
}

async fn times_are_kept(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for (seconds, nanos) in [(1_000_000_000, 123_456_789), (0, 0), (4_000_000_000, 1)] {
        let (entry, content) = with_content("", "x");
        put(&*connection, "/tmp/file", vec![(entry.with_mtime(seconds, nanos), content)]).await?;
        let got = get_one(lab, &*connection, "/tmp/file").await?;
        ensure_eq!(got.entry.mtime, (seconds, nanos), "a file's time");
    }
    // A directory's time is set after what is in it.
    let dir = Entry::new("", EntryKind::Dir).with_mtime(1_100_000_000, 5);
    put(&*connection, "/tmp/dir", vec![(dir, Bytes::new()), with_content("in", "x")]).await?;
    let got = get(lab, &*connection, "/tmp/dir").await?;
    ensure_eq!(got[0].entry.mtime, (1_100_000_000, 5), "a directory's time");
    Ok(())
}

async fn owners_are_kept_on_request(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for (archive, owner) in [(true, (1234, 4321)), (false, (0, 0))] {
        let (entry, content) = with_content("", "x");
        let source = CopySource::Memory(vec![(entry.with_owner(1234, 4321).with_mode(0o4755), content)]);
        let path = format!("/tmp/file{archive}");
        connection.copy_in(CopyInRequest::new(path.as_str(), source).with_archive(archive)).await?;
        let got = get_one(lab, &*connection, &path).await?;
        ensure_eq!((got.entry.uid, got.entry.gid), owner, "the owner with archive {archive}");
        let mode = if archive { 0o4755 } else { 0o755 };
        ensure_eq!(got.entry.mode, mode, "the mode with archive {archive}");
    }
    Ok(())
}

async fn holes_stay_holes(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    const SIZE: u64 = 1 << 30;
    let (sink, stream) = EntryStream::channel();
    let pieces = [(0, "begin"), (500 << 20, "middle"), (SIZE - 3, "end")];
    let send = async move {
        sink.send(Ok(Item::Entry(file("", SIZE)))).await;
        for (offset, text) in pieces {
            sink.send(Ok(Item::Chunk(Chunk { offset, data: Bytes::from_static(text.as_bytes()) }))).await;
        }
        sink.finish().await;
    };
    let request = CopyInRequest::new("/tmp/sparse", CopySource::Stream(stream));
    let (copied, ()) = tokio::join!(connection.copy_in(request), send);
    ensure!(copied?.bytes <= 64 << 20, "the report counts the holes");
    let got = lab.within(10_000, "copying a hole out", get_one(lab, &*connection, "/tmp/sparse")).await??;
    ensure_eq!(got.entry.kind, EntryKind::File { size: SIZE }, "the size");
    let data: usize = got.chunks.iter().map(|c| c.data.len()).sum();
    ensure!(data <= 4 << 20, "of 14 bytes of data in a file of 1 GiB, {data} bytes came out");
    for (offset, text) in pieces {
        let there = got.chunks.iter().any(|c| {
            let at = offset.checked_sub(c.offset).and_then(|i| usize::try_from(i).ok());
            at.is_some_and(|at| c.data.get(at..at + text.len()) == Some(text.as_bytes()))
        });
        ensure!(there, "the {text:?} at {offset} is lost");
    }
    Ok(())
}

async fn a_link_is_kept(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for target in ["/etc/passwd", "no/such/../thing", "/"] {
        let link = Entry::new("", EntryKind::Symlink { target: target.into() });
        put(&*connection, "/tmp/link", vec![(link, Bytes::new())]).await?;
        let got = get_one(lab, &*connection, "/tmp/link").await?;
        ensure_eq!(got.entry.kind, EntryKind::Symlink { target: target.into() }, "what came out");
    }
    Ok(())
}

async fn a_link_is_followed_on_request(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "mkdir /tmp/d; echo hello >/tmp/d/file; ln -s d/file /tmp/link; ln -s d /tmp/dir").await?;
    let stream = connection.copy_out(CopyOutRequest::new("/tmp/link").with_follow(true)).await?;
    let got = drain(lab, stream).await?;
    ensure_eq!(got[0].content(), b"hello\n", "what the link leads to");
    // A link before the last part is always followed.
    ensure_eq!(get_one(lab, &*connection, "/tmp/dir/file").await?.content(), b"hello\n", "what is behind a link");
    let kept = get_one(lab, &*connection, "/tmp/link").await?;
    ensure!(matches!(kept.entry.kind, EntryKind::Symlink { .. }), "unasked, the link was followed: {kept:?}");
    Ok(())
}

async fn a_file_replaces_a_file(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "echo a long line of before >/tmp/file; ln /tmp/file /tmp/other").await?;
    put(&*connection, "/tmp/file", vec![with_content("", "new")]).await?;
    ensure_eq!(lab.sh(&*connection, "cat /tmp/file").await?, "new", "the file");
    put(&*connection, "/tmp/file", vec![with_content("", "new")]).await?;
    ensure_eq!(lab.sh(&*connection, "cat /tmp/file").await?, "new", "the file, copied twice");
    Ok(())
}

async fn a_copy_can_be_checked_by_hash(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for verify in [Verify::Hash, Verify::Length, Verify::None] {
        let entries = vec![
            (Entry::new("", EntryKind::Dir), Bytes::new()),
            with_content("a", pattern(300_000)),
            with_content("empty", Bytes::new()),
        ];
        let request = CopyInRequest::new("/tmp/tree", CopySource::Memory(entries)).with_verify(verify);
        ensure_eq!(connection.copy_in(request).await?.checked, verify, "how it was checked");
    }
    Ok(())
}

async fn the_report_counts(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let entries = vec![
        (Entry::new("", EntryKind::Dir), Bytes::new()),
        with_content("a", "12345"),
        (Entry::new("d", EntryKind::Dir), Bytes::new()),
        with_content("d/b", "123"),
    ];
    let report = put(&*connection, "/tmp/tree", entries).await?;
    ensure_eq!((report.entries, report.bytes), (4, 8), "entries and bytes");
    ensure!(report.not_kept.is_empty(), "something was not kept: {:?}", report.not_kept);
    Ok(())
}

async fn stat_tells_what_is_there(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "printf 12345 >/tmp/file; chmod 640 /tmp/file; mkdir /tmp/dir; ln -s file /tmp/link").await?;
    let stat = async |path: &str, follow| {
        let found = connection.stat(StatRequest::new(path).with_follow(follow)).await?;
        found.ok_or_else(|| Failure::new(format!("there is nothing at {path}")))
    };
    let file = stat("/tmp/file", false).await?;
    ensure_eq!((file.kind, file.size, file.mode, file.uid), (FileType::File, 5, 0o640, 0), "a file");
    ensure_eq!(stat("/tmp/dir", false).await?.kind, FileType::Dir, "a directory");
    let link = stat("/tmp/link", false).await?;
    ensure_eq!((link.kind, link.target), (FileType::Symlink, Some(b"file".to_vec())), "a link");
    ensure_eq!(stat("/tmp/link", true).await?.kind, FileType::File, "a link that is followed");
    ensure_eq!(stat("/", true).await?.kind, FileType::Dir, "the root");
    lab.sh(&*connection, "ln -s dir /tmp/todir; ln -s link /tmp/twice; ln -s none /tmp/broken").await?;
    let kinds = ["/tmp/file", "/tmp/dir", "/tmp/link", "/tmp/todir", "/tmp/todir/", "/tmp/twice", "/tmp/broken"];
    for path in kinds.into_iter().chain(["/tmp/none", "/tmp/none/below", "/tmp/file/below", "/"]) {
        for follow in [true, false] {
            let request = StatRequest::new(path).with_follow(follow);
            let whole = connection.stat(request.clone()).await?.map(|s| s.kind);
            let kind = connection.stat(request.kind_only()).await?.map(|s| s.kind);
            ensure_eq!(kind, whole, "{path}, asked for its kind only, with follow {follow}");
        }
    }
    for absent in ["/tmp/none", "/tmp/none/below", "/tmp/file/below"] {
        let found = connection.stat(StatRequest::new(absent)).await?;
        ensure!(found.is_none(), "there is something at {absent}: {found:?}");
    }
    Ok(())
}

async fn what_is_absent_is_not_found(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for path in ["/tmp/none", "/no/such/directory"] {
        let copied = match connection.copy_out(CopyOutRequest::new(path)).await {
            Ok(stream) => return Err(Failure::new(format!("{path} was copied out: {:?}", drain(lab, stream).await))),
            Err(e) => Err::<(), _>(e),
        };
        let e = expect_error(copied, ErrorKind::NotFound, path)?;
        ensure!(e.to_string().contains(path), "the error does not name the path: {e}");
    }
    Ok(())
}

async fn a_parent_must_exist(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let copied = put(&*connection, "/tmp/no/such/file", vec![with_content("", "x")]).await;
    expect_error(copied, ErrorKind::NotFound, "a copy into a directory that is not there")?;
    if lab.has(pod_core::Capability::CopyOut) {
        let found = connection.stat(StatRequest::new("/tmp/no")).await?;
        ensure!(found.is_none(), "the refused copy made the directory");
    }
    Ok(())
}

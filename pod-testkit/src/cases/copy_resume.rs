//! Copies that are taken up where they broke off.

use super::copy_files::{drain, file, get, with_content};
use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use bytes::Bytes;
use pod_core::copy::{
    Chunk, CopyInRequest, CopyOutRequest, CopyReport, CopySource, Entry, EntryKind, EntryStream, Had, Item, Verify,
};
use pod_core::{Connection, Error, ErrorKind};

cases! { "copy":
    a_resumed_upload_sends_the_rest [Create, CopyIn, CopyOut, CopyResume];
    a_resumed_upload_compares_hashes [Create, CopyIn, CopyOut, CopyHash, CopyResume];
    a_resumed_download_asks_for_the_rest [Create, CopyIn, CopyOut, CopyHash, CopyResume];
}

const TIME: i64 = 1_000_000_000;
const PIECE: usize = 1 << 20;

fn dir(path: &str) -> (Entry, Bytes) {
    (Entry::new(path, EntryKind::Dir), Bytes::new())
}

fn timed(path: &str, content: &str, time: i64) -> (Entry, Bytes) {
    let (entry, data) = with_content(path, content.to_owned());
    (entry.with_mtime(time, 0), data)
}

/// Some whole entries, then half a large file, then the end of the source.
fn broken(entries: Vec<(Entry, Bytes)>) -> CopySource {
    let (sink, stream) = EntryStream::channel();
    tokio::spawn(async move {
        for (entry, data) in entries {
            sink.send(Ok(Item::Entry(entry))).await;
            if !data.is_empty() {
                sink.send(Ok(Item::Chunk(Chunk { offset: 0, data }))).await;
            }
        }
        sink.send(Ok(Item::Entry(file("large", 2 * PIECE as u64).with_mtime(TIME, 0)))).await;
        sink.send(Ok(Item::Chunk(Chunk { offset: 0, data: Bytes::from(vec![7; PIECE]) }))).await;
        sink.send(Err(Error::new(ErrorKind::Unavailable, "the source went away"))).await;
    });
    CopySource::Stream(stream)
}

fn large() -> (Entry, Bytes) {
    let (entry, data) = with_content("large", vec![7; 2 * PIECE]);
    (entry.with_mtime(TIME, 0), data)
}

async fn copy(connection: &dyn Connection, source: CopySource, verify: Verify) -> pod_core::Result<CopyReport> {
    connection.copy_in(CopyInRequest::new("/tmp/tree", source).with_verify(verify).with_resume(true)).await
}

/// What is in the tree: each file's path and content, but the large one's.
async fn contents(lab: &Lab, connection: &dyn Connection) -> Result<Vec<(String, String)>, Failure> {
    let mut found = Vec::new();
    for got in get(lab, connection, "/tmp/tree").await? {
        if matches!(got.entry.kind, EntryKind::File { .. }) && got.entry.path != b"large" {
            found.push((got.entry.display_path(), String::from_utf8_lossy(&got.content()).into_owned()));
        }
    }
    found.sort();
    Ok(found)
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

async fn a_resumed_upload_sends_the_rest(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let first = vec![
        dir(""),
        timed("same", "same", TIME),
        timed("changed", "old", TIME),
        dir("sub"),
        timed("sub/same too", "same too", TIME),
        timed("sub/gone", "gone", TIME),
    ];
    let broke = copy(&*connection, broken(first), Verify::Length).await;
    expect_error(broke, ErrorKind::Unavailable, "a source that breaks off")?;
    let second = || {
        CopySource::Memory(vec![
            dir(""),
            timed("same", "same", TIME),
            timed("changed", "new", TIME + 1),
            dir("sub"),
            timed("sub/same too", "same too", TIME),
            timed("sub/fresh", "fresh", TIME),
            large(),
        ])
    };
    let report = copy(&*connection, second(), Verify::Length).await?;
    ensure_eq!(report.resumed, 2, "the files that were not sent again");
    ensure_eq!(report.entries, 7, "the entries of the copy");
    let expected = pairs(&[("changed", "new"), ("same", "same"), ("sub/fresh", "fresh"), ("sub/same too", "same too")]);
    let mut found = contents(lab, &*connection).await?;
    // Where a copy writes into its place, what it brought before stays, as all that is there.
    found.retain(|(path, _)| path != "sub/gone");
    ensure_eq!(found, expected, "the tree");
    let beside = get(lab, &*connection, "/tmp").await?;
    let hidden: Vec<_> = beside.iter().filter(|g| g.entry.display_path().contains(".pod")).collect();
    ensure!(hidden.is_empty(), "something was left beside the copy: {:?}", hidden[0].entry);
    // Without being asked for, nothing is taken up.
    let request = CopyInRequest::new("/tmp/tree", second());
    let report = connection.copy_in(request).await?;
    ensure_eq!(report.resumed, 0, "the files that were not sent again without a word of it");
    Ok(())
}

async fn a_resumed_upload_compares_hashes(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let first = vec![dir(""), timed("same", "same", TIME), timed("changed", "old", TIME)];
    let broke = copy(&*connection, broken(first), Verify::Hash).await;
    expect_error(broke, ErrorKind::Unavailable, "a source that breaks off")?;
    let second = vec![dir(""), timed("same", "same", TIME), timed("changed", "new", TIME), large()];
    let report = copy(&*connection, CopySource::Memory(second), Verify::Hash).await?;
    ensure_eq!(report.resumed, 1, "the files that were not sent again");
    ensure_eq!(contents(lab, &*connection).await?, pairs(&[("changed", "new"), ("same", "same")]), "the tree");
    Ok(())
}

async fn a_resumed_download_asks_for_the_rest(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let entries =
        vec![dir(""), timed("same", "same", TIME), timed("other", "other", TIME), timed("hash", "hash", TIME)];
    connection.copy_in(CopyInRequest::new("/tmp/tree", CopySource::Memory(entries))).await?;
    let have = vec![
        Had::new("same", 4, (TIME, 0)),
        Had::new("other", 5, (TIME + 1, 0)),
        Had::new("hash", 4, (TIME, 0)).with_sha256([0; 32]),
        Had::new("absent", 4, (TIME, 0)),
    ];
    let stream = connection.copy_out(CopyOutRequest::new("/tmp/tree").with_have(have)).await?;
    for got in drain(lab, stream).await? {
        let path = got.entry.display_path();
        match (path.as_str(), &got.entry.kind) {
            ("same", kind) => ensure_eq!(*kind, EntryKind::Same { size: 4 }, "a file that the receiver has"),
            ("other" | "hash", EntryKind::File { .. }) => ensure_eq!(got.content(), path.as_bytes(), "the content"),
            (".", EntryKind::Dir) => {}
            other => return Err(Failure::new(format!("unexpected: {other:?}"))),
        }
    }
    Ok(())
}

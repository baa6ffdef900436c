//! Copies that fail, and copies that are hostile.

use super::copy_files::{file, get, get_one, put, with_content};
use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Lab, Outcome};
use bytes::Bytes;
use pod_core::copy::{
    Chunk, CopyInRequest, CopyOutRequest, CopySource, Entry, EntryKind, EntryStream, Item, StatRequest,
};
use pod_core::{Connection, Error, ErrorKind};

cases! { "copy":
    a_read_only_place_is_refused [Create, CopyIn];
    a_broken_upload_leaves_no_file [Create, CopyIn, CopyOut, CopyAtomic];
    a_broken_upload_leaves_the_old_file [Create, Exec, CopyIn, CopyAtomic];
    a_cancelled_upload_leaves_no_file [Create, CopyIn, CopyOut, CopyAtomic];
    a_length_that_is_a_lie_is_refused [Create, CopyIn, CopyOut];
    hostile_names_are_refused [Create, CopyIn, CopyOut];
    a_path_through_a_link_of_the_copy_is_refused [Create, Exec, CopyIn, CopyOut, CopySymlinks];
    a_link_in_the_way_is_not_followed [Create, Exec, CopyIn, CopyOut];
    hard_links_out_of_the_copy_are_refused [Create, Exec, CopyIn, CopyOut];
    devices_are_refused [Create, CopyIn, CopyOut];
    links_never_lead_out_of_the_workload [Create, Exec, CopyIn, CopyOut, CopySymlinks];
    a_dropped_download_ends [Create, Exec, CopyOut];
    paths_are_absolute [Create, CopyIn, CopyOut];
}

async fn exists(connection: &dyn Connection, path: &str) -> pod_core::Result<bool> {
    Ok(connection.stat(StatRequest::new(path).with_follow(false)).await?.is_some())
}

async fn a_read_only_place_is_refused(lab: &Lab) -> Outcome {
    let Some(dir) = lab.target().read_only.clone() else { return Ok(()) };
    let (_, connection) = lab.running().await?;
    let dest = [dir.as_slice(), b"/pod-testkit"].concat();
    let copied = connection.copy_in(CopyInRequest::new(dest, CopySource::Memory(vec![with_content("", "x")]))).await;
    let e = expect_error(copied, ErrorKind::PermissionDenied, "a copy to a read-only place")?;
    ensure!(e.to_string().contains("pod-testkit"), "the error does not name the path: {e}");
    Ok(())
}

/// A source that sends part of a file and then breaks off, with an error or without a word.
fn broken(with: Option<Error>) -> CopySource {
    let (sink, stream) = EntryStream::channel();
    tokio::spawn(async move {
        sink.send(Ok(Item::Entry(file("", 1 << 20)))).await;
        for i in 0..8u64 {
            let data = Bytes::from(vec![7; 64 << 10]);
            sink.send(Ok(Item::Chunk(Chunk { offset: i << 16, data }))).await;
        }
        if let Some(e) = with {
            sink.send(Err(e)).await;
        }
    });
    CopySource::Stream(stream)
}

async fn a_broken_upload_leaves_no_file(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let own = Error::new(ErrorKind::Unavailable, "the source went away");
    for (with, kind) in [(None, ErrorKind::Integrity), (Some(own), ErrorKind::Unavailable)] {
        let copied = connection.copy_in(CopyInRequest::new("/tmp/half", broken(with))).await;
        expect_error(copied, kind, "a source that breaks off")?;
        ensure!(!exists(&*connection, "/tmp/half").await?, "half a file was left");
    }
    let left = get(lab, &*connection, "/tmp").await?;
    let names: Vec<_> = left.iter().filter(|g| g.chunks.iter().any(|c| c.data.starts_with(&[7; 16]))).collect();
    ensure!(names.is_empty(), "part of the file was left under another name: {:?}", names[0].entry);
    Ok(())
}

async fn a_broken_upload_leaves_the_old_file(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "echo old >/tmp/file").await?;
    let copied = connection.copy_in(CopyInRequest::new("/tmp/file", broken(None))).await;
    expect_error(copied, ErrorKind::Integrity, "a source that breaks off")?;
    ensure_eq!(lab.sh(&*connection, "cat /tmp/file").await?, "old\n", "what was there before");
    Ok(())
}

async fn a_cancelled_upload_leaves_no_file(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for pause in [0, 1, 3, 10, 30] {
        let (sink, stream) = EntryStream::channel();
        let feed = tokio::spawn(async move {
            sink.send(Ok(Item::Entry(file("", 1 << 30)))).await;
            for i in 0..1000u64 {
                let chunk = Chunk { offset: i << 16, data: Bytes::from(vec![7; 64 << 10]) };
                if !sink.send(Ok(Item::Chunk(chunk))).await {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        });
        let request = CopyInRequest::new("/tmp/half", CopySource::Stream(stream));
        let cancelled =
            tokio::time::timeout(std::time::Duration::from_millis(pause), connection.copy_in(request)).await;
        ensure!(cancelled.is_err(), "a copy whose source goes on was done: {cancelled:?}");
        lab.within(10_000, "the source's end", feed).await?.map_err(|e| crate::Failure::new(e.to_string()))?;
        let gone = async || Ok(!exists(&*connection, "/tmp/half").await?);
        lab.eventually(3000, "the half file is gone", gone).await?;
    }
    Ok(())
}

async fn a_length_that_is_a_lie_is_refused(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let chunk = |offset, len: usize| Chunk { offset, data: Bytes::from(vec![1; len]) };
    for (what, chunks) in [
        ("longer than said", vec![chunk(0, 11)]),
        ("beyond the end", vec![chunk(8, 4)]),
        ("pieces that overlap", vec![chunk(0, 6), chunk(4, 6)]),
        ("beyond all", vec![chunk(u64::MAX - 1, 4)]),
    ] {
        let (sink, stream) = EntryStream::channel();
        tokio::spawn(async move {
            sink.send(Ok(Item::Entry(file("", 10)))).await;
            for chunk in chunks {
                sink.send(Ok(Item::Chunk(chunk))).await;
            }
            sink.finish().await;
        });
        let copied = connection.copy_in(CopyInRequest::new("/tmp/lie", CopySource::Stream(stream))).await;
        ensure!(copied.is_err(), "{what}: it was taken: {copied:?}");
        ensure!(!exists(&*connection, "/tmp/lie").await?, "{what}: a file was left");
    }
    Ok(())
}

fn dir(path: &str) -> (Entry, Bytes) {
    (Entry::new(path, EntryKind::Dir), Bytes::new())
}

/// Sends a hostile entry after a root, and fails unless it is refused by name and nothing of it stays.
async fn refused(lab: &Lab, connection: &dyn Connection, entries: Vec<(Entry, Bytes)>) -> Outcome {
    let last = entries.last().map(|(e, _)| e.display_path()).unwrap_or_default();
    match put(connection, "/tmp/dest", entries).await {
        Ok(report) => Err(crate::Failure::new(format!("the entry {last:?} was taken: {report:?}"))),
        Err(e) => {
            let text = e.to_string();
            let named = last.is_empty() || text.contains(last.trim_matches('/')) || text.contains(&last);
            ensure!(named, "the error does not name the entry {last:?}: {e}");
            for escaped in ["/tmp/escaped", "/escaped"] {
                ensure!(!exists(connection, escaped).await?, "the entry {last:?} was written to {escaped}");
            }
            let _ = lab;
            Ok(())
        }
    }
}

async fn hostile_names_are_refused(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for name in ["../escaped", "/escaped", "a/../../escaped", "..", "a//b", "./a", "a/./b", "a/", "a\0b"] {
        refused(lab, &*connection, vec![dir(""), with_content(name, "x")]).await?;
        refused(lab, &*connection, vec![dir(""), dir(name)]).await?;
    }
    Ok(())
}

async fn a_path_through_a_link_of_the_copy_is_refused(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let link =
        |target: &str| (Entry::new("link", EntryKind::Symlink { target: target.as_bytes().to_vec() }), Bytes::new());
    for target in ["/tmp", "..", "../..", "/"] {
        refused(lab, &*connection, vec![dir(""), link(target), with_content("link/escaped", "x")]).await?;
    }
    lab.sh(&*connection, "rm -rf /tmp/dest").await?;
    Ok(())
}

async fn a_link_in_the_way_is_not_followed(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    // In the workload a link stands where the copy has a directory, and one where it has a file.
    lab.sh(&*connection, "mkdir /tmp/dest /tmp/other; ln -s /tmp/other /tmp/dest/sub; echo old >/tmp/other/f; ln -s /tmp/other/f /tmp/dest/file").await?;
    let copied = put(&*connection, "/tmp/dest", vec![dir(""), with_content("file", "new")]).await;
    ensure!(copied.is_ok(), "a file can't replace a link: {copied:?}");
    ensure_eq!(lab.sh(&*connection, "cat /tmp/other/f").await?, "old\n", "what the link led to");
    // Whether the link is replaced or the copy refused: nothing is written through it.
    let _ = put(&*connection, "/tmp/dest", vec![dir(""), dir("sub"), with_content("sub/escaped", "x")]).await;
    ensure!(!exists(&*connection, "/tmp/other/escaped").await?, "a file was written through a link");
    Ok(())
}

async fn hard_links_out_of_the_copy_are_refused(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "echo secret >/tmp/secret; mkdir /tmp/dest; echo there >/tmp/dest/there").await?;
    for target in ["../secret", "/tmp/secret", "none", "there", "a/../../secret"] {
        let link = Entry::new("taken", EntryKind::Hardlink { target: target.as_bytes().to_vec() });
        refused(lab, &*connection, vec![dir(""), (link, Bytes::new())]).await?;
        ensure!(!exists(&*connection, "/tmp/dest/taken").await?, "a link to {target} was made");
    }
    Ok(())
}

async fn devices_are_refused(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for what in ["block device", "character device", "FIFO"] {
        let special = Entry::new("special", EntryKind::Special(what));
        refused(lab, &*connection, vec![dir(""), (special, Bytes::new())]).await?;
        ensure!(!exists(&*connection, "/tmp/dest/special").await?, "a {what} was made");
    }
    Ok(())
}

async fn links_never_lead_out_of_the_workload(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    // Links that climb as far as they can lead to the workload's own root, not to another's.
    lab.sh(&*connection, "mkdir /tmp/own; echo mine >/tmp/own/marker; cd /tmp; ln -s ../../../../../../../../tmp/own up; ln -s /tmp/own abs").await?;
    for link in ["up", "abs"] {
        put(&*connection, &format!("/tmp/{link}/file"), vec![with_content("", link)]).await?;
        ensure_eq!(lab.sh(&*connection, "cat /tmp/own/file").await?, link, "what was copied through {link}");
        let got = get_one(lab, &*connection, &format!("/tmp/{link}/marker")).await?;
        ensure_eq!(got.content(), b"mine\n", "what came out through {link}");
    }
    let got = get_one(lab, &*connection, "/../../tmp/own/marker").await?;
    ensure_eq!(got.content(), b"mine\n", "what came out through ..");
    Ok(())
}

async fn a_dropped_download_ends(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "head -c 30000000 /dev/zero >/tmp/big").await?;
    for taken in [0, 1, 2] {
        let mut stream = connection.copy_out(CopyOutRequest::new("/tmp/big")).await?;
        for _ in 0..taken {
            stream.next().await?;
        }
        drop(stream);
    }
    let got = lab.within(20_000, "a copy after dropped ones", get_one(lab, &*connection, "/tmp/big")).await??;
    ensure_eq!(got.content().len(), 30_000_000, "the length of the whole copy");
    Ok(())
}

async fn paths_are_absolute(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for path in ["tmp/file", "", "./file", "a\0b"] {
        let copied = put(&*connection, path, vec![with_content("", "x")]).await;
        expect_error(copied, ErrorKind::InvalidInput, "a copy to a relative path")?;
        let copied = connection.copy_out(CopyOutRequest::new(path)).await.map(|_| "a stream");
        expect_error(copied, ErrorKind::InvalidInput, "a copy of a relative path")?;
        let found = connection.stat(StatRequest::new(path)).await;
        expect_error(found, ErrorKind::InvalidInput, "a stat of a relative path")?;
    }
    Ok(())
}

//! Trees, copied in and out.

use super::copy_files::{Got, get, pattern, put, with_content};
use crate::case::{cases, ensure, ensure_eq};
use crate::{Failure, Lab, Outcome};
use bytes::Bytes;
use pod_core::Capability;
use pod_core::copy::{CopyInRequest, CopySource, Entry, EntryKind};
use std::collections::BTreeMap;

cases! { "copy":
    a_tree_is_the_same_both_ways [Create, CopyIn, CopyOut];
    a_deep_tree_is_kept [Create, CopyIn, CopyOut];
    odd_names_are_kept [Create, CopyIn, CopyOut];
    names_may_hold_any_byte [Create, CopyIn, CopyOut, CopyBytes];
    hard_links_are_kept [Create, Exec, CopyIn, CopyOut, CopyHardlinks];
    trees_merge [Create, Exec, CopyIn];
    parents_come_first [Create, Exec, CopyOut];
    a_stream_is_taken_as_it_comes [Create, CopyIn, CopyOut];
}

fn dir(path: impl Into<Vec<u8>>) -> (Entry, Bytes) {
    (Entry::new(path, EntryKind::Dir), Bytes::new())
}

/// What matters of an entry, as far as the backend can carry it.
#[derive(Debug, PartialEq)]
struct Kept {
    kind: EntryKind,
    mode: Option<u32>,
    mtime: Option<(i64, u32)>,
    content: Vec<u8>,
}

fn kept(lab: &Lab, entry: &Entry, content: Vec<u8>) -> Kept {
    let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
    Kept {
        kind: entry.kind.clone(),
        mode: (lab.has(Capability::CopyModes) && !is_link).then_some(entry.mode),
        mtime: lab.has(Capability::CopyTimes).then_some(entry.mtime),
        content,
    }
}

/// Fails unless what came out is what went in.
fn same(lab: &Lab, sent: &[(Entry, Bytes)], got: &[Got]) -> Outcome {
    let sent: BTreeMap<_, _> = sent.iter().map(|(e, c)| (e.path.clone(), kept(lab, e, c.to_vec()))).collect();
    let mut came = BTreeMap::new();
    for g in got {
        let twice = came.insert(g.entry.path.clone(), kept(lab, &g.entry, g.content()));
        ensure!(twice.is_none(), "{} came twice", g.entry.display_path());
    }
    for (path, sent) in &sent {
        match came.get(path) {
            None => return Err(Failure::new(format!("\"{}\" is lost", path.escape_ascii()))),
            Some(came) if came != sent => {
                let short =
                    |k: &Kept| format!("{:?} mode {:?} time {:?}, {} bytes", k.kind, k.mode, k.mtime, k.content.len());
                let path = path.escape_ascii();
                return Err(Failure::new(format!("\"{path}\" changed: sent {}, came {}", short(sent), short(came))));
            }
            Some(_) => {}
        }
    }
    let more: Vec<_> = came.keys().filter(|p| !sent.contains_key(*p)).map(|p| p.escape_ascii().to_string()).collect();
    ensure!(more.is_empty(), "more came than was sent: {more:?}");
    Ok(())
}

/// A tree of 2,000 files and what else there is.
fn tree(lab: &Lab) -> Vec<(Entry, Bytes)> {
    let mut all = vec![dir("")];
    for d in 0..20u32 {
        all.push(dir(format!("dir {d}")));
        all.push(dir(format!("dir {d}/empty")));
        for f in 0..100u32 {
            let size = [0, 1, 13, 512, 4096, 5000][(f % 6) as usize];
            let mut content = pattern(size + d as usize);
            content.truncate(size);
            let (entry, content) = with_content(format!("dir {d}/file{f}.txt"), content);
            all.push((entry.with_mode(if f % 3 == 0 { 0o755 } else { 0o640 }), content));
        }
        if lab.has(Capability::CopySymlinks) {
            let target = b"file1.txt".to_vec();
            all.push((Entry::new(format!("dir {d}/link"), EntryKind::Symlink { target }), Bytes::new()));
        }
    }
    for (i, (entry, _)) in all.iter_mut().enumerate() {
        entry.mtime = (1_500_000_000 + i as i64, (i as u32 * 1009) % 1_000_000_000);
    }
    all
}

async fn a_tree_is_the_same_both_ways(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let sent = tree(lab);
    let report = put(&*connection, "/tmp/tree", sent.clone()).await?;
    ensure_eq!(report.entries, sent.len() as u64, "how many entries the report counts");
    let got = get(lab, &*connection, "/tmp/tree").await?;
    same(lab, &sent, &got)
}

async fn a_deep_tree_is_kept(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let mut sent = vec![dir("")];
    let mut path = String::new();
    for depth in 0..100 {
        if depth > 0 {
            path.push('/');
        }
        path.push_str(&format!("level-{depth}"));
        sent.push(dir(path.clone()));
    }
    sent.push(with_content(format!("{path}/file"), "deep"));
    put(&*connection, "/tmp/deep", sent.clone()).await?;
    same(lab, &sent, &get(lab, &*connection, "/tmp/deep").await?)
}

async fn odd_names_are_kept(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let names = [
        "with space",
        " leading",
        "trailing ",
        "new\nline",
        "tab\t",
        "quote'",
        "quote\"",
        "back\\slash",
        "$HOME",
        "*",
        "-rf",
        "--",
        "#",
        ";",
        "~",
        "...",
        ".hidden",
        "grüße",
        "日本語",
        "%s",
        "a=b",
        "[x]",
        "!",
        "\r",
    ];
    let mut sent = vec![dir("")];
    for name in names {
        sent.push(with_content(name, name.as_bytes().to_vec()));
        sent.push(dir(format!("d {name}")));
        sent.push(with_content(format!("d {name}/{name}"), "in"));
    }
    sent.push(with_content("x".repeat(255), "long"));
    put(&*connection, "/tmp/odd names", sent.clone()).await?;
    same(lab, &sent, &get(lab, &*connection, "/tmp/odd names").await?)
}

async fn names_may_hold_any_byte(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let all: Vec<u8> = (1..=255).filter(|b| *b != b'/').collect();
    let mut sent = vec![dir("")];
    for name in [&b"\xff\xfe"[..], b"\xc3(", &all[..127], &all[127..]] {
        sent.push(with_content(name.to_vec(), name.to_vec()));
    }
    put(&*connection, "/tmp/bytes", sent.clone()).await?;
    same(lab, &sent, &get(lab, &*connection, "/tmp/bytes").await?)
}

async fn hard_links_are_kept(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let link = |path: &str| (Entry::new(path, EntryKind::Hardlink { target: b"a".to_vec() }), Bytes::new());
    let sent = vec![dir(""), with_content("a", "one"), link("b"), dir("d"), link("d/c")];
    put(&*connection, "/tmp/links", sent).await?;
    // What is written by one name is read by the others.
    let read = lab.sh(&*connection, "cd /tmp/links && echo two >d/c && cat a b").await?;
    ensure_eq!(read, "two\ntwo\n", "what the other names read");
    let got = get(lab, &*connection, "/tmp/links").await?;
    let (mut files, mut links) = (Vec::new(), Vec::new());
    for g in &got {
        match &g.entry.kind {
            EntryKind::File { .. } => files.push(&g.entry.path),
            EntryKind::Hardlink { target } => links.push(target),
            _ => {}
        }
    }
    ensure_eq!((files.len(), links.len()), (1, 2), "files and links that came out");
    ensure!(links.iter().all(|l| *l == files[0]), "the links lead to {links:?}, the file is {files:?}");
    Ok(())
}

async fn trees_merge(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "mkdir -p /tmp/t/sub; echo old >/tmp/t/old; echo old >/tmp/t/both; echo old >/tmp/t/sub/old")
        .await?;
    let sent = vec![dir(""), with_content("both", "new\n"), dir("sub"), with_content("sub/new", "new\n")];
    for _ in 0..2 {
        put(&*connection, "/tmp/t", sent.clone()).await?;
        let read = lab.sh(&*connection, "cd /tmp/t && cat old both sub/old sub/new").await?;
        ensure_eq!(read, "old\nnew\nold\nnew\n", "the merged tree");
    }
    // A directory does not become a file, nor a file a directory.
    for (dest, entries) in [("/tmp/t", vec![with_content("", "x")]), ("/tmp/t/old", vec![dir("")])] {
        let copied = put(&*connection, dest, entries).await;
        ensure!(copied.is_err(), "{dest} became something else: {copied:?}");
    }
    ensure_eq!(lab.sh(&*connection, "cat /tmp/t/old").await?, "old\n", "the file that was to become a directory");
    Ok(())
}

async fn parents_come_first(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "mkdir -p /tmp/t/z/y/x /tmp/t/a; : >/tmp/t/z/y/x/file; : >/tmp/t/a/file").await?;
    let got = get(lab, &*connection, "/tmp/t").await?;
    ensure_eq!(got.len(), 7, "how many entries came");
    for (i, g) in got.iter().enumerate().skip(1) {
        let parent = g.entry.path.iter().rposition(|b| *b == b'/').map_or(&b""[..], |at| &g.entry.path[..at]);
        let before = got[..i].iter().any(|p| p.entry.path == parent && p.entry.kind == EntryKind::Dir);
        ensure!(before, "{} came before its parent", g.entry.display_path());
    }
    Ok(())
}

async fn a_stream_is_taken_as_it_comes(lab: &Lab) -> Outcome {
    // From one workload to another, nothing held between.
    let (_, from) = lab.running().await?;
    let (_, to) = lab.running().await?;
    let sent = tree(lab);
    put(&*from, "/tmp/tree", sent.clone()).await?;
    let stream = from.copy_out(pod_core::copy::CopyOutRequest::new("/tmp/tree")).await?;
    to.copy_in(CopyInRequest::new("/tmp/copy", CopySource::Stream(stream))).await?;
    same(lab, &sent, &get(lab, &*to, "/tmp/copy").await?)
}

//! Copies that break off and are taken up, by the tools of this machine.

use super::tests::{Here, dir, drain, file, world};
use super::{copy_in, copy_out, kept};
use bytes::Bytes;
use pod_core::copy::{
    Chunk, CopyInRequest, CopyOutRequest, CopyReport, CopySource, Entry, EntryKind, EntrySink, EntryStream, Had, Item,
    Verify,
};
use pod_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TIME: i64 = 1_000_000_000;
const HALF: usize = 1 << 20;

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn timed(path: &str, content: &str) -> (Entry, Bytes) {
    let (entry, data) = file(path, content.to_owned());
    (entry.with_mtime(TIME, 0).with_mode(0o640), data)
}

fn request(at: &Path, source: CopySource, verify: Verify) -> CopyInRequest {
    CopyInRequest::new(bytes(at), source).with_verify(verify).with_resume(true)
}

async fn send(sink: &EntrySink, entries: Vec<(Entry, Bytes)>) {
    for (entry, data) in entries {
        sink.send(Ok(Item::Entry(entry))).await;
        if !data.is_empty() {
            sink.send(Ok(Item::Chunk(Chunk { offset: 0, data }))).await;
        }
    }
}

/// The first half of a file that flushes what came before it.
async fn half(sink: &EntrySink) {
    sink.send(Ok(Item::Entry(Entry::new("zz", EntryKind::File { size: 2 * HALF as u64 }).with_mtime(TIME, 0)))).await;
    sink.send(Ok(Item::Chunk(Chunk { offset: 0, data: Bytes::from(vec![7; HALF]) }))).await;
}

fn whole() -> (Entry, Bytes) {
    let (entry, data) = file("zz", vec![7; 2 * HALF]);
    (entry.with_mtime(TIME, 0), data)
}

/// A copy that breaks off after these entries.
async fn break_off(far: &Here, at: &Path, entries: Vec<(Entry, Bytes)>, verify: Verify) {
    let (sink, stream) = EntryStream::channel();
    tokio::spawn(async move {
        send(&sink, entries).await;
        half(&sink).await;
        sink.send(Err(Error::new(ErrorKind::Unavailable, "away"))).await;
    });
    let e = copy_in(Arc::new(far.clone()), request(at, CopySource::Stream(stream), verify)).await.expect_err("broken");
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
    assert!(!at.exists(), "{}", far.name());
    // The script that leaves it may outlive its caller.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !kept_at(at).exists() {
        assert!(std::time::Instant::now() < until, "{}: nothing was kept", far.name());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn again(far: &Here, at: &Path, entries: Vec<(Entry, Bytes)>, verify: Verify) -> Result<CopyReport> {
    copy_in(Arc::new(far.clone()), request(at, CopySource::Memory(entries), verify)).await
}

fn hidden(above: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(above).expect("a directory").map(|e| e.expect("an entry").path());
    names.filter(|p| p.file_name().is_some_and(|n| n.as_bytes().starts_with(b".pod"))).collect()
}

fn kept_at(at: &Path) -> PathBuf {
    at.with_file_name(format!(".pod-keep-{}", kept::id(&bytes(at), true)))
}

fn deep() -> Vec<(Entry, Bytes)> {
    let mut entries = vec![dir(b""), dir(b"sub"), dir(b"sub/d e")];
    entries[0].0.mtime = (TIME + 1, 0);
    entries[1].0.mtime = (TIME + 2, 0);
    entries[1].0.mode = 0o751;
    entries[2].0.mode = 0o555;
    for name in ["a", "it's", "-n", "sub/d e/É\u{81}\u{88}", "sub/d e/two", "sub/x", "new\nline", "back\\slash"] {
        entries.push(timed(name, name));
    }
    entries.push((Entry::new("hard", EntryKind::Hardlink { target: b"sub/x".to_vec() }), Bytes::new()));
    entries.push((Entry::new("link", EntryKind::Symlink { target: b"sub".to_vec() }), Bytes::new()));
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_whole_is_not_sent_again() {
    let world = world();
    for far in &world.machines {
        for verify in [Verify::Length, Verify::Hash, Verify::None] {
            let above = world.fresh(&format!("{} {verify:?}", far.name()));
            let at = above.join("t");
            break_off(far, &at, deep(), verify).await;
            let left = hidden(&above);
            assert_eq!(left, [kept_at(&at)], "{}", far.name());
            assert_eq!(std::fs::metadata(&left[0]).expect("there").permissions().mode() & 0o7777, 0o700);
            // A second that breaks off adds to it.
            let mut more = deep();
            more.push(timed("later", "later"));
            break_off(far, &at, more, verify).await;
            assert_eq!(hidden(&above), left, "{}", far.name());
            let mut entries = deep();
            entries.extend([timed("later", "later"), timed("last", "last"), whole()]);
            // Another's contents are not taken for it.
            let changed = entries.iter().position(|(e, _)| e.path == b"a").expect("there");
            entries[changed] = match verify {
                Verify::Hash => timed("a", "b"),
                _ => {
                    let (entry, data) = timed("a", "b");
                    (entry.with_mtime(TIME + 1, 0), data)
                }
            };
            let report = again(far, &at, entries, verify).await.unwrap_or_else(|e| panic!("{}: {e}", far.name()));
            assert_eq!(report.entries, 16, "{}", far.name());
            // Not those of odd names; and of several, unless the link was to come last. Without `tar`,
            // attributes follow with the next step.
            assert!((4..=6).contains(&report.resumed), "{} {verify:?}: {}", far.name(), report.resumed);
            for (name, content) in [("a", "b"), ("it's", "it's"), ("sub/d e/two", "sub/d e/two"), ("last", "last")] {
                assert_eq!(std::fs::read_to_string(at.join(name)).expect(name), content, "{} {name}", far.name());
                let meta = std::fs::metadata(at.join(name)).expect(name);
                assert_eq!(meta.permissions().mode() & 0o7777, 0o640, "{} {name}", far.name());
            }
            assert_eq!(std::fs::read_to_string(at.join("new\nline")).expect("there"), "new\nline");
            assert_eq!(std::fs::metadata(at.join("zz")).expect("there").len(), 2 * HALF as u64);
            let (sub, hard) = (std::fs::metadata(at.join("sub")), std::fs::metadata(at.join("hard")));
            let (sub, hard) = (sub.expect("there"), hard.expect("there"));
            assert_eq!((sub.mode() & 0o7777, sub.mtime()), (0o751, TIME + 2), "{}", far.name());
            assert_eq!(hard.ino(), std::fs::metadata(at.join("sub/x")).expect("there").ino(), "{}", far.name());
            assert_eq!(std::fs::metadata(at.join("sub/d e")).expect("there").mode() & 0o7777, 0o555, "{}", far.name());
            assert_eq!(std::fs::read_link(at.join("link")).expect("a link"), Path::new("sub"));
            assert!(hidden(&above).is_empty() && hidden(&at).is_empty(), "{}", far.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_are_apart() {
    let world = world();
    for far in &world.machines {
        let above = world.fresh(&format!("{} at once", far.name()));
        let at = above.join("t");
        break_off(far, &at, vec![dir(b""), timed("a", "a"), timed("b", "b")], Verify::Hash).await;
        let (sink, stream) = EntryStream::channel();
        let slow = copy_in(Arc::new(far.clone()), request(&at, CopySource::Stream(stream), Verify::Hash));
        let slow = tokio::spawn(slow);
        send(&sink, vec![dir(b""), timed("a", "a")]).await;
        half(&sink).await;
        // Until it writes beside what it took up: where stdin can't be ended, a first script takes it in vain.
        let writes = |h: &PathBuf| h.join("o1").exists() && h.join("r").exists();
        while kept_at(&at).exists() || !hidden(&above).iter().any(writes) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let quick = vec![dir(b""), timed("a", "a"), timed("b", "c"), whole()];
        let report = again(far, &at, quick, Verify::Hash).await.unwrap_or_else(|e| panic!("{}: {e}", far.name()));
        assert_eq!(report.resumed, 0, "{}: the other has it", far.name());
        assert_eq!(std::fs::read_to_string(at.join("b")).expect("there"), "c");
        assert_eq!(hidden(&above).len(), 1, "{}: the other's stays", far.name());
        sink.send(Ok(Item::Chunk(Chunk { offset: HALF as u64, data: Bytes::from(vec![7; HALF]) }))).await;
        send(&sink, vec![timed("b", "b")]).await;
        sink.finish().await;
        // A directory that came into being meanwhile is neither replaced nor copied into.
        let e = slow.await.expect("no panic").expect_err("the other was there first");
        assert_eq!(e.kind(), ErrorKind::Conflict, "{} {e}", far.name());
        assert!(!at.join("r").exists(), "{}", far.name());
        assert!(std::fs::metadata(at.join("zz")).expect("there").len() == 2 * HALF as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_copy_left_is_taken_up_and_others_things_are_not() {
    let world = world();
    for far in &world.machines {
        let above = world.fresh(&format!("{} killed", far.name()));
        let at = above.join("t");
        let entries = || vec![dir(b""), timed("a", "a"), timed("b", "b")];
        let all = || vec![dir(b""), timed("a", "a"), timed("b", "b"), whole()];
        break_off(far, &at, entries(), Verify::Length).await;
        let held = above.join(format!(".pod-keep-{}-0123", kept::id(&bytes(&at), true)));
        std::fs::rename(kept_at(&at), &held).expect("renamed");
        // Whoever has it lives: it is left alone.
        let here = |pid: u32| {
            let space = std::fs::read_link("/proc/self/ns/pid").expect("a link");
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("read");
            format!("{pid} {} {boot}", space.display())
        };
        std::fs::write(held.join("who"), here(std::process::id())).expect("written");
        let one = above.join("one");
        assert_eq!(again(far, &one, all(), Verify::Length).await.expect("another destination").resumed, 0);
        let report = again(far, &at, all(), Verify::Length).await.unwrap_or_else(|e| panic!("{}: {e}", far.name()));
        assert_eq!(report.resumed, 0, "{}", far.name());
        assert_eq!(hidden(&above), std::slice::from_ref(&held), "{}", far.name());
        std::fs::remove_dir_all(&at).expect("removed");
        // It is gone.
        std::fs::write(held.join("who"), here(4_194_305)).expect("written");
        let report = again(far, &at, all(), Verify::Length).await.unwrap_or_else(|e| panic!("{}: {e}", far.name()));
        assert!((1..=2).contains(&report.resumed), "{}: {}", far.name(), report.resumed);
        assert!(hidden(&above).is_empty(), "{}", far.name());
        std::fs::remove_dir_all(&at).expect("removed");
        // Neither a link nor what others can read is taken, and a copy that succeeds takes away what is ours.
        let elsewhere = world.fresh(&format!("{} elsewhere", far.name()));
        std::fs::create_dir_all(elsewhere.join("r")).expect("made");
        std::fs::write(elsewhere.join("r/a"), "stolen").expect("written");
        symlink(&elsewhere, kept_at(&at)).expect("made");
        let report = again(far, &at, all(), Verify::Length).await.unwrap_or_else(|e| panic!("{}: {e}", far.name()));
        assert_eq!(report.resumed, 0, "{}", far.name());
        assert_eq!(std::fs::read_to_string(elsewhere.join("r/a")).expect("untouched"), "stolen");
        std::fs::remove_file(kept_at(&at)).expect("the link stays");
        std::fs::remove_dir_all(&at).expect("removed");
        break_off(far, &at, entries(), Verify::Length).await;
        std::fs::set_permissions(kept_at(&at), std::fs::Permissions::from_mode(0o755)).expect("set");
        assert_eq!(again(far, &at, all(), Verify::Length).await.expect("afresh").resumed, 0, "{}", far.name());
        std::fs::remove_dir_all(&at).expect("removed");
        std::fs::set_permissions(kept_at(&at), std::fs::Permissions::from_mode(0o700)).expect("set");
        let without = CopyInRequest::new(bytes(&at), CopySource::Memory(all()));
        let report = copy_in(Arc::new(far.clone()), without).await.unwrap_or_else(|e| panic!("{}: {e}", far.name()));
        assert_eq!(report.resumed, 0);
        assert!(hidden(&above).is_empty(), "{}: the kept one went", far.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_an_earlier_try_lead_nowhere() {
    let world = world();
    for far in &world.machines {
        let above = world.fresh(&format!("{} links", far.name()));
        let outside = world.fresh(&format!("{} outside", far.name()));
        std::fs::write(outside.join("f"), "outside").expect("written");
        let at = above.join("t");
        let to = (Entry::new("d", EntryKind::Symlink { target: bytes(&outside) }), Bytes::new());
        break_off(far, &at, vec![dir(b""), to], Verify::Length).await;
        for _ in 0..2 {
            break_off(far, &at, vec![dir(b""), dir(b"d"), timed("d/f", "inside")], Verify::Length).await;
            assert_eq!(std::fs::read_to_string(outside.join("f")).expect("there"), "outside", "{}", far.name());
        }
        let all = vec![dir(b""), dir(b"d"), timed("d/f", "inside"), whole()];
        again(far, &at, all, Verify::Length).await.unwrap_or_else(|e| panic!("{}: {e}", far.name()));
        assert_eq!(std::fs::read_to_string(outside.join("f")).expect("there"), "outside", "{}", far.name());
        assert_eq!(std::fs::read_to_string(at.join("d/f")).expect("there"), "inside", "{}", far.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_leaves_out_what_is_had() {
    let world = world();
    for far in &world.machines {
        let at = world.fresh(&format!("{} out", far.name()));
        for name in ["same", "other", "hash", "wrong", "-n"] {
            std::fs::write(at.join(name), name).expect("written");
        }
        std::fs::hard_link(at.join("same"), at.join("same too")).expect("linked");
        let meta = std::fs::metadata(at.join("same")).expect("there");
        let had = |name: &str| {
            let meta = std::fs::metadata(at.join(name)).expect("there");
            Had::new(name, meta.len(), (meta.mtime(), meta.mtime_nsec() as u32))
        };
        let sum = |text: &str| Sha256::digest(text).into();
        let have = vec![
            had("same"),
            Had::new("other", 5, (meta.mtime() - 1, 0)),
            had("hash").with_sha256(sum("hash")),
            had("wrong").with_sha256(sum("hash")),
            had("-n").with_sha256(sum("-n")),
        ];
        let request = CopyOutRequest::new(bytes(&at)).with_have(have.clone());
        let stream = copy_out(Arc::new(far.clone()), request).await.unwrap_or_else(|e| panic!("{}: {e}", far.name()));
        let got = drain(stream).await.unwrap_or_else(|e| panic!("{}: {e}", far.name()));
        let same = |name: &str| matches!(got[name.as_bytes()].0.kind, EntryKind::Same { .. });
        let linked = matches!(got[&b"same"[..]].0.kind, EntryKind::Hardlink { .. });
        assert!(linked || same("same"), "{}", far.name());
        assert!(same("hash") && same("-n") && !same("other") && !same("wrong"), "{} {got:?}", far.name());
        for name in ["other", "wrong"] {
            assert_eq!(got[name.as_bytes()].1, name.as_bytes(), "{}", far.name());
        }
    }
}

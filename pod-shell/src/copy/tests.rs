//! Copies by the shells and tools of this machine: GNU's under dash, and BusyBox's.

use super::far::{Far, Running};
use super::{copy_in, copy_out, stat};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use pod_core::copy::{
    Chunk, CopyInRequest, CopyOutRequest, CopyReport, CopySource, Entry, EntryKind, EntryStream, FileType, Item,
    StatRequest, Verify,
};
use pod_core::{Error, ErrorKind, ExitStatus, Result};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::BufReader;

/// Runs scripts on this machine.
#[derive(Debug, Clone)]
pub(super) struct Here {
    name: &'static str,
    shell: Vec<String>,
    path: String,
    /// Whether scripts see the end of their stdin.
    half_close: bool,
}

#[async_trait]
impl Far for Here {
    async fn start(&self, script: &str, args: &[String], stdin: bool) -> Result<Running> {
        let mut command = tokio::process::Command::new(&self.shell[0]);
        command.args(&self.shell[1..]).arg("-c").arg(script).arg("pod").args(args);
        command.env_clear().env("PATH", &self.path).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if stdin { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().map_err(|e| Error::io("run a shell", e))?;
        let half_close = self.half_close;
        let input = child.stdin.take().map(|s| Box::pin(s) as _);
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let end = async move {
            let status = child.wait().await.map_err(|e| Error::io("wait", e))?;
            Ok(status.code().map_or(ExitStatus::Unknown, |c| ExitStatus::Exited(c as u8)))
        };
        Ok(Running {
            stdin: input,
            stdout: BufReader::new(Box::pin(stdout)),
            stderr: Box::pin(stderr),
            end: end.boxed(),
            half_close,
        })
    }

    fn about(&self, error: Error) -> Error {
        error.with_context("machine", self.name)
    }

    fn without_shell(&self) -> &'static str {
        "install a shell"
    }
}

/// A machine of BusyBox's programs alone, or less.
fn busybox(dir: &Path, without: &[&str]) -> Here {
    let list = std::process::Command::new("/bin/busybox").arg("--list").output().expect("busybox is installed");
    for name in String::from_utf8_lossy(&list.stdout).lines().filter(|n| !without.contains(n)) {
        symlink("/bin/busybox", dir.join(name)).expect("a link");
    }
    // Not its own shell: that one has all of BusyBox built in, whatever the PATH.
    let shell = if without.is_empty() { vec!["/bin/busybox".into(), "sh".into()] } else { vec!["/bin/dash".into()] };
    Here { name: "busybox", shell, path: dir.display().to_string(), half_close: true }
}

pub(super) struct World {
    dir: tempfile::TempDir,
    pub(super) machines: Vec<Here>,
}

pub(super) fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let tools = dir.path().join("tools");
    std::fs::create_dir(&tools).expect("a directory");
    let gnu = Here { name: "gnu", shell: vec!["/bin/dash".into()], path: "/usr/bin:/bin".into(), half_close: true };
    let without = dir.path().join("without");
    std::fs::create_dir(&without).expect("a directory");
    let no_tar = Here { name: "no tar", ..busybox(&without, &["tar"]) };
    // A server that can't tell the end of stdin.
    let v4 = Here { name: "v4", half_close: false, ..gnu.clone() };
    let machines = vec![gnu, busybox(&tools, &[]), no_tar, v4];
    World { dir, machines }
}

impl Here {
    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

impl World {
    pub(super) fn fresh(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        path
    }
}

pub(super) fn dir(path: &[u8]) -> (Entry, Bytes) {
    (Entry::new(path, EntryKind::Dir), Bytes::new())
}

pub(super) fn file(path: impl Into<Vec<u8>>, content: impl Into<Bytes>) -> (Entry, Bytes) {
    let content = content.into();
    (Entry::new(path, EntryKind::File { size: content.len() as u64 }), content)
}

async fn put(far: &Here, dest: &Path, entries: Vec<(Entry, Bytes)>, verify: Verify) -> Result<CopyReport> {
    let dest = std::os::unix::ffi::OsStrExt::as_bytes(dest.as_os_str()).to_vec();
    copy_in(Arc::new(far.clone()), CopyInRequest::new(dest, CopySource::Memory(entries)).with_verify(verify)).await
}

pub(super) type Got = BTreeMap<Vec<u8>, (Entry, Vec<u8>)>;

pub(super) async fn drain(mut stream: EntryStream) -> Result<Got> {
    let mut all: Vec<(Entry, Vec<u8>)> = Vec::new();
    while let Some(item) = stream.next().await? {
        match item {
            Item::Entry(entry) => all.push((entry, Vec::new())),
            Item::Chunk(chunk) => {
                let data = &mut all.last_mut().expect("an entry").1;
                data.resize(chunk.offset as usize, 0);
                data.extend_from_slice(&chunk.data);
            }
            _ => panic!("an unknown item"),
        }
    }
    Ok(all.into_iter().map(|(e, d)| (e.path.clone(), (e, d))).collect())
}

async fn get(far: &Here, path: &Path) -> Result<Got> {
    let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
    drain(copy_out(Arc::new(far.clone()), CopyOutRequest::new(path)).await?).await
}

/// Nothing of a copy is left in a directory under another name.
fn clean(far: &Here, at: &Path) {
    // A script that can't be told the end of its stdin sees later that it was let go of.
    let until = Instant::now() + if far.half_close { Duration::ZERO } else { Duration::from_secs(10) };
    loop {
        let names = std::fs::read_dir(at).expect("readable").map(|e| e.expect("an entry").file_name());
        let left: Vec<_> = names.filter(|n| n.to_string_lossy().starts_with(".pod-")).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{}: {left:?} left", far.name);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn odd_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> =
        ["with space", "new\nline", "back\\slash", "-rf", "$HOME", "*", "'\"", "\r", ".x", "..y", "...", "~"]
            .map(|n| n.as_bytes().to_vec())
            .to_vec();
    names.push(vec![0xff, 0xfe]);
    names.push((1..=127).filter(|b| *b != b'/').collect());
    names.push((128..=254).collect());
    names.push(vec![b'x'; 255]);
    names
}

fn tree() -> Vec<(Entry, Bytes)> {
    let mut all = vec![dir(b"")];
    for name in odd_names() {
        let below = [b"d ", &name[..name.len().min(200)]].concat();
        all.push(file(name.clone(), name.clone()));
        all.push(dir(&below));
        all.push(file([&below[..], b"/", &name].concat(), "in"));
    }
    all.push(file("empty", ""));
    all.push(file("big", vec![9; 3_000_000]));
    all.push((Entry::new("link", EntryKind::Symlink { target: b"/etc/passwd".to_vec() }), Bytes::new()));
    all.push((Entry::new("up", EntryKind::Symlink { target: b"../../x".to_vec() }), Bytes::new()));
    all.push((Entry::new("hard", EntryKind::Hardlink { target: b"big".to_vec() }), Bytes::new()));
    for (i, (entry, _)) in all.iter_mut().enumerate() {
        entry.mtime = (1_500_000_000 + i as i64, 0);
        entry.mode = match entry.kind {
            EntryKind::Dir => 0o751,
            EntryKind::Symlink { .. } => 0o777,
            _ => [0o640, 0o755, 0o400][i % 3],
        };
    }
    let big = all.iter().find(|(e, _)| e.path == b"big").expect("there").0.clone();
    for (entry, _) in &mut all {
        if matches!(entry.kind, EntryKind::Hardlink { .. }) {
            (entry.mode, entry.mtime) = (big.mode, big.mtime);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_go_in_and_come_out_the_same() {
    let world = world();
    for far in &world.machines {
        let at = world.fresh(far.name);
        for verify in [Verify::Length, Verify::Hash, Verify::None] {
            let dest = at.join(format!("tree {verify:?}"));
            let sent = tree();
            let report = put(far, &dest, sent.clone(), verify).await.expect(far.name);
            assert_eq!((report.entries, report.checked), (sent.len() as u64, verify), "{}", far.name);
            let lacks: &[&str] = if far.name == "gnu" { &[] } else { &["times of symbolic links"] };
            assert_eq!(report.not_kept, lacks, "{}", far.name);
            clean(far, &at);
            let got = get(far, &dest).await.expect(far.name);
            assert_eq!(got.len(), sent.len(), "{}", far.name);
            for (entry, content) in &sent {
                let (came, data) = got.get(&entry.path).unwrap_or_else(|| panic!("{} lost", entry.display_path()));
                let shown = format!("{} {}", far.name, entry.display_path());
                match &entry.kind {
                    // Of two names of a file, either may come first.
                    EntryKind::Hardlink { .. } | EntryKind::File { .. }
                        if entry.path == b"hard" || entry.path == b"big" => {}
                    kind => {
                        assert_eq!(&came.kind, kind, "{shown}");
                        assert!(data == content, "{shown}: contents");
                    }
                }
                if !matches!(entry.kind, EntryKind::Symlink { .. }) {
                    assert_eq!(came.mode, entry.mode, "{shown}: mode");
                    assert_eq!(came.mtime, entry.mtime, "{shown}: time");
                }
            }
            let linked: Vec<_> = got.values().filter(|(e, _)| matches!(e.kind, EntryKind::Hardlink { .. })).collect();
            assert_eq!(linked.len(), 1, "{}: hard links", far.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_files_replace_and_links_are_not_written_through() {
    let world = world();
    for far in &world.machines {
        let at = world.fresh(far.name);
        std::fs::write(at.join("old"), "old").expect("written");
        std::fs::write(at.join("other"), "other").expect("written");
        std::fs::create_dir(at.join("dir")).expect("made");
        symlink("other", at.join("link")).expect("made");
        symlink("dir", at.join("dirlink")).expect("made");
        for name in ["old", "link", "dirlink", "new", "-n", "od\nd"] {
            put(far, &at.join(name), vec![file("", "new")], Verify::Hash)
                .await
                .unwrap_or_else(|e| panic!("{} {name:?}: {e}", far.name));
            let meta = std::fs::symlink_metadata(at.join(name)).expect("there");
            assert!(meta.is_file() && meta.len() == 3, "{} {name}", far.name);
        }
        assert_eq!(std::fs::read(at.join("other")).expect("there"), b"other");
        assert_eq!(std::fs::read_dir(at.join("dir")).expect("there").count(), 0);
        let link = (Entry::new("", EntryKind::Symlink { target: b"/nowhere".to_vec() }), Bytes::new());
        put(far, &at.join("sym"), vec![link], Verify::Length).await.expect("a link");
        let target = std::fs::read_link(at.join("sym")).expect("a link");
        assert_eq!(target, Path::new("/nowhere"));
        for (dest, entries, kind) in [
            ("dir", vec![file("", "x")], ErrorKind::Conflict),
            ("old", vec![dir(b"")], ErrorKind::Conflict),
            ("no/such", vec![file("", "x")], ErrorKind::NotFound),
            ("no/such", vec![dir(b"")], ErrorKind::NotFound),
            ("old/below", vec![file("", "x")], ErrorKind::NotFound),
        ] {
            let e = put(far, &at.join(dest), entries, Verify::Length).await.expect_err(dest);
            assert_eq!(e.kind(), kind, "{} {dest}: {e}", far.name);
            assert!(e.to_string().contains(dest) && e.to_string().contains(far.name), "{e}");
        }
        clean(far, &at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_merge_and_clashes_change_nothing() {
    let world = world();
    for far in &world.machines {
        let at = world.fresh(far.name).join("t");
        std::fs::create_dir_all(at.join("sub/deep")).expect("made");
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o711)).expect("set");
        for name in ["old", "both", "sub/old", "sub/deep/both"] {
            std::fs::write(at.join(name), "old").expect("written");
        }
        symlink("old", at.join("sub/link")).expect("made");
        let mut sent = vec![
            dir(b""),
            file("both", "new"),
            file(".hid", "new"),
            file("..hid", "new"),
            dir(b"sub"),
            file("sub/new", "new"),
            file("sub/link", "new"),
            dir(b"sub/deep"),
            file("sub/deep/both", "new"),
            dir(b"fresh"),
            file("fresh/x", "new"),
        ];
        sent[4].0.mode = 0o700;
        sent[4].0.mtime = (1_234_567_890, 0);
        for _ in 0..2 {
            put(far, &at, sent.clone(), Verify::Hash).await.unwrap_or_else(|e| panic!("{}: {e}", far.name));
            for (name, content) in [
                ("old", "old"),
                ("both", "new"),
                (".hid", "new"),
                ("..hid", "new"),
                ("sub/old", "old"),
                ("sub/new", "new"),
                ("sub/link", "new"),
                ("sub/deep/both", "new"),
                ("fresh/x", "new"),
            ] {
                assert_eq!(std::fs::read_to_string(at.join(name)).expect(name), content, "{} {name}", far.name);
            }
            let sub = std::fs::metadata(at.join("sub")).expect("there");
            assert_eq!((sub.mode() & 0o7777, sub.mtime()), (0o700, 1_234_567_890), "{}", far.name);
            assert_eq!(std::fs::metadata(&at).expect("there").mode() & 0o7777, 0o711, "the root keeps its mode");
            clean(far, &at);
        }
        symlink("sub", at.join("way")).expect("made");
        for entries in [
            vec![dir(b""), file("a", "x"), file("sub", "x")],
            vec![dir(b""), file("a", "x"), dir(b"old"), file("old/y", "x")],
            vec![dir(b""), file("a", "x"), dir(b"way"), file("way/y", "x")],
        ] {
            let e = put(far, &at, entries, Verify::Length).await.expect_err("a clash");
            assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
            assert!(!at.join("a").exists() && !at.join("sub/y").exists(), "{}", far.name);
            clean(far, &at);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_leaves_what_was_there() {
    let world = world();
    for far in &world.machines {
        let at = world.fresh(far.name);
        std::fs::write(at.join("file"), "old").expect("written");
        for (with, kind) in
            [(None, ErrorKind::Integrity), (Some(Error::new(ErrorKind::Unavailable, "away")), ErrorKind::Unavailable)]
        {
            let (sink, stream) = EntryStream::channel();
            tokio::spawn(async move {
                sink.send(Ok(Item::Entry(Entry::new("", EntryKind::File { size: 1 << 20 })))).await;
                sink.send(Ok(Item::Chunk(Chunk { offset: 0, data: Bytes::from(vec![7; 1 << 19]) }))).await;
                if let Some(e) = with {
                    sink.send(Err(e)).await;
                }
            });
            let dest = std::os::unix::ffi::OsStrExt::as_bytes(at.join("file").as_os_str()).to_vec();
            let e = copy_in(Arc::new(far.clone()), CopyInRequest::new(dest, CopySource::Stream(stream)))
                .await
                .expect_err("broken off");
            assert_eq!(e.kind(), kind, "{} {e}", far.name);
            assert_eq!(std::fs::read(at.join("file")).expect("there"), b"old");
            clean(far, &at);
        }
        for (offset, length) in [(0u64, 11usize), (8, 4), (u64::MAX - 1, 4), (1 << 60, 1)] {
            let (sink, stream) = EntryStream::channel();
            tokio::spawn(async move {
                sink.send(Ok(Item::Entry(Entry::new("", EntryKind::File { size: 10 })))).await;
                sink.send(Ok(Item::Chunk(Chunk { offset, data: Bytes::from(vec![1; length]) }))).await;
                sink.finish().await;
            });
            let dest = std::os::unix::ffi::OsStrExt::as_bytes(at.join("lie").as_os_str()).to_vec();
            let request = CopyInRequest::new(dest, CopySource::Stream(stream)).with_verify(Verify::Hash);
            let e = copy_in(Arc::new(far.clone()), request).await.expect_err("a lie");
            assert_eq!(e.kind(), ErrorKind::Integrity, "{e}");
            assert!(!at.join("lie").exists());
            clean(far, &at);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_entries_are_refused_by_name() {
    let world = world();
    for far in &world.machines {
        let at = world.fresh(far.name);
        for name in ["../escaped", "/escaped", "a/../../escaped", "..", "a//b", "./a", "a/", "a\0b"] {
            let e = put(far, &at.join("d"), vec![dir(b""), file(name, "x")], Verify::Length).await.expect_err(name);
            assert!(
                e.to_string().contains(name.trim_matches('/').trim_matches('\0').split('\0').next().expect("some")),
                "{e}"
            );
            assert!(!at.join("escaped").exists() && !at.join("d").exists(), "{} {name}", far.name);
        }
        let link = (Entry::new("l", EntryKind::Symlink { target: b"..".to_vec() }), Bytes::new());
        assert!(put(far, &at.join("d"), vec![dir(b""), link, file("l/escaped", "x")], Verify::Length).await.is_err());
        let special = (Entry::new("p", EntryKind::Special("FIFO")), Bytes::new());
        assert!(put(far, &at.join("d"), vec![dir(b""), special], Verify::Length).await.is_err());
        clean(far, &at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_kept_is_told() {
    let world = world();
    for far in &world.machines {
        let at = world.fresh(far.name);
        let (sink, stream) = EntryStream::channel();
        tokio::spawn(async move {
            let mut entry = Entry::new("", EntryKind::File { size: 1 << 20 }).with_mtime(5, 123_456_789);
            entry.extents = Some(vec![(0, 4)]);
            sink.send(Ok(Item::Entry(entry))).await;
            sink.send(Ok(Item::Chunk(Chunk { offset: 0, data: Bytes::from_static(b"data") }))).await;
            sink.finish().await;
        });
        let dest = std::os::unix::ffi::OsStrExt::as_bytes(at.join("f").as_os_str()).to_vec();
        let request = CopyInRequest::new(dest, CopySource::Stream(stream)).with_verify(Verify::Hash);
        let report = copy_in(Arc::new(far.clone()), request).await.expect(far.name);
        let meta = std::fs::metadata(at.join("f")).expect("there");
        assert_eq!(meta.len(), 1 << 20);
        if far.name == "gnu" {
            assert!(report.not_kept.is_empty(), "{:?}", report.not_kept);
            assert_eq!(meta.mtime_nsec(), 123_456_789);
            assert!(meta.blocks() < 100, "the hole was filled");
        } else {
            let mut lacks = report.not_kept.clone();
            lacks.sort();
            assert_eq!(lacks, ["holes", "times below a second"], "{}", far.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_looked_at() {
    let world = world();
    for far in &world.machines {
        let at = world.fresh(far.name);
        std::fs::write(at.join("f\n"), "12345").expect("written");
        std::fs::set_permissions(at.join("f\n"), std::fs::Permissions::from_mode(0o4640)).expect("set");
        symlink("f\n", at.join("l")).expect("made");
        symlink("nowhere", at.join("dangling")).expect("made");
        let look = async |name: &str, follow| {
            let path = std::os::unix::ffi::OsStrExt::as_bytes(at.join(name).as_os_str()).to_vec();
            stat(far, &StatRequest::new(path).with_follow(follow)).await.unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        let found = look("f\n", false).await.expect("there");
        assert_eq!((found.kind, found.size, found.mode), (FileType::File, 5, 0o4640));
        let found = look("l", false).await.expect("there");
        assert_eq!((found.kind, found.target), (FileType::Symlink, Some(b"f\n".to_vec())));
        assert_eq!(look("l", true).await.expect("there").kind, FileType::File);
        assert_eq!(look("dangling", false).await.expect("there").kind, FileType::Symlink);
        for absent in ["none", "none/below", "f\n/below"] {
            assert!(look(absent, true).await.is_none(), "{absent:?}");
        }
        assert!(look("dangling", true).await.is_none());
        let e = get(far, &at.join("none")).await.expect_err("nothing there");
        assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
        for bad in [&b"x"[..], b"", b"/a\0b"] {
            assert_eq!(stat(far, &StatRequest::new(bad)).await.map_err(|e| e.kind()), Err(ErrorKind::InvalidInput));
        }
        let out = copy_out(
            Arc::new(far.clone()),
            CopyOutRequest::new(std::os::unix::ffi::OsStrExt::as_bytes(at.join("l").as_os_str())).with_follow(true),
        );
        let got = drain(out.await.expect("followed")).await.expect("read");
        assert_eq!(got[&b""[..]].1, b"12345");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_failed_at_the_far_end_is_no_whole_one() {
    let world = world();
    let fake = world.fresh("fake");
    let far = &world.machines[0];
    // A tar that gives all but its last block, and says nothing; and one that complains at its end.
    for (script, kind) in [
        ("#!/bin/sh\n/bin/tar \"$@\" | head -c 2000\n", ErrorKind::Integrity),
        ("#!/bin/sh\n/bin/tar \"$@\"\necho 'tar: x: Permission denied' >&2; exit 1\n", ErrorKind::PermissionDenied),
    ] {
        std::fs::write(fake.join("tar"), script).expect("written");
        std::fs::set_permissions(fake.join("tar"), std::fs::Permissions::from_mode(0o755)).expect("set");
        let far = Here { path: format!("{}:{}", fake.display(), far.path), ..far.clone() };
        let at = world.fresh("source");
        std::fs::write(at.join("f"), vec![1; 5000]).expect("written");
        let e = get(&far, &at).await.expect_err("not whole");
        assert_eq!(e.kind(), kind, "{e}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_end_that_lost_something_is_found_out() {
    let world = world();
    let fake = world.fresh("fake");
    // A tar that unpacks all and then loses a byte of one file.
    let script = "#!/bin/sh\n/bin/tar \"$@\" || exit 1\ncase $1 in -x) printf x >r/a ;; esac\n";
    std::fs::write(fake.join("tar"), script).expect("written");
    std::fs::set_permissions(fake.join("tar"), std::fs::Permissions::from_mode(0o755)).expect("set");
    let far = &world.machines[0];
    let far = Here { path: format!("{}:{}", fake.display(), far.path), ..far.clone() };
    let at = world.fresh("dest");
    for (content, verify) in [("two", Verify::Length), ("y", Verify::Hash)] {
        let e = put(&far, &at.join("t"), vec![dir(b""), file("a", content)], verify).await.expect_err("found out");
        assert_eq!(e.kind(), ErrorKind::Integrity, "{e}");
        assert!(e.to_string().contains("entry: a"), "{e}");
        assert!(!at.join("t").exists());
        clean(&far, &at);
    }
}

//! Trees to copy, and ways to compare them.
#![allow(dead_code, reason = "each test file uses its own part")]

use pod_core::copy::tree::{WriteOptions, write_tree};
use pod_core::copy::{CopyReport, EntryStream, Item};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Which names a tree may have.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Names {
    /// Whatever the file system takes.
    Any,
    /// Such as every tar program keeps.
    Plain,
}

/// A directory that goes away with everything in it, read-only directories too.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut todo = vec![self.path().to_owned()];
        while let Some(dir) = todo.pop() {
            // Only root can empty a read-only directory. What can't be changed or listed here, such as a path
            // too long, is left to the removal itself.
            let _ = fs::set_permissions(&dir, fs::Permissions::from_mode(0o700));
            let below = fs::read_dir(&dir).into_iter().flatten().flatten();
            todo.extend(below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
    }
}

pub(crate) fn scratch() -> Scratch {
    Scratch(tempfile::tempdir().expect("a temporary directory"))
}

pub(crate) fn open_dir(path: &Path) -> OwnedFd {
    fs::File::open(path).expect("a directory of the test").into()
}

pub(crate) fn write(
    root: &Path,
    dest: &[u8],
    stream: EntryStream,
    options: WriteOptions,
) -> pod_core::Result<CopyReport> {
    write_tree(open_dir(root), dest, stream, options)
}

pub(crate) fn read_all(mut stream: EntryStream) -> pod_core::Result<Vec<Item>> {
    let mut items = Vec::new();
    while let Some(item) = stream.blocking_next()? {
        items.push(item);
    }
    Ok(items)
}

fn set_time(path: &Path, seconds: u64, nanos: u32) {
    let file = fs::File::open(path).expect("a file of the test");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)).expect("a time");
}

/// A tree with everything a copy has to keep: links, modes, times, empty and sparse files, odd names,
/// deep paths, read-only directories.
pub(crate) fn make_tree(root: &Path, names: Names) {
    fs::create_dir(root).expect("the root");
    let put = |name: &[u8], data: &[u8]| {
        let path = root.join(OsStr::from_bytes(name));
        fs::write(&path, data).expect("a file");
        set_time(&path, 1_600_000_000 + data.len() as u64, 123_456_789);
        path
    };
    put(b"empty", b"");
    put(b"one", b"1");
    let big: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    put(b"big", &big);
    for mode in [0o600, 0o644, 0o755, 0o400, 0o000, 0o777] {
        // A file of mode 000 can be read by its owner only as root.
        if mode == 0 && !rustix::process::geteuid().is_root() {
            continue;
        }
        let path = put(format!("mode-{mode:o}").as_bytes(), b"m");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    put(b"with space", b"s");
    put("umlaut-\u{fc}".as_bytes(), b"u");
    put(&[b'n'; 255], b"long name");
    if names == Names::Any {
        put(b"new\nline", b"n");
        put(b"not-utf8-\xff\xfe", b"b");
        put(b"back\\slash \"quoted\" $HOME `id`", b"q");
        put(b"-rf", b"dash");
    }
    let sparse = fs::File::create(root.join("sparse")).expect("a file");
    sparse.set_len(20 << 20).expect("a hole");
    sparse.write_all_at(b"start", 0).expect("data");
    sparse.write_all_at(&[7; 70_000], 5 << 20).expect("data");
    let hole = fs::File::create(root.join("all-hole")).expect("a file");
    hole.set_len(1 << 20).expect("a hole");
    fs::create_dir(root.join("dir")).expect("a directory");
    fs::create_dir(root.join("dir/empty")).expect("a directory");
    fs::hard_link(root.join("big"), root.join("dir/hard")).expect("a hard link");
    fs::hard_link(root.join("empty"), root.join("zz-hard-empty")).expect("a hard link");
    symlink("../one", root.join("dir/soft")).expect("a link");
    symlink("/etc/passwd", root.join("absolute")).expect("a link");
    symlink("nowhere", root.join("dangling")).expect("a link");
    symlink("x".repeat(200), root.join("long-link")).expect("a link");
    let mut deep = root.join("deep");
    for i in 0..30 {
        deep = deep.join(format!("level-{i}-with-a-name"));
    }
    fs::create_dir_all(&deep).expect("a deep directory");
    fs::write(deep.join("bottom"), "deep").expect("a file");
    let closed = root.join("read-only");
    fs::create_dir(&closed).expect("a directory");
    fs::write(closed.join("inside"), "x").expect("a file");
    set_time(&closed, 1_500_000_000, 5);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("a mode");
    set_time(root, 1_400_000_000, 1);
}

/// What of the attributes two trees have to agree in.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Times {
    Nanoseconds,
    Seconds,
    Ignored,
}

/// What a tree holds: per path its kind, mode, time, size and contents or link target, and which paths
/// are one file.
pub(crate) fn snapshot(root: &Path) -> BTreeMap<Vec<u8>, String> {
    snapshot_with(root, Times::Nanoseconds)
}

pub(crate) fn snapshot_with(root: &Path, times: Times) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).expect("it is there");
        let name = path.strip_prefix(root).expect("below the root").as_os_str().as_bytes().to_vec();
        let what = if meta.is_dir() {
            let mut below: Vec<_> =
                fs::read_dir(&path).expect("a directory").map(|e| e.expect("an entry").path()).collect();
            below.sort();
            todo.extend(below.into_iter().rev());
            "dir".to_owned()
        } else if meta.is_symlink() {
            format!("link {:?}", fs::read_link(&path).expect("a link"))
        } else if meta.is_file() {
            use sha2::Digest;
            let data = fs::read(&path).expect("a file");
            let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone());
            format!("file {} {:?} of {}", data.len(), sha2::Sha256::digest(&data), first.escape_ascii())
        } else {
            "special".to_owned()
        };
        // A directory's size and a link's mode say nothing.
        let mode = if meta.is_symlink() { 0 } else { meta.mode() & 0o7777 };
        let time = match times {
            Times::Nanoseconds => format!("{}.{:09}", meta.mtime(), meta.mtime_nsec()),
            Times::Seconds => meta.mtime().to_string(),
            Times::Ignored => String::new(),
        };
        found.insert(name, format!("{mode:o} {time} {what}"));
    }
    found
}

pub(crate) fn assert_same(a: &Path, b: &Path) {
    assert_same_with(a, b, Times::Nanoseconds);
}

pub(crate) fn assert_same_with(a: &Path, b: &Path, times: Times) {
    let (a, b) = (snapshot_with(a, times), snapshot_with(b, times));
    for key in a.keys().chain(b.keys()) {
        assert_eq!(a.get(key), b.get(key), "{}", key.escape_ascii());
    }
}

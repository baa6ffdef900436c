//! cp: whole trees there and back, and hostile archives.

use crate::Engine;
use crate::driver::Driver;
use crate::engine::walk;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Everything that a copy should keep, by path.
fn facts(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut inodes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut paths = walk(root);
    paths.sort();
    let mut found = BTreeMap::new();
    for path in paths {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let time = (meta.mtime(), meta.mtime_nsec());
        let fact = if meta.is_symlink() {
            format!("link {:?} {time:?}", fs::read_link(&path).unwrap())
        } else if meta.is_dir() {
            format!("dir {:o} {time:?}", meta.mode())
        } else {
            let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
            let same = (first != name).then_some(first);
            let data = if meta.len() > 64 << 20 { Vec::new() } else { fs::read(&path).unwrap() };
            let sparse = meta.len() > 1 << 20 && meta.blocks() * 512 < meta.len() / 2;
            format!("file {:o} {} {time:?} same as {same:?} sparse {sparse} {:?}", meta.mode(), meta.len(), hash(&data))
        };
        found.insert(name, fact);
    }
    found
}

fn hash(data: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

fn set_time(path: &Path, seconds: u64, nanos: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn make_tree(root: &Path) {
    for d in 0..100u32 {
        let dir = root.join(format!("dir {d}"));
        fs::create_dir_all(&dir).unwrap();
        for f in 0..100u32 {
            let path = dir.join(format!("file-{f}"));
            fs::write(&path, vec![(d + f) as u8; (f as usize * 37) % 5000]).unwrap();
            if f % 10 == 0 {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o400 + f % 8)).unwrap();
                set_time(&path, 1_000_000_000 + u64::from(d), 123_456_789);
            }
        }
    }
    fs::write(root.join("empty"), b"").unwrap();
    let odd = OsString::from_vec(b"new\nline \xff\xfe \"quoted\" $x".to_vec());
    fs::write(root.join(odd), b"odd").unwrap();
    symlink("empty", root.join("link")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    symlink("..", root.join("up")).unwrap();
    fs::hard_link(root.join("dir 0/file-1"), root.join("hard")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 512 << 20).unwrap();
    let mut deep = root.join("deep");
    for _ in 0..40 {
        deep = deep.join("down");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), b"x").unwrap();
    fs::create_dir(root.join("read-only")).unwrap();
    fs::write(root.join("read-only/in"), b"x").unwrap();
    fs::set_permissions(root.join("read-only"), fs::Permissions::from_mode(0o555)).unwrap();
    set_time(&root.join("dir 1"), 1_111_111_111, 5);
}

#[test]
fn a_tree_of_ten_thousand_files_is_the_same_both_ways() {
    let engine = Engine::new();
    engine.run(["run", "--name", "w", "--", "sleep", "1000"]).ok();
    let here = tempfile::tempdir_in("/var/tmp").unwrap();
    let tree = here.path().join("tree");
    make_tree(&tree);
    let arg = |p: &Path| p.as_os_str().to_owned();
    engine.run([OsString::from("cp"), arg(&tree), "w:/srv/".into()]).ok();
    let listed = engine
        .run([
            "exec",
            "w",
            "--",
            "sh",
            "-c",
            "find /srv/tree -type f | tr -d '\\n' | wc -c; stat -c %Y 'srv/tree/dir 1'",
        ])
        .ok();
    assert!(listed.out.contains("1111111111"), "{}", listed.out);
    let back = here.path().join("back");
    engine.run([OsString::from("cp"), "--verify".into(), "hash".into(), "w:/srv/tree".into(), arg(&back)]).ok();
    let (there, here_again) = (facts(&tree), facts(&back));
    assert!(there.len() > 10_100, "{}", there.len());
    for (path, fact) in &there {
        assert_eq!(here_again.get(path), Some(fact), "{path:?}");
    }
    assert_eq!(there.len(), here_again.len());
    engine.run(["rm", "-f", "w"]).ok();
    engine.assert_nothing_left();
}

/// One ustar entry: name, type, link target, contents.
fn entry(name: &str, kind: u8, target: &str, data: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    header[156] = kind;
    header[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut out = header.to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut all = entries.concat();
    all.resize(all.len() + 1024, 0);
    all
}

#[test]
fn hostile_archives_write_nothing_outside_and_name_the_entry() {
    let engine = Engine::new();
    engine.run(["run", "--name", "w", "--", "sleep", "1000"]).ok();
    engine.run(["exec", "w", "--", "mkdir", "/in", "/out"]).ok();
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("../out/x", vec![entry("../out/x", b'0', "", b"x")]),
        ("/out/x", vec![entry("/out/x", b'0', "", b"x")]),
        ("l/x", vec![entry("l", b'2', "/out", b""), entry("l/x", b'0', "", b"x")]),
        ("l/y", vec![entry("l", b'2', "../out", b""), entry("l/y", b'0', "", b"x")]),
        ("h", vec![entry("h", b'1', "/etc/passwd", b"")]),
        ("g", vec![entry("g", b'1', "../etc/passwd", b"")]),
        ("dev", vec![entry("dev", b'3', "", b"")]),
        ("a/../../out/x", vec![entry("a/../../out/x", b'0', "", b"x")]),
    ];
    for (name, entries) in cases {
        let ran = engine.feed(["cp", "-", "w:/in"], &archive(&entries));
        assert_ne!(ran.code, 0, "{name} was taken");
        assert!(ran.err.contains(name), "{name} is not named: {}", ran.err);
        let out = engine.run(["exec", "w", "--", "sh", "-c", "ls -A /out; ls -A /in | grep -vx l"]).out;
        assert_eq!(out, "", "{name} wrote something");
        engine.run(["exec", "w", "--", "sh", "-c", "rm -rf /in/*"]).ok();
    }
    let passwd = engine.run(["exec", "w", "--", "head", "-n", "1", "/etc/passwd"]).ok().out;
    assert!(passwd.starts_with("root:"), "{passwd}");
}

#[test]
fn a_workload_can_not_lead_a_copy_out_of_itself() {
    let engine = Engine::new();
    engine.run(["run", "--name", "w", "--", "sleep", "1000"]).ok();
    let secret = tempfile::Builder::new().tempfile_in("/root").unwrap();
    fs::write(secret.path(), b"the host's").unwrap();
    let host_dir = tempfile::tempdir_in("/root").unwrap();
    let script = format!(
        "ln -s {} /tmp/file; ln -s {} /tmp/dir; ln -s /proc/1/root/root /tmp/proc",
        secret.path().display(),
        host_dir.path().display()
    );
    engine.run(["exec", "w", "--", "sh", "-c", &script]).ok();
    let here = tempfile::tempdir().unwrap();
    let to = |name: &str| -> OsString { here.path().join(name).into() };
    for from in ["w:/tmp/file", "w:/tmp/dir/.", "w:/tmp/proc/."] {
        engine.run([OsStr::new("cp"), OsStr::new(from), &to("got")]);
    }
    for path in walk(here.path()) {
        let data = fs::read(&path).unwrap_or_default();
        assert!(path.is_symlink() || !data.starts_with(b"the host's"), "{path:?} came out");
    }
    let local = here.path().join("mine");
    fs::write(&local, b"mine").unwrap();
    engine.run([OsStr::new("cp"), local.as_os_str(), OsStr::new("w:/tmp/dir/x")]);
    assert!(!host_dir.path().join("x").exists(), "a copy went to the host");
    let _ = OsStr::from_bytes(b"");
}

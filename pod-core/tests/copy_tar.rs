//! Tar streams, against this reader and against GNU tar and BusyBox.
#![cfg(target_os = "linux")]

mod copy_support;

use copy_support::{Names, Times, assert_same, assert_same_with, make_tree, open_dir, read_all, scratch};
use pod_core::copy::tar::{self, TarOptions};
use pod_core::copy::tree::{WriteOptions, read_tree, write_tree};
use pod_core::copy::{CopyReport, CopySource, Entry, EntryKind, EntryStream, Item};
use pod_core::{ErrorKind, Result};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// Runs a program of this machine that the tests measure against; it must be there.
fn run(program: &str, args: &[&str], dir: &Path) {
    let output = Command::new(program).args(args).current_dir(dir).env("LC_ALL", "C").output().unwrap_or_else(|e| {
        panic!("{program} is needed by this test ({e}); install it, such as by `apt-get install {program}`")
    });
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn extract(tar: &Path, into: &Path) -> Result<CopyReport> {
    fs::create_dir(into).expect("a directory");
    let stream = tar::read(tokio::fs::File::open(tar).await.expect("the tar file"));
    let root = open_dir(into);
    tokio::task::spawn_blocking(move || write_tree(root, b"/tree", stream, WriteOptions::new()))
        .await
        .expect("no panic")
}

async fn pack(tree: &Path, tar: &Path, options: &TarOptions) -> CopyReport {
    let stream = read_tree(open_dir(tree), b"/", false).expect("the tree is there");
    let mut file = tokio::fs::File::create(tar).await.expect("a file");
    tar::write_with(stream, &mut file, options).await.expect("it is written")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_survives_a_tar_stream() {
    let tmp = scratch();
    let (src, file) = (tmp.path().join("src"), tmp.path().join("t.tar"));
    make_tree(&src, Names::Any);
    let written = pack(&src, &file, &TarOptions::new()).await;
    let read = extract(&file, &tmp.path().join("out")).await.expect("it is read");
    assert_eq!((written.entries, written.bytes), (read.entries, read.bytes));
    assert_same(&src, &tmp.path().join("out/tree"));
    let copy = fs::metadata(tmp.path().join("out/tree/sparse")).expect("the sparse file");
    assert!(copy.blocks() * 512 < 1 << 20, "holes stay holes: {} blocks", copy.blocks());
    // With zeros for holes the contents are the same.
    pack(&src, &file, &TarOptions::new().with_sparse(false)).await;
    extract(&file, &tmp.path().join("zeros")).await.expect("it is read");
    assert_same(&src, &tmp.path().join("zeros/tree"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_root_is_found_again() {
    let tmp = scratch();
    let (src, file) = (tmp.path().join("src"), tmp.path().join("t.tar"));
    make_tree(&src, Names::Any);
    pack(&src, &file, &TarOptions::new().with_root("some/name")).await;
    let stream = tar::read_as(tokio::fs::File::open(&file).await.expect("the file"), b"./some/name/");
    let root = open_dir(tmp.path());
    let written = tokio::task::spawn_blocking(move || write_tree(root, b"/out", stream, WriteOptions::new()));
    written.await.expect("no panic").expect("it is read");
    assert_same(&src, &tmp.path().join("out"));
    let stream = tar::read_as(tokio::fs::File::open(&file).await.expect("the file"), b"other");
    let answer = tokio::task::spawn_blocking(move || read_all(stream)).await.expect("no panic");
    let e = answer.expect_err("the entries are elsewhere");
    assert!(e.context().contains(&("entry", "some/name/".into())), "{e}");

    // A single file.
    let stream = || CopySource::Memory(vec![(Entry::new("", EntryKind::File { size: 2 }), "hi".into())]).open();
    let mut out = Vec::new();
    let e = tar::write(stream().expect("it opens"), &mut out).await.expect_err("it has no name");
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    let mut out = Vec::new();
    let options = TarOptions::new().with_root("hosts");
    tar::write_with(stream().expect("it opens"), &mut out, &options).await.expect("it is written");
    fs::write(&file, out).expect("a file");
    run("tar", &["-xf", "t.tar"], tmp.path());
    assert_eq!(fs::read(tmp.path().join("hosts")).expect("GNU tar made it"), b"hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn gnu_tar_reads_what_is_written() {
    let tmp = scratch();
    let (src, file, out) = (tmp.path().join("src"), tmp.path().join("t.tar"), tmp.path().join("out"));
    make_tree(&src, Names::Any);
    fs::create_dir(&out).expect("a directory");
    pack(&src, &file, &TarOptions::new()).await;
    run("tar", &["-xpf", "../t.tar"], &out);
    assert_same(&src, &out);
    assert!(fs::metadata(out.join("sparse")).expect("the sparse file").blocks() * 512 < 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn busybox_reads_what_is_written() {
    let tmp = scratch();
    let (src, file, out) = (tmp.path().join("src"), tmp.path().join("t.tar"), tmp.path().join("out"));
    make_tree(&src, Names::Any);
    fs::create_dir(&out).expect("a directory");
    // BusyBox sets a directory's mode at once, so that only root can fill a read-only one.
    fs::set_permissions(src.join("read-only"), fs::Permissions::from_mode(0o755)).expect("a mode");
    pack(&src, &file, &TarOptions::new().with_sparse(false)).await;
    run("sh", &["-c", "umask 0; exec busybox tar -xpf ../t.tar"], &out);
    // It sets no times of links and directories.
    assert_same_with(&src, &out, Times::Ignored);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gnu_tar_writes_is_read() {
    let tmp = scratch();
    let src = tmp.path().join("src");
    make_tree(&src, Names::Any);
    // v7 and ustar can't hold the long names.
    let plain = tmp.path().join("plain");
    make_tree(&plain, Names::Plain);
    fs::remove_file(plain.join("n".repeat(255))).expect("the long name");
    fs::remove_file(plain.join("long-link")).expect("the long link");
    fs::remove_dir_all(plain.join("deep")).expect("the deep path");
    let cases: [(&str, &[&str], Times); 9] = [
        ("plain", &["--format=v7"], Times::Seconds),
        ("plain", &["--format=ustar"], Times::Seconds),
        ("src", &["--format=oldgnu"], Times::Seconds),
        ("src", &["--format=gnu"], Times::Seconds),
        ("src", &["--format=gnu", "-S"], Times::Seconds),
        ("src", &["--format=posix"], Times::Nanoseconds),
        ("src", &["--format=posix", "-S", "--sparse-version=0.0"], Times::Nanoseconds),
        ("src", &["--format=posix", "-S", "--sparse-version=0.1"], Times::Nanoseconds),
        ("src", &["--format=posix", "-S", "--sparse-version=1.0"], Times::Nanoseconds),
    ];
    for (i, (tree, options, times)) in cases.into_iter().enumerate() {
        let args = [options, &["-cf", "t.tar", "-C", tree, "."]].concat();
        run("tar", &args, tmp.path());
        let out = tmp.path().join(format!("out-{i}"));
        extract(&tmp.path().join("t.tar"), &out).await.unwrap_or_else(|e| panic!("{options:?}: {e}"));
        assert_same_with(&tmp.path().join(tree), &out.join("tree"), times);
        if options.contains(&"-S") {
            let blocks = fs::metadata(out.join("tree/sparse")).expect("the sparse file").blocks();
            assert!(blocks * 512 < 1 << 20, "{options:?}: {blocks} blocks");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_of_many_holes_is_read() {
    let tmp = scratch();
    fs::create_dir(tmp.path().join("src")).expect("a directory");
    let file = fs::File::create(tmp.path().join("src/holes")).expect("a file");
    for i in 0..500_u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[(i % 200) as u8 + 1; 4096], i * 65536).expect("data");
    }
    file.set_len(500 * 65536).expect("a hole at the end");
    for format in ["--format=gnu", "--format=posix"] {
        run("tar", &[format, "-S", "-cf", "t.tar", "-C", "src", "."], tmp.path());
        let out = tmp.path().join(format);
        extract(&tmp.path().join("t.tar"), &out).await.expect("it is read");
        assert_same_with(&tmp.path().join("src"), &out.join("tree"), Times::Seconds);
    }
    pack(&tmp.path().join("src"), &tmp.path().join("t.tar"), &TarOptions::new()).await;
    fs::create_dir(tmp.path().join("gnu")).expect("a directory");
    run("tar", &["-xf", "../t.tar"], &tmp.path().join("gnu"));
    assert_same(&tmp.path().join("src"), &tmp.path().join("gnu"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_busybox_writes_is_read() {
    let tmp = scratch();
    let src = tmp.path().join("src");
    make_tree(&src, Names::Any);
    run("busybox", &["tar", "-cf", "t.tar", "-C", "src", "."], tmp.path());
    extract(&tmp.path().join("t.tar"), &tmp.path().join("out")).await.expect("it is read");
    assert_same_with(&src, &tmp.path().join("out/tree"), Times::Seconds);
}

#[tokio::test]
async fn what_is_no_tar_stream_says_what_to_do() {
    let start = |mut bytes: Vec<u8>, length: usize| {
        bytes.resize(length.max(bytes.len()), 7);
        bytes
    };
    for (bytes, words) in [
        (start(b"\x1f\x8b\x08".to_vec(), 2000), "gzip -dc"),
        (start(b"\x1f\x8b\x08".to_vec(), 20), "gzip -dc"),
        (start(b"\xfd7zXZ\0".to_vec(), 2000), "xz -dc"),
        (start(b"\x28\xb5\x2f\xfd".to_vec(), 2000), "zstd -dc"),
        (start(b"BZh9".to_vec(), 2000), "bzip2 -dc"),
        (start(b"PK\x03\x04".to_vec(), 2000), "unzip"),
        (start(b"hello".to_vec(), 2000), "no tar stream"),
        (b"hi".to_vec(), "no tar stream"),
        (Vec::new(), "empty"),
    ] {
        let e = collect(tar::read(std::io::Cursor::new(bytes))).await.expect_err(words);
        assert!(e.to_string().contains(words), "{e}");
    }
    // No entries is no error.
    assert_eq!(collect(tar::read(std::io::Cursor::new(vec![0; 1024]))).await.expect("an end mark"), []);
}

#[tokio::test]
async fn a_cut_stream_is_an_error_wherever_it_is_cut() {
    let mut whole = Vec::new();
    let entries = vec![
        (Entry::new("", EntryKind::Dir).with_mtime(5, 7), "".into()),
        (Entry::new("a", EntryKind::File { size: 1000 }).with_mtime(5, 7), vec![1; 1000].into()),
        (Entry::new("l".repeat(200), EntryKind::Symlink { target: vec![b't'; 300] }), "".into()),
    ];
    let stream = CopySource::Memory(entries).open().expect("it opens");
    tar::write(stream, &mut whole).await.expect("it is written");
    for cut in (0..whole.len()).step_by(37).filter(|n| *n <= whole.len() - 1024) {
        let e = collect(tar::read(std::io::Cursor::new(whole[..cut].to_vec()))).await.expect_err("it is cut");
        assert!(matches!(e.kind(), ErrorKind::Integrity | ErrorKind::InvalidInput), "{cut}: {e}");
    }
    assert_eq!(collect(tar::read(std::io::Cursor::new(whole))).await.expect("it is whole").len(), 4);
}

async fn collect(mut stream: EntryStream) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    while let Some(item) = stream.next().await? {
        items.push(item);
    }
    Ok(items)
}

//! Whole copies over a connection, by the rules of `docker cp`.
#![cfg(target_os = "linux")]

mod copy_support;

use async_trait::async_trait;
use copy_support::{Names, assert_same, make_tree, open_dir, scratch};
use pod_core::copy::tree::{WriteOptions, read_tree, stat_in, write_tree};
use pod_core::copy::{
    CopyInRequest, CopyOptions, CopyOutRequest, CopyReport, CopySource, Entry, EntryKind, EntryStream, FileStat,
    StatRequest, between, download, download_tar, upload, upload_tar,
};
use pod_core::{BoxDuplex, Connection, Error, ErrorKind, ExecRequest, ForwardRequest, Process, Result, WorkloadName};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory taken for a workload's root.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    name: WorkloadName,
}

impl Folder {
    fn new(root: PathBuf) -> Self {
        fs::create_dir_all(&root).expect("a directory");
        Self { root, name: WorkloadName::new("folder").expect("a name") }
    }
}

#[async_trait]
impl Connection for Folder {
    fn workload(&self) -> &WorkloadName {
        &self.name
    }

    async fn exec(&self, _: ExecRequest) -> Result<Process> {
        Err(Error::unsupported("a folder runs nothing"))
    }

    async fn copy_in(&self, request: CopyInRequest) -> Result<CopyReport> {
        let root = open_dir(&self.root);
        tokio::task::spawn_blocking(move || {
            let options = WriteOptions::new().with_verify(request.verify).with_archive(request.archive);
            write_tree(root, &request.dest, request.source.open()?, options)
        })
        .await
        .expect("no panic")
    }

    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream> {
        read_tree(open_dir(&self.root), &request.path, request.follow)
    }

    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>> {
        stat_in(&open_dir(&self.root), &request.path, request.follow)
    }

    async fn forward(&self, _: ForwardRequest) -> Result<BoxDuplex> {
        Err(Error::unsupported("a folder has no ports"))
    }
}

/// A far end that sends what it likes.
#[derive(Debug)]
struct Hostile(WorkloadName, Vec<Entry>);

#[async_trait]
impl Connection for Hostile {
    fn workload(&self) -> &WorkloadName {
        &self.0
    }

    async fn exec(&self, _: ExecRequest) -> Result<Process> {
        Err(Error::unsupported("it runs nothing"))
    }

    async fn copy_in(&self, _: CopyInRequest) -> Result<CopyReport> {
        Err(Error::unsupported("it takes nothing"))
    }

    async fn copy_out(&self, _: CopyOutRequest) -> Result<EntryStream> {
        CopySource::Memory(self.1.iter().map(|e| (e.clone(), "".into())).collect()).open()
    }

    async fn stat(&self, _: StatRequest) -> Result<Option<FileStat>> {
        Ok(Some(FileStat::new(pod_core::copy::FileType::Dir, 0)))
    }

    async fn forward(&self, _: ForwardRequest) -> Result<BoxDuplex> {
        Err(Error::unsupported("it has no ports"))
    }
}

fn options() -> CopyOptions {
    CopyOptions::new()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_goes_up_across_and_down() {
    let tmp = scratch();
    let (a, b) = (Folder::new(tmp.path().join("a")), Folder::new(tmp.path().join("b")));
    let src = tmp.path().join("src");
    make_tree(&src, Names::Any);
    fs::create_dir(a.root.join("there")).expect("a directory");

    let up = upload(&a, &src, b"/there", &options()).await.expect("up");
    assert_same(&src, &a.root.join("there/src"));
    upload(&a, &src, b"/new", &options()).await.expect("up");
    assert_same(&src, &a.root.join("new"));
    upload(&a, &src.join("."), b"/there/", &options()).await.expect("up");
    assert!(a.root.join("there/one").exists());

    let across = between(&a, b"/new", &b, b"/", &options()).await.expect("across");
    assert_eq!((across.entries, across.bytes), (up.entries, up.bytes));
    assert_same(&src, &b.root.join("new"));

    for (from, to) in [(&b"/new"[..], &b"/new"[..]), (b"/new/.", b"/new/dir"), (b"/", b"/new")] {
        let e = between(&b, from, &b, to, &options()).await.expect_err("it would never end");
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
    }

    let out = tmp.path().join("out");
    download(&b, b"/new", &out, &options()).await.expect("down");
    assert_same(&src, &out);
    download(&b, b"/new/", &out, &options()).await.expect("down");
    assert_same(&src, &out.join("new"));
    fs::create_dir(tmp.path().join("real")).expect("a directory");
    symlink("real", tmp.path().join("link")).expect("a link");
    download(&b, b"/new/.", &tmp.path().join("link"), &options()).await.expect("down through the user's own link");
    assert!(tmp.path().join("real/one").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_links_go_where_docker_puts_them() {
    let tmp = scratch();
    let a = Folder::new(tmp.path().join("a"));
    let at = |name: &str| tmp.path().join(name);
    fs::write(at("f"), "hi").expect("a file");
    symlink("f", at("l")).expect("a link");
    fs::create_dir(a.root.join("d")).expect("a directory");
    symlink("/d", a.root.join("dl")).expect("a link");
    symlink("/outside", a.root.join("fl")).expect("a link");
    let read = |path: &str| fs::read_to_string(a.root.join(path)).expect("the copy");

    upload(&a, &at("f"), b"/d", &options()).await.expect("into a directory");
    assert_eq!(read("d/f"), "hi");
    upload(&a, &at("f"), b"/dl/g", &options()).await.expect("through a link inside");
    assert_eq!(read("d/g"), "hi");
    upload(&a, &at("f"), b"/fl", &options()).await.expect("a link to no directory is replaced");
    assert_eq!(read("fl"), "hi");
    assert!(!a.root.join("fl").is_symlink());
    upload(&a, &at("l"), b"/d/", &options()).await.expect("a link stays one");
    assert_eq!(fs::read_link(a.root.join("d/l")).expect("a link"), Path::new("f"));
    upload(&a, &at("l"), b"/d/", &options().with_follow(true)).await.expect("a link is followed");
    assert!(!a.root.join("d/l").is_symlink());
    assert_eq!(read("d/l"), "hi");

    let kind = |r: Result<CopyReport>| r.map_err(|e| e.kind()).expect_err("it must fail");
    assert_eq!(kind(upload(&a, &at("none"), b"/d", &options()).await), ErrorKind::NotFound);
    assert_eq!(kind(upload(&a, &at("f"), b"/none/", &options()).await), ErrorKind::NotFound);
    assert_eq!(kind(upload(&a, &at("f"), b"/none/x", &options()).await), ErrorKind::NotFound);
    assert_eq!(kind(upload(&a, tmp.path(), b"/d/f", &options()).await), ErrorKind::Conflict);
    assert_eq!(kind(download(&a, b"/none", &at("x"), &options()).await), ErrorKind::NotFound);
    assert_eq!(kind(download(&a, b"/d/f", &at("none/x"), &options()).await), ErrorKind::NotFound);
    assert_eq!(kind(download(&a, b"/d/f/", &at("x"), &options()).await), ErrorKind::InvalidInput);
    download(&a, b"/d/f", &at("f2"), &options()).await.expect("down");
    assert_eq!(fs::read_to_string(at("f2")).expect("the copy"), "hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn tar_streams_go_in_and_out() {
    let tmp = scratch();
    let (a, b) = (Folder::new(tmp.path().join("a")), Folder::new(tmp.path().join("b")));
    make_tree(&a.root.join("tree"), Names::Any);
    let mut tar = Vec::new();
    download_tar(&a, b"/tree", &mut tar, &options()).await.expect("out");
    upload_tar(&b, std::io::Cursor::new(tar.clone()), b"/", &options()).await.expect("in");
    assert_same(&a.root.join("tree"), &b.root.join("tree"));
    let e = upload_tar(&b, std::io::Cursor::new(tar.clone()), b"/none", &options()).await.expect_err("no directory");
    assert_eq!(e.kind(), ErrorKind::NotFound);
    let e = upload_tar(&b, std::io::Cursor::new(tar), b"/tree/one", &options()).await.expect_err("a file");
    assert_eq!(e.kind(), ErrorKind::Conflict);
    let mut contents = Vec::new();
    download_tar(&a, b"/tree/.", &mut contents, &options()).await.expect("out");
    fs::create_dir(b.root.join("again")).expect("a directory");
    upload_tar(&b, std::io::Cursor::new(contents), b"/again/", &options()).await.expect("in");
    assert_same(&a.root.join("tree"), &b.root.join("again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told() {
    let tmp = scratch();
    let a = Folder::new(tmp.path().join("a"));
    fs::write(tmp.path().join("f"), vec![7; 3 << 20]).expect("a file");
    let seen = Arc::new(AtomicU64::new(0));
    let hook = {
        let seen = seen.clone();
        move |p: pod_core::copy::CopyProgress| seen.store(p.bytes, Ordering::Relaxed)
    };
    let report = upload(&a, &tmp.path().join("f"), b"/f", &options().with_progress(hook)).await.expect("up");
    assert_eq!((report.bytes, seen.load(Ordering::Relaxed)), (3 << 20, 3 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_far_end_writes_nothing_outside() {
    let tmp = scratch();
    let file = |path: &str| Entry::new(path, EntryKind::File { size: 0 });
    let link = |path: &str, target: &str| Entry::new(path, EntryKind::Symlink { target: target.into() });
    let root = || Entry::new("", EntryKind::Dir);
    let cases: [(Vec<Entry>, &str); 6] = [
        (vec![root(), file("../evil")], "../evil"),
        (vec![root(), file("/evil")], "/evil"),
        (vec![root(), link("l", ".."), file("l/evil")], "l/evil"),
        (vec![link("", "/tmp"), file("evil")], "."),
        (vec![file(""), file("evil")], "."),
        (vec![root(), Entry::new("h", EntryKind::Hardlink { target: "../secret".into() })], "h"),
    ];
    for (i, (entries, named)) in cases.into_iter().enumerate() {
        let dir = tmp.path().join(i.to_string());
        fs::create_dir_all(dir.join("dest")).expect("directories");
        fs::write(dir.join("secret"), "s").expect("a file");
        let far = Hostile(WorkloadName::new("far").expect("a name"), entries);
        let e = download(&far, b"/x/.", &dir.join("dest"), &options()).await.expect_err(named);
        assert!(e.context().contains(&("entry", named.to_owned())), "{e}");
        let mut left: Vec<_> =
            fs::read_dir(&dir).expect("a directory").map(|e| e.expect("an entry").file_name()).collect();
        left.sort();
        assert_eq!(left, ["dest", "secret"]);
    }
}

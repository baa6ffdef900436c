//! Copy on a real cluster: what the contract suite does not ask.

mod lab;

use bytes::Bytes;
use lab::Pod;
use libtest_mimic::{Arguments, Failed, Trial};
use pod_core::copy::{
    CopyInRequest, CopyOptions, CopyOutRequest, CopySource, Entry, EntryKind, EntryStream, FileType, Item, StatRequest,
    Verify, download, upload,
};
use pod_core::{Backend, CreateRequest, ErrorKind, Image, RemoveRequest, Result, WorkloadName, WorkloadSpec};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// A tree of this machine goes up and comes down by the commands' own way, the same.
async fn a_tree_goes_up_and_down(pod: Arc<Pod>) -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, back) = (dir.path().join("source"), dir.path().join("back"));
    std::fs::create_dir_all(source.join("sub/empty")).expect("made");
    for i in 0..200 {
        std::fs::write(source.join(format!("sub/file {i}")), vec![i as u8; i * 37]).expect("written");
    }
    std::os::unix::fs::symlink("sub/file 1", source.join("link")).expect("made");
    for verify in [Verify::Length, Verify::Hash] {
        let options = CopyOptions::new().with_verify(verify);
        let to = format!("/tmp/{verify:?}");
        let up = upload(&*pod.connection, &source, to.as_bytes(), &options).await?;
        assert_eq!((up.entries, up.checked), (204, verify));
        let down =
            download(&*pod.connection, to.as_bytes(), &back.join(format!("{verify:?}")), &CopyOptions::new()).await;
        if !back.exists() {
            // The directory to copy into is made first.
            assert_eq!(down.expect_err("no directory").kind(), ErrorKind::NotFound);
            std::fs::create_dir(&back).expect("made");
            download(&*pod.connection, to.as_bytes(), &back.join(format!("{verify:?}")), &CopyOptions::new()).await?;
        }
        let same =
            std::process::Command::new("diff").arg("-r").arg(&source).arg(back.join(format!("{verify:?}"))).status();
        assert!(same.expect("diff runs").success(), "the tree came back changed");
    }
    Ok(())
}

/// A pod that goes during a copy ends it with an error.
async fn a_removed_pod_ends_a_copy(pod: Arc<Pod>) -> Result<()> {
    let (sink, stream) = EntryStream::channel();
    let feed = tokio::spawn(async move {
        sink.send(Ok(Item::Entry(Entry::new("", EntryKind::File { size: 1 << 30 })))).await;
        let mut offset = 0;
        loop {
            let chunk = pod_core::copy::Chunk { offset, data: Bytes::from(vec![1; 4096]) };
            if !sink.send(Ok(Item::Chunk(chunk))).await {
                return;
            }
            offset += 4096;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let copy = pod.connection.copy_in(CopyInRequest::new("/tmp/x", CopySource::Stream(stream)));
    let remove = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        pod.backend.remove(RemoveRequest::new(pod.name.clone()).with_force(true)).await
    };
    let (copied, removed) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(copy, remove) }).await.expect("it ends");
    removed?;
    let e = copied.expect_err("the pod is gone");
    println!("what a copy says: {e}");
    tokio::time::timeout(Duration::from_secs(10), feed).await.expect("the source is let go of").expect("no panic");
    Ok(())
}

/// A full disk is said to be one, and what was written goes.
async fn a_full_disk_is_exhausted(pod: Arc<Pod>) -> Result<()> {
    // `/dev/shm` of a pod holds 64 MiB.
    let (sink, stream) = EntryStream::channel();
    tokio::spawn(async move {
        sink.send(Ok(Item::Entry(Entry::new("", EntryKind::File { size: 100 << 20 })))).await;
        for i in 0..100 {
            let data = Bytes::from(vec![3; 1 << 20]);
            if !sink.send(Ok(Item::Chunk(pod_core::copy::Chunk { offset: i << 20, data }))).await {
                return;
            }
        }
        sink.finish().await;
    });
    let e = pod.connection.copy_in(CopyInRequest::new("/dev/shm/x", CopySource::Stream(stream))).await;
    let e = e.expect_err("it does not fit");
    assert_eq!(e.kind(), ErrorKind::Exhausted, "{e}");
    assert_eq!(pod.sh("ls -A /dev/shm").await?, "");
    Ok(())
}

/// The first entries of a tree, and then no more.
fn cut(source: &std::path::Path, entries: u32) -> Result<CopySource> {
    let mut stream = CopySource::Local(source.to_owned()).open()?;
    let (sink, cut) = EntryStream::channel();
    tokio::spawn(async move {
        let mut passed = 0;
        while let Ok(Some(item)) = stream.next().await {
            passed += u32::from(matches!(item, Item::Entry(_)));
            if passed > entries || !sink.send(Ok(item)).await {
                return;
            }
        }
    });
    Ok(CopySource::Stream(cut))
}

/// A copy that broke off is taken up, on the way there and on the way back.
async fn a_broken_copy_is_taken_up_both_ways(pod: Arc<Pod>) -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("source");
    std::fs::create_dir(&source).expect("made");
    for i in 0..40 {
        std::fs::write(source.join(format!("file {i:02}")), vec![i as u8; 40_000]).expect("written");
    }
    for verify in [Verify::Length, Verify::Hash] {
        let to = format!("/tmp/{verify:?}");
        let request = CopyInRequest::new(to.as_str(), cut(&source, 30)?).with_verify(verify).with_resume(true);
        assert_eq!(pod.connection.copy_in(request).await.expect_err("cut").kind(), ErrorKind::Integrity);
        assert!(pod.sh("ls -A /tmp").await?.starts_with(".pod-keep-"));
        // A file that changed since.
        std::fs::write(source.join("file 03"), format!("{verify:?}")).expect("written");
        let options = CopyOptions::new().with_verify(verify).with_resume(true);
        let up = upload(&*pod.connection, &source, to.as_bytes(), &options).await?;
        assert_eq!(up.entries, 41);
        // What was still on its way may be lost.
        assert!((20..29).contains(&up.resumed), "{} were not sent again", up.resumed);
        let back = dir.path().join(format!("{verify:?}"));
        // What is in the directory, so that a second time means the same place.
        let from = format!("{to}/.");
        download(&*pod.connection, from.as_bytes(), &back, &options).await?;
        std::fs::remove_file(back.join("file 05")).expect("removed");
        std::fs::write(back.join("file 06"), "other").expect("written");
        let down = download(&*pod.connection, from.as_bytes(), &back, &options).await?;
        assert_eq!(down.resumed, 38, "{verify:?}");
        let same = std::process::Command::new("diff").arg("-r").arg(&source).arg(&back).status();
        assert!(same.expect("diff runs").success(), "the tree came back changed");
        // Of the root, the kernel's own file systems are left out.
        let mut all = pod.connection.copy_out(CopyOutRequest::new("/").with_have(Vec::new())).await?;
        let mut names = Vec::new();
        while let Some(item) = all.next().await? {
            if let Item::Entry(entry) = item {
                names.push(entry.display_path());
            }
        }
        assert!(names.contains(&"etc/passwd".to_owned()) && names.contains(&"proc".to_owned()), "{names:?}");
        assert!(!names.iter().any(|n| n.starts_with("proc/") || n.starts_with("sys/")), "{names:?}");
        pod.sh(&format!("rm -r {to}; test -z \"$(ls -A /tmp)\"")).await?;
    }
    Ok(())
}

/// An image of one program, run as a user that only the image names: a container beside it copies.
async fn an_image_without_a_shell_is_copied_by_a_helper(_: Arc<Pod>) -> Result<()> {
    let name = WorkloadName::new(format!("t{}", &uuid::Uuid::new_v4().simple().to_string()[..12]))?;
    let spec = WorkloadSpec::new(name.clone())
        .with_image(Image::Reference("pod.test/bare:1".into()))
        .with_command(["/sleep", "3600"]);
    let plain = lab::registry().connect(&lab::uri()).await?;
    plain.create(CreateRequest::new(spec).with_start()).await?;
    let done = copied_by_a_helper(&*plain, &name).await;
    plain.remove(RemoveRequest::new(name).with_force(true)).await?;
    done
}

async fn copied_by_a_helper(plain: &dyn Backend, name: &WorkloadName) -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, back) = (dir.path().join("source"), dir.path().join("back"));
    std::fs::create_dir_all(source.join("sub")).expect("made");
    std::fs::write(source.join("sub/a b"), "text").expect("written");
    std::os::unix::fs::symlink("/etc/app.conf", source.join("link")).expect("made");
    let options = CopyOptions::new().with_verify(Verify::Hash).with_resume(true);
    let connection = plain.connect(name).await?;
    let e = upload(&*connection, &source, b"/data/tree", &options).await.expect_err("no shell");
    assert!(e.kind() == ErrorKind::Unsupported && e.to_string().contains("--helper"), "{e}");
    let uri = lab::uri().with_option("helper", lab::image());
    // The second uses the first's container again.
    for _ in 0..2 {
        let backend = lab::registry().connect(&uri).await?;
        let connection = backend.connect(name).await?;
        // Each path is the container's own, with its links.
        let stat = connection.stat(StatRequest::new("/shortcut")).await?.expect("there");
        assert_eq!(stat.kind, FileType::Dir);
        assert!(connection.stat(StatRequest::new("/bin/sh")).await?.is_none(), "that is the helper's");
        let up = upload(&*connection, &source, b"/shortcut/tree", &options).await?;
        assert_eq!((up.entries, up.checked), (4, Verify::Hash));
        download(&*connection, b"/data/tree", &back, &options).await?;
        assert_eq!(std::fs::read_to_string(back.join("sub/a b")).expect("there"), "text");
        assert_eq!(std::fs::read_link(back.join("link")).expect("a link"), std::path::Path::new("/etc/app.conf"));
        std::fs::remove_dir_all(&back).expect("removed");
        let one = dir.path().join("app.conf");
        let follow = CopyOptions::new().with_follow(true);
        download(&*connection, b"/data/tree/link", &one, &follow).await?;
        assert_eq!(std::fs::read_to_string(&one).expect("there"), "bare\n");
        // What it may not write is refused as the container itself would be.
        let e = upload(&*connection, &one, b"/etc/app.conf", &options).await.expect_err("another's");
        assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{e}");
    }
    let asked = std::process::Command::new("kubectl")
        .args(["--kubeconfig", &lab::kubeconfig(), "-n", "default", "get", "pod", name.as_str()])
        .args(["-o", "jsonpath={.spec.ephemeralContainers[*].name}"])
        .output()
        .expect("kubectl runs");
    // One as root, as the image was taken to run; one as the user it does run as.
    let helpers = String::from_utf8_lossy(&asked.stdout).split_whitespace().count();
    assert_eq!(helpers, 2, "{asked:?}");
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime"));
    let mut trials: Vec<Trial> = Vec::new();
    macro_rules! own {
        ($($name:ident),* $(,)?) => {$({
            let runtime = runtime.clone();
            trials.push(Trial::test(concat!("k8s::", stringify!($name)), move || -> std::result::Result<(), Failed> {
                lab::with_pod(&runtime, $name)
            }));
        })*};
    }
    own![
        a_tree_goes_up_and_down,
        a_removed_pod_ends_a_copy,
        a_full_disk_is_exhausted,
        a_broken_copy_is_taken_up_both_ways,
        an_image_without_a_shell_is_copied_by_a_helper,
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

//! Copy on a real cluster: what the contract suite does not ask.

mod lab;

use bytes::Bytes;
use lab::Pod;
use libtest_mimic::{Arguments, Failed, Trial};
use pod_core::copy::{
    CopyInRequest, CopyOptions, CopySource, Entry, EntryKind, EntryStream, Item, Verify, download, upload,
};
use pod_core::{ErrorKind, RemoveRequest, Result};
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
    own![a_tree_goes_up_and_down, a_removed_pod_ends_a_copy, a_full_disk_is_exhausted,];
    libtest_mimic::run(&arguments, trials).exit_code()
}

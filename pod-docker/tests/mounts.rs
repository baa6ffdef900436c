//! Copies to and from what is mounted in a container, and a container whose tools lie.

mod lab;

use lab::Engine;
use pod_core::copy::{CopyInRequest, CopyOptions, CopySource, Entry, EntryKind, StatRequest, download};
use pod_core::{Connection, ErrorKind, RemoveRequest, Result};
use std::process::Command;

fn source(text: &str) -> CopySource {
    CopySource::Memory(vec![(Entry::new("", EntryKind::File { size: text.len() as u64 }), text.to_owned().into())])
}

/// Makes a container by Docker's client, with these arguments, and removes it after the test.
async fn with_container<Fut: Future<Output = Result<()>>>(
    engine: Engine,
    arguments: &[&str],
    test: impl FnOnce(std::sync::Arc<dyn Connection>) -> Fut,
) {
    let name = lab::unique("mounts");
    let done = Command::new("docker")
        .args(["-H", &format!("unix://{}", engine.socket()), "run", "-d", "--name", name.as_str()])
        .args(arguments)
        .args([&lab::image().to_string(), "sleep", "600"])
        .output()
        .expect("docker");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let backend = lab::registry().connect(&engine.uri()).await.expect("the engine");
    let tested = async { test(backend.connect(&name).await?).await }.await;
    backend.remove(RemoveRequest::new(name).with_force(true)).await.expect("removed");
    tested.unwrap_or_else(|e| panic!("on {engine:?}: {e}"));
}

async fn sh(connection: &dyn Connection, script: &str) -> Result<String> {
    use pod_core::ConnectionExt;
    let out = connection.run(pod_core::ExecRequest::shell(script)).await?;
    assert!(out.status.success(), "{script}: {} {}", out.status, out.stderr_text());
    Ok(out.stdout_text())
}

#[tokio::test]
async fn what_is_mounted_is_copied_to_and_from() {
    for engine in Engine::BOTH {
        // The volume is the container's own, and goes with it.
        with_container(engine, &["--tmpfs", "/mem", "-v", "/data"], async |c| {
            sh(&*c, "ln -s /mem /data/link").await?;
            for path in ["/mem/file", "/data/file", "/data/link/behind", "/dev/shm/file", "/tmp/plain"] {
                c.copy_in(CopyInRequest::new(path, source(path))).await?;
                assert_eq!(sh(&*c, &format!("cat {path}")).await?, path, "what a program finds");
                let found = c.stat(StatRequest::new(path)).await?.expect(path);
                assert_eq!(found.size, path.len() as u64);
                let dir = tempfile::tempdir().expect("a folder");
                let to = dir.path().join("file");
                download(&*c, path.as_bytes(), &to, &CopyOptions::default()).await?;
                assert_eq!(std::fs::read_to_string(to).expect("a file"), path, "what came out");
            }
            assert_eq!(sh(&*c, "ls -A /mem /dev/shm").await?, "/dev/shm:\nfile\n\n/mem:\nbehind\nfile\n");
            Ok(())
        })
        .await;
    }
}

/// What was mounted in a container later is not known, and found out before a byte is sent.
#[tokio::test]
async fn a_mount_that_nobody_told_is_refused() {
    lab::with_workload_on(Engine::Docker, "late", async |w| {
        w.sh("mkdir /late").await?;
        let pid = w.backend.inspect(&w.name).await?.pid.expect("it runs").to_string();
        let mounting = ["--mount", "--target", &pid, "mount", "-t", "tmpfs", "none", "/late"];
        let done = Command::new("nsenter").args(mounting).output().expect("nsenter");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let copied = w.connection.copy_in(CopyInRequest::new("/late/file", source("x"))).await;
        let e = copied.expect_err("it is a tmpfs");
        assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
        assert!(e.to_string().contains("/late/file"), "{e}");
        assert_eq!(w.sh("ls -A /late").await?, "", "what is left in it");
        Ok(())
    })
    .await;
}

/// An entry of a tar archive: a header of ustar (POSIX.1-2017, pax) without contents.
fn header(name: &str, kind: u8, link: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000755\x000000000\x000000000\x0000000000000\x0000000000000\0        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

#[tokio::test]
async fn a_tar_that_lies_escapes_nothing() {
    let outside = tempfile::tempdir().expect("a folder");
    let out = outside.path().display().to_string();
    let root = header("./", b'5', "");
    let lies = [
        vec![root.clone(), header("./../../escaped", b'0', "")],
        vec![root.clone(), header(&format!("{out}/escaped"), b'0', "")],
        vec![root.clone(), header("./l", b'2', &out), header("./l/escaped", b'0', "")],
        vec![root.clone(), header("./l", b'2', &out), header("./l", b'5', ""), header("./l/escaped", b'0', "")],
        vec![root, header("./h", b'1', "/etc/passwd")],
    ];
    let lies: Vec<Vec<u8>> = lies.iter().map(|lie| [lie.concat(), vec![0; 1024]].concat()).collect();
    for engine in Engine::BOTH {
        let (lies, out) = (lies.clone(), out.clone());
        lab::with_workload_on(engine, "liar", async move |w| {
            // Below the tmpfs, where the container's own tools are used.
            w.sh("mkdir /dev/shm/tree").await?;
            for (which, lie) in lies.iter().enumerate() {
                let entry = Entry::new("", EntryKind::File { size: lie.len() as u64 });
                let source = CopySource::Memory(vec![(entry, lie.clone().into())]);
                w.connection.copy_in(CopyInRequest::new(format!("/tmp/{which}"), source)).await?;
            }
            // BusyBox's shell has its own `tar` built in, and prefers it to any file, but not to a function.
            w.sh(concat!(
                "printf '%s\\n' '#!/bin/busybox sh' 'tar() { [ \"$1\" = --version ] || cat /tmp/lie; }' ",
                "'_pod_script=$2' 'shift 3' 'eval \"$_pod_script\"' >/bin/liar; chmod +x /bin/liar; mv -f /bin/liar /bin/sh",
            ))
            .await?;
            for which in 0..lies.len() {
                w.sh(&format!("ln -sf {which} /tmp/lie")).await?;
                let dir = tempfile::tempdir().expect("a folder");
                let to = dir.path().join("tree");
                let done = download(&*w.connection, b"/dev/shm/tree", &to, &CopyOptions::default()).await;
                // A path from the root on is taken for one below the copy's own, as tar does.
                assert!(done.is_err() || which == 1, "{engine:?}: lie {which} was taken: {done:?}");
                assert!(
                    !dir.path().join("escaped").exists()
                        && !dir.path().parent().is_some_and(|d| d.join("escaped").exists())
                );
                assert_eq!(std::fs::read_dir(&out).expect("a folder").count(), 0, "{engine:?}: something escaped");
            }
            Ok(())
        })
        .await;
    }
}

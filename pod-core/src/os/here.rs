//! The operations that change nothing but a folder of the test's own, against this machine: with its
//! GNU tools, and with BusyBox's alone where one is installed.

use crate::copy::FileType;
use crate::os::local::Local;
use crate::os::sandbox::busybox;
use crate::os::{LinkKind, Os, ProcessState, Removed, Userland};
use crate::{ErrorKind, Signal};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

async fn gnu() -> Os {
    Os::detect(Arc::new(Local::host())).await.expect("this machine has a shell")
}

#[tokio::test]
async fn facts_of_this_machine() {
    let os = gnu().await;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    assert_eq!(os.facts().kernel_release, kernel.trim());
    assert_eq!(os.facts().userland, Userland::Gnu);
    assert_eq!(os.facts().uid, rustix::process::geteuid().as_raw());
    assert_eq!(os.dialect().name(), "gnu");
}

#[tokio::test]
async fn facts_of_a_busybox_root() {
    let Some(s) = busybox().await else { return };
    assert_eq!(s.os.facts().userland, Userland::BusyBox);
    assert!(!s.os.facts().iproute2 && s.os.facts().package_manager.is_none());
    assert_eq!(s.os.dialect().name(), "busybox");
}

#[tokio::test]
async fn the_network_of_this_machine() {
    let os = gnu().await;
    let names: BTreeSet<String> = std::fs::read_to_string("/proc/net/dev")
        .expect("interfaces")
        .lines()
        .skip(2)
        .filter_map(|l| l.split_once(':').map(|(n, _)| n.trim().to_owned()))
        .collect();
    let interfaces = os.interfaces().await.expect("interfaces are read");
    assert_eq!(interfaces.iter().map(|i| i.name.clone()).collect::<BTreeSet<_>>(), names);
    let lo = os.interface("lo").await.expect("a loopback");
    assert_eq!((lo.kind, lo.mac, lo.mtu), (LinkKind::Loopback, None, Some(65536)));
    assert_eq!(os.interface("nope").await.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    for route in os.routes().await.expect("routes are read") {
        if let Some(name) = &route.interface {
            assert!(names.contains(name), "{route:?}");
        }
    }
}

async fn processes_are_read(os: &Os) {
    let odd = "an argument\nwith a line end";
    let mut child = std::process::Command::new("sleep").args(["1000", "2"]).spawn().expect("a process");
    let mut other = std::process::Command::new("sh")
        .args(["-c", "read x", odd, ""])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("a process");
    // It is `sleep` only once it has been executed.
    while std::fs::read(format!("/proc/{}/cmdline", child.id())).is_ok_and(|c| !c.starts_with(b"sleep\0")) {
        std::thread::yield_now();
    }
    while std::fs::read(format!("/proc/{}/cmdline", other.id())).is_ok_and(|c| !c.starts_with(b"sh\0")) {
        std::thread::yield_now();
    }
    let all = os.processes().await.expect("processes are read");
    let find = |pid| all.iter().find(|p| p.pid == pid).expect("it is there").clone();
    let mine = find(std::process::id());
    assert!(mine.rss > 1 << 20, "{mine:?}");
    assert_eq!(mine.uid, rustix::process::geteuid().as_raw());
    let sleep = find(child.id());
    assert_eq!((sleep.ppid, sleep.name.as_str()), (std::process::id(), "sleep"));
    assert_eq!(sleep.args, ["sleep", "1000", "2"]);
    assert_eq!(find(other.id()).args, ["sh", "-c", "read x", odd, ""]);
    assert!(all.windows(2).all(|w| w[0].pid < w[1].pid));

    os.kill(child.id(), Signal::TERM).await.expect("it is signalled");
    let status = child.wait().expect("it ends");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    assert_eq!(os.kill(child.id(), Signal::TERM).await.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    assert_eq!(os.kill(0, Signal::KILL).await.map_err(|e| e.kind()), Err(ErrorKind::InvalidInput));
    drop(other.stdin.take());
    other.wait().expect("it ends");
}

#[tokio::test]
async fn processes_of_this_machine() {
    processes_are_read(&gnu().await).await;
    if let Some(s) = busybox().await {
        processes_are_read(&s.os).await;
    }
}

#[tokio::test]
async fn a_zombie_has_no_arguments() {
    let mut child = std::process::Command::new("true").spawn().expect("a process");
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    while !stat().contains(") Z") {
        std::thread::yield_now();
    }
    let all = gnu().await.processes().await.expect("read");
    let zombie = all.iter().find(|p| p.pid == child.id()).expect("it is there");
    assert_eq!((zombie.state, zombie.command().as_str()), (ProcessState::Zombie, "[true]"));
    child.wait().expect("it ends");
}

async fn resources_are_read(os: &Os) {
    let memory = os.memory().await.expect("memory is read");
    assert!(memory.available <= memory.total && memory.total > 64 << 20, "{memory:?}");
    let cpu = os.cpu().await.expect("cpu is read");
    assert!(cpu.count >= 1);
    let disks = os.disks().await.expect("disks are read");
    assert!(disks.iter().all(|d| d.used <= d.total && d.available <= d.total && d.total > 0), "{disks:?}");
    assert!(disks.iter().all(|d| d.file_system != "proc"));
}

#[tokio::test]
async fn resources_of_this_machine() {
    let os = gnu().await;
    resources_are_read(&os).await;
    let disks = os.disks().await.expect("read");
    let root = disks.iter().find(|d| d.mount.as_bytes() == b"/").expect("a root");
    let real = rustix::fs::statvfs("/").expect("a root");
    assert_eq!(root.total, real.f_blocks * real.f_bsize);
    if let Some(s) = busybox().await {
        resources_are_read(&s.os).await;
        assert_eq!(s.os.cpu().await.ok(), os.cpu().await.ok());
        assert_eq!(s.os.memory().await.ok().map(|m| m.total), os.memory().await.ok().map(|m| m.total));
    }
}

/// All operations on files, below `dir` as the workload names it.
async fn files_are_handled(os: &Os, dir: &str, outside: &Path) {
    let at = |name: &[u8]| [dir.as_bytes(), b"/", name].concat();
    let odd: &[&[u8]] = &[
        b"plain",
        b"with space",
        b"line\nend",
        b"\n",
        b"-rf",
        b".hidden",
        b"..twodots",
        b"\xff\xfe",
        b"$(reboot)",
        b"a\n81a4 1 1",
        b"'",
        b"tail\n",
    ];
    for name in odd {
        os.write_file(at(name), name.to_vec(), 0o640).await.expect("it is written");
        assert_eq!(os.read_file(at(name)).await.expect("it is read"), *name);
        assert!(os.exists(at(name)).await.expect("asked"));
    }
    os.make_dir(at(b"dir"), false).await.expect("made");
    symlink("plain\n//x", outside.join("link")).expect("a link");
    let list = os.list_dir(at(b"")).await.expect("it is listed");
    let mut names: Vec<&[u8]> = odd.to_vec();
    names.extend([&b"dir"[..], b"link"]);
    names.sort_unstable();
    assert_eq!(list.iter().map(|e| e.name.as_bytes()).collect::<Vec<_>>(), names);
    for entry in &list {
        let stat = os.stat(at(entry.name.as_bytes()), false).await.expect("asked").expect("it is there");
        assert_eq!(stat, entry.clone().into(), "{entry:?}");
        match entry.name.as_bytes() {
            b"dir" => assert_eq!(entry.kind, FileType::Dir),
            b"link" => assert_eq!(stat.target.as_deref(), Some(&b"plain\n//x"[..])),
            name => {
                let real = std::fs::symlink_metadata(outside.join(std::ffi::OsStr::from_bytes(name))).expect("there");
                assert_eq!((entry.kind, entry.size, entry.mode), (FileType::File, real.len(), 0o640));
                let mtime = real.modified().expect("a time").duration_since(std::time::UNIX_EPOCH).expect("late");
                assert_eq!(entry.mtime, (i64::try_from(mtime.as_secs()).expect("small"), mtime.subsec_nanos()));
            }
        }
    }
    // Replacing keeps nothing of the old file, and follows a link.
    os.write_file(at(b"plain"), b"".to_vec(), 0o755).await.expect("written");
    let mode = std::fs::metadata(outside.join("plain")).expect("there").permissions().mode() & 0o7777;
    assert_eq!((mode, os.read_file(at(b"plain")).await.expect("read")), (0o755, Vec::new()));
    symlink("plain", outside.join("to-plain")).expect("a link");
    os.write_file(at(b"to-plain"), b"through".to_vec(), 0o600).await.expect("written");
    assert_eq!(std::fs::read(outside.join("plain")).expect("read"), b"through");
    assert!(outside.join("to-plain").is_symlink());
    let big: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    os.write_file(at(b"big"), big.clone(), 0o600).await.expect("written");
    assert_eq!(os.read_file(at(b"big")).await.expect("read"), big);
    assert!(
        std::fs::read_dir(outside).expect("listed").flatten().all(|e| !e.file_name().as_bytes().starts_with(b".pod."))
    );

    // What is not there, or is something else, is told apart.
    let kind = |e: crate::Error| e.kind();
    assert!(!os.exists(at(b"nope")).await.expect("asked") && !os.exists(at(b"plain/x")).await.expect("asked"));
    assert!(os.exists(at(b"link")).await.expect("asked"), "a dangling link is something");
    assert_eq!(os.stat(at(b"link"), true).await.expect("asked"), None);
    assert_eq!(os.read_file(at(b"nope")).await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(os.read_file(at(b"dir")).await.map_err(kind), Err(ErrorKind::InvalidInput));
    assert_eq!(os.write_file(at(b"no/x"), "x", 0o644).await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(os.write_file(at(b"dir"), "x", 0o644).await.map_err(kind), Err(ErrorKind::InvalidInput));
    assert_eq!(os.list_dir(at(b"nope")).await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(os.list_dir(at(b"plain")).await.map_err(kind), Err(ErrorKind::InvalidInput));
    assert_eq!(os.list_dir("relative").await.map_err(kind), Err(ErrorKind::InvalidInput));
    assert_eq!(os.make_dir(at(b"plain"), true).await.map_err(kind), Err(ErrorKind::AlreadyExists));
    assert_eq!(os.make_dir(at(b"a/b/c"), false).await.map_err(kind), Err(ErrorKind::NotFound));
    os.make_dir(at(b"a/b/c"), true).await.expect("made");
    os.make_dir(at(b"a/b/c"), false).await.expect("twice is no error");
    assert!(os.list_dir(at(b"a/b/c")).await.expect("listed").is_empty());
    assert_eq!(os.remove(at(b"a"), false).await.map_err(kind), Err(ErrorKind::Conflict));
    assert_eq!(os.remove(at(b"a/b/c/"), false).await.ok(), Some(Removed::Removed));
    assert_eq!(os.remove(at(b"a"), true).await.ok(), Some(Removed::Removed));
    assert_eq!(os.remove(at(b"a"), true).await.ok(), Some(Removed::AlreadyAbsent));
    symlink("dir", outside.join("to-dir")).expect("a link");
    assert_eq!(os.remove(at(b"to-dir/"), true).await.ok(), Some(Removed::Removed));
    assert!(outside.join("dir").is_dir() && !outside.join("to-dir").is_symlink());
    for bad in ["/", "//", "/.", "/tmp/..", "x"] {
        assert_eq!(os.remove(bad, true).await.map_err(kind), Err(ErrorKind::InvalidInput), "{bad}");
    }
    for name in odd {
        assert_eq!(os.remove(at(name), false).await.ok(), Some(Removed::Removed), "{name:?}");
    }
}

#[tokio::test]
async fn files_of_this_machine() {
    let dir = tempfile::tempdir().expect("a folder");
    let os = gnu().await;
    files_are_handled(&os, dir.path().to_str().expect("text"), dir.path()).await;
    assert!(!os.read_file("/proc/self/status").await.expect("a file of no size").is_empty());
    if let Some(s) = busybox().await {
        let outside = s.path("root");
        files_are_handled(&s.os, "/root", &outside).await;
        assert!(!s.os.read_file("/proc/self/status").await.expect("a file of no size").is_empty());
    }
}

#[tokio::test]
async fn a_write_that_is_cut_leaves_the_old_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("f");
    std::fs::write(&path, "old").expect("written");
    let os = gnu().await;
    let plan = os.dialect().write_file(path.as_os_str().as_bytes(), b"new content".to_vec(), 0o644).expect("a plan");
    let mut step = plan.steps()[0].clone();
    step.input = Some(crate::os::Input::new("new"));
    let output = crate::os::handle::run_step(&**os.connection(), None, &step).await.expect("it ran");
    assert_eq!(plan.read(&[output]).map_err(|e| e.kind()), Err(ErrorKind::Integrity));
    assert_eq!(std::fs::read(&path).expect("read"), b"old");
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
}

#[tokio::test]
async fn a_workload_without_a_shell_is_told() {
    let local = Local::behind(&["/nonexistent"], "");
    let error = Os::detect(Arc::new(local)).await.expect_err("there is nothing to run");
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, Some("os.detect")));
}

#[tokio::test]
async fn users_and_packages_of_this_machine() {
    let os = gnu().await;
    let root = os.user("root").await.expect("there is a root");
    assert_eq!((root.uid, root.gid), (0, 0));
    let passwd = std::fs::read_to_string("/etc/passwd").expect("read");
    let names: Vec<String> = os.users().await.expect("read").into_iter().map(|u| u.name).collect();
    assert!(passwd.lines().filter_map(|l| l.split(':').next()).all(|n| names.iter().any(|m| m == n)));
    assert_eq!(os.user("no-such-user").await.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    match os.facts().package_manager {
        Some(manager) => {
            let all = os.packages().await.expect("read");
            assert!(all.len() > 10 && all.iter().all(|p| !p.name.is_empty() && !p.version.is_empty()), "{manager}");
            assert_eq!(os.package("no-such-package").await.expect("asked"), None);
        }
        None => assert_eq!(os.packages().await.map_err(|e| e.kind()), Err(ErrorKind::Unsupported)),
    }
}

//! Sandboxes, for tests alone: this machine's own tools over private copies of `/etc` and `/home`, and
//! a root that holds nothing but BusyBox; each in namespaces of its own (mount, network, host name)
//! that go with the test.

use crate::os::Os;
use crate::os::local::Local;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// A sandbox; its first process, and with it all mounts and links, ends when this is dropped.
pub(crate) struct Sandbox {
    pub(crate) os: Os,
    /// What the workload sees as `/` (BusyBox), or what lies under its private folders (GNU).
    pub(crate) root: tempfile::TempDir,
    first: Child,
    enter: Vec<String>,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It can only have ended already.
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

impl Sandbox {
    /// Runs a program of this machine in the sandbox's namespaces.
    pub(crate) fn run(&self, argv: &[&str]) {
        let out = Command::new(&self.enter[0]).args(&self.enter[1..]).args(argv).output().expect("nsenter runs");
        assert!(out.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// A file of the sandbox, as this machine names it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this test may change users, links and names in a sandbox; says so if not.
pub(crate) fn may_change() -> bool {
    if !root() {
        eprintln!("skipped: needs root");
    }
    root()
}

/// Starts the sandbox: `setup` runs as its first process, with the folder as `$1`.
async fn start(dir: tempfile::TempDir, setup: &str, inside: &[&str]) -> Option<Sandbox> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--uts"]).args(if root() { &[][..] } else { &["--map-root-user"] });
    command.args(["sh", "-e", "-c", &format!("{setup}\necho ready; exec sleep 600"), "sh"]).arg(dir.path());
    let mut first = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("unshare runs");
    let mut line = String::new();
    let out = first.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("it is read");
    if line.trim() != "ready" {
        let _ = first.wait();
        assert!(!root(), "the sandbox could not be set up");
        eprintln!("skipped: no namespaces for this user");
        return None;
    }
    let pid = first.id().to_string();
    let mut enter: Vec<String> = ["nsenter", "--mount", "--net", "--uts", "--target", &pid].map(str::to_owned).to_vec();
    if !root() {
        enter.extend(["--user", "--preserve-credentials"].map(str::to_owned));
    }
    let prefix: Vec<&str> = enter.iter().map(String::as_str).chain(inside.iter().copied()).collect();
    let os = Os::detect(Arc::new(Local::behind(&prefix, "/usr/sbin:/usr/bin:/sbin:/bin"))).await;
    Some(Sandbox { os: os.expect("the sandbox has a shell"), root: dir, first, enter })
}

/// This machine's tools.
pub(crate) async fn gnu() -> Option<Sandbox> {
    let dir = tempfile::tempdir().expect("a folder");
    start(
        dir,
        r#"cp -a /etc "$1/etc"; mkdir "$1/home" "$1/mail"; rm -f "$1/etc/resolv.conf"
mount -t sysfs sysfs /sys
mount --bind "$1/etc" /etc; mount --bind "$1/home" /home; mount --bind "$1/mail" /var/mail; ip link set dev lo up"#,
        &[],
    )
    .await
}

/// The BusyBox to test with: `POD_TEST_BUSYBOX`, else the machine's own, which may lack applets.
fn busybox_program() -> Option<PathBuf> {
    let path = std::env::var_os("POD_TEST_BUSYBOX").map_or_else(|| PathBuf::from("/bin/busybox"), PathBuf::from);
    if !path.exists() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
}

/// BusyBox alone.
pub(crate) async fn busybox() -> Option<Sandbox> {
    let program = busybox_program()?;
    let dir = tempfile::tempdir().expect("a folder");
    let list = Command::new(&program).arg("--list").output().expect("it lists");
    let at = |name: &str| dir.path().join(name);
    for d in ["bin", "proc", "sys", "dev", "tmp", "etc", "root", "home"] {
        std::fs::create_dir(at(d)).expect("a folder");
    }
    std::fs::copy(&program, at("bin/busybox")).expect("copied");
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|a| *a != "busybox") {
        symlink("busybox", at("bin").join(applet)).expect("a link");
    }
    let write = |name: &str, text: &str| std::fs::write(at(name), text).expect("written");
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    write("etc/group", "root:x:0:\nwheel:x:10:root\naudio:x:29:\n");
    write("etc/shadow", "root:*::0:::::\n");
    let inside = dir.path().to_str().expect("text").to_owned();
    start(
        dir,
        r#"mount --rbind /proc "$1/proc"; mount -t sysfs sysfs "$1/sys"; mount --rbind /dev "$1/dev"; mount --rbind /tmp "$1/tmp"
ip link set dev lo up"#,
        &["chroot", &inside],
    )
    .await
}

/// Both of those that can be had.
pub(crate) async fn both() -> Vec<Sandbox> {
    [gnu().await, busybox().await].into_iter().flatten().collect()
}

/// Whether a path exists, links not followed.
pub(crate) fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

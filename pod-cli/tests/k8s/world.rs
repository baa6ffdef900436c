//! A namespace of each test's own, driven by the real command.

use crate::driver::{Driver, Ran};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

fn kubeconfig() -> PathBuf {
    std::env::var_os("POD_LAB_KUBECONFIG").expect("POD_LAB_KUBECONFIG names the lab's: run `cargo xtask test`").into()
}

/// The image that the lab's nodes have.
pub(crate) fn image() -> String {
    std::env::var("POD_LAB_IMAGE").unwrap_or_else(|_| "pod.test/busybox:1".into())
}

/// Asks until something holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "it still does not hold that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A namespace, and a folder for this machine's own workloads.
pub(crate) struct World {
    pub(crate) namespace: String,
    folder: tempfile::TempDir,
}

impl World {
    /// A new namespace, which goes with all that is in it.
    pub(crate) fn new(what: &str) -> Self {
        let world = Self::without_namespace(what);
        world.run(["k8s", "namespace", "create", &world.namespace]).ok();
        world
    }

    /// A name for one that the test makes, or doesn't need.
    pub(crate) fn without_namespace(what: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            namespace: format!("cli-{what}-{}-{count}", std::process::id()),
            folder: tempfile::Builder::new().prefix("pod-cli-k8s-").tempdir_in("/var/tmp").unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The address of the namespace.
    pub(crate) fn uri(&self) -> String {
        format!("k8s:{}/?image={}", self.namespace, image())
    }

    /// `kubectl` on this namespace.
    pub(crate) fn kubectl(&self, args: &[&str], input: &str) -> Ran {
        let mut command = Command::new("kubectl");
        command.args(["--namespace", &self.namespace]).args(args).env("KUBECONFIG", kubeconfig());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the lab puts kubectl on the PATH");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// A file of this text.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Driver for World {
    fn pod<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pod"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("KUBECONFIG", kubeconfig());
        command.env("POD_BACKEND", self.uri()).env("POD_LOCAL_ROOT", self.path().join("local"));
        command.env("HOME", "/nonexistent").args(args).stdin(Stdio::null()).current_dir(self.path());
        command
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What a failed test made on this machine must not outlive it.
        for (list, remove) in [(&["ps", "-a"][..], &["rm", "-f"][..]), (&["net", "ls"], &["net", "rm"])] {
            let words = |all: &[&'static str]| ["-b", "local:"].into_iter().chain(all.to_vec()).collect::<Vec<_>>();
            let left = self.run(words(list).into_iter().chain(["-o", "name"])).out;
            if !left.is_empty() {
                self.run(words(remove).into_iter().chain(left.lines()));
            }
        }
        // By force, or the namespace waits for each pod's grace.
        let left = self.run(["ps", "-a", "-o", "name"]).out;
        if !left.is_empty() {
            self.run(["rm", "-f"].into_iter().chain(left.lines()));
        }
        let gone = self.run(["k8s", "namespace", "rm", &self.namespace]);
        if !std::thread::panicking() {
            gone.ok();
        }
    }
}

//! An engine of its own for each test, driven by the real command.

use crate::driver::{Driver, Ran};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) struct Engine {
    root: tempfile::TempDir,
}

impl Engine {
    pub(crate) fn new() -> Self {
        assert!(rustix::process::getuid().is_root(), "these tests need root: run `cargo xtask test` as root");
        Self { root: tempfile::Builder::new().prefix("pod-cli-test-").tempdir_in("/var/tmp").unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Runs a shell script in which `pod` is the command on this engine, in network and mount
    /// namespaces of its own.
    pub(crate) fn elsewhere(&self, script: &str) -> Ran {
        let bin = Path::new(env!("CARGO_BIN_EXE_pod")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-euc", script]).env_clear().env("PATH", path);
        command.env("POD_LOCAL_ROOT", self.root.path()).stdin(Stdio::null()).output().unwrap().into()
    }

    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        self.run(args.iter().chain(&["-o", "json"])).ok().json()
    }

    /// Nothing is left: no file, mount, control group, namespace or process.
    pub(crate) fn assert_nothing_left(&self) {
        let left = walk(self.root.path());
        assert!(left.is_empty(), "files left: {left:?}");
        let here = self.root.path().to_str().unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(here), "mounts left");
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            assert!(!mounts.contains(here), "process left: {pid}");
        }
    }
}

impl Driver for Engine {
    fn pod<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pod"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("POD_LOCAL_ROOT", self.root.path());
        command.args(args).stdin(Stdio::null());
        command
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A failed test's workloads must not outlive it.
        let names = self.run(["ps", "-a", "-o", "name"]).out;
        for name in names.lines() {
            self.run(["rm", "-f", name]);
        }
        for name in self.run(["net", "ls", "-o", "name"]).out.lines() {
            self.run(["net", "rm", name]);
        }
    }
}

pub(crate) fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path());
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

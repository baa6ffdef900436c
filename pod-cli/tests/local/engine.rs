//! An engine of its own for each test, driven by the real command.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub(crate) struct Engine {
    root: tempfile::TempDir,
}

/// What a command printed and its code.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(o: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            code: o.status.code().unwrap_or_else(|| 1000 + o.status.signal().unwrap()),
            out: String::from_utf8_lossy(&o.stdout).into_owned(),
            err: String::from_utf8_lossy(&o.stderr).into_owned(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }
}

impl Engine {
    pub(crate) fn new() -> Self {
        assert!(rustix::process::getuid().is_root(), "these tests need root: run `cargo xtask test` as root");
        Self { root: tempfile::Builder::new().prefix("pod-cli-test-").tempdir_in("/var/tmp").unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// The command, on this engine, with nothing of the tester's own settings.
    pub(crate) fn pod<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pod"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("POD_LOCAL_ROOT", self.root.path());
        command.args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.pod(args).output().unwrap().into()
    }

    pub(crate) fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        self.pod(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs with this input.
    pub(crate) fn feed<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Ran {
        let mut command = self.pod(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || {
            // A command that refuses its input closes it early.
            let _ = stdin.write_all(&input);
        });
        let ran = child.wait_with_output().unwrap().into();
        feeder.join().unwrap();
        ran
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
        let ran = self.run(args.iter().chain(&["-o", "json"])).ok();
        serde_json::from_str(&ran.out).unwrap()
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

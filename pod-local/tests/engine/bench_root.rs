//! An engine with a root of its own for each test, which checks that nothing is left of it.

use pod_core::{
    Backend, Connection, ConnectionExt, CreateRequest, ExecRequest, Output, RemoveRequest, Workload, WorkloadName,
    WorkloadSpec,
};
use pod_local::{LocalBackend, LocalConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One engine.
pub(crate) struct Bench {
    pub(crate) backend: LocalBackend,
    pub(crate) root: tempfile::TempDir,
}

pub(crate) fn name(text: &str) -> WorkloadName {
    WorkloadName::new(text).unwrap()
}

pub(crate) fn spec(text: &str, command: &[&str]) -> WorkloadSpec {
    WorkloadSpec::new(name(text)).with_command(command.iter().copied())
}

impl Bench {
    pub(crate) async fn new() -> Self {
        assert!(rustix::process::getuid().is_root(), "these tests need root: run `cargo xtask test` as root");
        assert!(std::env::var_os("POD_SHIM").is_some(), "POD_SHIM must name the built `pod`: run `cargo xtask test`");
        let root = tempfile::Builder::new().prefix("pod-test-").tempdir_in("/var/tmp").unwrap();
        let backend = LocalBackend::open(LocalConfig::default().with_root(root.path())).await.unwrap();
        Self { backend, root }
    }

    pub(crate) async fn run(&self, spec: WorkloadSpec) -> Workload {
        self.backend.create(CreateRequest::new(spec).with_start()).await.unwrap()
    }

    pub(crate) async fn connect(&self, workload: &str) -> Arc<dyn Connection> {
        self.backend.connect(&name(workload)).await.unwrap()
    }

    /// Runs a shell script in a workload.
    pub(crate) async fn sh(&self, workload: &str, script: &str) -> Output {
        self.connect(workload).await.run(ExecRequest::shell(script)).await.unwrap()
    }

    pub(crate) async fn remove(&self, workload: &str) {
        self.backend.remove(RemoveRequest::new(name(workload)).with_force(true)).await.unwrap();
    }

    /// Nothing of this engine is left: no file, mount, control group or process.
    pub(crate) fn assert_nothing_left(&self) {
        let files = walk(self.root.path());
        assert!(files.is_empty(), "files left: {files:?}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.root.path().to_str().unwrap();
        assert!(!mounts.contains(here), "mounts left: {mounts}");
        for group in groups(Path::new("/sys/fs/cgroup"), 3) {
            let text = group.to_string_lossy().into_owned();
            assert!(!text.contains(&self.instance()), "control group left: {text}");
        }
        for pid in processes() {
            let environment = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            assert!(!environment.contains(here), "process left: {pid}");
        }
    }

    /// The name of the engine's control groups, as `pod_local` derives it from the root.
    fn instance(&self) -> String {
        use sha2::Digest;
        use std::os::unix::ffi::OsStrExt;
        let hash = sha2::Sha256::digest(self.root.path().as_os_str().as_bytes());
        format!("pod-{}", hash[..3].iter().map(|b| format!("{b:02x}")).collect::<String>())
    }

    /// The process id of a workload's helper: the parent of its PID 1.
    pub(crate) fn helper(&self, workload: &str) -> i32 {
        let status = std::fs::read(self.root.path().join("run/workloads").join(workload).join("status.json")).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", status["init"])).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

pub(crate) fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path());
        found.extend(walk(&entry.path()));
    }
    found
}

fn groups(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.push(entry.path());
            if depth > 0 {
                found.extend(groups(&entry.path(), depth - 1));
            }
        }
    }
    found
}

pub(crate) fn processes() -> Vec<u32> {
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

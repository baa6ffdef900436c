//! A host of a test's own: fresh namespaces, a temporary file system, and the tools to look around.

use ipnet::IpNet;
use pod_core::{IfName, NetworkName, NetworkSpec, VlanId, WorkloadName};
use pod_net::{HostNet, HostNetConfig, Sandbox, netns};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The host of one test.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl World {
    /// Moves this process, which has one thread yet, into namespaces of its own.
    pub(crate) fn enter() -> Self {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces: run the tests as root");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).expect("private");
        // seen by this process only, and gone with it
        let dir = PathBuf::from("/mnt");
        mount(Some("pod-net"), &dir, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("tmpfs");
        ip("link set lo up");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        Self { dir, runtime }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) fn host(&self) -> HostNet {
        self.run(HostNet::open(config(&self.dir))).expect("open")
    }

    pub(crate) fn sandbox(&self, name: &str) -> Sandbox {
        let path = self.dir.join("box").join(name);
        netns::create(&path).expect("namespace");
        Sandbox::new(workload(name), path)
    }

    /// Waits until all that was begun has ended, also what nobody waits for.
    pub(crate) fn settle(&mut self) {
        self.runtime = runtime();
    }

    /// Nothing of POD's is left: no file, no mount, no link, no open namespace.
    pub(crate) fn assert_clean(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let here = |l: &&str| l.contains(" nsfs ") && l.split(' ').any(|w| Path::new(w).starts_with(&self.dir));
        let left: Vec<_> = mounts.lines().filter(here).collect();
        assert!(left.is_empty(), "mounts left: {left:?}");
        assert!(!self.dir.join("lib/net").exists(), "records left: {:?}", tree(&self.dir.join("lib")));
        assert!(!self.dir.join("run/net").exists(), "files left: {:?}", tree(&self.dir.join("run")));
        let links = ip("-br link");
        assert_eq!(links.lines().count(), 1, "links left: {links}");
        for entry in std::fs::read_dir("/proc/self/fd").expect("descriptors") {
            let target = std::fs::read_link(entry.expect("entry").path()).unwrap_or_default();
            let target = target.to_string_lossy().into_owned();
            assert!(!target.starts_with("net:"), "a namespace is still open: {target}");
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime")
}

/// The files beneath `dir`.
pub(crate) fn tree(dir: &Path) -> Vec<String> {
    let output = Command::new("find").arg(dir).output().expect("find");
    let mut found: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    found.sort();
    found
}

fn checked(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a program on the test's host.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    checked(Command::new(words.next().expect("a program")).args(words))
}

/// The instance of the world at `dir`, from another process in it.
pub(crate) fn visit(dir: &Path) -> (tokio::runtime::Runtime, HostNet) {
    let runtime = runtime();
    let host = runtime.block_on(HostNet::open(config(dir))).expect("open");
    (runtime, host)
}

pub(crate) fn config(dir: &Path) -> HostNetConfig {
    HostNetConfig { state_dir: dir.join("lib"), run_dir: dir.join("run"), instance: "test".into() }
}

/// Runs `ip` on the test's host.
pub(crate) fn ip(arguments: &str) -> String {
    checked(Command::new("ip").args(arguments.split_whitespace()))
}

/// Runs a program in the namespace at `netns`.
pub(crate) fn inside(netns: &Path, command: &str) -> String {
    checked(Command::new("nsenter").arg(format!("--net={}", netns.display())).args(command.split_whitespace()))
}

/// Whether a ping from the namespace is answered, within a second or two.
pub(crate) fn pings(netns: &Path, target: &str) -> bool {
    Command::new("nsenter")
        .arg(format!("--net={}", netns.display()))
        .args(["ping", "-c4", "-i0.25", "-W1", target])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("ping")
        .success()
}

pub(crate) fn workload(name: &str) -> WorkloadName {
    WorkloadName::new(name).expect("name")
}

pub(crate) fn network(name: &str) -> NetworkName {
    NetworkName::new(name).expect("name")
}

pub(crate) fn interface(name: &str) -> IfName {
    IfName::new(name).expect("name")
}

pub(crate) fn vlan(id: u16) -> VlanId {
    VlanId::try_from(id).expect("vlan")
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("subnet")
}

/// A network of this name and subnet.
pub(crate) fn spec(name: &str, subnet: &str) -> NetworkSpec {
    NetworkSpec::new(network(name)).with_subnet(subnet.parse().expect("subnet"))
}

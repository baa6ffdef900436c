//! All the platforms of a lab, on the same two wires.

use crate::driver::{Driver, Ran};
use crate::world::World;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// The names of the lab's network namespaces begin so; its own is called nothing more.
fn lab() -> String {
    format!("pod-lab-{}", std::env::var("POD_LAB_NAME").expect("`cargo xtask lab run` names the lab"))
}

/// `ip` in a network namespace of the lab's.
#[track_caller]
pub(crate) fn ip(of: &str, words: &str) {
    let done = Command::new("ip").args(["-n", &format!("{}-{of}", lab())]).args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {words} on {of}: {}", String::from_utf8_lossy(&done.stderr));
}

/// `bridge` on the node.
#[track_caller]
pub(crate) fn bridge(words: &str) {
    let netns = format!("{}-node-1", lab());
    let done = Command::new("ip").args(["netns", "exec", &netns, "bridge"]).args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "bridge {words}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The embedded engine, Docker and a namespace of the cluster.
pub(crate) struct Platforms(pub(crate) World);

impl Platforms {
    pub(crate) fn new(what: &str) -> Self {
        Self(World::new(what))
    }

    /// A file of an example's text, with the test's own namespace and image in it.
    pub(crate) fn example(&self, name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples").join(name);
        let text = std::fs::read_to_string(path).unwrap().replace("busybox:1.36", &crate::world::image());
        self.0.file(&name.replace('/', "-"), &text.replace("\"k8s:\"", &format!("{:?}", self.0.uri())))
    }

    /// Tells how a workload's answers look, from a workload that asks.
    pub(crate) fn pings(&self, from: &str, address: &str) -> Ran {
        self.run(["exec", from, "--", "ping", "-c1", "-W5", address])
    }
}

impl Driver for Platforms {
    fn pod<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.0.pod(args);
        command.env("DOCKER_HOST", std::env::var_os("DOCKER_HOST").expect("`cargo xtask lab run` sets it"));
        command
    }
}

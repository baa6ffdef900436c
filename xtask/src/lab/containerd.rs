//! A node's container runtime.

use super::node;
use super::parts::Part;
use super::process::{Program, output};
use super::site::{Lab, Node, write};
use std::process::Command;

/// The image for sandboxes and tests.
pub(super) const IMAGE: &str = "pod.test/busybox:1";

/// containerd, at its usual paths within the node.
#[derive(Debug)]
pub(super) struct Containerd(pub(super) Node);

/// The name of a node's part.
pub(super) fn name(node: Node) -> String {
    format!("containerd-{}", node.0)
}

/// `ctr` on a node.
pub(super) fn ctr(lab: &Lab, node: Node, arguments: &[&str]) -> Result<Command, String> {
    let mut words = vec!["--namespace", "k8s.io"];
    words.extend(arguments);
    Ok(node::place(lab, node)?.command("ctr", words))
}

impl Part for Containerd {
    fn name(&self) -> String {
        name(self.0)
    }

    fn needs(&self) -> Vec<String> {
        vec![node::name(self.0)]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        write(&lab.on_node(self.0, "/etc/containerd/config.toml"), &configuration(snapshotter(lab)?))
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let words = vec!["containerd".into()];
        Ok(Some(Program { place: node::place(lab, self.0)?, words }))
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        output(&mut ctr(lab, self.0, &["version"])?).map(drop)
    }

    fn settle(&self, lab: &Lab) -> Result<(), String> {
        let there = output(&mut ctr(lab, self.0, &["images", "list", "--quiet"])?)?;
        if there.lines().any(|l| l == IMAGE) {
            return Ok(());
        }
        let archive = lab.image.display().to_string();
        output(&mut ctr(lab, self.0, &["images", "import", &archive])?).map(drop)
    }
}

/// How layers are put together. The kernel puts no overlay upon an overlay, such as a container's root is.
fn snapshotter(lab: &Lab) -> Result<&'static str, String> {
    Ok(if is_on_overlay(lab)? { "native" } else { "overlayfs" })
}

/// Whether the lab's state lies on an overlay.
pub(super) fn is_on_overlay(lab: &Lab) -> Result<bool, String> {
    let kind = output(Command::new("stat").args(["--file-system", "--format=%T"]).arg(lab.state()))?;
    Ok(kind.trim() == "overlayfs")
}

fn configuration(snapshotter: &str) -> String {
    // restrict_oom_score_adj: where CAP_SYS_RESOURCE is missing, lowering a score fails, and runc with it.
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
"#
    )
}

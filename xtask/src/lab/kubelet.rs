//! A node's kubelet.

use super::parts::Part;
use super::process::{Program, get};
use super::site::{Lab, Node, write};
use super::{certificates, containerd, control, groups, node};
use std::fs;

/// kubelet, at its usual paths within the node.
#[derive(Debug)]
pub(super) struct Kubelet(pub(super) Node);

/// The name of a node's part.
pub(super) fn name(node: Node) -> String {
    format!("kubelet-{}", node.0)
}

/// Where it looks for its configuration, within the node.
const CONFIGURATION: &str = "/etc/kubernetes/kubelet.yaml";
const KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";

impl Part for Kubelet {
    fn name(&self) -> String {
        name(self.0)
    }

    fn needs(&self) -> Vec<String> {
        vec![containerd::name(self.0), control::API.into()]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        let node = self.0;
        let pki = |end: &str| format!("/etc/kubernetes/pki/{end}");
        let own = certificates::kubelet(node);
        for (from, to) in [
            ("ca.crt".to_owned(), "ca.crt"),
            (format!("{own}-server.crt"), "kubelet.crt"),
            (format!("{own}-server.key"), "kubelet.key"),
        ] {
            let from = certificates::file(lab, &from);
            let text = fs::read_to_string(&from).map_err(|e| format!("{from}: {e}"))?;
            write(&lab.on_node(node, &pki(to)), &text)?;
        }
        certificates::kubeconfig(lab, &own, &lab.on_node(node, KUBECONFIG))?;
        write(&lab.on_node(node, CONFIGURATION), &configuration(lab, node))
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let words = vec![
            "/run/lab/kubelet".into(),
            format!("--config={CONFIGURATION}"),
            format!("--kubeconfig={KUBECONFIG}"),
            format!("--hostname-override={}", self.0.name()),
            format!("--node-ip={}", self.0.address()),
        ];
        Ok(Some(Program { place: node::place(lab, self.0)?, words }))
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        get(&node::place(lab, self.0)?, "http://127.0.0.1:10248/healthz").map(drop)
    }
}

/// kubelet's configuration, in JSON, which is YAML, too.
fn configuration(lab: &Lab, node: Node) -> String {
    let value = serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address(),
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": "/etc/kubernetes/pki/ca.crt" },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": "/etc/kubernetes/pki/kubelet.crt",
        "tlsPrivateKeyFile": "/etc/kubernetes/pki/kubelet.key",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": groups::of_node(lab, node),
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        // There is no name server that could answer a pod.
        "resolvConf": "",
        // Its default is beneath /usr, which a node shares with this machine.
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "evictionHard": { "memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
        // An image that was removed to save space could not be pulled again.
        "imageGCHighThresholdPercent": 100,
        "nodeLeaseDurationSeconds": 16,
        "nodeStatusUpdateFrequency": "4s",
    });
    format!("{value:#}\n")
}

//! A node's kubelet.

use super::parts::Part;
use super::process::{Program, get, output};
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
        get(&node::place(lab, self.0)?, "http://127.0.0.1:10248/healthz")?;
        // One that was started again is healthy before it knows its pods, and would say there are none.
        let node = self.0.name();
        let on_node = format!("spec.nodeName={node}");
        let listed = ["get", "pods", "--all-namespaces", "--field-selector", &on_node, "-o", "json"];
        // Without an API server it can't learn of them: then its health is all there is.
        let Ok(bound) = output(&mut control::kubectl(lab, &listed)?) else { return Ok(()) };
        let known = format!("/api/v1/nodes/{node}/proxy/pods");
        let known = output(&mut control::kubectl(lab, &["get", "--raw", &known])?)?;
        let known = pods(&known)?;
        match pods(&bound)?.into_iter().find(|uid| !known.contains(uid)) {
            Some(uid) => Err(format!("it does not know the pod {uid}")),
            None => Ok(()),
        }
    }
}

/// The identities of the pods in a list.
fn pods(list: &str) -> Result<Vec<String>, String> {
    let list: serde_json::Value = serde_json::from_str(list).map_err(|e| format!("a list of pods: {e}"))?;
    // kubelet writes null for an empty list.
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items.filter_map(|pod| pod["metadata"]["uid"].as_str()).map(str::to_owned).collect())
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

#[cfg(test)]
mod tests {
    use super::pods;

    #[test]
    fn lists_of_pods_are_read() {
        assert_eq!(
            pods(r#"{"items":[{"metadata":{"uid":"a"}},{"metadata":{"uid":"b"}}]}"#),
            Ok(vec!["a".into(), "b".into()])
        );
        assert_eq!(pods(r#"{"items":null}"#), Ok(Vec::new()));
        assert!(pods("no").is_err());
    }
}

//! A node's kube-proxy: the addresses of services.

use super::parts::Part;
use super::process::{Program, get};
use super::site::{Lab, Node, PODS};
use super::{certificates, control, node};

/// kube-proxy with iptables, which the reference bridge plugin uses as well.
#[derive(Debug)]
pub(super) struct Proxy(pub(super) Node);

const KUBECONFIG: &str = "/etc/kubernetes/proxy.conf";

impl Part for Proxy {
    fn name(&self) -> String {
        format!("proxy-{}", self.0.0)
    }

    fn needs(&self) -> Vec<String> {
        vec![node::name(self.0), control::API.into()]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        certificates::kubeconfig(lab, "proxy", &lab.on_node(self.0, KUBECONFIG))
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let words = vec![
            "/run/lab/kube-proxy".into(),
            format!("--kubeconfig={KUBECONFIG}"),
            format!("--hostname-override={}", self.0.name()),
            "--proxy-mode=iptables".into(),
            format!("--cluster-cidr={PODS}"),
            // These are the machine's, not the namespace's.
            "--conntrack-max-per-core=0".into(),
            "--conntrack-tcp-timeout-established=0".into(),
            "--conntrack-tcp-timeout-close-wait=0".into(),
        ];
        Ok(Some(Program { place: node::place(lab, self.0)?, words }))
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        get(&node::place(lab, self.0)?, "http://127.0.0.1:10256/livez").map(drop)
    }
}

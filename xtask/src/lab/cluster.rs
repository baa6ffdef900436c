//! The cluster as a whole: its nodes are ready, and pods can be made.

use super::control::{self, kubectl};
use super::parts::Part;
use super::process::output;
use super::site::Lab;
use super::{addons, kubelet};

/// The last part: it waits.
#[derive(Debug)]
pub(super) struct Cluster;

impl Part for Cluster {
    fn name(&self) -> String {
        "cluster".into()
    }

    fn needs(&self) -> Vec<String> {
        // Every lab has a first node; the others are looked for below.
        let first = kubelet::name(super::site::Node(1));
        vec![first, addons::NAME.into(), control::CONTROLLERS.into(), control::SCHEDULER.into()]
    }

    fn prepare(&self, _lab: &Lab) -> Result<(), String> {
        Ok(())
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        let path =
            r#"jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
        let listed = output(&mut kubectl(lab, &["get", "nodes", "-o", path])?)?;
        for node in lab.nodes() {
            if !listed.lines().any(|l| l == format!("{}=True", node.name())) {
                return Err(format!("{} is not ready", node.name()));
            }
        }
        // Without its account no pod can be made in a namespace.
        output(&mut kubectl(lab, &["get", "serviceaccount", "default"])?).map(drop)
    }
}

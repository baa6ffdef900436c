//! The store of the API server.

use super::network;
use super::parts::Part;
use super::process::{Place, Program, get};
use super::site::{Lab, make};

/// The name of the part.
pub(super) const NAME: &str = "etcd";

/// Where it listens, within the lab's network namespace.
pub(super) const CLIENTS: &str = "http://127.0.0.1:2379";

/// One member. It doesn't wait for the disk: a lab is not meant to outlive its machine's crash.
#[derive(Debug)]
pub(super) struct Etcd;

fn place(lab: &Lab) -> Place {
    Place { netns: lab.netns(), mounts_of: None }
}

impl Part for Etcd {
    fn name(&self) -> String {
        NAME.into()
    }

    fn needs(&self) -> Vec<String> {
        vec![network::NAME.into()]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        make(&lab.path("etcd"))
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let peers = "http://127.0.0.1:2380";
        let words = vec![
            "etcd".into(),
            format!("--data-dir={}", lab.path("etcd").display()),
            format!("--listen-client-urls={CLIENTS}"),
            format!("--advertise-client-urls={CLIENTS}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            "--unsafe-no-fsync".into(),
        ];
        Ok(Some(Program { place: place(lab), words }))
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        let health = get(&place(lab), &format!("{CLIENTS}/health"))?;
        if health.contains("\"true\"") { Ok(()) } else { Err(format!("its health is {health}")) }
    }
}

//! Which networks a cluster has: what its API serves, what runs on its nodes, what the nodes say.
//!
//! Three sources tell: API groups, which everybody may see; DaemonSets and nodes, which need rights. A
//! network is *absent* only when all that would show it could be seen; else it is *not seen*.

mod classify;

pub use classify::{CniFound, Plugin as Cni, Presence};

use crate::cluster::Cluster;
use crate::errors::from_kube;
use classify::{DaemonSeen, NodeSeen, Seen, classify};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use pod_core::Result;

/// What was found, and what could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CniReport {
    /// Each network plugin that POD knows, present or not.
    pub plugins: Vec<CniFound>,
    /// What the user may not see, such as `list daemonsets in all namespaces`.
    pub blind: Vec<String>,
}

impl CniReport {
    /// What is there.
    pub fn present(&self) -> impl Iterator<Item = &CniFound> {
        self.plugins.iter().filter(|p| p.presence == Presence::Present)
    }
}

/// What a refused answer is: nothing seen, and a word about it.
fn seen<T>(answer: kube::Result<Vec<T>>, what: &str, blind: &mut Vec<String>) -> Result<Option<Vec<T>>> {
    match answer {
        Ok(all) => Ok(Some(all)),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            blind.push(what.to_owned());
            Ok(None)
        }
        Err(e) => Err(from_kube(e)),
    }
}

/// Looks which networks the cluster has.
pub(crate) async fn detect(cluster: &Cluster) -> Result<CniReport> {
    let client = &cluster.client;
    let (daemons, nodes): (Api<DaemonSet>, Api<Node>) = (Api::all(client.clone()), Api::all(client.clone()));
    let params = ListParams::default();
    let (groups, daemons, nodes) = tokio::join!(client.list_api_groups(), daemons.list(&params), nodes.list(&params));
    let mut blind = Vec::new();
    let groups = groups.map(|g| g.groups.into_iter().map(|g| g.name).collect());
    let groups = seen(groups, "list API groups", &mut blind)?;
    let daemons = seen(daemons.map(|d| d.items), "list daemonsets in all namespaces", &mut blind)?;
    let nodes = seen(nodes.map(|n| n.items), "list nodes", &mut blind)?;
    let seen = Seen {
        groups,
        daemons: daemons.map(|all| all.iter().map(DaemonSeen::of).collect()),
        nodes: nodes.map(|all| all.iter().map(NodeSeen::of).collect()),
    };
    Ok(CniReport { plugins: classify(&seen), blind })
}

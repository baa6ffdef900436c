//! Whether a definition works: a probe pod on every node, looked at from inside, and each asked whether
//! it reaches the others by the attachment.

use super::definition::Kind;
use super::{Definitions, parse};
use crate::K8sBackend;
use crate::nad::network::network_of;
use crate::probe_pod;
use futures_util::future::join_all;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use pod_core::os::Os;
use pod_core::{
    AttachmentSpec, Backend, CreateRequest, Error, ErrorKind, Image, MacAddr, NetworkName, ProbeOutcome, ProbeTarget,
    RemoveRequest, Result, VlanId, WorkloadName,
};
use std::time::Duration;

/// What was seen of a definition.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct NadVerified {
    /// The definition.
    pub name: String,
    /// The plugin.
    pub plugin: String,
    /// The VLAN id with which frames leave the nodes.
    pub vlan: Option<VlanId>,
    /// The nodes' interface that it works on.
    pub parent: Option<String>,
    /// What was seen on each node, by name.
    pub nodes: Vec<NodeSeen>,
    /// What could not be removed afterwards.
    pub left_behind: Vec<String>,
}

impl NadVerified {
    /// Whether every node's pod was attached, has an address of its own where it should, and reaches all
    /// the others.
    #[must_use]
    pub fn ok(&self) -> bool {
        let sound = |n: &NodeSeen| n.error.is_none() && n.reach.iter().all(|(_, o)| o.reached());
        !self.nodes.is_empty() && self.nodes.iter().all(sound)
    }
}

/// What was seen from a node's probe pod.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct NodeSeen {
    /// The node.
    pub node: String,
    /// Why there is nothing to see, if there isn't.
    pub error: Option<String>,
    /// The attachment's interface in the pod.
    pub interface: Option<String>,
    /// Its addresses, as the pod has them.
    pub addresses: Vec<IpNet>,
    /// Its MTU in bytes, as the pod has it.
    pub mtu: Option<u32>,
    /// Its MAC address, as the pod has it.
    pub mac: Option<MacAddr>,
    /// What the pods of the other nodes answered, by node.
    pub reach: Vec<(String, ProbeOutcome)>,
}

impl Definitions {
    /// Makes a pod of this definition on every node that takes pods, looks at its interface from inside,
    /// and lets each ask all the others by it. The pods are removed whatever happens.
    ///
    /// `image` needs a shell, and `ping` for the reach; `None` is the backend's own.
    ///
    /// # Errors
    /// `NotFound` for the definition; `PermissionDenied` when nodes may not be listed or pods not be made;
    /// `InvalidInput` for a definition with faults. What goes wrong on one node is in the report.
    pub async fn verify(&self, backend: &K8sBackend, name: &str, image: Option<Image>) -> Result<NadVerified> {
        let object = self.get(name).await?;
        super::check(&object.spec.config).into_result(name)?;
        let parsed = parse(&object)?;
        let network = match network_of(&object)? {
            Some(spec) => spec.name,
            None => NetworkName::new(name)?,
        };
        let nodes = nodes(backend).await?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let probes: Vec<(String, WorkloadName)> = nodes
            .into_iter()
            .enumerate()
            .map(|(n, node)| Ok((node, WorkloadName::new(format!("pod-nad-{}-{n}", &id[..8]))?)))
            .collect::<Result<_>>()?;
        let looks = probes.iter().map(|(node, pod)| look(backend, node, pod, &network, image.clone()));
        let mut seen = join_all(looks).await;
        let denied = |s: &Result<NodeSeen>| s.as_ref().err().map(Error::kind) == Some(ErrorKind::PermissionDenied);
        let asked = match seen.iter().position(denied) {
            Some(n) => Err(seen.swap_remove(n).err().unwrap_or_else(|| Error::unexpected("a refusal"))),
            None => Ok(ask(backend, &probes, seen).await),
        };
        let removals = probes.iter().map(|(_, pod)| backend.remove(RemoveRequest::new(pod.clone()).with_force(true)));
        let left: Vec<String> =
            join_all(removals).await.into_iter().filter_map(Result::err).map(|e| e.to_string()).collect();
        let parent = parsed.kind.parent()?.map(|p| p.as_str().to_owned());
        let bridge =
            if let Kind::Bridge { bridge, .. } = &parsed.kind { Some(bridge.as_str().to_owned()) } else { None };
        Ok(NadVerified {
            name: name.to_owned(),
            plugin: parsed.kind.plugin().to_owned(),
            vlan: parsed.kind.vlan(),
            parent: parent.or(bridge),
            nodes: asked?,
            left_behind: left,
        })
    }
}

/// The nodes that take pods.
async fn nodes(backend: &K8sBackend) -> Result<Vec<String>> {
    let cluster = backend.cluster();
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let list = nodes.list(&ListParams::default()).await.map_err(|e| cluster.error(e))?;
    let takes = |n: &Node| {
        let spec = n.spec.as_ref();
        let closed = spec.and_then(|s| s.unschedulable) == Some(true);
        let taints = spec.and_then(|s| s.taints.as_ref()).into_iter().flatten();
        let mut tainted = taints.filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
        !closed && tainted.next().is_none()
    };
    let mut names: Vec<String> =
        list.items.iter().filter(|n| takes(n)).filter_map(|n| n.metadata.name.clone()).collect();
    names.sort();
    if names.is_empty() {
        return Err(Error::new(ErrorKind::WrongState, "the cluster has no node that takes pods"));
    }
    Ok(names)
}

/// Makes the probe pod of a node, and looks at its interface.
async fn look(
    backend: &K8sBackend,
    node: &str,
    pod: &WorkloadName,
    network: &NetworkName,
    image: Option<Image>,
) -> Result<NodeSeen> {
    let mut seen = NodeSeen { node: node.to_owned(), ..NodeSeen::default() };
    let spec = probe_pod::spec(pod, image).with_attachment(AttachmentSpec::new(network.clone()));
    let made = match Box::pin(backend.on(node).create(CreateRequest::new(spec).with_start())).await {
        Ok(made) => made,
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return Err(e),
        Err(e) => {
            seen.error = Some(e.to_string());
            return Ok(seen);
        }
    };
    let Some(attachment) = made.attachments.first() else {
        seen.error = Some("the pod has no attachment".into());
        return Ok(seen);
    };
    seen.interface = Some(attachment.interface.as_str().to_owned());
    match inside(backend, pod, attachment.interface.as_str()).await {
        Ok(interface) => {
            let local = |n: &IpNet| matches!(n, IpNet::V6(n) if n.addr().segments()[0] & 0xffc0 == 0xfe80);
            seen.addresses = interface.addresses.iter().copied().filter(|n| !local(n)).collect();
            seen.mtu = interface.mtu;
            seen.mac = interface.mac;
            let missing = attachment.ips.iter().find(|ip| !seen.addresses.iter().any(|a| a.addr() == ip.addr()));
            if let Some(ip) = missing {
                seen.error = Some(format!("the interface lacks the address {ip}"));
            }
        }
        Err(e) => seen.error = Some(e.to_string()),
    }
    Ok(seen)
}

async fn inside(backend: &K8sBackend, pod: &WorkloadName, interface: &str) -> Result<pod_core::os::Interface> {
    let os = Os::detect(backend.connect(pod).await?).await?;
    os.interface(interface).await
}

/// Lets each pod ask the others.
async fn ask(backend: &K8sBackend, probes: &[(String, WorkloadName)], seen: Vec<Result<NodeSeen>>) -> Vec<NodeSeen> {
    let mut nodes: Vec<NodeSeen> = seen
        .into_iter()
        .zip(probes)
        .map(|(s, (node, _))| {
            s.unwrap_or_else(|e| NodeSeen { node: node.clone(), error: Some(e.to_string()), ..NodeSeen::default() })
        })
        .collect();
    let there: Vec<(String, IpNet)> =
        nodes.iter().filter_map(|n| Some((n.node.clone(), *n.addresses.first()?))).collect();
    let questions = nodes.iter().map(|n| {
        let pod = probes.iter().find(|(node, _)| *node == n.node).map(|(_, pod)| pod.clone());
        let others: Vec<_> = there.iter().filter(|(node, _)| *node != n.node).cloned().collect();
        let interface = n.interface.clone();
        async move {
            let (Some(pod), Some(interface), false) = (pod, interface, others.is_empty()) else { return Vec::new() };
            let told = async {
                let interface = pod_core::IfName::new(interface)?;
                let targets = others
                    .iter()
                    .map(|(_, ip)| ProbeTarget::new(ip.addr()).with_interface(interface.clone()))
                    .collect();
                let connection = backend.connect(&pod).await?;
                crate::networking::Pinger::new(targets, Duration::from_secs(2)).ask(&*connection).await
            };
            let outcomes =
                told.await.unwrap_or_else(|e: Error| vec![ProbeOutcome::Unknown(e.to_string()); others.len()]);
            others.into_iter().map(|(node, _)| node).zip(outcomes).collect()
        }
    });
    let answers = join_all(questions).await;
    for (node, reach) in nodes.iter_mut().zip(answers) {
        node.reach = reach;
    }
    nodes
}

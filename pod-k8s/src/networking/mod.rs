//! Networks and attachments on Kubernetes: a network is a definition, an attachment an interface that
//! Multus gives a pod beside the cluster network's `eth0`.
//!
//! Without an uplink a network is a bridge of its own on a node, needs no tag, and its pods share one
//! node. With an uplink, the nodes' interface of that name carries it: tagged by its VLAN id, which
//! needs 802.1Q in the nodes' kernels, or untagged without one. Attachments are made with the pod and
//! end with it: Multus takes no notice of changes afterwards.

mod annotate;
mod claims;
mod explain;
mod measure;
mod plan;
mod record;
mod verify;

use crate::cluster::Cluster;
use crate::errors::{from_kube, is_not_found};
use crate::nad::network::{LABEL_NETWORK, NETWORK_SPEC, network_of, object_name, object_of};
use crate::nad::{Definitions, GROUP, NetworkAttachmentDefinition, PLURAL, Plugin};
use crate::policy;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use pod_core::{
    Applied, AttachNetworkRequest, Attachment, AttachmentFilter, Capability, Connection, CreateNetworkOutcome,
    DetachOutcome, DetachRequest, Error, ErrorKind, IsolateRequest, Network, NetworkIntent, NetworkName, NetworkPlan,
    NetworkSpec, Networking, PolicyReport, PolicySpec, ProbeOutcome, ProbeRequest, RemoveOutcome, Result, VerifyReport,
    VerifyRequest, WorkloadName,
};
use std::fmt;
use std::sync::Arc;

pub(crate) use annotate::annotate;
pub(crate) use explain::explain;
pub use measure::LinkTest;
pub(crate) use pod_shell::Pinger;
pub(crate) use record::{attachments_of, check_attached};

/// A way into a workload, by name.
pub(crate) type Connector = Arc<dyn Fn(WorkloadName) -> BoxFuture<'static, Result<Arc<dyn Connection>>> + Send + Sync>;

/// Gives back the addresses that a pod held: when it is gone, or was not made after all. Those of pods
/// that went in another way are found when they are in someone's way.
pub(crate) async fn release(cluster: &Cluster, pod: &Pod) -> Result<()> {
    claims::give_back(cluster, &record::records_of(pod)?).await
}

/// What networks can do on this cluster.
///
/// None without definitions. Isolation and rules only where the cluster has policies for attachments:
/// `NetworkPolicy` never covers those.
pub(crate) async fn capabilities(cluster: &Cluster) -> Result<Vec<Capability>> {
    use Capability as C;
    // One answer says what there is to ask for: most programs end after one exec.
    let versions = versions(cluster).await?;
    let kinds = async || match cluster.client.list_api_group_resources(&format!("{GROUP}/v1")).await {
        Ok(list) => Ok(list.resources.into_iter().map(|r| r.name).collect::<Vec<_>>()),
        Err(e) if is_not_found(&e) => Ok(Vec::new()),
        Err(e) => Err(from_kube(e)),
    };
    if !versions.iter().any(|v| v == "v1") || !kinds().await?.iter().any(|k| k == PLURAL) {
        return Ok(Vec::new());
    }
    let mut able = vec![
        C::Networks,
        C::VlanAccess,
        C::Uplink,
        C::FixedIp,
        C::FixedMac,
        C::Mtu,
        C::AttachmentMtu,
        C::InterfaceName,
        C::Unaddressed,
        C::Routes,
        C::Dns,
        C::Ipv6,
        C::OverlappingSubnets,
        C::Plan,
        C::Probe,
        C::Verify,
    ];
    match cluster.config.plugin {
        Plugin::Ipvlan | Plugin::Vlan => able.retain(|c| *c != C::FixedMac),
        Plugin::Sriov(_) => able.retain(|c| !matches!(c, C::Mtu | C::AttachmentMtu)),
        Plugin::Macvlan | Plugin::Bridge => {}
    }
    if policy::multi_version_of(cluster, |v| versions.iter().any(|has| has == v)).await?.is_some() {
        able.extend([C::Isolate, C::Policy]);
    }
    Ok(able)
}

/// The versions in which the cluster serves the group of definitions and policies.
async fn versions(cluster: &Cluster) -> Result<Vec<String>> {
    let request = http::Request::get(format!("/apis/{GROUP}"))
        .body(Vec::new())
        .map_err(|e| Error::unexpected("the address of an API group is malformed").with_source(e))?;
    match cluster.client.request::<APIGroup>(request).await {
        Ok(group) => Ok(group.versions.into_iter().map(|v| v.version).collect()),
        Err(e) if is_not_found(&e) => Ok(Vec::new()),
        Err(e) => Err(from_kube(e)),
    }
}

/// The networks of one namespace.
#[derive(Clone)]
pub(crate) struct K8sNetworking {
    cluster: Cluster,
    connect: Connector,
}

impl fmt::Debug for K8sNetworking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("K8sNetworking").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl K8sNetworking {
    pub(crate) fn new(cluster: Cluster, connect: Connector) -> Self {
        Self { cluster, connect }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Writes a network's specification anew on its definition.
    pub(crate) async fn rewrite(&self, object: &NetworkAttachmentDefinition, spec: &NetworkSpec) -> Result<()> {
        let text = serde_json::to_string(spec).map_err(|e| Error::unexpected("a network's JSON").with_source(e))?;
        let patch = serde_json::json!({"metadata": {"annotations": {NETWORK_SPEC: text}}});
        let definitions = self.definitions();
        let params = PatchParams { field_manager: Some(crate::nad::MANAGER.into()), ..PatchParams::default() };
        let patched = definitions.api().patch(object.name(), &params, &Patch::Merge(patch)).await;
        patched.map(drop).map_err(|e| definitions.error(object.name(), e))
    }

    pub(crate) fn definitions(&self) -> Definitions {
        Definitions::new(self.cluster.clone())
    }

    /// The definition of a network of POD's.
    async fn object(&self, network: &NetworkName) -> Result<Option<(NetworkAttachmentDefinition, NetworkSpec)>> {
        let Some(object) = self.definitions().find(&object_name(network)).await? else { return Ok(None) };
        Ok(network_of(&object)?.map(|spec| (object, spec)))
    }

    async fn existing(&self, network: &NetworkName) -> Result<(NetworkAttachmentDefinition, NetworkSpec)> {
        self.object(network).await?.ok_or_else(|| {
            Error::not_found("network", network.as_str()).with_context("namespace", self.cluster.namespace.clone())
        })
    }

    /// The pods that have attachments.
    async fn pods(&self) -> Result<Vec<Pod>> {
        let params = ListParams::default().labels(annotate::ATTACHED);
        Ok(self.cluster.pods().list(&params).await.map_err(|e| self.cluster.error(e))?.items)
    }

    pub(crate) async fn pod(&self, workload: &WorkloadName) -> Result<Pod> {
        let name = crate::pods::pod_name(workload);
        self.cluster.pods().get(&name).await.map_err(|e| {
            if crate::errors::is_not_found(&e) {
                Error::not_found("workload", workload.as_str())
                    .with_context("namespace", self.cluster.namespace.clone())
            } else {
                self.cluster.error(e)
            }
        })
    }

    async fn all_attachments(&self) -> Result<Vec<Attachment>> {
        let mut all = Vec::new();
        for pod in &self.pods().await? {
            all.extend(attachments_of(pod)?);
        }
        all.sort_by(|a, b| (&a.workload, &a.interface).cmp(&(&b.workload, &b.interface)));
        Ok(all)
    }
}

/// A network, and how many of these attachments are to it.
fn network(object: &NetworkAttachmentDefinition, spec: NetworkSpec, attachments: &[Attachment]) -> Network {
    let count = attachments.iter().filter(|a| a.network == spec.name).count();
    let id = format!("{}/{}", object.metadata.namespace.as_deref().unwrap_or_default(), object.name());
    Network::new(spec, id, count)
}

/// The error for changing the attachments of a pod that is there.
fn no_hot_attach() -> Error {
    Error::unsupported("the attachments of a pod can't be changed")
        .with_context("capability", Capability::HotAttach.path())
        .with_hint("make the pod again with other attachments: Multus looks at a pod once, when it starts")
}

#[async_trait]
impl Networking for K8sNetworking {
    async fn create(&self, spec: NetworkSpec) -> Result<CreateNetworkOutcome> {
        let object = object_of(&spec, &self.cluster.namespace, &self.cluster.config.plugin)?;
        if spec.isolated {
            policy::required(&self.cluster).await?;
        }
        let definitions = self.definitions();
        let params = PostParams { field_manager: Some(crate::nad::MANAGER.into()), ..PostParams::default() };
        match definitions.api().create(&params, &object).await {
            Ok(made) => {
                if spec.isolated
                    && let Err(e) = policy::cut_off(self, &made, &spec).await
                {
                    return Err(match self.remove(&spec.name).await {
                        Ok(_) => e,
                        Err(left) => e.with_context("left_behind", left.to_string()),
                    });
                }
                return Ok(CreateNetworkOutcome::Created(network(&made, spec, &[])));
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(e) => return Err(definitions.error(object.name(), e)),
        }
        let found = definitions.get(object.name()).await?;
        let other = |what: &str, hint: &str| {
            Error::new(ErrorKind::AlreadyExists, what)
                .with_context("network", spec.name.as_str())
                .with_context("namespace", self.cluster.namespace.clone())
                .with_hint(hint)
        };
        match network_of(&found)? {
            Some(there) if there == spec => {
                Ok(CreateNetworkOutcome::AlreadyExists(network(&found, spec, &self.all_attachments().await?)))
            }
            Some(_) => Err(other(
                "there is another network of this name",
                "remove it with `pod net rm`, or choose another name",
            )),
            None => Err(other(
                "there is a network attachment definition of this name that is not POD's",
                "choose another name; pods can be attached to it as it is",
            )),
        }
    }

    async fn list(&self) -> Result<Vec<Network>> {
        let objects = self.definitions().objects(Some(LABEL_NETWORK)).await?;
        let attachments = self.all_attachments().await?;
        let mut all = Vec::new();
        for object in objects.iter().filter(|o| o.annotation(NETWORK_SPEC).is_some()) {
            if let Some(spec) = network_of(object)? {
                all.push(network(object, spec, &attachments));
            }
        }
        all.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(all)
    }

    async fn remove(&self, network: &NetworkName) -> Result<RemoveOutcome> {
        let Some((object, _)) = self.object(network).await? else { return Ok(RemoveOutcome::AlreadyAbsent) };
        let definitions = self.definitions();
        let family = definitions.objects(Some(&format!("{LABEL_NETWORK}={network}"))).await?;
        let pods = self.cluster.pods().list(&ListParams::default()).await.map_err(|e| self.cluster.error(e))?;
        let mut users: Vec<String> =
            family.iter().flat_map(|o| crate::nad::users(&pods.items, &self.cluster.namespace, o.name())).collect();
        users.sort();
        users.dedup();
        if !users.is_empty() {
            return Err(Error::new(ErrorKind::Busy, "workloads are attached to the network")
                .with_context("network", network.as_str())
                .with_context("workloads", users.join(", "))
                .with_hint("remove them first"));
        }
        policy::remove(&self.cluster, network).await?;
        // The network's own last: until then a second call goes on.
        for variant in family.iter().filter(|o| o.name() != object.name()) {
            definitions.remove(variant).await?;
        }
        let outcome = definitions.remove(&object).await?;
        claims::forget(&self.cluster, object.name());
        Ok(outcome)
    }

    async fn plan(&self, intent: NetworkIntent) -> Result<NetworkPlan> {
        let found = plan::Found {
            networks: self.list().await?.into_iter().map(|n| (n.spec.name.clone(), n.spec)).collect(),
            attachments: self.all_attachments().await?,
        };
        for request in &intent.attachments {
            self.pod(&request.workload).await?;
        }
        plan::plan(&intent, &found, &self.cluster.namespace, &self.cluster.config.plugin)
    }

    async fn apply(&self, plan: NetworkPlan) -> Result<Applied> {
        plan::apply(self, plan).await
    }

    async fn attach(&self, request: AttachNetworkRequest) -> Result<Attachment> {
        self.existing(&request.attachment.network).await?;
        let pod = self.pod(&request.workload).await?;
        let there = attachments_of(&pod)?.into_iter().find(|a| a.network == request.attachment.network);
        match there {
            Some(there) if plan::is_as_asked(&there, &request.attachment) => Ok(there),
            _ => Err(no_hot_attach().with_context("workload", request.workload.as_str())),
        }
    }

    async fn detach(&self, request: DetachRequest) -> Result<DetachOutcome> {
        let pod = self.pod(&request.workload).await?;
        if attachments_of(&pod)?.iter().any(|a| a.network == request.network) {
            return Err(no_hot_attach().with_context("workload", request.workload.as_str()));
        }
        Ok(DetachOutcome::AlreadyDetached)
    }

    async fn attachments(&self, filter: AttachmentFilter) -> Result<Vec<Attachment>> {
        let all = self.all_attachments().await?;
        Ok(all.into_iter().filter(|a| filter.matches(a)).collect())
    }

    async fn isolate(&self, request: IsolateRequest) -> Result<PolicyReport> {
        let (object, spec) = self.existing(&request.network).await?;
        policy::isolate(self, &object, &spec, request.isolated).await
    }

    async fn apply_policy(&self, policy: PolicySpec) -> Result<PolicyReport> {
        let (object, spec) = self.existing(&policy.network).await?;
        policy::apply(self, &object, &spec, &policy).await
    }

    async fn verify(&self, request: VerifyRequest) -> Result<VerifyReport> {
        verify::verify(self, &request).await
    }

    async fn probe(&self, request: ProbeRequest) -> Result<Vec<ProbeOutcome>> {
        let pod = self.pod(&request.workload).await?;
        let running = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
        if !running {
            return Err(Error::new(ErrorKind::WrongState, "the workload does not run")
                .with_context("workload", request.workload.as_str()));
        }
        if request.targets.is_empty() {
            return Ok(Vec::new());
        }
        let connection = (self.connect)(request.workload.clone()).await?;
        Pinger::new(request.targets, request.timeout).ask(&*connection).await
    }
}

//! What a cluster has of what the verbs need, and the command that closes each gap. Read-only.

use crate::K8sBackend;
use crate::backend::tells_the_end_of_stdin;
use crate::cluster::Cluster;
use crate::cni::{Cni, CniFound, CniReport, Presence};
use crate::errors::{from_kube, is_not_found};
use crate::nad::{GROUP, PLURAL};
use crate::policy::multi_version;
use crate::rbac::{Access, Purpose};
use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::Api;
use kube::api::{ListParams, PostParams};
use pod_core::Result;
use std::collections::BTreeMap;

/// How many rights are asked about at once.
const AT_ONCE: usize = 8;

const MULTUS: &str = "kubectl apply -f https://raw.githubusercontent.com/k8snetworkplumbingwg/multus-cni/master/\
                      deployments/multus-daemonset-thick.yml";
const WHEREABOUTS: &str =
    "apply doc/crds of https://github.com/k8snetworkplumbingwg/whereabouts, as its README says; POD itself needs none";
const MULTI_POLICY: &str =
    "apply deploy.yml of https://github.com/k8snetworkplumbingwg/multi-networkpolicy-iptables, and its scheme";

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// What was looked at.
    pub subject: String,
    /// Whether it is as it should be.
    pub good: bool,
    /// Whether pods run without it.
    pub optional: bool,
    /// What was found.
    pub found: String,
    /// A command or setting that closes the gap.
    pub fix: Option<String>,
}

fn good(subject: &str, found: impl Into<String>) -> Diagnosis {
    Diagnosis { subject: subject.into(), good: true, optional: true, found: found.into(), fix: None }
}

fn limited(subject: &str, found: impl Into<String>, fix: impl Into<String>) -> Diagnosis {
    Diagnosis { good: false, fix: Some(fix.into()), ..good(subject, found) }
}

fn missing(subject: &str, found: impl Into<String>, fix: impl Into<String>) -> Diagnosis {
    Diagnosis { optional: false, ..limited(subject, found, fix) }
}

impl K8sBackend {
    /// Looks at everything that the verbs of `k8s:` need: the server, the namespace, the nodes, Multus, who
    /// hands addresses out, who enforces policies, and whether the user may do what each verb does. What
    /// can't be looked at is told as that.
    pub async fn doctor(&self) -> Vec<Diagnosis> {
        let cluster = self.cluster();
        let mut all = vec![version(cluster)];
        let user = user(cluster).await;
        let named = user.as_deref().unwrap_or("unknown");
        all.push(good("user", format!("{named}, by context {} at {}", cluster.context, cluster.server)));
        all.push(namespace(cluster).await);
        let nodes: Api<Node> = Api::all(cluster.client.clone());
        let nodes = nodes.list(&ListParams::default()).await.map(|l| l.items);
        all.push(of_nodes(cluster, &nodes));
        match self.cni().await {
            Ok(report) => {
                all.extend(multus(cluster, &report, nodes.as_deref().unwrap_or_default()).await);
                all.push(policies(&report));
            }
            Err(e) => all.push(missing("network plugins", e.to_string(), "pod k8s cni")),
        }
        all.extend(addons(cluster).await);
        all.extend(rights(cluster, user.as_deref()).await);
        all
    }
}

fn version(cluster: &Cluster) -> Diagnosis {
    let subject = "Kubernetes version";
    if tells_the_end_of_stdin(&cluster.version) {
        return good(subject, cluster.version.clone());
    }
    let found = format!("{}: programs can't be told the end of their stdin", cluster.version);
    limited(subject, found, "upgrade to 1.30 or later (KEP-4006)")
}

/// Who the server says we are (1.28 and later; KEP-3325).
async fn user(cluster: &Cluster) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    match reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await {
        Ok(review) => review.status?.user_info?.username,
        Err(e) => {
            tracing::info!(error = %e, "the server does not say who we are");
            None
        }
    }
}

async fn namespace(cluster: &Cluster) -> Diagnosis {
    let subject = "namespace";
    let name = &cluster.namespace;
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    match api.get(name).await {
        Ok(found) => match found.status.and_then(|s| s.phase).as_deref() {
            Some("Terminating") => missing(subject, format!("{name} is being removed"), "use another: k8s:NAMESPACE/"),
            _ => good(subject, name.clone()),
        },
        Err(e) if is_not_found(&e) => {
            missing(subject, format!("{name} is not there"), format!("pod k8s namespace create {name}"))
        }
        Err(kube::Error::Api(status)) if status.code == 403 => limited(
            subject,
            format!("{name}; whether it is there may not be seen"),
            give(cluster, &[Purpose::Doctor], None),
        ),
        Err(e) => missing(subject, from_kube(e).to_string(), "pod backend ping k8s:"),
    }
}

/// The command that gives rights.
fn give(cluster: &Cluster, purposes: &[Purpose], user: Option<&str>) -> String {
    let words: Vec<_> = purposes.iter().map(|p| p.as_str()).collect();
    let user = user.unwrap_or("USER");
    format!("pod k8s rbac {} -n {} --user '{user}' | kubectl apply -f -", words.join(" "), cluster.namespace)
}

fn of_nodes(cluster: &Cluster, nodes: &kube::Result<Vec<Node>>) -> Diagnosis {
    let subject = "nodes";
    let nodes = match nodes {
        Ok(nodes) => nodes,
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return limited(subject, "they may not be seen", give(cluster, &[Purpose::Doctor], None));
        }
        Err(e) => return missing(subject, e.to_string(), "kubectl get nodes"),
    };
    let ready = nodes.iter().filter(|n| is_ready(n)).count();
    let found = format!("{ready} of {} ready", nodes.len());
    if ready > 0 && ready == nodes.len() {
        good(subject, found)
    } else if ready > 0 {
        limited(subject, found, "kubectl describe nodes")
    } else {
        missing(subject, found, "kubectl describe nodes")
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether the API serves a kind.
async fn serves(cluster: &Cluster, group_version: &str, plural: &str) -> Result<bool> {
    match cluster.client.list_api_group_resources(group_version).await {
        Ok(list) => Ok(list.resources.iter().any(|r| r.name == plural)),
        Err(e) if is_not_found(&e) => Ok(false),
        Err(e) => Err(from_kube(e)),
    }
}

/// Multus: its definitions, its daemon, and the folders that it works in.
async fn multus(cluster: &Cluster, report: &CniReport, nodes: &[Node]) -> Vec<Diagnosis> {
    let subject = "network attachment definitions";
    match serves(cluster, &format!("{GROUP}/v1"), PLURAL).await {
        Ok(true) => {}
        Ok(false) => return vec![limited(subject, "the cluster has none: no Multus", MULTUS)],
        Err(e) => return vec![limited(subject, e.to_string(), MULTUS)],
    }
    let mut all = vec![good(subject, format!("served as {PLURAL}.{GROUP}"))];
    if let Some(found) = report.plugins.iter().find(|p| p.plugin == Cni::Multus) {
        all.push(daemon(found, report));
    }
    let sets: Api<DaemonSet> = Api::all(cluster.client.clone());
    match sets.list(&ListParams::default()).await {
        Ok(list) => all.extend(folders(&list.items, nodes)),
        Err(e) => tracing::info!(error = %e, "the folders of Multus may not be seen"),
    }
    all
}

fn daemon(found: &CniFound, report: &CniReport) -> Diagnosis {
    let subject = "Multus on the nodes";
    let proof = "pod k8s nad verify NAME, which proves it";
    match found.ready {
        Some((ready, wanted)) if ready >= wanted && wanted > 0 => {
            let version = found.version.as_deref().map(|v| format!(", {v}")).unwrap_or_default();
            good(subject, format!("ready on {ready} of {wanted}{version}"))
        }
        Some((ready, wanted)) => {
            // Pods that start meanwhile may get the cluster's network alone.
            let found = format!("ready on {ready} of {wanted}");
            missing(subject, found, "kubectl get daemonsets -A -o wide, and the log of its pods")
        }
        None if report.blind.is_empty() => {
            limited(subject, "no DaemonSet of a known name; it may be installed on the nodes by hand", proof)
        }
        None => limited(subject, format!("may not be seen: {}", report.blind.join(", ")), proof),
    }
}

/// The folders of the nodes that Multus reads and writes, as far as its DaemonSet tells.
fn folders(sets: &[DaemonSet], nodes: &[Node]) -> Option<Diagnosis> {
    let subject = "folders of network plugins";
    let is = |s: &&DaemonSet| s.metadata.name.as_deref().is_some_and(|n| n.contains("multus"));
    let set = sets.iter().find(is)?;
    let pod = set.spec.as_ref()?.template.spec.as_ref()?;
    let mut paths: Vec<&str> = pod
        .volumes
        .iter()
        .flatten()
        .filter_map(|v| v.host_path.as_ref())
        .map(|h| h.path.as_str())
        .filter(|p| p.contains("cni") || p.contains("/rancher/"))
        .collect();
    paths.sort_unstable();
    let told = format!("{}; what lies in them only `pod k8s nad verify` shows", paths.join(", "));
    let k3s = |n: &Node| {
        let info = n.status.as_ref().and_then(|s| s.node_info.as_ref());
        info.is_some_and(|i| i.kubelet_version.contains("+k3s"))
    };
    if nodes.iter().any(k3s) && !paths.iter().any(|p| p.starts_with("/var/lib/rancher/")) {
        let fix = "install Multus with the folders of k3s, below /var/lib/rancher/k3s: see docs/clusters.md";
        return Some(missing(subject, format!("{}, where k3s does not look", paths.join(", ")), fix));
    }
    Some(good(subject, told))
}

/// Who enforces a NetworkPolicy, by what is known of the plugins. Only a probe proves it.
fn policies(report: &CniReport) -> Diagnosis {
    let subject = "NetworkPolicy is enforced";
    let proof = "pod k8s policy probe";
    let here: Vec<&CniFound> = report.plugins.iter().filter(|p| p.presence == Presence::Present).collect();
    if let Some(one) = here.iter().find(|p| p.policies == Some(true)) {
        return good(subject, format!("{} is there, which enforces it; `{proof}` proves it", one.plugin));
    }
    match here.iter().find(|p| p.policies == Some(false)) {
        Some(one) => limited(subject, format!("{} by itself enforces none", one.plugin), proof),
        None => limited(subject, "unknown: no plugin is known to", proof),
    }
}

/// What makes networks easier, and is not needed.
async fn addons(cluster: &Cluster) -> Vec<Diagnosis> {
    let mut all = Vec::new();
    let subject = "whereabouts";
    all.push(match serves(cluster, "whereabouts.cni.cncf.io/v1alpha1", "ippools").await {
        Ok(true) => good(subject, "it is there: definitions may hand addresses out for the whole cluster"),
        Ok(false) => limited(subject, "it is not there", WHEREABOUTS),
        Err(e) => limited(subject, e.to_string(), WHEREABOUTS),
    });
    let subject = "policies for attachments";
    all.push(match multi_version(cluster).await {
        Ok(Some(version)) => {
            good(subject, format!("MultiNetworkPolicy is served, {version}; `pod net isolate` proves that it acts"))
        }
        Ok(None) => limited(subject, "MultiNetworkPolicy is not served", MULTI_POLICY),
        Err(e) => limited(subject, e.to_string(), MULTI_POLICY),
    });
    all
}

/// Whether the user may do what each verb does, as the server decides it.
async fn rights(cluster: &Cluster, user: Option<&str>) -> Vec<Diagnosis> {
    let mut asked: BTreeMap<Access, Result<bool>> =
        Purpose::ALL.iter().flat_map(|p| p.accesses()).map(|a| (a, Ok(false))).collect();
    let answers: Vec<(Access, Result<bool>)> = futures_util::stream::iter(asked.keys().copied().collect::<Vec<_>>())
        .map(|access| async move { (access, may(cluster, access).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    asked.extend(answers);
    let mut all = Vec::new();
    for purpose in Purpose::ALL {
        let subject = format!("may {purpose}");
        let mut lacking = Vec::new();
        for access in purpose.accesses() {
            match asked.get(&access) {
                Some(Ok(true)) => {}
                Some(Err(e)) => lacking.push(format!("{access}: {e}")),
                _ => lacking.push(access.to_string()),
            }
        }
        all.push(if lacking.is_empty() {
            good(&subject, "yes")
        } else {
            limited(&subject, format!("no: {}", lacking.join(", ")), give(cluster, &[*purpose], user))
        });
    }
    all
}

async fn may(cluster: &Cluster, access: Access) -> Result<bool> {
    let (resource, subresource) = match access.resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub.to_owned())),
        None => (access.resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: (!access.whole_cluster).then(|| cluster.namespace.clone()),
                verb: Some(access.verb.to_owned()),
                group: Some(access.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await.map_err(from_kube)?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(name: &str, paths: &[&str]) -> DaemonSet {
        let volumes: Vec<_> = paths.iter().map(|p| json!({"name": "v", "hostPath": {"path": p}})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [], "volumes": volumes}}},
        }))
        .expect("a DaemonSet")
    }

    fn node(kubelet: &str, ready: &str) -> Node {
        let info = json!({
            "kubeletVersion": kubelet, "architecture": "", "bootID": "", "containerRuntimeVersion": "",
            "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "",
            "systemUUID": ""});
        serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "status": {"nodeInfo": info, "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .expect("a node")
    }

    #[test]
    fn a_multus_that_k3s_does_not_look_at_is_told() {
        let usual = set("kube-multus-ds", &["/etc/cni/net.d", "/opt/cni/bin", "/run"]);
        let seen = folders(std::slice::from_ref(&usual), &[node("v1.33.1", "True")]).expect("a finding");
        assert!(seen.good && seen.found.starts_with("/etc/cni/net.d, /opt/cni/bin;"), "{seen:?}");
        let seen = folders(&[usual], &[node("v1.33.1+k3s1", "True")]).expect("a finding");
        assert!(!seen.good && !seen.optional && seen.found.contains("k3s does not look"), "{seen:?}");
        let own = set("kube-multus-ds", &["/var/lib/rancher/k3s/agent/etc/cni/net.d"]);
        assert!(folders(&[own], &[node("v1.33.1+k3s1", "True")]).expect("a finding").good);
        assert_eq!(folders(&[set("cilium", &[])], &[]), None);
    }

    #[test]
    fn nodes_that_are_not_ready_are_told() {
        assert!(is_ready(&node("v1.33.1", "True")) && !is_ready(&node("v1.33.1", "Unknown")));
    }
}

//! Policies: who may send to whom, on attachments (`MultiNetworkPolicy`) and on the cluster's own network
//! (`NetworkPolicy`); and whether they act.
//!
//! The API server takes a policy whether or not anything enforces it, and most simple networks don't. A
//! `NetworkPolicy` never covers what Multus attaches. So every report here rests on probes: from the same
//! prober to the same target before and after, with a control that still answers.

mod primary;
mod rules;

pub use primary::{NetworkPolicies, PolicyApplied};

use crate::cluster::Cluster;
use crate::errors::{from_kube, is_not_found};
use crate::nad::network::LABEL_NETWORK;
use crate::nad::{GROUP, MANAGER, NetworkAttachmentDefinition};
use crate::networking::K8sNetworking;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use pod_core::{
    Attachment, AttachmentFilter, Capability, Enforcement, Error, NetworkName, NetworkSpec, Networking, PolicyReport,
    PolicySpec, ProbeOutcome, ProbeRequest, ProbeTarget, Result,
};
use rules::{Allow, spec_json, translate};
use std::time::Duration;

/// The annotation of a policy with the definitions that it is for.
const POLICY_FOR: &str = "k8s.v1.cni.cncf.io/policy-for";
/// The plural under which policies for attachments are served.
const MULTI: &str = "multi-networkpolicies";
/// How many pairs are probed.
const PAIRS: usize = 4;
/// How long a policy has to take effect.
const TAKES: Duration = Duration::from_secs(5);

/// The version in which the cluster serves policies for attachments; `None` when it does not.
pub(crate) async fn multi_version(cluster: &Cluster) -> Result<Option<&'static str>> {
    multi_version_of(cluster, |_| true).await
}

/// As [`multi_version`], where it is known which versions there may be.
pub(crate) async fn multi_version_of(cluster: &Cluster, served: impl Fn(&str) -> bool) -> Result<Option<&'static str>> {
    for version in ["v1beta2", "v1beta1"].into_iter().filter(|v| served(v)) {
        match cluster.client.list_api_group_resources(&format!("{GROUP}/{version}")).await {
            Ok(list) if list.resources.iter().any(|r| r.name == MULTI) => return Ok(Some(version)),
            Ok(_) => {}
            Err(e) if is_not_found(&e) => {}
            Err(e) => return Err(from_kube(e)),
        }
    }
    Ok(None)
}

fn api(cluster: &Cluster, version: &str) -> (Api<DynamicObject>, ApiResource) {
    let kind = GroupVersionKind::gvk(GROUP, version, "MultiNetworkPolicy");
    let resource = ApiResource::from_gvk_with_plural(&kind, MULTI);
    (Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource), resource)
}

pub(crate) async fn required(cluster: &Cluster) -> Result<(Api<DynamicObject>, ApiResource)> {
    match multi_version(cluster).await? {
        Some(version) => Ok(api(cluster, version)),
        None => Err(Error::unsupported("the cluster has no policies for attachments")
            .with_context("capability", Capability::Policy.path())
            .with_context("missing", format!("{MULTI}.{GROUP}"))
            .with_hint("install a MultiNetworkPolicy controller; a NetworkPolicy does not cover attachments")),
    }
}

/// Removes the policies of a network.
pub(crate) async fn remove(cluster: &Cluster, network: &NetworkName) -> Result<()> {
    if let Some(version) = multi_version(cluster).await? {
        let (api, _) = api(cluster, version);
        sweep(cluster, &api, network, &[]).await?;
    }
    Ok(())
}

/// Removes the policies of a network that are not among those to keep.
async fn sweep(cluster: &Cluster, api: &Api<DynamicObject>, network: &NetworkName, keep: &[String]) -> Result<()> {
    let params = ListParams::default().labels(&format!("{LABEL_NETWORK}={network}"));
    for old in api.list(&params).await.map_err(|e| cluster.error(e))?.items {
        let name = old.metadata.name.unwrap_or_default();
        if keep.contains(&name) {
            continue;
        }
        match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(e) if is_not_found(&e) => {}
            Err(e) => return Err(cluster.error(e)),
        }
    }
    Ok(())
}

/// Puts policies in place of those of a network; whether they all stood before.
async fn replace(
    networking: &K8sNetworking,
    object: &NetworkAttachmentDefinition,
    spec: &NetworkSpec,
    all: &[Allow],
) -> Result<bool> {
    let cluster = networking.cluster();
    let (api, resource) = required(cluster).await?;
    let params = ListParams::default().labels(&format!("{LABEL_NETWORK}={}", spec.name));
    let old = api.list(&params).await.map_err(|e| cluster.error(e))?.items;
    let mut stood = old.len() == all.len();
    let family = networking.definitions().objects(Some(&format!("{LABEL_NETWORK}={}", spec.name))).await?;
    let covered: Vec<_> = family.iter().map(|d| format!("{}/{}", cluster.namespace, d.name())).collect();
    let mut names = Vec::new();
    for (n, allow) in all.iter().enumerate() {
        let name = format!("{}-{n}", object.name());
        let policy = serde_json::json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": name,
                "labels": {"app.kubernetes.io/managed-by": "pod", LABEL_NETWORK: spec.name.as_str()},
                "annotations": {POLICY_FOR: covered.join(",")},
            },
            "spec": spec_json(allow),
        });
        let now = api
            .patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&policy))
            .await
            .map_err(|e| cluster.error(e))?;
        let same = |o: &DynamicObject| o.metadata.name.as_deref() == Some(&name);
        let before = old.iter().find(|o| same(o)).and_then(|o| o.metadata.resource_version.as_deref());
        stood &= before.is_some() && before == now.metadata.resource_version.as_deref();
        names.push(name);
    }
    sweep(cluster, &api, &spec.name, &names).await?;
    Ok(stood)
}

/// Covers another definition of a network by the policies there are.
pub(crate) async fn cover(cluster: &Cluster, network: &NetworkName, definition: &str) -> Result<()> {
    let Some(version) = multi_version(cluster).await? else { return Ok(()) };
    let (api, _) = api(cluster, version);
    let params = ListParams::default().labels(&format!("{LABEL_NETWORK}={network}"));
    for policy in api.list(&params).await.map_err(|e| cluster.error(e))?.items {
        let annotations = policy.metadata.annotations.unwrap_or_default();
        let mut covered = annotations.get(POLICY_FOR).cloned().unwrap_or_default();
        let one = format!("{}/{definition}", cluster.namespace);
        if covered.split(',').any(|c| c == one) {
            continue;
        }
        covered = if covered.is_empty() { one } else { format!("{covered},{one}") };
        let patch = serde_json::json!({"metadata": {"annotations": {POLICY_FOR: covered}}});
        let name = policy.metadata.name.unwrap_or_default();
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map_err(|e| cluster.error(e))?;
    }
    Ok(())
}

/// Cuts the pods of a new network off from each other: there are none yet to prove it by.
pub(crate) async fn cut_off(
    networking: &K8sNetworking,
    object: &NetworkAttachmentDefinition,
    spec: &NetworkSpec,
) -> Result<()> {
    let all = translate(&PolicySpec::new(spec.name.clone(), Vec::new(), false))?;
    replace(networking, object, spec, &all).await.map(drop)
}

/// Cuts the pods of a network off from each other, or joins them again.
pub(crate) async fn isolate(
    networking: &K8sNetworking,
    object: &NetworkAttachmentDefinition,
    spec: &NetworkSpec,
    isolated: bool,
) -> Result<PolicyReport> {
    let policy = PolicySpec::new(spec.name.clone(), Vec::new(), !isolated);
    let report = apply(networking, object, spec, &policy).await?;
    let mut now = spec.clone();
    now.isolated = isolated;
    networking.rewrite(object, &now).await?;
    Ok(report)
}

/// Replaces the rules of a network.
pub(crate) async fn apply(
    networking: &K8sNetworking,
    object: &NetworkAttachmentDefinition,
    spec: &NetworkSpec,
    policy: &PolicySpec,
) -> Result<PolicyReport> {
    let all = translate(policy)?;
    required(networking.cluster()).await?;
    let pairs = pairs(networking, spec, policy).await?;
    let before = ask(networking, &pairs).await?;
    let stood = replace(networking, object, spec, &all).await?;
    let end = tokio::time::Instant::now() + TAKES;
    loop {
        let after = ask(networking, &pairs).await?;
        let report = judge(&pairs, &before, &after, all.len(), stood);
        if report.enforcement != Enforcement::NotEnforced || tokio::time::Instant::now() >= end {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Who is asked about whom.
struct Pair {
    from: Attachment,
    to: Attachment,
    allowed: bool,
}

fn holds(of: &pod_core::Labels, pod: &pod_core::Labels) -> bool {
    of.iter().all(|(k, v)| pod.get(k) == Some(v))
}

/// Some pairs of running pods of a network, of both sorts where there are.
async fn pairs(networking: &K8sNetworking, spec: &NetworkSpec, policy: &PolicySpec) -> Result<Vec<Pair>> {
    let filter = AttachmentFilter::default().with_network(spec.name.clone());
    let mut nodes = Vec::new();
    for attachment in networking.attachments(filter).await? {
        let pod = networking.pod(&attachment.workload).await?;
        let runs = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
        if runs && !attachment.ips.is_empty() {
            nodes.push((attachment, pod.metadata.labels.unwrap_or_default()));
        }
    }
    let (mut allowed, mut denied) = (Vec::new(), Vec::new());
    for (from, from_labels) in &nodes {
        for (to, to_labels) in nodes.iter().filter(|(to, _)| to.workload != from.workload) {
            let first = policy.rules.iter().find(|r| holds(&r.from, from_labels) && holds(&r.to, to_labels));
            let pass = first.map_or(policy.default_allow, |r| r.allow);
            let list = if pass { &mut allowed } else { &mut denied };
            if list.len() < PAIRS {
                list.push(Pair { from: from.clone(), to: to.clone(), allowed: pass });
            }
        }
    }
    denied.extend(allowed);
    Ok(denied)
}

/// What is seen of one pair.
#[derive(Debug, Clone)]
struct Seen {
    /// Of the target, by the prober.
    target: ProbeOutcome,
    /// Of the prober, by itself: that its tool works.
    own: ProbeOutcome,
    /// Of the target, by itself: that it lives.
    alive: ProbeOutcome,
}

/// Asks for each pair.
async fn ask(networking: &K8sNetworking, pairs: &[Pair]) -> Result<Vec<Seen>> {
    let mut all = Vec::new();
    for pair in pairs {
        let (Some(to), Some(own)) = (pair.to.ips.first(), pair.from.ips.first()) else { continue };
        let there = ProbeTarget::new(to.addr()).with_interface(pair.from.interface.clone());
        let targets = vec![there, ProbeTarget::new(own.addr())];
        let (seen, alive) = tokio::join!(
            networking.probe(ProbeRequest::new(pair.from.workload.clone(), targets)),
            networking.probe(ProbeRequest::new(pair.to.workload.clone(), vec![ProbeTarget::new(to.addr())])),
        );
        let (mut seen, mut alive) = (seen?, alive?);
        let unasked = || ProbeOutcome::Unknown("it was not asked".into());
        let own = seen.pop().unwrap_or_else(unasked);
        let target = seen.pop().unwrap_or_else(unasked);
        all.push(Seen { target, own, alive: alive.pop().unwrap_or_else(unasked) });
    }
    Ok(all)
}

/// Who reaches whom on a network that is cut into single pods; none where that acts.
pub(crate) async fn leaks(networking: &K8sNetworking, spec: &NetworkSpec) -> Result<Vec<String>> {
    let pairs = pairs(networking, spec, &PolicySpec::new(spec.name.clone(), Vec::new(), false)).await?;
    let seen = ask(networking, &pairs).await?;
    let leaks = pairs.iter().zip(&seen).filter(|(_, s)| s.target.reached());
    Ok(leaks.map(|(p, _)| format!("{} reaches {}", p.from.workload, p.to.workload)).collect())
}

fn told(outcome: &ProbeOutcome) -> String {
    match outcome {
        ProbeOutcome::Reached(_) => "reached".into(),
        ProbeOutcome::NoAnswer => "no answer".into(),
        ProbeOutcome::Refused(why) => format!("refused: {why}"),
        ProbeOutcome::Unknown(why) => format!("unknown: {why}"),
        _ => "unknown".into(),
    }
}

/// What the probes prove. A pair that is to be cut off counts only when prober and target are alive, and
/// it was the policy that did it: the pair reached each other before, or the policy stood before too.
fn judge(pairs: &[Pair], before: &[Seen], after: &[Seen], policies: usize, stood: bool) -> PolicyReport {
    let mut evidence = vec![format!("MultiNetworkPolicy: {policies} in place")];
    let (mut proven, mut broken, mut open) = (0, 0, 0);
    for (pair, (before, after)) in pairs.iter().zip(before.iter().zip(after)) {
        let words = if pair.allowed { "allowed" } else { "denied" };
        evidence.push(format!(
            "{} to {}, {words}: before {}, after {}, itself {}, the target itself {}",
            pair.from.workload,
            pair.to.workload,
            told(&before.target),
            told(&after.target),
            told(&after.own),
            told(&after.alive),
        ));
        let silent = matches!(after.target, ProbeOutcome::NoAnswer | ProbeOutcome::Refused(_));
        let alive = after.own.reached() && after.alive.reached();
        if after.target.reached() {
            if pair.allowed { proven += 1 } else { broken += 1 }
        } else if silent && alive && !pair.allowed && (before.target.reached() || stood) {
            proven += 1;
        } else if silent && alive && pair.allowed && before.target.reached() {
            // It was to pass and did before: the policy cuts off too much.
            broken += 1;
        } else {
            open += 1;
        }
    }
    let enforcement = if broken > 0 {
        Enforcement::NotEnforced
    } else if proven > 0 && open == 0 {
        Enforcement::Enforced
    } else {
        if pairs.is_empty() {
            evidence.push("no two running pods of the network to probe with".into());
        }
        Enforcement::Unknown
    };
    PolicyReport::new(enforcement, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod_core::{IfName, MacAddr, WorkloadName};

    fn pair(allowed: bool) -> Pair {
        let one = |name: &str| {
            let workload = WorkloadName::new(name).expect("name");
            let network = NetworkName::new("red").expect("name");
            Attachment::new(
                workload,
                network,
                IfName::new("net1").expect("name"),
                MacAddr::derived(name.as_bytes()),
                1500,
            )
        };
        Pair { from: one("a"), to: one("b"), allowed }
    }

    #[test]
    fn silence_proves_nothing_without_a_control() {
        use Enforcement as E;
        let yes = || ProbeOutcome::Reached(Duration::ZERO);
        let no = || ProbeOutcome::NoAnswer;
        let what = || ProbeOutcome::Unknown("no tool".into());
        let seen = |target, own, alive| Seen { target, own, alive };
        for (allowed, before, after, stood, expected) in [
            (false, yes(), seen(no(), yes(), yes()), false, E::Enforced),
            (false, yes(), seen(yes(), yes(), yes()), false, E::NotEnforced),
            (false, no(), seen(no(), yes(), yes()), false, E::Unknown),
            (false, no(), seen(no(), yes(), yes()), true, E::Enforced),
            (false, yes(), seen(no(), no(), yes()), false, E::Unknown),
            (false, yes(), seen(no(), yes(), no()), false, E::Unknown),
            (false, what(), seen(what(), what(), what()), false, E::Unknown),
            (true, yes(), seen(yes(), yes(), yes()), false, E::Enforced),
            (true, yes(), seen(no(), yes(), yes()), false, E::NotEnforced),
        ] {
            let report = judge(&[pair(allowed)], &[seen(before, yes(), yes())], &[after], 1, stood);
            assert_eq!(report.enforcement, expected, "{:?}", report.evidence);
            assert!(report.evidence.len() > 1);
        }
        assert_eq!(judge(&[], &[], &[], 1, false).enforcement, E::Unknown);
    }
}

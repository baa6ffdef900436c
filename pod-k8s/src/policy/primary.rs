//! Policies on the cluster's own network, and whether it enforces any.

use super::rules::{spec_json, translate};
use super::told;
use crate::K8sBackend;
use crate::errors::is_not_found;
use crate::nad::MANAGER;
use crate::networking::Pinger;
use crate::probe_pod;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Resource};
use pod_core::{
    Backend, CreateRequest, Enforcement, Error, ErrorKind, Image, Labels, NetworkName, PolicyReport, PolicyRule,
    PolicySpec, ProbeOutcome, ProbeTarget, RemoveOutcome, RemoveRequest, Result, WorkloadName,
};
use std::net::IpAddr;
use std::time::Duration;

/// The label of policies with the name under which they were applied together.
const LABEL_POLICY: &str = "pod.policy";
/// The label of probe pods with their own name, by which a policy chooses one.
const LABEL_PROBE: &str = "pod-probe";
/// How long a policy has to take effect.
const TAKES: Duration = Duration::from_secs(6);

/// Policies on the cluster's own network, in one namespace. They never cover attachments.
#[derive(Debug, Clone)]
pub struct NetworkPolicies {
    backend: K8sBackend,
}

/// What [`NetworkPolicies::apply`] did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PolicyApplied {
    /// The objects there are now.
    pub policies: Vec<String>,
    /// How many of an earlier call are gone.
    pub removed: usize,
}

impl NetworkPolicies {
    pub(crate) fn new(backend: K8sBackend) -> Self {
        Self { backend }
    }

    fn api(&self) -> Api<NetworkPolicy> {
        let cluster = self.backend.cluster();
        Api::namespaced(cluster.client.clone(), &cluster.namespace)
    }

    /// Applies rules between the namespace's pods by their labels, under a name; those of an earlier call
    /// with the name are replaced. Says nothing of whether they act: see [`probe`](Self::probe).
    ///
    /// # Errors
    /// `Unsupported` for rules that can't be expressed; `PermissionDenied`.
    pub async fn apply(
        &self,
        name: &NetworkName,
        rules: Vec<PolicyRule>,
        default_allow: bool,
    ) -> Result<PolicyApplied> {
        self.apply_for(name, rules, default_allow, None).await
    }

    /// As [`apply`](Self::apply); the policies go with the pod, if one is given.
    async fn apply_for(
        &self,
        name: &NetworkName,
        rules: Vec<PolicyRule>,
        default_allow: bool,
        pod: Option<&Pod>,
    ) -> Result<PolicyApplied> {
        let owners: Vec<_> = pod.and_then(|p| p.owner_ref(&())).into_iter().collect();
        let policies = translate(&PolicySpec::new(name.clone(), rules, default_allow))?;
        let (cluster, api) = (self.backend.cluster(), self.api());
        let base = crate::nad::network::object_name(name);
        let mut made = Vec::new();
        for (n, allow) in policies.iter().enumerate() {
            let object = serde_json::json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {
                    "name": format!("{base}-{n}"),
                    "labels": {
                        "app.kubernetes.io/managed-by": "pod",
                        pod_core::LABEL_OWNER: self.backend.owner(),
                        LABEL_POLICY: name.as_str(),
                    },
                    "ownerReferences": owners,
                },
                "spec": spec_json(allow),
            });
            let params = PatchParams::apply(MANAGER).force();
            api.patch(&format!("{base}-{n}"), &params, &Patch::Apply(&object)).await.map_err(|e| cluster.error(e))?;
            made.push(format!("{base}-{n}"));
        }
        let removed = self.sweep(name, &made).await?;
        Ok(PolicyApplied { policies: made, removed })
    }

    /// Removes the policies of a name.
    ///
    /// # Errors
    /// As the server says.
    pub async fn remove(&self, name: &NetworkName) -> Result<RemoveOutcome> {
        let removed = self.sweep(name, &[]).await?;
        Ok(if removed > 0 { RemoveOutcome::Removed } else { RemoveOutcome::AlreadyAbsent })
    }

    async fn sweep(&self, name: &NetworkName, keep: &[String]) -> Result<usize> {
        let (cluster, api) = (self.backend.cluster(), self.api());
        let params = ListParams::default().labels(&format!("{LABEL_POLICY}={name}"));
        let mut removed = 0;
        for old in api.list(&params).await.map_err(|e| cluster.error(e))?.items {
            let old = old.metadata.name.unwrap_or_default();
            if keep.contains(&old) {
                continue;
            }
            match api.delete(&old, &DeleteParams::default()).await {
                Ok(_) => removed += 1,
                Err(e) if is_not_found(&e) => {}
                Err(e) => return Err(cluster.error(e)),
            }
        }
        Ok(removed)
    }

    /// Finds out whether the cluster's network enforces policies: two probe pods reach each other, a policy
    /// shuts one of them, and it is asked again. The other way stays open and is the control. Pods and
    /// policy are removed whatever happens.
    ///
    /// `image` needs a shell and `ping`, `nc` or bash; `None` is the backend's own.
    ///
    /// # Errors
    /// Where probe pods or policies may not be made, or nothing can be probed with, the report is
    /// [`Enforcement::Unknown`] and says why; other failures are errors.
    pub async fn probe(&self, image: Option<Image>) -> Result<PolicyReport> {
        let unknown = |why: String| Ok(PolicyReport::new(Enforcement::Unknown, vec![why]));
        let id = uuid::Uuid::new_v4().simple().to_string();
        let id = &id[..8];
        let name = |end: &str| WorkloadName::new(format!("pod-probe-{id}-{end}"));
        let policy = NetworkName::new(format!("pod-probe-{id}"))?;
        let pods = [name("a")?, name("b")?];
        let run = async {
            for pod in &pods {
                let spec = probe_pod::spec(pod, image.clone()).with_label(LABEL_PROBE, pod.as_str());
                self.backend.create(CreateRequest::new(spec).with_start()).await?;
            }
            self.measure(&pods, &policy).await
        };
        let result = Box::pin(run).await;
        let mut left = Vec::new();
        if let Err(e) = self.remove(&policy).await {
            left.push(e);
        }
        for pod in &pods {
            if let Err(e) = self.backend.remove(RemoveRequest::new(pod.clone()).with_force(true)).await {
                left.push(e);
            }
        }
        match result {
            Ok(mut report) => {
                report.evidence.extend(left.iter().map(|e| format!("left behind: {e}")));
                Ok(report)
            }
            Err(e) if e.kind() == ErrorKind::PermissionDenied => unknown(format!("probing is not allowed: {e}")),
            Err(e) => Err(left.into_iter().fold(e, |e, l| e.with_context("left_behind", l.to_string()))),
        }
    }

    async fn get(&self, pod: &WorkloadName) -> Result<Pod> {
        let cluster = self.backend.cluster();
        cluster.pods().get(&crate::pods::pod_name(pod)).await.map_err(|e| cluster.error(e))
    }

    async fn address(&self, pod: &WorkloadName) -> Result<IpAddr> {
        let ip = self.get(pod).await?.status.and_then(|s| s.pod_ip).and_then(|ip| ip.parse().ok());
        ip.ok_or_else(|| {
            Error::new(ErrorKind::WrongState, "the probe pod has no address").with_context("pod", pod.as_str())
        })
    }

    async fn ask(&self, from: &WorkloadName, to: IpAddr) -> Result<ProbeOutcome> {
        let connection = self.backend.connect(from).await?;
        let pinger = Pinger::new(vec![ProbeTarget::new(to)], Duration::from_secs(1));
        let mut seen = pinger.ask(&*connection).await?;
        Ok(seen.pop().unwrap_or_else(|| ProbeOutcome::Unknown("it was not asked".into())))
    }

    /// Before, after, and the control.
    async fn measure(&self, pods: &[WorkloadName; 2], policy: &NetworkName) -> Result<PolicyReport> {
        let [a, b] = pods;
        let (to_a, to_b) = (self.address(a).await?, self.address(b).await?);
        let mut evidence = Vec::new();
        let before = self.ask(a, to_b).await?;
        evidence.push(format!("before the policy, {a} to {b}: {}", told(&before)));
        if !before.reached() {
            evidence.push("without that, silence proves nothing".into());
            return Ok(PolicyReport::new(Enforcement::Unknown, evidence));
        }
        let target: Labels = [(LABEL_PROBE.to_owned(), b.as_str().to_owned())].into();
        let rules = vec![PolicyRule::new(Labels::new(), target, false)];
        // What a program that is killed leaves of it goes with the pod that it is about.
        self.apply_for(policy, rules, true, Some(&self.get(b).await?)).await?;
        let end = tokio::time::Instant::now() + TAKES;
        let after = loop {
            let after = self.ask(a, to_b).await?;
            if !after.reached() || tokio::time::Instant::now() >= end {
                break after;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        evidence.push(format!("with a policy that lets nobody send to {b}: {}", told(&after)));
        if after.reached() {
            return Ok(PolicyReport::new(Enforcement::NotEnforced, evidence));
        }
        let control = self.ask(b, to_a).await?;
        evidence.push(format!("control, {b} to {a}, which no policy is about: {}", told(&control)));
        let proven = control.reached() && matches!(after, ProbeOutcome::NoAnswer | ProbeOutcome::Refused(_));
        let enforcement = if proven { Enforcement::Enforced } else { Enforcement::Unknown };
        Ok(PolicyReport::new(enforcement, evidence))
    }
}

//! Networking with a fault.

use super::backend::Memory;
use super::{Fault, spoilt};
use async_trait::async_trait;
use pod_core::{
    Applied, AttachMode, AttachNetworkRequest, Attachment, AttachmentFilter, AttachmentSpec, CreateNetworkOutcome,
    DetachOutcome, DetachRequest, Enforcement, Error, ErrorKind, Finding, IsolateRequest, Network, NetworkIntent,
    NetworkName, NetworkPlan, NetworkSpec, NetworkStep, Networking, PolicyReport, PolicySpec, ProbeOutcome,
    ProbeRequest, RemoveOutcome, Result, VerifyReport, VerifyRequest,
};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct FaultyNetworking {
    pub(super) inner: Arc<dyn Networking>,
    pub(super) fault: Fault,
    pub(super) memory: Arc<Memory>,
}

/// What a fault makes of an attachment to make.
pub(super) fn mangle(fault: Fault, spec: &mut AttachmentSpec) {
    match fault {
        Fault::LinkSettingsDropped => (spec.mac, spec.mtu) = (None, None),
        Fault::IpsIgnored => spec.ips.clear(),
        Fault::TrunkAsAccess => spec.mode = AttachMode::Access,
        Fault::RoutesDropped => spec.routes.clear(),
        Fault::DnsDropped => spec.dns.clear(),
        _ => {}
    }
}

/// What a fault makes of an attachment that is shown.
pub(super) fn show(fault: Fault, mut a: Attachment) -> Attachment {
    if fault == Fault::AddressesShared {
        a.ips = "10.231.0.5/24".parse().into_iter().collect();
    }
    a
}

impl FaultyNetworking {
    fn spoil<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|e| spoilt(self.fault, e))
    }
}

#[async_trait]
impl Networking for FaultyNetworking {
    async fn create(&self, mut spec: NetworkSpec) -> Result<CreateNetworkOutcome> {
        match self.fault {
            Fault::ReservedIgnored => spec.reserved.clear(),
            Fault::Ipv6Dropped => spec.subnets.retain(|n| n.addr().is_ipv4()),
            Fault::IsolatedDropped => spec.isolated = false,
            Fault::OverlapRefused => {
                let all = self.inner.list().await?;
                if all
                    .iter()
                    .any(|n| n.spec.name != spec.name && n.spec.subnets.iter().any(|s| spec.subnets.contains(s)))
                {
                    return Err(Error::new(ErrorKind::Conflict, "another network has that subnet"));
                }
            }
            _ => {}
        }
        match (self.fault, self.inner.create(spec.clone()).await) {
            (Fault::OutcomesLie, Ok(CreateNetworkOutcome::AlreadyExists(network))) => {
                Ok(CreateNetworkOutcome::Created(network))
            }
            (Fault::NetworkFinds, Err(e)) if e.kind() == ErrorKind::AlreadyExists => {
                Ok(CreateNetworkOutcome::AlreadyExists(Network::new(spec, "found", 0)))
            }
            (Fault::Unchecked, Err(e)) if e.kind() == ErrorKind::InvalidInput => {
                Ok(CreateNetworkOutcome::Created(Network::new(spec, "made up", 0)))
            }
            (_, other) => self.spoil(other),
        }
    }

    async fn list(&self) -> Result<Vec<Network>> {
        let mut all = self.spoil(self.inner.list().await)?;
        if self.fault == Fault::ListsReversed {
            all.reverse();
        }
        Ok(all)
    }

    async fn remove(&self, network: &NetworkName) -> Result<RemoveOutcome> {
        match self.fault {
            Fault::NetworkRemovalLost => Ok(RemoveOutcome::Removed),
            Fault::OutcomesLie => self.inner.remove(network).await.map(|_| RemoveOutcome::Removed),
            _ => self.spoil(self.inner.remove(network).await),
        }
    }

    async fn plan(&self, intent: NetworkIntent) -> Result<NetworkPlan> {
        let wanted = intent.networks.clone();
        match (self.fault, self.inner.plan(intent).await) {
            (Fault::PlanEmpty, Ok(_)) | (Fault::MistakesPassed, Err(_)) => Ok(NetworkPlan::default()),
            (Fault::PlanApplies, Ok(plan)) => {
                self.inner.apply(plan.clone()).await?;
                Ok(plan)
            }
            (Fault::PlanRepeats, Ok(mut plan)) => {
                let there = |n: &NetworkSpec| {
                    plan.steps.iter().any(|s| matches!(s, NetworkStep::CreateNetwork(m) if m.name == n.name))
                };
                let again: Vec<_> = wanted.into_iter().filter(|n| !there(n)).map(NetworkStep::CreateNetwork).collect();
                plan.steps.splice(0..0, again);
                Ok(plan)
            }
            (_, other) => self.spoil(other),
        }
    }

    async fn apply(&self, plan: NetworkPlan) -> Result<Applied> {
        match self.fault {
            Fault::ApplyLost => Ok(Applied::new(plan.steps.len(), Vec::new())),
            Fault::NoRollback => {
                let mut all = Applied::default();
                for step in plan.steps {
                    let done = self.inner.apply(NetworkPlan::new(vec![step])).await?;
                    all.steps += done.steps;
                    all.attachments.extend(done.attachments);
                }
                Ok(all)
            }
            Fault::AppliedMiscounts => self.inner.apply(plan).await.map(|mut a| {
                a.steps += 1;
                a
            }),
            _ => self.spoil(self.inner.apply(plan).await),
        }
    }

    async fn attach(&self, mut request: AttachNetworkRequest) -> Result<Attachment> {
        mangle(self.fault, &mut request.attachment);
        if self.fault == Fault::AttachOnce {
            let filter = AttachmentFilter::default()
                .with_workload(request.workload.clone())
                .with_network(request.attachment.network.clone());
            if !self.inner.attachments(filter).await?.is_empty() {
                return Err(Error::new(ErrorKind::Conflict, "it is attached already"));
            }
        }
        match self.inner.attach(request.clone()).await {
            Err(e) if self.fault == Fault::FailedAttachLeaves => {
                request.attachment.interface = None;
                // What can't be made in another way either leaves nothing.
                let _ = self.inner.attach(request).await;
                Err(e)
            }
            other => self.spoil(other).map(|a| show(self.fault, a)),
        }
    }

    async fn detach(&self, request: DetachRequest) -> Result<DetachOutcome> {
        match self.fault {
            Fault::DetachLost => Ok(DetachOutcome::Detached),
            Fault::OutcomesLie => self.inner.detach(request).await.map(|_| DetachOutcome::Detached),
            _ => self.spoil(self.inner.detach(request).await),
        }
    }

    async fn attachments(&self, mut filter: AttachmentFilter) -> Result<Vec<Attachment>> {
        if self.fault == Fault::AttachmentFilterIgnored {
            filter = AttachmentFilter::default();
        }
        let mut all = self.spoil(self.inner.attachments(filter.clone()).await)?;
        if self.fault == Fault::AttachmentsLeak {
            all.extend(self.memory.leaked().into_iter().filter(|a| filter.matches(a)));
        }
        if self.fault == Fault::ListsReversed {
            all.reverse();
        }
        Ok(all.into_iter().map(|a| show(self.fault, a)).collect())
    }

    async fn isolate(&self, request: IsolateRequest) -> Result<PolicyReport> {
        match self.fault {
            Fault::IsolationLost => Ok(PolicyReport::new(Enforcement::Enforced, vec!["on my word".into()])),
            _ => self.spoil(self.inner.isolate(request).await),
        }
    }

    async fn apply_policy(&self, policy: PolicySpec) -> Result<PolicyReport> {
        match self.fault {
            Fault::PolicyLost => Ok(PolicyReport::new(Enforcement::Enforced, vec!["on my word".into()])),
            _ => self.spoil(self.inner.apply_policy(policy).await),
        }
    }

    async fn verify(&self, request: VerifyRequest) -> Result<VerifyReport> {
        let mut report = self.spoil(self.inner.verify(request).await)?;
        if self.fault == Fault::VerifyCries {
            report.findings.push(Finding::new("somewhere", "something", "nothing"));
        }
        Ok(report)
    }

    async fn probe(&self, mut request: ProbeRequest) -> Result<Vec<ProbeOutcome>> {
        if self.fault == Fault::ProbeInterfaceIgnored {
            request.targets.iter_mut().for_each(|t| t.interface = None);
        }
        let targets = request.targets.clone();
        let mut outcomes = self.spoil(self.inner.probe(request).await)?;
        match self.fault {
            Fault::ProbesSilent => outcomes.iter_mut().for_each(|o| *o = ProbeOutcome::NoAnswer),
            Fault::ProbesReversed => outcomes.reverse(),
            Fault::NetworksMixed => {
                let all = self.inner.attachments(AttachmentFilter::default()).await?;
                for (target, outcome) in targets.iter().zip(&mut outcomes) {
                    if all.iter().any(|a| a.ips.iter().any(|n| n.addr() == target.ip)) {
                        *outcome = ProbeOutcome::Reached(Duration::from_millis(1));
                    }
                }
            }
            _ => {}
        }
        Ok(outcomes)
    }
}

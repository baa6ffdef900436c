//! Networks and attachments: layer-2 segments with a VLAN id and subnets, and workloads on them.

mod attachment;
mod intent;
mod network;
mod policy;
mod probe;
mod verify;

pub use attachment::{
    AttachMode, AttachNetworkRequest, Attachment, AttachmentFilter, AttachmentSpec, DetachOutcome, DetachRequest, Route,
};
pub use intent::{Applied, NetworkIntent, NetworkPlan, NetworkStep};
pub use network::{CreateNetworkOutcome, DEFAULT_MTU, Network, NetworkSpec};
pub use policy::{Enforcement, IsolateRequest, PolicyReport, PolicyRule, PolicySpec};
pub use probe::{ProbeOutcome, ProbeRequest, ProbeTarget};
pub use verify::{Finding, VerifyReport, VerifyRequest};

use crate::{NetworkName, RemoveOutcome, Result};
use async_trait::async_trait;
use std::fmt;

/// A backend's networks and the attachments of its workloads.
///
/// Every change validates all, plans, applies, reads back, and else rolls back *including the step that
/// failed*.
#[async_trait]
pub trait Networking: fmt::Debug + Send + Sync + 'static {
    /// Makes a network. Twice in a row with the same spec: `AlreadyExists` as an outcome. On failure or
    /// cancellation nothing is left. Needs `network.networks` and what the spec's parts need.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one of that name with another spec; `Unsupported` names the
    /// kernel option or platform part that is missing; `NotFound` for an absent uplink.
    async fn create(&self, spec: NetworkSpec) -> Result<CreateNetworkOutcome>;

    /// The networks that POD made here, by name.
    ///
    /// # Errors
    /// As the platform says.
    async fn list(&self) -> Result<Vec<Network>>;

    /// Removes a network. A missing one: `AlreadyAbsent`.
    ///
    /// # Errors
    /// `Busy` while a workload is attached, naming it.
    async fn remove(&self, network: &NetworkName) -> Result<RemoveOutcome>;

    /// What would be done to make the intent true; changes nothing. Needs `network.plan`.
    ///
    /// # Errors
    /// Every mistake in the intent is found here: `InvalidInput`, `NotFound`, `Unsupported`.
    async fn plan(&self, intent: NetworkIntent) -> Result<NetworkPlan>;

    /// Carries out a plan as one: on failure or cancellation everything is as before. Needs
    /// `network.plan`.
    ///
    /// # Errors
    /// That of the step that failed, with what could not be undone, if anything, as context.
    async fn apply(&self, plan: NetworkPlan) -> Result<Applied>;

    /// Attaches a workload, running or not, and reads the attachment back from inside it. Twice in a
    /// row the same: the one there is. A workload that stops keeps its attachments; when it starts
    /// again they are there before its command. Needs `network.hot_attach` and what the parts need.
    ///
    /// # Errors
    /// `NotFound` for workload or network; `Conflict` when an address or interface name is taken, or
    /// when it is attached to that network in another way; `Exhausted` when no address is free.
    async fn attach(&self, request: AttachNetworkRequest) -> Result<Attachment>;

    /// Detaches a workload from a network. Not attached: `AlreadyDetached`. Needs
    /// `network.hot_attach`.
    ///
    /// # Errors
    /// `NotFound` for the workload.
    async fn detach(&self, request: DetachRequest) -> Result<DetachOutcome>;

    /// The attachments that pass the filter, by workload and interface.
    ///
    /// # Errors
    /// As the platform says.
    async fn attachments(&self, filter: AttachmentFilter) -> Result<Vec<Attachment>>;

    /// Cuts the workloads of a network off from each other, or joins them again; from then on
    /// [`list`](Self::list) gives the spec with `isolated` so. Needs `network.isolate`.
    ///
    /// # Errors
    /// `NotFound`. What can't be enforced is an error, or said in the report; never passed over.
    async fn isolate(&self, request: IsolateRequest) -> Result<PolicyReport>;

    /// Replaces the rules of a network. Needs `network.policy`.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` for a rule the platform can't express: then nothing is applied.
    async fn apply_policy(&self, policy: PolicySpec) -> Result<PolicyReport>;

    /// Reads networks and attachments back from the platform and from inside the workloads, and
    /// compares. Changes nothing. Needs `network.verify`.
    ///
    /// # Errors
    /// `NotFound` for the network asked for. Differences are findings, not errors.
    async fn verify(&self, request: VerifyRequest) -> Result<VerifyReport>;

    /// Asks from inside a workload whether addresses answer (ICMP echo, RFC 792 and RFC 4443); the
    /// outcomes come in the order of the targets. Needs `network.probe`, and no tool in the workload.
    ///
    /// # Errors
    /// `NotFound`; `WrongState` when the workload does not run.
    async fn probe(&self, request: ProbeRequest) -> Result<Vec<ProbeOutcome>>;
}

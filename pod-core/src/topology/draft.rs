//! The changes at one site.

use super::deployment::{Deployment, Found, Site};
use super::desired::Desired;
use super::differences::{attachment_differences, network_differences, workload_differences};
use super::plan::{Action, Change, Step, Thing, name_change};
use crate::{
    AttachNetworkRequest, Capability, DetachRequest, Error, ErrorKind, LABEL_SPEC_HASH, LABEL_TOPOLOGY, NetworkName,
    NetworkSpec, Result, State, WorkloadSpec,
};
use std::collections::BTreeSet;

/// The plan of one site in the making.
pub(super) struct Draft<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) s: usize,
    pub(super) site: &'a Site,
    pub(super) found: &'a Found,
    pub(super) desired: &'a Desired,
}

impl Draft<'_> {
    fn change(&self, action: Action, thing: Thing, name: &str, detail: impl Into<String>, steps: Vec<Step>) -> Change {
        Change { action, thing, name: name.to_owned(), backend: self.site.uri.clone(), detail: detail.into(), steps }
    }

    fn is_ours(&self, labels: &crate::Labels) -> bool {
        labels.get(LABEL_TOPOLOGY).map(String::as_str) == Some(self.deployment.topology.name.as_str())
    }

    /// The changes of networks; gives the names of those that are made anew.
    pub(super) fn networks(&self, changes: &mut Vec<Change>) -> Result<BTreeSet<NetworkName>> {
        let topology = &self.deployment.topology;
        let mut remade = BTreeSet::new();
        if !self.site.networks.is_empty() {
            self.site.networking()?;
        }
        for (n, spec) in &self.desired.networks[self.s] {
            let place = &topology.networks[*n].place;
            let create = Step::CreateNetwork(self.s, spec.clone());
            let Some(actual) = self.found.networks.get(&spec.name) else {
                changes.push(self.change(
                    Action::Add,
                    Thing::Network,
                    spec.name.as_str(),
                    network_detail(spec),
                    vec![create],
                ));
                continue;
            };
            if !self.is_ours(&actual.spec.labels) {
                let owner = actual.spec.labels.get(LABEL_TOPOLOGY);
                return Err(place.mark(self.deployment.conflict("network", spec.name.as_str(), owner, self.site)));
            }
            let differing = network_differences(&actual.spec, spec);
            if differing.is_empty() {
                continue;
            }
            let detail = differing.join(", ");
            if differing == ["isolated"] && self.site.has(Capability::Isolate) {
                let isolate = Step::Isolate(self.s, spec.name.clone(), spec.isolated);
                let detail = if spec.isolated { "isolated from now on" } else { "no longer isolated" };
                changes.push(self.change(Action::Change, Thing::Network, spec.name.as_str(), detail, vec![isolate]));
                continue;
            }
            self.refuse_strangers(&spec.name).map_err(|e| place.mark(e))?;
            let steps = vec![Step::RemoveNetwork(self.s, spec.name.clone()), create];
            let detail = format!("made anew: {detail} changed");
            changes.push(self.change(Action::Change, Thing::Network, spec.name.as_str(), detail, steps));
            remade.insert(spec.name.clone());
        }
        for (name, actual) in &self.found.networks {
            let wanted = self.site.networks.values().any(|n| n.name == *name);
            if !wanted && self.is_ours(&actual.spec.labels) {
                self.refuse_strangers(name)?;
                let steps = vec![Step::RemoveNetwork(self.s, name.clone())];
                changes.push(self.change(Action::Remove, Thing::Network, name.as_str(), "", steps));
            }
        }
        Ok(remade)
    }

    /// A network that a workload of someone else is on can't be removed.
    fn refuse_strangers(&self, network: &NetworkName) -> Result<()> {
        let topology = &self.deployment.topology;
        let mut on = self.found.attachments.iter().filter(|a| a.network == *network);
        match on.find(|a| !self.found.owns(&a.workload, topology)) {
            None => Ok(()),
            Some(a) => Err(Error::new(
                ErrorKind::Conflict,
                "a network must be removed, and a workload that is not the topology's is on it",
            )
            .with_context("network", network.as_str())
            .with_context("workload", a.workload.as_str())
            .with_backend(self.site.uri.clone())
            .with_hint(format!("`pod net detach {} {network}` takes it off", a.workload))),
        }
    }

    /// The changes of workloads and their attachments; `settled` gets those that stay as they are and
    /// run.
    pub(super) fn workloads(
        &self,
        remade: &BTreeSet<NetworkName>,
        changes: &mut Vec<Change>,
        settled: &mut Vec<usize>,
    ) -> Result<()> {
        let deployment = self.deployment;
        for (w, spec) in self.desired.workloads.iter().enumerate().filter(|(w, _)| deployment.homes[*w] == self.s) {
            let name = spec.name.as_str();
            let create = || Step::CreateWorkload(self.s, Box::new(spec.clone()));
            let Some(actual) = self.found.workloads.get(&spec.name) else {
                changes.push(self.change(Action::Add, Thing::Workload, name, workload_detail(spec), vec![create()]));
                continue;
            };
            if !self.is_ours(&actual.spec.labels) {
                let owner = actual.spec.labels.get(LABEL_TOPOLOGY);
                let error = deployment.conflict("workload", name, owner, self.site);
                return Err(deployment.topology.workloads[w].place.mark(error));
            }
            let moves = self.attachment_changes(spec, remade);
            let why = if actual.spec.labels.get(LABEL_SPEC_HASH) != spec.labels.get(LABEL_SPEC_HASH) {
                Some(format!("made anew: {} changed", workload_differences(&actual.spec, spec).join(", ")))
            } else if let State::Failed(reason) = &actual.state {
                Some(format!("made anew: it failed: {reason}"))
            } else if !moves.is_empty() && !self.site.has(Capability::HotAttach) {
                Some(
                    "made anew: its attachments changed, and this backend attaches only when it makes a workload"
                        .into(),
                )
            } else {
                None
            };
            if let Some(why) = why {
                let steps = vec![Step::RemoveWorkload(self.s, spec.name.clone()), create()];
                changes.push(self.change(Action::Change, Thing::Workload, name, why, steps));
                continue;
            }
            changes.extend(moves);
            if actual.state.is_running() {
                settled.push(w);
            } else {
                // What it knows is looked at when it runs: the backend may write the names anew.
                let steps = vec![
                    Step::Start(self.s, spec.name.clone()),
                    Step::Names(self.s, spec.name.clone(), name_change(actual, spec)),
                ];
                let detail = format!("started: it is {}", actual.state);
                changes.push(self.change(Action::Change, Thing::Workload, name, detail, steps));
            }
        }
        for (name, actual) in &self.found.workloads {
            let homes = self.desired.workloads.iter().zip(&deployment.homes);
            let wanted = homes.into_iter().any(|(w, home)| w.name == *name && *home == self.s);
            if !wanted && self.is_ours(&actual.spec.labels) {
                let steps = vec![Step::RemoveWorkload(self.s, name.clone())];
                changes.push(self.change(Action::Remove, Thing::Workload, name.as_str(), "", steps));
            }
        }
        Ok(())
    }

    fn attachment_changes(&self, spec: &WorkloadSpec, remade: &BTreeSet<NetworkName>) -> Vec<Change> {
        let mut out = Vec::new();
        let subject = |network: &NetworkName| format!("{} on {network}", spec.name);
        let detach =
            |network: &NetworkName| Step::Detach(self.s, DetachRequest::new(spec.name.clone(), network.clone()));
        for actual in self.found.attachments_of(&spec.name) {
            if !spec.attachments.iter().any(|a| a.network == actual.network) {
                let steps = vec![detach(&actual.network)];
                out.push(self.change(Action::Remove, Thing::Attachment, &subject(&actual.network), "", steps));
            }
        }
        for wanted in &spec.attachments {
            let network = &wanted.network;
            let attach = Step::Attach(self.s, AttachNetworkRequest::new(spec.name.clone(), wanted.clone()));
            let Some(actual) = self.found.attachments_of(&spec.name).find(|a| a.network == *network) else {
                let detail = list(&wanted.ips);
                out.push(self.change(Action::Add, Thing::Attachment, &subject(network), detail, vec![attach]));
                continue;
            };
            let mtu = self.site.networks.values().find(|n| n.name == *network).map(|n| n.mtu);
            let differing = attachment_differences(actual, wanted, mtu);
            let detail = if remade.contains(network) {
                "made anew with its network".to_owned()
            } else if !differing.is_empty() {
                format!("made anew: {} changed", differing.join(", "))
            } else {
                continue;
            };
            let steps = vec![detach(network), attach];
            out.push(self.change(Action::Change, Thing::Attachment, &subject(network), detail, steps));
        }
        out
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn network_detail(spec: &NetworkSpec) -> String {
    let mut parts = vec![spec.vlan.map_or_else(|| "untagged".to_owned(), |v| format!("vlan {v}"))];
    parts.extend(spec.subnets.iter().map(ToString::to_string));
    parts.extend(spec.uplink.iter().map(|u| format!("uplink {u}")));
    parts.extend(spec.isolated.then(|| "isolated".to_owned()));
    parts.join(", ")
}

fn workload_detail(spec: &WorkloadSpec) -> String {
    let mut parts: Vec<String> = spec.image.iter().map(ToString::to_string).collect();
    parts.extend(spec.attachments.iter().map(|a| format!("{} {}", a.network, list(&a.ips)).trim_end().to_owned()));
    parts.join(", ")
}

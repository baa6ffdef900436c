//! Plans: what would make an intent true, worked out on a copy of the records.

use crate::allocate::Taken;
use crate::check;
use crate::host::{HostNet, Inner};
use crate::store::{AttachmentRecord, NetworkRecord};
use crate::uplink;
use pod_core::{
    AttachNetworkRequest, AttachmentFilter, AttachmentSpec, Error, ErrorKind, IfName, MacAddr, NetworkIntent,
    NetworkName, NetworkPlan, NetworkSpec, NetworkStep, Result, ResultExt, WorkloadName,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;

impl HostNet {
    /// What would be done to make the intent true; changes nothing. Whether the workloads exist is for
    /// the caller to know.
    ///
    /// # Errors
    /// Every mistake in the intent: `InvalidInput`, `NotFound` for a network or uplink, `Conflict` for
    /// what is taken, `Unsupported` names the kernel option that is missing.
    pub async fn plan(&self, intent: &NetworkIntent) -> Result<NetworkPlan> {
        let intent = intent.clone();
        self.blocking(move |host| host.plan(&intent).operation("plan networks")).await
    }
}

type Key = (WorkloadName, NetworkName);

/// The records as they would be after the steps so far.
#[derive(Debug, Default)]
struct Model {
    networks: BTreeMap<NetworkName, NetworkRecord>,
    attachments: BTreeMap<Key, AttachmentRecord>,
    /// Those that a call which was killed left unfinished.
    unfinished: BTreeSet<Key>,
    steps: Vec<NetworkStep>,
}

impl Taken for Model {
    fn ip(&self, network: &NetworkSpec, ip: IpAddr) -> Result<Option<WorkloadName>> {
        Ok(self.on(&network.name).find(|r| r.attachment.ips.iter().any(|n| n.addr() == ip)).map(holder))
    }

    fn ips(&self, network: &NetworkSpec) -> Result<HashSet<IpAddr>> {
        Ok(self.on(&network.name).flat_map(|r| r.attachment.ips.iter().map(ipnet::IpNet::addr)).collect())
    }

    fn mac(&self, network: &NetworkSpec, mac: MacAddr) -> Result<Option<WorkloadName>> {
        Ok(self.on(&network.name).find(|r| r.attachment.mac == mac).map(holder))
    }

    fn interface(&self, workload: &WorkloadName, name: &str) -> Result<Option<String>> {
        let held = self
            .attachments
            .values()
            .find(|r| r.attachment.workload == *workload && r.attachment.interface.as_str() == name);
        Ok(held.map(|r| format!("the attachment to {}", r.attachment.network)))
    }
}

fn holder(record: &AttachmentRecord) -> WorkloadName {
    record.attachment.workload.clone()
}

impl Model {
    fn on(&self, network: &NetworkName) -> impl Iterator<Item = &AttachmentRecord> {
        self.attachments.values().filter(move |r| r.attachment.network == *network)
    }

    fn detach(&mut self, key: &Key) -> Option<AttachmentRecord> {
        let record = self.attachments.remove(key)?;
        self.steps.push(NetworkStep::Detach(record.attachment.clone()));
        Some(record)
    }
}

impl Inner {
    fn plan(&self, intent: &NetworkIntent) -> Result<NetworkPlan> {
        check_intent(intent)?;
        let mut model = Model::default();
        for network in self.store.networks()? {
            model.networks.insert(network.spec.name.clone(), network);
        }
        for record in self.store.attachments(&AttachmentFilter::default())? {
            let key = (record.attachment.workload.clone(), record.attachment.network.clone());
            if !self.store.is_settled(&record.attachment)? {
                model.unfinished.insert(key.clone());
            }
            model.attachments.insert(key, record);
        }
        // the order that frees before it takes: detach, remove, create, attach
        let wanted: BTreeMap<Key, &AttachmentSpec> = intent
            .attachments
            .iter()
            .map(|r| ((r.workload.clone(), r.attachment.network.clone()), &r.attachment))
            .collect();
        for absent in &intent.absent_attachments {
            model.detach(&(absent.workload.clone(), absent.network.clone()));
        }
        let mut again = Vec::new();
        let changed: BTreeSet<&NetworkName> = intent
            .networks
            .iter()
            .filter(|n| model.networks.get(&n.name).is_some_and(|r| r.spec != **n))
            .map(|n| &n.name)
            .collect();
        let keys: Vec<Key> = model.attachments.keys().cloned().collect();
        for key in &keys {
            let Some(record) = model.attachments.get(key) else { continue };
            let moved = changed.contains(&key.1);
            let differs = wanted.get(key).is_some_and(|spec| check::same(record, spec).is_err());
            if (moved || differs)
                && let Some(record) = model.detach(key)
                && !wanted.contains_key(key)
            {
                again.push(AttachNetworkRequest::new(key.0.clone(), record.spec));
            }
        }
        for name in &intent.absent_networks {
            let left: Vec<_> = model.on(name).map(|r| r.attachment.workload.to_string()).collect();
            if !left.is_empty() {
                return Err(Error::new(ErrorKind::Busy, "workloads are attached to a network that should go")
                    .with_context("network", name.as_str())
                    .with_context("workloads", left.join(", "))
                    .with_hint("name their attachments as absent too"));
            }
        }
        for name in intent.absent_networks.iter().chain(changed.iter().copied()) {
            if let Some(network) = model.networks.remove(name) {
                model.steps.push(NetworkStep::RemoveNetwork(network.spec));
            }
        }
        for spec in &intent.networks {
            if !model.networks.contains_key(&spec.name) {
                self.check_kernel(spec)?;
                uplink::check(spec)?;
                let others: Vec<_> = model.networks.values().cloned().collect();
                let record = self.lay_out(spec, &others)?;
                model.networks.insert(spec.name.clone(), record);
                model.steps.push(NetworkStep::CreateNetwork(spec.clone()));
            }
        }
        // those with addresses of their own first, so that none is given away meanwhile
        let mut requests: Vec<&AttachNetworkRequest> = again.iter().chain(&intent.attachments).collect();
        requests.sort_by_key(|r| r.attachment.ips.is_empty());
        for request in requests {
            self.plan_attachment(&mut model, request)?;
        }
        Ok(NetworkPlan::new(model.steps))
    }

    fn plan_attachment(&self, model: &mut Model, request: &AttachNetworkRequest) -> Result<()> {
        let spec = &request.attachment;
        let key = (request.workload.clone(), spec.network.clone());
        if model.attachments.contains_key(&key) {
            if model.unfinished.remove(&key) {
                model.steps.push(NetworkStep::Attach(request.clone()));
            }
            return Ok(());
        }
        let network = model.networks.get(&spec.network).ok_or_else(|| {
            Error::not_found("network", spec.network.as_str()).with_context("workload", request.workload.as_str())
        })?;
        let attachment = self.allocate(network, &request.workload, spec, model)?;
        let port = IfName::new("planned")?;
        model.attachments.insert(key, AttachmentRecord { spec: spec.clone(), attachment, port, netns: PathBuf::new() });
        model.steps.push(NetworkStep::Attach(request.clone()));
        Ok(())
    }
}

/// Checks an intent against itself.
fn check_intent(intent: &NetworkIntent) -> Result<()> {
    let twice = |what: &str| Error::invalid(format!("{what} is named twice"));
    let both = |what: &str| Error::invalid(format!("{what} is both wanted and unwanted"));
    let mut networks = BTreeSet::new();
    for spec in &intent.networks {
        uplink::validate(spec)?;
        if !networks.insert(&spec.name) {
            return Err(twice("a network").with_context("network", spec.name.as_str()));
        }
        if intent.absent_networks.contains(&spec.name) {
            return Err(both("a network").with_context("network", spec.name.as_str()));
        }
    }
    let mut attachments = BTreeSet::new();
    for request in &intent.attachments {
        let spec = &request.attachment;
        let about = |e: Error| {
            e.with_context("workload", request.workload.as_str()).with_context("network", spec.network.as_str())
        };
        check::spec(spec).map_err(about)?;
        if !attachments.insert((&request.workload, &spec.network)) {
            return Err(about(twice("an attachment")));
        }
        if intent.absent_networks.contains(&spec.network) {
            return Err(about(Error::invalid("the attachment's network is unwanted")));
        }
        if intent.absent_attachments.iter().any(|a| a.workload == request.workload && a.network == spec.network) {
            return Err(about(both("an attachment")));
        }
    }
    Ok(())
}

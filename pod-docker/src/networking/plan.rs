//! Plans: what would make an intent true, worked out on a copy of what there is, and carried out as one.

use super::attach::{Attached, same};
use super::remake::as_it_was;
use super::{DockerNetworking, endpoint, network, of_pod};
use crate::containers;
use pod_core::{
    Applied, AttachNetworkRequest, Attachment, AttachmentSpec, CreateNetworkOutcome, Error, ErrorKind, NetworkIntent,
    NetworkName, NetworkPlan, NetworkSpec, NetworkStep, RemoveOutcome, Result, WorkloadName,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

type Key = (WorkloadName, NetworkName);

/// What there is, as it would be after the steps so far.
#[derive(Debug, Default)]
struct Model {
    networks: BTreeMap<NetworkName, NetworkSpec>,
    attachments: BTreeMap<Key, Attachment>,
    /// Addresses of containers that are no workloads, and of planned attachments.
    taken: BTreeMap<NetworkName, BTreeMap<IpAddr, String>>,
    steps: Vec<NetworkStep>,
}

impl Model {
    async fn read(networking: &DockerNetworking) -> Result<Self> {
        let networks: BTreeMap<_, _> =
            of_pod(&networking.engine).await?.into_iter().map(|(name, (_, spec))| (name, spec)).collect();
        let mut taken: BTreeMap<NetworkName, BTreeMap<IpAddr, String>> = BTreeMap::new();
        for member in endpoint::members(&networking.engine).await? {
            for name in networks.keys() {
                if let Some(ip) = member.on(name).and_then(endpoint::Endpoint::ip) {
                    taken.entry(name.clone()).or_default().insert(IpAddr::V4(ip), member.name());
                }
            }
        }
        let all = networking.all_attachments(None).await?;
        let attachments = all.into_iter().map(|a| ((a.workload.clone(), a.network.clone()), a)).collect();
        Ok(Self { networks, attachments, taken, steps: Vec::new() })
    }

    fn detach(&mut self, key: &Key) -> Option<Attachment> {
        let a = self.attachments.remove(key)?;
        if let Some(taken) = self.taken.get_mut(&key.1) {
            taken.retain(|ip, _| !a.ips.iter().any(|n| n.addr() == *ip));
        }
        self.steps.push(NetworkStep::Detach(a.clone()));
        Some(a)
    }

    fn remove(&mut self, name: &NetworkName) -> Result<()> {
        let left: Vec<_> = self.attachments.keys().filter(|(_, n)| n == name).map(|(w, _)| w.to_string()).collect();
        if !left.is_empty() {
            return Err(Error::new(ErrorKind::Busy, "workloads are attached to a network that should go")
                .with_context("network", name.as_str())
                .with_context("workloads", left.join(", "))
                .with_hint("name their attachments as absent too"));
        }
        if let Some(spec) = self.networks.remove(name) {
            self.taken.remove(name);
            self.steps.push(NetworkStep::RemoveNetwork(spec));
        }
        Ok(())
    }

    fn create(&mut self, networking: &DockerNetworking, spec: &NetworkSpec) -> Result<()> {
        let wanted = network::wanted(spec, networking.plugin, networking.engine.libpod.as_ref())?;
        let subnet = ipnet::IpNet::V4(wanted.subnet);
        let overlaps = |s: &NetworkSpec| s.subnets.iter().any(|n| n.contains(&subnet) || subnet.contains(n));
        if let Some(other) = self.networks.values().find(|s| overlaps(s)) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the subnet {} overlaps with another network's", wanted.subnet),
            )
            .with_context("network", spec.name.as_str())
            .with_context("other network", other.name.as_str()));
        }
        self.networks.insert(spec.name.clone(), spec.clone());
        self.steps.push(NetworkStep::CreateNetwork(spec.clone()));
        Ok(())
    }

    fn attach(&mut self, networking: &DockerNetworking, request: &AttachNetworkRequest) -> Result<()> {
        let spec = &request.attachment;
        let key = (request.workload.clone(), spec.network.clone());
        if let Some(there) = self.attachments.get(&key) {
            return same(there, spec);
        }
        let network = self.networks.get(&spec.network).ok_or_else(|| network::missing(&spec.network))?;
        let taken = self.taken.entry(spec.network.clone()).or_default();
        let place = endpoint::place(&networking.engine, &request.workload, spec, network, taken, &BTreeSet::new())?;
        taken.insert(IpAddr::V4(place.ip), request.workload.to_string());
        let mut planned = Attachment::new(
            request.workload.clone(),
            spec.network.clone(),
            "planned".parse()?,
            pod_core::MacAddr::derived(request.workload.as_str().as_bytes()),
            network.mtu,
        );
        planned.ips = vec![network.assignable(IpAddr::V4(place.ip))?];
        self.attachments.insert(key, planned);
        self.steps.push(NetworkStep::Attach(request.clone()));
        Ok(())
    }
}

/// What would be done; changes nothing.
pub(super) async fn plan(networking: &DockerNetworking, intent: &NetworkIntent) -> Result<NetworkPlan> {
    check(networking, intent)?;
    let mut model = Model::read(networking).await?;
    // The order that frees before it takes: detach, remove, create, attach.
    let wanted: BTreeMap<Key, &AttachmentSpec> = intent
        .attachments
        .iter()
        .map(|r| ((r.workload.clone(), r.attachment.network.clone()), &r.attachment))
        .collect();
    for (workload, _) in wanted.keys() {
        containers::find(&networking.engine, workload).await?;
    }
    for absent in &intent.absent_attachments {
        model.detach(&(absent.workload.clone(), absent.network.clone()));
    }
    let changed: BTreeSet<&NetworkName> = intent
        .networks
        .iter()
        .filter(|n| model.networks.get(&n.name).is_some_and(|there| there != *n))
        .map(|n| &n.name)
        .collect();
    let mut again = Vec::new();
    for key in model.attachments.keys().cloned().collect::<Vec<_>>() {
        let moved = changed.contains(&key.1);
        let differs = match (model.attachments.get(&key), wanted.get(&key)) {
            (Some(there), Some(asked)) => same(there, asked).is_err(),
            _ => false,
        };
        if (moved || differs)
            && let Some(a) = model.detach(&key)
            && !wanted.contains_key(&key)
        {
            again.push(AttachNetworkRequest::new(a.workload.clone(), as_it_was(networking, &a)));
        }
    }
    for name in intent.absent_networks.iter().chain(changed) {
        model.remove(name)?;
    }
    for spec in &intent.networks {
        if !model.networks.contains_key(&spec.name) {
            model.create(networking, spec)?;
        }
    }
    // Those with addresses of their own first, so that none is given away meanwhile.
    let mut requests: Vec<&AttachNetworkRequest> = again.iter().chain(&intent.attachments).collect();
    requests.sort_by_key(|r| r.attachment.ips.is_empty());
    for request in requests {
        let about = |e: Error| {
            e.with_context("workload", request.workload.as_str())
                .with_context("network", request.attachment.network.as_str())
        };
        model.attach(networking, request).map_err(about)?;
    }
    Ok(NetworkPlan::new(model.steps))
}

/// Checks an intent against itself.
fn check(networking: &DockerNetworking, intent: &NetworkIntent) -> Result<()> {
    let mut networks = BTreeSet::new();
    for spec in &intent.networks {
        network::wanted(spec, networking.plugin, networking.engine.libpod.as_ref())?;
        let about = |words: &str| Error::invalid(words).with_context("network", spec.name.as_str());
        if !networks.insert(&spec.name) {
            return Err(about("a network is named twice"));
        }
        if intent.absent_networks.contains(&spec.name) {
            return Err(about("a network is both wanted and unwanted"));
        }
    }
    let mut attachments = BTreeSet::new();
    for request in &intent.attachments {
        let (workload, network) = (&request.workload, &request.attachment.network);
        let about = |words: &str| {
            Error::invalid(words).with_context("workload", workload.as_str()).with_context("network", network.as_str())
        };
        if !attachments.insert((workload, network)) {
            return Err(about("an attachment is named twice"));
        }
        if intent.absent_networks.contains(network) {
            return Err(about("the attachment's network is unwanted"));
        }
        if intent.absent_attachments.iter().any(|a| a.workload == *workload && a.network == *network) {
            return Err(about("an attachment is both wanted and unwanted"));
        }
    }
    Ok(())
}

/// How one step is undone.
#[derive(Debug)]
enum Undo {
    Nothing,
    RemoveNetwork(NetworkName),
    CreateNetwork(Box<NetworkSpec>),
    Detach(WorkloadName, NetworkName),
    Attach(Box<Attachment>),
}

/// What was carried out.
#[derive(Debug, Default)]
pub(super) struct Progress {
    undo: Vec<Undo>,
    made: Vec<Attachment>,
}

/// Carries a plan out, or leaves everything as it was. What can be seen to fail is found before anything is
/// touched: an attachment that is made again may get another interface name.
pub(super) async fn apply(networking: &DockerNetworking, plan: &NetworkPlan) -> Result<Progress> {
    let at = |e: Error, i: usize, step: &NetworkStep| {
        e.with_context("step", format!("{} of {}: {step}", i + 1, plan.steps.len()))
    };
    let mut model = Model::read(networking).await?;
    for (i, step) in plan.steps.iter().enumerate() {
        let tried =
            match step {
                NetworkStep::CreateNetwork(spec) if model.networks.get(&spec.name) == Some(spec) => Ok(()),
                NetworkStep::CreateNetwork(spec) => model.create(networking, spec),
                NetworkStep::RemoveNetwork(spec) => match model.networks.get(&spec.name) {
                    Some(there) if there != spec => Err(changed("network", spec.name.as_str())),
                    _ => model.remove(&spec.name),
                },
                NetworkStep::Attach(request) => match containers::find(&networking.engine, &request.workload).await {
                    Ok(_) => model.attach(networking, request),
                    Err(e) => Err(e),
                },
                NetworkStep::Detach(a) => {
                    let key = (a.workload.clone(), a.network.clone());
                    match model.attachments.get(&key) {
                        Some(there) if there.ips != a.ips => Err(changed("workload", a.workload.as_str())),
                        _ => {
                            model.detach(&key);
                            Ok(())
                        }
                    }
                }
                other => Err(Error::unsupported("the daemon's networks have no such step")
                    .with_context("step", other.to_string())),
            };
        tried.map_err(|e| at(e, i, step))?;
    }
    let mut progress = Progress::default();
    for (i, step) in plan.steps.iter().enumerate() {
        if let Err(e) = progress.step(networking, step).await {
            let e = at(e, i, step);
            return Err(match progress.undo(networking).await {
                Ok(()) => e,
                Err(left) => e.with_context("not undone", left.to_string()),
            });
        }
    }
    Ok(progress)
}

impl Progress {
    pub(super) fn applied(self) -> Applied {
        Applied::new(self.undo.len(), self.made)
    }

    async fn step(&mut self, networking: &DockerNetworking, step: &NetworkStep) -> Result<()> {
        let undo = match step {
            NetworkStep::CreateNetwork(spec) => match networking.make(spec).await? {
                CreateNetworkOutcome::Created(_) => Undo::RemoveNetwork(spec.name.clone()),
                CreateNetworkOutcome::AlreadyExists(_) => Undo::Nothing,
            },
            NetworkStep::RemoveNetwork(spec) => match networking.take_away(&spec.name).await? {
                RemoveOutcome::Removed => Undo::CreateNetwork(Box::new(spec.clone())),
                RemoveOutcome::AlreadyAbsent => Undo::Nothing,
            },
            NetworkStep::Attach(request) => match networking.join(&request.workload, &request.attachment).await? {
                Attached::New(a) => {
                    let undo = Undo::Detach(a.workload.clone(), a.network.clone());
                    self.made.push(a);
                    undo
                }
                Attached::Before(a) => {
                    self.made.push(a);
                    Undo::Nothing
                }
            },
            NetworkStep::Detach(a) => match networking.part(&a.workload, &a.network).await? {
                pod_core::DetachOutcome::Detached => Undo::Attach(Box::new(a.clone())),
                pod_core::DetachOutcome::AlreadyDetached => Undo::Nothing,
            },
            other => {
                return Err(Error::unsupported("the daemon's networks have no such step")
                    .with_context("step", other.to_string()));
            }
        };
        self.undo.push(undo);
        Ok(())
    }

    /// Undoes all, the last first; goes on past what fails and tells of it.
    pub(super) async fn undo(self, networking: &DockerNetworking) -> Result<()> {
        let mut left = Vec::new();
        for undo in self.undo.iter().rev() {
            let undone = match undo {
                Undo::Nothing => Ok(()),
                Undo::RemoveNetwork(name) => networking.take_away(name).await.map(drop),
                Undo::CreateNetwork(spec) => networking.make(spec).await.map(drop),
                Undo::Detach(workload, network) => networking.part(workload, network).await.map(drop),
                Undo::Attach(a) => networking.join(&a.workload, &as_it_was(networking, a)).await.map(drop),
            };
            if let Err(e) = undone {
                left.push(e.to_string());
            }
        }
        if left.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Partial, left.join("; "))) }
    }
}

fn changed(what: &'static str, name: &str) -> Error {
    Error::new(ErrorKind::Conflict, "it was changed since the plan was made")
        .with_context(what, name)
        .with_hint("plan again")
}

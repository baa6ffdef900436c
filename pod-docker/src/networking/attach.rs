//! Workloads joined to networks and taken off them.

use super::endpoint::{self, Place};
use super::network::{self, Raw};
use super::{DockerNetworking, Known};
use crate::containers::{self, Inspected};
use crate::engine::failure::Failure;
use crate::engine::part;
use crate::libpod;
use pod_core::{
    Attachment, AttachmentSpec, Capability, DetachOutcome, Error, ErrorKind, IfName, NetworkName, NetworkSpec, Result,
    WorkloadName, WorkloadSpec,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tokio::sync::OwnedMutexGuard;

/// How often another address is tried when the daemon finds the one that was free taken.
pub(crate) const TRIES: usize = 8;

/// What an attach did.
#[derive(Debug)]
pub(super) enum Attached {
    New(Attachment),
    Before(Attachment),
}

/// The networks a workload is to be made on. Nobody else here chooses addresses while this is held.
#[derive(Debug, Default)]
pub(crate) struct Joining {
    pub(crate) places: Vec<Place>,
    _turn: Option<OwnedMutexGuard<()>>,
}

/// Who holds which address of a network.
async fn taken(networking: &DockerNetworking, network: &NetworkName) -> Result<BTreeMap<IpAddr, String>> {
    let members = endpoint::members(&networking.engine).await?;
    let holders = members.iter().filter_map(|m| Some((IpAddr::V4(m.on(network)?.ip()?), m.name())));
    Ok(holders.collect())
}

impl DockerNetworking {
    /// Where a workload that is about to be made gets on its networks, away from these addresses.
    ///
    /// # Errors
    /// `NotFound` for a network, and as [`endpoint::place`].
    pub(crate) async fn joining(&self, spec: &WorkloadSpec, avoid: &BTreeSet<IpAddr>) -> Result<Joining> {
        if spec.attachments.is_empty() {
            return Ok(Joining::default());
        }
        let about = |e: Error| e.with_context("workload", spec.name.as_str());
        let turn = self.turn.clone().lock_owned().await;
        let known = network::of_pod(&self.engine).await?;
        let mut places: Vec<Place> = Vec::new();
        // Those asked for by name first: the others get around them.
        let mut used: BTreeSet<IfName> = spec.attachments.iter().filter_map(|a| a.interface.clone()).collect();
        if used.len() < spec.attachments.iter().filter(|a| a.interface.is_some()).count() {
            return Err(about(Error::invalid("two attachments name the same interface")));
        }
        for asked in &spec.attachments {
            let (_, network) = known.get(&asked.network).ok_or_else(|| about(network::missing(&asked.network)))?;
            if places.iter().any(|p| p.network == asked.network) {
                return Err(about(Error::invalid("a workload is attached to a network once"))
                    .with_context("network", asked.network.as_str()));
            }
            let taken = taken(self, &asked.network).await?;
            let mut place = endpoint::place(&self.engine, &spec.name, asked, network, &taken, avoid).map_err(about)?;
            if endpoint::takes_names(&self.engine) {
                if let Some(name) = &asked.interface {
                    used.remove(name);
                }
                place.name(asked.interface.as_ref(), &mut used, 0)?;
                // Nobody else attaches it yet, and Podman knows only of those before it.
                place.named |= self.engine.libpod.is_some();
            }
            places.push(place);
        }
        Ok(Joining { places, _turn: Some(turn) })
    }

    /// The attachment of a container to a network, if there is one.
    async fn there(&self, found: &Inspected, raw: &Raw, spec: &NetworkSpec) -> Result<Option<Attachment>> {
        let known: Known = [(spec.name.clone(), (raw.clone(), spec.clone()))].into();
        Ok(endpoint::attachments_of(&self.engine, found, &known).await?.pop())
    }

    /// Attaches a workload; see the trait.
    pub(super) async fn join(&self, workload: &WorkloadName, asked: &AttachmentSpec) -> Result<Attached> {
        let (raw, spec) = self.existing(&asked.network).await?;
        let found = containers::find(&self.engine, workload).await?;
        if let Some(there) = self.there(&found, &raw, &spec).await? {
            same(&there, asked)?;
            return Ok(Attached::Before(there));
        }
        if found.publishes() {
            return Err(Error::unsupported("a workload that publishes ports is on no network of POD's")
                .with_context("capability", Capability::PortsOnNetworks.path())
                .with_context("workload", workload.as_str())
                .with_hint("make it again without ports; `pod forward` leads to those of its loopback"));
        }
        if asked.mac.is_some() && !endpoint::takes_mac_later(&self.engine) {
            return Err(Error::unsupported("this daemon takes a MAC address only when a workload is made")
                .with_context("capability", Capability::FixedMac.path())
                .with_context("workload", workload.as_str())
                .with_hint("make it on the network, or use a Docker with version 1.54 of the API"));
        }
        let mut avoid = BTreeSet::new();
        loop {
            let turn = self.turn.clone().lock_owned().await;
            let taken = taken(self, &spec.name).await?;
            let about = |e: Error| e.with_context("workload", workload.as_str());
            let mut place = endpoint::place(&self.engine, workload, asked, &spec, &taken, &avoid).map_err(about)?;
            if endpoint::takes_names(&self.engine) {
                let (mut used, unknown) = self.interfaces(workload, &found.id).await?;
                place.name(asked.interface.as_ref(), &mut used, unknown).map_err(about)?;
            }
            let done = self.connect(&found, &spec, &place).await;
            drop(turn);
            match done {
                Ok(()) => break,
                Err(e) if place.free && avoid.len() < TRIES && endpoint::is_held(&e) => {
                    avoid.insert(IpAddr::V4(place.ip));
                }
                Err(e) if endpoint::is_held(&e) => {
                    let held = endpoint::held(IpAddr::V4(place.ip), &spec);
                    return Err(held.with_context("workload", workload.as_str()).with_source(e));
                }
                Err(e) => return Err(e),
            }
        }
        match self.read_back(&found, &raw, &spec).await {
            Ok(made) => Ok(Attached::New(made)),
            Err(e) => Err(match self.disconnect(&found.id, &spec.name).await {
                Ok(_) => e,
                Err(left) => e.with_context("left_behind", left.to_string()),
            }),
        }
    }

    /// The interfaces of a container, and how many it has whose names are not known.
    async fn interfaces(&self, workload: &WorkloadName, id: &str) -> Result<(BTreeSet<IfName>, usize)> {
        // As it is by now: others may have been attached since it was found.
        let now = containers::by_id(&self.engine, id).await.map_err(|f| self.engine.error(f))?;
        let now = now.ok_or_else(|| containers::missing(workload))?;
        let (mut used, others) = now.networks.interfaces();
        let seen = super::seen::interfaces(&self.engine, &now).await;
        let unknown = if seen.is_some() { 0 } else { others };
        used.extend(seen.into_iter().flatten().map(|(_, name)| name));
        Ok((used, unknown))
    }

    async fn connect(&self, found: &Inspected, spec: &NetworkSpec, place: &Place) -> Result<()> {
        if self.engine.libpod.is_some() {
            libpod::connect(&self.engine, &found.id, place).await?;
            self.tell(&found.id, &spec.name, true);
            return Ok(());
        }
        let mut place = place.clone();
        place.mac = place.mac.filter(|_| endpoint::takes_mac_later(&self.engine));
        let body = json!({"Container": found.id, "EndpointConfig": place.settings()});
        let path = format!("/networks/{}/connect", part(spec.name.as_str()));
        let done = self.engine.post_body(&path, &body).await;
        done.map_err(|f| self.refused(f).with_context("network", spec.name.as_str()))
    }

    /// Puts a container on a network without looking at who else is there.
    pub(super) async fn put(&self, found: &Inspected, spec: &NetworkSpec, asked: &AttachmentSpec) -> Result<()> {
        let mut place = endpoint::place(&self.engine, &found.name()?, asked, spec, &BTreeMap::new(), &BTreeSet::new())?;
        place.interface.clone_from(&asked.interface);
        self.connect(found, spec, &place).await
    }

    /// The error of a change that the daemon refused.
    fn refused(&self, failure: Failure) -> Error {
        let words = failure.words().unwrap_or_default();
        if words.contains("marked for removal") || words.contains("is dead") {
            return Error::new(ErrorKind::WrongState, "the workload is being removed")
                .with_context("answer", words.to_owned());
        }
        if words.contains("private (none) mode") || words.contains("sharing network namespace") {
            return Error::new(ErrorKind::WrongState, "the workload has no network of its own to add others to")
                .with_context("answer", words.to_owned())
                .with_hint("make it again without --network none, host or container");
        }
        self.engine.error(failure)
    }

    async fn read_back(&self, found: &Inspected, raw: &Raw, spec: &NetworkSpec) -> Result<Attachment> {
        let name = found.name()?;
        let now = containers::by_id(&self.engine, &found.id).await.map_err(|f| self.engine.error(f))?;
        let now = now.ok_or_else(|| containers::missing(&name))?;
        self.there(&now, raw, spec).await?.ok_or_else(|| {
            Error::new(ErrorKind::Integrity, "the daemon says that it attached the workload, and does not show it")
                .with_context("workload", name.as_str())
                .with_context("network", spec.name.as_str())
        })
    }

    /// Takes a container off a network; `false` when it was not on it.
    pub(super) async fn disconnect(&self, id: &str, network: &NetworkName) -> Result<bool> {
        let body: Value = json!({"Container": id, "Force": false});
        match self.engine.post_body(&format!("/networks/{}/disconnect", part(network.as_str())), &body).await {
            Ok(()) => {
                self.tell(id, network, false);
                Ok(true)
            }
            Err(f) if f.words().is_some_and(|w| w.contains("is not connected to")) => Ok(false),
            Err(f) => Err(self.refused(f).with_context("network", network.as_str())),
        }
    }

    /// Detaches a workload; see the trait.
    pub(super) async fn part(&self, workload: &WorkloadName, network: &NetworkName) -> Result<DetachOutcome> {
        let found = containers::find(&self.engine, workload).await?;
        let known = network::of_pod(&self.engine).await?;
        if !known.contains_key(network) || found.networks.on(network).is_none() {
            return Ok(DetachOutcome::AlreadyDetached);
        }
        let done = self.disconnect(&found.id, network).await;
        let done = done.map_err(|e| e.with_context("workload", workload.as_str()))?;
        Ok(if done { DetachOutcome::Detached } else { DetachOutcome::AlreadyDetached })
    }
}

/// Checks that an attachment is what is asked for now; what is left open may be any.
///
/// # Errors
/// `Conflict` says in what it differs.
pub(super) fn same(there: &Attachment, asked: &AttachmentSpec) -> Result<()> {
    let ips: BTreeSet<IpAddr> = there.ips.iter().map(ipnet::IpNet::addr).collect();
    let mut differs = Vec::new();
    for (same, part) in [
        (there.mode == asked.mode, "mode"),
        (asked.interface.as_ref().is_none_or(|i| *i == there.interface), "interface name"),
        (asked.ips.is_empty() || asked.ips.iter().copied().collect::<BTreeSet<_>>() == ips, "addresses"),
        (asked.mac.is_none_or(|m| m == there.mac), "MAC address"),
        (asked.mtu.is_none_or(|m| m == there.mtu), "MTU"),
    ] {
        if !same {
            differs.push(part);
        }
    }
    if differs.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "the workload is attached to this network in another way")
        .with_context("workload", there.workload.as_str())
        .with_context("network", there.network.as_str())
        .with_context("differs in", differs.join(", "))
        .with_hint("detach it first"))
}

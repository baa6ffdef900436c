//! Isolation switched on and off. The daemon takes it only when a network is made: so the network is made
//! again, and its workloads are put back on it as they were, within a moment. What fails is undone. What a
//! program that is killed in that moment leaves is finished by whoever makes, isolates or looks for the network
//! next, or by `pod gc` ([`journal`]).

use super::endpoint::{self, Member};
use super::journal::{self, Journal, Left, Remake};
use super::{DockerNetworking, network};
use crate::containers;
use crate::engine::{Query, part};
use pod_core::{
    Attachment, AttachmentSpec, Enforcement, Error, ErrorKind, IsolateRequest, NetworkName, NetworkSpec, PolicyReport,
    ProbeOutcome, ProbeRequest, ProbeTarget, Result,
};
use std::time::Duration;

pub(super) async fn isolate(networking: &DockerNetworking, request: &IsolateRequest) -> Result<PolicyReport> {
    resume(networking, &request.network).await?;
    let (_, old) = networking.existing(&request.network).await?;
    let new = old.clone().with_isolated(request.isolated);
    if old != new {
        // What can't be is refused before anything is touched.
        network::wanted(&new, networking.plugin, networking.engine.libpod.as_ref())?;
        let _turn = networking.turn.clone().lock_owned().await;
        remake(networking, &old, &new).await?;
    }
    evidence(networking, &new).await
}

/// Finishes what somebody left of a network, if anybody did; whether.
///
/// # Errors
/// As the daemon says.
pub(super) async fn resume(networking: &DockerNetworking, network: &NetworkName) -> Result<bool> {
    match journal::of_network(networking, network).await? {
        Some(left) => finish(networking, &left).await.map(|()| true),
        None => Ok(false),
    }
}

/// Finishes what was left: the network is made if it is missing, and who was on it is put back.
pub(super) async fn finish(networking: &DockerNetworking, left: &Left) -> Result<()> {
    let Remake { old, new, before } = &left.remake;
    let _turn = networking.turn.clone().lock_owned().await;
    let there = network::of_pod(&networking.engine).await?.remove(&old.name).map(|(_, spec)| spec);
    let spec = match there {
        None => {
            network::create(&networking.engine, new, &networking.owner, networking.plugin).await?;
            Some(new)
        }
        Some(there) => [old, new].into_iter().find(|spec| **spec == there),
    };
    // Who was on a network is not put on another of its name.
    if let Some(spec) = spec {
        put_back(networking, spec, before, Held::Skipped).await?;
    }
    journal::forget(networking, left).await
}

async fn remake(networking: &DockerNetworking, old: &NetworkSpec, new: &NetworkSpec) -> Result<()> {
    let engine = &networking.engine;
    let members: Vec<Member> =
        endpoint::members(engine).await?.into_iter().filter(|m| m.on(&old.name).is_some()).collect();
    let attachments = networking.all_attachments(None).await?.into_iter().filter(|a| a.network == old.name);
    let of = |a: &Attachment| members.iter().find(|m| m.name() == a.workload.as_str()).map(|m| m.id.clone());
    let before: Vec<(String, Attachment)> = attachments.filter_map(|a| Some((of(&a)?, a))).collect();
    if before.len() != members.len() {
        let names: Vec<String> = members.iter().map(Member::name).collect();
        return Err(Error::new(
            ErrorKind::Conflict,
            "a container on the network has an address that POD can't put back",
        )
        .with_context("network", old.name.as_str())
        .with_context("containers", names.join(", "))
        .with_hint("take the containers that POD did not put there off the network first"));
    }
    let remake = Remake { old: old.clone(), new: new.clone(), before };
    let journal = Journal::begin(networking, &remake).await?;
    let before = &remake.before;
    let done = async {
        for member in &members {
            networking.disconnect(&member.id, &old.name).await?;
        }
        remove(networking, &old.name).await?;
        network::create(engine, new, &networking.owner, networking.plugin).await?;
        put_back(networking, new, before, Held::Refused).await
    };
    let Err(error) = done.await else { return journal.end(engine).await };
    // Back to what it was, from wherever it stopped.
    let undone = async {
        let there = network::of_pod(engine).await?.remove(&old.name).map(|(_, spec)| spec);
        if there.as_ref() != Some(old) {
            if there.is_some() {
                for member in endpoint::members(engine).await?.iter().filter(|m| m.on(&old.name).is_some()) {
                    networking.disconnect(&member.id, &old.name).await?;
                }
                remove(networking, &old.name).await?;
            }
            network::create(engine, old, &networking.owner, networking.plugin).await?;
        }
        put_back(networking, old, before, Held::Refused).await
    };
    // What is not undone stays written down.
    let undone = match undone.await {
        Ok(()) => journal.end(engine).await,
        Err(left) => Err(left),
    };
    Err(match undone {
        Ok(()) => error,
        Err(left) => error
            .with_context("not undone", left.to_string())
            .with_hint("do it again, or `pod gc`: who was on the network is written down"),
    })
}

async fn remove(networking: &DockerNetworking, name: &NetworkName) -> Result<()> {
    let done = networking.engine.delete(&format!("/networks/{}", part(name.as_str())), Query::new()).await;
    done.map_err(|f| networking.engine.error(f).with_context("network", name.as_str()))
}

/// What becomes of one whose address somebody else has by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Refused,
    Skipped,
}

/// Attaches workloads as they were; those that are gone since have no need of it.
async fn put_back(
    networking: &DockerNetworking,
    spec: &NetworkSpec,
    before: &[(String, Attachment)],
    held: Held,
) -> Result<()> {
    for (id, a) in before {
        let found = match containers::find(&networking.engine, &a.workload).await {
            Ok(found) if found.id == *id => found,
            // Another of its name was never on it.
            Ok(_) => continue,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if found.networks.on(&spec.name).is_some() {
            continue;
        }
        match networking.put(&found, spec, &as_it_was(networking, a)).await {
            Err(e) if held == Held::Skipped && endpoint::is_held(&e) => {
                tracing::warn!(error = %e, workload = %a.workload, network = %spec.name, "it is not put back");
            }
            done => done?,
        }
    }
    Ok(())
}

/// What to ask for to get an attachment again as it was.
pub(super) fn as_it_was(networking: &DockerNetworking, a: &Attachment) -> AttachmentSpec {
    let mut spec = AttachmentSpec::new(a.network.clone());
    spec.ips = a.ips.iter().map(ipnet::IpNet::addr).collect();
    spec.mac = endpoint::takes_mac_later(&networking.engine).then_some(a.mac);
    spec.interface = endpoint::takes_names(&networking.engine).then(|| a.interface.clone());
    spec
}

/// What is known of a network's isolation: what the daemon made, and where two workloads run that can be
/// asked, whether one reaches the other.
async fn evidence(networking: &DockerNetworking, spec: &NetworkSpec) -> Result<PolicyReport> {
    let made = match (spec.uplink.is_some(), spec.isolated) {
        (false, true) => "the daemon's firewall drops what its workloads send each other",
        (false, false) => "its workloads are joined by a bridge",
        (true, true) => "its interfaces are private macvlans, which send nothing to each other",
        (true, false) => "its interfaces send to each other",
    };
    let mut evidence = vec![format!("the network was made so: {made}")];
    let mut running = Vec::new();
    for a in networking.all_attachments(None).await?.into_iter().filter(|a| a.network == spec.name) {
        if running.len() < 2 && containers::find(&networking.engine, &a.workload).await.is_ok_and(|f| f.is_running()) {
            running.push(a);
        }
    }
    let [from, to] = &running[..] else {
        evidence.push("fewer than two of its workloads run: none could be asked".into());
        return Ok(PolicyReport::new(Enforcement::Enforced, evidence));
    };
    let Some(ip) = to.ips.first().map(ipnet::IpNet::addr) else {
        return Ok(PolicyReport::new(Enforcement::Enforced, evidence));
    };
    let target = ProbeTarget::new(ip).with_interface(from.interface.clone());
    let request = ProbeRequest::new(from.workload.clone(), vec![target]).with_timeout(Duration::from_secs(1));
    let outcome = networking.ask(request).await?.pop();
    let enforcement = match (&outcome, spec.isolated) {
        (Some(ProbeOutcome::Reached(_)), true) => Enforcement::NotEnforced,
        // Silence is no proof that the others are not joined: the one asked may not answer.
        _ => Enforcement::Enforced,
    };
    let said = match outcome {
        Some(ProbeOutcome::Reached(_)) => "reaches".to_owned(),
        Some(ProbeOutcome::Unknown(why)) => format!("could not be asked ({why}) whether it reaches"),
        _ => "does not reach".to_owned(),
    };
    evidence.push(format!("{} {said} {} at {ip}", from.workload, to.workload));
    Ok(PolicyReport::new(enforcement, evidence))
}

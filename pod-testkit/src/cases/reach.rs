//! What reaches what, and what cuts it off.

use super::network::{SUBNET, verified, vlan};
use crate::case::{address, cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::{
    AttachMode, AttachmentSpec, DetachRequest, Enforcement, ErrorKind, IsolateRequest, Labels, PolicyReport,
    PolicyRule, PolicySpec, ProbeOutcome, ProbeRequest, ProbeTarget, StopRequest, WorkloadName,
};
use std::net::IpAddr;

cases! { "network":
    one_network_reaches [Create, Networks, VlanAccess, FixedIp, Probe];
    another_vlan_does_not [Create, Networks, VlanAccess, FixedIp, Probe, OverlappingSubnets];
    another_subnet_does_not [Create, Networks, VlanAccess, FixedIp, Probe];
    a_moved_one_reaches_its_new_neighbours [Create, Networks, VlanAccess, FixedIp, Probe, OverlappingSubnets, HotAttach];
    probes_come_in_order [Create, Networks, VlanAccess, FixedIp, Probe];
    probes_need_a_running_workload [Create, Networks, Probe];
    a_stopped_one_does_not_answer [Create, StartStop, Networks, VlanAccess, FixedIp, Probe];
    an_interface_is_chosen [Create, Networks, VlanAccess, FixedIp, Probe, OverlappingSubnets];
    isolation_cuts_off_and_joins [Create, Networks, VlanAccess, FixedIp, Probe, Isolate];
    a_network_can_be_isolated_from_the_start [Create, Networks, VlanAccess, FixedIp, Probe, Isolate];
    isolation_of_nothing_is_not_found [Networks, Isolate];
    rules_allow_and_deny [Create, Networks, VlanAccess, FixedIp, Probe, Policy, Labels];
    rules_are_replaced [Create, Networks, VlanAccess, FixedIp, Probe, Policy, Labels];
    rules_of_nothing_are_not_found [Networks, Policy];
    a_trunk_carries_its_vlans [Create, Networks, VlanAccess, VlanTrunk, FixedIp, Probe];
}

async fn probe(lab: &Lab, from: &WorkloadName, to: &[IpAddr]) -> Result<Vec<ProbeOutcome>, Failure> {
    let targets = to.iter().map(|ip| ProbeTarget::new(*ip)).collect();
    let request = ProbeRequest::new(from.clone(), targets).with_timeout(lab.ms(400));
    Ok(lab.networking()?.probe(request).await?)
}

/// Fails unless an address is reached, or is not.
pub(super) async fn reaches(lab: &Lab, from: &WorkloadName, to: IpAddr, expected: bool) -> Outcome {
    // An address that was just configured may take a moment (duplicate address detection, RFC 4862).
    for _ in 0..10 {
        match probe(lab, from, &[to]).await?.as_slice() {
            [outcome] if outcome.reached() == expected => return Ok(()),
            [ProbeOutcome::Unknown(why)] => {
                return Err(Failure::new(format!("the probe of {to} could not be made: {why}")));
            }
            [outcome] if !expected => {
                return Err(Failure::new(format!("{from} reaches {to}, and should not: {outcome:?}")));
            }
            [_] => tokio::time::sleep(lab.ms(100)).await,
            other => return Err(Failure::new(format!("one target gave {} outcomes", other.len()))),
        }
    }
    Err(Failure::new(format!("{from} does not reach {to}")))
}

async fn one_network_reaches(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let a = lab.attached(&[(&network, Some("10.231.0.10"))]).await?;
    let b = lab.attached(&[(&network, Some("10.231.0.11"))]).await?;
    reaches(lab, &a, address("10.231.0.11")?, true).await?;
    reaches(lab, &b, address("10.231.0.10")?, true).await?;
    reaches(lab, &a, address("10.231.0.10")?, true).await?;
    reaches(lab, &a, address("10.231.0.99")?, false).await
}

async fn another_vlan_does_not(lab: &Lab) -> Outcome {
    let red = lab.network(Some(101), SUBNET).await?.spec.name;
    let blue = lab.network(Some(102), SUBNET).await?.spec.name;
    let r = [lab.attached(&[(&red, Some("10.231.0.11"))]).await?, lab.attached(&[(&red, Some("10.231.0.12"))]).await?];
    let b =
        [lab.attached(&[(&blue, Some("10.231.0.21"))]).await?, lab.attached(&[(&blue, Some("10.231.0.22"))]).await?];
    // Each is reached by its own, so that silence means a wall and not a corpse.
    reaches(lab, &r[0], address("10.231.0.12")?, true).await?;
    reaches(lab, &b[0], address("10.231.0.22")?, true).await?;
    for (from, to) in [(&r[0], "10.231.0.21"), (&r[1], "10.231.0.22"), (&b[0], "10.231.0.11"), (&b[1], "10.231.0.12")] {
        reaches(lab, from, address(to)?, false).await?;
    }
    verified(lab, &red).await?;
    verified(lab, &blue).await
}

async fn another_subnet_does_not(lab: &Lab) -> Outcome {
    let red = lab.network(Some(101), SUBNET).await?.spec.name;
    let blue = lab.network(Some(102), "10.232.0.0/24").await?.spec.name;
    let a = lab.attached(&[(&red, Some("10.231.0.11"))]).await?;
    let b = lab.attached(&[(&blue, Some("10.232.0.21"))]).await?;
    reaches(lab, &a, address("10.232.0.21")?, false).await?;
    reaches(lab, &b, address("10.231.0.11")?, false).await?;
    // One on both reaches both, and joins them for nobody else.
    let both = lab.attached(&[(&red, Some("10.231.0.30")), (&blue, Some("10.232.0.30"))]).await?;
    reaches(lab, &both, address("10.231.0.11")?, true).await?;
    reaches(lab, &both, address("10.232.0.21")?, true).await?;
    reaches(lab, &a, address("10.232.0.21")?, false).await
}

async fn a_moved_one_reaches_its_new_neighbours(lab: &Lab) -> Outcome {
    let red = lab.network(Some(101), SUBNET).await?.spec.name;
    let blue = lab.network(Some(102), SUBNET).await?.spec.name;
    let r = lab.attached(&[(&red, Some("10.231.0.11"))]).await?;
    let b = lab.attached(&[(&blue, Some("10.231.0.21"))]).await?;
    let moving = lab.attached(&[(&blue, Some("10.231.0.30"))]).await?;
    let ip = address("10.231.0.30")?;
    reaches(lab, &b, ip, true).await?;
    reaches(lab, &r, ip, false).await?;
    lab.networking()?.detach(DetachRequest::new(moving.clone(), blue)).await?;
    reaches(lab, &b, ip, false).await?;
    super::network::attach(lab, &moving, AttachmentSpec::new(red).with_ip(ip)).await?;
    reaches(lab, &r, ip, true).await?;
    reaches(lab, &b, ip, false).await
}

async fn probes_come_in_order(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let a = lab.attached(&[(&network, Some("10.231.0.10"))]).await?;
    for ip in ["10.231.0.11", "10.231.0.13"] {
        lab.attached(&[(&network, Some(ip))]).await?;
        reaches(lab, &a, address(ip)?, true).await?;
    }
    // The last is nobody's (RFC 5737).
    let targets = ["10.231.0.11", "10.231.0.12", "10.231.0.13", "10.231.0.14", "198.51.100.1"];
    let targets = targets.iter().map(|ip| address(ip)).collect::<Result<Vec<_>, _>>()?;
    let outcomes = probe(lab, &a, &targets).await?;
    let reached: Vec<_> = outcomes.iter().map(ProbeOutcome::reached).collect();
    ensure_eq!(reached, [true, false, true, false, false], "what was reached");
    // A platform that gives each workload a default route of its own sends it on, and hears nothing.
    let told = matches!(outcomes[4], ProbeOutcome::Refused(_) | ProbeOutcome::NoAnswer);
    ensure!(told, "an address without a route gave {:?}", outcomes[4]);
    ensure_eq!(probe(lab, &a, &[]).await?.len(), 0, "the outcomes of no target");
    Ok(())
}

async fn probes_need_a_running_workload(lab: &Lab) -> Outcome {
    let idle = lab.idle().await?;
    let target = || Ok::<_, Failure>(vec![ProbeTarget::new(address("10.231.0.1")?)]);
    let probed = lab.networking()?.probe(ProbeRequest::new(idle, target()?)).await;
    expect_error(probed, ErrorKind::WrongState, "a probe from one that does not run")?;
    let probed = lab.networking()?.probe(ProbeRequest::new(lab.name()?, target()?)).await;
    expect_error(probed, ErrorKind::NotFound, "a probe from one that is not there")?;
    Ok(())
}

async fn a_stopped_one_does_not_answer(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let a = lab.attached(&[(&network, Some("10.231.0.10"))]).await?;
    let b = lab.attached(&[(&network, Some("10.231.0.11"))]).await?;
    let ip = address("10.231.0.11")?;
    reaches(lab, &a, ip, true).await?;
    lab.backend().stop(StopRequest::new(b.clone()).with_grace(std::time::Duration::ZERO)).await?;
    reaches(lab, &a, ip, false).await?;
    lab.backend().start(pod_core::StartRequest::new(b)).await?;
    reaches(lab, &a, ip, true).await
}

async fn an_interface_is_chosen(lab: &Lab) -> Outcome {
    // One workload on two networks with the same subnet: the interface tells which.
    let red = lab.network(Some(101), SUBNET).await?.spec.name;
    let blue = lab.network(Some(102), SUBNET).await?.spec.name;
    let both = lab.attached(&[(&red, Some("10.231.0.10")), (&blue, Some("10.231.0.20"))]).await?;
    lab.attached(&[(&red, Some("10.231.0.11"))]).await?;
    lab.attached(&[(&blue, Some("10.231.0.21"))]).await?;
    let found = super::network::attachments_of(lab, &both).await?;
    let by =
        |network: &pod_core::NetworkName| found.iter().find(|a| a.network == *network).map(|a| a.interface.clone());
    let (Some(by_red), Some(by_blue)) = (by(&red), by(&blue)) else {
        return Err(Failure::new(format!("the attachments are {found:?}")));
    };
    for (interface, ip, expected) in [
        (&by_red, "10.231.0.11", true),
        (&by_red, "10.231.0.21", false),
        (&by_blue, "10.231.0.11", false),
        (&by_blue, "10.231.0.21", true),
    ] {
        let target = ProbeTarget::new(address(ip)?).with_interface(interface.clone());
        let request = ProbeRequest::new(both.clone(), vec![target]).with_timeout(lab.ms(600));
        let outcome = lab.networking()?.probe(request).await?;
        ensure_eq!(outcome[0].reached(), expected, "whether {ip} is reached by {interface}: {outcome:?}");
    }
    Ok(())
}

/// Two workloads on a network, each with its address.
async fn pair(lab: &Lab, network: &pod_core::NetworkName) -> Result<[(WorkloadName, IpAddr); 2], Failure> {
    pair_in(lab, network, "10.231.0").await
}

/// As [`pair`], with addresses that begin so.
async fn pair_in(
    lab: &Lab,
    network: &pod_core::NetworkName,
    begin: &str,
) -> Result<[(WorkloadName, IpAddr); 2], Failure> {
    let (one, other) = (format!("{begin}.10"), format!("{begin}.11"));
    let a = lab.attached(&[(network, Some(&one))]).await?;
    let b = lab.attached(&[(network, Some(&other))]).await?;
    Ok([(a, address(&one)?), (b, address(&other)?)])
}

/// Whether two workloads reach each other, both ways.
async fn both_ways(lab: &Lab, pair: &[(WorkloadName, IpAddr); 2], expected: bool) -> Outcome {
    reaches(lab, &pair[0].0, pair[1].1, expected).await?;
    reaches(lab, &pair[1].0, pair[0].1, expected).await
}

async fn isolation_cuts_off_and_joins(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let control = lab.network(Some(102), "10.232.0.0/24").await?.spec.name;
    let isolated = pair(lab, &network).await?;
    let others = pair_in(lab, &control, "10.232.0").await?;
    both_ways(lab, &isolated, true).await?;
    for wanted in [true, true, false] {
        let report = lab.networking()?.isolate(IsolateRequest::new(network.clone(), wanted)).await?;
        let listed = lab.networking()?.list().await?.into_iter().find(|n| n.spec.name == network);
        ensure_eq!(listed.map(|n| n.spec.isolated), Some(wanted), "what the list says of isolation");
        if !acts(lab, &report, !wanted)? {
            both_ways(lab, &isolated, true).await?;
            continue;
        }
        both_ways(lab, &isolated, !wanted).await?;
        verified(lab, &network).await?;
    }
    both_ways(lab, &others, true).await?;
    if !lab.target().enforces {
        return Ok(());
    }
    // Who comes later is cut off too.
    lab.networking()?.isolate(IsolateRequest::new(network.clone(), true)).await?;
    let late = lab.attached(&[(&network, Some("10.231.0.12"))]).await?;
    reaches(lab, &late, isolated[0].1, false).await?;
    both_ways(lab, &others, true).await
}

async fn a_network_can_be_isolated_from_the_start(lab: &Lab) -> Outcome {
    let spec = lab.network_spec(Some(101), &[SUBNET])?.with_isolated(true);
    let network = spec.name.clone();
    lab.networking()?.create(spec).await?;
    let pair = pair(lab, &network).await?;
    if lab.target().enforces {
        both_ways(lab, &pair, false).await?;
        verified(lab, &network).await?;
    } else {
        both_ways(lab, &pair, true).await?;
        not_verified(lab, &network).await?;
    }
    lab.networking()?.isolate(IsolateRequest::new(network, false)).await?;
    both_ways(lab, &pair, true).await
}

async fn isolation_of_nothing_is_not_found(lab: &Lab) -> Outcome {
    let isolated = lab.networking()?.isolate(IsolateRequest::new(lab.network_name()?, true)).await;
    expect_error(isolated, ErrorKind::NotFound, "isolating a network that is not there")?;
    Ok(())
}

/// Whether what a report is about acts. Where nothing enforces it, the report has to say so; what lets
/// everything pass (`open`) acts everywhere.
fn acts(lab: &Lab, report: &PolicyReport, open: bool) -> Result<bool, Failure> {
    ensure!(!report.evidence.is_empty(), "there is no evidence");
    let expected = if lab.target().enforces || open { Enforcement::Enforced } else { Enforcement::NotEnforced };
    ensure_eq!(report.enforcement, expected, "whether it acts, by {:?}", report.evidence);
    Ok(lab.target().enforces)
}

/// Fails unless a read-back finds that isolation does not act.
async fn not_verified(lab: &Lab, network: &pod_core::NetworkName) -> Outcome {
    if lab.has(pod_core::Capability::Verify) {
        let report = lab.networking()?.verify(pod_core::VerifyRequest::of(network.clone())).await?;
        ensure!(!report.ok(), "isolation that does not act is found to be as it should be");
    }
    Ok(())
}

fn label(role: &str) -> Labels {
    [("role".to_owned(), role.to_owned())].into()
}

/// A web and a database workload, and one of neither.
async fn roles(lab: &Lab, network: &pod_core::NetworkName) -> Result<Vec<(WorkloadName, IpAddr)>, Failure> {
    let mut all = Vec::new();
    for (role, ip) in [("web", "10.231.0.10"), ("db", "10.231.0.11"), ("other", "10.231.0.12")] {
        let attachment = AttachmentSpec::new(network.clone()).with_ip(address(ip)?);
        let spec = lab.spec()?.with_label("role", role).with_attachment(attachment);
        all.push((lab.start(spec).await?.spec.name, address(ip)?));
    }
    Ok(all)
}

async fn rules_allow_and_deny(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let all = roles(lab, &network).await?;
    let [web, db, other] = &all[..] else { return Err(Failure::new("three workloads")) };
    let rules =
        vec![PolicyRule::new(label("web"), label("db"), true), PolicyRule::new(Labels::new(), label("db"), false)];
    let report = lab.networking()?.apply_policy(PolicySpec::new(network.clone(), rules, true)).await?;
    if !acts(lab, &report, false)? {
        return reaches(lab, &other.0, db.1, true).await;
    }
    reaches(lab, &web.0, db.1, true).await?;
    reaches(lab, &other.0, db.1, false).await?;
    reaches(lab, &other.0, web.1, true).await?;
    verified(lab, &network).await
}

async fn rules_are_replaced(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let all = roles(lab, &network).await?;
    let [web, db, other] = &all[..] else { return Err(Failure::new("three workloads")) };
    let apply =
        async |rules, default| lab.networking()?.apply_policy(PolicySpec::new(network.clone(), rules, default)).await;
    if !acts(lab, &apply(vec![], false).await?, false)? {
        reaches(lab, &web.0, db.1, true).await?;
        return acts(lab, &apply(vec![], true).await?, true).map(drop);
    }
    reaches(lab, &web.0, db.1, false).await?;
    apply(vec![PolicyRule::new(label("web"), Labels::new(), true)], false).await?;
    reaches(lab, &web.0, db.1, true).await?;
    reaches(lab, &other.0, db.1, false).await?;
    apply(vec![], true).await?;
    reaches(lab, &other.0, db.1, true).await?;
    verified(lab, &network).await
}

async fn rules_of_nothing_are_not_found(lab: &Lab) -> Outcome {
    let applied = lab.networking()?.apply_policy(PolicySpec::new(lab.network_name()?, vec![], true)).await;
    expect_error(applied, ErrorKind::NotFound, "rules for a network that is not there")?;
    Ok(())
}

async fn a_trunk_carries_its_vlans(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let a = lab.attached(&[(&network, Some("10.231.0.10"))]).await?;
    let trunk = async |ids: &[u16], ip: &str| {
        let ids = ids.iter().map(|id| vlan(*id)).collect::<Result<Vec<_>, _>>()?;
        let spec = AttachmentSpec::new(network.clone()).with_mode(AttachMode::Trunk(ids)).with_ip(address(ip)?);
        Ok::<_, Failure>(lab.start(lab.spec()?.with_attachment(spec)).await)
    };
    let router = trunk(&[101, 102], "10.231.0.11").await??.spec.name;
    reaches(lab, &router, address("10.231.0.10")?, true).await?;
    reaches(lab, &a, address("10.231.0.11")?, true).await?;
    // Each VLAN by its own sub-interface; without a tag nothing passes.
    for (interface, expected) in [("eth0.101", true), ("eth0.102", false), ("eth0", false)] {
        let target = ProbeTarget::new(address("10.231.0.10")?).with_interface(interface.parse()?);
        let request = ProbeRequest::new(router.clone(), vec![target]).with_timeout(lab.ms(400));
        let outcome = lab.networking()?.probe(request).await?;
        ensure_eq!(outcome[0].reached(), expected, "whether it is reached by {interface}: {outcome:?}");
    }
    // A trunk that does not carry the network's VLAN has no address there.
    let made = trunk(&[102], "10.231.0.12").await?;
    expect_error(made, ErrorKind::InvalidInput, "an address of a VLAN that the trunk does not carry")?;
    // Without one, its frames without a tag, and those of a VLAN it was not given, go nowhere.
    let spec = AttachmentSpec::new(network.clone()).with_mode(AttachMode::Trunk(vec![vlan(102)?]));
    let stranger = lab.start(lab.spec()?.with_attachment(spec)).await?.spec.name;
    reaches(lab, &stranger, address("10.231.0.10")?, false).await?;
    verified(lab, &network).await
}

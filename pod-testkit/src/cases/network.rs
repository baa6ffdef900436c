//! Networks and attachments.

use crate::case::{address, cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use futures_util::StreamExt;
use pod_core::{
    AttachMode, AttachNetworkRequest, Attachment, AttachmentFilter, AttachmentSpec, Capability, CreateNetworkOutcome,
    DetachOutcome, DetachRequest, ErrorKind, EventKind, EventsRequest, MacAddr, NetworkName, NetworkSpec,
    RemoveOutcome, RemoveRequest, Route, StartRequest, StopRequest, VerifyRequest, VlanId, WorkloadName,
};

cases! { "network":
    one_is_made_listed_and_removed [Networks];
    making_it_twice_finds_it [Networks];
    another_of_the_name_is_refused [Networks];
    removing_twice_is_already_absent [Networks];
    a_bad_network_is_refused [Networks];
    one_in_use_is_not_removed [Create, Networks, VlanAccess, HotAttach];
    an_attachment_is_as_asked [Create, Networks, VlanAccess, HotAttach, FixedIp, FixedMac, InterfaceName, AttachmentMtu];
    attaching_twice_finds_it [Create, Networks, VlanAccess, HotAttach];
    attaching_in_another_way_is_refused [Create, Networks, VlanAccess, HotAttach, FixedIp];
    a_running_one_is_attached_and_detached [Create, Networks, VlanAccess, HotAttach];
    detaching_twice_is_already_detached [Create, Networks, VlanAccess, HotAttach];
    what_is_missing_is_not_found [Create, Networks, VlanAccess, HotAttach];
    attachments_come_with_the_workload [Create, Networks, VlanAccess, FixedIp];
    a_failed_attachment_makes_no_workload [Create, Networks, VlanAccess];
    attachments_are_listed [Create, Networks, VlanAccess];
    attachments_survive_a_restart [Create, StartStop, Networks, VlanAccess];
    attachments_go_with_the_workload [Create, Networks, VlanAccess];
    changes_are_events [Create, Networks, VlanAccess, HotAttach, Events];
    a_trunk_is_as_asked [Create, Networks, VlanAccess, VlanTrunk, HotAttach];
    routes_are_kept [Create, Networks, VlanAccess, Routes];
    name_servers_are_written [Create, Networks, VlanAccess, HotAttach, Dns, Exec];
}

pub(super) const SUBNET: &str = "10.231.0.0/24";

pub(super) fn vlan(id: u16) -> Result<VlanId, Failure> {
    Ok(VlanId::try_from(id)?)
}

pub(super) async fn attach(
    lab: &Lab,
    workload: &WorkloadName,
    attachment: AttachmentSpec,
) -> pod_core::Result<Attachment> {
    lab.networking()?.attach(AttachNetworkRequest::new(workload.clone(), attachment)).await
}

pub(super) async fn attachments_of(lab: &Lab, workload: &WorkloadName) -> pod_core::Result<Vec<Attachment>> {
    lab.networking()?.attachments(AttachmentFilter::default().with_workload(workload.clone())).await
}

/// Fails unless a read-back of the network finds nothing wrong, where the backend can.
pub(super) async fn verified(lab: &Lab, network: &NetworkName) -> Outcome {
    if lab.has(Capability::Verify) {
        let report = lab.networking()?.verify(VerifyRequest::of(network.clone())).await?;
        ensure!(
            report.ok(),
            "the read-back found: {}",
            report.findings.iter().map(|f| f.to_string()).collect::<Vec<_>>().join("; ")
        );
        ensure!(report.checked > 0, "the read-back compared nothing");
    }
    Ok(())
}

async fn listed(lab: &Lab, name: &NetworkName) -> Result<Option<pod_core::Network>, Failure> {
    Ok(lab.networking()?.list().await?.into_iter().find(|n| n.spec.name == *name))
}

async fn one_is_made_listed_and_removed(lab: &Lab) -> Outcome {
    let mut spec = lab.network_spec(None, &[SUBNET])?.with_reserved(address("10.231.0.1")?).with_label("app", "web");
    if lab.has(Capability::VlanAccess) {
        spec = spec.with_vlan(vlan(1234)?);
    }
    if lab.has(Capability::Mtu) {
        spec = spec.with_mtu(1400);
    }
    let made = match lab.networking()?.create(spec.clone()).await? {
        CreateNetworkOutcome::Created(network) => network,
        other => return Err(Failure::new(format!("a new network: {other:?}"))),
    };
    ensure_eq!(made.spec, spec, "what was made");
    ensure_eq!(made.attachments, 0, "how many are attached to a new one");
    ensure!(!made.id.is_empty(), "it has no id");
    let found = listed(lab, &spec.name).await?.ok_or_else(|| Failure::new("it is not listed"))?;
    ensure_eq!(found, made, "what is listed");
    verified(lab, &spec.name).await?;
    let names: Vec<_> = lab.networking()?.list().await?.into_iter().map(|n| n.spec.name).collect();
    ensure!(names.is_sorted(), "the list is not in the order of the names: {names:?}");
    ensure_eq!(lab.networking()?.remove(&spec.name).await?, RemoveOutcome::Removed, "the removal");
    ensure!(listed(lab, &spec.name).await?.is_none(), "a removed network is listed");
    Ok(())
}

async fn making_it_twice_finds_it(lab: &Lab) -> Outcome {
    let spec = lab.network_spec(None, &[SUBNET])?;
    lab.networking()?.create(spec.clone()).await?;
    match lab.networking()?.create(spec.clone()).await? {
        CreateNetworkOutcome::AlreadyExists(found) => ensure_eq!(found.spec, spec, "what was found"),
        other @ CreateNetworkOutcome::Created(_) => return Err(Failure::new(format!("it was made twice: {other:?}"))),
    }
    let count = lab.networking()?.list().await?.iter().filter(|n| n.spec.name == spec.name).count();
    ensure_eq!(count, 1, "how many are listed");
    Ok(())
}

async fn another_of_the_name_is_refused(lab: &Lab) -> Outcome {
    let spec = lab.network_spec(None, &[SUBNET])?;
    lab.networking()?.create(spec.clone()).await?;
    let other =
        NetworkSpec::new(spec.name.clone()).with_subnet("10.232.0.0/24".parse().map_err(|_| Failure::new("net"))?);
    let made = lab.networking()?.create(other).await;
    expect_error(made, ErrorKind::AlreadyExists, "another network of the name")?;
    let found = listed(lab, &spec.name).await?.ok_or_else(|| Failure::new("the first one is gone"))?;
    ensure_eq!(found.spec, spec, "the first one");
    Ok(())
}

async fn removing_twice_is_already_absent(lab: &Lab) -> Outcome {
    let network = lab.network(None, SUBNET).await?.spec.name;
    ensure_eq!(lab.networking()?.remove(&network).await?, RemoveOutcome::Removed, "the first removal");
    ensure_eq!(lab.networking()?.remove(&network).await?, RemoveOutcome::AlreadyAbsent, "the second removal");
    let never = lab.networking()?.remove(&lab.network_name()?).await?;
    ensure_eq!(never, RemoveOutcome::AlreadyAbsent, "the removal of what never was");
    Ok(())
}

async fn a_bad_network_is_refused(lab: &Lab) -> Outcome {
    for subnet in ["10.231.0.1/24", "10.231.0.0/31", "224.0.0.0/8", "127.0.0.0/8", "0.0.0.0/0"] {
        let made = lab.networking()?.create(lab.network_spec(None, &[subnet])?).await;
        expect_error(made, ErrorKind::InvalidInput, subnet)?;
    }
    let made = lab.networking()?.create(lab.network_spec(None, &["10.231.0.0/16", "10.231.1.0/24"])?).await;
    expect_error(made, ErrorKind::InvalidInput, "subnets that overlap")?;
    let spec = lab.network_spec(None, &[SUBNET])?;
    let made = lab.networking()?.create(spec.clone().with_mtu(20)).await;
    expect_error(made, ErrorKind::InvalidInput, "an MTU of 20")?;
    let made = lab.networking()?.create(spec.with_reserved(address("10.99.0.1")?)).await;
    expect_error(made, ErrorKind::InvalidInput, "a reserved address outside")?;
    let left: Vec<_> = lab.networking()?.list().await?;
    ensure!(!left.iter().any(|n| n.spec.name.as_str().starts_with(lab.prefix())), "a refused network was made");
    Ok(())
}

async fn one_in_use_is_not_removed(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, _) = lab.running().await?;
    attach(lab, &workload, AttachmentSpec::new(network.clone())).await?;
    let removed = lab.networking()?.remove(&network).await;
    let e = expect_error(removed, ErrorKind::Busy, "the removal of a network in use")?;
    ensure!(e.to_string().contains(workload.as_str()), "the error does not name the workload: {e}");
    let found = listed(lab, &network).await?.ok_or_else(|| Failure::new("it is gone"))?;
    ensure_eq!(found.attachments, 1, "how many are attached");
    lab.networking()?.detach(DetachRequest::new(workload, network.clone())).await?;
    ensure_eq!(lab.networking()?.remove(&network).await?, RemoveOutcome::Removed, "the removal when it is free");
    Ok(())
}

async fn an_attachment_is_as_asked(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, connection) = lab.running().await?;
    let mac: MacAddr = "02:5e:10:00:00:77".parse()?;
    let spec = AttachmentSpec::new(network.clone())
        .with_interface("lan7".parse()?)
        .with_ip(address("10.231.0.77")?)
        .with_mac(mac)
        .with_mtu(1380);
    let made = attach(lab, &workload, spec).await?;
    ensure_eq!((&made.workload, &made.network), (&workload, &network), "workload and network");
    ensure_eq!(made.interface.as_str(), "lan7", "the interface");
    ensure_eq!(made.mode, AttachMode::Access, "the mode");
    ensure_eq!(made.vlan, Some(vlan(101)?), "the VLAN");
    ensure_eq!(made.ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.231.0.77/24"], "the addresses");
    ensure_eq!((made.mac, made.mtu), (mac, 1380), "MAC address and MTU");
    ensure_eq!(attachments_of(lab, &workload).await?, std::slice::from_ref(&made), "what is listed");
    ensure_eq!(lab.backend().inspect(&workload).await?.attachments, [made], "what the workload shows");
    verified(lab, &network).await?;
    // From inside, where the image shows it.
    if lab.has(Capability::Exec) {
        let script = "d=/sys/class/net/lan7; [ -e $d ] || exit 0; cat $d/mtu $d/address";
        let inside = lab.sh(&*connection, script).await?;
        ensure!(inside.is_empty() || inside == "1380\n02:5e:10:00:00:77\n", "inside, the interface has {inside:?}");
    }
    Ok(())
}

async fn attaching_twice_finds_it(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, _) = lab.running().await?;
    let first = attach(lab, &workload, AttachmentSpec::new(network.clone())).await?;
    let second = attach(lab, &workload, AttachmentSpec::new(network)).await?;
    ensure_eq!(second, first, "the second attachment");
    ensure_eq!(attachments_of(lab, &workload).await?.len(), 1, "how many there are");
    Ok(())
}

async fn attaching_in_another_way_is_refused(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let other = lab.network(Some(102), "10.232.0.0/24").await?.spec.name;
    let (workload, _) = lab.running().await?;
    let with = |ip: &str| Ok::<_, Failure>(AttachmentSpec::new(network.clone()).with_ip(address(ip)?));
    let named = lab.has(Capability::InterfaceName);
    let mut asked = with("10.231.0.10")?;
    if named {
        asked = asked.with_interface("lan0".parse()?);
    }
    let first = attach(lab, &workload, asked).await?;
    let second = attach(lab, &workload, with("10.231.0.11")?).await;
    expect_error(second, ErrorKind::Conflict, "the same network with another address")?;
    if named {
        let taken = attach(lab, &workload, AttachmentSpec::new(other).with_interface("lan0".parse()?)).await;
        expect_error(taken, ErrorKind::Conflict, "another network with the same interface")?;
    }
    ensure_eq!(attachments_of(lab, &workload).await?, [first], "what is attached");
    verified(lab, &network).await
}

async fn a_running_one_is_attached_and_detached(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, _) = lab.running().await?;
    ensure_eq!(attachments_of(lab, &workload).await?.len(), 0, "how many there are at first");
    for _ in 0..2 {
        attach(lab, &workload, AttachmentSpec::new(network.clone())).await?;
        ensure_eq!(attachments_of(lab, &workload).await?.len(), 1, "how many there are");
        verified(lab, &network).await?;
        let outcome = lab.networking()?.detach(DetachRequest::new(workload.clone(), network.clone())).await?;
        ensure_eq!(outcome, DetachOutcome::Detached, "the detach");
        ensure_eq!(attachments_of(lab, &workload).await?.len(), 0, "how many there are after it");
        verified(lab, &network).await?;
    }
    ensure!(lab.backend().inspect(&workload).await?.state.is_running(), "the workload ended");
    Ok(())
}

async fn detaching_twice_is_already_detached(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, _) = lab.running().await?;
    let detach = async || lab.networking()?.detach(DetachRequest::new(workload.clone(), network.clone())).await;
    ensure_eq!(detach().await?, DetachOutcome::AlreadyDetached, "the detach of what never was");
    attach(lab, &workload, AttachmentSpec::new(network.clone())).await?;
    ensure_eq!(detach().await?, DetachOutcome::Detached, "the first detach");
    ensure_eq!(detach().await?, DetachOutcome::AlreadyDetached, "the second detach");
    Ok(())
}

async fn what_is_missing_is_not_found(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, _) = lab.running().await?;
    let nobody = lab.name()?;
    let attached = attach(lab, &nobody, AttachmentSpec::new(network.clone())).await;
    expect_error(attached, ErrorKind::NotFound, "attaching a workload that is not there")?;
    let attached = attach(lab, &workload, AttachmentSpec::new(lab.network_name()?)).await;
    expect_error(attached, ErrorKind::NotFound, "attaching to a network that is not there")?;
    let detached = lab.networking()?.detach(DetachRequest::new(nobody, network.clone())).await;
    expect_error(detached, ErrorKind::NotFound, "detaching a workload that is not there")?;
    if lab.has(Capability::Verify) {
        let report = lab.networking()?.verify(VerifyRequest::of(lab.network_name()?)).await;
        expect_error(report, ErrorKind::NotFound, "verifying a network that is not there")?;
    }
    ensure_eq!(attachments_of(lab, &workload).await?.len(), 0, "how many attachments were made");
    Ok(())
}

async fn attachments_come_with_the_workload(lab: &Lab) -> Outcome {
    let a = lab.network(Some(101), SUBNET).await?.spec.name;
    let b = lab.network(Some(102), "10.232.0.0/24").await?.spec.name;
    let workload = lab.attached(&[(&a, Some("10.231.0.9")), (&b, Some("10.232.0.9"))]).await?;
    let found = lab.backend().inspect(&workload).await?.attachments;
    let brief: Vec<_> = found.iter().map(|x| (&x.network, x.ips[0].to_string())).collect();
    ensure_eq!(brief, [(&a, "10.231.0.9/24".to_owned()), (&b, "10.232.0.9/24".to_owned())], "the attachments");
    // A platform whose workloads come with an interface of their own counts on from there.
    ensure!(found[0].interface < found[1].interface, "the interfaces are {found:?}");
    ensure!(found[0].mac != found[1].mac, "both have the MAC address {}", found[0].mac);
    verified(lab, &a).await?;
    verified(lab, &b).await
}

async fn a_failed_attachment_makes_no_workload(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let good = AttachmentSpec::new(network.clone());
    let spec = lab.spec()?.with_attachment(good).with_attachment(AttachmentSpec::new(lab.network_name()?));
    let name = spec.name.clone();
    let made = lab.start(spec).await;
    expect_error(made, ErrorKind::NotFound, "a workload on a network that is not there")?;
    expect_error(lab.backend().inspect(&name).await, ErrorKind::NotFound, "what it left")?;
    let left = lab.networking()?.attachments(AttachmentFilter::default().with_network(network.clone())).await?;
    ensure_eq!(left, [], "the attachments that it left");
    verified(lab, &network).await
}

async fn attachments_are_listed(lab: &Lab) -> Outcome {
    let a = lab.network(Some(101), SUBNET).await?.spec.name;
    let b = lab.network(Some(102), "10.232.0.0/24").await?.spec.name;
    let both = lab.attached(&[(&a, None), (&b, None)]).await?;
    let one = lab.attached(&[(&a, None)]).await?;
    let networking = lab.networking()?;
    let count = async |filter| Ok::<_, Failure>(networking.attachments(filter).await?.len());
    let all = AttachmentFilter::default;
    ensure_eq!(count(all().with_network(a.clone())).await?, 2, "on the first network");
    ensure_eq!(count(all().with_network(b.clone())).await?, 1, "on the second network");
    ensure_eq!(count(all().with_workload(both.clone())).await?, 2, "of the first workload");
    ensure_eq!(count(all().with_workload(one.clone()).with_network(b)).await?, 0, "of the second on the second");
    let every = networking.attachments(all()).await?;
    let keys: Vec<_> = every.iter().map(|x| (x.workload.clone(), x.interface.clone())).collect();
    ensure!(keys.is_sorted(), "the list is not in order: {keys:?}");
    ensure_eq!(listed(lab, &a).await?.map(|n| n.attachments), Some(2), "what the network counts");
    Ok(())
}

async fn attachments_survive_a_restart(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let workload = lab.attached(&[(&network, None)]).await?;
    let before = attachments_of(lab, &workload).await?;
    let grace = std::time::Duration::ZERO;
    lab.backend().stop(StopRequest::new(workload.clone()).with_grace(grace)).await?;
    ensure_eq!(attachments_of(lab, &workload).await?, before, "the attachments while it is stopped");
    lab.backend().start(StartRequest::new(workload.clone())).await?;
    ensure_eq!(attachments_of(lab, &workload).await?, before, "the attachments when it runs again");
    verified(lab, &network).await
}

async fn attachments_go_with_the_workload(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let workload = lab.attached(&[(&network, None)]).await?;
    lab.backend().remove(RemoveRequest::new(workload.clone()).with_force(true)).await?;
    ensure_eq!(attachments_of(lab, &workload).await?, [], "the attachments of a removed workload");
    verified(lab, &network).await?;
    ensure_eq!(lab.networking()?.remove(&network).await?, RemoveOutcome::Removed, "the removal of the network");
    Ok(())
}

async fn changes_are_events(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, _) = lab.running().await?;
    let mut events = lab.backend().events(EventsRequest::of(workload.clone())).await?;
    attach(lab, &workload, AttachmentSpec::new(network.clone())).await?;
    lab.networking()?.detach(DetachRequest::new(workload, network.clone())).await?;
    for expected in [EventKind::Attached(network.clone()), EventKind::Detached(network.clone())] {
        let event = lab.within(5000, "the event", events.next()).await?;
        let event = event.ok_or_else(|| Failure::new("the event stream ended"))??;
        ensure_eq!(event.kind, expected, "the event");
    }
    Ok(())
}

async fn a_trunk_is_as_asked(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, _) = lab.running().await?;
    let mode = AttachMode::Trunk(vec![vlan(101)?, vlan(102)?]);
    let made = attach(lab, &workload, AttachmentSpec::new(network.clone()).with_mode(mode.clone())).await?;
    ensure_eq!(made.mode, mode, "the mode");
    ensure_eq!(attachments_of(lab, &workload).await?, [made], "what is listed");
    verified(lab, &network).await?;
    let (other, _) = lab.running().await?;
    for (what, ids) in [("no VLAN", vec![]), ("one VLAN twice", vec![vlan(101)?, vlan(101)?])] {
        let spec = AttachmentSpec::new(network.clone()).with_mode(AttachMode::Trunk(ids));
        expect_error(attach(lab, &other, spec).await, ErrorKind::InvalidInput, what)?;
    }
    ensure_eq!(attachments_of(lab, &other).await?, [], "what the refused trunks left");
    Ok(())
}

async fn routes_are_kept(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let net = |s: &str| s.parse().map_err(|_| Failure::new(s));
    let routes = [
        Route { to: net("10.240.0.0/16")?, via: Some(address("10.231.0.254")?) },
        Route { to: net("10.241.0.0/16")?, via: None },
    ];
    let with = |routes: &[Route]| {
        let start = AttachmentSpec::new(network.clone());
        routes.iter().cloned().fold(start, AttachmentSpec::with_route)
    };
    let workload = lab.start(lab.spec()?.with_attachment(with(&routes))).await?.spec.name;
    let found = attachments_of(lab, &workload).await?;
    ensure_eq!(found.len(), 1, "how many attachments there are");
    ensure_eq!(found[0].routes[..], routes[..], "the routes");
    verified(lab, &network).await?;
    let bad = [Route { to: net("10.242.0.0/16")?, via: Some(address("192.168.99.1")?) }];
    let spec = lab.spec()?.with_attachment(with(&bad));
    let made = lab.made(spec).await;
    expect_error(made, ErrorKind::InvalidInput, "a next hop outside the subnet")?;
    Ok(())
}

async fn name_servers_are_written(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let spec = AttachmentSpec::new(network.clone()).with_dns(address("10.231.0.53")?);
    let workload = lab.start(lab.spec()?.with_attachment(spec)).await?.spec.name;
    let connection = lab.backend().connect(&workload).await?;
    let servers = lab.sh(&*connection, "cat /etc/resolv.conf").await?;
    ensure!(
        servers.lines().any(|l| l.split_whitespace().eq(["nameserver", "10.231.0.53"])),
        "the file holds {servers:?}"
    );
    ensure_eq!(attachments_of(lab, &workload).await?[0].dns, [address("10.231.0.53")?], "the servers listed");
    lab.networking()?.detach(DetachRequest::new(workload, network)).await?;
    let servers = lab.sh(&*connection, "cat /etc/resolv.conf").await?;
    ensure!(!servers.contains("10.231.0.53"), "after the detach the file holds {servers:?}");
    Ok(())
}

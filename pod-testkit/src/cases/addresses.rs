//! Addresses are handed out, kept and freed.

use super::network::{SUBNET, attach, attachments_of, verified};
use crate::case::{address, cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use ipnet::IpNet;
use pod_core::{AttachmentSpec, Capability, DetachRequest, ErrorKind, RemoveRequest};
use std::collections::BTreeSet;
use std::net::IpAddr;

cases! { "network":
    free_addresses_are_handed_out [Create, Networks, VlanAccess];
    eight_at_once_get_eight_addresses [Create, Networks, VlanAccess];
    an_address_is_taken_once [Create, Networks, VlanAccess, HotAttach, FixedIp];
    an_address_outside_is_refused [Create, Networks, VlanAccess, HotAttach, FixedIp];
    a_network_can_be_full [Create, Networks, VlanAccess, HotAttach];
    a_detached_ones_address_is_free [Create, Networks, VlanAccess, HotAttach, FixedIp];
    a_removed_ones_address_is_free [Create, Networks, VlanAccess, FixedIp];
    a_refused_ones_address_is_free [Create, Networks, VlanAccess, HotAttach, FixedIp, InterfaceName];
    overlapping_networks_share_none [Create, Networks, VlanAccess, FixedIp, OverlappingSubnets];
    a_network_may_have_no_addresses [Create, Networks, VlanAccess, HotAttach, Unaddressed];
    an_mtu_is_chosen [Create, Networks, VlanAccess, HotAttach, Mtu];
    both_families_are_handed_out [Create, Networks, VlanAccess, Ipv6];
}

async fn free_addresses_are_handed_out(lab: &Lab) -> Outcome {
    let spec = lab.network_spec(Some(101), &["10.231.0.0/29"])?.with_reserved(address("10.231.0.1")?);
    let network = spec.name.clone();
    lab.networking()?.create(spec).await?;
    // .0 is the subnet's own, .1 is reserved, .7 is for broadcast.
    for expected in ["10.231.0.2/29", "10.231.0.3/29"] {
        let workload = lab.attached(&[(&network, None)]).await?;
        let found = attachments_of(lab, &workload).await?;
        ensure_eq!(found[0].ips.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected], "the address");
    }
    verified(lab, &network).await
}

async fn eight_at_once_get_eight_addresses(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let on = [(&network, None)];
    let each = (0..8).map(|_| lab.attached(&on)).collect::<Vec<_>>();
    let mut addresses = BTreeSet::new();
    let mut macs = BTreeSet::new();
    for workload in futures_util::future::join_all(each).await {
        for a in attachments_of(lab, &workload?).await? {
            addresses.extend(a.ips);
            macs.insert(a.mac);
        }
    }
    ensure_eq!((addresses.len(), macs.len()), (8, 8), "how many addresses and MAC addresses there are");
    verified(lab, &network).await
}

async fn an_address_is_taken_once(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let first = lab.attached(&[(&network, Some("10.231.0.10"))]).await?;
    let (second, _) = lab.running().await?;
    let spec = AttachmentSpec::new(network.clone()).with_ip(address("10.231.0.10")?);
    let e = expect_error(attach(lab, &second, spec).await, ErrorKind::Conflict, "an address that is taken")?;
    ensure!(e.to_string().contains("10.231.0.10"), "the error does not name the address: {e}");
    ensure_eq!(attachments_of(lab, &second).await?, [], "what the refused one has");
    ensure_eq!(attachments_of(lab, &first).await?.len(), 1, "what the first one has");
    verified(lab, &network).await
}

async fn an_address_outside_is_refused(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, _) = lab.running().await?;
    for ip in ["10.99.0.1", "10.231.0.0", "10.231.0.255", "fd00::1"] {
        let spec = AttachmentSpec::new(network.clone()).with_ip(address(ip)?);
        let kind = ErrorKind::InvalidInput;
        match expect_error(attach(lab, &workload, spec).await, kind, ip) {
            Err(_) if ip.contains(':') && !lab.has(Capability::Ipv6) => {} // refused for want of IPv6
            other => {
                other?;
            }
        }
    }
    let twice = AttachmentSpec::new(network.clone()).with_ip(address("10.231.0.5")?).with_ip(address("10.231.0.5")?);
    expect_error(attach(lab, &workload, twice).await, ErrorKind::InvalidInput, "an address given twice")?;
    ensure_eq!(attachments_of(lab, &workload).await?, [], "what the refused ones left");
    verified(lab, &network).await
}

async fn a_network_can_be_full(lab: &Lab) -> Outcome {
    // Four reserved and two free: some platforms keep an address of each subnet, a reserved one where there is one.
    let spec = lab.network_spec(Some(101), &["10.231.0.0/29"])?;
    let spec = (1..=4).try_fold(spec, |s, n| Ok::<_, Failure>(s.with_reserved(address(&format!("10.231.0.{n}"))?)))?;
    let network = spec.name.clone();
    lab.networking()?.create(spec).await?;
    let first = lab.attached(&[(&network, None)]).await?;
    lab.attached(&[(&network, None)]).await?;
    let (third, _) = lab.running().await?;
    let attached = attach(lab, &third, AttachmentSpec::new(network.clone())).await;
    let e = expect_error(attached, ErrorKind::Exhausted, "a third one in a subnet of two")?;
    ensure!(e.to_string().contains(network.as_str()), "the error does not name the network: {e}");
    ensure_eq!(attachments_of(lab, &third).await?, [], "what the refused one has");
    verified(lab, &network).await?;
    lab.networking()?.detach(DetachRequest::new(first, network.clone())).await?;
    attach(lab, &third, AttachmentSpec::new(network)).await?;
    Ok(())
}

async fn a_detached_ones_address_is_free(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let first = lab.attached(&[(&network, Some("10.231.0.10"))]).await?;
    lab.networking()?.detach(DetachRequest::new(first, network.clone())).await?;
    let second = lab.attached(&[(&network, Some("10.231.0.10"))]).await?;
    ensure_eq!(attachments_of(lab, &second).await?.len(), 1, "what the second one has");
    verified(lab, &network).await
}

async fn a_removed_ones_address_is_free(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    for _ in 0..2 {
        let workload = lab.attached(&[(&network, Some("10.231.0.10"))]).await?;
        lab.backend().remove(RemoveRequest::new(workload).with_force(true)).await?;
    }
    verified(lab, &network).await
}

async fn a_refused_ones_address_is_free(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let other = lab.network(Some(102), "10.232.0.0/24").await?.spec.name;
    let (first, _) = lab.running().await?;
    attach(lab, &first, AttachmentSpec::new(other).with_interface("lan0".parse()?)).await?;
    let spec = || Ok::<_, Failure>(AttachmentSpec::new(network.clone()).with_ip(address("10.231.0.10")?));
    let refused = attach(lab, &first, spec()?.with_interface("lan0".parse()?)).await;
    expect_error(refused, ErrorKind::Conflict, "an interface name that is taken")?;
    let (second, _) = lab.running().await?;
    attach(lab, &second, spec()?).await?;
    verified(lab, &network).await
}

async fn overlapping_networks_share_none(lab: &Lab) -> Outcome {
    let a = lab.network(Some(101), SUBNET).await?.spec.name;
    let b = lab.network(Some(102), SUBNET).await?.spec.name;
    let on_a = lab.attached(&[(&a, Some("10.231.0.10"))]).await?;
    let on_b = lab.attached(&[(&b, Some("10.231.0.10"))]).await?;
    for (workload, network) in [(&on_a, &a), (&on_b, &b)] {
        let found = attachments_of(lab, workload).await?;
        ensure_eq!(found.iter().map(|x| &x.network).collect::<Vec<_>>(), [network], "where it is attached");
        verified(lab, network).await?;
    }
    Ok(())
}

async fn a_network_may_have_no_addresses(lab: &Lab) -> Outcome {
    let spec = lab.network_spec(Some(101), &[])?;
    let network = spec.name.clone();
    lab.networking()?.create(spec).await?;
    let (workload, _) = lab.running().await?;
    let made = attach(lab, &workload, AttachmentSpec::new(network.clone())).await?;
    ensure_eq!(made.ips, Vec::<IpNet>::new(), "the addresses");
    verified(lab, &network).await
}

async fn an_mtu_is_chosen(lab: &Lab) -> Outcome {
    let spec = lab.network_spec(Some(101), &[SUBNET])?.with_mtu(1400);
    let network = spec.name.clone();
    lab.networking()?.create(spec).await?;
    let (workload, _) = lab.running().await?;
    let own = lab.has(Capability::AttachmentMtu);
    let asked: &[_] = if own { &[(None, 1400), (Some(1300), 1300), (Some(1400), 1400)] } else { &[(None, 1400)] };
    for &(asked, expected) in asked {
        let mut spec = AttachmentSpec::new(network.clone());
        spec.mtu = asked;
        ensure_eq!(attach(lab, &workload, spec).await?.mtu, expected, "the MTU when {asked:?} is asked for");
        verified(lab, &network).await?;
        lab.networking()?.detach(DetachRequest::new(workload.clone(), network.clone())).await?;
    }
    for bad in [20, 1401, 70_000].into_iter().filter(|_| own) {
        let spec = AttachmentSpec::new(network.clone()).with_mtu(bad);
        expect_error(attach(lab, &workload, spec).await, ErrorKind::InvalidInput, "an MTU out of range")?;
    }
    ensure_eq!(attachments_of(lab, &workload).await?, [], "what the refused ones left");
    Ok(())
}

async fn both_families_are_handed_out(lab: &Lab) -> Outcome {
    let spec = lab.network_spec(Some(101), &[SUBNET, "fd42:231::/64"])?;
    let network = spec.name.clone();
    lab.networking()?.create(spec).await?;
    let workload = lab.attached(&[(&network, None)]).await?;
    let ips = attachments_of(lab, &workload).await?[0].ips.clone();
    ensure_eq!(ips.len(), 2, "how many addresses there are");
    ensure!(ips[0].addr().is_ipv4() && ips[1].addr().is_ipv6(), "the addresses are {ips:?}");
    verified(lab, &network).await?;
    if lab.has(Capability::Probe) {
        let other = lab.attached(&[(&network, None)]).await?;
        for ip in attachments_of(lab, &other).await?[0].ips.iter().map(IpNet::addr) {
            super::reach::reaches(lab, &workload, ip, true).await?;
        }
    }
    let ip: IpAddr = address("fd42:231::77")?;
    if lab.has(Capability::FixedIp) {
        let fixed = lab.attached(&[(&network, Some("fd42:231::77"))]).await?;
        let ips = attachments_of(lab, &fixed).await?[0].ips.clone();
        ensure_eq!(ips.iter().map(IpNet::addr).collect::<Vec<_>>(), [ip], "a fixed address of one family");
    }
    Ok(())
}

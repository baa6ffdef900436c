//! Gives every attachment its addresses, once for the whole topology, the same each time.

use super::Topology;
use crate::{AttachMode, AttachmentSpec, Error, ErrorKind, NetworkName, NetworkSpec, Result, WorkloadName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The addresses of each workload on each network, in the order of its subnets.
pub(super) type Addresses = BTreeMap<(WorkloadName, NetworkName), Vec<IpAddr>>;

/// Addresses that are in use now.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) workload: WorkloadName,
    pub(super) network: NetworkName,
    pub(super) ips: Vec<IpAddr>,
    /// Whether the workload belongs to someone else, so that the addresses can't be had.
    pub(super) foreign: bool,
}

/// The addresses of every attachment: those asked for first; then each attachment keeps what it holds
/// now, if that still fits; the rest get the lowest free ones, in the order of the file.
///
/// # Errors
/// `Conflict` when an address asked for is held by a workload that is not the topology's; `Exhausted`
/// when a subnet is too small.
pub(super) fn allocate(topology: &Topology, held: &[Held]) -> Result<Addresses> {
    let mut by_network: BTreeMap<&NetworkName, Vec<(usize, usize)>> = BTreeMap::new();
    for (w, workload) in topology.workloads.iter().enumerate() {
        for (a, attachment) in workload.spec.attachments.iter().enumerate() {
            let network = topology.network(&attachment.network);
            if network.is_some_and(|n| is_addressed(&n.spec, attachment)) {
                by_network.entry(&attachment.network).or_default().push((w, a));
            }
        }
    }
    let mut out = Addresses::new();
    for (name, members) in by_network {
        let Some(network) = topology.network(name) else { continue };
        let held: Vec<&Held> = held.iter().filter(|h| h.network == *name).collect();
        let all = allocate_one(topology, &network.spec, &members, &held).map_err(|e| match e.kind() {
            ErrorKind::Exhausted => network.place.mark(e),
            _ => e,
        })?;
        out.extend(all.into_iter().map(|(workload, ips)| ((workload, name.clone()), ips)));
    }
    Ok(out)
}

/// Whether an attachment has addresses of its network: a trunk only when it carries the network's VLAN.
pub(super) fn is_addressed(network: &NetworkSpec, attachment: &AttachmentSpec) -> bool {
    match &attachment.mode {
        AttachMode::Trunk(ids) => network.vlan.is_some_and(|own| ids.contains(&own)),
        AttachMode::Access => true,
    }
}

fn allocate_one(
    topology: &Topology,
    network: &NetworkSpec,
    members: &[(usize, usize)],
    held: &[&Held],
) -> Result<Vec<(WorkloadName, Vec<IpAddr>)>> {
    let mut taken: BTreeMap<IpAddr, &WorkloadName> = BTreeMap::new();
    for h in held.iter().filter(|h| h.foreign) {
        taken.extend(h.ips.iter().map(|ip| (*ip, &h.workload)));
    }
    // Next hops are machines of their own unless a workload asks for the address.
    let mut hops = BTreeSet::new();
    for &(w, a) in members {
        let workload = &topology.workloads[w];
        let attachment = &workload.spec.attachments[a];
        hops.extend(attachment.routes.iter().filter_map(|r| r.via));
        for (n, ip) in attachment.ips.iter().enumerate() {
            if let Some(other) = taken.insert(*ip, &workload.spec.name) {
                let error = Error::new(ErrorKind::Conflict, format!("the address {ip} is in use by another workload"))
                    .with_context("network", network.name.as_str())
                    .with_context("workload", workload.spec.name.as_str())
                    .with_context("in use by", other.as_str())
                    .with_hint("choose another address, or detach the other workload");
                return Err(workload.ip_place(a, n).mark(error));
            }
        }
    }
    let mut given: Vec<Vec<Option<IpAddr>>> = Vec::new();
    for &(w, a) in members {
        let workload = &topology.workloads[w];
        let asked = &workload.spec.attachments[a].ips;
        if !asked.is_empty() {
            given.push(asked.iter().copied().map(Some).collect());
            continue;
        }
        let had: Vec<IpAddr> = held
            .iter()
            .filter(|h| !h.foreign && h.workload == workload.spec.name)
            .flat_map(|h| h.ips.iter().copied())
            .collect();
        let kept = network.subnets.iter().map(|subnet| {
            let fits =
                |ip: &&IpAddr| subnet.contains(*ip) && network.assignable(**ip).is_ok() && !taken.contains_key(ip);
            let ip = had.iter().find(fits).copied();
            if let Some(ip) = ip {
                taken.insert(ip, &workload.spec.name);
            }
            ip
        });
        given.push(kept.collect());
    }
    for (s, subnet) in network.subnets.iter().enumerate() {
        let mut free = subnet
            .hosts()
            .filter(|ip| !hops.contains(ip) && !taken.contains_key(ip) && network.assignable(*ip).is_ok());
        for (i, &(w, a)) in members.iter().enumerate() {
            if !topology.workloads[w].spec.attachments[a].ips.is_empty() || given[i][s].is_some() {
                continue;
            }
            given[i][s] = Some(free.next().ok_or_else(|| {
                let room = subnet.hosts().filter(|ip| network.assignable(*ip).is_ok()).count();
                Error::new(ErrorKind::Exhausted, format!("the subnet {subnet} is too small for the workloads on it"))
                    .with_context("network", network.name.as_str())
                    .with_context("workloads", members.len().to_string())
                    .with_context("addresses", room.to_string())
                    .with_hint("use a shorter prefix length, or fewer workloads")
            })?);
        }
    }
    let name = |&(w, _): &(usize, usize)| topology.workloads[w].spec.name.clone();
    Ok(members.iter().map(name).zip(given.into_iter().map(|g| g.into_iter().flatten().collect())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(workloads: &str) -> Topology {
        let text = format!(
            "networks:\n  n: {{ subnet: 10.0.0.0/29 }}\n  m: {{ subnets: [10.0.0.0/29, 'fd00::/64'] }}\n\
             workloads: {{ {workloads} }}"
        );
        Topology::parse(&text, "t").expect("topology")
    }

    fn held(all: &[(&str, &str, bool)]) -> Vec<Held> {
        all.iter()
            .map(|(workload, ip, foreign)| Held {
                workload: WorkloadName::new(*workload).expect("name"),
                network: NetworkName::new("n").expect("name"),
                ips: vec![ip.parse().expect("ip")],
                foreign: *foreign,
            })
            .collect()
    }

    /// The addresses on `n`, as `workload last-octet`.
    fn on_n(topology: &Topology, held: &[Held]) -> Vec<String> {
        let all = allocate(topology, held).expect("addresses");
        let on = all.iter().filter(|((_, n), _)| n.as_str() == "n");
        on.map(|((w, _), ips)| format!("{w} {}", ips[0].to_string().trim_start_matches("10.0.0."))).collect()
    }

    #[test]
    fn the_lowest_free_ones_go_in_the_order_of_the_file() {
        let t = topology("c: { networks: [n] }, a: { networks: [n] }, b: { networks: { n: { ip: 10.0.0.1 } } }");
        assert_eq!(on_n(&t, &[]), ["a 3", "b 1", "c 2"]);
        assert_eq!(on_n(&t, &[]), on_n(&t, &[]));
    }

    #[test]
    fn what_is_held_is_kept_unless_it_is_asked_for_by_another() {
        let t = topology("new: { networks: [n] }, a: { networks: [n] }, b: { networks: { n: { ip: 10.0.0.5 } } }");
        assert_eq!(on_n(&t, &held(&[("a", "10.0.0.4", false)])), ["a 4", "b 5", "new 1"]);
        assert_eq!(on_n(&t, &held(&[("a", "10.0.0.5", false)])), ["a 2", "b 5", "new 1"], "b asks for it");
        assert_eq!(on_n(&t, &held(&[("a", "10.0.9.4", false)])), ["a 2", "b 5", "new 1"], "it no longer fits");
        // What a workload held that is gone from the file is free; what others hold is not.
        let gone = held(&[("gone", "10.0.0.1", false), ("other", "10.0.0.2", true)]);
        assert_eq!(on_n(&t, &gone), ["a 3", "b 5", "new 1"]);
    }

    #[test]
    fn an_address_that_another_holds_is_a_conflict() {
        let t = topology("a: { networks: { n: { ip: 10.0.0.5 } } }");
        let e = allocate(&t, &held(&[("other", "10.0.0.5", true)])).expect_err("taken");
        assert_eq!(e.kind(), ErrorKind::Conflict);
        assert_eq!(
            e.to_string(),
            "the address 10.0.0.5 is in use by another workload (network: n, workload: a, in use by: other, \
             place: line 4, column 40); choose another address, or detach the other workload"
        );
        let all: Vec<_> = (1..=6).map(|i| ("other", format!("10.0.0.{i}"))).collect();
        let all: Vec<_> = all.iter().map(|(w, ip)| (*w, ip.as_str(), true)).collect();
        let t = topology("a: { networks: [n] }");
        assert_eq!(allocate(&t, &held(&all)).map_err(|e| e.kind()), Err(ErrorKind::Exhausted));
    }

    #[test]
    fn next_hops_are_not_handed_out_unless_asked_for() {
        let route = "routes: [{ to: 0.0.0.0/0, via: 10.0.0.1 }]";
        let t = topology(&format!("a: {{ networks: {{ n: {{ {route} }} }} }}"));
        assert_eq!(on_n(&t, &[]), ["a 2"]);
        let t = topology(&format!(
            "a: {{ networks: {{ n: {{ {route} }} }} }}, router: {{ networks: {{ n: {{ ip: 10.0.0.1 }} }} }}"
        ));
        assert_eq!(on_n(&t, &[]), ["a 2", "router 1"]);
    }

    #[test]
    fn every_subnet_gives_one() {
        let t = topology("a: { networks: [m] }, b: { networks: { m: { ip: 'fd00::9' } } }");
        let all = allocate(&t, &[]).expect("addresses");
        let ips: Vec<Vec<String>> = all.values().map(|v| v.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(ips, [vec!["10.0.0.1".to_owned(), "fd00::1".into()], vec!["fd00::9".into()]]);
    }
}

//! Gives every attachment its addresses, once for the whole topology, the same each time.

use super::Topology;
use crate::{Error, ErrorKind, NetworkName, NetworkSpec, Result, WorkloadName};
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
            by_network.entry(&attachment.network).or_default().push((w, a));
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

//! Where what is there differs from what is wanted.

use super::desired::user_labels;
use crate::{Attachment, AttachmentSpec, NetworkSpec, WorkloadSpec};
use std::collections::BTreeSet;

/// The parts in which two specs of a network differ, as the file names them.
pub(super) fn network_differences(actual: &NetworkSpec, wanted: &NetworkSpec) -> Vec<&'static str> {
    let sorted = |ips: &[std::net::IpAddr]| ips.iter().copied().collect::<BTreeSet<_>>();
    [
        ("vlan", actual.vlan != wanted.vlan),
        ("subnets", actual.subnets != wanted.subnets),
        ("reserved", sorted(&actual.reserved) != sorted(&wanted.reserved)),
        ("uplink", actual.uplink != wanted.uplink),
        ("mtu", actual.mtu != wanted.mtu),
        ("isolated", actual.isolated != wanted.isolated),
        ("labels", !user_labels(&actual.labels).eq(user_labels(&wanted.labels))),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

/// The parts in which two specs of a workload differ, as the file names them; `what it is made from`
/// when they can't be told.
pub(super) fn workload_differences(actual: &WorkloadSpec, wanted: &WorkloadSpec) -> Vec<&'static str> {
    let parts: Vec<&'static str> = [
        ("image", actual.image != wanted.image),
        ("command", actual.command != wanted.command),
        ("env", actual.env != wanted.env),
        ("cwd", actual.cwd != wanted.cwd),
        ("user", actual.user != wanted.user),
        ("labels", !user_labels(&actual.labels).eq(user_labels(&wanted.labels))),
        ("limits", actual.limits != wanted.limits),
        ("tty", actual.tty != wanted.tty),
        ("keep_alive", actual.keep_alive != wanted.keep_alive),
        ("mounts", actual.mounts != wanted.mounts),
        ("ports", actual.ports != wanted.ports),
        ("restart", actual.restart != wanted.restart),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect();
    if parts.is_empty() { vec!["what it is made from"] } else { parts }
}

/// The parts in which an attachment differs from what is asked for. A MAC address or an interface name
/// that is not asked for may be any.
pub(super) fn attachment_differences(
    actual: &Attachment,
    wanted: &AttachmentSpec,
    network_mtu: Option<u32>,
) -> Vec<&'static str> {
    let addresses: BTreeSet<_> = actual.ips.iter().map(ipnet::IpNet::addr).collect();
    let sorted = |routes: &[crate::Route]| {
        let mut all: Vec<_> = routes.iter().map(|r| (r.to, r.via)).collect();
        all.sort();
        all
    };
    [
        ("trunk", actual.mode != wanted.mode),
        // Where none is asked for there is none to choose: no subnet, or a trunk without it.
        ("ip", !wanted.ips.is_empty() && addresses != wanted.ips.iter().copied().collect()),
        ("mac", wanted.mac.is_some_and(|m| m != actual.mac)),
        ("interface", wanted.interface.as_ref().is_some_and(|i| *i != actual.interface)),
        ("mtu", wanted.mtu.or(network_mtu).is_some_and(|m| m != actual.mtu)),
        ("routes", sorted(&actual.routes) != sorted(&wanted.routes)),
        ("dns", actual.dns != wanted.dns),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

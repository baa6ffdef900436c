//! What reach a topology expects.

use super::addresses::is_addressed;
use super::{Expect, Topology, TopologyWorkload};
use crate::{AttachMode, AttachmentSpec, VlanId, WorkloadName};
use std::collections::BTreeMap;

/// The workloads of the matrix: those on a network, in the order of the file.
pub(super) fn members(topology: &Topology) -> Vec<WorkloadName> {
    let networked = topology.workloads.iter().filter(|w| !w.spec.attachments.is_empty());
    networked.map(|w| w.spec.name.clone()).collect()
}

/// What is expected of every ordered pair of [`members`].
///
/// Two workloads reach each other when they share a network that is not isolated. Where there is no
/// address to ask or to ask from, or where they meet only on a trunk, whose tags are the workload's own business,
/// nothing is expected. Rules of the file come after.
pub(super) fn expectations(topology: &Topology) -> BTreeMap<(WorkloadName, WorkloadName), Expect> {
    let networked: Vec<&TopologyWorkload> =
        topology.workloads.iter().filter(|w| !w.spec.attachments.is_empty()).collect();
    let mut out = BTreeMap::new();
    for from in &networked {
        for to in networked.iter().filter(|to| to.spec.name != from.spec.name) {
            out.insert((from.spec.name.clone(), to.spec.name.clone()), by_rule(topology, from, to));
        }
    }
    for rule in &topology.reach {
        if let Some(expect) = out.get_mut(&(rule.from.clone(), rule.to.clone())) {
            *expect = rule.expect;
        }
    }
    out
}

fn by_rule(topology: &Topology, from: &TopologyWorkload, to: &TopologyWorkload) -> Expect {
    let mut meet = false;
    let mut addressed = false;
    for theirs in &to.spec.attachments {
        let Some(network) = topology.network(&theirs.network).map(|n| &n.spec) else { continue };
        addressed |= has_address(topology, theirs);
        for mine in &from.spec.attachments {
            if mine.mode == AttachMode::Access && theirs.mode == AttachMode::Access {
                let joined = mine.network == theirs.network && !network.isolated;
                if joined && has_address(topology, theirs) {
                    return Expect::Reached;
                }
                meet |= joined;
            } else {
                meet |= mine.network == theirs.network
                    || tags(topology, mine).any(|v| tags(topology, theirs).any(|t| t == v));
            }
        }
    }
    let asks = from.spec.attachments.iter().any(|a| has_address(topology, a));
    if meet || !addressed || !asks { Expect::Any } else { Expect::Blocked }
}

fn has_address(topology: &Topology, attachment: &AttachmentSpec) -> bool {
    let network = topology.network(&attachment.network).map(|n| &n.spec);
    network.is_some_and(|n| !n.subnets.is_empty() && is_addressed(n, attachment))
}

/// The VLANs an attachment is on.
fn tags<'a>(topology: &'a Topology, attachment: &'a AttachmentSpec) -> impl Iterator<Item = VlanId> + use<'a> {
    let own = topology.network(&attachment.network).and_then(|n| n.spec.vlan);
    let (access, trunk) = match &attachment.mode {
        AttachMode::Access => (own, [].as_slice()),
        AttachMode::Trunk(ids) => (None, ids.as_slice()),
    };
    access.into_iter().chain(trunk.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_a_network_that_is_not_isolated_is_reach() {
        let t = Topology::parse(
            "networks:\n  a: { subnet: 10.0.0.0/24 }\n  b: { subnet: 10.0.0.0/24 }\n  bare: {}\n  \
             quiet: { subnet: 10.2.0.0/24, isolated: true }\n\
             workloads:\n  w1: { networks: [a] }\n  w2: { networks: [a, b] }\n  w3: { networks: [b] }\n  \
             l1: { networks: [bare] }\n  l2: { networks: [bare] }\n  \
             q1: { networks: [quiet] }\n  q2: { networks: [quiet] }\n  alone: {}\n\
             reach: [{ from: w3, to: w1, expect: reached }, { from: w1, to: w2, expect: any }]",
            "t",
        )
        .expect("topology");
        assert_eq!(members(&t).len(), 7, "a workload on no network is in no pair");
        let all = expectations(&t);
        assert_eq!(all.len(), 42);
        let name = |n: &str| WorkloadName::new(n).expect("name");
        for (from, to, expect) in [
            ("w2", "w1", Expect::Reached),
            ("w1", "w2", Expect::Any),
            ("w1", "w3", Expect::Blocked),
            ("w3", "w1", Expect::Reached),
            ("q1", "q2", Expect::Blocked),
            ("l1", "l2", Expect::Any),
            ("l1", "w1", Expect::Any),
            ("w1", "l1", Expect::Any),
        ] {
            assert_eq!(all[&(name(from), name(to))], expect, "{from} {to}");
        }
    }

    #[test]
    fn what_meets_on_a_trunk_is_not_expected() {
        let t = Topology::parse(
            "networks:\n  a: { vlan: 5, subnet: 10.0.0.0/24 }\n  b: { vlan: 6, subnet: 10.1.0.0/24 }\n  \
             c: { vlan: 7, subnet: 10.2.0.0/24 }\n\
             workloads:\n  router: { networks: { a: { trunk: [5, 6] } } }\n  a1: { networks: [a] }\n  \
             b1: { networks: [b] }\n  c1: { networks: [c] }",
            "t",
        )
        .expect("topology");
        let all = expectations(&t);
        let name = |n: &str| WorkloadName::new(n).expect("name");
        for (other, expect) in [("a1", Expect::Any), ("b1", Expect::Any), ("c1", Expect::Blocked)] {
            assert_eq!(all[&(name("router"), name(other))], expect, "{other}");
            assert_eq!(all[&(name(other), name("router"))], expect, "{other}");
        }
        assert_eq!(all[&(name("a1"), name("b1"))], Expect::Blocked);
    }
}

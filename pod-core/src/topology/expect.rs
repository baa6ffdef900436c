//! What reach a topology expects.

use super::{Expect, Topology};
use crate::WorkloadName;
use std::collections::BTreeMap;

/// The workloads of the matrix: those on a network, in the order of the file.
pub(super) fn members(topology: &Topology) -> Vec<WorkloadName> {
    let networked = topology.workloads.iter().filter(|w| !w.spec.attachments.is_empty());
    networked.map(|w| w.spec.name.clone()).collect()
}

/// What is expected of every ordered pair of [`members`].
///
/// Two workloads reach each other when they share a network that is not isolated. Where there is no
/// address to ask, nothing is expected. Rules of the file come after.
pub(super) fn expectations(topology: &Topology) -> BTreeMap<(WorkloadName, WorkloadName), Expect> {
    let mut out = BTreeMap::new();
    for from in topology.workloads.iter().filter(|w| !w.spec.attachments.is_empty()) {
        for to in topology.workloads.iter().filter(|w| !w.spec.attachments.is_empty()) {
            if from.spec.name == to.spec.name {
                continue;
            }
            let mut addressed = false;
            let mut joined = false;
            let mut joined_and_addressed = false;
            for attachment in &to.spec.attachments {
                let Some(network) = topology.network(&attachment.network) else { continue };
                let has_address = !network.spec.subnets.is_empty();
                let shared = from.spec.attachments.iter().any(|a| a.network == attachment.network);
                addressed |= has_address;
                joined |= shared && !network.spec.isolated;
                joined_and_addressed |= shared && !network.spec.isolated && has_address;
            }
            let expect = match (joined, joined_and_addressed, addressed) {
                (_, true, _) => Expect::Reached,
                (true, false, _) | (false, false, false) => Expect::Any,
                (false, false, true) => Expect::Blocked,
            };
            out.insert((from.spec.name.clone(), to.spec.name.clone()), expect);
        }
    }
    for rule in &topology.reach {
        if let Some(expect) = out.get_mut(&(rule.from.clone(), rule.to.clone())) {
            *expect = rule.expect;
        }
    }
    out
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
            ("l1", "w1", Expect::Blocked),
            ("w1", "l1", Expect::Any),
        ] {
            assert_eq!(all[&(name(from), name(to))], expect, "{from} {to}");
        }
    }
}

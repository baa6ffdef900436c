//! Whatever is edited into whatever else, it comes true.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A workload of a random topology: whether its spec is the other one, and its networks, each with a
/// fixed address or not.
type Member = (bool, BTreeMap<u8, bool>);

/// A random topology: of each network whether it is the other one and whether it is isolated.
#[derive(Debug, Clone)]
struct Any {
    networks: Vec<(bool, bool)>,
    workloads: BTreeMap<u8, Member>,
}

fn any_topology() -> impl Strategy<Value = Any> {
    let networks = prop::collection::vec((any::<bool>(), prop::bool::weighted(0.2)), 1..4);
    networks.prop_flat_map(|networks| {
        let on = prop::collection::btree_map(0..u8::try_from(networks.len()).expect("few"), any::<bool>(), 0..3);
        let workloads = prop::collection::btree_map(0..7u8, (prop::bool::weighted(0.2), on), 1..7);
        workloads.prop_map(move |workloads| Any { networks: networks.clone(), workloads })
    })
}

impl Any {
    fn text(&self) -> String {
        let mut out = String::from("networks:\n");
        for (n, (other, isolated)) in self.networks.iter().enumerate() {
            let vlan = 10 + n + if *other { 100 } else { 0 };
            writeln!(out, "  n{n}: {{ vlan: {vlan}, subnet: 10.0.0.0/24, isolated: {isolated} }}").expect("write");
        }
        out += "workloads:\n";
        for (w, (other, on)) in &self.workloads {
            let env = if *other { "env: { A: b }, " } else { "" };
            let on: Vec<String> = on
                .iter()
                .map(|(n, fixed)| {
                    format!("n{n}: {}", if *fixed { format!("{{ ip: 10.0.0.{} }}", 100 + w) } else { "{}".into() })
                })
                .collect();
            writeln!(out, "  w{w}: {{ {env}networks: {{ {} }} }}", on.join(", ")).expect("write");
        }
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any topology can be edited into any other: after one `up` nothing is left to do, no address is
    /// used twice in a network, and a workload whose own part did not change is still the same one.
    #[test]
    fn any_edit_comes_true(before in any_topology(), after in any_topology()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let lab = Lab::new();
            lab.up(&before.text()).await;
            let ids = lab.ids().await;
            let verification = lab.up(&after.text()).await;
            prop_assert!(verification.findings.is_empty(), "{verification}");
            let all = lab.attachments().await;
            let used: BTreeSet<(&str, &str)> = all
                .iter()
                .map(|line| {
                    let words: Vec<&str> = line.split(' ').collect();
                    (words[1], words[2])
                })
                .collect();
            prop_assert_eq!(used.len(), all.len(), "{:?}", all);
            prop_assert_eq!(all.len(), after.workloads.values().map(|(_, on)| on.len()).sum::<usize>());
            let now = lab.ids().await;
            prop_assert_eq!(now.len(), after.workloads.len());
            for (w, (other, _)) in &after.workloads {
                if let Some((was, _)) = before.workloads.get(w) {
                    let name = format!("w{w}");
                    prop_assert_eq!(now[&name] == ids[&name], was == other, "{}", name);
                }
            }
            lab.deploy(&after.text()).down(&()).await.expect("down");
            prop_assert!(lab.is_empty().await);
            Ok(())
        })?;
    }
}

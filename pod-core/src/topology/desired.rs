//! What a topology wants at its sites: specs with addresses, names and labels filled in.

use super::addresses::{self, Held};
use super::deployment::{Deployment, Found, Site};
use super::hosts::Names;
use crate::{LABEL_SPEC_HASH, LABEL_TOPOLOGY, NetworkSpec, OWN_LABEL_PREFIX, Result, WorkloadSpec};
use sha2::Digest;
use std::collections::BTreeMap;

/// What the topology wants, in its order.
#[derive(Debug)]
pub(super) struct Desired {
    /// For each site, by their indexes.
    pub(super) networks: Vec<BTreeMap<usize, NetworkSpec>>,
    pub(super) workloads: Vec<WorkloadSpec>,
}

impl Deployment {
    /// The specs to make, every address fixed. What is there now keeps its addresses.
    pub(super) fn desired(&self, found: &[Found]) -> Result<Desired> {
        let topology = &self.topology;
        let mut held = Vec::new();
        for (site, found) in self.sites.iter().zip(found) {
            for a in &found.attachments {
                if site.networks.values().any(|n| n.name == a.network) {
                    held.push(Held {
                        workload: a.workload.clone(),
                        network: a.network.clone(),
                        ips: a.ips.iter().map(ipnet::IpNet::addr).collect(),
                        foreign: !found.owns(&a.workload, topology),
                    });
                }
            }
        }
        let given = addresses::allocate(topology, &held)?;
        let label = topology.name.as_str();
        let labelled =
            |spec: &NetworkSpec| spec.clone().with_label(LABEL_TOPOLOGY, label).with_label(LABEL_SPEC_HASH, hash(spec));
        let at = |site: &Site| site.networks.iter().map(|(n, spec)| (*n, labelled(spec))).collect();
        let networks = self.sites.iter().map(at).collect();
        let mut workloads: Vec<WorkloadSpec> = Vec::new();
        for workload in &topology.workloads {
            let hash = workload_hash(&workload.spec);
            let mut spec = workload.spec.clone().with_label(LABEL_TOPOLOGY, label).with_label(LABEL_SPEC_HASH, hash);
            for attachment in &mut spec.attachments {
                if let Some(ips) = given.get(&(spec.name.clone(), attachment.network.clone())) {
                    attachment.ips.clone_from(ips);
                }
            }
            workloads.push(spec);
        }
        for i in 0..workloads.len() {
            let names = names_known(&workloads[i], &workloads);
            workloads[i].hosts.extend(names);
        }
        Ok(Desired { networks, workloads })
    }
}

/// Every workload that shares a network with this one, by its first address on the first such network.
fn names_known(workload: &WorkloadSpec, all: &[WorkloadSpec]) -> Names {
    let mut names = Names::new();
    for mine in &workload.attachments {
        for other in all.iter().filter(|o| o.name != workload.name) {
            let theirs = other.attachments.iter().find(|a| a.network == mine.network);
            if let Some(ip) = theirs.and_then(|a| a.ips.first()) {
                names.entry(other.name.to_string()).or_insert(*ip);
            }
        }
    }
    names
}

/// The hash of what a workload is made from; its attachments and the names it knows can change without
/// making it anew.
fn workload_hash(spec: &WorkloadSpec) -> String {
    let mut bare = spec.clone();
    bare.attachments.clear();
    bare.hosts.clear();
    hash(&bare)
}

/// A hash that is the same for the same spec, also when a later version knows more keys.
fn hash(spec: &impl serde::Serialize) -> String {
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    prune(&mut value);
    let digest = sha2::Sha256::digest(value.to_string());
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Takes out what is as if it were not given.
fn prune(value: &mut serde_json::Value) {
    use serde_json::Value;
    if let Value::Object(map) = value {
        map.values_mut().for_each(prune);
        map.retain(|_, v| match v {
            Value::Null | Value::Bool(false) => false,
            Value::Array(a) => !a.is_empty(),
            Value::Object(o) => !o.is_empty(),
            _ => true,
        });
    }
}

/// Labels that users set.
pub(super) fn user_labels(labels: &crate::Labels) -> impl Iterator<Item = (&String, &String)> {
    labels.iter().filter(|(k, _)| !k.starts_with(OWN_LABEL_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, WorkloadName};

    #[test]
    fn a_hash_covers_what_a_workload_is_made_from_and_nothing_else() {
        let spec = || WorkloadSpec::new(WorkloadName::new("a").expect("name")).with_image(Image::Host);
        let base = workload_hash(&spec());
        assert_eq!(base, workload_hash(&spec()));
        let network = crate::NetworkName::new("n").expect("name");
        assert_eq!(base, workload_hash(&spec().with_attachment(crate::AttachmentSpec::new(network))));
        for changed in [
            spec().with_command(["x"]),
            spec().with_env("A", "b"),
            spec().with_keep_alive(true),
            spec().with_label("a", "b"),
            spec().with_cwd("/"),
        ] {
            assert_ne!(base, workload_hash(&changed), "{changed:?}");
        }
    }
}

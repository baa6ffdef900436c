//! Network attachment definitions.

use super::super::table::{Row, Target};
use super::super::world::{alternate, call, say, wait};
use super::world::Cluster;
use pod::k8s::nad::NetworkAttachmentDefinition;
use pod::prelude::*;
use std::fs;
use std::time::Instant;

/// A definition applied that was not there. The floor is one request of a kubectl that has nothing to check.
pub(super) fn network(cluster: &Cluster, runs: usize) -> Result<Row, Error> {
    say("network");
    let config = |name: &str| {
        serde_json::json!({
            "cniVersion": "1.0.0",
            "name": name,
            "type": "bridge",
            "bridge": "bench0",
            "ipam": { "type": "host-local", "subnet": "10.9.0.0/24" },
        })
        .to_string()
    };
    let library = |run| {
        let name = format!("own-{run}");
        let object = NetworkAttachmentDefinition::new(&name, config(&name));
        let definitions = cluster.backend.definitions();
        let begun = Instant::now();
        wait(definitions.apply(&object))?;
        Ok(begun.elapsed())
    };
    let kubectl = |run| {
        let name = format!("other-{run}");
        let file = cluster.path("definition.json");
        let object = serde_json::json!({
            "apiVersion": "k8s.cni.cncf.io/v1",
            "kind": "NetworkAttachmentDefinition",
            "metadata": { "name": name },
            "spec": { "config": config(&name) },
        });
        fs::write(&file, object.to_string()).doing(|| "write a file")?;
        call(cluster.kubectl().arg("apply").arg("-f").arg(&file))
    };
    let [own, other, floor] = alternate(
        runs,
        [
            Box::new(library),
            Box::new(kubectl),
            Box::new(|_| call(cluster.kubectl().args(["get", "--raw", "/version"]))),
        ],
    )?;
    Ok(Row {
        what: "a network attachment definition applied, from the library",
        own,
        peers: vec![("`kubectl apply`", other)],
        floor: Some(("`kubectl get --raw`", floor)),
        targets: vec![Target::Ratio(0.3)],
    })
}

//! Pods started: from nothing to a command that runs.

use super::super::table::{Row, Target};
use super::super::world::{alternate, call, say, wait};
use super::world::Cluster;
use futures_util::future::try_join_all;
use pod::prelude::*;
use std::fs;
use std::time::{Duration, Instant};

/// How often one pod is made, and many.
const RUNS: usize = 9;
const RUNS_OF_MANY: usize = 3;

/// How many are made at once.
const MANY: usize = 50;

/// The label by which the many are found.
const LABEL: &str = "bench";

/// One pod, from the command line; removing it is not timed.
pub(super) fn start(cluster: &Cluster) -> Result<Row, Error> {
    say("start");
    let backend = format!("k8s:{}/", cluster.namespace);
    let own = |run| {
        let name = format!("own-{run}");
        let run = ["--backend", &backend, "run", "--name", &name, "--image", cluster.image(), "--", "sleep", "1000"];
        let took = call(cluster.pod().args(run))?;
        cluster.delete(&[&name])?;
        Ok(took)
    };
    let kubectl = |run| {
        let name = format!("other-{run}");
        let image = format!("--image={}", cluster.image());
        let made = call(cluster.kubectl().args(["run", &name, &image, "--command", "--", "sleep", "1000"]))?;
        let ready = wait_for(cluster, &format!("pod/{name}"))?;
        cluster.delete(&[&name])?;
        Ok(made + ready)
    };
    let [own, other] = alternate(RUNS, [Box::new(own), Box::new(kubectl)])?;
    Ok(Row {
        what: "`pod run -- sleep 1000`, until it runs",
        own,
        peers: vec![("`kubectl run`, `kubectl wait`", other)],
        floor: None,
        targets: vec![Target::Ratio(1.0)],
    })
}

/// Fifty pods at once.
pub(super) fn many(cluster: &Cluster) -> Result<Row, Error> {
    say("many");
    let library = |run| {
        let each = |n: usize| async move {
            let spec = Cluster::spec(&format!("own-{run}-{n}"))?.with_label(LABEL, "own");
            cluster.backend.create(CreateRequest::new(spec).with_start()).await
        };
        let begun = Instant::now();
        wait(try_join_all((0..MANY).map(each)))?;
        let took = begun.elapsed();
        cluster.delete(&["-l", &format!("{LABEL}=own")])?;
        Ok(took)
    };
    let kubectl = |run| {
        let file = cluster.path("pods.json");
        fs::write(&file, pods(cluster, run)).doing(|| "write a file")?;
        let made = call(cluster.kubectl().arg("create").arg("-f").arg(&file))?;
        let ready = wait_for(cluster, &format!("--selector={LABEL}=other"));
        cluster.delete(&["-l", &format!("{LABEL}=other")])?;
        Ok(made + ready?)
    };
    let [own, other] = alternate(RUNS_OF_MANY, [Box::new(library), Box::new(kubectl)])?;
    Ok(Row {
        what: "50 pods at once, from the library, until all run",
        own,
        peers: vec![("`kubectl create`, `kubectl wait`", other)],
        floor: None,
        targets: vec![Target::Ratio(1.0)],
    })
}

fn wait_for(cluster: &Cluster, which: &str) -> Result<Duration, Error> {
    let mut command = cluster.kubectl();
    command.args(["wait", "--for=condition=Ready", "--timeout=180s"]);
    if which.starts_with("--selector") {
        command.arg("pod");
    }
    call(command.arg(which))
}

/// The many, as one list.
fn pods(cluster: &Cluster, run: usize) -> String {
    let pod = |n: usize| {
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": format!("other-{run}-{n}"), "labels": { LABEL: "other" } },
            "spec": {
                "containers": [{ "name": "main", "image": cluster.image(), "command": ["sleep", "1000"] }],
            },
        })
    };
    let items: Vec<_> = (0..MANY).map(pod).collect();
    serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

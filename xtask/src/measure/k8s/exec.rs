//! Programs run in a running pod.

use super::super::python::Python;
use super::super::table::{Row, Target};
use super::super::world::{alternate, call, say, wait};
use super::world::Cluster;
use pod::prelude::*;
use std::time::Instant;

const SCRIPT: &str = include_str!("../../../scripts/exec-warm-k8s.py");

/// `true` in a running pod, from the command line and from the library.
pub(super) async fn exec(cluster: &Cluster, runs: usize) -> Result<Vec<Row>, Error> {
    say("exec");
    let connection = cluster.start("exec").await?;
    let (ctr, container) = cluster.containerd("exec")?;
    let mut python = Python::start(SCRIPT, &[&cluster.namespace, "exec"])?;
    let address = cluster.address("exec");
    let library = |_| {
        let begun = Instant::now();
        let output = wait(connection.run(ExecRequest::new(["true"])))?;
        let took = begun.elapsed();
        if output.status.success() { Ok(took) } else { Err(Error::unexpected(format!("true {}", output.status))) }
    };
    let request = |_| {
        let begun = Instant::now();
        wait(cluster.backend.inspect(&WorkloadName::new("exec")?))?;
        Ok(begun.elapsed())
    };
    let floor = |run: usize| {
        let id = format!("bench-{run}");
        call(ctr()?.args(["tasks", "exec", "--exec-id", &id, &container, "true"]))
    };
    let [own, kubectl, floor, warm, other, request] = alternate(
        runs,
        [
            Box::new(|_| call(cluster.pod().args(["exec", &address, "--", "true"]))),
            Box::new(|_| call(cluster.kubectl().args(["exec", "exec", "--", "true"]))),
            Box::new(floor),
            Box::new(library),
            Box::new(|_| python.exec()),
            Box::new(request),
        ],
    )?;
    cluster.delete(&["exec"])?;
    let kubectl = ("`kubectl exec`", kubectl);
    Ok(vec![
        Row {
            what: "`pod exec k8s:W -- true`",
            own,
            peers: vec![kubectl],
            floor: Some(("`ctr tasks exec` on the node", floor)),
            targets: vec![Target::Ratio(0.6)],
        },
        Row {
            what: "exec from the library, warm connection",
            own: warm,
            peers: vec![kubectl, ("the client for Python, warm", other)],
            floor: Some(("reading the pod", request)),
            targets: vec![Target::Ratio(0.5), Target::Second(1.0)],
        },
    ])
}

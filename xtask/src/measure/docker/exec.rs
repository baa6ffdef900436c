//! Programs run in a running container.

use super::super::python::Python;
use super::super::table::{Row, Target};
use super::super::world::{alternate, call, say, wait};
use super::world::Daemon;
use pod::prelude::*;
use std::time::Instant;

const SCRIPT: &str = include_str!("../../../scripts/exec-warm-docker.py");

/// `true` in a running container, from the command line and from the library.
pub(super) async fn exec(daemon: &Daemon, runs: usize) -> Result<Vec<Row>, Error> {
    say("exec");
    let connection = daemon.start("exec").await?;
    let mut python = Python::start(SCRIPT, &["exec"])?;
    let library = |_| {
        let begun = Instant::now();
        let output = wait(connection.run(ExecRequest::new(["true"])))?;
        let took = begun.elapsed();
        if output.status.success() { Ok(took) } else { Err(Error::unexpected(format!("true {}", output.status))) }
    };
    let [own, docker, floor, warm, other] = alternate(
        runs,
        [
            Box::new(|_| call(daemon.pod().args(["exec", "docker:exec", "--", "true"]))),
            Box::new(|_| call(daemon.docker().args(["exec", "exec", "true"]))),
            Box::new(|_| daemon.bare.exec("exec")),
            Box::new(library),
            Box::new(|_| python.exec()),
        ],
    )?;
    daemon.remove("exec")?;
    let docker = ("`docker exec`", docker);
    let floor = Some(("bare create, start, inspect", floor));
    Ok(vec![
        Row {
            what: "`pod exec docker:W -- true`",
            own,
            peers: vec![docker],
            floor,
            targets: vec![Target::Ratio(0.85)],
        },
        Row {
            what: "exec from the library",
            own: warm,
            peers: vec![docker, ("the client for Python, warm", other)],
            floor,
            targets: vec![Target::Floor(1.1)],
        },
    ])
}

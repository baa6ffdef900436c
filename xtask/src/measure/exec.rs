//! The command's own start, and programs run in a running workload.

use super::table::{Row, Target};
use super::world::{PEERS, World, alternate, call, say, wait};
use pod::prelude::*;
use std::process::Command;
use std::time::{Duration, Instant};

/// The command line alone.
pub(crate) fn version(world: &World, runs: usize) -> Result<Row, Error> {
    say("pod --version");
    let [own, floor] = alternate(
        runs,
        [
            Box::new(|_| call(world.pod().arg("--version"))),
            Box::new(|_| call(Command::new(world.root().join("bin/busybox")).arg("true"))),
        ],
    )?;
    let targets = vec![Target::AtMost(Duration::from_millis(10))];
    Ok(Row { what: "`pod --version`", own, peers: vec![], floor: Some(("busybox true", floor)), targets })
}

/// `true` in a running workload, from the command line and from the library.
pub(crate) async fn exec(world: &World, runs: usize) -> Result<Vec<Row>, Error> {
    say("exec");
    let workload = world.backend.create(CreateRequest::new(world.spec("exec")?).with_start()).await?;
    for peer in PEERS {
        world.run_peer(peer, "exec")?;
    }
    let pid = workload.pid.ok_or_else(|| Error::unexpected("the workload has no process id"))?.to_string();
    let connection = world.backend.connect(workload.name()).await?;
    let library = |_| {
        let begun = Instant::now();
        let output = wait(connection.run(ExecRequest::new(["true"])))?;
        let took = begun.elapsed();
        if output.status.success() { Ok(took) } else { Err(Error::unexpected(format!("true {}", output.status))) }
    };
    let [own, runc, crun, enter, warm, spawn] = alternate(
        runs,
        [
            Box::new(|_| call(world.pod().args(["exec", "exec", "--", "true"]))),
            Box::new(|_| world.call_peer("runc", |c| c.args(["exec", "exec", "true"]))),
            Box::new(|_| world.call_peer("crun", |c| c.args(["exec", "exec", "true"]))),
            Box::new(|_| call(Command::new("nsenter").args(["-t", &pid, "-m", "-u", "-i", "-n", "-p", "true"]))),
            Box::new(library),
            Box::new(|_| call(Command::new(world.root().join("bin/busybox")).arg("true"))),
        ],
    )?;
    world.remove("exec").await?;
    for peer in PEERS {
        world.remove_peer(peer, "exec")?;
    }
    let peers = vec![("`runc exec`", runc), ("`crun exec`", crun)];
    Ok(vec![
        Row {
            what: "`pod exec W -- true`",
            own,
            peers: peers.clone(),
            floor: Some(("nsenter", enter)),
            targets: vec![Target::Ratio(0.4)],
        },
        Row {
            what: "exec from the library, warm connection",
            own: warm,
            peers,
            floor: Some(("fork, exec on the host", spawn)),
            targets: vec![Target::Ratio(0.2)],
        },
    ])
}

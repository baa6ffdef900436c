//! Containers started: from nothing to a command that runs.

use super::super::table::{Row, Target};
use super::super::world::{alternate, call, say};
use super::world::Daemon;
use pod::prelude::*;

/// One container, from the command line; removing it is not timed.
pub(super) fn start(daemon: &Daemon, runs: usize) -> Result<Row, Error> {
    say("start");
    let image = daemon.image();
    let own = |run| {
        let name = format!("own-{run}");
        let words = ["--backend", "docker:", "run", "--name", &name, "--image", image, "--", "sleep", "1000"];
        let took = call(daemon.pod().args(words))?;
        daemon.remove(&name)?;
        Ok(took)
    };
    let docker = |run| {
        let name = format!("other-{run}");
        let took = call(daemon.docker().args(["run", "--detach", "--name", &name, image, "sleep", "1000"]))?;
        daemon.remove(&name)?;
        Ok(took)
    };
    let floor = |run| {
        let name = format!("bare-{run}");
        let took = daemon.bare.run(&name, image)?;
        daemon.remove(&name)?;
        Ok(took)
    };
    let [own, other, floor] = alternate(runs, [Box::new(own), Box::new(docker), Box::new(floor)])?;
    Ok(Row {
        what: "`pod run -- sleep 1000`, until it runs",
        own,
        peers: vec![("`docker run --detach`", other)],
        floor: Some(("bare create, start", floor)),
        targets: vec![Target::Ratio(0.9)],
    })
}

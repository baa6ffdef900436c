//! Workloads started: from nothing to a command that runs, without a network.

use super::table::{Row, Target};
use super::world::{PEERS, World, alternate, call, say, wait};
use pod::prelude::*;
use std::process::Command;
use std::time::{Duration, Instant};

/// From the library and from the command line; taking away again is not timed.
pub(crate) fn start(world: &World, runs: usize) -> Result<Vec<Row>, Error> {
    say("start");
    let image = format!("rootfs:{}", world.root().display());
    let library = |run| {
        let name = format!("library-{run}");
        let spec = world.spec(&name)?;
        let begun = Instant::now();
        wait(world.backend.create(CreateRequest::new(spec).with_start()))?;
        let took = begun.elapsed();
        wait(world.remove(&name))?;
        settle();
        Ok(took)
    };
    let command = |run| {
        let name = format!("command-{run}");
        let took = call(world.pod().args(["run", "--name", &name, "--image", &image, "--", "sleep", "1000"]))?;
        wait(world.remove(&name))?;
        settle();
        Ok(took)
    };
    let peer = |peer: &'static str| {
        move |run| -> Result<Duration, Error> {
            let name = format!("start-{run}");
            let took = world.run_peer(peer, &name)?;
            world.remove_peer(peer, &name)?;
            settle();
            Ok(took)
        }
    };
    let floor = |_| {
        let namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--root"];
        let took = call(Command::new("unshare").args(namespaces).arg(world.root()).arg("true"))?;
        settle();
        Ok(took)
    };
    let [own, line, runc, crun, floor] = alternate(
        runs,
        [Box::new(library), Box::new(command), Box::new(peer(PEERS[0])), Box::new(peer(PEERS[1])), Box::new(floor)],
    )?;
    let peers = vec![("`runc run -d`", runc), ("`crun run -d`", crun)];
    let floor = Some(("unshare, chroot, true", floor));
    Ok(vec![
        Row { what: "start from the library", own, peers: peers.clone(), floor, targets: vec![Target::Ratio(0.6)] },
        Row { what: "`pod run -- sleep 1000`", own: line, peers, floor, targets: vec![Target::Ratio(0.9)] },
    ])
}

/// The kernel takes namespaces down in the background, and lets nobody make one meanwhile: each
/// contestant would pay for the one before it.
fn settle() {
    std::thread::sleep(Duration::from_millis(100));
}

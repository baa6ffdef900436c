//! One large file copied in and out.

use super::super::copy::write;
use super::super::table::{Row, Target};
use super::super::world::{alternate, call, exists, say};
use super::world::Daemon;
use pod::prelude::*;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How often it is copied.
const RUNS: usize = 7;

/// The time at one and a half times another's speed, as a ratio.
const HALF_AS_FAST_AGAIN: f64 = 0.67;

/// `pod cp` of a file of 256 MiB beside `docker cp`. The floor is the daemon's archive API alone: an archive
/// that is a file at this end.
pub(super) async fn copy(daemon: &Daemon) -> Result<Vec<Row>, Error> {
    say("copy");
    let (file, copied, archive) = (daemon.path("file"), daemon.path("copied"), daemon.path("archive"));
    write(&file).doing(|| "write a file")?;
    call(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(daemon.path("")).arg("file"))?;
    daemon.start("copy").await?;
    let there = "docker:copy:/tmp/file";
    let [up, up_other, up_floor, down, down_other, down_floor] = alternate(
        RUNS,
        [
            Box::new(|_| call(daemon.pod().arg("cp").arg(&file).arg(there))),
            Box::new(|_| call(daemon.docker().arg("cp").arg(&file).arg("copy:/tmp/file"))),
            Box::new(|_| daemon.bare.put("copy", "/tmp", &archive)),
            Box::new(|_| {
                clear(&copied)?;
                call(daemon.pod().args(["cp", there]).arg(&copied))
            }),
            Box::new(|_| {
                clear(&copied)?;
                call(daemon.docker().args(["cp", "copy:/tmp/file"]).arg(&copied))
            }),
            Box::new(|_| daemon.bare.get("copy", "/tmp/file", &daemon.path("got"))),
        ],
    )?;
    daemon.remove("copy")?;
    let row = |what, own, other, floor, most| Row {
        what,
        own,
        peers: vec![("`docker cp`", other)],
        floor: Some(("the archive API alone", floor)),
        targets: vec![Target::Ratio(most)],
    };
    Ok(vec![
        row("`pod cp`, 256 MiB in", up, up_other, up_floor, 1.0),
        row("`pod cp`, 256 MiB out", down, down_other, down_floor, HALF_AS_FAST_AGAIN),
    ])
}

/// Removes a copy, so that none is written over another.
fn clear(path: &Path) -> Result<(), Error> {
    if exists(path) {
        fs::remove_file(path).doing(|| "remove a file")?;
    }
    Ok(())
}

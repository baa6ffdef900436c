//! Many small files copied in and out.

use super::super::table::{Row, Target};
use super::super::tree::{FILES, clear, count, write};
use super::super::world::{alternate, call, say};
use super::world::Daemon;
use pod::prelude::*;
use std::process::Command;

/// How often they are copied.
const RUNS: usize = 5;

/// `docker cp`'s time at one and a half times its speed, as a ratio.
const HALF_AS_FAST_AGAIN: f64 = 0.67;

/// `pod cp` of 10,000 files beside `docker cp`; the floor is the daemon's archive API alone.
pub(super) async fn files(daemon: &Daemon) -> Result<Vec<Row>, Error> {
    say("files");
    let (tree, copied, archive) = (daemon.path("tree"), daemon.path("copied-tree"), daemon.path("archive"));
    write(&tree).doing(|| "write files")?;
    call(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&tree).arg("."))?;
    daemon.start("files").await?;
    call(daemon.pod().arg("cp").arg(&tree).arg("docker:files:/tmp/tree"))?;
    let forget = || call(daemon.docker().args(["exec", "files", "rm", "-rf", "/tmp/in"])).map(drop);
    let whole = |took| match count(&copied) {
        FILES => Ok(took),
        n => Err(Error::new(ErrorKind::Integrity, format!("{n} files of {FILES} came out"))),
    };
    let [up, up_other, up_floor, down, down_other, down_floor] = alternate(
        RUNS,
        [
            Box::new(|_| {
                forget()?;
                call(daemon.pod().arg("cp").arg(&tree).arg("docker:files:/tmp/in"))
            }),
            Box::new(|_| {
                forget()?;
                call(daemon.docker().arg("cp").arg(&tree).arg("files:/tmp/in"))
            }),
            Box::new(|_| {
                forget()?;
                call(daemon.docker().args(["exec", "files", "mkdir", "/tmp/in"]))?;
                daemon.bare.put("files", "/tmp/in", &archive)
            }),
            Box::new(|_| {
                clear(&copied)?;
                whole(call(daemon.pod().arg("cp").arg("docker:files:/tmp/tree").arg(&copied))?)
            }),
            Box::new(|_| {
                clear(&copied)?;
                whole(call(daemon.docker().args(["cp", "files:/tmp/tree"]).arg(&copied))?)
            }),
            Box::new(|_| daemon.bare.get("files", "/tmp/tree", &daemon.path("got"))),
        ],
    )?;
    daemon.remove("files")?;
    let row = |what, own, other, floor| Row {
        what,
        own,
        peers: vec![("`docker cp`", other)],
        floor: Some(("the archive API alone", floor)),
        targets: vec![Target::Ratio(HALF_AS_FAST_AGAIN)],
    };
    Ok(vec![
        row("`pod cp`, 10,000 files in", up, up_other, up_floor),
        row("`pod cp`, 10,000 files out", down, down_other, down_floor),
    ])
}

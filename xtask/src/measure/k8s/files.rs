//! Many small files copied in and out.

use super::super::table::{Row, Target};
use super::super::world::{alternate, call, exists, say};
use super::world::Cluster;
use pod::prelude::*;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How often they are copied.
const RUNS: usize = 3;

/// Folders, files in each, and bytes in each file.
const FOLDERS: usize = 100;
const EACH: usize = 100;
const BYTES: usize = 1000;

/// `kubectl cp`'s time at one and a half times its speed, as a ratio.
const HALF_AS_FAST_AGAIN: f64 = 0.67;

/// `pod cp` of 10,000 files beside `kubectl cp`; the floor is `cp -r` on this machine.
pub(super) async fn files(cluster: &Cluster) -> Result<Vec<Row>, Error> {
    say("files");
    let (tree, copied) = (cluster.path("tree"), cluster.path("tree-copied"));
    write(&tree).doing(|| "write files")?;
    cluster.start("files").await?;
    let address = cluster.address("files");
    // One that stays is what is copied out.
    call(cluster.pod().arg("cp").arg(&tree).arg(format!("{address}:/tmp/tree")))?;
    let forget = |_| call(cluster.kubectl().args(["exec", "files", "--", "rm", "-rf", "/tmp/in"])).map(drop);
    let up = |run| {
        forget(run)?;
        call(cluster.pod().arg("cp").arg(&tree).arg(format!("{address}:/tmp/in")))
    };
    let up_other = |run| {
        forget(run)?;
        call(cluster.kubectl().arg("cp").arg(&tree).arg("files:/tmp/in"))
    };
    let down = |_| {
        clear(&copied)?;
        call(cluster.pod().args(["cp", &format!("{address}:/tmp/tree")]).arg(&copied))
    };
    let down_other = |_| {
        clear(&copied)?;
        call(cluster.kubectl().args(["cp", "files:/tmp/tree"]).arg(&copied))
    };
    let floor = |_| {
        clear(&copied)?;
        call(Command::new("cp").arg("-r").arg(&tree).arg(&copied))
    };
    let [up, up_other, down, down_other, floor] =
        alternate(RUNS, [Box::new(up), Box::new(up_other), Box::new(down), Box::new(down_other), Box::new(floor)])?;
    cluster.delete(&["files"])?;
    let row = |what, own, other| Row {
        what,
        own,
        peers: vec![("`kubectl cp`", other)],
        floor: Some(("`cp -r`", floor)),
        targets: vec![Target::Ratio(HALF_AS_FAST_AGAIN)],
    };
    Ok(vec![row("`pod cp`, 10,000 files in", up, up_other), row("`pod cp`, 10,000 files out", down, down_other)])
}

fn clear(tree: &Path) -> Result<(), Error> {
    if exists(tree) {
        fs::remove_dir_all(tree).doing(|| "remove a tree")?;
    }
    Ok(())
}

fn write(tree: &Path) -> std::io::Result<()> {
    for folder in 0..FOLDERS {
        let folder = tree.join(format!("folder-{folder}"));
        fs::create_dir_all(&folder)?;
        for file in 0..EACH {
            fs::write(folder.join(format!("file-{file}")), vec![b'x'; BYTES])?;
        }
    }
    Ok(())
}

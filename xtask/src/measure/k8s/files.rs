//! Many small files copied in and out.

use super::super::table::{Row, Target};
use super::super::world::{alternate, call, exists, say};
use super::world::{Cluster, MEMORY};
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

/// `kubectl cp` loses the end of what it copies out now and then, and says so: that often it may fail.
const TRIES: usize = 10;

/// `pod cp` of 10,000 files beside `kubectl cp`; the floor is `cp -r` on this machine. All files are in
/// memory at both ends: making them on a disk takes longer than bringing them.
pub(super) async fn files(cluster: &Cluster) -> Result<Vec<Row>, Error> {
    say("files");
    let (tree, copied) = (cluster.memory("tree"), cluster.memory("copied"));
    write(&tree).doing(|| "write files")?;
    for pod in ["files-in", "files-out"] {
        cluster.start(pod).await?;
    }
    // A pod has 64 MiB there, which is enough for one of it.
    let (into, from) = (format!("{MEMORY}/in"), format!("{MEMORY}/tree"));
    let (own_in, own_out) = (cluster.address("files-in"), cluster.address("files-out"));
    call(cluster.pod().arg("cp").arg(&tree).arg(format!("{own_out}:{from}")))?;
    let forget = || call(cluster.kubectl().args(["exec", "files-in", "--", "rm", "-rf", &into])).map(drop);
    let up = |_| {
        forget()?;
        call(cluster.pod().arg("cp").arg(&tree).arg(format!("{own_in}:{into}")))
    };
    let up_other = |_| {
        forget()?;
        call(cluster.kubectl().arg("cp").arg(&tree).arg(format!("files-in:{into}")))
    };
    let down = |_| {
        clear(&copied)?;
        call(cluster.pod().args(["cp", &format!("{own_out}:{from}")]).arg(&copied))
    };
    let mut failures = 0;
    let down_other = |_| {
        loop {
            clear(&copied)?;
            match call(cluster.kubectl().args(["cp", &format!("files-out:{from}")]).arg(&copied)) {
                Ok(took) if count(&copied) == FOLDERS * EACH => return Ok(took),
                Err(e) if failures >= TRIES => return Err(e),
                _ if failures >= TRIES => return Err(Error::new(ErrorKind::Integrity, "`kubectl cp` lost files")),
                _ => failures += 1,
            }
        }
    };
    let floor = |_| {
        clear(&copied)?;
        call(Command::new("cp").arg("-r").arg(&tree).arg(&copied))
    };
    let [up, up_other, down, down_other, floor] =
        alternate(RUNS, [Box::new(up), Box::new(up_other), Box::new(down), Box::new(down_other), Box::new(floor)])?;
    if failures > 0 {
        say(&format!("files: `kubectl cp` out failed {failures} times; only what was whole counts"));
    }
    cluster.delete(&["files-in", "files-out"])?;
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

/// The files of a tree.
fn count(tree: &Path) -> usize {
    let entries = fs::read_dir(tree).into_iter().flatten().flatten();
    entries.map(|e| if e.file_type().is_ok_and(|t| t.is_dir()) { count(&e.path()) } else { 1 }).sum()
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

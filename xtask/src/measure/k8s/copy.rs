//! One large file copied in and out.

use super::super::copy::{SIZE, write};
use super::super::table::{Row, Target};
use super::super::world::{alternate, call, call_with, exists, say};
use super::world::Cluster;
use pod::prelude::*;
use std::fs::{self, File};
use std::path::Path;

/// How often it is copied.
const RUNS: usize = 5;

/// The time that nine tenths of another's speed take, as a ratio.
const NINE_TENTHS: f64 = 1.11;

/// `pod cp` of a file of 256 MiB beside `kubectl cp`. The floor is the same bytes through `kubectl exec`
/// by programs that count them, with nothing checked.
pub(super) async fn copy(cluster: &Cluster) -> Result<Vec<Row>, Error> {
    say("copy");
    let (file, copied) = (cluster.path("file"), cluster.path("copied"));
    write(&file).doing(|| "write a file")?;
    cluster.start("copy").await?;
    let there = format!("{}:/tmp/file", cluster.address("copy"));
    let up = |verify| {
        let (file, there) = (&file, &there);
        move |_| call(cluster.pod().args(["cp", "--verify", verify]).arg(file).arg(there))
    };
    let down = |verify| {
        let (copied, there) = (&copied, &there);
        move |_| {
            clear(copied)?;
            call(cluster.pod().args(["cp", "--verify", verify, there]).arg(copied))
        }
    };
    // Without a program that outlives the redirection, `kubectl exec` ends before all is written.
    let count = format!("head -c {} >/tmp/counted; sleep 0.1", SIZE << 20);
    let counted = |_| {
        let from = File::open(&file).doing(|| "open a file")?;
        call_with(cluster.kubectl().args(["exec", "-i", "copy", "--", "sh", "-c", &count]).stdin(from))
    };
    let dd = |_| {
        clear(&copied)?;
        let to = File::create(&copied).doing(|| "make a file")?;
        call_with(cluster.kubectl().args(["exec", "copy", "--", "dd", "if=/tmp/file", "bs=1M"]).stdout(to))
    };
    let kubectl_down = |_| {
        clear(&copied)?;
        call(cluster.kubectl().args(["cp", "copy:/tmp/file"]).arg(&copied))
    };
    let [up, up_hash, up_other, up_floor, down, down_hash, down_other, down_floor] = alternate(
        RUNS,
        [
            Box::new(up("length")),
            Box::new(up("hash")),
            Box::new(|_| call(cluster.kubectl().arg("cp").arg(&file).arg("copy:/tmp/other"))),
            Box::new(counted),
            Box::new(down("length")),
            Box::new(down("hash")),
            Box::new(kubectl_down),
            Box::new(dd),
        ],
    )?;
    let same = fs::metadata(&copied).doing(|| "look at a file")?.len() == (SIZE << 20) as u64;
    if !same {
        return Err(Error::new(ErrorKind::Integrity, "the floor's file is not whole"));
    }
    cluster.delete(&["copy"])?;
    let row = |what, own, other, floor, targets| Row {
        what,
        own,
        peers: vec![("`kubectl cp`", other)],
        floor: Some(floor),
        targets,
    };
    let targets = || vec![Target::Ratio(1.0), Target::Floor(NINE_TENTHS)];
    let (up_floor, down_floor) = (("`kubectl exec`, `head -c`", up_floor), ("`kubectl exec`, `dd`", down_floor));
    Ok(vec![
        row("`pod cp`, 256 MiB in", up, up_other, up_floor, targets()),
        row("the same, hashes compared", up_hash, up_other, up_floor, vec![]),
        row("`pod cp`, 256 MiB out", down, down_other, down_floor, targets()),
        row("the same, hashes compared", down_hash, down_other, down_floor, vec![]),
    ])
}

/// Removes a copy, so that none is written over another.
fn clear(path: &Path) -> Result<(), Error> {
    if exists(path) {
        fs::remove_file(path).doing(|| "remove a file")?;
    }
    Ok(())
}

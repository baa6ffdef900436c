//! Many small files copied in and out.

use super::super::table::{Row, Target};
use super::super::tree::{FILES, clear, count, write};
use super::super::world::{alternate, call, say};
use super::world::{Cluster, MEMORY};
use pod::prelude::*;

/// How often they are copied.
const RUNS: usize = 5;

/// `kubectl cp`'s time at one and a half times its speed, as a ratio.
const HALF_AS_FAST_AGAIN: f64 = 0.67;

/// `kubectl cp` loses the end of what it copies out now and then, and says so: that often it may fail.
const TRIES: usize = 10;

/// `pod cp` of 10,000 files beside `kubectl cp`; the floor is a `tar` at each end of `kubectl exec`, the far one's
/// small writes joined by `dd`: nothing checked, nothing staged. All files are in memory at both ends: making them
/// on a disk takes longer than bringing them.
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
                Ok(took) if count(&copied) == FILES => return Ok(took),
                Err(e) if failures >= TRIES => return Err(e),
                _ if failures >= TRIES => return Err(Error::new(ErrorKind::Integrity, "`kubectl cp` lost files")),
                _ => failures += 1,
            }
        }
    };
    let floor_in = |_| {
        forget()?;
        let far = format!("mkdir {into} && tar -x -f - -C {into}");
        let near = format!("tar -c -f - -C '{}' .", tree.display());
        call(&mut cluster.shell(&format!("{near} | kubectl --namespace $namespace exec -i files-in -- sh -c '{far}'")))
    };
    let floor_out = |_| {
        clear(&copied)?;
        let far = format!("tar -c -f - -C {from} . | dd ibs=64k obs=64k 2>/dev/null");
        let near = format!("mkdir '{0}' && tar -x -f - -C '{0}'", copied.display());
        call(&mut cluster.shell(&format!("kubectl --namespace $namespace exec files-out -- sh -c '{far}' | ({near})")))
    };
    let [up, up_other, up_floor, down, down_other, down_floor] = alternate(
        RUNS,
        [
            Box::new(up),
            Box::new(up_other),
            Box::new(floor_in),
            Box::new(down),
            Box::new(down_other),
            Box::new(floor_out),
        ],
    )?;
    if failures > 0 {
        say(&format!("files: `kubectl cp` out failed {failures} times; only what was whole counts"));
    }
    cluster.delete(&["files-in", "files-out"])?;
    let row = |what, own, other, floor| Row {
        what,
        own,
        peers: vec![("`kubectl cp`", other)],
        floor: Some(("`tar` at both ends of `kubectl exec`", floor)),
        targets: vec![Target::Ratio(HALF_AS_FAST_AGAIN)],
    };
    Ok(vec![
        row("`pod cp`, 10,000 files in", up, up_other, up_floor),
        row("`pod cp`, 10,000 files out", down, down_other, down_floor),
    ])
}

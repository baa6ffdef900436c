//! One large file copied in and out.

use super::table::Row;
use super::world::{World, alternate, call, exists, say};
use pod::prelude::*;
use std::fs;
use std::io::Write;
use std::process::Command;

/// Its size in MiB.
pub(super) const SIZE: usize = 256;

/// How often it is copied.
const RUNS: usize = 7;

/// `pod cp` of a file of 256 MiB, beside `cp`, which is the floor: it has no workload to reach.
pub(crate) async fn copy(world: &World) -> Result<Vec<Row>, Error> {
    say("copy");
    let (file, copied) = (world.path("file"), world.path("copied"));
    write(&file).doing(|| "write a file")?;
    world.backend.create(CreateRequest::new(world.spec("copy")?).with_start()).await?;
    let plain = |_| {
        if exists(&copied) {
            fs::remove_file(&copied).doing(|| "remove a file")?;
        }
        call(Command::new("cp").arg(&file).arg(&copied))
    };
    let up = |_| call(world.pod().arg("cp").arg(&file).arg("copy:/tmp/file"));
    let down = |_| {
        if exists(&copied) {
            fs::remove_file(&copied).doing(|| "remove a file")?;
        }
        call(world.pod().args(["cp", "copy:/tmp/file"]).arg(&copied))
    };
    let [up, down, floor] = alternate(RUNS, [Box::new(up), Box::new(down), Box::new(plain)])?;
    world.remove("copy").await?;
    let floor = Some(("cp", floor));
    Ok(vec![
        Row { what: "`pod cp`, 256 MiB in", own: up, peers: vec![], floor, targets: vec![] },
        Row { what: "`pod cp`, 256 MiB out", own: down, peers: vec![], floor, targets: vec![] },
    ])
}

/// Writes a file that no compression and no hole makes smaller.
pub(super) fn write(path: &std::path::Path) -> std::io::Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut file = fs::File::create(path)?;
    for _ in 0..SIZE {
        let block: Vec<u8> = (0..1 << 17).flat_map(|_| next().to_le_bytes()).collect();
        file.write_all(&block)?;
    }
    Ok(())
}

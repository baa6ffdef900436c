//! Copy by the daemon's archive API.
//!
//! **Out** is a tar stream that the daemon makes; it is hostile until [`StreamCheck`] has seen it. **In** is
//! a tar stream that the daemon unpacks, into a hidden directory beside the destination that a script in
//! the container made (`in.sh`). The same script compares what came with a list that came last in the
//! stream, and moves it when it is whole. If anything fails, or whoever copies goes away, the script
//! removes the directory. A script that was killed, with its container or by a daemon that died, leaves
//! it; the next copy to that place takes it away, because no process holds its token any more.
//!
//! The daemon sees a container's own files and its volumes, not what else is mounted in it: into a tmpfs,
//! `/dev/shm` or `/proc` it would write beneath the mount, where nobody finds it. There it does not find the
//! script's directory either, and the copy is refused before a byte is sent.
//!
//! [`StreamCheck`]: pod_core::copy::StreamCheck

mod into;
mod out;

pub(crate) use into::copy_in;
pub(crate) use out::{copy_out, stat};

use pod_core::{Error, Result};

/// The longest path (`PATH_MAX` less its zero byte).
const LONGEST: usize = 4095;

/// Checks a path in a container: absolute, without a zero byte, not too long. (The check layer does, too,
/// and a connection can be had without it.)
fn check_path(path: &[u8]) -> Result<()> {
    let bad =
        |why: &str| Err(Error::invalid(format!("bad path: {why}")).with_context("path", pod_core::copy::show(path)));
    if path.first() != Some(&b'/') {
        return bad("it is not absolute");
    }
    if path.contains(&0) {
        return bad("it holds a zero byte");
    }
    if path.len() > LONGEST {
        return bad("it is longer than 4,095 bytes");
    }
    Ok(())
}

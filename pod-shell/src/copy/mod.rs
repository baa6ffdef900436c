//! Copy over exec: the image's own tools, driven by scripts, with POD's own tar at this end.
//!
//! A copy is one exec. In: a script makes a hidden directory beside the destination, the image's `tar`
//! unpacks into it, the script compares every file's length (or hash) with a list that came last in the
//! same stream, and only then moves what it has into place. A stream that was cut lacks the list, so half
//! a copy is never taken for a whole one, and nothing of it stays; unless that was asked for: then what
//! arrived whole waits for the next copy (`kept.rs`). Out: the image's `tar`, read as hostile; every
//! write of its becomes a message that four servers pass on, so small writes are put together first.
//!
//! Where the image has no `tar`, or the server can't be told the end of stdin, each file is an exec of its
//! own, of known length (`plain.rs`).

mod download;
mod errors;
mod far;
mod kept;
mod listed;
mod look;
mod plain;
mod relay;
#[cfg(all(test, target_os = "linux"))]
mod resume_tests;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod upload;

pub use download::copy_out;
pub use errors::{of_tools, refusal};
pub use far::{Far, Running, complaints};
pub use look::stat;
pub use upload::copy_in;

use pod_core::{Error, Result};

/// A path within a workload is absolute and holds no zero byte.
fn check_path(path: &[u8]) -> Result<()> {
    if path.first() != Some(&b'/') || path.contains(&0) {
        return Err(Error::invalid("a path within a workload is absolute, without a zero byte")
            .with_context("path", pod_core::copy::show(path)));
    }
    Ok(())
}

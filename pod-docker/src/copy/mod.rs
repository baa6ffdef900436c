//! Copy by the daemon's archive API, or from inside the container.
//!
//! **Out** is a tar stream that the daemon makes; it is hostile until [`StreamCheck`] has seen it. **In** is
//! a tar stream that the daemon unpacks, into a hidden directory beside the destination that a script in
//! the container made (`in.sh`). The same script compares what came with a list that came last in the
//! stream, and moves it when it is whole. If anything fails, or whoever copies goes away, the script
//! removes the directory. A script that was killed, with its container or by a daemon that died, leaves
//! it; the next copy to that place takes it away, because no process holds its token any more.
//!
//! The daemon sees a container's own files and its volumes, not what else is mounted in it: into a tmpfs,
//! `/dev/shm` or `/proc` it would write beneath the mount, where nobody finds it. Such paths are reached
//! from inside (`far.rs`), and so are all of Podman's, whose archives follow links and keep no owners. What a
//! program in the container mounted is not known; there the daemon does not find the script's directory,
//! and the copy is refused before a byte is sent.
//!
//! [`StreamCheck`]: pod_core::copy::StreamCheck

mod far;
mod into;
mod out;

pub(crate) use out::Head;

use crate::containers::{self, Inspected};
use crate::exec::Target;
use far::{Inside, from_inside};
use pod_core::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use pod_core::{Error, Result};
use std::sync::Arc;

async fn look(target: &Target) -> Result<Inspected> {
    let found = containers::by_id(&target.engine, &target.id).await.map_err(|f| target.engine.error(f))?;
    found.ok_or_else(|| Error::not_found("workload", target.name.as_str()))
}

/// Copies entries into a container.
///
/// # Errors
/// As [`Connection::copy_in`](pod_core::Connection::copy_in).
pub(crate) async fn copy_in(target: &Target, request: CopyInRequest) -> Result<CopyReport> {
    check_path(&request.dest)?;
    let found = look(target).await?;
    if request.resume || from_inside(target.engine.kind, &found, &request.dest) {
        let far = Inside { target: target.clone(), root: request.archive };
        return pod_shell::copy::copy_in(Arc::new(far), request).await;
    }
    into::copy_in(target, &found, request).await
}

/// Streams a file or tree out.
///
/// # Errors
/// As [`Connection::copy_out`](pod_core::Connection::copy_out).
pub(crate) async fn copy_out(target: &Target, request: CopyOutRequest) -> Result<EntryStream> {
    check_path(&request.path)?;
    if request.have.is_some() || from_inside(target.engine.kind, &look(target).await?, &request.path) {
        let far = Inside { target: target.clone(), root: true };
        return pod_shell::copy::copy_out(Arc::new(far), request).await;
    }
    out::copy_out(target, request).await
}

/// What is at a path; `None` when nothing is.
///
/// # Errors
/// As [`Connection::stat`](pod_core::Connection::stat).
pub(crate) async fn stat(target: &Target, request: &StatRequest) -> Result<Option<FileStat>> {
    check_path(&request.path)?;
    if from_inside(target.engine.kind, &look(target).await?, &request.path) {
        return pod_shell::copy::stat(&Inside { target: target.clone(), root: true }, request).await;
    }
    out::stat(target, request).await
}

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

//! Copying out.

use super::far::{Far, Running, complaints, no_shell};
use super::{check_path, errors, listed};
use crate::escaped;
use pod_core::copy::{CopyOutRequest, EntrySink, EntryStream, show, tar};
use pod_core::{Error, ErrorKind, ExitStatus, Result};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

const SCRIPT: &str = include_str!("out.sh");
/// The longest name of a root entry.
const NAME: u64 = 8 << 10;

/// Streams a file or tree out of a container.
///
/// # Errors
/// As [`Connection::copy_out`](pod_core::Connection::copy_out).
pub async fn copy_out(far: Arc<dyn Far>, request: CopyOutRequest) -> Result<EntryStream> {
    check_path(&request.path)?;
    if request.have.is_some() {
        return listed::copy_out(far, request).await;
    }
    let args = [escaped(&request.path), if request.follow { "f" } else { "-" }.to_owned()];
    let mut running = far.start(SCRIPT, &args, false).await.map_err(|e| no_shell(&*far, e))?;
    let at = |e: Error| far.about(e.with_context("path", show(&request.path)));
    let line = running.line().await?.map(|l| String::from_utf8_lossy(&l).into_owned()).unwrap_or_default();
    match line.strip_prefix("E ") {
        Some("notar") => {
            drop(running);
            return listed::copy_out(far, request).await;
        }
        Some("none") => return Err(at(Error::new(ErrorKind::NotFound, "there is nothing at that path"))),
        Some(reason) => {
            return Err(at(Error::unexpected("the copy's script says something unknown").with_context("said", reason)));
        }
        None if line.starts_with("T ") => {}
        None => {
            let error = running.failure("copy this path out", &request.path).await;
            return Err(far.about(no_shell(&*far, error)));
        }
    }
    let mut root = Vec::new();
    let read = (&mut running.stdout).take(NAME).read_until(0, &mut root).await;
    read.map_err(|e| at(Error::io("can't read what the workload says", e)))?;
    if root.pop() != Some(0) {
        return Err(at(Error::new(ErrorKind::Integrity, "the copy ended before it began")));
    }
    let (sink, stream) = EntryStream::channel();
    tokio::spawn(relay(far, running, root, sink, request.path));
    Ok(stream)
}

/// Passes entries on, and the end only when the far end's tools were content, too.
async fn relay(far: Arc<dyn Far>, running: Running, root: Vec<u8>, sink: EntrySink, path: Vec<u8>) {
    let Running { stdin, stdout, stderr, end, .. } = running;
    drop(stdin);
    let mut entries = tar::read_as(BufReader::with_capacity(256 << 10, stdout), &root);
    let passed = sink.clone();
    // It owns the entries: when it is done, nobody holds the far end up any more.
    let pass = async move { passed.pass_on(&mut entries, |_| Ok(())).await };
    let (passed, status) = tokio::select! {
        both = async { tokio::join!(pass, end) } => both,
        () = sink.closed() => return,
    };
    // Not before: whoever waits for one output has the other's read on too, into a file where it must be,
    // and a slow reader would hold nothing up.
    let said = complaints(stderr).await;
    let ended = match status {
        Ok(ExitStatus::Exited(0)) => Ok(()),
        Ok(ExitStatus::Unknown) => Err(far.about(
            Error::new(
                ErrorKind::Integrity,
                "whether the copy is whole is not known: the stream to the workload was lost",
            )
            .with_context("path", show(&path)),
        )),
        Ok(status) => Err(far.about(errors::of_tools("copy this path out", &path, status, &said))),
        Err(e) => Err(e),
    };
    // What its tools complain of tells more than that the stream ended early.
    match ended.and(passed) {
        Ok(_) => sink.finish().await,
        Err(e) => {
            sink.send(Err(e)).await;
        }
    }
}

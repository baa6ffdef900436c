//! A container's stdin that is no terminal: written from within, ended by an attachment of nothing but
//! stdin ([`pod_shell::attach::feed`]).
//!
//! Docker ends the input of a container that was made with `StdinOnce` when one who is attached to it ends
//! or is gone (moby, `container/stream/attach.go`); Podman ends that of any (conmon, `conn_sock.c`). So
//! nobody attaches to it but to end it.

use super::{Asked, open};
use crate::containers::Inspected;
use crate::engine::Kind;
use crate::exec::{SHELL, Target, never_began, open_as};
use pod_core::{BoxWrite, Error, ErrorKind, Result};
use pod_shell::attach::feed::{self, Feed, Unfed, has_ended};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// The most that is read of why the script failed.
const SAID: u64 = 4 << 10;

/// Begins to feed a container's command. What goes wrong later comes by the channel.
///
/// # Errors
/// `Unsupported` where the image has no `sh` and `cat`, or the command's stdin can't be opened;
/// `WrongState` when it does not run; as the daemon says.
pub(super) async fn start(
    target: &Target,
    found: &Inspected,
) -> Result<(Feed<BoxWrite>, watch::Receiver<Option<Unfed>>)> {
    let once = target.engine.kind == Kind::Podman || found.config.stdin_once;
    let argv = [SHELL, "-c", feed::SCRIPT].map(str::to_owned);
    let mut script = open_as(target, &argv, None, true).await.map_err(no_shell)?;
    let stdin = script.stdin.take().ok_or_else(|| Error::unexpected("an exec with stdin has one"))?;
    let mut said = vec![0];
    // A stream that breaks off shows in the script's end.
    let read = script.stdout.read(&mut said).await.unwrap_or(0);
    said.truncate(read);
    if said != b"\n" {
        {
            let (mut out, mut err) = ((&mut script.stdout).take(SAID), (&mut script.stderr).take(SAID));
            let mut more = Vec::new();
            let _ = tokio::join!(out.read_to_end(&mut said), err.read_to_end(&mut more));
            said.append(&mut more);
        }
        let (status, said) = (script.end().await?, String::from_utf8_lossy(&said).trim().to_owned());
        let error = never_began(status, &said).map(no_shell);
        return Err(target.about(error.unwrap_or_else(|| feed::not_begun(status, &said))));
    }
    let (feed, writer) = feed::feed(stdin);
    let (report, unfed) = watch::channel(None);
    let target = target.clone();
    tokio::spawn(async move {
        let end = script.end().await.map_err(|e| e.to_string());
        if let Err(why) = writer.finish(end, once, "StdinOnce", || end_input(&target)).await {
            report.send_replace(Some(why));
        }
    });
    Ok((feed, unfed))
}

/// Tells the daemon that the command's input has ended; why it did not take that.
async fn end_input(target: &Target) -> Result<(), String> {
    match open(target, Asked { stdin: true, output: false, tty: false }).await {
        Ok(mut stream) => {
            stream.shutdown().await.map_err(|e| e.to_string())?;
            // The daemon keeps the connection to the command's end, and tells nothing by it.
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
            Ok(())
        }
        Err(e) if has_ended(e.kind()) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}

/// The error where the image has no shell.
fn no_shell(error: Error) -> Error {
    if error.kind() == ErrorKind::Unsupported { feed::no_shell(error) } else { error }
}

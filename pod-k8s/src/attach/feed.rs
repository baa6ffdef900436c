//! A container's stdin that is no terminal: written from within, ended by an attachment of nothing but
//! stdin ([`pod_shell::attach::feed`]).

use crate::exec::driver::end_of;
use crate::exec::input::Stdin;
use crate::exec::open::Target;
use crate::exec::session::{self, Session, Setup, StdinEnd};
use crate::exec::start::{no_half_close, start_script};
use crate::exec::{End, Order, PodWatch, Progress, status};
use pod_core::{Error, ErrorKind, Result};
use pod_shell::attach::feed::{self, Feed, Unfed, has_ended};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// The most that is read of why the script failed.
const SAID: u64 = 4 << 10;
/// How long the server may take to say that it has ended an input.
const ANSWER: Duration = Duration::from_secs(10);

/// Begins to feed a container's command. `once` tells whether the end of its input can be told
/// (`stdinOnce`). What goes wrong later comes by the channel.
///
/// # Errors
/// `Unsupported` where the image has no `sh` and `cat`, or the command's stdin can't be opened;
/// `WrongState` when it does not run; as the cluster says.
pub(super) async fn start(target: &Target, once: bool) -> Result<(Feed<Stdin>, watch::Receiver<Option<Unfed>>)> {
    let (session, half_close) = start_script(target, feed::SCRIPT, &[], true).await.map_err(no_shell)?;
    if !half_close {
        return Err(target.about(no_half_close()));
    }
    let Session { stdin, stdout, stderr, mut progress, orders } = session;
    let missing = || Error::unexpected("an exec with stdin has all three streams");
    let (stdin, mut stdout, stderr) =
        (stdin.ok_or_else(missing)?, stdout.ok_or_else(missing)?, stderr.ok_or_else(missing)?);
    // A stream that breaks off shows in the session's end.
    if !matches!(stdout.read(&mut [0]).await, Ok(1)) {
        let (mut said, mut stderr) = (Vec::new(), stderr.take(SAID));
        let (end, _) = tokio::join!(end_of(&mut progress), stderr.read_to_end(&mut said));
        return Err(target.about(not_begun(end, String::from_utf8_lossy(&said).trim())));
    }
    let (feed, writer) = feed::feed(stdin);
    let (report, unfed) = watch::channel(None);
    let target = target.clone();
    tokio::spawn(async move {
        let end = match end_with_pod(&target, progress, orders).await {
            End::Exited(status) => Ok(status),
            End::Refused(why) | End::Lost(why) => Err(why),
        };
        if let Err(why) = writer.finish(end, once, "stdinOnce", || end_input(&target)).await {
            report.send_replace(Some(why));
        }
    });
    Ok((feed, unfed))
}

/// Waits for the script's end, or the pod's.
async fn end_with_pod(target: &Target, mut progress: watch::Receiver<Progress>, orders: mpsc::Sender<Order>) -> End {
    let watch = PodWatch::default();
    let watching = watch.join(target);
    tokio::select! {
        biased;
        end = end_of(&mut progress) => end,
        why = watching.gone() => {
            // A session that has ended meanwhile takes no orders.
            let _ = orders.send(Order::Abandon(why)).await;
            end_of(&mut progress).await
        }
    }
}

/// Tells the runtime that the command's input has ended; why it did not take that.
async fn end_input(target: &Target) -> Result<(), String> {
    match target.attach_stdin().await {
        Ok(opened) => {
            let setup = Setup { stdin: true, tty: false, stdin_end: StdinEnd::Closed, wrapper: None };
            let mut session = session::start(opened.socket, setup);
            session.stdin = None;
            match timeout(ANSWER, end_of(&mut session.progress)).await {
                Ok(End::Exited(_)) => Ok(()),
                Ok(End::Refused(words)) if has_ended(status::refused(&words, None).kind()) => Ok(()),
                Ok(End::Refused(why) | End::Lost(why)) => Err(why),
                Err(_) => Err("the server does not answer".into()),
            }
        }
        Err(e) if has_ended(e.kind()) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}

/// Why the script did not begin.
fn not_begun(end: End, said: &str) -> Error {
    match end {
        End::Exited(status) => feed::not_begun(status, said),
        End::Refused(words) => no_shell(status::refused(&words, Some(b"sh"))),
        End::Lost(why) => Error::new(ErrorKind::Unavailable, "the stream to the command's stdin was lost")
            .with_context("cause", why)
            .with_retry(pod_core::Retry::Later),
    }
}

/// The error where the image has no shell.
fn no_shell(error: Error) -> Error {
    if error.kind() == ErrorKind::CommandFailed { feed::no_shell(error) } else { error }
}

//! Holding a program that runs in a container.

use super::gone::{PodWatch, Watching, answers};
use super::start::run_script;
use super::{End, Order, Progress, Target, wrap};
use async_trait::async_trait;
use pod_core::{Error, ErrorKind, ExitStatus, ProcessDriver, Result, Signal, TtySize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long a program runs before its pod is watched: most are shorter.
const BEFORE_WATCH: Duration = Duration::from_secs(3);
/// How long a status may come after its pod was seen to be gone.
const GRACE: Duration = Duration::from_secs(2);

/// A program in a container.
#[derive(Debug)]
pub(crate) struct ExecDriver {
    pub(crate) target: Arc<Target>,
    pub(crate) watch: Arc<PodWatch>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) orders: mpsc::Sender<Order>,
    /// By which it is found again, and its process id; `None` where the image has no shell.
    pub(crate) known: Option<(String, u32)>,
    pub(crate) tty: bool,
    pub(crate) began: Instant,
    pub(crate) watching: Option<Arc<Watching>>,
}

impl ExecDriver {
    fn ended(&self) -> bool {
        self.progress.borrow().end.is_some()
    }

    fn shell_less(&self, what: &str) -> Error {
        self.target.about(
            Error::unsupported(format!("the image has no `sh`, so its programs can't be {what}: the program was left"))
                .with_hint("use an image with a POSIX shell and /proc"),
        )
    }
}

/// Waits for a session's end.
pub(crate) async fn end_of(progress: &mut watch::Receiver<Progress>) -> End {
    let ended = progress.wait_for(|p| p.end.is_some()).await;
    ended.ok().and_then(|p| p.end.clone()).unwrap_or_else(|| End::Lost("the runtime was shut down".into()))
}

/// Kills all of a token.
///
/// # Errors
/// `Unsupported` where the image has no shell or no `/proc`; `PermissionDenied` when something of it can't
/// be killed.
pub(crate) async fn kill(target: &Target, token: &str) -> Result<()> {
    signal(target, token, None).await
}

async fn signal(target: &Target, token: &str, to: Option<(Signal, u32)>) -> Result<()> {
    let said = match run_script(target, &wrap::signal(token, to)).await {
        Ok(said) => said,
        // A container that is gone runs nothing.
        Err(e) if matches!(e.kind(), ErrorKind::WrongState | ErrorKind::NotFound) => return Ok(()),
        Err(e) if e.kind() == ErrorKind::CommandFailed => {
            return Err(target.about(
                Error::unsupported("the image's `sh` can't be run to signal by: the program was left").with_source(e),
            ));
        }
        Err(e) => return Err(e),
    };
    match said.status {
        ExitStatus::Exited(0) => Ok(()),
        ExitStatus::Exited(pod_shell::NO_PROC) => Err(target.about(
            Error::unsupported("the container has no /proc to find processes by: the program was left")
                .with_hint("use a container with /proc"),
        )),
        ExitStatus::Exited(pod_shell::NOT_ALLOWED) => Err(target.about(
            Error::new(ErrorKind::PermissionDenied, "some processes of the program can't be signalled: they were left")
                .with_context("pids", said.stdout_text().trim().to_owned())
                .with_hint("they run as another user than the container's"),
        )),
        // The container ended under the script.
        ExitStatus::Exited(137) | ExitStatus::Unknown => Ok(()),
        other => Err(target.about(
            Error::new(ErrorKind::CommandFailed, "signalling the program failed")
                .with_context("status", other.to_string())
                .with_context("stderr", said.stderr_text().trim().to_owned()),
        )),
    }
}

#[async_trait]
impl ProcessDriver for ExecDriver {
    async fn wait(&mut self) -> Result<ExitStatus> {
        let end = loop {
            let Some(watching) = self.watching.clone() else {
                tokio::select! {
                    biased;
                    end = end_of(&mut self.progress) => break end,
                    () = tokio::time::sleep_until(self.began + BEFORE_WATCH) => {
                        self.watching = Some(self.watch.join(&self.target));
                    }
                }
                continue;
            };
            tokio::select! {
                biased;
                end = end_of(&mut self.progress) => break end,
                why = watching.gone() => {
                    if let Ok(end) = tokio::time::timeout(GRACE, end_of(&mut self.progress)).await {
                        break end;
                    }
                    // A session that has ended meanwhile takes no orders.
                    let _ = self.orders.send(Order::Abandon(why)).await;
                    break end_of(&mut self.progress).await;
                }
            }
        };
        self.watching = None;
        // No mark proves this success, and a lost node looks the same.
        let unproven = self.tty || self.known.is_none();
        if unproven && end == End::Exited(ExitStatus::Exited(0)) && !answers(&self.target).await {
            return Ok(ExitStatus::Unknown);
        }
        match end {
            End::Exited(status) => Ok(status),
            End::Refused(words) if self.known.is_none() => Err(self.target.about(super::status::refused(&words, None))),
            End::Refused(why) | End::Lost(why) => {
                tracing::warn!(target: "pod", pod = self.target.pod, why, "how a program ended is not known");
                Ok(ExitStatus::Unknown)
            }
        }
    }

    async fn resize(&mut self, size: TtySize) -> Result<()> {
        if !self.tty {
            return Err(Error::new(ErrorKind::WrongState, "the program has no terminal"));
        }
        // One that has ended needs no size.
        let _ = self.orders.send(Order::Resize(size)).await;
        Ok(())
    }

    async fn signal(&mut self, to: Signal) -> Result<()> {
        if self.ended() {
            return Ok(());
        }
        match &self.known {
            Some((token, pid)) => signal(&self.target, token, Some((to, *pid))).await,
            None => Err(self.shell_less("signalled")),
        }
    }

    async fn kill(&mut self) -> Result<()> {
        let Some((token, _)) = &self.known else {
            return if self.ended() { Ok(()) } else { Err(self.shell_less("killed")) };
        };
        kill(&self.target, token).await?;
        // Its status comes behind what it printed, whether somebody reads that or not.
        let _ = self.orders.send(Order::Flush).await;
        Ok(())
    }

    async fn detach(&mut self) -> Result<()> {
        Ok(())
    }
}

//! Holding a command that is attached to.
//!
//! The server says that an attachment succeeded, however the command ended: its status is the
//! container's.

use super::{Attach, shared};
use crate::exec::driver::{SIGNAL, end_of};
use crate::exec::open::Target;
use crate::exec::start::run_script;
use crate::exec::status::{self, Cause};
use crate::exec::{End, Order, Progress};
use crate::pods;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::wait::await_condition;
use pod_core::{Error, ErrorKind, ExitStatus, ProcessDriver, Result, Signal, State, TtySize};
use pod_shell::attach::feed::{Unfed, unfed};
use std::future::pending;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

/// How long a command may take to be known as ended once its stream was lost: who waits for one that goes
/// on shall hear so soon.
const LOST: Duration = Duration::from_secs(10);
/// How long the stream may take to end once the command has.
const REST: Duration = Duration::from_secs(1);
/// How long the log may take to tell the rest, unless nobody reads it.
const TOLD: Duration = Duration::from_secs(5);
/// How often in a row the pod may not be seen, and how long it is left in between.
const BLIND: u32 = 20;
const PAUSE: Duration = Duration::from_secs(1);

/// A stream that is open to the command.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) orders: mpsc::Sender<Order>,
    /// Closed when all output is there, where it is joined with the log.
    pub(super) rest: Option<oneshot::Receiver<()>>,
    /// What goes wrong with its stdin, where that is fed.
    pub(super) unfed: Option<watch::Receiver<Option<Unfed>>>,
}

/// A container's command, attached to.
#[derive(Debug)]
pub(super) struct AttachDriver {
    target: Target,
    uid: Option<String>,
    /// `None` where the log tells everything.
    stream: Option<Stream>,
    tty: bool,
    shared: bool,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Over {
    status: ExitStatus,
    /// Its container goes on, and so does the stream.
    kept: bool,
}

/// How the command of this pod's container ended, if it did.
fn over(pod: Option<&Pod>, uid: Option<&str>, container: &str) -> Option<Over> {
    let gone = Some(Over { status: ExitStatus::Unknown, kept: false });
    let Some(pod) = pod.filter(|p| uid.is_none() || p.uid().as_deref() == uid) else { return gone };
    match pods::workload_of(pod, Some(container)).map(|w| w.state) {
        Ok(State::Running { command: None } | State::Starting | State::Created) => None,
        Ok(State::Running { command: Some(status) }) => Some(Over { status, kept: true }),
        Ok(State::Exited(status)) => Some(Over { status, kept: false }),
        _ => gone,
    }
}

impl AttachDriver {
    pub(super) fn new(target: Target, how: &Attach, stream: Option<Stream>) -> Self {
        Self { target, uid: how.uid.clone(), stream, tty: how.tty, shared: how.shared }
    }

    /// Waits until the command has ended, by what the cluster says of its container.
    async fn over(&self) -> Result<Over> {
        let (uid, container) = (self.uid.as_deref(), self.target.container.as_str());
        let mut blind = 0;
        loop {
            let condition = {
                let (uid, container) = (self.uid.clone(), self.target.container.clone());
                move |pod: Option<&Pod>| over(pod, uid.as_deref(), &container).is_some()
            };
            match await_condition(self.target.cluster.pods(), &self.target.pod, condition).await {
                Ok(pod) => {
                    if let Some(over) = over(pod.as_ref(), uid, container) {
                        return Ok(over);
                    }
                }
                Err(e) if blind >= BLIND => {
                    let e = Error::new(ErrorKind::Unavailable, "how the command ended can't be asked").with_source(e);
                    return Err(self.target.about(e));
                }
                Err(e) => {
                    tracing::debug!(target: "pod", error = %e, pod = self.target.pod, "the pod can't be watched");
                    blind += 1;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until the stream has ended for another reason than the command's end.
    async fn broken(&self) -> Error {
        let Some(stream) = &self.stream else { return pending().await };
        let mut progress = stream.progress.clone();
        let end = tokio::select! {
            end = end_of(&mut progress) => end,
            unfed = unfed(stream.unfed.clone()) => {
                sleep(LOST).await;
                return self.target.about(unfed.error());
            }
        };
        match end {
            End::Refused(words) if !matches!(status::cause(&words), Cause::NotRunning | Cause::Gone) => {
                self.target.about(status::refused(&words, None))
            }
            End::Lost(why) => {
                sleep(LOST).await;
                self.target.about(
                    Error::new(ErrorKind::Unavailable, "the stream to the command was lost; the command still runs")
                        .with_context("cause", why)
                        .with_hint("attach again"),
                )
            }
            // It had ended before the stream came through, or has now.
            End::Refused(_) | End::Exited(_) => pending().await,
        }
    }
}

#[async_trait]
impl ProcessDriver for AttachDriver {
    async fn wait(&mut self) -> Result<ExitStatus> {
        let over = tokio::select! {
            biased;
            over = self.over() => over?,
            broken = self.broken() => return Err(broken),
        };
        if let Some(stream) = &mut self.stream {
            if timeout(REST, end_of(&mut stream.progress)).await.is_err() && over.kept {
                // A session that has ended meanwhile takes no orders.
                let _ = stream.orders.send(Order::Abandon("the command has ended".into())).await;
            }
            if let Some(rest) = &mut stream.rest {
                // Its task's end is all that it tells. One that was seen to end is not asked again.
                let _ = timeout(TOLD, rest).await;
                stream.rest = None;
            }
        }
        Ok(over.status)
    }

    async fn resize(&mut self, size: TtySize) -> Result<()> {
        let Some(stream) = self.stream.as_ref().filter(|_| self.tty) else {
            return Err(Error::new(ErrorKind::WrongState, "the command has no terminal"));
        };
        // One that has ended needs no size.
        let _ = stream.orders.send(Order::Resize(size)).await;
        Ok(())
    }

    async fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.shared {
            return Err(self.target.about(shared()));
        }
        // The command is the first process of its container.
        let script = "kill \"-$1\" 1";
        let argv = ["sh", "-c", script, "pod", &signal.get().to_string()].map(|a| a.as_bytes().to_vec());
        match run_script(&self.target, &argv, SIGNAL).await {
            Ok(out) if out.status.success() => Ok(()),
            // The container ended under the script.
            Ok(out) if matches!(out.status, ExitStatus::Exited(137) | ExitStatus::Unknown) => Ok(()),
            Ok(out) => Err(self.target.about(
                Error::new(ErrorKind::CommandFailed, "the command can't be signalled")
                    .with_context("stderr", out.stderr_text().trim().to_owned()),
            )),
            Err(e) if matches!(e.kind(), ErrorKind::WrongState | ErrorKind::NotFound) => Ok(()),
            Err(e) if e.kind() == ErrorKind::CommandFailed => Err(self
                .target
                .about(Error::unsupported("the image has no `sh` to signal the command by").with_source(e))),
            Err(e) => Err(e),
        }
    }

    async fn kill(&mut self) -> Result<()> {
        Err(self.target.about(
            Error::unsupported("the first process of a container can't be killed from within it: it was left")
                .with_hint("remove the workload: `pod rm -f`"),
        ))
    }

    async fn detach(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, state: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "w", "uid": uid},
            "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": "Running", "containerStatuses": [{
                "name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state}]}
        }))
        .expect("a pod")
    }

    #[test]
    fn a_command_is_over_when_its_own_pod_says_so_or_is_gone() {
        let running = pod("1", serde_json::json!({"running": {"startedAt": "2026-01-02T03:04:06Z"}}));
        let ended = pod("1", serde_json::json!({"terminated": {"exitCode": 4, "reason": "Error"}}));
        let of = |pod: Option<&Pod>, uid| over(pod, Some(uid), "main").map(|o| o.status);
        assert_eq!(of(Some(&running), "1"), None);
        assert_eq!(of(Some(&ended), "1"), Some(ExitStatus::Exited(4)));
        assert_eq!(of(Some(&running), "2"), Some(ExitStatus::Unknown), "another of the same name");
        assert_eq!(of(None, "1"), Some(ExitStatus::Unknown));
    }
}

//! The streams of a container's own command.
//!
//! The server says that an attachment succeeded, however the command ended: its status is the
//! container's.

use crate::exec::driver::end_of;
use crate::exec::open::{Streams, Target};
use crate::exec::session::{self, Session, Setup, StdinEnd};
use crate::exec::start::{no_half_close, run_script};
use crate::exec::{End, Order, Progress};
use crate::pods;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::wait::{Condition, await_condition};
use pod_core::{Error, ErrorKind, ExitStatus, Process, ProcessDriver, Result, Signal, State, TtySize};
use tokio::sync::{mpsc, watch};

/// How to attach.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attach {
    /// Write the command's stdin.
    pub(crate) stdin: bool,
    /// Whether the container was made with a terminal.
    pub(crate) tty: bool,
    /// Give that terminal this size.
    pub(crate) size: Option<TtySize>,
}

/// Attaches to a container's command.
///
/// # Errors
/// As [`Backend::attach`](pod_core::Backend::attach).
pub(crate) async fn attach(target: Target, how: Attach) -> Result<Process> {
    let opened = target.attach(Streams { stdin: how.stdin, tty: how.tty }).await?;
    let stdin_end = StdinEnd::of(how.tty, opened.half_close);
    if how.stdin && stdin_end == StdinEnd::Silent {
        return Err(target.about(no_half_close()));
    }
    let setup = Setup { stdin: how.stdin, tty: how.tty, stdin_end, marks: None };
    let Session { stdin, stdout, stderr, progress, orders } = session::start(opened.socket, setup);
    if let Some(size) = how.size.filter(|_| how.tty) {
        // One that has ended needs no size.
        let _ = orders.send(Order::Resize(size)).await;
    }
    let driver = AttachDriver { target, progress, orders, tty: how.tty };
    let streams = pod_core::Streams {
        stdin: stdin.map(|s| Box::pin(s) as _),
        stdout: stdout.map(|s| Box::pin(s) as _),
        stderr: stderr.map(|s| Box::pin(s) as _),
    };
    Ok(Process::attached(Box::new(driver), streams))
}

/// A container's command, attached to.
#[derive(Debug)]
struct AttachDriver {
    target: Target,
    progress: watch::Receiver<Progress>,
    orders: mpsc::Sender<Order>,
    tty: bool,
}

/// The state of the container, if the pod is there.
fn state(pod: &Pod, container: &str) -> Option<State> {
    Some(pods::workload_of(pod, Some(container)).ok()?.state)
}

/// Whether the pod is gone or its container has ended.
fn over(container: String) -> impl Condition<Pod> {
    move |pod: Option<&Pod>| match pod {
        None => true,
        Some(pod) => {
            !matches!(state(pod, &container), Some(State::Running { command: None } | State::Starting | State::Created))
        }
    }
}

#[async_trait]
impl ProcessDriver for AttachDriver {
    async fn wait(&mut self) -> Result<ExitStatus> {
        let end = end_of(&mut self.progress).await;
        if let End::Refused(words) = &end {
            return Err(self.target.about(crate::exec::status::refused(words, None)));
        }
        let over = await_condition(self.target.cluster.pods(), &self.target.pod, over(self.target.container.clone()));
        let over = match &end {
            // The stream is gone and the command may go on: who waits for it shall hear so soon.
            End::Lost(_) => tokio::time::timeout(std::time::Duration::from_secs(10), over).await,
            _ => Ok(over.await),
        };
        match over {
            Ok(Ok(pod)) => Ok(match pod.and_then(|p| state(&p, &self.target.container)) {
                Some(State::Exited(status) | State::Running { command: Some(status) }) => status,
                _ => ExitStatus::Unknown,
            }),
            Ok(Err(e)) => Err(self
                .target
                .about(Error::new(ErrorKind::Unavailable, "how the command ended can't be asked").with_source(e))),
            Err(_) => Err(self.target.about(
                Error::new(ErrorKind::Unavailable, "the stream to the command was lost; the command still runs")
                    .with_hint("attach again"),
            )),
        }
    }

    async fn resize(&mut self, size: TtySize) -> Result<()> {
        if !self.tty {
            return Err(Error::new(ErrorKind::WrongState, "the command has no terminal"));
        }
        let _ = self.orders.send(Order::Resize(size)).await;
        Ok(())
    }

    async fn signal(&mut self, signal: Signal) -> Result<()> {
        // The command is the first process of its container, unless the pod's containers share theirs.
        let script = "[ \"$(readlink /proc/1/exe)\" != /pause ] || exit 3; kill \"-$1\" 1";
        let argv = ["sh", "-c", script, "pod", &signal.get().to_string()].map(|a| a.as_bytes().to_vec());
        match run_script(&self.target, &argv).await {
            Ok(out) if out.status.success() => Ok(()),
            Ok(out) if out.status == ExitStatus::Exited(3) => Err(self.target.about(Error::unsupported(
                "the pod's containers share their processes, so the command can't be told from others",
            ))),
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

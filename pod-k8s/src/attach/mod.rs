//! The streams of a container's own command.
//!
//! Kubernetes gives what is printed from some moment on, and does not tell that moment: it comes after the
//! server has taken the connection. So what was printed before is the log's to tell, and [`join`] goes from
//! one to the other.
//!
//! A stdin that is no terminal is written from within the container ([`feed`]).
//!
//! What a command prints in the last moments before it ends may be missing, here and in the log: containerd
//! 1.6 lets go of a container's output before it has read all of it ("Failed to pipe stdout of container").

mod driver;
mod feed;

use crate::exec::Order;
use crate::exec::open::{Streams, Target};
use crate::exec::session::{self, Session, Setup, StdinEnd};
use crate::logs;
use driver::{AttachDriver, Stream};
use pod_core::{BoxRead, Error, LogStreamOf, LogsRequest, Process, Result, TtySize, WorkloadName};
use pod_shell::attach::{Live, Typing, bytes_of, join, last};

/// How to attach.
#[derive(Debug, Clone)]
pub(crate) struct Attach {
    /// The workload.
    pub(crate) name: WorkloadName,
    /// The pod that it is: another of the same name is not the same.
    pub(crate) uid: Option<String>,
    /// Write the command's stdin.
    pub(crate) stdin: bool,
    /// Give what was printed before, first.
    pub(crate) logs: bool,
    /// Whether the container was made with a terminal.
    pub(crate) tty: bool,
    /// Whether it was made so that the end of its stdin can be told (`stdinOnce`).
    pub(crate) once: bool,
    /// Whether its processes are among those of others: the first process is not its command.
    pub(crate) shared: bool,
    /// Give that terminal this size.
    pub(crate) size: Option<TtySize>,
}

/// Attaches to a container's command.
///
/// # Errors
/// As [`Backend::attach`](pod_core::Backend::attach).
pub(crate) async fn attach(target: Target, how: Attach) -> Result<Process> {
    if how.logs && !how.stdin && !how.tty {
        // The log has all of it, and outlasts a connection that is cut.
        let stdout = bytes_of(log(&target, &how, true).await?);
        let driver = AttachDriver::new(target, &how, None);
        let stderr: BoxRead = Box::pin(tokio::io::empty());
        let streams = pod_core::Streams { stdin: None, stdout: Some(stdout), stderr: Some(stderr) };
        return Ok(Process::attached(Box::new(driver), streams));
    }
    // What the log ends with now was printed before.
    let mark = if how.logs { last(log(&target, &how, false).await?).await? } else { None };
    let (typed, fed) = (how.stdin && how.tty, how.stdin && !how.tty);
    if fed && how.shared {
        return Err(target.about(shared().with_hint("attach without stdin")));
    }
    let opened = target.attach(Streams { stdin: typed, tty: how.tty }).await?;
    // Who lets go of a terminal types nothing into it.
    let setup = Setup { stdin: typed, tty: how.tty, stdin_end: StdinEnd::Silent, wrapper: None };
    let Session { stdin, stdout, stderr, progress, orders } = session::start(opened.socket, setup);
    if let Some(size) = how.size.filter(|_| how.tty) {
        // One that has ended needs no size.
        let _ = orders.send(Order::Resize(size)).await;
    }
    let (stdout, stderr, rest) = match (how.logs, stdout) {
        (true, Some(stdout)) => {
            let live = Live { mark, out: Box::pin(stdout), err: stderr.map(|e| Box::pin(e) as BoxRead), tty: how.tty };
            let joined = join(log(&target, &how, true).await?, live);
            (Some(joined.stdout), joined.stderr, Some(joined.ended))
        }
        (_, stdout) => (stdout, stderr, None),
    };
    // Only now: the exec goes the way that the attachment went, and takes longer. So an answer to what is
    // written is not printed before somebody listens.
    let (fed, unfed) = if fed { Some(feed::start(&target, how.once).await?).unzip() } else { (None, None) };
    let typed = stdin.map(|stdin| Box::pin(Typing::new(stdin)) as pod_core::BoxWrite);
    let driver = AttachDriver::new(target, &how, Some(Stream { progress, orders, rest, unfed }));
    let streams = pod_core::Streams {
        stdin: typed.or(fed.map(|feed| Box::pin(feed) as _)),
        stdout: stdout.map(|s| Box::pin(s) as _),
        stderr: stderr.map(|s| Box::pin(s) as _),
    };
    Ok(Process::attached(Box::new(driver), streams))
}

/// The error where a command can't be told from others.
fn shared() -> Error {
    Error::unsupported("the pod shares its processes with others, so the command can't be told from them")
}

/// The command's log: followed, or no more than its last line.
async fn log(target: &Target, how: &Attach, follow: bool) -> Result<LogStreamOf> {
    let mut request = LogsRequest::new(how.name.clone()).with_follow(follow);
    if !follow {
        request = request.with_tail(Some(1));
    }
    logs::read(&target.cluster, &target.pod, &request).await.map_err(|e| target.about(e))
}

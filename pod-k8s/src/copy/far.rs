//! The far end of a copy: something that runs a shell's script.

use super::errors;
use crate::exec::driver::end_of;
use crate::exec::open::Streams;
use crate::exec::session::{self, Session, Setup, StdinEnd};
use crate::exec::{End, Order, PodWatch, Target, status, wrap};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pod_core::{BoxRead, BoxWrite, Error, ErrorKind, ExitStatus, Result};
use pod_shell::Scanner;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, BufReader};

/// A script that runs. Dropping all of it ends it.
pub(crate) struct Running {
    /// Where it is written to, when that was asked for.
    pub(crate) stdin: Option<BoxWrite>,
    /// What it prints.
    pub(crate) stdout: BufReader<BoxRead>,
    /// What its tools complain of.
    pub(crate) stderr: BoxRead,
    /// How it ends.
    pub(crate) end: BoxFuture<'static, Result<ExitStatus>>,
    /// Whether it sees the end of its stdin.
    pub(crate) half_close: bool,
}

/// What runs scripts by `sh -c`.
#[async_trait]
pub(crate) trait Far: Send + Sync + 'static {
    /// Starts a script with these arguments, which are text.
    ///
    /// # Errors
    /// `CommandFailed` with 126 or 127 where there is no shell.
    async fn start(&self, script: &str, args: &[String], stdin: bool) -> Result<Running>;

    /// Says which workload an error is about.
    fn about(&self, error: Error) -> Error;
}

/// A container of a pod as the far end.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) target: Arc<Target>,
    pub(crate) watch: Arc<PodWatch>,
}

#[async_trait]
impl Far for Container {
    async fn start(&self, script: &str, args: &[String], stdin: bool) -> Result<Running> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let argv = wrap::script(script, args, &token);
        let opened = self.target.exec(&argv, Streams { stdin, tty: false }).await?;
        let half_close = opened.half_close;
        let setup =
            Setup { stdin, tty: false, stdin_end: StdinEnd::of(false, half_close), marks: Some(Scanner::new(&token)) };
        let Session { stdin, stdout, stderr, mut progress, orders } = session::start(opened.socket, setup);
        let (far, fed) = (self.clone(), stdin.is_some());
        let end = async move {
            let watching = far.watch.join(&far.target);
            let end = tokio::select! {
                biased;
                end = end_of(&mut progress) => end,
                why = watching.gone() => {
                    // A session that has ended meanwhile takes no orders.
                    let _ = orders.send(Order::Abandon(why)).await;
                    end_of(&mut progress).await
                }
            };
            // As long as this lives, the session does.
            if fed && matches!(end, End::Exited(_)) {
                tokio::spawn(let_go(orders));
            } else {
                drop(orders);
            }
            match end {
                End::Exited(status) => Ok(status),
                End::Refused(words) => Err(far.target.about(status::refused(&words, Some(b"sh")))),
                End::Lost(why) => Err(far.target.about(
                    Error::new(ErrorKind::Unavailable, "the stream to the pod was lost during the copy")
                        .with_context("cause", why),
                )),
            }
        };
        Ok(Running {
            stdin: stdin.map(|s| Box::pin(s) as _),
            stdout: BufReader::with_capacity(64 << 10, stdout.map_or_else(empty, |s| Box::pin(s) as _)),
            stderr: stderr.map_or_else(empty, |s| Box::pin(s) as _),
            end: end.boxed(),
            half_close,
        })
    }

    fn about(&self, error: Error) -> Error {
        self.target.about(error)
    }
}

/// How long a server may take to close the stream of a script that took stdin and has ended.
const CLOSING: Duration = Duration::from_secs(2);

/// Ends the session of a script that has ended. A server that is left with stdin that nobody reads any
/// more neither tells the status nor closes the stream; the script's own mark has told it.
async fn let_go(orders: tokio::sync::mpsc::Sender<Order>) {
    if tokio::time::timeout(CLOSING, orders.closed()).await.is_err() {
        // A session that has ended meanwhile takes no orders.
        let _ = orders.send(Order::Abandon("the script has ended".into())).await;
    }
}

fn empty() -> BoxRead {
    Box::pin(tokio::io::empty())
}

/// The most that is read of what tools complain of, and of one line.
const SAID: u64 = 16 << 10;

/// Reads what tools complain of, to its end.
pub(crate) async fn complaints(stderr: BoxRead) -> String {
    let mut said = Vec::new();
    let mut stderr = stderr;
    // What can't be read is not said; the status tells the failure all the same.
    let _ = (&mut stderr).take(SAID).read_to_end(&mut said).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&said).trim().to_owned()
}

impl Running {
    /// The next line of its stdout, without its end; `None` when there is none.
    pub(crate) async fn line(&mut self) -> Result<Option<Vec<u8>>> {
        use tokio::io::AsyncBufReadExt;
        let mut line = Vec::new();
        let read = (&mut self.stdout).take(SAID).read_until(b'\n', &mut line).await;
        read.map_err(|e| Error::io("can't read what the pod says", e))?;
        if line.pop() != Some(b'\n') {
            return Ok(None);
        }
        Ok(Some(line))
    }

    /// Waits for the end after a failure, and gives the error: from its status and what its tools said.
    pub(crate) async fn failure(self, doing: &str, path: &[u8]) -> Error {
        let Self { stdin, stdout, stderr, end, .. } = self;
        drop((stdin, stdout));
        let (said, end) = tokio::join!(complaints(stderr), end);
        match end {
            Err(e) => e,
            Ok(status) => errors::of_tools(doing, path, status, &said),
        }
    }
}

/// The error where the image has no shell.
pub(crate) fn no_shell(error: Error) -> Error {
    if error.kind() != ErrorKind::CommandFailed {
        return error;
    }
    Error::unsupported("the image has no `sh`, by which files are copied")
        .with_hint("use an image with a POSIX shell and `tar` or `cat`, or a helper: `pod cp --helper IMAGE`")
        .with_source(error)
}

//! Starting programs.

use super::driver::{ExecDriver, end_of};
use super::session::{self, Runs, Session, Setup, StdinEnd, Wrapper};
use super::wrap::{self, Wrapped};
use super::{End, PodWatch, Progress, Streams, Target, status};
use futures_util::FutureExt;
use pod_core::{Error, ErrorKind, ExecRequest, ExitStatus, Output, Process, Result, Retry};
use pod_shell::Mark;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a program without a shell around it is given to fail at its start.
const BARE: Duration = Duration::from_millis(300);
/// How long a start that nobody waits for any more may take before it is left.
const ABANDONED: Duration = Duration::from_secs(60);
/// How long looking for a program may take.
const LOOKED: Duration = Duration::from_secs(10);
/// The most that is collected of a script's output.
const SAID: u64 = 64 << 10;

/// A container in which programs are started.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    pub(crate) target: Arc<Target>,
    pub(crate) watch: Arc<PodWatch>,
    /// The image was seen to have no `sh`.
    pub(crate) bare: Arc<AtomicBool>,
}

impl Starter {
    /// Programs of this container.
    pub(crate) fn new(target: Target) -> Self {
        Self { target: Arc::new(target), watch: Arc::default(), bare: Arc::default() }
    }

    /// Starts a program. When this is cancelled the program is killed as soon as it has begun.
    ///
    /// # Errors
    /// As [`Connection::exec`](pod_core::Connection::exec).
    pub(crate) async fn start(&self, request: ExecRequest) -> Result<Process> {
        request.validate()?;
        let (mut answer, answered) = oneshot::channel();
        let starter = self.clone();
        tokio::spawn(async move {
            let begin = starter.begin(request);
            tokio::pin!(begin);
            let begun = tokio::select! {
                begun = &mut begin => begun,
                () = answer.closed() => match tokio::time::timeout(ABANDONED, begin).await {
                    Ok(begun) => begun,
                    Err(_) => return,
                },
            };
            // Dropped unread, a process is killed by its own task.
            let _ = answer.send(begun);
        });
        answered.await.unwrap_or_else(|_| Err(Error::unexpected("the task that starts programs has died")))
    }

    async fn begin(&self, request: ExecRequest) -> Result<Process> {
        if request.user.is_some() {
            return Err(Error::unsupported("Kubernetes has no choice of user for an exec")
                .with_hint("run it by `su` where the image has that"));
        }
        if !self.bare.load(Ordering::Relaxed)
            && let Some(process) = self.wrapped(&request).await?
        {
            return Ok(process);
        }
        self.bare.store(true, Ordering::Relaxed);
        self.unwrapped(request).await
    }

    async fn open(&self, program: Wrapped, request: &ExecRequest, wrapper: Option<Wrapper>) -> Result<Session> {
        let tty = request.tty.is_some();
        let stdin = request.stdin || !program.first.is_empty();
        let opened = self.target.exec(&program.argv, Streams { stdin, tty }).await?;
        let stdin_end = StdinEnd::of(tty, opened.half_close);
        if request.stdin && stdin_end == StdinEnd::Silent {
            return Err(self.target.about(no_half_close()));
        }
        let mut session = session::start(opened.socket, Setup { stdin, tty, stdin_end, wrapper });
        if let Some(size) = request.tty {
            let _ = session.orders.send(super::Order::Resize(size)).await;
        }
        if !program.first.is_empty()
            && let Some(stdin) = &mut session.stdin
        {
            // A shell that is gone shows in the session's end.
            let _ = stdin.write_all(&program.first).await;
        }
        if !request.stdin {
            session.stdin = None;
        }
        Ok(session)
    }

    /// Starts it by the image's shell; `None` when there is none.
    async fn wrapped(&self, request: &ExecRequest) -> Result<Option<Process>> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let program = wrap::run(request, &token)?;
        let wrapper = wrapper(&self.target, &token, Runs::Program);
        let mut session = self.open(program, request, Some(wrapper)).await?;
        let began = session.progress.wait_for(|p| p.first.is_some() || p.end.is_some()).await;
        let Progress { first, end, .. } = began.map(|p| p.clone()).unwrap_or_default();
        let program = || String::from_utf8_lossy(&request.argv[0]).into_owned();
        let failed = |e: Error| Err(self.target.about(e));
        let pid = match (first, end) {
            (Some(Mark::Began(pid)), _) => pid,
            (Some(Mark::NoProgram), _) => return failed(status::no_program().with_context("program", program())),
            (Some(Mark::NotExecutable), _) => {
                return failed(status::not_executable().with_context("program", program()));
            }
            (Some(Mark::NoDirectory), _) => {
                return failed(
                    Error::new(ErrorKind::NotFound, "the working directory can't be entered")
                        .with_context("cwd", request.cwd.clone().unwrap_or_default()),
                );
            }
            // A shell that knows nothing of marks ended; so did what it ran.
            (Some(Mark::Ended(_)) | None, Some(End::Exited(_))) | (Some(Mark::Ended(_)), _) => 0,
            (None, Some(End::Refused(words))) => {
                return match status::cause(&words) {
                    status::Cause::NoProgram | status::Cause::NotExecutable => Ok(None),
                    _ => failed(status::refused(&words, Some(&request.argv[0]))),
                };
            }
            (None, Some(End::Lost(why))) => {
                return failed(
                    Error::new(ErrorKind::Unavailable, "the stream was lost before the program had begun")
                        .with_context("cause", why)
                        .with_retry(Retry::Later),
                );
            }
            (None, None) => return failed(Error::unexpected("the stream ended without a word")),
        };
        Ok(Some(self.hold(session, request, Some((token, pid)))))
    }

    /// Starts it as it is.
    async fn unwrapped(&self, request: ExecRequest) -> Result<Process> {
        if !request.env.is_empty() || request.cwd.is_some() {
            return Err(self.target.about(
                Error::unsupported("the image has no `sh` to set an environment or a directory with")
                    .with_hint("use an image with a POSIX shell"),
            ));
        }
        let program = Wrapped { argv: request.argv.clone(), first: Vec::new() };
        let mut session = self.open(program, &request, None).await?;
        // Nothing tells that it has begun but output, or its end.
        let first = session.progress.wait_for(|p| p.output || p.end.is_some());
        let end = match tokio::time::timeout(BARE, first).await {
            Ok(Ok(progress)) => progress.end.clone(),
            _ => None,
        };
        if let Some(End::Refused(words)) = end {
            return Err(self.target.about(status::refused(&words, Some(&request.argv[0]))));
        }
        Ok(self.hold(session, &request, None))
    }

    fn hold(&self, session: Session, request: &ExecRequest, known: Option<(String, u32)>) -> Process {
        let Session { stdin, stdout, stderr, progress, orders } = session;
        let driver = ExecDriver {
            target: self.target.clone(),
            watch: self.watch.clone(),
            progress,
            orders,
            known,
            tty: request.tty.is_some(),
            began: Instant::now(),
            watching: None,
        };
        let streams = pod_core::Streams {
            stdin: stdin.map(|s| Box::pin(s) as _),
            stdout: stdout.map(|s| Box::pin(s) as _),
            stderr: stderr.map(|s| Box::pin(s) as _),
        };
        Process::spawn(Box::new(driver), streams, request.timeout)
    }
}

/// What is known of a program by its wrapper, and by looking for it.
fn wrapper(target: &Arc<Target>, token: &str, runs: Runs) -> Wrapper {
    let (target, argv) = (target.clone(), wrap::search(token));
    let lives = Box::new(move || {
        let (target, argv) = (target.clone(), argv.clone());
        // Only a search that found nothing proves something.
        let search = async move { run_script(&target, &argv, LOOKED).await.map(|said| said.status) };
        search.map(|found| !matches!(found, Ok(ExitStatus::Exited(0)))).boxed()
    });
    Wrapper::new(token, runs, lives)
}

/// The error where the end of stdin can't be told.
pub(crate) fn no_half_close() -> Error {
    Error::unsupported("this cluster can't be told the end of a program's stdin")
        .with_context("protocol", super::frame::V4)
        .with_hint("Kubernetes 1.30 and later can; a terminal's stdin works")
}

/// Starts a script of POD's own by the container's `sh`, and tells whether it sees the end of its stdin.
///
/// # Errors
/// As [`Target::exec`]; `CommandFailed` when there is no shell.
pub(crate) async fn start_script(
    target: &Target,
    script: &str,
    args: &[String],
    stdin: bool,
) -> Result<(Session, bool)> {
    let token = uuid::Uuid::new_v4().simple().to_string();
    let opened = target.exec(&wrap::script(script, args, &token), Streams { stdin, tty: false }).await?;
    let stdin_end = StdinEnd::of(false, opened.half_close);
    let wrapper = wrapper(&Arc::new(target.clone()), &token, Runs::Script);
    let setup = Setup { stdin, tty: false, stdin_end, wrapper: Some(wrapper) };
    Ok((session::start(opened.socket, setup), opened.half_close))
}

/// Runs a short script to its end without a wrapper around it, and collects what it prints.
///
/// # Errors
/// As [`Target::exec`]; `CommandFailed` when there is no such program; `Timeout` when it takes longer than
/// `limit`: a node that hangs says nothing for ever.
pub(crate) async fn run_script(target: &Target, argv: &[Vec<u8>], limit: Duration) -> Result<Output> {
    tokio::time::timeout(limit, run_to_end(target, argv)).await.unwrap_or_else(|_| {
        Err(target.about(
            Error::new(ErrorKind::Timeout, "the pod's node does not answer")
                .with_context("seconds", limit.as_secs().to_string())
                .with_hint("`kubectl get nodes` shows whether it is ready")
                .with_retry(Retry::Later),
        ))
    })
}

async fn run_to_end(target: &Target, argv: &[Vec<u8>]) -> Result<Output> {
    let opened = target.exec(argv, Streams { stdin: false, tty: false }).await?;
    let setup = Setup { stdin: false, tty: false, stdin_end: StdinEnd::Silent, wrapper: None };
    let Session { stdout, stderr, mut progress, orders, .. } = session::start(opened.socket, setup);
    let collect = |reader: Option<pod_shell::pipe::Reader>| async move {
        let mut all = Vec::new();
        if let Some(reader) = reader {
            // An output that breaks off shows in the status.
            let _ = reader.take(SAID).read_to_end(&mut all).await;
        }
        all
    };
    let (stdout, stderr, end) = tokio::join!(collect(stdout), collect(stderr), end_of(&mut progress));
    drop(orders);
    match end {
        End::Exited(status) => Ok(Output { status, stdout, stderr }),
        End::Refused(words) => Err(target.about(status::refused(&words, argv.first().map(Vec::as_slice)))),
        End::Lost(why) => {
            tracing::debug!(target: "pod", why, "a script's status was lost");
            Ok(Output { status: ExitStatus::Unknown, stdout, stderr })
        }
    }
}

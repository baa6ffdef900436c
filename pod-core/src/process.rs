//! A running program, held by its caller.

use crate::{Error, ErrorKind, ExitStatus, Result, Signal};
use async_trait::async_trait;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};

/// What a program reads its stdin from.
pub type BoxWrite = Pin<Box<dyn AsyncWrite + Send>>;
/// What a program's stdout or stderr is read from.
pub type BoxRead = Pin<Box<dyn AsyncRead + Send>>;

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TtySize {
    /// Rows, 1 or more.
    pub rows: u16,
    /// Columns, 1 or more.
    pub cols: u16,
}

impl Default for TtySize {
    fn default() -> Self {
        Self { rows: 24, cols: 80 }
    }
}

/// What a backend gives for one running program; [`Process::spawn`] puts it under a task's care.
#[async_trait]
pub trait ProcessDriver: fmt::Debug + Send + 'static {
    /// Waits for the end. Cancel-safe: it may be dropped and called again. After the end it returns
    /// the same status each time.
    async fn wait(&mut self) -> Result<ExitStatus>;

    /// Changes the terminal's size.
    async fn resize(&mut self, size: TtySize) -> Result<()>;

    /// Sends a signal to the program. Sending to one that has ended does nothing.
    async fn signal(&mut self, signal: Signal) -> Result<()>;

    /// Kills the program and all it started, and returns when none of them runs. Killing one that has
    /// ended kills what it left behind.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the platform or image offers no way: the program was left.
    async fn kill(&mut self) -> Result<()>;

    /// Lets go: the program goes on when the driver is dropped.
    async fn detach(&mut self) -> Result<()>;
}

enum Command {
    Resize(TtySize, oneshot::Sender<Result<()>>),
    Signal(Signal, oneshot::Sender<Result<()>>),
    Kill(oneshot::Sender<Result<()>>),
    Detach(oneshot::Sender<Result<()>>),
}

/// What the end of the handle does to a program that still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    Kills,
    LetsGo,
}

#[derive(Debug, Clone)]
enum Ending {
    Running,
    Ended(ExitStatus),
    TimedOut(Duration, Option<String>),
    Lost(ErrorKind, String),
}

/// A running program: take-once streams, and the handle on its end.
///
/// A task owns the program. Dropping the `Process`, or its timeout, tells that task to kill the program
/// and all it started; [`Process::detach`] lets go instead. Nothing here blocks in `Drop`.
///
/// [`Process::wait`] drains what nobody took, so it can't deadlock.
pub struct Process {
    stdin: Option<BoxWrite>,
    stdout: Option<BoxRead>,
    stderr: Option<BoxRead>,
    commands: mpsc::Sender<Command>,
    ending: watch::Receiver<Ending>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("ending", &*self.ending.borrow()).finish_non_exhaustive()
    }
}

/// The streams of a program, as a backend made them; `None` where there is none.
#[derive(Default)]
pub struct Streams {
    /// Where its stdin is written.
    pub stdin: Option<BoxWrite>,
    /// Where its stdout is read; of a terminal, all its output.
    pub stdout: Option<BoxRead>,
    /// Where its stderr is read; `None` with a terminal.
    pub stderr: Option<BoxRead>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .finish()
    }
}

/// What a program printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
}

impl Output {
    /// stdout as text, bytes that are no UTF-8 replaced.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stderr as text, bytes that are no UTF-8 replaced.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl Process {
    /// Puts a program under the care of a new task on the current runtime.
    ///
    /// With a `timeout`, the program is killed when it has run that long, and [`Process::wait`] gives
    /// [`ErrorKind::Timeout`].
    #[must_use]
    pub fn spawn(driver: Box<dyn ProcessDriver>, streams: Streams, timeout: Option<Duration>) -> Self {
        Self::owned(driver, streams, timeout, OnDrop::Kills)
    }

    /// As [`Process::spawn`] for a program that others own too: dropping the `Process` lets go of it,
    /// as [`Backend::attach`](crate::Backend::attach) promises.
    #[must_use]
    pub fn attached(driver: Box<dyn ProcessDriver>, streams: Streams) -> Self {
        Self::owned(driver, streams, None, OnDrop::LetsGo)
    }

    fn owned(driver: Box<dyn ProcessDriver>, streams: Streams, timeout: Option<Duration>, on_drop: OnDrop) -> Self {
        let (commands, receiver) = mpsc::channel(8);
        let (ended, ending) = watch::channel(Ending::Running);
        tokio::spawn(own(driver, receiver, ended, timeout, on_drop));
        Self { stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr, commands, ending }
    }

    /// Takes the program's stdin; dropping or shutting it down gives the program end-of-file.
    #[must_use]
    pub fn take_stdin(&mut self) -> Option<BoxWrite> {
        self.stdin.take()
    }

    /// Takes the program's stdout.
    #[must_use]
    pub fn take_stdout(&mut self) -> Option<BoxRead> {
        self.stdout.take()
    }

    /// Takes the program's stderr.
    #[must_use]
    pub fn take_stderr(&mut self) -> Option<BoxRead> {
        self.stderr.take()
    }

    /// Changes the terminal's size. Needs `exec.resize`.
    ///
    /// # Errors
    /// [`ErrorKind::WrongState`] without a terminal.
    pub fn resize(&self, size: TtySize) -> impl Future<Output = Result<()>> + Send + use<> {
        self.command(move |reply| Command::Resize(size, reply))
    }

    /// Sends a signal to the program; one that has ended already is no error. Needs `exec.signal`.
    ///
    /// # Errors
    /// As the platform says.
    pub fn signal(&self, signal: Signal) -> impl Future<Output = Result<()>> + Send + use<> {
        self.command(move |reply| Command::Signal(signal, reply))
    }

    /// Kills the program and all it started; returns when none of them runs. Needs `exec.kill`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where there is no way: the program was left.
    pub fn kill(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        self.command(Command::Kill)
    }

    /// Lets go: the program goes on.
    ///
    /// # Errors
    /// As the platform says.
    pub async fn detach(self) -> Result<()> {
        self.command(Command::Detach).await
    }

    /// Sends a command to the owning task. The future does not borrow the process, whose streams can't be
    /// shared between threads.
    fn command<F>(&self, make: F) -> impl Future<Output = Result<()>> + Send + use<F>
    where
        F: FnOnce(oneshot::Sender<Result<()>>) -> Command + Send,
    {
        let commands = self.commands.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            if commands.send(make(reply)).await.is_err() {
                return Ok(()); // the task is gone: the program has ended and its driver was let go
            }
            answer.await.unwrap_or(Ok(()))
        }
    }

    /// Waits for the end: closes stdin if nobody took it, drains stdout and stderr if nobody took
    /// them. Cancel-safe, and may be called again.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when the program was killed because its time was over (the message says
    /// if it could not be killed).
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.stdin = None;
        let mut ending = self.ending.clone();
        let ended = async move {
            let end = ending.wait_for(|e| !matches!(e, Ending::Running)).await;
            end.map(|e| e.clone()).unwrap_or(Ending::Lost(
                ErrorKind::Cancelled,
                "the runtime that owned the program was shut down".into(),
            ))
        };
        let drained = async {
            tokio::join!(drain(&mut self.stdout), drain(&mut self.stderr));
        };
        tokio::pin!(drained);
        tokio::pin!(ended);
        // The program's end counts, not end-of-file: a child it left behind may hold the pipe open.
        let end = tokio::select! {
            end = &mut ended => end,
            () = &mut drained => ended.await,
        };
        match end {
            Ending::Ended(status) => Ok(status),
            Ending::TimedOut(after, left) => {
                let mut e = Error::new(ErrorKind::Timeout, format!("the program ran longer than {}", seconds(after)));
                if let Some(why) = left {
                    e = e.with_context("left_running", why);
                }
                Err(e.with_operation("exec"))
            }
            Ending::Lost(kind, message) => Err(Error::new(kind, message).with_operation("exec")),
            Ending::Running => Err(Error::unexpected("the program's owner ended without a status")),
        }
    }

    /// Collects stdout and stderr, at most `limit` bytes of each, and waits for the end. What the program
    /// left running may hold its output open; half a second after the end it is read no further.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] when either is longer (the program is killed); else as
    /// [`Process::wait`].
    pub async fn output(mut self, limit: usize) -> Result<Output> {
        self.stdin = None;
        let (mut stdout, mut stderr) = (self.stdout.take(), self.stderr.take());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        {
            let both = async {
                tokio::try_join!(collect(&mut stdout, &mut out, limit), collect(&mut stderr, &mut err, limit))
            };
            tokio::pin!(both);
            tokio::select! {
                collected = &mut both => {
                    collected?;
                }
                () = ended(&self.ending) => {
                    // What the program left running may hold its output open for ever.
                    if let Ok(collected) = tokio::time::timeout(AFTER_THE_END, &mut both).await {
                        collected?;
                    }
                }
            }
        }
        let status = self.wait().await?;
        Ok(Output { status, stdout: out, stderr: err })
    }

    /// Writes all of `input` to stdin, closes it, and collects the output meanwhile, as
    /// [`Process::output`].
    ///
    /// # Errors
    /// As [`Process::output`]. A program that ends without reading its stdin is no error.
    pub async fn communicate(mut self, input: &[u8], limit: usize) -> Result<Output> {
        let stdin = self.stdin.take();
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A closed pipe means that the program wants no more.
                if stdin.write_all(input).await.is_ok() {
                    let _ = stdin.shutdown().await;
                }
            }
        };
        let (out, ()) = tokio::join!(self.output(limit), feed);
        out
    }
}

/// How long output is still read after the program's end, when something it started holds it open.
const AFTER_THE_END: Duration = Duration::from_millis(500);

async fn ended(ending: &watch::Receiver<Ending>) {
    let mut ending = ending.clone();
    // An owner that is gone is an end, too.
    let _ = ending.wait_for(|e| !matches!(e, Ending::Running)).await;
}

async fn drain(stream: &mut Option<BoxRead>) {
    if let Some(s) = stream {
        let mut buf = vec![0u8; 16 << 10];
        while matches!(s.read(&mut buf).await, Ok(n) if n > 0) {}
    }
}

async fn collect(stream: &mut Option<BoxRead>, out: &mut Vec<u8>, limit: usize) -> Result<()> {
    let Some(s) = stream else { return Ok(()) };
    let mut limited = s.take(limit as u64 + 1);
    while limited.read_buf(out).await.map_err(|e| Error::io("read the program's output", e))? > 0 {}
    if out.len() > limit {
        return Err(Error::new(ErrorKind::Exhausted, format!("the program printed more than {limit} bytes"))
            .with_hint("read it as a stream instead"));
    }
    Ok(())
}

fn seconds(d: Duration) -> String {
    if d.subsec_nanos() == 0 { format!("{} s", d.as_secs()) } else { format!("{:.3} s", d.as_secs_f64()) }
}

/// The task that owns a program until its end.
async fn own(
    mut driver: Box<dyn ProcessDriver>,
    mut commands: mpsc::Receiver<Command>,
    ended: watch::Sender<Ending>,
    timeout: Option<Duration>,
    on_drop: OnDrop,
) {
    let deadline = timeout.map(|t| tokio::time::Instant::now() + t);
    let over = async move {
        match deadline {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            end = driver.wait() => {
                let _ = ended.send(match end {
                    Ok(status) => Ending::Ended(status),
                    Err(e) => Ending::Lost(e.kind(), e.to_string()),
                });
                break;
            }
            command = commands.recv() => match command {
                Some(Command::Resize(size, reply)) => { let _ = reply.send(driver.resize(size).await); }
                Some(Command::Signal(signal, reply)) => { let _ = reply.send(driver.signal(signal).await); }
                Some(Command::Kill(reply)) => { let _ = reply.send(driver.kill().await); }
                Some(Command::Detach(reply)) => {
                    let done = driver.detach().await;
                    let ok = done.is_ok();
                    let _ = reply.send(done);
                    if ok { return; }
                }
                None => {
                    let done = match on_drop {
                        OnDrop::Kills => driver.kill().await,
                        OnDrop::LetsGo => driver.detach().await,
                    };
                    if let Err(e) = done {
                        tracing::warn!(error = %e, "a dropped program could not be let go of");
                    }
                    return;
                }
            },
            () = &mut over => {
                let left = driver.kill().await.err().map(|e| e.to_string());
                let _ = ended.send(Ending::TimedOut(timeout.unwrap_or_default(), left));
                break;
            }
        }
    }
    // Ended: answer what is still asked, until the handle goes.
    while let Some(command) = commands.recv().await {
        let (reply, result) = match command {
            Command::Resize(_, reply) | Command::Signal(_, reply) | Command::Detach(reply) => (reply, Ok(())),
            Command::Kill(reply) => (reply, driver.kill().await),
        };
        let _ = reply.send(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Debug)]
    struct Fake {
        ends_after: Option<Duration>,
        killed: Arc<AtomicBool>,
    }

    #[async_trait]
    impl ProcessDriver for Fake {
        async fn wait(&mut self) -> Result<ExitStatus> {
            match self.ends_after {
                Some(d) => {
                    tokio::time::sleep(d).await;
                    Ok(ExitStatus::Exited(7))
                }
                None => std::future::pending().await,
            }
        }
        async fn resize(&mut self, _: TtySize) -> Result<()> {
            Ok(())
        }
        async fn signal(&mut self, _: Signal) -> Result<()> {
            Ok(())
        }
        async fn kill(&mut self) -> Result<()> {
            self.killed.store(true, Ordering::SeqCst);
            Ok(())
        }
        async fn detach(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn fake(ends_after: Option<Duration>) -> (Box<Fake>, Arc<AtomicBool>) {
        let killed = Arc::new(AtomicBool::new(false));
        (Box::new(Fake { ends_after, killed: killed.clone() }), killed)
    }

    #[tokio::test(start_paused = true)]
    async fn wait_gives_the_code_and_may_be_called_twice() {
        let (driver, killed) = fake(Some(Duration::from_millis(5)));
        let mut p = Process::spawn(driver, Streams::default(), None);
        assert_eq!(p.wait().await.ok(), Some(ExitStatus::Exited(7)));
        assert_eq!(p.wait().await.ok(), Some(ExitStatus::Exited(7)));
        assert!(!killed.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_kills_and_says_so() {
        let (driver, killed) = fake(None);
        let mut p = Process::spawn(driver, Streams::default(), Some(Duration::from_secs(1)));
        assert_eq!(p.wait().await.map_err(|e| e.kind()), Err(ErrorKind::Timeout));
        assert!(killed.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_kills_and_detaching_does_not() {
        let (driver, killed) = fake(None);
        drop(Process::spawn(driver, Streams::default(), None));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(killed.load(Ordering::SeqCst));

        let (driver, killed) = fake(None);
        let attached = Process::attached(driver, Streams::default());
        drop(attached);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!killed.load(Ordering::SeqCst));

        let (driver, killed) = fake(None);
        let p = Process::spawn(driver, Streams::default(), None);
        assert!(p.detach().await.is_ok());
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!killed.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn output_is_bounded() {
        let (driver, _) = fake(None);
        let streams = Streams { stdout: Some(Box::pin(&b"123456"[..])), ..Streams::default() };
        let p = Process::spawn(driver, streams, None);
        assert_eq!(p.output(5).await.map_err(|e| e.kind()), Err(ErrorKind::Exhausted));
    }
}

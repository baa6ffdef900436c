//! One program on our own streams, until it ends or we let go of it.

use super::input::{Detach, Fed, Input};
use super::output::{Stream, Written, copy};
use crate::signals::{Control, Controls};
use crate::terminal::{self, RawMode};
use futures_util::future::OptionFuture;
use pod::{Backend, ErrorKind, ExitStatus, Process, Result, Signal, StopRequest, WorkloadName};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a program that writes to a closed stream has to notice by itself.
const NOTICE: Duration = Duration::from_millis(200);

/// What a signal to us does to the program.
#[derive(Debug, Clone)]
pub(crate) enum OnSignal {
    /// It and all it started is killed.
    Kill,
    /// It gets the signal.
    Forward,
    /// Its workload is stopped with the signal.
    Stop(Arc<dyn Backend>, WorkloadName),
    /// It is left.
    Leave,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The program ended.
    Ended(ExitStatus),
    /// The user left it with the detach keys; it runs on.
    Detached,
    /// This signal came to us.
    Interrupted(Signal),
}

/// How our streams are joined to the program's.
#[derive(Debug)]
pub(crate) struct Session {
    stdin: bool,
    raw: Option<RawMode>,
    on_signal: OnSignal,
    detach: Option<Detach>,
    controls: Controls,
}

impl Session {
    /// A session that passes stdin or not. Signals are caught from here on.
    ///
    /// # Errors
    /// When signals can't be listened for.
    pub(crate) fn new(stdin: bool, tty: bool, on_signal: OnSignal) -> Result<Self> {
        Ok(Self { stdin, raw: None, on_signal, detach: None, controls: Controls::new(tty)? })
    }

    /// Puts our terminal into raw mode for as long as the session lasts.
    pub(crate) fn with_raw_mode(mut self, raw: RawMode) -> Self {
        self.raw = Some(raw);
        self
    }

    /// Lets these keys leave the program.
    pub(crate) fn with_detach_keys(mut self, keys: &[u8]) -> Self {
        self.detach = Detach::new(keys);
        self
    }

    /// Our signals, to be watched before there is a program.
    pub(crate) fn controls(&mut self) -> &mut Controls {
        &mut self.controls
    }

    /// Joins the streams until the program's end.
    ///
    /// # Errors
    /// As [`Process::wait`]; when a stream of ours can't be read or written.
    pub(crate) async fn run(mut self, mut process: Process) -> Result<End> {
        let (ended, ends) = watch::channel(false);
        let mut stdout = spawn_copy(process.take_stdout(), Stream::Stdout, &ends);
        let stderr = spawn_copy(process.take_stderr(), Stream::Stderr, &ends);
        let feed = match (self.stdin, process.take_stdin()) {
            (true, Some(stdin)) => Some(Input::begin().feed(stdin, self.detach.take())),
            _ => None,
        };
        let mut feeding = feed.is_some();
        let feed = OptionFuture::from(feed);
        tokio::pin!(feed);
        let mut closed = false;
        let mut asked: Option<Signal> = None;
        let end = loop {
            tokio::select! {
                status = process.wait() => break status.map(End::Ended),
                fed = &mut feed, if feeding => {
                    feeding = false;
                    if fed == Some(Fed::Detached) {
                        break Ok(End::Detached);
                    }
                }
                () = stdout.closed(), if !closed => {
                    closed = true;
                    // It wrote to a closed pipe, which ends most programs; one that goes on regardless
                    // is ended as a pipe's reader expects.
                    if tokio::time::timeout(NOTICE, process.wait()).await.is_err() {
                        break match process.kill().await {
                            Ok(()) => Ok(End::Ended(ExitStatus::Signaled(Signal::PIPE.get()))),
                            // There is no way to: it is left.
                            Err(e) if e.kind() == ErrorKind::Unsupported => {
                                tracing::info!(error = %e, "nobody reads the command's output any more");
                                Ok(End::Interrupted(Signal::PIPE))
                            }
                            Err(e) => Err(e),
                        };
                    }
                }
                control = self.controls.next() => match (control, asked) {
                    (Control::Resized(size), _) => resize(&process, size).await,
                    // Asked twice: no more waiting.
                    (Control::End(signal), Some(_)) => break Ok(End::Interrupted(signal)),
                    (Control::End(signal), None) => {
                        asked = Some(signal);
                        match self.end(&process, signal).await? {
                            None => {}
                            Some(end) => break Ok(end),
                        }
                    }
                },
            }
        };
        // A terminal shows what is left as the program wrote it, so it stays raw until then.
        ended.send_replace(true);
        if !matches!(end, Ok(End::Detached | End::Interrupted(_))) {
            let (out, err) = tokio::join!(stdout.finish(), stderr.finish());
            // The program's own end tells more than what became of its output.
            let end = end?;
            out?;
            err?;
            return Ok(end);
        }
        // What was on its way to us is worth a moment, unless our reader does not take it.
        let left = async { tokio::join!(stdout.finish(), stderr.finish()) };
        if let Ok((out, err)) = tokio::time::timeout(NOTICE, left).await {
            out.and(err)?;
        }
        drop(self.raw.take());
        end
    }

    /// Does to the program what a signal asks for. A second signal meanwhile ends us.
    async fn end(&mut self, process: &Process, signal: Signal) -> Result<Option<End>> {
        let act = async {
            match &self.on_signal {
                OnSignal::Kill => process.kill().await.map(|()| Some(End::Interrupted(signal))),
                OnSignal::Leave => Ok(Some(End::Interrupted(signal))),
                OnSignal::Forward => process.signal(signal).await.map(|()| None),
                OnSignal::Stop(backend, name) => {
                    backend.stop(StopRequest::new(name.clone()).with_signal(signal)).await.map(|_| None)
                }
            }
        };
        tokio::select! {
            done = act => done,
            signal = self.controls.end() => Ok(Some(End::Interrupted(signal))),
        }
    }
}

async fn resize(process: &Process, size: pod::TtySize) {
    if let Err(e) = process.resize(size).await {
        let expected = matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::WrongState);
        if expected {
            tracing::debug!(error = %e, "the terminal's size is not passed on");
        } else {
            tracing::warn!(error = %e, "the terminal's size is not passed on");
        }
    }
}

/// The copying of one stream, on a task of its own.
struct Copying(Option<tokio::task::JoinHandle<Result<Written>>>, Option<Result<Written>>);

fn spawn_copy(from: Option<pod::BoxRead>, stream: Stream, ends: &watch::Receiver<bool>) -> Copying {
    let ends = ends.clone();
    Copying(from.map(|from| tokio::spawn(copy(from, stream, ends))), None)
}

impl Copying {
    async fn wait(&mut self) {
        if let Some(task) = &mut self.0 {
            let result =
                task.await.unwrap_or_else(|e| Err(pod::Error::unexpected("a copy ended early").with_source(e)));
            self.0 = None;
            self.1 = Some(result);
        }
    }

    /// Returns when our stream was closed by its reader; never if it ends in another way. Cancel-safe.
    async fn closed(&mut self) {
        self.wait().await;
        if !matches!(self.1, Some(Ok(Written::Closed))) {
            std::future::pending::<()>().await;
        }
    }

    async fn finish(mut self) -> Result<Written> {
        self.wait().await;
        self.1.unwrap_or(Ok(Written::All))
    }
}

/// The size to give a program's terminal.
pub(crate) fn terminal_size() -> pod::TtySize {
    terminal::size().unwrap_or_default()
}

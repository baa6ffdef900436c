//! A command's stdin, written by a second program in its workload.
//!
//! The stream of an attachment ends the command's input also when the connection is cut or whoever writes
//! is killed: half an input looks like a whole one. So a `cat`, an exec in the same workload, writes into
//! the pipe that the command reads, and its status says that all is there; only then the platform is asked
//! to end the input. Who lets go before leaves the input open for the next.
//!
//! The command that does not read holds the `cat` up, and that holds the writer. One that has closed its
//! stdin or ended breaks the writer's pipe, as any.

use pod_core::{Error, ErrorKind, ExitStatus};
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tokio::time::sleep;

/// Writes its stdin into the command's, once that is seen to be a pipe: a file would be emptied. The first
/// byte that it prints, a newline, says that it begins. It runs as the user that the command runs as: no
/// other may open that pipe.
pub const SCRIPT: &str = "[ -p /proc/1/fd/0 ] || exit 3; exec 3>/proc/1/fd/0 || exit 4; echo; exec cat >&3";
/// The script's exit code where the command's stdin is no pipe.
const NO_PIPE: u8 = 3;
/// The exit codes of a `cat` whose reader is gone: by SIGPIPE, or by EPIPE where that signal is ignored.
const UNREAD: [u8; 2] = [128 + 13, 1];

/// How often it is tried to tell the end of an input, and how long it is left in between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// The writer goes on.
const OPEN: u8 = 0;
/// The writer has ended the input.
const ENDED: u8 = 1;
/// The writer has let go of it.
const LEFT: u8 = 2;

/// Why an input did not come through whole, or its end did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfed {
    /// What went wrong.
    pub what: &'static str,
    /// Its cause.
    pub why: String,
}

impl Unfed {
    /// The error for a command that still runs.
    #[must_use]
    pub fn error(self) -> Error {
        Error::new(ErrorKind::Unavailable, format!("{}; the command still runs", self.what))
            .with_context("cause", self.why)
            .with_hint("its input is still open to who attaches")
    }
}

/// Waits until something goes wrong with a stdin that is fed; for ever when nothing does, or none is.
pub async fn unfed(told: Option<watch::Receiver<Option<Unfed>>>) -> Unfed {
    if let Some(mut told) = told
        && let Ok(unfed) = told.wait_for(Option::is_some).await
        && let Some(unfed) = unfed.clone()
    {
        return unfed;
    }
    pending().await
}

/// The writer's side of a command's stdin: shutting it down ends the input, dropping it does not.
#[derive(Debug)]
pub struct Feed<W> {
    stdin: W,
    state: Arc<AtomicU8>,
}

/// What became of the writer's side.
#[derive(Debug)]
pub struct Writer(Arc<AtomicU8>);

/// The writer's side of the script's stdin.
pub fn feed<W>(stdin: W) -> (Feed<W>, Writer) {
    let state = Arc::new(AtomicU8::new(OPEN));
    (Feed { stdin, state: state.clone() }, Writer(state))
}

impl<W> Drop for Feed<W> {
    fn drop(&mut self) {
        // One that has ended has ended.
        let _ = self.state.compare_exchange(OPEN, LEFT, Ordering::SeqCst, Ordering::SeqCst);
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Feed<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.store(ENDED, Ordering::SeqCst);
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}

impl Writer {
    /// Ends the command's input where all of it has arrived and its writer has ended it. `end` is how the
    /// script ended, or why that is not known; `once` whether the platform can be told, by a container that
    /// was made with `setting`; `tell` tells it, is tried again when it fails, and says why it was not taken: that
    /// the command has ended is no reason.
    ///
    /// # Errors
    /// When not all of it arrived, or its end could not be told.
    pub async fn finish<F: Future<Output = Result<(), String>>>(
        &self,
        end: Result<ExitStatus, String>,
        once: bool,
        setting: &str,
        tell: impl FnMut() -> F,
    ) -> Result<(), Unfed> {
        if !self.settle(end)? {
            return Ok(());
        }
        if !once {
            let why = format!("its container was made without `{setting}`");
            return Err(Unfed { what: "the command can't be told that its input has ended", why });
        }
        self::end(tell).await
    }

    /// Whether the command's input is to be ended now.
    ///
    /// # Errors
    /// When not all of it arrived.
    fn settle(&self, end: Result<ExitStatus, String>) -> Result<bool, Unfed> {
        let cut = |why: String| Err(Unfed { what: "the stream to the command's stdin was lost", why });
        match (end, self.0.load(Ordering::SeqCst)) {
            (Ok(ExitStatus::Exited(0)), ENDED) => Ok(true),
            (_, LEFT) => Ok(false),
            (Ok(ExitStatus::Exited(code)), _) if UNREAD.contains(&code) => Ok(false),
            (Ok(status), _) => cut(format!("what wrote it ended: {status}")),
            (Err(why), _) => cut(why),
        }
    }
}

/// Has the platform tell the command that its input has ended, and tries that again. Doing it twice is no
/// harm. `tell` says why it was not taken; that the command has ended is no reason.
///
/// # Errors
/// The last reason.
async fn end<F: Future<Output = Result<(), String>>>(mut tell: impl FnMut() -> F) -> Result<(), Unfed> {
    let mut why = String::new();
    for again in 0..TRIES {
        if again > 0 {
            sleep(PAUSE).await;
        }
        why = match tell().await {
            Ok(()) => return Ok(()),
            Err(why) => why,
        };
        tracing::debug!(target: "pod", why, "the end of an input was not taken");
    }
    Err(Unfed { what: "the command could not be told that its input has ended", why })
}

/// Whether an error says that the command has ended: it needs no end of its input.
#[must_use]
pub fn has_ended(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WrongState | ErrorKind::NotFound)
}

/// The error for a script that ended before it began.
#[must_use]
pub fn not_begun(status: ExitStatus, said: &str) -> Error {
    match status {
        ExitStatus::Exited(NO_PIPE) => Error::unsupported("the command's stdin is not the pipe that it began with")
            .with_hint("attach without stdin"),
        // The container ended under the script.
        ExitStatus::Exited(137) | ExitStatus::Unknown => Error::new(ErrorKind::WrongState, "the command has ended"),
        status => Error::unsupported("the command's stdin can't be opened by another program")
            .with_context("status", status.to_string())
            .with_context("said", said.to_owned())
            .with_hint("attach without stdin"),
    }
}

/// The error for an image that can't run the script.
#[must_use]
pub fn no_shell(error: Error) -> Error {
    Error::unsupported("the image has no `sh` and `cat`, by which its command's stdin is written")
        .with_hint("use an image with both, or a terminal")
        .with_source(error)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// The script, with another process in the place of the first one.
    fn script(pid: u32) -> String {
        SCRIPT.replace("/proc/1/", &format!("/proc/{pid}/"))
    }

    fn fed(pid: u32, input: &[u8]) -> (Option<i32>, Vec<u8>) {
        let mut child = Command::new("sh")
            .args(["-c", &script(pid)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the shell runs");
        let mut stdin = child.stdin.take().expect("a stdin");
        // A reader that is gone is told by the status.
        let _ = io::Write::write_all(&mut stdin, input);
        drop(stdin);
        let out = child.wait_with_output().expect("the shell ends");
        (
            out.status.code().or_else(|| std::os::unix::process::ExitStatusExt::signal(&out.status).map(|s| 128 + s)),
            out.stdout,
        )
    }

    #[test]
    fn an_input_is_ended_when_all_arrived_and_its_writer_ended_it() {
        let settled = |state: u8, end: Result<ExitStatus, String>| Writer(Arc::new(AtomicU8::new(state))).settle(end);
        assert_eq!(settled(ENDED, Ok(ExitStatus::Exited(0))), Ok(true));
        assert_eq!(settled(LEFT, Ok(ExitStatus::Exited(0))), Ok(false), "who let go");
        assert_eq!(settled(LEFT, Err("cut".into())), Ok(false));
        for unread in UNREAD {
            assert_eq!(settled(ENDED, Ok(ExitStatus::Exited(unread))), Ok(false), "the command reads no more");
        }
        for lost in [Ok(ExitStatus::Exited(0)), Ok(ExitStatus::Unknown), Err("cut".into())] {
            assert!(settled(OPEN, lost).is_err());
        }
        assert!(settled(ENDED, Err("cut".into())).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_input_is_ended_once_it_is_whole_and_whoever_can_not_be_told_is_named() {
        let told = std::cell::Cell::new(0);
        let finish = async |state: u8, once: bool, taken: bool| {
            told.set(0);
            let tell = || {
                told.set(told.get() + 1);
                std::future::ready(if taken { Ok(()) } else { Err("busy".to_owned()) })
            };
            let writer = Writer(Arc::new(AtomicU8::new(state)));
            let done = writer.finish(Ok(ExitStatus::Exited(0)), once, "once", tell).await;
            (done.map_err(|unfed| unfed.why), told.get())
        };
        assert_eq!(finish(ENDED, true, true).await, (Ok(()), 1));
        assert_eq!(finish(LEFT, true, true).await, (Ok(()), 0), "it is open for the next");
        assert_eq!(finish(ENDED, true, false).await, (Err("busy".into()), TRIES));
        let (done, tries) = finish(ENDED, false, true).await;
        assert!(done.is_err_and(|why| why.contains("`once`")) && tries == 0);
    }

    #[test]
    fn the_script_writes_into_another_ones_pipe_and_leaves_it_open() {
        let mut reader =
            Command::new("wc").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("wc runs");
        let held = reader.stdin.take();
        for _ in 0..2 {
            assert_eq!(fed(reader.id(), &vec![b'x'; 1 << 20]), (Some(0), b"\n".to_vec()));
        }
        drop(held);
        let out = reader.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), (2 << 20).to_string());
    }

    #[test]
    fn a_reader_that_goes_ends_it_and_a_file_is_left_alone() {
        let mut reader = Command::new("head")
            .args(["-c", "1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("head runs");
        let _held = reader.stdin.take();
        let (code, _) = fed(reader.id(), &vec![b'x'; 1 << 20]);
        assert!(code.is_some_and(|c| UNREAD.map(i32::from).contains(&c)), "{code:?}");
        reader.wait().expect("reaped");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "text").expect("a file");
        let file = std::fs::File::open(&path).expect("the file");
        let mut reader = Command::new("sleep").arg("60").stdin(file).spawn().expect("sleep runs");
        let (code, _) = fed(reader.id(), b"other");
        reader.kill().expect("it is killed");
        reader.wait().expect("reaped");
        assert_eq!(code, Some(i32::from(NO_PIPE)));
        assert_eq!(std::fs::read(&path).expect("the file"), b"text");
    }
}

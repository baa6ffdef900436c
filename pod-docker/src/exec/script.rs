//! POD's own scripts in a container.

use super::Target;
use super::pump::{self, End, How, Progress, end_of};
use super::start::{Asked, not_begun, open as open_exec};
use pod_core::{BoxRead, BoxWrite, Error, ErrorKind, ExitStatus, Output, Result, Streams};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

/// The most that a script may say.
const MOST: u64 = 1 << 20;

/// A script that runs.
pub(crate) struct Running {
    pub(crate) stdin: Option<BoxWrite>,
    pub(crate) stdout: BoxRead,
    pub(crate) stderr: BoxRead,
    progress: watch::Receiver<Progress>,
    target: Target,
    /// Held, so that the pump goes on.
    _discard: watch::Sender<bool>,
}

impl Running {
    /// Waits for its end.
    ///
    /// # Errors
    /// `Unavailable` when the daemon went away.
    pub(crate) async fn end(&mut self) -> Result<ExitStatus> {
        match end_of(&mut self.progress).await {
            End::Exited(status) | End::NotBegun(_, status) => Ok(status),
            End::Lost(why) => Err(self
                .target
                .about(Error::new(ErrorKind::Unavailable, "the daemon went away").with_context("cause", why))),
        }
    }
}

/// Starts a script, as root of the container.
///
/// # Errors
/// `NotFound`, `WrongState`; as the daemon says.
pub(crate) async fn open(target: &Target, argv: &[String], stdin: bool) -> Result<Running> {
    open_as(target, argv, Some("0"), stdin).await
}

/// Starts a script, as this user or as the container's own.
///
/// # Errors
/// As [`open`].
pub(crate) async fn open_as(target: &Target, argv: &[String], user: Option<&str>, stdin: bool) -> Result<Running> {
    let (exec, stream) = open_exec(target, &Asked { argv, user, stdin, ..Asked::default() }).await?;
    let pumped = pump::start(target, exec, stream, How { stdin, tty: false, token: None });
    let Streams { stdin, stdout, stderr } = pumped.streams;
    let none = || Error::unexpected("an exec without a terminal has both outputs");
    Ok(Running {
        stdin,
        stdout: stdout.ok_or_else(none)?,
        stderr: stderr.ok_or_else(none)?,
        progress: pumped.progress,
        target: target.clone(),
        _discard: pumped.discard,
    })
}

/// Whether what was said is the daemon's word that nothing could be run.
pub(crate) fn never_began(status: ExitStatus, said: &str) -> Option<Error> {
    let by_daemon = said.contains("OCI runtime") || said.contains("unable to find user");
    (matches!(status, ExitStatus::Exited(125..=127)) && by_daemon).then(|| not_begun(said.trim()))
}

/// Runs a script to its end.
///
/// # Errors
/// As [`open`]; `Unsupported` when the image has no shell.
pub(crate) async fn run(target: &Target, argv: &[String]) -> Result<Output> {
    let mut running = open(target, argv, false).await?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    {
        let (stdout, stderr) = (&mut running.stdout, &mut running.stderr);
        let (mut stdout, mut stderr) = (stdout.take(MOST), stderr.take(MOST));
        let read = tokio::join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err));
        if let Err(e) = read.0.and(read.1) {
            return Err(target.about(Error::io("what a script says can't be read", e)));
        }
    }
    let output = Output { status: running.end().await?, stdout: out, stderr: err };
    match never_began(output.status, &output.stdout_text()) {
        Some(error) => Err(target.about(error)),
        None => Ok(output),
    }
}

//! The far end of a copy: something that runs a shell's script.

use super::errors;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use pod_core::{BoxRead, BoxWrite, Error, ErrorKind, ExitStatus, Result};
use tokio::io::{AsyncReadExt, BufReader};

/// A script that runs. Dropping all of it ends it.
#[allow(missing_debug_implementations, reason = "streams say nothing of themselves")]
pub struct Running {
    /// Where it is written to, when that was asked for.
    pub stdin: Option<BoxWrite>,
    /// What it prints.
    pub stdout: BufReader<BoxRead>,
    /// What its tools complain of.
    pub stderr: BoxRead,
    /// How it ends.
    pub end: BoxFuture<'static, Result<ExitStatus>>,
    /// Whether it sees the end of its stdin.
    pub half_close: bool,
}

/// What runs scripts by `sh -c`.
#[async_trait]
pub trait Far: Send + Sync + 'static {
    /// Starts a script with these arguments, which are text.
    ///
    /// # Errors
    /// `CommandFailed` with 126 or 127 where there is no shell.
    async fn start(&self, script: &str, args: &[String], stdin: bool) -> Result<Running>;

    /// Says which workload an error is about.
    fn about(&self, error: Error) -> Error;

    /// What to do when the image has no shell.
    fn without_shell(&self) -> &'static str;
}

/// The most that is read of what tools complain of, and of one line.
const SAID: u64 = 16 << 10;

/// Reads what a script's tools complain of, to its end: at most so much is kept.
pub async fn complaints(stderr: BoxRead) -> String {
    let mut said = Vec::new();
    let mut stderr = stderr;
    // What can't be read is not said; the status tells the failure all the same.
    let _ = (&mut stderr).take(SAID).read_to_end(&mut said).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&said).trim().to_owned()
}

impl Running {
    /// The next line of its stdout, without its end; `None` when there is none.
    ///
    /// # Errors
    /// What reading gives.
    pub async fn line(&mut self) -> Result<Option<Vec<u8>>> {
        use tokio::io::AsyncBufReadExt;
        let mut line = Vec::new();
        let read = (&mut self.stdout).take(SAID).read_until(b'\n', &mut line).await;
        read.map_err(|e| Error::io("can't read what the workload says", e))?;
        if line.pop() != Some(b'\n') {
            return Ok(None);
        }
        Ok(Some(line))
    }

    /// Waits for the end after a failure, and gives the error: from its status and what its tools said.
    pub(super) async fn failure(self, doing: &str, path: &[u8]) -> Error {
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
pub(super) fn no_shell(far: &dyn Far, error: Error) -> Error {
    if error.kind() != ErrorKind::CommandFailed {
        return error;
    }
    Error::unsupported("the image has no `sh`, by which files are copied")
        .with_hint(far.without_shell())
        .with_source(error)
}

//! A way into one workload: run programs in it, copy to and from it.

use crate::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use crate::workload::check_env;
use crate::{Capability, Error, Output, Process, Requires, Result, TtySize, WorkloadName};
use async_trait::async_trait;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A program to run in a workload: an argv, never a shell string.
///
/// Arguments and environment are bytes; without `exec.bytes` they must be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExecRequest {
    /// The program and its arguments; the program is looked up in the workload's `PATH` unless it
    /// holds a `/`.
    pub argv: Vec<Vec<u8>>,
    /// Environment variables, added to the workload's own.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// The working directory; `None` is the workload's.
    pub cwd: Option<String>,
    /// The user, `NAME`, `UID`, `NAME:GROUP` or `UID:GID`; `None` is the workload's.
    pub user: Option<String>,
    /// Whether stdin can be written; else the program reads an empty one.
    pub stdin: bool,
    /// A terminal of this size; then stdout carries all output and there is no stderr.
    pub tty: Option<TtySize>,
    /// Kill the program when it has run this long.
    pub timeout: Option<Duration>,
}

impl ExecRequest {
    /// Runs this argv.
    #[must_use]
    pub fn new<I: IntoIterator<Item = S>, S: Into<Vec<u8>>>(argv: I) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Runs `script` by the workload's `/bin/sh -c`.
    #[must_use]
    pub fn shell(script: impl Into<Vec<u8>>) -> Self {
        Self::new([b"/bin/sh".to_vec(), b"-c".to_vec(), script.into()])
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn with_env(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn with_cwd(mut self, cwd: impl Into<String>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Sets the user.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Lets the caller write the program's stdin.
    #[must_use]
    pub fn with_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Gives the program a terminal.
    #[must_use]
    pub fn with_tty(mut self, size: TtySize) -> Self {
        self.tty = Some(size);
        self
    }

    /// Kills the program when it has run this long.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Checks argv, environment and directory.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) names the part.
    pub fn validate(&self) -> Result<()> {
        match self.argv.first() {
            None => return Err(Error::invalid("no program was given")),
            Some(p) if p.is_empty() => return Err(Error::invalid("the program's name is empty")),
            Some(_) => {}
        }
        if self.argv.iter().any(|a| a.contains(&0)) {
            return Err(Error::invalid("an argument holds a zero byte"));
        }
        for (key, value) in &self.env {
            check_env(key, value)?;
        }
        if let Some(cwd) = &self.cwd
            && !cwd.starts_with('/')
        {
            return Err(Error::invalid("the working directory is not absolute").with_context("cwd", cwd));
        }
        if self.tty.is_some_and(|t| t.rows == 0 || t.cols == 0) {
            return Err(Error::invalid("a terminal has at least one row and one column"));
        }
        Ok(())
    }
}

impl Requires for ExecRequest {
    fn requires(&self) -> Vec<Capability> {
        let mut need = vec![Capability::Exec];
        let mut on = |wanted: bool, c| {
            if wanted {
                need.push(c);
            }
        };
        on(self.stdin, Capability::ExecStdin);
        on(self.tty.is_some(), Capability::ExecTty);
        on(self.user.is_some(), Capability::ExecUser);
        on(self.cwd.is_some(), Capability::ExecCwd);
        on(!self.env.is_empty(), Capability::ExecEnv);
        let text = |b: &Vec<u8>| std::str::from_utf8(b).is_ok();
        on(!self.argv.iter().all(text) || !self.env.iter().all(|(k, v)| text(k) && text(v)), Capability::ExecBytes);
        need
    }
}

/// A stream of bytes both ways. Shutting down its writing half leaves the other one open.
pub trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send + ?Sized> Duplex for T {}

/// A connection to a port of a workload.
pub type BoxDuplex = Pin<Box<dyn Duplex>>;

/// Asks for a connection to a TCP port of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardRequest {
    /// The port, 1 to 65535, on the workload's own loopback.
    pub port: u16,
}

impl ForwardRequest {
    /// Connects to this port.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { port }
    }

    /// Checks the port.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for port 0.
    pub fn validate(&self) -> Result<()> {
        if self.port == 0 {
            return Err(Error::invalid("a port is a number from 1 to 65535").with_context("port", "0"));
        }
        Ok(())
    }
}

impl Requires for ForwardRequest {
    fn requires(&self) -> Vec<Capability> {
        vec![Capability::ExecForward]
    }
}

/// A way into one workload. It stays valid until the workload is removed; while the workload is
/// stopped, `exec` gives [`ErrorKind::WrongState`](crate::ErrorKind::WrongState).
#[async_trait]
pub trait Connection: fmt::Debug + Send + Sync + 'static {
    /// The workload this leads into.
    fn workload(&self) -> &WorkloadName;

    /// Starts a program and returns when it has been started.
    ///
    /// Twice in a row starts two programs. On cancellation nothing is left running. Needs `exec.run`
    /// and what the request's parts need ([`ExecRequest::requires`]).
    ///
    /// # Errors
    /// [`ErrorKind::CommandFailed`](crate::ErrorKind::CommandFailed) with
    /// [`Error::exit_code`] 127 when there is no such program and 126 when it can't be executed;
    /// `WrongState` when the workload does not run; `NotFound` when it is gone.
    async fn exec(&self, request: ExecRequest) -> Result<Process>;

    /// Copies entries in. The source's root entry becomes `request.dest` itself, whose parent must
    /// exist; directories merge, files replace. Twice in a row gives the same tree. On cancellation or
    /// failure no half file stays where `copy.atomic` holds; with [`CopyInRequest::resume`] what arrived
    /// whole does, for the next try. Needs `copy.in`.
    ///
    /// # Errors
    /// `NotFound` without the parent; `PermissionDenied` on a read-only place; `Exhausted` on a full
    /// disk; `Integrity` when the check finds a difference.
    async fn copy_in(&self, request: CopyInRequest) -> Result<CopyReport>;

    /// Streams a file or tree out, its root entry with an empty path first, parents before children.
    /// Dropping the stream ends the copy. Needs `copy.out`.
    ///
    /// # Errors
    /// `NotFound` when there is nothing at that path.
    async fn copy_out(&self, request: CopyOutRequest) -> Result<EntryStream>;

    /// What is at a path; `None` when nothing is. Needs `copy.out`.
    ///
    /// # Errors
    /// As the platform says; absence is no error.
    async fn stat(&self, request: StatRequest) -> Result<Option<FileStat>>;

    /// Opens one TCP connection to a port on the workload's own loopback, as a program in it would that
    /// connects to `localhost`. Twice in a row opens two. Shutting down the writing half tells the
    /// program end-of-file while what it sends can still be read, where the platform carries that;
    /// dropping the stream closes the connection. Needs `exec.forward`.
    ///
    /// # Errors
    /// `WrongState` when the workload does not run; `NotFound` when it is gone; `Unavailable` when
    /// nothing listens at the port. A platform that learns that later gives the error when the stream is
    /// read ([`ConnectionRefused`](std::io::ErrorKind::ConnectionRefused)), never end-of-file.
    async fn forward(&self, request: ForwardRequest) -> Result<BoxDuplex>;
}

/// Shorter ways to do common things over any [`Connection`].
#[async_trait]
pub trait ConnectionExt {
    /// Runs a program to its end and collects its output, at most 16 MiB of each stream.
    ///
    /// # Errors
    /// As [`Connection::exec`] and [`Process::output`]; a non-zero exit is no error.
    async fn run(&self, request: ExecRequest) -> Result<Output>;
}

/// The most that [`ConnectionExt::run`] collects of each stream.
pub const RUN_OUTPUT_LIMIT: usize = 16 << 20;

#[async_trait]
impl<C: Connection + ?Sized> ConnectionExt for C {
    async fn run(&self, request: ExecRequest) -> Result<Output> {
        self.exec(request).await?.output(RUN_OUTPUT_LIMIT).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked_and_say_what_they_need() {
        assert!(ExecRequest::default().validate().is_err());
        assert!(ExecRequest::new(["a\0b"]).validate().is_err());
        assert!(ExecRequest::new(["a", "", "$x"]).validate().is_ok());
        let r = ExecRequest::new([vec![0xff_u8]]).with_stdin();
        assert!(r.requires().contains(&Capability::ExecBytes));
        assert!(r.requires().contains(&Capability::ExecStdin));
        assert!(ForwardRequest::new(0).validate().is_err() && ForwardRequest::new(1).validate().is_ok());
    }
}

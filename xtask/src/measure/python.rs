//! A platform's client for Python, kept running, so that only its exec is timed.

use crate::bench::python::VARIABLE;
use pod::prelude::*;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The interpreter.
pub(super) fn program() -> Result<PathBuf, Error> {
    let missing = || Error::invalid("this is run by `cargo xtask bench`").with_context("missing", VARIABLE);
    std::env::var_os(VARIABLE).map(PathBuf::from).ok_or_else(missing)
}

/// A client that waits for its next exec.
pub(super) struct Python {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Python {
    /// Starts a script that does one exec for each line it reads, and prints the seconds that it took.
    pub(super) fn start(script: &str, arguments: &[&str]) -> Result<Self, Error> {
        let mut child = Command::new(program()?)
            .args(["-c", script])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(|| "run python")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.ok_or_else(|| Error::unexpected("python has no pipes"))?;
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    /// One exec, as long as the client says it took.
    pub(super) fn exec(&mut self) -> Result<Duration, Error> {
        self.stdin.write_all(b"\n").doing(|| "tell python to exec")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line).doing(|| "read what python says")?;
        let seconds = line.trim().parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
        seconds.ok_or_else(|| Error::new(ErrorKind::CommandFailed, "the client for Python failed; it says why above"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // One that has failed has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

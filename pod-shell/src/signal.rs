//! Signals and kills by a second exec: what a program started is found by a token in its environment.

use pod_core::{Error, ErrorKind, ExitStatus, Output, Result, Signal};

/// Finds processes by the token, given in two parts so that the script does not find itself. With a process
/// id it sends that one the signal, if it is of the token; else it kills all of the token and their children
/// until none is left, and prints those it can't kill; with the signal 0 it kills none, and fails when there
/// are some.
const SCRIPT: &str = include_str!("signal.sh");

/// The script's exit code where there is no `/proc`.
const NO_PROC: u8 = 3;
/// The script's exit code when processes could not be signalled.
const NOT_ALLOWED: u8 = 4;

/// What, run by `shell`, sends one process of a token a signal, or kills all of it. A program and all that it
/// started carry the token in their environment, as `POD_EXEC`.
#[must_use]
pub fn signal(shell: &str, token: &str, to: Option<(Signal, u32)>) -> Vec<String> {
    let (first, second) = token.split_at(token.len() / 2);
    let (number, pid) = to.map_or_else(Default::default, |(s, pid)| (s.get().to_string(), pid.to_string()));
    [shell, "-c", SCRIPT, "pod", first, second, &number, &pid].map(str::to_owned).to_vec()
}

/// What, run by `shell`, looks for processes of a token: it exits with 0 when it could look and found none.
#[must_use]
pub fn search(shell: &str, token: &str) -> Vec<String> {
    let (first, second) = token.split_at(token.len() / 2);
    [shell, "-c", SCRIPT, "pod", first, second, "0", ""].map(str::to_owned).to_vec()
}

/// What came of running [`signal`]. A container that is gone, does not run, or ended under it runs nothing
/// that could be signalled.
///
/// # Errors
/// `Unsupported` where there is no `/proc`; `PermissionDenied` with the process ids of what can't be
/// signalled; `CommandFailed` when the script failed in another way; the error that is given.
pub fn signalled(ran: Result<Output>) -> Result<()> {
    let said = match ran {
        Ok(said) => said,
        Err(e) if matches!(e.kind(), ErrorKind::WrongState | ErrorKind::NotFound) => return Ok(()),
        Err(e) => return Err(e),
    };
    match said.status {
        ExitStatus::Exited(0 | 137) | ExitStatus::Unknown => Ok(()),
        ExitStatus::Exited(NO_PROC) => {
            Err(Error::unsupported("the container has no /proc to find processes by: the program was left")
                .with_hint("use a container with /proc"))
        }
        ExitStatus::Exited(NOT_ALLOWED) => Err(Error::new(
            ErrorKind::PermissionDenied,
            "some processes of the program can't be signalled: they were left",
        )
        .with_context("pids", said.stdout_text().trim().to_owned())
        .with_hint("they run as another user")),
        other => Err(Error::new(ErrorKind::CommandFailed, "signalling the program failed")
            .with_context("status", other.to_string())
            .with_context("said", [said.stdout_text(), said.stderr_text()].concat().trim().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_told_and_what_is_gone_needs_no_signal() {
        let ran = |status| Ok(Output { status, stdout: b"17 18".to_vec(), stderr: Vec::new() });
        let kind = |ran| signalled(ran).map_err(|e| e.kind());
        for gone in [ExitStatus::Exited(0), ExitStatus::Exited(137), ExitStatus::Unknown] {
            assert_eq!(kind(ran(gone)), Ok(()));
        }
        assert_eq!(kind(Err(Error::new(ErrorKind::WrongState, "it does not run"))), Ok(()));
        assert_eq!(kind(Err(Error::new(ErrorKind::Timeout, "no answer"))), Err(ErrorKind::Timeout));
        assert_eq!(kind(ran(ExitStatus::Exited(3))), Err(ErrorKind::Unsupported));
        assert_eq!(kind(ran(ExitStatus::Exited(2))), Err(ErrorKind::CommandFailed));
        let denied = signalled(ran(ExitStatus::Exited(4))).expect_err("not allowed");
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
        assert!(denied.context().iter().any(|(key, value)| *key == "pids" && value == "17 18"), "{denied}");
    }
}

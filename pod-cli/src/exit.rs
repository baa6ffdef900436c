//! Exit codes, and the one way out.

use pod::{Error, ErrorKind, ExitStatus};

/// The exit code of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exit(u8);

impl Exit {
    /// All went well.
    pub(crate) const OK: Self = Self(0);
    /// The command did its work, and the answer is no: a finding, a blocked path, a gap.
    pub(crate) const NO: Self = Self(1);
    /// The command line is not understood.
    pub(crate) const USAGE: Self = Self(2);
    /// A plan would change something (`--detailed-exitcode`).
    pub(crate) const CHANGES: Self = Self(2);
    /// Time ran out, as timeout(1) says it.
    pub(crate) const TIMEOUT: Self = Self(124);
    /// A failure of our own, told from what a program in a workload returns.
    pub(crate) const FAILED: Self = Self(125);

    /// The code of an error.
    pub(crate) fn of_error(error: &Error) -> Self {
        match error.exit_code() {
            Some(code) => Self(code),
            None if error.kind() == ErrorKind::Timeout => Self::TIMEOUT,
            None => Self::FAILED,
        }
    }

    /// The code of a program that ended; `None` when its status was lost.
    pub(crate) fn of_status(status: ExitStatus) -> Option<Self> {
        status.shell_code().map(Self)
    }

    /// The code of a command ended by this signal.
    pub(crate) fn of_signal(signal: u8) -> Self {
        Self(128u8.saturating_add(signal))
    }

    /// `0` when `good`, else `1`.
    pub(crate) fn yes_or_no(good: bool) -> Self {
        if good { Self::OK } else { Self::NO }
    }
}

/// Ends the process now. Threads that sit in a blocking read of stdin are not waited for; the terminal
/// is as it was.
pub(crate) fn leave(code: Exit) -> ! {
    crate::terminal::restore();
    std::process::exit(code.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_statuses_have_their_codes() {
        let missing = Error::new(ErrorKind::CommandFailed, "x").with_exit_code(127);
        assert_eq!(Exit::of_error(&missing), Exit(127));
        assert_eq!(Exit::of_error(&Error::new(ErrorKind::Timeout, "x")), Exit::TIMEOUT);
        assert_eq!(Exit::of_error(&Error::not_found("workload", "x")), Exit::FAILED);
        assert_eq!(Exit::of_status(ExitStatus::Signaled(9)), Some(Exit(137)));
        assert_eq!(Exit::of_status(ExitStatus::Unknown), None);
        assert_eq!(Exit::of_signal(2), Exit(130));
    }
}

//! From what the helper, PID 1 and the kernel say to the errors of POD.

use crate::wire::{Failure, Stage};
use pod_core::{Error, ErrorKind};

/// The error for a failed start of a program or workload.
pub(crate) fn from_failure(failure: &Failure) -> Error {
    let cause = (failure.errno != 0).then(|| std::io::Error::from_raw_os_error(failure.errno));
    let with_cause = |error: Error| match cause {
        Some(cause) => error.with_source(cause),
        None => error,
    };
    match (failure.stage, failure.errno) {
        (Stage::Exec, libc::ENOENT) => with_cause(
            Error::new(ErrorKind::CommandFailed, "no such program in the workload")
                .with_context("program", failure.what.clone())
                .with_exit_code(127),
        ),
        (Stage::Exec, errno) => {
            let why = match errno {
                libc::EACCES => "the program can't be executed: permission denied",
                libc::ENOEXEC => "the program can't be executed: its format or its interpreter is missing",
                libc::E2BIG => "the arguments and the environment are too long",
                _ => "the program can't be executed",
            };
            with_cause(
                Error::new(ErrorKind::CommandFailed, why)
                    .with_context("program", failure.what.clone())
                    .with_exit_code(126),
            )
        }
        (Stage::User, 0) => Error::invalid(failure.what.clone()),
        (Stage::User, _) => with_cause(
            Error::new(ErrorKind::PermissionDenied, "the user can't be taken")
                .with_context("step", failure.what.clone()),
        ),
        (Stage::Cwd, libc::ENOENT) => {
            Error::new(ErrorKind::NotFound, "the working directory does not exist in the workload")
                .with_context("cwd", failure.what.clone())
        }
        (Stage::Cwd, _) => with_cause(
            Error::new(ErrorKind::PermissionDenied, "the working directory can't be entered")
                .with_context("cwd", failure.what.clone()),
        ),
        (Stage::Fork, libc::EAGAIN) => with_cause(
            Error::new(ErrorKind::Exhausted, "the workload may have no more processes")
                .with_hint("raise its limit of pids, or end some of its processes"),
        ),
        (Stage::Fork, libc::ENOMEM) => with_cause(Error::new(ErrorKind::Exhausted, "no memory for another process")),
        (Stage::Fork, _) => {
            with_cause(Error::unexpected("no process could be made").with_context("step", failure.what.clone()))
        }
        (Stage::Tty, _) => {
            with_cause(Error::unexpected("no terminal could be made").with_context("step", failure.what.clone()))
        }
        (Stage::Mount, libc::EPERM | libc::EACCES) => with_cause(
            Error::new(ErrorKind::PermissionDenied, failure.what.clone())
                .with_hint("the local engine needs root for now: use sudo"),
        ),
        (Stage::Mount, libc::ENODEV) => with_cause(
            Error::unsupported("this kernel has no overlay file system").with_hint("load or build CONFIG_OVERLAY_FS"),
        ),
        (_, libc::ENOSPC | libc::EDQUOT) => with_cause(
            Error::new(ErrorKind::Exhausted, failure.what.clone())
                .with_hint("free some space and run the command again"),
        ),
        (Stage::Mount | Stage::File, 1..) => {
            Error::io("the workload could not be started", std::io::Error::from_raw_os_error(failure.errno))
                .with_context("step", failure.what.clone())
        }
        (Stage::Mount | Stage::File | Stage::Container, _) => {
            Error::unexpected("the workload could not be started").with_context("step", failure.what.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_their_kinds_and_codes() {
        let table = [
            (Stage::Exec, libc::ENOENT, ErrorKind::CommandFailed, Some(127)),
            (Stage::Exec, libc::EACCES, ErrorKind::CommandFailed, Some(126)),
            (Stage::Exec, libc::ENOEXEC, ErrorKind::CommandFailed, Some(126)),
            (Stage::User, 0, ErrorKind::InvalidInput, None),
            (Stage::User, libc::EPERM, ErrorKind::PermissionDenied, None),
            (Stage::Cwd, libc::ENOENT, ErrorKind::NotFound, None),
            (Stage::Cwd, libc::EACCES, ErrorKind::PermissionDenied, None),
            (Stage::Fork, libc::EAGAIN, ErrorKind::Exhausted, None),
            (Stage::Mount, libc::EPERM, ErrorKind::PermissionDenied, None),
            (Stage::Mount, libc::ENODEV, ErrorKind::Unsupported, None),
            (Stage::File, libc::ENOSPC, ErrorKind::Exhausted, None),
            (Stage::File, libc::EROFS, ErrorKind::PermissionDenied, None),
            (Stage::Container, 0, ErrorKind::Unexpected, None),
        ];
        for (stage, errno, kind, code) in table {
            let error = from_failure(&Failure { stage, errno, what: "x".into() });
            assert_eq!((error.kind(), error.exit_code()), (kind, code), "{stage:?} {errno}");
        }
    }
}

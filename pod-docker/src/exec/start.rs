//! Starting programs.

use super::driver::{ExecDriver, SHELL_LESS};
use super::pump::{self, End, How};
use super::{Target, wrap};
use crate::engine::failure::Failure;
use crate::engine::{Query, part};
use crate::errors;
use http::StatusCode;
use pod_core::{BoxDuplex, Error, ErrorKind, ExecRequest, Process, Result};
use pod_shell::Mark;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

/// An exec, as the daemon is asked for it.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) env: &'a [String],
    pub(crate) cwd: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

/// Makes an exec and starts it; its id, and the connection that its streams are on.
///
/// # Errors
/// `NotFound` when the container is gone, `WrongState` when it does not run; as the daemon says.
pub(crate) async fn open(target: &Target, asked: &Asked<'_>) -> Result<(String, BoxDuplex)> {
    let mut body = json!({
        "AttachStdin": asked.stdin,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": asked.tty,
        "Cmd": asked.argv,
        "Env": asked.env,
    });
    if let Some(cwd) = asked.cwd {
        body["WorkingDir"] = json!(cwd);
    }
    if let Some(user) = asked.user {
        body["User"] = json!(user);
    }
    let path = format!("/containers/{}/exec", part(&target.id));
    let made: Made = target.engine.post_json(&path, Query::new(), &body).await.map_err(|f| refused(target, f))?;
    let start = json!({"Detach": false, "Tty": asked.tty});
    let path = format!("/exec/{}/start", part(&made.id));
    let stream = target.engine.hijack(&path, Query::new(), Some(&start)).await.map_err(|f| refused(target, f))?;
    Ok((made.id, stream))
}

/// The error for what a daemon says when it is to run something in a container, or to attach to it.
pub(crate) fn refused(target: &Target, failure: Failure) -> Error {
    if failure.is_not_found() {
        return Error::not_found("workload", target.name.as_str());
    }
    if failure.is_conflict() {
        let error = target.engine.error(failure);
        if error.kind() != ErrorKind::WrongState {
            return target.about(error);
        }
        let paused = error.message().contains("paused");
        let (message, hint) = if paused {
            ("the workload is paused", format!("`docker unpause {}` lets it go on", target.name))
        } else {
            ("the workload does not run", format!("start it: `pod start {}`", target.name))
        };
        return target.about(Error::new(ErrorKind::WrongState, message).with_hint(hint));
    }
    match failure.words().map(not_begun) {
        Some(error) => target.about(error),
        None => target.about(target.engine.error(failure)),
    }
}

/// The error for what a daemon says in place of a program's output.
pub(crate) fn not_begun(words: &str) -> Error {
    let lower = words.to_ascii_lowercase();
    if lower.contains("chdir to cwd") || lower.contains("workdir") && lower.contains("no such file") {
        return Error::new(ErrorKind::NotFound, "the working directory does not exist in the workload")
            .with_context("answer", words.to_owned());
    }
    if errors::not_run(words).is_some() && lower.contains(wrap::SHELL) {
        return Error::unsupported(SHELL_LESS)
            .with_context("answer", words.to_owned())
            .with_hint("use an image with a POSIX shell");
    }
    errors::refused(StatusCode::INTERNAL_SERVER_ERROR, words)
}

/// Starts a program. On cancellation nothing is left running.
///
/// # Errors
/// As [`Connection::exec`](pod_core::Connection::exec).
pub(crate) async fn start(target: Target, request: ExecRequest) -> Result<Process> {
    let (tell, told) = oneshot::channel();
    // Not part of the caller's future, which may be dropped when the program is half started. A process
    // that nobody takes is dropped, and so killed.
    tokio::spawn(async move {
        let begun = begin(target, request).await;
        let _ = tell.send(begun);
    });
    told.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Cancelled, "the runtime was shut down")))
}

async fn begin(target: Target, request: ExecRequest) -> Result<Process> {
    let token = uuid::Uuid::new_v4().simple().to_string();
    let wrapped = wrap::run(&request, &token).map_err(|e| target.about(e))?;
    let asked = Asked {
        argv: &wrapped.argv,
        env: &wrapped.env,
        cwd: request.cwd.as_deref(),
        user: request.user.as_deref(),
        stdin: request.stdin,
        tty: request.tty.is_some(),
    };
    let (exec, stream) = open(&target, &asked).await?;
    let how = How { stdin: request.stdin, tty: asked.tty, token: Some(token.clone()) };
    let pumped = pump::start(&target, exec.clone(), stream, how);
    let mut progress = pumped.progress.clone();
    let begun = match progress.wait_for(|p| p.first.is_some() || p.end.is_some()).await {
        Ok(progress) => progress.clone(),
        Err(_) => return Err(Error::new(ErrorKind::Cancelled, "the runtime was shut down")),
    };
    let program = request.argv.first().map(|p| String::from_utf8_lossy(p).into_owned()).unwrap_or_default();
    let failed = |message: &str, code: u8| {
        target.about(
            Error::new(ErrorKind::CommandFailed, message).with_context("program", program.clone()).with_exit_code(code),
        )
    };
    let pid = match (begun.first, begun.end) {
        (Some(Mark::Began(pid)), _) => pid,
        (Some(Mark::NoProgram), _) => return Err(failed("there is no such program", 127)),
        (Some(Mark::NotExecutable), _) => return Err(failed("the program can't be executed", 126)),
        (_, Some(End::NotBegun(words, status))) if words.is_empty() => {
            return Err(not_running(&target).await.unwrap_or_else(|| {
                target.about(
                    Error::new(ErrorKind::CommandFailed, "the program did not begin")
                        .with_context("program", program)
                        .with_context("status", status.to_string()),
                )
            }));
        }
        (_, Some(End::NotBegun(words, _))) => {
            return Err(match not_running(&target).await {
                Some(error) => error,
                None => target.about(not_begun(&words)),
            });
        }
        (_, Some(End::Lost(why))) => {
            return Err(
                target.about(Error::new(ErrorKind::Unavailable, "the daemon went away").with_context("cause", why))
            );
        }
        (_, end) => {
            return Err(target.about(
                Error::unexpected("the program's wrapper said nothing").with_context("end", format!("{end:?}")),
            ));
        }
    };
    let driver =
        ExecDriver { target, exec, token, pid, tty: asked.tty, progress: pumped.progress, discard: pumped.discard };
    Ok(Process::spawn(Box::new(driver), pumped.streams, request.timeout))
}

/// The error of a workload that ended or went meanwhile.
pub(crate) async fn not_running(target: &Target) -> Option<Error> {
    match crate::containers::by_id(&target.engine, &target.id).await {
        Ok(None) => Some(Error::not_found("workload", target.name.as_str())),
        Ok(Some(found)) if !found.is_running() => Some(
            target
                .about(Error::new(ErrorKind::WrongState, "the workload does not run"))
                .with_hint(format!("start it: `pod start {}`", target.name)),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_place_of_output_has_a_kind() {
        for (words, kind) in [
            (
                r#"OCI runtime exec failed: exec failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown"#,
                ErrorKind::Unsupported,
            ),
            (
                r#"OCI runtime exec failed: exec failed: unable to start container process: chdir to cwd ("/no") set in config.json failed: no such file or directory: unknown"#,
                ErrorKind::NotFound,
            ),
            ("unable to find user x: no matching entries in passwd file", ErrorKind::InvalidInput),
            ("cannot exec in a stopped state: unknown", ErrorKind::Unexpected),
        ] {
            assert_eq!(not_begun(words).kind(), kind, "{words}");
        }
    }
}

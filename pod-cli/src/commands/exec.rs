//! `pod exec`

use crate::args::Exec;
use crate::context::{Context, Target};
use crate::exit::Exit;
use crate::signals::Controls;
use crate::stdio::{End, OnSignal, Prefixed, Session, terminal_size};
use crate::targets::{by_label, filter};
use crate::terminal;
use futures_util::StreamExt;
use futures_util::stream;
use pod::{Error, ErrorKind, ExecRequest, ExitStatus, Result};
use std::ffi::{OsStr, OsString};
use tokio::sync::watch;

pub(super) async fn run(context: &Context, args: Exec) -> Result<Exit> {
    let mut request = ExecRequest::new(args.command.iter().map(|a| bytes(a)));
    for env in &args.env {
        request = request.with_env(env.key.as_bytes(), env.value.as_bytes());
    }
    request.cwd = args.workdir.clone();
    request.user = args.user.clone();
    request.timeout = args.timeout;
    request.stdin = args.interactive || args.tty;
    match args.workloads.as_slice() {
        [one] => in_one(context, one, request, args.tty).await,
        _ => in_many(context, &args, request).await,
    }
}

/// The bytes of an argument as they were given.
pub(super) fn bytes(argument: &OsStr) -> Vec<u8> {
    #[cfg(unix)]
    {
        std::os::unix::ffi::OsStrExt::as_bytes(argument).to_vec()
    }
    #[cfg(not(unix))]
    {
        argument.to_string_lossy().into_owned().into_bytes()
    }
}

/// An argument as text, for what takes text only.
pub(super) fn text(argument: &OsString) -> Result<String> {
    argument.to_str().map(Into::into).ok_or_else(|| {
        Error::invalid("an argument of a workload's own command is text")
            .with_context("argument", argument.to_string_lossy())
            .with_hint("`pod exec` passes any bytes")
    })
}

async fn in_one(context: &Context, workload: &str, mut request: ExecRequest, tty: bool) -> Result<Exit> {
    let raw = tty.then(terminal::enter_raw_mode).transpose()?;
    if tty {
        request.tty = Some(terminal_size());
    }
    let mut session = Session::new(request.stdin, tty, OnSignal::Kill)?;
    if let Some(raw) = raw {
        session = session.with_raw_mode(raw);
    }
    let begin = async {
        let target = context.target(workload).await?;
        match start(&target, request).await {
            Ok(process) => Ok((target, process)),
            Err(e) => Err(target.explain(e).await),
        }
    };
    let (target, process) = match session.controls().unless_ended(begin).await? {
        Ok(begun) => begun,
        Err(signal) => return Ok(Exit::of_signal(signal.get())),
    };
    end(context, &target, session.run(process).await?)
}

/// The exit code for the end of a session.
pub(super) fn end(context: &Context, target: &Target, end: End) -> Result<Exit> {
    Ok(match end {
        End::Ended(status) => Exit::of_status(status).unwrap_or_else(|| context.report(&lost(target))),
        End::Detached => Exit::OK,
        End::Interrupted(signal) => Exit::of_signal(signal.get()),
    })
}

/// The error for a status that was lost.
pub(super) fn lost(target: &Target) -> Error {
    Error::new(ErrorKind::Unavailable, "how the command ended is not known")
        .with_context("workload", target.name.as_str())
}

async fn start(target: &Target, request: ExecRequest) -> Result<pod::Process> {
    target.backend.connect(&target.name).await?.exec(request).await
}

async fn in_many(context: &Context, args: &Exec, request: ExecRequest) -> Result<Exit> {
    if args.tty || args.interactive {
        return Err(Error::invalid("stdin and a terminal go to one workload only").with_hint("leave -i and -t out"));
    }
    let mut targets = Vec::new();
    for text in &args.workloads {
        targets.push(context.target(text).await?);
    }
    if !args.label.is_empty() {
        targets = by_label(context, filter(&args.label).with_running(true)).await?;
    }
    if targets.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "no running workload has these labels")
            .with_hint("`pod ps -o wide` shows labels"));
    }
    let mut controls = Controls::new(false)?;
    let printer = Prefixed::begin();
    let (stop, stopped) = watch::channel(false);
    let exit = {
        let all = async {
            let mut ends = stream::iter(&targets)
                .map(|target| {
                    let (request, printer, mut stopped) = (request.clone(), &printer, stopped.clone());
                    async move {
                        let begun = tokio::select! {
                            // What was not begun when the signal came is not begun any more.
                            biased;
                            Ok(_) = stopped.wait_for(|s| *s) => return (target, Ok(ExitStatus::Signaled(9))),
                            begun = start(target, request) => begun,
                        };
                        let result = match begun {
                            Ok(process) => printer.run(target.name.as_str(), process, stopped).await,
                            Err(e) => Err(target.explain(e).await),
                        };
                        (target, result)
                    }
                })
                .buffer_unordered(args.jobs);
            let mut exit = Exit::OK;
            while let Some((target, result)) = ends.next().await {
                exit = exit.max(match result {
                    Ok(status) => Exit::of_status(status).unwrap_or_else(|| context.report(&lost(target))),
                    Err(e) => context.report(&name(e, target)),
                });
            }
            exit
        };
        tokio::pin!(all);
        tokio::select! {
            exit = &mut all => exit,
            signal = controls.end() => {
                stop.send_replace(true);
                tokio::select! {
                    _ = all => {}
                    // Asked twice: no more waiting.
                    _ = controls.end() => {}
                }
                return Ok(Exit::of_signal(signal.get()));
            }
        }
    };
    printer.finish().await?;
    Ok(exit)
}

/// Says which workload an error is about, if it does not say so itself.
fn name(error: Error, target: &Target) -> Error {
    if error.context().iter().any(|(key, _)| *key == "workload") {
        error
    } else {
        error.with_context("workload", target.name.as_str())
    }
}

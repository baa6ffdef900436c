//! `pod attach`

use crate::args::Attach;
use crate::context::{Context, Target};
use crate::exit::Exit;
use crate::stdio::{End, OnSignal, Session, terminal_size};
use crate::terminal;
use pod::{AttachRequest, Error, ErrorKind, Result, State};
use std::io::IsTerminal;

pub(super) async fn run(context: &Context, args: Attach) -> Result<Exit> {
    let target = context.target(&args.workload).await?;
    let workload = match target.backend.inspect(&target.name).await {
        Ok(workload) => workload,
        Err(e) => return Err(target.explain(e).await),
    };
    if !matches!(workload.state, State::Running { command: None } | State::Starting) {
        return Err(Error::new(ErrorKind::WrongState, "the workload's command does not run")
            .with_context("workload", target.name.as_str())
            .with_context("state", workload.state.to_string())
            .with_hint("`pod logs` prints what it wrote, `pod start` starts it again"));
    }
    let stdin = workload.spec.stdin && !args.no_stdin;
    let tty = workload.spec.tty && stdin && std::io::stdin().is_terminal();
    let how = How { stdin, tty, logs: args.logs, keys: args.detach_keys.0 };
    let end = attach(&target, how, OnSignal::Forward).await?;
    super::exec::end(context, &target, end)
}

/// How to attach.
pub(super) struct How {
    /// Pass our stdin.
    pub(super) stdin: bool,
    /// Our terminal is the command's.
    pub(super) tty: bool,
    /// Print first what it has written so far.
    pub(super) logs: bool,
    /// The keys that leave it.
    pub(super) keys: Vec<u8>,
}

/// Stays attached until the command ends or the user leaves it.
pub(super) async fn attach(target: &Target, how: How, on_signal: OnSignal) -> Result<End> {
    let mut request = AttachRequest::new(target.name.clone()).with_stdin(how.stdin).with_logs(how.logs);
    let mut session = Session::new(how.stdin, how.tty, on_signal)?;
    if how.tty {
        session = session.with_raw_mode(terminal::enter_raw_mode()?).with_detach_keys(&how.keys);
        request = request.with_tty(Some(terminal_size()));
    }
    let process = target.backend.attach(request).await?;
    session.run(process).await
}

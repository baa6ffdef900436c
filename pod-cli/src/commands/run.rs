//! `pod run`

use super::attach::{How, attach};
use crate::args::Run;
use crate::context::{Context, Target};
use crate::exit::Exit;
use crate::output::{Report, WorkloadView};
use crate::signals::Controls;
use crate::stdio::{End, OnSignal};
use futures_util::StreamExt;
use pod::{
    BackendExt, Capability, CreateRequest, Error, ErrorKind, EventsRequest, Limits, LogsRequest, RemoveRequest,
    Requires, Result, Signal, State, Workload, WorkloadName, WorkloadSpec,
};
use std::hash::{BuildHasher, Hasher};

/// How long a creation that was given up may take to be taken back.
const A_WHILE: std::time::Duration = std::time::Duration::from_secs(5);

/// How long an image's own command is watched, and a creation that was cut short is waited for.
const A_MOMENT: std::time::Duration = std::time::Duration::from_millis(300);

pub(super) async fn run(context: &Context, args: Run) -> Result<Exit> {
    let stays = args.attach || args.interactive || args.tty || args.rm;
    if args.tty && !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        return Err(Error::invalid("stdin is no terminal, and -t needs one").with_hint("leave -t out; -i passes stdin"));
    }
    let (uri, name) = match &args.name {
        Some(text) => {
            let address = context.resolve(text)?;
            let name = address.require_workload()?.clone();
            (address.backend, name)
        }
        None => (context.default_backend()?, made_up()?),
    };
    let request = CreateRequest::new(spec(&args, name.clone())?).with_start();
    let wanted = request.requires().into_iter().collect();
    let target = Target { backend: context.reach_for(&uri, wanted).await?, name };
    let mut controls = Controls::new(false)?;
    let begun = jiff::Timestamp::now();
    let mut create = target.backend.create(request);
    let made = tokio::select! {
        made = &mut create => made,
        signal = controls.end() => {
            take_back(context, &target, create, begun).await;
            return Ok(Exit::of_signal(signal.get()));
        }
    };
    let workload = match made {
        Ok(workload) => workload,
        Err(e) if e.kind() == ErrorKind::AlreadyExists && e.hint().is_none() => {
            return Err(e.with_hint("choose another --name, or remove it with `pod rm -f`"));
        }
        Err(e) => return Err(e),
    };
    if stays {
        return stay(context, &args, &target).await;
    }
    let ready = async { settled(&args, &target, running(&target, workload).await?).await };
    let workload = match controls.unless_ended(ready).await? {
        Ok(workload) => workload,
        Err(signal) => {
            // Its name was not printed yet: nobody knows of it.
            target.backend.remove(RemoveRequest::new(target.name.clone()).with_force(true)).await?;
            return Ok(Exit::of_signal(signal.get()));
        }
    };
    for note in &workload.notes {
        context.say(note);
    }
    context.print(&Made(WorkloadView::new(&target.backend.info().uri, &workload)))?;
    Ok(Exit::OK)
}

/// Leaves nothing of a creation that a signal cut short: one that is nearly done is let be done, and
/// removed; one that takes longer is given up, and the backend takes it back while this process lives.
async fn take_back(
    context: &Context,
    target: &Target,
    mut create: impl Future<Output = Result<Workload>> + Unpin,
    begun: jiff::Timestamp,
) {
    let cleaning = async {
        match tokio::time::timeout(A_MOMENT, &mut create).await {
            Ok(Ok(made)) => {
                let request = RemoveRequest::new(made.spec.name).with_force(true);
                return target.backend.remove(request).await.map(drop);
            }
            Ok(Err(_)) => return Ok(()), // it failed, and left nothing
            Err(_) => drop(create),
        }
        // One that was there before is another's.
        while target.backend.inspect(&target.name).await.is_ok_and(|w| w.created >= begun) {
            tokio::time::sleep(A_MOMENT / 10).await;
        }
        Ok(())
    };
    if !matches!(tokio::time::timeout(A_WHILE, cleaning).await, Ok(Ok(()))) {
        context.say(&format!("{name} may be left: `pod rm -f {name}` removes it", name = target.name));
    }
}

/// The workload that was made; for people, its name.
#[derive(Debug, serde::Serialize)]
#[serde(transparent)]
struct Made(WorkloadView);

impl Report for Made {
    fn table(&self, _wide: bool) -> crate::output::Table {
        let mut t = crate::output::Table::bare();
        t.row([self.0.name.clone()]);
        t
    }

    fn names(&self) -> Vec<String> {
        vec![self.0.name.clone()]
    }
}

fn spec(args: &Run, name: WorkloadName) -> Result<WorkloadSpec> {
    let mut spec = WorkloadSpec::new(name)
        .with_command(args.command.iter().map(super::exec::text).collect::<Result<Vec<_>>>()?)
        .with_tty(args.tty)
        .with_stdin(args.interactive || args.tty)
        .with_keep_alive(args.keep_alive);
    for env in &args.env {
        spec = spec.with_env(&env.key, &env.value);
    }
    for label in &args.label {
        pod::check_label(&label.key, &label.value)?;
        spec = spec.with_label(&label.key, &label.value);
    }
    let mut limits = Limits::default();
    (limits.cpus, limits.memory, limits.pids) = (args.cpus, args.memory, args.pids);
    spec.limits = limits;
    spec.image = args.image.clone();
    spec.user = args.user.clone();
    spec.cwd = args.workdir.clone();
    spec.attachments = args.net.clone();
    spec.hosts = args.host.iter().cloned().collect();
    spec.mounts = args.mount.iter().chain(&args.tmpfs).cloned().collect();
    spec.ports = args.publish.clone();
    spec.restart = args.restart.unwrap_or_default();
    Ok(spec)
}

/// A name that is most likely free.
fn made_up() -> Result<WorkloadName> {
    // The standard library seeds its hashers at random.
    let number = std::hash::RandomState::new().build_hasher().finish();
    WorkloadName::new(format!("w-{:08x}", number as u32))
}

/// Waits until the workload runs, or has run already.
async fn running(target: &Target, mut workload: Workload) -> Result<Workload> {
    if workload.state == State::Starting {
        let mut events = target.backend.events(EventsRequest::of(target.name.clone())).await?;
        loop {
            workload = target.backend.inspect(&target.name).await?;
            if workload.state != State::Starting || events.next().await.transpose()?.is_none() {
                break;
            }
        }
    }
    match &workload.state {
        State::Failed(why) => Err(Error::new(ErrorKind::CommandFailed, format!("the workload did not start: {why}"))
            .with_context("workload", target.name.as_str())
            .with_hint("`pod logs` prints what it wrote, `pod rm` removes it")),
        _ => Ok(workload),
    }
}

/// An image's own command may be one that ends at once without a terminal, such as a shell: gives it a
/// moment, so that the user is told now.
async fn settled(args: &Run, target: &Target, workload: Workload) -> Result<Workload> {
    if !args.command.is_empty() || args.keep_alive {
        return Ok(workload);
    }
    match tokio::time::timeout(A_MOMENT, target.backend.wait_exit(&target.name)).await {
        Ok(ended) => {
            ended?;
            target.backend.inspect(&target.name).await
        }
        Err(_) => Ok(workload),
    }
}

/// Stays attached until the command has ended, and removes the workload with `--rm`.
async fn stay(context: &Context, args: &Run, target: &Target) -> Result<Exit> {
    let how = How { stdin: args.interactive || args.tty, tty: args.tty, logs: true, keys: args.detach_keys.0.clone() };
    let stops = target.backend.capabilities().has(Capability::StartStop);
    let on_signal = match stops {
        true => OnSignal::Stop(target.backend.clone(), target.name.clone()),
        false => OnSignal::Leave,
    };
    let result = if target.backend.capabilities().has(Capability::AttachStdio) {
        match attach(target, how, on_signal).await {
            // It ended before it could be attached to: its log has all it wrote.
            Err(e) if e.kind() == ErrorKind::WrongState => ended(context, target).await,
            Err(e) => Err(e),
            Ok(end) => {
                if let End::Interrupted(signal) = end
                    && !stops
                    && !args.rm
                {
                    context.say(&goes_on(target, signal));
                }
                super::exec::end(context, target, end)
            }
        }
    } else {
        followed(context, target, args.rm).await
    };
    if args.rm {
        let left = target.backend.inspect(&target.name).await.is_ok_and(|w| w.state.is_running());
        let detached = left && matches!(result, Ok(Exit::OK));
        if !detached {
            let remove = target.backend.remove(RemoveRequest::new(target.name.clone()).with_force(true));
            if let Err(signal) = Controls::new(false)?.unless_ended(remove).await? {
                return Ok(Exit::of_signal(signal.get()));
            }
        }
    }
    result
}

/// Stays with a command that can't be attached to: its log is followed. One with a stdin or a terminal was
/// refused when it was to be made.
async fn followed(context: &Context, target: &Target, removed: bool) -> Result<Exit> {
    let request = LogsRequest::new(target.name.clone()).with_follow(true);
    let following = super::logs::print(context, target, request, false);
    match Controls::new(false)?.unless_ended(following).await? {
        Ok(()) => {
            let status = target.backend.wait_exit(&target.name).await?;
            super::exec::end(context, target, End::Ended(status))
        }
        Err(signal) => {
            if !removed {
                context.say(&goes_on(target, signal));
            }
            Ok(Exit::of_signal(signal.get()))
        }
    }
}

fn goes_on(target: &Target, signal: Signal) -> String {
    format!("ended by {signal}; {} goes on: `pod rm -f` removes it", target.name)
}

async fn ended(context: &Context, target: &Target) -> Result<Exit> {
    super::logs::print(context, target, LogsRequest::new(target.name.clone()), false).await?;
    let status = target.backend.wait_exit(&target.name).await?;
    super::exec::end(context, target, End::Ended(status))
}

//! One file for each command: what it does with the flags it was given.

mod attach;
mod backend;
mod completions;
mod cp;
mod doctor;
mod events;
mod exec;
mod forward;
mod gc;
mod inspect;
mod k8s;
mod logs;
mod man;
mod net;
mod os;
mod ps;
mod rm;
mod run;
mod start;
mod stop;
mod topology;
mod wait;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::exit::Exit;
use crate::runtime::Load;
use crate::signals::Controls;
use crate::{failure, log, runtime};
use pod::Result;

/// Does what the command line asks for; errors are printed here.
pub(crate) fn dispatch(cli: Cli) -> Exit {
    let Cli { globals, command } = cli;
    // What needs no backend needs no logging and no runtime either.
    let command = match command {
        Command::Completions(args) => return finish(&globals, completions::run(&args)),
        Command::Man(args) => return finish(&globals, man::run(&args)),
        other => other,
    };
    if let Err(e) = log::begin(&globals) {
        return failure::report(&globals, &e);
    }
    let context = Context::new(globals);
    let load = load(&command);
    let work = async {
        if !may_leave_half(&command) {
            return perform(&context, command).await;
        }
        // Dropping what is going on undoes it, or leaves it where a second try can go on.
        match Controls::new(false)?.unless_ended(perform(&context, command)).await? {
            Ok(exit) => Ok(exit),
            Err(signal) => {
                context.say(&format!("ended by {signal}"));
                Ok(Exit::of_signal(signal.get()))
            }
        }
    };
    let result = runtime::run(load, work);
    finish(&context.globals, result)
}

/// How much a command does at once.
fn load(command: &Command) -> Load {
    match command {
        Command::Up(_) | Command::Verify(_) | Command::Down(_) | Command::Cp(_) => Load::Heavy,
        _ => Load::Light,
    }
}

/// Whether a command changes something and does not watch signals itself. A signal ends the others
/// where they stand.
fn may_leave_half(command: &Command) -> bool {
    matches!(
        command,
        Command::Start(_)
            | Command::Stop(_)
            | Command::Rm(_)
            | Command::Net(_)
            | Command::Cp(_)
            | Command::Os(_)
            | Command::Down(_)
            | Command::Gc(_)
    )
}

fn finish(globals: &crate::args::Globals, result: Result<Exit>) -> Exit {
    result.unwrap_or_else(|e| failure::report(globals, &e))
}

async fn perform(context: &Context, command: Command) -> Result<Exit> {
    // Boxed: the future of one command should not be as large as that of the largest.
    match command {
        Command::Run(args) => Box::pin(run::run(context, args)).await,
        Command::Ps(args) => Box::pin(ps::run(context, args)).await,
        Command::Inspect(args) => Box::pin(inspect::run(context, args)).await,
        Command::Start(args) => Box::pin(start::run(context, args)).await,
        Command::Stop(args) => Box::pin(stop::run(context, args)).await,
        Command::Rm(args) => Box::pin(rm::run(context, args)).await,
        Command::Wait(args) => Box::pin(wait::run(context, args)).await,
        Command::Logs(args) => Box::pin(logs::run(context, args)).await,
        Command::Exec(args) => Box::pin(exec::run(context, args)).await,
        Command::Attach(args) => Box::pin(attach::run(context, args)).await,
        Command::Cp(args) => Box::pin(cp::run(context, args)).await,
        Command::Forward(args) => Box::pin(forward::run(context, args)).await,
        Command::Events(args) => Box::pin(events::run(context, args)).await,
        Command::Net(args) => Box::pin(net::run(context, args)).await,
        Command::Up(args) => Box::pin(topology::up(context, args)).await,
        Command::Plan(args) => Box::pin(topology::plan(context, args)).await,
        Command::Verify(args) => Box::pin(topology::verify(context, args)).await,
        Command::Down(args) => Box::pin(topology::down(context, args)).await,
        Command::Os(args) => Box::pin(os::run(context, args)).await,
        Command::K8s(args) => Box::pin(k8s::run(context, args)).await,
        Command::Backend(args) => Box::pin(backend::run(context, args)).await,
        Command::Doctor(args) => Box::pin(doctor::run(context, args)).await,
        Command::Gc(args) => Box::pin(gc::run(context, args)).await,
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

//! The command line, parsed to plain values. Nothing here reaches a backend, but for the completion of
//! workload names.

mod complete;
mod cp;
mod environment;
mod forward;
mod globals;
mod k8s;
mod net;
mod os;
mod tools;
mod topology;
mod values;
mod workloads;

pub(crate) use complete::{VARIABLE as COMPLETE_VARIABLE, complete};
pub(crate) use cp::{Check, Cp};
pub(crate) use forward::{Forward, PortPair};
pub(crate) use globals::{Globals, LogFormat, OutputFormat};
pub(crate) use k8s::*;
pub(crate) use net::*;
pub(crate) use os::*;
pub(crate) use tools::*;
pub(crate) use topology::*;
pub(crate) use values::LabelArg;
pub(crate) use workloads::*;

use crate::exit::Exit;
use clap::error::ErrorKind as ClapKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use pod::{Error, ErrorKind};
use std::io::Write;

/// Run, reach and wire workloads wherever they live
#[derive(Debug, Parser)]
#[command(
    name = "pod",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "\
Addresses:
  A workload is named by its address: local:web, or a bare name on the default backend, which is
  --backend, else the default of the configuration file, else local:.

Exit codes:
  Of exec, run -a and attach: the program's own, 128+n when signal n killed it, 126 when it can't be
  executed, 127 when there is none. Of every command: 1 when the answer is no, 2 for a command line
  that is not understood, 124 when time ran out, 125 for every other failure.

Examples:
  pod run --name web -- sleep 1000       start a workload from this machine's own files
  pod exec web -- uname -a               run a program in it
  pod up two-vlans.yaml                  bring up a topology and prove its reachability
  pod ps -a                              list workloads
  source <(pod completions bash)         complete commands and names"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    Ps(Ps),
    Inspect(Inspect),
    Start(Start),
    Stop(Stop),
    Rm(Rm),
    Wait(Wait),
    Logs(Logs),
    Exec(Exec),
    Attach(Attach),
    Cp(Cp),
    Forward(Forward),
    Events(Events),
    Net(Net),
    Up(Up),
    Plan(Plan),
    Verify(Verify),
    Down(Down),
    Os(Os),
    K8s(K8s),
    Backend(BackendArgs),
    Doctor(Doctor),
    Gc(Gc),
    Completions(Completions),
    Man(Man),
}

/// The whole command, with an environment variable for every flag.
pub(crate) fn command() -> clap::Command {
    environment::name_variables(Cli::command())
}

/// Parses the command line; prints help, version or what is wrong with it.
pub(crate) fn parse() -> Result<Cli, Exit> {
    let parsed = command().try_get_matches().and_then(|m| Cli::from_arg_matches(&m));
    parsed.map_err(|e| refuse(&e))
}

/// Prints clap's message and gives the exit code for it.
fn refuse(e: &clap::Error) -> Exit {
    if !e.use_stderr() {
        // Help and version: whoever closed stdout wants no more of them.
        let _ = e.print();
        return Exit::OK;
    }
    // What can still be read of the line says whether the code could be mistaken for a program's own.
    let partial = command().ignore_errors(true).try_get_matches().ok();
    let wants_json = wants_json(std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()));
    let verb = partial.as_ref().and_then(|m| m.subcommand_name());
    let runs = matches!(verb, Some("exec" | "run"));
    let dashes = std::env::args_os().position(|a| a == "--");
    let before: Vec<_> = std::env::args_os().take(dashes.unwrap_or(usize::MAX)).collect();
    let hint = if verb == Some("run") && e.kind() == ClapKind::UnknownArgument && before.iter().any(|a| a == "-v") {
        Some(VERBOSE)
    } else {
        (runs && dashes.is_none()).then_some(BEHIND_DASHES)
    };
    if wants_json && e.kind() != ClapKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let text = e.render().to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text);
        let message = message.split("\n\n").next().unwrap_or(message).trim().to_owned();
        let mut error = Error::new(ErrorKind::InvalidInput, message).with_operation("parse the command line");
        if let Some(hint) = hint {
            error = error.with_hint(hint);
        }
        // There is nowhere left to say that stderr is closed.
        let _ = writeln!(std::io::stderr(), "{}", serde_json::to_string(&error).unwrap_or_default());
    } else {
        let _ = e.print();
        if let Some(hint) = hint {
            let _ = writeln!(std::io::stderr(), "\n  tip: {hint}");
        }
    }
    match verb {
        Some("exec" | "run" | "attach") => Exit::FAILED,
        _ => Exit::USAGE,
    }
}

/// What those need to know who write a command line as for other tools.
const BEHIND_DASHES: &str = "the program and its arguments come after `--`, such as `pod exec web -- ls -la`";

/// The same for those who mount by `-v`.
const VERBOSE: &str =
    "-v is for more messages; what is mounted is given by --volume or --mount, such as --volume data:/data";

/// Whether a command line that could not be parsed asks for JSON, or else the environment does.
fn wants_json(arguments: impl Iterator<Item = String>) -> bool {
    let mut format = std::env::var("POD_OUTPUT").ok();
    let mut arguments = arguments.take_while(|a| a != "--");
    while let Some(argument) = arguments.next() {
        format = match argument.strip_prefix("--output") {
            Some("") => arguments.next(),
            Some(value) if value.starts_with('=') => Some(value[1..].to_owned()),
            _ => match argument.strip_prefix("-o") {
                Some("") => arguments.next(),
                Some(value) => Some(value.trim_start_matches('=').to_owned()),
                None => format,
            },
        };
    }
    format.as_deref() == Some("json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_below_the_flags_fits_the_width_of_help() {
        fn check(command: &clap::Command) {
            let below = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in below.lines() {
                assert!(line.chars().count() <= 100, "pod {}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }

    #[test]
    fn the_format_is_found_on_a_line_that_is_not_understood() {
        let wants = |line: &str| wants_json(line.split(' ').map(Into::into));
        for line in ["-o json x", "x --bad -o json", "-ojson", "--output=json", "--output json", "-o yaml -o json"] {
            assert!(wants(line), "{line}");
        }
        for line in ["x", "-o yaml", "x -- -o json", "-o", "--outputs json"] {
            assert!(!wants(line), "{line}");
        }
    }
}

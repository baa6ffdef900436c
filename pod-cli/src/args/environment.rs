//! An environment variable for every flag.

use clap::builder::{FalseyValueParser, ValueParser};
use clap::{Arg, ArgAction, Command};

/// Names a variable for each flag that has none yet: `POD_RUN_IMAGE` for `--image` of `pod run`.
/// Values are never shown in help, for they may be long or private.
pub(crate) fn name_variables(command: Command) -> Command {
    below(command, "POD")
}

fn below(command: Command, prefix: &str) -> Command {
    let command = command.mut_args(|arg| with_variable(arg, prefix));
    command.mut_subcommands(|sub| {
        let prefix = format!("{prefix}_{}", upper(sub.get_name()));
        below(sub, &prefix)
    })
}

fn with_variable(arg: Arg, prefix: &str) -> Arg {
    let Some(long) = arg.get_long() else { return arg };
    if matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version) {
        return arg;
    }
    let name = format!("{prefix}_{}", upper(long));
    let arg = if arg.get_env().is_none() { arg.env(name) } else { arg };
    let arg = arg.hide_env_values(true);
    match arg.get_action() {
        // Without this a flag's variable would have to be exactly `true` or `false`.
        ArgAction::SetTrue => arg.value_parser(ValueParser::new(FalseyValueParser::new())),
        _ => arg,
    }
}

fn upper(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_flag_has_a_variable_and_no_two_flags_of_one_command_share_it() {
        fn check(command: &clap::Command, path: &str) {
            let mut seen = std::collections::BTreeSet::new();
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long() else { continue };
                if matches!(long, "help" | "version") {
                    continue;
                }
                let env = arg.get_env().unwrap_or_else(|| panic!("{path} --{long} names no variable"));
                assert!(seen.insert(env.to_owned()), "{path} --{long}: {env:?} is taken");
            }
            for sub in command.get_subcommands() {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        let command = super::super::command();
        command.clone().debug_assert();
        check(&command, "pod");
    }
}

//! `pod completions`

use crate::args::{Completions, ShellName};
use crate::exit::Exit;
use crate::output::write_bytes;
use clap_complete::env::Shells;
use pod::{Error, Result};

pub(super) fn run(args: &Completions) -> Result<Exit> {
    let name = match args.shell {
        ShellName::Bash => "bash",
        ShellName::Elvish => "elvish",
        ShellName::Fish => "fish",
        ShellName::Powershell => "powershell",
        ShellName::Zsh => "zsh",
    };
    let shells = Shells::builtins();
    let shell = shells
        .completer(name)
        .ok_or_else(|| Error::unsupported("this shell can't complete").with_context("shell", name))?;
    let mut script = Vec::new();
    shell
        .write_registration(crate::args::COMPLETE_VARIABLE, "pod", "pod", "pod", &mut script)
        .map_err(|e| Error::io("write the completion script", e))?;
    write_bytes(&script)?;
    Ok(Exit::OK)
}

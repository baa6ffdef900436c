//! Flags of the commands about POD itself.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Look at backends
#[derive(Debug, Args)]
pub(crate) struct BackendArgs {
    #[command(subcommand)]
    pub(crate) command: BackendCommand,
}

/// What to do with backends.
#[derive(Debug, Subcommand)]
pub(crate) enum BackendCommand {
    Ls(BackendLs),
    Caps(BackendCaps),
    Ping(BackendPing),
}

/// List the backends there are: those built in, and those of the configuration
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod backend ls
  pod backend ls -o json")]
pub(crate) struct BackendLs {}

/// Print what a backend can do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod backend caps
  pod backend caps mem: -o json")]
pub(crate) struct BackendCaps {
    /// The backend; the default one when there is none
    #[arg(value_name = "URI")]
    pub(crate) uri: Option<String>,
}

/// Ask whether a backend answers
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod backend ping
  pod backend ping local:")]
pub(crate) struct BackendPing {
    /// The backend; the default one when there is none
    #[arg(value_name = "URI")]
    pub(crate) uri: Option<String>,
}

/// Check what a backend needs, and print what would close each gap
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed. The exit code is 1 when something that is needed is missing.

Examples:
  pod doctor
  pod doctor local: -o json
  pod doctor k8s://lab/shop/")]
pub(crate) struct Doctor {
    /// The backend; the default one when there is none
    #[arg(value_name = "URI")]
    pub(crate) uri: Option<String>,
}

/// Remove what operations left behind that never came to their end
#[derive(Debug, Args)]
#[command(after_help = "\
A program that was killed half-way may leave a half-made workload. Only what this user's
operations left, and whose time is over, is listed; it is removed when you agree, or with -y. What
runs as it was asked for, and what others made, is never touched.

Examples:
  pod gc k8s:
  pod gc docker:
  pod gc -y k8s://lab/shop/")]
pub(crate) struct Gc {
    /// The backend; the default one when there is none
    #[arg(value_name = "URI")]
    pub(crate) uri: Option<String>,

    /// Don't ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Print the script that completes commands and workloads' names in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(pod completions bash)
  pod completions zsh > ~/.zfunc/_pod
  pod completions fish > ~/.config/fish/completions/pod.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: ShellName,
}

/// Shells that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShellName {
    /// GNU Bash
    Bash,
    /// Elvish
    Elvish,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
    /// Zsh
    Zsh,
}

/// Print the manual page, or write those of all commands
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod man | man -l -
  pod man --dir /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page for each command into this directory
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}

//! Flags of the commands on the operating system inside a workload.

use clap::{Args, Subcommand};
use pod::Signal;
use std::ffi::OsString;

/// Ask and change the operating system inside a workload
#[derive(Debug, Args)]
pub(crate) struct Os {
    #[command(subcommand)]
    pub(crate) command: OsCommand,
}

/// What to do with the operating system.
#[derive(Debug, Subcommand)]
pub(crate) enum OsCommand {
    /// Print what it is: distribution, kernel, tools
    #[command(after_help = "Examples:\n  pod os info web\n  pod os info web -o json")]
    Info(OsOf),
    /// List its network interfaces, with VLAN ids and all addresses
    #[command(after_help = "Examples:\n  pod os interfaces web\n  pod os interfaces web -o json")]
    Interfaces(OsOf),
    /// List its routes
    #[command(after_help = "Examples:\n  pod os routes web")]
    Routes(OsOf),
    /// List its processes
    #[command(after_help = "Examples:\n  pod os processes web\n  pod os processes web -o wide")]
    Processes(OsOf),
    /// Send a signal to one of its processes
    #[command(after_help = "Examples:\n  pod os kill web 42\n  pod os kill web 42 -s HUP")]
    Kill(OsKill),
    /// List its file systems, and how full they are
    #[command(after_help = "Examples:\n  pod os disks web")]
    Disks(OsOf),
    /// Print its memory
    #[command(after_help = "Examples:\n  pod os memory web")]
    Memory(OsOf),
    /// Print its processors
    #[command(after_help = "Examples:\n  pod os cpu web")]
    Cpu(OsOf),
    /// List a directory
    #[command(after_help = "Examples:\n  pod os ls web /etc\n  pod os ls web /etc -o wide")]
    Ls(OsPath),
    /// Print a file
    #[command(after_help = "Examples:\n  pod os cat web /etc/hosts")]
    Cat(OsPath),
    /// Write our stdin to a file, all of it or nothing
    #[command(after_help = "Examples:\n  echo hello | pod os write web /srv/greeting")]
    Write(OsWrite),
    /// Make a directory
    #[command(after_help = "Examples:\n  pod os mkdir -p web /srv/a/b")]
    Mkdir(OsMkdir),
    /// Remove a file or directory
    #[command(after_help = "Examples:\n  pod os rm web /srv/greeting\n  pod os rm -r web /srv/a")]
    Rm(OsRm),
}

/// In which workload, and as whom.
#[derive(Debug, Args)]
pub(crate) struct OsOf {
    /// The workload
    #[arg(value_name = "WORKLOAD", add = super::complete::workloads())]
    pub(crate) workload: String,

    /// Run the programs that ask as this user
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
}

/// In which workload, and which of its paths.
#[derive(Debug, Args)]
pub(crate) struct OsPath {
    #[command(flatten)]
    pub(crate) of: OsOf,

    /// The absolute path
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
}

/// Which process, and which signal.
#[derive(Debug, Args)]
pub(crate) struct OsKill {
    #[command(flatten)]
    pub(crate) of: OsOf,

    /// The process's id, within the workload
    #[arg(value_name = "PID")]
    pub(crate) pid: u32,

    /// The signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM")]
    pub(crate) signal: Signal,
}

/// What to write.
#[derive(Debug, Args)]
pub(crate) struct OsWrite {
    #[command(flatten)]
    pub(crate) at: OsPath,

    /// Its permission bits, in octal
    #[arg(short, long, value_name = "MODE", default_value = "644", value_parser = mode)]
    pub(crate) mode: u32,
}

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct OsMkdir {
    #[command(flatten)]
    pub(crate) at: OsPath,

    /// Make its parents as well
    #[arg(short, long)]
    pub(crate) parents: bool,
}

/// What to remove.
#[derive(Debug, Args)]
pub(crate) struct OsRm {
    #[command(flatten)]
    pub(crate) at: OsPath,

    /// Remove a directory with all that is in it
    #[arg(short, long)]
    pub(crate) recursive: bool,
}

fn mode(s: &str) -> pod::Result<u32> {
    u32::from_str_radix(s, 8).ok().filter(|m| *m <= 0o7777).ok_or_else(|| {
        pod::Error::invalid("that is no mode").with_context("given", format!("{s:?}")).with_hint("write 644 or 0755")
    })
}

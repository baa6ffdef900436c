//! Flags of `pod cp`.

use clap::{Args, ValueEnum};
use std::ffi::OsString;

/// Copy files and trees to, from and between workloads
#[derive(Debug, Args)]
#[command(after_help = "\
A path in a workload is written WORKLOAD:PATH, or with the workload's whole address. What holds a /
before its first colon, or begins with a dot, is a path of this machine. Where a copy ends up:
  into a directory that exists, under the source's own name;
  else at the destination itself, whose parent must exist;
  of SOURCE/. what is in the directory, not the directory.
A destination that ends in / must be a directory. - is a tar stream on stdin or stdout.

Examples:
  pod cp site.conf web:/etc/nginx/
  pod cp web:/var/log/. logs
  pod cp -a --verify hash tree web:/srv
  pod cp web:/data db:/restore
  tar c . | pod cp - web:/src
  pod cp web:/etc - | tar t")]
pub(crate) struct Cp {
    /// What to copy
    #[arg(value_name = "SOURCE")]
    pub(crate) source: OsString,

    /// Where to
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: OsString,

    /// Keep owners and set-id bits
    #[arg(short, long)]
    pub(crate) archive: bool,

    /// Copy what a symbolic link at the source points to
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,

    /// How to check what arrived
    #[arg(long, value_name = "HOW", default_value = "length")]
    pub(crate) verify: Check,
}

/// How a copy is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// Every file's length is compared
    Length,
    /// Every file is read back and its SHA-256 compared
    Hash,
    /// Nothing is compared
    None,
}

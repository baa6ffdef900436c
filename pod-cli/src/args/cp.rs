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

A copy that breaks off leaves nothing half made. With --resume what arrived whole is kept, hidden
beside the destination as .pod-keep-*, and a second --resume sends only the rest: what has another
size, time or mode, or another SHA-256 with --verify hash. The next copy to that destination that
succeeds, with or without --resume, takes it away. On the way out, the destination itself is
compared: name a directory SOURCE/. there, so that both tries mean the same place.

An image without a shell can't copy by itself. On k8s:, --helper IMAGE puts a container with a shell
beside the one that is meant (an ephemeral container), and copies by it; so does the option helper
of an address, k8s:?helper=IMAGE. Kubernetes can't take such a container out of a pod again: it
sleeps there until the pod goes, and the next copy with the same image uses it. `pod k8s rbac
copy-helper` prints the rights this needs.

Examples:
  pod cp site.conf web:/etc/nginx/
  pod cp web:/var/log/. logs
  pod cp -a --verify hash tree web:/srv
  pod cp --resume data db:/srv
  pod cp --helper busybox:1.36 k8s:shop/web:/app/config.json .
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

    /// Take up a copy that broke off, and keep what arrives if this one does
    #[arg(long)]
    pub(crate) resume: bool,

    /// Copy by a container of this image put beside one without a shell; on k8s: only
    #[arg(long, value_name = "IMAGE")]
    pub(crate) helper: Option<String>,

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

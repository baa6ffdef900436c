//! Flags of the commands on topologies.

use super::values;
use clap::Args;
use std::path::PathBuf;

/// Bring up a topology, and prove its reachability
#[derive(Debug, Args)]
#[command(after_help = "\
What is there already stays; what differs from the file is changed. Then every pair of workloads is
probed and the matrix printed, expected against measured: the exit code is 1 when one cell differs.
A backend that the file names counts before --backend.

Examples:
  pod up two-vlans.yaml
  pod up --dry-run two-vlans.yaml
  pod up --jobs 32 --no-verify hundred.yaml")]
pub(crate) struct Up {
    /// The topology file
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,

    /// Don't probe
    #[arg(long)]
    pub(crate) no_verify: bool,

    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How many things to do at once
    #[arg(short, long, value_name = "NUMBER", default_value = "16", env = "POD_JOBS", value_parser = values::jobs)]
    pub(crate) jobs: usize,
}

/// Print what bringing up a topology would change
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed; every mistake that can be seen beforehand is found.

Examples:
  pod plan two-vlans.yaml
  pod plan --detailed-exitcode two-vlans.yaml && echo nothing to do")]
pub(crate) struct Plan {
    /// The topology file
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,

    /// Return 2 when something would change
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

/// Probe every pair of a topology's workloads, and read its networks back
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed. The exit code is 1 when a pair or a network is not as it should be.

Examples:
  pod verify two-vlans.yaml
  pod verify two-vlans.yaml -o json")]
pub(crate) struct Verify {
    /// The topology file
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

/// Take down a topology and all that belongs to it
#[derive(Debug, Args)]
#[command(after_help = "\
All that carries the topology's name is removed, finished or half made. What is not there is no
error. Without the file, its name will do: it is looked for on the default backend.

Examples:
  pod down two-vlans.yaml
  pod down two-vlans
  pod down --dry-run two-vlans")]
pub(crate) struct Down {
    /// The topology file, or the topology's name
    #[arg(value_name = "FILE|NAME", value_hint = clap::ValueHint::FilePath)]
    pub(crate) topology: String,

    /// Print what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

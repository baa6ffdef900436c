//! Flags of the commands on workloads.

use super::values::{self, EnvArg, LabelArg, SinceArg};
use clap::Args;
use pod::{AttachmentSpec, Image, Mount, PublishedPort, RestartPolicy, Signal};
use std::ffi::OsString;
use std::net::IpAddr;
use std::time::Duration;

/// Make a workload and start it
#[derive(Debug, Args)]
#[command(
    override_usage = "pod run [OPTIONS] [-- COMMAND [ARG]...]",
    after_help = "\
The command returns when the workload runs, and prints its name. With -a, -i, -t or --rm it stays
attached until the workload's command ends, and passes its exit code.

What is mounted comes from the engine's machine: a path of it, which must be there, or a volume,
which is made when it is not and stays when the workload goes. A port is published on the loopback
of that machine unless an address is given, such as 0.0.0.0.

Examples:
  pod run --name web -- sleep 1000
  pod run --rm -t -- bash
  pod run --name db --memory 512M --net red:ip=10.0.0.5 -l app=db -- sleep infinity
  pod run --name alpine --image archive:alpine.tar --keep-alive
  pod run --name site --image nginx -p 8080:80 --mount ./site:/usr/share/nginx/html:ro
  pod run --name cache --image redis --mount data:/data --tmpfs /tmp:64M --restart on-failure:3
  tar c . | pod run --rm -i -- tar t"
)]
pub(crate) struct Run {
    /// Its name; made up and printed when there is none
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Where its files come from: host, rootfs:DIR, archive:FILE or a reference; `local:` takes host unless told
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<Image>,

    /// Don't stay attached; this is so unless -a, -i, -t or --rm is given
    #[arg(short, long, conflicts_with_all = ["attach", "interactive", "tty", "rm"])]
    pub(crate) detach: bool,

    /// Stay attached: print the command's output, pass its exit code
    #[arg(short, long)]
    pub(crate) attach: bool,

    /// Pass our stdin to the command
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Give the command our terminal
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Remove the workload when its command has ended
    #[arg(long)]
    pub(crate) rm: bool,

    /// Keep the workload running when its command has ended
    #[arg(long, conflicts_with = "rm")]
    pub(crate) keep_alive: bool,

    /// Set an environment variable; KEY alone takes our own value
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<EnvArg>,

    /// Set a label
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<LabelArg>,

    /// Limit it to this many CPUs' worth of time, such as 0.5
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<f64>,

    /// Limit its memory, such as 64M
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) memory: Option<u64>,

    /// Limit the number of its processes
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pids: Option<u32>,

    /// Run the command as this user: NAME, UID, NAME:GROUP or UID:GID
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Run the command in this directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,

    /// Attach it to a network, with KEY=VALUE of ip, mac, mtu, interface, trunk, route, dns
    #[arg(long, value_name = "NETWORK[:KEY=VALUE,...]", value_parser = values::attachment)]
    pub(crate) net: Vec<AttachmentSpec>,

    /// Let it know a host by name
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = values::host)]
    pub(crate) host: Vec<(String, IpAddr)>,

    /// Mount a path of the engine's machine in it, or a volume by name
    #[arg(long, visible_alias = "volume", value_name = "SOURCE:PLACE[:ro]", value_parser = values::mount)]
    pub(crate) mount: Vec<Mount>,

    /// Mount memory in it, empty at each start, of at most this size
    #[arg(long, value_name = "PLACE:SIZE", value_parser = values::tmpfs)]
    pub(crate) tmpfs: Vec<Mount>,

    /// Publish a port of it on the engine's machine: 80 at a free port, 8080:80, 0.0.0.0:8080:80, 53:53/udp
    #[arg(short, long, value_name = "[HOST:]INSIDE")]
    pub(crate) publish: Vec<PublishedPort>,

    /// Start its command again when it has ended: no, on-failure or on-failure:COUNT, always, unless-stopped
    #[arg(long, value_name = "POLICY", conflicts_with_all = ["attach", "interactive", "tty", "rm", "keep_alive"])]
    pub(crate) restart: Option<RestartPolicy>,

    /// The keys that leave a terminal and let the command run on; empty for none
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = values::keys)]
    pub(crate) detach_keys: values::Keys,

    /// The command and its arguments; the image's own when there is none
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// List workloads
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod ps
  pod ps -a -o json
  pod ps -l app=web -o name
  pod ps --topology two-vlans -o wide")]
pub(crate) struct Ps {
    /// List those that don't run as well
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Only those with this label
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<LabelArg>,

    /// Only those of this topology
    #[arg(long, value_name = "NAME")]
    pub(crate) topology: Option<String>,
}

/// Print all there is to know of workloads
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod inspect web
  pod inspect web db -o yaml")]
pub(crate) struct Inspect {
    /// The workloads
    #[arg(required = true, value_name = "WORKLOAD", add = super::complete::workloads())]
    pub(crate) workloads: Vec<String>,
}

/// Workloads by name, or by label.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    /// The workloads
    #[arg(required_unless_present = "label", value_name = "WORKLOAD", add = super::complete::workloads())]
    pub(crate) workloads: Vec<String>,

    /// Every workload with this label
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<LabelArg>,
}

/// Start workloads that don't run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod start web
  pod start -l app=web")]
pub(crate) struct Start {
    #[command(flatten)]
    pub(crate) chosen: Chosen,

    /// How many to start at once
    #[arg(short, long, value_name = "NUMBER", default_value = "8", env = "POD_JOBS", value_parser = values::jobs)]
    pub(crate) jobs: usize,
}

/// End the commands of workloads
#[derive(Debug, Args)]
#[command(after_help = "\
A command is asked to end by a signal, and killed when its grace is over.

Examples:
  pod stop web
  pod stop --grace 0 web db
  pod stop -s INT -l app=web")]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) chosen: Chosen,

    /// The signal to ask with
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM")]
    pub(crate) signal: Signal,

    /// How long to wait before killing; 0 kills at once
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    pub(crate) grace: Duration,

    /// How many to stop at once
    #[arg(short, long, value_name = "NUMBER", default_value = "8", env = "POD_JOBS", value_parser = values::jobs)]
    pub(crate) jobs: usize,
}

/// Remove workloads and all they hold
#[derive(Debug, Args)]
#[command(after_help = "\
One that is not there is no error: it is removed already.

Examples:
  pod rm web
  pod rm -f web db
  pod rm -f -l app=web")]
pub(crate) struct Rm {
    #[command(flatten)]
    pub(crate) chosen: Chosen,

    /// Kill those that run
    #[arg(short, long)]
    pub(crate) force: bool,

    /// How many to remove at once
    #[arg(short, long, value_name = "NUMBER", default_value = "8", env = "POD_JOBS", value_parser = values::jobs)]
    pub(crate) jobs: usize,
}

/// Wait until the commands of workloads have ended
#[derive(Debug, Args)]
#[command(after_help = "\
The exit codes are printed, and the highest is passed on.

Examples:
  pod wait job
  pod wait --timeout 1m job-1 job-2")]
pub(crate) struct Wait {
    #[command(flatten)]
    pub(crate) chosen: Chosen,

    /// How long to wait at most
    #[arg(long, value_name = "TIME", env = "POD_TIMEOUT", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Print the output of a workload's command
#[derive(Debug, Args)]
#[command(after_help = "\
What the command wrote to stderr goes to stderr.

Examples:
  pod logs web
  pod logs -f --tail 10 web
  pod logs --since 10m --timestamps web")]
pub(crate) struct Logs {
    /// The workload
    #[arg(value_name = "WORKLOAD", add = super::complete::workloads())]
    pub(crate) workload: String,

    /// Go on until the command ends
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Only the last so many lines
    #[arg(short = 'n', long, value_name = "NUMBER")]
    pub(crate) tail: Option<usize>,

    /// Only what was written since: RFC 3339, or a time span before now
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<SinceArg>,

    /// Begin each line with the time it was written
    #[arg(short, long)]
    pub(crate) timestamps: bool,
}

/// Run a program in workloads
#[derive(Debug, Args)]
#[command(
    override_usage = "pod exec [OPTIONS] WORKLOAD[,...] -- COMMAND [ARG]...\n       pod exec [OPTIONS] -l KEY=VALUE -- COMMAND [ARG]...",
    after_help = "\
The program's exit code is passed on: 128+n when signal n killed it, 126 when it can't be executed,
127 when there is none, 124 when its time was over, 125 when POD itself failed. In several workloads
it runs at once, each line of output begins with the workload's name, and the exit code is the
highest.

Examples:
  pod exec web -- uname -a
  pod exec -t web -- bash
  pod exec -i db -- psql < dump.sql
  pod exec --timeout 5s web -- curl localhost
  pod exec web,db -- hostname
  pod exec -l app=web --jobs 4 -- df -h /"
)]
pub(crate) struct Exec {
    /// The workload, or several with commas between
    #[arg(required_unless_present = "label", conflicts_with = "label", value_name = "WORKLOAD", value_delimiter = ',', num_args = 1, add = super::complete::workloads())]
    pub(crate) workloads: Vec<String>,

    /// In every running workload with this label
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<LabelArg>,

    /// Pass our stdin to the program
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Give the program our terminal, stdin included
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Set an environment variable; KEY alone takes our own value
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<EnvArg>,

    /// Run it as this user: NAME, UID, NAME:GROUP or UID:GID
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Run it in this directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,

    /// Kill it when it has run this long, and return 124
    #[arg(long, value_name = "TIME", env = "POD_TIMEOUT", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,

    /// In how many workloads to run it at once
    #[arg(short, long, value_name = "NUMBER", default_value = "16", env = "POD_JOBS", value_parser = values::jobs)]
    pub(crate) jobs: usize,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Attach to the command of a running workload
#[derive(Debug, Args)]
#[command(after_help = "\
Its stdin is passed on if it was made with one (run -i or -t), its terminal if it has one. Ending
the attachment leaves the command running; its exit code is passed on if it ends.

Examples:
  pod attach web
  pod attach --logs --no-stdin web")]
pub(crate) struct Attach {
    /// The workload
    #[arg(value_name = "WORKLOAD", add = super::complete::workloads())]
    pub(crate) workload: String,

    /// Don't pass our stdin
    #[arg(long)]
    pub(crate) no_stdin: bool,

    /// Print first what the command has written so far
    #[arg(long)]
    pub(crate) logs: bool,

    /// The keys that leave a terminal and let the command run on; empty for none
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = values::keys)]
    pub(crate) detach_keys: values::Keys,
}

/// Print what happens to workloads, from now on
#[derive(Debug, Args)]
#[command(after_help = "\
With -o json, one JSON object a line.

Examples:
  pod events
  pod events web -o json")]
pub(crate) struct Events {
    /// Only of this workload
    #[arg(value_name = "WORKLOAD", add = super::complete::workloads())]
    pub(crate) workload: Option<String>,
}

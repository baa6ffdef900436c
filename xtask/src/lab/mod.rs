//! `cargo xtask lab`: real servers on this machine, in network namespaces with no uplink.
//!
//! A lab is made of parts (`parts.rs`), each of one subject: it writes its files, starts its program,
//! is asked until it does its work, and is stopped by the pid written down. Programs and images come from
//! a cache that all labs share. Every process is in a control group of the lab's, and what a node mounts
//! is in a mount namespace of its own, so that `down` needs no more than the lab's name, whatever state an
//! interrupted start or a crash left.

mod addons;
mod certificates;
mod cluster;
mod containerd;
mod control;
mod docker;
mod etcd;
mod groups;
mod images;
mod kubelet;
mod life;
mod network;
mod node;
mod parts;
mod podman;
mod process;
mod programs;
mod proxy;
mod registry;
mod site;
mod status;
mod tier;

pub(crate) use tier::{Build, ForTests};

use crate::install;
use crate::report::span;
use clap::Subcommand;
use docker::Docker;
use site::{Lab, MOST_NODES};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Real servers to test against, on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A lab is a Kubernetes of one to three nodes with containerd, Multus, the reference CNI plugins and
whereabouts, two Docker daemons, Podman and a registry. Nothing in it can reach, or be reached from, anything outside this machine.

Examples:
  cargo xtask lab up --install
  cargo xtask lab run -- kubectl get nodes
  cargo xtask lab run --once --nodes 1 --name mine -- docker info
  cargo xtask lab stop kubelet-2 --kill
  cargo xtask lab down")]
pub(crate) struct Args {
    #[command(subcommand)]
    task: Task,

    /// The lab's name: labs of different names run side by side
    #[arg(long, global = true, env = "POD_LAB_NAME", default_value = "main", value_parser = Lab::check_name)]
    name: String,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build what the cache lacks, and start every part that does not run
    Up {
        /// How many nodes the cluster has
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_NODES)))]
        nodes: u8,
        /// Without the Docker of today and the registry
        #[arg(long)]
        small: bool,
        /// Install what the lab needs, with apt-get
        #[arg(long)]
        install: bool,
    },
    /// End every process, and remove all that was made
    Down {
        /// Every lab of this machine
        #[arg(long)]
        all: bool,
    },
    /// What runs
    Status {
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: status::Output,
    },
    /// Run a command in the lab's network, with its kubectl and KUBECONFIG
    Run {
        /// In a lab of its own, that is brought up for it and taken down after it
        #[arg(long)]
        once: bool,
        /// With --once: how many nodes the cluster has
        #[arg(long, requires = "once", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_NODES)))]
        nodes: u8,
        /// With --once: without the Docker of today and the registry
        #[arg(long, requires = "once")]
        small: bool,
        /// The command and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Make a kubeconfig for a user who may do nothing until a role says so; print its path
    User {
        /// The user's name
        user: String,
        /// A group of the user's; `system:masters` may do everything
        #[arg(long, value_name = "GROUP")]
        group: Vec<String>,
    },
    /// Start a server that was stopped, and wait until it is ready
    Start {
        /// Its name, as `status` shows it
        part: String,
    },
    /// Stop a server
    Stop {
        /// Its name, as `status` shows it
        part: String,
        /// With SIGKILL at once, as if it had crashed
        #[arg(long)]
        kill: bool,
    },
    /// Build what the cache lacks, and start nothing
    Build,
}

/// The variable that tells a test the lab's kubeconfig.
const KUBECONFIG: &str = "POD_LAB_KUBECONFIG";

/// The variable that tells a test the socket of the lab's Docker daemon.
const DOCKER: &str = "POD_LAB_DOCKER";

/// The variable that tells a test the socket of the lab's Docker of today.
const MOBY: &str = "POD_LAB_MOBY";

/// The variable that tells a test the host and port of the lab's registry.
const REGISTRY: &str = "POD_LAB_REGISTRY";

/// The variable that tells a test who may use the registry: the user's name, a colon, and the password.
const LOGIN: &str = "POD_LAB_REGISTRY_LOGIN";

/// The variable that tells a test the certificate that the registry's is proven by.
const AUTHORITY: &str = "POD_LAB_REGISTRY_CA";

/// The variable that tells a test the socket of the lab's Podman.
const PODMAN: &str = "POD_LAB_PODMAN";

/// The variable that tells a test this program, by which it can stop and start servers.
const XTASK: &str = "POD_LAB_XTASK";

/// Runs a command of `cargo xtask lab`.
pub(crate) fn lab(args: &Args) -> Result<ExitCode, String> {
    let name = &args.name;
    let say = |line: &str| println!("{line}");
    match &args.task {
        Task::Build => programs::build(&site::cache()?, say).map(|_| ExitCode::SUCCESS),
        Task::Up { nodes, small, install } => {
            install::ensure(install::LAB, *install)?;
            // As the user who called, so that Go's own caches stay that user's.
            programs::build(&site::cache()?, say)?;
            if let Some(code) = again_as_root()? {
                return Ok(code);
            }
            life::up(name, *nodes, *small, say)?;
            println!("{}", status::how_to_use(name));
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            if let Some(code) = again_as_root()? {
                return Ok(code);
            }
            as_root(name, &args.task)
        }
    }
}

fn as_root(name: &str, task: &Task) -> Result<ExitCode, String> {
    match task {
        Task::Down { all } => {
            let names = if *all { site::names() } else { vec![name.to_owned()] };
            for name in names {
                let since = Instant::now();
                life::down(&name)?;
                println!("lab {name} is down ({})", span(since.elapsed()));
            }
        }
        Task::Run { once: false, command, .. } => return run(&loaded(name)?, command),
        Task::Run { once: true, nodes, small, command } => {
            if Lab::folder(name).exists() {
                return Err(format!("there is a lab {name}: give another --name"));
            }
            // Not this process, which is to outlive the lab: what starts servers is one of the lab's own.
            let nodes = nodes.to_string();
            let words = ["up", "--nodes", &nodes, "--small"];
            let up = tier::call(&words[..if *small { 4 } else { 3 }], name);
            let done = up.and_then(|()| run(&loaded(name)?, command));
            life::down(name)?;
            return done;
        }
        Task::User { user, group } => println!("{}", self::user(&loaded(name)?, user, group)?.display()),
        Task::Start { part } => {
            let lab = loaded(name)?;
            let _lock = life::lock(name)?;
            groups::join(&lab)?;
            let since = Instant::now();
            parts::start(&lab, parts::find(&lab, part)?.as_ref())?;
            println!("{part} is ready ({})", span(since.elapsed()));
        }
        Task::Stop { part, kill } => {
            let lab = loaded(name)?;
            let _lock = life::lock(name)?;
            let part = parts::find(&lab, part)?.name();
            let stopped = process::stop(name, &part, *kill)?;
            println!("{part} {}", if stopped { "is stopped" } else { "did not run" });
        }
        Task::Status { output } => return status::print(name, *output),
        Task::Up { .. } | Task::Build => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// When this is not root's process: runs the same command by sudo, and gives its exit code.
fn again_as_root() -> Result<Option<ExitCode>, String> {
    if install::is_root() {
        return Ok(None);
    }
    let own = crate::project::own()?;
    let words = install::as_root(&own.display().to_string())?;
    let status = Command::new(&words[0])
        .args(&words[1..])
        .args(std::env::args_os().skip(1))
        .env("POD_LAB_CACHE", site::cache()?)
        .status()
        .map_err(|e| format!("run sudo: {e}"))?;
    Ok(Some(code(status)))
}

fn code(status: std::process::ExitStatus) -> ExitCode {
    // A program killed by a signal has no code of its own.
    ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(101))
}

fn loaded(name: &str) -> Result<Lab, String> {
    let none = || format!("there is no lab {name}: `cargo xtask lab up --name {name}` starts one");
    Lab::load(name)?.ok_or_else(none)
}

/// Runs a command in the lab's network.
fn run(lab: &Lab, command: &[OsString]) -> Result<ExitCode, String> {
    let place = process::Place { netns: lab.netns(), mounts_of: None };
    let words = place.words();
    let mut path: Vec<PathBuf> = lab.programs.clone();
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(path).map_err(|e| format!("PATH: {e}"))?;
    let mut run = Command::new(&words[0]);
    run.args(&words[1..]).args(command);
    run.env("PATH", path).env("KUBECONFIG", lab.admin()).env(KUBECONFIG, lab.admin());
    let docker = Docker::Packaged.socket(lab);
    run.env("DOCKER_HOST", format!("unix://{}", docker.display())).env(DOCKER, docker).env(PODMAN, podman::socket(lab));
    if !lab.small {
        run.env(MOBY, Docker::Built.socket(lab)).env(REGISTRY, registry::address()).env(LOGIN, registry::LOGIN);
        run.env(AUTHORITY, certificates::file(lab, "ca.crt"));
    }
    run.env("POD_LAB_NAME", &lab.name).env("POD_LAB_IMAGE", containerd::IMAGE).env(XTASK, crate::project::own()?);
    // No proxy can be reached from there.
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().to_lowercase().ends_with("_proxy")) {
        run.env_remove(name);
    }
    run.status().map(code).map_err(|e| format!("run nsenter: {e}"))
}

/// Makes the kubeconfig of a user.
fn user(lab: &Lab, user: &str, groups: &[String]) -> Result<PathBuf, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
    if user.is_empty() || user.starts_with('.') || !user.chars().all(good) {
        return Err(format!("a user's name is made of letters, digits and . _ : @ -, not {user:?}"));
    }
    let file = format!("user-{user}");
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    certificates::give(lab, &certificates::Subject::user(&file, user, &groups))?;
    let path = lab.path(format!("users/{user}.conf"));
    certificates::kubeconfig(lab, &file, &path)?;
    Ok(path)
}

/// `ctr` on a node of a lab, in Kubernetes' own namespace of containerd.
#[cfg(feature = "measure")]
pub(crate) fn ctr(lab: &str, node: &str) -> Result<Command, String> {
    let lab = loaded(lab)?;
    let found = lab.nodes().find(|n| n.name() == node);
    containerd::ctr(&lab, found.ok_or_else(|| format!("lab {} has no {node}", lab.name))?, &[])
}

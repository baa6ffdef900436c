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
mod etcd;
mod groups;
mod images;
mod kubelet;
mod network;
mod node;
mod parts;
mod process;
mod programs;
mod proxy;
mod site;
mod status;

use crate::install;
use crate::report::span;
use clap::Subcommand;
use process::{Record, output};
use site::{Lab, MOST_NODES};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Real servers to test against, on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A lab is a Kubernetes of one to three nodes with containerd, Multus, the reference CNI plugins and
whereabouts. Nothing in it can reach, or be reached from, anything outside this machine.

Examples:
  cargo xtask lab up --install
  cargo xtask lab run -- kubectl get nodes
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

/// Runs a command of `cargo xtask lab`.
pub(crate) fn lab(args: &Args) -> Result<ExitCode, String> {
    let name = &args.name;
    let say = |line: &str| println!("{line}");
    match &args.task {
        Task::Build => programs::build(&site::cache()?, say).map(|_| ExitCode::SUCCESS),
        Task::Up { nodes, install } => {
            install::ensure(install::LAB, *install)?;
            // As the user who called, so that Go's own caches stay that user's.
            programs::build(&site::cache()?, say)?;
            if let Some(code) = again_as_root()? {
                return Ok(code);
            }
            up(name, *nodes, say)?;
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
                down(&name)?;
                println!("lab {name} is down ({})", span(since.elapsed()));
            }
        }
        Task::Run { command } => return run(&loaded(name)?, command),
        Task::User { user, group } => println!("{}", self::user(&loaded(name)?, user, group)?.display()),
        Task::Start { part } => {
            let lab = loaded(name)?;
            let _lock = lock(name)?;
            groups::join(&lab)?;
            let since = Instant::now();
            parts::start(&lab, parts::find(&lab, part)?.as_ref())?;
            println!("{part} is ready ({})", span(since.elapsed()));
        }
        Task::Stop { part, kill } => {
            let lab = loaded(name)?;
            let _lock = lock(name)?;
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
    let own = std::env::current_exe().map_err(|e| format!("find this program: {e}"))?;
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

/// Keeps others from changing the same lab at the same time.
fn lock(name: &str) -> Result<fs::File, String> {
    let path = site::cache()?.join("locks").join(name);
    site::make(path.parent().unwrap_or(&path))?;
    let file = fs::File::create(&path).and_then(|f| f.lock().map(|()| f));
    file.map_err(|e| format!("{}: {e}", path.display()))
}

/// Starts a lab, or what of it does not run. The cache has to have all programs.
fn up(name: &str, nodes: u8, say: impl Fn(&str) + Sync) -> Result<Lab, String> {
    let _lock = lock(name)?;
    let since = Instant::now();
    let cache = site::cache()?;
    let image = images::busybox(&cache, containerd::IMAGE)?;
    let programs = programs::build(&cache, &say)?;
    let mut lab = Lab { name: name.to_owned(), nodes, cache, programs, image };
    if Lab::complete(name).exists() {
        let there = loaded(name)?;
        if there.nodes != nodes {
            return Err(format!("lab {name} is up with {} nodes: take it down first", there.nodes));
        }
        lab = there;
    } else {
        if is_there(name)? {
            say(&format!("clearing what an interrupted start of lab {name} left"));
            clear(name)?;
        }
    }
    groups::create(&lab)?;
    groups::join(&lab)?;
    make_private(&lab)?;
    lab.save()?;
    let started = parts::start_all(&lab, &parts::all(&lab), &say);
    started.map_err(|why| {
        format!("{why}\nthe logs are in {}; `cargo xtask lab down` clears it", lab.path("parts").display())
    })?;
    site::write(&Lab::complete(name), "")?;
    say(&format!("lab {name} is up ({})", span(since.elapsed())));
    Ok(lab)
}

/// Makes the folder of a lab's state, which only root may look into: it has the keys of the cluster.
fn make_private(lab: &Lab) -> Result<(), String> {
    site::make(&lab.state())?;
    output(Command::new("chmod").arg("0700").arg(lab.state())).map(drop)
}

fn is_there(name: &str) -> Result<bool, String> {
    Ok(Lab::folder(name).exists() || !groups::all(name).is_empty() || !network::of_lab(name)?.is_empty())
}

/// Takes a lab down.
fn down(name: &str) -> Result<(), String> {
    let _lock = lock(name)?;
    clear(name)
}

/// Removes all of a lab, as far as it was made.
fn clear(name: &str) -> Result<(), String> {
    for (pid, program) in network::visitors(name)? {
        eprintln!("note: {program} ({pid}) still runs in the network of lab {name}, which is being removed");
    }
    // In this order: a process that still ran could write into the folder, or hold a mount in it.
    groups::remove(name)?;
    network::remove(name)?;
    let folder = Lab::folder(name);
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", folder.display())),
        _ => Ok(()),
    }
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
    run.env("POD_LAB_NAME", &lab.name).env("POD_LAB_IMAGE", containerd::IMAGE);
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

/// A lab for the tests.
#[derive(Debug)]
pub(crate) struct ForTests {
    name: String,
    /// Whether it was there before, and stays.
    kept: bool,
}

impl ForTests {
    /// The lab that `POD_LAB_NAME` tells, which stays up, else one of this process's own.
    pub(crate) fn choose() -> Result<Self, String> {
        match std::env::var("POD_LAB_NAME") {
            Ok(name) => Ok(Self { name: Lab::check_name(&name)?, kept: true }),
            Err(_) => Ok(Self { name: format!("test{}", std::process::id()), kept: false }),
        }
    }

    /// Brings it up, if it is not.
    pub(crate) fn ensure(&self, install: bool) -> Result<(), String> {
        install::ensure(install::LAB, install)?;
        // Of a run that was killed: its process is gone, and nobody else will take them down.
        for name in site::names() {
            let pid = name.strip_prefix("test").and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
                self.call(&["down"], &name)?;
            }
        }
        self.call(&["up"], &self.name)
    }

    /// The words in front of a command that runs in it.
    pub(crate) fn runner(&self) -> Result<Vec<String>, String> {
        let own = std::env::current_exe().map_err(|e| format!("find this program: {e}"))?;
        let words = ["lab", "run", "--name", &self.name, "--"].map(String::from);
        Ok(std::iter::once(own.display().to_string()).chain(words).collect())
    }

    /// Takes it down, unless it was there before.
    pub(crate) fn end(&self) -> Result<(), String> {
        if self.kept { Ok(()) } else { self.call(&["down"], &self.name) }
    }

    /// This program again: it becomes root by itself.
    fn call(&self, words: &[&str], name: &str) -> Result<(), String> {
        let own = std::env::current_exe().map_err(|e| format!("find this program: {e}"))?;
        let mut command = Command::new(own);
        let status = command.arg("lab").args(words).args(["--name", name]).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("cargo xtask lab {} --name {name}: {status}", words.join(" "))),
            Err(e) => Err(format!("run this program: {e}")),
        }
    }
}

/// The building of the lab's programs, in the background.
#[derive(Debug)]
pub(crate) struct Build {
    child: std::process::Child,
    log: PathBuf,
    since: Instant,
}

/// How long building from nothing may take beside other work.
const LONGEST_BUILD: Duration = Duration::from_secs(25 * 60);

impl Build {
    /// Begins, with other work going first.
    pub(crate) fn begin(log: PathBuf) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|e| format!("find this program: {e}"))?;
        let open = || fs::File::create(&log).and_then(|f| Ok((f.try_clone()?, f)));
        let (out, err) = open().map_err(|e| format!("{}: {e}", log.display()))?;
        let child = Command::new("nice")
            .args(["-n", "10"])
            .arg(own)
            .args(["lab", "build"])
            .stdin(std::process::Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| format!("run nice: {e}"))?;
        Ok(Self { child, log, since: Instant::now() })
    }

    /// Waits for its end, and says what it did.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if self.since.elapsed() < LONGEST_BUILD => std::thread::sleep(process::POLL),
                Ok(None) => {
                    // Go's own children end when their output can't be read any more.
                    self.child.kill().and_then(|()| self.child.wait()).map_err(|e| e.to_string())?;
                    return Err(format!("still building after {}: killed", span(LONGEST_BUILD)));
                }
                Err(e) => return Err(e.to_string()),
            }
        };
        let told = fs::read_to_string(&self.log).unwrap_or_default();
        print!("{told}");
        if status.success() { Ok(()) } else { Err(format!("cargo xtask lab build: {status}: {}", told.trim())) }
    }
}

/// Whether a lab's part runs.
fn running(name: &str, part: &str) -> Option<Record> {
    Record::load(name, part).filter(|r| r.alive())
}

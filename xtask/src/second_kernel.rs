//! The second kernel: Debian's user-mode Linux, for what this machine's own kernel may lack: 802.1Q,
//! VLAN-aware bridges, ipvlan, netem, and control groups of version 2 with their controllers.
//!
//! It boots as a plain process over this machine's own files, which it sees read-only, in some two seconds,
//! and runs one program as root. What can be written is in memory and goes with it.

use crate::install;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The kernel's program.
const KERNEL: &str = "linux.uml";
/// Where its package has the modules, a folder for each version.
const MODULES: &str = "/usr/lib/uml/modules";
/// What it loads as it starts; the rest comes when it is asked for.
const LOADED: &[&str] =
    &["8021q", "bridge", "veth", "br_netfilter", "nf_tables", "ip_tables", "iptable_filter", "iptable_nat", "overlay"];
/// The name of the machine that it stands for.
const NAME: &str = "second-kernel";
/// Its memory. The pages that are never written cost nothing.
const MEMORY: &str = "4G";
/// The line before the program's own output.
const FIRST: &str = "second kernel: the program begins";
/// How its last line begins, with the program's exit code behind.
const LAST: &str = "second kernel: the program ended with ";
/// Where the first process puts what it needs itself.
const OWN: &str = "/run/second-kernel";

/// What is to be run, for the first process to read.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    command: Vec<String>,
    folder: PathBuf,
    environment: BTreeMap<String, String>,
    /// Folders that stay what they are, though they may lie where memory is mounted.
    keep: Vec<PathBuf>,
}

/// Boots the kernel, runs a program in it, and gives its exit code.
pub(crate) fn outer(command: &[OsString]) -> Result<ExitCode, String> {
    let text = |t: &OsString| t.to_str().map(str::to_owned).ok_or("an argument is no text");
    let own = crate::project::own()?;
    let folder = std::env::current_dir().map_err(|e| format!("find this folder: {e}"))?;
    let project = crate::project::Project::find()?;
    let order = Order {
        command: command.iter().map(text).collect::<Result<_, _>>()?,
        environment: std::env::vars().collect(),
        keep: vec![project.root, project.target, folder.clone()],
        folder,
    };
    let scratch =
        tempfile::Builder::new().prefix("pod-kernel-").tempdir().map_err(|e| format!("make a folder: {e}"))?;
    let file = scratch.path().join("order.json");
    let json = serde_json::to_vec(&order).map_err(|e| e.to_string())?;
    fs::write(&file, json).map_err(|e| format!("write {}: {e}", file.display()))?;
    let kernel = install::find(KERNEL).ok_or("no user-mode Linux; `cargo xtask test --install` installs it")?;
    // It must not outlive this program.
    let words = install::as_root("setpriv")?;
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .args(["--pdeathsig", "KILL", "--"])
        .arg(kernel)
        .arg(format!("mem={MEMORY}"))
        .arg(format!("uml_dir={}/", scratch.path().display()))
        .args(["root=/dev/root", "rootfstype=hostfs", "ro", "quiet", "con=null", "con0=fd:0,fd:1"])
        .arg(format!("init={}", own.display()))
        .args(["--", "second-kernel-init"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("run {KERNEL}: {e}"))?;
    let stdout = child.stdout.take().ok_or("the kernel has no output")?;
    let mut code = None;
    // What the kernel says as it boots is of interest when it fails.
    let mut booting = Some(Vec::new());
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.map_err(|e| format!("read the kernel's output: {e}"))?;
        // Its console is a terminal, which ends lines by two characters.
        let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        match (&mut booting, line.strip_prefix(LAST)) {
            (_, Some(last)) => code = last.trim().parse::<u8>().ok(),
            (Some(_), None) if line == FIRST => booting = None,
            (Some(said), None) => said.push(line),
            (None, None) if code.is_none() => println!("{line}"),
            // That it goes down is of no interest.
            (None, None) => {}
        }
    }
    for line in booting.unwrap_or_default() {
        println!("{line}");
    }
    let status = child.wait().map_err(|e| format!("wait for {KERNEL}: {e}"))?;
    code.map(ExitCode::from).ok_or_else(|| format!("{KERNEL} ended before its program: {status}"))
}

/// The first process of the kernel: makes the system ready, runs the program, and ends the kernel.
pub(crate) fn init(order: &Path) -> Result<ExitCode, String> {
    let code = match run(order) {
        Ok(code) => code,
        Err(why) => {
            println!("xtask: {why}");
            101
        }
    };
    println!("{LAST}{code}");
    std::io::stdout().flush().map_err(|e| format!("write: {e}"))?;
    fs::write("/proc/sysrq-trigger", "o").map_err(|e| format!("power off: {e}"))?;
    // The kernel ends a moment later, and this with it.
    loop {
        std::thread::park();
    }
}

fn run(order: &Path) -> Result<i32, String> {
    let json = fs::read(order).map_err(|e| format!("read {}: {e}", order.display()))?;
    let order: Order = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
    mount(&["-t", "proc", "proc", "/proc"])?;
    mount(&["-t", "sysfs", "sys", "/sys"])?;
    mount(&["-t", "cgroup2", "none", "/sys/fs/cgroup"])?;
    // The kernel has mounted its devices by itself.
    for (kind, place) in [("devpts", "/dev/pts"), ("tmpfs", "/dev/shm")] {
        fs::create_dir_all(place).map_err(|e| format!("make {place}: {e}"))?;
        mount(&["-t", kind, kind, place])?;
    }
    mount(&["-t", "tmpfs", "tmpfs", "/run"])?;
    processors()?;
    keep(&order.keep)?;
    modules()?;
    // This kernel has no chains of nftables that translate addresses, so iptables(8) has to work as of old.
    done(Command::new("mount").args(["--bind", "/usr/sbin/xtables-legacy-multi", "/usr/sbin/xtables-nft-multi"]))?;
    done(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    rustix::system::sethostname(NAME.as_bytes()).map_err(|e| format!("name this machine: {e}"))?;
    let mut command = Command::new(&order.command[0]);
    command.args(&order.command[1..]).current_dir(&order.folder).env_clear().envs(&order.environment);
    command.env("HOME", "/root").env_remove("TMPDIR").stdin(Stdio::null());
    println!("{FIRST}");
    let child = command.spawn().map_err(|e| format!("run {}: {e}", order.command[0]))?;
    reap(child.id())
}

/// Says of the processor what this kernel leaves out and kubelet looks for as it starts: its clock (proc(5)).
fn processors() -> Result<(), String> {
    const FILE: &str = "/proc/cpuinfo";
    let said = fs::read_to_string(FILE).map_err(|e| format!("read {FILE}: {e}"))?;
    let place = Path::new(OWN).join("cpuinfo");
    fs::create_dir_all(OWN).map_err(|e| format!("make {OWN}: {e}"))?;
    let more = "cpu MHz\t\t: 1000.000\nphysical id\t: 0\ncore id\t\t: 0\n\n";
    fs::write(&place, format!("{}\n{more}", said.trim_end())).map_err(|e| format!("write {}: {e}", place.display()))?;
    done(Command::new("mount").arg("--bind").arg(&place).arg(FILE))
}

/// Mounts memory where programs write, and puts the folders that are to be kept back to their places.
fn keep(folders: &[PathBuf]) -> Result<(), String> {
    let make = |p: &Path| fs::create_dir_all(p).map_err(|e| format!("make {}: {e}", p.display()));
    let bind = |from: &Path, to: &Path| done(Command::new("mount").arg("--bind").arg(from).arg(to));
    let aside = |n: usize| Path::new(OWN).join(n.to_string());
    for (n, folder) in folders.iter().enumerate() {
        make(&aside(n))?;
        bind(folder, &aside(n))?;
    }
    for place in ["/tmp", "/var/tmp"] {
        mount(&["-t", "tmpfs", "tmpfs", place])?;
    }
    for (n, folder) in folders.iter().enumerate() {
        if ["/tmp", "/var/tmp"].iter().any(|p| folder.starts_with(p)) {
            make(folder)?;
            bind(&aside(n), folder)?;
        }
    }
    Ok(())
}

/// Loads the modules, and has the kernel load others by itself, from where the package has them.
fn modules() -> Result<(), String> {
    let version = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|e| format!("ask for the version: {e}"))?;
    let here = Path::new(MODULES).join(version.trim());
    let there = Path::new(OWN).join("lib/modules");
    fs::create_dir_all(&there).map_err(|e| format!("make {}: {e}", there.display()))?;
    std::os::unix::fs::symlink(&here, there.join(version.trim()))
        .map_err(|e| format!("link {}: {e}", here.display()))?;
    let loader = Path::new(OWN).join("modprobe");
    let script = format!("#!/bin/sh\nexec /sbin/modprobe -d {OWN} \"$@\"\n");
    fs::write(&loader, script).map_err(|e| format!("write {}: {e}", loader.display()))?;
    done(Command::new("chmod").arg("755").arg(&loader))?;
    fs::write("/proc/sys/kernel/modprobe", loader.as_os_str().as_encoded_bytes())
        .map_err(|e| format!("name the loader of modules: {e}"))?;
    done(Command::new(&loader).arg("-a").args(LOADED))
}

fn mount(arguments: &[&str]) -> Result<(), String> {
    done(Command::new("mount").args(arguments))
}

fn done(command: &mut Command) -> Result<(), String> {
    let words = format!("{command:?}");
    let output = command.output().map_err(|e| format!("run {words}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{words}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// Waits for one process, and takes in all that lost their parents meanwhile, as the first process must.
fn reap(child: u32) -> Result<i32, String> {
    loop {
        let (pid, status) = rustix::process::wait(rustix::process::WaitOptions::empty())
            .map_err(|e| format!("wait: {e}"))?
            .ok_or("nothing to wait for")?;
        if u32::try_from(pid.as_raw_nonzero().get()).is_ok_and(|p| p == child) {
            return Ok(status.exit_status().unwrap_or(101));
        }
    }
}

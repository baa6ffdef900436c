//! Runs a test program where a mistake can't reach the host: in network and mount namespaces of its own,
//! with an engine root of its own; then looks for what it left.
//!
//! `/sys` stays as it is, so that control groups are seen. Cargo calls this as its runner; when cargo's
//! user is not root, sudo stands in front.

use crate::install;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// How long what a test started may take to end after it.
const GRACE: Duration = Duration::from_secs(3);

/// A command that makes the namespaces and runs a program in them, by way of [`inner`].
pub(crate) fn command<A: AsRef<OsStr>>(program: &[A]) -> Result<Command, String> {
    let own = crate::project::own()?;
    let unshare = install::as_root("unshare")?;
    let mut command = Command::new(&unshare[0]);
    command
        .args(&unshare[1..])
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(own)
        .args(["inside", "--"])
        .args(program);
    Ok(command)
}

/// Set for a program that runs in namespaces of its own.
pub(crate) const MARK: &str = "XTASK_ISOLATED";

/// Makes the namespaces and runs a program in them.
pub(crate) fn outer(program: &[OsString]) -> Result<ExitCode, String> {
    let status = command(program)?.status().map_err(|e| format!("run unshare: {e}"))?;
    Ok(code(status))
}

/// Runs the program in the namespaces made for it.
pub(crate) fn inner(command: &[OsString]) -> Result<ExitCode, String> {
    let (program, arguments) = command.split_first().ok_or("no program")?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    if !up.is_ok_and(|s| s.success()) {
        return Err("ip link set lo up: failed; `cargo xtask test --install` installs iproute2".into());
    }
    let root = tempfile::Builder::new().prefix("pod-test-").tempdir().map_err(|e| format!("make a folder: {e}"))?;
    let engine = root.path().join("engine");
    let status = Command::new(program)
        .args(arguments)
        .env("POD_LOCAL_ROOT", &engine)
        .env(MARK, "1")
        .status()
        .map_err(|e| format!("run {}: {e}", program.to_string_lossy()))?;
    let left = leftovers(&engine);
    for what in &left {
        eprintln!("left behind: {what}");
    }
    clean(&engine);
    if status.success() && !left.is_empty() {
        return Err(format!("{} left things behind", program.to_string_lossy()));
    }
    Ok(code(status))
}

fn code(status: std::process::ExitStatus) -> ExitCode {
    // A program killed by a signal has no code of its own.
    ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(101))
}

/// What a program that cleaned up after itself would not have left: processes, mounts, files.
fn leftovers(engine: &Path) -> Vec<String> {
    let until = Instant::now() + GRACE;
    let processes = loop {
        let processes = processes();
        if processes.is_empty() || Instant::now() > until {
            break processes;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut left: Vec<_> = processes.iter().map(|(pid, name)| format!("process {pid} ({name})")).collect();
    left.extend(mounts(engine).iter().map(|m| format!("mount {}", m.display())));
    files(engine, &mut left);
    left
}

/// The other processes of this network namespace.
fn processes() -> Vec<(u32, String)> {
    let Ok(own) = fs::read_link("/proc/self/ns/net") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if pid != std::process::id() && fs::read_link(entry.path().join("ns/net")).is_ok_and(|ns| ns == own) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push((pid, name.trim().to_owned()));
        }
    }
    found
}

/// What is mounted beneath a folder, the innermost last.
fn mounts(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = text.lines().filter_map(|l| l.split(' ').nth(4)).map(PathBuf::from);
    places.filter(|p| p.starts_with(folder)).collect()
}

/// The files beneath a folder.
fn files(folder: &Path, left: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            files(&path, left);
        } else {
            left.push(format!("file {}", path.display()));
        }
    }
}

/// Ends and unmounts what was left, so that the folder can go. All of it was made in these namespaces.
fn clean(engine: &Path) {
    for (pid, _) in processes() {
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
    for mount in mounts(engine).iter().rev() {
        let _ = Command::new("umount").arg("--lazy").arg(mount).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_empty_folders_are_none() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("run/workloads/w")).expect("folders");
        let mut left = Vec::new();
        files(dir.path(), &mut left);
        assert!(left.is_empty(), "{left:?}");
        fs::write(dir.path().join("run/workloads/w/helper.log"), "").expect("a file");
        files(dir.path(), &mut left);
        assert_eq!(left.len(), 1);
    }
}

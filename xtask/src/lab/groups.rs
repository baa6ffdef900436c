//! Control groups: every process of a lab is in one of the lab's, so that none can be missed.
//!
//! The servers are put into the group `servers`, and what they start inherits it, unless kubelet moves it
//! into the group of a pod, which is one of the lab's, too.

use super::site::{Lab, PODMAN, make};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const MOUNT: &str = "/sys/fs/cgroup";

/// How long killed processes may take to be gone.
const LIMIT: Duration = Duration::from_secs(30);

/// The hierarchies: one with version 2, one for each controller with version 1 and beside it perhaps
/// version 2 without controllers.
fn hierarchies() -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    let entries = fs::read_dir(mount).into_iter().flatten().flatten();
    // A controller that is mounted together with another has a link of its name.
    let mut found: Vec<PathBuf> = entries.filter_map(|e| fs::canonicalize(e.path()).ok()).collect();
    found.retain(|p| p.join("cgroup.procs").exists());
    found.sort();
    found.dedup();
    found
}

/// The hierarchy in which the servers are put into a group.
fn tracker() -> Result<PathBuf, String> {
    let mount = Path::new(MOUNT);
    let names = if mount.join("cgroup.controllers").exists() { &[""][..] } else { &["unified", "systemd", "pids"] };
    let found = names.iter().map(|n| mount.join(n)).find(|p| p.join("cgroup.procs").exists());
    found.ok_or_else(|| format!("no control groups are mounted at {MOUNT}"))
}

/// The file to which a server writes its process id first of all.
pub(super) fn servers(lab: &Lab) -> Result<PathBuf, String> {
    Ok(tracker()?.join(Lab::mark(&lab.name)).join("servers/cgroup.procs"))
}

/// The group below which kubelet makes those of its pods, as it is called within a hierarchy.
pub(super) fn of_node(lab: &Lab, node: super::site::Node) -> String {
    format!("/{}/{}", Lab::mark(&lab.name), node.name())
}

/// The group below which a dockerd makes those of its containers.
pub(super) fn of_docker(lab: &Lab, engine: &str) -> String {
    format!("/{}/{engine}", Lab::mark(&lab.name))
}

/// The hierarchies, and of each the group below which Podman makes those of its containers.
pub(super) fn of_podman(lab: &Lab) -> Vec<(PathBuf, PathBuf)> {
    let own = |hierarchy: PathBuf| (hierarchy.clone(), hierarchy.join(Lab::mark(&lab.name)).join(PODMAN));
    hierarchies().into_iter().map(own).collect()
}

/// Makes the groups.
pub(super) fn create(lab: &Lab) -> Result<(), String> {
    let tracker = tracker()?;
    make(&tracker.join(Lab::mark(&lab.name)).join("servers"))?;
    for hierarchy in hierarchies() {
        let mut above = hierarchy;
        pass_on(&above)?;
        let nodes: Vec<String> =
            lab.nodes().map(|n| n.name()).chain(lab.engines().iter().map(|e| (*e).to_owned())).collect();
        above.push(Lab::mark(&lab.name));
        make(&above)?;
        inherit(&above)?;
        pass_on(&above)?;
        for node in nodes {
            make(&above.join(&node))?;
            inherit(&above.join(&node))?;
            // Podman begins in its own, and passes on by itself.
            if node != PODMAN {
                pass_on(&above.join(&node))?;
            }
        }
    }
    Ok(())
}

/// Puts this process among the servers, and so all that it starts: should it be killed, `down` finds them.
pub(super) fn join(lab: &Lab) -> Result<(), String> {
    let file = servers(lab)?;
    fs::write(&file, std::process::id().to_string()).map_err(|e| format!("{}: {e}", file.display()))
}

/// Version 2: the groups below one get its controllers.
fn pass_on(group: &Path) -> Result<(), String> {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else { return Ok(()) };
    let control = group.join("cgroup.subtree_control");
    let has = fs::read_to_string(&control).map_err(|e| format!("{}: {e}", control.display()))?;
    for controller in controllers.split_whitespace() {
        if !has.split_whitespace().any(|c| c == controller) {
            fs::write(&control, format!("+{controller}"))
                .map_err(|e| format!("{}: +{controller}: {e}", control.display()))?;
        }
    }
    Ok(())
}

/// Version 1: a group of the cpuset controller takes no process before it is told its processors and memory.
fn inherit(group: &Path) -> Result<(), String> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = group.join(file);
        let above = group.parent().unwrap_or(group).join(file);
        if let (Ok(mine), Ok(its)) = (fs::read_to_string(&own), fs::read_to_string(above))
            && mine.trim().is_empty()
            && !its.trim().is_empty()
        {
            fs::write(&own, its).map_err(|e| format!("{}: {e}", own.display()))?;
        }
    }
    Ok(())
}

/// The groups of a lab, the innermost first.
pub(super) fn all(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        let top = hierarchy.join(Lab::mark(name));
        if top.is_dir() {
            walk(&top, &mut found);
        }
    }
    found
}

fn walk(group: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), found);
        }
    }
    found.push(group.to_owned());
}

/// Every process of a lab.
pub(super) fn processes(name: &str) -> Vec<u32> {
    let texts = all(name).into_iter().filter_map(|g| fs::read_to_string(g.join("cgroup.procs")).ok());
    // A process of another PID namespace is shown as 0.
    let mut pids: Vec<u32> = texts
        .flat_map(|t| t.lines().filter_map(|l| l.parse().ok()).collect::<Vec<_>>())
        .filter(|pid| *pid != 0)
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Kills every process of a lab, however many it starts meanwhile, and removes the groups.
pub(super) fn remove(name: &str) -> Result<(), String> {
    let until = Instant::now() + LIMIT;
    loop {
        let pids = processes(name);
        if !pids.is_empty() {
            let pids = pids.iter().map(u32::to_string);
            // One that ended meanwhile makes kill(1) fail, and is what is wanted; the next round tells.
            let _ = Command::new("kill").arg("-KILL").args(pids).stderr(std::process::Stdio::null()).status();
        }
        let mut last = None;
        for group in all(name) {
            if let Err(e) = fs::remove_dir(&group)
                && e.kind() != std::io::ErrorKind::NotFound
            {
                last = Some(format!("{}: {e}", group.display()));
            }
        }
        let Some(last) = last else { return Ok(()) };
        if Instant::now() > until {
            return Err(format!("{last}; still there: {:?}", processes(name)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

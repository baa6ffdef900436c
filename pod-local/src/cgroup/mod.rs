//! Control groups: where the hierarchies are, one group per workload and per program, killing a group,
//! cleaning up.
//!
//! Limits and devices (`bounds.rs`, `devices.rs`) work on version 1, hybrid and version 2 hierarchies.
//! The rest needs only the version 2 hierarchy, which every kernel with cgroups can mount beside
//! version 1: it tells which processes belong to a program, and kills them all (`cgroup.kill`,
//! cgroup-v2.rst).

mod bounds;
mod devices;

use rustix::fs::{Mode, OFlags, openat};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where every hierarchy is mounted.
#[derive(Debug, Clone)]
pub(crate) struct Hierarchies {
    /// The version 2 hierarchy.
    pub(crate) unified: Option<PathBuf>,
    /// The version 1 hierarchies.
    pub(crate) legacy: Vec<Legacy>,
}

/// A version 1 hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Legacy {
    /// Where it is mounted.
    place: PathBuf,
    /// Its controllers, among other mount options.
    options: Vec<String>,
}

impl Legacy {
    fn has(&self, controller: &str) -> bool {
        self.options.iter().any(|o| o == controller)
    }
}

impl Hierarchies {
    /// Reads them from this process's mounts.
    pub(crate) fn find() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// Reads them from the text of a mountinfo file (proc(5)).
    fn parse(mountinfo: &str) -> Self {
        let mut found = Self { unified: None, legacy: Vec::new() };
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let (Some(place), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else { continue };
            match kind {
                "cgroup2" if found.unified.is_none() => found.unified = Some(place.into()),
                "cgroup" if !found.legacy.iter().any(|l| l.place == Path::new(place)) => {
                    let options = right.split(' ').nth(2).unwrap_or_default().split(',').map(str::to_owned).collect();
                    found.legacy.push(Legacy { place: place.into(), options });
                }
                _ => {}
            }
        }
        found
    }

    /// Whether limits of `controller` can be set, in either version.
    pub(crate) fn has_controller(&self, controller: &str) -> bool {
        self.legacy.iter().any(|l| l.has(controller)) || self.unified_has(controller)
    }

    fn unified_has(&self, controller: &str) -> bool {
        self.unified.as_ref().is_some_and(|u| {
            fs::read_to_string(u.join("cgroup.controllers"))
                .is_ok_and(|text| text.split_whitespace().any(|c| c == controller))
        })
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.legacy.iter().map(|l| &l.place).chain(&self.unified)
    }

    /// Removes the group at `path` and all beneath it in every hierarchy, killing what is left in it,
    /// then its parents as far as they are empty.
    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        let mut failed = Ok(());
        for root in self.all() {
            let group = below(root, path);
            if let Err(e) = remove_tree(&group) {
                failed = Err(e);
            }
            let mut parent = group.parent();
            while let Some(dir) = parent
                && dir != root
            {
                if fs::remove_dir(dir).is_err() {
                    break; // another workload's group is in it
                }
                parent = dir.parent();
            }
        }
        failed
    }
}

/// A group's folder in a hierarchy.
fn below(root: &Path, group: &str) -> PathBuf {
    root.join(group.trim_start_matches('/'))
}

fn remove_tree(group: &Path) -> io::Result<()> {
    let children = match fs::read_dir(group) {
        Ok(children) => children,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for child in children.flatten() {
        if child.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&child.path())?;
        }
    }
    // A process that was killed leaves its group when it is reaped, a moment later.
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if Instant::now() > until => return Err(e),
            Err(_) => {
                kill_listed(group);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

fn kill_listed(group: &Path) -> bool {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut any = false;
    for pid in text.lines().filter_map(|l| l.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
        any = true;
        // It may have ended meanwhile.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    any
}

fn open(group: &Path, how: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(rustix::fs::CWD, group, how | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The group of one program in the version 2 hierarchy.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes the group.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        match fs::create_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&path)?;
                Ok(Self { path })
            }
            done => done.map(|()| Self { path }),
        }
    }

    /// A descriptor for clone3(2).
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        open(&self.path, OFlags::PATH)
    }

    /// The processes in it, as this process's namespace numbers them.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|l| l.parse().ok()).collect()
    }

    /// Sends SIGKILL to every process in it.
    pub(crate) fn kill(&self) {
        if fs::write(self.path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        // Before Linux 5.14: freeze it, so that it can't outrun the signals, and thaw it to die.
        let frozen = fs::write(self.path.join("cgroup.freeze"), "1").is_ok();
        for _ in 0..100 {
            if !kill_listed(&self.path) || frozen {
                break;
            }
        }
        if frozen {
            // The signals are pending; thawing lets them act.
            let _ = fs::write(self.path.join("cgroup.freeze"), "0");
        }
    }

    /// Whether no process is in it.
    pub(crate) fn is_empty(&self) -> bool {
        match fs::read_to_string(self.path.join("cgroup.events")) {
            Ok(events) => events.lines().any(|l| l == "populated 0"),
            Err(_) => true,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What the program left running keeps the group; it goes with the workload.
        let _ = fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_in_mountinfo() {
        let hybrid = "1 2 0:1 / /proc rw - proc proc rw\n\
            30 2 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            31 2 0:27 / /sys/fs/cgroup/pids rw shared:3 - cgroup cgroup rw,pids\n\
            32 2 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = Hierarchies::parse(hybrid);
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(found.legacy.len(), 2);
        assert!(found.has_controller("pids") && !found.has_controller("cpu") && !found.has_controller("proc"));
        assert!(Hierarchies::parse("").unified.is_none());
    }
}

//! A workload's own group: making it, its limits, going into it.
//!
//! A process that writes its number into `cgroup.procs` waits until no process of the machine is
//! forking or ending, an RCU grace period of 10 ms and more on an idle machine. Two ways in don't wait:
//! a thread that writes 0 into the `tasks` file of a version 1 hierarchy moves but itself, and a process
//! cloned straight into a version 2 group was never elsewhere.

use super::{Hierarchies, Legacy, below, devices, open};
use crate::wire::Bounds;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The version 1 controllers by which POD bounds a workload; other hierarchies know nothing of it.
const BOUNDING: [&str; 4] = ["cpu", "devices", "memory", "pids"];

/// Where the hierarchies are by custom, and where libcontainer looks for them.
const CUSTOMARY: &str = "/sys/fs/cgroup";

/// The period of a CPU limit in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

impl Hierarchies {
    /// Makes the workload's group in all hierarchies that bound it. Gives the version 2 one, to clone
    /// into.
    pub(crate) fn make(&self, group: &str) -> io::Result<Option<OwnedFd>> {
        for hierarchy in self.bounding() {
            make(&below(&hierarchy.place, group))?;
        }
        let Some(unified) = &self.unified else { return Ok(None) };
        let place = below(unified, group);
        make(&place)?;
        open(&place, OFlags::RDONLY).map(Some).map_err(|e| named(&place, &e))
    }

    /// Moves this process, which must have one thread, into the version 1 groups.
    pub(crate) fn enter(&self, group: &str) -> io::Result<()> {
        self.bounding().try_for_each(|h| write(&below(&h.place, group).join("tasks"), "0"))
    }

    /// Keeps the group from all devices but those that every workload has. `false` if this kernel can't:
    /// then the workload must not be able to make device files.
    pub(crate) fn bound_devices(&self, group: &str, unified: Option<&OwnedFd>) -> io::Result<bool> {
        if let Some(hierarchy) = self.legacy.iter().find(|l| l.has("devices")) {
            let place = below(&hierarchy.place, group);
            write(&place.join("devices.deny"), "a")?;
            for rule in devices::rules() {
                write(&place.join("devices.allow"), &rule)?;
            }
            return Ok(true);
        }
        Ok(unified.is_some_and(|fd| match devices::attach(fd) {
            Ok(()) => true,
            Err(e) => {
                eprintln!("pod helper: device rules by BPF: {e}; the workload goes without CAP_MKNOD");
                false
            }
        }))
    }

    /// Limits memory, swap included. Nothing is in the group yet: the kernel refuses a limit below what
    /// is used.
    pub(crate) fn bound_memory(&self, group: &str, bounds: &Bounds) -> io::Result<()> {
        let Some(bytes) = bounds.memory else { return Ok(()) };
        let (legacy, place) = self.place("memory", group)?;
        let (limit, swap, value) = if legacy {
            ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", bytes)
        } else {
            ("memory.max", "memory.swap.max", 0)
        };
        write(&place.join(limit), &bytes.to_string())?;
        match write(&place.join(swap), &value.to_string()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()), // a kernel without swap, or without its account
            done => done,
        }
    }

    /// Limits processes and CPU time. PID 1 is in the group, and nothing else any more.
    pub(crate) fn bound_running(&self, group: &str, bounds: &Bounds) -> io::Result<()> {
        if let Some(cpus) = bounds.cpus {
            let (legacy, place) = self.place("cpu", group)?;
            let quota = (cpus * CPU_PERIOD as f64).round() as u64;
            if legacy {
                write(&place.join("cpu.cfs_period_us"), &CPU_PERIOD.to_string())?;
                write(&place.join("cpu.cfs_quota_us"), &quota.to_string())?;
            } else {
                write(&place.join("cpu.max"), &format!("{quota} {CPU_PERIOD}"))?;
            }
        }
        if let Some(pids) = bounds.pids {
            let (_, place) = self.place("pids", group)?;
            // PID 1 is one of them, and is POD's own.
            write(&place.join("pids.max"), &(u64::from(pids) + 1).to_string())?;
        }
        Ok(())
    }

    /// Takes the hierarchies out of this process's mount namespace, which must be its own, and puts an
    /// empty file system where libcontainer looks for them: it then finds no controller, and leaves the
    /// groups alone.
    pub(crate) fn hide(&self) -> io::Result<()> {
        let mut left: Vec<&Path> = self.legacy.iter().map(|l| l.place.as_path()).collect();
        // One call takes all that is mounted below along.
        if left.iter().any(|p| p.starts_with(CUSTOMARY)) && unmount(CUSTOMARY, UnmountFlags::DETACH).is_ok() {
            left.retain(|p| !p.starts_with(CUSTOMARY));
        }
        for place in left {
            unmount(place, UnmountFlags::DETACH).map_err(|e| named(place, &e.into()))?;
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("tmpfs", CUSTOMARY, "tmpfs", flags, None).map_err(|e| named(Path::new(CUSTOMARY), &e.into()))
    }

    fn bounding(&self) -> impl Iterator<Item = &Legacy> {
        self.legacy.iter().filter(|l| BOUNDING.iter().any(|c| l.has(c)))
    }

    /// Where a controller's files of the group are, and whether they are version 1's. In version 2 a
    /// controller must be enabled in all groups above.
    fn place(&self, controller: &str, group: &str) -> io::Result<(bool, PathBuf)> {
        if let Some(hierarchy) = self.legacy.iter().find(|l| l.has(controller)) {
            return Ok((true, below(&hierarchy.place, group)));
        }
        let Some(unified) = self.unified.as_ref().filter(|_| self.unified_has(controller)) else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("no control group hierarchy has the controller {controller}"),
            ));
        };
        let mut above = unified.clone();
        for part in group.split('/').filter(|p| !p.is_empty()) {
            let control = above.join("cgroup.subtree_control");
            let enabled = fs::read_to_string(&control).map_err(|e| named(&control, &e))?;
            if !enabled.split_whitespace().any(|c| c == controller) {
                write(&control, &format!("+{controller}"))?;
            }
            above.push(part);
        }
        Ok((false, above))
    }
}

/// Makes a group and those above it. Another workload's end may take an empty one away meanwhile.
fn make(place: &Path) -> io::Result<()> {
    let mut last = Ok(());
    for _ in 0..100 {
        last = fs::create_dir_all(place);
        if !matches!(&last, Err(e) if e.raw_os_error() == Some(Errno::NODEV.raw_os_error()) || e.kind() == io::ErrorKind::NotFound)
        {
            break;
        }
    }
    last.map_err(|e| named(place, &e))
}

/// Writes a control file in one call, as they want it.
fn write(place: &Path, text: &str) -> io::Result<()> {
    let written = fs::OpenOptions::new().write(true).open(place).and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(|e| named(place, &e))
}

fn named(place: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", place.display()))
}

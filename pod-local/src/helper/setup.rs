//! From a [`Start`] to a container whose PID 1 waits for work.

use super::maker;
use crate::cgroup::Hierarchies;
use crate::overlay;
use crate::runtime_spec;
use crate::wire::{self, Failure, FromInit, Stage, Start};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::UnshareFlags;
use std::cell::Cell;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A container that runs.
#[derive(Debug)]
pub(super) struct Container {
    /// PID 1, as the host numbers it.
    pub(super) pid: Pid,
    /// The socket to PID 1.
    pub(super) init: OwnedFd,
    /// Where the control groups are.
    pub(super) cgroups: Hierarchies,
    /// The workload's cgroup below each hierarchy's root.
    pub(super) cgroup: String,
    /// libcontainer's own files.
    oci: PathBuf,
    /// How many processes that made it are still to be reaped.
    makers: Cell<u8>,
}

impl Container {
    /// Reaps its maker and what libcontainer needed on the way, which end when PID 1 runs.
    pub(super) fn reap_makers(&self) {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        while self.makers.get() > 0 {
            let ended = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).ok().and_then(|s| s.pid());
            match ended.and_then(|pid| Pid::from_raw(pid.as_raw())) {
                // PID 1 is left for who waits for it; the rest is its helper's heritage.
                Some(pid) if pid != self.pid => {
                    let _ = waitpid(Some(pid), WaitOptions::empty());
                    self.makers.set(self.makers.get() - 1);
                }
                _ => return,
            }
        }
    }

    /// Kills all that runs in it, and waits for PID 1.
    pub(super) fn kill(&self) {
        // It may be dead already; then waitpid tells at once.
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }

    /// Removes what it leaves: its control groups and libcontainer's files.
    pub(super) fn clean(&self) {
        if let Err(e) = self.cgroups.remove(&self.cgroup) {
            eprintln!("pod helper: remove the control group {}: {e}", self.cgroup);
        }
        let _ = fs::remove_dir_all(&self.oci);
    }

    /// Kills and cleans.
    pub(super) fn destroy(&self) {
        self.kill();
        self.clean();
    }
}

fn failure(stage: Stage, what: &str, e: &std::io::Error) -> Failure {
    Failure { stage, errno: e.raw_os_error().unwrap_or_default(), what: format!("{what}: {e}") }
}

/// Mounts the root in a mount namespace of the helper's own, so that the host's table never shows it
/// and it goes when the helper does; then lets libcontainer make the container.
pub(super) fn container(start: &Start) -> Result<Container, Failure> {
    let root = start.run.join("root");
    let oci = start.run.join("oci");
    let io = |stage, what: &'static str| move |e: std::io::Error| failure(stage, what, &e);
    unshare_mounts().map_err(io(Stage::Mount, "make a mount namespace"))?;
    fs::create_dir_all(&root).map_err(io(Stage::File, "make the mount point of the root"))?;
    overlay::mount(&start.lower, &start.dir, &root).map_err(io(Stage::Mount, "mount the root file system"))?;

    let mut cgroups = Hierarchies::find().map_err(io(Stage::Container, "find the control groups"))?;
    if cgroups.unified.is_none() {
        let place = start.run.join("cgroup2");
        fs::create_dir_all(&place).map_err(io(Stage::File, "make a mount point"))?;
        if rustix::mount::mount("none", &place, "cgroup2", rustix::mount::MountFlags::empty(), None).is_ok() {
            cgroups.unified = Some(place);
        }
    }
    // What a killed helper left would be in the way.
    let _ = fs::remove_dir_all(&oci);
    let made = bounded(start, &root, &oci, &cgroups);
    let (pid, init) = made.inspect_err(|_| {
        // Also kills what is in the groups.
        let _ = cgroups.remove(&start.cgroup);
        let _ = fs::remove_dir_all(&oci);
    })?;
    let container = Container { pid, init, cgroups, cgroup: start.cgroup.clone(), oci, makers: Cell::new(2) };
    let ready = match wire::recv::<FromInit>(&container.init) {
        Ok(Some((FromInit::Ready, _))) => {
            if start.limits.pids.is_some() {
                container.reap_makers(); // a dead process counts until then
            }
            let bound = container.cgroups.bound_running(&container.cgroup, &start.limits);
            bound.map_err(io(Stage::Container, "set the limits"))
        }
        Ok(_) => Err(Failure { stage: Stage::Container, errno: 0, what: "PID 1 ended at once".into() }),
        Err(e) => Err(failure(Stage::Container, "hear from PID 1", &e)),
    };
    match ready {
        Ok(()) => Ok(container),
        Err(failure) => {
            container.destroy();
            Err(failure)
        }
    }
}

/// Makes the groups, bounds what must be bounded before anything runs in them, and the container.
fn bounded(start: &Start, root: &Path, oci: &Path, cgroups: &Hierarchies) -> Result<(Pid, OwnedFd), Failure> {
    let io = |what: &'static str| move |e: std::io::Error| failure(Stage::Container, what, &e);
    let unified = cgroups.make(&start.cgroup).map_err(io("make the control groups"))?;
    let devices =
        cgroups.bound_devices(&start.cgroup, unified.as_ref()).map_err(io("keep the workload from devices"))?;
    cgroups.bound_memory(&start.cgroup, &start.limits).map_err(io("limit memory"))?;
    let spec = serde_json::to_vec(&runtime_spec::build(start, root, devices))
        .map_err(|e| failure(Stage::File, "write the configuration", &e.into()))?;
    fs::write(start.run.join("config.json"), spec).map_err(|e| failure(Stage::File, "write the configuration", &e))?;
    maker::make(start, oci, cgroups, unified.as_ref())
}

/// A mount namespace of this process's own, which still gets what the host mounts later.
pub(crate) fn unshare_mounts() -> std::io::Result<()> {
    // SAFETY: the helper has one thread, and what it shares with nobody it can't break.
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)?;
    }
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    Ok(())
}

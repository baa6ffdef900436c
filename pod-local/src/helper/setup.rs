//! From a [`Start`] to a container whose PID 1 waits for work.

use crate::cgroup::Hierarchies;
use crate::init::{InitExecutor, keep_open};
use crate::overlay;
use crate::runtime_spec;
use crate::wire::{self, Failure, FromInit, Stage, Start};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::UnshareFlags;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

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
}

impl Container {
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
    let spec = serde_json::to_vec(&runtime_spec::build(start, &root))
        .map_err(|e| failure(Stage::File, "write the configuration", &e.into()))?;
    fs::write(start.run.join("config.json"), spec).map_err(io(Stage::File, "write the configuration"))?;
    // What a killed helper left would be in the way.
    let _ = fs::remove_dir_all(&oci);

    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| failure(Stage::File, "make a socket", &e.into()))?;
    let theirs = keep_open(theirs);
    let made = ContainerBuilder::new(start.id.clone(), SyscallType::default()).with_root_path(&oci).and_then(|b| {
        b.with_executor(InitExecutor { socket: theirs })
            .as_init(&start.run)
            .with_systemd(false)
            .with_detach(true)
            .build()
    });
    // SAFETY: the number came from `keep_open` above; PID 1 has its own copy since the clone.
    #[allow(unsafe_code)]
    drop(unsafe { OwnedFd::from_raw_fd(theirs) });
    let explain = |e: libcontainer::error::LibcontainerError| {
        let mut what = e.to_string();
        let mut next = std::error::Error::source(&e);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !what.contains(&text) {
                what = format!("{what}: {text}");
            }
            next = cause.source();
        }
        Failure { stage: Stage::Container, errno: 0, what }
    };
    let mut made = made.map_err(|e| {
        let _ = cgroups.remove(&start.cgroup);
        let _ = fs::remove_dir_all(&oci);
        explain(e)
    })?;
    let Some(pid) = made.pid().and_then(|p| Pid::from_raw(p.as_raw())) else {
        return Err(Failure { stage: Stage::Container, errno: 0, what: "libcontainer gave no process".into() });
    };
    let container = Container { pid, init: ours, cgroups, cgroup: start.cgroup.clone(), oci };
    let ready = made.start().map_err(explain).and_then(|()| match wire::recv::<FromInit>(&container.init) {
        Ok(Some((FromInit::Ready, _))) => Ok(()),
        Ok(_) => Err(Failure { stage: Stage::Container, errno: 0, what: "PID 1 ended at once".into() }),
        Err(e) => Err(failure(Stage::Container, "hear from PID 1", &e)),
    });
    match ready {
        Ok(()) => Ok(container),
        Err(failure) => {
            container.destroy();
            Err(failure)
        }
    }
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

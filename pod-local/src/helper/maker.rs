//! The maker: a process between the helper and libcontainer, in the workload's control groups before
//! libcontainer clones anything, so that all it makes is born there. It ends when PID 1 runs; PID 1 is
//! the helper's child, and the helper never was in the groups.

use crate::cgroup::Hierarchies;
use crate::init::{InitExecutor, fork_into, keep_open};
use crate::wire::{self, Failure, Stage, Start};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal, pidfd_open};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

/// What the maker says in the end: PID 1 as the host numbers it, or what failed.
type Word = Result<i32, String>;

fn failed(what: &str, e: &dyn std::fmt::Display) -> Failure {
    Failure { stage: Stage::Container, errno: 0, what: format!("{what}: {e}") }
}

/// Makes the container and starts PID 1. Gives it with the socket to it.
pub(super) fn make(
    start: &Start,
    oci: &Path,
    cgroups: &Hierarchies,
    unified: Option<&OwnedFd>,
) -> Result<(Pid, OwnedFd), Failure> {
    let pair = || {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|e| failed("make a socket", &e))
    };
    let (ours, theirs) = pair()?;
    let (hears, says) = pair()?;
    // What joins the workload's namespaces must not be readable from inside, and neither must we.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| failed("hide memory", &e))?;
    let maker = fork_into(unified).map_err(|e| failed("make a process in the control group", &e))?;
    if maker == 0 {
        drop((ours, hears));
        let word: Word = run(start, oci, cgroups, theirs);
        // Without a helper there is nobody to tell.
        let _ = wire::send(&says, &word, &[]);
        // SAFETY: ends this process without running what belongs to the helper.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(0)
        }
    }
    drop((theirs, says));
    let word = hear(maker, &hears).map_err(|e| failed("hear from the container's maker", &e))?;
    match word {
        Some(Ok(pid)) => match Pid::from_raw(pid) {
            Some(pid) => Ok((pid, ours)),
            None => Err(failed("make the container", &"libcontainer gave no process")),
        },
        Some(Err(what)) => Err(Failure { stage: Stage::Container, errno: 0, what }),
        None => Err(failed("make the container", &"its maker ended without a word; its memory limit may be too low")),
    }
}

/// Waits for the maker's word or its end. The socket alone does not tell: PID 1 has it too, for a while.
fn hear(maker: i32, hears: &OwnedFd) -> std::io::Result<Option<Word>> {
    let maker = Pid::from_raw(maker).ok_or(std::io::ErrorKind::InvalidInput)?;
    let maker = pidfd_open(maker, PidfdFlags::empty())?;
    loop {
        let mut fds = [PollFd::new(hears, PollFlags::IN), PollFd::new(&maker, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) if !fds[0].revents().is_empty() => return Ok(wire::recv::<Word>(hears)?.map(|(word, _)| word)),
            Ok(_) if !fds[1].revents().is_empty() => return Ok(None),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// In the maker.
fn run(start: &Start, oci: &Path, cgroups: &Hierarchies, theirs: OwnedFd) -> Word {
    let step = |what: &'static str| move |e: std::io::Error| format!("{what}: {e}");
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| format!("bind to the helper: {e}"))?;
    cgroups.enter(&start.cgroup).map_err(step("enter the control groups"))?;
    super::setup::unshare_mounts().map_err(step("make a mount namespace"))?;
    cgroups.hide().map_err(step("hide the control groups"))?;
    let socket = keep_open(theirs);
    let made = ContainerBuilder::new(start.id.clone(), SyscallType::default()).with_root_path(oci).and_then(|b| {
        b.with_executor(InitExecutor { socket })
            .as_init(&start.run)
            .with_systemd(false)
            .with_detach(true)
            .as_sibling(true)
            .build()
    });
    // SAFETY: the number came from `keep_open` above; PID 1 has its own copy since the clone.
    #[allow(unsafe_code)]
    drop(unsafe { OwnedFd::from_raw_fd(socket) });
    let mut made = made.map_err(|e| explain(&e))?;
    made.start().map_err(|e| explain(&e))?;
    made.pid().map(|p| p.as_raw()).ok_or_else(|| "libcontainer gave no process".to_owned())
}

/// The error and its causes, each once.
fn explain(e: &LibcontainerError) -> String {
    let mut what = e.to_string();
    let mut next = std::error::Error::source(e);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !what.contains(&text) {
            what = format!("{what}: {text}");
        }
        next = cause.source();
    }
    what
}

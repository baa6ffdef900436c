//! The helper: one process per workload, which outlives the command that started it, holds the
//! workload's stdio, log and status, and passes requests to the workload's PID 1.
//!
//! It has one thread, because libcontainer clones. It starts as the `pod` program (or the program that
//! `POD_SHIM` names) called with one argument of its own; its descriptor 0 is a socket to the starter, over which it
//! gets what to start, and answers once.

mod maker;
mod serve;
mod setup;

use crate::wire::{self, Failure, Reply, Stage, Start};
use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};

/// The argument that makes a program the helper.
pub(crate) const ARGUMENT: &str = "__pod-helper";

/// Becomes the helper if this program was called as one; then it does not return. A program that uses
/// the `local:` backend and sets `POD_SHIM` to itself calls this first thing in `main`.
pub fn run_if_asked() {
    if std::env::args_os().nth(1).is_some_and(|a| a == ARGUMENT) {
        std::process::exit(main());
    }
}

fn main() -> i32 {
    let starter = crate::init::take_fd(0);
    let start = match wire::recv::<Start>(&starter) {
        Ok(Some((start, _))) => start,
        Ok(None) => return 0,
        Err(e) => {
            eprintln!("pod helper: {e}");
            return 1;
        }
    };
    let fail = |starter: &OwnedFd, stage, what: String, e: &dyn std::fmt::Display, errno: Option<i32>| {
        let failure = Failure { stage, errno: errno.unwrap_or_default(), what: format!("{what}: {e}") };
        // The starter may be gone; then there is nobody to tell.
        let _ = wire::send(starter, &Reply::Failed(failure), &[]);
        1
    };
    if let Err(e) = crate::init::leave_parent().and_then(|()| detach(&start)) {
        return fail(&starter, Stage::File, "become a helper".into(), &e, e.raw_os_error());
    }
    let container = match setup::container(&start) {
        Ok(container) => container,
        Err(failure) => {
            let _ = wire::send(&starter, &Reply::Failed(failure), &[]);
            return 1;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            container.destroy();
            return fail(&starter, Stage::File, "start a runtime".into(), &e, e.raw_os_error());
        }
    };
    let local = tokio::task::LocalSet::new();
    match local.block_on(&runtime, serve::serve(start, container, starter)) {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("pod helper: {e}");
            1
        }
    }
}

/// Leaves the starter's session, directory and stdio.
fn detach(start: &Start) -> std::io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    rustix::thread::set_name(c"pod-helper")?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let log = OpenOptions::new().create(true).append(true).open(start.run.join("helper.log"))?;
    // Descriptor 0 is the starter's socket, owned elsewhere by now: it is closed when that is dropped.
    rustix::stdio::dup2_stdout(null.as_fd())?;
    rustix::stdio::dup2_stderr(log.as_fd())?;
    Ok(())
}

//! A thread whose programs see no control groups of version 2.
//!
//! crun refuses hierarchies of both versions where version 2 has a controller; runc and POD take the
//! machine as it is. So crun alone is started where version 2 is not mounted.

use super::world::call;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use pod::prelude::*;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// Where a hybrid machine has its control groups of version 2.
pub(crate) const UNIFIED: &str = "/sys/fs/cgroup/unified";

type Answer = Result<Duration, Error>;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Apart(Sender<(Command, Sender<Answer>)>);

impl Apart {
    /// Starts the thread in a mount namespace of its own.
    pub(crate) fn begin() -> Result<Self, Error> {
        let (work, incoming) = channel::<(Command, Sender<Answer>)>();
        let (told, ready) = channel();
        std::thread::spawn(move || {
            let apart = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| umount2(UNIFIED, MntFlags::MNT_DETACH));
            let good = apart.is_ok();
            if told.send(apart).is_err() || !good {
                return;
            }
            for (mut command, answer) in incoming {
                // Who asked and went needs no answer.
                let _ = answer.send(call(&mut command));
            }
        });
        let apart = ready.recv().map_err(|_| gone())?;
        apart.map_err(std::io::Error::from).doing(|| format!("leave {UNIFIED} in a mount namespace"))?;
        Ok(Self(work))
    }

    /// Runs a program to its end there, and gives how long it took.
    pub(crate) fn call(&self, command: Command) -> Answer {
        let (answer, heard) = channel();
        self.0.send((command, answer)).map_err(|_| gone())?;
        heard.recv().map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::unexpected("the thread in a mount namespace of its own has ended")
}

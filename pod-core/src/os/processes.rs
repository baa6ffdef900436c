//! Processes: who runs what, and signals to them.

use crate::os::Os;
use crate::{Result, Signal};
use std::fmt;

/// What a process is doing (proc_pid_stat(5), field 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProcessState {
    /// On a processor, or ready for one.
    Running,
    /// Waiting for something.
    Sleeping,
    /// Waiting for a disk; signals must wait too.
    DiskSleep,
    /// Stopped by a signal or a debugger.
    Stopped,
    /// Ended; its parent has not asked how.
    Zombie,
    /// A kernel thread at rest.
    Idle,
    /// Anything else.
    Unknown,
}

impl ProcessState {
    /// The state of this letter.
    #[must_use]
    pub fn of(letter: char) -> Self {
        match letter {
            'R' => Self::Running,
            'S' => Self::Sleeping,
            'D' => Self::DiskSleep,
            'T' | 't' => Self::Stopped,
            'Z' | 'X' | 'x' => Self::Zombie,
            'I' => Self::Idle,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::DiskSleep => "disk sleep",
            Self::Stopped => "stopped",
            Self::Zombie => "zombie",
            Self::Idle => "idle",
            Self::Unknown => "unknown",
        })
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Its id, within the workload.
    pub pid: u32,
    /// Its parent's id; 0 where the parent is outside the workload.
    pub ppid: u32,
    /// The id of the user it runs as.
    pub uid: u32,
    /// That user's name; the id in digits where it has none.
    pub user: String,
    /// What it is doing.
    pub state: ProcessState,
    /// The memory of its own that is in RAM, in bytes.
    pub rss: u64,
    /// The kernel's short name for it, at most 15 bytes, odd characters escaped.
    pub name: String,
    /// Its arguments, bytes that are no UTF-8 replaced; empty for a kernel thread or a zombie.
    pub args: Vec<String>,
}

impl ProcessInfo {
    /// The command as one line: the arguments, or the short name in brackets.
    #[must_use]
    pub fn command(&self) -> String {
        if self.args.is_empty() { format!("[{}]", self.name) } else { self.args.join(" ") }
    }
}

impl Os {
    /// The processes, by id; those of the probe itself are left out. Read from `/proc`: no `ps` is
    /// needed.
    ///
    /// # Errors
    /// As [`Os::execute`].
    pub async fn processes(&self) -> Result<Vec<ProcessInfo>> {
        self.execute(self.dialect().processes(), "os.processes").await
    }

    /// Sends a signal to a process.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) without such a process;
    /// `InvalidInput` for process 0; `PermissionDenied`; or as [`Os::execute`].
    pub async fn kill(&self, pid: u32, signal: Signal) -> Result<()> {
        self.execute(self.dialect().kill(pid, signal), "os.kill").await
    }
}

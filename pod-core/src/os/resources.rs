//! Disks, memory and processors.

use crate::Result;
use crate::os::{Os, PathBytes};

/// A mounted file system that holds data.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Disk {
    /// Where it is mounted.
    pub mount: PathBytes,
    /// What is mounted, such as `/dev/vda1`.
    pub source: PathBytes,
    /// The kind of file system, such as `ext4`.
    pub file_system: String,
    /// Its size in bytes.
    pub total: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes that a user other than root can still write.
    pub available: u64,
    /// How many files it can hold; 0 where it doesn't count them.
    pub files: u64,
    /// How many more files it can hold.
    pub files_free: u64,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Memory {
    /// The machine's memory.
    pub total: u64,
    /// What new programs can get without swapping.
    pub available: u64,
    /// What nothing uses.
    pub free: u64,
    /// What holds copies of files, and can be given back.
    pub cached: u64,
    /// Swap space.
    pub swap_total: u64,
    /// Swap space that is free.
    pub swap_free: u64,
    /// The limit set on the workload (cgroup); `None` where there is none.
    pub limit: Option<u64>,
    /// What the workload uses of its limit; `None` where it can't be told.
    pub used: Option<u64>,
}

/// Processors.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Cpu {
    /// How many logical processors are on line.
    pub count: u32,
    /// The model's name; empty where the kernel doesn't say.
    pub model: String,
    /// The limit set on the workload (cgroup), in processors; `None` where there is none.
    pub limit: Option<f64>,
}

impl Os {
    /// The mounted file systems that hold data, and how full they are. Kernel file systems such as
    /// `proc`, and mounts over single files, are left out; of several mounts at one place the last counts, as it hides the others.
    ///
    /// # Errors
    /// As [`Os::execute`].
    pub async fn disks(&self) -> Result<Vec<Disk>> {
        self.execute(self.dialect().disks(), "os.disks").await
    }

    /// The memory.
    ///
    /// # Errors
    /// As [`Os::execute`].
    pub async fn memory(&self) -> Result<Memory> {
        self.execute(self.dialect().memory(), "os.memory").await
    }

    /// The processors.
    ///
    /// # Errors
    /// As [`Os::execute`].
    pub async fn cpu(&self) -> Result<Cpu> {
        self.execute(self.dialect().cpu(), "os.cpu").await
    }
}

//! What the suite is run against.

use pod_core::{BackendUri, Image, Registry};
use std::path::PathBuf;
use std::time::Duration;

/// Which programs the target's image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// `/bin/sh` and the common POSIX programs, with GNU's, BusyBox's or pod-mem's ways.
    Posix,
}

/// A backend to run the suite against, and what the suite must know of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Target {
    /// Its name in the output.
    pub name: String,
    /// Knows the backend's scheme.
    pub registry: Registry,
    /// The backend's address.
    pub uri: BackendUri,
    /// The image of the workloads; `None` is the backend's default.
    pub image: Option<Image>,
    /// What programs that image has.
    pub dialect: Dialect,
    /// An image that the backend can't take.
    pub bad_image: Image,
    /// A directory in which nothing can be made, also by the user that copies run as.
    pub read_only: Option<Vec<u8>>,
    /// Whether a workload sees its own limits under `/sys/fs/cgroup`.
    pub limits_shown: bool,
    /// Whether something enforces policies and isolation; else the backend must say that they don't act.
    pub enforces: bool,
    /// A folder of the engine's machine that this program can write to under the same path, for mounts.
    pub shared: Option<PathBuf>,
    /// How often the platform may lose an output of a program, and say so, while the machine is busy.
    pub losses: usize,
    /// The words before a command that run it where the engine publishes ports; none are needed on its own machine.
    pub machine: Option<Vec<String>>,
    /// How much longer than on a fast machine waits may last.
    pub scale: f64,
    /// How many cases run at once.
    pub jobs: usize,
    /// Held by a case whose networks may not be there twice.
    pub(crate) turn: std::sync::Arc<tokio::sync::Mutex<()>>,
}

impl Target {
    /// The backend at `uri` with its default image.
    #[must_use]
    pub fn new(name: impl Into<String>, registry: Registry, uri: BackendUri) -> Self {
        Self {
            name: name.into(),
            registry,
            uri,
            image: None,
            dialect: Dialect::Posix,
            bad_image: Image::Rootfs("/nonexistent/pod-testkit".into()),
            read_only: Some(b"/sys".to_vec()),
            limits_shown: false,
            enforces: true,
            shared: None,
            losses: 0,
            machine: None,
            scale: 1.0,
            jobs: 4,
            turn: std::sync::Arc::default(),
        }
    }

    /// Uses this image.
    #[must_use]
    pub fn with_image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// Says which image the backend can't take.
    #[must_use]
    pub fn with_bad_image(mut self, image: Image) -> Self {
        self.bad_image = image;
        self
    }

    /// Says where nothing can be made; `None` leaves the case out.
    #[must_use]
    pub fn with_read_only(mut self, dir: Option<Vec<u8>>) -> Self {
        self.read_only = dir;
        self
    }

    /// Says that a workload sees its own limits under `/sys/fs/cgroup`.
    #[must_use]
    pub fn with_limits_shown(mut self) -> Self {
        self.limits_shown = true;
        self
    }

    /// Says that nothing here enforces policies: a report must then say so, and never that they act.
    #[must_use]
    pub fn with_nothing_enforced(mut self) -> Self {
        self.enforces = false;
        self
    }

    /// Gives a folder of the engine's machine that this program can write to under the same path; `None` leaves
    /// the cases of host paths out.
    #[must_use]
    pub fn with_shared(mut self, dir: Option<PathBuf>) -> Self {
        self.shared = dir;
        self
    }

    /// Lets the platform lose this many outputs in a row, where it says so; never a part in silence.
    #[must_use]
    pub fn with_losses(mut self, losses: usize) -> Self {
        self.losses = losses;
        self
    }

    /// Gives the words before a command that run it where the engine publishes ports, such as `nsenter` and its
    /// options. `None` leaves it untried whether they answer.
    #[must_use]
    pub fn with_machine(mut self, words: Option<Vec<String>>) -> Self {
        self.machine = words;
        self
    }

    /// Lets waits last this many times as long.
    #[must_use]
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// Runs this many cases at once.
    #[must_use]
    pub fn with_jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs.max(1);
        self
    }

    /// A wait of this length on a fast machine, as it is here.
    #[must_use]
    pub fn time(&self, fast: Duration) -> Duration {
        fast.mul_f64(self.scale)
    }
}

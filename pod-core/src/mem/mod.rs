//! A backend in memory: simulated workloads, files and networks, for tests.
//!
//! It keeps every contract of the traits and passes the same suite as the backends of real platforms,
//! so that a program tested on it meets no surprise elsewhere. Nothing leaves the process: workloads
//! are sets of asynchronous tasks, their files and networks are values.
//!
//! What is simulated, and what acts:
//! - **Programs** are the built-in ones (a small POSIX shell among them; `ls /bin` in a workload lists
//!   all) and those given by [`MemBackend::with_program`]. They have process ids, signals, pipes with
//!   back-pressure, terminals, users and environments.
//! - **Files** have modes, owners, times, links and holes, and permissions bind users other than root.
//! - **Limits** act: on processes, on memory that programs say they hold
//!   ([`ProgramContext::allocate`]), on the CPU time their tasks take.
//! - **Networks** are segments with ports; what reaches what follows from VLANs, addresses, trunks,
//!   isolation and rules. [`MemBackend::tamper_join`] and its like change the data plane behind the
//!   backend's back, for tests of `verify`. Nothing is forwarded from one segment to another, and there
//!   is no uplink.
//!
//! State lives as long as the value; `mem:?name=X` is one shared instance per name in the process.
//! Workloads run on the tokio runtime that started them and end with it.
//!
//! ```
//! use pod_core::mem::MemBackend;
//! use pod_core::{Backend, ConnectionExt, CreateRequest, ExecRequest, ExitStatus, WorkloadName, WorkloadSpec};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! // A service as the program under test expects it.
//! let backend = MemBackend::new().with_program("migrate", |mut cx| async move {
//!     match cx.args().as_slice() {
//!         [version] => {
//!             let done = cx.print(format!("now at {version}\n")).await;
//!             ExitStatus::Exited(u8::from(done.is_err()))
//!         }
//!         _ => cx.fail(2, "one version is expected").await,
//!     }
//! });
//! let name = WorkloadName::new("db")?;
//! backend.create(CreateRequest::new(WorkloadSpec::new(name.clone())).with_start()).await?;
//! let connection = backend.connect(&name).await?;
//! let output = connection.run(ExecRequest::new(["migrate", "7"])).await?;
//! assert_eq!(output.stdout_text(), "now at 7\n");
//! let output = connection.run(ExecRequest::new(["migrate"])).await?;
//! assert_eq!(output.status, ExitStatus::Exited(2));
//! # Ok::<(), pod_core::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod connection;
mod content;
mod copying;
mod fs;
mod image;
mod machine;
mod network;
mod output;
mod pipe;
mod plane;
mod ports;
mod process;
mod procfs;
mod program;
mod programs;
mod shell;
mod stdio;
#[cfg(test)]
mod tests;
mod tty;

pub use image::MemImage;
pub use program::ProgramContext;
pub use stdio::{ProgramInput, ProgramOutput};

use crate::layers::{Check, Trace, Wrapped};
use crate::{
    Address, Backend, BackendFactory, BackendInfo, BackendUri, Capabilities, Capability, Error, ErrorKind, Event,
    ExitStatus, Image, NetworkName, Registry, Result, WorkloadName, split_single,
};
use async_trait::async_trait;
use backend::World;
use program::{Program, Programs};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// Events that a slow watcher may lag behind.
const EVENT_BUFFER: usize = 4096;

#[derive(Debug)]
struct Shared {
    info: BackendInfo,
    programs: Arc<Programs>,
    events: broadcast::Sender<Event>,
    settings: Mutex<Settings>,
    world: Mutex<World>,
}

#[derive(Debug, Default)]
struct Settings {
    /// By the image's text.
    images: BTreeMap<String, MemImage>,
    any_image: bool,
    disk: Option<u64>,
    latency: Option<Duration>,
}

impl Shared {
    fn new(uri: BackendUri) -> Arc<Self> {
        let programs = Programs::default();
        programs::register(&programs);
        shell::register(&programs);
        let settings = Settings {
            images: ["host", "mem"].map(|i| (i.to_owned(), MemImage::default())).into(),
            ..Settings::default()
        };
        Arc::new(Self {
            info: BackendInfo::new(uri, "pod-mem", env!("CARGO_PKG_VERSION")),
            programs: Arc::new(programs),
            events: broadcast::channel(EVENT_BUFFER).0,
            settings: Mutex::new(settings),
            world: Mutex::default(),
        })
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> Option<u64> {
        self.settings().disk
    }

    /// Waits as long as the way to a far backend takes.
    async fn travel(&self) {
        let latency = self.settings().latency;
        if let Some(latency) = latency {
            tokio::time::sleep(latency).await;
        }
    }

    fn image(&self, image: &Image) -> Result<MemImage> {
        let settings = self.settings();
        if let Some(found) = settings.images.get(&image.to_string()) {
            return Ok(found.clone());
        }
        if settings.any_image && matches!(image, Image::Reference(_)) {
            return Ok(MemImage::default());
        }
        let known: Vec<_> = settings.images.keys().map(String::as_str).collect();
        Err(Error::not_found("image", image.to_string()).with_hint(format!(
            "known: {}; give the backend others with `with_image`, or take any name with `mem:?images=any`",
            known.join(", ")
        )))
    }
}

/// A backend in memory; see the [module](self). Clones share one state.
#[derive(Debug, Clone)]
pub struct MemBackend {
    shared: Arc<Shared>,
    capabilities: Capabilities,
}

impl Default for MemBackend {
    fn default() -> Self {
        Self::new()
    }
}

/// What it can do: all but leave the process, and start a command again.
fn capabilities() -> Capabilities {
    use Capability as C;
    [C::Uplink, C::Mounts, C::Ports, C::PortsOnNetworks, C::Restart]
        .into_iter()
        .fold(Capabilities::all(), Capabilities::without)
}

fn uri() -> BackendUri {
    BackendUri::new("mem").expect("`mem` is a scheme")
}

static NAMED: LazyLock<Mutex<BTreeMap<String, Arc<Shared>>>> = LazyLock::new(Mutex::default);

impl MemBackend {
    /// An empty backend of its own.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Shared::new(uri()), capabilities: capabilities() }
    }

    /// The backend of this name, one per process: what `mem:?name=NAME` leads to.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = named.entry(name.to_owned()).or_insert_with(|| Shared::new(uri().with_option("name", name)));
        Self { shared: shared.clone(), capabilities: capabilities() }
    }

    /// Adds a program, found as `/bin/NAME` in workloads made from now on; it may replace a built-in
    /// one.
    #[must_use]
    pub fn with_program<F, Fut>(self, name: impl Into<String>, program: F) -> Self
    where
        F: Fn(ProgramContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ExitStatus> + Send + 'static,
    {
        self.shared.programs.insert(name, Program::new(program));
        self
    }

    /// Adds an image. There are `host` and `mem`, which is the default, from the start.
    #[must_use]
    pub fn with_image(self, name: &Image, image: MemImage) -> Self {
        self.shared.settings().images.insert(name.to_string(), image);
        self
    }

    /// Takes every image reference for an image with the built-in programs.
    #[must_use]
    pub fn with_any_image(self) -> Self {
        self.shared.settings().any_image = true;
        self
    }

    /// Limits what the files of each workload made from now on may take, in bytes.
    #[must_use]
    pub fn with_disk(self, bytes: u64) -> Self {
        self.shared.settings().disk = Some(bytes);
        self
    }

    /// Makes every call take this long before it acts, and create and exec as long again before they
    /// answer. A call that is dropped on the way is cancelled there, as one to a far backend is.
    #[must_use]
    pub fn with_latency(self, latency: Duration) -> Self {
        self.shared.settings().latency = Some(latency);
        self
    }

    /// Says that this handle lacks a capability. Most of what needs it is refused by the check layer, so
    /// take the backend by [`MemBackend::layered`].
    #[must_use]
    pub fn without(mut self, capability: Capability) -> Self {
        self.capabilities = self.capabilities.without(capability);
        self
    }

    /// The backend behind the layers that [`Registry::connect`] puts on every backend.
    #[must_use]
    pub fn layered(self) -> Arc<dyn Backend> {
        Arc::new(Wrapped::new(Trace, Arc::new(Check::new(Arc::new(self)))))
    }

    /// Joins the segments of two networks behind the backend's back, as a cable between them would.
    ///
    /// # Errors
    /// `NotFound` when one of them does not exist.
    pub fn tamper_join(&self, a: &NetworkName, b: &NetworkName) -> Result<()> {
        let mut world = self.shared.world();
        world.networks.record(a)?;
        world.networks.record(b)?;
        let pair = if a < b { (a, b) } else { (b, a) };
        world.networks.plane.joins.insert((pair.0.clone(), pair.1.clone()));
        Ok(())
    }

    /// Takes a workload's interface on a network out of the data plane behind the backend's back.
    ///
    /// # Errors
    /// `NotFound` when the workload is not attached to it.
    pub fn tamper_unplug(&self, workload: &WorkloadName, network: &NetworkName) -> Result<()> {
        let mut world = self.shared.world();
        let ports = &mut world.networks.plane.ports;
        let before = ports.len();
        ports.retain(|p| p.workload != *workload || p.segment != *network);
        if ports.len() == before {
            return Err(not_attached(workload, network));
        }
        world.show_ports();
        Ok(())
    }

    /// Moves a workload's interface from one network's segment to another's behind the backend's back.
    ///
    /// # Errors
    /// `NotFound` when the workload is not attached to `from`, or `to` does not exist.
    pub fn tamper_move(&self, workload: &WorkloadName, from: &NetworkName, to: &NetworkName) -> Result<()> {
        let mut world = self.shared.world();
        world.networks.record(to)?;
        let port = world.networks.plane.ports.iter_mut().find(|p| p.workload == *workload && p.segment == *from);
        port.ok_or_else(|| not_attached(workload, from))?.segment = to.clone();
        Ok(())
    }
}

fn not_attached(workload: &WorkloadName, network: &NetworkName) -> Error {
    Error::not_found("attachment", format!("{workload} on {network}"))
}

#[derive(Debug)]
struct Factory;

#[async_trait]
impl BackendFactory for Factory {
    fn schemes(&self) -> &'static [&'static str] {
        &["mem"]
    }

    fn describe(&self) -> &'static str {
        "simulated workloads in memory, for tests"
    }

    fn split(&self, address: BackendUri) -> Result<Address> {
        split_single(address)
    }

    async fn connect(&self, uri: &BackendUri, _: Capabilities) -> Result<Arc<dyn Backend>> {
        uri.check_options(&["name", "images", "latency_ms"])?;
        let bad = |message: &str| {
            Error::new(ErrorKind::ConfigInvalid, message.to_owned()).with_context("address", uri.to_string())
        };
        if uri.authority().is_some() || !uri.path().is_empty() {
            return Err(bad("a backend in memory has no endpoint").with_hint("`mem:` or `mem:?name=NAME`"));
        }
        let backend = match uri.option("name") {
            Some("") => return Err(bad("the name is empty")),
            Some(name) => MemBackend::named(name),
            None => MemBackend::new(),
        };
        let backend = match uri.option("images") {
            None => backend,
            Some("any") => backend.with_any_image(),
            Some(_) => return Err(bad("the option `images` takes only `any`")),
        };
        Ok(Arc::new(match uri.option("latency_ms").map(str::parse) {
            None => backend,
            Some(Ok(ms)) => backend.with_latency(Duration::from_millis(ms)),
            Some(Err(_)) => return Err(bad("the option `latency_ms` takes a number of milliseconds")),
        }))
    }
}

/// Adds the scheme `mem`: `mem:` is an empty backend of its own for each connect, `mem:?name=NAME` one
/// that is shared within the process; `images=any` takes every image reference, `latency_ms=N` makes calls
/// take time ([`MemBackend::with_latency`]).
pub fn register(registry: &mut Registry) {
    registry.register(Arc::new(Factory));
}

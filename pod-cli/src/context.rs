//! What every command works with: the flags, the registry, and the backends it has reached.

use crate::args::{Globals, OutputFormat};
use crate::exit::Exit;
use crate::nearest::nearest;
use crate::output::{self, Report};
use pod::{
    Address, Backend, BackendUri, Capabilities, Config, Defaults, Error, ErrorKind, Filter, Registry, Result,
    WorkloadName,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, OnceLock};
use tokio::sync::Mutex;

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) globals: Globals,
    registry: OnceLock<Registry>,
    reached: Mutex<BTreeMap<BackendUri, Reached>>,
}

/// A backend, and what was wanted of it when it was reached.
type Reached = (Capabilities, Arc<dyn Backend>);

/// A workload and the backend it is on.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) name: WorkloadName,
}

impl Context {
    /// Nothing is read or reached yet.
    pub(crate) fn new(globals: Globals) -> Self {
        Self { globals, registry: OnceLock::new(), reached: Mutex::default() }
    }

    /// The backends built in and the user's configuration.
    pub(crate) fn registry(&self) -> Result<&Registry> {
        if let Some(registry) = self.registry.get() {
            return Ok(registry);
        }
        let registry = match &self.globals.config {
            Some(path) => {
                // A file that was named must be there; the usual place may be empty.
                if !path.exists() {
                    return Err(Error::new(ErrorKind::NotFound, "there is no such configuration file")
                        .with_context("path", path.display().to_string()));
                }
                Registry::with_defaults().with_config(Config::load(path)?)
            }
            None => Registry::from_environment()?,
        };
        Ok(self.registry.get_or_init(|| registry))
    }

    /// The backend that bare names mean.
    pub(crate) fn default_backend(&self) -> Result<BackendUri> {
        self.registry()?.default_backend(self.globals.backend.as_deref())
    }

    /// Reads an address. The default backend is worked out only for a bare name.
    pub(crate) fn resolve(&self, text: &str) -> Result<Address> {
        let registry = self.registry()?;
        let default = if text.contains(':') { BackendUri::new("none")? } else { self.default_backend()? };
        registry.resolve(text, &default)
    }

    /// The backend of an address, a configured name, or the default one.
    pub(crate) fn backend_uri(&self, text: Option<&str>) -> Result<BackendUri> {
        match text {
            None => self.default_backend(),
            Some(text) => self.registry()?.default_backend(Some(text)),
        }
    }

    /// Reaches a backend; a second call gives the same.
    pub(crate) async fn reach(&self, uri: &BackendUri) -> Result<Arc<dyn Backend>> {
        self.reach_for(uri, Capabilities::all()).await
    }

    /// Reaches a backend of which no more than this is wanted: see [`Registry::connect_for`].
    pub(crate) async fn reach_for(&self, uri: &BackendUri, wanted: Capabilities) -> Result<Arc<dyn Backend>> {
        let mut reached = self.reached.lock().await;
        if let Some((known, backend)) = reached.get(uri)
            && wanted.iter().all(|c| known.has(c))
        {
            return Ok(backend.clone());
        }
        let backend = self.registry()?.connect_for(uri, wanted).await?;
        reached.insert(uri.clone(), (wanted, backend.clone()));
        Ok(backend)
    }

    /// Reaches the default backend.
    pub(crate) async fn reach_default(&self) -> Result<Arc<dyn Backend>> {
        self.reach(&self.default_backend()?).await
    }

    /// Reaches the backend of the workload at this address, for what needs neither its networks nor its
    /// limits. Whether the workload is there is not asked.
    pub(crate) async fn target(&self, text: &str) -> Result<Target> {
        self.target_for(text, Capabilities::none()).await
    }

    /// Reaches the backend of the workload at this address, of which no more than this is wanted.
    pub(crate) async fn target_for(&self, text: &str, wanted: Capabilities) -> Result<Target> {
        let address = self.resolve(text)?;
        let name = address.require_workload()?.clone();
        Ok(Target { backend: self.reach_for(&address.backend, wanted).await?, name })
    }

    /// Prints a report in the format asked for.
    pub(crate) fn print(&self, report: &impl Report) -> Result<()> {
        output::print(&self.globals, report)
    }

    /// Whether data is wanted as JSON.
    pub(crate) fn wants_json(&self) -> bool {
        self.globals.output == Some(OutputFormat::Json)
    }

    /// Says something to the user on stderr, unless -q is given, or stderr is for errors in JSON only.
    pub(crate) fn say(&self, text: &str) {
        if !self.globals.quiet && !self.wants_json() {
            // There is nowhere left to say that stderr is closed.
            let _ = writeln!(std::io::stderr().lock(), "pod: {}", crate::failure::clean(text));
        }
    }

    /// Prints an error and gives its exit code.
    pub(crate) fn report(&self, error: &Error) -> Exit {
        crate::failure::report(&self.globals, error)
    }
}

impl Target {
    /// Adds the name the user probably meant to an error about a workload that is not there.
    pub(crate) async fn explain(&self, error: Error) -> Error {
        let about_it = error.kind() == ErrorKind::NotFound
            && error.context().iter().any(|(key, value)| *key == "workload" && value == self.name.as_str());
        if !about_it {
            return error;
        }
        // The list only serves the hint: without it the error stands as it is.
        let Ok(all) = self.backend.list(Filter::all()).await else { return error };
        match nearest(self.name.as_str(), all.iter().map(|w| w.name().as_str())) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None if error.hint().is_none() => error.with_hint("`pod ps -a` lists those there are"),
            None => error,
        }
    }
}

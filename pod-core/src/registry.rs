//! Which schemes there are, and how their backends are reached.

use crate::layers::{Check, Trace, Wrapped};
use crate::{Address, Backend, BackendUri, Capabilities, Config, Error, ErrorKind, Result, WorkloadName};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Makes the backends of one or more schemes. A backend crate gives one to
/// [`Registry::register`] in its `register` function.
#[async_trait]
pub trait BackendFactory: fmt::Debug + Send + Sync + 'static {
    /// The schemes it serves, such as `docker` and `podman`.
    fn schemes(&self) -> &'static [&'static str];

    /// One sentence on what these backends are.
    fn describe(&self) -> &'static str;

    /// Splits an address into the backend's and the workload's part: the workload is what is left out
    /// of a backend's address.
    ///
    /// # Errors
    /// `InvalidInput` or `ConfigInvalid` when the path is none of this platform's.
    fn split(&self, address: BackendUri) -> Result<Address>;

    /// Reaches the backend at `uri` and finds out what it can do. Limits (`lifecycle.limit_…`) and networks
    /// (`network.…`) that are not `wanted` may be left out of its capabilities, as if it had none, where the
    /// platform would have to be asked for them.
    ///
    /// # Errors
    /// `ConfigInvalid` for unknown options; `Unavailable`, `Unauthenticated`, `PermissionDenied`.
    async fn connect(&self, uri: &BackendUri, wanted: Capabilities) -> Result<Arc<dyn Backend>>;
}

/// Splits an address whose path is one workload name, or nothing.
///
/// # Errors
/// `InvalidInput` for a path that is no workload name.
pub fn split_single(address: BackendUri) -> Result<Address> {
    let workload = match address.path() {
        "" => None,
        name => Some(WorkloadName::new(name)?),
    };
    Ok(Address { backend: address.with_path(""), workload })
}

/// The schemes a program knows. It is a value, filled by `register` calls; nothing registers itself.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    factories: BTreeMap<&'static str, Arc<dyn BackendFactory>>,
    config: Config,
}

/// Schemes of backends that exist, each with the feature of `pod-sdk` that brings it.
const KNOWN: &[(&str, &str)] = &[("docker", "docker"), ("k8s", "k8s"), ("local", "local"), ("podman", "docker")];

impl Registry {
    /// A registry with no scheme.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses these named backends and this default.
    #[must_use]
    pub fn with_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Adds a factory; of two for one scheme the later counts.
    pub fn register(&mut self, factory: Arc<dyn BackendFactory>) {
        for scheme in factory.schemes() {
            self.factories.insert(scheme, factory.clone());
        }
    }

    /// The schemes, each with what it is.
    pub fn schemes(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.factories.iter().map(|(s, f)| (*s, f.describe()))
    }

    /// The configuration in use.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether `text` begins with a known scheme or the name of a configured backend and a `:`.
    #[must_use]
    pub fn is_address(&self, text: &str) -> bool {
        text.split_once(':').is_some_and(|(scheme, _)| {
            self.factories.contains_key(scheme.to_ascii_lowercase().as_str())
                || self.config.backends.contains_key(scheme)
        })
    }

    fn factory(&self, scheme: &str) -> Result<&Arc<dyn BackendFactory>> {
        self.factories.get(scheme).ok_or_else(|| {
            let list: Vec<_> = self.factories.keys().copied().collect();
            let hint = match KNOWN.iter().find(|(s, _)| *s == scheme) {
                Some((_, feature)) => {
                    format!("build with the feature `{feature}` (Linux), or use one of: {}", list.join(", "))
                }
                None if list.is_empty() => "no backend is built in on this platform".into(),
                None => format!("known: {}", list.join(", ")),
            };
            Error::new(ErrorKind::ConfigInvalid, format!("no backend has the scheme {scheme:?}")).with_hint(hint)
        })
    }

    /// Reads the address of a backend or workload: a scheme's, a configured name's (`lab:web`), or a
    /// bare workload name, which means `default`.
    ///
    /// # Errors
    /// `ConfigInvalid` for an unknown scheme, listing those there are; `InvalidInput` for a name that
    /// is none.
    pub fn resolve(&self, text: &str, default: &BackendUri) -> Result<Address> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Ok(Address { backend: default.clone(), workload: Some(WorkloadName::new(text)?) });
        };
        if let Some(base) = self.config.backends.get(scheme) {
            if rest.contains(['?', '#']) || rest.starts_with("//") {
                return Err(Error::new(ErrorKind::ConfigInvalid, "a named backend takes only a workload's name")
                    .with_context("address", text));
            }
            let joined = base.path().is_empty() || base.path().ends_with('/') || rest.is_empty();
            let sep = if joined { "" } else { "/" };
            let whole = format!("{}{sep}{rest}", base.path());
            return self.factory(base.scheme())?.split(base.clone().with_path(whole));
        }
        let uri: BackendUri = text.parse()?;
        self.factory(uri.scheme())?.split(uri)
    }

    /// The backend that bare names mean: `chosen` (a flag or `POD_BACKEND`), else the configuration's
    /// default, else `local:` where there is one.
    ///
    /// # Errors
    /// `ConfigInvalid` when there is none on this platform, listing those there are.
    pub fn default_backend(&self, chosen: Option<&str>) -> Result<BackendUri> {
        let text = match chosen.or(self.config.default.as_deref()) {
            Some(t) if t.contains(':') => t.to_owned(),
            Some(name) => format!("{name}:"),
            None => "local:".into(),
        };
        let address = self.resolve(&text, &BackendUri::new("local")?)?;
        if let Some(workload) = address.workload {
            return Err(Error::new(ErrorKind::ConfigInvalid, "a backend's address names no workload")
                .with_context("address", text)
                .with_context("workload", workload.as_str()));
        }
        Ok(address.backend)
    }

    /// Reaches a backend, with the layers that check every request and trace every call.
    ///
    /// # Errors
    /// As [`BackendFactory::connect`].
    pub async fn connect(&self, uri: &BackendUri) -> Result<Arc<dyn Backend>> {
        self.connect_for(uri, Capabilities::all()).await
    }

    /// As [`Registry::connect`], for one who needs of limits and networks only those in `wanted`: to find out
    /// what else it has may take a platform longer than the request itself. What is left out is missing from
    /// the backend's capabilities, and so is refused. [`Requires`](crate::Requires) says what a request needs.
    ///
    /// # Errors
    /// As [`BackendFactory::connect`].
    pub async fn connect_for(&self, uri: &BackendUri, wanted: Capabilities) -> Result<Arc<dyn Backend>> {
        let backend = self
            .factory(uri.scheme())?
            .connect(uri, wanted)
            .await
            .map_err(|e| e.with_operation("connect").with_backend(uri.to_string()))?;
        Ok(Arc::new(Wrapped::new(Trace, Arc::new(Check::new(backend)))))
    }
}

//! The registry of the backends built in.

use pod_core::{Config, Registry, Result};

/// Ways to a [`Registry`] of the backends that the enabled features bring.
pub trait Defaults: Sized {
    /// A registry of every backend built in, with no configuration.
    ///
    /// On macOS and Windows there is no `local`, so there is no default backend: an address must name
    /// one, and the error for a bare name lists those there are.
    #[must_use]
    fn with_defaults() -> Self;

    /// The same with the user's configuration file, if there is one ([`Config::default_path`]).
    ///
    /// # Errors
    /// `ConfigInvalid` for a file that is not understood.
    fn from_environment() -> Result<Self>;
}

impl Defaults for Registry {
    fn with_defaults() -> Self {
        let mut registry = Self::new();
        pod_core::mem::register(&mut registry);
        #[cfg(feature = "docker")]
        pod_docker::register(&mut registry);
        #[cfg(feature = "k8s")]
        pod_k8s::register(&mut registry);
        #[cfg(all(feature = "local", target_os = "linux"))]
        pod_local::register(&mut registry);
        registry
    }

    fn from_environment() -> Result<Self> {
        let config = match Config::default_path() {
            Some(path) => Config::load(&path)?,
            None => Config::default(),
        };
        Ok(Self::with_defaults().with_config(config))
    }
}

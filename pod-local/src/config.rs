//! How a `local:` backend is chosen and where it keeps its things.

use crate::store::Store;
use pod_core::{BackendUri, Error, ErrorKind, Result};
use std::path::PathBuf;

/// The scheme of this backend.
pub const SCHEMES: &[&str] = &["local"];

/// The configuration of a `local:` backend.
///
/// ```
/// let uri: pod_core::BackendUri = "local:?root=/srv/pod".parse()?;
/// let config = pod_local::LocalConfig::from_uri(&uri)?;
/// assert_eq!(config.root.as_deref(), Some(std::path::Path::new("/srv/pod")));
/// # Ok::<(), pod_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalConfig {
    /// An instance with a folder of its own, apart from all others; `None` is this machine's, under
    /// `/run/pod` and `/var/lib/pod`. Option `root`, else `POD_LOCAL_ROOT`.
    pub root: Option<PathBuf>,
}

impl LocalConfig {
    /// Reads the options of an address, then the environment.
    ///
    /// # Errors
    /// `ConfigInvalid` for an authority, an unknown option, or a `root` that is not absolute.
    pub fn from_uri(uri: &BackendUri) -> Result<Self> {
        let bad = |message: &str| {
            Error::new(ErrorKind::ConfigInvalid, message.to_owned()).with_context("address", uri.to_string())
        };
        if uri.authority().is_some() {
            return Err(bad("`local:` is this machine and has no other endpoint").with_hint("write local:NAME"));
        }
        uri.check_options(&["root"])?;
        let root = match uri.option("root") {
            Some(root) => Some(PathBuf::from(root)),
            None => std::env::var_os("POD_LOCAL_ROOT").filter(|r| !r.is_empty()).map(PathBuf::from),
        };
        if root.as_ref().is_some_and(|r| !r.is_absolute() || r.parent().is_none()) {
            return Err(bad("`root` is an absolute path of a folder, not / itself"));
        }
        Ok(Self { root })
    }

    /// Keeps everything under `root`.
    #[must_use]
    pub fn with_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(self.root.as_deref())
    }
}

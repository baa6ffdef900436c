//! The configuration file, `~/.config/pod/config.toml`: named backends and the default one.
//!
//! ```toml
//! default = "lab"
//!
//! [backends]
//! lab = "docker://lab.example:2376"
//! ```

use crate::{BackendUri, Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the configuration file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The backend that bare names mean: a name of `backends`, or an address.
    pub default: Option<String>,
    /// Names for backends: `lab` makes `lab:web` an address.
    pub backends: BTreeMap<String, BackendUri>,
}

impl Config {
    /// Where the file is: `POD_CONFIG`, else `pod/config.toml` under `XDG_CONFIG_HOME` or `~/.config`
    /// (XDG Base Directory Specification 0.8). `None` when no home is known.
    #[must_use]
    pub fn default_path() -> Option<PathBuf> {
        if let Some(path) = std::env::var_os("POD_CONFIG").filter(|p| !p.is_empty()) {
            return Some(path.into());
        }
        std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
            .or_else(|| std::env::home_dir().map(|h| h.join(".config")))
            .map(|dir| dir.join("pod/config.toml"))
    }

    /// Reads the file at `path`; an absent file is an empty configuration.
    ///
    /// # Errors
    /// `ConfigInvalid` with the file's line for anything that is not understood.
    pub fn load(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => {
                return Err(Error::io("read the configuration", e).with_context("path", path.display().to_string()));
            }
        };
        Self::parse(&text).map_err(|e| e.with_context("path", path.display().to_string()))
    }

    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|e| {
            Error::new(
                ErrorKind::ConfigInvalid,
                format!("the configuration is not understood: {}", e.to_string().trim()),
            )
        })?;
        for name in config.backends.keys() {
            BackendUri::new(name).map_err(|e| e.with_context("backend", name))?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused() {
        assert!(Config::parse("[backends]\nlab = \"docker:\"").is_ok());
        for bad in ["defualt = 'x'", "[backends]\n\"a b\" = 'local:'", "[backends]\nx = 'nothing'"] {
            assert_eq!(Config::parse(bad).map_err(|e| e.kind()), Err(ErrorKind::ConfigInvalid), "{bad}");
        }
    }

    #[test]
    fn an_absent_file_is_an_empty_configuration() {
        assert_eq!(Config::load(Path::new("/nonexistent/pod.toml")).ok(), Some(Config::default()));
    }
}

//! Where the user's own Docker is: its contexts, as `docker context` keeps them.
//!
//! A context is two files below `~/.docker/contexts` (or `DOCKER_CONFIG`): `meta/ID/meta.json` says where
//! the daemon listens, `tls/ID/docker` holds the certificates; `ID` is the SHA-256 of the context's name
//! (docker/cli, `cli/context/store`).

use super::endpoint::{Endpoint, Tls};
use super::tls::Certificates;
use pod_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The context that means: no context.
pub(crate) const DEFAULT: &str = "default";

/// What Docker's own client reads of its configuration that matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClientConfig {
    pub(crate) current_context: Option<String>,
    pub(crate) auths: std::collections::BTreeMap<String, Auth>,
    pub(crate) cred_helpers: std::collections::BTreeMap<String, String>,
    pub(crate) creds_store: Option<String>,
}

impl ClientConfig {
    /// Reads a file; a missing one says nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for a file that is not understood.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(not_read(path, e)),
        };
        // The file may hold a login: what is wrong with it is told by place, never by its text.
        serde_json::from_slice(&text).map_err(|e| {
            Error::new(ErrorKind::ConfigInvalid, "a file of Docker's client is not understood")
                .with_context("file", path.display().to_string())
                .with_context("line", e.line().to_string())
        })
    }
}

/// A login that stands in the file itself.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Auth {
    pub(crate) auth: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) identitytoken: Option<String>,
    pub(crate) registrytoken: Option<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(…)")
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    name: String,
    #[serde(default)]
    endpoints: std::collections::BTreeMap<String, MetaEndpoint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MetaEndpoint {
    host: String,
    #[serde(rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// The user's folder of Docker's client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder(pub(crate) PathBuf);

fn not_read(path: &Path, e: std::io::Error) -> Error {
    Error::io("a file of Docker's client can't be read", e).with_context("file", path.display().to_string())
}

impl Folder {
    /// `DOCKER_CONFIG`, else `~/.docker`.
    pub(crate) fn of_user() -> Option<Self> {
        let own = std::env::var_os("DOCKER_CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = || std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
        own.or_else(|| home().filter(|v| !v.is_empty()).map(|h| PathBuf::from(h).join(".docker"))).map(Self)
    }

    /// The file `config.json`; a missing one says nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for a file that is not understood.
    pub(crate) fn config(&self) -> Result<ClientConfig> {
        ClientConfig::read(&self.file())
    }

    /// Where `config.json` is.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// The names of the contexts there are.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join("contexts/meta")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|e| std::fs::read(e.path().join("meta.json")).ok())
            .filter_map(|text| serde_json::from_slice::<Meta>(&text).ok())
            .map(|meta| meta.name)
            .collect();
        names.push(DEFAULT.to_owned());
        names.sort();
        names
    }

    /// Where the daemon of a context listens.
    ///
    /// # Errors
    /// `ConfigInvalid` for a context that there is not, naming those there are, or that is not understood.
    pub(crate) fn context(&self, name: &str) -> Result<Endpoint> {
        let id: String = Sha256::digest(name.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let path = self.0.join("contexts/meta").join(&id).join("meta.json");
        let bad = |why: &str| {
            Error::new(ErrorKind::ConfigInvalid, why.to_owned())
                .with_context("context", name)
                .with_context("file", path.display().to_string())
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::ConfigInvalid, format!("Docker has no context {name:?}"))
                    .with_hint(format!("there are: {}", self.names().join(", "))));
            }
            Err(e) => return Err(not_read(&path, e)),
        };
        let meta: Meta =
            serde_json::from_slice(&text).map_err(|e| bad("the context is not understood").with_source(e))?;
        let endpoint = meta.endpoints.get("docker").ok_or_else(|| bad("the context names no Docker daemon"))?;
        if endpoint.skip_tls_verify {
            return Err(bad("the context leaves the daemon's certificate unchecked, which is not done here")
                .with_hint("give the context the daemon's ca.pem: `docker context update`"));
        }
        let certificates = self.0.join("contexts/tls").join(&id).join("docker");
        Endpoint::parse(&endpoint.host, |_, https| {
            let has = certificates.is_dir();
            Ok(if has || https { Tls::Use(Certificates::new(&certificates)) } else { Tls::Off })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, meta: &str) -> (tempfile::TempDir, Folder, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let id: String = Sha256::digest(name.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let of = dir.path().join("contexts/meta").join(&id);
        std::fs::create_dir_all(&of).expect("folders");
        std::fs::write(of.join("meta.json"), meta).expect("a file");
        let tls = dir.path().join("contexts/tls").join(&id).join("docker");
        let folder = Folder(dir.path().to_owned());
        (dir, folder, tls)
    }

    #[test]
    fn contexts_are_read() {
        let meta =
            r#"{"Name":"lab","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://lab:2376","SkipTLSVerify":false}}}"#;
        let (_dir, folder, tls) = folder("lab", meta);
        assert_eq!(folder.context("lab").expect("a context").to_string(), "tcp://lab:2376");
        assert!(matches!(folder.context("lab"), Ok(Endpoint::Tcp { tls: None, .. })));
        std::fs::create_dir_all(&tls).expect("a folder");
        assert!(matches!(folder.context("lab"), Ok(Endpoint::Tcp { tls: Some(_), .. })));
        let e = folder.context("none").expect_err("no such context");
        assert_eq!(e.kind(), ErrorKind::ConfigInvalid);
        assert!(e.hint().is_some_and(|h| h.contains("default, lab")), "{e}");
    }

    #[test]
    fn a_context_without_checks_is_refused() {
        let meta = r#"{"Name":"x","Endpoints":{"docker":{"Host":"tcp://x:2376","SkipTLSVerify":true}}}"#;
        let (_dir, folder, _) = folder("x", meta);
        assert_eq!(folder.context("x").map_err(|e| e.kind()), Err(ErrorKind::ConfigInvalid));
    }

    #[test]
    fn a_configuration_that_is_not_understood_is_not_repeated() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(Folder(dir.path().to_owned()).config().expect("none").current_context.is_none());
        std::fs::write(dir.path().join("config.json"), r#"{"auths":{"r":{"auth":"c2VjcmV0"}}, 7}"#).expect("a file");
        let e = Folder(dir.path().to_owned()).config().expect_err("bad JSON");
        assert!(!format!("{e:?}").contains("c2VjcmV0"), "{e:?}");
    }
}

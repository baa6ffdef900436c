//! How a `docker:` or `podman:` backend is chosen: the daemon's endpoint, and what its options say.

use crate::engine::context::{DEFAULT, Folder};
use crate::engine::endpoint::{Endpoint, PLAIN_PORT, Tls, host_and_port};
use crate::engine::tls::Certificates;
use pod_core::{BackendUri, Error, ErrorKind, Image, Result};
use std::path::PathBuf;

/// The schemes of this backend. Both speak Docker's API; they differ in where the daemon is looked for
/// when no endpoint is named.
pub const SCHEMES: &[&str] = &["docker", "podman"];

/// The options that an address may carry.
const OPTIONS: &[&str] = &["cert_path", "config", "context", "image", "owner", "plugin", "pull", "socket", "tls"];

/// Where Docker's daemon listens unless told otherwise.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// Where Podman's service listens for root.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Pull {
    /// Each time.
    Always,
    /// When the daemon has none.
    #[default]
    Missing,
    /// Never: the daemon must have it.
    Never,
}

impl Pull {
    fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Missing => "missing",
            Self::Never => "never",
        }
    }
}

/// What makes the interfaces of networks with an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Plugin {
    /// macvlan: each workload has a MAC address of its own.
    #[default]
    Macvlan,
    /// ipvlan: all have the uplink's MAC address, for networks that take but one of a port.
    Ipvlan,
}

impl Plugin {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }
}

/// Which program is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Flavor {
    /// Docker: `DOCKER_HOST`, the current context, `/var/run/docker.sock`, or a rootless socket.
    #[default]
    Docker,
    /// Podman: `CONTAINER_HOST`, the user's own socket, or root's.
    Podman,
}

impl Flavor {
    fn scheme(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// The configuration of a `docker:` or `podman:` backend.
///
/// `docker:WORKLOAD` is the default endpoint; `docker://HOST[:PORT]/WORKLOAD` a daemon behind TCP, by TLS
/// unless the port is 2375 or `tls=false`; `docker:WORKLOAD?socket=PATH` a unix socket;
/// `docker:WORKLOAD?context=NAME` one of Docker's contexts.
///
/// The default of `docker:` is what Docker's own client takes: `DOCKER_HOST` with `DOCKER_TLS_VERIFY` and
/// `DOCKER_CERT_PATH`, else the context of `DOCKER_CONTEXT`, else the current one, else
/// `/var/run/docker.sock`, else the user's rootless `$XDG_RUNTIME_DIR/docker.sock`. That of `podman:` is
/// `CONTAINER_HOST`, else `$XDG_RUNTIME_DIR/podman/podman.sock`, else `/run/podman/podman.sock`.
///
/// ```
/// let uri: pod_core::BackendUri = "docker://build.lab:2376".parse()?;
/// let config = pod_docker::DockerConfig::from_uri(&uri)?;
/// assert_eq!(config.host.as_deref(), Some("build.lab:2376"));
/// # Ok::<(), pod_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DockerConfig {
    /// Which program is meant when no endpoint is named. The scheme.
    pub flavor: Flavor,
    /// The daemon's `HOST[:PORT]`; the authority.
    pub host: Option<String>,
    /// The daemon's unix socket, an absolute path. Option `socket`.
    pub socket: Option<PathBuf>,
    /// A context of Docker's client. Option `context`.
    pub context: Option<String>,
    /// Whether a TCP port speaks TLS; `None`: all but 2375. Option `tls`: `true`, `false`.
    pub tls: Option<bool>,
    /// The folder with `ca.pem`, `cert.pem` and `key.pem`; `None` is `DOCKER_CERT_PATH`, else `~/.docker`.
    /// Option `cert_path`.
    pub cert_path: Option<PathBuf>,
    /// The folder of Docker's client, with its contexts and its logins to registries; `None` is `DOCKER_CONFIG`,
    /// else `~/.docker`, and for Podman's logins first the files that `podman login` writes. Option `config`.
    pub config: Option<PathBuf>,
    /// The image of workloads that name none. Option `image`.
    pub image: Option<Image>,
    /// Whose things are made here; `None` is this machine's id and the user's number. `gc` touches only
    /// what this owner made. Option `owner`.
    pub owner: Option<String>,
    /// When images are pulled; when missing unless told. Option `pull`: `always`, `missing`, `never`.
    pub pull: Pull,
    /// What makes the interfaces of networks with an uplink; macvlan unless told. Option `plugin`: `macvlan`,
    /// `ipvlan`.
    pub plugin: Plugin,
}

fn bad(uri: &BackendUri, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConfigInvalid, message).with_context("address", uri.to_string())
}

impl DockerConfig {
    /// Reads a backend's address; the environment is read when the daemon is reached.
    ///
    /// # Errors
    /// `ConfigInvalid` for an unknown option, one whose value is none, two endpoints, or a path.
    pub fn from_uri(uri: &BackendUri) -> Result<Self> {
        uri.check_options(OPTIONS)?;
        if !uri.path().is_empty() {
            return Err(bad(uri, "a backend's address names no workload").with_context("path", uri.path()));
        }
        let flavor = match uri.scheme() {
            "docker" => Flavor::Docker,
            "podman" => Flavor::Podman,
            _ => return Err(bad(uri, "the scheme is docker or podman")),
        };
        let named = |key: &str| -> Result<Option<String>> {
            match uri.option(key) {
                Some("") => Err(bad(uri, format!("the option {key:?} is empty"))),
                other => Ok(other.map(str::to_owned)),
            }
        };
        let folder = |key: &str| -> Result<Option<PathBuf>> {
            match named(key)?.map(PathBuf::from) {
                Some(path) if !path.is_absolute() => Err(bad(uri, format!("the option {key:?} is no absolute path"))),
                other => Ok(other),
            }
        };
        let host = uri.authority().map(str::to_owned);
        if let Some(host) = &host {
            host_and_port(host).map_err(|e| bad(uri, e.message().to_owned()))?;
        }
        let (socket, context) = (folder("socket")?, named("context")?);
        if [host.is_some(), socket.is_some(), context.is_some()].iter().filter(|x| **x).count() > 1 {
            return Err(bad(uri, "the address names two daemons").with_hint("give a host, a socket or a context"));
        }
        let tls = match uri.option("tls") {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(bad(uri, "the option \"tls\" is true or false")),
        };
        let cert_path = folder("cert_path")?;
        let config = folder("config")?;
        if (socket.is_some() || context.is_some()) && (tls.is_some() || cert_path.is_some()) {
            return Err(bad(uri, "TLS is for a host: a socket has none, and a context says by itself"));
        }
        let owner = named("owner")?;
        if owner.as_deref().is_some_and(|o| o.len() > 100 || o.chars().any(|c| !c.is_ascii_graphic() || c == ',')) {
            return Err(bad(uri, "the option \"owner\" is at most 100 signs without white space or commas"));
        }
        let pull = match uri.option("pull") {
            None => Pull::default(),
            Some("always") => Pull::Always,
            Some("missing") => Pull::Missing,
            Some("never") => Pull::Never,
            Some(_) => return Err(bad(uri, "the option \"pull\" is always, missing or never")),
        };
        let plugin = match uri.option("plugin") {
            None => Plugin::default(),
            Some("macvlan") => Plugin::Macvlan,
            Some("ipvlan") => Plugin::Ipvlan,
            Some(_) => return Err(bad(uri, "the option \"plugin\" is macvlan or ipvlan")),
        };
        let image = match named("image")? {
            Some(text) => Some(text.parse::<Image>().map_err(|e| bad(uri, e.message().to_owned()))?),
            None => None,
        };
        Ok(Self { flavor, host, socket, context, tls, cert_path, config, image, owner, pull, plugin })
    }

    /// Uses the daemon at this unix socket.
    #[must_use]
    pub fn with_socket(mut self, socket: impl Into<PathBuf>) -> Self {
        self.socket = Some(socket.into());
        self
    }

    /// Takes contexts and logins from this folder of Docker's client.
    #[must_use]
    pub fn with_config(mut self, config: impl Into<PathBuf>) -> Self {
        self.config = Some(config.into());
        self
    }

    /// Takes this image for workloads that name none.
    #[must_use]
    pub fn with_image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// Marks what is made as this owner's.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Pulls images so.
    #[must_use]
    pub fn with_pull(mut self, pull: Pull) -> Self {
        self.pull = pull;
        self
    }

    /// Makes the interfaces of networks with an uplink so.
    #[must_use]
    pub fn with_plugin(mut self, plugin: Plugin) -> Self {
        self.plugin = plugin;
        self
    }

    /// The address that leads here.
    pub(crate) fn uri(&self) -> Result<BackendUri> {
        let text = match &self.host {
            Some(host) => format!("{}://{host}", self.flavor.scheme()),
            None => format!("{}:", self.flavor.scheme()),
        };
        let mut uri: BackendUri = text.parse()?;
        for (key, value) in [
            ("socket", self.socket.as_ref().map(|p| p.display().to_string())),
            ("context", self.context.clone()),
            ("tls", self.tls.map(|t| t.to_string())),
            ("cert_path", self.cert_path.as_ref().map(|p| p.display().to_string())),
            ("config", self.config.as_ref().map(|p| p.display().to_string())),
            ("image", self.image.as_ref().map(ToString::to_string)),
            ("owner", self.owner.clone()),
            ("pull", (self.pull != Pull::default()).then(|| self.pull.word().to_owned())),
            ("plugin", (self.plugin != Plugin::default()).then(|| self.plugin.word().to_owned())),
        ] {
            if let Some(value) = value {
                uri = uri.with_option(key, value);
            }
        }
        Ok(uri)
    }

    /// Where the daemon listens.
    ///
    /// # Errors
    /// `ConfigInvalid` for an address, a context or a configuration file that is not understood.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        let environment = |key: &str| std::env::var(key).ok().filter(|v| !v.is_empty());
        let folder = self.config.clone().map(Folder).or_else(Folder::of_user);
        self.endpoint_with(&environment, folder, &|path| std::path::Path::new(path).exists())
    }

    fn endpoint_with(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
        folder: Option<Folder>,
        exists: &dyn Fn(&str) -> bool,
    ) -> Result<Endpoint> {
        let certificates = || -> Result<Certificates> {
            let own = self.cert_path.clone().or_else(|| environment("DOCKER_CERT_PATH").map(PathBuf::from));
            let dir = own.or_else(|| folder.as_ref().map(|f| f.0.clone())).ok_or_else(|| {
                Error::new(ErrorKind::ConfigInvalid, "no folder of certificates is known")
                    .with_hint("set DOCKER_CERT_PATH, or give ?cert_path=DIR")
            })?;
            Ok(Certificates::new(dir))
        };
        if let Some(socket) = &self.socket {
            return Ok(Endpoint::Unix(socket.clone()));
        }
        if let Some(host) = &self.host {
            return Endpoint::parse(&format!("tcp://{host}"), |port, _| {
                let on = self.tls.unwrap_or(port != Some(PLAIN_PORT));
                Ok(if on { Tls::Use(certificates()?) } else { Tls::Off })
            });
        }
        let of_context = |name: &str| match &folder {
            Some(folder) => folder.context(name),
            None => Err(Error::new(ErrorKind::ConfigInvalid, "the user has no folder of Docker's client")
                .with_context("context", name)),
        };
        if let Some(context) = self.context.as_deref().filter(|c| *c != DEFAULT) {
            return of_context(context);
        }
        let from_variable = |key: &str| -> Option<Result<Endpoint>> {
            let text = environment(key)?;
            Some(Endpoint::parse(&text, |_, https| {
                let on = self.tls.unwrap_or(https || environment("DOCKER_TLS_VERIFY").is_some());
                Ok(if on { Tls::Use(certificates()?) } else { Tls::Off })
            }))
        };
        let runtime = environment("XDG_RUNTIME_DIR");
        let first = |places: Vec<String>, usual: &str| {
            Endpoint::Unix(places.into_iter().find(|p| exists(p)).unwrap_or_else(|| usual.to_owned()).into())
        };
        match self.flavor {
            Flavor::Docker => {
                if self.context.is_none() {
                    if let Some(endpoint) = from_variable("DOCKER_HOST") {
                        return endpoint;
                    }
                    let current = match environment("DOCKER_CONTEXT") {
                        Some(name) => Some(name),
                        None => match &folder {
                            Some(folder) => folder.config()?.current_context.filter(|c| !c.is_empty()),
                            None => None,
                        },
                    };
                    if let Some(name) = current.filter(|c| c != DEFAULT) {
                        return of_context(&name);
                    }
                }
                let mut places = vec![DOCKER_SOCKET.to_owned()];
                places.extend(runtime.map(|dir| format!("{dir}/docker.sock")));
                Ok(first(places, DOCKER_SOCKET))
            }
            Flavor::Podman => {
                if let Some(endpoint) = from_variable("CONTAINER_HOST") {
                    return endpoint;
                }
                let mut places: Vec<String> =
                    runtime.map(|dir| format!("{dir}/podman/podman.sock")).into_iter().collect();
                places.push(PODMAN_SOCKET.to_owned());
                Ok(first(places, PODMAN_SOCKET))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<DockerConfig> {
        DockerConfig::from_uri(&text.parse()?)
    }

    /// Where a config leads, with these variables and these sockets.
    fn leads(text: &str, variables: &[(&str, &str)], sockets: &[&str]) -> Result<String> {
        let environment = |key: &str| variables.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned());
        let endpoint = config(text)?.endpoint_with(&environment, None, &|p| sockets.contains(&p))?;
        let tls = match &endpoint {
            Endpoint::Tcp { tls: Some(c), .. } => format!(" tls {}", c.dir.display()),
            _ => String::new(),
        };
        Ok(format!("{endpoint}{tls}"))
    }

    #[test]
    fn addresses_name_daemons() {
        let certs = &[("DOCKER_CERT_PATH", "/certs")];
        for (text, variables, expected) in [
            ("docker:?socket=/run/d.sock", &[][..], "unix:///run/d.sock"),
            ("podman:?socket=/run/p.sock", &[], "unix:///run/p.sock"),
            ("docker://host:2376", certs, "tcp://host:2376 tls /certs"),
            ("docker://host", certs, "tcp://host:2376 tls /certs"),
            ("docker://host:2375", &[], "tcp://host:2375"),
            ("docker://host:4000?tls=false", &[], "tcp://host:4000"),
            ("docker://host:2375?tls=true&cert_path=/c", &[], "tcp://host:2375 tls /c"),
            ("docker://[fd00::1]:2375", &[], "tcp://[fd00::1]:2375"),
        ] {
            assert_eq!(leads(text, variables, &[]).ok().as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn the_default_is_that_of_each_program() {
        let runtime = ("XDG_RUNTIME_DIR", "/run/user/7");
        let remote = [("DOCKER_HOST", "tcp://a:2376"), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/c")];
        for (text, variables, sockets, expected) in [
            ("docker:", &[][..], &[][..], "unix:///var/run/docker.sock"),
            ("docker:", &[runtime], &["/run/user/7/docker.sock"], "unix:///run/user/7/docker.sock"),
            ("docker:", &[runtime], &["/run/user/7/docker.sock", DOCKER_SOCKET], "unix:///var/run/docker.sock"),
            ("docker:", &[("DOCKER_HOST", "unix:///d.sock")], &[], "unix:///d.sock"),
            ("docker:", &[("DOCKER_HOST", "tcp://a:2375")], &[], "tcp://a:2375"),
            ("docker:", &remote, &[], "tcp://a:2376 tls /c"),
            ("docker:?context=default", &[("DOCKER_HOST", "unix:///d.sock")], &[], "unix:///var/run/docker.sock"),
            ("podman:", &[("DOCKER_HOST", "unix:///d.sock")], &[], "unix:///run/podman/podman.sock"),
            ("podman:", &[runtime], &["/run/user/7/podman/podman.sock"], "unix:///run/user/7/podman/podman.sock"),
            ("podman:", &[("CONTAINER_HOST", "unix:///c.sock")], &[], "unix:///c.sock"),
        ] {
            assert_eq!(leads(text, variables, sockets).ok().as_deref(), Some(expected), "{text} {variables:?}");
        }
    }

    #[test]
    fn addresses_that_make_no_sense_are_refused() {
        for text in [
            "docker:?sokcet=/x",
            "docker:?socket=x",
            "docker:?socket=",
            "docker:?config=c",
            "docker:web",
            "docker://a:0",
            "docker://a:b",
            "docker://a?socket=/x",
            "docker:?socket=/x&context=y",
            "docker:?socket=/x&tls=true",
            "docker://a?tls=maybe",
            "docker:?pull=sometimes",
            "docker:?plugin=bridge",
            "docker:?owner=a,b",
            "docker:?image=a%20b",
        ] {
            assert_eq!(config(text).map_err(|e| e.kind()), Err(ErrorKind::ConfigInvalid), "{text}");
        }
        assert_eq!(
            leads("docker:", &[("DOCKER_HOST", "ssh://a")], &[]).map_err(|e| e.kind()),
            Err(ErrorKind::Unsupported)
        );
    }

    #[test]
    fn a_config_prints_the_address_that_leads_to_it() {
        for text in [
            "docker:",
            "podman:",
            "docker://host:2376?cert_path=/c",
            "docker:?context=lab&owner=me&pull=never",
            "docker:?plugin=ipvlan",
            "docker:?image=pod.test/busybox:1&socket=/run/d.sock",
            "docker://host:2375?tls=true",
            "podman:?config=/c",
        ] {
            let parsed = config(text).expect(text);
            let uri = parsed.uri().expect(text);
            assert_eq!(DockerConfig::from_uri(&uri).expect(text), parsed, "{text} is {uri}");
        }
    }
}

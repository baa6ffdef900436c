//! Where a daemon listens.

use super::tls::Certificates;
use pod_core::{Error, ErrorKind, Result};
use std::fmt;
use std::path::PathBuf;

/// The port of a daemon that speaks TLS (Docker's documentation, "Protect the Docker daemon socket").
pub(crate) const TLS_PORT: u16 = 2376;
/// The port of a daemon that speaks plain HTTP.
pub(crate) const PLAIN_PORT: u16 = 2375;

/// Where a daemon listens, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port; `tls` holds where the certificates are, `None` is plain HTTP.
    Tcp {
        /// The host's name or address, IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
        /// The certificates' folder, when the port speaks TLS.
        tls: Option<Certificates>,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

fn bad(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, format!("the daemon's address is not understood: {why}"))
        .with_context("address", text)
        .with_hint("unix:///PATH or tcp://HOST:PORT")
}

/// Splits `HOST[:PORT]`, IPv6 in brackets.
///
/// # Errors
/// `ConfigInvalid` for an empty host or a port that is none.
pub(crate) fn host_and_port(text: &str) -> Result<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| bad(text, "a bracket is not closed"))?;
            match rest {
                "" => (host, None),
                rest => (host, Some(rest.strip_prefix(':').ok_or_else(|| bad(text, "what follows the bracket"))?)),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        return Err(bad(text, "it names no host"));
    }
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 => Some(number),
            _ => return Err(bad(text, "a port is a number from 1 to 65535")),
        },
    };
    Ok((host.to_owned(), port))
}

/// Whether a TCP port is spoken to by TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tls {
    /// With these certificates.
    Use(Certificates),
    /// In plain text.
    Off,
}

impl Endpoint {
    /// Reads an address as `DOCKER_HOST` holds it. `tls` is asked for TCP only, with the port or `None`.
    ///
    /// # Errors
    /// `ConfigInvalid` for what is no address; `Unsupported` for ssh and named pipes; what `tls` gives.
    pub(crate) fn parse(text: &str, tls: impl FnOnce(Option<u16>, bool) -> Result<Tls>) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad(text, "it has no scheme"))?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => Err(bad(text, "the socket's path is not absolute")),
            "tcp" | "http" | "https" => {
                let rest = rest.strip_suffix('/').unwrap_or(rest);
                let (host, port) = host_and_port(rest)?;
                let tls = tls(port, scheme == "https")?;
                let usual = if tls == Tls::Off { PLAIN_PORT } else { TLS_PORT };
                let tls = match tls {
                    Tls::Use(certificates) => Some(certificates),
                    Tls::Off => None,
                };
                Ok(Self::Tcp { host, port: port.unwrap_or(usual), tls })
            }
            "ssh" => Err(Error::unsupported("a daemon behind ssh can't be reached directly")
                .with_context("address", text)
                .with_hint("forward its socket, `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`, and use docker:?socket=/tmp/docker.sock")),
            "npipe" => Err(Error::unsupported("a daemon behind a named pipe can't be reached").with_context("address", text)),
            _ => Err(bad(text, "its scheme is unknown")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(_: Option<u16>, _: bool) -> Result<Tls> {
        Ok(Tls::Off)
    }

    #[test]
    fn addresses_are_read() {
        for (text, printed) in [
            ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("tcp://host:2375", "tcp://host:2375"),
            ("tcp://host", "tcp://host:2375"),
            ("http://10.0.0.1:80/", "tcp://10.0.0.1:80"),
            ("tcp://[fd00::1]:2375", "tcp://[fd00::1]:2375"),
        ] {
            assert_eq!(Endpoint::parse(text, plain).expect(text).to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "host:2375",
            "unix://docker.sock",
            "tcp://",
            "tcp://:1",
            "tcp://a:0",
            "tcp://a:x",
            "tcp://[::1",
            "fd://",
        ] {
            assert_eq!(Endpoint::parse(text, plain).map_err(|e| e.kind()), Err(ErrorKind::ConfigInvalid), "{text}");
        }
        for text in ["ssh://me@host", "npipe:////./pipe/docker_engine"] {
            assert_eq!(Endpoint::parse(text, plain).map_err(|e| e.kind()), Err(ErrorKind::Unsupported), "{text}");
        }
    }
}

//! Ports of a workload on the machine that it runs on.

use crate::{Error, Result};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its name, `tcp` or `udp`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(Error::invalid("that is no protocol")
                .with_context("protocol", format!("{s:?}"))
                .with_hint("tcp or udp")),
        }
    }
}

/// A port of a workload, published on the machine that the engine runs on while the workload runs. Needs
/// `lifecycle.ports`, and on a workload with networks `lifecycle.ports_on_networks`.
///
/// As text it is `[[ADDRESS:]PORT:]INSIDE[/tcp|/udp]`. Without an address it is the machine's loopback,
/// 127.0.0.1: what every address answers on is said, as `0.0.0.0:8080:80`, because engines let published
/// ports past a host's own firewall.
///
/// ```
/// use pod_core::PublishedPort;
/// let port: PublishedPort = "8080:80".parse()?;
/// assert_eq!(port.to_string(), "127.0.0.1:8080:80/tcp");
/// # Ok::<(), pod_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct PublishedPort {
    /// The address of the machine; `0.0.0.0` and `::` are all of their family.
    pub address: IpAddr,
    /// The port of the machine; 0 is a free one, chosen at each start.
    pub host_port: u16,
    /// The port inside, 1 or more.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
}

impl PublishedPort {
    /// Publishes a TCP port of the workload at a free port of the machine's loopback.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), host_port: 0, port, protocol: Protocol::Tcp }
    }

    /// Publishes it at this address and port of the machine; port 0 is a free one.
    #[must_use]
    pub fn with_host(mut self, host: SocketAddr) -> Self {
        (self.address, self.host_port) = (host.ip(), host.port());
        self
    }

    /// Sets what it speaks.
    #[must_use]
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// The address and port of the machine.
    #[must_use]
    pub fn host(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.host_port)
    }
}

/// `ADDRESS:PORT:INSIDE/PROTOCOL`, an IPv6 address in brackets.
impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.host(), self.port, self.protocol)
    }
}

impl FromStr for PublishedPort {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let bad = || {
            Error::invalid("that is no port to publish")
                .with_context("given", format!("{s:?}"))
                .with_hint("write 80, 8080:80, 0.0.0.0:8080:80 or [::1]:53:53/udp; port 0 of the host is a free one")
        };
        let (rest, protocol) = match s.rsplit_once('/') {
            Some((rest, protocol)) => (rest, protocol.parse()?),
            None => (s, Protocol::Tcp),
        };
        // `u16` would take a sign.
        let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse::<u16>().map_err(|_| bad()),
            false => Err(bad()),
        };
        let (host, inside) = rest.rsplit_once(':').map_or((None, rest), |(host, inside)| (Some(host), inside));
        let mut port = Self::new(number(inside)?).with_protocol(protocol);
        if let Some(host) = host {
            let (address, host_port) = host.rsplit_once(':').map_or((None, host), |(a, p)| (Some(a), p));
            port.host_port = number(host_port)?;
            if let Some(address) = address {
                let inner = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
                port.address = match inner {
                    Some(inner) => IpAddr::V6(inner.parse().map_err(|_| bad())?),
                    None => IpAddr::V4(address.parse().map_err(|_| bad())?),
                };
            }
        }
        if port.port == 0 { Err(bad()) } else { Ok(port) }
    }
}

impl serde::Serialize for PublishedPort {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for PublishedPort {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Checks all ports of a workload.
///
/// # Errors
/// `InvalidInput` names a port inside of 0, and two at the same port of the machine.
pub(crate) fn validate(ports: &[PublishedPort]) -> Result<()> {
    for (i, port) in ports.iter().enumerate() {
        if port.port == 0 {
            return Err(Error::invalid("a port inside is 1 or more").with_context("port", port.to_string()));
        }
        let same = |p: &&PublishedPort| p.host_port != 0 && (p.host(), p.protocol) == (port.host(), port.protocol);
        if let Some(other) = ports[..i].iter().find(same) {
            return Err(Error::invalid("two ports are published at the same port of the machine")
                .with_context("port", port.to_string())
                .with_context("other", other.to_string())
                .with_hint("give one of them another, or 0 for a free one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(text: &str) -> PublishedPort {
        text.parse().expect(text)
    }

    #[test]
    fn they_are_read_and_printed() {
        for (text, whole) in [
            ("80", "127.0.0.1:0:80/tcp"),
            ("8080:80", "127.0.0.1:8080:80/tcp"),
            ("0:53/udp", "127.0.0.1:0:53/udp"),
            ("0.0.0.0:8080:80", "0.0.0.0:8080:80/tcp"),
            ("[::1]:8080:80/tcp", "[::1]:8080:80/tcp"),
        ] {
            assert_eq!(port(text).to_string(), whole, "{text}");
            assert_eq!(port(whole), port(text), "{whole}");
        }
        for bad in [
            "",
            "0",
            ":80",
            "80:",
            "8080:",
            "+1",
            "65536",
            "a:80",
            "::1:8080:80",
            "[1.2.3.4]:1:80",
            "1:2:3:4",
            "80/sctp",
            "80/",
            "localhost:8080:80",
        ] {
            assert!(bad.parse::<PublishedPort>().is_err(), "{bad}");
        }
        let read: PublishedPort = serde_json::from_str(r#""8080:80""#).expect("a port");
        assert_eq!(serde_json::to_string(&read).expect("JSON"), r#""127.0.0.1:8080:80/tcp""#);
    }

    #[test]
    fn a_port_of_the_machine_is_given_once() {
        assert!(validate(&[port("80"), port("80"), port("53:53"), port("53:53/udp"), port("[::1]:53:53")]).is_ok());
        let twice = validate(&[port("8080:80"), port("8080:81")]).expect_err("the same");
        assert!(twice.to_string().contains("127.0.0.1:8080:80"), "{twice}");
        assert!(validate(&[PublishedPort::new(0)]).is_err());
    }
}

//! Values that take more than one word to describe.

use jiff::{SignedDuration, Timestamp};
use pod::{
    AttachMode, AttachmentSpec, Error, Labels, Mount, MountSource, NetworkName, PolicyRule, Result, Route, VolumeName,
};
use std::ffi::OsStr;
use std::str::FromStr;
use std::time::Duration;

/// Reads a time span such as `1s`, `1m 30s` or `500ms`; a bare number is seconds.
pub(crate) fn duration(s: &str) -> Result<Duration> {
    let bad = || {
        Error::invalid("that is no time span")
            .with_context("given", format!("{s:?}"))
            .with_hint("write 500ms, 10s, 1m30s or 2h")
    };
    if let Ok(seconds) = s.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| bad());
    }
    let span: SignedDuration = s.parse().map_err(|_| bad())?;
    Duration::try_from(span).map_err(|_| bad())
}

/// Reads a size such as `64M`.
pub(crate) fn size(s: &str) -> Result<u64> {
    pod::size::parse(s)
}

/// Reads how many things to do at once: 1 to 1,024.
pub(crate) fn jobs(s: &str) -> Result<usize> {
    s.parse().ok().filter(|n| (1..=1024).contains(n)).ok_or_else(|| {
        Error::invalid("that many can't be done at once").with_context("given", format!("{s:?}")).with_hint("1 to 1024")
    })
}

/// The bytes of a sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys(pub(crate) Vec<u8>);

/// Reads keys with commas between: a letter, or `ctrl-` and one of `a` to `z`, `@`, `[`, `\\`, `]`, `^`,
/// `_`.
pub(crate) fn keys(s: &str) -> Result<Keys> {
    let bad = |key: &str| {
        Error::invalid("that is no key").with_context("given", format!("{key:?}")).with_hint("write ctrl-p,ctrl-q")
    };
    let one = |key: &str| match (key.strip_prefix("ctrl-").map(str::as_bytes), key.as_bytes()) {
        (Some([c @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]), _) => Ok(c.to_ascii_uppercase() - b'@'),
        (None, [c @ b'!'..=b'~']) => Ok(*c),
        _ => Err(bad(key)),
    };
    s.split(',').filter(|_| !s.is_empty()).map(one).collect::<Result<_>>().map(Keys)
}

/// `KEY=VALUE`, or `KEY` with the value it has in our own environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvArg {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for EnvArg {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let (key, value) = match s.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None => match std::env::var(OsStr::new(s)) {
                Ok(value) => (s, value),
                Err(_) => {
                    return Err(Error::invalid(format!("{s:?} is not set in our own environment"))
                        .with_hint("write KEY=VALUE to set it here"));
                }
            },
        };
        if key.is_empty() {
            return Err(Error::invalid("the variable has no name").with_hint("write KEY=VALUE"));
        }
        Ok(Self { key: key.to_owned(), value })
    }
}

/// `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabelArg {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for LabelArg {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let (key, value) = s
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Error::invalid("a label is KEY=VALUE").with_context("given", format!("{s:?}")))?;
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// A point in time: RFC 3339, or a time span before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SinceArg(pub(crate) Timestamp);

impl FromStr for SinceArg {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        if let Ok(time) = s.parse::<Timestamp>() {
            return Ok(Self(time));
        }
        let bad = || {
            Error::invalid("that is no point in time")
                .with_context("given", format!("{s:?}"))
                .with_hint("write 2026-01-31T12:00:00Z, or a time span before now such as 10m")
        };
        let ago = duration(s).map_err(|_| bad())?;
        Timestamp::now().checked_sub(ago).map(Self).map_err(|_| bad())
    }
}

/// `NETWORK`, or `NETWORK:KEY=VALUE,…` with the keys `ip`, `mac`, `mtu`, `interface`, `trunk`,
/// `route` and `dns`.
pub(crate) fn attachment(s: &str) -> Result<AttachmentSpec> {
    let (network, options) = s.split_once(':').unwrap_or((s, ""));
    let mut spec = AttachmentSpec::new(NetworkName::new(network)?);
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let (key, value) = option.split_once('=').ok_or_else(|| {
            Error::invalid("an option of a network is KEY=VALUE").with_context("option", format!("{option:?}"))
        })?;
        let number = |e: std::num::ParseIntError| Error::invalid("that is no number").with_source(e);
        match key {
            "ip" => spec.ips.push(address(value)?),
            "dns" => spec.dns.push(address(value)?),
            "mac" => spec.mac = Some(value.parse()?),
            "mtu" => spec.mtu = Some(value.parse().map_err(number)?),
            "interface" => spec.interface = Some(value.parse()?),
            "trunk" => {
                let ids = value.split('+').map(str::parse).collect::<Result<Vec<_>>>()?;
                spec.mode = AttachMode::Trunk(ids);
            }
            "route" => spec.routes.push(route(value)?),
            _ => {
                return Err(Error::invalid(format!("a network has no option {key:?}"))
                    .with_hint("ip, mac, mtu, interface, trunk, route and dns"));
            }
        }
    }
    Ok(spec)
}

/// Reads `SOURCE:PLACE`, with `:ro` behind for one that can't be written to. A source with a slash or a dot
/// at its beginning is a path, which counts from our own directory; any other is a volume's name.
pub(crate) fn mount(s: &str) -> Result<Mount> {
    let bad = || {
        Error::invalid("a mount is SOURCE:PLACE or SOURCE:PLACE:ro")
            .with_context("given", format!("{s:?}"))
            .with_hint("write /srv/site:/data, ./site:/data:ro or a volume's name, data:/data; --tmpfs mounts memory")
    };
    let (rest, read_only) = s.strip_suffix(":ro").map_or((s, false), |rest| (rest, true));
    let (source, place) = rest.split_once(':').filter(|(_, place)| !place.contains(':')).ok_or_else(bad)?;
    if source.contains('/') && !source.starts_with(['/', '.']) {
        // Most likely a path, and no volume has such a name.
        return Err(bad());
    }
    let source = if source.starts_with(['/', '.']) {
        let path = std::path::absolute(source).map_err(|e| Error::io("our own directory is not known", e))?;
        MountSource::Host(path.into_os_string().into_string().map_err(|_| bad())?)
    } else {
        MountSource::Volume(VolumeName::new(source)?)
    };
    Ok(Mount::new(source, place).with_read_only(read_only))
}

/// Reads `PLACE:SIZE`.
pub(crate) fn tmpfs(s: &str) -> Result<Mount> {
    let (place, bytes) = s.rsplit_once(':').ok_or_else(|| {
        Error::invalid("a tmpfs is PLACE:SIZE")
            .with_context("given", format!("{s:?}"))
            .with_hint("write /tmp:64M: without a size it could take all memory")
    })?;
    Ok(Mount::new(MountSource::Tmpfs(size(bytes)?), place))
}

/// Reads a subnet.
pub(crate) fn subnet(s: &str) -> Result<ipnet::IpNet> {
    s.parse().map_err(|_| {
        Error::invalid("that is no subnet")
            .with_context("given", format!("{s:?}"))
            .with_hint("write an address and a prefix length, such as 10.1.0.0/24 or fd01::/64")
    })
}

/// Reads an IP address without a prefix length.
pub(crate) fn address(s: &str) -> Result<std::net::IpAddr> {
    s.parse().map_err(|e: std::net::AddrParseError| {
        Error::invalid("that is no IP address").with_context("given", format!("{s:?}")).with_source(e)
    })
}

/// Reads `DESTINATION@NEXTHOP`, or `DESTINATION` alone for one on the link; `default` is every
/// address of the next hop's family.
pub(crate) fn route(s: &str) -> Result<Route> {
    let (to, via) = match s.split_once('@') {
        Some((to, via)) => (to, Some(address(via)?)),
        None => (s, None),
    };
    let to = match (to, via) {
        ("default", Some(std::net::IpAddr::V6(_))) => "::/0",
        ("default", _) => "0.0.0.0/0",
        (to, _) => to,
    };
    let to = to.parse().map_err(|e: ipnet::AddrParseError| {
        Error::invalid("a route is DESTINATION/LENGTH@NEXTHOP").with_context("given", format!("{s:?}")).with_source(e)
    })?;
    Ok(Route { to, via })
}

/// `NAME=ADDRESS`, a host name that a workload shall know.
pub(crate) fn host(s: &str) -> Result<(String, std::net::IpAddr)> {
    let (name, ip) = s
        .split_once('=')
        .ok_or_else(|| Error::invalid("a host is NAME=ADDRESS").with_context("given", format!("{s:?}")))?;
    Ok((pod::WorkloadName::new(name)?.into(), address(ip)?))
}

/// `allow FROM -> TO` or `deny FROM -> TO`, where FROM and TO are `*` or `KEY=VALUE,…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleArg(pub(crate) PolicyRule);

impl FromStr for RuleArg {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let bad = || {
            Error::invalid("that is no rule")
                .with_context("given", format!("{s:?}"))
                .with_hint("write 'allow app=web -> app=db' or 'deny * -> *'")
        };
        let (verb, rest) = s.trim().split_once(char::is_whitespace).ok_or_else(bad)?;
        let allow = match verb {
            "allow" => true,
            "deny" => false,
            _ => return Err(bad()),
        };
        let (from, to) = rest.split_once("->").ok_or_else(bad)?;
        Ok(Self(PolicyRule::new(selector(from)?, selector(to)?, allow)))
    }
}

fn selector(s: &str) -> Result<Labels> {
    match s.trim() {
        "*" => Ok(Labels::new()),
        list => list.split(',').map(|pair| pair.trim().parse::<LabelArg>().map(|l| (l.key, l.value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans() {
        for (text, millis) in
            [("1s", 1000), ("500ms", 500), ("1m30s", 90_000), ("2", 2000), ("0.5", 500), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text).ok(), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "x", "-1s", "-3", "1 parsec"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn attachments_have_options() {
        let a = attachment("red:ip=10.0.0.5,ip=fd00::5,mac=02:00:00:00:00:05,mtu=1400,interface=lan0").expect("good");
        assert_eq!(a.network.as_str(), "red");
        assert_eq!(a.ips.len(), 2);
        assert_eq!(a.mtu, Some(1400));
        assert!(matches!(attachment("t:trunk=100+200").expect("good").mode, AttachMode::Trunk(ids) if ids.len() == 2));
        for bad in ["", "red:ip", "red:ip=x", "red:color=blue", "red:mac=1", "t:trunk=4095", "red:ip=10.0.0.5/24"] {
            assert!(attachment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts_are_read() {
        let read = |s: &str| mount(s).map(|m| m.to_string()).expect(s);
        assert_eq!(read("/srv/a b:/data"), "/srv/a b at /data");
        assert_eq!(read("data:/data:ro"), "data at /data, read-only");
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(read("./site:/data"), format!("{}/site at /data", here.display()));
        assert_eq!(tmpfs("/tmp:64M").expect("good").to_string(), "tmpfs of 64.0 MiB at /tmp");
        for bad in ["", "/data", "a/b:/data", ":/data", "/a:/b:/c", "/a:/b:rx"] {
            assert!(mount(bad).is_err(), "{bad}");
        }
        for bad in ["/tmp", "/tmp:", "/tmp:much"] {
            assert!(tmpfs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn routes_and_rules() {
        assert_eq!(route("default@10.0.0.1").expect("good").to.to_string(), "0.0.0.0/0");
        assert_eq!(route("default@fd00::1").expect("good").to.to_string(), "::/0");
        assert!(route("10.0.0.0").is_err());
        let rule: RuleArg = "deny app=web, tier=1 -> *".parse().expect("good");
        assert!(!rule.0.allow && rule.0.from.len() == 2 && rule.0.to.is_empty());
        for bad in ["", "deny", "drop * -> *", "allow a=b", "allow a -> b"] {
            assert!(bad.parse::<RuleArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_bytes() {
        assert_eq!(keys("ctrl-p,ctrl-q").expect("good").0, [16, 17]);
        assert_eq!(keys("a,ctrl-]").expect("good").0, [b'a', 29]);
        assert!(keys("").expect("good").0.is_empty());
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b", "alt-x"] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_label_and_a_variable_need_a_name() {
        assert!("=x".parse::<LabelArg>().is_err());
        assert!("=x".parse::<EnvArg>().is_err());
        assert_eq!("a=b=c".parse::<EnvArg>().expect("good").value, "b=c");
    }
}

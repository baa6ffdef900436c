//! Addresses of backends and workloads.
//!
//! `SCHEME:REST` is the default endpoint of a platform, `SCHEME://AUTHORITY/REST` a named one. A
//! backend's address is a workload's with the workload left out. The authority ends at the first `/`
//! and its user part at the last `@`. Options ride in the query; secrets never do.

use crate::{Error, ErrorKind, Result, WorkloadName};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What is encoded in a part of an address (RFC 3986 section 2.2 and 3.3, and `%` itself).
const ENCODED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}');
const ENCODED_AUTHORITY: &AsciiSet = &ENCODED.add(b'/');
const ENCODED_USER: &AsciiSet = &ENCODED_AUTHORITY.add(b':').add(b'@');
const ENCODED_QUERY: &AsciiSet = &ENCODED.add(b'&').add(b'=').add(b'+');

/// The address of a backend: scheme, authority, path and options.
///
/// ```
/// let uri: pod_core::BackendUri = "docker://host:2376?tls=true".parse()?;
/// assert_eq!(uri.scheme(), "docker");
/// assert_eq!(uri.authority(), Some("host:2376"));
/// assert_eq!(uri.option("tls"), Some("true"));
/// # Ok::<(), pod_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendUri {
    scheme: String,
    authority: Option<String>,
    path: String,
    options: BTreeMap<String, String>,
}

const SECRET_WORDS: [&str; 6] = ["password", "passwd", "secret", "token", "credential", "private"];

fn decode(part: &str, whole: &str) -> Result<String> {
    percent_decode_str(part).decode_utf8().map(Into::into).map_err(|e| {
        Error::new(ErrorKind::ConfigInvalid, "the address is no UTF-8 when decoded")
            .with_context("address", whole)
            .with_source(e)
    })
}

impl BackendUri {
    /// The default endpoint of `scheme`.
    ///
    /// # Errors
    /// `ConfigInvalid` when `scheme` is none: letters, digits, `+`, `-` and `.`, a letter first
    /// (RFC 3986 section 3.1).
    pub fn new(scheme: &str) -> Result<Self> {
        let ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        if !ok {
            return Err(Error::new(ErrorKind::ConfigInvalid, "the address begins with no scheme")
                .with_context("scheme", format!("{scheme:?}"))
                .with_hint("addresses look like local:web or docker://host:2376/web"));
        }
        Ok(Self { scheme: scheme.to_ascii_lowercase(), authority: None, path: String::new(), options: BTreeMap::new() })
    }

    /// The scheme, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The authority, decoded; `None` for the default endpoint.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The user part of the authority: what stands before its last `@`.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.authority.as_deref().and_then(|a| a.rsplit_once('@')).map(|(user, _)| user)
    }

    /// The path, decoded, without a leading `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// An option of the query.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    /// Every option of the query.
    #[must_use]
    pub fn options(&self) -> &BTreeMap<String, String> {
        &self.options
    }

    /// The same with another path.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The same with an option set.
    #[must_use]
    pub fn with_option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }

    /// Refuses options other than `known`.
    ///
    /// # Errors
    /// `ConfigInvalid` names the unknown option and lists the known ones.
    pub fn check_options(&self, known: &[&str]) -> Result<()> {
        match self.options.keys().find(|k| !known.contains(&k.as_str())) {
            None => Ok(()),
            Some(key) => Err(Error::new(ErrorKind::ConfigInvalid, format!("unknown option {key:?}"))
                .with_context("address", self.to_string())
                .with_hint(if known.is_empty() {
                    format!("`{}:` takes none", self.scheme)
                } else {
                    format!("`{}:` takes {}", self.scheme, known.join(", "))
                })),
        }
    }
}

impl FromStr for BackendUri {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let bad = |message: &str| Error::new(ErrorKind::ConfigInvalid, message.to_owned()).with_context("address", s);
        let (scheme, rest) = s.split_once(':').ok_or_else(|| {
            bad("the address has no scheme").with_hint("addresses look like local:web or docker://host:2376/web")
        })?;
        let mut uri = Self::new(scheme)?;
        if rest.contains('#') {
            return Err(bad("an address has no '#' part").with_hint("write %23 for a '#'"));
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(r, q)| (r, Some(q)));
        let path = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                if authority.is_empty() {
                    return Err(bad("the address names no endpoint after '//'")
                        .with_hint(format!("`{scheme}:` is the default endpoint")));
                }
                if let Some((user, _)) = authority.rsplit_once('@')
                    && user.contains(':')
                {
                    return Err(Error::new(ErrorKind::ConfigInvalid, "an address holds no password")
                        .with_hint("secrets come from the environment or the platform's own configuration"));
                }
                uri.authority = Some(decode(authority, s)?);
                path
            }
            None => rest,
        };
        uri.path = decode(path, s)?;
        for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let (key, value) = (decode(key, s)?, decode(value, s)?);
            let lower = key.to_ascii_lowercase();
            if SECRET_WORDS.iter().any(|w| lower.contains(w)) {
                return Err(Error::new(
                    ErrorKind::ConfigInvalid,
                    format!("an address holds no secret, and {key:?} looks like one"),
                )
                .with_hint("secrets come from the environment or the platform's own configuration"));
            }
            if uri.options.insert(key.clone(), value).is_some() {
                return Err(bad("an option is given twice").with_context("option", key));
            }
        }
        Ok(uri)
    }
}

impl fmt::Display for BackendUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if let Some(a) = &self.authority {
            // A ':' before an '@' would read as a password.
            let set = if self.user().is_some_and(|u| u.contains(':')) { ENCODED_USER } else { ENCODED_AUTHORITY };
            write!(f, "//{}", utf8_percent_encode(a, set))?;
            if !self.path.is_empty() {
                f.write_str("/")?;
            }
        }
        write!(f, "{}", utf8_percent_encode(&self.path, ENCODED))?;
        for (i, (key, value)) in self.options.iter().enumerate() {
            f.write_str(if i == 0 { "?" } else { "&" })?;
            write!(f, "{}={}", utf8_percent_encode(key, ENCODED_QUERY), utf8_percent_encode(value, ENCODED_QUERY))?;
        }
        Ok(())
    }
}

impl serde::Serialize for BackendUri {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for BackendUri {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The address of a workload: its backend and its name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The backend.
    pub backend: BackendUri,
    /// The workload; `None` for an address of the backend itself.
    pub workload: Option<WorkloadName>,
}

impl Address {
    /// The workload's name.
    ///
    /// # Errors
    /// `InvalidInput` when the address names only a backend.
    pub fn require_workload(&self) -> Result<&WorkloadName> {
        self.workload.as_ref().ok_or_else(|| {
            Error::invalid("the address names a backend and no workload")
                .with_context("address", self.backend.to_string())
                .with_hint(format!("write {}NAME", self.backend))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_parse() {
        for s in [
            "local:",
            "local:web",
            "docker://host:2376/web",
            "k8s://arn%3Aaws%2Fcluster/ns/pod/c",
            "k8s://a%3Ab%40c/ns/pod",
            "vsphere://me@corp.local@vcenter:8443/DC/vm/a%20b",
            "ssh://root@10.0.0.1:22",
            "local:web?root=/tmp/x",
        ] {
            let uri: BackendUri = s.parse().expect(s);
            let again: BackendUri = uri.to_string().parse().expect(s);
            assert_eq!(uri, again, "{s}");
        }
    }

    #[test]
    fn the_user_ends_at_the_last_at_sign() {
        let uri: BackendUri = "vsphere://me@corp.local@vcenter/DC".parse().expect("uri");
        assert_eq!(uri.user(), Some("me@corp.local"));
    }

    #[test]
    fn bad_addresses_are_refused_and_secrets_not_repeated() {
        for s in [
            "",
            "web",
            "1x:",
            "a b:",
            "local://",
            "local:a?x=1&x=2",
            "local:a#b",
            "docker://u:pw@h/",
            "local:?password=hunter2",
        ] {
            let e = s.parse::<BackendUri>().expect_err(s);
            assert!(!format!("{e} {e:?}").contains("hunter2"), "{e}");
            assert!(!format!("{e} {e:?}").contains("pw"), "{e}");
        }
    }

    #[test]
    fn unknown_options_are_refused() {
        let uri: BackendUri = "local:?rot=/x".parse().expect("uri");
        assert_eq!(uri.check_options(&["root"]).map_err(|e| e.kind()), Err(ErrorKind::ConfigInvalid));
    }
}

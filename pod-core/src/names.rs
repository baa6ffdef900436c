//! Names that can't hold nonsense: of workloads, networks, volumes and interfaces, and label keys.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

fn check_name(what: &'static str, max: usize, s: &str) -> Result<()> {
    let bad = |why: String| {
        Err(Error::invalid(format!("bad {what} name: {why}"))
            .with_context("name", format!("{s:?}"))
            .with_hint(format!("1 to {max} of a-z, A-Z, 0-9, '.', '_' and '-', the first and last a letter or digit")))
    };
    if s.is_empty() {
        return bad("it is empty".into());
    }
    if s.len() > max {
        return bad(format!("{} bytes long", s.len()));
    }
    if let Some(c) = s.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        return bad(format!("{c:?} is not allowed"));
    }
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !ends(s.chars().next()) || !ends(s.chars().next_back()) {
        return bad("it begins or ends with a sign".into());
    }
    Ok(())
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes the text.
            ///
            /// # Errors
            /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) says which rule it breaks.
            pub fn new(s: impl Into<String>) -> Result<Self> {
                let s = s.into();
                ($check)(&s)?;
                Ok(Self(s))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self> {
                Self::new(s)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;
            fn try_from(s: &str) -> Result<Self> {
                Self::new(s)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(s: String) -> Result<Self> {
                Self::new(s)
            }
        }

        impl From<$name> for String {
            fn from(n: $name) -> String {
                n.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
                let s = String::deserialize(d)?;
                Self::new(s).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_type!(
    /// A workload's name within its backend: 1 to 63 of `a-z A-Z 0-9 . _ -`, the first and last a
    /// letter or digit. Every platform's own names fit or are mapped by its backend.
    WorkloadName,
    |s: &str| check_name("workload", 63, s)
);
text_type!(
    /// A network's name within its backend: the same letters as [`WorkloadName`].
    NetworkName,
    |s: &str| check_name("network", 63, s)
);
text_type!(
    /// A volume's name within its backend: the same letters as [`WorkloadName`].
    VolumeName,
    |s: &str| check_name("volume", 63, s)
);
text_type!(
    /// A topology's name: the same letters as [`WorkloadName`].
    TopologyName,
    |s: &str| check_name("topology", 63, s)
);
text_type!(
    /// A network interface's name as Linux takes it: 1 to 15 bytes, no `/`, no white space, no `:`,
    /// not `.` or `..` (`dev_valid_name` in the kernel's `net/core/dev.c`), and ASCII without quotes.
    IfName,
    |s: &str| {
        let why = if s.is_empty() {
            "it is empty"
        } else if s.len() > 15 {
            "Linux takes at most 15 bytes"
        } else if matches!(s, "." | "..") {
            "it names a directory"
        } else if s.chars().any(|c| !c.is_ascii_graphic() || matches!(c, '/' | ':' | '%' | '"' | '\'')) {
            "it holds a character that Linux refuses"
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("bad interface name: {why}")).with_context("name", format!("{s:?}")))
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "web-1", "A.b_c-9"] {
            assert!(WorkloadName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a/b", "ü", "..", &"x".repeat(64)] {
            assert!(WorkloadName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names_are_linux_names() {
        assert!(IfName::new("eth0.100").is_ok());
        for bad in ["", ".", "a/b", "a b", "sixteen-bytes-xx", "a:1"] {
            assert!(IfName::new(bad).is_err(), "{bad}");
        }
    }
}

//! Whether a command that ended is started again.

use crate::{Error, Result};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// When the platform itself starts a workload's command again. All but [`RestartPolicy::No`] need
/// `lifecycle.restart`.
///
/// A stop ends it whatever the policy says. As text it is `no`, `on-failure`, `on-failure:COUNT`, `always`
/// or `unless-stopped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RestartPolicy {
    /// Never: the workload ends with its command.
    #[default]
    No,
    /// When it ended by a signal or with another code than 0; at most this many times, `None` for
    /// without end.
    OnFailure(Option<NonZeroU32>),
    /// Whenever it ended, and with the engine itself: also one that was stopped.
    Always,
    /// Whenever it ended, and with the engine itself unless it was stopped.
    UnlessStopped,
}

impl RestartPolicy {
    /// Whether it never starts a command again.
    #[must_use]
    pub fn is_no(&self) -> bool {
        *self == Self::No
    }

    /// Its name without the count.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure(_) => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure(Some(most)) => write!(f, "{}:{most}", self.word()),
            _ => f.write_str(self.word()),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let bad = || {
            Error::invalid("that is no restart policy")
                .with_context("given", format!("{s:?}"))
                .with_hint("no, on-failure, on-failure:3, always or unless-stopped")
        };
        match s.split_once(':') {
            Some(("on-failure", most)) => most.parse().map(|most| Self::OnFailure(Some(most))).map_err(|_| bad()),
            Some(_) => Err(bad()),
            None => match s {
                "no" => Ok(Self::No),
                "on-failure" => Ok(Self::OnFailure(None)),
                "always" => Ok(Self::Always),
                "unless-stopped" => Ok(Self::UnlessStopped),
                _ => Err(bad()),
            },
        }
    }
}

impl serde::Serialize for RestartPolicy {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RestartPolicy {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_parse_and_print_alike() {
        for text in ["no", "on-failure", "on-failure:3", "always", "unless-stopped"] {
            assert_eq!(text.parse::<RestartPolicy>().map(|p| p.to_string()).ok().as_deref(), Some(text));
        }
        for bad in ["", "on-failure:", "on-failure:0", "on-failure:-1", "always:3", "never"] {
            assert!(bad.parse::<RestartPolicy>().is_err(), "{bad}");
        }
    }
}

//! Signals by name and number.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A POSIX signal, by its Linux number on x86-64 and arm64 (signal(7)), 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Signal(u8);

const NAMES: &[(&str, u8)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

impl Signal {
    /// SIGHUP.
    pub const HUP: Self = Self(1);
    /// SIGINT.
    pub const INT: Self = Self(2);
    /// SIGQUIT.
    pub const QUIT: Self = Self(3);
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGUSR1.
    pub const USR1: Self = Self(10);
    /// SIGUSR2.
    pub const USR2: Self = Self(12);
    /// SIGPIPE.
    pub const PIPE: Self = Self(13);
    /// SIGTERM.
    pub const TERM: Self = Self(15);

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Signal {
    type Error = Error;
    fn try_from(n: u8) -> Result<Self> {
        if (1..=64).contains(&n) {
            Ok(Self(n))
        } else {
            Err(Error::invalid(format!("no such signal: {n}")).with_hint("signals are 1 to 64"))
        }
    }
}

impl From<Signal> for u8 {
    fn from(s: Signal) -> u8 {
        s.0
    }
}

impl FromStr for Signal {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        if let Ok(n) = s.parse::<u8>() {
            return Self::try_from(n);
        }
        let upper = s.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        NAMES.iter().find(|(n, _)| *n == name).map(|(_, n)| Self(*n)).ok_or_else(|| {
            Error::invalid(format!("no such signal: {s}")).with_hint("a name such as TERM, or a number from 1 to 64")
        })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, n)| *n == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for s in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(s.parse::<Signal>().ok(), Some(Signal::TERM), "{s}");
        }
        for s in ["0", "65", "NOPE", ""] {
            assert!(s.parse::<Signal>().is_err(), "{s}");
        }
        assert_eq!(Signal::KILL.to_string(), "SIGKILL");
    }
}

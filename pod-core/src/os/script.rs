//! POSIX shell scripts that gather several facts in one exec: one exec costs far more than what it
//! runs, on every platform.
//!
//! Values never enter a script's text; they are its arguments.

use crate::os::plan::Step;
use crate::{Error, ExecRequest, Output, Result};
use std::collections::BTreeMap;

/// Before every script: the C locale, the system's folders on the `PATH` (an exec often lacks the
/// `sbin` ones), and three short functions. `s NAME` begins a section, `has PROGRAM` asks for one,
/// `fail CODE WORDS` ends the script with a code of `EXIT_KINDS`, its words behind a byte 1.
const PREAMBLE: &str = r#"LC_ALL=C PATH="${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export LC_ALL PATH
s() { printf '\0%s\0' "$1"; }
has() { command -v "$1" >/dev/null 2>&1; }
fail() { c=$1; shift; printf '\001%s\n' "$*" >&2; exit "$c"; }
"#;

/// A step that runs `script` by `/bin/sh` with these arguments as `$1`, `$2`, …
pub(crate) fn script<I, A>(script: &str, args: I) -> Step
where
    I: IntoIterator<Item = A>,
    A: Into<Vec<u8>>,
{
    let mut request = ExecRequest::shell(format!("{PREAMBLE}{script}"));
    request.argv.push(b"sh".to_vec());
    request.argv.extend(args.into_iter().map(Into::into));
    Step::new(request)
}

/// No arguments for [`script`].
pub(crate) const NONE: [&str; 0] = [];

/// The sections of a script's output: `\0NAME\0` before each. What comes before the first is dropped
/// (a login shell may greet), and no section holds a zero byte of its own.
#[derive(Debug)]
pub(crate) struct Sections<'a>(BTreeMap<&'a str, &'a [u8]>);

impl<'a> Sections<'a> {
    pub(crate) fn of(output: &'a Output) -> Result<Self> {
        Self::parse(&output.stdout)
    }

    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut parts = bytes.split(|b| *b == 0).skip(1);
        let mut map = BTreeMap::new();
        while let Some(name) = parts.next() {
            let name = std::str::from_utf8(name)
                .ok()
                .filter(|n| n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
                .ok_or_else(|| garbled("a section has no name"))?;
            let body = parts.next().ok_or_else(|| garbled("a section was cut off"))?;
            map.insert(name, body);
        }
        if map.is_empty() {
            return Err(garbled("there is no section in it"));
        }
        Ok(Self(map))
    }

    /// As [`Sections::of`], with a last section `tail` that may hold any bytes.
    pub(crate) fn with_tail(output: &'a Output, tail: &str) -> Result<(Self, &'a [u8])> {
        let mark = format!("\0{tail}\0");
        let bytes = output.stdout.as_slice();
        let at = bytes.windows(mark.len()).position(|w| w == mark.as_bytes());
        let at = at.ok_or_else(|| garbled("a section is missing").with_context("section", tail))?;
        Ok((Self::parse(&bytes[..at])?, &bytes[at + mark.len()..]))
    }

    /// A section's bytes.
    pub(crate) fn bytes(&self, name: &str) -> Result<&'a [u8]> {
        self.0.get(name).copied().ok_or_else(|| garbled("a section is missing").with_context("section", name))
    }

    /// A section as text, bytes that are no UTF-8 replaced.
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(self.bytes(name)?).into_owned())
    }

    /// A section as text without white space around it.
    pub(crate) fn line(&self, name: &str) -> Result<String> {
        Ok(self.text(name)?.trim().to_owned())
    }
}

/// Output that does not have the form it must have.
pub(crate) fn garbled(why: impl Into<String>) -> Error {
    Error::unexpected("the workload's answer can't be read").with_context("why", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sections_are_told_apart() {
        let parsed = Sections::parse(b"Welcome!\n\0a\0one\ntwo\n\0b\0").expect("two sections");
        assert_eq!(parsed.line("a").ok().as_deref(), Some("one\ntwo"));
        assert_eq!(parsed.bytes("b").ok(), Some(&b""[..]));
        assert!(parsed.bytes("c").is_err());
    }

    #[test]
    fn cut_output_is_an_error() {
        for bytes in [&b""[..], b"text", b"\0a", b"\0a b\0x"] {
            assert!(Sections::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn arguments_stay_out_of_the_text() {
        let step = script("echo \"$1\"", ["$(reboot)"]);
        assert_eq!(step.request.argv[3..], [b"sh".to_vec(), b"$(reboot)".to_vec()]);
        assert!(!String::from_utf8_lossy(&step.request.argv[2]).contains("reboot"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sections::parse(&bytes);
        }
    }
}

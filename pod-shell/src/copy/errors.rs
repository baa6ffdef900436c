//! What an image's tools complain of, as errors.

use pod_core::copy::show;
use pod_core::{Error, ErrorKind, ExitStatus};

/// The texts of strerror(3) in the C locale, in lower case, the first that is found counts.
const WORDS: &[(&str, ErrorKind)] = &[
    ("no space left on device", ErrorKind::Exhausted),
    ("disk quota exceeded", ErrorKind::Exhausted),
    ("cannot allocate memory", ErrorKind::Exhausted),
    ("too many open files", ErrorKind::Exhausted),
    ("read-only file system", ErrorKind::PermissionDenied),
    ("permission denied", ErrorKind::PermissionDenied),
    ("operation not permitted", ErrorKind::PermissionDenied),
    ("file name too long", ErrorKind::InvalidInput),
    ("text file busy", ErrorKind::Busy),
    ("resource busy", ErrorKind::Busy),
    ("file exists", ErrorKind::Conflict),
    ("is a directory", ErrorKind::Conflict),
    ("directory not empty", ErrorKind::Conflict),
    ("too many levels of symbolic links", ErrorKind::InvalidInput),
    ("no such file or directory", ErrorKind::NotFound),
    ("not a directory", ErrorKind::NotFound),
];

/// What is said when a copy is not what was sent.
pub(super) const DIFFERS: &str = "what the workload has differs from what was sent; nothing of it was kept";

/// The error for what a script refuses, by its own words.
#[must_use]
pub fn refusal(reason: &str) -> Error {
    let conflict = |what: &str| {
        Error::new(ErrorKind::Conflict, what).with_hint("choose another destination, or remove what is there")
    };
    match reason.split_once(' ').unwrap_or((reason, "")) {
        ("parent", _) => {
            Error::new(ErrorKind::NotFound, "the directory to copy into does not exist").with_hint("make it first")
        }
        ("conflict", "f") => conflict("a directory can't be copied onto a file"),
        ("conflict", _) => conflict("a file can't be copied onto a directory"),
        ("clash", entry) => {
            let (kind, name) = entry.split_once(' ').unwrap_or(("", entry));
            let what = if kind == "d" {
                "a directory of the copy meets a file or link in the workload"
            } else {
                "a file of the copy meets a directory in the workload"
            };
            conflict(what).with_context("entry", name.trim_start_matches("./").to_owned())
        }
        ("nohash", _) => Error::unsupported("the image has no `sha256sum` to check by")
            .with_hint("leave the check at lengths: `--verify length`"),
        ("nocheck", _) => Error::unsupported("the image lacks `find`, `stat` or `sort` to check by")
            .with_hint("copy without a check: `--verify none`"),
        ("raced", _) => conflict("a directory came to the destination while it was copied to")
            .with_hint("run the copy again when nothing else makes it"),
        ("noresume", _) => Error::unsupported("the image lacks `find` or `stat`, without which no copy is taken up")
            .with_hint("copy without `--resume`"),
        ("foreign", _) => {
            conflict("what an earlier copy should have left is another user's").with_hint("copy without `--resume`")
        }
        ("lost", _) => {
            Error::new(ErrorKind::Conflict, "another copy to this destination took up what this one brought")
                .with_hint("let one copy run at a time")
        }
        ("part", _) => Error::new(ErrorKind::Integrity, "the workload got only part of the copy"),
        ("cut", _) => {
            Error::new(ErrorKind::Integrity, "the workload got only part of the copy; nothing of it was kept")
        }
        ("differs", _) => Error::new(ErrorKind::Integrity, DIFFERS),
        _ => Error::unexpected("the copy's script says something unknown").with_context("said", reason),
    }
}

/// The kind that a complaint means.
pub(super) fn kind(said: &str) -> Option<ErrorKind> {
    let said = said.to_ascii_lowercase();
    WORDS.iter().find(|(words, _)| said.contains(words)).map(|(_, kind)| *kind)
}

/// The error for a script that ended so after its tools complained; `doing` says what it was to do.
#[must_use]
pub fn of_tools(doing: &str, path: &[u8], status: ExitStatus, said: &str) -> Error {
    let kind = kind(said).unwrap_or(match status {
        ExitStatus::Unknown => ErrorKind::Unavailable,
        _ => ErrorKind::CommandFailed,
    });
    let mut error = Error::new(kind, format!("can't {doing} in the workload")).with_context("path", show(path));
    if !matches!(status, ExitStatus::Exited(8)) {
        error = error.with_context("status", status.to_string());
    }
    if !said.is_empty() {
        // The last words tell what ended it; tools go on after the first.
        let lines: Vec<&str> = said.lines().collect();
        let shown = if lines.len() > 3 { lines[..3].join("; ") + "; …" } else { lines.join("; ") };
        error = error.with_context("said", shown);
    }
    if kind == ErrorKind::Exhausted {
        error = error.with_hint("free some space in the workload and run the command again");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_have_kinds() {
        let table = [
            ("tar: can't open 'r/x': No space left on device", ErrorKind::Exhausted),
            ("mkdir: can't create directory '/sys/.pod-1': Permission denied", ErrorKind::PermissionDenied),
            ("mkdir: cannot create directory '/sys/x': Read-only file system", ErrorKind::PermissionDenied),
            ("stat: can't stat '/x': No such file or directory", ErrorKind::NotFound),
        ];
        for (said, expected) in table {
            let e = of_tools("write", b"/x", ExitStatus::Exited(8), said);
            assert_eq!(e.kind(), expected, "{said}");
            assert!(e.to_string().contains(said), "{e}");
        }
        assert_eq!(of_tools("write", b"/x", ExitStatus::Exited(2), "hm").kind(), ErrorKind::CommandFailed);
    }
}

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

/// The kind that a complaint means.
pub(crate) fn kind(said: &str) -> Option<ErrorKind> {
    let said = said.to_ascii_lowercase();
    WORDS.iter().find(|(words, _)| said.contains(words)).map(|(_, kind)| *kind)
}

/// The error for a script that ended so after its tools complained.
pub(crate) fn of_tools(doing: &str, path: &[u8], status: ExitStatus, said: &str) -> Error {
    let kind = kind(said).unwrap_or(match status {
        ExitStatus::Unknown => ErrorKind::Unavailable,
        _ => ErrorKind::CommandFailed,
    });
    let mut error = Error::new(kind, format!("can't {doing} in the pod")).with_context("path", show(path));
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
        error = error.with_hint("free some space in the pod and run the command again");
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

//! What the tests of this module share: transcripts.

use crate::{ExitStatus, Output};

/// A transcript. Those with no note in `fixtures/README.md` were printed by the real programs.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/os/fixtures").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    // In a fixture a section is written `%%NAME%%`, so that the files are text.
    unmark(&bytes)
}

fn unmark(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b"%%") {
            out.push(0);
            rest = after;
        } else {
            out.push(rest[0]);
            rest = &rest[1..];
        }
    }
    out
}

/// An output of a program that succeeded.
pub(crate) fn printed(stdout: Vec<u8>) -> Output {
    Output { status: ExitStatus::Exited(0), stdout, stderr: Vec::new() }
}

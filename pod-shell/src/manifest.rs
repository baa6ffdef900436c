//! The list of what a copy should hold, as the image's own tools would print it.

use bytes::Bytes;
use pod_core::copy::{Chunk, Verify, show};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What one file should be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    Size(u64),
    Hash(String),
}

/// Gathers what was sent.
#[derive(Debug)]
pub struct Manifest {
    verify: Verify,
    files: BTreeMap<Vec<u8>, Expected>,
    open: Option<(Vec<u8>, u64, u64, Sha256)>,
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Manifest {
    /// Nothing was sent yet; what comes is noted as this check needs it.
    pub fn new(verify: Verify) -> Self {
        Self { verify, files: BTreeMap::new(), open: None }
    }

    /// A file of this size begins.
    pub fn file(&mut self, path: &[u8], size: u64) {
        match self.verify {
            Verify::None => {}
            Verify::Length => {
                self.files.insert(path.to_vec(), Expected::Size(size));
            }
            Verify::Hash => self.open = Some((path.to_vec(), size, 0, Sha256::new())),
        }
    }

    /// A piece of it. What is left out before it is zeros.
    pub fn data(&mut self, chunk: &Chunk) {
        if let Some((_, _, at, hash)) = &mut self.open {
            zeros(hash, chunk.offset.saturating_sub(*at));
            hash.update(&chunk.data);
            *at = chunk.offset.saturating_add(chunk.data.len() as u64);
        }
    }

    /// The file is whole.
    pub fn settle(&mut self) {
        if let Some((path, size, at, mut hash)) = self.open.take() {
            zeros(&mut hash, size.saturating_sub(at));
            let hex = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
            self.files.insert(path, Expected::Hash(hex));
        }
    }

    /// The SHA-256 of a file that is whole, where hashes are asked for.
    pub fn hash(&self, path: &[u8]) -> Option<&str> {
        match self.files.get(path) {
            Some(Expected::Hash(hash)) => Some(hash),
            _ => None,
        }
    }

    /// Another name of a file.
    pub fn link(&mut self, path: &[u8], target: &[u8]) {
        if let Some(expected) = self.files.get(target).cloned() {
            self.files.insert(path.to_vec(), expected);
        }
    }

    /// What is no file takes the place of one.
    pub fn other(&mut self, path: &[u8]) {
        self.files.remove(path);
    }

    /// The lines that the tools print of it, sorted as sort(1) does in the C locale.
    pub fn list(&self) -> Bytes {
        let mut text = Vec::new();
        for (path, expected) in &self.files {
            match expected {
                Expected::Size(size) => {
                    text.extend_from_slice(format!("{size} ").as_bytes());
                    text.extend_from_slice(path);
                }
                Expected::Hash(hash) => {
                    text.extend_from_slice(format!("{hash}  ").as_bytes());
                    // Tools differ in how they print such names; these files are read by stdin.
                    let odd = path.iter().any(|b| matches!(b, b'\n' | b'\r' | b'\\'));
                    text.extend_from_slice(if odd { b"-" } else { path });
                }
            }
            text.push(b'\n');
        }
        let mut lines: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
        lines.sort_unstable_by_key(|l| l.strip_suffix(b"\n").unwrap_or(l));
        lines.concat().into()
    }

    /// The first line that one list has and the other has not: the entry that differs, and how.
    pub fn difference(&self, there: &[u8]) -> Option<(String, &'static str)> {
        let own = self.list();
        let sorted = |list: &[u8]| -> std::collections::BTreeSet<Vec<u8>> {
            list.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect()
        };
        let (own, there) = (sorted(&own), sorted(there));
        let name = |line: &[u8]| {
            let path = line.iter().position(|b| *b == b' ').map_or(line, |at| &line[at + 1..]);
            let path = path.strip_prefix(b" ").unwrap_or(path);
            show(path.strip_prefix(b"r/").unwrap_or(if path == b"r" { b"" } else { path }))
        };
        let lost = own.difference(&there).next().map(|l| (name(l), "it is missing or another in the workload"));
        lost.or_else(|| there.difference(&own).next().map(|l| (name(l), "the workload has more than was sent")))
    }
}

fn zeros(hash: &mut Sha256, mut count: u64) {
    while count > 0 {
        let now = usize::try_from(count).map_or(ZEROS.len(), |n| n.min(ZEROS.len()));
        hash.update(&ZEROS[..now]);
        count -= now as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_the_tools_print_them() {
        let mut lengths = Manifest::new(Verify::Length);
        lengths.file(b"r/b", 10);
        lengths.file(b"r/a", 9);
        lengths.file(b"r/new\nline", 1);
        lengths.link(b"r/c", b"r/a");
        lengths.other(b"r/b");
        assert_eq!(lengths.list().as_ref(), b"1 r/new\n9 r/a\n9 r/c\nline\n");
        let there = b"1 r/new\n9 r/a\n8 r/c\nline\n";
        assert_eq!(lengths.difference(there).map(|d| d.0).as_deref(), Some("c"));
        assert_eq!(lengths.difference(&lengths.list()), None);

        let mut hashes = Manifest::new(Verify::Hash);
        hashes.file(b"r", 4);
        hashes.data(&Chunk { offset: 1, data: Bytes::from_static(b"x") });
        hashes.settle();
        let expected: String = Sha256::digest(b"\0x\0\0").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hashes.list().as_ref(), format!("{expected}  r\n").as_bytes());
    }
}

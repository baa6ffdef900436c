//! What a copy that broke off has left at the far end, and what the next one takes of it.
//!
//! The directory beside the destination has a name made from the destination, and is nobody's: a copy
//! that takes it up gives it a name of its own by one rename, which only one of several can win; the
//! others begin afresh. So two copies to one destination never write into the same directory, and there is
//! no lock that a killed one could leave. One that was killed leaves the directory under its own name; the
//! next takes that, when the process that had it is gone, or nothing changed in it for a minute. Only a
//! directory of the same user that nobody else can read is taken.
//!
//! The script marks it by `true >claim`, not `: >claim`: with a special built-in the whole shell would end
//! where another copy was faster (POSIX XCU 2.8.1).

use super::far::Running;
use bytes::Bytes;
use pod_core::copy::{Entry, EntryKind, split};
use pod_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// Files up to this size wait in memory until their hash is known, bytes. A longer one that looks the same
/// is taken, and found out by the last check if it is not.
const HELD: u64 = 16 << 20;

/// What the hidden directory's name says of the destination.
pub(super) fn id(dest: &[u8], is_dir: bool) -> String {
    let hash = Sha256::new().chain_update([u8::from(is_dir)]).chain_update(dest).finalize();
    hash.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// A file that an earlier copy brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it lies in the hidden directory.
    pub(super) from: Vec<u8>,
    size: u64,
    mode: u32,
    mtime: (i64, u32),
    owner: (u32, u32),
    hash: Option<String>,
}

impl Found {
    /// The hash that the file must have to be taken, where its contents can wait for that.
    pub(super) fn waits_for(&self) -> Option<&str> {
        self.hash.as_deref().filter(|_| self.size <= HELD)
    }
}

/// The files that an earlier copy brought, by their paths as the scripts have them.
#[derive(Debug, Default)]
pub(super) struct Kept(HashMap<Vec<u8>, Found>);

impl Kept {
    /// Reads the list that the script gives.
    ///
    /// # Errors
    /// `Integrity` when it is cut off or not understood.
    pub(super) async fn read(running: &mut Running) -> Result<Self> {
        let mut kept = Self::default();
        loop {
            match running.line().await? {
                None => return Err(Error::new(ErrorKind::Integrity, "the workload's list of what it has was cut off")),
                Some(line) if line == b"." => return Ok(kept),
                Some(line) => {
                    if kept.add(&line).is_none() {
                        return Err(Error::new(
                            ErrorKind::Integrity,
                            "the workload's list of what it has is not understood",
                        )
                        .with_context("said", String::from_utf8_lossy(&line)));
                    }
                }
            }
        }
    }

    /// Takes a line: `%f %s %Y %u %g %h %y %n` of stat(1), or one of sha256sum(1).
    fn add(&mut self, line: &[u8]) -> Option<()> {
        if line.len() > 66 && line[64..66] == *b"  " && line[..64].iter().all(u8::is_ascii_hexdigit) {
            let hash = std::str::from_utf8(&line[..64]).ok()?;
            // Files of several names were left out before.
            if let Some(found) = self.0.get_mut(&as_sent(&line[66..])) {
                found.hash = Some(hash.to_owned());
            }
            return Some(());
        }
        let mut fields = line.splitn(9, |b| *b == b' ');
        let mut words = Vec::new();
        for _ in 0..8 {
            words.push(std::str::from_utf8(fields.next()?).ok()?);
        }
        let mut from = fields.next()?;
        // BusyBox names no time zone.
        if matches!(from.first(), Some(b'+' | b'-')) {
            from = &from[from.iter().position(|b| *b == b' ')? + 1..];
        }
        let nanos = words[7].split_once('.').map_or(Some(0), |(_, n)| n.parse().ok())?;
        let found = Found {
            from: from.to_vec(),
            mode: u32::from_str_radix(words[0], 16).ok()? & 0o7777,
            size: words[1].parse().ok()?,
            mtime: (words[2].parse().ok()?, nanos),
            owner: (words[3].parse().ok()?, words[4].parse().ok()?),
            hash: None,
        };
        // What has several names would be one file again, which the source's may not be any more.
        if words[5] == "1" {
            self.0.insert(as_sent(from), found);
        }
        Some(())
    }

    /// What is there of this file, as it would be if it were sent.
    pub(super) fn find(&self, entry: &Entry, owners: bool) -> Option<&Found> {
        let found = self.0.get(&entry.path)?;
        let same = entry.kind == EntryKind::File { size: found.size }
            && (entry.mode, entry.mtime) == (found.mode, found.mtime)
            && (!owners || (entry.uid, entry.gid) == found.owner);
        same.then_some(found)
    }
}

/// `o1/a` as `r/a`.
fn as_sent(from: &[u8]) -> Vec<u8> {
    match from.iter().position(|b| *b == b'/') {
        Some(at) => [b"r", &from[at..]].concat(),
        None => b"r".to_vec(),
    }
}

/// What is moved into its place instead of being sent.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Where each file goes, and where it lies.
    files: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Further names, and the names they are made of, in their order.
    links: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The longest command of the script, bytes.
const COMMAND: usize = 60 << 10;

impl Taken {
    pub(super) fn file(&mut self, path: Vec<u8>, from: Vec<u8>) {
        self.files.insert(path, from);
    }

    pub(super) fn link(&mut self, path: Vec<u8>, target: &[u8]) {
        self.links.push((path, target.to_vec()));
    }

    /// Whether this name is made by the script, and not by what is sent.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.files.contains_key(path) || self.links.iter().any(|(p, _)| p == path)
    }

    /// Another entry of the source takes this path.
    pub(super) fn replaced(&mut self, path: &[u8]) {
        self.files.remove(path);
        self.links.retain(|(p, _)| p != path);
    }

    /// A script that moves all of it.
    pub(super) fn script(&self) -> Bytes {
        let mut script = Vec::new();
        // By directory, as many at once as a command holds.
        let mut batch: Vec<u8> = Vec::new();
        let mut into: Option<&[u8]> = None;
        // The next file's directory is told by its path, so the order must be that of directories.
        let mut files: Vec<_> = self.files.iter().map(|(path, from)| (split(path), from)).collect();
        files.sort_unstable();
        for ((dir, name), from) in files {
            if dir.is_empty() {
                script.extend([b"mv -f -- ", quoted(from).as_slice(), b" r || exit 8\n"].concat());
                continue;
            }
            let renamed = split(from).1 != name;
            debug_assert!(!renamed, "a file is found under its own name");
            if into != Some(dir) || batch.len() > COMMAND {
                flush(&mut script, &mut batch, into);
                into = Some(dir);
            }
            batch.push(b' ');
            batch.extend(quoted(from));
        }
        flush(&mut script, &mut batch, into);
        for (path, target) in &self.links {
            make_dir(&mut script, split(path).0);
            script.extend([b"ln -f -- ", quoted(target).as_slice(), b" ", &quoted(path), b" || exit 8\n"].concat());
        }
        script.into()
    }
}

fn flush(script: &mut Vec<u8>, batch: &mut Vec<u8>, into: Option<&[u8]>) {
    let Some(dir) = into.filter(|_| !batch.is_empty()) else { return };
    make_dir(script, dir);
    script.extend_from_slice(b"mv -f --");
    script.append(batch);
    script.extend([b" ", quoted(dir).as_slice(), b"/ || exit 8\n"].concat());
}

/// A directory that no entry names is made when something comes into it.
fn make_dir(script: &mut Vec<u8>, dir: &[u8]) {
    let dir = quoted(dir);
    script.extend([b"[ -d ", dir.as_slice(), b" ] || mkdir -p -- ", &dir, b" || exit 8\n"].concat());
}

/// A path as one word of a shell. All are relative, and begin with no dash.
fn quoted(path: &[u8]) -> Vec<u8> {
    let mut word = vec![b'\''];
    for byte in path {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            other => word.push(*other),
        }
    }
    word.push(b'\'');
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_be_the_same_is_found() {
        let mut kept = Kept::default();
        let hash = "a".repeat(64);
        for line in [
            "81a4 5 1000000000 0 42 1 2001-09-09 01:46:40.123456789 +0000 o1/d/a b",
            "81a4 5 1000000000 0 42 2 2001-09-09 01:46:40.123456789 +0000 o1/two names",
            &format!("{hash}  o1/d/a b"),
            &format!("{hash}  o1/two names"),
            "81a4 7 7 0 0 1 1970-01-01 00:00:07.000000000 o2",
        ] {
            kept.add(line.as_bytes()).expect(line);
        }
        assert!(kept.add(b"what").is_none() && kept.add(b"81a4 x 7 0 0 1 a b c o2").is_none());
        let entry = || {
            let entry = Entry::new("r/d/a b", EntryKind::File { size: 5 });
            entry.with_mtime(1_000_000_000, 123_456_789).with_owner(0, 42)
        };
        let found = kept.find(&entry(), true).expect("the same");
        assert_eq!((found.from.as_slice(), found.waits_for()), (&b"o1/d/a b"[..], Some(hash.as_str())));
        let mut other = entry();
        other.kind = EntryKind::File { size: 6 };
        for other in [other, entry().with_mode(0o600), entry().with_mtime(1_000_000_000, 0), {
            let mut e = entry();
            e.path = b"r/two names".to_vec();
            e
        }] {
            assert_eq!(kept.find(&other, false), None, "{other:?}");
        }
        assert!(kept.find(&entry().with_owner(1, 1), true).is_none());
        assert!(kept.find(&entry().with_owner(1, 1), false).is_some());
        assert!(kept.find(&Entry::new("r", EntryKind::File { size: 7 }).with_mtime(7, 0), true).is_some());
    }

    #[test]
    fn the_script_moves_by_directories_and_quotes() {
        let mut taken = Taken::default();
        for (path, from) in [("r/a/it's", "o1/a/it's"), ("r/b", "o2/b"), ("r/a/x/y", "o1/a/x/y"), ("r/a/z", "o2/a/z")] {
            taken.file(path.into(), from.into());
        }
        taken.link(b"r/l".to_vec(), b"r/b");
        taken.replaced(b"r/a/z");
        assert!(taken.has(b"r/l") && taken.has(b"r/b") && !taken.has(b"r/a/z"));
        let script = taken.script();
        assert_eq!(
            String::from_utf8_lossy(&script),
            "[ -d 'r' ] || mkdir -p -- 'r' || exit 8\nmv -f -- 'o2/b' 'r'/ || exit 8\n\
             [ -d 'r/a' ] || mkdir -p -- 'r/a' || exit 8\nmv -f -- 'o1/a/it'\\''s' 'r/a'/ || exit 8\n\
             [ -d 'r/a/x' ] || mkdir -p -- 'r/a/x' || exit 8\nmv -f -- 'o1/a/x/y' 'r/a/x'/ || exit 8\n\
             [ -d 'r' ] || mkdir -p -- 'r' || exit 8\nln -f -- 'r/b' 'r/l' || exit 8\n"
        );
    }

    #[test]
    fn a_destination_has_one_name() {
        assert_eq!(id(b"/a", true), id(b"/a", true));
        assert!(id(b"/a", true) != id(b"/a", false) && id(b"/a", true) != id(b"/b", true));
        assert_eq!(id(b"/a", true).len(), 16);
    }
}

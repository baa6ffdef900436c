//! The checks every entry of a copy passes before it is used, free of any file system.

use super::entry::{Entry, EntryKind};
use crate::{Error, ErrorKind, Result};
use std::collections::HashMap;

/// The longest part of a path, in bytes (`NAME_MAX` of every Linux file system).
pub const MAX_NAME: usize = 255;
/// The longest path below a copy's root, in bytes.
pub const MAX_PATH: usize = 64 << 10;
/// The longest target of a symbolic link, in bytes (`PATH_MAX` less its zero byte).
pub const MAX_LINK: usize = 4095;

/// The word in [`EntryKind::Special`] for a socket. A socket file holds nothing, so a copy leaves it
/// out and says so; other special files are refused.
pub const SOCKET: &str = "socket";

/// Checks one path below a copy's root: relative, its parts separated by single `/`, none of them
/// empty, `.`, `..`, longer than [`MAX_NAME`] or holding a zero byte. The empty path is the root.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] names the path as `entry` and the rule it breaks.
pub fn check_path(path: &[u8]) -> Result<()> {
    let bad = |why: &str| Err(Error::invalid(format!("bad name in a copy: {why}")).with_context("entry", show(path)));
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > MAX_PATH {
        return bad("it is longer than 64 KiB");
    }
    if path[0] == b'/' {
        return bad("it is absolute");
    }
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" => return bad("a part is empty"),
            b"." => return bad("a part is `.`"),
            b".." => return bad("a part is `..`, which leads out of the copy"),
            _ if part.len() > MAX_NAME => return bad("a part is longer than 255 bytes"),
            _ if part.contains(&0) => return bad("it holds a zero byte"),
            _ => {}
        }
    }
    Ok(())
}

/// A path of a copy for messages: odd bytes escaped, the root as `.`, a long one cut.
#[must_use]
pub fn show(path: &[u8]) -> String {
    const SHOWN: usize = 300;
    match path.len() {
        0 => ".".into(),
        n if n <= SHOWN => path.escape_ascii().to_string(),
        n => format!("{}… ({n} bytes)", path[..SHOWN].escape_ascii()),
    }
}

/// Splits a path into its parent (empty: the root) and its last part.
#[must_use]
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Says which entry an error is about, unless it does so itself: `within` this one, else after it.
pub(super) fn name_place(e: Error, within: bool, path: &[u8]) -> Error {
    if e.context().iter().any(|(key, _)| matches!(*key, "entry" | "after")) {
        return e;
    }
    e.with_context(if within { "entry" } else { "after" }, show(path))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    File,
    Dir,
    Other,
}

/// Checks the entries of one copy in their order: names, kinds, hard links, parents and limits.
///
/// Every receiver of entries passes them through here first. It needs no file system; the extractor
/// ([`write_tree`](super::tree::write_tree)) checks what is on the disk besides. It keeps the path of
/// every entry until the copy ends.
///
/// ```
/// use pod_core::copy::{Entry, EntryKind, StreamCheck};
/// let mut check = StreamCheck::new(None, None);
/// check.entry(&Entry::new("", EntryKind::Dir))?;
/// check.entry(&Entry::new("out", EntryKind::Symlink { target: b"/etc".to_vec() }))?;
/// let through = check.entry(&Entry::new("out/passwd", EntryKind::File { size: 1 }));
/// assert!(through.is_err_and(|e| e.to_string().contains("out/passwd")));
/// # Ok::<(), pod_core::Error>(())
/// ```
#[derive(Debug)]
pub struct StreamCheck {
    seen: HashMap<Vec<u8>, Seen>,
    max_entries: u64,
    max_bytes: u64,
    entries: u64,
    bytes: u64,
}

impl StreamCheck {
    /// Checks for a copy of at most this many entries and bytes; a file counts with its apparent size,
    /// holes included.
    #[must_use]
    pub fn new(max_entries: Option<u64>, max_bytes: Option<u64>) -> Self {
        Self {
            seen: HashMap::new(),
            max_entries: max_entries.unwrap_or(u64::MAX),
            max_bytes: max_bytes.unwrap_or(u64::MAX),
            entries: 0,
            bytes: 0,
        }
    }

    /// Checks the next entry. The same path may come again: a file or link then replaces the file or
    /// link before it, a directory meets itself; but a directory never becomes something else.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a bad name or link target, for a path through something that is
    /// no directory (a link above all), for a hard link to what is no file of this copy, for a device
    /// or FIFO, for an owner that can't be; [`ErrorKind::Exhausted`] past a limit. Each names the entry as `entry`.
    pub fn entry(&mut self, entry: &Entry) -> Result<()> {
        check_path(&entry.path)?;
        self.kind(entry).map_err(|e| e.with_context("entry", show(&entry.path)))
    }

    fn kind(&mut self, entry: &Entry) -> Result<()> {
        // chown(2) takes these numbers for "leave it as it is".
        if entry.uid == u32::MAX || entry.gid == u32::MAX {
            return Err(Error::invalid("no user or group has the number 4294967295"));
        }
        self.count(entry)?;
        self.parents(&entry.path)?;
        let now = match &entry.kind {
            EntryKind::File { .. } | EntryKind::Same { .. } => Seen::File,
            EntryKind::Dir => Seen::Dir,
            EntryKind::Symlink { target } => {
                check_link(target)?;
                Seen::Other
            }
            EntryKind::Hardlink { target } => {
                check_path(target).map_err(|e| {
                    Error::invalid("a hard link leads out of the copy")
                        .with_context("target", show(target))
                        .with_source(e)
                })?;
                if *target == entry.path {
                    return Err(Error::invalid("a hard link names itself"));
                }
                if self.seen.get(target) != Some(&Seen::File) {
                    return Err(Error::invalid("a hard link names no file that came before it in the same copy")
                        .with_context("target", show(target)));
                }
                Seen::File
            }
            EntryKind::Special(what) if *what == SOCKET => return Ok(()),
            EntryKind::Special(what) => {
                return Err(Error::invalid(format!("a copy never makes a {what}"))
                    .with_hint("leave it out of the source; devices and FIFOs can't be copied"));
            }
        };
        match self.seen.insert(entry.path.clone(), now) {
            Some(Seen::Dir) if now != Seen::Dir => {
                Err(Error::invalid("a directory of the copy would be replaced by something else"))
            }
            Some(Seen::File | Seen::Other) if now == Seen::Dir => {
                Err(Error::invalid("a file or link of the copy would be replaced by a directory"))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, entry: &Entry) -> Result<()> {
        self.entries += 1;
        if self.entries > self.max_entries {
            return Err(Error::new(ErrorKind::Exhausted, "the copy holds too many entries")
                .with_context("limit", self.max_entries.to_string()));
        }
        if let EntryKind::File { size } | EntryKind::Same { size } = entry.kind {
            if i64::try_from(size).is_err() {
                return Err(
                    Error::invalid("the size given is larger than any file").with_context("size", size.to_string())
                );
            }
            self.bytes = self.bytes.checked_add(size).filter(|b| *b <= self.max_bytes).ok_or_else(|| {
                Error::new(ErrorKind::Exhausted, "the copy holds too many bytes")
                    .with_context("size", size.to_string())
                    .with_context("limit", self.max_bytes.to_string())
            })?;
        }
        Ok(())
    }

    /// Every directory above `path` is one of this copy, or was not named by it and is implied.
    fn parents(&mut self, path: &[u8]) -> Result<()> {
        let mut above = path;
        while !above.is_empty() {
            above = split(above).0;
            match self.seen.get(above) {
                Some(Seen::Dir) => break,
                Some(Seen::File | Seen::Other) => {
                    return Err(Error::invalid("the path leads through something of the copy that is no directory")
                        .with_context("through", show(above)));
                }
                None => {
                    self.seen.insert(above.to_vec(), Seen::Dir);
                }
            }
        }
        Ok(())
    }
}

fn check_link(target: &[u8]) -> Result<()> {
    if target.is_empty() || target.len() > MAX_LINK || target.contains(&0) {
        return Err(Error::invalid("a symbolic link's target is empty, longer than 4095 bytes or holds a zero byte")
            .with_context("target", show(target)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        Entry::new(path, EntryKind::File { size: 1 })
    }

    fn hard(path: &str, target: &str) -> Entry {
        Entry::new(path, EntryKind::Hardlink { target: target.into() })
    }

    fn soft(path: &str, target: &str) -> Entry {
        Entry::new(path, EntryKind::Symlink { target: target.into() })
    }

    #[test]
    fn bad_names_are_refused_and_named() {
        let long = "x".repeat(256);
        for bad in ["/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", ".", "a/./b", "a\0b", &long] {
            let e = StreamCheck::new(None, None).entry(&file(bad)).expect_err(bad);
            assert_eq!(e.kind(), ErrorKind::InvalidInput, "{bad}");
            assert_eq!(e.context()[0].0, "entry", "{bad}");
            assert!(e.context()[0].1.starts_with(&bad.escape_default().to_string()[..1]), "{e}");
        }
        for good in ["a", "a/b", "...", "a b", "-", "new\nline", ".hidden"] {
            assert!(StreamCheck::new(None, None).entry(&file(good)).is_ok(), "{good}");
        }
    }

    #[test]
    fn links_out_and_paths_through_links_are_refused() {
        let cases: [(&[Entry], &str); 8] = [
            (&[soft("l", "/etc"), file("l/passwd")], "l/passwd"),
            (&[soft("l", ".."), file("l/d/x")], "l/d/x"),
            (&[file("f"), file("f/x")], "f/x"),
            (&[hard("h", "../../etc/passwd")], "h"),
            (&[hard("h", "/etc/passwd")], "h"),
            (&[soft("l", "/etc/passwd"), hard("h", "l")], "h"),
            (&[Entry::new("d", EntryKind::Dir), soft("d", "/etc")], "d"),
            (&[Entry::new("dev", EntryKind::Special("block device"))], "dev"),
        ];
        for (entries, named) in cases {
            let mut check = StreamCheck::new(None, None);
            let (last, before) = entries.split_last().expect("not empty");
            for e in before {
                check.entry(e).expect("the ones before are fine");
            }
            let e = check.entry(last).expect_err(named);
            assert!(e.context().contains(&("entry", named.to_owned())), "{e}");
        }
    }

    #[test]
    fn limits_count_entries_and_declared_sizes() {
        let mut check = StreamCheck::new(Some(2), None);
        assert!(check.entry(&file("a")).is_ok() && check.entry(&file("b")).is_ok());
        assert_eq!(check.entry(&file("c")).map_err(|e| e.kind()), Err(ErrorKind::Exhausted));
        let mut check = StreamCheck::new(None, Some(10));
        let big = |n| Entry::new("x", EntryKind::File { size: n });
        assert!(check.entry(&big(10)).is_ok());
        assert_eq!(check.entry(&big(1)).map_err(|e| e.kind()), Err(ErrorKind::Exhausted));
        let mut check = StreamCheck::new(None, None);
        assert!(check.entry(&big(i64::MAX as u64)).is_ok());
        assert!(check.entry(&big(i64::MAX as u64)).is_ok());
        assert_eq!(check.entry(&big(i64::MAX as u64)).map_err(|e| e.kind()), Err(ErrorKind::Exhausted), "sum overflow");
        assert_eq!(check.entry(&big(u64::MAX)).map_err(|e| e.kind()), Err(ErrorKind::InvalidInput));
    }
}

//! What a copy to this machine would find there of an earlier one.

use crate::copy::{Had, show};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The regular files at and below `dest`, with paths as a copy to `dest` has them; through no link below
/// it. With `hash`, each is read. What can't be read is left out: the copy brings it again, or says why not.
///
/// # Errors
/// What the system says of `dest` itself, unless nothing is there.
pub(in crate::copy) fn files_at(dest: &Path, hash: bool) -> Result<Vec<Had>> {
    let mut found = Vec::new();
    match std::fs::symlink_metadata(dest) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(e) => {
            return Err(Error::io("can't look at the destination", e).with_context("path", dest.display().to_string()));
        }
        Ok(meta) if meta.is_file() => {
            found.extend(had(dest, Vec::new(), &meta, hash));
            return Ok(found);
        }
        Ok(_) => {}
    }
    // A directory, or a link to one: the copy goes into it.
    let mut todo = vec![(dest.to_owned(), Vec::new())];
    while let Some((dir, above)) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.as_bytes();
            let path = if above.is_empty() { name.to_vec() } else { [above.as_slice(), b"/", name].concat() };
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                todo.push((entry.path(), path));
            } else if meta.is_file() {
                found.extend(had(&entry.path(), path, &meta, hash));
            }
        }
    }
    Ok(found)
}

fn had(file: &Path, path: Vec<u8>, meta: &Metadata, hash: bool) -> Option<Had> {
    let nanos = u32::try_from(meta.mtime_nsec()).unwrap_or(0);
    let had = Had::new(path, meta.len(), (meta.mtime(), nanos));
    if !hash {
        return Some(had);
    }
    match sha256(file) {
        Ok(sha256) => Some(had.with_sha256(sha256)),
        Err(e) => {
            tracing::debug!(target: "pod", error = %e, path = show(&had.path), "a file can't be compared");
            None
        }
    }
}

fn sha256(file: &Path) -> std::io::Result<[u8; 32]> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::{Entry, EntryKind};

    #[test]
    fn files_are_found_and_links_are_not_followed() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let dest = tmp.path().join("d");
        assert!(files_at(&dest, true).expect("nothing there").is_empty());
        std::fs::create_dir_all(dest.join("sub")).expect("made");
        std::fs::write(dest.join("sub/f"), "text").expect("written");
        std::fs::write(tmp.path().join("outside"), "text").expect("written");
        std::os::unix::fs::symlink("../outside", dest.join("link")).expect("made");
        std::os::unix::fs::symlink("..", dest.join("up")).expect("made");
        let found = files_at(&dest, true).expect("read");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].path.as_slice(), found[0].size), (&b"sub/f"[..], 4));
        assert_eq!(found[0].sha256, Some(Sha256::digest(b"text").into()));
        let entry = |size, (s, n)| Entry::new("sub/f", EntryKind::File { size }).with_mtime(s, n);
        let (s, n) = found[0].mtime;
        assert!(found[0].looks_like(&entry(4, (s, n))));
        assert!(!found[0].looks_like(&entry(5, (s, n))) && !found[0].looks_like(&entry(4, (s + 1, n))));
        let one = files_at(&dest.join("sub/f"), false).expect("read");
        assert!(one.len() == 1 && one[0].path.is_empty() && one[0].sha256.is_none(), "{one:?}");
    }
}

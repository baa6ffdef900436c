//! A tree of many small files.

use super::world::exists;
use pod::prelude::*;
use std::fs;
use std::path::Path;

/// Folders, files in each, and bytes in each file.
const FOLDERS: usize = 100;
const EACH: usize = 100;
const BYTES: usize = 1000;

/// How many files it has.
pub(super) const FILES: usize = FOLDERS * EACH;

/// Removes a copy of it.
pub(super) fn clear(tree: &Path) -> Result<(), Error> {
    if exists(tree) {
        fs::remove_dir_all(tree).doing(|| "remove a tree")?;
    }
    Ok(())
}

/// The files of a tree.
pub(super) fn count(tree: &Path) -> usize {
    let entries = fs::read_dir(tree).into_iter().flatten().flatten();
    entries.map(|e| if e.file_type().is_ok_and(|t| t.is_dir()) { count(&e.path()) } else { 1 }).sum()
}

/// Writes it.
pub(super) fn write(tree: &Path) -> std::io::Result<()> {
    for folder in 0..FOLDERS {
        let folder = tree.join(format!("folder-{folder}"));
        fs::create_dir_all(&folder)?;
        for file in 0..EACH {
            fs::write(folder.join(format!("file-{file}")), vec![b'x'; BYTES])?;
        }
    }
    Ok(())
}

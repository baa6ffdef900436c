//! Copies a tree into a workload and back, and checks that what came back is what was sent: contents by
//! SHA-256, modes, times, links, empty files and odd names.
//!
//! ```text
//! copy_tree [BACKEND]
//! ```

use pod::copy::{self, CopyOptions, Verify};
use pod::prelude::*;
use pod_examples::{clean_up, finish, own_workload};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    finish(copy_tree(std::env::args().nth(1).as_deref()).await)
}

async fn copy_tree(backend: Option<&str>) -> Result<(), Error> {
    let registry = Registry::from_environment()?;
    let backend = registry.connect(&registry.default_backend(backend)?).await?;
    // Removed when it goes out of scope.
    let folder = tempfile::tempdir().doing(|| "make a folder for the tree")?;
    let result = round_trip(&*backend, folder.path()).await;
    clean_up(&*backend, result).await
}

async fn round_trip(backend: &dyn Backend, folder: &Path) -> Result<(), Error> {
    let (sent, back) = (folder.join("sent"), folder.join("back"));
    grow(&sent).doing(|| "make the tree")?;

    let workload = backend.create(CreateRequest::new(own_workload("copy")?).with_start()).await?;
    let connection = backend.connect(workload.name()).await?;

    // The rules are those of `docker cp`: `/srv/tree` does not exist, so it becomes the tree. With
    // `Verify::Hash`, the far end's contents are read again and compared.
    let options = CopyOptions::new().with_verify(Verify::Hash);
    let up = copy::upload(&*connection, &sent, b"/tmp/tree", &options).await?;
    println!("sent {} entries, {} bytes", up.entries, up.bytes);
    for what in &up.not_kept {
        println!("the workload can't hold {what}");
    }

    // What a workload sends is taken for hostile: nothing is written outside of `back`.
    let down = copy::download(&*connection, b"/tmp/tree", &back, &options).await?;
    println!("got  {} entries, {} bytes", down.entries, down.bytes);

    let (before, after) = (look(&sent).doing(|| "read the tree")?, look(&back).doing(|| "read the copy")?);
    if before != after {
        let differs = before.keys().chain(after.keys()).find(|path| before.get(*path) != after.get(*path));
        return Err(Error::new(ErrorKind::Integrity, "the tree came back changed")
            .with_context("first", differs.map(|path| path.display().to_string()).unwrap_or_default()));
    }
    println!("{} entries are the same", before.len());
    Ok(())
}

/// Makes a small tree of everything a copy can get wrong.
fn grow(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(root.join("a folder/with a\nnewline"))?;
    fs::write(root.join("empty"), "")?;
    fs::write(root.join("a folder/with a\nnewline/größe"), "text\n")?;
    fs::write(root.join("bin/run"), "#!/bin/sh\necho it runs\n")?;
    fs::set_permissions(root.join("bin/run"), fs::Permissions::from_mode(0o750))?;
    let pattern: Vec<u8> = (0..3 << 20).map(|i: u32| i.wrapping_mul(31).to_le_bytes()[1]).collect();
    fs::write(root.join("large"), pattern)?;
    symlink("bin/run", root.join("link"))?;
    symlink("/nowhere", root.join("dangling"))
}

/// What counts of one entry.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    modified: (i64, i64),
    content: Content,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    Folder,
    File([u8; 32]),
    Link(PathBuf),
}

/// Looks at a folder and everything beneath it, by path.
fn look(root: &Path) -> io::Result<BTreeMap<PathBuf, Seen>> {
    let mut seen = BTreeMap::new();
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let meta = fs::symlink_metadata(&path)?;
        let content = if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                paths.push(entry?.path());
            }
            Content::Folder
        } else if meta.is_symlink() {
            Content::Link(fs::read_link(&path)?)
        } else {
            Content::File(Sha256::digest(fs::read(&path)?).into())
        };
        let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
        seen.insert(relative, Seen { mode: meta.mode(), modified: (meta.mtime(), meta.mtime_nsec()), content });
    }
    Ok(seen)
}

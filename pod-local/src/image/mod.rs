//! Where a workload's root comes from, and what the image says about running it.

mod archive;
mod host;
mod rootfs;

pub(crate) use archive::remove_unused;

use crate::store::Store;
use pod_core::{Error, Image, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What an image gives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Root {
    /// Its layers, the uppermost first.
    pub(crate) lower: Vec<PathBuf>,
    /// Its own command.
    pub(crate) command: Vec<String>,
    /// What comes before a command that was asked for.
    pub(crate) entrypoint: Vec<String>,
    /// Its environment.
    pub(crate) env: Vec<(String, String)>,
    /// Its working directory.
    pub(crate) cwd: Option<String>,
    /// Its user.
    pub(crate) user: Option<String>,
    /// Whether `/run` is a memory file system.
    pub(crate) tmpfs_run: bool,
    /// Whether the host's secrets must be hidden.
    pub(crate) host: bool,
    /// Holds its layers until a workload's record names them.
    pub(crate) lock: Option<Arc<File>>,
}

/// Finds an image and makes it ready. Blocks.
///
/// # Errors
/// `NotFound`, `InvalidInput` for what is no image, `Unsupported` for a kind there is no engine for.
pub(crate) fn open(image: &Image, store: &Store) -> Result<Root> {
    match image {
        Image::Host => Ok(host::open()),
        Image::Rootfs(dir) => rootfs::open(Path::new(dir)),
        Image::Archive(file) => archive::open(Path::new(file), store),
        other => Err(Error::unsupported("the local engine takes no images from registries yet")
            .with_context("image", other.to_string())
            .with_hint("use `host`, `rootfs:DIR` or `archive:FILE`")),
    }
}

/// Writes what lies above the image's layers before the first start: what hides the host's secrets, and
/// the files every workload has of its own.
pub(crate) fn prepare_upper(root: &Root, upper: &Path, store: &Store) -> Result<()> {
    if root.host { host::hide(upper, &store.lib) } else { Ok(()) }
}

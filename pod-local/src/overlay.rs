//! A workload's root: overlayfs over its image's layers (overlayfs.rst).

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Mounts the layers `lower` (uppermost first), with `upper` and `work` of `dir` on top, at `target`.
pub(crate) fn mount(lower: &[PathBuf], dir: &Path, target: &Path) -> io::Result<()> {
    let mut options = b"lowerdir=".to_vec();
    for (i, layer) in lower.iter().enumerate() {
        if i > 0 {
            options.push(b':');
        }
        escape(layer, &mut options);
    }
    options.extend_from_slice(b",upperdir=");
    escape(&dir.join("upper"), &mut options);
    options.extend_from_slice(b",workdir=");
    escape(&dir.join("work"), &mut options);
    // mount(2) takes one page of options.
    if options.len() > 4095 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the image has too many layers for one overlay"));
    }
    let options = CString::new(options)?;
    rustix::mount::mount("overlay", target, "overlay", MountFlags::NODEV, options.as_c_str())?;
    Ok(())
}

/// `\`, `:` and `,` separate things in the options.
fn escape(path: &Path, out: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
}

/// The root of a workload that does not run, mounted nowhere: the mount lives as long as the
/// descriptor. Blocks; a thread of its own makes the mount in a namespace that ends with it.
pub(crate) fn open_stopped(lower: Vec<PathBuf>, dir: PathBuf, place: PathBuf) -> io::Result<OwnedFd> {
    std::thread::Builder::new()
        .name("pod-mount".into())
        .spawn(move || {
            // SAFETY: only this thread gets a new namespace, and it ends right after.
            #[allow(unsafe_code)]
            unsafe {
                rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS)?;
            }
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            mount(&lower, &dir, &place)?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(rustix::fs::open(&place, flags, Mode::empty())?)
        })?
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the mounting thread failed")))
}

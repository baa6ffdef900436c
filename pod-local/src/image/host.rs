//! `host`: a throw-away copy of this machine's own root. Nothing to download, and not a sandbox: what
//! any user of the machine may read stays readable. What only root may read, or what belongs to users
//! and other engines, is hidden by the upper layer.

use super::Root;
use pod_core::{IoResultExt, Result};
use rustix::fs::{FileType, Mode, XattrFlags, mknodat, setxattr};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Folders that a workload sees empty, with the mode each gets.
const EMPTY: [(&str, u32); 14] = [
    ("home", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
    ("etc/kubernetes", 0o755),
    ("etc/ssl/private", 0o700),
    ("var/lib/containerd", 0o700),
    ("var/lib/docker", 0o700),
    ("var/lib/kubelet", 0o700),
    ("var/lib/containers", 0o700),
    ("var/lib/pod", 0o700),
    ("var/spool/cron", 0o755),
    ("var/log", 0o755),
];

/// Files that a workload does not see.
const ABSENT: [&str; 6] =
    ["etc/gshadow", "etc/gshadow-", "etc/shadow-", "etc/sudoers", "etc/krb5.keytab", "etc/machine-id"];

/// In place of the host's: every account is locked, so tools that read the file still work.
const SHADOW: &str = "root:*:19000:0:99999:7:::\n";

/// The host's root as a layer.
pub(crate) fn open() -> Root {
    Root {
        lower: vec![PathBuf::from("/")],
        command: vec!["/bin/sh".into()],
        tmpfs_run: true,
        host: true,
        ..Root::default()
    }
}

/// Hides the host's secrets: overlayfs shows an opaque folder of the upper layer without what lies
/// beneath, and a whiteout as nothing (overlayfs.rst).
///
/// `engine` is the folder of this engine's own files, hidden with the rest.
pub(crate) fn hide(upper: &Path, engine: &Path) -> Result<()> {
    hide_all(upper, engine).doing(|| "hide the host's own files from the workload")
}

fn hide_all(upper: &Path, engine: &Path) -> io::Result<()> {
    let engine = engine.strip_prefix("/").unwrap_or(engine);
    let hidden = |path: &Path| EMPTY.iter().any(|(p, _)| path.starts_with(p));
    let own = (!hidden(engine)).then(|| (engine.to_str().unwrap_or_default(), 0o700));
    for (path, mode) in EMPTY.into_iter().chain(own) {
        let host = Path::new("/").join(path);
        // A link (as /var/run, or a merged /home) is shown as it is; its target is hidden if it is listed.
        match fs::symlink_metadata(&host) {
            Ok(meta) if meta.is_dir() => {
                parents(upper, Path::new(path))?;
                let dir = upper.join(path);
                fs::DirBuilder::new().mode(mode).create(&dir)?;
                fs::set_permissions(&dir, fs::Permissions::from_mode(mode))?;
                setxattr(&dir, "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
            }
            _ => {}
        }
    }
    for path in ABSENT {
        whiteout(upper, Path::new(path))?;
    }
    for entry in fs::read_dir("/etc/ssh").into_iter().flatten() {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|n| n.starts_with("ssh_host_") && n.ends_with("_key")) {
            whiteout(upper, &Path::new("etc/ssh").join(name))?;
        }
    }
    if Path::new("/etc/shadow").exists() {
        parents(upper, Path::new("etc/shadow"))?;
        let shadow = upper.join("etc/shadow");
        fs::write(&shadow, SHADOW)?;
        fs::set_permissions(&shadow, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn whiteout(upper: &Path, path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(Path::new("/").join(path)).is_err() {
        return Ok(());
    }
    parents(upper, path)?;
    Ok(mknodat(rustix::fs::CWD, upper.join(path), FileType::CharacterDevice, Mode::empty(), 0)?)
}

/// Makes the folders above `path` in the upper layer look like the host's, for theirs is what shows.
pub(crate) fn parents(upper: &Path, path: &Path) -> io::Result<()> {
    let mut at = PathBuf::new();
    for part in path.parent().into_iter().flat_map(Path::components) {
        at.push(part);
        let dir = upper.join(&at);
        if dir.exists() {
            continue;
        }
        fs::create_dir(&dir)?;
        if let Ok(meta) = fs::metadata(Path::new("/").join(&at)) {
            fs::set_permissions(&dir, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
            std::os::unix::fs::chown(&dir, Some(meta.uid()), Some(meta.gid()))?;
        }
    }
    Ok(())
}

//! `rootfs:DIR`: a folder that holds a root file system. It is a lower layer: nothing writes to it.

use super::Root;
use pod_core::{Error, ErrorKind, Result};
use std::path::Path;

/// Opens the folder.
///
/// # Errors
/// `NotFound`; `InvalidInput` for what is no folder, or holds no program a workload could run.
pub(crate) fn open(dir: &Path) -> Result<Root> {
    let at = |e: Error| e.with_context("image", format!("rootfs:{}", dir.display()));
    let found = std::fs::canonicalize(dir).map_err(|e| {
        at(match e.kind() {
            std::io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, "there is no such folder")
                .with_hint("name a folder with a root file system, such as debootstrap makes"),
            _ => Error::io("open the image's folder", e),
        })
    })?;
    if !found.is_dir() {
        return Err(at(
            Error::invalid("that is no image: it is not a folder").with_hint("`archive:FILE` takes an image in a file")
        ));
    }
    if found == Path::new("/") {
        return Err(at(Error::invalid("the machine's own root is not an image to mount as it is")
            .with_hint("use the image `host`")));
    }
    let has_programs = ["bin", "usr/bin", "sbin", "usr/sbin", "usr/local/bin"].iter().any(|d| found.join(d).is_dir())
        || std::fs::read_dir(&found).is_ok_and(|mut entries| {
            use std::os::unix::fs::PermissionsExt;
            entries
                .any(|e| e.and_then(|e| e.metadata()).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
        });
    if !has_programs {
        return Err(at(Error::invalid("that is no image: it holds no program")
            .with_hint("a root file system has a bin or usr/bin, or a program at its top")));
    }
    Ok(Root { lower: vec![found], command: vec!["/bin/sh".into()], ..Root::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_with_programs_is_an_image() {
        let dir = tempfile::tempdir().expect("dir");
        assert_eq!(open(&dir.path().join("none")).map_err(|e| e.kind()).err(), Some(ErrorKind::NotFound));
        assert_eq!(open(dir.path()).map_err(|e| e.kind()).err(), Some(ErrorKind::InvalidInput));
        std::fs::write(dir.path().join("file"), b"x").expect("write");
        assert_eq!(open(&dir.path().join("file")).map_err(|e| e.kind()).err(), Some(ErrorKind::InvalidInput));
        std::fs::create_dir(dir.path().join("bin")).expect("mkdir");
        assert!(open(dir.path()).is_ok());
    }
}

//! Files of the workload, with names of any bytes.

use crate::copy::{FileStat, FileType};
use crate::os::Os;
use crate::{Error, Result};
use std::fmt;

/// A file's name or path: any bytes but zero.
///
/// `Display` and JSON give it as text; bytes that are no UTF-8, and control characters, as `\xNN`.
/// Where that is not enough, [`PathBytes::as_bytes`] has them as they are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PathBytes(Vec<u8>);

impl PathBytes {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for PathBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    let mut buf = [0; 4];
                    text.extend(c.encode_utf8(&mut buf).bytes().map(|b| format!("\\x{b:02x}")));
                } else {
                    text.push(c);
                }
            }
            text.extend(chunk.invalid().iter().map(|b| format!("\\x{b:02x}")));
        }
        f.pad(&text)
    }
}

impl fmt::Debug for PathBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<&str> for PathBytes {
    fn from(s: &str) -> Self {
        Self(s.into())
    }
}

impl PartialEq<str> for PathBytes {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl serde::Serialize for PathBytes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct FileEntry {
    /// Its name in the folder.
    pub name: PathBytes,
    /// What it is.
    pub kind: FileType,
    /// Its size in bytes.
    pub size: u64,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// When it was last changed: seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// The owner's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
    /// Where a symbolic link points.
    pub target: Option<PathBytes>,
}

impl From<FileEntry> for FileStat {
    fn from(e: FileEntry) -> Self {
        let mut stat = Self::new(e.kind, e.size);
        (stat.mode, stat.mtime, stat.uid, stat.gid) = (e.mode, e.mtime, e.uid, e.gid);
        stat.target = e.target.map(|t| t.0);
        stat
    }
}

/// Whether a removal removed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Removed {
    /// It was removed.
    Removed,
    /// There was nothing to remove.
    AlreadyAbsent,
}

/// The most that [`Os::read_file`] reads unless told otherwise: 16 MiB.
pub const READ_LIMIT: usize = 16 << 20;

/// A path that a program can be given: absolute, and no zero byte in it.
pub(crate) fn checked(path: &[u8]) -> Result<&[u8]> {
    let shown = || PathBytes::new(path).to_string();
    if !path.starts_with(b"/") {
        return Err(Error::invalid("the path is not absolute")
            .with_context("path", shown())
            .with_hint("begin it with `/`"));
    }
    if path.contains(&0) {
        return Err(Error::invalid("the path holds a zero byte").with_context("path", shown()));
    }
    Ok(path)
}

impl Os {
    /// Whether something is at this absolute path; a dangling symbolic link is something.
    ///
    /// # Errors
    /// `PermissionDenied` where a folder on the way can't be searched; else as [`Os::execute`].
    pub async fn exists(&self, path: impl AsRef<[u8]> + Send) -> Result<bool> {
        Ok(self.stat(path, false).await?.is_some())
    }

    /// What is at this absolute path; `None` when nothing is. With `follow`, a symbolic link there is
    /// followed.
    ///
    /// # Errors
    /// `PermissionDenied` where a folder on the way can't be searched; else as [`Os::execute`].
    pub async fn stat(&self, path: impl AsRef<[u8]> + Send, follow: bool) -> Result<Option<FileStat>> {
        self.execute(self.dialect().stat(path.as_ref(), follow), "os.stat").await
    }

    /// Reads a file of at most [`READ_LIMIT`] bytes, files of `/proc` too. Larger ones are copied with
    /// [`Connection::copy_out`](crate::Connection::copy_out).
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied`; [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) when the
    /// file is longer; else as [`Os::execute`].
    pub async fn read_file(&self, path: impl AsRef<[u8]> + Send) -> Result<Vec<u8>> {
        self.execute(self.dialect().read_file(path.as_ref(), READ_LIMIT), "os.read_file").await
    }

    /// Writes a file whole: it is made, or takes the place of the one there, only when all its bytes
    /// have arrived. A symbolic link is followed. What can't be replaced (a mounted file such as a
    /// container's `/etc/hosts`, a device, a file of `/proc`) is written in place. Twice in a row gives
    /// the same file. Needs `exec.stdin`.
    ///
    /// # Errors
    /// `NotFound` without the folder; `PermissionDenied`; `Exhausted` on a full disk; `Integrity` when
    /// not all bytes arrived; else as [`Os::execute`].
    pub async fn write_file(
        &self,
        path: impl AsRef<[u8]> + Send,
        content: impl Into<Vec<u8>> + Send,
        mode: u32,
    ) -> Result<()> {
        self.execute(self.dialect().write_file(path.as_ref(), content.into(), mode), "os.write_file").await
    }

    /// Makes a folder; with `parents`, those above it too. A folder that is there already is no error.
    ///
    /// # Errors
    /// `AlreadyExists` when something else is there; `NotFound` without the parent; else as
    /// [`Os::execute`].
    pub async fn make_dir(&self, path: impl AsRef<[u8]> + Send, parents: bool) -> Result<()> {
        self.execute(self.dialect().make_dir(path.as_ref(), parents), "os.make_dir").await
    }

    /// Removes a file, a symbolic link itself, an empty folder, or with `recursive` a folder and all in
    /// it. Absence is no error.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) for a folder that is not empty;
    /// `InvalidInput` for `/`; else as [`Os::execute`].
    pub async fn remove(&self, path: impl AsRef<[u8]> + Send, recursive: bool) -> Result<Removed> {
        self.execute(self.dialect().remove(path.as_ref(), recursive), "os.remove").await
    }

    /// What is in a folder, by name, without `.` and `..`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` when it is no folder; else as [`Os::execute`].
    pub async fn list_dir(&self, path: impl AsRef<[u8]> + Send) -> Result<Vec<FileEntry>> {
        self.execute(self.dialect().list_dir(path.as_ref()), "os.list_dir").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_shown_escaped_and_kept_whole() {
        let name = PathBytes::new(&b"a b\n\xff\\\xc3\xa4"[..]);
        assert_eq!(name.to_string(), "a b\\x0a\\xff\\ä");
        assert_eq!(serde_json::to_string(&name).ok().as_deref(), Some(r#""a b\\x0a\\xff\\ä""#));
        assert_eq!(name.as_bytes(), b"a b\n\xff\\\xc3\xa4");
    }

    #[test]
    fn paths_are_absolute() {
        assert!(checked(b"/a").is_ok());
        for bad in [&b"a"[..], b"", b"-rf", b"/a\0b"] {
            assert!(checked(bad).is_err());
        }
    }
}

//! What a workload finds in its file system that is not its image's.

use crate::{Error, Result, VolumeName, size};
use std::fmt;

/// The smallest tmpfs: one page on most machines.
const SMALLEST: u64 = 4096;
/// The longest path (`PATH_MAX` less its zero byte).
const LONGEST: usize = 4095;

/// Where what is mounted comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MountSource {
    /// A file or directory of the machine that the engine runs on, by its absolute path. It must be
    /// there: none is made.
    Host(String),
    /// A volume, which is made when it is not there. It outlives the workload, and POD removes none, not even
    /// one that was made for a workload which could not be started then.
    Volume(VolumeName),
    /// Memory: at most this many bytes, 4,096 or more, gone when the workload ends.
    Tmpfs(u64),
}

impl fmt::Display for MountSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(path) => f.write_str(path),
            Self::Volume(name) => name.fmt(f),
            Self::Tmpfs(bytes) => write!(f, "tmpfs of {}", size::human(*bytes)),
        }
    }
}

/// Something mounted in a workload before its command starts. Needs `lifecycle.mounts`.
///
/// As text in a file it is a mapping of `host`, `volume` or `tmpfs`, of `at`, and of `read_only`:
///
/// ```
/// use pod_core::{Mount, MountSource};
/// let mount: Mount = serde_json::from_str(r#"{ "tmpfs": "64M", "at": "/tmp" }"#)?;
/// assert_eq!(mount, Mount::new(MountSource::Tmpfs(64 << 20), "/tmp"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Written", into = "Written")]
#[non_exhaustive]
pub struct Mount {
    /// Where it comes from.
    pub source: MountSource,
    /// The absolute path inside; made when it is not there, and what the image has at it is hidden.
    pub at: String,
    /// Whether the workload can't write to it.
    pub read_only: bool,
}

impl Mount {
    /// Mounts `source` at a path of the workload, to be read and written.
    #[must_use]
    pub fn new(source: MountSource, at: impl Into<String>) -> Self {
        Self { source, at: at.into(), read_only: false }
    }

    /// Sets whether the workload can't write to it.
    #[must_use]
    pub fn with_read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Checks it alone.
    pub(crate) fn validate(&self) -> Result<()> {
        let bad = |why: &str| Err(Error::invalid(why).with_context("mount", self.to_string()));
        if let Some(why) = not_a_path(&self.at) {
            return bad(&format!("the path inside {why}"));
        }
        if self.at.split('/').all(str::is_empty) {
            return bad("a workload's root is its image's: nothing is mounted there");
        }
        if self.at.split('/').any(|part| matches!(part, "." | "..")) {
            return bad("the path inside is written without . and ..");
        }
        match &self.source {
            MountSource::Host(path) => match not_a_path(path) {
                Some(why) => bad(&format!("the path on the host {why}")),
                None => Ok(()),
            },
            MountSource::Volume(_) => Ok(()),
            MountSource::Tmpfs(bytes) if *bytes < SMALLEST => bad("a tmpfs has 4,096 bytes or more"),
            MountSource::Tmpfs(_) if self.read_only => bad("a tmpfs that can't be written to stays empty"),
            MountSource::Tmpfs(_) => Ok(()),
        }
    }
}

/// Why something is no absolute path.
fn not_a_path(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("is not absolute");
    }
    if path.contains('\0') {
        return Some("holds a zero byte");
    }
    (path.len() > LONGEST).then_some("is longer than 4,095 bytes")
}

/// `SOURCE at PLACE`, and that it is read-only when it is.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.source, self.at)?;
        if self.read_only { f.write_str(", read-only") } else { Ok(()) }
    }
}

/// Checks all mounts of a workload.
///
/// # Errors
/// `InvalidInput` names the first that can't be, and two at the same path.
pub(crate) fn validate(mounts: &[Mount]) -> Result<()> {
    let place = |mount: &Mount| mount.at.split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    for (i, mount) in mounts.iter().enumerate() {
        mount.validate()?;
        if let Some(other) = mounts[..i].iter().find(|m| place(m) == place(mount)) {
            return Err(Error::invalid("two mounts have the same path inside")
                .with_context("mount", mount.to_string())
                .with_context("other", other.to_string()));
        }
    }
    Ok(())
}

/// A mount as files have it.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume: Option<VolumeName>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "size::option")]
    tmpfs: Option<u64>,
    at: String,
    #[serde(default)]
    read_only: bool,
}

impl TryFrom<Written> for Mount {
    type Error = &'static str;

    fn try_from(w: Written) -> std::result::Result<Self, Self::Error> {
        let source = match (w.host, w.volume, w.tmpfs) {
            (Some(path), None, None) => MountSource::Host(path),
            (None, Some(name), None) => MountSource::Volume(name),
            (None, None, Some(bytes)) => MountSource::Tmpfs(bytes),
            _ => return Err("a mount comes from one of `host`, `volume` and `tmpfs`"),
        };
        Ok(Self { source, at: w.at, read_only: w.read_only })
    }
}

impl From<Mount> for Written {
    fn from(mount: Mount) -> Self {
        let mut written = Self { host: None, volume: None, tmpfs: None, at: mount.at, read_only: mount.read_only };
        match mount.source {
            MountSource::Host(path) => written.host = Some(path),
            MountSource::Volume(name) => written.volume = Some(name),
            MountSource::Tmpfs(bytes) => written.tmpfs = Some(bytes),
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(path: &str, at: &str) -> Mount {
        Mount::new(MountSource::Host(path.into()), at)
    }

    #[test]
    fn they_are_written_as_they_are_read() {
        let volume = MountSource::Volume(VolumeName::new("data").expect("a name"));
        for (mount, text) in [
            (host("/srv", "/data"), r#"{"host":"/srv","at":"/data","read_only":false}"#),
            (Mount::new(volume, "/data").with_read_only(true), r#"{"volume":"data","at":"/data","read_only":true}"#),
            (Mount::new(MountSource::Tmpfs(65536), "/tmp"), r#"{"tmpfs":65536,"at":"/tmp","read_only":false}"#),
        ] {
            assert_eq!(serde_json::to_string(&mount).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<Mount>(text).expect("a mount"), mount);
        }
        for bad in [
            r#"{"at":"/data"}"#,
            r#"{"host":"/srv"}"#,
            r#"{"host":"/srv","volume":"data","at":"/data"}"#,
            r#"{"host":"/srv","at":"/data","mode":1}"#,
            r#"{"volume":"a/b","at":"/data"}"#,
            r#"{"tmpfs":"much","at":"/data"}"#,
        ] {
            assert!(serde_json::from_str::<Mount>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let tmpfs = |bytes| Mount::new(MountSource::Tmpfs(bytes), "/tmp");
        for (mount, why) in [
            (host("srv", "/data"), "the path on the host is not absolute"),
            (host("/s\0", "/data"), "the path on the host holds a zero byte"),
            (host("/srv", "data"), "the path inside is not absolute"),
            (host("/srv", "//"), "a workload's root"),
            (host("/srv", "/a/../b"), "without . and .."),
            (host("/srv", &format!("/{}", "x".repeat(4095))), "longer than"),
            (tmpfs(100), "4,096 bytes"),
            (tmpfs(65536).with_read_only(true), "stays empty"),
        ] {
            let e = validate(&[mount]).expect_err(why);
            assert!(e.to_string().contains(why), "{e}");
        }
        assert!(validate(&[host("/srv", "/data"), host("/srv", "/data/more")]).is_ok());
        let twice = validate(&[host("/srv", "/data"), host("/opt", "/data/")]).expect_err("the same path");
        assert!(twice.to_string().contains("the same path"), "{twice}");
    }
}

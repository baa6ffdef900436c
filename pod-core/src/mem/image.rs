//! What a simulated workload is made from.

use super::fs::{Cred, Device, Fs, FsResult, ROOT};
use crate::WorkloadSpec;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// An image of simulated workloads: files, and what is run when a workload names no command.
///
/// Every image holds the built-in programs and those given to the backend in `/bin`, and a small
/// `/etc`. The default command is `sleep infinity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemImage {
    pub(super) command: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) cwd: Option<String>,
    pub(super) user: Option<String>,
    files: BTreeMap<Vec<u8>, (u32, Vec<u8>)>,
}

impl Default for MemImage {
    fn default() -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            command: vec!["sleep".into(), "infinity".into()],
            env: [("PATH".to_owned(), path.to_owned())].into(),
            cwd: None,
            user: None,
            files: BTreeMap::new(),
        }
    }
}

impl MemImage {
    /// An image with the built-in programs and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs this when a workload names no command.
    #[must_use]
    pub fn with_command<I: IntoIterator<Item = S>, S: Into<String>>(mut self, argv: I) -> Self {
        self.command = argv.into_iter().map(Into::into).collect();
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn with_env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(key.into(), value.into());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn with_cwd(mut self, cwd: impl Into<String>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Sets the user, as [`WorkloadSpec::user`].
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Adds a file at this absolute path, with these permission bits.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<Vec<u8>>, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), (mode & 0o7777, content.into()));
        self
    }

    /// Makes the file system of a workload.
    pub(super) fn build(&self, disk: Option<u64>, programs: &[String], spec: &WorkloadSpec) -> FsResult<Fs> {
        let mut fs = Fs::new(disk);
        for dir in ["/bin", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/tmp", "/usr", "/var/log"] {
            fs.make_dirs(dir.as_bytes())?;
        }
        let usr = fs.make_dirs(b"/usr")?;
        for (dir, name, target) in [(ROOT, "sbin", "bin"), (usr, "bin", "../bin"), (usr, "sbin", "../bin")] {
            fs.make_symlink(Cred::default(), dir, name.as_bytes(), target.as_bytes())?;
        }
        let tmp = fs.make_dirs(b"/tmp")?;
        fs.node_mut(tmp)?.mode = 0o1777;
        let dev = fs.make_dirs(b"/dev")?;
        for (name, device) in [("null", Device::Null), ("zero", Device::Zero), ("full", Device::Full)] {
            fs.make_device(dev, name.as_bytes(), device)?;
        }
        for name in programs {
            let script = format!("#!mem:{name}\n");
            fs.put(format!("/bin/{name}").as_bytes(), 0o755, script.as_bytes())?;
        }
        let mut hosts = String::from("127.0.0.1 localhost\n");
        for (name, ip) in &spec.hosts {
            let _ = writeln!(hosts, "{ip} {name}"); // writing to a String can't fail
        }
        let version = env!("CARGO_PKG_VERSION");
        let etc: [(&str, String); 6] = [
            ("passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n".into()),
            ("group", "root:x:0:\nuser:x:1000:\nnobody:x:65534:\n".into()),
            ("hostname", format!("{}\n", spec.name)),
            ("hosts", hosts),
            ("resolv.conf", String::new()),
            ("os-release", format!("ID=pod-mem\nNAME=\"POD in memory\"\nPRETTY_NAME=\"POD in memory {version}\"\nVERSION_ID=\"{version}\"\n")),
        ];
        for (name, text) in etc {
            fs.put(format!("/etc/{name}").as_bytes(), 0o644, text.as_bytes())?;
        }
        for (path, (mode, content)) in &self.files {
            fs.put(path, *mode, content)?;
        }
        for dir in ["/proc", "/sys"] {
            let ino = fs.make_dirs(dir.as_bytes())?;
            fs.set_read_only(ino, true)?;
        }
        Ok(fs)
    }
}

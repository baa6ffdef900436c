//! What the engine keeps on disk, and where.
//!
//! Under the lasting folder, `workloads/NAME/` holds `record.json` (what was asked for), `upper` and
//! `work` (what the workload wrote), `log`, and `exit.json` once its command has ended. Under the
//! folder of this boot, `workloads/NAME/` holds the helper's socket `helper`, its lock `alive`,
//! `status.json`, and what libcontainer keeps; `netns/NAME` is the network namespace.

use pod_core::{Error, ErrorKind, ExitStatus, IoResultExt, Result, State, Workload, WorkloadName, WorkloadSpec};
use rustix::fs::{FlockOperation, RenameFlags, flock, renameat_with};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where the engine keeps things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Store {
    /// Of this boot.
    pub(crate) run: PathBuf,
    /// Lasting.
    pub(crate) lib: PathBuf,
    /// A short name for the instance: `pod`, or `pod-` and a hash for one with a root of its own.
    pub(crate) instance: String,
}

/// What is kept of a workload from its creation to its removal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// A new workload of the same name has another.
    pub(crate) id: String,
    /// When it was made.
    pub(crate) created: jiff::Timestamp,
    /// What was asked for.
    pub(crate) spec: WorkloadSpec,
    /// The layers of its root, the uppermost first.
    pub(crate) lower: Vec<PathBuf>,
    /// Whether `/run` is a memory file system.
    pub(crate) tmpfs_run: bool,
    /// The command: the one asked for, else the image's.
    pub(crate) command: Vec<String>,
    /// The environment: the image's, then the one asked for.
    pub(crate) env: Vec<(String, String)>,
    /// The working directory: the one asked for, else the image's.
    pub(crate) cwd: Option<String>,
    /// The user: the one asked for, else the image's.
    pub(crate) user: Option<String>,
}

/// What the helper says of a running workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    /// PID 1, as the host numbers it.
    pub(crate) init: u32,
    /// The command, as the host numbers it.
    pub(crate) pid: Option<u32>,
    /// When the command was started.
    pub(crate) started: jiff::Timestamp,
    /// How and when it ended, if it did and the workload stays.
    pub(crate) ended: Option<Ended>,
}

/// How a command ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ended {
    /// How.
    pub(crate) status: ExitStatus,
    /// When.
    pub(crate) finished: jiff::Timestamp,
    /// When it had been started.
    pub(crate) started: jiff::Timestamp,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
}

fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file so that readers see the old or the new, never half.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temp = path.with_extension("tmp");
    let mut file = File::create(&temp)?;
    let written = serde_json::to_vec(value).map_err(io::Error::from).and_then(|v| file.write_all(&v));
    if let Err(e) = written.and_then(|()| fs::rename(&temp, path)) {
        // The error that matters is the one at hand.
        let _ = fs::remove_file(&temp);
        return Err(e);
    }
    Ok(())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            Error::unexpected("a file of the engine is damaged")
                .with_context("path", path.display().to_string())
                .with_hint("remove the workload by force: `pod rm -f NAME`")
                .with_source(e)
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read a file of the engine", e).with_context("path", path.display().to_string())),
    }
}

impl Store {
    /// The engine's own place, or one under `root`.
    pub(crate) fn new(root: Option<&Path>) -> Self {
        match root {
            None => Self { run: "/run/pod".into(), lib: "/var/lib/pod".into(), instance: "pod".into() },
            Some(root) => {
                use sha2::Digest;
                use std::os::unix::ffi::OsStrExt;
                let hash = sha2::Sha256::digest(root.as_os_str().as_bytes());
                let short: String = hash[..3].iter().map(|b| format!("{b:02x}")).collect();
                Self { run: root.join("run"), lib: root.join("lib"), instance: format!("pod-{short}") }
            }
        }
    }

    /// The lasting folder of a workload.
    pub(crate) fn dir(&self, name: &WorkloadName) -> PathBuf {
        self.lib.join("workloads").join(name.as_str())
    }

    /// The folder of a workload for this boot.
    pub(crate) fn run_dir(&self, name: &WorkloadName) -> PathBuf {
        self.run.join("workloads").join(name.as_str())
    }

    /// The network namespace of a workload.
    pub(crate) fn netns(&self, name: &WorkloadName) -> PathBuf {
        self.run.join("netns").join(name.as_str())
    }

    /// The journal of events.
    pub(crate) fn journal(&self) -> PathBuf {
        self.run.join("events")
    }

    /// A workload's cgroup below each hierarchy's root.
    pub(crate) fn cgroup(&self, id: &str) -> String {
        format!("/{}/{id}", self.instance)
    }

    /// Makes the folders, and keeps [`Store::tidy`] from removing them until the result is dropped.
    /// Blocks.
    pub(crate) fn enter(&self) -> Result<Inside> {
        let at = |path: &Path, e: io::Error| {
            let denied = e.kind() == io::ErrorKind::PermissionDenied;
            let error = Error::io("make the engine's folder", e).with_context("path", path.display().to_string());
            if denied { error.with_hint("the local engine needs root for now: use sudo") } else { error }
        };
        loop {
            private_dir(&self.lib).map_err(|e| at(&self.lib, e))?;
            let file = match File::open(&self.lib) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue, // tidied away meanwhile
                Err(e) => return Err(at(&self.lib, e)),
            };
            flock(&file, FlockOperation::LockShared).map_err(|e| at(&self.lib, e.into()))?;
            if !is_still(&file, &self.lib) {
                continue;
            }
            for dir in [self.lib.join("workloads"), self.run.join("workloads")] {
                private_dir(&dir).map_err(|e| at(&dir, e))?;
            }
            return Ok(Inside { _folder: file });
        }
    }

    /// Makes a workload's folder out of what `fill` puts into it, in one step: it is there whole or not
    /// at all.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one of that name.
    pub(crate) fn create(&self, name: &WorkloadName, id: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let parent = self.lib.join("workloads");
        let exists = || {
            Error::new(ErrorKind::AlreadyExists, "a workload of that name exists")
                .with_context("workload", name.as_str())
                .with_hint(format!("choose another name, or remove it: `pod rm {name}`"))
        };
        if self.dir(name).exists() {
            return Err(exists());
        }
        let temp = parent.join(format!(".{id}"));
        let made = private_dir(&temp)
            .doing(|| format!("make a folder for the workload {name}"))
            .and_then(|()| fill(&temp))
            .and_then(|()| {
                match renameat_with(rustix::fs::CWD, &temp, rustix::fs::CWD, self.dir(name), RenameFlags::NOREPLACE) {
                    Ok(()) => Ok(()),
                    Err(rustix::io::Errno::EXIST) => Err(exists()),
                    Err(e) => Err(Error::io("put the workload's folder in place", e.into())),
                }
            });
        if made.is_err() {
            // The error that matters is the one at hand.
            let _ = fs::remove_dir_all(&temp);
        }
        made
    }

    /// Holds a workload against other changes of it, by any process. Blocks.
    ///
    /// # Errors
    /// `NotFound` when it is gone, also when it goes while waiting.
    pub(crate) fn lock(&self, name: &WorkloadName) -> Result<Lock> {
        let dir = self.dir(name);
        let missing = || Error::not_found("workload", name.as_str()).with_hint("`pod ps -a` lists them");
        let file = match File::open(&dir) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(e) => return Err(Error::io("open the workload's folder", e)),
        };
        flock(&file, FlockOperation::LockExclusive).map_err(|e| Error::io("lock the workload", e.into()))?;
        // While waiting, it may have been removed, and another made.
        if is_still(&file, &dir) { Ok(Lock { _file: file }) } else { Err(missing()) }
    }

    /// A workload's record.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn record(&self, name: &WorkloadName) -> Result<Record> {
        read_json(&self.dir(name).join("record.json"))?
            .ok_or_else(|| Error::not_found("workload", name.as_str()).with_hint("`pod ps -a` lists them"))
    }

    /// The names of all workloads, sorted.
    pub(crate) fn names(&self) -> Result<Vec<WorkloadName>> {
        let dir = self.lib.join("workloads");
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list the workloads", e).with_context("path", dir.display().to_string())),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.doing(|| "list the workloads")?;
            // Names that begin with a dot are being made or removed.
            if let Some(name) = entry.file_name().to_str().filter(|n| !n.starts_with('.')) {
                names.push(WorkloadName::new(name)?);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether a workload's helper lives: it holds the lock on `alive` as long as it does.
    pub(crate) fn alive(&self, name: &WorkloadName) -> Result<bool> {
        let file = match File::open(self.run_dir(name).join("alive")) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("look for the workload's helper", e)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(e) => Err(Error::io("look for the workload's helper", e.into())),
        }
    }

    /// Waits until a workload's helper has ended. Blocks.
    pub(crate) fn wait_dead(&self, name: &WorkloadName) -> Result<()> {
        let file = match File::open(self.run_dir(name).join("alive")) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("wait for the workload's helper", e)),
        };
        flock(&file, FlockOperation::LockShared).map_err(|e| Error::io("wait for the workload's helper", e.into()))
    }

    /// What the helper last said.
    pub(crate) fn status(&self, name: &WorkloadName) -> Result<Option<Status>> {
        read_json(&self.run_dir(name).join("status.json"))
    }

    /// How the command ended, if the workload ended.
    pub(crate) fn ended(&self, name: &WorkloadName) -> Result<Option<Ended>> {
        read_json(&self.dir(name).join("exit.json"))
    }

    /// A workload as it is, its attachments left out.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn workload(&self, name: &WorkloadName) -> Result<Workload> {
        let record = self.record(name)?;
        let mut workload = Workload::new(record.spec, record.id);
        workload.created = record.created;
        if let Some(ended) = self.ended(name)? {
            workload.state = State::Exited(ended.status);
            workload.started = Some(ended.started);
            workload.finished = Some(ended.finished);
            workload.notes = ended.notes;
            return Ok(workload);
        }
        let alive = self.alive(name)?;
        match self.status(name)? {
            Some(status) if alive => {
                workload.started = Some(status.started);
                workload.pid = status.pid;
                workload.finished = status.ended.as_ref().map(|e| e.finished);
                workload.state = State::Running { command: status.ended.map(|e| e.status) };
            }
            None if alive => workload.state = State::Starting,
            _ if self.dir(name).join("started").exists() => {
                // The helper wrote no end: it was killed, or the machine went down.
                workload.state = State::Exited(ExitStatus::Unknown);
                workload.notes.push("its helper ended without a word; the exit status is lost".into());
            }
            _ => {}
        }
        Ok(workload)
    }

    /// Removes a workload's folders. Its lasting folder goes last and in one step, so that a second
    /// removal finishes a first that was cut short.
    pub(crate) fn remove(&self, name: &WorkloadName, id: &str) -> Result<()> {
        let gone = |done: io::Result<()>| match done {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        gone(fs::remove_dir_all(self.run_dir(name))).doing(|| format!("remove the runtime files of {name}"))?;
        let trash = self.lib.join("workloads").join(format!(".{id}"));
        gone(fs::rename(self.dir(name), &trash)).doing(|| format!("remove the folder of {name}"))?;
        gone(fs::remove_dir_all(&trash)).doing(|| format!("remove the files of {name}"))
    }

    /// Removes the engine's folders as far as they are empty: nothing stays behind when the last
    /// workload and network go.
    pub(crate) fn tidy(&self) {
        let Ok(file) = File::open(&self.lib) else { return };
        // Whoever is making something now keeps the folders, and tidies when it goes.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || !is_still(&file, &self.lib) {
            return;
        }
        for dir in ["workloads", "netns", "net"] {
            let _ = fs::remove_dir(self.run.join(dir));
            let _ = fs::remove_dir(self.lib.join(dir));
        }
        let in_use = ["workloads", "netns", "net"].iter().any(|d| self.run.join(d).exists());
        if !in_use {
            // Only the journal may be left, and nobody uses it.
            let _ = fs::remove_file(self.journal());
            let _ = fs::remove_dir(&self.run);
        }
        let _ = fs::remove_dir(&self.lib);
    }
}

/// Whether the open folder is the one at `path`, and not one that was removed.
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(now)) => (held.dev(), held.ino()) == (now.dev(), now.ino()),
        _ => false,
    }
}

/// Keeps the engine's folders from being tidied away; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Inside {
    _folder: File,
}

/// Holds a workload against other changes; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

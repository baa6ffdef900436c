//! What the contestants share: one root file system of BusyBox, the engine, runc and crun.

use super::apart::{Apart, UNIFIED};
use super::table::Times;
use pod::prelude::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tools POD is compared with.
pub(crate) const PEERS: [&str; 2] = ["runc", "crun"];

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) backend: Arc<dyn Backend>,
    /// The `pod` program.
    pub(crate) pod: PathBuf,
    /// What was changed about the machine for one of the contestants.
    pub(crate) note: Option<&'static str>,
    /// Where crun runs, if not here.
    apart: Option<Apart>,
}

impl World {
    pub(crate) async fn make() -> Result<Self, Error> {
        if std::env::var_os(crate::isolate::MARK).is_none() {
            return Err(Error::invalid("this is run by `cargo xtask bench`, in namespaces of its own"));
        }
        let folder = tempfile::Builder::new().prefix("pod-bench-").tempdir().doing(|| "make a folder")?;
        let pod = std::env::var_os("POD_SHIM").map(PathBuf::from);
        let pod = pod.ok_or_else(|| Error::invalid("POD_SHIM does not name the pod program"))?;
        let registry = Registry::with_defaults();
        let backend = registry.connect(&registry.default_backend(Some("local:"))?).await?;
        let mut world = Self { folder, backend, pod, note: None, apart: None };
        world.root_file_system().doing(|| "make the root file system")?;
        for peer in PEERS {
            world.bundle(peer)?;
        }
        if world.run_peer("crun", "trial").is_err() && Path::new(UNIFIED).exists() {
            world.apart = Some(Apart::begin()?);
            world.note = Some(
                "crun ran where control groups of version 2 are not mounted, because it refuses both versions at once.",
            );
            world.run_peer("crun", "trial")?;
        }
        world.remove_peer("crun", "trial")?;
        Ok(world)
    }

    /// The root file system of all contestants.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("rootfs")
    }

    /// BusyBox, and a link to it for each of its programs.
    fn root_file_system(&self) -> std::io::Result<()> {
        let bin = self.root().join("bin");
        for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "root"] {
            fs::create_dir_all(self.root().join(folder))?;
        }
        let busybox = crate::install::find("busybox").ok_or_else(|| std::io::Error::other("busybox is missing"))?;
        fs::copy(&busybox, bin.join("busybox"))?;
        fs::write(self.root().join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(self.root().join("etc/group"), "root:x:0:\n")?;
        let list = Command::new(&busybox).arg("--list").output()?;
        for name in String::from_utf8_lossy(&list.stdout).lines().filter(|n| *n != "busybox") {
            symlink("busybox", bin.join(name))?;
        }
        Ok(())
    }

    /// The folder of a peer's bundle: its own default configuration over the shared root, and a command
    /// that stays.
    pub(crate) fn bundle_of(&self, peer: &str) -> PathBuf {
        self.folder.path().join(peer)
    }

    fn bundle(&self, peer: &str) -> Result<(), Error> {
        let bundle = self.bundle_of(peer);
        fs::create_dir(&bundle).doing(|| "make a bundle")?;
        call(Command::new(peer).arg("spec").arg("--bundle").arg(&bundle))?;
        let path = bundle.join("config.json");
        let text = fs::read_to_string(&path).doing(|| "read a bundle's configuration")?;
        let bad = |e| Error::unexpected("a bundle's configuration is no JSON").with_source(e);
        let mut config: serde_json::Value = serde_json::from_str(&text).map_err(bad)?;
        config["root"]["path"] = self.root().display().to_string().into();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["sleep", "1000"]);
        fs::write(&path, config.to_string()).doing(|| "write a bundle's configuration")
    }

    /// Runs a peer, with its state in our folder, to its end.
    pub(crate) fn call_peer(
        &self,
        peer: &str,
        with: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Duration, Error> {
        let mut command = Command::new(peer);
        with(command.arg("--root").arg(self.folder.path().join(format!("{peer}-state"))));
        match &self.apart {
            Some(apart) if peer == "crun" => apart.call(command),
            _ => call(&mut command),
        }
    }

    /// Starts a peer's container.
    pub(crate) fn run_peer(&self, peer: &str, name: &str) -> Result<Duration, Error> {
        let bundle = self.bundle_of(peer);
        self.call_peer(peer, |c| c.args(["run", "-d", "-b"]).arg(bundle).arg(name))
    }

    /// The `pod` command.
    pub(crate) fn pod(&self) -> Command {
        Command::new(&self.pod)
    }

    /// A workload over the shared root, with a command that stays.
    pub(crate) fn spec(&self, name: &str) -> Result<WorkloadSpec, Error> {
        Ok(WorkloadSpec::new(WorkloadName::new(name)?)
            .with_image(Image::Rootfs(self.root().display().to_string()))
            .with_command(["sleep", "1000"]))
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<(), Error> {
        self.backend.remove(RemoveRequest::new(WorkloadName::new(name)?).with_force(true)).await?;
        Ok(())
    }

    /// Ends and removes a peer's container.
    pub(crate) fn remove_peer(&self, peer: &str, name: &str) -> Result<(), Error> {
        self.call_peer(peer, |c| c.args(["delete", "--force", name])).map(drop)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Runs a program to its end, which must be a good one, and gives how long it took.
pub(crate) fn call(command: &mut Command) -> Result<Duration, Error> {
    call_with(command.stdin(Stdio::null()).stdout(Stdio::null()))
}

/// As [`call`], with the stdin and stdout that the command was given.
pub(crate) fn call_with(command: &mut Command) -> Result<Duration, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    // A file, no pipe: a container that stays would keep a pipe open.
    let errors = tempfile::tempfile().doing(|| "make a file")?;
    command.stderr(errors.try_clone().doing(|| "share a file")?);
    let begun = Instant::now();
    let status = command.status().doing(|| format!("run {program}"))?;
    let took = begun.elapsed();
    if status.success() {
        return Ok(took);
    }
    Err(Error::new(ErrorKind::CommandFailed, format!("{status}: {}", said(errors).trim()))
        .with_context("command", format!("{command:?}")))
}

fn said(mut file: fs::File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    read.map_or_else(|e| e.to_string(), |_| text)
}

/// Says on stderr what is being measured.
pub(crate) fn say(what: &str) {
    eprintln!("measuring {what}");
}

/// One way to do a thing: is given the number of the run, and says how long it took.
pub(crate) type Contestant<'a> = Box<dyn FnMut(usize) -> Result<Duration, Error> + 'a>;

/// Does each contestant's work in turn, `runs` times after at most two that don't count, so that what
/// changes meanwhile hits all alike.
pub(crate) fn alternate<const N: usize>(
    runs: usize,
    mut contestants: [Contestant<'_>; N],
) -> Result<[Duration; N], Error> {
    let warm_up = (runs / 2).min(2);
    let mut times: [Times; N] = std::array::from_fn(|_| Times::default());
    for run in 0..runs + warm_up {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            let took = contestant(run)?;
            if run >= warm_up {
                times.add(took);
            }
        }
    }
    Ok(times.map(|t| t.median()))
}

/// Runs a future from one of the contestants, which are no async code.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// Whether a path is there.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

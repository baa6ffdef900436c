//! What the contestants share: the lab's daemon and one image.

use super::super::world::call;
use super::bare::Bare;
use pod::Image;
use pod::docker::{DockerBackend, DockerConfig};
use pod::prelude::*;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A daemon of the lab's.
pub(super) struct Daemon {
    folder: tempfile::TempDir,
    pub(super) backend: DockerBackend,
    pub(super) bare: Bare,
    image: String,
    /// The `pod` program.
    pod: PathBuf,
}

fn variable(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| {
        Error::invalid("this is run by `cargo xtask bench --on docker`, in a lab").with_context("missing", name)
    })
}

impl Daemon {
    /// Reaches the daemon.
    pub(super) async fn make() -> Result<Self, Error> {
        let (socket, image) = (variable("POD_LAB_DOCKER")?, variable("POD_LAB_IMAGE")?);
        let config = DockerConfig::default().with_socket(&socket).with_image(Image::Reference(image.clone()));
        Ok(Self {
            folder: tempfile::Builder::new().prefix("pod-bench-").tempdir().doing(|| "make a folder")?,
            backend: DockerBackend::open(config).await?,
            bare: Bare(socket.into()),
            image,
            pod: variable("POD_SHIM")?.into(),
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Docker's own client; the lab's environment tells it the daemon.
    pub(super) fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("HOME", self.folder.path());
        command
    }

    /// The `pod` command.
    pub(super) fn pod(&self) -> Command {
        Command::new(&self.pod)
    }

    /// The image of all contestants.
    pub(super) fn image(&self) -> &str {
        &self.image
    }

    /// Starts a container with a command that stays, and connects to it.
    pub(super) async fn start(&self, name: &str) -> Result<Arc<dyn Connection>, Error> {
        let spec = WorkloadSpec::new(WorkloadName::new(name)?).with_command(["sleep", "1000"]);
        let workload = self.backend.create(CreateRequest::new(spec).with_start()).await?;
        self.backend.connect(workload.name()).await
    }

    /// Removes a container, whoever made it.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        call(self.docker().args(["rm", "--force", name])).map(drop)
    }

    /// What was compared, in a sentence.
    pub(super) fn versions(&self) -> Result<String, Error> {
        let tell = |command: &mut Command| -> Result<String, Error> {
            let output = command.stdin(Stdio::null()).output().doing(|| "ask for a version")?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let docker =
            tell(self.docker().args(["version", "--format", "{{.Server.Version}}; its client {{.Client.Version}}"]))?;
        let python = super::super::python::program()?;
        let python = tell(Command::new(python).args(["-c", "import docker; print(docker.__version__)"]))?;
        Ok(format!("Docker {docker}; the client for Python {python}."))
    }
}

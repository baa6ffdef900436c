//! What the contestants share: the lab's cluster, a namespace of their own in it, one image.

use super::super::world::call;
use crate::lab;
use pod::k8s::{K8sBackend, K8sConfig};
use pod::prelude::*;
use pod::{Image, Labels};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Where a file system in memory is.
pub(super) const MEMORY: &str = "/dev/shm";

/// A cluster of the lab's.
pub(super) struct Cluster {
    folder: tempfile::TempDir,
    memory: tempfile::TempDir,
    pub(super) backend: K8sBackend,
    pub(super) namespace: String,
    image: String,
    /// The `pod` program.
    pod: PathBuf,
    lab: String,
}

fn variable(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| {
        Error::invalid("this is run by `cargo xtask bench --on k8s`, in a lab").with_context("missing", name)
    })
}

impl Cluster {
    /// Reaches the cluster, and makes the namespace.
    pub(super) async fn make() -> Result<Self, Error> {
        let image = variable("POD_LAB_IMAGE")?;
        let namespace = format!("bench-{}", std::process::id());
        let config = K8sConfig::default()
            .with_kubeconfig(variable("POD_LAB_KUBECONFIG")?)
            .with_namespace(&namespace)
            .with_image(Image::Reference(image.clone()));
        let backend = K8sBackend::open(config).await?;
        backend.namespaces().create(&namespace, Labels::new()).await?;
        Ok(Self {
            folder: tempfile::Builder::new().prefix("pod-bench-").tempdir().doing(|| "make a folder")?,
            memory: tempfile::Builder::new().prefix("pod-bench-").tempdir_in(MEMORY).doing(|| "make a folder")?,
            backend,
            namespace,
            image,
            pod: variable("POD_SHIM")?.into(),
            lab: variable("POD_LAB_NAME")?,
        })
    }

    /// Removes the namespace, and all that is in it.
    pub(super) async fn remove(&self) -> Result<(), Error> {
        // Their grace is not waited for, as it would be by the namespace.
        call(self.kubectl().args(["delete", "pods", "--all", "--grace-period=1"]))?;
        self.backend.namespaces().remove(&self.namespace, true).await?;
        Ok(())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in memory.
    pub(super) fn memory(&self, name: &str) -> PathBuf {
        self.memory.path().join(name)
    }

    /// kubectl in the namespace, with a cache of its own.
    pub(super) fn kubectl(&self) -> Command {
        let mut command = Command::new("kubectl");
        command.env("HOME", self.folder.path()).args(["--namespace", &self.namespace]);
        command
    }

    /// A shell with `kubectl` between other programs, `$namespace` named for it.
    pub(super) fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.env("HOME", self.folder.path()).env("namespace", &self.namespace).args(["-e", "-c", script]);
        command
    }

    /// The `pod` command.
    pub(super) fn pod(&self) -> Command {
        Command::new(&self.pod)
    }

    /// A workload's address.
    pub(super) fn address(&self, name: &str) -> String {
        format!("k8s:{}/{name}", self.namespace)
    }

    /// The image of all contestants.
    pub(super) fn image(&self) -> &str {
        &self.image
    }

    /// A workload with a command that stays.
    pub(super) fn spec(name: &str) -> Result<WorkloadSpec, Error> {
        Ok(WorkloadSpec::new(WorkloadName::new(name)?).with_command(["sleep", "1000"]))
    }

    /// Starts one, and connects to it.
    pub(super) async fn start(&self, name: &str) -> Result<Arc<dyn Connection>, Error> {
        let workload = self.backend.create(CreateRequest::new(Self::spec(name)?).with_start()).await?;
        self.backend.connect(workload.name()).await
    }

    /// Removes pods by a selector or by name, and waits until their nodes are done with them.
    pub(super) fn delete(&self, which: &[&str]) -> Result<(), Error> {
        call(self.kubectl().args(["delete", "pods", "--grace-period=1"]).args(which)).map(drop)
    }

    /// `ctr` on the node of a pod, and the id of the pod's container: what runs it, without Kubernetes.
    pub(super) fn containerd(&self, pod: &str) -> Result<(impl Fn() -> Result<Command, Error>, String), Error> {
        let what = "{.spec.nodeName} {.status.containerStatuses[0].containerID}";
        let told = self.tell(self.kubectl().args(["get", "pod", pod, "-o", &format!("jsonpath={what}")]))?;
        let bad = || Error::unexpected("kubectl does not tell a pod's container").with_context("said", told.clone());
        let (node, id) = told.split_once(" containerd://").ok_or_else(bad)?;
        let (lab, node, id) = (self.lab.clone(), node.to_owned(), id.to_owned());
        let ctr = move || lab::ctr(&lab, &node).map_err(Error::unexpected);
        Ok((ctr, id))
    }

    /// Runs a program to its end, which must be a good one, and gives what it prints.
    fn tell(&self, command: &mut Command) -> Result<String, Error> {
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().doing(|| "run a program")?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(Error::new(ErrorKind::CommandFailed, output.status.to_string())
            .with_context("command", format!("{command:?}")))
    }

    /// What was compared, in a sentence.
    pub(super) fn versions(&self) -> Result<String, Error> {
        let told = self.tell(self.kubectl().args(["version", "-o", "json"]))?;
        let told: serde_json::Value = serde_json::from_str(&told)
            .map_err(|e| Error::unexpected("kubectl's version is no JSON").with_source(e))?;
        let version = |which: &str| told[which]["gitVersion"].as_str().unwrap_or("unknown").to_owned();
        let python = self.tell(
            Command::new(super::super::python::program()?)
                .args(["-c", "import kubernetes; print(kubernetes.__version__)"]),
        )?;
        Ok(format!(
            "Kubernetes {}, two nodes on the machine; kubectl {}; the client for Python {python}.",
            version("serverVersion"),
            version("clientVersion"),
        ))
    }
}

//! What is mounted in a workload.

use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::{Capability, ConnectionExt, ErrorKind, ExecRequest, Mount, MountSource, StartRequest, StopRequest};
use std::path::{Path, PathBuf};
use std::time::Duration;

cases! { "mounts":
    what_is_written_is_seen_on_both_sides [Create, Mounts, Exec];
    a_read_only_one_is_not_written_to [Create, Mounts, Exec];
    a_tmpfs_is_empty_and_bounded [Create, Mounts, Exec];
    a_path_that_is_not_there_is_refused [Create, Mounts];
}

/// A folder of the engine's machine, with a file `in`. It goes with this value.
struct Shared(PathBuf);

impl Shared {
    /// `None` where the target has none.
    async fn new(lab: &Lab) -> Result<Option<Self>, Failure> {
        let Some(dir) = &lab.target().shared else { return Ok(None) };
        let dir = dir.join(lab.prefix());
        tokio::fs::create_dir(&dir).await?;
        let shared = Self(dir);
        tokio::fs::write(shared.path("in"), "from outside\n").await?;
        Ok(Some(shared))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn mount(&self) -> Result<Mount, Failure> {
        let path = self.0.to_str().ok_or_else(|| Failure::new("the shared folder's name is no UTF-8"))?;
        Ok(Mount::new(MountSource::Host(path.into()), "/pod-testkit/shared"))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What is left is seen: the folder above it can't be removed by whoever made it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn content(path: &Path) -> Result<String, Failure> {
    Ok(tokio::fs::read_to_string(path).await?)
}

async fn what_is_written_is_seen_on_both_sides(lab: &Lab) -> Outcome {
    let Some(shared) = Shared::new(lab).await? else { return Ok(()) };
    let mount = shared.mount()?;
    let name = lab.start(lab.spec()?.with_mount(mount.clone())).await?.spec.name;
    ensure_eq!(lab.backend().inspect(&name).await?.spec.mounts, [mount], "the mounts that are told");
    let connection = lab.backend().connect(&name).await?;
    ensure_eq!(lab.sh(&*connection, "cat /pod-testkit/shared/in").await?, "from outside\n", "what is seen inside");
    lab.sh(&*connection, "echo from inside >/pod-testkit/shared/out").await?;
    ensure_eq!(content(&shared.path("out")).await?, "from inside\n", "what is seen outside");
    Ok(())
}

async fn a_read_only_one_is_not_written_to(lab: &Lab) -> Outcome {
    let Some(shared) = Shared::new(lab).await? else { return Ok(()) };
    let name = lab.start(lab.spec()?.with_mount(shared.mount()?.with_read_only(true))).await?.spec.name;
    let connection = lab.backend().connect(&name).await?;
    ensure_eq!(lab.sh(&*connection, "cat /pod-testkit/shared/in").await?, "from outside\n", "what is seen inside");
    for script in ["echo x >/pod-testkit/shared/in", "echo x >/pod-testkit/shared/new", "rm -f /pod-testkit/shared/in"]
    {
        let out = connection.run(ExecRequest::shell(script)).await?;
        ensure!(!out.status.success(), "it was done: {script}");
    }
    ensure_eq!(content(&shared.path("in")).await?, "from outside\n", "the file");
    ensure!(!shared.path("new").exists(), "a file was made");
    Ok(())
}

async fn a_tmpfs_is_empty_and_bounded(lab: &Lab) -> Outcome {
    let size = 1 << 20;
    let tmpfs = Mount::new(MountSource::Tmpfs(size), "/pod-testkit/memory");
    let name = lab.start(lab.spec()?.with_mount(tmpfs)).await?.spec.name;
    let connection = lab.backend().connect(&name).await?;
    ensure_eq!(lab.sh(&*connection, "ls -A /pod-testkit/memory").await?, "", "what is in it");
    lab.sh(&*connection, "head -c 524288 /dev/zero >/pod-testkit/memory/half").await?;
    let script = "head -c 4194304 /dev/zero >/pod-testkit/memory/more; wc -c </pod-testkit/memory/more";
    let out = connection.run(ExecRequest::shell(script)).await?;
    let held = out.stdout_text().trim().parse::<u64>().map_err(|e| Failure::new(format!("{out:?}: {e}")))?;
    ensure!(held <= size, "{held} bytes were written to a tmpfs of {size}");
    if lab.has(Capability::StartStop) {
        lab.backend().stop(StopRequest::new(name.clone()).with_grace(Duration::ZERO)).await?;
        lab.backend().start(StartRequest::new(name.clone())).await?;
        let connection = lab.backend().connect(&name).await?;
        ensure_eq!(lab.sh(&*connection, "ls -A /pod-testkit/memory").await?, "", "what is in it at the next start");
    }
    Ok(())
}

async fn a_path_that_is_not_there_is_refused(lab: &Lab) -> Outcome {
    let path = format!("/nonexistent-{}", lab.prefix());
    let spec = lab.spec()?.with_mount(Mount::new(MountSource::Host(path.clone()), "/pod-testkit/shared"));
    let name = spec.name.clone();
    let e = expect_error(lab.start(spec).await, ErrorKind::NotFound, "a mount of what is not there")?;
    ensure!(e.to_string().contains(&path), "the error does not name the path: {e}");
    expect_error(lab.backend().inspect(&name).await, ErrorKind::NotFound, "what it left")?;
    Ok(())
}

//! Copying where the image has no shell: by a container put beside it.
//!
//! An ephemeral container (pods/ephemeralcontainers, with `targetContainerName`) sees the target's processes,
//! and its files by `/proc/PID/root`. It runs all scripts; `inside.sh` resolves each path as the target itself
//! would, because an absolute link would lead out of `/proc/PID/root`. The kernel lets it in only with the
//! target's user and no fewer capabilities (ptrace(2), "Ptrace access mode checking"), so it gets the target's
//! security context, and a second one the process' own user where that is another.
//!
//! Ephemeral containers can't be taken out of a pod. One that is there and runs is used again.

use super::Container;
use crate::exec::{PodWatch, Target};
use crate::pods;
use async_trait::async_trait;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Container as Spec, ContainerState, Pod, PodSecurityContext, SecurityContext};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::watch_object;
use pod_core::{Error, ErrorKind, Result};
use pod_shell::copy::{Far, Running, complaints};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::sync::OnceCell;

const INSIDE: &str = include_str!("inside.sh");
const FIND: &str = include_str!("find.sh");
/// The user of images that run without root, where nothing names one: the first try's, no more.
const NONROOT: i64 = 65532;
/// How often a name is tried: each helper that ended keeps its own.
const NAMES: u32 = 20;

/// A container with tools beside one without.
pub(crate) struct Helper {
    /// The one that is meant.
    at: Container,
    image: String,
    ready: OnceCell<Ready>,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Helper").field("image", &self.image).finish_non_exhaustive()
    }
}

/// A helper that runs and reaches the target's files.
struct Ready {
    container: Container,
    /// What comes before every script.
    prelude: String,
}

#[async_trait]
impl Far for Helper {
    async fn start(&self, script: &str, args: &[String], stdin: bool) -> Result<Running> {
        let ready = self.ready.get_or_try_init(|| self.make_ready()).await?;
        ready.container.start(&format!("{}{script}", ready.prelude), args, stdin).await
    }

    fn about(&self, error: Error) -> Error {
        self.at.about(error)
    }

    fn without_shell(&self) -> &'static str {
        "use a helper's image with a POSIX shell and `tar` or `cat`, such as BusyBox's"
    }
}

/// What the helper says of the target's files.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// They are at this process, and its control group says that it is the target's.
    Root { pid: u32, sure: bool },
    /// The process is this user's.
    Closed { user: (i64, i64), own: i64 },
}

impl Helper {
    pub(crate) fn new(at: Container, image: String) -> Self {
        Self { at, image, ready: OnceCell::new() }
    }

    async fn make_ready(&self) -> Result<Ready> {
        let pod = self.pod().await?;
        let running = running(&pod, &self.at.target.container).ok_or_else(|| {
            self.about(Error::new(ErrorKind::WrongState, "the container does not run, so its files can't be reached"))
        })?;
        let context = context_of(&pod, &self.at.target.container);
        let container = self.beside(&pod, context.clone()).await?;
        match self.find(&container, &running, &pod).await? {
            Found::Root { pid, sure } => Ok(Ready { container, prelude: prelude(pid, sure, &running) }),
            Found::Closed { user, own } if user.0 != own => {
                let mut context = context.unwrap_or_default();
                (context.run_as_user, context.run_as_group) = (Some(user.0), Some(user.1));
                let container = self.beside(&self.pod().await?, Some(context)).await?;
                match self.find(&container, &running, &pod).await? {
                    Found::Root { pid, sure } => Ok(Ready { container, prelude: prelude(pid, sure, &running) }),
                    Found::Closed { user, own } => Err(self.closed(user.0, own)),
                }
            }
            Found::Closed { user, own } => Err(self.closed(user.0, own)),
        }
    }

    fn closed(&self, user: i64, own: i64) -> Error {
        self.about(
            Error::new(ErrorKind::PermissionDenied, "the kernel lets the helper not into the container's files")
                .with_context("image", self.image.clone())
                .with_context("container's user", user.to_string())
                .with_context("helper's user", own.to_string())
                .with_hint(
                    "its process has capabilities that the helper lacks, or hides itself (ptrace(2)): \
                     copy by a volume that both have, or by an image with a shell",
                ),
        )
    }

    async fn pod(&self) -> Result<Pod> {
        let Target { cluster, pod, .. } = &*self.at.target;
        cluster.pods().get(pod).await.map_err(|e| cluster.error(e))
    }

    /// The helper with this security context: one that runs already, or a new one.
    async fn beside(&self, pod: &Pod, context: Option<SecurityContext>) -> Result<Container> {
        let Target { cluster, pod: pod_name, container } = &*self.at.target;
        let there = pod.spec.iter().flat_map(|s| s.ephemeral_containers.iter().flatten());
        let names: Vec<_> = there.map(|c| c.name.as_str()).collect();
        let free = (0..NAMES).map(|n| name_of(&self.image, container, context.as_ref(), n)).find(|name| {
            !names.contains(&name.as_str()) || ephemeral_state(pod, name).is_none_or(|state| state.terminated.is_none())
        });
        let name = free.ok_or_else(|| {
            self.about(
                Error::new(ErrorKind::Exhausted, "the pod has had too many helpers that ended")
                    .with_hint("only a new pod is without them"),
            )
        })?;
        if !names.contains(&name.as_str()) {
            let patch = json!({"spec": {"ephemeralContainers": [{
                "name": name,
                "image": self.image,
                "imagePullPolicy": cluster.config.pull.map(crate::Pull::as_policy),
                "targetContainerName": container,
                "command": ["sleep", "2147483647"],
                "securityContext": context,
            }]}});
            let pods = cluster.pods();
            let (how, patch) = (PatchParams::default(), Patch::Strategic(patch));
            let made = pods.patch_ephemeral_containers(pod_name, &how, &patch).await;
            made.map_err(|e| refused(cluster.error(e)).with_context("image", self.image.clone()))?;
        }
        self.until_running(&name).await?;
        let target = Target { cluster: cluster.clone(), pod: pod_name.clone(), container: name };
        Ok(Container { target: Arc::new(target), watch: Arc::new(PodWatch::default()) })
    }

    async fn until_running(&self, name: &str) -> Result<()> {
        let Target { cluster, pod, .. } = &*self.at.target;
        let wait = async {
            let states = watch_object(cluster.pods(), pod);
            let mut states = std::pin::pin!(states);
            while let Some(state) = states.next().await {
                let gone = || Error::not_found("pod", pod.clone());
                // A watch that fails is begun again, until the time is over.
                let Ok(seen) = state else { continue };
                let seen = seen.ok_or_else(gone)?;
                let Some(state) = ephemeral_state(&seen, name) else { continue };
                if state.running.is_some() {
                    return Ok(());
                }
                if let Some(end) = &state.terminated {
                    return Err(Error::new(ErrorKind::WrongState, "the helper ended as soon as it began")
                        .with_context("message", end.message.clone().or_else(|| end.reason.clone()).unwrap_or_default())
                        .with_hint("give an image that has `sleep` and `sh`"));
                }
                if let Some(failure) = pods::waiting(state) {
                    return Err(failure.into_error(pod));
                }
            }
            Err(Error::unexpected("the watch of the pod ended"))
        };
        let about = |e: Error| self.about(e.with_context("helper", name).with_context("image", self.image.clone()));
        match tokio::time::timeout(cluster.config.wait, wait).await {
            Ok(done) => done.map_err(about),
            Err(_) => Err(about(Error::new(ErrorKind::Timeout, "the helper has not started in time"))),
        }
    }

    /// Asks the helper for the target's process.
    async fn find(&self, helper: &Container, running: &str, pod: &Pod) -> Result<Found> {
        let shared = pod.spec.as_ref().and_then(|s| s.share_process_namespace) == Some(true);
        let script = format!("cid={running} shared={}\n{INSIDE}{FIND}", if shared { "y" } else { "n" });
        let mut asked = helper.start(&script, &[], false).await.map_err(|e| self.no_tools(e))?;
        let line = asked.line().await?.map(|l| String::from_utf8_lossy(&l).into_owned()).unwrap_or_default();
        if let Some(found) = read_found(&line) {
            return Ok(found);
        }
        let error = match line.as_str() {
            "E notarget" => Error::unsupported("the node's runtime shows the helper none of the container's processes")
                .with_hint(
                    "its runtime does not support `targetContainerName`; a pod with shareProcessNamespace serves, too",
                ),
            "E nopid" => Error::new(ErrorKind::NotFound, "no process of the container is among those of the pod")
                .with_hint("`/proc/PID/cgroup` does not tell them apart on this node, or the container is just ending"),
            _ => {
                let Running { stderr, end, .. } = asked;
                let (said, status) = tokio::join!(complaints(stderr), end);
                return Err(self.no_tools(match status {
                    Err(e) => e,
                    Ok(status) => Error::unexpected("the helper does not say where the container's files are")
                        .with_context("status", status.to_string())
                        .with_context("said", said),
                }));
            }
        };
        Err(self.about(error.with_context("image", self.image.clone())))
    }

    fn no_tools(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::CommandFailed {
            return error;
        }
        self.about(
            Error::unsupported("the helper's image has no `sh`, by which files are copied")
                .with_context("image", self.image.clone())
                .with_hint("give an image with a POSIX shell and `tar`, such as busybox")
                .with_source(error),
        )
    }
}

fn read_found(line: &str) -> Option<Found> {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["R", pid, sure] => Some(Found::Root { pid: pid.parse().ok()?, sure: *sure == "y" }),
        ["E", "noroot", user, group, own] => {
            let user = (user.parse().ok()?, group.parse().ok()?);
            Some(Found::Closed { user, own: own.parse().ok()? })
        }
        _ => None,
    }
}

/// Explains why the cluster takes no helper.
fn refused(error: Error) -> Error {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::PermissionDenied if text.contains("PodSecurity") => error.with_hint(
            "Pod Security allows the helper less than the container was allowed: the namespace's level was raised since",
        ),
        ErrorKind::PermissionDenied => {
            error.with_hint("`pod k8s rbac copy-helper` prints what a helper needs (patch on pods/ephemeralcontainers)")
        }
        _ => error,
    }
}

/// The id of the container's run, if it runs: `containerd://ID`.
fn running(pod: &Pod, container: &str) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let status = statuses.iter().find(|s| s.name == container)?;
    status.state.as_ref()?.running.as_ref()?;
    let id = status.container_id.as_deref()?.rsplit('/').next()?;
    // It becomes part of a script.
    let plain = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    plain.then(|| id.to_owned())
}

fn ephemeral_state<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerState> {
    let statuses = pod.status.as_ref()?.ephemeral_container_statuses.as_ref()?;
    statuses.iter().find(|s| s.name == name)?.state.as_ref()
}

/// The security context that a helper needs to be let in, and that the namespace allowed before.
fn context_of(pod: &Pod, container: &str) -> Option<SecurityContext> {
    let spec = pod.spec.as_ref()?;
    let found: Option<&Spec> = spec.containers.iter().find(|c| c.name == container);
    let own = found.and_then(|c| c.security_context.clone());
    let of_pod = spec.security_context.as_ref();
    let no_root = own.as_ref().and_then(|c| c.run_as_non_root).or(of_pod.and_then(|c| c.run_as_non_root));
    let user = own.as_ref().and_then(|c| c.run_as_user).or(of_pod.and_then(|c: &PodSecurityContext| c.run_as_user));
    if no_root != Some(true) || user.is_some() {
        return own;
    }
    // The target's image names a user that only its process tells; the helper's would be root.
    let mut context = own.unwrap_or_default();
    context.run_as_user = Some(NONROOT);
    Some(context)
}

/// A helper's name: from what it is, so that it is found again.
fn name_of(image: &str, container: &str, context: Option<&SecurityContext>, attempt: u32) -> String {
    let what = json!([image, container, context, attempt]).to_string();
    let hash: String = Sha256::digest(what).iter().take(5).map(|b| format!("{b:02x}")).collect();
    format!("pod-helper-{hash}")
}

/// What every script begins with: where the target's root is, and that its process is still the target's.
fn prelude(pid: u32, sure: bool, running: &str) -> String {
    let cid = if sure { running } else { "" };
    format!(
        "{INSIDE}place=inside within=/proc/{pid}/root\n\
         if ! has /proc/{pid}/cgroup '{cid}' || [ ! -d \"$within/.\" ]; then\n\
         echo 'the process whose files are meant has ended: No such file or directory' >&2\nexit 8\nfi\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(context: serde_json::Value, of_pod: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"securityContext": of_pod, "containers": [{"name": "main", "securityContext": context}]},
            "status": {
                "containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "containerID": "containerd://0a1b", "state": {"running": {}}}],
                "ephemeralContainerStatuses": [{"name": "h", "image": "", "imageID": "", "ready": false,
                    "restartCount": 0, "state": {"terminated": {"exitCode": 1}}}],
            },
        }))
        .expect("a pod")
    }

    #[test]
    fn a_helper_is_as_its_target() {
        let plain = pod(json!(null), json!(null));
        assert_eq!(context_of(&plain, "main"), None);
        assert_eq!(running(&plain, "main").as_deref(), Some("0a1b"));
        assert_eq!(running(&plain, "other"), None);
        assert!(ephemeral_state(&plain, "h").is_some_and(|s| s.terminated.is_some()));
        let tight = pod(json!({"runAsUser": 7, "allowPrivilegeEscalation": false}), json!({"runAsNonRoot": true}));
        let context = context_of(&tight, "main").expect("a context");
        assert_eq!((context.run_as_user, context.allow_privilege_escalation), (Some(7), Some(false)));
        for nobody in [pod(json!({"runAsNonRoot": true}), json!(null)), pod(json!(null), json!({"runAsNonRoot": true}))]
        {
            assert_eq!(context_of(&nobody, "main").and_then(|c| c.run_as_user), Some(NONROOT));
        }
        let of_pod = pod(json!({"runAsNonRoot": true}), json!({"runAsUser": 9}));
        assert_eq!(context_of(&of_pod, "main").and_then(|c| c.run_as_user), None, "the pod's counts by itself");
    }

    #[test]
    fn names_tell_what_a_helper_is() {
        let context = SecurityContext { run_as_user: Some(7), ..SecurityContext::default() };
        let name = |image, container, context, n| name_of(image, container, context, n);
        assert_eq!(name("a", "c", None, 0), name("a", "c", None, 0));
        let all = [
            name("a", "c", None, 0),
            name("b", "c", None, 0),
            name("a", "d", None, 0),
            name("a", "c", Some(&context), 0),
            name("a", "c", None, 1),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
        assert!(all[0].len() <= 63 && all[0].starts_with("pod-helper-"));
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(read_found("R 12 y"), Some(Found::Root { pid: 12, sure: true }));
        assert_eq!(read_found("E noroot 65532 65532 0"), Some(Found::Closed { user: (65532, 65532), own: 0 }));
        assert_eq!(read_found("E notarget"), None);
        assert_eq!(read_found("R x y"), None);
    }
}

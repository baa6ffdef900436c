//! Making a pod, and waiting until it runs. What fails or is given up leaves nothing.

use crate::cluster::Cluster;
use crate::errors::{from_kube, is_not_found};
use crate::owner::{LEASE, OPERATION};
use crate::pods::failure::{self, Failure};
use crate::pods::remove::take_back;
use crate::pods::starts::{Listener, Notice, Starts};
use crate::pods::state::main_of;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use pod_core::{Error, ErrorKind, Result, Retry};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long what may pass is given to pass, once it was told.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often a warning that may pass is heard before it counts.
const WARNINGS: i32 = 2;

/// Makes the pod and returns when it runs, or has run; needs a runtime that goes on when the caller
/// gives up: then what was made is taken back.
pub(crate) async fn create(cluster: Cluster, starts: Starts, pod: Pod) -> Result<Pod> {
    let (told, made) = oneshot::channel();
    tokio::spawn(make(cluster, starts, pod, told));
    made.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Cancelled, "the runtime was shut down")))
}

async fn make(cluster: Cluster, starts: Starts, pod: Pod, mut told: oneshot::Sender<Result<Pod>>) {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let listener = starts.listen(&cluster, &name);
    // This is not broken off: half-way nobody would know whether there is a pod.
    let posted = match post(&cluster, &pod).await {
        Ok(posted) => posted,
        Err(e) => {
            // One who has gone does not wait for it.
            let _ = told.send(Err(refused(&cluster, &name, e).await));
            return;
        }
    };
    let uid = posted.metadata.uid.clone().unwrap_or_default();
    let done = tokio::select! {
        done = wait(&cluster, posted, listener) => done,
        () = told.closed() => Err(Error::new(ErrorKind::Cancelled, "nobody waits for it any more")),
    };
    match done {
        Ok(pod) => {
            if told.send(Ok(pod)).is_err() {
                drop_quietly(&cluster, &name, &uid).await;
            }
        }
        Err(error) => {
            let error = match take_back(&cluster, &name, &uid).await {
                Ok(()) => error,
                Err(left) => error.with_context("left_behind", left.to_string()),
            };
            // One who has gone wants no answer.
            let _ = told.send(Err(error));
        }
    }
}

/// How often a pod is posted whose namespace is not whole yet, and the pause between.
const POSTS: (u32, Duration) = (30, Duration::from_millis(100));

/// Posts a pod. A new namespace gets its service account a little later, and refuses pods until then.
async fn post(cluster: &Cluster, pod: &Pod) -> Result<Pod, kube::Error> {
    let mut tries = POSTS.0;
    loop {
        match cluster.pods().create(&PostParams::default(), pod).await {
            Err(kube::Error::Api(status))
                if tries > 0
                    && cluster.config.service_account.is_none()
                    && status.message.contains("serviceaccount \"default\" not found") =>
            {
                tries -= 1;
                tokio::time::sleep(POSTS.1).await;
            }
            posted => return posted,
        }
    }
}

async fn drop_quietly(cluster: &Cluster, name: &str, uid: &str) {
    if let Err(e) = take_back(cluster, name, uid).await {
        tracing::warn!(error = %e, pod = name, "a pod that nobody waits for could not be removed");
    }
}

/// Why the API server did not take a pod.
async fn refused(cluster: &Cluster, name: &str, error: kube::Error) -> Error {
    let error = cluster.error(error);
    if error.kind() != ErrorKind::AlreadyExists {
        return error;
    }
    let going = cluster.pods().get_opt(name).await.ok().flatten();
    let going = going.is_some_and(|p| p.metadata.deletion_timestamp.is_some());
    let error = Error::new(ErrorKind::AlreadyExists, "a pod of that name exists")
        .with_context("pod", name)
        .with_context("namespace", cluster.namespace.clone());
    if going {
        error.with_retry(Retry::Later).with_hint("it is being removed: try again when it is gone")
    } else {
        error.with_hint("choose another name, or remove it with `pod rm`")
    }
}

/// How far a start is.
enum Progress {
    Running,
    Waiting,
    Failed(Failure),
}

fn progress(pod: &Pod) -> Result<Progress> {
    let main = main_of(pod, None)?;
    if let Some(failure) = failure::of_pod(pod, &main.container.name) {
        return Ok(Progress::Failed(failure));
    }
    let asked = pod.spec.as_ref().map_or(0, |s| s.containers.len());
    let began = pod
        .status
        .iter()
        .flat_map(|s| s.container_statuses.iter().flatten())
        .filter(|s| s.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some()));
    if began.count() < asked {
        return Ok(Progress::Waiting);
    }
    Ok(match kept_command_missing(pod) {
        Some(failure) => Progress::Failed(failure),
        None => Progress::Running,
    })
}

/// The program of a kept-alive workload is looked for by its wrapper, which ends at once without it.
fn kept_command_missing(pod: &Pod) -> Option<Failure> {
    use crate::pods::spec::{MAIN, STATUS};
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|s| s.name == STATUS)?;
    let main = statuses.iter().find(|s| s.name == MAIN)?;
    let end = main.state.as_ref()?.terminated.as_ref()?;
    let code = u8::try_from(end.exit_code).ok().filter(|c| matches!(c, 126 | 127))?;
    let program = pod.spec.as_ref()?.containers.iter().find(|c| c.name == MAIN)?.args.as_ref()?.first()?;
    Some(Failure {
        kind: ErrorKind::CommandFailed,
        reason: "StartError".into(),
        message: program.clone(),
        exit_code: Some(code),
        final_: true,
        slow: false,
        hint: None,
    })
}

/// Waits until the pod runs, and takes the mark of being made off it.
async fn wait(cluster: &Cluster, posted: Pod, mut listener: Listener) -> Result<Pod> {
    let name = posted.metadata.name.clone().unwrap_or_default();
    let uid = posted.metadata.uid.clone();
    let end = Instant::now() + cluster.config.wait;
    let mut latest = posted;
    let mut patience: Option<(Instant, Failure)> = None;
    let mut trouble = None;
    loop {
        let until = patience.as_ref().map_or(end, |(at, _)| end.min(*at));
        let notice = tokio::select! {
            notice = listener.next() => notice,
            () = tokio::time::sleep_until(until) => {
                return Err(match patience {
                    Some((_, failure)) if Instant::now() < end => failure.into_error(&name),
                    patience => too_long(cluster, &latest, patience.map(|(_, f)| f), trouble),
                });
            }
        };
        match notice {
            // What it says while it goes is no reason why it could not start.
            Notice::Pod(pod) if pod.metadata.uid == uid && pod.metadata.deletion_timestamp.is_some() => {
                return Err(removed(&name));
            }
            Notice::Pod(pod) if pod.metadata.uid == uid => {
                trouble = None;
                match progress(&pod)? {
                    Progress::Running => return unmark(cluster, &name, *pod, end).await,
                    Progress::Failed(failure) => return Err(failure.into_error(&name)),
                    Progress::Waiting => {}
                }
                // The scheduler's word counts as long as it stands.
                patience = match (failure::unschedulable(&pod), patience.take()) {
                    (Some(failure), Some((at, before))) if before.reason == failure.reason => Some((at, failure)),
                    (Some(failure), _) => Some((Instant::now() + PATIENCE, failure)),
                    (None, Some(kept)) if kept.1.reason != "Unschedulable" => Some(kept),
                    (None, _) => None,
                };
                latest = *pod;
            }
            Notice::Warning(event) if event.involved_object.uid == uid => {
                if let Some(failure) = failure::of_event(&event) {
                    let again = failure::times(&event) >= WARNINGS || repeats(&patience, &failure);
                    if failure.ends_the_wait(again) {
                        return Err(failure.into_error(&name));
                    }
                    heard(&mut patience, failure, end);
                }
            }
            Notice::Gone => {
                let gone = cluster.pods().get(&name).await;
                match gone {
                    Ok(pod) if pod.metadata.uid == uid => {}
                    Err(e) if !is_not_found(&e) => trouble = Some(from_kube(e)),
                    _ => return Err(removed(&name)),
                }
            }
            Notice::Trouble(e) => {
                if let kube::Error::Api(status) = &*e
                    && matches!(status.code, 401 | 403)
                {
                    return Err(cluster.error(kube::Error::Api(status.clone())));
                }
                trouble = Some(Error::new(ErrorKind::Unavailable, e.to_string()));
            }
            Notice::Pod(_) | Notice::Warning(_) => {} // of another pod of that name
        }
    }
}

/// The error for a pod that somebody else removed.
fn removed(name: &str) -> Error {
    Error::new(ErrorKind::Conflict, "the pod was removed while it started").with_context("pod", name)
}

/// Whether a warning that may pass has been heard before.
fn repeats(patience: &Option<(Instant, Failure)>, failure: &Failure) -> bool {
    patience.as_ref().is_some_and(|(_, before)| before.reason == failure.reason)
}

/// Keeps a warning that may pass: it is told when the wait is over, or when it comes again.
fn heard(patience: &mut Option<(Instant, Failure)>, failure: Failure, end: Instant) {
    patience.get_or_insert((end, failure));
}

fn too_long(cluster: &Cluster, pod: &Pod, failure: Option<Failure>, trouble: Option<Error>) -> Error {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let waited = cluster.config.wait.as_secs();
    let mut error = Error::new(ErrorKind::Timeout, format!("the pod does not run after {waited} s"))
        .with_context("pod", name)
        .with_hint("`k8s:?wait=SECONDS` waits longer");
    if let Some(failure) = failure {
        error = error.with_context("last_warning", failure.words());
    }
    match pod.spec.as_ref().and_then(|s| s.node_name.clone()) {
        Some(node) => error = error.with_context("node", node),
        None => error = error.with_context("node", "none yet: does the scheduler run?"),
    }
    if let Some(trouble) = trouble {
        error = error.with_context("watch", trouble.to_string());
    }
    error
}

/// Takes the mark of being made off a pod: from now on `gc` leaves it alone. It is the same however often
/// it is done, so an API server that is away is waited for.
async fn unmark(cluster: &Cluster, name: &str, pod: Pod, end: Instant) -> Result<Pod> {
    let patch = serde_json::json!({"metadata": {
        "uid": pod.metadata.uid,
        "labels": {OPERATION: null},
        "annotations": {LEASE: null},
    }});
    let mut pause = Duration::from_millis(50);
    loop {
        let patched = cluster.pods().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        match patched.map_err(|e| cluster.error(e)) {
            Err(e) if e.kind() == ErrorKind::Unavailable && Instant::now() + pause < end => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PATIENCE);
            }
            done => return done,
        }
    }
}

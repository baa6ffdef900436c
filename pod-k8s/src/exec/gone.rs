//! Watching a pod beside what runs in it: an exec of a removed pod may stay open for ever, and silent.

use super::Target;
use super::start::run_script;
use crate::pods::is_lost;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::watcher::watch_object;
use pod_core::{ErrorKind, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// How long a node is given to answer that may be lost.
const ASKED: Duration = Duration::from_secs(5);

/// One watch for all that runs in a container, as long as something does.
#[derive(Debug, Default)]
pub(crate) struct PodWatch(Mutex<Weak<Watching>>);

/// A watch under way.
#[derive(Debug)]
pub(crate) struct Watching {
    gone: watch::Receiver<Option<String>>,
    task: AbortHandle,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PodWatch {
    /// Joins the watch of the pod, or begins it.
    pub(crate) fn join(&self, target: &Target) -> Arc<Watching> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watching) = current.upgrade() {
            return watching;
        }
        let (report, gone) = watch::channel(None);
        let task = tokio::spawn(observe(target.clone(), report)).abort_handle();
        let watching = Arc::new(Watching { gone, task });
        *current = Arc::downgrade(&watching);
        watching
    }
}

impl Watching {
    /// Waits until the pod is gone or has ended, and says why. Never ends where the pod may not be watched.
    pub(crate) async fn gone(&self) -> String {
        let mut gone = self.gone.clone();
        let reason = gone.wait_for(Option::is_some).await.ok().and_then(|r| r.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}

async fn observe(target: Target, report: watch::Sender<Option<String>>) {
    let states = watch_object(target.cluster.pods(), &target.pod);
    let mut states = std::pin::pin!(states);
    let mut uid = None;
    let mut refusals = 0;
    while let Some(state) = states.next().await {
        match state {
            Ok(pod) => {
                refusals = 0;
                let mut why = why_gone(pod.as_ref(), &mut uid);
                // It may only be late with its own word to the cluster.
                if why.is_none() && pod.as_ref().is_some_and(is_lost) && !answers(&target).await {
                    why = Some("the pod's node is lost".into());
                }
                if why.is_some() {
                    report.send_replace(why);
                    return;
                }
            }
            Err(e) => {
                tracing::debug!(target: "pod", error = %e, pod = target.pod, "the pod can't be watched");
                refusals += 1;
                if refusals > 20 {
                    return; // who may exec need not be let watch
                }
                tokio::time::sleep(Duration::from_secs(refusals.min(15))).await;
            }
        }
    }
}

/// Why nothing runs in this pod any more, if that is so. Another of the same name is not the same.
fn why_gone(pod: Option<&Pod>, uid: &mut Option<String>) -> Option<String> {
    let Some(pod) = pod else { return Some("the pod was removed".into()) };
    let first = uid.get_or_insert_with(|| pod.uid().unwrap_or_default());
    if *first != pod.uid().unwrap_or_default() {
        return Some("the pod was removed, and another took its name".into());
    }
    let status = pod.status.as_ref()?;
    match status.phase.as_deref() {
        Some(phase @ ("Succeeded" | "Failed")) => {
            let reason = status.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
            Some(format!("the pod has ended ({phase}{reason})"))
        }
        _ => None,
    }
}

/// Whether the pod's node answers. The image need have nothing for it: a refusal is an answer too.
pub(crate) async fn answers(target: &Target) -> bool {
    let argv = [b"true".to_vec()];
    match run_script(target, &argv, ASKED).await {
        Ok(said) => said.status != ExitStatus::Unknown,
        Err(e) => !matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, phase: &str, reason: Option<&str>) -> Pod {
        let json = serde_json::json!({"metadata": {"uid": uid}, "status": {"phase": phase, "reason": reason}});
        serde_json::from_value(json).expect("a pod")
    }

    #[test]
    fn a_pod_is_gone_when_removed_replaced_or_ended() {
        let mut uid = None;
        assert_eq!(why_gone(Some(&pod("1", "Running", None)), &mut uid), None);
        assert!(why_gone(Some(&pod("2", "Running", None)), &mut uid).is_some_and(|w| w.contains("another")));
        assert!(why_gone(Some(&pod("1", "Failed", Some("Evicted"))), &mut uid).is_some_and(|w| w.contains("Evicted")));
        assert!(why_gone(None, &mut uid).is_some_and(|w| w.contains("removed")));
    }
}

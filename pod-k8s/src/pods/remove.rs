//! Removing pods, until they are gone.

use crate::cluster::Cluster;
use crate::errors::is_not_found;
use crate::pods::state::{is_lost, main_of, state_of};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::wait::{await_condition, conditions};
use pod_core::{Error, ErrorKind, RemoveOutcome, Result, Retry, State};
use std::time::Duration;

/// How long the kubelet gets to confirm that a pod has ended.
const CONFIRM: Duration = Duration::from_secs(30);
/// How long until a node that does not confirm is looked at.
const DOUBT: Duration = Duration::from_secs(8);
/// The same for one that the cluster takes for lost already.
const DOUBT_OF_LOST: Duration = Duration::from_secs(1);
/// The least grace that the kubelet confirms: 0 takes the pod off the API's books while its containers
/// still run.
const AT_ONCE: u32 = 1;

fn delete(uid: &str, grace: u32) -> DeleteParams {
    DeleteParams {
        grace_period_seconds: Some(grace),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    }
}

/// Removes a pod; returns when it is gone, also from its node.
pub(crate) async fn remove(cluster: &Cluster, name: &str, force: bool) -> Result<RemoveOutcome> {
    let pods = cluster.pods();
    let Some(pod) = pods.get_opt(name).await.map_err(|e| cluster.error(e))? else {
        return Ok(RemoveOutcome::AlreadyAbsent);
    };
    let state = state_of(&pod, main_of(&pod, None)?);
    let runs = matches!(state, State::Running { .. });
    if runs && !force && pod.metadata.deletion_timestamp.is_none() {
        return Err(Error::new(ErrorKind::WrongState, "the pod runs")
            .with_context("pod", name)
            .with_hint("remove it by force: `pod rm -f`"));
    }
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    // What has ended, or has no node, needs nobody's word.
    let on_node = pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
    let grace = if on_node && !matches!(state, State::Exited(_)) { AT_ONCE } else { 0 };
    match pods.delete(name, &delete(&uid, grace)).await {
        Ok(_) => {}
        Err(e) if is_not_found(&e) => return Ok(RemoveOutcome::AlreadyAbsent),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            return Err(Error::new(ErrorKind::Conflict, "another pod has taken the name meanwhile")
                .with_context("pod", name)
                .with_retry(Retry::Later));
        }
        Err(e) => return Err(cluster.error(e)),
    }
    let doubt = if is_lost(&pod) { DOUBT_OF_LOST } else { DOUBT };
    gone(cluster, name, &uid, force, doubt).await?;
    Ok(RemoveOutcome::Removed)
}

/// Waits until a pod is gone, and finds out what holds it.
async fn gone(cluster: &Cluster, name: &str, uid: &str, force: bool, doubt: Duration) -> Result<()> {
    let waited = |time| {
        let gone = Box::pin(await_condition(cluster.pods(), name, conditions::is_deleted(uid)));
        async move { tokio::time::timeout(time, gone).await }
    };
    match waited(doubt).await {
        Ok(Ok(_)) => return Ok(()),
        // A watch that is not allowed, or cut off: what counts is asked below.
        Ok(Err(e)) => tracing::debug!(error = %e, "the watch on a removal ended"),
        Err(_) => {}
    }
    let Some(pod) = still(cluster, name, uid).await? else { return Ok(()) };
    let dead = dead_node(cluster, &pod).await;
    if force && let Some(node) = &dead {
        // Nobody is there to confirm it, and it was asked for by force.
        tracing::warn!(pod = name, node, "the node does not answer: the pod is taken off the books unconfirmed");
        match cluster.pods().delete(name, &delete(uid, 0)).await {
            Ok(_) => {}
            Err(e) if is_not_found(&e) => return Ok(()),
            Err(e) => return Err(cluster.error(e)),
        }
    }
    let mut left = CONFIRM.saturating_sub(doubt);
    while !left.is_zero() {
        // Asked again and again, in case the watch is what fails.
        let slice = left.min(Duration::from_secs(2));
        let _ = waited(slice).await;
        if still(cluster, name, uid).await?.is_none() {
            return Ok(());
        }
        left = left.saturating_sub(slice);
    }
    match still(cluster, name, uid).await? {
        None => Ok(()),
        Some(pod) => Err(held(&pod, dead)),
    }
}

/// The pod, if it is still there.
async fn still(cluster: &Cluster, name: &str, uid: &str) -> Result<Option<Pod>> {
    let pod = cluster.pods().get_opt(name).await.map_err(|e| cluster.error(e))?;
    Ok(pod.filter(|p| p.metadata.uid.as_deref() == Some(uid)))
}

/// The pod's node, if it does not answer.
async fn dead_node(cluster: &Cluster, pod: &Pod) -> Option<String> {
    let node = pod.spec.as_ref()?.node_name.clone()?;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let ready = match nodes.get_opt(&node).await {
        Ok(Some(found)) => {
            let conditions = found.status.and_then(|s| s.conditions).unwrap_or_default();
            conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
        }
        Ok(None) => false,
        // Nodes are not for all to see; the pod's own word has to do.
        Err(_) => {
            let status = pod.status.as_ref();
            status.and_then(|s| s.reason.as_deref()) != Some("NodeLost")
        }
    };
    (!ready).then_some(node)
}

fn held(pod: &Pod, dead: Option<String>) -> Error {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let error = Error::new(ErrorKind::Timeout, "the pod is not gone yet").with_context("pod", name.clone());
    let finalizers = pod.metadata.finalizers.clone().unwrap_or_default();
    if !finalizers.is_empty() {
        return error
            .with_context("finalizers", finalizers.join(", "))
            .with_hint("what set the finalizer has to take it off: see whether its controller runs");
    }
    match (dead, pod.spec.as_ref().and_then(|s| s.node_name.clone())) {
        (Some(node), _) => error
            .with_context("node", node)
            .with_hint("the node does not answer: `pod rm -f` takes the pod off the books without it"),
        (None, Some(node)) => {
            error.with_context("node", node).with_hint("the node's kubelet has not confirmed it: look at its log")
        }
        (None, None) => error,
    }
}

/// Removes what a creation made: nothing in it is worth a grace.
pub(crate) async fn take_back(cluster: &Cluster, name: &str, uid: &str) -> Result<()> {
    let mut wait = Duration::from_millis(50);
    let mut last = None;
    for _ in 0..6 {
        match cluster.pods().delete(name, &delete(uid, 0)).await {
            Ok(_) => match still(cluster, name, uid).await {
                Ok(None) => return Ok(()),
                Ok(Some(pod)) => last = Some(held(&pod, None)),
                Err(e) => last = Some(e),
            },
            Err(e) if is_not_found(&e) => return Ok(()),
            // Another pod has the name now: the one that was made is gone.
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(()),
            Err(e) => last = Some(cluster.error(e)),
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    last.map_or(Ok(()), Err)
}

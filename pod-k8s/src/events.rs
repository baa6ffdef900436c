//! Changes of workloads, told from a watch on their pods.

use crate::cluster::Cluster;
use crate::pods::{cause, name_of, pod_name, workload_of};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use pod_core::{Error, Event, EventKind, EventStream, EventsRequest, ExitStatus, Result, State, WorkloadName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How long the first look may take.
const FIRST: Duration = Duration::from_secs(30);
/// How often in a row the watch may fail before the stream does.
const TRIES: u32 = 20;

/// What was told of one pod.
#[derive(Debug, Clone)]
struct Seen {
    name: WorkloadName,
    uid: String,
    started: bool,
    exited: bool,
}

/// Tells changes from what pods are like.
#[derive(Debug, Default)]
struct Tracker {
    /// By the pod's name.
    seen: BTreeMap<String, Seen>,
    /// What a list that is being read has shown.
    listed: BTreeSet<String>,
    container: Option<String>,
}

/// How the command of a workload that is so has ended.
fn ended(state: &State) -> Option<ExitStatus> {
    match state {
        State::Exited(status) | State::Running { command: Some(status) } => Some(*status),
        _ => None,
    }
}

impl Tracker {
    /// What has changed with a pod. In the first list nothing has.
    fn apply(&mut self, pod: &Pod, first: bool) -> Vec<Event> {
        let key = pod.metadata.name.clone().unwrap_or_default();
        self.listed.insert(key.clone());
        let (Ok(name), Ok(workload)) = (name_of(pod), workload_of(pod, self.container.as_deref())) else {
            return Vec::new(); // its name is too long for a workload, or it has no such container
        };
        let mut events = Vec::new();
        if let Some(old) = self.seen.get(&key).filter(|s| s.uid != workload.id).cloned() {
            events.push(Event::now(old.name, EventKind::Removed));
            self.seen.remove(&key);
        }
        let new = !self.seen.contains_key(&key);
        let seen = self.seen.entry(key).or_insert(Seen {
            name: name.clone(),
            uid: workload.id.clone(),
            started: false,
            exited: false,
        });
        if new {
            events.push(Event::now(name.clone(), EventKind::Created));
        }
        if !seen.started && workload.started.is_some() {
            seen.started = true;
            events.push(Event::now(name.clone(), EventKind::Started));
        }
        if !seen.exited
            && let Some(status) = ended(&workload.state)
        {
            seen.exited = true;
            events.push(Event::now(name, EventKind::Exited(status)));
        }
        if first { Vec::new() } else { events }
    }

    /// A pod is gone.
    fn delete(&mut self, pod: &Pod) -> Vec<Event> {
        // What the last word on it says counts: it may have ended since the word before.
        let mut events = self.apply(pod, false);
        if let Some(seen) = self.seen.remove(&pod.metadata.name.clone().unwrap_or_default()) {
            events.push(Event::now(seen.name, EventKind::Removed));
        }
        events
    }

    /// A list has been read whole: what it does not show is gone.
    fn listed(&mut self) -> Vec<Event> {
        let gone: Vec<_> = self.seen.keys().filter(|k| !self.listed.contains(*k)).cloned().collect();
        self.listed.clear();
        let gone = gone.into_iter().filter_map(|key| self.seen.remove(&key));
        gone.map(|seen| Event::now(seen.name, EventKind::Removed)).collect()
    }
}

struct Watch {
    stream: BoxStream<'static, Result<watcher::Event<Pod>, watcher::Error>>,
    tracker: Tracker,
    ready: VecDeque<Event>,
    cluster: Cluster,
    failures: u32,
}

impl Watch {
    /// Takes in the next news; `true` when a list has been read whole.
    async fn step(&mut self, first: bool) -> Result<bool> {
        match self.stream.next().await {
            None => Err(Error::unexpected("the watch on pods ended")),
            Some(Ok(event)) => {
                self.failures = 0;
                match event {
                    watcher::Event::Init => self.tracker.listed.clear(),
                    watcher::Event::InitApply(pod) => self.ready.extend(self.tracker.apply(&pod, first)),
                    watcher::Event::Apply(pod) => self.ready.extend(self.tracker.apply(&pod, false)),
                    watcher::Event::Delete(pod) => self.ready.extend(self.tracker.delete(&pod)),
                    watcher::Event::InitDone => {
                        self.ready.extend(self.tracker.listed());
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Some(Err(e)) => {
                let error = cause(e);
                let refused = matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404));
                self.failures += 1;
                if refused || self.failures > TRIES {
                    return Err(self.cluster.error(error));
                }
                tracing::debug!(error = %error, "the watch on pods is cut off");
                tokio::time::sleep(Duration::from_millis(100 * 2u64.pow(self.failures.min(5)))).await;
                Ok(false)
            }
        }
    }
}

/// Events from now on.
pub(crate) async fn follow(cluster: &Cluster, request: EventsRequest) -> Result<EventStream> {
    let mut config = watcher::Config::default();
    if let Some(workload) = &request.workload {
        config = config.fields(&format!("metadata.name={}", pod_name(workload)));
    }
    let mut watch = Watch {
        stream: watcher(cluster.pods(), config).boxed(),
        tracker: Tracker { container: cluster.config.container.clone(), ..Tracker::default() },
        ready: VecDeque::new(),
        cluster: cluster.clone(),
        failures: 0,
    };
    // What happens after this returns is in the stream, so the first list is read here.
    tokio::time::timeout(FIRST, async {
        while !watch.step(true).await? {}
        Ok::<_, Error>(())
    })
    .await
    .map_err(|_| Error::new(pod_core::ErrorKind::Timeout, "the pods could not be listed in time"))??;
    watch.ready.clear();
    Ok(Box::pin(futures_util::stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        loop {
            if let Some(event) = watch.ready.pop_front() {
                return Some((Ok(event), Some(watch)));
            }
            if let Err(e) = watch.step(false).await {
                return Some((Err(e), None));
            }
        }
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, state: serde_json::Value) -> Pod {
        let mut pod = serde_json::json!({
            "metadata": {"name": "p", "uid": uid, "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"containers": [{"name": "main"}]}, "status": {"phase": "Pending"}
        });
        if !state.is_null() {
            pod["status"]["containerStatuses"] = serde_json::json!([
                {"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state}]);
        }
        serde_json::from_value(pod).expect("a pod")
    }

    fn kinds(events: Vec<Event>) -> Vec<EventKind> {
        events.into_iter().map(|e| e.kind).collect()
    }

    fn running() -> serde_json::Value {
        serde_json::json!({"running": {"startedAt": "2026-01-02T03:04:06Z"}})
    }

    fn over(code: i32) -> serde_json::Value {
        serde_json::json!({"terminated": {"exitCode": code, "startedAt": "2026-01-02T03:04:06Z"}})
    }

    #[test]
    fn each_change_is_told_once_and_in_order() {
        let mut tracker = Tracker::default();
        let exited = EventKind::Exited(ExitStatus::Exited(4));
        assert_eq!(kinds(tracker.apply(&pod("a", serde_json::Value::Null), false)), [EventKind::Created]);
        assert_eq!(kinds(tracker.apply(&pod("a", serde_json::Value::Null), false)), []);
        assert_eq!(kinds(tracker.apply(&pod("a", running()), false)), [EventKind::Started]);
        assert_eq!(kinds(tracker.apply(&pod("a", running()), false)), []);
        assert_eq!(kinds(tracker.apply(&pod("a", over(4)), false)), [exited]);
        assert_eq!(kinds(tracker.delete(&pod("a", over(4)))), [EventKind::Removed]);
    }

    #[test]
    fn what_was_missed_is_told_from_what_is() {
        let mut tracker = Tracker::default();
        assert_eq!(kinds(tracker.apply(&pod("a", running()), true)), [], "what is there already");
        assert_eq!(kinds(tracker.listed()), []);
        let exited = EventKind::Exited(ExitStatus::Exited(1));
        assert_eq!(kinds(tracker.delete(&pod("a", over(1)))), [exited.clone(), EventKind::Removed]);
        // Gone while the watch was cut off.
        assert_eq!(kinds(tracker.apply(&pod("b", running()), false)), [EventKind::Created, EventKind::Started]);
        tracker.listed.clear();
        assert_eq!(kinds(tracker.listed()), [EventKind::Removed]);
        // Another of the same name.
        tracker.apply(&pod("c", running()), false);
        assert_eq!(
            kinds(tracker.apply(&pod("d", over(1)), false)),
            [EventKind::Removed, EventKind::Created, EventKind::Started, exited]
        );
    }
}

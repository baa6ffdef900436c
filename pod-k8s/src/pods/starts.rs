//! One watch on all pods that are being made here, shared by all who wait for one.

use crate::cluster::Cluster;
use crate::owner::{MANAGED_BY, MANAGER, OPERATION};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::runtime::watcher;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// What the watch tells of a pod.
#[derive(Debug)]
pub(crate) enum Notice {
    /// It is so now.
    Pod(Box<Pod>),
    /// It may be gone: it is for the listener to look.
    Gone,
    /// The kubelet warns.
    Warning(Box<Event>),
    /// The watch is cut off; it is tried again.
    Trouble(Arc<kube::Error>),
}

#[derive(Default)]
struct Inner {
    /// By pod, who wants to know of it.
    listeners: HashMap<String, Vec<(u64, mpsc::UnboundedSender<Notice>)>>,
    next: u64,
    watching: Vec<AbortHandle>,
}

/// The shared watch. It runs while somebody listens.
#[derive(Clone, Default)]
pub(crate) struct Starts(Arc<Mutex<Inner>>);

/// One who listens to news of one pod; the watch ends with the last.
pub(crate) struct Listener {
    starts: Starts,
    pod: String,
    id: u64,
    news: mpsc::UnboundedReceiver<Notice>,
}

impl Listener {
    /// The next news.
    pub(crate) async fn next(&mut self) -> Notice {
        match self.news.recv().await {
            Some(notice) => notice,
            // The sender is dropped only with the listener.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut inner = self.starts.lock();
        if let Some(list) = inner.listeners.get_mut(&self.pod) {
            list.retain(|(id, _)| *id != self.id);
            if list.is_empty() {
                inner.listeners.remove(&self.pod);
            }
        }
        if inner.listeners.is_empty() {
            for task in inner.watching.drain(..) {
                task.abort();
            }
        }
    }
}

impl Starts {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing under the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to news of a pod, from before it is made.
    pub(crate) fn listen(&self, cluster: &Cluster, pod: &str) -> Listener {
        let (sender, news) = mpsc::unbounded_channel();
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        inner.listeners.entry(pod.to_owned()).or_default().push((id, sender));
        if inner.watching.is_empty() {
            let pods = tokio::spawn(watch_pods(self.clone(), cluster.clone()));
            let warnings = tokio::spawn(watch_warnings(self.clone(), cluster.clone()));
            inner.watching = vec![pods.abort_handle(), warnings.abort_handle()];
        }
        Listener { starts: self.clone(), pod: pod.to_owned(), id, news }
    }

    fn tell(&self, pod: &str, notice: impl Fn() -> Notice) {
        for (_, listener) in self.lock().listeners.get(pod).into_iter().flatten() {
            // One that has just gone wants no news.
            let _ = listener.send(notice());
        }
    }

    fn tell_all(&self, notice: impl Fn() -> Notice) {
        for (_, listener) in self.lock().listeners.values().flatten() {
            let _ = listener.send(notice());
        }
    }
}

/// How long to wait after the `n`th failure in a row.
fn pause(n: u32) -> Duration {
    Duration::from_millis(100 * 2u64.pow(n.min(5)))
}

async fn watch_pods(starts: Starts, cluster: Cluster) {
    // Only what is not made whole yet, of whomever: a list that stays short.
    let config = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER},{OPERATION}"));
    let mut stream = pin!(watcher(cluster.pods(), config));
    let mut failures = 0;
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                failures = 0;
                let name = pod.metadata.name.clone().unwrap_or_default();
                starts.tell(&name, || Notice::Pod(Box::new(pod.clone())));
            }
            Ok(watcher::Event::Delete(pod)) => {
                starts.tell(&pod.metadata.name.unwrap_or_default(), || Notice::Gone);
            }
            // A list was read anew: what went meanwhile is not in it.
            Ok(watcher::Event::InitDone) if failures > 0 => {
                failures = 0;
                starts.tell_all(|| Notice::Gone);
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
            Err(e) => {
                let e = Arc::new(cause(e));
                starts.tell_all(|| Notice::Trouble(e.clone()));
                tokio::time::sleep(pause(failures)).await;
                failures += 1;
            }
        }
    }
}

/// The client's error in one of the watcher's.
pub(crate) fn cause(error: watcher::Error) -> kube::Error {
    match error {
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            e
        }
        watcher::Error::WatchError(status) => kube::Error::Api(status),
        other => kube::Error::Service(Box::new(other)),
    }
}

async fn watch_warnings(starts: Starts, cluster: Cluster) {
    let config = watcher::Config::default().fields("involvedObject.kind=Pod,type=Warning");
    let mut stream = pin!(watcher(cluster.events(), config));
    let mut failures = 0;
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => {
                failures = 0;
                let name = event.involved_object.name.clone().unwrap_or_default();
                starts.tell(&name, || Notice::Warning(Box::new(event.clone())));
            }
            Ok(_) => failures = 0,
            Err(e) => {
                let e = cause(e);
                if matches!(&e, kube::Error::Api(status) if status.code == 403) {
                    // Without events a start is only told late why it fails.
                    tracing::info!(namespace = %cluster.namespace, "events may not be read");
                    return;
                }
                tracing::debug!(error = %e, "the watch on events is cut off");
                tokio::time::sleep(pause(failures)).await;
                failures += 1;
            }
        }
    }
}

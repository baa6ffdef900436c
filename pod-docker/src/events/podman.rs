//! Which network a container was put on, or taken off.
//!
//! Podman's events of that name the container alone. So it is looked at, and what is new about it is told;
//! what was undone before that, only to those who follow by the same backend that did it.

use super::{Names, Told};
use crate::containers;
use crate::networking::{self, Change};
use futures_util::Stream;
use pod_core::{Event, EventKind, NetworkName, Result};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// The networks of POD's that containers were on when they were last looked at, by the containers' ids.
#[derive(Debug)]
pub(super) struct Watch {
    names: Names,
    on: tokio::sync::Mutex<BTreeMap<String, BTreeSet<NetworkName>>>,
}

/// What came to be between two looks.
fn differences(old: &BTreeSet<NetworkName>, new: &BTreeSet<NetworkName>) -> Vec<EventKind> {
    let gone = old.difference(new).cloned().map(EventKind::Detached);
    gone.chain(new.difference(old).cloned().map(EventKind::Attached)).collect()
}

impl Watch {
    /// Looks at all containers.
    pub(super) async fn begin(names: Names) -> Result<Self> {
        let on = networking::attached(&names.engine).await?;
        Ok(Self { names, on: tokio::sync::Mutex::new(on) })
    }

    /// What an event about a network means for the container that it names.
    pub(super) async fn look(&self, told: &Told) -> Vec<Event> {
        let engine = &self.names.engine;
        let mut on = self.on.lock().await;
        let found = match containers::by_id(engine, &told.actor.id).await {
            Ok(Some(found)) => found,
            // It is gone, or told of again when it can be seen.
            Ok(None) => return Vec::new(),
            Err(f) => {
                tracing::debug!(error = %engine.error(f), "a container on networks can't be looked at");
                return Vec::new();
            }
        };
        let Ok(workload) = found.name() else { return Vec::new() };
        let Ok(known) = networking::of_pod(engine).await else { return Vec::new() };
        let new = found.networks.among(known.keys());
        let old = on.insert(found.id, new.clone()).unwrap_or_default();
        differences(&old, &new).into_iter().filter_map(|kind| told.event(workload.clone(), kind)).collect()
    }

    /// What a change of this backend's own means, unless it was seen already.
    pub(super) async fn own(&self, change: Change) -> Option<Event> {
        let mut on = self.on.lock().await;
        let there = on.entry(change.container.clone()).or_default();
        let (is_new, kind) = match change.attached {
            true => (there.insert(change.network.clone()), EventKind::Attached(change.network)),
            false => (there.remove(&change.network), EventKind::Detached(change.network)),
        };
        if !is_new {
            return None;
        }
        let workload = self.names.workload(&change.container).await?;
        Some(Event::now(workload.parse().ok()?, kind))
    }
}

/// A backend's own changes as they come.
pub(super) fn changes(from: Receiver<Change>) -> impl Stream<Item = Change> + Send {
    futures_util::stream::unfold(from, |mut from| async move {
        loop {
            match from.recv().await {
                Ok(change) => return Some((change, from)),
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "changes of networks were told too fast"),
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_between_two_looks_is_told() {
        let set = |names: &[&str]| names.iter().map(|n| n.parse().expect("a name")).collect::<BTreeSet<NetworkName>>();
        let (attached, detached) =
            (EventKind::Attached("blue".parse().expect("a name")), EventKind::Detached("red".parse().expect("a name")));
        assert_eq!(differences(&set(&["red", "green"]), &set(&["green", "blue"])), [detached, attached]);
        assert_eq!(differences(&set(&["red"]), &set(&["red"])), []);
    }
}

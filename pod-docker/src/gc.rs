//! What operations left behind that never came to their end.

use crate::DockerBackend;
use crate::containers::{self, Inspected};
use crate::operation::{self, Over};
use pod_core::{LABEL_OWNER, NetworkName, Result, WorkloadName};
use serde_json::json;

/// What kind of thing was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LeftoverKind {
    /// A container that was made to be started, and never was; it is removed.
    Container,
    /// A network whose isolation was being switched; that is finished, and who was on it is put back.
    Isolation,
}

/// What an operation of this owner left: its program was killed, or cut off.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// The name of the container, or of the network.
    pub name: String,
    /// The container's id: another of that name is another's. Of a network, what it is written down in.
    pub id: String,
    /// The operation.
    pub operation: String,
    /// When the operation was to be over at the latest. One whose process was killed is over before.
    pub lease: jiff::Timestamp,
}

impl Leftover {
    fn new(kind: LeftoverKind, name: impl ToString, id: String, over: Over) -> Self {
        Self { kind, name: name.to_string(), id, operation: over.operation, lease: over.lease }
    }
}

/// Reads a container as a leftover, if it is one of this owner's and its operation is over. Labels can't be
/// taken off a container, so the operation's stays; that it was never started tells that it was not finished.
fn leftover(found: &Inspected, owner: &str, now: jiff::Timestamp) -> Option<Leftover> {
    let labels = found.labels();
    if labels.get(LABEL_OWNER).map(String::as_str) != Some(owner) || !found.is_new() {
        return None;
    }
    let over = operation::over(&labels, now)?;
    Some(Leftover::new(LeftoverKind::Container, found.name().ok()?, found.id.clone(), over))
}

impl DockerBackend {
    /// What unfinished operations of this owner left: containers, and networks whose isolation was being
    /// switched. A container that runs or has run, what others made, and what may still be under way is never
    /// among them.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn gc_candidates(&self) -> Result<Vec<Leftover>> {
        let engine = self.engine();
        let labels = [format!("{LABEL_OWNER}={}", self.owner()), operation::MARK.to_owned()];
        let ids = containers::ids(engine, &json!({"label": labels, "status": ["created"]})).await?;
        let now = jiff::Timestamp::now();
        let mut left = Vec::new();
        for id in ids {
            let found = containers::by_id(engine, &id).await.map_err(|f| engine.error(f))?;
            left.extend(found.and_then(|c| leftover(&c, self.owner(), now)));
        }
        for (network, volume, over) in self.networks().left().await? {
            left.push(Leftover::new(LeftoverKind::Isolation, network, volume, over));
        }
        left.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(left)
    }

    /// Removes the container of this name, if it was left behind; whether it did.
    pub(crate) async fn clear(&self, name: &WorkloadName) -> Result<bool> {
        let engine = self.engine();
        let found = containers::by_id(engine, name.as_str()).await.map_err(|f| engine.error(f))?;
        match found.filter(|f| f.is_called(name)).and_then(|f| leftover(&f, self.owner(), jiff::Timestamp::now())) {
            Some(left) => self.gc(&[left]).await.map(|removed| removed > 0),
            None => Ok(false),
        }
    }

    /// Removes or finishes leftovers; gives how many there were still. Each is looked at again first, and one that has
    /// been started meanwhile stays.
    ///
    /// # Errors
    /// As the daemon says; those before the first that fails are gone.
    pub async fn gc(&self, leftovers: &[Leftover]) -> Result<usize> {
        let engine = self.engine();
        let mut removed = 0;
        for wanted in leftovers {
            if wanted.kind == LeftoverKind::Isolation {
                let network: NetworkName = wanted.name.parse()?;
                removed += usize::from(self.networks().finish(&network, &wanted.operation).await?);
                continue;
            }
            let found = containers::by_id(engine, &wanted.id).await.map_err(|f| engine.error(f))?;
            let now = jiff::Timestamp::now();
            if found.and_then(|c| leftover(&c, self.owner(), now)).is_some_and(|l| l.operation == wanted.operation)
                // Not by force: one that was started just now is refused.
                && containers::remove(engine, &wanted.id, false).await.map_err(|f| engine.error(f))?
            {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(owner: &str, lease: Option<&str>, started: bool) -> Inspected {
        let mut labels = json!({LABEL_OWNER: owner, "pod.operation": "create-1"});
        if let Some(lease) = lease {
            labels["pod.lease"] = lease.into();
        }
        let at = if started { "2026-01-01T00:00:00Z" } else { "0001-01-01T00:00:00Z" };
        serde_json::from_value(json!({
            "Id": "i", "Name": "/web", "State": {"Status": "created", "StartedAt": at}, "Config": {"Labels": labels},
        }))
        .expect("a container")
    }

    #[test]
    fn only_what_is_over_and_ones_own_is_left_behind() {
        let now: jiff::Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        let (before, after) = (Some("2026-01-02T03:04:04Z"), Some("2026-01-02T03:04:06Z"));
        assert!(leftover(&container("me.0", before, false), "me.0", now).is_some());
        for (what, found) in [
            ("another user's", container("me.1", before, false)),
            ("one that was started", container("me.0", before, true)),
            ("one under way", container("me.0", after, false)),
            ("one without a time", container("me.0", None, false)),
            ("one whose time is none", container("me.0", Some("soon"), false)),
        ] {
            assert_eq!(leftover(&found, "me.0", now), None, "{what}");
        }
    }
}

//! What operations left behind that never came to their end.

use crate::DockerBackend;
use crate::containers::{self, Inspected};
use crate::owner::{LEASE, OPERATION};
use pod_core::{LABEL_OWNER, Result};
use serde_json::json;

/// A container that an operation of this owner made to start it, and never started: its program was
/// killed, or cut off.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Leftover {
    /// The container's name.
    pub name: String,
    /// Its id: another container of that name is another's.
    pub id: String,
    /// The operation.
    pub operation: String,
    /// When the operation was to be over at the latest; it was not.
    pub lease: jiff::Timestamp,
}

/// Reads a container as a leftover, if it is one of this owner's and its time is over. Labels can't be taken
/// off a container, so the operation's stays; that it was never started tells that it was not finished.
fn leftover(found: &Inspected, owner: &str, now: jiff::Timestamp) -> Option<Leftover> {
    let labels = found.labels();
    if labels.get(LABEL_OWNER).map(String::as_str) != Some(owner) || !found.is_new() {
        return None;
    }
    let operation = labels.get(OPERATION)?.clone();
    // Without a time that can be read nobody knows that it is over, so it stays.
    let lease: jiff::Timestamp = labels.get(LEASE)?.parse().ok()?;
    let name = found.name().ok()?.to_string();
    (lease < now).then(|| Leftover { name, id: found.id.clone(), operation, lease })
}

impl DockerBackend {
    /// The containers that an unfinished operation of this owner left. What runs or has run, what others
    /// made, and what may still be under way is never among them.
    ///
    /// # Errors
    /// As the daemon says.
    pub async fn gc_candidates(&self) -> Result<Vec<Leftover>> {
        let engine = self.engine();
        let labels = [format!("{LABEL_OWNER}={}", self.owner()), OPERATION.to_owned()];
        let ids = containers::ids(engine, &json!({"label": labels, "status": ["created"]})).await?;
        let now = jiff::Timestamp::now();
        let mut left = Vec::new();
        for id in ids {
            let found = containers::by_id(engine, &id).await.map_err(|f| engine.error(f))?;
            left.extend(found.and_then(|c| leftover(&c, self.owner(), now)));
        }
        left.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(left)
    }

    /// Removes leftovers; gives how many there were still. Each is looked at again first, and one that has
    /// been started meanwhile stays.
    ///
    /// # Errors
    /// As the daemon says; those before the first that fails are gone.
    pub async fn gc(&self, leftovers: &[Leftover]) -> Result<usize> {
        let engine = self.engine();
        let mut removed = 0;
        for wanted in leftovers {
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
        let mut labels = json!({LABEL_OWNER: owner, OPERATION: "create-1"});
        if let Some(lease) = lease {
            labels[LEASE] = lease.into();
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

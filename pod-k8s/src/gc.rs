//! What operations left behind that never came to their end.

use crate::K8sBackend;
use crate::owner::{LEASE, MANAGED_BY, MANAGER, OPERATION, PROBE_UNTIL};
use crate::pods::take_back;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use pod_core::{LABEL_OWNER, Result};

/// A pod that an operation of this owner made and never finished: its program was killed, or cut off.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Leftover {
    /// The pod's name.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid: another pod of that name is another's.
    pub id: String,
    /// The operation.
    pub operation: String,
    /// When the operation was to be over at the latest; it was not.
    pub lease: jiff::Timestamp,
}

/// Reads a pod as a leftover, if it is one of this owner's and its time is over.
fn leftover(pod: &Pod, owner: &str, now: jiff::Timestamp) -> Option<Leftover> {
    let labels = pod.metadata.labels.as_ref()?;
    if labels.get(MANAGED_BY).map(String::as_str) != Some(MANAGER)
        || labels.get(LABEL_OWNER).map(String::as_str) != Some(owner)
    {
        return None;
    }
    // Without a time that can be read nobody knows that it is over, so it stays.
    let unfinished = || -> Option<(String, jiff::Timestamp)> {
        let operation = labels.get(OPERATION)?.clone();
        Some((operation, pod.metadata.annotations.as_ref()?.get(LEASE)?.parse().ok()?))
    };
    let probe = || -> Option<(String, jiff::Timestamp)> {
        let until = labels.get(PROBE_UNTIL)?.parse().ok()?;
        Some(("probe".to_owned(), jiff::Timestamp::from_second(until).ok()?))
    };
    let over = |(_, lease): &(String, jiff::Timestamp)| *lease < now;
    let (operation, lease) = unfinished().filter(over).or_else(|| probe().filter(over))?;
    Some(Leftover {
        pod: pod.metadata.name.clone().unwrap_or_default(),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        id: pod.metadata.uid.clone().unwrap_or_default(),
        operation,
        lease,
    })
}

impl K8sBackend {
    /// The pods of this namespace that an unfinished operation of this owner left, and those that it made
    /// only to probe from. What runs as it was asked for, what others made, and what may still be under
    /// way is never among them.
    ///
    /// # Errors
    /// As the cluster says.
    pub async fn gc_candidates(&self) -> Result<Vec<Leftover>> {
        let cluster = self.cluster();
        let owner = self.owner();
        let mut left = Vec::new();
        for which in [OPERATION, PROBE_UNTIL] {
            let selector = format!("{MANAGED_BY}={MANAGER},{LABEL_OWNER}={owner},{which}");
            let found =
                cluster.pods().list(&ListParams::default().labels(&selector)).await.map_err(|e| cluster.error(e))?;
            let now = jiff::Timestamp::now();
            left.extend(found.items.iter().filter_map(|pod| leftover(pod, owner, now)));
        }
        left.sort_by(|a, b| (&a.pod, &a.id).cmp(&(&b.pod, &b.id)));
        left.dedup_by(|a, b| a.id == b.id);
        Ok(left)
    }

    /// Removes leftovers; gives how many there were still. Each is looked at again first.
    ///
    /// # Errors
    /// As the cluster says; those before the first that fails are gone.
    pub async fn gc(&self, leftovers: &[Leftover]) -> Result<usize> {
        let mut removed = 0;
        for wanted in leftovers {
            let current = self.gc_candidates().await?;
            if current.iter().any(|c| c.id == wanted.id && c.operation == wanted.operation) {
                take_back(self.cluster(), &wanted.pod, &wanted.id).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(owner: &str, operation: Option<&str>, lease: Option<&str>) -> Pod {
        let mut pod = serde_json::json!({
            "metadata": {"name": "p", "uid": "u",
                "labels": {MANAGED_BY: MANAGER, LABEL_OWNER: owner}, "annotations": {}},
        });
        if let Some(operation) = operation {
            pod["metadata"]["labels"][OPERATION] = operation.into();
        }
        if let Some(lease) = lease {
            pod["metadata"]["annotations"][LEASE] = lease.into();
        }
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn only_what_is_over_and_ones_own_is_left_behind() {
        let now: jiff::Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        let (before, after) = (Some("2026-01-02T03:04:04Z"), Some("2026-01-02T03:04:06Z"));
        assert!(leftover(&pod("me.0", Some("op"), before), "me.0", now).is_some());
        for (what, pod) in [
            ("another user's", pod("me.1", Some("op"), before)),
            ("one that is made", pod("me.0", None, None)),
            ("one under way", pod("me.0", Some("op"), after)),
            ("one without a time", pod("me.0", Some("op"), None)),
            ("one whose time is none", pod("me.0", Some("op"), Some("soon"))),
        ] {
            assert_eq!(leftover(&pod, "me.0", now), None, "{what}");
        }
        let probe = |until: &str, operation: Option<&str>| {
            let mut pod = pod("me.0", operation, after);
            pod.metadata.labels.get_or_insert_default().insert(PROBE_UNTIL.into(), until.into());
            leftover(&pod, "me.0", now).map(|l| (l.operation, l.lease.as_second()))
        };
        let second = now.as_second();
        assert_eq!(probe(&(second - 1).to_string(), None), Some(("probe".into(), second - 1)));
        assert_eq!(probe(&(second - 1).to_string(), Some("op")), Some(("probe".into(), second - 1)));
        assert_eq!(probe(&(second + 1).to_string(), None), None);
        assert_eq!(probe("soon", None), None);
    }
}

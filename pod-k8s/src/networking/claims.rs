//! Addresses held on a definition: taken before a pod is made, given back when it is gone.

use super::annotate::ATTACHED;
use super::record::{Record, records_of};
use crate::allocate::{Addresses, Holder};
use crate::cluster::Cluster;
use crate::errors::is_not_found;
use crate::nad::network::{ADDRESSES, object_name};
use crate::nad::{Definitions, NetworkAttachmentDefinition};
use ipnet::IpNet;
use kube::api::{ListParams, Patch, PatchParams};
use pod_core::{AttachmentSpec, Error, ErrorKind, NetworkName, NetworkSpec, Result, Retry};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// How often a change is tried against others that change the same record.
const TRIES: u32 = 40;

type Latest = Arc<tokio::sync::Mutex<Option<NetworkAttachmentDefinition>>>;

/// The definitions as they were last seen, by server, namespace and name. Who changes one holds its
/// lock, so that many pods made at once by one program wait for each other instead of clashing. What
/// is out of date is noticed by the server.
static SEEN: LazyLock<Mutex<BTreeMap<String, Latest>>> = LazyLock::new(Mutex::default);

fn latest(cluster: &Cluster, name: &str) -> Latest {
    let key = format!("{}\0{}\0{name}", cluster.server, cluster.namespace);
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
}

/// Forgets a definition that is gone.
pub(super) fn forget(cluster: &Cluster, name: &str) {
    let key = format!("{}\0{}\0{name}", cluster.server, cluster.namespace);
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
}

/// Takes the addresses of an attachment.
pub(super) async fn take(
    cluster: &Cluster,
    network: &NetworkSpec,
    asked: &AttachmentSpec,
    holder: &Holder,
) -> Result<Vec<IpNet>> {
    if network.subnets.is_empty() {
        return match asked.ips.first() {
            None => Ok(Vec::new()),
            Some(ip) => network.assignable(*ip).map(|net| vec![net]),
        };
    }
    let mut carried = None;
    loop {
        let mut wants_pods = false;
        let changed = change(cluster, &network.name, |record| {
            if let Some(carried) = &carried {
                record.sweep(carried, holder.since);
            }
            match record.take(network, asked, holder) {
                Err(e) if carried.is_none() && matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Exhausted) => {
                    wants_pods = true;
                    Ok(None)
                }
                Err(e) => Err(e),
                Ok(taken) => Ok(Some(taken)),
            }
        })
        .await?;
        match changed {
            Some(taken) => return Ok(taken),
            // Something is in the way: it counts only if a pod carries it.
            None if wants_pods => carried = Some(claims(cluster).await?),
            None => return Err(Error::unexpected("an address was neither taken nor refused")),
        }
    }
}

/// Gives back what these attachments hold. What is gone holds nothing.
pub(super) async fn give_back(cluster: &Cluster, records: &[Record]) -> Result<()> {
    for record in records.iter().filter(|r| !r.foreign && !r.attachment.ips.is_empty()) {
        let given = change(cluster, &record.attachment.network, |addresses| {
            Ok(if addresses.release(&record.claim) { Some(()) } else { None })
        })
        .await;
        match given {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// The claims that the namespace's pods carry.
async fn claims(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let params = ListParams::default().labels(ATTACHED);
    let pods = cluster.pods().list(&params).await.map_err(|e| cluster.error(e))?;
    let mut found = BTreeSet::new();
    for pod in &pods.items {
        found.extend(records_of(pod)?.into_iter().map(|r| r.claim));
    }
    Ok(found)
}

/// Changes the record of a network's addresses, against others who do the same: written only if it is
/// still what was read. `None` from `how` leaves it as it is.
async fn change<T>(
    cluster: &Cluster,
    network: &NetworkName,
    mut how: impl FnMut(&mut Addresses) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let definitions = Definitions::new(cluster.clone());
    let name = object_name(network);
    let latest = latest(cluster, &name);
    let mut latest = latest.lock().await;
    for turn in 0..TRIES {
        let object = match latest.take() {
            Some(object) => object,
            None => definitions.find(&name).await?.ok_or_else(|| Error::not_found("network", network.as_str()))?,
        };
        let mut record = Addresses::parse(object.annotation(ADDRESSES))
            .map_err(|e| e.with_context("definition", name.clone()).with_context("annotation", ADDRESSES))?;
        let done = match how(&mut record) {
            Ok(Some(done)) => done,
            // A refusal must not rest on what was seen some time ago.
            other if turn > 0 => return other,
            other => {
                let fresh = definitions.find(&name).await?;
                let same =
                    fresh.as_ref().is_some_and(|f| f.metadata.resource_version == object.metadata.resource_version);
                if same {
                    *latest = fresh;
                    return other;
                }
                *latest = fresh;
                continue;
            }
        };
        let patch = serde_json::json!({"metadata": {
            "resourceVersion": object.metadata.resource_version,
            "uid": object.metadata.uid,
            "annotations": {ADDRESSES: record.text()?},
        }});
        let params = PatchParams { field_manager: Some("pod-addresses".into()), ..PatchParams::default() };
        match definitions.api().patch(&name, &params, &Patch::Merge(patch)).await {
            Ok(changed) => {
                *latest = Some(changed);
                return Ok(Some(done));
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                // Another program was faster; not all of them come back at once.
                let spread = u64::from(uuid::Uuid::new_v4().as_bytes()[0] % 16) + 1;
                tokio::time::sleep(Duration::from_millis(spread * u64::from(turn.min(8)))).await;
            }
            Err(e) if is_not_found(&e) => return Err(Error::not_found("network", network.as_str())),
            Err(e) => return Err(definitions.error(&name, e)),
        }
    }
    Err(Error::new(ErrorKind::Conflict, "the network's addresses are changed by others all the time")
        .with_context("network", network.as_str())
        .with_retry(Retry::Later))
}

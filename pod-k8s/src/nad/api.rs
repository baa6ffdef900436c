//! Definitions on a cluster: applied, listed, compared, deleted.

use super::check::check;
use super::definition::Definition;
use super::network::LABEL_NETWORK;
use super::object::{GROUP, NetworkAttachmentDefinition, PLURAL};
use super::parse;
use super::selection::selections;
use crate::cluster::Cluster;
use crate::errors::{from_kube, is_not_found};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use pod_core::{Error, ErrorKind, RemoveOutcome, Result};
use serde_json::Value;
use std::collections::BTreeSet;

/// The field manager of what POD applies.
pub(crate) const MANAGER: &str = "pod";

/// The definitions of one namespace.
#[derive(Debug, Clone)]
pub struct Definitions {
    cluster: Cluster,
}

/// What [`Definitions::apply`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApplyOutcome {
    /// There was none.
    Created,
    /// There was another, which is changed now. Pods that run keep what they have.
    Changed,
    /// It was so already.
    Unchanged,
}

/// One part in which a definition differs from what it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The part: a path such as `config.mtu`.
    pub at: String,
    /// What should be; `None` is nothing.
    pub expected: Option<String>,
    /// What is; `None` is nothing.
    pub found: Option<String>,
}

/// A definition as it is listed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its parts; `None` when POD can't read them.
    pub definition: Option<Definition>,
    /// The network of POD's that it belongs to.
    pub network: Option<String>,
    /// The pods of the namespace that ask for it.
    pub pods: Vec<String>,
    /// How many faults [`check`] finds.
    pub faults: usize,
}

/// The error when the cluster has no definitions at all.
pub(crate) fn no_definitions() -> Error {
    Error::unsupported("the cluster has no network attachment definitions")
        .with_context("missing", format!("{PLURAL}.{GROUP}"))
        .with_hint("install Multus: `pod doctor k8s:` prints how")
}

/// Whether an answer says that the API server serves no definitions, and not that one is missing.
fn is_no_kind(error: &kube::Error) -> bool {
    // A missing object is named in the details; a missing kind is not.
    matches!(error, kube::Error::Api(status)
        if status.code == 404 && status.details.as_ref().is_none_or(|d| d.name.is_empty()))
}

impl Definitions {
    /// The definitions of the cluster's namespace.
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    pub(crate) fn api(&self) -> Api<NetworkAttachmentDefinition> {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    pub(crate) fn error(&self, name: &str, error: kube::Error) -> Error {
        if is_no_kind(&error) {
            return no_definitions();
        }
        if is_not_found(&error) {
            return missing(name, &self.cluster.namespace);
        }
        let error = self.cluster.error(error);
        if name.is_empty() { error } else { error.with_context("definition", name) }
    }

    /// The definition of this name.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` when the cluster has no definitions at all.
    pub async fn get(&self, name: &str) -> Result<NetworkAttachmentDefinition> {
        self.api().get(name).await.map_err(|e| self.error(name, e))
    }

    /// The definition of this name, if there is one.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<NetworkAttachmentDefinition>> {
        match self.api().get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(e) if is_not_found(&e) && !is_no_kind(&e) => Ok(None),
            Err(e) => Err(self.error(name, e)),
        }
    }

    /// Makes it so, by server-side apply. Twice in a row: `Unchanged`.
    ///
    /// # Errors
    /// `InvalidInput` names every fault of its configuration; `Conflict` when another field manager
    /// holds a part of it; `Unsupported` when the cluster has no definitions.
    pub async fn apply(&self, object: &NetworkAttachmentDefinition) -> Result<ApplyOutcome> {
        let name = object.name();
        check(&object.spec.config).into_result(name)?;
        let before = self.find(name).await?;
        let mut wanted = object.clone();
        wanted.metadata.namespace = Some(self.cluster.namespace.clone());
        // Server-side apply refuses what only the server may write.
        wanted.metadata.managed_fields = None;
        wanted.metadata.resource_version = None;
        wanted.metadata.uid = None;
        wanted.metadata.creation_timestamp = None;
        wanted.metadata.generation = None;
        let applied = self
            .api()
            .patch(name, &PatchParams::apply(MANAGER), &Patch::Apply(&wanted))
            .await
            .map_err(|e| self.error(name, e))?;
        Ok(match before {
            None => ApplyOutcome::Created,
            Some(before) if before.metadata.resource_version == applied.metadata.resource_version => {
                ApplyOutcome::Unchanged
            }
            Some(_) => ApplyOutcome::Changed,
        })
    }

    /// Whether the API server would take it: a dry run.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn try_apply(&self, object: &NetworkAttachmentDefinition) -> Result<()> {
        check(&object.spec.config).into_result(object.name())?;
        let params = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER) };
        let tried = self.api().patch(object.name(), &params, &Patch::Apply(object)).await;
        tried.map(drop).map_err(|e| self.error(object.name(), e))
    }

    /// Where the definition of this name differs from `wanted`; what only the server writes, and
    /// labels and annotations that `wanted` does not name, are left out.
    ///
    /// # Errors
    /// `NotFound`, and as the server says.
    pub async fn compare(&self, wanted: &NetworkAttachmentDefinition) -> Result<Vec<Difference>> {
        Ok(compare(&self.get(wanted.name()).await?, wanted))
    }

    /// All of them, as objects.
    pub(crate) async fn objects(&self, selector: Option<&str>) -> Result<Vec<NetworkAttachmentDefinition>> {
        let params = selector.map_or_else(ListParams::default, |s| ListParams::default().labels(s));
        let list = self.api().list(&params).await.map_err(|e| self.error("", e))?;
        Ok(list.items)
    }

    /// The definitions, by name, each with the pods that ask for it.
    ///
    /// # Errors
    /// As the server says.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let objects = self.objects(None).await?;
        let pods = self.cluster.pods().list(&ListParams::default()).await.map_err(|e| self.cluster.error(e))?;
        let mut all: Vec<Listed> = objects
            .iter()
            .map(|object| Listed {
                name: object.name().to_owned(),
                definition: parse(object).ok(),
                network: object.label(LABEL_NETWORK).map(str::to_owned),
                pods: users(&pods.items, &self.cluster.namespace, object.name()),
                faults: check(&object.spec.config).faults.len(),
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Deletes it. A missing one: `AlreadyAbsent`. Pods of all namespaces are asked whether they use it
    /// where that is allowed, else those of this one.
    ///
    /// # Errors
    /// `Busy` names the pods that use it, unless `force`: those that run keep their interface, and hang
    /// when their sandbox is made anew.
    pub async fn delete(&self, name: &str, force: bool) -> Result<RemoveOutcome> {
        let Some(object) = self.find(name).await? else { return Ok(RemoveOutcome::AlreadyAbsent) };
        if !force {
            let pods = self.pods_anywhere().await?;
            let used = users(&pods, &self.cluster.namespace, name);
            if !used.is_empty() {
                return Err(Error::new(ErrorKind::Busy, "pods use the network attachment definition")
                    .with_context("definition", name)
                    .with_context("pods", used.join(", "))
                    .with_hint("remove them first; those that run keep their interface if it is forced"));
            }
        }
        self.remove(&object).await
    }

    /// Deletes this very object.
    pub(crate) async fn remove(&self, object: &NetworkAttachmentDefinition) -> Result<RemoveOutcome> {
        let only = Preconditions { uid: object.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        match self.api().delete(object.name(), &params).await {
            Ok(_) => Ok(RemoveOutcome::Removed),
            Err(e) if is_not_found(&e) => Ok(RemoveOutcome::AlreadyAbsent),
            Err(e) => Err(self.error(object.name(), e)),
        }
    }

    async fn pods_anywhere(&self) -> Result<Vec<Pod>> {
        match Api::<Pod>::all(self.cluster.client.clone()).list(&ListParams::default()).await {
            Ok(list) => Ok(list.items),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let list = self.cluster.pods().list(&ListParams::default()).await;
                Ok(list.map_err(|e| self.cluster.error(e))?.items)
            }
            Err(e) => Err(from_kube(e)),
        }
    }
}

/// The error for a definition that is not there.
pub(crate) fn missing(name: &str, namespace: &str) -> Error {
    Error::not_found("network attachment definition", name)
        .with_context("namespace", namespace)
        .with_hint("`pod k8s nad ls` lists those there are; a pod that asks for a missing one never starts")
}

/// The pods that ask for a definition, `NAMESPACE/NAME` where it is another namespace. Pods that have
/// ended hold nothing.
pub(crate) fn users(pods: &[Pod], namespace: &str, name: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    for pod in pods {
        let own = pod.metadata.namespace.as_deref().unwrap_or(namespace);
        let ended = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        if matches!(ended, Some("Succeeded" | "Failed")) {
            continue;
        }
        // An annotation that can't be read asks for nothing that Multus would find.
        let asks = selections(pod).unwrap_or_default();
        if asks.iter().any(|s| s.means(namespace, name, own)) {
            let pod = pod.metadata.name.clone().unwrap_or_default();
            found.insert(if own == namespace { pod } else { format!("{own}/{pod}") });
        }
    }
    found.into_iter().collect()
}

/// Where one object differs from what it should be.
pub(crate) fn compare(found: &NetworkAttachmentDefinition, wanted: &NetworkAttachmentDefinition) -> Vec<Difference> {
    let mut all = Vec::new();
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    differ("config", Some(&read(&wanted.spec.config)), Some(&read(&found.spec.config)), &mut all);
    let maps = [
        ("labels", &wanted.metadata.labels, &found.metadata.labels),
        ("annotations", &wanted.metadata.annotations, &found.metadata.annotations),
    ];
    for (part, wanted, found) in maps {
        for (key, value) in wanted.iter().flatten() {
            let is = found.as_ref().and_then(|f| f.get(key));
            if is != Some(value) {
                all.push(Difference { at: format!("{part}.{key}"), expected: Some(value.clone()), found: is.cloned() });
            }
        }
    }
    all
}

fn differ(at: &str, wanted: Option<&Value>, found: Option<&Value>, all: &mut Vec<Difference>) {
    match (wanted, found) {
        (Some(Value::Object(w)), Some(Value::Object(f))) => {
            let keys: BTreeSet<&String> = w.keys().chain(f.keys()).collect();
            for key in keys {
                differ(&format!("{at}.{key}"), w.get(key), f.get(key), all);
            }
        }
        (Some(Value::Array(w)), Some(Value::Array(f))) => {
            for n in 0..w.len().max(f.len()) {
                differ(&format!("{at}[{n}]"), w.get(n), f.get(n), all);
            }
        }
        (w, f) if w == f => {}
        (w, f) => all.push(Difference {
            at: at.to_owned(),
            expected: w.map(Value::to_string),
            found: f.map(Value::to_string),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nad::NETWORKS;

    fn nad(config: &str) -> NetworkAttachmentDefinition {
        NetworkAttachmentDefinition::new("red", config)
    }

    #[test]
    fn what_differs_is_named_by_its_place() {
        let wanted = nad(r#"{"type": "macvlan", "master": "eth1.5", "ipam": {"addresses": [{"address": "a"}]}}"#);
        let mut found = nad(r#"{"ipam": {"addresses": []}, "type": "macvlan", "master": "eth1", "mtu": 1400}"#);
        let places: Vec<_> = compare(&found, &wanted).into_iter().map(|d| d.at).collect();
        assert_eq!(places, ["config.ipam.addresses[0]", "config.master", "config.mtu"]);
        // the order of keys and white space are no difference; labels of others neither
        found.spec.config = r#"{"master":"eth1.5","ipam":{"addresses":[{"address":"a"}]},"type":"macvlan"}"#.into();
        found.metadata.labels = Some([("team".to_owned(), "x".to_owned())].into());
        assert_eq!(compare(&found, &wanted), []);
        let mut wanted = wanted;
        wanted.metadata.labels = Some([("team".to_owned(), "y".to_owned())].into());
        assert_eq!(compare(&found, &wanted)[0].at, "labels.team");
        assert_eq!(compare(&nad("{"), &nad("{}")).len(), 1);
    }

    #[test]
    fn pods_that_use_a_definition_are_found() {
        let pod = |name: &str, namespace: &str, asks: &str, phase: &str| {
            let mut pod = Pod::default();
            pod.metadata.name = Some(name.into());
            pod.metadata.namespace = Some(namespace.into());
            pod.metadata.annotations = Some([(NETWORKS.to_owned(), asks.to_owned())].into());
            pod.status.get_or_insert_default().phase = Some(phase.into());
            pod
        };
        let pods = [
            pod("a", "shop", "red", "Running"),
            pod("b", "shop", "shop/red@net1", "Pending"),
            pod("c", "other", "shop/red", "Running"),
            pod("d", "other", "red", "Running"),
            pod("e", "shop", "red", "Succeeded"),
            pod("f", "shop", "blue", "Running"),
        ];
        assert_eq!(users(&pods, "shop", "red"), ["a", "b", "other/c"]);
    }
}

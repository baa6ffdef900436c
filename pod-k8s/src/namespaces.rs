//! Namespaces: made, listed, removed.

use crate::K8sBackend;
use crate::cluster::Cluster;
use crate::config::check_namespace;
use crate::errors::is_not_found;
use crate::owner::{MANAGED_BY, MANAGER};
use k8s_openapi::api::core::v1::Namespace as Object;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use kube::runtime::wait::{await_condition, conditions};
use pod_core::{Error, ErrorKind, LABEL_OWNER, Labels, RemoveOutcome, Result};
use std::time::Duration;

/// How long a namespace may take to go, with all that is in it.
const GOING: Duration = Duration::from_secs(120);

/// A namespace of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Whether it is being removed.
    pub going: bool,
    /// When it was made, RFC 3339.
    pub created: Option<jiff::Timestamp>,
    /// Its labels, such as `pod-security.kubernetes.io/enforce`.
    pub labels: Labels,
}

impl From<Object> for Namespace {
    fn from(object: Object) -> Self {
        let phase = object.status.and_then(|s| s.phase);
        Self {
            name: object.metadata.name.unwrap_or_default(),
            going: phase.as_deref() == Some("Terminating"),
            created: object.metadata.creation_timestamp.map(|t| t.0),
            labels: object.metadata.labels.unwrap_or_default(),
        }
    }
}

/// What [`Namespaces::create`] did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CreateNamespaceOutcome {
    /// It was made.
    Created(Namespace),
    /// There was one; it was not touched.
    AlreadyExists(Namespace),
}

/// The namespaces of a cluster.
#[derive(Debug, Clone)]
pub struct Namespaces {
    cluster: Cluster,
    owner: String,
}

impl Namespaces {
    pub(crate) fn new(backend: &K8sBackend) -> Self {
        Self { cluster: backend.cluster().clone(), owner: backend.owner().to_owned() }
    }

    fn api(&self) -> Api<Object> {
        Api::all(self.cluster.client.clone())
    }

    fn error(error: kube::Error) -> Error {
        crate::errors::from_kube(error)
    }

    /// Makes a namespace. Twice in a row: `AlreadyExists` as an outcome.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is none (RFC 1123: at most 63 of `a-z`, `0-9` and `-`), or a label
    /// that Kubernetes does not take; `WrongState` while one of that name is being removed;
    /// `PermissionDenied`.
    pub async fn create(&self, name: &str, labels: Labels) -> Result<CreateNamespaceOutcome> {
        check_namespace(name)?;
        for (key, value) in &labels {
            if !crate::owner::fits_label(key, value) {
                return Err(Error::invalid("Kubernetes does not take this label")
                    .with_context("label", format!("{key}={value}")));
            }
        }
        let mut all = labels;
        all.insert(MANAGED_BY.into(), MANAGER.into());
        all.insert(LABEL_OWNER.into(), self.owner.clone());
        let object = Object {
            metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(all), ..ObjectMeta::default() },
            ..Object::default()
        };
        match self.api().create(&PostParams::default(), &object).await {
            Ok(made) => Ok(CreateNamespaceOutcome::Created(made.into())),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                let found: Namespace = self.api().get(name).await.map_err(Self::error)?.into();
                if found.going {
                    return Err(Error::new(ErrorKind::WrongState, "the namespace is being removed")
                        .with_context("namespace", name)
                        .with_retry(pod_core::Retry::Later)
                        .with_hint("try again when it is gone"));
                }
                Ok(CreateNamespaceOutcome::AlreadyExists(found))
            }
            Err(e) => Err(Self::error(e)),
        }
    }

    /// The namespaces there are, by name.
    ///
    /// # Errors
    /// `PermissionDenied`: namespaces are seen by a cluster role only.
    pub async fn list(&self) -> Result<Vec<Namespace>> {
        let mut params = ListParams::default().limit(500);
        let mut found: Vec<Namespace> = Vec::new();
        loop {
            let page = self.api().list(&params).await.map_err(Self::error)?;
            found.extend(page.items.into_iter().map(Namespace::from));
            match page.metadata.continue_.filter(|c| !c.is_empty()) {
                Some(next) => params = params.continue_token(&next),
                None => break,
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Removes a namespace and all that is in it; returns when it is gone. A missing one:
    /// `AlreadyAbsent`. Only one that POD made is removed, unless `force` is set.
    ///
    /// # Errors
    /// `WrongState` for one that POD did not make; `Timeout` after two minutes, with what holds it;
    /// `PermissionDenied`.
    pub async fn remove(&self, name: &str, force: bool) -> Result<RemoveOutcome> {
        check_namespace(name)?;
        let api = self.api();
        let Some(found) = api.get_opt(name).await.map_err(Self::error)? else {
            return Ok(RemoveOutcome::AlreadyAbsent);
        };
        let own = found.metadata.labels.as_ref().and_then(|l| l.get(LABEL_OWNER)) == Some(&self.owner);
        if !own && !force {
            return Err(Error::new(ErrorKind::WrongState, "the namespace was not made by this user with POD")
                .with_context("namespace", name)
                .with_hint("it and all in it are removed by force only: `pod k8s namespace rm -f`"));
        }
        let uid = found.metadata.uid.clone().unwrap_or_default();
        let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(name, &params).await {
            Ok(_) => {}
            Err(e) if is_not_found(&e) => return Ok(RemoveOutcome::AlreadyAbsent),
            // It is on its way already: a second call waits for it.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(e) => return Err(Self::error(e)),
        }
        let gone = await_condition(api.clone(), name, conditions::is_deleted(&uid));
        match tokio::time::timeout(GOING, gone).await {
            Ok(Ok(_)) => Ok(RemoveOutcome::Removed),
            _ => match api.get_opt(name).await.map_err(Self::error)? {
                Some(left) if left.metadata.uid.as_deref() == Some(uid.as_str()) => Err(held(name, &left)),
                _ => Ok(RemoveOutcome::Removed),
            },
        }
    }
}

/// What holds a namespace that does not go, by its own conditions.
fn held(name: &str, object: &Object) -> Error {
    let mut error = Error::new(ErrorKind::Timeout, "the namespace is not gone yet").with_context("namespace", name);
    for condition in object.status.iter().flat_map(|s| s.conditions.iter().flatten()) {
        if condition.status == "True"
            && let Some(message) = &condition.message
        {
            error = error.with_context("held_by", message.clone());
        }
    }
    error.with_hint("what is left in it, or the finalizers of that, must go first")
}

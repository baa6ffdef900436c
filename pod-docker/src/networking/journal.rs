//! What is written down before a network is made again, so that whoever comes next can finish it.
//!
//! Between the old network and the new one nothing of the daemon's knows who was on it. So that is kept as
//! labels of an empty volume, which a daemon makes and removes in one step each.

use super::DockerNetworking;
use crate::engine::failure::Failure;
use crate::engine::{Engine, Query, part};
use crate::operation::{self, Operation, Over};
use pod_core::{Attachment, Error, ErrorKind, LABEL_OWNER, Labels, NetworkName, NetworkSpec, Result, Retry};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// The label with what is being done, JSON.
const REMAKE: &str = "pod.remake";

/// A network that is made again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Remake {
    pub(super) old: NetworkSpec,
    pub(super) new: NetworkSpec,
    /// Who was on it, each with its container's id.
    pub(super) before: Vec<(String, Attachment)>,
}

/// One that is written down.
#[derive(Debug)]
pub(super) struct Journal {
    volume: String,
    operation: Operation,
}

/// A volume (API, `Volume`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    name: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// One that was left, and can be finished.
#[derive(Debug, Clone)]
pub(super) struct Left {
    pub(super) volume: String,
    pub(super) over: Over,
    pub(super) remake: Remake,
    /// Whose it was.
    owner: String,
}

impl Volume {
    fn left(self) -> Option<Left> {
        let labels = self.labels?;
        let over = operation::over(&labels, jiff::Timestamp::now())?;
        let remake = serde_json::from_str(labels.get(REMAKE)?).ok()?;
        let owner = labels.get(LABEL_OWNER).cloned().unwrap_or_default();
        Some(Left { volume: self.name, over, remake, owner })
    }
}

fn volume_of(network: &NetworkName) -> String {
    format!("pod-isolate-{network}")
}

fn about(engine: &Engine, network: &NetworkName) -> impl FnOnce(Failure) -> Error {
    let (engine, network) = (engine.clone(), network.clone());
    move |f| engine.error(f).with_context("network", network.as_str())
}

impl Journal {
    /// Writes down what is about to be done.
    ///
    /// # Errors
    /// `Busy` while another does it.
    pub(super) async fn begin(networking: &DockerNetworking, remake: &Remake) -> Result<Self> {
        let (engine, network) = (&networking.engine, &remake.old.name);
        let (volume, operation) = (volume_of(network), Operation::begin("isolate"));
        let text = serde_json::to_string(remake)
            .map_err(|e| Error::unexpected("what is to be done can't be written down").with_source(e))?;
        let mut labels: Labels = operation.labels()?;
        labels.insert(LABEL_OWNER.into(), networking.owner.clone());
        labels.insert(REMAKE.into(), text);
        let body = json!({"Name": volume, "Driver": "local", "Labels": labels});
        let made: Volume =
            engine.post_json("/volumes/create", Query::new(), &body).await.map_err(about(engine, network))?;
        // The daemon gives one that is there already, as it is.
        if made.labels.as_ref() != Some(&labels) {
            return Err(Error::new(ErrorKind::Busy, "another switches the network's isolation")
                .with_context("network", network.as_str())
                .with_retry(Retry::Later));
        }
        Ok(Self { volume, operation })
    }

    /// It is done, or undone whole.
    pub(super) async fn end(self, engine: &Engine) -> Result<()> {
        remove(engine, &self.volume).await?;
        drop(self.operation);
        Ok(())
    }
}

async fn remove(engine: &Engine, volume: &str) -> Result<()> {
    match engine.delete(&format!("/volumes/{}", part(volume)), Query::new()).await {
        Err(f) if !f.is_not_found() => Err(engine.error(f).with_context("volume", volume)),
        _ => Ok(()),
    }
}

/// What was left of a network.
pub(super) async fn of_network(networking: &DockerNetworking, network: &NetworkName) -> Result<Option<Left>> {
    let engine = &networking.engine;
    if engine.libpod.is_some() {
        // Its networks are never made again.
        return Ok(None);
    }
    match engine.get::<Volume>(&format!("/volumes/{}", part(&volume_of(network))), Query::new()).await {
        Ok(volume) => Ok(volume.left()),
        Err(f) if f.is_not_found() => Ok(None),
        Err(f) => Err(about(engine, network)(f)),
    }
}

/// All that this owner left.
pub(super) async fn all(networking: &DockerNetworking) -> Result<Vec<Left>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Volumes {
        #[serde(default)]
        volumes: Option<Vec<Volume>>,
    }
    let engine = &networking.engine;
    if engine.libpod.is_some() {
        return Ok(Vec::new());
    }
    let query = Query::new().filters(&json!({"label": [REMAKE]}));
    let found: Volumes = engine.get("/volumes", query).await.map_err(|f| engine.error(f))?;
    let left = found.volumes.into_iter().flatten().filter_map(Volume::left);
    Ok(left.filter(|l| l.owner == networking.owner).collect())
}

/// Takes away what was written down.
pub(super) async fn forget(networking: &DockerNetworking, left: &Left) -> Result<()> {
    remove(&networking.engine, &left.volume).await
}

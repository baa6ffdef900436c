//! Takes a topology down.

use super::Progress;
use super::deployment::{Deployment, Site, observe};
use super::run::{OnFailure, Task, and_hint, gather, run};
use super::up::name_it;
use crate::{
    Backend, LABEL_TOPOLOGY, Labels, NetworkName, RemoveOutcome, RemoveRequest, Result, ResultExt, TopologyName,
    WorkloadName,
};
use std::sync::Arc;

/// How many workloads are removed at once.
const JOBS: usize = 16;

/// What a [`down`](Deployment::down) removed; nothing when there was nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DownReport {
    /// The workloads.
    pub workloads: Vec<WorkloadName>,
    /// The networks.
    pub networks: Vec<NetworkName>,
}

impl DownReport {
    /// Whether there was nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.networks.is_empty()
    }
}

impl Deployment {
    /// Removes all that carries the topology's label, finished or half made: workloads, running or not,
    /// then networks. Twice in a row, the second removes nothing. Half-way cut off, the next finishes.
    ///
    /// # Errors
    /// Those of the backends, after all has been tried that can be; `Busy` for a network that a
    /// workload of someone else is on.
    pub async fn down(&self, progress: &dyn Progress) -> Result<DownReport> {
        take_down(&self.sites, &self.topology.name, progress).await
    }
}

/// As [`Deployment::down`] on one backend, without the file: by the topology's name alone.
///
/// # Errors
/// As [`Deployment::down`].
pub async fn down_named(backend: Arc<dyn Backend>, name: &TopologyName, progress: &dyn Progress) -> Result<DownReport> {
    let site = Site { uri: backend.info().uri.to_string(), backend, networks: Default::default() };
    take_down(&[site], name, progress).await
}

async fn take_down(sites: &[Site], name: &TopologyName, progress: &dyn Progress) -> Result<DownReport> {
    let ours = |labels: &Labels| labels.get(LABEL_TOPOLOGY).map(String::as_str) == Some(name.as_str());
    let mut found = Vec::new();
    for site in sites {
        found.push(observe(site).await.operation("down")?);
    }
    let mut report = DownReport::default();
    let mut tasks = Vec::new();
    for (site, found) in sites.iter().zip(&found) {
        for workload in found.workloads.values().filter(|w| ours(&w.spec.labels)) {
            let name = workload.name();
            report.workloads.push(name.clone());
            let work = async move {
                let request = RemoveRequest::new(name.clone()).with_force(true);
                site.backend.remove(request).await.map_err(|e| name_it(e, "workload", name.as_str()))?;
                Ok(())
            };
            tasks.push(Task { what: format!("workload {name}"), work: Box::pin(work) });
        }
    }
    let mut errors = run("remove workloads", tasks, JOBS, OnFailure::GoOn, progress).await;
    let mut tasks = Vec::new();
    for (site, found) in sites.iter().zip(&found) {
        for network in found.networks.values().filter(|n| ours(&n.spec.labels)) {
            let name = &network.spec.name;
            report.networks.push(name.clone());
            let work = async move {
                let removed = site.networking()?.remove(name).await;
                removed.map_err(|e| name_it(e, "network", name.as_str())).map(|_: RemoveOutcome| ())
            };
            tasks.push(Task { what: format!("network {name}"), work: Box::pin(work) });
        }
    }
    errors.extend(run("remove networks", tasks, JOBS, OnFailure::GoOn, progress).await);
    gather(errors).map_err(|e| {
        let hint = format!("`pod down {name}` again goes on from there");
        and_hint(e.with_context("topology", name.as_str()), &hint).with_operation("down")
    })?;
    Ok(report)
}

//! The measures of `cargo xtask bench --on k8s`, in the lab's cluster: POD beside kubectl and the
//! Kubernetes client for Python.

mod copy;
mod exec;
mod files;
mod network;
mod start;
mod world;

use super::table::Row;
use pod::Error;
use world::Cluster;

/// The names for `--only`.
pub(super) const MEASURES: &[&str] = &["exec", "copy", "files", "network", "start", "many"];

/// Takes the measures; the sentence is for below their table.
pub(super) async fn take(runs: usize, only: &[String]) -> Result<(Vec<Row>, Option<String>), Error> {
    let cluster = Cluster::make().await?;
    let rows = rows(&cluster, runs, only).await;
    let removed = cluster.remove().await;
    let rows = rows?;
    removed?;
    Ok((rows, Some(cluster.versions()?)))
}

async fn rows(cluster: &Cluster, runs: usize, only: &[String]) -> Result<Vec<Row>, Error> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    let mut rows = Vec::new();
    if wanted("exec") {
        rows.extend(exec::exec(cluster, runs).await?);
    }
    if wanted("copy") {
        rows.extend(copy::copy(cluster).await?);
    }
    if wanted("files") {
        rows.extend(files::files(cluster).await?);
    }
    if wanted("network") {
        rows.push(network::network(cluster, runs)?);
    }
    if wanted("start") {
        rows.push(start::start(cluster)?);
    }
    if wanted("many") {
        rows.push(start::many(cluster)?);
    }
    Ok(rows)
}

//! Containers as workloads: made, read, found by name.

mod create;
mod state;

pub(crate) use create::{create, start_error};
pub(crate) use state::{Inspected, exit_status};

use crate::engine::failure::Failure;
use crate::engine::{Engine, Query, part};
use pod_core::{Error, Result, WorkloadName};

/// The error for a workload that is not there.
pub(crate) fn missing(name: &WorkloadName) -> Error {
    Error::not_found("workload", name.as_str())
}

/// A container by its name. Daemons also take the beginning of an id for a name; that is not meant here.
pub(crate) async fn find(engine: &Engine, name: &WorkloadName) -> Result<Inspected> {
    match by_id(engine, name.as_str()).await {
        Ok(Some(found)) if found.is_called(name) => Ok(found),
        Ok(_) => Err(missing(name)),
        Err(f) => Err(engine.error(f).with_context("workload", name.as_str())),
    }
}

/// A container by its id, or what else the daemon takes for it; `None` when it is gone.
pub(crate) async fn by_id(engine: &Engine, id: &str) -> Result<Option<Inspected>, Failure> {
    match engine.get::<Inspected>(&format!("/containers/{}/json", part(id)), Query::new()).await {
        Ok(found) => Ok(Some(found)),
        Err(f) if f.is_not_found() => Ok(None),
        Err(f) => Err(f),
    }
}

/// The ids of all containers that pass these filters.
pub(crate) async fn ids(engine: &Engine, filters: &serde_json::Value) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Listed {
        #[serde(rename = "Id")]
        id: String,
    }
    let query = Query::new().with("all", "1").filters(filters);
    let all: Vec<Listed> = engine.get("/containers/json", query).await.map_err(|f| engine.error(f))?;
    Ok(all.into_iter().map(|l| l.id).collect())
}

/// Removes a container by its id, with the volumes that are only its own; one that is gone is gone.
pub(crate) async fn remove(engine: &Engine, id: &str, force: bool) -> Result<bool, Failure> {
    let mut query = Query::new().with("v", "1");
    if force {
        query = query.with("force", "1");
    }
    match engine.delete(&format!("/containers/{}", part(id)), query).await {
        Ok(()) => Ok(true),
        Err(f) if f.is_not_found() => Ok(false),
        Err(f) => Err(f),
    }
}

/// Waits until a container does not run.
pub(crate) async fn stopped(engine: &Engine, id: &str) -> Result<(), Failure> {
    let query = Query::new().with("condition", "not-running");
    let path = format!("/containers/{}/wait", part(id));
    match engine.post_slow::<serde_json::Value>(&path, query).await {
        Ok(_) => Ok(()),
        Err(f) if f.is_not_found() => Ok(()),
        Err(f) => Err(f),
    }
}

/// Waits until a container that is being removed is gone.
pub(crate) async fn gone(engine: &Engine, id: &str) -> Result<(), Failure> {
    let query = Query::new().with("condition", "removed");
    match engine.post_slow::<serde_json::Value>(&format!("/containers/{}/wait", part(id)), query).await {
        Ok(_) => Ok(()),
        Err(f) if f.is_not_found() => Ok(()),
        Err(f) => Err(f),
    }
}

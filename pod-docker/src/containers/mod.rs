//! Containers as workloads: made, read, found by name.

mod create;
pub(crate) mod kept;
mod machine;
mod state;
mod stop;
mod turns;

pub(crate) use create::{create, exists, start_error};
pub(crate) use machine::{Bindings, explained};
pub(crate) use state::{Inspected, exit_status};
pub(crate) use stop::stop;
pub(crate) use turns::Turns;

use crate::engine::failure::Failure;
use crate::engine::{Engine, Kind, Query, part};
use crate::libpod;
use http::StatusCode;
use pod_core::{Error, ErrorKind, ExitStatus, Result, Retry, Signal, WorkloadName};
use serde::de::DeserializeOwned;

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
        Err(f) if f.is_gone() => Ok(None),
        Err(f) => Err(f),
    }
}

/// How often a list is asked for that containers vanish from.
const LISTS: u32 = 50;

/// The ids of all containers that pass these filters.
pub(crate) async fn ids(engine: &Engine, filters: &serde_json::Value) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Listed {
        #[serde(rename = "Id")]
        id: String,
    }
    let all: Vec<Listed> = list(engine, filters).await?;
    Ok(all.into_iter().map(|l| l.id).collect())
}

/// All containers that pass these filters, running or not, as the daemon lists them.
pub(crate) async fn list<T: DeserializeOwned>(engine: &Engine, filters: &serde_json::Value) -> Result<Vec<T>> {
    for _ in 0..LISTS {
        let query = Query::new().with("all", "1").filters(filters);
        match engine.get::<Vec<T>>("/containers/json", query).await {
            Ok(all) => return Ok(all),
            // Podman gives nothing when one of them is removed meanwhile, or can't be put on a network.
            Err(f) if engine.kind == Kind::Podman && (f.is_gone() || is_between(&f)) => {}
            Err(f) => return Err(engine.error(f)),
        }
    }
    Err(Error::new(ErrorKind::Busy, "no list of the containers can be had while so many are changed")
        .with_retry(Retry::Later))
}

/// Whether Podman shows a container no more because it could not put it on a network, until that is undone.
fn is_between(failure: &Failure) -> bool {
    failure.words().is_some_and(|w| w.contains("network inspection mismatch"))
}

/// Starts a container; 304 when it runs.
pub(crate) async fn start(engine: &Engine, id: &str) -> Result<StatusCode, Failure> {
    if engine.libpod.is_some()
        && let Some(found) = by_id(engine, id).await?
    {
        libpod::ready(engine, &found).await?;
    }
    engine.post(&format!("/containers/{}/start", part(id)), Query::new()).await
}

/// Removes a container by its id, with the volumes that are only its own; one that is gone is gone.
pub(crate) async fn remove(engine: &Engine, id: &str, force: bool) -> Result<bool, Failure> {
    let mut query = Query::new().with("v", "1");
    if force {
        query = query.with("force", "1");
    }
    match engine.delete(&format!("/containers/{}", part(id)), query).await {
        Ok(()) => Ok(true),
        Err(f) if f.is_gone() => Ok(false),
        Err(f) => Err(f),
    }
}

/// Waits until a container does not run; how its command ended, where that is still known.
pub(crate) async fn stopped(engine: &Engine, id: &str) -> Result<ExitStatus, Failure> {
    #[derive(serde::Deserialize)]
    struct Waited {
        #[serde(rename = "StatusCode", default)]
        code: Option<i64>,
    }
    let query = Query::new().with("condition", "not-running");
    let path = format!("/containers/{}/wait", part(id));
    match engine.post_slow::<Waited>(&path, query).await {
        Ok(Waited { code }) => Ok(code.map_or(ExitStatus::Unknown, exit_status)),
        Err(f) if f.is_gone() => Ok(ExitStatus::Unknown),
        Err(f) => Err(f),
    }
}

/// Sends a container's command a signal; whether it ran.
pub(crate) async fn signal(engine: &Engine, id: &str, signal: Signal) -> Result<bool> {
    let query = Query::new().with("signal", signal.get().to_string());
    match engine.post(&format!("/containers/{}/kill", part(id)), query).await {
        Ok(_) => Ok(true),
        Err(f) if f.is_not_found() => Ok(false),
        Err(f) => match engine.error(f) {
            // It has ended by itself just now.
            e if e.kind() == ErrorKind::WrongState => Ok(false),
            e => Err(e),
        },
    }
}

/// Waits until a container that is being removed is gone.
pub(crate) async fn gone(engine: &Engine, id: &str) -> Result<(), Failure> {
    let query = Query::new().with("condition", "removed");
    match engine.post_slow::<serde_json::Value>(&format!("/containers/{}/wait", part(id)), query).await {
        Ok(_) => Ok(()),
        Err(f) if f.is_gone() => Ok(()),
        Err(f) => Err(f),
    }
}

//! Changes of containers and of the networks they are on, as the daemon tells them.

mod kept;
mod podman;

use self::kept::Commands;
use self::podman::Watch;
use crate::containers::{self, exit_status};
use crate::engine::failure::Failure;
use crate::engine::{Engine, Info, Query, json_lines};
use crate::networking::{self, Change};
use futures_util::StreamExt;
use futures_util::future::ready;
use http::Method;
use pod_core::{Event, EventKind, EventStream, EventsRequest, ExitStatus, NetworkName, Result, WorkloadName};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// An event (API, "Monitor events").
#[derive(Debug, Deserialize)]
struct Told {
    #[serde(rename = "Type", default)]
    of: String,
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor", default)]
    actor: Actor,
    #[serde(rename = "timeNano", default)]
    nanos: i64,
    #[serde(default)]
    time: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    attributes: Option<BTreeMap<String, String>>,
}

impl Told {
    fn attribute(&self, key: &str) -> Option<&String> {
        self.actor.attributes.as_ref().and_then(|a| a.get(key))
    }

    fn event(&self, workload: WorkloadName, kind: EventKind) -> Option<Event> {
        let time = match self.nanos {
            0 => jiff::Timestamp::from_second(self.time).ok()?,
            nanos => jiff::Timestamp::from_nanosecond(nanos.into()).ok()?,
        };
        let mut event = Event::now(workload, kind);
        event.time = time;
        Some(event)
    }
}

/// What it means, if it is about a workload itself.
fn event(told: &Told) -> Option<Event> {
    if told.of != "container" {
        return None;
    }
    let attribute = |key: &str| told.attribute(key);
    let workload = WorkloadName::new(attribute("name")?.as_str()).ok()?;
    let kind = match told.action.as_str() {
        "create" => EventKind::Created,
        "start" => EventKind::Started,
        "die" | "died" => {
            // Podman writes it otherwise.
            let code = attribute("exitCode").or_else(|| attribute("containerExitCode"));
            EventKind::Exited(code.and_then(|c| c.parse().ok()).map_or(ExitStatus::Unknown, exit_status))
        }
        "destroy" | "remove" => EventKind::Removed,
        _ => return None,
    };
    told.event(workload, kind)
}

/// What the names of containers and networks are: the daemon tells of an attachment by ids.
#[derive(Debug, Clone)]
struct Names {
    engine: Engine,
    known: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Names {
    fn note(&self, id: &str, name: Option<String>) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), name);
    }

    fn get(&self, id: &str) -> Option<Option<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// What an event about a network means, if it is one of POD's and about a workload.
    async fn event(&self, told: &Told) -> Option<Event> {
        let of = told.attribute("container")?;
        let network = self.network(&told.actor.id).await?;
        let workload = self.workload(of).await;
        let kind = match told.action.as_str() {
            "connect" => EventKind::Attached(network),
            "disconnect" => EventKind::Detached(network),
            _ => return None,
        };
        told.event(workload?.parse().ok()?, kind)
    }

    /// The name of a container.
    async fn workload(&self, id: &str) -> Option<String> {
        if let Some(known) = self.get(id) {
            return known;
        }
        let found = containers::by_id(&self.engine, id).await.ok()?;
        let name = found.and_then(|f| f.name().ok()).map(|n| n.to_string());
        self.note(id, name.clone());
        name
    }

    async fn network(&self, id: &str) -> Option<NetworkName> {
        if let Some(known) = self.get(id) {
            return known?.parse().ok();
        }
        let networks = networking::of_pod(&self.engine).await.ok()?;
        let found = networks.into_iter().find(|(_, (raw, _))| raw.id() == id).map(|(name, _)| name);
        self.note(id, found.as_ref().map(ToString::to_string));
        found
    }
}

/// Follows the events from now on.
///
/// The daemon answers before it listens; what happens in between is not lost because it is asked for what
/// happened since a moment before, by its own clock.
///
/// # Errors
/// As the daemon says.
pub(crate) async fn follow(
    engine: &Engine,
    request: EventsRequest,
    own: tokio::sync::broadcast::Receiver<Change>,
) -> Result<EventStream> {
    let names = Names { engine: engine.clone(), known: Arc::default() };
    let watch = match engine.libpod {
        Some(_) => Some(Arc::new(Watch::begin(names.clone()).await?)),
        None => None,
    };
    let now = if engine.is_local() {
        jiff::Timestamp::now()
    } else {
        let info: Info = engine.get("/info", Query::new()).await.map_err(|f| engine.error(f))?;
        info.system_time.parse().unwrap_or_else(|_| jiff::Timestamp::now())
    };
    let since = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond().max(0));
    let query = Query::new().with("since", since).filters(&json!({"type": ["container", "network"]}));
    let (_, stream) = engine.stream(Method::GET, "/events", query, &[]).await.map_err(|f| engine.error(f))?;
    let wanted = request.workload;
    let of_wanted = move |e: &Event| e.time >= now && wanted.as_ref().is_none_or(|w| *w == e.workload);
    let (commands, ends) = Commands::begin(engine).await?;
    let commands = Arc::new(tokio::sync::Mutex::new(commands));
    let (engine, seen) = (engine.clone(), watch.clone());
    let lines = json_lines::<Told, _>(stream).then(move |line| {
        let (names, engine, watch, commands) = (names.clone(), engine.clone(), seen.clone(), commands.clone());
        async move {
            match (line, watch) {
                (Ok(told), Some(watch)) if told.of == "network" => {
                    watch.look(&told).await.into_iter().map(Ok).collect()
                }
                (Ok(told), None) if told.of == "network" => names.event(&told).await.into_iter().map(Ok).collect(),
                (Ok(told), _) => {
                    commands.lock().await.hear(&told).await;
                    event(&told).into_iter().map(Ok).collect()
                }
                (Err(failure @ Failure::Odd(..)), _) => {
                    // One that is not understood hides no other.
                    tracing::warn!(failure = ?failure, "an event of the daemon is not understood");
                    Vec::new()
                }
                (Err(failure), _) => vec![Err(engine.error(failure))],
            }
        }
    });
    let lines = lines.flat_map(futures_util::stream::iter);
    let own = podman::changes(own).filter_map(move |change| {
        let watch = watch.clone();
        async move { watch?.own(change).await.map(Ok) }
    });
    let own = futures_util::stream::select(own, ends.map(Ok));
    // It ends when the daemon's stream does.
    let lines = lines.map(Some).chain(futures_util::stream::iter([None]));
    let all = futures_util::stream::select(lines, own.map(Some)).take_while(|e| ready(e.is_some()));
    let all = all.filter_map(ready).filter(move |e| ready(e.as_ref().map_or(true, &of_wanted)));
    Ok(Box::pin(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Event> {
        event(&serde_json::from_str(text).expect(text))
    }

    #[test]
    fn events_are_read() {
        let die = r#"{"status":"die","id":"1","Type":"container","Action":"die","Actor":{"ID":"1","Attributes":{"exitCode":"4","name":"web"}},"time":7,"timeNano":7000000005}"#;
        let e = read(die).expect("an event");
        assert_eq!((e.workload.as_str(), e.kind), ("web", EventKind::Exited(ExitStatus::Exited(4))));
        assert_eq!(e.time.subsec_nanosecond(), 5);
        let podman = r#"{"Type":"container","Action":"died","Actor":{"Attributes":{"containerExitCode":"137","name":"web"}},"time":7}"#;
        assert_eq!(read(podman).map(|e| e.kind), Some(EventKind::Exited(ExitStatus::Exited(137))));
        for other in [
            r#"{"Type":"network","Action":"connect","Actor":{"Attributes":{"name":"x"}},"time":7}"#,
            r#"{"Type":"container","Action":"exec_start: sh","Actor":{"Attributes":{"name":"x"}},"time":7}"#,
            r#"{"Type":"container","Action":"start","Actor":{"Attributes":{"name":"no name!"}},"time":7}"#,
            r#"{"Type":"container","Action":"start","Actor":{},"time":7}"#,
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}

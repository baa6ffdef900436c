//! Changes of containers, as the daemon tells them.

use crate::containers::exit_status;
use crate::engine::failure::Failure;
use crate::engine::{Engine, Info, Query, json_lines};
use futures_util::StreamExt;
use http::Method;
use pod_core::{Event, EventKind, EventStream, EventsRequest, ExitStatus, Result, WorkloadName};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

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
    attributes: Option<BTreeMap<String, String>>,
}

/// What it means, if it is about a workload.
fn event(told: &Told) -> Option<Event> {
    if told.of != "container" {
        return None;
    }
    let attribute = |key: &str| told.actor.attributes.as_ref().and_then(|a| a.get(key));
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
    let time = match told.nanos {
        0 => jiff::Timestamp::from_second(told.time).ok()?,
        nanos => jiff::Timestamp::from_nanosecond(nanos.into()).ok()?,
    };
    let mut event = Event::now(workload, kind);
    event.time = time;
    Some(event)
}

/// Follows the events from now on.
///
/// The daemon answers before it listens; what happens in between is not lost because it is asked for what
/// happened since a moment before, by its own clock.
///
/// # Errors
/// As the daemon says.
pub(crate) async fn follow(engine: &Engine, request: EventsRequest) -> Result<EventStream> {
    let now = if engine.is_local() {
        jiff::Timestamp::now()
    } else {
        let info: Info = engine.get("/info", Query::new()).await.map_err(|f| engine.error(f))?;
        info.system_time.parse().unwrap_or_else(|_| jiff::Timestamp::now())
    };
    let since = format!("{}.{:09}", now.as_second(), now.subsec_nanosecond().max(0));
    let query = Query::new().with("since", since).filters(&json!({"type": ["container"]}));
    let (_, stream) = engine.stream(Method::GET, "/events", query, &[]).await.map_err(|f| engine.error(f))?;
    let engine = engine.clone();
    let lines = json_lines::<Told, _>(stream).filter_map(move |line| {
        let found = match line {
            Ok(told) => event(&told)
                .filter(|e| e.time >= now && request.workload.as_ref().is_none_or(|w| *w == e.workload))
                .map(Ok),
            Err(failure @ Failure::Odd(..)) => {
                // One that is not understood hides no other.
                tracing::warn!(failure = ?failure, "an event of the daemon is not understood");
                None
            }
            Err(failure) => Some(Err(engine.error(failure))),
        };
        std::future::ready(found)
    });
    Ok(Box::pin(lines))
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

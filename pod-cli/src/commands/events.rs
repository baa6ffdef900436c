//! `pod events`

use crate::args::Events;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Reader, print_json_line, write_bytes};
use futures_util::StreamExt;
use pod::{Capabilities, Error, ErrorKind, Event, EventKind, EventsRequest, Result};

pub(super) async fn run(context: &Context, args: Events) -> Result<Exit> {
    let (backend, request) = match &args.workload {
        Some(text) => {
            let target = context.target(text).await?;
            (target.backend, EventsRequest::of(target.name))
        }
        None => {
            let backend = context.reach_for(&context.default_backend()?, Capabilities::none()).await?;
            (backend, EventsRequest::default())
        }
    };
    let mut events = backend.events(request).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        let printed = if context.wants_json() {
            print_json_line(&EventView::new(&event))?
        } else {
            write_bytes(line(&event).as_bytes())?
        };
        if printed == Reader::Gone {
            return Ok(Exit::OK);
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the backend ended the stream of events").with_operation("events"))
}

/// One event as JSON.
#[derive(Debug, serde::Serialize)]
struct EventView<'a> {
    time: jiff::Timestamp,
    workload: &'a str,
    /// `created`, `started`, `exited`, `removed`, `attached` or `detached`.
    event: &'static str,
    exit: Option<crate::output::ExitView>,
    network: Option<&'a str>,
}

impl<'a> EventView<'a> {
    fn new(event: &'a Event) -> Self {
        let (word, exit, network) = match &event.kind {
            EventKind::Created => ("created", None, None),
            EventKind::Started => ("started", None, None),
            EventKind::Exited(status) => ("exited", Some((*status).into()), None),
            EventKind::Removed => ("removed", None, None),
            EventKind::Attached(network) => ("attached", None, Some(network.as_str())),
            EventKind::Detached(network) => ("detached", None, Some(network.as_str())),
            _ => ("other", None, None),
        };
        Self { time: event.time, workload: event.workload.as_str(), event: word, exit, network }
    }
}

fn line(event: &Event) -> String {
    let what = match &event.kind {
        EventKind::Exited(status) => status.to_string(),
        EventKind::Attached(network) => format!("attached to {network}"),
        EventKind::Detached(network) => format!("detached from {network}"),
        _ => EventView::new(event).event.to_owned(),
    };
    format!("{} {} {what}\n", event.time, event.workload)
}

//! Containers ended for good, whatever their restart policy says.

use super::{Inspected, by_id, kept, signal, stopped};
use crate::engine::failure::Failure;
use crate::engine::http::empty;
use crate::engine::{Engine, Kind, Query, part};
use http::Method;
use pod_core::{Error, ErrorKind, Result, Retry, Signal, StopOutcome, StopRequest};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long after its end Podman may still start a container again.
const BETWEEN: Duration = Duration::from_secs(2);
/// How often one that Podman may start again is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How often one is stopped that is started again all the same.
const TRIES: usize = 20;
/// The exit code of a container that ended by SIGKILL.
const KILLED: i64 = 128 + 9;

/// Stops a container; see the trait.
pub(crate) async fn stop(engine: &Engine, found: Inspected, request: &StopRequest) -> Result<StopOutcome> {
    let done = match engine.kind == Kind::Podman && found.is_started_again() {
        true => by_podman(engine, found, request).await,
        false => by_signals(engine, &found, request).await,
    };
    done.map_err(|e| e.with_context("workload", request.name.as_str()))
}

async fn by_signals(engine: &Engine, found: &Inspected, request: &StopRequest) -> Result<StopOutcome> {
    if !found.is_running() {
        return Ok(StopOutcome::AlreadyStopped);
    }
    let about = |f| engine.error(f);
    awake(engine, found).await.map_err(about)?;
    if found.is_kept() {
        if !request.grace.is_zero() && kept::end(engine, &found.id, request.signal, request.grace).await? {
            return Ok(StopOutcome::Stopped);
        }
    } else if !request.grace.is_zero() {
        signal(engine, &found.id, request.signal).await?;
        if let Ok(ended) = timeout(request.grace, stopped(engine, &found.id)).await {
            ended.map_err(about)?;
            // Docker starts it again after another signal than the image's own to stop by.
            let runs = match found.is_started_again() {
                true => by_id(engine, &found.id).await.map_err(about)?.is_some_and(|now| now.is_running()),
                false => false,
            };
            if !runs {
                return Ok(StopOutcome::Stopped);
            }
        }
    }
    let killed = signal(engine, &found.id, Signal::KILL).await?;
    stopped(engine, &found.id).await.map_err(about)?;
    Ok(if killed { StopOutcome::Killed } else { StopOutcome::Stopped })
}

/// What is frozen hears no signal.
async fn awake(engine: &Engine, found: &Inspected) -> std::result::Result<(), Failure> {
    if found.state.paused {
        engine.post(&format!("/containers/{}/unpause", part(&found.id)), Query::new()).await?;
    }
    Ok(())
}

/// Stops one that Podman starts again when it ends, also by a signal that it is sent; only by Podman's own stop not.
/// That sends the container's own signal, counts in whole seconds, and does nothing while the container is
/// between its end and its next start. So a stop takes [`BETWEEN`] longer, in which it stays ended.
async fn by_podman(engine: &Engine, mut found: Inspected, request: &StopRequest) -> Result<StopOutcome> {
    let about = |f| engine.error(f);
    let (id, mut grace) = (found.id.clone(), request.grace);
    let mut outcome = StopOutcome::AlreadyStopped;
    if found.is_running() && !grace.is_zero() && found.stop_signal() != request.signal {
        awake(engine, &found).await.map_err(about)?;
        outcome = StopOutcome::Stopped;
        signal(engine, &found.id, request.signal).await?;
        let until = Instant::now() + grace;
        grace = Duration::ZERO;
        while found.is_running() && Instant::now() < until {
            sleep(LOOK).await;
            match by_id(engine, &id).await.map_err(about)? {
                Some(now) if now.state.pid == found.state.pid => found = now,
                // It has ended, whatever came after that.
                Some(_) => break,
                None => return Ok(outcome),
            }
        }
    }
    let path = format!("/containers/{}/stop", part(&id));
    let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    // Podman answers the same when the container ended by itself just before, and starts it again then.
    let mut watched: Option<Instant> = None;
    let mut tries = 0;
    while tries < TRIES {
        if found.is_running() {
            tries += 1;
            awake(engine, &found).await.map_err(about)?;
            outcome = StopOutcome::Stopped;
            let query = Query::new().with("t", seconds.to_string());
            match engine.send_body(Method::POST, &path, query, empty(), &[]).await {
                Ok(_) => {}
                Err(f) if f.is_not_found() => return Ok(outcome),
                Err(f) if f.words().is_some_and(|w| w.contains("another process interfered")) => {}
                Err(f) => return Err(about(f)),
            }
            watched = Some(Instant::now() + BETWEEN);
        } else if watched.map_or_else(|| found.ended_within(BETWEEN), |until| Instant::now() < until) {
            sleep(LOOK).await;
        } else if outcome == StopOutcome::Stopped && found.state.exit_code == KILLED {
            return Ok(StopOutcome::Killed);
        } else {
            return Ok(outcome);
        }
        match by_id(engine, &id).await.map_err(about)? {
            Some(now) => found = now,
            None => return Ok(outcome),
        }
    }
    Err(Error::new(ErrorKind::Busy, "the workload ends and is started again all the time")
        .with_retry(Retry::Later)
        .with_hint(format!("remove it: `pod rm -f {}`", request.name)))
}

//! Workloads that outlive their command: a script in the image's own shell is the container's first process,
//! and writes how the command ended into a file that the daemon's archives show, running or not
//! ([`pod_shell::keep`]).
//!
//! The daemon tells of no change of a file, so who waits for a command's end looks at the head of an archive
//! every now and then. The file counts the runs: what it says of the one before is never taken for this one's.

use super::{Inspected, by_id, missing, start_error, stopped};
use crate::copy::Head;
use crate::engine::failure::Failure;
use crate::engine::http::full;
use crate::engine::{Engine, Query, part};
use crate::exec::SHELL;
use crate::images::Program;
use futures_util::TryStreamExt;
use http::{Method, StatusCode};
use pod_core::copy::tar::{self, TarOptions, write_with};
use pod_core::copy::{Entry, EntryKind, EntryStream, Item};
use pod_core::{Error, ErrorKind, ExitStatus, Result, Signal, WorkloadName};
use pod_shell::{AGAIN, Kept, STATUS, keep};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::io::StreamReader;

/// The signal that ends a container whose command is kept alive, whether the command runs or not: one that
/// nobody sends a command.
pub(crate) const END: &str = "PWR";
/// Its number.
const END_NUMBER: u8 = 30;

/// How often it is looked whether the command has ended.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked whether it has begun.
const SOON: Duration = Duration::from_millis(10);
/// How long a command may take to begin once its container runs.
const BEGIN: Duration = Duration::from_secs(30);
/// The most that is read of the file.
const MOST: usize = 4096;

/// What a container runs so that it outlives the command that is asked for.
///
/// # Errors
/// `InvalidInput` when there is no command.
pub(super) fn entrypoint(command: &[String], image: &Program) -> Result<(Vec<String>, Vec<String>)> {
    let command = if command.is_empty() { &image.cmd } else { command };
    let mut first = keep(SHELL, END);
    first.extend(image.entrypoint.iter().cloned());
    if command.is_empty() && image.entrypoint.is_empty() {
        return Err(Error::invalid("the image has no command of its own").with_hint("name the command"));
    }
    Ok((first, command.to_vec()))
}

/// How a kept command ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// Which of its runs it was.
    pub(crate) run: u64,
    pub(crate) status: ExitStatus,
    /// When that was written down.
    pub(super) at: Option<jiff::Timestamp>,
}

fn path(id: &str) -> String {
    format!("/containers/{}/archive", part(id))
}

fn query() -> Query {
    Query::new().with("path", STATUS)
}

/// How the command ended, if it did. That it runs is told by the file's length, without an archive of it, for
/// which a daemon starts a program.
pub(crate) async fn end_of(engine: &Engine, id: &str) -> Result<Option<Told>, Failure> {
    let head = match engine.head(&path(id), query()).await {
        Ok(headers) => Head::of(&headers),
        // A head that is refused has no words to say why: no file, no container, or one that ends just now.
        Err(Failure::Refused(..)) => return Ok(None),
        Err(f) => return Err(f),
    };
    let Some(head) = head.filter(|head| head.size() > Kept::RUNNING) else { return Ok(None) };
    let kept = told(engine, id).await?;
    Ok(kept.and_then(|k| Some(Told { run: k.run, status: k.status?, at: head.mtime() })))
}

/// Whether Podman looked into a container that ended under it: its namespaces are gone.
fn is_ending(failure: &Failure) -> bool {
    failure.words().is_some_and(|w| w.contains("/proc/") && w.contains("/ns/"))
}

/// What the file says; `None` when there is none, or it is being written.
async fn told(engine: &Engine, id: &str) -> Result<Option<Kept>, Failure> {
    let stream = match engine.stream(Method::GET, &path(id), query(), &[]).await {
        Ok((_, stream)) => stream,
        Err(f) if f.is_gone() || is_ending(&f) => return Ok(None),
        Err(f) => return Err(f),
    };
    let mut entries = tar::read(StreamReader::new(stream.map_err(io::Error::other)));
    let mut text = Vec::new();
    // One that grew while it was read is read again the next time.
    while let Ok(Some(item)) = entries.next().await {
        if let Item::Chunk(chunk) = item {
            text.extend_from_slice(&chunk.data);
        }
        if text.len() > MOST {
            return Ok(None);
        }
    }
    Ok(std::str::from_utf8(&text).ok().and_then(Kept::read))
}

/// Puts the file there, so that a command of any user can write to it.
pub(super) async fn prepare(engine: &Engine, id: &str) -> Result<()> {
    let (dir, file) = STATUS.rsplit_once('/').unwrap_or(("", STATUS));
    let (sink, stream) = EntryStream::channel();
    let mut status = Entry::new(file, EntryKind::File { size: 0 });
    status.mode = 0o666;
    let feed = async move {
        for entry in [Entry::new("", EntryKind::Dir), status] {
            sink.send(Ok(Item::Entry(entry))).await;
        }
        sink.finish().await;
    };
    let mut body = Vec::new();
    let options = TarOptions::new().with_root(dir.trim_start_matches('/'));
    let ((), written) = tokio::join!(feed, write_with(stream, &mut body, &options));
    written?;
    let headers = [("content-type", "application/x-tar".to_owned())];
    let query = Query::new().with("path", "/");
    let put = engine.send_body(Method::PUT, &path(id), query, full(body), &headers).await;
    put.map(drop).map_err(|f| engine.error(f))
}

/// Starts a container's command, in a container that runs already if need be; whether it did.
///
/// # Errors
/// `CommandFailed` when the program can't be run.
pub(crate) async fn start(engine: &Engine, id: &str, name: &WorkloadName) -> Result<bool> {
    let about = |f| engine.error(f).with_context("workload", name.as_str());
    let before = match told(engine, id).await.map_err(about)? {
        Some(kept) => kept,
        None => {
            // Nobody else starts what was only just made; and one that runs is writing it.
            if by_id(engine, id).await.map_err(about)?.is_some_and(|found| found.is_new()) {
                prepare(engine, id).await.map_err(|e| e.with_context("workload", name.as_str()))?;
            }
            Kept::default()
        }
    };
    match super::start(engine, id).await {
        Ok(StatusCode::NOT_MODIFIED) if before.status.is_none() => return Ok(false),
        Ok(StatusCode::NOT_MODIFIED) => {
            super::signal(engine, id, AGAIN).await?;
        }
        Ok(_) => {}
        Err(f) => {
            let error = start_error(engine, name, f);
            return Err(match error.kind() {
                ErrorKind::CommandFailed => error.with_hint("to be kept alive a workload needs /bin/sh in its image"),
                _ => error,
            });
        }
    }
    begun(engine, id, name, before.run).await.map(|()| true)
}

/// Waits until the command was begun once more.
async fn begun(engine: &Engine, id: &str, name: &WorkloadName, before: u64) -> Result<()> {
    let about = |f| engine.error(f).with_context("workload", name.as_str());
    let until = Instant::now() + BEGIN;
    loop {
        // In this order: what ended meanwhile has written it.
        let found = by_id(engine, id).await.map_err(about)?.ok_or_else(|| missing(name))?;
        if told(engine, id).await.map_err(about)?.is_some_and(|kept| kept.run > before) {
            return Ok(());
        }
        if !found.is_running() {
            let code = u8::try_from(found.state.exit_code).unwrap_or(u8::MAX);
            let message = match code {
                127 => "there is no such program",
                126 => "the program can't be executed",
                _ => "the workload ended before its command began",
            };
            return Err(Error::new(ErrorKind::CommandFailed, message)
                .with_context("workload", name.as_str())
                .with_exit_code(code));
        }
        if Instant::now() > until {
            return Err(Error::new(ErrorKind::Timeout, "the workload runs, and its command does not begin")
                .with_context("workload", name.as_str())
                .with_hint("look at its log: its user must be able to write to /.pod/status"));
        }
        sleep(SOON).await;
    }
}

/// Waits until the command has ended, or its container; how it did.
pub(crate) async fn ended(engine: &Engine, id: &str) -> Result<ExitStatus, Failure> {
    let over = stopped(engine, id);
    tokio::pin!(over);
    loop {
        if let Some(told) = end_of(engine, id).await? {
            return Ok(told.status);
        }
        if let Ok(status) = timeout(LOOK, &mut over).await {
            let status = status?;
            return Ok(end_of(engine, id).await?.map_or(status, |told| told.status));
        }
    }
}

/// Sends a container that runs this signal, waits until its command has ended, and ends the container then;
/// whether it does not run any more.
pub(super) async fn end(engine: &Engine, id: &str, signal: Signal, grace: Duration) -> Result<bool> {
    let about = |f| engine.error(f);
    let until = Instant::now() + grace;
    if signal != Signal::TERM && end_of(engine, id).await.map_err(about)?.is_none() {
        super::signal(engine, id, signal).await?;
        match tokio::time::timeout_at(until, ended(engine, id)).await {
            Ok(done) => done.map(drop).map_err(about)?,
            Err(_) => return Ok(false),
        }
    }
    // A shell with nothing to do but to end needs no grace that was asked for the command.
    super::signal(engine, id, Signal::try_from(END_NUMBER)?).await?;
    match tokio::time::timeout_at(until, stopped(engine, id)).await {
        Ok(done) => done.map(|_| true).map_err(about),
        Err(_) => Ok(false),
    }
}

/// Adds to a container what is known of its command, if it is one that outlives it.
pub(crate) async fn look(engine: &Engine, mut found: Inspected) -> Result<Inspected, Failure> {
    if found.is_kept() && !found.is_new() {
        found.told = end_of(engine, &found.id).await?;
    }
    Ok(found)
}

impl Inspected {
    /// How its command ended, where it outlives that.
    pub(super) fn command(&self) -> Option<ExitStatus> {
        Some(self.told?.status)
    }
}

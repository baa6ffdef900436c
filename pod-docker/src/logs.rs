//! A container's output, as the daemon keeps it.

use crate::containers::{Inspected, kept};
use crate::engine::failure::Failure;
use crate::engine::frame::{Frames, Output};
use crate::engine::{Bytestream, Engine, Kind, Query, part};
use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, Shared, pending};
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt, stream};
use http::Method;
use pod_core::{Error, ErrorKind, LogRecord, LogStream, LogStreamOf, LogsRequest, Result};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The longest timestamp in front of a record (RFC 3339 with nanoseconds and a zone).
const STAMP: usize = 40;

/// How long Podman may take to refuse: it answers who follows a log when it has something of it, not before.
const MOMENT: Duration = Duration::from_millis(100);
/// How long a daemon may take to log what a command printed last, when that is not the end of its container.
const LATE: Duration = Duration::from_millis(200);

/// Done when the log that is followed has all that its command printed, though its container goes on.
pub(crate) type Over = Shared<BoxFuture<'static, ()>>;

/// The end of a command as the end of its log.
pub(crate) fn over(engine: &Engine, found: &Inspected, follow: bool) -> Over {
    if !follow || !found.is_kept() {
        return pending().boxed().shared();
    }
    let (engine, id) = (engine.clone(), found.id.clone());
    let ended = async move {
        if let Err(f) = kept::ended(&engine, &id).await {
            // The log's own stream tells it as well.
            tracing::debug!(error = %engine.error(f), "a command's end can't be waited for");
            pending::<()>().await;
        }
        sleep(LATE).await;
    };
    ended.boxed().shared()
}

/// Takes the daemon's timestamp off a record.
fn stamped(mut data: Bytes) -> (Option<jiff::Timestamp>, Bytes) {
    let end = data.iter().take(STAMP).position(|b| *b == b' ');
    let time = end.and_then(|at| std::str::from_utf8(&data[..at]).ok()?.parse().ok());
    match (time, end) {
        (Some(time), Some(at)) => (Some(time), data.split_off(at + 1)),
        _ => (None, data),
    }
}

/// Which of a command's streams are asked for.
pub(crate) type Which = &'static [&'static str];
/// Both.
pub(crate) const BOTH: Which = &["stdout", "stderr"];

/// Puts records together from what comes.
struct Reader {
    engine: Engine,
    which: Which,
    stream: Bytestream,
    frames: Frames,
    /// With a terminal there are no frames, and a record is a line.
    tty: bool,
    held: BytesMut,
    ready: VecDeque<LogRecord>,
    since: Option<jiff::Timestamp>,
    /// The container that is followed.
    followed: Option<String>,
    /// The time of the last record, and how many came with it.
    last: Option<(jiff::Timestamp, usize)>,
    /// How many records of that time are to be left out: they came before.
    skipped: usize,
    over: Over,
}

impl Reader {
    fn record(&mut self, stream: LogStream) {
        let (time, data) = stamped(self.held.split().freeze());
        if self.since.is_some_and(|since| time.is_some_and(|t| t < since)) {
            return;
        }
        if let Some(time) = time {
            match &mut self.last {
                Some((last, _)) if *last == time && self.skipped > 0 => {
                    self.skipped -= 1;
                    return;
                }
                Some((last, count)) if *last == time => *count += 1,
                last => *last = Some((time, 1)),
            }
        }
        // Whole seconds tell no order, and are not what was asked for.
        let time = time.filter(|_| self.engine.kind == Kind::Docker);
        self.ready.push_back(LogRecord::new(time, stream, data));
    }

    /// Reads on without following: when a command ends, Docker stops following at once, and may not have
    /// given what came last. Whether there is anything to read on.
    async fn read_on(&mut self) -> Result<bool> {
        let Some(id) = self.followed.take() else { return Ok(false) };
        if let Some((last, count)) = self.last {
            (self.since, self.skipped) = (Some(last), count);
        }
        // What was cut off comes again.
        (self.frames, self.over) = (Frames::new(self.tty), pending().boxed().shared());
        self.held.clear();
        match open(&self.engine, &id, &base(self.which, self.since)).await {
            Ok(stream) => {
                self.stream = stream;
                Ok(true)
            }
            // It was removed when it ended.
            Err(f) if f.is_not_found() || f.is_conflict() => Ok(false),
            Err(f) => Err(self.engine.error(f)),
        }
    }

    fn take(&mut self) -> Result<()> {
        loop {
            let piece = self.frames.next().map_err(|odd| {
                Error::new(ErrorKind::Integrity, "the daemon's log is no stream of frames")
                    .with_context("byte", odd.to_string())
            })?;
            let Some(piece) = piece else { return Ok(()) };
            match piece.output {
                Output::Daemon => {
                    return Err(Error::new(ErrorKind::Unexpected, "the daemon can't read the log")
                        .with_context("answer", String::from_utf8_lossy(&piece.data).trim().to_owned()));
                }
                _ if self.tty => {
                    for line in piece.data.split_inclusive(|b| *b == b'\n') {
                        self.held.extend_from_slice(line);
                        if line.ends_with(b"\n") {
                            self.record(LogStream::Stdout);
                        }
                    }
                }
                output => {
                    self.held.extend_from_slice(&piece.data);
                    if piece.last {
                        let stream = if output == Output::Stderr { LogStream::Stderr } else { LogStream::Stdout };
                        self.record(stream);
                    }
                }
            }
        }
    }

    fn records(self) -> LogStreamOf {
        stream::unfold(Some(self), Self::next).boxed()
    }

    async fn next(reader: Option<Self>) -> Option<(Result<LogRecord>, Option<Self>)> {
        let mut reader = reader?;
        loop {
            if let Some(record) = reader.ready.pop_front() {
                return Some((Ok(record), Some(reader)));
            }
            let next = tokio::select! {
                biased;
                next = reader.stream.next() => next,
                () = reader.over.clone() => match reader.read_on().await {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(e) => return Some((Err(e), None)),
                },
            };
            match next {
                Some(Ok(data)) => {
                    reader.frames.feed(&data);
                    if let Err(e) = reader.take() {
                        return Some((Err(e), None));
                    }
                }
                Some(Err(e)) => return Some((Err(reader.engine.error(Failure::Http(e))), None)),
                None if reader.frames.is_cut() => {
                    return Some((Err(Error::new(ErrorKind::Integrity, "the daemon's log broke off")), None));
                }
                None if !reader.held.is_empty() => {
                    reader.record(LogStream::Stdout);
                }
                None => match reader.read_on().await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(e) => return Some((Err(e), None)),
                },
            }
        }
    }
}

/// These streams, with their times, since then.
fn base(which: Which, since: Option<jiff::Timestamp>) -> Vec<(&'static str, String)> {
    let mut query: Vec<_> = which.iter().chain(&["timestamps"]).map(|key| (*key, "1".to_owned())).collect();
    if let Some(since) = since {
        let (seconds, nanos) = (since.as_second(), since.subsec_nanosecond().max(0));
        query.push(("since", format!("{seconds}.{nanos:09}")));
    }
    query
}

async fn open(engine: &Engine, id: &str, pairs: &[(&'static str, String)]) -> Result<Bytestream, Failure> {
    let (path, query) = asked(id, pairs);
    engine.stream(Method::GET, &path, query, &[]).await.map(|(_, stream)| stream)
}

fn asked(id: &str, pairs: &[(&'static str, String)]) -> (String, Query) {
    let query = pairs.iter().fold(Query::new(), |query, (key, value)| query.with(key, value));
    (format!("/containers/{}/logs", part(id)), query)
}

/// Reads a log.
///
/// # Errors
/// As the daemon says.
pub(crate) async fn read(engine: &Engine, found: &Inspected, request: &LogsRequest) -> Result<LogStreamOf> {
    read_of(BOTH, engine, found, request).await
}

/// Reads a log of some streams.
///
/// # Errors
/// As the daemon says.
pub(crate) async fn read_of(
    which: Which,
    engine: &Engine,
    found: &Inspected,
    request: &LogsRequest,
) -> Result<LogStreamOf> {
    let mut query = base(which, request.since);
    if request.follow {
        query.push(("follow", "1".to_owned()));
    }
    if let Some(tail) = request.tail {
        query.push(("tail", tail.to_string()));
    }
    let (tty, since) = (found.config.tty, request.since);
    // With nothing of the past asked for, what is read on after nothing came would be all of it.
    let followed = (request.follow && request.tail != Some(0)).then(|| found.id.clone());
    let over = over(engine, found, request.follow);
    let made = {
        let (engine, in_reader) = (engine.clone(), over.clone());
        move |stream| Reader {
            engine,
            which,
            stream,
            frames: Frames::new(tty),
            tty,
            held: BytesMut::new(),
            ready: VecDeque::new(),
            since,
            followed,
            last: None,
            skipped: 0,
            over: in_reader,
        }
    };
    let about = {
        let (engine, name) = (engine.clone(), request.name.clone());
        move |f| engine.error(f).with_context("workload", name.as_str())
    };
    if engine.kind == Kind::Podman && request.follow {
        let (daemon, (path, query)) = (engine.clone(), asked(&found.id, &query));
        let mut opening = async move { daemon.stream_slow(Method::GET, &path, query, &[]).await }
            .map_ok(|(_, stream)| made(stream).records())
            .map_err(about)
            .boxed();
        return match timeout(MOMENT, &mut opening).await {
            Ok(opened) => opened,
            Err(_) => {
                let (engine, found, request) = (engine.clone(), found.clone(), request.clone().with_follow(false));
                let late = async move {
                    tokio::select! {
                        opened = opening => opened,
                        () = over => read_again(which, engine, found, request).await,
                    }
                };
                Ok(stream::once(late).try_flatten().boxed())
            }
        };
    }
    open(engine, &found.id, &query).await.map(|stream| made(stream).records()).map_err(about)
}

/// As [`read_of`], which may call itself by this.
fn read_again(
    which: Which,
    engine: Engine,
    found: Inspected,
    request: LogsRequest,
) -> BoxFuture<'static, Result<LogStreamOf>> {
    async move { read_of(which, &engine, &found, &request).await }.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_taken_off() {
        let (time, data) = stamped(Bytes::from_static(b"2026-01-02T03:04:05.678901234Z a b\n"));
        assert_eq!(time.map(|t| t.to_string()).as_deref(), Some("2026-01-02T03:04:05.678901234Z"));
        assert_eq!(data.as_ref(), b"a b\n");
        let (time, data) = stamped(Bytes::from_static(b"2026-01-02T03:04:05+01:00 \n"));
        assert_eq!((time.is_some(), data.as_ref()), (true, &b"\n"[..]));
        let (time, data) = stamped(Bytes::from_static(b"no time\n"));
        assert_eq!((time, data.as_ref()), (None, &b"no time\n"[..]));
    }
}

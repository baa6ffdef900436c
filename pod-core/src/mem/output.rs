//! What a workload's own command prints: kept as log records, and passed on to who is attached.

use super::pipe::{PipeReader, PipeWriter, pipe};
use crate::{Error, ErrorKind, LogRecord, LogStream, LogStreamOf, LogsRequest};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::watch;

/// How much of a log is kept: beyond it the oldest records go.
pub(super) const KEPT: usize = 16 << 20;
/// A line longer than this is more than one record.
const LONGEST_RECORD: usize = 16 << 10;

/// The log of one workload, over all its starts.
#[derive(Debug)]
pub(super) struct CommandOutput {
    inner: Mutex<Inner>,
    /// Counts changes; followers wait on it.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    records: VecDeque<LogRecord>,
    /// The number of `records[0]`, counted from the first ever written.
    first: u64,
    bytes: usize,
    partial: [Vec<u8>; 2],
    attached: Vec<[Option<PipeWriter>; 2]>,
    running: bool,
}

fn index(stream: LogStream) -> usize {
    match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 1,
    }
}

impl Inner {
    fn push(&mut self, stream: LogStream, data: Vec<u8>) {
        self.bytes += data.len();
        self.records.push_back(LogRecord::new(Some(jiff::Timestamp::now()), stream, data.into()));
        while self.bytes > KEPT && self.records.len() > 1 {
            if let Some(old) = self.records.pop_front() {
                self.bytes -= old.data.len();
                self.first += 1;
            }
        }
    }

    fn append(&mut self, stream: LogStream, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = LONGEST_RECORD - self.partial[index(stream)].len();
            let window = &bytes[..bytes.len().min(room)];
            let (take, whole) = match window.iter().position(|b| *b == b'\n') {
                Some(at) => (at + 1, true),
                None => (window.len(), window.len() == room),
            };
            let partial = &mut self.partial[index(stream)];
            partial.extend_from_slice(&bytes[..take]);
            if whole {
                let line = std::mem::take(partial);
                self.push(stream, line);
            }
            bytes = &bytes[take..];
        }
    }
}

impl CommandOutput {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::default(), changed: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// The command runs from now on.
    pub(super) fn begin(&self) {
        self.lock().running = true;
    }

    /// The command has ended: what it left of a line is a record, and who is attached sees the end.
    pub(super) fn end(&self) {
        {
            let mut inner = self.lock();
            for stream in [LogStream::Stdout, LogStream::Stderr] {
                let rest = std::mem::take(&mut inner.partial[index(stream)]);
                if !rest.is_empty() {
                    inner.push(stream, rest);
                }
            }
            inner.attached.clear();
            inner.running = false;
        }
        self.notify();
    }

    /// Writes as much as everyone attached has room for, at least `least` bytes or nothing: a slow
    /// reader slows the command, as on a real pipe.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        stream: LogStream,
        bytes: &[u8],
        least: usize,
    ) -> Poll<usize> {
        let n = {
            let mut inner = self.lock();
            let mut n = bytes.len();
            for ends in &mut inner.attached {
                if let Some(writer) = &ends[index(stream)] {
                    match writer.poll_space(cx, least) {
                        None => ends[index(stream)] = None,
                        Some(space) => n = n.min(space),
                    }
                }
            }
            inner.attached.retain(|ends| ends.iter().any(Option::is_some));
            if n < least {
                return Poll::Pending;
            }
            for writer in inner.attached.iter().filter_map(|ends| ends[index(stream)].as_ref()) {
                writer.push(&bytes[..n]);
            }
            inner.append(stream, &bytes[..n]);
            n
        };
        self.notify();
        Poll::Ready(n)
    }

    /// Attaches: stdout and stderr from now on, and what was printed before when `history` is set.
    pub(super) fn attach(&self, history: bool) -> [PipeReader; 2] {
        let (out_reader, out) = pipe();
        let (err_reader, err) = pipe();
        let mut inner = self.lock();
        let ends = [Some(out), Some(err)];
        if history {
            for record in &inner.records {
                if let Some(writer) = &ends[index(record.stream)] {
                    writer.push(&record.data);
                }
            }
            for (writer, partial) in ends.iter().zip(&inner.partial) {
                if let Some(writer) = writer {
                    writer.push(partial);
                }
            }
        }
        if inner.running {
            inner.attached.push(ends);
        }
        [out_reader, err_reader]
    }

    /// Whether old records were dropped.
    pub(super) fn is_cut(&self) -> bool {
        self.lock().first > 0
    }

    /// The records asked for.
    pub(super) fn read(self: std::sync::Arc<Self>, request: &LogsRequest) -> LogStreamOf {
        let since = request.since;
        let wanted = move |r: &LogRecord| since.is_none_or(|s| r.time.is_some_and(|t| t >= s));
        let (begin, end) = {
            let inner = self.lock();
            let end = inner.first + inner.records.len() as u64;
            let skip = match request.tail {
                None => 0,
                Some(tail) => {
                    let mut left = tail;
                    let from_back = inner.records.iter().rev().take_while(|r| {
                        if wanted(r) && left == 0 {
                            return false;
                        }
                        left -= usize::from(wanted(r));
                        true
                    });
                    inner.records.len() - from_back.count()
                }
            };
            (inner.first + skip as u64, end)
        };
        let follow = request.follow;
        let changed = self.changed.subscribe();
        let stream = futures_util::stream::unfold(Some((self, changed, begin)), move |state| async move {
            let (output, mut changed, mut at) = state?;
            loop {
                changed.borrow_and_update();
                enum Next {
                    Record(LogRecord),
                    Lost(u64),
                    Wait,
                    End,
                }
                let next = {
                    let inner = output.lock();
                    if at < inner.first {
                        Next::Lost(inner.first - at)
                    } else if !follow && at >= end {
                        Next::End
                    } else if let Some(record) =
                        usize::try_from(at - inner.first).ok().and_then(|i| inner.records.get(i))
                    {
                        Next::Record(record.clone())
                    } else if inner.running {
                        Next::Wait
                    } else {
                        Next::End
                    }
                };
                match next {
                    Next::Record(record) => {
                        at += 1;
                        if wanted(&record) {
                            return Some((Ok(record), Some((output, changed, at))));
                        }
                    }
                    Next::Lost(n) => {
                        let e = Error::new(
                            ErrorKind::Exhausted,
                            format!("{n} log records were dropped before they were read"),
                        )
                        .with_hint(format!("the log keeps {}", crate::size::human(KEPT as u64)))
                        .with_operation("logs");
                        return Some((Err(e), Some((output, changed, at + n))));
                    }
                    // The sender lives in `output`, which this stream holds.
                    Next::Wait => changed.changed().await.ok()?,
                    Next::End => return None,
                }
            }
        });
        Box::pin(stream)
    }

    /// Everything kept, as bytes of both streams in the order of the records.
    #[cfg(test)]
    fn text(&self) -> String {
        let inner = self.lock();
        inner.records.iter().map(|r| String::from_utf8_lossy(&r.data).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkloadName;
    use futures_util::StreamExt;
    use std::future::poll_fn;
    use std::sync::Arc;
    use tokio::io::AsyncReadExt;

    async fn write(out: &CommandOutput, text: &str) {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() {
            let n = poll_fn(|cx| out.poll_write(cx, LogStream::Stdout, bytes, 1)).await;
            bytes = &bytes[n..];
        }
    }

    fn request() -> LogsRequest {
        LogsRequest::new(WorkloadName::new("w").expect("name"))
    }

    async fn all(stream: LogStreamOf) -> Vec<String> {
        stream.map(|r| String::from_utf8_lossy(&r.expect("record").data).into_owned()).collect().await
    }

    #[tokio::test]
    async fn lines_are_records_and_the_tail_is_counted_from_the_end() {
        let out = Arc::new(CommandOutput::new());
        out.begin();
        write(&out, "one\ntwo\nthr").await;
        write(&out, "ee\nrest").await;
        out.end();
        assert_eq!(all(out.clone().read(&request())).await, ["one\n", "two\n", "three\n", "rest"]);
        assert_eq!(all(out.clone().read(&request().with_tail(Some(2)))).await, ["three\n", "rest"]);
        assert_eq!(all(out.clone().read(&request().with_tail(Some(0)))).await, [""; 0]);
        let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
        assert_eq!(all(out.read(&request().with_since(Some(later)))).await, [""; 0]);
    }

    #[tokio::test]
    async fn a_follower_gets_what_comes_and_then_the_end() {
        let out = Arc::new(CommandOutput::new());
        out.begin();
        write(&out, "before\n").await;
        let follower = tokio::spawn(all(out.clone().read(&request().with_follow(true))));
        tokio::task::yield_now().await;
        write(&out, "after\n").await;
        out.end();
        assert_eq!(follower.await.expect("follower"), ["before\n", "after\n"]);
    }

    #[tokio::test]
    async fn old_records_go_and_a_slow_follower_is_told() {
        let out = Arc::new(CommandOutput::new());
        out.begin();
        write(&out, "first\n").await;
        let mut follower = out.clone().read(&request().with_follow(true));
        let line = "x".repeat(1023) + "\n";
        for _ in 0..17 << 10 {
            write(&out, &line).await;
        }
        assert!(out.is_cut());
        let lost = follower.next().await.expect("item").expect_err("lost");
        assert_eq!(lost.kind(), ErrorKind::Exhausted);
        assert!(follower.next().await.expect("item").is_ok());
    }

    #[tokio::test]
    async fn an_attached_reader_holds_the_command_back_and_a_dropped_one_does_not() {
        let out = Arc::new(CommandOutput::new());
        out.begin();
        let [mut reader, _err] = out.attach(false);
        let big = "y".repeat(200_000);
        let writer = {
            let (out, big) = (out.clone(), big.clone());
            tokio::spawn(async move { write(&out, &big).await })
        };
        let mut got = vec![0; 200_000];
        reader.read_exact(&mut got).await.expect("read");
        writer.await.expect("writer");
        assert_eq!(got, big.as_bytes());
        let [dropped, _err] = out.attach(true);
        drop((reader, dropped));
        write(&out, &big).await;
        out.end();
        assert_eq!(out.text().len(), 400_000);
    }
}

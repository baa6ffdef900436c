//! A container's output, as the kubelet keeps it.
//!
//! Kubernetes gives stdout and stderr as one, each line with its time; which stream it came from is not
//! told. A connection that is cut off while the command runs is made again where it ended.

use crate::cluster::Cluster;
use crate::errors::is_not_found;
use crate::pods::{main_of, workload_of};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::runtime::wait::await_condition;
use pod_core::{Error, LogRecord, LogStream, LogStreamOf, LogsRequest, Result, State};
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio_util::compat::FuturesAsyncReadCompatExt;

/// No record is longer; a longer line comes in several.
const MOST: usize = 64 << 10;
/// How often in a row a stream that ends too early is opened again.
const TRIES: u32 = 8;

type Reader = Pin<Box<dyn AsyncBufRead + Send>>;

/// Records from lines that begin with their time.
struct Lines {
    reader: Reader,
    time: Option<jiff::Timestamp>,
    within: bool,
}

impl Lines {
    fn new(reader: Reader) -> Self {
        Self { reader, time: None, within: false }
    }

    /// The next record; `None` at the end.
    async fn next(&mut self) -> std::io::Result<Option<LogRecord>> {
        let mut piece = Vec::new();
        loop {
            let buffered = self.reader.fill_buf().await?;
            if buffered.is_empty() {
                break;
            }
            let room = MOST.saturating_sub(piece.len());
            let end = buffered.iter().take(room).position(|b| *b == b'\n').map(|at| at + 1);
            let used = end.unwrap_or(buffered.len().min(room));
            piece.extend_from_slice(&buffered[..used]);
            self.reader.as_mut().consume(used);
            if end.is_some() || piece.len() >= MOST {
                break;
            }
        }
        if piece.is_empty() {
            return Ok(None);
        }
        let data = if self.within { Bytes::from(piece.clone()) } else { self.begin(&piece) };
        self.within = piece.last() != Some(&b'\n');
        Ok(Some(LogRecord::new(self.time, LogStream::Stdout, data)))
    }

    /// Takes the time off the beginning of a line.
    fn begin(&mut self, piece: &[u8]) -> Bytes {
        let space = piece.iter().take(40).position(|b| *b == b' ');
        let time = space.and_then(|at| std::str::from_utf8(&piece[..at]).ok()).and_then(|t| t.parse().ok());
        match (space, time) {
            (Some(at), Some(time)) => {
                self.time = Some(time);
                Bytes::copy_from_slice(&piece[at + 1..])
            }
            // The kubelet's own words, such as that a file is gone.
            _ => Bytes::copy_from_slice(piece),
        }
    }
}

/// Where reading goes on after a break.
#[derive(Default, Clone, Copy)]
struct Mark {
    last: Option<jiff::Timestamp>,
    /// How many records of that very time were given.
    same: usize,
}

impl Mark {
    /// Whether a record is new; it then counts as given.
    fn passes(&mut self, record: &LogRecord, skip: &mut usize, resumed: Option<jiff::Timestamp>) -> bool {
        let Some(time) = record.time else { return true };
        match resumed {
            Some(last) if time < last => return false,
            Some(last) if time == last && *skip > 0 => {
                *skip -= 1;
                return false;
            }
            _ => {}
        }
        if self.last == Some(time) {
            self.same += 1;
        } else {
            *self = Self { last: Some(time), same: 1 };
        }
        true
    }
}

/// The whole second at or before a time: that is as fine as Kubernetes takes it.
fn floor(time: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(time.as_nanosecond().div_euclid(1_000_000_000) as i64).unwrap_or(time)
}

struct Log {
    cluster: Cluster,
    pod: String,
    uid: Option<String>,
    container: String,
    follow: bool,
    tail: Option<i64>,
    since: Option<jiff::Timestamp>,
    lines: Option<Lines>,
    mark: Mark,
    resumed: Option<jiff::Timestamp>,
    skip: usize,
    tries: u32,
    /// Done when the command of a kept-alive workload has: its container goes on.
    ended: Option<BoxFuture<'static, ()>>,
    last_read: bool,
}

/// Whether the workload's command has ended, or the pod is gone.
fn is_over(pod: Option<&Pod>, uid: Option<&str>, container: &str) -> bool {
    let Some(pod) = pod.filter(|p| p.metadata.uid.as_deref() == uid) else { return true };
    match workload_of(pod, Some(container)) {
        Ok(workload) => !matches!(workload.state, State::Running { command: None } | State::Starting),
        Err(_) => true,
    }
}

/// Whether the container has begun, so that there may be a log.
fn has_begun(pod: Option<&Pod>, uid: Option<&str>, container: &str) -> bool {
    let Some(pod) = pod.filter(|p| p.metadata.uid.as_deref() == uid) else { return true };
    let state = main_of(pod, Some(container)).ok().and_then(|m| m.status).and_then(|s| s.state.as_ref());
    state.is_some_and(|s| s.running.is_some() || s.terminated.is_some()) || is_over(Some(pod), uid, container)
}

impl Log {
    /// Opens the log; `None` before the container began.
    async fn open(&mut self, follow: bool) -> Result<Option<Lines>> {
        let since = self.mark.last.or(self.since);
        let params = LogParams {
            container: Some(self.container.clone()),
            follow,
            timestamps: true,
            since_time: since.map(floor),
            // After a break everything that is new is wanted.
            tail_lines: if self.mark.last.is_none() { self.tail } else { None },
            ..LogParams::default()
        };
        self.resumed = self.mark.last;
        self.skip = self.mark.same;
        match self.cluster.pods().log_stream(&self.pod, &params).await {
            Ok(stream) => Ok(Some(Lines::new(Box::pin(BufReader::with_capacity(MOST, stream.compat()))))),
            Err(kube::Error::Api(status)) if status.code == 400 && status.message.contains("waiting to start") => {
                Ok(None)
            }
            Err(e) => Err(self.cluster.error(e).with_context("pod", self.pod.clone())),
        }
    }

    async fn pod_now(&mut self) -> Result<Option<Pod>> {
        self.cluster.pods().get_opt(&self.pod).await.map_err(|e| self.cluster.error(e))
    }

    /// Waits until the container has begun.
    async fn begun(&mut self) -> Result<()> {
        let (uid, container) = (self.uid.clone(), self.container.clone());
        let condition = move |pod: Option<&Pod>| has_begun(pod, uid.as_deref(), &container);
        await_condition(self.cluster.pods(), &self.pod, condition)
            .await
            .map(drop)
            .map_err(|e| Error::unexpected("the pod can't be watched").with_source(e))
    }

    /// What to do at the end of a stream: `true` to go on reading.
    async fn again(&mut self) -> Result<bool> {
        if !self.follow || self.last_read {
            return Ok(false);
        }
        let pod = match self.pod_now().await {
            Ok(pod) => pod,
            Err(e) if e.retry() == pod_core::Retry::Later && self.tries < TRIES => {
                self.pause().await;
                return Ok(true);
            }
            Err(e) => return Err(e),
        };
        if pod.is_none() {
            return Ok(false);
        }
        if is_over(pod.as_ref(), self.uid.as_deref(), &self.container) {
            // What was printed between the cut and the end.
            self.last_read = true;
        } else {
            self.pause().await;
        }
        Ok(true)
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(100 * 2u64.pow(self.tries.min(5)))).await;
        self.tries += 1;
    }

    async fn next(mut self) -> Option<(Result<LogRecord>, Option<Self>)> {
        loop {
            let Some(lines) = self.lines.as_mut() else {
                let follow = self.follow && !self.last_read;
                match self.open(follow).await {
                    Ok(Some(lines)) => self.lines = Some(lines),
                    Ok(None) if !self.follow || self.last_read => return None,
                    Ok(None) => {
                        if let Err(e) = self.begun().await {
                            return Some((Err(e), None));
                        }
                        if self.pod_now().await.is_ok_and(|p| p.is_none()) {
                            return None;
                        }
                    }
                    Err(e) if e.kind() == pod_core::ErrorKind::NotFound && self.mark.last.is_some() => return None,
                    Err(e) if self.follow && e.retry() == pod_core::Retry::Later && self.tries < TRIES => {
                        self.pause().await;
                    }
                    Err(e) => return Some((Err(e), None)),
                }
                continue;
            };
            let read = match &mut self.ended {
                Some(ended) if !self.last_read => tokio::select! {
                    biased;
                    read = lines.next() => read,
                    () = ended => {
                        self.last_read = true;
                        self.lines = None;
                        continue;
                    }
                },
                _ => lines.next().await,
            };
            match read {
                Ok(Some(record)) => {
                    self.tries = 0;
                    let wanted = self.since.is_none_or(|s| record.time.is_none_or(|t| t >= s));
                    if self.mark.passes(&record, &mut self.skip, self.resumed) && wanted {
                        return Some((Ok(record), Some(self)));
                    }
                }
                Ok(None) => {
                    self.lines = None;
                    match self.again().await {
                        Ok(true) => {}
                        Ok(false) => return None,
                        Err(e) => return Some((Err(e), None)),
                    }
                }
                Err(e) if self.follow && self.tries < TRIES => {
                    tracing::debug!(error = %e, "a log is cut off");
                    self.lines = None;
                    self.pause().await;
                }
                Err(e) => return Some((Err(Error::io("read the log", e)), None)),
            }
        }
    }
}

/// Reads a workload's log.
pub(crate) async fn read(cluster: &Cluster, pod: &str, request: &LogsRequest) -> Result<LogStreamOf> {
    let found = cluster.pods().get(pod).await.map_err(|e| {
        if is_not_found(&e) { Error::not_found("workload", request.name.as_str()) } else { cluster.error(e) }
    })?;
    let container = main_of(&found, cluster.config.container.as_deref())?.container.name.clone();
    let uid = found.metadata.uid.clone();
    let ended: Option<BoxFuture<'static, ()>> = if request.follow {
        let (uid, name) = (uid.clone(), container.clone());
        let over = move |pod: Option<&Pod>| is_over(pod, uid.as_deref(), &name);
        let (pods, pod) = (cluster.pods(), pod.to_owned());
        workload_of(&found, Some(&container)).is_ok_and(|w| w.spec.keep_alive).then(|| -> BoxFuture<'static, ()> {
            Box::pin(async move {
                if let Err(e) = await_condition(pods, &pod, over).await {
                    tracing::debug!(error = %e, "the watch for a command's end is cut off");
                    std::future::pending::<()>().await;
                }
            })
        })
    } else {
        None
    };
    let mut log = Log {
        cluster: cluster.clone(),
        pod: pod.to_owned(),
        uid,
        container,
        follow: request.follow,
        tail: request.tail.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
        since: request.since,
        lines: None,
        mark: Mark::default(),
        resumed: None,
        skip: 0,
        tries: 0,
        ended,
        last_read: false,
    };
    // Opened here, so that what is wrong is told now and not in the stream.
    log.lines = log.open(request.follow).await?;
    Ok(Box::pin(futures_util::stream::unfold(Some(log), |log| async move { log?.next().await })))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &[u8]) -> Vec<LogRecord> {
        let mut lines = Lines::new(Box::pin(std::io::Cursor::new(text.to_vec())));
        let mut found = Vec::new();
        while let Some(record) = lines.next().await.expect("a record") {
            found.push(record);
        }
        found
    }

    #[tokio::test]
    async fn lines_have_their_times_and_bytes() {
        let text = b"2026-01-02T03:04:05.123456789Z one two\n2026-01-02T03:04:06Z \xff\x00\n2026-01-02T03:04:06Z tail";
        let found = all(text).await;
        let data: Vec<_> = found.iter().map(|r| r.data.to_vec()).collect();
        assert_eq!(data, [b"one two\n".to_vec(), b"\xff\x00\n".to_vec(), b"tail".to_vec()]);
        assert_eq!(found[0].time.map(|t| t.to_string()).as_deref(), Some("2026-01-02T03:04:05.123456789Z"));
        assert!(found.iter().all(|r| r.stream == LogStream::Stdout));
    }

    #[tokio::test]
    async fn a_long_line_comes_in_pieces() {
        let mut text = b"2026-01-02T03:04:05Z ".to_vec();
        text.extend(std::iter::repeat_n(b'x', 200_000));
        text.extend(b"\n2026-01-02T03:04:06Z next\n");
        let found = all(&text).await;
        assert!(found.len() > 3 && found.iter().all(|r| r.data.len() <= MOST));
        let whole: usize = found.iter().map(|r| r.data.len()).sum();
        assert_eq!(whole, 200_001 + 5);
        assert_eq!(found.last().map(|r| r.data.to_vec()), Some(b"next\n".to_vec()));
    }

    #[test]
    fn nothing_is_given_twice_after_a_break() {
        let record = |second: i64| {
            let time = jiff::Timestamp::from_second(second).expect("a time");
            LogRecord::new(Some(time), LogStream::Stdout, Bytes::new())
        };
        let mut mark = Mark::default();
        for second in [1, 2, 2] {
            assert!(mark.passes(&record(second), &mut 0, None));
        }
        let (resumed, mut skip) = (mark.last, mark.same);
        let passed: Vec<_> =
            [1, 2, 2, 2, 3].into_iter().filter(|s| mark.passes(&record(*s), &mut skip, resumed)).collect();
        assert_eq!(passed, [2, 3]);
    }

    #[test]
    fn seconds_are_rounded_down() {
        let time: jiff::Timestamp = "2026-01-02T03:04:05.9Z".parse().expect("a time");
        assert_eq!(floor(time).to_string(), "2026-01-02T03:04:05Z");
    }
}

//! The streams of a container's own command.
//!
//! Docker gives what is printed from the moment of attaching, byte by byte; what was printed before is the
//! log's to tell, by lines, and [`join`] goes from one to the other. Podman ends a command's input when
//! anyone who is attached goes away, also who only reads (conmon, `terminate_remote_sock`). Its log, though,
//! has what is printed at once, also parts of lines. So there all comes from the log, unless there is a
//! terminal.
//!
//! A stdin that is no terminal is written from within the container ([`feed`]). A terminal is attached to
//! both ways: who goes away ends nothing.

mod driver;
mod feed;
mod until;

use crate::containers::Inspected;
use crate::engine::{Kind, Query, part};
use crate::exec::pump::{self, Carried};
use crate::exec::{Target, not_running, refused};
use crate::logs::{self, BOTH, Which};
use bytes::Buf;
use driver::AttachDriver;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future};
use pod_core::{
    AttachRequest, BoxDuplex, BoxWrite, Error, LogStreamOf, LogsRequest, Process, ProcessDriver, Result, Streams,
};
use pod_shell::attach::{Live, Typing, join, last, told};
use tokio::sync::oneshot;
use until::Until;

/// The keys by which a daemon lets go of a terminal; it can't be told that there are none. No text has these
/// bytes (RFC 3629 section 1), and one alone is only held until the next comes.
const DETACH: &[u8] = b"\xff,\xfe,\xff,\xfe,\xff,\xfe,\xff,\xfe";

/// A command's output.
struct Output {
    streams: Streams,
    /// The connection that it comes by, unless it is the log's.
    carried: Option<Carried>,
    /// Each closed when all of one stream is there.
    rests: Vec<oneshot::Receiver<()>>,
}

/// Attaches to the command of a container that runs.
///
/// # Errors
/// As [`Backend::attach`](pod_core::Backend::attach).
pub(crate) async fn attach(target: Target, found: &Inspected, request: &AttachRequest) -> Result<Process> {
    let tty = found.config.tty;
    let fed = request.stdin && !tty;
    if fed && found.shares_processes() {
        return Err(target.about(
            Error::unsupported(
                "the container shares its processes with others, so the command can't be told from them",
            )
            .with_hint("attach without stdin"),
        ));
    }
    // The log has all of it, and outlasts a connection that is cut.
    let logged = !tty && (target.engine.kind == Kind::Podman || (request.logs && !request.stdin));
    let output =
        if logged { logged_output(&target, found, request).await } else { output(&target, found, request).await };
    let Output { mut streams, carried, rests } = output?;
    // Only now: what answers to an input is not printed before somebody listens.
    let unfed = if fed {
        let (feed, unfed) = feed::start(&target, found).await?;
        streams.stdin = Some(Box::pin(feed));
        Some(unfed)
    } else {
        None
    };
    let mut driver = AttachDriver::new(target, found, carried, rests, unfed);
    if let Some(size) = request.tty.filter(|_| tty) {
        driver.resize(size).await?;
    }
    Ok(Process::attached(Box::new(driver), streams))
}

/// The output as the daemon gives it to who is attached, behind what the log has if that is wanted.
async fn output(target: &Target, found: &Inspected, request: &AttachRequest) -> Result<Output> {
    let tty = found.config.tty;
    let typed = request.stdin && tty;
    let ask = LogsRequest::new(target.name.clone());
    // What the log ends with now was printed before.
    let mark = match request.logs {
        true => last(log(target, found, BOTH, &ask.clone().with_tail(Some(1))).await?).await?,
        false => None,
    };
    let stream = open(target, Asked { stdin: typed, output: true, tty }).await?;
    // A daemon also attaches to what does not run, and waits for its start.
    if let Some(error) = not_running(target).await {
        return Err(error);
    }
    let stream = match found.is_kept() {
        true => Box::pin(Until::new(stream, logs::over(&target.engine, found, true).boxed())) as BoxDuplex,
        false => stream,
    };
    let (mut streams, carried) = pump::attach(stream, typed, tty);
    streams.stdin = streams.stdin.map(|stdin| Box::pin(Typing::new(stdin)) as BoxWrite);
    let mut rests = Vec::new();
    if request.logs {
        let logs: [Which; 2] = if tty { [BOTH, &[]] } else { [&["stdout"], &["stderr"]] };
        for (output, which) in [&mut streams.stdout, &mut streams.stderr].into_iter().zip(logs) {
            if let Some(out) = output.take() {
                let log = log(target, found, which, &ask.clone().with_follow(true)).await?;
                let joined = join(log, Live { mark, out, err: None, tty });
                *output = Some(Box::pin(joined.stdout));
                rests.push(joined.ended);
            }
        }
    }
    Ok(Output { streams, carried: Some(carried), rests })
}

/// The output as the log has it: all of it, or from now on.
async fn logged_output(target: &Target, found: &Inspected, request: &AttachRequest) -> Result<Output> {
    let ask = LogsRequest::new(target.name.clone());
    let (mut streams, mut rests) = (Streams::default(), Vec::new());
    let both: [Which; 2] = [&["stdout"], &["stderr"]];
    for (output, which) in [&mut streams.stdout, &mut streams.stderr].into_iter().zip(both) {
        let before = if request.logs { 0 } else { length(log(target, found, which, &ask).await?).await? };
        let told = told(behind(log(target, found, which, &ask.clone().with_follow(true)).await?, before));
        *output = Some(Box::pin(told.stdout));
        rests.push(told.ended);
    }
    Ok(Output { streams, carried: None, rests })
}

/// The command's log.
async fn log(target: &Target, found: &Inspected, which: Which, ask: &LogsRequest) -> Result<LogStreamOf> {
    logs::read_of(which, &target.engine, found, ask).await.map_err(|e| target.about(e))
}

/// How many bytes a log holds.
async fn length(log: LogStreamOf) -> Result<usize> {
    log.try_fold(0, |length, record| future::ready(Ok(length + record.data.len()))).await
}

/// A log without its first bytes.
fn behind(log: LogStreamOf, mut skip: usize) -> LogStreamOf {
    let rest = log.filter_map(move |record| {
        let rest = match record {
            Ok(mut record) => {
                let cut = skip.min(record.data.len());
                skip -= cut;
                record.data.advance(cut);
                (!record.data.is_empty()).then_some(Ok(record))
            }
            Err(e) => Some(Err(e)),
        };
        future::ready(rest)
    });
    rest.boxed()
}

/// Which of a container's streams are wanted.
#[derive(Debug, Clone, Copy)]
struct Asked {
    stdin: bool,
    output: bool,
    tty: bool,
}

/// Attaches to these streams of a container that runs.
async fn open(target: &Target, asked: Asked) -> Result<BoxDuplex> {
    // Podman makes what has ended ready to run again when somebody attaches to it, and forgets how it ended.
    if target.engine.kind == Kind::Podman
        && let Some(error) = not_running(target).await
    {
        return Err(error);
    }
    let flag = |on: bool| if on { "1" } else { "0" };
    let mut query = Query::new()
        .with("stream", "1")
        .with("stdin", flag(asked.stdin))
        .with("stdout", flag(asked.output))
        .with("stderr", flag(asked.output));
    if asked.tty {
        query = query.with("detachKeys", DETACH);
    }
    let path = format!("/containers/{}/attach", part(&target.id));
    target.engine.hijack(&path, query, None).await.map_err(|f| refused(target, f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures_util::stream;
    use pod_core::{LogRecord, LogStream};

    fn logged(pieces: &[&'static str]) -> LogStreamOf {
        let record =
            |text: &&'static str| Ok(LogRecord::new(None, LogStream::Stdout, Bytes::from_static(text.as_bytes())));
        stream::iter(pieces.iter().map(record).collect::<Vec<_>>()).boxed()
    }

    #[tokio::test]
    async fn what_was_printed_before_is_left_out_however_it_is_cut() {
        assert_eq!(length(logged(&["one\n", "two"])).await.expect("a length"), 7);
        for pieces in [&["one\n", "twothree\n"][..], &["one\ntwo", "three\n"], &["one\ntwothree\n"]] {
            let rest: Vec<LogRecord> = behind(logged(pieces), 7).try_collect().await.expect("no loss");
            let rest: Vec<u8> = rest.iter().flat_map(|r| r.data.to_vec()).collect();
            assert_eq!(String::from_utf8_lossy(&rest), "three\n");
        }
    }
}

//! A command's output: first as the log has it, then as it comes.
//!
//! What the log ended with before the stream was opened was printed before, and is given at once. What
//! comes after that in the log is held against what the stream brings, until it is known where the stream
//! begins ([`seam`]); the rest is the stream's. So nothing is lost or given twice. One thing can't be
//! told: when the very same lines are printed again in the moments of attaching, how often they were.
//!
//! - Where the log does not tell both streams apart, from it all is stdout; and carriage returns before
//!   line ends are gone where the log drops them.
//! - Without a terminal, the log goes on being what is given as long as the place is not known: it comes
//!   by whole lines then. Where the place can't be found, it stays so to the end.
//! - A terminal's user waits for single letters. So the stream is taken as soon as it brings something,
//!   after a moment in which the log may catch up; a line that was begun before, such as a prompt, is in no
//!   log, and is missing.

use super::seam::{self, Seam};
use crate::pipe::{self, Outlet, Reader, Watcher};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use pod_core::{BoxRead, LogRecord, LogStreamOf, Result};
use std::fmt;
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::io::StreamReader;

/// How long the stream may take to bring what the log has.
const BEHIND: Duration = Duration::from_millis(300);
/// How long both may take to be found in each other.
const APART: Duration = Duration::from_secs(2);
/// How long the log may be silent while the stream brings whole lines.
const SILENT: Duration = Duration::from_secs(10);
/// How long a terminal's log may take to catch up.
const MOMENT: Duration = Duration::from_millis(200);
/// How much of the log is taken before it is compared again.
const PIECE: usize = 4 << 10;
/// What is held of each at most.
const HELD: usize = 64 << 10;

/// A command's output, joined.
#[derive(Debug)]
pub struct Joined {
    /// Its stdout.
    pub stdout: Reader,
    /// Its stderr, if that was joined as well.
    pub stderr: Option<Reader>,
    /// Closed when all output is there.
    pub ended: oneshot::Receiver<()>,
}

/// Streams that are attached to, of which the log is known to hold what it had at `mark`.
pub struct Live {
    /// When the last record of the log was written before the streams were opened ([`last`]).
    pub mark: Option<jiff::Timestamp>,
    /// The command's stdout, or one of its streams whose log is its own.
    pub out: BoxRead,
    /// Its stderr, where both are in one log that does not tell them apart.
    pub err: Option<BoxRead>,
    /// Whether it is a terminal's.
    pub tty: bool,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("mark", &self.mark).field("tty", &self.tty).finish_non_exhaustive()
    }
}

/// When the last of these records was written.
///
/// # Errors
/// As the log's.
pub async fn last(mut log: LogStreamOf) -> Result<Option<jiff::Timestamp>> {
    let mut last = None;
    while let Some(record) = log.next().await {
        last = record?.time.or(last);
    }
    Ok(last)
}

/// A log as the bytes that it holds.
#[must_use]
pub fn bytes_of(log: LogStreamOf) -> BoxRead {
    Box::pin(StreamReader::new(log.map(|record| record.map(|r| r.data).map_err(io::Error::other))))
}

/// Joins a followed log and the streams.
#[must_use]
pub fn join(log: LogStreamOf, live: Live) -> Joined {
    let Live { mark, out, err, tty } = live;
    let (to_out, stdout) = pipe::output();
    let (to_err, stderr) = match &err {
        Some(_) => Some(pipe::output()).unzip(),
        None => (None, None),
    };
    let readers = [Some(to_out.watcher()), to_err.as_ref().map(Outlet::watcher)];
    let joining = Joining {
        log: Some(log),
        broke: false,
        mark,
        live: [Some(out), err],
        brought: [Vec::new(), Vec::new()],
        held: Vec::new(),
        to: [Some(to_out), to_err],
        tty,
        begun: None,
        heard: None,
    };
    let (task, ended) = oneshot::channel();
    tokio::spawn(async move {
        let _task: oneshot::Sender<()> = task;
        tokio::select! {
            () = joining.run() => {}
            () = gone(readers) => {}
        }
    });
    Joined { stdout, stderr, ended }
}

/// A followed log as all of a command's output: it is read on, to some bytes, also while nobody waits for it.
#[must_use]
pub fn told(log: LogStreamOf) -> Joined {
    join(log, Live { mark: None, out: Box::pin(tokio::io::empty()), err: None, tty: false })
}

/// Waits until nobody reads any more.
async fn gone(readers: [Option<Watcher>; 2]) {
    for reader in readers.iter().flatten() {
        reader.gone().await;
    }
}

struct Joining {
    /// `None` at its end.
    log: Option<LogStreamOf>,
    /// The log broke off: it does not have everything.
    broke: bool,
    mark: Option<jiff::Timestamp>,
    /// `None` at their ends.
    live: [Option<BoxRead>; 2],
    /// What the streams brought.
    brought: [Vec<u8>; 2],
    /// What the log said since the mark.
    held: Vec<u8>,
    to: [Option<Outlet>; 2],
    tty: bool,
    /// Since when something of the log is held.
    begun: Option<Instant>,
    /// Since when something was brought.
    heard: Option<Instant>,
}

/// What to do next.
enum Turn {
    /// Wait, at most so long.
    Wait(Option<Instant>),
    /// What is held was printed before.
    Give,
    /// The rest is the streams'.
    Cross(Seam),
    /// The rest is the log's.
    Stay,
}

enum Came {
    Log(Option<Result<LogRecord>>),
    Live(usize, bool),
    Time,
}

impl Joining {
    async fn run(mut self) {
        loop {
            match self.turn() {
                Turn::Give => self.give().await,
                Turn::Cross(seam) => return self.cross(seam).await,
                Turn::Stay => return self.stay().await,
                Turn::Wait(until) => self.step(until).await,
            }
        }
    }

    fn turn(&self) -> Turn {
        let waiting = |since: Option<Instant>, most: Duration| since.map(|s| s + most);
        let over = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
        let brought = self.brought.iter().any(|b| !b.is_empty());
        let live = self.live.iter().any(Option::is_some);
        if !brought {
            return match (&self.log, live) {
                (None, false) => Turn::Stay,
                (None, true) if !self.held.is_empty() => Turn::Give,
                (_, false) => Turn::Stay,
                _ if over(waiting(self.begun, BEHIND)) => Turn::Give,
                _ => Turn::Wait(waiting(self.begun, BEHIND)),
            };
        }
        let full = self.held.len() >= HELD;
        // What is far ahead of the log can't be in it yet.
        let [out, err] = self.brought.each_ref().map(|b| &b[..b.len().min(2 * self.held.len() + 64)]);
        let seam = seam::find(&self.held, [out, err]);
        if self.tty {
            let until = waiting(self.heard, MOMENT);
            let now = over(until) || full || !live || self.log.is_none() || self.brought[0].len() >= HELD;
            return match seam {
                Some(seam) if seam.sure || now => Turn::Cross(seam),
                None if now => Turn::Cross(Seam { before: self.held.len(), ..Seam::default() }),
                _ => Turn::Wait(until),
            };
        }
        if let Some(seam) = seam.clone().filter(|s| s.sure) {
            return Turn::Cross(seam);
        }
        if self.log.is_none() {
            // It has everything, unless it broke off; then the streams have the rest.
            return match seam {
                Some(seam) if self.broke => Turn::Cross(seam),
                None if self.broke => Turn::Cross(Seam { before: self.held.len(), ..Seam::default() }),
                _ => Turn::Stay,
            };
        }
        if self.held.is_empty() {
            let lines = self.brought.iter().any(|b| b.contains(&b'\n'));
            let until = waiting(self.heard, SILENT).filter(|_| lines);
            return match over(until) {
                true if live => Turn::Cross(Seam::default()),
                true => Turn::Stay,
                false => Turn::Wait(until),
            };
        }
        let both = self.begun.max(self.heard);
        match seam {
            // It begins within a line, and nothing else has come since.
            Some(seam) if seam.even && over(waiting(both, BEHIND)) => Turn::Cross(seam),
            Some(seam) if seam.even => Turn::Wait(waiting(both, BEHIND)),
            _ if full || over(waiting(both, APART)) => Turn::Stay,
            _ => Turn::Wait(waiting(both, APART)),
        }
    }

    /// Takes what comes next.
    async fn step(&mut self, until: Option<Instant>) {
        let [out, err] = &mut self.live;
        let [from_out, from_err] = &mut self.brought;
        let came = tokio::select! {
            record = next(&mut self.log) => Came::Log(record),
            more = read(out, from_out) => Came::Live(0, more),
            more = read(err, from_err) => Came::Live(1, more),
            () = async { match until { Some(at) => sleep_until(at).await, None => pending().await } } => Came::Time,
        };
        match came {
            Came::Log(mut record) => {
                // Comparing costs more than reading: what has come already is taken at once.
                let least = self.held.len() + PIECE;
                loop {
                    self.logged(record).await;
                    if self.held.len() >= least {
                        return;
                    }
                    match next(&mut self.log).now_or_never() {
                        Some(more) => record = more,
                        None => return,
                    }
                }
            }
            Came::Live(_, true) => {
                self.heard.get_or_insert_with(Instant::now);
            }
            Came::Live(which, false) => self.live[which] = None,
            Came::Time => {}
        }
    }

    /// Takes what the log says.
    async fn logged(&mut self, record: Option<Result<LogRecord>>) {
        match record {
            Some(Ok(record)) => {
                let before = self.mark.zip(record.time).is_some_and(|(mark, time)| time <= mark);
                if before && self.held.is_empty() {
                    self.write(0, &record.data).await;
                } else {
                    self.held.extend_from_slice(&record.data);
                    self.begun.get_or_insert_with(Instant::now);
                }
            }
            Some(Err(e)) => {
                tracing::warn!(target: "pod", error = %e, "the log of a command breaks off");
                (self.log, self.broke) = (None, true);
            }
            None => self.log = None,
        }
    }

    /// Gives text of the log.
    async fn write(&mut self, to: usize, text: &[u8]) {
        let Some(outlet) = &mut self.to[to] else { return };
        outlet.room().await;
        if !self.tty {
            return outlet.give(Bytes::copy_from_slice(text)).await;
        }
        // What a terminal shows, it was sent with carriage returns (termios(3), ONLCR).
        let mut shown = Vec::with_capacity(text.len() + 16);
        for line in text.split_inclusive(|b| *b == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => shown.extend_from_slice(&[line.strip_suffix(b"\r").unwrap_or(line), b"\r\n"].concat()),
                None => shown.extend_from_slice(line),
            }
        }
        outlet.give(shown.into()).await;
    }

    /// Gives what is held.
    async fn give(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.begun = None;
        self.write(0, &held).await;
    }

    /// Gives the rest from the streams.
    async fn cross(mut self, seam: Seam) {
        tracing::debug!(target: "pod", sure = seam.sure, before = seam.before, "the stream goes on from the log");
        self.log = None;
        let held = std::mem::take(&mut self.held);
        self.write(0, &held[..seam.before]).await;
        for (to, head) in seam.heads.iter().enumerate() {
            self.write(to, head).await;
        }
        let [out, err] = self.live;
        let [from_out, from_err] = self.brought;
        let [to_out, to_err] = self.to;
        tokio::join!(pass(from_out, out, to_out), pass(from_err, err, to_err));
    }

    /// Gives the rest from the log; what the streams bring is in it.
    async fn stay(mut self) {
        let (held, brought) = (self.held.len(), self.brought[0].len());
        tracing::debug!(target: "pod", held, brought, "the log tells the rest");
        self.live = [None, None];
        self.give().await;
        if let [_, Some(err)] = &self.to {
            // Nothing comes here any more: who waits for it shall not wait.
            err.end();
        }
        while let Some(record) = next_of(&mut self.log).await {
            match record {
                Ok(record) => self.write(0, &record.data).await,
                Err(e) => {
                    if let [Some(out), _] = &self.to {
                        out.fail(io::ErrorKind::ConnectionReset, format!("the log of the command breaks off: {e}"));
                    }
                    return;
                }
            }
        }
        if let [Some(out), _] = &self.to {
            out.end();
        }
    }
}

/// The log's next record; waits for ever after its end.
async fn next(log: &mut Option<LogStreamOf>) -> Option<Result<LogRecord>> {
    match log {
        Some(log) => log.next().await,
        None => pending().await,
    }
}

async fn next_of(log: &mut Option<LogStreamOf>) -> Option<Result<LogRecord>> {
    log.as_mut()?.next().await
}

/// Reads more of a stream, if there is room; `false` at its end.
async fn read(from: &mut Option<BoxRead>, into: &mut Vec<u8>) -> bool {
    match from {
        // A stream that breaks off shows in the command's status.
        Some(from) if into.len() < HELD => matches!(from.read_buf(into).await, Ok(n) if n > 0),
        _ => pending().await,
    }
}

/// Passes a stream on, to its end or until nobody reads it.
async fn pass(first: Vec<u8>, from: Option<BoxRead>, to: Option<Outlet>) {
    let Some(mut to) = to else { return };
    to.room().await;
    to.give(first.into()).await;
    let gone = to.watcher();
    let Some(mut from) = from else { return to.end() };
    loop {
        let mut piece = Vec::with_capacity(64 << 10);
        let read = async {
            to.room().await;
            from.read_buf(&mut piece).await
        };
        tokio::select! {
            read = read => match read {
                Ok(0) => return to.end(),
                Ok(_) => {}
                Err(e) => return to.fail(e.kind(), e.to_string()),
            },
            () = gone.gone() => return,
        }
        to.give(piece.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use pod_core::LogStream;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    /// The ends that a server would hold, and the reader's.
    struct World {
        log: Option<mpsc::UnboundedSender<Result<LogRecord>>>,
        out: Outlet,
        err: Option<Outlet>,
        stdout: Reader,
        stderr: Option<Reader>,
    }

    /// With a log whose mark is second 10.
    fn world(tty: bool) -> World {
        let (log, records) = mpsc::unbounded_channel();
        let records = stream::unfold(records, |mut r| async move { Some((r.recv().await?, r)) }).boxed();
        let (out, from_out) = pipe::output();
        let (err, from_err) = match tty {
            true => (None, None),
            false => Some(pipe::output()).unzip(),
        };
        let live = Live {
            mark: Some(at(10)),
            out: Box::pin(from_out),
            err: from_err.map(|err| Box::pin(err) as BoxRead),
            tty,
        };
        let Joined { stdout, stderr, .. } = join(records, live);
        World { log: Some(log), out, err, stdout, stderr }
    }

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).expect("a time")
    }

    impl World {
        fn say(&self, second: i64, text: &'static str) {
            let record = LogRecord::new(Some(at(second)), LogStream::Stdout, Bytes::from_static(text.as_bytes()));
            self.log.as_ref().expect("the log goes on").send(Ok(record)).expect("it is read");
        }

        async fn print(&mut self, text: &str) {
            self.out.give(Bytes::copy_from_slice(text.as_bytes())).await;
        }

        async fn complain(&mut self, text: &str) {
            self.err.as_mut().expect("no terminal").give(Bytes::copy_from_slice(text.as_bytes())).await;
        }

        /// The command ends: so do its log and its streams.
        fn end(&mut self) {
            self.log = None;
            self.out.end();
            self.err.iter().for_each(Outlet::end);
        }

        /// What comes next.
        async fn reads(&mut self, text: &str) {
            let mut found = vec![0; text.len()];
            let read = timeout(Duration::from_secs(60), self.stdout.read_exact(&mut found)).await;
            read.expect("in time").expect("more");
            assert_eq!(String::from_utf8_lossy(&found), text);
        }

        /// What comes to the end.
        async fn rest(&mut self) -> (String, String) {
            let (mut out, mut err) = (String::new(), String::new());
            self.stdout.read_to_string(&mut out).await.expect("no loss");
            if let Some(stderr) = &mut self.stderr {
                stderr.read_to_string(&mut err).await.expect("no loss");
            }
            (out, err)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_comes_first_and_then_the_bytes_as_they_were() {
        let mut w = world(false);
        w.say(9, "one\n");
        w.reads("one\n").await;
        // Printed while it was attached to, before the stream began.
        w.say(11, "two\n");
        w.say(12, "head tail\n");
        w.print("tail\r\n").await;
        w.reads("two\nhead tail\r\n").await;
        // From here on the log is not needed, and stderr is apart.
        w.print("more").await;
        w.reads("more").await;
        w.complain("err\r\n").await;
        w.end();
        assert_eq!(w.rest().await, (String::new(), "err\r\n".into()));
    }

    #[tokio::test]
    async fn a_flood_is_gone_over_to() {
        let mut w = world(false);
        let mut all = String::new();
        for n in 0..9000 {
            let line = format!("{n}\r\n");
            w.say(11, Box::leak(format!("{n}\n").into_boxed_str()));
            all.push_str(&line);
        }
        w.print(&all).await;
        w.end();
        let begun = std::time::Instant::now();
        let (out, _) = w.rest().await;
        assert!(out == all, "{} of {} bytes", out.len(), all.len());
        assert!(begun.elapsed() < APART, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn either_may_come_first() {
        for log_first in [true, false] {
            let mut w = world(false);
            if log_first {
                w.say(11, "line\n");
            }
            w.print("line\n").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            if !log_first {
                w.say(11, "line\n");
            }
            w.reads("line\n").await;
            w.print("x").await;
            w.reads("x").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_fits_nowhere_comes_from_the_log_whole() {
        let mut w = world(false);
        w.say(11, "one\n");
        w.print("other\n").await;
        w.reads("one\n").await;
        w.say(12, "two\n");
        w.print("other\n").await;
        w.end();
        assert_eq!(w.rest().await, ("two\n".into(), String::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_had_ended_is_its_log() {
        let mut w = world(false);
        w.out.end();
        w.err.iter().for_each(Outlet::end);
        w.say(9, "one\n");
        w.say(11, "two\n");
        w.say(11, "no end of a line");
        w.end();
        assert_eq!(w.rest().await, ("one\ntwo\nno end of a line".into(), String::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_breaks_off_leaves_the_rest_to_the_streams() {
        let mut w = world(false);
        w.say(11, "one\n");
        let lost = pod_core::Error::unexpected("lost");
        w.log.as_ref().expect("a log").send(Err(lost)).expect("it is read");
        tokio::time::sleep(Duration::from_secs(1)).await;
        w.print("two\n").await;
        w.reads("one\ntwo\n").await;
        w.print("three").await;
        w.reads("three").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_terminal_goes_over_at_once_and_shows_line_ends_as_it_does() {
        let mut w = world(true);
        w.say(9, "one\n");
        w.say(11, "two\n");
        w.say(12, "three\n");
        w.print("three\r\n/ # ").await;
        w.reads("one\r\ntwo\r\nthree\r\n/ # ").await;
        w.print("l").await;
        w.reads("l").await;
        w.end();
        assert_eq!(w.rest().await.0, "");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_reads_ends() {
        let World { log, stdout, stderr, .. } = world(false);
        drop((stdout, stderr));
        timeout(Duration::from_secs(5), log.expect("a log").closed()).await.expect("the log is let go of");
    }
}

//! The streams between a daemon and the caller.
//!
//! Both of a program's outputs come over one connection. Each goes to the caller by a pipe of its own that
//! holds as much as the kernel's do; an output that nobody reads stops the program when its pipe is full,
//! as it would on this machine. What a reader has let go of is read on and dropped.

use super::Target;
use crate::containers::exit_status;
use crate::engine::frame::{Frames, Output};
use crate::engine::{Query, part};
use bytes::Bytes;
use pod_core::{BoxDuplex, ExitStatus, Streams};
use pod_shell::{Mark, Marks};
use serde::Deserialize;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// What a pipe holds: as on Linux (pipe(7)).
const PIPE: usize = 64 << 10;
/// How much is read at once.
const READ: usize = 64 << 10;
/// The most that is kept of what comes before the mark of a program's beginning. Of its two outputs the one
/// with the mark may come last, on a busy machine by some MiB.
const BEFORE: usize = 64 << 20;
/// How long the daemon may take to know how a program ended whose output has ended.
const SETTLES: Duration = Duration::from_secs(10);

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Exited(ExitStatus),
    /// It never began: what was said instead, and the code that the daemon has for it.
    NotBegun(String, ExitStatus),
    /// The daemon is gone, and with it the answer.
    Lost(String),
}

/// How far a program has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) first: Option<Mark>,
    pub(crate) end: Option<End>,
    /// All that it printed came, or no more of it comes.
    over: bool,
}

/// A program's streams under way.
#[derive(Debug)]
pub(crate) struct Pumped {
    pub(crate) streams: Streams,
    pub(crate) progress: watch::Receiver<Progress>,
    /// Told `true`, what nobody reads is dropped.
    pub(crate) discard: watch::Sender<bool>,
}

/// How a program's streams are carried.
#[derive(Debug)]
pub(crate) struct How {
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
    /// The token of its wrapper, where it has one.
    pub(crate) token: Option<String>,
}

/// Carries the streams of an exec, on tasks of their own.
pub(crate) fn start(target: &Target, exec: String, stream: BoxDuplex, how: How) -> Pumped {
    let (reader, writer) = tokio::io::split(stream);
    let (out, stdout) = tokio::io::duplex(PIPE);
    let (err, stderr) = if how.tty { (None, None) } else { Some(tokio::io::duplex(PIPE)).unzip() };
    let (report, progress) = watch::channel(Progress::default());
    let (discard, discards) = watch::channel(false);
    let marks = how.token.as_deref().map(Marks::new);
    let held = marks.is_some().then(Vec::new);
    let pump = Pump { out: Some(out), err, tty: how.tty, marks, held, report, discards };
    let cut = Cut::default();
    tokio::spawn(pump.run(target.clone(), exec, reader, cut.clone()));
    let stdin = if how.stdin {
        let (input, own) = tokio::io::duplex(PIPE);
        let end = if how.tty { StdinEnd::Typed } else { StdinEnd::Closed };
        tokio::spawn(feed(own, writer, end, progress.clone()));
        Some(Box::pin(input) as pod_core::BoxWrite)
    } else {
        // The writing half is part of the connection, which the reading half keeps.
        None
    };
    let stdout = Whole { pipe: stdout, cut: cut.clone() };
    let stderr = stderr.map(|pipe| Box::pin(Whole { pipe, cut }) as pod_core::BoxRead);
    Pumped { streams: Streams { stdin, stdout: Some(Box::pin(stdout)), stderr }, progress, discard }
}

/// The streams of a container's own command under way. Dropped, they are let go of, unless they were left
/// to themselves: then they go on to their end.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) progress: watch::Receiver<Progress>,
    task: AbortHandle,
    left: bool,
}

impl Carried {
    /// Leaves them to themselves.
    pub(crate) fn leave(&mut self) {
        self.left = true;
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if !self.left {
            self.task.abort();
        }
    }
}

/// Carries the streams of a container's own command, on tasks of their own. A stdin is a terminal's, and
/// its end is the caller's to type.
pub(crate) fn attach(stream: BoxDuplex, stdin: bool, tty: bool) -> (Streams, Carried) {
    let (reader, writer) = tokio::io::split(stream);
    let (out, stdout) = tokio::io::duplex(PIPE);
    let (err, stderr) = if tty { (None, None) } else { Some(tokio::io::duplex(PIPE)).unzip() };
    let (report, progress) = watch::channel(Progress::default());
    let (discard, discards) = watch::channel(false);
    let mut pump = Pump { out: Some(out), err, tty, marks: None, held: None, report, discards };
    let task = tokio::spawn(async move {
        // Nobody has anything dropped before it was read.
        let _discard = discard;
        let lost = pump.carry(reader).await;
        pump.over(true);
        (pump.out, pump.err) = (None, None);
        // How the command ended is the container's to tell.
        let end = lost.map_or(End::Exited(ExitStatus::Unknown), End::Lost);
        pump.report.send_modify(|p| p.end = Some(end));
    });
    let stdin = stdin.then(|| {
        let (input, own) = tokio::io::duplex(PIPE);
        tokio::spawn(feed(own, writer, StdinEnd::Silent, progress.clone()));
        Box::pin(input) as pod_core::BoxWrite
    });
    let streams =
        Streams { stdin, stdout: Some(Box::pin(stdout)), stderr: stderr.map(|e| Box::pin(e) as pod_core::BoxRead) };
    (streams, Carried { progress, task: task.abort_handle(), left: false })
}

/// How the end of a stdin is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StdinEnd {
    /// By closing the half of the connection.
    Closed,
    /// As one types it (termios(3), VEOF).
    Typed,
    /// Not at all: a daemon ends the output of a terminal whose stdin ends.
    Silent,
}

/// Carries stdin, and tells its end. A program that has ended reads nothing more: whoever still writes
/// learns it by the closed pipe; and the daemon, which would wait for the rest, by the closed half, when all
/// output came.
async fn feed(
    mut from: DuplexStream,
    mut to: WriteHalf<BoxDuplex>,
    end: StdinEnd,
    mut progress: watch::Receiver<Progress>,
) {
    let carried = async {
        let mut buffer = vec![0; READ];
        loop {
            match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return true,
                Ok(n) if to.write_all(&buffer[..n]).await.is_err() || to.flush().await.is_err() => return false,
                Ok(_) => {}
            }
        }
    };
    let whole = tokio::select! {
        whole = carried => whole,
        _ = end_of(&mut progress) => false,
    };
    if !whole {
        // Nobody who could tell is as good as told.
        drop(from);
        let _ = progress.wait_for(|p| p.over).await;
    }
    // A connection that is gone needs no end.
    let _ = match end {
        StdinEnd::Typed if whole => to.write_all(&[4]).await,
        StdinEnd::Silent if whole => Ok(()),
        _ => to.shutdown().await,
    };
}

/// Why what came of a program is not all that it printed.
type Cut = Arc<OnceLock<String>>;

/// An output for its reader, which never takes a part of it for the whole.
#[derive(Debug)]
struct Whole {
    pipe: DuplexStream,
    cut: Cut,
}

impl AsyncRead for Whole {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.remaining();
        ready!(Pin::new(&mut self.pipe).poll_read(cx, buf))?;
        match self.cut.get() {
            Some(why) if before > 0 && buf.remaining() == before => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why.clone())))
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

struct Pump {
    out: Option<DuplexStream>,
    err: Option<DuplexStream>,
    tty: bool,
    marks: Option<Marks>,
    /// What came before the first mark: the program's, whose mark takes another way, or the daemon's words.
    held: Option<Vec<(bool, Bytes)>>,
    report: watch::Sender<Progress>,
    discards: watch::Receiver<bool>,
}

impl Pump {
    /// Carries all that comes; why it broke off, if it did.
    async fn carry(&mut self, mut reader: ReadHalf<BoxDuplex>) -> Option<String> {
        let mut frames = Frames::new(self.tty);
        let mut buffer = vec![0; READ];
        let mut lost = None;
        'stream: loop {
            match reader.read(&mut buffer).await {
                Ok(0) => break,
                Ok(n) => frames.feed(&buffer[..n]),
                Err(e) => {
                    lost = Some(format!("the connection to the daemon broke: {e}"));
                    break;
                }
            }
            loop {
                match frames.next() {
                    Ok(None) => break,
                    Ok(Some(piece)) => {
                        self.piece(piece.output, piece.data).await;
                        let held = self.held.iter().flatten().map(|(_, data)| data.len()).sum::<usize>();
                        if held > BEFORE {
                            lost = Some(format!("{held} bytes came, and no mark of the program's beginning"));
                            break 'stream;
                        }
                    }
                    Err(odd) => {
                        lost = Some(format!("what the daemon sends is no stream of frames: {odd}"));
                        break 'stream;
                    }
                }
            }
        }
        if let Some((rest, of_stdout)) = self.marks.as_mut().map(Marks::rest) {
            self.give(!self.tty, rest).await;
            self.give(false, of_stdout).await;
        }
        lost
    }

    /// Why what came of a program that said that it ended is not all it printed.
    fn cut(&self, lost: Option<&String>) -> Option<String> {
        let marks = self.marks.as_ref()?;
        match lost {
            Some(why) if marks.has_ended() => Some(why.clone()),
            // A daemon waits two seconds for the rest of an exec's output when that has ended (Docker's
            // `StreamConfig.Wait`), and drops what comes later.
            None if marks.is_cut() && !self.tty => Some("the end of the program's output was lost".into()),
            _ => None,
        }
    }

    async fn run(mut self, target: Target, exec: String, reader: ReadHalf<BoxDuplex>, cut: Cut) {
        let lost = self.carry(reader).await;
        self.over(true);
        if let Some(why) = self.cut(lost.as_ref()) {
            cut.get_or_init(|| why);
        }
        let words = self.held.take().map(|held| {
            let all: Vec<u8> = held.iter().flat_map(|(_, data)| data.iter().copied()).take(READ).collect();
            String::from_utf8_lossy(&all).trim().to_owned()
        });
        // Readers see the end now, whatever the daemon takes to tell the status.
        (self.out, self.err) = (None, None);
        if self.report.borrow().end.is_some() {
            return;
        }
        let end = match (status(&target, &exec).await, words, lost) {
            (End::Exited(status), Some(words), _) => End::NotBegun(words, status),
            (End::Lost(why), _, lost) => End::Lost(lost.unwrap_or(why)),
            (end, _, _) => end,
        };
        self.report.send_modify(|p| p.end = Some(end));
    }

    async fn piece(&mut self, output: Output, data: Bytes) {
        let to_err = output != Output::Stdout;
        let Some(known) = &mut self.marks else { return self.give(to_err, data).await };
        if to_err == self.tty {
            let data = known.on_stdout(data);
            let over = known.is_whole();
            self.give(to_err, data).await;
            return self.over(over);
        }
        let (data, marks) = known.told(data);
        for mark in &marks {
            if !matches!(mark, Mark::Ended(_)) {
                self.report.send_modify(|p| {
                    p.first.get_or_insert(*mark);
                });
                for (to_err, data) in self.held.take().into_iter().flatten() {
                    self.hand(to_err, data).await;
                }
            }
        }
        self.give(to_err, data).await;
        for mark in marks {
            if let Mark::Ended(code) = mark {
                self.report.send_modify(|p| p.end = Some(End::Exited(ExitStatus::Exited(code))));
            }
        }
        let over = self.marks.as_ref().is_some_and(Marks::is_whole);
        self.over(over);
    }

    /// Says, once, that nothing more is waited for.
    fn over(&self, over: bool) {
        self.report.send_if_modified(|p| over && !std::mem::replace(&mut p.over, true));
    }

    async fn give(&mut self, to_err: bool, data: Bytes) {
        if data.is_empty() {
            return;
        }
        match &mut self.held {
            Some(held) => held.push((to_err, data)),
            None => self.hand(to_err, data).await,
        }
    }

    async fn hand(&mut self, to_err: bool, data: Bytes) {
        let to = if to_err && !self.tty { &mut self.err } else { &mut self.out };
        let Some(pipe) = to else { return };
        let given = tokio::select! {
            biased;
            given = pipe.write_all(&data) => given.is_ok(),
            () = told(&mut self.discards) => false,
        };
        if !given {
            *to = None;
        }
    }
}

/// Waits until what nobody reads may be dropped. One who can't say so any more never does.
async fn told(discards: &mut watch::Receiver<bool>) {
    if discards.wait_for(|d| *d).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exec {
    #[serde(default)]
    running: bool,
    #[serde(default)]
    exit_code: Option<i64>,
}

/// How an exec ended, by the daemon's word. Before it knows, it tells that there is none yet.
async fn status(target: &Target, exec: &str) -> End {
    let until = Instant::now() + SETTLES;
    let path = format!("/exec/{}/json", part(exec));
    let mut pause = Duration::from_millis(2);
    loop {
        match target.engine.get::<Exec>(&path, Query::new()).await {
            Ok(Exec { running: false, exit_code: Some(code) }) => return End::Exited(exit_status(code)),
            Ok(_) if Instant::now() < until => {}
            Ok(_) => return End::Exited(ExitStatus::Unknown),
            // The container is gone, and its execs with it.
            Err(f) if f.is_not_found() => return End::Exited(ExitStatus::Unknown),
            Err(f) => return End::Lost(target.engine.error(f).to_string()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Waits for a program's end.
pub(crate) async fn end_of(progress: &mut watch::Receiver<Progress>) -> End {
    let ended = progress.wait_for(|p| p.end.is_some()).await;
    ended.ok().and_then(|p| p.end.clone()).unwrap_or_else(|| End::Lost("the runtime was shut down".into()))
}

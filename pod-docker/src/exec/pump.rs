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
use pod_shell::{Mark, Scanner};
use serde::Deserialize;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a pipe holds: as on Linux (pipe(7)).
const PIPE: usize = 64 << 10;
/// How much is read at once.
const READ: usize = 64 << 10;
/// The most that is kept of what comes before the program begins.
const BEFORE: usize = 1 << 20;
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
    /// The marks of its wrapper, where it has one.
    pub(crate) marks: Option<Scanner>,
}

/// Carries the streams of an exec, on tasks of their own.
pub(crate) fn start(target: &Target, exec: String, stream: BoxDuplex, how: How) -> Pumped {
    let (reader, writer) = tokio::io::split(stream);
    let (out, stdout) = tokio::io::duplex(PIPE);
    let (err, stderr) = if how.tty { (None, None) } else { Some(tokio::io::duplex(PIPE)).unzip() };
    let (report, progress) = watch::channel(Progress::default());
    let (discard, discards) = watch::channel(false);
    let held = how.marks.is_some().then(Vec::new);
    let pump = Pump { out: Some(out), err, tty: how.tty, marks: how.marks, held, report, discards };
    tokio::spawn(pump.run(target.clone(), exec, reader));
    let stdin = if how.stdin {
        let (input, own) = tokio::io::duplex(PIPE);
        tokio::spawn(feed(own, writer, how.tty, progress.clone()));
        Some(Box::pin(input) as pod_core::BoxWrite)
    } else {
        // The writing half is part of the connection, which the reading half keeps.
        None
    };
    let streams =
        Streams { stdin, stdout: Some(Box::pin(stdout)), stderr: stderr.map(|e| Box::pin(e) as pod_core::BoxRead) };
    Pumped { streams, progress, discard }
}

/// Carries stdin, and tells its end: by closing the half of the connection, or on a terminal as one types
/// it (termios(3), VEOF). A program that has ended reads nothing more: whoever still writes learns it by the
/// closed pipe, and the daemon, which would wait for the rest, by the closed half.
async fn feed(
    mut from: DuplexStream,
    mut to: WriteHalf<BoxDuplex>,
    tty: bool,
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
    // A connection that is gone needs no end.
    let _ = if tty && whole { to.write_all(&[4]).await } else { to.shutdown().await };
}

struct Pump {
    out: Option<DuplexStream>,
    err: Option<DuplexStream>,
    tty: bool,
    marks: Option<Scanner>,
    /// What came before the first mark: the program's, whose mark takes another way, or the daemon's words.
    held: Option<Vec<(bool, Bytes)>>,
    report: watch::Sender<Progress>,
    discards: watch::Receiver<bool>,
}

impl Pump {
    async fn run(mut self, target: Target, exec: String, mut reader: ReadHalf<BoxDuplex>) {
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
                    Ok(Some(piece)) => self.piece(piece.output, piece.data).await,
                    Err(odd) => {
                        lost = Some(format!("what the daemon sends is no stream of frames: {odd}"));
                        break 'stream;
                    }
                }
            }
        }
        if let Some(rest) = self.marks.as_mut().map(Scanner::rest) {
            self.give(!self.tty, rest).await;
        }
        let words = self.held.take().map(|held| {
            let all: Vec<u8> = held.iter().flat_map(|(_, data)| data.iter().copied()).collect();
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
        // The marks are on stderr, or on the terminal.
        if to_err == self.tty || self.marks.is_none() {
            return self.give(to_err, data).await;
        }
        let (data, marks) = match &mut self.marks {
            Some(scanner) => scanner.scan(data),
            None => (data, Vec::new()),
        };
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
    }

    async fn give(&mut self, to_err: bool, data: Bytes) {
        if data.is_empty() {
            return;
        }
        match &mut self.held {
            Some(held) => {
                if held.iter().map(|(_, d)| d.len()).sum::<usize>() < BEFORE {
                    held.push((to_err, data));
                }
            }
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

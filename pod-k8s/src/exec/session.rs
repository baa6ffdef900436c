//! One exec over a WebSocket: a loop that reads and writes at once.
//!
//! The task ends with the session. It never waits for a reader while another reader waits for it (see
//! [`pipe`]), and it knows how a program ended from the status channel alone: a socket that
//! closes without a word is [`End::Lost`].

use super::frame::{self, Incoming};
use super::pipe::{self, Outlet, Reader, Stdin};
use super::status::{self, End};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use pod_core::{ExitStatus, TtySize};
use pod_shell::{Mark, Scanner};
use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

/// Balancers cut what is idle for 30 s.
const PING: Duration = Duration::from_secs(15);
/// A server that answers no ping for this long is gone.
const DEAD: Duration = Duration::from_secs(60);
/// How long a server may take to take the end of the stream.
const AFTER: Duration = Duration::from_secs(1);
/// How long the next piece of output may be in coming once the status is there. The server closes the
/// stream behind the last one; a machine that is busy takes its time.
const REST: Duration = Duration::from_secs(5);

/// What a session is given.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Whether stdin is sent.
    pub(crate) stdin: bool,
    /// Whether the program has a terminal: then there is no stderr.
    pub(crate) tty: bool,
    /// How the end of stdin is told.
    pub(crate) stdin_end: StdinEnd,
    /// The marks that the program's wrapper prints; they are taken out of its output. Without a terminal
    /// the last of them tells the end, and only it is believed when that is success: an API server whose
    /// connection to the node breaks calls that a success too.
    pub(crate) marks: Option<Scanner>,
}

/// How the end of stdin is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StdinEnd {
    /// By a message of its own.
    Closed,
    /// As a terminal knows it: `^D` (termios(3), VEOF).
    Typed,
    /// It can't be told.
    Silent,
}

impl StdinEnd {
    /// How it is told to a program with or without a terminal, by a protocol with or without a half-close.
    pub(crate) fn of(tty: bool, half_close: bool) -> Self {
        match (tty, half_close) {
            (true, _) => Self::Typed,
            (false, true) => Self::Closed,
            (false, false) => Self::Silent,
        }
    }
}

/// How far a session has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// What the wrapper said first.
    pub(crate) first: Option<Mark>,
    /// Some output came.
    pub(crate) output: bool,
    /// How it ended.
    pub(crate) end: Option<End>,
}

/// The caller's side of a session. Dropping `orders` closes the socket.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stdin: Option<Stdin>,
    pub(crate) stdout: Option<Reader>,
    pub(crate) stderr: Option<Reader>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) orders: mpsc::Sender<Order>,
}

/// What a session can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// The terminal's size.
    Resize(TtySize),
    /// The program is dead: what it printed is kept, whoever reads it, so that its status is seen.
    Flush,
    /// The pod is gone: no status comes any more, for this reason.
    Abandon(String),
}

/// Starts the loop on a task of its own.
pub(crate) fn start<S>(socket: WebSocketStream<S>, setup: Setup) -> Session
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (out, stdout) = pipe::output();
    let (err, stderr) = if setup.tty { (None, None) } else { Some(pipe::output()).unzip() };
    let (stdin, input) = if setup.stdin { Some(pipe::stdin(frame::stdin)).unzip() } else { (None, None) };
    let (report, progress) = watch::channel(Progress::default());
    let (orders, told) = mpsc::channel(8);
    tokio::spawn(serve(socket, setup, out, err, input, report, told));
    Session { stdin, stdout: Some(stdout), stderr, progress, orders }
}

/// What the two halves of the loop share.
#[derive(Debug)]
struct Shared {
    /// When something last came from the server.
    heard: Instant,
    /// A piece of stdin was sent and nothing came since: until the server takes it, it answers no ping.
    fed: bool,
    /// Nothing is read, because nobody takes what came.
    stalled: bool,
    flush: bool,
}

type Lock = std::sync::Mutex<Shared>;

/// Changes what is shared. The lock is never held over a wait, and nothing in it can panic.
fn with<T>(shared: &Lock, change: impl FnOnce(&mut Shared) -> T) -> T {
    change(&mut shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

async fn serve<S>(
    socket: WebSocketStream<S>,
    setup: Setup,
    out: Outlet,
    err: Option<Outlet>,
    input: Option<mpsc::Receiver<Bytes>>,
    report: watch::Sender<Progress>,
    mut told: mpsc::Receiver<Order>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, stream) = socket.split();
    let shared = Lock::new(Shared { heard: Instant::now(), fed: false, stalled: false, flush: false });
    let (size, sizes) = watch::channel(None);
    let readers = Readers(out.watcher(), err.as_ref().map(Outlet::watcher));
    let mut outputs = Outputs { out, err, marks: setup.marks, report: &report };
    let end = {
        let sending = send(&mut sink, input, sizes, setup.stdin_end, &shared);
        let receiving = receive(stream, &mut outputs, &shared);
        tokio::pin!(sending, receiving);
        let (mut sends, mut held) = (true, true);
        loop {
            tokio::select! {
                biased;
                end = &mut receiving => break end,
                order = told.recv(), if held => match order {
                    Some(Order::Resize(to)) => { let _ = size.send(Some(to)); }
                    Some(Order::Flush) => {
                        with(&shared, |s| s.flush = true);
                        tokio::task::yield_now().await; // the receiving half looks again
                    }
                    Some(Order::Abandon(why)) => break End::Lost(why),
                    // What it printed last may still be on its way to those who read it.
                    None if report.borrow().end.is_some() => held = false,
                    None => break End::Lost("nobody holds the program any more".into()),
                },
                () = readers.gone(), if !held => break End::Lost("nobody reads the program any more".into()),
                stopped = &mut sending, if sends => match stopped {
                    Stopped::Broken => sends = false, // a status may still have come before
                    Stopped::Silent => break End::Lost("the server has not answered for a minute".into()),
                },
            }
        }
    };
    report.send_if_modified(|p| {
        let first = p.end.is_none();
        p.end.get_or_insert(end);
        first
    });
    // A server that is gone does not care.
    let _ = timeout(AFTER, sink.close()).await;
    drop(sink);
    outputs.drain().await;
}

/// Who reads the outputs.
struct Readers(pipe::Watcher, Option<pipe::Watcher>);

impl Readers {
    async fn gone(&self) {
        self.0.gone().await;
        if let Some(err) = &self.1 {
            err.gone().await;
        }
    }
}

struct Outputs<'a> {
    out: Outlet,
    err: Option<Outlet>,
    marks: Option<Scanner>,
    report: &'a watch::Sender<Progress>,
}

enum Turn {
    Read,
    Back,
}

impl Outputs<'_> {
    /// Waits until a message may be read: none of its outputs is full, or someone waits for the other.
    async fn turn(&mut self, shared: &Lock) -> Turn {
        poll_fn(|cx| {
            if self.out.wants_back(cx) || self.err.as_ref().is_some_and(|e| e.wants_back(cx)) {
                return Poll::Ready(Turn::Back);
            }
            let room = self.out.has_room(cx) && self.err.as_ref().is_none_or(|e| e.has_room(cx));
            let awaited = self.out.is_awaited(cx) || self.err.as_ref().is_some_and(|e| e.is_awaited(cx));
            let read = room || awaited || with(shared, |s| s.flush);
            with(shared, |s| {
                if s.stalled && read {
                    s.heard = Instant::now();
                }
                s.stalled = !read;
            });
            if read { Poll::Ready(Turn::Read) } else { Poll::Pending }
        })
        .await
    }

    async fn take_back(&mut self) {
        for outlet in std::iter::once(&mut self.out).chain(&mut self.err) {
            let wants = poll_fn(|cx| Poll::Ready(outlet.wants_back(cx))).await;
            if wants {
                outlet.take_back().await;
            }
        }
    }

    /// Where the wrapper's marks are: on stderr, or on the terminal.
    async fn marked(&mut self, data: Bytes) {
        let (data, marks) = match &mut self.marks {
            Some(scanner) => scanner.scan(data),
            None => (data, Vec::new()),
        };
        self.give(data, self.err.is_some()).await;
        for mark in marks {
            self.report.send_modify(|p| match mark {
                Mark::Ended(code) => {
                    p.end.get_or_insert(End::Exited(ExitStatus::Exited(code)));
                }
                mark => {
                    p.first.get_or_insert(mark);
                }
            });
        }
    }

    async fn give(&mut self, data: Bytes, to_err: bool) {
        if data.is_empty() {
            return;
        }
        if !self.report.borrow().output {
            self.report.send_modify(|p| p.output = true);
        }
        match (&mut self.err, to_err) {
            (Some(err), true) => err.give(data).await,
            _ => self.out.give(data).await,
        }
    }

    async fn take(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Stdout(data) if self.err.is_none() => self.marked(data).await,
            Incoming::Stdout(data) => self.give(data, false).await,
            Incoming::Stderr(data) => self.marked(data).await,
            Incoming::Status(_) | Incoming::Nothing => {}
        }
    }

    /// The server's word on the end, unless it is a success that only the wrapper's mark could prove.
    fn believed(&self, end: End) -> End {
        let proves = self.marks.is_some() && self.err.is_some();
        if proves && end == End::Exited(ExitStatus::Exited(0)) && self.report.borrow().end.is_none() {
            return End::Lost("the connection to the pod's node was lost".into());
        }
        end
    }

    /// Serves what is in files to those who still read.
    async fn drain(&mut self) {
        if let Some(rest) = self.marks.as_mut().map(Scanner::rest) {
            self.give(rest, self.err.is_some()).await;
        }
        self.out.end();
        if let Some(err) = &self.err {
            err.end();
        }
        while self.out.has_filed() || self.err.as_ref().is_some_and(Outlet::has_filed) {
            poll_fn(|cx| {
                let out = self.out.wants_back(cx) || self.err.as_ref().is_some_and(|e| e.wants_back(cx));
                let done = !self.out.has_filed() && !self.err.as_ref().is_some_and(Outlet::has_filed);
                if out || done { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.take_back().await;
        }
    }
}

async fn receive<St>(mut stream: St, outputs: &mut Outputs<'_>, shared: &Lock) -> End
where
    St: Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    let mut ended: Option<End> = None;
    loop {
        if let Turn::Back = outputs.turn(shared).await {
            outputs.take_back().await;
            continue;
        }
        let next = match &ended {
            None => stream.next().await,
            // From now on: a reader that is slow has held this up until here.
            Some(end) => match timeout(REST, stream.next()).await {
                Ok(next) => next,
                Err(_) => return end.clone(),
            },
        };
        with(shared, |s| (s.heard, s.fed) = (Instant::now(), false));
        let lost = match next {
            Some(Ok(Message::Binary(message))) => {
                match frame::decode(message) {
                    Incoming::Status(json) if ended.is_none() => {
                        let end = outputs.believed(status::read(&json));
                        if !matches!(end, End::Lost(_)) {
                            outputs.report.send_if_modified(|p| {
                                let first = p.end.is_none();
                                p.end.get_or_insert(end.clone());
                                first
                            });
                        }
                        // Another output may still bring the mark of the end.
                        ended = Some(end);
                    }
                    incoming => outputs.take(incoming).await,
                }
                continue;
            }
            Some(Ok(Message::Close(reason))) => match reason {
                Some(reason) if !reason.reason.is_empty() => format!("the server closed the stream: {}", reason.reason),
                _ => "the server closed the stream without a status".into(),
            },
            Some(Ok(_)) => continue,
            Some(Err(e)) => format!("the stream was cut: {e}"),
            None => "the stream was cut".into(),
        };
        return match ended {
            Some(end) => end,
            None => End::Lost(lost),
        };
    }
}

/// Why nothing more is sent.
enum Stopped {
    Broken,
    Silent,
}

async fn send<Si>(
    sink: &mut Si,
    mut input: Option<mpsc::Receiver<Bytes>>,
    mut sizes: watch::Receiver<Option<TtySize>>,
    end: StdinEnd,
    shared: &Lock,
) -> Stopped
where
    Si: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            Ok(()) = sizes.changed() => {
                let size = *sizes.borrow_and_update();
                match size {
                    Some(size) => sink.send(Message::Binary(frame::resize(size.rows, size.cols))).await,
                    None => Ok(()),
                }
            }
            piece = next(&mut input) => match piece {
                Some(piece) => {
                    with(shared, |s| s.fed = true);
                    let more = input.as_ref().is_some_and(|i| !i.is_empty());
                    let piece = Message::Binary(piece);
                    if more { sink.feed(piece).await } else { sink.send(piece).await }
                }
                None => {
                    input = None;
                    match end {
                        StdinEnd::Closed => sink.send(Message::Binary(frame::stdin_end())).await,
                        StdinEnd::Typed => sink.send(Message::Binary(frame::stdin(&[4]))).await,
                        StdinEnd::Silent => Ok(()), // who can't do without was refused before
                    }
                }
            },
            _ = ping.tick() => {
                if with(shared, |s| !s.fed && !s.stalled && s.heard.elapsed() > DEAD) {
                    return Stopped::Silent;
                }
                sink.send(Message::Ping(Bytes::new())).await
            }
        };
        if sent.is_err() {
            return Stopped::Broken;
        }
    }
}

async fn next(input: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match input {
        Some(input) => input.recv().await,
        None => pending().await,
    }
}

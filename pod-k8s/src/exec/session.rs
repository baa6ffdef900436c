//! One exec over a WebSocket: a loop that reads and writes at once.
//!
//! The task ends with the session. It never waits for a reader while another reader waits for it (see
//! [`pipe`]), and it knows how a program ended from the status channel alone: a socket that
//! closes without a word is [`End::Lost`].

use super::frame::{self, Incoming};
use super::input::{self, Stdin};
use super::status::{self, End};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use pod_core::{ExitStatus, TtySize};
use pod_shell::pipe::{self, Outlet, Reader};
use pod_shell::{Mark, Marks};
use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout, timeout_at};
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
/// How long the status of a program whose end its wrapper has told may be in coming before the server is
/// asked whether it still listens, and how long it may then say nothing. Stdin that nobody reads any more
/// holds servers up for ever: they neither tell the status nor close the stream (seen with Kubernetes 1.33
/// and containerd 1.6, by `kubectl exec -i` as well).
const LATE: Duration = Duration::from_millis(250);
const STUCK: Duration = Duration::from_secs(3);
/// How long a program may print nothing before it is looked for: before it has begun, and after. The same
/// servers lose what a program printed last, and with it the mark of its end.
const UNBEGUN: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(30);
/// A program that was found is looked for again after twice as long, and at the latest after this.
const SELDOM: Duration = Duration::from_secs(600);

/// What a session is given.
pub(crate) struct Setup {
    /// Whether stdin is sent.
    pub(crate) stdin: bool,
    /// Whether the program has a terminal: then there is no stderr.
    pub(crate) tty: bool,
    /// How the end of stdin is told.
    pub(crate) stdin_end: StdinEnd,
    /// The program has a wrapper, which prints marks.
    pub(crate) wrapper: Option<Wrapper>,
}

/// What is known of a program by its wrapper.
pub(crate) struct Wrapper {
    /// Its marks, which are taken out of the output. Without a terminal the last of them tells the end, and
    /// only it is believed when that is success: an API server whose connection to the node breaks calls
    /// that a success too.
    marks: Marks,
    runs: Runs,
    /// Tells whether anything of it still lives in the container, or may.
    lives: Lives,
}

impl Wrapper {
    /// What is known before anything came.
    pub(crate) fn new(token: &str, runs: Runs, lives: Lives) -> Self {
        Self { marks: Marks::new(token), runs, lives }
    }

    /// A program ended and said so, and what it printed did not come to its end.
    fn is_cut(&self) -> bool {
        self.runs == Runs::Program && self.marks.is_cut()
    }
}

/// Looks for what a program has started.
pub(crate) type Lives = Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// What a wrapper runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// A script of POD's own: no mark tells its beginning, and it leaves nothing behind that could print.
    Script,
    /// Someone's program.
    Program,
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
    let (stdin, input) = if setup.stdin { Some(input::stdin(frame::stdin)).unzip() } else { (None, None) };
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
    let mut outputs = Outputs { out, err, wrapper: setup.wrapper, report: &report };
    let ask = Notify::new();
    let end = {
        let sending = send(&mut sink, input, sizes, setup.stdin_end, &shared, &ask);
        let receiving = receive(stream, &mut outputs, &shared, &ask);
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
    wrapper: Option<Wrapper>,
    report: &'a watch::Sender<Progress>,
}

enum Turn {
    Read,
    Back,
}

impl Outputs<'_> {
    /// Whether the mark of a program's beginning is still to come. Nobody can read its output before.
    fn is_unbegun(&self) -> bool {
        let progress = self.report.borrow();
        self.wrapper.as_ref().is_some_and(|w| w.runs == Runs::Program)
            && progress.first.is_none()
            && progress.end.is_none()
    }

    /// Waits until a message may be read: none of its outputs is full, or someone waits for the other, or for
    /// the program to begin: of its two outputs, the one with the mark may come last.
    async fn turn(&mut self, shared: &Lock) -> Turn {
        let unbegun = self.is_unbegun();
        poll_fn(|cx| {
            if self.out.wants_back(cx) || self.err.as_ref().is_some_and(|e| e.wants_back(cx)) {
                return Poll::Ready(Turn::Back);
            }
            let room = self.out.has_room(cx) && self.err.as_ref().is_none_or(|e| e.has_room(cx));
            let awaited = self.out.is_awaited(cx) || self.err.as_ref().is_some_and(|e| e.is_awaited(cx));
            let read = room || awaited || unbegun || with(shared, |s| s.flush);
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
        let (data, marks) = match &mut self.wrapper {
            Some(wrapper) => wrapper.marks.told(data),
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

    /// What comes on stdout beside a stderr.
    async fn unmarked(&mut self, data: Bytes) {
        let data = match &mut self.wrapper {
            Some(wrapper) if wrapper.runs == Runs::Program => wrapper.marks.on_stdout(data),
            _ => data,
        };
        self.give(data, false).await;
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
            Incoming::Stdout(data) => self.unmarked(data).await,
            Incoming::Stderr(data) => self.marked(data).await,
            Incoming::Status(_) | Incoming::Nothing => {}
        }
    }

    /// The server's word on the end, unless it is a success that only the wrapper's mark could prove.
    fn believed(&self, end: End) -> End {
        let proves = self.wrapper.is_some() && self.err.is_some();
        if proves && end == End::Exited(ExitStatus::Exited(0)) && self.report.borrow().end.is_none() {
            return End::Lost("the connection to the pod's node was lost".into());
        }
        end
    }

    /// The stream ended without a status. A program whose mark of its end came may have printed more than came:
    /// who reads that must not take it for whole.
    fn cut(&self, why: &str) {
        if self.report.borrow().end.is_some() {
            for outlet in std::iter::once(&self.out).chain(&self.err) {
                outlet.fail(std::io::ErrorKind::ConnectionAborted, why.into());
            }
        }
    }

    /// Serves what is in files to those who still read.
    async fn drain(&mut self) {
        if let Some((rest, of_stdout)) = self.wrapper.as_mut().map(|w| w.marks.rest()) {
            self.give(rest, self.err.is_some()).await;
            self.give(of_stdout, false).await;
        }
        if self.err.is_some() && self.wrapper.as_ref().is_some_and(Wrapper::is_cut) {
            // Servers that are busy close the stream before all of it was read (seen with containerd 1.6).
            self.out.fail(std::io::ErrorKind::ConnectionAborted, "the end of the program's output was lost".into());
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

/// Whether a stream that is silent still has something to bring.
#[derive(Debug)]
struct Doubt {
    /// Since when nothing came of the program; while nobody takes what came, time stands still.
    since: Instant,
    /// How long that may last.
    pause: Duration,
    /// How long it may last once the program was found.
    next: Duration,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    None,
    /// The server was asked whether it still listens.
    Asked,
    /// It does.
    Answered,
    /// Nothing of the program was found: its end may be on its way.
    NotFound,
}

/// What follows from a silence.
enum Silence {
    Wait,
    Ask,
    Over(&'static str),
}

impl Doubt {
    fn begin(&mut self, pause: Duration, step: Step) {
        (self.since, self.pause, self.step) = (Instant::now(), pause, step);
    }

    /// What is to be done when the pause is over.
    async fn settle(&mut self, outputs: &Outputs<'_>) -> Silence {
        // A terminal's program has no wrapper any more, by which it could be found, nor a mark of its end.
        let Some(wrapper) = outputs.wrapper.as_ref().filter(|_| outputs.err.is_some()) else {
            self.begin(SELDOM, Step::None);
            return Silence::Wait;
        };
        let ended = outputs.report.borrow().end.is_some();
        match (self.step, wrapper.runs) {
            (Step::None, Runs::Program) if ended => {
                self.begin(STUCK, Step::Asked);
                return Silence::Ask;
            }
            (Step::None, Runs::Script) if ended => return Silence::Over("the server did not tell the script's end"),
            (Step::Asked, _) => return Silence::Over("the server does not listen any more"),
            _ => {}
        }
        if (wrapper.lives)().await {
            self.begin(self.next, Step::None);
            self.next = (self.next * 2).min(SELDOM);
        } else if self.step == Step::NotFound {
            return Silence::Over("the server did not tell the program's end");
        } else {
            self.begin(STUCK, Step::NotFound);
        }
        Silence::Wait
    }
}

async fn receive<St>(mut stream: St, outputs: &mut Outputs<'_>, shared: &Lock, ask: &Notify) -> End
where
    St: Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    let mut ended: Option<End> = None;
    let mut doubt = Doubt { since: Instant::now(), pause: UNBEGUN, next: QUIET, step: Step::None };
    loop {
        let before = Instant::now();
        if let Turn::Back = outputs.turn(shared).await {
            outputs.take_back().await;
            doubt.since += before.elapsed();
            continue;
        }
        // From now on: a reader that is slow has held this up until here.
        doubt.since += before.elapsed();
        let next = match &ended {
            Some(end) => match timeout(REST, stream.next()).await {
                Ok(next) => next,
                Err(_) => return end.clone(),
            },
            None => match timeout_at(doubt.since + doubt.pause, stream.next()).await {
                Ok(next) => next,
                Err(_) => match doubt.settle(outputs).await {
                    Silence::Wait => continue,
                    Silence::Ask => {
                        ask.notify_one();
                        continue;
                    }
                    // How it ended may have been told before.
                    Silence::Over(why) => return End::Lost(why.into()),
                },
            },
        };
        if doubt.step == Step::Asked {
            doubt.begin(STUCK, Step::Answered);
        }
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
                    incoming => {
                        outputs.take(incoming).await;
                        let script = outputs.wrapper.as_ref().is_some_and(|w| w.runs == Runs::Script);
                        let pause = match (outputs.report.borrow().end.is_some(), script) {
                            (true, true) => REST,
                            (true, false) => LATE,
                            (false, _) => QUIET,
                        };
                        doubt.begin(pause, Step::None);
                    }
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
            None => {
                outputs.cut(&lost);
                End::Lost(lost)
            }
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
    ask: &Notify,
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
            () = ask.notified() => sink.send(Message::Ping(Bytes::new())).await,
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

//! The helper's work: the command's streams and status, requests of clients, the end.

use super::setup::Container;
use crate::cgroup::Group;
use crate::events;
use crate::logs::LogWriter;
use crate::readiness::register;
use crate::store::{Ended, Status, write_json};
use crate::wire::{Channel, Control, Failure, FromInit, Program, Reply, Request, Stage, Start, ToInit};
use pod_core::{Event, EventKind, ExitStatus, LogStream, WorkloadName};
use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, Notify, oneshot, watch};
use tokio::task::{JoinHandle, spawn_local};

/// How much is read of a stream at once.
const BUFFER: usize = 64 << 10;
/// A command of the image's own that ends sooner than this gets a note.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A program that PID 1 was asked to run.
struct Running {
    /// Told once: its terminal's master, if it has one, or why it could not be run.
    started: Option<oneshot::Sender<Result<Option<OwnedFd>, Failure>>>,
    /// How it ended.
    ended: watch::Sender<Option<ExitStatus>>,
}

/// Where the command's output goes besides the log, and where its stdin comes from.
struct Streams {
    /// Attached clients' ends for stdout and stderr.
    sinks: [Mutex<Vec<pipe::Sender>>; 2],
    /// The command's stdin, while it is open.
    stdin: Mutex<Option<Stdin>>,
    /// The terminal's master, if the command has one.
    master: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
}

enum Stdin {
    Pipe(pipe::Sender),
    Terminal(Rc<AsyncFd<OwnedFd>>),
}

struct Helper {
    start: Start,
    name: WorkloadName,
    container: Container,
    init: Channel,
    next: Cell<u32>,
    programs: RefCell<HashMap<u32, Running>>,
    /// The number of the command, while it runs or after.
    command: Cell<u32>,
    /// How the command ended.
    ended: watch::Sender<Option<Ended>>,
    status: RefCell<Status>,
    streams: Streams,
    log: RefCell<LogWriter>,
    /// How many of the command's streams are still open.
    pumps: watch::Sender<usize>,
    /// Wakes the main loop for the end.
    finish: Notify,
    notes: RefCell<Vec<String>>,
}

type Shared = Rc<Helper>;

fn io_failure(what: &str, e: &io::Error) -> Failure {
    Failure { stage: Stage::File, errno: e.raw_os_error().unwrap_or_default(), what: format!("{what}: {e}") }
}

/// Runs the command and serves until the end of the workload.
pub(super) async fn serve(start: Start, container: Container, starter: OwnedFd) -> io::Result<()> {
    let starter = Channel::new(starter)?;
    let (helper, listener, _alive) = match begin(start, container) {
        Ok(begun) => begun,
        Err(failed) => {
            let (failure, container) = *failed;
            container.destroy();
            // The starter may be gone; then there is nobody to tell.
            let _ = starter.send(&Reply::Failed(failure), &[]).await;
            return Ok(());
        }
    };
    let hearing = spawn_local(hear(helper.clone()));
    match run_command(&helper).await {
        Ok(()) => {
            let pid = helper.status.borrow().pid;
            let _ = starter.send(&Reply::Started(pid), &[]).await;
        }
        Err(failure) => {
            // A program that can't be executed ends like one in a shell: with 126 or 127.
            let code = exec_code(&failure);
            if let Some(code) = code {
                helper.ended.send_replace(Some(ended(&helper, ExitStatus::Exited(code), vec![failure.what.clone()])));
            }
            finish(&helper, code.is_some()).await;
            let _ = starter.send(&Reply::Failed(failure), &[]).await;
            return Ok(());
        }
    }
    drop(starter);
    helper.container.reap_makers();
    let mut clients: Vec<JoinHandle<()>> = Vec::new();
    loop {
        tokio::select! {
            client = accept(&listener) => match client {
                Ok(channel) => {
                    clients.retain(|c| !c.is_finished());
                    clients.push(spawn_local(client_of(helper.clone(), channel)));
                }
                Err(e) => eprintln!("pod helper: accept: {e}"),
            },
            () = helper.finish.notified() => break,
        }
    }
    finish(&helper, true).await;
    // Who holds a program hears of its end before the socket closes.
    let told = async {
        for client in clients {
            let _ = client.await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), told).await;
    hearing.abort();
    Ok(())
}

type Begun = (Shared, AsyncFd<OwnedFd>, std::fs::File);

fn begin(start: Start, container: Container) -> Result<Begun, Box<(Failure, Container)>> {
    let prepare = || -> Result<_, Failure> {
        let alive = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(start.run.join("alive"))
            .map_err(|e| io_failure("open the lock", &e))?;
        flock(&alive, FlockOperation::NonBlockingLockExclusive).map_err(|e| io_failure("take the lock", &e.into()))?;
        let listener = listener(&start).map_err(|e| io_failure("listen on the helper's socket", &e))?;
        let log = LogWriter::open(&start.dir.join("log")).map_err(|e| io_failure("open the log", &e))?;
        let name = WorkloadName::new(start.name.clone()).map_err(|e| io_failure("name", &io::Error::other(e)))?;
        Ok((alive, listener, log, name))
    };
    let (alive, listener, log, name) = match prepare() {
        Ok(made) => made,
        Err(failure) => return Err(Box::new((failure, container))),
    };
    let init = match rustix::io::fcntl_dupfd_cloexec(&container.init, 3).map_err(io::Error::from).and_then(Channel::new)
    {
        Ok(init) => init,
        Err(e) => return Err(Box::new((io_failure("reach PID 1", &e), container))),
    };
    let status = Status {
        init: container.pid.as_raw_nonzero().get() as u32,
        pid: None,
        started: jiff::Timestamp::now(),
        ended: None,
    };
    let helper = Helper {
        name,
        init,
        next: Cell::new(1),
        programs: RefCell::default(),
        command: Cell::new(0),
        ended: watch::Sender::new(None),
        status: RefCell::new(status),
        streams: Streams { sinks: Default::default(), stdin: Mutex::default(), master: RefCell::default() },
        log: RefCell::new(log),
        pumps: watch::Sender::new(0),
        finish: Notify::new(),
        notes: RefCell::default(),
        start,
        container,
    };
    Ok((Rc::new(helper), listener, alive))
}

/// The helper's socket. It is bound through the folder's descriptor, because a socket's path has room
/// for 107 bytes only (unix(7)).
fn listener(start: &Start) -> io::Result<AsyncFd<OwnedFd>> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    let _ = std::fs::remove_file(start.run.join("helper"));
    let dir = crate::client::open_dir(&start.run)?;
    bind(&socket, &SocketAddrUnix::new(crate::client::socket_path(&dir))?)?;
    listen(&socket, 128)?;
    register(socket, Interest::READABLE)
}

async fn accept(listener: &AsyncFd<OwnedFd>) -> io::Result<Channel> {
    let socket =
        listener.async_io(Interest::READABLE, |fd| Ok(rustix::net::accept_with(fd, SocketFlags::CLOEXEC)?)).await?;
    Channel::new(socket)
}

/// 127 for a program that is not there, 126 for one that can't be executed (POSIX, Shell 2.8.2).
fn exec_code(failure: &Failure) -> Option<u8> {
    (failure.stage == Stage::Exec).then_some(if failure.errno == libc::ENOENT { 127 } else { 126 })
}

fn ended(helper: &Helper, status: ExitStatus, notes: Vec<String>) -> Ended {
    Ended { status, finished: jiff::Timestamp::now(), started: helper.status.borrow().started, notes }
}

fn wait_status(raw: i32) -> ExitStatus {
    if libc::WIFSIGNALED(raw) {
        ExitStatus::Signaled(libc::WTERMSIG(raw) as u8)
    } else if libc::WIFEXITED(raw) {
        ExitStatus::Exited(libc::WEXITSTATUS(raw) as u8)
    } else {
        ExitStatus::Unknown
    }
}

/// Hears PID 1.
async fn hear(helper: Shared) {
    loop {
        match helper.init.recv::<FromInit>().await {
            Ok(Some((FromInit::Ready, _))) => {}
            Ok(Some((FromInit::Started { id }, mut fds))) => {
                if let Some(p) = helper.programs.borrow_mut().get_mut(&id)
                    && let Some(started) = p.started.take()
                {
                    let _ = started.send(Ok(fds.pop()));
                }
            }
            Ok(Some((FromInit::Failed { id, failure }, _))) => {
                if let Some(mut p) = helper.programs.borrow_mut().remove(&id)
                    && let Some(started) = p.started.take()
                {
                    let _ = started.send(Err(failure));
                }
            }
            Ok(Some((FromInit::Exited { id, status }, _))) => {
                if let Some(p) = helper.programs.borrow_mut().remove(&id) {
                    p.ended.send_replace(Some(wait_status(status)));
                }
            }
            Ok(None) => break,
            Err(e) => {
                eprintln!("pod helper: PID 1: {e}");
                break;
            }
        }
    }
    // PID 1 is gone, and with it all that ran.
    let lost: Vec<Running> = helper.programs.borrow_mut().drain().map(|(_, p)| p).collect();
    for mut p in lost {
        if let Some(started) = p.started.take() {
            let _ = started.send(Err(Failure { stage: Stage::Container, errno: 0, what: "the workload ended".into() }));
        }
        p.ended.send_replace(Some(ExitStatus::Signaled(9)));
    }
    helper.finish.notify_one();
}

/// Asks PID 1 to run a program in a cgroup of its own.
async fn launch(
    helper: &Helper,
    program: Program,
    stdio: Vec<OwnedFd>,
) -> Result<(u32, Group, Option<OwnedFd>, watch::Receiver<Option<ExitStatus>>), Failure> {
    let id = helper.next.get();
    helper.next.set(id.wrapping_add(1));
    let unified = helper.container.cgroups.unified.as_ref().ok_or_else(|| Failure {
        stage: Stage::Container,
        errno: 0,
        what: "this kernel has no version 2 control groups (CONFIG_CGROUPS)".into(),
    })?;
    let path = unified.join(helper.start.cgroup.trim_start_matches('/')).join(format!("program-{id}"));
    let group = Group::create(path).map_err(|e| io_failure("make a control group", &e))?;
    let dir = group.open().map_err(|e| io_failure("open a control group", &e))?;
    let (started, answer) = oneshot::channel();
    let (ended, exit) = watch::channel(None);
    helper.programs.borrow_mut().insert(id, Running { started: Some(started), ended });
    let mut fds: Vec<BorrowedFd<'_>> = vec![dir.as_fd()];
    fds.extend(stdio.iter().map(AsFd::as_fd));
    if let Err(e) = helper.init.send(&ToInit::Run { id, cgroup: true, program }, &fds).await {
        helper.programs.borrow_mut().remove(&id);
        return Err(io_failure("ask PID 1", &e));
    }
    drop(stdio);
    match answer.await {
        Ok(Ok(master)) => Ok((id, group, master, exit)),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure { stage: Stage::Container, errno: 0, what: "the workload ended".into() }),
    }
}

fn new_pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| io_failure("make a pipe", &e.into()))
}

/// Starts the command and the pumps of its streams.
async fn run_command(helper: &Shared) -> Result<(), Failure> {
    let program = helper.start.program.clone();
    let pipe_io = |e: io::Error| io_failure("make a pipe", &e);
    let (mut stdio, mut outputs) = (Vec::new(), Vec::new());
    if program.tty.is_none() {
        if helper.start.stdin {
            let (read, write) = new_pipe()?;
            stdio.push(read);
            *helper.streams.stdin.lock().await =
                Some(Stdin::Pipe(pipe::Sender::from_owned_fd(write).map_err(pipe_io)?));
        } else {
            let null = rustix::fs::open(
                "/dev/null",
                rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            );
            stdio.push(null.map_err(|e| io_failure("open /dev/null", &e.into()))?);
        }
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let (read, write) = new_pipe()?;
            stdio.push(write);
            outputs.push((stream, pipe::Receiver::from_owned_fd(read).map_err(pipe_io)?));
        }
    }
    let (id, group, master, mut exit) = launch(helper, program, stdio).await?;
    helper.command.set(id);
    for (stream, output) in outputs {
        helper.pumps.send_modify(|n| *n += 1);
        spawn_local(pump_pipe(helper.clone(), stream, output));
    }
    if let Some(master) = master {
        let master = register(master, Interest::READABLE | Interest::WRITABLE);
        let master = Rc::new(master.map_err(|e| io_failure("take the terminal", &e))?);
        *helper.streams.stdin.lock().await = Some(Stdin::Terminal(master.clone()));
        *helper.streams.master.borrow_mut() = Some(master.clone());
        helper.pumps.send_modify(|n| *n += 1);
        spawn_local(pump_terminal(helper.clone(), master));
    }
    {
        let mut status = helper.status.borrow_mut();
        status.pid = group.pids().first().copied();
        status.started = jiff::Timestamp::now();
        status.ended = None;
        let written = std::fs::write(helper.start.dir.join("started"), b"")
            .and_then(|()| write_json(&helper.start.run.join("status.json"), &*status));
        if let Err(e) = written {
            group.kill();
            return Err(io_failure("write the status", &e));
        }
    }
    helper.ended.send_replace(None);
    events::emit(&helper.start.journal, &Event::now(helper.name.clone(), EventKind::Started));
    let watcher = helper.clone();
    spawn_local(async move {
        let status = exit.wait_for(Option::is_some).await.ok().and_then(|s| *s).unwrap_or(ExitStatus::Unknown);
        command_ended(&watcher, status).await;
        drop(group);
    });
    Ok(())
}

async fn command_ended(helper: &Shared, status: ExitStatus) {
    let begun = helper.status.borrow().started;
    let mut notes = std::mem::take(&mut *helper.notes.borrow_mut());
    let short =
        jiff::Timestamp::now().duration_since(begun) < jiff::SignedDuration::try_from(AT_ONCE).unwrap_or_default();
    if helper.start.own_command && short && !helper.start.stdin && helper.start.program.tty.is_none() {
        notes.push(format!(
            "the image's own command ({}) ended at once; give a command, or -i or -t for its input, or --keep-alive",
            String::from_utf8_lossy(helper.start.program.argv.first().map_or(&[][..], |a| a))
        ));
    }
    let ended = ended(helper, status, notes);
    helper.ended.send_replace(Some(ended.clone()));
    if helper.start.keep_alive {
        helper.streams.stdin.lock().await.take();
        helper.status.borrow_mut().ended = Some(ended);
        if let Err(e) = write_json(&helper.start.run.join("status.json"), &*helper.status.borrow()) {
            eprintln!("pod helper: write the status: {e}");
        }
        events::emit(&helper.start.journal, &Event::now(helper.name.clone(), EventKind::Exited(status)));
    } else {
        helper.finish.notify_one();
    }
}

/// The end of the workload: everything in it is killed, the streams are drained, the exit status is
/// written, the control groups go.
async fn finish(helper: &Shared, keep_status: bool) {
    helper.container.kill();
    if let Err(e) = silence(helper).await {
        eprintln!("pod helper: bring the workload's ports down: {e}");
    }
    drained(helper).await;
    let ended = helper.ended.borrow().clone().unwrap_or_else(|| ended(helper, ExitStatus::Signaled(9), Vec::new()));
    let status = ended.status;
    let told_before = helper.status.borrow().ended.is_some();
    if keep_status && let Err(e) = write_json(&helper.start.dir.join("exit.json"), &ended) {
        eprintln!("pod helper: write the exit status: {e}");
    }
    helper.ended.send_replace(Some(ended));
    if keep_status && !told_before {
        events::emit(&helper.start.journal, &Event::now(helper.name.clone(), EventKind::Exited(status)));
    }
    for sinks in &helper.streams.sinks {
        sinks.lock().await.clear();
    }
    helper.container.clean();
    let _ = std::fs::remove_file(helper.start.run.join("helper"));
}

/// Waits until the command's streams are at their end. A client that does not read what it is attached
/// to must not hold the end back for ever.
async fn drained(helper: &Helper) {
    let mut open = helper.pumps.subscribe();
    let _ = tokio::time::timeout(Duration::from_secs(2), open.wait_for(|n| *n == 0)).await;
}

/// A workload that does not run does not answer.
async fn silence(helper: &Helper) -> pod_core::Result<()> {
    let (state_dir, run_dir, instance) = helper.start.engine.clone();
    if !state_dir.join("net").exists() {
        return Ok(());
    }
    let net = pod_net::HostNet::open(pod_net::HostNetConfig { state_dir, run_dir, instance }).await?;
    net.set_running(&helper.name, false).await
}

async fn pump_pipe(helper: Shared, stream: LogStream, mut output: pipe::Receiver) {
    let mut buf = vec![0; BUFFER];
    loop {
        match output.read(&mut buf).await {
            Ok(0) | Err(_) => break,
            Ok(n) => pass_on(&helper, stream, &buf[..n]).await,
        }
    }
    helper.pumps.send_modify(|n| *n -= 1);
}

async fn pump_terminal(helper: Shared, master: Rc<AsyncFd<OwnedFd>>) {
    let mut buf = vec![0; BUFFER];
    loop {
        let read = master.async_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, &mut buf)?)).await;
        match read {
            // EIO: no process has the terminal open any more (pty(7)).
            Ok(0) | Err(_) => break,
            Ok(n) => pass_on(&helper, LogStream::Stdout, &buf[..n]).await,
        }
    }
    helper.pumps.send_modify(|n| *n -= 1);
}

/// Writes a piece of output to the log and to whoever is attached. A slow client holds the command
/// back, as a slow pipe does; one that is gone is forgotten.
async fn pass_on(helper: &Helper, stream: LogStream, data: &[u8]) {
    let mut sinks = helper.streams.sinks[usize::from(stream == LogStream::Stderr)].lock().await;
    if let Err(e) = helper.log.borrow_mut().write(stream, data) {
        let note = format!("the log is incomplete: {e}");
        let mut notes = helper.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    let mut i = 0;
    while i < sinks.len() {
        if sinks[i].write_all(data).await.is_ok() {
            i += 1;
        } else {
            sinks.swap_remove(i);
        }
    }
}

/// Serves one client: one request, then what it says about it.
async fn client_of(helper: Shared, channel: Channel) {
    let served = match channel.recv::<Request>().await {
        Ok(Some((Request::Exec(program), fds))) => exec(&helper, &channel, program, fds).await,
        Ok(Some((Request::Attach { stdin, tty }, fds))) => attach(&helper, &channel, stdin, tty, fds).await,
        Ok(Some((Request::Stop { signal, grace_ms }, _))) => {
            stop(&helper, &channel, signal, Duration::from_millis(grace_ms)).await
        }
        Ok(Some((Request::Rerun, _))) => rerun(&helper, &channel).await,
        Ok(None) => Ok(()),
        Err(e) => Err(e),
    };
    if let Err(e) = served
        && !matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
    {
        eprintln!("pod helper: a client: {e}");
    }
}

async fn exec(helper: &Shared, channel: &Channel, program: Program, fds: Vec<OwnedFd>) -> io::Result<()> {
    let (id, group, master, mut exit) = match launch(helper, program, fds).await {
        Ok(launched) => launched,
        Err(failure) => return channel.send(&Reply::Failed(failure), &[]).await,
    };
    let master_fd: Vec<BorrowedFd<'_>> = master.iter().map(AsFd::as_fd).collect();
    let pid = None;
    let told = channel.send(&Reply::Started(pid), &master_fd).await;
    drop(master);
    if told.is_err() {
        kill_group(&group).await;
        return told;
    }
    let mut ended = false;
    loop {
        tokio::select! {
            status = exit.wait_for(Option::is_some), if !ended => {
                ended = true;
                let status = status.ok().and_then(|s| *s).unwrap_or(ExitStatus::Unknown);
                channel.send(&Reply::Exited(status), &[]).await?;
            }
            control = channel.recv::<Control>() => match control {
                Ok(Some((Control::Signal(signal), _))) => {
                    helper.init.send(&ToInit::Signal { id, signal }, &[]).await?;
                    channel.send(&Reply::Done(false), &[]).await?;
                }
                Ok(Some((Control::Kill, _))) => {
                    kill_group(&group).await;
                    channel.send(&Reply::Done(true), &[]).await?;
                }
                Ok(Some((Control::Detach, _))) => {
                    channel.send(&Reply::Done(false), &[]).await?;
                    break;
                }
                Ok(Some((Control::Resize(..), _))) => channel.send(&Reply::Nothing, &[]).await?,
                Ok(None) | Err(_) => {
                    // The client let the program go without detaching: it was dropped or died. What an
                    // ended program left in the background stays.
                    if !ended {
                        kill_group(&group).await;
                    }
                    return Ok(());
                }
            },
        }
    }
    // Let go: the group stays as long as the program does.
    let _ = exit.wait_for(Option::is_some).await;
    Ok(())
}

/// Kills all processes of a group and waits until they are gone.
async fn kill_group(group: &Group) {
    group.kill();
    for _ in 0..5_000 {
        if group.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    eprintln!("pod helper: a killed program does not end");
}

async fn attach(
    helper: &Shared,
    channel: &Channel,
    stdin: bool,
    tty: Option<(u16, u16)>,
    fds: Vec<OwnedFd>,
) -> io::Result<()> {
    let mut fds = fds.into_iter();
    let input = if stdin { fds.next() } else { None };
    if let Some((rows, cols)) = tty {
        resize(helper, rows, cols);
    }
    // Under both locks no output passes, so the log's length tells exactly what came before.
    {
        let mut sinks = [helper.streams.sinks[0].lock().await, helper.streams.sinks[1].lock().await];
        for sinks in &mut sinks {
            if let Some(fd) = fds.next() {
                sinks.push(pipe::Sender::from_owned_fd(fd)?);
            }
        }
        let length = helper.log.borrow().length();
        channel.send(&Reply::Attached(length), &[]).await?;
    }
    let gone = Rc::new(Cell::new(false));
    let feeding = input.map(|fd| spawn_local(feed(helper.clone(), fd, gone.clone())));
    let mut ended = helper.ended.subscribe();
    let mut told = false;
    let result = loop {
        tokio::select! {
            end = ended.wait_for(Option::is_some), if !told => {
                told = true;
                let status = end.ok().and_then(|e| e.as_ref().map(|e| e.status)).unwrap_or(ExitStatus::Unknown);
                // What the command printed last passes first.
                if !helper.start.keep_alive {
                    drained(helper).await;
                }
                channel.send(&Reply::Exited(status), &[]).await?;
            }
            control = channel.recv::<Control>() => match control {
                Ok(Some((Control::Signal(signal), _))) => {
                    helper.init.send(&ToInit::Signal { id: helper.command.get(), signal }, &[]).await?;
                    channel.send(&Reply::Done(false), &[]).await?;
                }
                Ok(Some((Control::Kill, _))) => {
                    helper.init.send(&ToInit::Signal { id: helper.command.get(), signal: 9 }, &[]).await?;
                    channel.send(&Reply::Done(true), &[]).await?;
                }
                Ok(Some((Control::Resize(rows, cols), _))) => {
                    resize(helper, rows, cols);
                    channel.send(&Reply::Done(false), &[]).await?;
                }
                Ok(Some((Control::Detach, _))) => {
                    channel.send(&Reply::Done(false), &[]).await?;
                    break Ok(());
                }
                Ok(None) | Err(_) => break Ok(()),
            },
        }
    };
    gone.set(true);
    if let Some(feeding) = feeding {
        // Let what was written already through; then the end of the client's pipe is no end of stdin.
        let _ = tokio::time::timeout(Duration::from_millis(100), feeding).await;
    }
    result
}

/// Passes an attached client's input to the command, and its end, unless the client just went away.
async fn feed(helper: Shared, input: OwnedFd, gone: Rc<Cell<bool>>) {
    let Ok(mut input) = pipe::Receiver::from_owned_fd(input) else { return };
    let mut buf = vec![0; BUFFER];
    loop {
        let n = match input.read(&mut buf).await {
            Ok(n) => n,
            Err(_) => return,
        };
        let mut stdin = helper.streams.stdin.lock().await;
        if n == 0 {
            drop(stdin);
            // A client that dies closes its socket along with its pipe.
            tokio::time::sleep(Duration::from_millis(20)).await;
            if !gone.get() {
                let mut stdin = helper.streams.stdin.lock().await;
                if matches!(&*stdin, Some(Stdin::Pipe(_))) {
                    *stdin = None;
                }
            }
            return;
        }
        let written = match &mut *stdin {
            Some(Stdin::Pipe(pipe)) => pipe.write_all(&buf[..n]).await,
            Some(Stdin::Terminal(master)) => write_all(&master.clone(), &buf[..n]).await,
            None => return,
        };
        if written.is_err() {
            *stdin = None;
            return;
        }
    }
}

async fn write_all(fd: &AsyncFd<OwnedFd>, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let n = fd.async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, data)?)).await?;
        data = &data[n..];
    }
    Ok(())
}

fn resize(helper: &Helper, rows: u16, cols: u16) {
    if let Some(master) = &*helper.streams.master.borrow() {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        // A terminal that is gone has no size.
        let _ = rustix::termios::tcsetwinsize(master.get_ref(), size);
    }
}

async fn stop(helper: &Shared, channel: &Channel, signal: u8, grace: Duration) -> io::Result<()> {
    let mut ended = helper.ended.subscribe();
    let mut killed = false;
    if ended.borrow().is_none() {
        if !grace.is_zero() {
            helper.init.send(&ToInit::Signal { id: helper.command.get(), signal }, &[]).await?;
        }
        killed = tokio::time::timeout(grace, ended.wait_for(Option::is_some)).await.is_err();
    }
    channel.send(&Reply::Done(killed), &[]).await?;
    helper.finish.notify_one();
    Ok(())
}

async fn rerun(helper: &Shared, channel: &Channel) -> io::Result<()> {
    if helper.ended.borrow().is_none() {
        return channel.send(&Reply::Nothing, &[]).await;
    }
    match run_command(helper).await {
        Ok(()) => {
            let pid = helper.status.borrow().pid;
            channel.send(&Reply::Started(pid), &[]).await
        }
        Err(failure) => channel.send(&Reply::Failed(failure), &[]).await,
    }
}

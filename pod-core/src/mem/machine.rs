//! One simulated workload: its files, its processes, its state.

use super::fs::{Cred, FsError, ROOT, SharedFs};
use super::image::MemImage;
use super::output::CommandOutput;
use super::pipe::{ClosingWriter, PipeWriter, pipe};
use super::plane::Port;
use super::ports::Listeners;
use super::process::{AttachDriver, CpuShare, Env, ExecDriver, Launch, Proc, launch};
use super::procfs;
use super::program::{Programs, find_user};
use super::stdio::{ProgramInput, ProgramOutput, Sink, Source};
use super::tty::{Tty, discipline};
use crate::{
    AttachRequest, Capabilities, Error, ErrorKind, Event, EventKind, ExecRequest, ExitStatus, LogStream, Process,
    Result, StartOutcome, State, StopOutcome, StopRequest, Streams, TtySize, Workload, WorkloadName,
};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::sync::{broadcast, watch};

/// The group of the workload's own command.
const COMMAND: u64 = 0;

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) name: WorkloadName,
    pub(super) fs: SharedFs,
    pub(super) output: Arc<CommandOutput>,
    pub(super) programs: Arc<Programs>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) cpu: Option<Arc<CpuShare>>,
    pub(super) memory_limit: Option<u64>,
    /// Bytes of memory that programs hold.
    pub(super) memory: AtomicU64,
    image: MemImage,
    ports: Mutex<Vec<Port>>,
    pub(super) listeners: Listeners,
    state: Mutex<MachineState>,
    /// Counts ends of processes; who waits for an end waits on it.
    ended: watch::Sender<u64>,
}

#[derive(Debug)]
struct MachineState {
    workload: Workload,
    procs: BTreeMap<u32, Arc<Proc>>,
    next_pid: u32,
    next_group: u64,
    main: Option<Arc<Proc>>,
    /// The command's stdin, while it is open for attach.
    stdin: Option<Arc<Mutex<Option<PipeWriter>>>>,
    tty: Option<std::sync::Weak<Tty>>,
    /// The workload is to end, also one that is kept alive.
    closing: bool,
    removed: bool,
}

impl Machine {
    /// A workload that was never started.
    pub(super) fn new(
        workload: Workload,
        image: MemImage,
        programs: Arc<Programs>,
        events: broadcast::Sender<Event>,
        disk: Option<u64>,
    ) -> Result<Self> {
        let fs = image.build(disk, &programs.names(), &workload.spec).map_err(|e| {
            e.at("make the workload's file system", b"/").with_context("workload", workload.name().as_str())
        })?;
        let limits = workload.spec.limits;
        Ok(Self {
            name: workload.name().clone(),
            fs: SharedFs::new(fs),
            output: Arc::new(CommandOutput::new()),
            programs,
            events,
            cpu: limits.cpus.map(|c| Arc::new(CpuShare::new(c))),
            memory_limit: limits.memory,
            memory: AtomicU64::new(0),
            image,
            ports: Mutex::default(),
            listeners: Listeners::default(),
            state: Mutex::new(MachineState {
                workload,
                procs: BTreeMap::new(),
                next_pid: 1,
                next_group: COMMAND + 1,
                main: None,
                stdin: None,
                tty: None,
                closing: false,
                removed: false,
            }),
            ended: watch::Sender::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, MachineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, kind: EventKind) {
        // No one may be watching.
        let _ = self.events.send(Event::now(self.name.clone(), kind));
    }

    /// The workload as it is, without attachments.
    pub(super) fn workload(&self) -> Workload {
        let mut workload = self.lock().workload.clone();
        if self.output.is_cut() {
            workload.notes.push("the oldest part of the log was dropped".into());
        }
        workload
    }

    /// Its interfaces as the data plane has them.
    pub(super) fn ports(&self) -> Vec<Port> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows the interfaces inside.
    pub(super) fn set_ports(&self, ports: Vec<Port>) {
        let mut there = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if *there != ports {
            procfs::network(&self.fs, &ports);
            *there = ports;
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.lock().workload.state.is_running()
    }

    /// Tells the user something, once.
    pub(super) fn note(&self, note: &str) {
        let mut state = self.lock();
        if !state.workload.notes.iter().any(|n| n == note) {
            state.workload.notes.push(note.into());
        }
    }

    fn gone(&self) -> Error {
        Error::not_found("workload", self.name.as_str()).with_hint("it was removed; `pod ps -a` lists those there are")
    }

    fn not_running(&self, state: &State) -> Error {
        Error::new(ErrorKind::WrongState, format!("the workload does not run: it is {}", state.word()))
            .with_context("workload", self.name.as_str())
            .with_hint("`pod start` starts it")
    }

    /// Refuses what needs the workload to exist still.
    pub(super) fn present(&self) -> Result<()> {
        if self.lock().removed { Err(self.gone()) } else { Ok(()) }
    }

    pub(super) fn proc(&self, pid: u32) -> Option<Arc<Proc>> {
        self.lock().procs.get(&pid).cloned()
    }

    /// Every process, by its number.
    pub(super) fn procs(&self) -> Vec<Arc<Proc>> {
        self.lock().procs.values().cloned().collect()
    }

    /// Takes a new process in.
    pub(super) fn add_proc(&self, make: impl FnOnce(u32) -> Arc<Proc>) -> Result<Arc<Proc>, String> {
        let mut state = self.lock();
        if let Some(limit) = state.workload.spec.limits.pids
            && state.procs.len() >= limit as usize
        {
            return Err("Resource temporarily unavailable: the limit of processes is reached".into());
        }
        let pid = state.next_pid;
        state.next_pid += 1;
        let proc = make(pid);
        state.procs.insert(pid, proc.clone());
        if proc.group == COMMAND && state.main.is_none() {
            state.main = Some(proc.clone());
            self.emit(EventKind::Started);
        }
        Ok(proc)
    }

    /// Takes an ended process out; the command's end ends the workload unless it is kept alive.
    pub(super) fn proc_ended(&self, proc: &Proc, status: ExitStatus) {
        procfs::hide(&self.fs, proc.pid);
        let held = proc.memory.swap(0, Ordering::SeqCst);
        if held > 0 {
            let before = self.memory.fetch_sub(held, Ordering::SeqCst);
            procfs::memory(&self.fs, before - held);
        }
        {
            let mut state = self.lock();
            state.procs.remove(&proc.pid);
            let is_main = state.main.as_ref().is_some_and(|m| m.pid == proc.pid);
            if is_main {
                self.output.end();
                state.stdin = None;
                if state.workload.spec.keep_alive && !state.closing {
                    state.workload.state = State::Running { command: Some(status) };
                    state.workload.finished = Some(jiff::Timestamp::now());
                    self.emit(EventKind::Exited(status));
                } else {
                    state.closing = true;
                }
            }
            proc.publish(status);
            self.settle(&mut state);
        }
        self.ended.send_modify(|n| *n += 1);
    }

    /// Ends the workload when its command has ended and it is not to go on.
    fn settle(&self, state: &mut MachineState) {
        let State::Running { command } = state.workload.state else { return };
        let Some(status) = state.main.as_ref().and_then(|m| m.status()) else { return };
        if !state.closing {
            return;
        }
        for proc in state.procs.values() {
            proc.deliver(9);
        }
        if state.procs.is_empty() {
            state.main = None;
            state.workload.state = State::Exited(status);
            if command.is_none() {
                state.workload.finished = Some(jiff::Timestamp::now());
                self.emit(EventKind::Exited(status));
            }
        }
    }

    fn environment(&self, state: &MachineState, home: Option<String>, tty: bool) -> Env {
        let mut env: Env = BTreeMap::new();
        env.insert(b"HOSTNAME".into(), self.name.as_str().into());
        env.insert(b"HOME".into(), home.unwrap_or_else(|| "/".into()).into());
        if tty {
            env.insert(b"TERM".into(), b"xterm".into());
        }
        for (key, value) in self.image.env.iter().chain(&state.workload.spec.env) {
            env.insert(key.clone().into(), value.clone().into());
        }
        env
    }

    fn prepare(&self, argv: Vec<Vec<u8>>, cwd: Option<&str>, user: Option<&str>, tty: bool) -> Result<Launch> {
        let (spec, env) = {
            let state = self.lock();
            (state.workload.spec.clone(), self.environment(&state, None, tty))
        };
        let user = user.or(spec.user.as_deref()).or(self.image.user.as_deref());
        let (cred, home) = match user {
            None => (Cred::default(), Some("/root".into())),
            Some(user) => {
                find_user(self, user).map_err(|why| Error::invalid(why).with_context("workload", self.name.as_str()))?
            }
        };
        let mut env = env;
        if let Some(home) = home {
            env.insert(b"HOME".into(), home.into());
        }
        let cwd = cwd.or(spec.cwd.as_deref()).or(self.image.cwd.as_deref()).unwrap_or("/");
        let fs = self.fs.lock();
        let dir = fs.lookup(cred, ROOT, cwd.as_bytes(), true).and_then(|ino| fs.path_of(ino).map(|_| ino));
        let dir = dir.map_err(|e: FsError| {
            Error::new(ErrorKind::CommandFailed, format!("the working directory can't be entered: {}", e.text()))
                .with_context("cwd", cwd)
                .with_exit_code(126)
        })?;
        drop(fs);
        Ok(Launch {
            argv,
            env,
            cwd: dir,
            cred,
            stdin: ProgramInput(Source::Empty),
            stdout: ProgramOutput(Sink::Null),
            stderr: ProgramOutput(Sink::Null),
            tty: None,
            group: COMMAND,
            parent: 0,
            umask: 0o022,
        })
    }

    /// Starts the command.
    pub(super) fn start(self: &Arc<Self>) -> Result<StartOutcome> {
        let (spec, running, removed) = {
            let state = self.lock();
            (state.workload.spec.clone(), state.workload.state.is_running(), state.removed)
        };
        if removed {
            return Err(self.gone());
        }
        if running {
            return Ok(StartOutcome::AlreadyRunning);
        }
        let argv = if spec.command.is_empty() { self.image.command.clone() } else { spec.command.clone() };
        let program: Vec<u8> = argv.first().cloned().unwrap_or_default().into();
        let failed = |code: u8| {
            let mut state = self.lock();
            state.workload.state = State::Exited(ExitStatus::Exited(code));
            state.workload.finished = Some(jiff::Timestamp::now());
        };
        let boot = uuid::Uuid::new_v4().to_string();
        procfs::machine(&mut self.fs.lock(), self.name.as_str(), &spec.limits, &boot)
            .map_err(|e| e.at("start the workload", b"/proc"))?;
        let argv = argv.into_iter().map(String::into_bytes).collect();
        let mut order =
            self.prepare(argv, None, None, spec.tty).inspect_err(|e| failed(e.exit_code().unwrap_or(126)))?;
        let tty = spec.tty.then(|| Tty::with_log(TtySize::default(), self.output.clone()));
        let mut typing = None;
        let writer = spec.stdin.then(|| {
            let (reader, writer) = pipe();
            if tty.is_some() {
                let (programs_end, typed) = pipe();
                order.stdin = ProgramInput(Source::Tty(programs_end));
                typing = Some((reader, typed));
            } else {
                order.stdin = ProgramInput(Source::Pipe(reader));
            }
            writer
        });
        match &tty {
            Some(tty) => {
                order.stdout = ProgramOutput(Sink::Tty(tty.clone()));
                order.stderr = order.stdout.clone();
            }
            None => {
                order.stdout = ProgramOutput(Sink::Log(self.output.clone(), LogStream::Stdout));
                order.stderr = ProgramOutput(Sink::Log(self.output.clone(), LogStream::Stderr));
            }
        }
        order.tty.clone_from(&tty);
        {
            // Taken as running before the program can end.
            let mut state = self.lock();
            if state.workload.state.is_running() {
                return Ok(StartOutcome::AlreadyRunning);
            }
            state.workload.state = State::Running { command: None };
            state.workload.started = Some(jiff::Timestamp::now());
            state.workload.finished = None;
            state.closing = false;
            state.main = None;
            state.next_pid = 1;
            state.stdin = writer.map(|w| Arc::new(Mutex::new(Some(w))));
            state.tty = tty.as_ref().map(Arc::downgrade);
        }
        self.output.begin();
        match launch(self, order) {
            Ok(_) => {
                if let (Some(tty), Some((typed, programs_end))) = (tty, typing) {
                    let machine = self.clone();
                    let signal = move |s: crate::Signal| machine.signal_group(COMMAND, s.get());
                    tokio::spawn(discipline(Arc::downgrade(&tty), typed, programs_end, signal));
                }
                Ok(StartOutcome::Started)
            }
            Err(e) => {
                self.output.end();
                failed(e.code);
                Err(e.to_error(&program).with_context("workload", self.name.as_str()))
            }
        }
    }

    /// Signals every process of a group.
    pub(super) fn signal_group(&self, group: u64, n: u8) {
        for proc in self.procs().iter().filter(|p| p.group == group) {
            proc.deliver(n);
        }
    }

    /// Kills every process of a group, also those started meanwhile, and waits until there is none.
    pub(super) async fn kill_group(&self, group: u64) {
        self.drain(|s| {
            let mut left = false;
            for proc in s.procs.values().filter(|p| p.group == group) {
                proc.deliver(9);
                left = true;
            }
            !left
        })
        .await;
    }

    async fn drain(&self, mut done: impl FnMut(&MachineState) -> bool) {
        let mut ended = self.ended.subscribe();
        loop {
            ended.borrow_and_update();
            if done(&self.lock()) {
                return;
            }
            if ended.changed().await.is_err() {
                return; // `self` holds the sender
            }
        }
    }

    /// Kills everything in the workload and waits until nothing runs.
    pub(super) async fn kill_all(&self) {
        {
            let mut state = self.lock();
            state.closing = true;
            self.settle(&mut state);
        }
        self.drain(|s| {
            for proc in s.procs.values() {
                proc.deliver(9);
            }
            !s.workload.state.is_running() && s.procs.is_empty()
        })
        .await;
    }

    /// As [`Machine::kill_all`]; does nothing to one that does not run.
    pub(super) async fn kill_all_running(&self) {
        if self.is_running() {
            self.kill_all().await;
        }
    }

    /// Asks the command to end, and kills the workload when the grace is over.
    pub(super) async fn stop(&self, request: &StopRequest) -> Result<StopOutcome> {
        {
            let mut state = self.lock();
            if state.removed {
                return Err(self.gone());
            }
            if !state.workload.state.is_running() {
                return Ok(StopOutcome::AlreadyStopped);
            }
            state.closing = true;
            self.settle(&mut state);
            if let Some(main) = &state.main
                && !request.grace.is_zero()
            {
                main.deliver(request.signal.get());
            }
        }
        if !request.grace.is_zero() {
            let ended = self.drain(|s| !s.workload.state.is_running());
            if tokio::time::timeout(request.grace, ended).await.is_ok() {
                return Ok(StopOutcome::Stopped);
            }
        }
        let ended_already = !self.is_running();
        self.kill_all().await;
        Ok(if ended_already { StopOutcome::Stopped } else { StopOutcome::Killed })
    }

    /// Marks the workload as removed; `false` when it was before.
    pub(super) fn mark_removed(&self) -> bool {
        !std::mem::replace(&mut self.lock().removed, true)
    }

    /// Fails unless the workload runs.
    pub(super) fn running(&self) -> Result<()> {
        let state = self.lock();
        if state.removed {
            return Err(self.gone());
        }
        if !state.workload.state.is_running() || state.closing {
            return Err(self.not_running(&state.workload.state));
        }
        Ok(())
    }

    /// Starts a program beside the command.
    pub(super) fn exec(self: &Arc<Self>, request: ExecRequest, capabilities: Capabilities) -> Result<Process> {
        let group = {
            let mut state = self.lock();
            if state.removed {
                return Err(self.gone());
            }
            if !state.workload.state.is_running() || state.closing {
                return Err(self.not_running(&state.workload.state));
            }
            state.next_group += 1;
            state.next_group
        };
        let program = request.argv.first().cloned().unwrap_or_default();
        let mut order =
            self.prepare(request.argv, request.cwd.as_deref(), request.user.as_deref(), request.tty.is_some())?;
        order.env.extend(request.env);
        order.group = group;
        let mut streams = Streams::default();
        let mut typing = None;
        let mut tty = None;
        if let Some(size) = request.tty {
            let (terminal, out) = Tty::with_pipe(size);
            streams.stdout = Some(Box::pin(out));
            order.stdout = ProgramOutput(Sink::Tty(terminal.clone()));
            order.stderr = order.stdout.clone();
            order.tty = Some(terminal.clone());
            let (programs_end, typed) = pipe();
            order.stdin = ProgramInput(Source::Tty(programs_end));
            if request.stdin {
                let (reader, writer) = pipe();
                streams.stdin = Some(Box::pin(ClosingWriter(Some(writer))));
                typing = Some((reader, typed));
            }
            tty = Some(Arc::downgrade(&terminal));
        } else {
            let (out_reader, out) = pipe();
            let (err_reader, err) = pipe();
            streams.stdout = Some(Box::pin(out_reader));
            streams.stderr = Some(Box::pin(err_reader));
            (order.stdout, order.stderr) = (ProgramOutput(Sink::Pipe(out)), ProgramOutput(Sink::Pipe(err)));
            if request.stdin {
                let (reader, writer) = pipe();
                order.stdin = ProgramInput(Source::Pipe(reader));
                streams.stdin = Some(Box::pin(ClosingWriter(Some(writer))));
            }
        }
        let proc =
            launch(self, order).map_err(|e| e.to_error(&program).with_context("workload", self.name.as_str()))?;
        if let (Some((typed, programs_end)), Some(tty)) = (typing, tty.clone()) {
            let machine = self.clone();
            let signal = move |s: crate::Signal| machine.signal_group(group, s.get());
            tokio::spawn(discipline(tty, typed, programs_end, signal));
        }
        Ok(Process::spawn(
            Box::new(ExecDriver { machine: self.clone(), capabilities, proc, tty }),
            streams,
            request.timeout,
        ))
    }

    /// The streams of the command.
    pub(super) fn attach(self: &Arc<Self>, request: &AttachRequest) -> Result<Process> {
        let state = self.lock();
        if state.removed {
            return Err(self.gone());
        }
        let Some(main) = state.main.clone().filter(|m| m.status().is_none()) else {
            return Err(self.not_running(&state.workload.state));
        };
        let mut streams = Streams::default();
        if request.stdin {
            let Some(stdin) = state.stdin.clone() else {
                return Err(Error::new(ErrorKind::WrongState, "the workload's command has no open stdin")
                    .with_context("workload", self.name.as_str())
                    .with_hint("make the workload with `stdin` to write to its command"));
            };
            streams.stdin = Some(Box::pin(AttachedStdin(stdin)));
        }
        if let (Some(size), Some(tty)) = (request.tty, state.tty.as_ref().and_then(std::sync::Weak::upgrade)) {
            tty.resize(size);
        }
        let [out, err] = self.output.attach(request.logs);
        streams.stdout = Some(Box::pin(out));
        if !state.workload.spec.tty {
            streams.stderr = Some(Box::pin(err));
        }
        Ok(Process::attached(Box::new(AttachDriver { proc: main, tty: state.tty.clone() }), streams))
    }

    /// Adds a line to a file of the workload's `/etc`, or writes it anew.
    pub(super) fn write_etc(&self, path: &[u8], text: &str) -> Result<()> {
        self.fs.lock().put(path, 0o644, text.as_bytes()).map_err(|e| e.at("write the workload's file", path))
    }
}

/// The command's stdin, as one of those attached holds it: shutting it down closes it for all, dropping
/// it only lets go.
struct AttachedStdin(Arc<Mutex<Option<PipeWriter>>>);

impl AsyncWrite for AttachedStdin {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(writer) => Pin::new(writer).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Poll::Ready(Ok(()))
    }
}

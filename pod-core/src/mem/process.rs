//! Simulated processes: how they are started, signalled and ended.

use super::fs::{Cred, FsError, Ino, NodeKind};
use super::machine::Machine;
use super::procfs;
use super::program::{Program, ProgramContext};
use super::stdio::{ProgramInput, ProgramOutput};
use super::tty::Tty;
use crate::{Capabilities, Capability, Error, ErrorKind, ExitStatus, ProcessDriver, Result, Signal, TtySize};
use async_trait::async_trait;
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use tokio::sync::{mpsc, watch};

/// The environment of a program.
pub(super) type Env = BTreeMap<Vec<u8>, Vec<u8>>;
/// A simulated program's course.
pub(super) type ProgramFuture = Pin<Box<dyn Future<Output = ExitStatus> + Send>>;

/// A set of signals, bit n-1 for signal n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SignalSet(u64);

impl SignalSet {
    pub(super) fn has(self, n: u8) -> bool {
        self.0 & (1 << (n - 1)) != 0
    }
    pub(super) fn set(&mut self, n: u8, on: bool) {
        self.0 = if on { self.0 | (1 << (n - 1)) } else { self.0 & !(1 << (n - 1)) };
    }
}

#[derive(Debug)]
struct Signals {
    ignored: SignalSet,
    caught: SignalSet,
    sender: mpsc::UnboundedSender<u8>,
}

/// One running program.
#[derive(Debug)]
pub(super) struct Proc {
    pub(super) pid: u32,
    pub(super) parent: u32,
    /// What it belongs to: 0 is the workload's own command, any other an exec.
    pub(super) group: u64,
    argv: Mutex<Vec<Vec<u8>>>,
    pub(super) cred: Cred,
    signals: Mutex<Signals>,
    /// The signal that ends it.
    fatal: watch::Sender<Option<u8>>,
    done: watch::Sender<Option<ExitStatus>>,
    stopped: Mutex<Stopped>,
    /// Bytes of memory it holds.
    pub(super) memory: AtomicU64,
}

#[derive(Debug, Default)]
struct Stopped {
    now: bool,
    waker: Option<Waker>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proc {
    /// Delivers a signal: what it does by itself is what signal(7) lists, without core dumps.
    pub(super) fn deliver(&self, n: u8) {
        if n == 9 {
            return self.end(n);
        }
        if n == 18 {
            let mut stopped = locked(&self.stopped);
            stopped.now = false;
            if let Some(waker) = stopped.waker.take() {
                waker.wake();
            }
        }
        if n == 19 {
            locked(&self.stopped).now = true;
            return;
        }
        let (ignored, caught) = {
            let signals = locked(&self.signals);
            // The receiver may have gone with the program: then there is nothing left to tell.
            let caught = signals.caught.has(n) && signals.sender.send(n).is_ok();
            (signals.ignored.has(n), caught)
        };
        if ignored || caught {
            return;
        }
        match n {
            17 | 18 | 23 | 28 => {}
            20..=22 => locked(&self.stopped).now = true,
            _ => self.end(n),
        }
    }

    fn end(&self, n: u8) {
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            fatal.get_or_insert(n);
            first
        });
    }

    /// Says what a signal does from now on.
    pub(super) fn dispose(&self, n: u8, disposition: Disposition) {
        let mut signals = locked(&self.signals);
        signals.ignored.set(n, disposition == Disposition::Ignore);
        signals.caught.set(n, disposition == Disposition::Catch);
    }

    fn ignored(&self) -> SignalSet {
        locked(&self.signals).ignored
    }

    /// What it runs.
    pub(super) fn argv(&self) -> Vec<Vec<u8>> {
        locked(&self.argv).clone()
    }

    /// It runs something else from now on.
    pub(super) fn rename(&self, argv: &[Vec<u8>]) {
        *locked(&self.argv) = argv.to_vec();
    }

    /// Whether a signal is about to end it.
    pub(super) fn is_doomed(&self) -> bool {
        self.fatal.borrow().is_some()
    }

    /// How it ended, if it did.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        *self.done.borrow()
    }

    pub(super) fn is_stopped(&self) -> bool {
        locked(&self.stopped).now
    }

    /// Waits for the end.
    pub(super) async fn wait(&self) -> ExitStatus {
        let mut done = self.done.subscribe();
        let status = done.wait_for(Option::is_some).await.ok().and_then(|s| *s);
        status.unwrap_or(ExitStatus::Unknown)
    }

    pub(super) fn publish(&self, status: ExitStatus) {
        self.done.send_replace(Some(status));
    }
}

/// What a program does with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    Default,
    Ignore,
    Catch,
}

/// What a program is started with.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub(super) argv: Vec<Vec<u8>>,
    pub(super) env: Env,
    pub(super) cwd: Ino,
    pub(super) cred: Cred,
    pub(super) stdin: ProgramInput,
    pub(super) stdout: ProgramOutput,
    pub(super) stderr: ProgramOutput,
    pub(super) tty: Option<Arc<Tty>>,
    pub(super) group: u64,
    pub(super) parent: u32,
    pub(super) umask: u32,
}

/// Why a program could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LaunchError {
    /// 126 or 127, as a shell gives it.
    pub(super) code: u8,
    pub(super) text: String,
}

impl LaunchError {
    fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(super) fn to_error(&self, program: &[u8]) -> Error {
        let e = Error::new(ErrorKind::CommandFailed, format!("the program can't be run: {}", self.text))
            .with_context("program", program.escape_ascii().to_string())
            .with_exit_code(self.code);
        match self.code {
            127 => e.with_hint("look for it in the workload with `ls`; a program without a '/' is looked up in PATH"),
            _ => e.with_hint("the file needs execute permission, and to be a program or a script"),
        }
    }
}

const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds the file a program's name means, as execvp(3) does, and the path it was found by.
pub(super) fn find_file(machine: &Machine, launch: &Launch) -> Result<(Ino, Vec<u8>), LaunchError> {
    let name = launch.argv.first().map(Vec::as_slice).unwrap_or_default();
    let fs = machine.fs.lock();
    let check = |ino: Ino| match fs.may_execute(launch.cred, ino) {
        Ok(()) => Ok(ino),
        Err(_) if matches!(fs.node(ino).map(|n| &n.kind), Ok(NodeKind::Dir(_))) => {
            Err(LaunchError::new(126, "it is a directory"))
        }
        Err(e) => Err(LaunchError::new(126, e.text())),
    };
    if name.contains(&b'/') {
        return match fs.lookup(launch.cred, launch.cwd, name, true) {
            Ok(ino) => check(ino).map(|ino| (ino, name.to_vec())),
            Err(e @ (FsError::Denied | FsError::Loop)) => Err(LaunchError::new(126, e.text())),
            Err(e) => Err(LaunchError::new(127, e.text())),
        };
    }
    let path = launch.env.get(b"PATH".as_slice()).map_or(DEFAULT_PATH, Vec::as_slice);
    let mut denied = None;
    for dir in path.split(|b| *b == b':').filter(|_| !name.is_empty()) {
        let whole = [if dir.is_empty() { b"." } else { dir }, b"/", name].concat();
        if let Ok(ino) = fs.lookup(launch.cred, launch.cwd, &whole, true) {
            match check(ino) {
                Ok(ino) => return Ok((ino, whole)),
                Err(e) => denied = Some(e),
            }
        }
    }
    Err(denied.unwrap_or_else(|| LaunchError::new(127, "not found in PATH")))
}

/// Finds the program, following `#!` lines; the argv is changed as execve(2) does for a script.
pub(super) fn resolve(machine: &Machine, launch: &mut Launch) -> Result<Program, LaunchError> {
    for _ in 0..5 {
        let (ino, path) = find_file(machine, launch)?;
        let mut head = [0u8; 256];
        let n = machine.fs.lock().read_at(ino, 0, &mut head).map_err(|e| LaunchError::new(126, e.text()))?;
        let line = head[..n].split(|b| *b == b'\n').next().unwrap_or_default();
        let Some(rest) = line.strip_prefix(b"#!") else {
            return Err(LaunchError::new(126, "Exec format error"));
        };
        if let Some(name) = rest.strip_prefix(b"mem:") {
            let name = String::from_utf8_lossy(name).into_owned();
            return machine
                .programs
                .get(&name)
                .ok_or_else(|| LaunchError::new(126, format!("no program {name:?} was given to the backend")));
        }
        let rest = rest.trim_ascii();
        let cut = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let (interpreter, argument) = (&rest[..cut], rest[cut..].trim_ascii());
        let mut argv = vec![interpreter.to_vec()];
        if !argument.is_empty() {
            argv.push(argument.to_vec());
        }
        argv.push(path);
        argv.extend(launch.argv.drain(..).skip(1));
        launch.argv = argv;
    }
    Err(LaunchError::new(126, FsError::Loop.text()))
}

/// Starts a program by its argv.
pub(super) fn launch(machine: &Arc<Machine>, mut launch: Launch) -> Result<Arc<Proc>, LaunchError> {
    let ignored = parent_ignores(machine, &launch);
    let program = resolve(machine, &mut launch)?;
    let (proc, context) = admit(machine, launch, ignored)?;
    run(machine.clone(), proc.clone(), move || program.run(context));
    Ok(proc)
}

/// Starts what `course` does, as a process like any other: a part of a shell.
pub(super) fn launch_course(
    machine: &Arc<Machine>,
    launch: Launch,
    course: impl FnOnce(ProgramContext) -> ProgramFuture + Send + 'static,
) -> Result<Arc<Proc>, LaunchError> {
    let ignored = parent_ignores(machine, &launch);
    let (proc, context) = admit(machine, launch, ignored)?;
    run(machine.clone(), proc.clone(), move || course(context));
    Ok(proc)
}

fn parent_ignores(machine: &Machine, launch: &Launch) -> SignalSet {
    machine.proc(launch.parent).map(|p| p.ignored()).unwrap_or_default()
}

fn admit(
    machine: &Arc<Machine>,
    launch: Launch,
    ignored: SignalSet,
) -> Result<(Arc<Proc>, ProgramContext), LaunchError> {
    let (sender, signals) = mpsc::unbounded_channel();
    let proc = machine
        .add_proc(|pid| {
            Arc::new(Proc {
                pid,
                parent: launch.parent,
                group: launch.group,
                argv: Mutex::new(launch.argv.clone()),
                cred: launch.cred,
                signals: Mutex::new(Signals { ignored, caught: SignalSet::default(), sender }),
                fatal: watch::Sender::new(None),
                done: watch::Sender::new(None),
                stopped: Mutex::default(),
                memory: AtomicU64::new(0),
            })
        })
        .map_err(|text| LaunchError::new(126, text))?;
    procfs::show(&machine.fs, &proc);
    let context = ProgramContext::new(machine.clone(), proc.clone(), launch, signals);
    Ok((proc, context))
}

/// Publishes the end of a process, whatever ended it: also the loss of its runtime.
struct EndGuard {
    machine: Arc<Machine>,
    proc: Arc<Proc>,
    status: ExitStatus,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.machine.proc_ended(&self.proc, self.status);
    }
}

fn run(machine: Arc<Machine>, proc: Arc<Proc>, course: impl FnOnce() -> ProgramFuture + Send + 'static) {
    let guard = EndGuard { machine: machine.clone(), proc: proc.clone(), status: ExitStatus::Unknown };
    tokio::spawn(async move {
        let mut guard = guard;
        let mut fatal = proc.fatal.subscribe();
        let killed = async move {
            match fatal.wait_for(Option::is_some).await.ok().and_then(|n| *n) {
                Some(n) => n,
                None => std::future::pending().await, // `proc` holds the sender
            }
        };
        let status = {
            let course = async move { course().await };
            let metered = Metered { course: Box::pin(course), proc, machine, sleep: None };
            tokio::select! {
                biased;
                n = killed => ExitStatus::Signaled(n),
                end = AssertUnwindSafe(metered).catch_unwind() => end.unwrap_or_else(|_| {
                    tracing::warn!("a simulated program panicked");
                    ExitStatus::Signaled(6)
                }),
            }
        };
        guard.status = status;
    });
}

/// A program under its workload's CPU limit, and stopped while SIGSTOP holds.
struct Metered<F> {
    course: Pin<Box<F>>,
    proc: Arc<Proc>,
    machine: Arc<Machine>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<F: Future<Output = ExitStatus>> Future for Metered<F> {
    type Output = ExitStatus;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ExitStatus> {
        {
            let mut stopped = locked(&self.proc.stopped);
            if stopped.now {
                stopped.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let Some(cpu) = self.machine.cpu.clone() else {
            return self.course.as_mut().poll(cx);
        };
        while let Some(until) = cpu.throttled() {
            let sleep = self.sleep.insert(Box::pin(tokio::time::sleep_until(until)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        let begun = std::time::Instant::now();
        let end = self.course.as_mut().poll(cx);
        cpu.charge(begun.elapsed());
        end
    }
}

/// A share of CPU time per period, as the `cpu.max` of a control group.
#[derive(Debug)]
pub(super) struct CpuShare {
    quota: std::time::Duration,
    used: Mutex<(tokio::time::Instant, std::time::Duration)>,
}

const PERIOD: std::time::Duration = std::time::Duration::from_millis(100);

impl CpuShare {
    pub(super) fn new(cpus: f64) -> Self {
        Self { quota: PERIOD.mul_f64(cpus), used: Mutex::new((tokio::time::Instant::now(), std::time::Duration::ZERO)) }
    }

    /// Until when nothing may run; what was used beyond a period's quota counts for the next ones.
    fn throttled(&self) -> Option<tokio::time::Instant> {
        let mut used = locked(&self.used);
        let now = tokio::time::Instant::now();
        while used.0 + PERIOD <= now && !used.1.is_zero() {
            used.0 += PERIOD;
            used.1 = used.1.saturating_sub(self.quota);
        }
        if used.1.is_zero() {
            used.0 = used.0.max(now);
        }
        (used.1 >= self.quota).then(|| used.0 + PERIOD)
    }

    fn charge(&self, time: std::time::Duration) {
        locked(&self.used).1 += time;
    }
}

/// What a [`crate::Process`] of an exec holds.
#[derive(Debug)]
pub(super) struct ExecDriver {
    pub(super) machine: Arc<Machine>,
    pub(super) capabilities: Capabilities,
    pub(super) proc: Arc<Proc>,
    /// Weak: the terminal's output ends when the last program on it has.
    pub(super) tty: Option<Weak<Tty>>,
}

fn resize(tty: Option<&Weak<Tty>>, size: TtySize) -> Result<()> {
    if size.rows == 0 || size.cols == 0 {
        return Err(Error::invalid("a terminal has at least one row and one column"));
    }
    match tty {
        Some(tty) => {
            if let Some(tty) = tty.upgrade() {
                tty.resize(size);
            }
            Ok(())
        }
        None => Err(Error::new(ErrorKind::WrongState, "the program has no terminal")),
    }
}

impl ExecDriver {
    /// What no layer can refuse: it is asked of the process itself.
    fn need(&self, capability: Capability) -> Result<()> {
        if self.capabilities.has(capability) {
            return Ok(());
        }
        Err(Error::unsupported(capability.lacking())
            .with_operation("exec")
            .with_context("capability", capability.path()))
    }
}

#[async_trait]
impl ProcessDriver for ExecDriver {
    async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.proc.wait().await)
    }

    async fn resize(&mut self, size: TtySize) -> Result<()> {
        self.need(Capability::ExecResize)?;
        resize(self.tty.as_ref(), size)?;
        self.machine.signal_group(self.proc.group, 28);
        Ok(())
    }

    async fn signal(&mut self, signal: Signal) -> Result<()> {
        self.need(Capability::ExecSignal)?;
        self.proc.deliver(signal.get());
        Ok(())
    }

    async fn kill(&mut self) -> Result<()> {
        self.need(Capability::ExecKill)?;
        self.machine.kill_group(self.proc.group).await;
        Ok(())
    }

    async fn detach(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a [`crate::Process`] of an attach holds: the workload's own command.
#[derive(Debug)]
pub(super) struct AttachDriver {
    pub(super) proc: Arc<Proc>,
    /// Weak: the terminal's output ends when the last program on it has.
    pub(super) tty: Option<Weak<Tty>>,
}

#[async_trait]
impl ProcessDriver for AttachDriver {
    async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.proc.wait().await)
    }

    async fn resize(&mut self, size: TtySize) -> Result<()> {
        resize(self.tty.as_ref(), size)?;
        self.proc.deliver(28);
        Ok(())
    }

    async fn signal(&mut self, signal: Signal) -> Result<()> {
        self.proc.deliver(signal.get());
        Ok(())
    }

    async fn kill(&mut self) -> Result<()> {
        self.proc.deliver(9);
        self.proc.wait().await;
        Ok(())
    }

    async fn detach(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Adds to what a process holds, and gives the workload's new total.
pub(super) fn hold_memory(machine: &Machine, proc: &Proc, bytes: u64) -> u64 {
    proc.memory.fetch_add(bytes, Ordering::SeqCst);
    let total = machine.memory.fetch_add(bytes, Ordering::SeqCst) + bytes;
    procfs::memory(&machine.fs, total);
    procfs::show(&machine.fs, proc);
    total
}

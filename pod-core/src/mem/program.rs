//! Programs of the simulated workloads: the built-in ones, and those that users write.

use super::fs::{Cred, FsError, Ino, OpenHow, ROOT};
use super::machine::Machine;
use super::process::{Disposition, Launch, LaunchError, Proc, ProgramFuture, hold_memory, launch};
use super::stdio::{OpenFile, ProgramInput, ProgramOutput, Sink, Source};
use crate::{ExitStatus, Result, Signal, TtySize, WorkloadName};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

type Start = dyn Fn(ProgramContext) -> ProgramFuture + Send + Sync;

/// A program that can be run.
#[derive(Clone)]
pub(super) struct Program(Arc<Start>);

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

impl Program {
    pub(super) fn new<F, Fut>(program: F) -> Self
    where
        F: Fn(ProgramContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ExitStatus> + Send + 'static,
    {
        Self(Arc::new(move |context| Box::pin(program(context))))
    }

    pub(super) fn run(&self, context: ProgramContext) -> ProgramFuture {
        (self.0)(context)
    }
}

/// The programs a backend knows, by name.
#[derive(Debug, Default)]
pub(super) struct Programs(RwLock<BTreeMap<String, Program>>);

impl Programs {
    pub(super) fn get(&self, name: &str) -> Option<Program> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn insert(&self, name: impl Into<String>, program: Program) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), program);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// What a simulated program is given: its arguments, environment, streams, files and signals.
///
/// A program ends when its future does, and at once when a signal kills it: then the future is dropped
/// where it waits. A future that computes for long without waiting can't be killed meanwhile; call
/// [`ProgramContext::checkpoint`] in loops.
#[derive(Debug)]
pub struct ProgramContext {
    /// Its stdin.
    pub stdin: ProgramInput,
    /// Its stdout.
    pub stdout: ProgramOutput,
    /// Its stderr.
    pub stderr: ProgramOutput,
    pub(super) launch: Launch,
    pub(super) machine: Arc<Machine>,
    pub(super) proc: Arc<Proc>,
    signals: mpsc::UnboundedReceiver<u8>,
}

impl ProgramContext {
    pub(super) fn new(
        machine: Arc<Machine>,
        proc: Arc<Proc>,
        mut launch: Launch,
        signals: mpsc::UnboundedReceiver<u8>,
    ) -> Self {
        // The streams live in the public fields alone, so that dropping those closes them.
        let stdin = std::mem::replace(&mut launch.stdin, ProgramInput(Source::Empty));
        let stdout = std::mem::replace(&mut launch.stdout, ProgramOutput(Sink::Null));
        let stderr = std::mem::replace(&mut launch.stderr, ProgramOutput(Sink::Null));
        Self { stdin, stdout, stderr, launch, machine, proc, signals }
    }

    /// The workload it runs in.
    #[must_use]
    pub fn workload(&self) -> &WorkloadName {
        &self.machine.name
    }

    /// Its argv, the program's name first.
    #[must_use]
    pub fn argv(&self) -> &[Vec<u8>] {
        &self.launch.argv
    }

    /// Its arguments after the program's name, as text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        self.launch.argv.iter().skip(1).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
    }

    /// An environment variable.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&[u8]> {
        self.launch.env.get(name.as_bytes()).map(Vec::as_slice)
    }

    /// Its process id in the workload.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.proc.pid
    }

    /// The user it runs as.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.launch.cred.uid
    }

    /// The size of its terminal; `None` when it has none.
    #[must_use]
    pub fn tty_size(&self) -> Option<TtySize> {
        self.launch.tty.as_ref().map(|t| t.size())
    }

    /// Prints to stdout.
    ///
    /// # Errors
    /// A broken pipe, a full disk.
    pub async fn print(&mut self, bytes: impl AsRef<[u8]> + Send) -> io::Result<()> {
        self.stdout.write_all(bytes.as_ref()).await
    }

    /// Prints to stderr.
    ///
    /// # Errors
    /// As [`ProgramContext::print`].
    pub async fn eprint(&mut self, bytes: impl AsRef<[u8]> + Send) -> io::Result<()> {
        self.stderr.write_all(bytes.as_ref()).await
    }

    /// Prints `NAME: MESSAGE` to stderr, and gives `code` as the status to end with.
    pub async fn fail(&mut self, code: u8, message: impl fmt::Display + Send) -> ExitStatus {
        let name = self.launch.argv.first().map(|a| String::from_utf8_lossy(a).into_owned()).unwrap_or_default();
        // Who closed stderr does not want to know.
        let _ = self.eprint(format!("{name}: {message}\n")).await;
        ExitStatus::Exited(code)
    }

    /// Reads a whole file of the workload; a relative path is from the working directory.
    ///
    /// # Errors
    /// As open(2) and read(2).
    pub fn read_file(&self, path: impl AsRef<[u8]>) -> io::Result<Vec<u8>> {
        let mut fs = self.machine.fs.lock();
        let how = OpenHow::read();
        let ino = fs.open(self.launch.cred, self.launch.cwd, path.as_ref(), how).map_err(FsError::io)?;
        let size = fs.node(ino).map(super::fs::Node::size).unwrap_or_default();
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let read = fs.read_at(ino, 0, &mut bytes);
        fs.release(ino);
        bytes.truncate(read.map_err(FsError::io)?);
        Ok(bytes)
    }

    /// Writes a whole file of the workload, replacing what it held.
    ///
    /// # Errors
    /// As open(2) and write(2).
    pub fn write_file(&self, path: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let mut fs = self.machine.fs.lock();
        let how = OpenHow::write(false, self.launch.umask);
        let ino = fs.open(self.launch.cred, self.launch.cwd, path.as_ref(), how).map_err(FsError::io)?;
        let written = fs.write_at(ino, 0, bytes.as_ref());
        fs.release(ino);
        written.map_err(FsError::io)
    }

    /// Runs a program with this one's streams, and waits for its end.
    ///
    /// # Errors
    /// `CommandFailed` with exit code 126 or 127 when it can't be run.
    pub async fn run<I: IntoIterator<Item = S> + Send, S: Into<Vec<u8>>>(&self, argv: I) -> Result<ExitStatus> {
        let argv: Vec<Vec<u8>> = argv.into_iter().map(Into::into).collect();
        let name = argv.first().cloned().unwrap_or_default();
        let child = self.spawn(argv).map_err(|e| e.to_error(&name))?;
        Ok(child.wait().await)
    }

    /// Starts a program with this one's streams.
    pub(super) fn spawn(&self, argv: Vec<Vec<u8>>) -> Result<Arc<Proc>, LaunchError> {
        launch(&self.machine, self.child(argv))
    }

    /// What a child of this program is started with, unless changed.
    pub(super) fn child(&self, argv: Vec<Vec<u8>>) -> Launch {
        Launch {
            argv,
            parent: self.proc.pid,
            stdin: self.stdin.clone(),
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            ..self.launch.clone()
        }
    }

    /// Catches a signal from now on: [`ProgramContext::signal`] gives it.
    pub fn catch(&self, signal: Signal) {
        self.proc.dispose(signal.get(), Disposition::Catch);
    }

    /// Ignores a signal from now on, and so do the programs it starts.
    pub fn ignore(&self, signal: Signal) {
        self.proc.dispose(signal.get(), Disposition::Ignore);
    }

    /// The next signal that was caught. Cancel-safe.
    pub async fn signal(&mut self) -> Signal {
        loop {
            match self.signals.recv().await.map(Signal::try_from) {
                Some(Ok(signal)) => return signal,
                Some(Err(_)) => {}
                None => std::future::pending().await, // the process holds the sender
            }
        }
    }

    /// A signal that was caught and not asked for yet.
    pub(super) fn pending_signal(&mut self) -> Option<u8> {
        self.signals.try_recv().ok()
    }

    /// Holds this many more bytes of memory until the program ends. Beyond the workload's limit the
    /// program is killed, as by the kernel's out-of-memory killer.
    pub fn allocate(&self, bytes: u64) {
        let total = hold_memory(&self.machine, &self.proc, bytes);
        if self.machine.memory_limit.is_some_and(|limit| total > limit) {
            self.machine.note("a program was killed: the memory limit was reached");
            self.proc.deliver(9);
        }
    }

    /// Lets others run: makes a long loop killable.
    pub async fn checkpoint(&self) {
        if self.proc.is_doomed() {
            std::future::pending::<()>().await;
        }
        tokio::task::consume_budget().await;
    }

    /// A context for another program in the same process, which shares these streams.
    pub(super) fn within(
        &self,
        argv: Vec<Vec<u8>>,
        stdin: &ProgramInput,
        stdout: &ProgramOutput,
        stderr: &ProgramOutput,
    ) -> Self {
        let launch = Launch { argv, ..self.launch.clone() };
        Self {
            stdin: stdin.clone(),
            stdout: stdout.clone(),
            stderr: stderr.clone(),
            launch,
            machine: self.machine.clone(),
            proc: self.proc.clone(),
            signals: mpsc::unbounded_channel().1,
        }
    }

    /// The context of what takes this program's place: its signals go there.
    pub(super) fn become_program(&mut self, launch: Launch) -> Self {
        let signals = std::mem::replace(&mut self.signals, mpsc::unbounded_channel().1);
        self.stdin = ProgramInput(Source::Empty);
        self.stdout = ProgramOutput(Sink::Null);
        self.stderr = ProgramOutput(Sink::Null);
        Self::new(self.machine.clone(), self.proc.clone(), launch, signals)
    }

    /// Copies a stream to stdout until its end.
    pub(super) async fn pour(&mut self, mut from: ProgramInput, limit: u64) -> io::Result<u64> {
        let mut buf = vec![0; 64 << 10];
        let mut done = 0;
        while done < limit {
            let want = usize::try_from(limit - done).unwrap_or(usize::MAX).min(buf.len());
            let n = from.read(&mut buf[..want]).await?;
            if n == 0 {
                break;
            }
            self.stdout.write_all(&buf[..n]).await?;
            done += n as u64;
            self.checkpoint().await;
        }
        Ok(done)
    }

    /// Opens a file for reading; `-` is stdin.
    pub(super) fn open_input(&self, path: &[u8]) -> Result<ProgramInput, FsError> {
        if path == b"-" || path == b"/dev/stdin" {
            return Ok(self.stdin.clone());
        }
        let how = OpenHow::read();
        let ino = self.machine.fs.lock().open(self.launch.cred, self.launch.cwd, path, how)?;
        Ok(ProgramInput(Source::File(Arc::new(OpenFile::new(self.machine.fs.clone(), ino, false)))))
    }

    /// Opens a file for writing.
    pub(super) fn open_output(&self, path: &[u8], append: bool) -> Result<ProgramOutput, FsError> {
        match path {
            b"/dev/stdout" => return Ok(self.stdout.clone()),
            b"/dev/stderr" => return Ok(self.stderr.clone()),
            _ => {}
        }
        let how = OpenHow::write(append, self.launch.umask);
        let ino = self.machine.fs.lock().open(self.launch.cred, self.launch.cwd, path, how)?;
        Ok(ProgramOutput(Sink::File(Arc::new(OpenFile::new(self.machine.fs.clone(), ino, append)))))
    }
}

/// A user or group by name or number, from the workload's own files.
pub(super) fn find_user(machine: &Machine, user: &str) -> Result<(Cred, Option<String>), String> {
    let read = |path: &[u8]| -> Vec<Vec<String>> {
        let fs = machine.fs.lock();
        let mut bytes = vec![0; 1 << 20];
        let n = fs
            .lookup(Cred::default(), ROOT, path, true)
            .and_then(|ino: Ino| fs.read_at(ino, 0, &mut bytes))
            .unwrap_or_default(); // an image without the file has no names
        let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
        text.lines().map(|l| l.split(':').map(str::to_owned).collect()).collect()
    };
    let field = |line: &[String], i: usize| line.get(i).and_then(|f| f.parse::<u32>().ok());
    let (name, group) = user.split_once(':').map_or((user, None), |(u, g)| (u, Some(g)));
    let passwd = read(b"/etc/passwd");
    let line = passwd.iter().find(|l| l.first().is_some_and(|n| n == name) || l.get(2).is_some_and(|u| u == name));
    let uid = match line.and_then(|l| field(l, 2)) {
        Some(uid) => uid,
        None => name.parse().map_err(|_| format!("the workload has no user {name:?}"))?,
    };
    let gid = match group {
        None => line.and_then(|l| field(l, 3)).unwrap_or_default(),
        Some(group) => {
            let groups = read(b"/etc/group");
            match groups.iter().find(|l| l.first().is_some_and(|n| n == group)).and_then(|l| field(l, 2)) {
                Some(gid) => gid,
                None => group.parse().map_err(|_| format!("the workload has no group {group:?}"))?,
            }
        }
    };
    Ok((Cred { uid, gid }, line.and_then(|l| l.get(5)).cloned()))
}

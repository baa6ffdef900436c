//! The way to a workload's helper: starting it, asking it, holding a program through it.

use crate::errors::from_failure;
use crate::readiness::register;
use crate::wire::{Channel, Control, Program, Reply, Request, Start};
use async_trait::async_trait;
use pod_core::{
    BoxRead, BoxWrite, Error, ErrorKind, ExitStatus, IoResultExt, ProcessDriver, Result, Retry, Signal, Streams,
    TtySize,
};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, socketpair};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::unix::pipe;

/// The size a program's pipes are given, in bytes: fewer turns for large streams.
const PIPE_SIZE: usize = 256 << 10;

/// A descriptor of a folder, to name a socket in it with few bytes.
pub(crate) fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The helper's socket in a folder that is open.
pub(crate) fn socket_path(dir: &OwnedFd) -> String {
    format!("/proc/self/fd/{}/helper", dir.as_raw_fd())
}

/// The program that becomes the helper: `POD_SHIM`; else this program if it is `pod`; else `pod` beside
/// it; else `pod` on the `PATH`.
///
/// # Errors
/// `NotFound` says where it was looked for.
pub(crate) fn helper_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("POD_SHIM").filter(|p| !p.is_empty()) {
        return Ok(path.into());
    }
    let own = std::env::current_exe().doing(|| "find this program's file")?;
    if own.file_name().is_some_and(|n| n == "pod") {
        return Ok("/proc/self/exe".into());
    }
    let beside = own.with_file_name("pod");
    if beside.is_file() {
        return Ok(beside);
    }
    std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).map(|d| d.join("pod")).find(|p| p.is_file()))
        .ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the `pod` program, which becomes each workload's helper, was not found")
                .with_context("looked_for", format!("{} and the PATH", beside.display()))
                .with_hint("install it beside this program, or name it in POD_SHIM")
        })
}

/// A read-only bind mount of the helper's program, mounted nowhere: a workload that gets hold of
/// `/proc/PID/exe` can't write through it (CVE-2019-5736). `None` where the kernel has no such mounts
/// (before Linux 5.12).
fn read_only(program: &Path) -> Option<OwnedFd> {
    use rustix::mount::{OpenTreeFlags, open_tree};
    let tree = open_tree(
        rustix::fs::CWD,
        program,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH,
    )
    .ok()?;
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the descriptor is open, the path is an empty C string, and the struct is of the size given.
    #[allow(unsafe_code)]
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    (done == 0).then_some(tree)
}

/// Starts a helper and lets it start the workload's command. Gives the command's process id.
pub(crate) async fn start(start: &Start) -> Result<Option<u32>> {
    let program = helper_program()?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| Error::io("make a socket", e.into()))?;
    let tree = read_only(&program);
    let path = match &tree {
        Some(fd) => PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
        None => program.clone(),
    };
    let mut child = Command::new(path)
        .arg(crate::helper::ARGUMENT)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .env_clear()
        .current_dir("/")
        .spawn()
        .map_err(|e| Error::io("start the helper", e).with_context("program", program.display().to_string()))?;
    drop(tree);
    let channel = Channel::new(ours).doing(|| "reach the helper")?;
    let told = channel.send(start, &[]).await;
    let reply = match told {
        Ok(()) => channel.recv::<Reply>().await,
        Err(e) => Err(e),
    };
    // The process started here forked and ended at once; what goes on is nobody's child.
    let reaped = tokio::task::spawn_blocking(move || child.wait()).await;
    if let Ok(Err(e)) = reaped {
        tracing::debug!(error = %e, "the helper's starter was reaped elsewhere");
    }
    match reply.doing(|| "hear from the helper")? {
        Some((Reply::Started(pid), _)) => Ok(pid),
        Some((Reply::Failed(failure), _)) => Err(from_failure(&failure)),
        Some(_) => Err(Error::unexpected("the helper answered something else")),
        None => Err(Error::unexpected("the helper ended without a word")
            .with_context("log", start.run.join("helper.log").display().to_string())),
    }
}

/// Connects to the helper of a running workload; `None` when there is none.
pub(crate) fn dial(run: &Path) -> Result<Option<Channel>> {
    let gone = |e: &io::Error| matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
    let dial = || -> io::Result<Channel> {
        let dir = open_dir(run)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(socket_path(&dir))?)?;
        Channel::new(socket)
    };
    match dial() {
        Ok(channel) => Ok(Some(channel)),
        Err(e) if gone(&e) => Ok(None),
        Err(e) => Err(Error::io("reach the workload's helper", e)),
    }
}

/// Asks a helper one thing and waits for its answer.
pub(crate) async fn ask(channel: &Channel, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(Reply, Vec<OwnedFd>)> {
    channel.send(request, fds).await.doing(|| "ask the workload's helper")?;
    match channel.recv::<Reply>().await.doing(|| "hear from the workload's helper")? {
        Some((Reply::Failed(failure), _)) => Err(from_failure(&failure)),
        Some(answer) => Ok(answer),
        None => Err(Error::new(ErrorKind::WrongState, "the workload ended meanwhile").with_retry(Retry::Never)),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| Error::io("make a pipe", e.into()))?;
    // More than the user's share is refused; then the default serves.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_SIZE);
    Ok((read, write))
}

/// Runs a program through the helper.
pub(crate) async fn exec(channel: Channel, program: Program, stdin: bool) -> Result<(HelperDriver, Streams)> {
    let tty = program.tty.is_some();
    let mut streams = Streams::default();
    let mut theirs: Vec<OwnedFd> = Vec::new();
    if !tty {
        if stdin {
            let (read, write) = pipe()?;
            theirs.push(read);
            streams.stdin = Some(Box::pin(Input::new(write)?));
        } else {
            let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            theirs.push(null.map_err(|e| Error::io("open /dev/null", e.into()))?);
        }
        for stream in [&mut streams.stdout, &mut streams.stderr] {
            let (read, write) = pipe()?;
            theirs.push(write);
            *stream = Some(Box::pin(pipe::Receiver::from_owned_fd(read).doing(|| "make a pipe")?));
        }
    }
    let fds: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
    let (_, mut answered) = ask(&channel, &Request::Exec(program), &fds).await?;
    drop(theirs);
    let master = match answered.pop() {
        Some(master) => {
            let master = Arc::new(Terminal::new(master).doing(|| "take the terminal")?);
            streams.stdout = Some(Box::pin(TerminalEnd(master.clone())) as BoxRead);
            if stdin {
                streams.stdin = Some(Box::pin(TerminalEnd(master.clone())) as BoxWrite);
            }
            Some(master)
        }
        None => None,
    };
    Ok((HelperDriver::new(channel, master, false), streams))
}

/// Attaches to the command of a workload. Gives how much of the log was before, too.
pub(crate) async fn attach(
    channel: Channel,
    stdin: bool,
    tty: Option<TtySize>,
) -> Result<(HelperDriver, Streams, u64)> {
    let mut streams = Streams::default();
    let mut theirs: Vec<OwnedFd> = Vec::new();
    if stdin {
        let (read, write) = pipe()?;
        theirs.push(read);
        streams.stdin = Some(Box::pin(Input::new(write)?));
    }
    for stream in [&mut streams.stdout, &mut streams.stderr] {
        let (read, write) = pipe()?;
        theirs.push(write);
        *stream = Some(Box::pin(pipe::Receiver::from_owned_fd(read).doing(|| "make a pipe")?));
    }
    let fds: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
    let request = Request::Attach { stdin, tty: tty.map(|t| (t.rows, t.cols)) };
    let (reply, _) = ask(&channel, &request, &fds).await?;
    drop(theirs);
    let Reply::Attached(length) = reply else { return Err(Error::unexpected("the helper answered something else")) };
    Ok((HelperDriver::new(channel, None, true), streams, length))
}

/// A program, or the workload's command, held through its helper.
#[derive(Debug)]
pub(crate) struct HelperDriver {
    channel: Channel,
    master: Option<Arc<Terminal>>,
    /// Whether it is an attachment: then letting go leaves the command running.
    attached: bool,
    status: Option<ExitStatus>,
    /// Answers to controls that came before the caller asked for them.
    answers: VecDeque<Reply>,
}

impl HelperDriver {
    fn new(channel: Channel, master: Option<Arc<Terminal>>, attached: bool) -> Self {
        Self { channel, master, attached, status: None, answers: VecDeque::new() }
    }

    /// Takes the next word of the helper.
    async fn hear(&mut self) -> Result<()> {
        match self.channel.recv::<Reply>().await {
            Ok(Some((Reply::Exited(status), _))) => self.status = Some(status),
            Ok(Some((reply, _))) => self.answers.push_back(reply),
            Ok(None) | Err(_) => {
                // The helper died, and with it the workload: how the program ended is not known.
                self.status.get_or_insert(ExitStatus::Unknown);
                self.answers.push_back(Reply::Nothing);
            }
        }
        Ok(())
    }

    async fn control(&mut self, control: Control) -> Result<()> {
        self.answers.clear();
        if self.channel.send(&control, &[]).await.is_err() {
            return Ok(()); // the workload has ended, and everything in it
        }
        while self.answers.is_empty() {
            self.hear().await?;
        }
        self.answers.clear();
        Ok(())
    }
}

#[async_trait]
impl ProcessDriver for HelperDriver {
    async fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            match self.status {
                Some(status) => return Ok(status),
                None => self.hear().await?,
            }
        }
    }

    async fn resize(&mut self, size: TtySize) -> Result<()> {
        if let Some(master) = &self.master {
            return master.resize(size).doing(|| "resize the terminal");
        }
        if self.attached {
            return self.control(Control::Resize(size.rows, size.cols)).await;
        }
        Err(Error::new(ErrorKind::WrongState, "the program has no terminal"))
    }

    async fn signal(&mut self, signal: Signal) -> Result<()> {
        self.control(Control::Signal(signal.get())).await
    }

    async fn kill(&mut self) -> Result<()> {
        self.control(Control::Kill).await
    }

    async fn detach(&mut self) -> Result<()> {
        self.control(Control::Detach).await
    }
}

/// A program's stdin. Shutting it down closes it, which is how a pipe tells its end; tokio's own pipe is
/// closed only when it is dropped.
struct Input(Option<pipe::Sender>);

impl Input {
    fn new(write: OwnedFd) -> Result<Self> {
        pipe::Sender::from_owned_fd(write).map(|p| Self(Some(p))).doing(|| "make a pipe")
    }
}

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(pipe) => Pin::new(pipe).poll_write(cx, data),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

/// The master of a terminal in the workload.
#[derive(Debug)]
struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    fn new(master: OwnedFd) -> io::Result<Self> {
        register(master, Interest::READABLE | Interest::WRITABLE).map(Self)
    }

    fn resize(&self, size: TtySize) -> io::Result<()> {
        let size = rustix::termios::Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(self.0.get_ref(), size)?)
    }
}

/// One direction of a terminal. Closing the input sends end-of-file the way a terminal knows it: `^D`
/// (termios(3), VEOF).
struct TerminalEnd(Arc<Terminal>);

impl AsyncRead for TerminalEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.0.poll_read_ready(cx))?;
            let into = buf.initialize_unfilled();
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), into)?)) {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // No process has the terminal open any more (pty(7)): the end.
                Ok(Err(e)) if e.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for TerminalEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.0.poll_write_ready(cx))?;
            if let Ok(written) = ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), data)?)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write(cx, &[4]))?;
        Poll::Ready(Ok(()))
    }
}

//! PID 1 of every workload: runs programs on the helper's word, reports how they end, reaps orphans.
//!
//! It is the process that libcontainer made: in the workload's namespaces and root, with its
//! capabilities, `no_new_privs` and limits, and so is whatever it starts. It never executes a file of
//! the workload's itself, holds no descriptor but the socket to the helper, can't be traced
//! (`PR_SET_DUMPABLE` 0) or signalled from inside (it is PID 1 and handles no signal), and dies with
//! the helper (`PR_SET_PDEATHSIG`).
#![allow(unsafe_code)]

use crate::user;
use crate::wire::{self, Failure, FromInit, Program, Stage, ToInit};
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// The search path of a program when its environment has none.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes PID 1 where libcontainer would execute the workload's program.
#[derive(Debug, Clone)]
pub(crate) struct InitExecutor {
    /// The socket to the helper, open in this process.
    pub(crate) socket: RawFd,
}

impl Executor for InitExecutor {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        match run(self.socket) {
            Ok(()) => std::process::exit(0),
            Err(e) => Err(ExecutorError::Other(format!("PID 1: {e}"))),
        }
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(()) // each program gets an environment of its own
    }
}

/// A program that was forked and has not yet been executed.
struct Starting {
    id: u32,
    pid: i32,
    /// Closed by a successful execve; else it brings the failure.
    news: OwnedFd,
    /// The terminal's master, once the child has made it.
    master: Option<OwnedFd>,
}

/// What a child says on its way to execve.
#[derive(serde::Serialize, serde::Deserialize)]
enum News {
    /// The terminal's master comes along.
    Terminal,
    /// It failed.
    Failed(Failure),
}

fn run(socket: RawFd) -> std::io::Result<()> {
    const SOCKET: RawFd = 3;
    // SAFETY: plain system calls on descriptors this process owns. After close_range nothing but stdio
    // and SOCKET is open, and no value that owns another descriptor is used again: `run` does not return
    // on success, and on failure libcontainer only reports.
    let socket = unsafe {
        libc::prctl(libc::PR_SET_NAME, c"pod-init".as_ptr());
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        if socket != SOCKET && libc::dup3(socket, SOCKET, libc::O_CLOEXEC) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        libc::close_range(SOCKET as u32 + 1, u32::MAX, 0);
        libc::umask(0o022);
        OwnedFd::from_raw_fd(SOCKET)
    };
    let signals = block_signals()?;
    wire::send(&socket, &FromInit::Ready, &[])?;

    let mut running: HashMap<i32, u32> = HashMap::new();
    let mut starting: Vec<Starting> = Vec::new();
    loop {
        let (asked, ended, news) = {
            let mut fds = vec![PollFd::new(&socket, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
            fds.extend(starting.iter().map(|s| PollFd::new(&s.news, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let ready = |f: &PollFd<'_>| !f.revents().is_empty();
            (ready(&fds[0]), ready(&fds[1]), fds[2..].iter().any(ready))
        };
        if news || ended {
            // Before the reaping, so that a program's start is told before its end.
            hear_news(&socket, &mut starting)?;
        }
        if ended {
            drain(&signals);
            reap(&socket, &mut running, &mut starting)?;
        }
        if asked {
            let Some((message, fds)) = wire::recv::<ToInit>(&socket)? else { return Ok(()) };
            match message {
                ToInit::Run { id, cgroup, program } => match start(&program, cgroup, fds) {
                    Ok((pid, news)) => {
                        running.insert(pid, id);
                        starting.push(Starting { id, pid, news, master: None });
                    }
                    Err(failure) => wire::send(&socket, &FromInit::Failed { id, failure }, &[])?,
                },
                ToInit::Signal { id, signal } => {
                    if let Some((pid, _)) = running.iter().find(|(_, i)| **i == id) {
                        // SAFETY: the pid is a child that was not reaped yet, so it is no other's.
                        unsafe { libc::kill(*pid, i32::from(signal)) };
                    }
                }
            }
        }
    }
}

/// Blocks every signal; SIGCHLD comes through the descriptor.
fn block_signals() -> std::io::Result<OwnedFd> {
    // SAFETY: the sets live on this stack and are initialised by sigfillset and sigemptyset.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        let mut child: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut child);
        libc::sigaddset(&raw mut child, libc::SIGCHLD);
        let fd = libc::signalfd(-1, &raw const child, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(std::io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

fn drain(signals: &OwnedFd) {
    let mut buf = [0u8; 1024];
    while matches!(rustix::io::read(signals, &mut buf), Ok(n) if n > 0) {}
}

/// Tells the helper which starts succeeded and which failed.
fn hear_news(socket: &OwnedFd, starting: &mut Vec<Starting>) -> std::io::Result<()> {
    let mut i = 0;
    while i < starting.len() {
        let s = &mut starting[i];
        let mut fds = [PollFd::new(&s.news, PollFlags::IN)];
        let ready = loop {
            match poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })) {
                Ok(n) => break n > 0,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        };
        if !ready {
            i += 1;
            continue;
        }
        match wire::recv::<News>(&s.news)? {
            Some((News::Terminal, mut fds)) => s.master = fds.pop(),
            Some((News::Failed(failure), _)) => {
                let s = starting.remove(i);
                wire::send(socket, &FromInit::Failed { id: s.id, failure }, &[])?;
            }
            None => {
                let s = starting.remove(i);
                let master: Vec<BorrowedFd<'_>> = s.master.iter().map(AsFd::as_fd).collect();
                wire::send(socket, &FromInit::Started { id: s.id }, &master)?;
            }
        }
    }
    Ok(())
}

fn reap(socket: &OwnedFd, running: &mut HashMap<i32, u32>, starting: &mut Vec<Starting>) -> std::io::Result<()> {
    loop {
        let mut status = 0;
        // SAFETY: waits for any child, with a status word on this stack.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return Ok(());
        }
        // A start may have been told in the meantime: its end of the socket is closed by now.
        if starting.iter().any(|s| s.pid == pid) {
            hear_news(socket, starting)?;
        }
        if let Some(id) = running.remove(&pid) {
            wire::send(socket, &FromInit::Exited { id, status }, &[])?;
        }
    }
}

/// Everything a child needs, made before the fork.
struct Prepared {
    identity: user::Identity,
    argv: Vec<CString>,
    env: Vec<CString>,
    candidates: Vec<CString>,
    cwd: CString,
}

fn prepare(program: &Program) -> Result<Prepared, Failure> {
    let fail = |stage, errno: i32, what: String| Failure { stage, errno, what };
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let identity = user::resolve(program.user.as_deref(), &read("/etc/passwd"), &read("/etc/group"))
        .map_err(|what| fail(Stage::User, 0, what))?;
    let zero = |_| fail(Stage::Exec, libc::EINVAL, "a zero byte".into());
    let argv = program.argv.iter().map(|a| CString::new(a.clone()).map_err(zero)).collect::<Result<Vec<_>, _>>()?;
    let mut env = Vec::with_capacity(program.env.len() + 2);
    let mut path = DEFAULT_PATH.as_bytes().to_vec();
    let (mut has_home, mut has_path) = (false, false);
    for (key, value) in &program.env {
        has_home |= key == b"HOME";
        if key == b"PATH" {
            has_path = true;
            path.clone_from(value);
        }
        env.push(CString::new([key.as_slice(), b"=", value].concat()).map_err(zero)?);
    }
    if !has_home {
        env.push(CString::new(format!("HOME={}", identity.home)).map_err(zero)?);
    }
    if !has_path {
        env.push(CString::new(format!("PATH={DEFAULT_PATH}")).map_err(zero)?);
    }
    let name = program.argv.first().ok_or_else(|| fail(Stage::Exec, libc::EINVAL, "no program".into()))?;
    // As execvp(3): a name with a slash is taken as it is; else each directory of PATH is tried, an
    // empty one being the working directory.
    let candidates = if name.contains(&b'/') {
        vec![argv[0].clone()]
    } else {
        path.split(|b| *b == b':')
            .map(|dir| {
                let dir = if dir.is_empty() { b"." } else { dir };
                CString::new([dir, b"/", name].concat()).map_err(zero)
            })
            .collect::<Result<Vec<_>, _>>()?
    };
    let cwd = CString::new(program.cwd.clone().unwrap_or_else(|| "/".into())).map_err(zero)?;
    Ok(Prepared { identity, argv, env, candidates, cwd })
}

/// Forks a child into its cgroup and lets it go its way to execve.
fn start(program: &Program, has_cgroup: bool, fds: Vec<OwnedFd>) -> Result<(i32, OwnedFd), Failure> {
    let fork_failure = |e: std::io::Error| Failure {
        stage: Stage::Fork,
        errno: e.raw_os_error().unwrap_or_default(),
        what: "make a process".into(),
    };
    let prepared = prepare(program)?;
    let mut fds = fds.into_iter();
    let cgroup = if has_cgroup { fds.next() } else { None };
    let stdio: Vec<OwnedFd> = fds.collect();
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| fork_failure(e.into()))?;
    let pid = fork_into(cgroup.as_ref()).map_err(fork_failure)?;
    if pid > 0 {
        return Ok((pid, ours));
    }
    drop(ours);
    let failure = child(program, &prepared, &stdio, &theirs);
    // Nobody to tell if the socket is gone: then PID 1 is gone too.
    let _ = wire::send(&theirs, &News::Failed(failure), &[]);
    // SAFETY: ends this child without running what belongs to PID 1.
    unsafe { libc::_exit(127) }
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// fork(2), the child in `cgroup` from its first instruction (clone3(2), CLONE_INTO_CGROUP): no process
/// of a program can be outside its cgroup, so that killing the cgroup kills them all.
pub(crate) fn fork_into(cgroup: Option<&OwnedFd>) -> std::io::Result<i32> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut args = CloneArgs { exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() };
    if let Some(fd) = cgroup {
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: as fork(2): this process has one thread, so the child may go on with its memory; the
    // arguments are a struct of the size given.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if pid < 0 { Err(std::io::Error::last_os_error()) } else { Ok(pid as i32) }
}

/// In the child: everything up to execve. Returns only on failure.
fn child(program: &Program, p: &Prepared, stdio: &[OwnedFd], news: &OwnedFd) -> Failure {
    let last = |stage, what: &str| Failure {
        stage,
        errno: std::io::Error::last_os_error().raw_os_error().unwrap_or_default(),
        what: what.to_owned(),
    };
    // SAFETY: system calls of a single-threaded process on its own descriptors and memory.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        // What is ignored stays so beyond execve(2): SIGPIPE by Rust's start-up, SIGINT and SIGQUIT where a
        // shell started POD in the background. A program expects the defaults; two can't be changed.
        // By the system call itself, because the C library keeps its own two from everybody (signal(7)).
        let default = [0u64; 4];
        for signal in 1..=libc::SIGRTMAX() {
            let none = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, size_of::<u64>());
        }
        libc::setsid();
        if let Some((rows, cols)) = program.tty {
            if let Err(what) = terminal(rows, cols, p.identity.uid, news) {
                return last(Stage::Tty, what);
            }
        } else {
            for (target, fd) in stdio.iter().enumerate().take(3) {
                if libc::dup2(fd.as_raw_fd(), target as i32) < 0 {
                    return last(Stage::Exec, "pass stdio on");
                }
            }
        }
        let groups: Vec<libc::gid_t> = p.identity.groups.clone();
        let changes = p.identity.uid != 0 || p.identity.gid != 0 || !groups.is_empty();
        if changes {
            if libc::setgroups(groups.len(), groups.as_ptr()) < 0 {
                return last(Stage::User, "set the groups");
            }
            if libc::setresgid(p.identity.gid, p.identity.gid, p.identity.gid) < 0 {
                return last(Stage::User, "set the group");
            }
            if libc::setresuid(p.identity.uid, p.identity.uid, p.identity.uid) < 0 {
                return last(Stage::User, "set the user");
            }
        }
        if libc::chdir(p.cwd.as_ptr()) < 0 {
            return last(Stage::Cwd, &p.cwd.to_string_lossy());
        }
        libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32);
        let argv = pointers(&p.argv);
        let env = pointers(&p.env);
        // As execvp(3): a directory that lacks the program is passed over; one that has it but denies
        // it is remembered.
        let mut errno = libc::ENOENT;
        for path in &p.candidates {
            libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr());
            match std::io::Error::last_os_error().raw_os_error().unwrap_or_default() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => errno = libc::EACCES,
                other => {
                    errno = other;
                    break;
                }
            }
        }
        // A script whose interpreter is missing gives ENOENT too, though the file is there.
        if errno == libc::ENOENT && p.candidates.iter().any(|c| libc::access(c.as_ptr(), libc::F_OK) == 0) {
            errno = libc::ENOEXEC;
        }
        Failure { stage: Stage::Exec, errno, what: String::from_utf8_lossy(&program.argv[0]).into_owned() }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// Makes a terminal of the workload's own devpts (pts(4)), takes it as the controlling terminal and as
/// stdio, and sends its master away.
fn terminal(rows: u16, cols: u16, uid: u32, news: &OwnedFd) -> Result<(), &'static str> {
    // SAFETY: system calls on descriptors opened here, with arguments on this stack.
    unsafe {
        let master = libc::open(c"/dev/pts/ptmx".as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        if master < 0 {
            return Err("open /dev/pts/ptmx");
        }
        let master = OwnedFd::from_raw_fd(master);
        let mut unlock: libc::c_int = 0;
        if libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw mut unlock) < 0 {
            return Err("unlock the terminal");
        }
        let slave = libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY);
        if slave < 0 {
            return Err("open the terminal");
        }
        let size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        libc::ioctl(slave, libc::TIOCSWINSZ, &raw const size);
        if libc::ioctl(slave, libc::TIOCSCTTY, 0) < 0 {
            return Err("take the terminal");
        }
        libc::fchown(slave, uid, u32::MAX);
        for target in 0..3 {
            if libc::dup2(slave, target) < 0 {
                return Err("pass the terminal on");
            }
        }
        if slave > 2 {
            libc::close(slave);
        }
        wire::send(news, &News::Terminal, &[master.as_fd()]).map_err(|_| "hand the terminal over")
    }
}

/// Takes the descriptor that was passed as number `fd`.
pub(crate) fn take_fd(fd: RawFd) -> OwnedFd {
    // SAFETY: called once per process, by the helper, for the descriptor its starter put there.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Forks and lets the parent end, so that nobody's child goes on.
pub(crate) fn leave_parent() -> std::io::Result<()> {
    // SAFETY: the process has one thread; the parent ends at once without unwinding.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => Ok(()),
        _ => unsafe { libc::_exit(0) },
    }
}

/// Leaks a descriptor on purpose: it stays open until the process ends.
pub(crate) fn keep_open(fd: OwnedFd) -> RawFd {
    fd.into_raw_fd()
}

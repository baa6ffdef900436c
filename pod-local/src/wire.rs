//! What the command, the helper and PID 1 say to each other, and how: one packet a message over a
//! Unix seqpacket socket, file descriptors beside it.
//!
//! A packet is one byte and a postcard body. Byte 0: the body follows. Byte 1: the body is in a memory
//! file, the first descriptor, because it is too long for a packet (an argv may be 2 MiB).

use crate::readiness::register;
use pod_core::ExitStatus;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The longest body that goes inline.
const INLINE: usize = 32 << 10;
/// The most descriptors a packet carries.
const MAX_FDS: usize = 6;

/// A program to run inside a workload, as the helper passes it to PID 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Program {
    /// Program and arguments.
    pub(crate) argv: Vec<Vec<u8>>,
    /// The whole environment.
    pub(crate) env: Vec<(Vec<u8>, Vec<u8>)>,
    /// The working directory.
    pub(crate) cwd: Option<String>,
    /// `NAME`, `UID`, `NAME:GROUP` or `UID:GID`.
    pub(crate) user: Option<String>,
    /// A terminal of these rows and columns.
    pub(crate) tty: Option<(u16, u16)>,
}

/// A workload's limits, in a form that needs no field names.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// CPUs' worth of time.
    pub(crate) cpus: Option<f64>,
    /// Bytes of memory.
    pub(crate) memory: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: Option<u32>,
}

/// What the helper needs to start a workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    /// The workload's name.
    pub(crate) name: String,
    /// The workload's id.
    pub(crate) id: String,
    /// Where its lasting files are.
    pub(crate) dir: PathBuf,
    /// Where its files of this boot are.
    pub(crate) run: PathBuf,
    /// The engine's journal of events.
    pub(crate) journal: PathBuf,
    /// Its network namespace.
    pub(crate) netns: PathBuf,
    /// The engine's lasting folder, its folder of this boot and its name, as pod-net takes them.
    pub(crate) engine: (PathBuf, PathBuf, String),
    /// Its cgroup below each hierarchy's root.
    pub(crate) cgroup: String,
    /// The layers of its root, the uppermost first.
    pub(crate) lower: Vec<PathBuf>,
    /// Whether `/run` is a memory file system.
    pub(crate) tmpfs_run: bool,
    /// Its limits.
    pub(crate) limits: Bounds,
    /// Its command.
    pub(crate) program: Program,
    /// Whether the command's stdin stays open.
    pub(crate) stdin: bool,
    /// Whether the workload outlives its command.
    pub(crate) keep_alive: bool,
    /// Whether the command is the image's own.
    pub(crate) own_command: bool,
}

/// What a client asks the helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Run a program; with its stdin, stdout and stderr unless it has a terminal.
    Exec(Program),
    /// Attach to the command, with where stdin is read and stdout and stderr are written.
    Attach {
        /// Whether the first descriptor is a stdin.
        stdin: bool,
        /// The terminal's rows and columns.
        tty: Option<(u16, u16)>,
    },
    /// End the workload: this signal, and SIGKILL after so many milliseconds.
    Stop {
        /// The signal.
        signal: u8,
        /// The grace in milliseconds.
        grace_ms: u64,
    },
    /// Run the command of a kept-alive workload again.
    Rerun,
}

/// What a client says about the exec or attachment it holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Control {
    /// Send a signal.
    Signal(u8),
    /// Kill the program and all it started.
    Kill,
    /// Let go.
    Detach,
    /// The terminal's rows and columns changed.
    Resize(u16, u16),
}

/// What the helper answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The program runs; of a terminal, its master comes along. The host's process id, if known.
    Started(Option<u32>),
    /// Attached: what comes now was not in the first so many bytes of the log.
    Attached(u64),
    /// It could not be run.
    Failed(Failure),
    /// It ended.
    Exited(ExitStatus),
    /// Done; `true` if it took SIGKILL.
    Done(bool),
    /// There was nothing to do.
    Nothing,
}

/// What the helper asks PID 1.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToInit {
    /// Run a program. Descriptors: its cgroup if `cgroup`; then stdin, stdout and stderr unless it has
    /// a terminal.
    Run {
        /// The helper's number for it.
        id: u32,
        /// Whether the first descriptor is a cgroup.
        cgroup: bool,
        /// The program.
        program: Program,
    },
    /// Send a signal to a program.
    Signal {
        /// The helper's number for it.
        id: u32,
        /// The signal.
        signal: u8,
    },
}

/// What PID 1 tells the helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromInit {
    /// It is there.
    Ready,
    /// A program was executed; of a terminal, its master comes along.
    Started {
        /// The helper's number for it.
        id: u32,
    },
    /// A program could not be run.
    Failed {
        /// The helper's number for it.
        id: u32,
        /// Why.
        failure: Failure,
    },
    /// A program ended with this wait status.
    Exited {
        /// The helper's number for it.
        id: u32,
        /// As wait(2) gives it.
        status: i32,
    },
}

/// Why a program, or a workload, could not be started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// At which step.
    pub(crate) stage: Stage,
    /// The error number; 0 when there is none.
    pub(crate) errno: i32,
    /// What it is about, or the message.
    pub(crate) what: String,
}

/// The steps of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// The user could not be found or taken.
    User,
    /// The working directory could not be entered.
    Cwd,
    /// The program could not be executed.
    Exec,
    /// There could be no terminal.
    Tty,
    /// No process could be made.
    Fork,
    /// The root file system could not be mounted.
    Mount,
    /// The container could not be made.
    Container,
    /// A file could not be written.
    File,
}

fn encode(message: &impl Serialize) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let body = postcard::to_allocvec(message).map_err(io::Error::other)?;
    if body.len() <= INLINE {
        let mut packet = Vec::with_capacity(body.len() + 1);
        packet.push(0);
        packet.extend_from_slice(&body);
        return Ok((packet, None));
    }
    let mut file = File::from(memfd_create("pod-message", MemfdFlags::CLOEXEC)?);
    file.write_all(&body)?;
    file.rewind()?;
    Ok((vec![1], Some(file.into())))
}

fn decode<T: DeserializeOwned>(packet: &[u8], fds: &mut Vec<OwnedFd>) -> io::Result<T> {
    let bad = |e: postcard::Error| io::Error::new(io::ErrorKind::InvalidData, e);
    match packet.split_first() {
        Some((0, body)) => postcard::from_bytes(body).map_err(bad),
        Some((1, _)) if !fds.is_empty() => {
            let mut body = Vec::new();
            File::from(fds.remove(0)).take(64 << 20).read_to_end(&mut body)?;
            postcard::from_bytes(&body).map_err(bad)
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a message")),
    }
}

/// Sends one message with descriptors.
pub(crate) fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let (packet, memory) = encode(message)?;
    let mut all: Vec<BorrowedFd<'_>> = memory.iter().map(AsFd::as_fd).collect();
    all.extend_from_slice(fds);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !all.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&all)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Receives one message with descriptors; `None` when the other side is gone.
pub(crate) fn recv<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut packet = vec![0u8; INLINE + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut packet)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let message = decode(&packet[..received.bytes], &mut fds)?;
    Ok(Some((message, fds)))
}

/// A seqpacket socket on an async runtime.
#[derive(Debug)]
pub(crate) struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    /// Takes a socket, which becomes non-blocking.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        register(socket, Interest::READABLE | Interest::WRITABLE).map(Self)
    }

    /// As [`send`].
    pub(crate) async fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, |socket| send(socket, message, fds)).await
    }

    /// As [`recv`]. Cancel-safe.
    pub(crate) async fn recv<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.0.async_io(Interest::READABLE, |socket| recv(socket)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("socketpair")
    }

    fn program(arg: Vec<u8>) -> Program {
        Program { argv: vec![b"x".to_vec(), arg], env: vec![], cwd: None, user: None, tty: None }
    }

    #[test]
    fn short_and_long_messages_and_descriptors_arrive() {
        let (a, b) = pair();
        for len in [0, 100, INLINE, 2 << 20] {
            let arg: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (_, fd) = pair();
            send(&a, &Request::Exec(program(arg.clone())), &[fd.as_fd()]).expect("send");
            let (request, fds) = recv::<Request>(&b).expect("recv").expect("message");
            let Request::Exec(p) = request else { panic!("another message") };
            assert_eq!(p.argv[1], arg);
            assert_eq!(fds.len(), 1);
        }
        drop(a);
        assert!(recv::<Request>(&b).expect("recv").is_none());
    }

    #[test]
    fn noise_is_an_error() {
        let (a, b) = pair();
        rustix::net::send(&a, &[0, 0xff, 0xff, 0xff], SendFlags::empty()).expect("send");
        assert!(recv::<Request>(&b).is_err());
        rustix::net::send(&a, &[1], SendFlags::empty()).expect("send");
        assert!(recv::<Request>(&b).is_err());
    }
}

//! Network namespaces, made and entered on threads of their own.
//!
//! A thread that moves between namespaces would take whatever the runtime runs on it next along, so
//! every `setns` and `unshare` here happens on a fresh OS thread that ends afterwards. A socket stays in
//! the namespace it was opened in, wherever it is used.

use crate::netlink::Netlink;
use pod_core::{Error, ErrorKind, IoResultExt, RemoveOutcome, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::thread::LinkNameSpaceType;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `NSFS_MAGIC` of `linux/magic.h`: the file system of namespace files.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// `LOOPBACK_IFINDEX` of the kernel's `include/net/flow.h`: `lo` is the first link of every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Makes a network namespace, brings its `lo` up, and keeps it at `path` by a bind mount until
/// [`remove`]. Missing parent directories are made. Blocks for about a millisecond.
///
/// # Errors
/// `AlreadyExists` when a namespace is mounted there; `PermissionDenied` without `CAP_SYS_ADMIN`. On
/// failure nothing is left but parent directories.
pub fn create(path: &Path) -> Result<()> {
    create_with(path, |_| Ok(()))
}

/// As [`create`]; `prepare` runs inside the namespace before it is mounted.
pub(crate) fn create_with(path: &Path, prepare: impl FnOnce(&Netlink) -> Result<()> + Send) -> Result<()> {
    let at = |e: Error| e.with_operation("create namespace").with_context("path", path.display().to_string());
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).doing(|| "make the namespace's directory").map_err(at)?;
    }
    if is_mounted(path).map_err(at)? {
        return Err(at(Error::new(ErrorKind::AlreadyExists, "a network namespace is mounted there already")));
    }
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .doing(|| "make the namespace's mount point")
        .map_err(at)?;
    let made = on_thread("pod-netns", || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).map_err(|e| namespace_error(e.into()))?;
        let netlink = Netlink::open()?;
        netlink.set_up(LOOPBACK)?;
        prepare(&netlink)?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", path)
            .map_err(|e| namespace_error(e.into()).with_context("mount point", path.display().to_string()))
    });
    made.map_err(|e| {
        let e = at(e);
        match std::fs::remove_file(path) {
            Err(left) if left.kind() != std::io::ErrorKind::NotFound => {
                e.with_context("left behind", format!("{}: {left}", path.display()))
            }
            _ => e,
        }
    })
}

fn namespace_error(e: std::io::Error) -> Error {
    let denied = e.kind() == std::io::ErrorKind::PermissionDenied;
    let missing = e.raw_os_error() == Some(Errno::INVAL.raw_os_error());
    let error = Error::io("make a network namespace", e);
    if denied {
        error.with_hint("run as root: namespaces need CAP_SYS_ADMIN")
    } else if missing {
        Error::unsupported("this kernel has no network namespaces").with_hint("use a kernel with CONFIG_NET_NS")
    } else {
        error
    }
}

/// Unmounts and removes the namespace at `path`; it ends when nothing uses it any more, and its links
/// with it. Blocks shortly.
///
/// # Errors
/// `PermissionDenied` without `CAP_SYS_ADMIN`, and what the file system says.
pub fn remove(path: &Path) -> Result<RemoveOutcome> {
    let at = |e: Error| e.with_operation("remove namespace").with_context("path", path.display().to_string());
    loop {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(Errno::NOENT) => return Ok(RemoveOutcome::AlreadyAbsent),
            Err(e) => return Err(at(Error::io("unmount the namespace", e.into()))),
        }
    }
    match std::fs::remove_file(path) {
        Ok(()) => Ok(RemoveOutcome::Removed),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(RemoveOutcome::AlreadyAbsent),
        Err(e) => Err(at(Error::io("remove the namespace's mount point", e))),
    }
}

/// Connects to a TCP port on the loopback of the namespace at `path`: of IPv4, else of IPv6. The stream
/// is non-blocking. Blocks shortly: loopback answers at once.
///
/// # Errors
/// `WrongState` when there is no namespace; `Unavailable` when nothing listens; `PermissionDenied`
/// without `CAP_SYS_ADMIN`.
pub fn connect_loopback(path: &Path, port: u16) -> Result<TcpStream> {
    let at = |e: Error| e.with_operation("forward").with_context("port", port.to_string());
    let Some(netns) = Netns::open(path).map_err(at)? else {
        return Err(at(Error::new(ErrorKind::WrongState, "the workload has no network namespace")
            .with_context("path", path.display().to_string())));
    };
    let stream = netns.run(|| {
        let wait = Duration::from_secs(5);
        let to = |ip: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(ip, port), wait);
        let stream = to(Ipv4Addr::LOCALHOST.into()).or_else(|first| {
            // Where there is no IPv6, its error says nothing of the port.
            to(Ipv6Addr::LOCALHOST.into()).map_err(|_| first)
        });
        match stream {
            Ok(stream) => stream.set_nonblocking(true).map(|()| stream).doing(|| "set up the connection"),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                Err(Error::new(ErrorKind::Unavailable, "nothing listens at the port").with_source(e))
            }
            Err(e) => Err(Error::io("connect to the port", e)),
        }
    });
    stream.map_err(at)
}

/// Whether a namespace is mounted at `path`.
pub(crate) fn is_mounted(path: &Path) -> Result<bool> {
    match rustix::fs::statfs(path) {
        #[allow(clippy::unnecessary_cast)] // f_type's type differs between architectures
        Ok(s) => Ok(s.f_type as u64 == NSFS_MAGIC),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(e) => {
            Err(Error::io("look at the namespace file", e.into()).with_context("path", path.display().to_string()))
        }
    }
}

/// A network namespace that is kept open.
#[derive(Debug)]
pub(crate) struct Netns {
    fd: OwnedFd,
    path: PathBuf,
}

impl Netns {
    /// Opens the namespace at `path`; `None` when there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let fail = |e: Errno| {
            Error::io("open the network namespace", e.into()).with_context("path", path.display().to_string())
        };
        let fd = match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(fail(e)),
        };
        #[allow(clippy::unnecessary_cast)] // f_type's type differs between architectures
        let magic = rustix::fs::fstatfs(&fd).map_err(fail)?.f_type as u64;
        Ok((magic == NSFS_MAGIC).then(|| Self { fd, path: path.to_owned() }))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What tells it from every other namespace while it is open: the device and inode of its file.
    pub(crate) fn id(&self) -> Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|e| {
            Error::io("look at the network namespace", e.into()).with_context("path", self.path.display().to_string())
        })?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Runs `f` inside the namespace, on a thread of its own, and waits for it.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread("pod-netns", || {
            rustix::thread::move_into_link_name_space(self.fd(), Some(LinkNameSpaceType::Network)).map_err(|e| {
                let e = Error::io("enter the network namespace", e.into())
                    .with_context("path", self.path.display().to_string());
                if e.kind() == ErrorKind::PermissionDenied {
                    e.with_hint("run as root: entering a namespace needs CAP_SYS_ADMIN")
                } else {
                    e
                }
            })?;
            f()
        })
    }

    /// A netlink socket that lives in the namespace.
    pub(crate) fn netlink(&self) -> Result<Netlink> {
        self.run(Netlink::open)
    }
}

/// Runs `f` on a thread that ends with it, and waits for it.
fn on_thread<T: Send>(name: &str, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, f)
            .doing(|| "start a thread for the network namespace")?;
        thread.join().unwrap_or_else(|_| Err(Error::unexpected("a network namespace's thread panicked")))
    })
}

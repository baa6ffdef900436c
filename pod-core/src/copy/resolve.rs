//! Opening paths that others may have made or may be changing: never out of a directory.
//!
//! On Linux the kernel resolves (`openat2(2)`, since 5.6). Elsewhere, and where `openat2` is missing or
//! filtered, the path is walked part by part with `O_NOFOLLOW`, which gives the same answers: every step
//! starts at a descriptor that was reached by such steps, so a rename under way can't lead it astray.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::{Errno, Result};

/// Flags for a handle on a directory that serves only as the start of other calls.
#[cfg(target_os = "linux")]
pub(super) const DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
pub(super) const DIR: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// Flags for a directory that is listed, or whose mode and times are set.
pub(super) const LIST: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// As many links as the kernel follows in one path (`path_resolution(7)`).
const MAX_LINKS: u32 = 40;
/// Below `PATH_MAX`, beyond which the kernel takes no path in one call.
#[cfg(target_os = "linux")]
const MAX_CALL: usize = 4000;

/// Opens `path` as if `root` were `/`: absolute links and `..` stay inside. No magic links
/// (`/proc/PID/fd/N` and its like).
pub(super) fn open_in_root(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let path = if path.is_empty() { b"/" } else { path };
    #[cfg(target_os = "linux")]
    if path.len() < MAX_CALL {
        use rustix::fs::ResolveFlags;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if let Some(answer) = openat2(root, path, flags, how) {
            return answer;
        }
    }
    walk_in_root(root, path, flags)
}

/// Opens the directory `path` below `base`; no part of it may be a symbolic link, `.` or `..`.
pub(super) fn open_beneath(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    if path.is_empty() {
        return rustix::fs::openat(base, ".", flags, Mode::empty());
    }
    #[cfg(target_os = "linux")]
    if path.len() < MAX_CALL {
        use rustix::fs::ResolveFlags;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        if let Some(answer) = openat2(base, path, flags, how) {
            return answer;
        }
    }
    walk_beneath(base, path, flags)
}

/// `None` when the kernel, or a filter before it, does not know the call.
#[cfg(target_os = "linux")]
fn openat2(at: BorrowedFd<'_>, path: &[u8], flags: OFlags, how: rustix::fs::ResolveFlags) -> Option<Result<OwnedFd>> {
    // EAGAIN: a rename somewhere on the system raced with a `..` of the path (openat2(2)).
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(at, path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN) if tries < 1000 => tries += 1,
            Err(Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return None,
            answer => return Some(answer),
        }
    }
}

fn walk_beneath(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    let mut parts = path.split(|b| *b == b'/').peekable();
    while let Some(part) = parts.next() {
        if matches!(part, b"" | b"." | b"..") {
            return Err(Errno::XDEV);
        }
        let here = at.as_ref().map_or(base, AsFd::as_fd);
        let how = if parts.peek().is_some() { DIR | OFlags::NOFOLLOW } else { flags };
        at = Some(rustix::fs::openat(here, part, how, Mode::empty())?);
    }
    at.ok_or(Errno::NOENT)
}

fn walk_in_root(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    // The directories from the root down to where the walk stands; `..` goes back along them.
    let mut trail: Vec<OwnedFd> = Vec::new();
    let mut parts: Vec<Vec<u8>> = split_reversed(path);
    let mut links = 0;
    while let Some(part) = parts.pop() {
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                trail.pop();
                continue;
            }
            _ => {}
        }
        let here = trail.last().map_or(root, AsFd::as_fd);
        let last = parts.is_empty();
        if !(last && flags.contains(OFlags::NOFOLLOW)) {
            match rustix::fs::readlinkat(here, part.as_slice(), Vec::new()) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = target.into_bytes();
                    if target.first() == Some(&b'/') {
                        trail.clear();
                    }
                    parts.extend(split_reversed(&target));
                    continue;
                }
                Err(Errno::INVAL) => {}
                Err(e) => return Err(e),
            }
        }
        let how = if last { flags } else { DIR };
        let next = rustix::fs::openat(here, part.as_slice(), how | OFlags::NOFOLLOW, Mode::empty())?;
        if last {
            return Ok(next);
        }
        trail.push(next);
    }
    rustix::fs::openat(trail.last().map_or(root, AsFd::as_fd), ".", flags, Mode::empty())
}

/// The parts in reverse. A trailing `/` leaves an empty last part, so that the part before it is taken
/// for a directory.
fn split_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect()
}

/// A file by its directory and its name there: `.` when the path names the directory itself.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) dir: OwnedFd,
    pub(super) name: Vec<u8>,
    pub(super) stat: Stat,
}

/// Finds what is at `path` in `root`. A path that ends in `/`, `.` or `..` is a directory's. A link at
/// the last part is followed only with `follow`.
pub(super) fn locate(root: BorrowedFd<'_>, path: &[u8], follow: bool) -> Result<Located> {
    let mut path = path.to_vec();
    for _ in 0..=MAX_LINKS {
        let (parent, name) = split_last(&path);
        if matches!(name, b"" | b"." | b"..") {
            let dir = open_in_root(root, &path, DIR)?;
            let stat = rustix::fs::fstat(&dir)?;
            return Ok(Located { dir, name: b".".to_vec(), stat });
        }
        let dir = open_in_root(root, parent, DIR)?;
        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !follow || !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return Ok(Located { dir, name: name.to_vec(), stat });
        }
        let target = rustix::fs::readlinkat(&dir, name, Vec::new())?.into_bytes();
        path = if target.first() == Some(&b'/') { target } else { [parent, b"/", &target].concat() };
    }
    Err(Errno::LOOP)
}

/// An absolute path as its parent and its last part; the last part is empty after a trailing `/`.
pub(super) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(0) => (b"/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"/", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn open(path: &std::path::Path) -> OwnedFd {
        std::fs::File::open(path).expect("open a directory of the test").into()
    }

    /// What the two ways of resolving say, as inode numbers or error numbers.
    fn both(root: &OwnedFd, path: &str, flags: OFlags) -> (Result<u64>, Result<u64>) {
        let ino = |fd: Result<OwnedFd>| fd.and_then(|fd| Ok(rustix::fs::fstat(&fd)?.st_ino));
        (
            ino(open_in_root(root.as_fd(), path.as_bytes(), flags)),
            ino(walk_in_root(root.as_fd(), path.as_bytes(), flags)),
        )
    }

    #[test]
    fn the_kernel_and_the_walk_agree_and_stay_inside() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let root = tmp.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).expect("directories");
        std::fs::create_dir_all(root.join("etc")).expect("directories");
        std::fs::write(root.join("etc/x"), "inside").expect("a file");
        std::fs::write(tmp.path().join("x"), "outside").expect("a file");
        symlink("/etc", root.join("a/abs")).expect("a link");
        symlink("../../../../x", root.join("a/up")).expect("a link");
        symlink("loop", root.join("loop")).expect("a link");
        symlink("b/..", root.join("a/updown")).expect("a link");
        symlink("/proc/self/root", root.join("magic")).expect("a link");
        let fd = open(&root);
        let read = OFlags::RDONLY | OFlags::CLOEXEC;
        for path in [
            "/",
            "/a",
            "/a/b/",
            "/a/b/..",
            "/../../a",
            "/a/abs",
            "/a/abs/x",
            "/a/abs/../etc/x",
            "/a/updown/b",
            "/a/./b",
        ] {
            let (kernel, walk) = both(&fd, path, read);
            assert!(kernel.is_ok(), "{path}: {kernel:?}");
            assert_eq!(kernel, walk, "{path}");
        }
        for path in ["/loop", "/a/up", "/nothing", "/etc/x/y", "/etc/x/", "/magic"] {
            let (kernel, walk) = both(&fd, path, read);
            assert!(kernel.is_err(), "{path}: {kernel:?}");
            assert_eq!(kernel, walk, "{path}");
        }
        let (kernel, walk) = both(&fd, "/a/abs", read | OFlags::NOFOLLOW);
        assert_eq!((kernel, walk), (Err(Errno::LOOP), Err(Errno::LOOP)));
    }

    #[test]
    fn beneath_takes_no_link_and_no_dots() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(tmp.path().join("a/b/c")).expect("directories");
        symlink("a", tmp.path().join("l")).expect("a link");
        let fd = open(tmp.path());
        for how in [open_beneath, walk_beneath] {
            let flags = DIR | OFlags::NOFOLLOW;
            assert!(how(fd.as_fd(), b"a/b/c", flags).is_ok());
            for bad in [&b"l"[..], b"l/b", b"..", b"a/nothing"] {
                assert!(how(fd.as_fd(), bad, flags).is_err(), "{}", bad.escape_ascii());
            }
        }
        assert!(open_beneath(fd.as_fd(), b"", DIR).is_ok());
    }

    #[test]
    fn locate_follows_on_request() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(tmp.path().join("d")).expect("a directory");
        std::fs::write(tmp.path().join("d/f"), "x").expect("a file");
        symlink("/d/f", tmp.path().join("l")).expect("a link");
        symlink("../l", tmp.path().join("d/l2")).expect("a link");
        let fd = open(tmp.path());
        let at = |path: &str, follow| locate(fd.as_fd(), path.as_bytes(), follow).map(|l| l.name);
        assert_eq!(at("/d/l2", true), Ok(b"f".to_vec()));
        assert_eq!(at("/d/l2", false), Ok(b"l2".to_vec()));
        assert_eq!(at("/d/", false), Ok(b".".to_vec()));
        assert_eq!(at("/", false), Ok(b".".to_vec()));
        assert_eq!(at("/d/f/", false), Err(Errno::NOTDIR));
        assert_eq!(at("/none", true), Err(Errno::NOENT));
    }
}

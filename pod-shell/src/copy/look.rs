//! What is at a path, by the image's `stat`, or its `ls` where it has none.

use super::errors;
use super::far::{Far, Running, complaints, no_shell};
use crate::escaped;
use pod_core::copy::{FileStat, FileType, StatRequest, show};
use pod_core::{Error, ErrorKind, ExitStatus, Result};
use tokio::io::AsyncReadExt;

const SCRIPT: &str = include_str!("stat.sh");

/// The longest answer: a line, and a link's target.
const LONGEST: u64 = 16 << 10;

/// What is at a path; `None` when nothing is.
///
/// # Errors
/// As [`Connection::stat`](pod_core::Connection::stat).
pub async fn stat(far: &dyn Far, request: &StatRequest) -> Result<Option<FileStat>> {
    super::check_path(&request.path)?;
    let args = [escaped(&request.path), if request.follow { "f" } else { "" }.to_owned()];
    let Running { stdin, stdout, stderr, end, .. } =
        far.start(SCRIPT, &args, false).await.map_err(|e| no_shell(far, e))?;
    drop(stdin);
    let read = async {
        let mut out = Vec::new();
        // What was cut off is not understood below.
        let _ = stdout.take(LONGEST).read_to_end(&mut out).await;
        out
    };
    let (out, said, end) = tokio::join!(read, complaints(stderr), end);
    match end.map_err(|e| no_shell(far, e))? {
        ExitStatus::Exited(0) => match read_answer(&out) {
            Some(found) => Ok(Some(found)),
            None => Err(far.about(
                Error::unexpected("what the workload's `stat` says is not understood")
                    .with_context("path", show(&request.path))
                    .with_context("said", String::from_utf8_lossy(&out)),
            )),
        },
        _ if errors::kind(&said) == Some(ErrorKind::NotFound) => Ok(None),
        status => Err(far.about(errors::of_tools("look at this path", &request.path, status, &said))),
    }
}

/// Reads `%f %s %Y %u %g %y` of stat(1), or a line of `ls -ldn`; behind the line, a link's target.
fn read_answer(out: &[u8]) -> Option<FileStat> {
    let end = out.iter().position(|b| *b == b'\n')?;
    let line = String::from_utf8_lossy(&out[..end]).into_owned();
    let target = out.get(end + 1..).and_then(|t| t.strip_suffix(b"\n")).map(<[u8]>::to_vec);
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let mut stat = match u32::from_str_radix(words.first()?, 16) {
        Ok(mode) if words.len() >= 5 => {
            let mut stat = FileStat::new(kind(mode), words[1].parse().ok()?);
            stat.mode = mode & 0o7777;
            // `2026-01-02 03:04:05.123456789 +0000`
            let nanos = words.get(6).and_then(|time| time.split_once('.')).and_then(|(_, n)| n.parse().ok());
            stat.mtime = (words[2].parse().ok()?, nanos.unwrap_or(0));
            (stat.uid, stat.gid) = (words[3].parse().ok()?, words[4].parse().ok()?);
            stat
        }
        _ => listed(&words)?,
    };
    if stat.kind == FileType::Symlink {
        stat.target = target;
    }
    Some(stat)
}

/// The file type of a mode, by `S_IFMT` (inode(7)).
fn kind(mode: u32) -> FileType {
    match mode & 0o170_000 {
        0o100_000 => FileType::File,
        0o040_000 => FileType::Dir,
        0o120_000 => FileType::Symlink,
        _ => FileType::Other,
    }
}

/// Reads `-rwxr-xr-x 1 0 0 5 …`. Its times are no times of day, so there is none.
fn listed(words: &[&str]) -> Option<FileStat> {
    let [mode, _links, uid, gid, size, ..] = words else { return None };
    let letters: Vec<char> = mode.chars().collect();
    if letters.len() < 10 {
        return None;
    }
    let kind = match letters[0] {
        '-' => FileType::File,
        'd' => FileType::Dir,
        'l' => FileType::Symlink,
        _ => FileType::Other,
    };
    let mut bits = 0;
    for (i, letter) in letters[1..10].iter().enumerate() {
        if !matches!(letter, '-' | 'S' | 'T') {
            bits |= 0o400 >> i;
        }
        if matches!(letter, 's' | 'S' | 't' | 'T') {
            bits |= 0o4000 >> (i / 3);
        }
    }
    // A device has two numbers in place of a size.
    let mut stat = FileStat::new(kind, size.parse().unwrap_or(0));
    (stat.mode, stat.uid, stat.gid) = (bits, uid.parse().ok()?, gid.parse().ok()?);
    Some(stat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_and_ls_are_read() {
        let gnu = read_answer(b"81a0 5 1000000000 0 42 2001-09-09 01:46:40.123456789 +0000\n").expect("read");
        assert_eq!((gnu.kind, gnu.size, gnu.mode, gnu.uid, gnu.gid), (FileType::File, 5, 0o640, 0, 42));
        assert_eq!(gnu.mtime, (1_000_000_000, 123_456_789));
        let busybox = read_answer(b"a1ff 4 7 0 0 1970-01-01 00:00:07.000000000\nfi\nle\n").expect("read");
        assert_eq!(
            (busybox.kind, busybox.target, busybox.mtime),
            (FileType::Symlink, Some(b"fi\nle".to_vec()), (7, 0))
        );
        let before = read_answer(b"41ed 4096 -5 0 0 1969-12-31 23:59:55.000000000\n").expect("read");
        assert_eq!((before.kind, before.mtime), (FileType::Dir, (-5, 0)));
        let ls = read_answer(b"-rwsr-x--T    1 7        8               12 Nov 22 23:07 /bin/x y\n").expect("read");
        assert_eq!((ls.kind, ls.size, ls.mode, ls.uid, ls.gid), (FileType::File, 12, 0o5750, 7, 8));
        assert!(read_answer(b"").is_none() && read_answer(b"what\n").is_none());
    }
}

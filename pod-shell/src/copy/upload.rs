//! Copying in.

use super::far::{Far, Running, complaints, no_shell};
use super::kept::{self, Kept};
use super::plain::{self, Plain};
use super::relay::{First, How, Relay, Tar};
use super::{check_path, errors};
use crate::{Manifest, escaped};
use pod_core::copy::tar::{TarOptions, write_with};
use pod_core::copy::{CopyInRequest, CopyReport, EntryStream, Verify, show, split};
use pod_core::{Error, ErrorKind, ExitStatus, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What says that a directory beside the destination is there.
macro_rules! plain {
    () => {
        "\nprintf 'P %s %s\\n' \"$there\" \"$(id -u)\"\n"
    };
}

/// Looks at the destination and makes a directory beside it, or takes up one that is there and says what is
/// in it.
pub(super) const BEGIN: [&str; 2] = [
    concat!(include_str!("kept.sh"), include_str!("begin.sh"), plain!()),
    concat!(include_str!("kept.sh"), include_str!("begin.sh"), plain!(), include_str!("offer.sh")),
];
/// All of it in one exec, with `tar`; and the same for a copy that may be taken up.
const SCRIPT: [&str; 2] = [
    concat!(
        include_str!("kept.sh"),
        include_str!("begin.sh"),
        include_str!("tar.sh"),
        include_str!("unpack.sh"),
        include_str!("commit.sh")
    ),
    concat!(
        include_str!("kept.sh"),
        include_str!("begin.sh"),
        include_str!("tar.sh"),
        include_str!("offer.sh"),
        include_str!("resume.sh"),
        include_str!("commit.sh")
    ),
];
/// The most that is read of what lies at the far end, when it differs.
const DIFFERS: u64 = 64 << 20;
/// How long the far end may take to clean up behind a copy that broke off.
pub(super) const CLEANING: Duration = Duration::from_secs(5);

/// Copies entries into a container.
///
/// # Errors
/// As [`Connection::copy_in`](pod_core::Connection::copy_in).
pub async fn copy_in(far: Arc<dyn Far>, request: CopyInRequest) -> Result<CopyReport> {
    let resume = request.resume;
    // Its state is large, and would be part of every caller's.
    Box::pin(take_in(far, request)).await.map_err(|e| if resume { to_resume(e) } else { e })
}

/// Says what can be done about a copy that may be taken up, where that helps.
fn to_resume(error: Error) -> Error {
    let helps = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Exhausted | ErrorKind::Timeout)
        || error.kind() == ErrorKind::Integrity && error.message() != errors::DIFFERS;
    if !helps || error.hint().is_some() {
        return error;
    }
    error.with_hint("what arrived whole is kept: copy again with `--resume`")
}

async fn take_in(far: Arc<dyn Far>, request: CopyInRequest) -> Result<CopyReport> {
    check_path(&request.dest)?;
    let mut source = request.source.open()?;
    let first = First::take(&mut source).await?;
    let dest = trimmed(&request.dest);
    let how = How { verify: request.verify, archive: request.archive, resume: request.resume };
    let mut running = start(&*far, dest, &first, how).await?;
    let (tar, superuser) = match begun(&mut running).await? {
        // What was begun cleans up behind itself when it is let go of.
        Begun::Tar(..) if !running.half_close => {
            if how.resume {
                // What it took up must be free again.
                let _ = tokio::time::timeout(CLEANING, finish(running)).await;
            } else {
                drop(running);
            }
            return by_files(far, dest, source, first, how).await;
        }
        Begun::Tar(tar, superuser) => (tar, superuser),
        Begun::Not(words) if words == "E notar" => {
            drop(running);
            return by_files(far, dest, source, first, how).await;
        }
        Begun::Not(words) => return Err(refused(&*far, &words, dest, running).await),
    };
    let far = &*far;
    let kept = match how.resume {
        false => None,
        true => match Kept::read(&mut running).await {
            Ok(kept) => Some(kept),
            // What it complains of tells more.
            Err(e) => return Err(finish(running).await.error(far, dest, None).unwrap_or(e)),
        },
    };
    let mut stdin = running.stdin.take().ok_or_else(|| Error::unexpected("the script has no stdin"))?;
    let (sink, entries) = EntryStream::channel();
    let mut relay = Relay::new(sink, how, tar, superuser, kept);
    // Without its end mark the far end takes the stream for cut, whatever it has of it.
    let write = async {
        let written = write_with(entries, &mut stdin, &TarOptions::new().with_sparse(tar == Tar::Gnu)).await;
        if written.is_ok() {
            // A far end that is gone shows in its status.
            let _ = stdin.shutdown().await;
        }
        drop(stdin);
        written
    };
    let finish = finish(running);
    tokio::pin!(finish);
    let both = async {
        let (relayed, written) = tokio::join!(relay.run(source, first), write);
        relayed.and(written.map(drop))
    };
    let sent = tokio::select! {
        sent = both => sent,
        // The far end ended before it had all: its word counts.
        ended = &mut finish => {
            let less = || Error::new(ErrorKind::Integrity, "the workload took less than was sent");
            return Err(ended.error(far, dest, None).unwrap_or_else(less));
        }
    };
    match sent {
        Ok(()) => match finish.await.error(far, dest, Some(&relay.manifest)) {
            Some(error) => Err(error),
            None => Ok(relay.report),
        },
        Err(e) if is_broken_pipe(&e) => Err(finish.await.error(far, dest, None).unwrap_or(e)),
        Err(e) => {
            // Nothing of it is left when the caller hears of it.
            let _ = tokio::time::timeout(CLEANING, finish).await;
            Err(e)
        }
    }
}

async fn by_files(far: Arc<dyn Far>, dest: &[u8], source: EntryStream, first: First, how: How) -> Result<CopyReport> {
    let plain = Plain::begin(far, dest, &first, how).await?;
    plain::copy_in(plain, source, first).await
}

fn is_broken_pipe(error: &Error) -> bool {
    use std::error::Error as _;
    error
        .source()
        .and_then(|s| s.downcast_ref::<std::io::Error>())
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The path without slashes at its end.
fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(1, |at| at + 1);
    &path[..end]
}

/// The directory that a path is in.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    match split(path).0 {
        b"" => b"/",
        parent => parent,
    }
}

/// A check as a script's word.
pub(super) fn verify_word(verify: Verify) -> &'static str {
    match verify {
        Verify::Length => "l",
        Verify::Hash => "h",
        Verify::None => "n",
    }
}

/// Whether what arrived is kept when the copy breaks off, as a script's word.
pub(super) fn keep_word(resume: bool) -> &'static str {
    if resume { "y" } else { "" }
}

/// What the scripts that copy in are told.
pub(super) struct Script<'a> {
    pub(super) dest: &'a [u8],
    pub(super) is_dir: bool,
    pub(super) how: How,
    pub(super) by: &'a str,
    pub(super) token: &'a str,
}

impl Script<'_> {
    pub(super) fn args(&self) -> [String; 9] {
        [
            escaped(self.dest),
            escaped(parent(self.dest)),
            self.token.to_owned(),
            if self.is_dir { "d" } else { "f" }.to_owned(),
            if self.how.archive { "" } else { "-o" }.to_owned(),
            verify_word(self.how.verify).to_owned(),
            self.by.to_owned(),
            kept::id(self.dest, self.is_dir),
            keep_word(self.how.resume).to_owned(),
        ]
    }
}

async fn start(far: &dyn Far, dest: &[u8], first: &First, how: How) -> Result<Running> {
    let token = uuid::Uuid::new_v4().simple().to_string();
    let script = Script { dest, is_dir: first.is_dir, how, by: "tar", token: &token };
    far.start(SCRIPT[usize::from(how.resume)], &script.args(), true).await.map_err(|e| no_shell(far, e))
}

/// What the script said first.
enum Begun {
    /// It has a place and a tar; whether it is the superuser's.
    Tar(Tar, bool),
    /// It has not, for this reason.
    Not(String),
}

async fn begun(running: &mut Running) -> Result<Begun> {
    let Some(line) = running.line().await? else { return Ok(Begun::Not(String::new())) };
    let text = String::from_utf8_lossy(&line).into_owned();
    let words: Vec<&str> = text.split(' ').collect();
    Ok(match words.as_slice() {
        ["T", tar, uid] => {
            let tar = if *tar == "gnu" { Tar::Gnu } else { Tar::Other };
            Begun::Tar(tar, *uid == "0")
        }
        _ => Begun::Not(text),
    })
}

/// The error for what the script refused.
pub(super) async fn refused(far: &dyn Far, words: &str, dest: &[u8], running: Running) -> Error {
    let at = |e: Error| far.about(e.with_context("path", show(dest)));
    let Some(reason) = words.strip_prefix("E ") else {
        return far.about(no_shell(far, running.failure("copy to this path", dest).await));
    };
    drop(running);
    at(errors::refusal(reason))
}

/// How the script ended, and what it and its tools said last.
pub(super) struct Finished {
    status: Result<ExitStatus>,
    pub(super) words: Vec<u8>,
    said: String,
}

pub(super) async fn finish(running: Running) -> Finished {
    let Running { stdin, stdout, stderr, end, .. } = running;
    drop(stdin);
    let read = async {
        let mut words = Vec::new();
        // What can't be read shows in the status.
        let _ = stdout.take(DIFFERS).read_to_end(&mut words).await;
        words
    };
    let (words, said, status) = tokio::join!(read, complaints(stderr), end);
    Finished { status, words, said }
}

impl Finished {
    pub(super) fn error(self, far: &dyn Far, dest: &[u8], sent: Option<&Manifest>) -> Option<Error> {
        let at = |e: Error| far.about(e.with_context("path", show(dest)));
        match self.status {
            Ok(ExitStatus::Exited(0)) => None,
            Err(e) => Some(e),
            Ok(ExitStatus::Unknown) => Some(at(Error::new(
                ErrorKind::Unavailable,
                "whether the copy was completed is not known: the stream to the workload was lost",
            ))),
            Ok(status) => {
                let line = self.words.split(|b| *b == b'\n').next().unwrap_or_default();
                let line = String::from_utf8_lossy(line);
                Some(match line.strip_prefix("E ") {
                    Some("differs") => {
                        let there = self.words.get(line.len() + 1..).unwrap_or_default();
                        let error = errors::refusal("differs");
                        at(match sent.and_then(|s| s.difference(there)) {
                            Some((entry, how)) => error.with_context("entry", entry).with_context("difference", how),
                            None => error,
                        })
                    }
                    Some("cut" | "part") if !self.said.is_empty() => {
                        far.about(errors::of_tools("copy to this path", dest, status, &self.said))
                    }
                    Some(reason) => at(errors::refusal(reason)),
                    None => far.about(errors::of_tools("copy to this path", dest, status, &self.said)),
                })
            }
        }
    }
}

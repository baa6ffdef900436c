//! Copying in.

use super::far::{Far, Running, complaints, escaped, no_shell};
use super::manifest::Manifest;
use super::plain::{self, Plain};
use super::{check_path, errors};
use bytes::Bytes;
use pod_core::copy::tar::{TarOptions, write_with};
use pod_core::copy::{
    Chunk, CopyInRequest, CopyReport, CopySource, Entry, EntryKind, EntrySink, EntryStream, Item, SOCKET, StreamCheck,
    Verify, show, split,
};
use pod_core::{Error, ErrorKind, ExitStatus, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Looks at the destination and makes a directory beside it.
pub(super) const BEGIN: &str = concat!(include_str!("begin.sh"), "\nprintf 'P %s %s\\n' \"$there\" \"$(id -u)\"\n");
/// All of it in one exec, with `tar`.
const SCRIPT: &str = concat!(include_str!("begin.sh"), include_str!("unpack.sh"), include_str!("commit.sh"));
/// The most that is read of what lies at the far end, when it differs.
const DIFFERS: u64 = 64 << 20;
/// How long the far end may take to clean up behind a copy that broke off.
pub(super) const CLEANING: Duration = Duration::from_secs(5);

/// The tar of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tar {
    Gnu,
    Other,
}

/// What the source's first entry says of the whole.
#[derive(Debug)]
pub(super) struct First {
    pub(super) item: Option<Item>,
    /// It is a directory, or entries that fill one.
    pub(super) is_dir: bool,
}

impl First {
    /// Takes the first entry.
    ///
    /// # Errors
    /// What the source gives; `InvalidInput` for a root that can't be made.
    pub(super) async fn take(stream: &mut EntryStream) -> Result<Self> {
        let item = stream.next().await?;
        let is_dir = match &item {
            None => true,
            Some(Item::Entry(entry)) => !entry.path.is_empty() || entry.kind == EntryKind::Dir,
            Some(_) => return Err(Error::new(ErrorKind::Integrity, "contents came before any entry")),
        };
        Ok(Self { item, is_dir })
    }
}

/// Copies entries into a container.
///
/// # Errors
/// As [`Connection::copy_in`](pod_core::Connection::copy_in).
pub(crate) async fn copy_in(far: Arc<dyn Far>, request: CopyInRequest) -> Result<CopyReport> {
    // Its state is large, and would be part of every caller's.
    Box::pin(take_in(far, request)).await
}

async fn take_in(far: Arc<dyn Far>, request: CopyInRequest) -> Result<CopyReport> {
    check_path(&request.dest)?;
    let mut source = request.source.open()?;
    let first = First::take(&mut source).await?;
    let dest = trimmed(&request.dest);
    let mut running = start(&*far, dest, &first, request.verify, request.archive).await?;
    let (tar, superuser) = match begun(&mut running).await? {
        // What was begun cleans up behind itself when it is let go of.
        Begun::Tar(..) if !running.half_close => {
            drop(running);
            return by_files(far, dest, source, first, request.verify, request.archive).await;
        }
        Begun::Tar(tar, superuser) => (tar, superuser),
        Begun::Not(words) if words == "E notar" => {
            drop(running);
            return by_files(far, dest, source, first, request.verify, request.archive).await;
        }
        Begun::Not(words) => return Err(refused(&*far, &words, dest, running).await),
    };
    let far = &*far;
    let mut stdin = running.stdin.take().ok_or_else(|| Error::unexpected("the script has no stdin"))?;
    let (sink, entries) = EntryStream::channel();
    let mut relay = Relay::new(sink, &request.archive, request.verify, tar, superuser);
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
            let less = || Error::new(ErrorKind::Integrity, "the pod took less than was sent");
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

async fn by_files(
    far: Arc<dyn Far>,
    dest: &[u8],
    source: EntryStream,
    first: First,
    verify: Verify,
    archive: bool,
) -> Result<CopyReport> {
    let plain = Plain::begin(far, dest, &first, verify, archive).await?;
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

/// What the scripts that copy in are told.
pub(super) struct Script<'a> {
    pub(super) dest: &'a [u8],
    pub(super) is_dir: bool,
    pub(super) verify: Verify,
    pub(super) archive: bool,
    pub(super) how: &'a str,
    pub(super) token: &'a str,
}

impl Script<'_> {
    pub(super) fn args(&self) -> [String; 7] {
        [
            escaped(self.dest),
            escaped(parent(self.dest)),
            self.token.to_owned(),
            if self.is_dir { "d" } else { "f" }.to_owned(),
            if self.archive { "" } else { "-o" }.to_owned(),
            verify_word(self.verify).to_owned(),
            self.how.to_owned(),
        ]
    }
}

async fn start(far: &dyn Far, dest: &[u8], first: &First, verify: Verify, archive: bool) -> Result<Running> {
    let token = uuid::Uuid::new_v4().simple().to_string();
    let script = Script { dest, is_dir: first.is_dir, verify, archive, how: "tar", token: &token };
    far.start(SCRIPT, &script.args(), true).await.map_err(no_shell)
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
        return far.about(no_shell(running.failure("copy to this path", dest).await));
    };
    drop(running);
    at(reason_error(reason))
}

/// What the script's own words mean.
fn reason_error(reason: &str) -> Error {
    let conflict = |what: &str| {
        Error::new(ErrorKind::Conflict, what).with_hint("choose another destination, or remove what is there")
    };
    match reason.split_once(' ').unwrap_or((reason, "")) {
        ("parent", _) => {
            Error::new(ErrorKind::NotFound, "the directory to copy into does not exist").with_hint("make it first")
        }
        ("conflict", "f") => conflict("a directory can't be copied onto a file"),
        ("conflict", _) => conflict("a file can't be copied onto a directory"),
        ("clash", entry) => {
            let (kind, name) = entry.split_once(' ').unwrap_or(("", entry));
            let what = if kind == "d" {
                "a directory of the copy meets a file or link in the pod"
            } else {
                "a file of the copy meets a directory in the pod"
            };
            conflict(what).with_context("entry", name.trim_start_matches("./").to_owned())
        }
        ("nohash", _) => Error::unsupported("the image has no `sha256sum` to check by")
            .with_hint("leave the check at lengths: `--verify length`"),
        ("nocheck", _) => Error::unsupported("the image lacks `find`, `stat` or `sort` to check by")
            .with_hint("copy without a check: `--verify none`"),
        ("cut", _) => Error::new(ErrorKind::Integrity, "the pod got only part of the copy; nothing of it was kept"),
        ("differs", _) => {
            Error::new(ErrorKind::Integrity, "what the pod has differs from what was sent; nothing of it was kept")
        }
        _ => Error::unexpected("the copy's script says something unknown").with_context("said", reason),
    }
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
                "whether the copy was completed is not known: the stream to the pod was lost",
            ))),
            Ok(status) => {
                let line = self.words.split(|b| *b == b'\n').next().unwrap_or_default();
                let line = String::from_utf8_lossy(line);
                Some(match line.strip_prefix("E ") {
                    Some("differs") => {
                        let there = self.words.get(line.len() + 1..).unwrap_or_default();
                        let error = reason_error("differs");
                        at(match sent.and_then(|s| s.difference(there)) {
                            Some((entry, how)) => error.with_context("entry", entry).with_context("difference", how),
                            None => error,
                        })
                    }
                    Some("cut") if !self.said.is_empty() => {
                        far.about(errors::of_tools("copy to this path", dest, status, &self.said))
                    }
                    Some(reason) => at(reason_error(reason)),
                    None => far.about(errors::of_tools("copy to this path", dest, status, &self.said)),
                })
            }
        }
    }
}

/// Brings the source's entries into the form the script takes: the root is `r`, the list of what to check
/// `e`, which comes last; directories come once more before it, so that their modes and times are set
/// when nothing is written into them any more. BusyBox's tar makes links at the very end of an archive
/// only, so there the directories are an archive of their own, the file `d`.
struct Relay {
    sink: Option<EntrySink>,
    check: StreamCheck,
    archive: bool,
    tar: Tar,
    superuser: bool,
    dirs: Vec<Entry>,
    manifest: Manifest,
    report: CopyReport,
    /// The file under way: what of it came.
    open: Option<Open>,
}

struct Open {
    size: u64,
    came: u64,
    mapped: bool,
}

impl Relay {
    fn new(sink: EntrySink, archive: &bool, verify: Verify, tar: Tar, superuser: bool) -> Self {
        Self {
            sink: Some(sink),
            check: StreamCheck::new(None, None),
            archive: *archive,
            tar,
            superuser,
            dirs: Vec::new(),
            manifest: Manifest::new(verify),
            report: CopyReport::checked_by(verify),
            open: None,
        }
    }

    fn lacks(&mut self, what: &str) {
        if !self.report.not_kept.iter().any(|w| w == what) {
            self.report.not_kept.push(what.to_owned());
        }
    }

    /// Sends an item on; an error when nobody takes it any more, which the writer explains.
    async fn send(&self, item: Item) -> Result<()> {
        match &self.sink {
            Some(sink) if sink.send(Ok(item)).await => Ok(()),
            _ => Err(gone()),
        }
    }

    async fn run(&mut self, mut source: EntryStream, first: First) -> Result<()> {
        let sent = self.all(&mut source, first).await;
        match (sent, self.sink.take()) {
            (Ok(()), Some(sink)) => {
                sink.finish().await;
                Ok(())
            }
            // A sink that is dropped makes the writer stop without an end mark.
            (Err(e), _) if is_gone(&e) => Ok(()), // the writer knows why
            (sent, _) => sent,
        }
    }

    async fn all(&mut self, source: &mut EntryStream, first: First) -> Result<()> {
        self.send(Item::Entry(Entry::new("", EntryKind::Dir).with_mode(0o700))).await?;
        let mut next = first.item;
        if !matches!(&next, Some(Item::Entry(entry)) if entry.path.is_empty()) {
            // Entries without a root of their own fill a directory that is there.
            self.send(Item::Entry(Entry::new("r", EntryKind::Dir))).await?;
        }
        while let Some(item) = next {
            match item {
                Item::Entry(entry) => {
                    self.settle();
                    self.entry(entry).await?;
                }
                Item::Chunk(chunk) => self.chunk(chunk).await?,
                _ => return Err(Error::unexpected("the copy holds an item of an unknown kind")),
            }
            next = source.next().await?;
        }
        self.settle();
        let dirs: Vec<_> = std::mem::take(&mut self.dirs).into_iter().rev().collect();
        if self.tar == Tar::Gnu {
            for dir in dirs {
                self.send(Item::Entry(dir)).await?;
            }
        } else if !dirs.is_empty() {
            let list = archive(dirs).await?;
            self.file("d", list).await?;
        }
        let list = self.manifest.list();
        self.file("e", list).await
    }

    /// Sends a file of our own.
    async fn file(&self, name: &str, data: Bytes) -> Result<()> {
        self.send(Item::Entry(Entry::new(name, EntryKind::File { size: data.len() as u64 }))).await?;
        if !data.is_empty() {
            self.send(Item::Chunk(Chunk { offset: 0, data })).await?;
        }
        Ok(())
    }

    async fn entry(&mut self, mut entry: Entry) -> Result<()> {
        self.check.entry(&entry)?;
        if entry.kind == EntryKind::Special(SOCKET) {
            self.lacks("sockets");
            return Ok(());
        }
        if !self.archive {
            entry.mode &= 0o1777;
        } else if !self.superuser {
            self.lacks("owners");
            entry.mode &= 0o1777;
        }
        if self.tar != Tar::Gnu && entry.mtime.1 != 0 {
            self.lacks("times below a second");
            entry.mtime.1 = 0;
        }
        if self.tar != Tar::Gnu && matches!(entry.kind, EntryKind::Symlink { .. }) {
            self.lacks("times of symbolic links");
        }
        entry.path = below(&entry.path);
        match &mut entry.kind {
            EntryKind::File { size } => {
                self.open = Some(Open { size: *size, came: 0, mapped: entry.extents.is_some() });
                self.manifest.file(&entry.path, *size);
            }
            EntryKind::Hardlink { target } => {
                *target = below(target);
                self.manifest.link(&entry.path, target);
            }
            EntryKind::Dir => {
                let mut now = entry.clone();
                // Written into by whoever the container's user is; as it shall be in the end, later.
                now.mode |= 0o700;
                std::mem::swap(&mut now, &mut entry);
                self.dirs.push(now);
            }
            _ => self.manifest.other(&entry.path),
        }
        self.report.entries += 1;
        self.send(Item::Entry(entry)).await
    }

    async fn chunk(&mut self, chunk: Chunk) -> Result<()> {
        let end = chunk.offset.checked_add(chunk.data.len() as u64);
        match &mut self.open {
            Some(open) if end.is_some_and(|end| end <= open.size) => open.came += chunk.data.len() as u64,
            _ => {
                return Err(Error::new(ErrorKind::Integrity, "the contents don't fit the size given")
                    .with_context("offset", chunk.offset.to_string()));
            }
        }
        self.report.bytes += chunk.data.len() as u64;
        self.manifest.data(&chunk);
        self.send(Item::Chunk(chunk)).await
    }

    /// Closes the file under way.
    fn settle(&mut self) {
        if let Some(open) = self.open.take()
            && open.came < open.size
            && !(self.tar == Tar::Gnu && open.mapped)
        {
            self.lacks("holes");
        }
        self.manifest.settle();
    }
}

/// An archive of these directories.
async fn archive(dirs: Vec<Entry>) -> Result<Bytes> {
    let mut data = Vec::new();
    let entries = CopySource::Memory(dirs.into_iter().map(|dir| (dir, Bytes::new())).collect()).open()?;
    write_with(entries, &mut data, &TarOptions::new()).await?;
    Ok(data.into())
}

/// A path of the copy as the script has it.
pub(super) fn below(path: &[u8]) -> Vec<u8> {
    if path.is_empty() { b"r".to_vec() } else { [b"r/", path].concat() }
}

fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "nobody takes the copy any more")
}

fn is_gone(error: &Error) -> bool {
    error.kind() == ErrorKind::Cancelled && error.message() == "nobody takes the copy any more"
}

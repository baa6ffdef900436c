//! Copying in where the image has no `tar`, or the server can't tell the end of stdin: each file in an exec
//! of its own, with as many bytes as it has.
//!
//! As with `tar`, a copy goes beside its destination first and is moved when it is whole.

use super::far::{Far, Running, complaints, no_shell};
use super::kept::{self, Found, Kept};
use super::relay::{self, First, How};
use super::upload::{self, CLEANING, Script};
use crate::{Manifest, escaped};
use pod_core::copy::{Chunk, CopyReport, Entry, EntryKind, EntryStream, Item, SOCKET, StreamCheck};
use pod_core::{BoxWrite, Error, ErrorKind, ExitStatus, Result};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

const STEP: &str = include_str!("step.sh");
const COMMIT: &str = concat!(
    "LC_ALL=C\nexport LC_ALL\n",
    "plain() { v=$(printf '%b.' \"$1\"); v=${v%.}; }\n",
    "fail() { printf 'E %s\\n' \"$1\"; exit 9; }\n",
    "kind=$3 there=$4 verify=$5 n=.pod-keep-$7 keep=$8\nfollow=\n[ \"$kind\" = f ] || follow=f\n",
    "${place:-plain} \"$1\" $follow; dest=$v\n${place:-plain} \"$6\" f; up=$v\n",
    "${place:-plain} \"$2\" f; s=$v\nk=${s%/*}/$n\n",
    include_str!("kept.sh"),
    "trap leave 0\ncd -- \"$s\" || exit 8\n",
    include_str!("commit.sh")
);

/// How long the arguments of one exec get.
pub(super) const ARGUMENTS: usize = 12 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A copy under way beside its destination.
pub(super) struct Plain {
    far: Arc<dyn Far>,
    dest: Vec<u8>,
    /// The directory beside the destination, in a script's words.
    staging: String,
    /// Where it stays when the copy breaks off, if it does.
    keep: Option<String>,
    is_dir: bool,
    there: String,
    how: How,
    superuser: bool,
    kept: Option<Kept>,
    ops: Vec<[String; 3]>,
    done: bool,
}

impl Drop for Plain {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // Given up on the way: what was brought goes.
        let (far, staging, keep) = (self.far.clone(), self.staging.clone(), self.keep.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(e) = discard(&*far, &staging, keep.as_deref()).await {
                    tracing::warn!(target: "pod", error = %e, staging, "a broken copy's directory is left in the workload");
                }
            });
        }
    }
}

/// Takes away what was brought, or leaves it to a copy that takes it up.
async fn discard(far: &dyn Far, staging: &str, keep: Option<&str>) -> Result<()> {
    let args = ["/", if keep.is_some() { "y" } else { "x" }, staging, keep.unwrap_or_default()].map(str::to_owned);
    let running = far.start(STEP, &args, false).await?;
    let Running { stderr, end, stdout, .. } = running;
    drop(stdout);
    let (said, status) = tokio::join!(complaints(stderr), end);
    match status? {
        ExitStatus::Exited(0) => Ok(()),
        status => Err(super::errors::of_tools("clean up", staging.as_bytes(), status, &said)),
    }
}

impl Plain {
    /// Makes the directory beside the destination.
    pub(super) async fn begin(far: Arc<dyn Far>, dest: &[u8], first: &First, how: How) -> Result<Self> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let script = Script { dest, is_dir: first.is_dir, how, by: "plain", token: &token };
        let begin = upload::BEGIN[usize::from(how.resume)];
        let mut running = far.start(begin, &script.args(), false).await.map_err(|e| no_shell(&*far, e))?;
        let line = running.line().await?.map(|l| String::from_utf8_lossy(&l).into_owned()).unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        let ["P", there, uid] = words.as_slice() else {
            return Err(upload::refused(&*far, &line, dest, running).await);
        };
        let into = first.is_dir && *there == "d";
        let beside = if into { dest } else { upload::parent(dest) };
        let kept_as = [beside, b"/.pod-keep-", kept::id(dest, first.is_dir).as_bytes()].concat();
        let staging = match how.resume {
            true => escaped(&[kept_as.as_slice(), b"-", token.as_bytes()].concat()),
            false => escaped(&[beside, b"/.pod-", token.as_bytes()].concat()),
        };
        let (there, superuser) = ((*there).to_owned(), *uid == "0");
        let mut plain = Self {
            dest: dest.to_vec(),
            staging,
            keep: how.resume.then(|| escaped(&kept_as)),
            is_dir: first.is_dir,
            there,
            how,
            superuser,
            kept: None,
            ops: Vec::new(),
            done: false,
            far,
        };
        if how.resume {
            match Kept::read(&mut running).await {
                Ok(kept) => plain.kept = Some(kept),
                // What it complains of tells more.
                Err(e) => {
                    let finished = upload::finish(running).await;
                    return Err(finished.error(&*plain.far, dest, None).unwrap_or(e));
                }
            }
        }
        Ok(plain)
    }

    /// Takes away what was brought, so that nothing of it is left when the caller hears of the failure.
    async fn give_up(&mut self) {
        let discard = discard(&*self.far, &self.staging, self.keep.as_deref());
        if !self.done && matches!(tokio::time::timeout(CLEANING, discard).await, Ok(Ok(()))) {
            self.done = true;
        }
    }

    fn op(&mut self, what: &str, path: &[u8], with: &[u8]) {
        self.ops.push([what.to_owned(), escaped(path), escaped(with)]);
    }

    /// What shall be set on an entry when it is there. The directories' own come last.
    fn attributes(&mut self, entry: &Entry, report: &mut CopyReport) {
        let keep = self.how.archive && self.superuser;
        if self.how.archive && !self.superuser {
            lacks(report, "owners");
        }
        let path = relay::below(&entry.path);
        if keep {
            self.op("o", &path, format!("{}:{}", entry.uid, entry.gid).as_bytes());
        }
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            let mode = if keep { entry.mode & 0o7777 } else { entry.mode & 0o1777 };
            self.op("m", &path, format!("{mode:o}").as_bytes());
            if entry.mtime.1 != 0 {
                lacks(report, "times below a second");
            }
            self.op("t", &path, entry.mtime.0.to_string().as_bytes());
        } else {
            lacks(report, "times of symbolic links");
        }
    }

    /// Carries out what is gathered, in as many execs as its length takes.
    async fn flush(&mut self, report: &mut CopyReport, all: bool) -> Result<()> {
        let length = |ops: &[[String; 3]]| -> usize { ops.iter().flatten().map(|a| a.len() + 12).sum() };
        while !self.ops.is_empty() && (all || length(&self.ops) > ARGUMENTS) {
            let mut now = 0;
            let mut taken = 0;
            while taken < self.ops.len() && (taken == 0 || now < ARGUMENTS) {
                now += length(&self.ops[taken..=taken]);
                taken += 1;
            }
            let rest = self.ops.split_off(taken);
            let ops = std::mem::replace(&mut self.ops, rest);
            let running = self.step(ops, false).await?;
            self.stepped(running, report).await?;
        }
        Ok(())
    }

    async fn step(&self, ops: Vec<[String; 3]>, stdin: bool) -> Result<Running> {
        let args: Vec<String> = std::iter::once(self.staging.clone()).chain(ops.into_iter().flatten()).collect();
        self.far.start(STEP, &args, stdin).await.map_err(|e| no_shell(&*self.far, e))
    }

    /// Waits for a step's end.
    async fn stepped(&self, running: Running, report: &mut CopyReport) -> Result<()> {
        let finished = upload::finish(running).await;
        if finished.words.split(|b| *b == b'\n').any(|l| l == b"N times") {
            lacks(report, "times");
        }
        match finished.error(&*self.far, &self.dest, None) {
            None => Ok(()),
            Some(e) => Err(e),
        }
    }

    /// Writes a file of this size; its contents come by [`File::put`].
    async fn file(&mut self, path: &[u8], size: u64) -> Result<File> {
        self.op("f", path, size.to_string().as_bytes());
        let ops = std::mem::take(&mut self.ops);
        let mut running = self.step(ops, true).await?;
        let stdin = running.stdin.take().ok_or_else(|| Error::unexpected("the script has no stdin"))?;
        Ok(File { running, stdin, size, at: 0 })
    }

    /// Begins a file, unless the far end has it.
    async fn body(&mut self, path: &[u8], entry: &Entry, size: u64, report: &mut CopyReport) -> Result<Body> {
        let owners = self.how.archive && self.superuser;
        let mut as_set = entry.clone();
        as_set.path = path.to_vec();
        as_set.mtime.1 = 0;
        as_set.mode &= if owners { 0o7777 } else { 0o1777 };
        let found = self.kept.as_ref().and_then(|kept| kept.find(&as_set, owners)).cloned();
        let Some(found) = found else { return Ok(Body::Sent(self.file(path, size).await?)) };
        if entry.mtime.1 != 0 {
            lacks(report, "times below a second");
        }
        if let Some(hash) = found.waits_for().map(str::to_owned) {
            return Ok(Body::Held { found, hash, chunks: Vec::new() });
        }
        self.take(path, &found, report);
        Ok(Body::Left)
    }

    /// Moves what the far end has into its place.
    fn take(&mut self, path: &[u8], found: &Found, report: &mut CopyReport) {
        self.op("v", &found.from, path);
        report.resumed += 1;
    }

    async fn commit(&mut self) -> Result<()> {
        let args = [
            escaped(&self.dest),
            self.staging.clone(),
            if self.is_dir { "d" } else { "f" }.to_owned(),
            self.there.clone(),
            upload::verify_word(self.how.verify).to_owned(),
            escaped(upload::parent(&self.dest)),
            kept::id(&self.dest, self.is_dir),
            upload::keep_word(self.how.resume).to_owned(),
        ];
        let running = self.far.start(COMMIT, &args, false).await.map_err(|e| no_shell(&*self.far, e))?;
        let finished = upload::finish(running).await;
        // Its script cleans up, whatever happens.
        self.done = true;
        finished.error(&*self.far, &self.dest, None).map_or(Ok(()), Err)
    }
}

/// A file on its way.
struct File {
    running: Running,
    stdin: BoxWrite,
    size: u64,
    at: u64,
}

impl File {
    /// Gives it up, and waits until its script has ended, for a while.
    async fn abandon(self) {
        let Self { running, stdin, .. } = self;
        drop(stdin);
        // How it ended is of no interest: what it wrote goes.
        let _ = tokio::time::timeout(CLEANING, upload::finish(running)).await;
    }

    async fn zeros(&mut self, until: u64) -> std::io::Result<()> {
        while self.at < until {
            let now = usize::try_from(until - self.at).map_or(ZEROS.len(), |n| n.min(ZEROS.len()));
            self.stdin.write_all(&ZEROS[..now]).await?;
            self.at += now as u64;
        }
        Ok(())
    }

    /// Writes a piece; `false` when the far end takes no more, which its end explains.
    async fn put(&mut self, chunk: &Chunk) -> Result<bool> {
        let end = chunk.offset.checked_add(chunk.data.len() as u64).filter(|e| *e <= self.size);
        if end.is_none() || chunk.offset < self.at {
            return Err(Error::new(
                ErrorKind::Integrity,
                "the contents don't fit the size given, or come out of order",
            )
            .with_context("offset", chunk.offset.to_string()));
        }
        if self.zeros(chunk.offset).await.is_err() || self.stdin.write_all(&chunk.data).await.is_err() {
            return Ok(false);
        }
        self.at += chunk.data.len() as u64;
        Ok(true)
    }
}

fn lacks(report: &mut CopyReport, what: &str) {
    if !report.not_kept.iter().any(|w| w == what) {
        report.not_kept.push(what.to_owned());
    }
}

/// Copies entries in, a file at a time.
///
/// # Errors
/// As [`Connection::copy_in`](pod_core::Connection::copy_in).
pub(super) async fn copy_in(mut plain: Plain, source: EntryStream, first: First) -> Result<CopyReport> {
    let mut open = None;
    let brought = bring(&mut plain, source, first, &mut open).await;
    if brought.is_err() {
        // Not while something still writes into it.
        if let Some(Open { body: Body::Sent(file), .. }) = open {
            file.abandon().await;
        }
        plain.give_up().await;
    }
    brought
}

/// The file under way.
struct Open {
    entry: Entry,
    size: u64,
    came: u64,
    body: Body,
}

/// What becomes of a file's contents.
enum Body {
    Sent(File),
    /// The far end has them.
    Left,
    /// The far end has them if the hash is this one; they wait until that is known.
    Held {
        found: Found,
        hash: String,
        chunks: Vec<Chunk>,
    },
}

async fn bring(
    plain: &mut Plain,
    mut source: EntryStream,
    first: First,
    open: &mut Option<Open>,
) -> Result<CopyReport> {
    let mut report = CopyReport::checked_by(plain.how.verify);
    let mut manifest = Manifest::new(plain.how.verify);
    let mut check = StreamCheck::new(None, None);
    let mut dirs: Vec<Entry> = Vec::new();
    let mut next = first.item;
    if !matches!(&next, Some(Item::Entry(entry)) if entry.path.is_empty()) {
        plain.op("d", b"r", b"");
    }
    while let Some(item) = next.take() {
        match item {
            Item::Entry(entry) => {
                close(plain, open, &mut report, &mut manifest).await?;
                check.entry(&entry)?;
                let path = relay::below(&entry.path);
                match &entry.kind {
                    EntryKind::Special(SOCKET) => {
                        lacks(&mut report, "sockets");
                        next = source.next().await?;
                        continue;
                    }
                    EntryKind::File { size } => {
                        let size = *size;
                        manifest.file(&path, size);
                        plain.flush(&mut report, false).await?;
                        let body = plain.body(&path, &entry, size, &mut report).await?;
                        *open = Some(Open { entry, size, came: 0, body });
                    }
                    EntryKind::Dir => {
                        plain.op("d", &path, b"");
                        dirs.push(entry);
                    }
                    EntryKind::Symlink { target } => {
                        manifest.other(&path);
                        plain.op("l", &path, target);
                        plain.attributes(&entry, &mut report);
                    }
                    EntryKind::Hardlink { target } => {
                        let target = relay::below(target);
                        manifest.link(&path, &target);
                        plain.op("h", &path, &target);
                    }
                    _ => return Err(Error::unexpected("the copy holds an entry of an unknown kind")),
                }
                report.entries += 1;
                plain.flush(&mut report, false).await?;
            }
            Item::Chunk(chunk) => {
                let Some(Open { size, came, body, .. }) = open.as_mut() else {
                    return Err(Error::new(ErrorKind::Integrity, "contents came for something that is no file"));
                };
                if chunk.offset.checked_add(chunk.data.len() as u64).is_none_or(|end| end > *size) {
                    return Err(Error::new(ErrorKind::Integrity, "the contents don't fit the size given")
                        .with_context("offset", chunk.offset.to_string()));
                }
                manifest.data(&chunk);
                *came += chunk.data.len() as u64;
                report.bytes += chunk.data.len() as u64;
                match body {
                    Body::Sent(file) => {
                        if !file.put(&chunk).await? {
                            if let Some(Open { body: Body::Sent(file), .. }) = open.take() {
                                plain.stepped(file.running, &mut report).await?;
                            }
                            return Err(Error::new(ErrorKind::Integrity, "the workload took less than was sent"));
                        }
                    }
                    Body::Left => {}
                    Body::Held { chunks, .. } => chunks.push(chunk),
                }
            }
            _ => return Err(Error::unexpected("the copy holds an item of an unknown kind")),
        }
        next = source.next().await?;
    }
    close(plain, open, &mut report, &mut manifest).await?;
    for dir in dirs.into_iter().rev() {
        plain.attributes(&dir, &mut report);
    }
    plain.flush(&mut report, true).await?;
    let list = manifest.list();
    let mut file = plain.file(b"e", list.len() as u64).await?;
    file.put(&Chunk { offset: 0, data: list }).await?;
    finish_file(plain, file, &mut report).await?;
    plain.commit().await?;
    Ok(report)
}

async fn close(
    plain: &mut Plain,
    open: &mut Option<Open>,
    report: &mut CopyReport,
    manifest: &mut Manifest,
) -> Result<()> {
    let Some(Open { entry, size, came, body }) = open.take() else { return Ok(()) };
    manifest.settle();
    let path = relay::below(&entry.path);
    let file = match body {
        Body::Left => return Ok(()),
        Body::Sent(file) => file,
        Body::Held { found, hash, .. } if manifest.hash(&path) == Some(hash.as_str()) => {
            plain.take(&path, &found, report);
            return Ok(());
        }
        Body::Held { chunks, .. } => {
            let file = plain.file(&path, size).await?;
            let body = Body::Sent(file);
            *open = Some(Open { entry: entry.clone(), size, came, body });
            for chunk in &chunks {
                if let Some(Open { body: Body::Sent(file), .. }) = open
                    && !file.put(chunk).await?
                {
                    break;
                }
            }
            match open.take() {
                Some(Open { body: Body::Sent(file), .. }) => file,
                _ => return Err(Error::unexpected("the file under way was lost")),
            }
        }
    };
    if came < size {
        lacks(report, "holes");
    }
    finish_file(plain, file, report).await?;
    plain.attributes(&entry, report);
    Ok(())
}

async fn finish_file(plain: &Plain, mut file: File, report: &mut CopyReport) -> Result<()> {
    // A far end that takes no more says why in its end.
    if file.zeros(file.size).await.is_ok() && file.running.half_close {
        let _ = file.stdin.shutdown().await;
    }
    let File { running, stdin, .. } = file;
    // Without a half-close the end of stdin is the end of the exec: it is held until the script has ended.
    let held = (!running.half_close).then_some(stdin);
    let done = plain.stepped(running, report).await;
    drop(held);
    done
}

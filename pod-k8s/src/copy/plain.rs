//! Copying where the image has no `tar`, or the server can't tell the end of stdin: each file in an exec of
//! its own, with as many bytes as it has.
//!
//! As with `tar`, a copy in goes beside its destination first and is moved when it is whole.

use super::check_path;
use super::far::{Far, Running, complaints, escaped, no_shell};
use super::manifest::Manifest;
use super::upload::{self, CLEANING, First, Script};
use bytes::Bytes;
use pod_core::copy::{
    Chunk, CopyOutRequest, CopyReport, Entry, EntryKind, EntrySink, EntryStream, Item, SOCKET, StreamCheck, Verify,
    show,
};
use pod_core::{BoxWrite, Error, ErrorKind, ExitStatus, Result};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

const STEP: &str = include_str!("step.sh");
const LIST: &str = include_str!("list.sh");
const GIVE: &str = include_str!("give.sh");
const COMMIT: &str = concat!(
    "LC_ALL=C\nexport LC_ALL\n",
    "plain() { v=$(printf '%b.' \"$1\"); v=${v%.}; }\n",
    "fail() { printf 'E %s\\n' \"$1\"; exit 9; }\n",
    "plain \"$1\"; dest=$v\nplain \"$2\"; s=$v\nkind=$3 there=$4 verify=$5\n",
    "trap 'cd /; rm -rf -- \"$s\"' 0\ncd -- \"$s\" || exit 8\n",
    include_str!("commit.sh")
);

/// How long the arguments of one exec get.
const ARGUMENTS: usize = 12 << 10;
/// The most of a list that is taken: some million entries.
const LISTED: u64 = 512 << 20;
/// The largest piece passed on.
const PIECE: usize = 256 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A copy under way beside its destination.
pub(super) struct Plain {
    far: Arc<dyn Far>,
    dest: Vec<u8>,
    /// The directory beside the destination, in a script's words.
    staging: String,
    kind: &'static str,
    there: String,
    verify: Verify,
    archive: bool,
    superuser: bool,
    ops: Vec<[String; 3]>,
    done: bool,
}

impl Drop for Plain {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // Given up on the way: what was brought goes.
        let (far, staging) = (self.far.clone(), self.staging.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(e) = discard(&*far, &staging).await {
                    tracing::warn!(target: "pod", error = %e, staging, "a broken copy's directory is left in the pod");
                }
            });
        }
    }
}

async fn discard(far: &dyn Far, staging: &str) -> Result<()> {
    let args = ["/", "x", staging, ""].map(str::to_owned);
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
    pub(super) async fn begin(
        far: Arc<dyn Far>,
        dest: &[u8],
        first: &First,
        verify: Verify,
        archive: bool,
    ) -> Result<Self> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let script = Script { dest, is_dir: first.is_dir, verify, archive, how: "plain", token: &token };
        let mut running = far.start(upload::BEGIN, &script.args(), false).await.map_err(no_shell)?;
        let line = running.line().await?.map(|l| String::from_utf8_lossy(&l).into_owned()).unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        let ["P", there, uid] = words.as_slice() else {
            return Err(upload::refused(&*far, &line, dest, running).await);
        };
        let into = first.is_dir && *there == "d";
        let beside = if into { dest } else { upload::parent(dest) };
        let staging = escaped(&[beside, b"/.pod-", token.as_bytes()].concat());
        Ok(Self {
            dest: dest.to_vec(),
            staging,
            kind: if first.is_dir { "d" } else { "f" },
            there: (*there).to_owned(),
            verify,
            archive,
            superuser: *uid == "0",
            ops: Vec::new(),
            done: false,
            far,
        })
    }

    /// Takes away what was brought, so that nothing of it is left when the caller hears of the failure.
    async fn give_up(&mut self) {
        if !self.done && matches!(tokio::time::timeout(CLEANING, discard(&*self.far, &self.staging)).await, Ok(Ok(())))
        {
            self.done = true;
        }
    }

    fn op(&mut self, what: &str, path: &[u8], with: &[u8]) {
        self.ops.push([what.to_owned(), escaped(path), escaped(with)]);
    }

    /// What shall be set on an entry when it is there. The directories' own come last.
    fn attributes(&mut self, entry: &Entry, report: &mut CopyReport) {
        let keep = self.archive && self.superuser;
        if self.archive && !self.superuser {
            lacks(report, "owners");
        }
        let path = upload::below(&entry.path);
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
        self.far.start(STEP, &args, stdin).await.map_err(no_shell)
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

    async fn commit(&mut self) -> Result<()> {
        let verify = upload::verify_word(self.verify);
        let args = [escaped(&self.dest), self.staging.clone(), self.kind.into(), self.there.clone(), verify.into()];
        let running = self.far.start(COMMIT, &args, false).await.map_err(no_shell)?;
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
        if let Some(Open { file, .. }) = open {
            file.abandon().await;
        }
        plain.give_up().await;
    }
    brought
}

/// The file under way.
struct Open {
    entry: Entry,
    file: File,
    came: u64,
}

async fn bring(
    plain: &mut Plain,
    mut source: EntryStream,
    first: First,
    open: &mut Option<Open>,
) -> Result<CopyReport> {
    let mut report = CopyReport::checked_by(plain.verify);
    let mut manifest = Manifest::new(plain.verify);
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
                let path = upload::below(&entry.path);
                match &entry.kind {
                    EntryKind::Special(SOCKET) => {
                        lacks(&mut report, "sockets");
                        next = source.next().await?;
                        continue;
                    }
                    EntryKind::File { size } => {
                        manifest.file(&path, *size);
                        plain.flush(&mut report, false).await?;
                        let file = plain.file(&path, *size).await?;
                        *open = Some(Open { entry, file, came: 0 });
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
                        let target = upload::below(target);
                        manifest.link(&path, &target);
                        plain.op("h", &path, &target);
                    }
                    _ => return Err(Error::unexpected("the copy holds an entry of an unknown kind")),
                }
                report.entries += 1;
                plain.flush(&mut report, false).await?;
            }
            Item::Chunk(chunk) => {
                let Some(Open { file, came, .. }) = open.as_mut() else {
                    return Err(Error::new(ErrorKind::Integrity, "contents came for something that is no file"));
                };
                if !file.put(&chunk).await? {
                    if let Some(Open { file, .. }) = open.take() {
                        plain.stepped(file.running, &mut report).await?;
                    }
                    return Err(Error::new(ErrorKind::Integrity, "the pod took less than was sent"));
                }
                manifest.data(&chunk);
                *came += chunk.data.len() as u64;
                report.bytes += chunk.data.len() as u64;
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
    let Some(Open { entry, file, came }) = open.take() else { return Ok(()) };
    if came < file.size {
        lacks(report, "holes");
    }
    manifest.settle();
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

/// An entry of a list, with what is needed to tell hard links.
struct Listed {
    entry: Entry,
    links: u64,
    id: String,
}

/// Reads the list's next entry; `None` at its end.
async fn listed(running: &mut Running, root: &mut Option<Vec<u8>>) -> Result<Option<Listed>> {
    let bad = || Error::new(ErrorKind::Integrity, "the pod's list of files is not understood");
    let Some(line) = running.line().await? else { return Ok(None) };
    let mut fields = [Vec::new(), Vec::new()];
    for field in &mut fields {
        let read = (&mut running.stdout).take(LISTED).read_until(0, field).await;
        read.map_err(|e| Error::io("can't read what the pod says", e))?;
        if field.pop() != Some(0) {
            return Err(bad());
        }
    }
    let [name, mut target] = fields;
    let text = String::from_utf8_lossy(&line).into_owned();
    let words: Vec<&str> = text.split(' ').collect();
    let [mode, size, mtime, uid, gid, links, id] = words.as_slice() else { return Err(bad()) };
    let number = |t: &str| t.parse::<u64>().map_err(|_| bad());
    let mode = u32::from_str_radix(mode, 16).map_err(|_| bad())?;
    let kind = match mode & 0o170_000 {
        0o100_000 => EntryKind::File { size: number(size)? },
        0o040_000 => EntryKind::Dir,
        0o120_000 => {
            if target.pop() != Some(b'\n') {
                return Err(bad());
            }
            EntryKind::Symlink { target }
        }
        0o140_000 => EntryKind::Special(SOCKET),
        0o010_000 => EntryKind::Special("FIFO"),
        0o020_000 => EntryKind::Special("character device"),
        _ => EntryKind::Special("block device"),
    };
    // The first is what was asked for; all others lie below it.
    let path = match root {
        None => {
            *root = Some(name);
            Vec::new()
        }
        Some(root) => match name.strip_prefix(root.as_slice()) {
            Some([b'/', below @ ..]) => below.to_vec(),
            _ => return Err(bad()),
        },
    };
    let owner = |t: &str| t.parse::<u32>().map_err(|_| bad());
    let entry = Entry::new(path, kind)
        .with_mode(mode & 0o7777)
        .with_mtime(mtime.parse().map_err(|_| bad())?, 0)
        .with_owner(owner(uid)?, owner(gid)?);
    Ok(Some(Listed { entry, links: number(links)?, id: (*id).to_owned() }))
}

/// Streams a file or tree out, by a list and then files.
///
/// # Errors
/// As [`Connection::copy_out`](pod_core::Connection::copy_out).
pub(super) async fn copy_out(far: Arc<dyn Far>, request: CopyOutRequest) -> Result<EntryStream> {
    check_path(&request.path)?;
    let follow = if request.follow { "f" } else { "-" };
    let args = [escaped(&request.path), follow.to_owned()];
    let mut running = far.start(LIST, &args, false).await.map_err(no_shell)?;
    match running.line().await? {
        Some(line) if line == b"T" => {}
        Some(_) => {
            return Err(far.about(
                Error::unsupported("the image has neither `tar` nor `find` and `stat` to copy by")
                    .with_context("path", show(&request.path)),
            ));
        }
        None => {
            let error = running.failure("copy this path out", &request.path).await;
            return Err(far.about(no_shell(error)));
        }
    }
    let (mut all, mut root) = (Vec::new(), None);
    while let Some(found) = listed(&mut running, &mut root).await? {
        all.push(found);
    }
    let Running { stderr, end, .. } = running;
    let (said, status) = tokio::join!(complaints(stderr), end);
    match status? {
        ExitStatus::Exited(0) => {}
        status => return Err(far.about(super::errors::of_tools("copy this path out", &request.path, status, &said))),
    }
    let (sink, stream) = EntryStream::channel();
    tokio::spawn(async move {
        let given = tokio::select! {
            given = give(&*far, &request, all, &sink) => given,
            () = sink.closed() => return,
        };
        match given {
            Ok(()) => sink.finish().await,
            Err(e) => {
                sink.send(Err(e)).await;
            }
        }
    });
    Ok(stream)
}

/// Passes on all that was listed, several files in one exec.
async fn give(far: &dyn Far, request: &CopyOutRequest, all: Vec<Listed>, sink: &EntrySink) -> Result<()> {
    let mut first: HashMap<String, Vec<u8>> = HashMap::new();
    let mut batch: Vec<Entry> = Vec::new();
    let mut length = 0;
    for Listed { mut entry, links, id } in all {
        if links > 1 && matches!(entry.kind, EntryKind::File { .. }) {
            match first.get(&id) {
                Some(target) => entry.kind = EntryKind::Hardlink { target: target.clone() },
                None => {
                    first.insert(id, entry.path.clone());
                }
            }
        }
        length += entry.path.len() * 4 + 30;
        batch.push(entry);
        if length > ARGUMENTS {
            give_batch(far, request, std::mem::take(&mut batch), sink).await?;
            length = 0;
        }
    }
    give_batch(far, request, batch, sink).await
}

async fn give_batch(far: &dyn Far, request: &CopyOutRequest, batch: Vec<Entry>, sink: &EntrySink) -> Result<()> {
    let mut args = vec![escaped(&request.path), if request.follow { "f" } else { "-" }.to_owned()];
    for entry in &batch {
        if let EntryKind::File { size: size @ 1.. } = entry.kind {
            let path = if entry.path.is_empty() { b"." } else { entry.path.as_slice() };
            // Names that begin with `-` are read by redirection, which takes none for an option.
            args.extend([escaped(path), size.to_string()]);
        }
    }
    let running = if args.len() > 2 { Some(far.start(GIVE, &args, false).await.map_err(no_shell)?) } else { None };
    let Some(Running { mut stdout, stderr, end, .. }) = running else {
        for entry in batch {
            let _ = sink.send(Ok(Item::Entry(entry))).await;
        }
        return Ok(());
    };
    let pass = async move {
        for entry in batch {
            let (size, path) = match entry.kind {
                EntryKind::File { size } => (size, entry.path.clone()),
                _ => (0, Vec::new()),
            };
            let _ = sink.send(Ok(Item::Entry(entry))).await;
            let mut at = 0;
            while at < size {
                let now = usize::try_from(size - at).map_or(PIECE, |n| n.min(PIECE));
                let mut data = vec![0; now];
                let read = stdout.read(&mut data).await.map_err(|e| Error::io("can't read from the pod", e))?;
                if read == 0 {
                    return Err(Error::new(ErrorKind::Integrity, "a file became shorter while it was copied")
                        .with_context("entry", show(&path)));
                }
                data.truncate(read);
                let chunk = Chunk { offset: at, data: Bytes::from(data) };
                let _ = sink.send(Ok(Item::Chunk(chunk))).await;
                at += read as u64;
            }
        }
        Ok(())
    };
    let ended = async {
        let (said, status) = tokio::join!(complaints(stderr), end);
        match status? {
            ExitStatus::Exited(0) => Ok(()),
            status => Err(far.about(super::errors::of_tools("copy this path out", &request.path, status, &said))),
        }
    };
    let (passed, ended) = tokio::join!(pass, ended);
    ended.and(passed)
}

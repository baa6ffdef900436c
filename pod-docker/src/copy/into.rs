//! Copying in.

use crate::containers::Inspected;
use crate::engine::http::Body;
use crate::engine::{Query, part};
use crate::exec::{Running, Target, open_script};
use bytes::Bytes;
use futures_util::stream::poll_fn;
use futures_util::{SinkExt, StreamExt};
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use pod_core::copy::tar::{TarOptions, write_with};
use pod_core::copy::{
    Chunk, CopyInRequest, CopyReport, Entry, EntryKind, EntrySink, EntryStream, Item, SOCKET, StreamCheck, Verify,
    show, split,
};
use pod_core::{Error, ErrorKind, ExitStatus, Result};
use pod_shell::copy::{of_tools, refusal};
use pod_shell::{Manifest, escaped};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio_util::io::{CopyToBytes, SinkWriter};
use tokio_util::sync::PollSender;

const SCRIPT: &str = include_str!("in.sh");
/// The most that is read of what the script says: the list of what it has, when that differs.
const SAID: u64 = 64 << 20;
/// How long the script may take to clean up behind a copy that broke off.
const CLEANING: Duration = Duration::from_secs(10);
/// How many pieces of the tar stream are under way; each is at most as long as a chunk of a file.
const FRAMES: usize = 4;

/// Copies entries into a container.
///
/// # Errors
/// As [`Connection::copy_in`](pod_core::Connection::copy_in).
pub(crate) async fn copy_in(target: &Target, found: &Inspected, request: CopyInRequest) -> Result<CopyReport> {
    let (held, released) = oneshot::channel::<()>();
    let (tell, told) = oneshot::channel();
    let (target, user) = (target.clone(), found.config.user.clone());
    // Not part of the caller's future: one that is dropped must still be cleaned up behind.
    tokio::spawn(async move {
        let done = Box::pin(take_in(&target, &user, request, released)).await;
        let _ = tell.send(done.map_err(|e| target.about(e)));
    });
    let done = told.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Cancelled, "the runtime was shut down")));
    drop(held);
    done
}

/// The path without slashes at its end.
fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(1, |at| at + 1);
    &path[..end]
}

/// The directory that a path is in.
fn parent(path: &[u8]) -> &[u8] {
    match split(path).0 {
        b"" => b"/",
        parent => parent,
    }
}

fn verify_word(verify: Verify) -> &'static str {
    match verify {
        Verify::Length => "l",
        Verify::Hash => "h",
        Verify::None => "n",
    }
}

/// What the script's own words mean.
fn reason(words: &str) -> Error {
    match words {
        "user" => Error::invalid("the workload's user is not known in it, so the files can't be its"),
        "elsewhere" => in_the_way(),
        other => refusal(other),
    }
}

/// Where the daemon does not write what a program in the container sees.
fn in_the_way() -> Error {
    Error::unsupported("something is mounted at this path that the daemon can't write to, such as a tmpfs")
        .with_hint("copy to another path, or pipe a tar stream to a program: `pod exec -i`")
}

/// The script under way.
struct Mover {
    running: Running,
    words: BufReader<tokio::io::Take<pod_core::BoxRead>>,
    dest: Vec<u8>,
}

/// Where the script waits for the copy, and whose the files are.
struct Place {
    /// The directory that the script made.
    dir: Vec<u8>,
    uid: u32,
    gid: u32,
}

impl Mover {
    async fn begin(
        target: &Target,
        user: &str,
        dest: &[u8],
        is_dir: bool,
        verify: Verify,
    ) -> Result<(Self, Result<Place>)> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let argv = [
            crate::exec::SHELL,
            "-c",
            SCRIPT,
            "pod",
            &escaped(dest),
            &escaped(parent(dest)),
            &token,
            if is_dir { "d" } else { "f" },
            verify_word(verify),
            user,
        ]
        .map(str::to_owned);
        let mut running = open_script(target, &argv, true).await?;
        let stdout = std::mem::replace(&mut running.stdout, Box::pin(tokio::io::empty()));
        let words = BufReader::new(stdout.take(SAID));
        let mut mover = Self { running, words, dest: dest.to_vec() };
        let line = mover.line().await?;
        let parts: Vec<&str> = line.split(' ').collect();
        let place = match parts[..] {
            ["S", of, uid, gid] => match (uid.parse(), gid.parse()) {
                (Ok(uid), Ok(gid)) => {
                    let above = if of == "d" { dest } else { parent(dest) };
                    let above = if above == b"/" { b"" } else { above };
                    Ok(Place { dir: [above, b"/.pod-", token.as_bytes()].concat(), uid, gid })
                }
                _ => Err(Error::unexpected("the copy's script says something unknown").with_context("said", line)),
            },
            _ => match line.strip_prefix("E ") {
                Some(words) => Err(reason(words).with_context("path", show(dest))),
                None => {
                    let error = mover.finish(&line, None).await.err();
                    return Ok((
                        mover,
                        Err(error.unwrap_or_else(|| Error::unexpected("the copy's script said nothing"))),
                    ));
                }
            },
        };
        Ok((mover, place))
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.words
            .read_until(b'\n', &mut line)
            .await
            .map_err(|e| Error::io("what the workload says can't be read", e))?;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Tells the script that all is there, and waits until it has moved it.
    async fn commit(&mut self, sent: &Manifest) -> Result<()> {
        if let Some(mut stdin) = self.running.stdin.take() {
            // A script that is gone shows in its status.
            let _ = stdin.write_all(b"go\n").await;
            let _ = stdin.shutdown().await;
        }
        self.finish("", Some(sent)).await
    }

    /// Lets go of the script, which cleans up, and waits until it has.
    async fn abandon(&mut self) {
        self.running.stdin = None;
        if tokio::time::timeout(CLEANING, self.running.end()).await.is_err() {
            tracing::warn!(path = show(&self.dest), "what a copy that broke off left was not removed in time");
        }
    }

    async fn finish(&mut self, before: &str, sent: Option<&Manifest>) -> Result<()> {
        let (mut words, mut said) = (before.as_bytes().to_vec(), Vec::new());
        {
            let mut stderr = (&mut self.running.stderr).take(64 << 10);
            // What can't be read shows in the status.
            let _ = tokio::join!(self.words.read_to_end(&mut words), stderr.read_to_end(&mut said));
        }
        let status = self.running.end().await?;
        if status == ExitStatus::Exited(0) {
            return Ok(());
        }
        let at = |e: Error| e.with_context("path", show(&self.dest));
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let line = words.split(|b| *b == b'\n').next().unwrap_or_default();
        let text = String::from_utf8_lossy(line).into_owned();
        if let Some(error) = crate::exec::never_began(status, &String::from_utf8_lossy(&words)) {
            return Err(at(error));
        }
        Err(at(match text.strip_prefix("E ") {
            Some("differs") => {
                let there = words.get(line.len() + 1..).unwrap_or_default();
                match sent.and_then(|s| s.difference(there)) {
                    Some((entry, how)) => {
                        reason("differs").with_context("entry", entry).with_context("difference", how)
                    }
                    None => reason("differs"),
                }
            }
            Some(words) => reason(words),
            None if status == ExitStatus::Unknown => Error::new(
                ErrorKind::Unavailable,
                "whether the copy was completed is not known: the workload ended meanwhile",
            ),
            None => return Err(of_tools("copy to this path", &self.dest, status, &said)),
        }))
    }
}

async fn take_in(
    target: &Target,
    user: &str,
    request: CopyInRequest,
    released: oneshot::Receiver<()>,
) -> Result<CopyReport> {
    let mut source = request.source.open()?;
    let dest = trimmed(&request.dest);
    let first = source.next().await?;
    let is_dir = match &first {
        None => true,
        Some(Item::Entry(entry)) => !entry.path.is_empty() || entry.kind == EntryKind::Dir,
        Some(_) => return Err(Error::new(ErrorKind::Integrity, "contents came before any entry")),
    };
    let (mut mover, place) = Mover::begin(target, user, dest, is_dir, request.verify).await?;
    let place = match place {
        Ok(place) => place,
        Err(e) => {
            mover.abandon().await;
            return Err(e);
        }
    };
    let (sink, entries) = EntryStream::channel();
    let mut relay = Relay {
        sink: Some(sink),
        check: StreamCheck::new(None, None),
        archive: request.archive,
        owner: (place.uid, place.gid),
        manifest: Manifest::new(request.verify),
        report: CopyReport::checked_by(request.verify),
        verify: request.verify,
        open: None,
    };
    let sent = {
        let relayed = async {
            let relayed = tokio::select! {
                relayed = relay.run(source, first) => relayed,
                // Whoever copies has gone: what is sent ends here, cut.
                _ = released => Err(Error::new(ErrorKind::Cancelled, "the copy was given up")),
            };
            relay.sink = None;
            relayed
        };
        let uploaded = upload(target, &place.dir, entries);
        tokio::pin!(relayed, uploaded);
        let mut relayed_first = None;
        let uploaded = loop {
            tokio::select! {
                biased;
                done = &mut uploaded => break done,
                done = &mut relayed, if relayed_first.is_none() => relayed_first = Some(done),
            }
        };
        // The source's own error tells more than that the daemon got only part.
        match (relayed_first, uploaded) {
            (Some(Err(e)), _) => Err(e),
            (Some(Ok(())), uploaded) => uploaded,
            (None, Err(e)) => Err(e),
            (None, Ok(())) => Err(Error::new(ErrorKind::Integrity, "the daemon took less than was sent")),
        }
    };
    match sent {
        Ok(()) => {
            mover.commit(&relay.manifest).await?;
            Ok(relay.report)
        }
        Err(e) => {
            // Nothing of it is left when the caller hears of it.
            mover.abandon().await;
            let named = e.context().iter().any(|(key, _)| *key == "path");
            Err(if named { e } else { e.with_context("path", show(dest)) })
        }
    }
}

/// Has the daemon unpack entries into a directory. When the entries break off, the stream is ended as if it
/// were whole, though without tar's end mark: so the daemon answers, and writes nothing more after it has.
async fn upload(target: &Target, dir: &[u8], entries: EntryStream) -> Result<()> {
    let (tar, mut frames) = mpsc::channel(FRAMES);
    // What is written becomes a piece of the body as it is.
    let mut pipe = SinkWriter::new(CopyToBytes::new(
        PollSender::new(tar).sink_map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe)),
    ));
    let frames = poll_fn(move |cx| frames.poll_recv(cx)).map(|data| Ok(Frame::data(data)));
    let body: Body = BodyExt::boxed_unsync(StreamBody::new(frames));
    let write = async move {
        let options = TarOptions::new().with_sparse(false);
        let written = write_with(entries, &mut pipe, &options).await;
        // A daemon that reads no more shows in its answer.
        let _ = pipe.shutdown().await;
        drop(pipe);
        written
    };
    let path = format!("/containers/{}/archive", part(&target.id));
    let query = Query::new().with("path", dir).with("noOverwriteDirNonDir", "1");
    let headers = [("content-type", "application/x-tar".to_owned())];
    let put = target.engine.send_body(Method::PUT, &path, query, body, &headers);
    tokio::pin!(write, put);
    let (mut written, mut answered) = (None, None);
    while answered.is_none() || written.is_none() {
        tokio::select! {
            done = &mut write, if written.is_none() => written = Some(done),
            done = &mut put, if answered.is_none() => {
                let refused = done.is_err();
                answered = Some(done);
                if refused {
                    // It takes no more: what is still to be sent has nowhere to go.
                    break;
                }
            }
        }
    }
    match answered {
        Some(Err(f)) if f.is_not_found() => {
            return Err(match crate::containers::by_id(&target.engine, &target.id).await {
                Ok(None) => Error::not_found("workload", target.name.as_str()),
                _ => in_the_way(),
            });
        }
        Some(Err(f)) => {
            // Not a word of the source's: what it broke off with is told by the other side.
            if let Some(Err(e)) = written {
                return Err(e);
            }
            return Err(target.engine.error(f));
        }
        _ => {}
    }
    match written {
        Some(Err(e)) => Err(e),
        _ => Ok(()),
    }
}

/// Brings the source's entries into the form the script takes: the root is `r`, the list of what to check
/// `e`, which comes last.
struct Relay {
    sink: Option<EntrySink>,
    check: StreamCheck,
    archive: bool,
    owner: (u32, u32),
    manifest: Manifest,
    report: CopyReport,
    verify: Verify,
    /// The file under way: its size, and how much of it came.
    open: Option<(u64, u64)>,
}

/// A path of the copy as the script has it.
fn below(path: &[u8]) -> Vec<u8> {
    if path.is_empty() { b"r".to_vec() } else { [b"r/", path].concat() }
}

impl Relay {
    fn lacks(&mut self, what: &str) {
        if !self.report.not_kept.iter().any(|w| w == what) {
            self.report.not_kept.push(what.to_owned());
        }
    }

    /// Sends an item on; `false` when nobody takes it any more, which the daemon's answer explains.
    async fn send(&self, item: Item) -> bool {
        match &self.sink {
            Some(sink) => sink.send(Ok(item)).await,
            None => false,
        }
    }

    async fn run(&mut self, mut source: EntryStream, first: Option<Item>) -> Result<()> {
        let sent = self.all(&mut source, first).await;
        // A sink that is dropped makes the writer stop without an end mark.
        if let (Ok(true), Some(sink)) = (&sent, self.sink.take()) {
            sink.finish().await;
        }
        self.sink = None;
        match sent? {
            true => Ok(()),
            // The daemon's answer tells why.
            false => std::future::pending().await,
        }
    }

    async fn all(&mut self, source: &mut EntryStream, first: Option<Item>) -> Result<bool> {
        let root = Entry::new("", EntryKind::Dir).with_mode(0o700);
        if !self.send(Item::Entry(root)).await {
            return Ok(false);
        }
        let mut next = first;
        if !matches!(&next, Some(Item::Entry(entry)) if entry.path.is_empty()) {
            // Entries without a root of their own fill a directory that is there.
            let root = Entry::new("r", EntryKind::Dir).with_owner(self.owner.0, self.owner.1);
            if !self.send(Item::Entry(root)).await {
                return Ok(false);
            }
        }
        while let Some(item) = next {
            let taken = match item {
                Item::Entry(entry) => {
                    self.settle();
                    self.entry(entry).await?
                }
                Item::Chunk(chunk) => self.chunk(chunk).await?,
                _ => return Err(Error::unexpected("the copy holds an item of an unknown kind")),
            };
            if !taken {
                return Ok(false);
            }
            next = source.next().await?;
        }
        self.settle();
        if self.verify == Verify::None {
            return Ok(true);
        }
        let list: Bytes = self.manifest.list();
        let entry = Entry::new("e", EntryKind::File { size: list.len() as u64 }).with_mode(0o600);
        let sent = self.send(Item::Entry(entry)).await;
        Ok(sent && (list.is_empty() || self.send(Item::Chunk(Chunk { offset: 0, data: list })).await))
    }

    async fn entry(&mut self, mut entry: Entry) -> Result<bool> {
        self.check.entry(&entry)?;
        if entry.kind == EntryKind::Special(SOCKET) {
            self.lacks("sockets");
            return Ok(true);
        }
        if !self.archive {
            entry.mode &= 0o1777;
            (entry.uid, entry.gid) = self.owner;
        }
        entry.path = below(&entry.path);
        match &mut entry.kind {
            EntryKind::File { size } => {
                self.open = Some((*size, 0));
                self.manifest.file(&entry.path, *size);
            }
            EntryKind::Hardlink { target } => {
                *target = below(target);
                self.manifest.link(&entry.path, target);
            }
            EntryKind::Dir => {}
            _ => self.manifest.other(&entry.path),
        }
        // The daemon has no use for where the holes are.
        entry.extents = None;
        self.report.entries += 1;
        Ok(self.send(Item::Entry(entry)).await)
    }

    async fn chunk(&mut self, chunk: Chunk) -> Result<bool> {
        let end = chunk.offset.checked_add(chunk.data.len() as u64);
        match &mut self.open {
            Some((size, came)) if end.is_some_and(|end| end <= *size) => *came += chunk.data.len() as u64,
            _ => {
                return Err(Error::new(ErrorKind::Integrity, "the contents don't fit the size given")
                    .with_context("offset", chunk.offset.to_string()));
            }
        }
        self.report.bytes += chunk.data.len() as u64;
        self.manifest.data(&chunk);
        Ok(self.send(Item::Chunk(chunk)).await)
    }

    /// Closes the file under way.
    fn settle(&mut self) {
        if let Some((size, came)) = self.open.take()
            && came < size
        {
            self.lacks("holes");
        }
        self.manifest.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_pass_as_plain_text() {
        assert_eq!(escaped(b"/tmp/a b"), "/tmp/a b");
        assert_eq!(escaped(b"/\xff\\\n7"), "/\\0377\\0134\\00127");
        assert_eq!((trimmed(b"/a//"), trimmed(b"/")), (&b"/a"[..], &b"/"[..]));
        assert_eq!((parent(b"/a"), parent(b"/a/b")), (&b"/"[..], &b"/a"[..]));
    }

    #[test]
    fn the_scripts_words_have_kinds() {
        for (words, kind) in [
            ("parent", ErrorKind::NotFound),
            ("conflict f", ErrorKind::Conflict),
            ("clash d ./x", ErrorKind::Conflict),
            ("nohash", ErrorKind::Unsupported),
            ("elsewhere", ErrorKind::Unsupported),
            ("differs", ErrorKind::Integrity),
            ("what", ErrorKind::Unexpected),
        ] {
            assert_eq!(reason(words).kind(), kind, "{words}");
        }
    }
}

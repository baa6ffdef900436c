//! Copying out by a list, and then file by file: where the image has no `tar`, and where the receiver has
//! some of the files from an earlier copy.

use super::check_path;
use super::far::{Far, Running, complaints, no_shell};
use super::plain::ARGUMENTS;
use crate::escaped;
use bytes::Bytes;
use pod_core::copy::{Chunk, CopyOutRequest, Entry, EntryKind, EntrySink, EntryStream, Had, Item, SOCKET, show};
use pod_core::{Error, ErrorKind, ExitStatus, Result};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt};

const LIST: &str = include_str!("list.sh");
const GIVE: &str = include_str!("give.sh");
const SUM: &str = include_str!("sum.sh");

/// The most of a list that is taken: some million entries.
const LISTED: u64 = 512 << 20;
/// The largest piece passed on.
const PIECE: usize = 256 << 10;

/// An entry of a list, with what is needed to tell hard links.
struct Listed {
    entry: Entry,
    links: u64,
    id: String,
}

/// Reads the list's next entry; `None` at its end.
async fn listed(running: &mut Running, root: &mut Option<Vec<u8>>) -> Result<Option<Listed>> {
    let bad = || Error::new(ErrorKind::Integrity, "the workload's list of files is not understood");
    let Some(line) = running.line().await? else { return Ok(None) };
    let mut fields = [Vec::new(), Vec::new()];
    for field in &mut fields {
        let read = (&mut running.stdout).take(LISTED).read_until(0, field).await;
        read.map_err(|e| Error::io("can't read what the workload says", e))?;
        if field.pop() != Some(0) {
            return Err(bad());
        }
    }
    let [name, mut target] = fields;
    let text = String::from_utf8_lossy(&line).into_owned();
    let words: Vec<&str> = text.split(' ').collect();
    // The last are `%y` of stat(1): `2026-01-02 03:04:05.123456789 +0000`, without a zone from BusyBox.
    let [mode, size, mtime, uid, gid, links, id, _, time, ..] = words.as_slice() else { return Err(bad()) };
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
    let nanos = time.split_once('.').map_or(Ok(0), |(_, n)| n.parse()).map_err(|_| bad())?;
    let entry = Entry::new(path, kind)
        .with_mode(mode & 0o7777)
        .with_mtime(mtime.parse().map_err(|_| bad())?, nanos)
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
    let mut running = far.start(LIST, &args, false).await.map_err(|e| no_shell(&*far, e))?;
    match running.line().await? {
        Some(line) if line == b"T" => {}
        Some(_) => {
            return Err(far.about(
                Error::unsupported(match request.have {
                    None => "the image has neither `tar` nor `find` and `stat` to copy by",
                    Some(_) => "the image lacks `find` or `stat`, without which no copy is taken up",
                })
                .with_context("path", show(&request.path)),
            ));
        }
        None => {
            let error = running.failure("copy this path out", &request.path).await;
            return Err(far.about(no_shell(&*far, error)));
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
        let giving = async {
            let all = match &request.have {
                Some(have) => leave_out(&*far, &request, have, all).await?,
                None => all,
            };
            give(&*far, &request, all, &sink).await
        };
        let given = tokio::select! {
            given = giving => given,
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

/// Marks the files that the receiver has.
async fn leave_out(far: &dyn Far, request: &CopyOutRequest, have: &[Had], mut all: Vec<Listed>) -> Result<Vec<Listed>> {
    let have: HashMap<&[u8], &Had> = have.iter().map(|h| (h.path.as_slice(), h)).collect();
    let mut names = HashSet::new();
    let (mut same, mut asked) = (Vec::new(), Vec::new());
    for (at, Listed { entry, links, id }) in all.iter().enumerate() {
        // Further names of a file are links to it.
        let first = *links < 2 || names.insert(id.clone());
        match have.get(entry.path.as_slice()) {
            Some(had) if first && had.looks_like(entry) => match had.sha256 {
                Some(sha256) => asked.push((at, sha256)),
                None => same.push(at),
            },
            _ => {}
        }
    }
    while !asked.is_empty() {
        let mut args = vec![escaped(&request.path), if request.follow { "f" } else { "-" }.to_owned()];
        let (mut length, mut taken) = (0, 0);
        while taken < asked.len() && length <= ARGUMENTS {
            let path = &all[asked[taken].0].entry.path;
            args.push(escaped(if path.is_empty() { b"." } else { path.as_slice() }));
            length += path.len() * 4 + 30;
            taken += 1;
        }
        let batch: Vec<_> = asked.drain(..taken).collect();
        let sums = sums(far, request, &args).await?;
        if sums.len() != batch.len() {
            return Err(Error::new(ErrorKind::Integrity, "the workload's list of hashes is not understood"));
        }
        same.extend(batch.into_iter().zip(sums).filter(|((_, own), there)| own == there).map(|((at, _), _)| at));
    }
    for at in same {
        if let EntryKind::File { size } = all[at].entry.kind {
            all[at].entry.kind = EntryKind::Same { size };
        }
    }
    Ok(all)
}

/// The SHA-256 of these files, in their order.
async fn sums(far: &dyn Far, request: &CopyOutRequest, args: &[String]) -> Result<Vec<[u8; 32]>> {
    let mut running = far.start(SUM, args, false).await.map_err(|e| no_shell(far, e))?;
    let mut sums = Vec::new();
    while let Some(line) = running.line().await? {
        if line == b"E nohash" {
            return Err(far.about(
                Error::unsupported("the image has no `sha256sum` to compare by")
                    .with_hint("leave the check at lengths: `--verify length`"),
            ));
        }
        let Some(sum) = line.get(..64).and_then(unhex) else {
            return Err(Error::new(ErrorKind::Integrity, "the workload's list of hashes is not understood"));
        };
        sums.push(sum);
    }
    let Running { stderr, end, .. } = running;
    let (said, status) = tokio::join!(complaints(stderr), end);
    match status? {
        ExitStatus::Exited(0) => Ok(sums),
        status => Err(far.about(super::errors::of_tools("copy this path out", &request.path, status, &said))),
    }
}

/// Reads 64 hexadecimal digits.
fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Passes on all that was listed, several files in one exec.
async fn give(far: &dyn Far, request: &CopyOutRequest, all: Vec<Listed>, sink: &EntrySink) -> Result<()> {
    let mut first: HashMap<String, Vec<u8>> = HashMap::new();
    let mut batch: Vec<Entry> = Vec::new();
    let mut length = 0;
    for Listed { mut entry, links, id } in all {
        if links > 1 && matches!(entry.kind, EntryKind::File { .. } | EntryKind::Same { .. }) {
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
    let running =
        if args.len() > 2 { Some(far.start(GIVE, &args, false).await.map_err(|e| no_shell(far, e))?) } else { None };
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
                let read = stdout.read(&mut data).await.map_err(|e| Error::io("can't read from the workload", e))?;
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

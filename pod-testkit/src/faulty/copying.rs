//! Copies with a fault.

use super::Fault;
use bytes::Bytes;
use pod_core::copy::{Chunk, CopyReport, Entry, EntryKind, EntrySink, EntryStream, Item};
use pod_core::{Connection, ConnectionExt, ExecRequest, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// Reads a stream to its end.
pub(super) async fn drain(mut stream: EntryStream) -> Result<()> {
    while stream.next().await?.is_some() {}
    Ok(())
}

/// Puts the fault into a stream.
pub(super) fn through(fault: Fault, direction: Direction, stream: EntryStream) -> EntryStream {
    let applies = match fault {
        Fault::CopyOutCorrupts | Fault::HolesFilled | Fault::ChildrenFirst => direction == Direction::Out,
        Fault::CopyTruncates
        | Fault::EmptyFilesLost
        | Fault::ModesDropped
        | Fault::TimesDropped
        | Fault::EntriesSwallowed
        | Fault::DeepLost
        | Fault::NamesCleaned
        | Fault::NameBytesReplaced
        | Fault::HardlinksSplit
        | Fault::SourcesMended => direction == Direction::In,
        _ => false,
    };
    if !applies {
        return stream;
    }
    let (sink, changed) = EntryStream::channel();
    tokio::spawn(carry(fault, stream, sink));
    changed
}

async fn carry(fault: Fault, mut stream: EntryStream, sink: EntrySink) {
    let mut state = State { fault, count: 0, skip: false, end: u64::MAX, at: 0, held: Vec::new(), links: Vec::new() };
    loop {
        match stream.next().await {
            Ok(Some(item)) => {
                for item in state.item(item) {
                    if !sink.send(Ok(item)).await {
                        return;
                    }
                }
            }
            Ok(None) => break,
            Err(e) => {
                // The receiver may have gone.
                let _ = sink.send(Err(e)).await;
                return;
            }
        }
    }
    for item in state.rest() {
        if !sink.send(Ok(item)).await {
            return;
        }
    }
    sink.finish().await;
}

struct State {
    fault: Fault,
    count: u64,
    /// The pieces of the entry before are left out.
    skip: bool,
    end: u64,
    at: u64,
    held: Vec<Vec<Item>>,
    links: Vec<Vec<u8>>,
}

impl State {
    fn item(&mut self, item: Item) -> Vec<Item> {
        match item {
            Item::Entry(entry) => self.entry(entry),
            Item::Chunk(chunk) => self.chunk(chunk),
            other => vec![other],
        }
    }

    fn entry(&mut self, mut entry: Entry) -> Vec<Item> {
        self.count += 1;
        self.skip = false;
        self.at = 0;
        self.end = match entry.kind {
            EntryKind::File { size } => size,
            _ => 0,
        };
        match self.fault {
            Fault::CopyTruncates => {
                if let EntryKind::File { size } = &mut entry.kind {
                    *size = (*size).min(1 << 20);
                    self.end = *size;
                }
            }
            Fault::EmptyFilesLost => self.skip = entry.kind == EntryKind::File { size: 0 },
            Fault::ModesDropped => entry.mode = 0o644 | if entry.kind == EntryKind::Dir { 0o111 } else { 0 },
            Fault::TimesDropped => entry.mtime = (1_600_000_000, 0),
            Fault::EntriesSwallowed => self.skip = self.count.is_multiple_of(20),
            Fault::DeepLost => self.skip = entry.path.iter().filter(|b| **b == b'/').count() > 50,
            Fault::NamesCleaned => {
                let plain = |b: &u8| if b.is_ascii_alphanumeric() || b"/._- ".contains(b) { *b } else { b'_' };
                entry.path = entry.path.iter().map(plain).collect();
            }
            Fault::NameBytesReplaced => entry.path = String::from_utf8_lossy(&entry.path).into_owned().into_bytes(),
            Fault::HardlinksSplit => {
                if matches!(entry.kind, EntryKind::Hardlink { .. }) {
                    entry.kind = EntryKind::File { size: 0 };
                }
            }
            Fault::SourcesMended => self.mend(&mut entry),
            Fault::ChildrenFirst => {
                self.held.push(vec![Item::Entry(entry)]);
                return Vec::new();
            }
            _ => {}
        }
        if self.skip { Vec::new() } else { vec![Item::Entry(entry)] }
    }

    /// Makes something acceptable of a hostile entry.
    fn mend(&mut self, entry: &mut Entry) {
        let parts = entry.path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b"." && *p != b"..");
        let mut path = parts.collect::<Vec<_>>().join(&b'/');
        path.retain(|b| *b != 0);
        if self.links.iter().any(|l| path.starts_with(&[l, &b"/"[..]].concat())) {
            path.iter_mut().filter(|b| **b == b'/').for_each(|b| *b = b'_');
        }
        if path.is_empty() && self.count > 1 {
            path = b"mended".to_vec();
        }
        entry.path = path;
        match &entry.kind {
            EntryKind::Symlink { .. } => self.links.push(entry.path.clone()),
            EntryKind::Hardlink { .. } | EntryKind::Special(_) => entry.kind = EntryKind::File { size: 0 },
            _ => {}
        }
    }

    fn chunk(&mut self, mut chunk: Chunk) -> Vec<Item> {
        if self.skip {
            return Vec::new();
        }
        match self.fault {
            Fault::CopyTruncates | Fault::SourcesMended => {
                let end = chunk.offset.saturating_add(chunk.data.len() as u64).min(self.end);
                let begin = chunk.offset.max(self.at);
                if begin >= end {
                    return Vec::new();
                }
                let from = usize::try_from(begin - chunk.offset).unwrap_or(0);
                let to = usize::try_from(end - chunk.offset).unwrap_or(0);
                chunk = Chunk { offset: begin, data: chunk.data.slice(from..to) };
                self.at = end;
            }
            Fault::CopyOutCorrupts => {
                let mut data = chunk.data.to_vec();
                if let Some(last) = data.last_mut() {
                    *last ^= 1;
                }
                chunk.data = data.into();
            }
            Fault::HolesFilled => {
                let hole = chunk.offset.saturating_sub(self.at).min(8 << 20);
                let zeros = Chunk { offset: self.at, data: Bytes::from(vec![0; usize::try_from(hole).unwrap_or(0)]) };
                self.at = chunk.offset + chunk.data.len() as u64;
                return if hole > 0 { vec![Item::Chunk(zeros), Item::Chunk(chunk)] } else { vec![Item::Chunk(chunk)] };
            }
            Fault::ChildrenFirst => {
                if let Some(last) = self.held.last_mut() {
                    last.push(Item::Chunk(chunk));
                }
                return Vec::new();
            }
            _ => {}
        }
        vec![Item::Chunk(chunk)]
    }

    /// The root first, then all the others from the last to the first.
    fn rest(&mut self) -> Vec<Item> {
        let mut all = std::mem::take(&mut self.held);
        if all.len() > 1 {
            all[1..].reverse();
        }
        all.concat()
    }
}

/// A naive copy: each file through `cat >`, each link by `ln`.
pub(super) async fn by_shell(connection: &dyn Connection, dest: &[u8], mut stream: EntryStream) -> Result<CopyReport> {
    let mut report = CopyReport::default();
    let mut file: Option<(Vec<u8>, Vec<u8>)> = None;
    loop {
        let item = stream.next().await?;
        if let Some(Item::Chunk(chunk)) = &item {
            if let Some((_, content)) = &mut file {
                content.extend_from_slice(&chunk.data);
            }
            continue;
        }
        if let Some((path, content)) = file.take() {
            let request = ExecRequest::new([&b"sh"[..], b"-c", b"cat >\"$1\"", b"sh", &path]).with_stdin();
            connection.exec(request).await?.communicate(&content, 1 << 20).await?;
        }
        let Some(Item::Entry(entry)) = item else { break };
        report.entries += 1;
        let path = if entry.path.is_empty() { dest.to_vec() } else { [dest, b"/", &entry.path].concat() };
        let path: Vec<u8> = path.into_iter().filter(|b| *b != 0).collect();
        let argv: Vec<&[u8]> = match &entry.kind {
            EntryKind::File { .. } => {
                file = Some((path, Vec::new()));
                continue;
            }
            EntryKind::Dir => vec![b"mkdir", b"-p", b"--", &path],
            EntryKind::Symlink { target } => vec![b"ln", b"-s", b"-f", b"--", target, &path],
            EntryKind::Hardlink { target } => vec![b"ln", b"-f", b"--", target, &path],
            _ => continue,
        };
        connection.run(ExecRequest::new(argv)).await?;
    }
    Ok(report)
}

//! The writer of tar streams.

use super::header::{BLOCK, NewHeader};
use super::pax::{push_record, time_text};
use crate::copy::check::{SOCKET, StreamCheck, name_place};
use crate::copy::{Chunk, CopyReport, Entry, EntryKind, EntryStream, Item, Verify};
use crate::{Error, ErrorKind, Result};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// How a tar stream is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TarOptions {
    /// The name of the root entry, under which all others lie; empty: the root is `./`, which a single
    /// file can't be.
    pub root: Vec<u8>,
    /// Write files whose holes are known beforehand as `GNU.sparse` 1.0, which GNU tar, libarchive, Go
    /// and Python know, and BusyBox does not; else holes become zeros.
    pub sparse: bool,
}

impl Default for TarOptions {
    fn default() -> Self {
        Self { root: Vec::new(), sparse: true }
    }
}

impl TarOptions {
    /// The root is `./`; holes are kept.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the root entry.
    #[must_use]
    pub fn with_root(mut self, root: impl Into<Vec<u8>>) -> Self {
        self.root = root.into();
        self
    }

    /// Sets whether holes are kept.
    #[must_use]
    pub fn with_sparse(mut self, sparse: bool) -> Self {
        self.sparse = sparse;
        self
    }
}

/// Writes entries as a tar stream, the root as `./`, and flushes it. See [`write_with`].
///
/// # Errors
/// As [`write_with`].
pub async fn write(stream: EntryStream, writer: &mut (impl AsyncWrite + Send + Unpin)) -> Result<CopyReport> {
    write_with(stream, writer, &TarOptions::new()).await
}

/// Writes entries as a tar stream and flushes it. The entries pass [`StreamCheck`], so that the stream is
/// safe for other programs too; sockets are left out and noted. Without an error the stream is whole; after
/// one it has no end mark, so that nobody takes it for whole. On cancellation it is cut likewise.
///
/// # Errors
/// What the entries' stream gives; `InvalidInput` for an entry that does not pass, or for a single file
/// without [`TarOptions::root`]; `Integrity` for contents that don't fit their file; what the writer gives.
/// All name the entry.
pub async fn write_with(
    mut stream: EntryStream,
    writer: &mut (impl AsyncWrite + Send + Unpin),
    options: &TarOptions,
) -> Result<CopyReport> {
    if !options.root.is_empty() {
        crate::copy::check_path(&options.root)?;
    }
    let mut out = Writer {
        out: writer,
        options,
        buffer: Vec::with_capacity(BUFFER + 2 * BLOCK),
        check: StreamCheck::new(None, None),
        report: CopyReport { checked: Verify::None, ..CopyReport::default() },
        current: Vec::new(),
        open: None,
    };
    let answer = out.run(&mut stream).await;
    let Writer { current, report, .. } = out;
    answer.map_err(|e| name_place(e, true, &current))?;
    Ok(report)
}

/// Bytes gathered before they are written.
const BUFFER: usize = 64 << 10;
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// A file whose contents are being written.
struct Open {
    size: u64,
    /// What of the file is written out, as offset and length.
    pieces: Vec<(u64, u64)>,
    /// The piece under way, and where in the file the writing stands.
    piece: usize,
    at: u64,
    /// Bytes put out, to be padded.
    total: u64,
}

struct Writer<'a, W> {
    out: &'a mut W,
    options: &'a TarOptions,
    buffer: Vec<u8>,
    check: StreamCheck,
    report: CopyReport,
    current: Vec<u8>,
    open: Option<Open>,
}

impl<W: AsyncWrite + Unpin> Writer<'_, W> {
    async fn run(&mut self, stream: &mut EntryStream) -> Result<()> {
        while let Some(item) = stream.next().await.map_err(|e| name_place(e, self.open.is_some(), &self.current))? {
            match item {
                Item::Entry(entry) => {
                    self.finish_file().await?;
                    self.current.clone_from(&entry.path);
                    self.entry(&entry).await?;
                }
                Item::Chunk(chunk) => self.chunk(&chunk).await?,
            }
        }
        self.finish_file().await?;
        self.put(&[0; 2 * BLOCK]).await?;
        self.flush_buffer().await?;
        self.out.flush().await.map_err(failed)
    }

    async fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.check.entry(entry)?;
        let kind = match &entry.kind {
            EntryKind::File { .. } => b'0',
            EntryKind::Hardlink { .. } => b'1',
            EntryKind::Symlink { .. } => b'2',
            EntryKind::Dir => b'5',
            EntryKind::Same { .. } => {
                return Err(Error::invalid("a tar stream can't say of a file that the receiver has it"));
            }
            EntryKind::Special(what) => {
                // Only sockets pass the check.
                debug_assert_eq!(*what, SOCKET);
                if self.report.not_kept.is_empty() {
                    self.report.not_kept.push("sockets".into());
                }
                return Ok(());
            }
        };
        let mut name = self.name(&entry.path);
        if entry.kind == EntryKind::Dir {
            name.push(b'/');
        } else if name == b"." {
            return Err(Error::invalid("a single file needs a name in a tar stream"));
        }
        let link = match &entry.kind {
            EntryKind::Hardlink { target } => self.name(target),
            EntryKind::Symlink { target } => target.clone(),
            _ => Vec::new(),
        };
        let mut header = NewHeader::new(kind);
        header.mode(entry.mode & 0o7777);
        header.owner(entry.uid, entry.gid);
        header.mtime(entry.mtime.0);
        if !header.link(&link) {
            self.long(b'K', &link).await?;
        }
        let mut extended = Vec::new();
        if entry.mtime.1 > 0 {
            let nanos = entry.mtime.1.min(999_999_999);
            push_record(&mut extended, "mtime", time_text((entry.mtime.0, nanos)).as_bytes());
        }
        let mut map = Vec::new();
        if let EntryKind::File { size } = entry.kind {
            let extents = entry.extents.as_ref().filter(|_| self.options.sparse);
            let mut open = Open { size, pieces: vec![(0, size)], piece: 0, at: 0, total: size };
            if let Some(extents) = extents {
                open.pieces.clone_from(extents);
                map = sparse_map(extents, size)?;
                open.total = extents.iter().map(|p| p.1).sum::<u64>() + map.len() as u64;
                for (key, value) in [("major", "1"), ("minor", "0")] {
                    push_record(&mut extended, &format!("GNU.sparse.{key}"), value.as_bytes());
                }
                push_record(&mut extended, "GNU.sparse.name", &name);
                push_record(&mut extended, "GNU.sparse.realsize", size.to_string().as_bytes());
                // A program that doesn't know holes must not make a wrong file of the right name.
                let (above, last) = crate::copy::split(&name);
                let slash: &[u8] = if above.is_empty() { b"" } else { b"/" };
                name = [above, slash, b"GNUSparseFile.0/", last].concat();
            }
            header.size(open.total);
            self.open = Some(open);
        }
        if !extended.is_empty() {
            let mut pax = NewHeader::new(b'x');
            pax.name(b"PaxHeaders/entry");
            pax.mode(0o644);
            pax.size(extended.len() as u64);
            let pax = pax.finish();
            self.put(&pax).await?;
            self.put_padded(&extended).await?;
        }
        if !header.name(&name) {
            self.long(b'L', &name).await?;
        }
        let header = header.finish();
        self.put(&header).await?;
        self.put(&map).await?;
        self.report.entries += 1;
        Ok(())
    }

    /// A path of the copy as a name in the stream.
    fn name(&self, path: &[u8]) -> Vec<u8> {
        match (self.options.root.as_slice(), path) {
            (b"", b"") => b".".to_vec(),
            (b"", path) => path.to_vec(),
            (root, b"") => root.to_vec(),
            (root, path) => [root, b"/", path].concat(),
        }
    }

    /// GNU's header for a name too long for the one that follows; it ends in a zero byte.
    async fn long(&mut self, kind: u8, name: &[u8]) -> Result<()> {
        let mut header = NewHeader::new(kind);
        header.name(b"././@LongLink");
        header.size(name.len() as u64 + 1);
        let header = header.finish();
        self.put(&header).await?;
        self.put_padded(&[name, b"\0"].concat()).await
    }

    async fn chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let bad = || {
            Error::new(ErrorKind::Integrity, "the contents don't fit the size or the holes given, or come out of order")
                .with_context("offset", chunk.offset.to_string())
        };
        let Some(mut open) = self.open.take() else {
            return Err(Error::new(ErrorKind::Integrity, "contents came for something that is no file"));
        };
        let end = chunk.offset.checked_add(chunk.data.len() as u64).filter(|e| *e <= open.size).ok_or_else(bad)?;
        if chunk.offset < open.at {
            return Err(bad());
        }
        let mut data = &chunk.data[..];
        while !data.is_empty() {
            let at = end - data.len() as u64;
            self.zeros_until(&mut open, at).await?;
            let Some((start, length)) = open.pieces.get(open.piece).copied().filter(|p| p.0 <= at) else {
                return Err(bad());
            };
            let now = usize::try_from(start + length - at).map_or(data.len(), |n| n.min(data.len()));
            self.put(&data[..now]).await?;
            open.at = at + now as u64;
            data = &data[now..];
        }
        self.report.bytes += chunk.data.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    /// Fills the pieces with zeros up to `at` in the file: a hole nobody knew of beforehand. Stands at the
    /// piece that holds `at` afterwards, or at the next one.
    async fn zeros_until(&mut self, open: &mut Open, at: u64) -> Result<()> {
        while let Some((start, length)) = open.pieces.get(open.piece).copied() {
            let (from, to) = (open.at.max(start), at.min(start + length));
            let mut left = to.saturating_sub(from);
            while left > 0 {
                let now = usize::try_from(left).map_or(ZEROS.len(), |n| n.min(ZEROS.len()));
                self.put(&ZEROS[..now]).await?;
                left -= now as u64;
            }
            if at < start + length {
                break;
            }
            open.piece += 1;
        }
        open.at = open.at.max(at);
        Ok(())
    }

    async fn finish_file(&mut self) -> Result<()> {
        if let Some(mut open) = self.open.take() {
            let end = open.size;
            self.zeros_until(&mut open, end).await?;
            self.pad(open.total).await?;
        }
        Ok(())
    }

    async fn put_padded(&mut self, data: &[u8]) -> Result<()> {
        self.put(data).await?;
        self.pad(data.len() as u64).await
    }

    async fn pad(&mut self, length: u64) -> Result<()> {
        let over = (length % BLOCK as u64) as usize;
        if over > 0 { self.put(&ZEROS[..BLOCK - over]).await } else { Ok(()) }
    }

    async fn put(&mut self, data: &[u8]) -> Result<()> {
        if self.buffer.len() + data.len() > BUFFER {
            self.flush_buffer().await?;
        }
        if data.len() >= BUFFER {
            return self.out.write_all(data).await.map_err(failed);
        }
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    async fn flush_buffer(&mut self) -> Result<()> {
        self.out.write_all(&self.buffer).await.map_err(failed)?;
        self.buffer.clear();
        Ok(())
    }
}

fn failed(e: std::io::Error) -> Error {
    Error::io("can't write the tar stream", e)
}

/// The map before the data of `GNU.sparse` 1.0. It ends with an empty piece at the file's end, as GNU
/// tar's own does, when the file ends in a hole.
fn sparse_map(extents: &[(u64, u64)], size: u64) -> Result<Vec<u8>> {
    let sum = extents.iter().try_fold(0_u64, |n, p| n.checked_add(p.1));
    let sum = sum.ok_or_else(|| Error::new(ErrorKind::Integrity, "the holes given don't fit the file"))?;
    super::pax::check_map(extents, size, sum)?;
    let tail = (extents.last().is_none_or(|p| p.0 + p.1 < size)).then_some((size, 0));
    let pieces = extents.iter().copied().chain(tail);
    let mut map = format!("{}\n", extents.len() + usize::from(tail.is_some()));
    for (offset, length) in pieces {
        map.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    Ok(map)
}

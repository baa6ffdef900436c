//! The reader of tar streams.

use super::header::{BLOCK, Header};
use super::pax::{Extended, MAX_EXTENDED, MAX_PIECES, check_map, decimal};
use crate::copy::check::{name_place, show};
use crate::copy::stream::Batch;
use crate::copy::{Chunk, Entry, EntryKind, EntrySink, EntryStream, Item};
use crate::{Error, ErrorKind, Result};
use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

/// The most bytes of one [`Chunk`].
const CHUNK: u64 = 256 << 10;
/// The most bytes read after the end mark, so that the sender can write its padding.
const MAX_PADDING: u64 = 64 << 20;

/// Reads a tar stream on a task of its own, so it must be called within a tokio runtime. The entries are
/// as hostile as the stream; [`write_tree`](crate::copy::tree::write_tree) and every backend's `copy_in`
/// check them. Dropping the result ends the reading.
///
/// Errors come in the stream: `InvalidInput` for what is no tar stream, is compressed or is malformed,
/// `Integrity` when it is cut or damaged. They name the entry, or the one `after` which they came.
#[must_use]
pub fn read(reader: impl AsyncRead + Send + Unpin + 'static) -> EntryStream {
    spawn(reader, None)
}

/// As [`read`], for a stream whose entries are all `root` or beneath it, such as `tar -C PARENT -c root`
/// writes: `root` itself becomes the entry with the empty path. Any other entry is an error.
#[must_use]
pub fn read_as(reader: impl AsyncRead + Send + Unpin + 'static, root: &[u8]) -> EntryStream {
    spawn(reader, Some(clean(root)))
}

fn spawn(reader: impl AsyncRead + Send + Unpin + 'static, root: Option<Vec<u8>>) -> EntryStream {
    let (sink, stream) = EntryStream::channel();
    tokio::spawn(async move {
        let input = BufReader::with_capacity(64 << 10, reader);
        let mut reader = Reader {
            input,
            sink: &sink,
            batch: Batch::default(),
            root,
            read: 0,
            last: None,
            inside: false,
            global: Extended::default(),
        };
        let answer = tokio::select! {
            answer = reader.run() => answer,
            () = sink.closed() => Err(Stop::Gone),
        };
        // What came before an error still counts; a receiver that is gone needs nothing.
        let _ = reader.batch.flush(&sink).await;
        match answer {
            Ok(()) => sink.finish().await,
            Err(Stop::Failed(e)) => {
                sink.send(Err(e)).await;
            }
            Err(Stop::Gone) => {}
        }
    });
    stream
}

/// Why a read ends early.
enum Stop {
    /// Nobody listens any more.
    Gone,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

struct Reader<'a, R> {
    input: BufReader<R>,
    sink: &'a EntrySink,
    batch: Batch,
    root: Option<Vec<u8>>,
    /// Bytes read.
    read: u64,
    /// The entry that came last, and whether its contents are being read.
    last: Option<Vec<u8>>,
    inside: bool,
    global: Extended,
}

/// Names and extended headers that belong to the next entry.
#[derive(Default)]
struct Ahead {
    extended: Extended,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    /// What is wrong with them; said when the entry's name is known.
    wrong: Option<Error>,
}

impl<R: AsyncRead + Unpin> Reader<'_, R> {
    async fn run(&mut self) -> Result<(), Stop> {
        let mut ahead = Ahead::default();
        let mut first = true;
        loop {
            let header = if std::mem::take(&mut first) { self.first().await? } else { self.header().await? };
            let Some(header) = header else { break };
            let size = |h: &Header| h.size().map_err(|e| e.with_context("entry", show(&h.name())));
            match header.kind() {
                b'x' | b'X' => {
                    let data = self.meta(size(&header)?, ahead.extended.taken).await?;
                    ahead.extended.taken += data.len();
                    if let Err(e) = ahead.extended.take(&data) {
                        ahead.wrong.get_or_insert(e);
                    }
                }
                b'g' => {
                    let data = self.meta(size(&header)?, self.global.taken).await?;
                    self.global.taken += data.len();
                    let mut global = std::mem::take(&mut self.global);
                    let taken = global.take(&data).map_err(|e| self.place(e));
                    self.global = global;
                    taken?;
                }
                b'L' => ahead.name = Some(until_zero(self.meta(size(&header)?, 0).await?)),
                b'K' => ahead.link = Some(until_zero(self.meta(size(&header)?, 0).await?)),
                // A label, not a file.
                b'V' => self.skip(size(&header)?).await?,
                _ => {
                    self.entry(&header, std::mem::take(&mut ahead)).await?;
                    self.inside = false;
                }
            }
        }
        if ahead.name.is_some() || ahead.link.is_some() || ahead.extended != Extended::default() {
            return Err(self.cut("the tar stream ends between an extended header and its entry").into());
        }
        // The sender may still be writing zeros; without a reader it would fail.
        let padding = tokio::io::copy(&mut (&mut self.input).take(MAX_PADDING), &mut tokio::io::sink()).await;
        padding.map_err(|e| Error::io("can't read the tar stream", e))?;
        Ok(())
    }

    /// The first header; what is no tar stream shows here.
    async fn first(&mut self) -> Result<Option<Header>, Stop> {
        let mut block = [0; BLOCK];
        let got = self.fill(&mut block).await?;
        let start = Header(block);
        if got == BLOCK && (start.is_zero() || start.is_sound()) {
            return self.checked(start).await;
        }
        if let Some((name, command)) = compression(&block[..got]) {
            return Err(Error::invalid(format!("that is no tar stream but {name} data"))
                .with_hint(format!("unpack it first, such as by `{command}`"))
                .into());
        }
        Err(match got {
            0 => Error::new(ErrorKind::Integrity, "the tar stream is empty")
                .with_hint("look at the program that should have written it"),
            _ => Error::invalid("that is no tar stream").with_hint("make one with `tar -c`"),
        }
        .into())
    }

    /// The next header; `None` at the end mark.
    async fn header(&mut self) -> Result<Option<Header>, Stop> {
        let block = self.block("the tar stream ends without its end mark").await?;
        self.checked(block).await
    }

    async fn checked(&mut self, block: Header) -> Result<Option<Header>, Stop> {
        if block.is_zero() {
            // The mark is two such blocks; some programs leave the second out.
            let mut next = [0; BLOCK];
            let got = self.fill(&mut next).await?;
            if got == 0 || (got == BLOCK && next == [0; BLOCK]) {
                return Ok(None);
            }
            return Err(self.damaged("the tar stream goes on after half an end mark").into());
        }
        if !block.is_sound() {
            return Err(self.damaged("a tar header is damaged: its checksum is wrong").into());
        }
        Ok(Some(block))
    }

    async fn entry(&mut self, header: &Header, ahead: Ahead) -> Result<(), Stop> {
        let extended = ahead.extended.or(&self.global);
        let sparse = &extended.sparse;
        let name = sparse.name.clone().or(extended.path.clone()).or(ahead.name).unwrap_or_else(|| header.name());
        let named = |e: Error| name_place(e, true, &name);
        if let Some(e) = ahead.wrong {
            return Err(named(e).into());
        }
        let path = self.path(&name).map_err(named)?;
        (self.last, self.inside) = (Some(path.clone()), true);
        let size = extended.size.map_or_else(|| header.size(), Ok).map_err(named)?;
        let link = extended.link.clone().or(ahead.link).unwrap_or_else(|| header.link());
        let (mut data, mut pieces) = (0, None);
        let kind = match header.kind() {
            b'0' | 0 | b'7' if name.ends_with(b"/") => EntryKind::Dir,
            b'0' | 0 | b'7' => {
                let (file, map) = self.map(&extended, size).await.map_err(|e| name_it(e, &name))?;
                data = map.as_ref().map_or(file, |m| m.iter().map(|p| p.1).sum());
                pieces = map;
                EntryKind::File { size: file }
            }
            b'S' => {
                let (file, map) = self.old_map(header, size).await.map_err(|e| name_it(e, &name))?;
                (data, pieces) = (size, Some(map));
                EntryKind::File { size: file }
            }
            b'1' => EntryKind::Hardlink { target: self.path(&link).map_err(named)? },
            b'2' => EntryKind::Symlink { target: link },
            b'3' => EntryKind::Special("character device"),
            b'4' => EntryKind::Special("block device"),
            b'5' | b'D' => EntryKind::Dir,
            b'6' => EntryKind::Special("FIFO"),
            b'M' => return Err(named(Error::unsupported("a tar stream in several volumes can't be read")).into()),
            other => {
                let what = format!("a tar entry is of the unknown type `{}`", other.escape_ascii());
                return Err(named(Error::invalid(what)).into());
            }
        };
        let mtime = extended.mtime.map_or_else(|| header.mtime().map(|s| (s, 0)), Ok).map_err(named)?;
        let uid = extended.uid.map_or_else(|| header.uid(), Ok).map_err(named)?;
        let gid = extended.gid.map_or_else(|| header.gid(), Ok).map_err(named)?;
        let mode = header.mode().map_err(named)?;
        // Other kinds have no data that means anything, and a hard link's size is its file's.
        let skip = match kind {
            EntryKind::File { .. } | EntryKind::Hardlink { .. } => 0,
            _ => size,
        };
        let mut entry = Entry::new(path, kind).with_mode(mode).with_mtime(mtime.0, mtime.1).with_owner(uid, gid);
        entry.extents.clone_from(&pieces);
        self.send(Item::Entry(entry)).await?;
        for (offset, length) in pieces.unwrap_or_else(|| vec![(0, data)]) {
            self.piece(offset, length).await?;
        }
        self.pad(data).await?;
        self.skip(skip).await
    }

    /// The path of a name: `./`, doubled and trailing slashes go. What is absolute or has `..` stays so.
    fn path(&self, name: &[u8]) -> Result<Vec<u8>> {
        if name.is_empty() {
            return Err(Error::invalid("a tar entry has no name"));
        }
        let path = clean(name);
        let Some(root) = &self.root else { return Ok(path) };
        match path.strip_prefix(root.as_slice()) {
            Some([]) => Ok(Vec::new()),
            Some([b'/', below @ ..]) => Ok(below.to_vec()),
            Some(below) if root.is_empty() => Ok(below.to_vec()),
            _ => {
                Err(Error::invalid("a tar entry lies outside what was asked for").with_context("asked for", show(root)))
            }
        }
    }

    /// The size of a regular file, and where its data belongs when it has holes.
    async fn map(&mut self, extended: &Extended, size: u64) -> Result<(u64, Option<Vec<(u64, u64)>>), Stop> {
        let sparse = &extended.sparse;
        let real = || sparse.size.ok_or_else(|| Error::invalid("a tar entry with holes has no size"));
        match (sparse.major, sparse.minor, &sparse.map) {
            (Some(1), Some(0), _) => {
                let (map, taken) = self.map_before_data(size).await?;
                Ok((real()?, Some(check_map(&map, real()?, size - taken)?)))
            }
            (None | Some(0), _, Some(map)) => Ok((real()?, Some(check_map(map, real()?, size)?))),
            (None, None, None) => Ok((size, None)),
            (major, minor, _) => {
                let text = |n: Option<u64>| n.map_or("?".into(), |n| n.to_string());
                Err(Error::unsupported("a tar entry with holes is written in an unknown way")
                    .with_context("GNU.sparse", format!("{}.{}", text(major), text(minor)))
                    .into())
            }
        }
    }

    /// `GNU.sparse` 1.0: the map comes before the data, as decimal lines that fill whole blocks.
    async fn map_before_data(&mut self, size: u64) -> Result<(Vec<(u64, u64)>, u64), Stop> {
        let bad = || Error::invalid("the map of a file with holes is malformed");
        let mut numbers: Vec<u64> = Vec::new();
        let (mut taken, mut digits, mut wanted) = (0, Vec::new(), None);
        while wanted != Some(numbers.len()) {
            taken += BLOCK as u64;
            if taken > size {
                return Err(bad().into());
            }
            for byte in self.block("the tar stream ends in the map of a file with holes").await?.0 {
                if wanted == Some(numbers.len()) {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(bad().into());
                    }
                    continue;
                }
                let number = decimal(&digits).ok_or_else(bad)?;
                digits.clear();
                match wanted {
                    Some(_) => numbers.push(number),
                    None if number > MAX_PIECES as u64 => {
                        return Err(Error::invalid("a file of the tar stream has too many holes").into());
                    }
                    None => wanted = Some(number as usize * 2),
                }
            }
        }
        Ok((numbers.chunks_exact(2).map(|p| (p[0], p[1])).collect(), taken))
    }

    /// Type `S`: the map is in the header and in blocks after it.
    async fn old_map(&mut self, header: &Header, size: u64) -> Result<(u64, Vec<(u64, u64)>), Stop> {
        let mut map = Vec::new();
        let (file, mut more) = header.old_sparse(&mut map)?;
        while more {
            if map.len() > MAX_PIECES {
                return Err(Error::invalid("a file of the tar stream has too many holes").into());
            }
            more = self.block("the tar stream ends in the map of a file with holes").await?.more_sparse(&mut map)?;
        }
        Ok((file, check_map(&map, file, size)?))
    }

    /// Sends the next `length` bytes as contents from `offset` on.
    async fn piece(&mut self, mut offset: u64, mut length: u64) -> Result<(), Stop> {
        while length > 0 {
            let now = length.min(CHUNK);
            let mut data = BytesMut::with_capacity(now as usize);
            while data.len() < now as usize {
                let room = now as usize - data.len();
                self.before_waiting().await?;
                match self.input.read_buf(&mut (&mut data).limit(room)).await {
                    Ok(0) => return Err(self.cut("the tar stream ends in the middle of a file").into()),
                    Ok(n) => self.read += n as u64,
                    Err(e) => return Err(self.failed(e).into()),
                }
            }
            self.send(Item::Chunk(Chunk { offset, data: data.freeze() })).await?;
            offset += now;
            length -= now;
        }
        Ok(())
    }

    /// The contents of a header that describes the next one.
    async fn meta(&mut self, size: u64, before: usize) -> Result<Vec<u8>, Stop> {
        if size > (MAX_EXTENDED - before.min(MAX_EXTENDED)) as u64 {
            let e = Error::invalid("the extended headers of a tar entry are longer than 1 MiB");
            return Err(self.place(e).into());
        }
        let mut data = vec![0; size as usize];
        if self.fill(&mut data).await? < data.len() {
            return Err(self.cut("the tar stream ends in an extended header").into());
        }
        self.pad(size).await?;
        Ok(data)
    }

    /// Leaves out `size` bytes and their padding.
    async fn skip(&mut self, size: u64) -> Result<(), Stop> {
        let skipped = tokio::io::copy(&mut (&mut self.input).take(size), &mut tokio::io::sink()).await;
        let skipped = skipped.map_err(|e| self.failed(e))?;
        self.read += skipped;
        if skipped < size {
            return Err(self.cut("the tar stream ends in the middle of an entry").into());
        }
        self.pad(size).await
    }

    /// Leaves out what fills the last block of `size` bytes.
    async fn pad(&mut self, size: u64) -> Result<(), Stop> {
        let rest = (size % BLOCK as u64) as usize;
        if rest > 0 {
            let mut padding = [0; BLOCK];
            let padding = &mut padding[rest..];
            if self.fill(padding).await? < BLOCK - rest {
                return Err(self.cut("the tar stream ends in the padding of an entry").into());
            }
        }
        Ok(())
    }

    async fn block(&mut self, cut: &str) -> Result<Header, Stop> {
        let mut block = [0; BLOCK];
        if self.fill(&mut block).await? < BLOCK {
            return Err(self.cut(cut).into());
        }
        Ok(Header(block))
    }

    /// Fills the buffer; less only at the stream's end.
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Stop> {
        let mut got = 0;
        while got < buffer.len() {
            self.before_waiting().await?;
            match self.input.read(&mut buffer[got..]).await {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) => return Err(self.failed(e).into()),
            }
        }
        self.read += got as u64;
        Ok(got)
    }

    /// What has come is not held back while the sender takes its time.
    async fn before_waiting(&mut self) -> Result<(), Stop> {
        let idle = self.input.buffer().is_empty();
        if !idle || self.batch.flush(self.sink).await { Ok(()) } else { Err(Stop::Gone) }
    }

    async fn send(&mut self, item: Item) -> Result<(), Stop> {
        let full = self.batch.add(item);
        if !full || self.batch.flush(self.sink).await { Ok(()) } else { Err(Stop::Gone) }
    }

    /// Says where in the stream the error is.
    fn place(&self, e: Error) -> Error {
        let last = self.last.as_ref().map_or("the start of the stream".into(), |path| show(path));
        let key = if self.inside { "entry" } else { "after" };
        e.with_context(key, last).with_context("offset", self.read.to_string())
    }

    fn cut(&self, message: &str) -> Error {
        self.place(Error::new(ErrorKind::Integrity, message))
            .with_hint("the sender stopped early: look at its own messages")
    }

    fn damaged(&self, message: &str) -> Error {
        self.place(Error::new(ErrorKind::Integrity, message))
    }

    fn failed(&self, e: std::io::Error) -> Error {
        self.place(Error::io("can't read the tar stream", e))
    }
}

fn name_it(stop: Stop, name: &[u8]) -> Stop {
    match stop {
        Stop::Failed(e) => Stop::Failed(name_place(e, true, name)),
        Stop::Gone => Stop::Gone,
    }
}

fn until_zero(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(text.iter().position(|b| *b == 0).unwrap_or(text.len()));
    text
}

/// Drops empty parts and `.`, but keeps a leading `/`, so that an absolute name can be told.
fn clean(name: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = name.split(|b| *b == b'/').filter(|p| !matches!(*p, b"" | b".")).collect();
    let path = parts.join(&b'/');
    if name.first() == Some(&b'/') { [b"/", path.as_slice()].concat() } else { path }
}

/// The name of a compression by the stream's first bytes, and what unpacks it.
fn compression(start: &[u8]) -> Option<(&'static str, &'static str)> {
    const KNOWN: [(&[u8], &str, &str); 8] = [
        (b"\x1f\x8b", "gzip", "gzip -dc"),
        (b"\xfd7zXZ\0", "xz", "xz -dc"),
        (b"\x28\xb5\x2f\xfd", "zstd", "zstd -dc"),
        (b"BZh", "bzip2", "bzip2 -dc"),
        (b"\x04\x22\x4d\x18", "lz4", "lz4 -dc"),
        (b"\x1f\x9d", "compress", "uncompress -c"),
        (b"\x5d\0\0", "lzma", "xz -dc --format=lzma"),
        (b"PK\x03\x04", "zip", "unzip"),
    ];
    KNOWN.iter().find(|k| start.starts_with(k.0)).map(|k| (k.1, k.2))
}

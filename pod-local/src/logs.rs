//! A command's log: records one after the other, each a header of 13 bytes and its data.
//!
//! Header: the stream (1 stdout, 2 stderr), the time in microseconds since 1970 (i64), the length of
//! the data (u32), little endian. A record is usually a line; its bytes are kept as they were.

use bytes::Bytes;
use pod_core::{LogRecord, LogStream};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

const HEADER: usize = 13;
/// No record's data is longer; a longer claim is a damaged file.
const MAX_DATA: usize = 1 << 20;

/// Writes records.
#[derive(Debug)]
pub(crate) struct LogWriter {
    file: File,
    length: u64,
}

impl LogWriter {
    /// Opens the log for appending.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }

    /// Appends `data`, a record a line.
    pub(crate) fn write(&mut self, stream: LogStream, data: &[u8]) -> io::Result<()> {
        let now = jiff::Timestamp::now().as_microsecond();
        let mut out = Vec::with_capacity(data.len() + 4 * HEADER);
        for line in data.split_inclusive(|b| *b == b'\n') {
            for piece in line.chunks(MAX_DATA) {
                out.push(if stream == LogStream::Stdout { 1 } else { 2 });
                out.extend_from_slice(&now.to_le_bytes());
                out.extend_from_slice(&(piece.len() as u32).to_le_bytes());
                out.extend_from_slice(piece);
            }
        }
        self.file.write_all(&out)?;
        self.length += out.len() as u64;
        Ok(())
    }

    /// How long the log is, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

/// Takes records off the bytes of a log as they come.
#[derive(Debug, Default)]
pub(crate) struct LogParser {
    pending: Vec<u8>,
}

impl LogParser {
    /// Adds bytes, gives the records they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> io::Result<Vec<LogRecord>> {
        self.pending.extend_from_slice(bytes);
        let mut records = Vec::new();
        let mut at = 0;
        while let Some(header) = self.pending.get(at..at + HEADER) {
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the log is damaged");
            let stream = match header[0] {
                1 => LogStream::Stdout,
                2 => LogStream::Stderr,
                _ => return Err(damaged()),
            };
            let (time, length) = header[1..].split_at(8);
            let micros = i64::from_le_bytes(time.try_into().map_err(|_| damaged())?);
            let length = u32::from_le_bytes(length.try_into().map_err(|_| damaged())?) as usize;
            if length > MAX_DATA {
                return Err(damaged());
            }
            let Some(data) = self.pending.get(at + HEADER..at + HEADER + length) else { break };
            let time = jiff::Timestamp::from_microsecond(micros).map_err(|_| damaged())?;
            records.push(LogRecord::new(Some(time), stream, Bytes::copy_from_slice(data)));
            at += HEADER + length;
        }
        self.pending.drain(..at);
        Ok(records)
    }
}

/// Reads the records of the first `limit` bytes of a log.
pub(crate) fn read_all(path: &Path, limit: u64) -> io::Result<Vec<LogRecord>> {
    let mut parser = LogParser::default();
    let mut records = Vec::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(records),
        Err(e) => return Err(e),
    };
    let mut file = file.take(limit);
    let mut buf = vec![0; 64 << 10];
    loop {
        match file.read(&mut buf)? {
            0 => return Ok(records),
            n => records.extend(parser.feed(&buf[..n])?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_any_cut_of_the_bytes() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("log");
        let mut log = LogWriter::open(&path).expect("open");
        log.write(LogStream::Stdout, b"one\ntwo\xff").expect("write");
        log.write(LogStream::Stderr, b"three\n").expect("write");
        let bytes = std::fs::read(&path).expect("read");
        assert_eq!(bytes.len() as u64, log.length());
        for step in [1, 2, 7, bytes.len()] {
            let mut parser = LogParser::default();
            let mut data = Vec::new();
            for piece in bytes.chunks(step) {
                data.extend(parser.feed(piece).expect("parse").into_iter().map(|r| (r.stream, r.data)));
            }
            let expected: Vec<(LogStream, Bytes)> = vec![
                (LogStream::Stdout, Bytes::from_static(b"one\n")),
                (LogStream::Stdout, Bytes::from_static(b"two\xff")),
                (LogStream::Stderr, Bytes::from_static(b"three\n")),
            ];
            assert_eq!(data, expected);
        }
    }

    #[test]
    fn noise_is_an_error() {
        assert!(LogParser::default().feed(&[9; 64]).is_err());
    }
}

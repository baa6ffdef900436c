//! What the wrapper of a program says in the program's own output, and how it is taken out of it.
//!
//! A mark is the byte 1, `pod:`, a random token, `:`, a letter with a number, and the byte 2.

use bytes::{Buf, Bytes, BytesMut};

/// What the wrapper says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The program begins, with this process id.
    Began(u32),
    /// There is no such program.
    NoProgram,
    /// It can't be executed.
    NotExecutable,
    /// The working directory is not there.
    NoDirectory,
    /// The program ended with this code, as a shell gives it.
    Ended(u8),
}

/// The longest a mark is, in bytes.
const LONGEST: usize = 64;

/// Takes marks out of a stream.
#[derive(Debug)]
pub struct Scanner {
    begin: Vec<u8>,
    held: BytesMut,
}

impl Scanner {
    /// Looks for marks with this token.
    pub fn new(token: &str) -> Self {
        Self { begin: format!("\u{1}pod:{token}:").into_bytes(), held: BytesMut::new() }
    }

    /// What of the data is the program's, and the marks in it. A mark may come in pieces.
    pub fn scan(&mut self, data: Bytes) -> (Bytes, Vec<Mark>) {
        if self.held.is_empty() && !self.may_begin_in(&data) {
            return (data, Vec::new());
        }
        self.held.extend_from_slice(&data);
        let (mut out, mut marks) = (BytesMut::new(), Vec::new());
        while let Some(at) = self.held.iter().position(|b| *b == 1) {
            out.extend_from_slice(&self.held[..at]);
            self.held.advance(at);
            let known = self.held.len().min(self.begin.len());
            if self.held[..known] != self.begin[..known] {
                self.pass(&mut out);
                continue;
            }
            let Some(end) = self.held.iter().take(LONGEST).position(|b| *b == 2) else {
                if self.held.len() < LONGEST {
                    return (out.freeze(), marks); // the rest of it is still to come
                }
                self.pass(&mut out);
                continue;
            };
            match self.held.get(self.begin.len()..end).and_then(read) {
                Some(mark) => {
                    marks.push(mark);
                    self.held.advance(end + 1);
                }
                None => self.pass(&mut out),
            }
        }
        out.extend_from_slice(&self.held);
        self.held.clear();
        (out.freeze(), marks)
    }

    /// Whether a mark begins in the data, or may.
    fn may_begin_in(&self, data: &[u8]) -> bool {
        memchr::memchr_iter(1, data).any(|at| {
            let known = (data.len() - at).min(self.begin.len());
            data[at..at + known] == self.begin[..known]
        })
    }

    /// The byte that began no mark is the program's.
    fn pass(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&self.held[..1]);
        self.held.advance(1);
    }

    /// What is held back when nothing more comes.
    pub fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }
}

/// The marks of one wrapper in both outputs of its program: all of them on stderr, or on a terminal, and that
/// of the end on stdout too.
#[derive(Debug)]
pub struct Marks {
    told: Scanner,
    on_stdout: Scanner,
    ended: bool,
    stdout_ended: bool,
}

impl Marks {
    /// Looks for marks with this token.
    pub fn new(token: &str) -> Self {
        Self { told: Scanner::new(token), on_stdout: Scanner::new(token), ended: false, stdout_ended: false }
    }

    /// What of stderr, or of the terminal, is the program's, and the marks in it.
    pub fn told(&mut self, data: Bytes) -> (Bytes, Vec<Mark>) {
        let (data, marks) = self.told.scan(data);
        self.ended |= marks.iter().any(|m| matches!(m, Mark::Ended(_)));
        (data, marks)
    }

    /// What of a stdout beside a stderr is the program's.
    pub fn on_stdout(&mut self, data: Bytes) -> Bytes {
        let (data, marks) = self.on_stdout.scan(data);
        self.stdout_ended |= !marks.is_empty();
        data
    }

    /// Whether the program said on stderr, or on the terminal, that it ended.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it ended, and its stdout came to no end: what came of it is not all that was printed.
    pub fn is_cut(&self) -> bool {
        self.ended && !self.stdout_ended
    }

    /// Whether it ended, and all that it printed came.
    pub fn is_whole(&self) -> bool {
        self.ended && self.stdout_ended
    }

    /// What is held back of either when nothing more comes: of stderr or the terminal, and of stdout.
    pub fn rest(&mut self) -> (Bytes, Bytes) {
        (self.told.rest(), self.on_stdout.rest())
    }
}

fn read(text: &[u8]) -> Option<Mark> {
    let text = std::str::from_utf8(text).ok()?;
    let (kind, number) = text.split_at_checked(1)?;
    match (kind, number) {
        ("B", pid) => pid.parse().ok().map(Mark::Began),
        ("E", code) => code.parse().ok().map(Mark::Ended),
        ("N", "") => Some(Mark::NoProgram),
        ("X", "") => Some(Mark::NotExecutable),
        ("D", "") => Some(Mark::NoDirectory),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_out_however_they_are_cut() {
        let stream = b"\x01pod:tok:B42\x02one\x01\x02two\x01pod:tok:N\x02\x01pod:other:B1\x02\x01pod:tok:?\x02end\x01pod:tok:E7\x02\x01";
        let plain = b"one\x01\x02two\x01pod:other:B1\x02\x01pod:tok:?\x02end\x01";
        for size in 1..stream.len() {
            let mut scanner = Scanner::new("tok");
            let (mut out, mut marks) = (Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                let (data, found) = scanner.scan(Bytes::copy_from_slice(piece));
                out.extend_from_slice(&data);
                marks.extend(found);
            }
            out.extend_from_slice(&scanner.rest());
            assert_eq!(out, plain, "in pieces of {size}: {}", out.escape_ascii());
            assert_eq!(marks, [Mark::Began(42), Mark::NoProgram, Mark::Ended(7)], "in pieces of {size}");
        }
    }

    #[test]
    fn an_output_without_its_end_is_cut() {
        let mut marks = Marks::new("tok");
        assert_eq!(marks.on_stdout(Bytes::from_static(b"out")), "out");
        assert!(!marks.is_cut() && !marks.is_whole(), "the program may still print");
        let (data, told) = marks.told(Bytes::from_static(b"err\x01pod:tok:E0\x02"));
        assert_eq!((data.as_ref(), told), (&b"err"[..], vec![Mark::Ended(0)]));
        assert!(marks.has_ended() && marks.is_cut());
        assert_eq!(marks.on_stdout(Bytes::from_static(b"more\x01pod:tok:E0\x02")), "more");
        assert!(marks.is_whole() && !marks.is_cut());
        marks.on_stdout(Bytes::from_static(b"\x01po"));
        assert_eq!(marks.rest(), (Bytes::new(), Bytes::from_static(b"\x01po")));
    }

    #[test]
    fn what_never_ends_is_no_mark() {
        let mut scanner = Scanner::new("tok");
        let data = [b"\x01pod:tok:B".to_vec(), vec![b'1'; 200]].concat();
        let (out, marks) = scanner.scan(Bytes::from(data.clone()));
        assert_eq!((out.as_ref(), marks.len()), (data.as_slice(), 0));
    }
}

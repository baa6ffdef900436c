//! How a daemon sends two outputs over one connection (API, "Attach to a container", stream format): each
//! piece behind 8 bytes, which are the stream's number, three zeros and the length, big-endian. With a
//! terminal there is one output, sent as it is. Which of both it is, is known from what was asked for,
//! never guessed from the first byte.

use bytes::{Buf, Bytes, BytesMut};

/// One of a program's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
    /// The daemon's own words, about what went wrong.
    Daemon,
}

/// Takes the frames apart, however they are cut, without waiting for a whole one.
#[derive(Debug)]
pub(crate) struct Frames {
    held: BytesMut,
    /// The frame under way: its stream, and how much of it is still to come.
    open: Option<(Output, usize)>,
    raw: bool,
}

/// A piece of output, and whether its frame ends with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) output: Output,
    pub(crate) data: Bytes,
    pub(crate) last: bool,
}

impl Frames {
    /// Frames, or one raw output where there is a terminal.
    pub(crate) fn new(tty: bool) -> Self {
        Self { held: BytesMut::new(), open: None, raw: tty }
    }

    /// Takes what came.
    pub(crate) fn feed(&mut self, data: &[u8]) {
        self.held.extend_from_slice(data);
    }

    /// The next piece; `None` until more comes.
    ///
    /// # Errors
    /// The number of a stream that there is not: what comes is no such format.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, u8> {
        if self.raw {
            let data = self.held.split().freeze();
            return Ok((!data.is_empty()).then_some(Piece { output: Output::Stdout, data, last: false }));
        }
        loop {
            if let Some((output, left)) = self.open {
                if left > 0 && self.held.is_empty() {
                    return Ok(None);
                }
                let now = left.min(self.held.len());
                let data = self.held.split_to(now).freeze();
                self.open = (now < left).then_some((output, left - now));
                return Ok(Some(Piece { output, data, last: now == left }));
            }
            if self.held.len() < 8 {
                return Ok(None);
            }
            let output = match self.held[0] {
                0 | 1 => Output::Stdout,
                2 => Output::Stderr,
                3 => Output::Daemon,
                other => return Err(other),
            };
            self.held.advance(4);
            self.open = Some((output, self.held.get_u32() as usize));
        }
    }

    /// Whether a frame is cut.
    pub(crate) fn is_cut(&self) -> bool {
        self.open.is_some_and(|(_, left)| left > 0) || (!self.raw && !self.held.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, data: &[u8]) -> Vec<u8> {
        [&[stream, 0, 0, 0][..], &u32::try_from(data.len()).expect("short").to_be_bytes(), data].concat()
    }

    #[test]
    fn frames_are_taken_apart_however_they_are_cut() {
        let sent = [frame(1, b"one"), frame(2, b"\x01\x02"), frame(1, b""), frame(1, b"two"), frame(3, b"no")].concat();
        for size in 1..=sent.len() {
            let mut frames = Frames::new(false);
            let (mut out, mut err, mut own) = (Vec::new(), Vec::new(), Vec::new());
            for cut in sent.chunks(size) {
                frames.feed(cut);
                while let Some(piece) = frames.next().expect("frames") {
                    match piece.output {
                        Output::Stdout => out.extend_from_slice(&piece.data),
                        Output::Stderr => err.extend_from_slice(&piece.data),
                        Output::Daemon => own.extend_from_slice(&piece.data),
                    }
                }
            }
            assert_eq!(
                (out.as_slice(), err.as_slice(), own.as_slice()),
                (&b"onetwo"[..], &b"\x01\x02"[..], &b"no"[..])
            );
            assert!(!frames.is_cut());
        }
    }

    #[test]
    fn a_terminals_bytes_are_no_frames() {
        let mut frames = Frames::new(true);
        frames.feed(b"\x01\x00\x00\x00text");
        let piece = frames.next().expect("raw").expect("a piece");
        assert_eq!((piece.output, piece.data.as_ref()), (Output::Stdout, &b"\x01\x00\x00\x00text"[..]));
    }

    #[test]
    fn what_is_no_frame_is_told() {
        let mut frames = Frames::new(false);
        frames.feed(b"HTTP/1.1 200 OK");
        assert_eq!(frames.next(), Err(b'H'));
        let mut cut = Frames::new(false);
        cut.feed(&frame(1, b"one")[..9]);
        assert!(cut.next().expect("frames").is_some() && cut.is_cut());
    }
}

//! The 512-byte header block (`ustar` in POSIX.1-1988; GNU tar manual, "Basic Tar Format").

use crate::{Error, Result};
use std::ops::Range;

/// Everything in a tar stream comes in blocks of this many bytes.
pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const PREFIX: Range<usize> = 345..500;
/// GNU's older form of sparse files: four pieces here, more in blocks of their own.
const OLD_SPARSE: Range<usize> = 386..482;
const OLD_SPARSE_MORE: usize = 482;
const OLD_SPARSE_SIZE: Range<usize> = 483..495;
const MORE_SPARSE: Range<usize> = 0..504;
const MORE_SPARSE_MORE: usize = 504;

const USTAR: &[u8; 8] = b"ustar\x0000";
const GNU: &[u8; 8] = b"ustar  \0";

/// A number of a header, as wide as any field can hold.
type Number = i128;

/// One header block.
#[derive(Clone)]
pub(super) struct Header(pub(super) [u8; BLOCK]);

impl Header {
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|b| *b == 0)
    }

    /// Whether the checksum is right, summed over unsigned bytes or, as some old programs did, signed.
    pub(super) fn is_sound(&self) -> bool {
        let Ok(Some(given)) = number(&self.0[CHECKSUM]) else { return false };
        given == Number::from(self.sum()) || given == self.signed_sum()
    }

    fn bytes_summed(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().enumerate().map(|(i, b)| if CHECKSUM.contains(&i) { b' ' } else { *b })
    }

    fn sum(&self) -> u32 {
        self.bytes_summed().map(u32::from).sum()
    }

    fn signed_sum(&self) -> Number {
        self.bytes_summed().map(|b| Number::from(b.cast_signed())).sum()
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[TYPE]
    }

    /// The name; ustar's prefix goes before it.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[NAME]);
        if &self.0[MAGIC] != GNU && self.0[MAGIC].starts_with(b"ustar") {
            let prefix = text(&self.0[PREFIX]);
            if !prefix.is_empty() {
                return [prefix, b"/", name].concat();
            }
        }
        name.to_vec()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[LINK]).to_vec()
    }

    pub(super) fn size(&self) -> Result<u64> {
        field(&self.0[SIZE], "size")
    }

    pub(super) fn mode(&self) -> Result<u32> {
        // Some programs put the file type above the permission bits.
        Ok((field::<u64>(&self.0[MODE], "mode")? & 0o7777) as u32)
    }

    pub(super) fn uid(&self) -> Result<u32> {
        field(&self.0[UID], "uid")
    }

    pub(super) fn gid(&self) -> Result<u32> {
        field(&self.0[GID], "gid")
    }

    pub(super) fn mtime(&self) -> Result<i64> {
        field(&self.0[MTIME], "mtime")
    }

    /// Of the older sparse form: the file's size, its first pieces, and whether a block of more follows.
    pub(super) fn old_sparse(&self, pieces: &mut Vec<(u64, u64)>) -> Result<(u64, bool)> {
        old_pieces(&self.0[OLD_SPARSE], pieces)?;
        Ok((field(&self.0[OLD_SPARSE_SIZE], "size of the sparse file")?, self.0[OLD_SPARSE_MORE] != 0))
    }

    /// This block holds only more pieces of the older sparse form.
    pub(super) fn more_sparse(&self, pieces: &mut Vec<(u64, u64)>) -> Result<bool> {
        old_pieces(&self.0[MORE_SPARSE], pieces)?;
        Ok(self.0[MORE_SPARSE_MORE] != 0)
    }
}

fn old_pieces(fields: &[u8], pieces: &mut Vec<(u64, u64)>) -> Result<()> {
    for pair in fields.chunks_exact(24) {
        if pair[0] == 0 && pair[12] == 0 {
            break;
        }
        pieces.push((field(&pair[..12], "sparse offset")?, field(&pair[12..], "sparse length")?));
    }
    Ok(())
}

/// A text field: up to its first zero byte, or all of it.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

fn field<T: TryFrom<Number>>(bytes: &[u8], what: &'static str) -> Result<T> {
    let bad = || Error::invalid(format!("a tar header holds a bad {what}"));
    T::try_from(number(bytes).map_err(|()| bad())?.unwrap_or(0)).map_err(|_| bad())
}

/// A number: octal digits with blanks around them, or binary when the first bit is set (GNU tar manual,
/// "Extensions to the Archive Format"). A blank field is none.
fn number(bytes: &[u8]) -> Result<Option<Number>, ()> {
    match bytes[0] {
        first @ (0x80 | 0xff) => {
            let start = if first == 0xff { -1 } else { 0 };
            Ok(Some(bytes[1..].iter().fold(start, |n: Number, b| (n << 8) | Number::from(*b))))
        }
        _ => {
            let digits = bytes.trim_ascii_start();
            let end = digits.iter().position(|b| matches!(b, 0 | b' ')).unwrap_or(digits.len());
            if digits[end..].iter().any(|b| !matches!(b, 0 | b' ')) {
                return Err(());
            }
            if end == 0 {
                return Ok(None);
            }
            digits[..end]
                .iter()
                .try_fold(0, |n: Number, b| matches!(b, b'0'..=b'7').then(|| n * 8 + Number::from(b - b'0')))
                .map(Some)
                .ok_or(())
        }
    }
}

/// A header to be written.
pub(super) struct NewHeader(Header);

impl NewHeader {
    /// A header of this type, all numbers 0, no names.
    pub(super) fn new(kind: u8) -> Self {
        let mut header = Header([0; BLOCK]);
        header.0[MAGIC].copy_from_slice(USTAR);
        header.0[TYPE] = kind;
        let mut new = Self(header);
        for field in [MODE, UID, GID, SIZE, MTIME] {
            new.number(field, 0);
        }
        new
    }

    /// Sets the name if it fits, whole or split at a `/`; else as much of it as fits, and `false`.
    pub(super) fn name(&mut self, name: &[u8]) -> bool {
        if name.len() <= NAME.len() {
            self.0.0[NAME][..name.len()].copy_from_slice(name);
            return true;
        }
        // The last `/` that leaves something after it; a directory's own trailing one does not.
        let split = (1..name.len() - 1)
            .rev()
            .find(|i| name[*i] == b'/' && *i <= PREFIX.len())
            .filter(|i| name.len() - i - 1 <= NAME.len());
        match split {
            Some(i) => {
                self.0.0[PREFIX][..i].copy_from_slice(&name[..i]);
                self.0.0[NAME][..name.len() - i - 1].copy_from_slice(&name[i + 1..]);
                true
            }
            None => {
                self.0.0[NAME].copy_from_slice(&name[..NAME.len()]);
                false
            }
        }
    }

    /// Sets the link's target if it fits; else as much of it as fits, and `false`.
    pub(super) fn link(&mut self, target: &[u8]) -> bool {
        let fits = target.len().min(LINK.len());
        self.0.0[LINK][..fits].copy_from_slice(&target[..fits]);
        fits == target.len()
    }

    pub(super) fn size(&mut self, size: u64) {
        self.number(SIZE, Number::from(size));
    }

    pub(super) fn mode(&mut self, mode: u32) {
        self.number(MODE, Number::from(mode));
    }

    pub(super) fn owner(&mut self, uid: u32, gid: u32) {
        self.number(UID, Number::from(uid));
        self.number(GID, Number::from(gid));
    }

    pub(super) fn mtime(&mut self, seconds: i64) {
        self.number(MTIME, Number::from(seconds));
    }

    /// Octal with a zero byte after it; binary where that is too narrow.
    fn number(&mut self, field: Range<usize>, n: Number) {
        let digits = field.len() - 1;
        let out = &mut self.0.0[field];
        if n >= 0 && n < 1 << (3 * digits) {
            out[..digits].copy_from_slice(format!("{n:0digits$o}").as_bytes());
            out[digits] = 0;
        } else {
            let bytes = n.to_be_bytes();
            out.copy_from_slice(&bytes[bytes.len() - out.len()..]);
            out[0] = if n < 0 { 0xff } else { 0x80 };
        }
    }

    /// The block, its checksum set.
    pub(super) fn finish(mut self) -> [u8; BLOCK] {
        let sum = format!("{:06o}\0 ", self.0.sum());
        self.0.0[CHECKSUM].copy_from_slice(sum.as_bytes());
        self.0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        type Case = (&'static [u8], Result<Option<Number>, ()>);
        let cases: [Case; 12] = [
            (b"0000644\0", Ok(Some(0o644))),
            (b"   644 \0", Ok(Some(0o644))),
            (b"644     ", Ok(Some(0o644))),
            (b"77777777", Ok(Some(0o77_777_777))),
            (b"\0\0\0\0\0\0\0\0", Ok(None)),
            (b"        ", Ok(None)),
            (b"00006x4\0", Err(())),
            (b"-0000644", Err(())),
            (b"0644\x0064\0", Err(())),
            (b"\x80\0\0\0\0\x01\0\0", Ok(Some(65536))),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Ok(Some(-2))),
            (b"\x90\0\0\0\0\0\0\0", Err(())),
        ];
        for (bytes, want) in cases {
            assert_eq!(number(bytes), want, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let long = [&[b'd'; 150][..], b"/", &[b'n'; 100]].concat();
        for name in [&b"a"[..], &[b'x'; 100], &long] {
            let mut h = NewHeader::new(b'0');
            assert!(h.name(name));
            assert!(h.link(b"target"));
            h.size(u64::MAX);
            h.mode(0o7755);
            h.owner(4_000_000_000, 1);
            h.mtime(-5);
            let h = Header(h.finish());
            assert!(h.is_sound() && !h.is_zero());
            assert_eq!((h.name(), h.link()), (name.to_vec(), b"target".to_vec()));
            let numbers = (h.size().ok(), h.mode().ok(), h.uid().ok(), h.gid().ok(), h.mtime().ok());
            assert_eq!(numbers, (Some(u64::MAX), Some(0o7755), Some(4_000_000_000), Some(1), Some(-5)));
        }
        for name in [&[b'x'; 101][..], &[&[b'd'; 156][..], b"/n"].concat(), &[&[b'x'; 120][..], b"/"].concat()] {
            assert!(!NewHeader::new(b'0').name(name));
        }
    }
}

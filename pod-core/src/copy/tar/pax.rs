//! Extended headers (pax, POSIX.1-2001) and the ways GNU tar writes the map of a file with holes.

use crate::{Error, Result};

/// The most bytes of extended headers before one entry. `PATH_MAX`, twice, is 8 KiB; a map of holes is
/// what makes them long.
pub(super) const MAX_EXTENDED: usize = 1 << 20;
/// The most pieces of one file with holes.
pub(super) const MAX_PIECES: usize = 1 << 20;

/// What the extended headers before an entry say about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) sparse: Sparse,
    /// Bytes taken in so far.
    pub(super) taken: usize,
}

/// GNU tar's keys for files with holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// `GNU.sparse.size` (0.0, 0.1) or `GNU.sparse.realsize` (1.0).
    pub(super) size: Option<u64>,
    /// The map of 0.0 and 0.1: offset and length.
    pub(super) map: Option<Vec<(u64, u64)>>,
    /// An offset of 0.0 whose length has not come yet.
    offset: Option<u64>,
}

impl Extended {
    /// Takes the records of one extended header; later ones win.
    pub(super) fn take(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or_else(|| Error::invalid("a pax header is malformed"))?;
            self.set(key, value).ok_or_else(|| {
                Error::invalid("a pax header holds a bad value").with_context("key", key.escape_ascii().to_string())
            })?;
            data = rest;
        }
        Ok(())
    }

    /// `None` when the value makes no sense. An empty value takes the key back (POSIX `pax`).
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        fn opt<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
            if value.is_empty() { Some(None) } else { parse(value).map(Some) }
        }
        let bytes = |v: &[u8]| Some(v.to_vec());
        let id = |v: &[u8]| decimal(v).and_then(|n| u32::try_from(n).ok());
        match key {
            b"path" => self.path = opt(value, bytes)?,
            b"linkpath" => self.link = opt(value, bytes)?,
            b"size" => self.size = opt(value, decimal)?,
            b"mtime" => self.mtime = opt(value, time)?,
            b"uid" => self.uid = opt(value, id)?,
            b"gid" => self.gid = opt(value, id)?,
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    return self.sparse.set(key, value);
                }
            }
        }
        Some(())
    }

    /// These over what `global` says.
    pub(super) fn or(self, global: &Self) -> Self {
        Self {
            path: self.path.or_else(|| global.path.clone()),
            link: self.link.or_else(|| global.link.clone()),
            size: self.size.or(global.size),
            mtime: self.mtime.or(global.mtime),
            uid: self.uid.or(global.uid),
            gid: self.gid.or(global.gid),
            sparse: self.sparse,
            taken: self.taken,
        }
    }
}

impl Sparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"numblocks" => {
                decimal(value)?;
                self.map.get_or_insert_default();
            }
            b"offset" if self.offset.is_none() => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let piece = (self.offset.take()?, decimal(value)?);
                self.map.get_or_insert_default().push(piece);
            }
            b"map" => {
                let numbers = value.split(|b| *b == b',').map(decimal).collect::<Option<Vec<_>>>()?;
                if numbers.len() % 2 != 0 {
                    return None;
                }
                self.map = Some(numbers.chunks_exact(2).map(|p| (p[0], p[1])).collect());
            }
            _ => return None,
        }
        Some(())
    }
}

/// The first record, `LENGTH KEY=VALUE\n`, and what follows it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(&data[..space])?).ok()?;
    let body = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    (equals > 0).then(|| (&body[..equals], &body[equals + 1..], &data[length..]))
}

/// A decimal number without a sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |n, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// Seconds since 1970 with a fraction, which may be negative; digits beyond nanoseconds are dropped.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|b| *b == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9).fold(0, |n, i| n * 10 + fraction.get(i).map_or(0, |b| u32::from(b - b'0')));
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

/// Writes a time as [`time`] reads it.
pub(super) fn time_text((seconds, nanos): (i64, u32)) -> String {
    if seconds < 0 && nanos > 0 {
        // -1.5 is two seconds back and half a second on.
        format!("-{}.{:09}", -(i128::from(seconds) + 1), 1_000_000_000 - nanos)
    } else {
        format!("{seconds}.{nanos:09}")
    }
}

/// Appends a record.
pub(super) fn push_record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let digits = |n: usize| n.to_string().len();
    // The length counts its own digits.
    let mut length = rest + digits(rest);
    if rest + digits(length) != length {
        length += 1;
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Checks a map of holes: pieces in order, apart, inside the file, and as many bytes of data as there are.
/// Empty pieces, such as the one GNU tar puts at the end, are dropped and pieces that touch are joined.
pub(super) fn check_map(map: &[(u64, u64)], size: u64, data: u64) -> Result<Vec<(u64, u64)>> {
    let bad = |why: &str| Err(Error::invalid(format!("the map of a file with holes is malformed: {why}")));
    let mut pieces: Vec<(u64, u64)> = Vec::new();
    let (mut at, mut total) = (0_u64, 0_u64);
    for (offset, length) in map.iter().copied() {
        let Some(end) = offset.checked_add(length).filter(|end| *end <= size) else {
            return bad("a piece lies beyond the file's end");
        };
        if offset < at {
            return bad("pieces overlap or are out of order");
        }
        match pieces.last_mut() {
            _ if length == 0 => {}
            Some((start, joined)) if *start + *joined == offset => *joined += length,
            _ => pieces.push((offset, length)),
        }
        // No overflow: the pieces lie apart in a file of `size` bytes.
        total += length;
        at = end;
    }
    if total == data { Ok(pieces) } else { bad("its pieces are not as long as the data") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_and_read() {
        for n in [1, 5, 80, 90, 91, 92, 93, 94, 95, 985, 990, 1000, 9999] {
            let value = vec![b'v'; n];
            let mut out = Vec::new();
            push_record(&mut out, "path", &value);
            push_record(&mut out, "comment", b"a=b\nc");
            let mut e = Extended::default();
            e.take(&out).expect("it is well formed");
            assert_eq!(e.path.as_deref(), Some(&value[..]), "{n}");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"x"[..],
            b"6 a=b",
            b"99 a=b\n",
            b"0 a=b\n",
            b"5 ab\n\n",
            b"6 =bc\n",
            b"-6 a=b\n",
            b"11 size=-1\n",
            b"28 size=18446744073709551616\n",
            b"12 uid=root\n",
            b"20 uid=99999999999\n",
            b"16 mtime=1.2.3\n",
            b"25 GNU.sparse.numbytes=1\n",
            b"22 GNU.sparse.map=1,2,3\n",
        ] {
            assert!(Extended::default().take(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn times_keep_their_fraction() {
        for t in [(0, 0), (1, 1), (1_600_000_000, 123_456_789), (-1, 500_000_000), (-2, 0), (-2, 999_999_999)] {
            assert_eq!(time(time_text(t).as_bytes()), Some(t), "{t:?}");
        }
        assert_eq!(time(b"1350244992.0239601089"), Some((1_350_244_992, 23_960_108)));
        assert_eq!(time(b"-1.5"), Some((-2, 500_000_000)));
        for bad in [&b""[..], b".5", b"1e5", b"--1", b"1.-5", b"99999999999999999999"] {
            assert_eq!(time(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn maps_are_checked() {
        assert_eq!(check_map(&[(0, 5), (5, 5), (20, 0)], 20, 10).ok(), Some(vec![(0, 10)]));
        for (map, size, data) in [
            (&[(0, 5), (4, 5)][..], 20, 10),
            (&[(10, 5), (0, 5)], 20, 10),
            (&[(15, 6)], 20, 6),
            (&[(u64::MAX, 1)], u64::MAX, 1),
            (&[(0, 5)], 20, 6),
        ] {
            assert!(check_map(map, size, data).is_err(), "{map:?}");
        }
    }
}

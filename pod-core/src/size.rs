//! Sizes in bytes, as people write them.

use crate::{Error, Result};

/// Reads a size: a number of bytes, or one with `K`, `M`, `G` or `T` (powers of 1,024), each with an
/// optional `i` and `B` after it, such as `64M`, `64MiB` or `1.5g`.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for anything else.
pub fn parse(s: &str) -> Result<u64> {
    let bad = || {
        Error::invalid("that is no size")
            .with_context("size", format!("{s:?}"))
            .with_hint("write bytes, or 64K, 64M, 2G")
    };
    let t = s.trim().to_ascii_lowercase();
    let digits = t.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(t.len());
    let (number, unit) = t.split_at(digits);
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(bad()),
    };
    if let Ok(n) = number.parse::<u64>() {
        return n.checked_mul(1 << shift).ok_or_else(bad);
    }
    let n: f64 = number.parse().map_err(|_| bad())?;
    let bytes = n * (1u64 << shift) as f64;
    if bytes.is_finite() && (0.0..9e18).contains(&bytes) { Ok(bytes as u64) } else { Err(bad()) }
}

/// Prints a size with one decimal and a binary unit.
#[must_use]
pub fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 || unit == "TiB" {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{bytes} B")
}

pub(crate) mod option {
    //! serde for an optional size: a number, or text as [`super::parse`] takes it.
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Bytes(u64),
        Text(String),
    }

    pub(crate) fn serialize<S: Serializer>(v: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match v {
            Some(v) => s.serialize_some(v),
            None => s.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        Ok(match Option::<Given>::deserialize(d)? {
            None => None,
            Some(Given::Bytes(b)) => Some(b),
            Some(Given::Text(t)) => Some(super::parse(&t).map_err(serde::de::Error::custom)?),
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_read_and_printed() {
        for (text, bytes) in [("0", 0), ("64M", 64 << 20), ("64MiB", 64 << 20), ("1.5g", 3 << 29), ("7kb", 7 << 10)] {
            assert_eq!(super::parse(text).ok(), Some(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1X", "99999999999T"] {
            assert!(super::parse(text).is_err(), "{text}");
        }
        assert_eq!(super::human(1536), "1.5 KiB");
    }
}

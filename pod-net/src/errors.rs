//! What the kernel's refusals mean.

use pod_core::{Error, ErrorKind};
use rtnetlink::packet_core::{ErrorMessage, NLM_F_ACK_TLVS};

/// `NLMSGERR_ATTR_MSG` of `linux/netlink.h`: the kernel's own words.
const ATTR_MSG: u16 = 1;
/// A request's header, which comes before the attributes of a capped acknowledgement.
const HEADER_LEN: usize = 16;

/// A netlink request that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The error number, positive.
    pub(crate) errno: i32,
    /// The kernel's words, where it has any.
    pub(crate) words: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.errno))?;
        if let Some(words) = &self.words {
            write!(f, ": {words}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Reads an error message that came with the header flags `flags`.
    pub(crate) fn new(message: &ErrorMessage, flags: u16) -> Self {
        let errno = message.code.map_or(0, |c| c.get().saturating_abs());
        let words = (flags & NLM_F_ACK_TLVS != 0).then(|| words(message.header.get(HEADER_LEN..)?)).flatten();
        Self { errno, words }
    }

    /// Whether it stands for a link that is not there.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.errno, libc::ENODEV | libc::ENXIO | libc::ENOENT)
    }

    /// Whether it stands for a thing that is there already.
    pub(crate) fn is_taken(&self) -> bool {
        self.errno == libc::EEXIST
    }

    /// Whether the kernel lacks what was asked for.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self.errno, libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
    }

    /// The error of an operation that failed so.
    pub(crate) fn into_error(self, doing: impl Into<String>) -> Error {
        let (kind, hint) = meaning(self.errno);
        let error = Error::new(kind, doing).with_source(self);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

fn words(mut attributes: &[u8]) -> Option<String> {
    while let [l0, l1, t0, t1, rest @ ..] = attributes {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = rest.get(..length.checked_sub(4)?)?;
        if u16::from_ne_bytes([*t0, *t1]) == ATTR_MSG {
            return Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// What an error number of rtnetlink means, and what to do about it.
fn meaning(errno: i32) -> (ErrorKind, Option<&'static str>) {
    match errno {
        libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ESRCH => (ErrorKind::NotFound, None),
        libc::EEXIST => (ErrorKind::Conflict, None),
        libc::EPERM | libc::EACCES => {
            (ErrorKind::PermissionDenied, Some("run as root: changing networks needs CAP_NET_ADMIN"))
        }
        libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => (ErrorKind::Unsupported, None),
        libc::EBUSY => (ErrorKind::Busy, None),
        libc::EINVAL | libc::ERANGE | libc::EADDRNOTAVAIL | libc::ENETUNREACH | libc::EHOSTUNREACH => {
            (ErrorKind::InvalidInput, None)
        }
        // br_add_if in the kernel's net/bridge/br_if.c
        libc::EXFULL => (ErrorKind::Exhausted, Some("a bridge takes 1023 ports at most: use another network")),
        libc::ENOMEM | libc::ENOBUFS | libc::ENOSPC | libc::EMFILE | libc::ENFILE => (ErrorKind::Exhausted, None),
        _ => (ErrorKind::Unexpected, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_have_meanings() {
        for (errno, kind) in [
            (libc::ENODEV, ErrorKind::NotFound),
            (libc::EEXIST, ErrorKind::Conflict),
            (libc::EPERM, ErrorKind::PermissionDenied),
            (libc::EOPNOTSUPP, ErrorKind::Unsupported),
            (libc::EBUSY, ErrorKind::Busy),
            (libc::EINVAL, ErrorKind::InvalidInput),
            (libc::EXFULL, ErrorKind::Exhausted),
            (libc::EIO, ErrorKind::Unexpected),
        ] {
            let e = Refusal { errno, words: None }.into_error("try");
            assert_eq!(e.kind(), kind, "{errno}");
        }
    }

    #[test]
    fn the_kernels_words_are_kept() {
        let text = b"Unknown device type\0";
        let mut header = vec![0u8; HEADER_LEN];
        // NLMSGERR_ATTR_OFFS before it, as the kernel sends
        header.extend([8, 0, 2, 0, 0, 0, 0, 0]);
        header.extend(u16::try_from(4 + text.len()).expect("short").to_ne_bytes());
        header.extend(ATTR_MSG.to_ne_bytes());
        header.extend(text);
        let mut message = ErrorMessage::default();
        message.code = std::num::NonZeroI32::new(-libc::EOPNOTSUPP);
        message.header = header;
        let refusal = Refusal::new(&message, NLM_F_ACK_TLVS);
        assert_eq!(refusal.words.as_deref(), Some("Unknown device type"));
        assert!(refusal.is_unsupported());
        assert_eq!(Refusal::new(&message, 0).words, None);
    }
}

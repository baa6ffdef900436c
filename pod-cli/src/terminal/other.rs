//! Terminals where there is no termios.

use super::RawMode;
use pod::{Error, Result, TtySize};

/// The terminal's size, which is not known here.
pub(crate) fn size() -> Option<TtySize> {
    None
}

/// Raw mode, which there is none of here.
pub(crate) fn enter_raw_mode() -> Result<RawMode> {
    Err(Error::unsupported("a terminal can't be passed on from this system").with_hint("leave -t out"))
}

/// Nothing was changed.
pub(crate) fn restore() {}

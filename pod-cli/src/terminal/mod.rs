//! Our own terminal: its size, and raw mode that is always undone.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use other::{enter_raw_mode, restore, size};
#[cfg(unix)]
pub(crate) use unix::{enter_raw_mode, restore, size};

/// Puts the terminal back when dropped.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

//! Terminals by termios(3).

use super::RawMode;
use pod::{Error, IoResultExt, Result, TtySize};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{stderr, stdin, stdout};
use std::sync::{Mutex, Once};

/// How the terminal was before raw mode; `None` while it is so.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The size of the terminal on stdin, stdout or stderr; `None` when none is one, or it has no size.
pub(crate) fn size() -> Option<TtySize> {
    let sizes = [tcgetwinsize(stdin()), tcgetwinsize(stdout()), tcgetwinsize(stderr())];
    let known = sizes.into_iter().flatten().find(|s| s.ws_row > 0 && s.ws_col > 0)?;
    Some(TtySize { rows: known.ws_row, cols: known.ws_col })
}

/// Puts the terminal on stdin into raw mode. It is put back when the guard is dropped, on
/// [`restore`], and before a panic prints its message.
///
/// # Errors
/// `InvalidInput` when stdin is no terminal.
pub(crate) fn enter_raw_mode() -> Result<RawMode> {
    if !isatty(stdin()) {
        return Err(Error::invalid("stdin is no terminal, and -t needs one").with_hint("leave -t out; -i passes stdin"));
    }
    let before = tcgetattr(stdin()).map_err(std::io::Error::from).doing(|| "read the terminal's mode")?;
    let mut raw = before.clone();
    raw.make_raw();
    HOOK.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            next(info);
        }));
    });
    *BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(before);
    if let Err(e) = tcsetattr(stdin(), OptionalActions::Drain, &raw) {
        restore();
        return Err(Error::io("put the terminal into raw mode", e.into()));
    }
    Ok(RawMode(()))
}

/// Puts the terminal back as it was, if raw mode was entered.
pub(crate) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(before) = before {
        // The terminal may be gone (SIGHUP): then there is nothing to put back.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &before);
    }
}

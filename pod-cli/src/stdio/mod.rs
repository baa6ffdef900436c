//! Our stdin, stdout and stderr, joined to those of a program. Blocking reads and writes happen on
//! threads of their own, so that a slow reader of our output holds up neither input nor signals.

mod input;
mod output;
mod prefixed;
mod session;

pub(crate) use input::stdin_reader;
pub(crate) use prefixed::Prefixed;
pub(crate) use session::{End, OnSignal, Session, terminal_size};

/// The size of the buffers between us and a program, in bytes: large enough that a copy is bound by
/// the pipes.
const BUFFER: usize = 128 << 10;

/// How many buffers a direction has. With three directions they come to 1.1 MiB.
const BUFFERS: usize = 3;

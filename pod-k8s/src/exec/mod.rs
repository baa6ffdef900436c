//! Exec and attach over WebSockets, with a channel loop of our own.

pub(crate) mod driver;
pub(crate) mod frame;
pub(crate) mod gone;
pub(crate) mod input;
pub(crate) mod open;
pub(crate) mod session;
#[cfg(test)]
mod session_tests;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod wrap;

pub(crate) use gone::PodWatch;
pub(crate) use open::{Streams, Target};
pub(crate) use session::{Order, Progress};
pub(crate) use status::End;

//! Signals and kills by a second exec: what a program started is found by a token in its environment.

use pod_core::Signal;

/// Finds processes by the token, given in two parts so that the script does not find itself. With a process
/// id it sends that one the signal, if it is of the token; else it kills all of the token and their children
/// until none is left, and prints those it can't kill.
const SCRIPT: &str = include_str!("signal.sh");

/// The exit code of [`signal`] where there is no `/proc`.
pub const NO_PROC: u8 = 3;
/// The exit code of [`signal`] when processes could not be signalled.
pub const NOT_ALLOWED: u8 = 4;

/// What, run by `shell`, sends one process of a token a signal, or kills all of it. A program and all that it
/// started carry the token in their environment, as `POD_EXEC`.
#[must_use]
pub fn signal(shell: &str, token: &str, to: Option<(Signal, u32)>) -> Vec<String> {
    let (first, second) = token.split_at(token.len() / 2);
    let (number, pid) = to.map_or_else(Default::default, |(s, pid)| (s.get().to_string(), pid.to_string()));
    [shell, "-c", SCRIPT, "pod", first, second, &number, &pid].map(str::to_owned).to_vec()
}

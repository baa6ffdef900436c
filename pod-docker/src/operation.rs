//! Operations of more than one request, and whether one that left something is over.
//!
//! What an operation makes before it is whole carries labels: the operation, the process that does it, and
//! until when it may take. As long as that process lives and is about it, what it makes is no leftover; once
//! it was killed, that is known at once where it ran on this machine, and elsewhere when the time is over.

use pod_core::{Error, Labels, Result};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The label with the operation that made a thing which it was to go on with.
const OPERATION: &str = "pod.operation";
/// The label with the time after which what this operation did not finish counts as left behind (RFC 3339).
const LEASE: &str = "pod.lease";
/// The label with the process that does the operation.
const MAKER: &str = "pod.maker";

/// What a label of this module is.
pub(crate) const LABELS: [&str; 3] = [OPERATION, LEASE, MAKER];
/// By which what an operation made is found.
pub(crate) const MARK: &str = OPERATION;

/// How long an operation may take before what it left counts as left behind, wherever its process is.
const LEASE_TIME: Duration = Duration::from_secs(600);

/// The operations of this process that are under way.
static UNDER_WAY: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn under_way<T>(with: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
    with(&mut UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner))
}

/// An operation under way; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Operation {
    name: String,
}

impl Drop for Operation {
    fn drop(&mut self) {
        under_way(|all| all.remove(&self.name));
    }
}

impl Operation {
    /// Begins an operation of this kind.
    pub(crate) fn begin(kind: &str) -> Self {
        let name = format!("{kind}-{}", uuid::Uuid::new_v4().simple());
        under_way(|all| all.insert(name.clone()));
        Self { name }
    }

    /// What is put on the things that it makes.
    pub(crate) fn labels(&self) -> Result<Labels> {
        let lease = jiff::Timestamp::now()
            .checked_add(LEASE_TIME)
            .map_err(|e| Error::unexpected("the clock is at the end of time").with_source(e))?;
        let maker = this_process().map(|maker| (MAKER.to_owned(), maker));
        let labels = [(OPERATION.to_owned(), self.name.clone()), (LEASE.to_owned(), lease.to_string())];
        Ok(labels.into_iter().chain(maker).collect())
    }
}

/// An operation that is over, and what it was to do is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) operation: String,
    pub(crate) lease: jiff::Timestamp,
}

/// Whether the operation that these labels tell of is over.
pub(crate) fn over(labels: &Labels, now: jiff::Timestamp) -> Option<Over> {
    let operation = labels.get(OPERATION)?.clone();
    // Without a time that can be read nobody knows that it is over, so it stays.
    let lease: jiff::Timestamp = labels.get(LEASE)?.parse().ok()?;
    let ended = match labels.get(MAKER) {
        Some(maker) if Some(maker) == this_process().as_ref() => !under_way(|all| all.contains(&operation)),
        Some(maker) => is_gone(maker),
        None => false,
    };
    (ended || lease < now).then_some(Over { operation, lease })
}

/// This process, so that no other is taken for it: the boot of its machine, its namespace of processes, its
/// number there, and when it began (proc(5), `/proc/pid/stat`).
#[cfg(target_os = "linux")]
fn this_process() -> Option<String> {
    use std::sync::OnceLock;
    static THIS: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        let pid = std::process::id();
        Some(format!("{} {pid} {}", place()?, began(pid)?))
    };
    THIS.get_or_init(read).clone()
}

#[cfg(not(target_os = "linux"))]
fn this_process() -> Option<String> {
    None
}

/// Whether that process is one that was here, and is no more.
#[cfg(target_os = "linux")]
fn is_gone(maker: &str) -> bool {
    let Some(rest) = place().and_then(|place| maker.strip_prefix(&format!("{place} "))) else { return false };
    let Some((pid, since)) = rest.split_once(' ') else { return false };
    pid.parse().is_ok_and(|pid| began(pid).is_none_or(|began| began != since))
}

#[cfg(not(target_os = "linux"))]
fn is_gone(_: &str) -> bool {
    false
}

/// Where this process's number is its own.
#[cfg(target_os = "linux")]
fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), space.display()))
}

/// When a process began, unless it has ended.
#[cfg(target_os = "linux")]
fn began(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name, in parentheses, may hold any bytes.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18).map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_when_it_was_dropped() {
        let now = jiff::Timestamp::now();
        let operation = Operation::begin("create");
        let labels = operation.labels().expect("labels");
        assert_eq!(over(&labels, now), None);
        let late = now + jiff::SignedDuration::from_secs(3600);
        assert!(over(&labels, late).is_some_and(|o| o.operation == operation.name), "its time is over");
        drop(operation);
        assert_eq!(over(&labels, now).is_some(), cfg!(target_os = "linux"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_is_over_when_its_process_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
        let maker = format!("{} {} {}", place().expect("a place"), child.id(), began(child.id()).expect("it runs"));
        let mut labels = Operation::begin("create").labels().expect("labels");
        labels.insert(MAKER.into(), maker.clone());
        let now = jiff::Timestamp::now();
        assert_eq!(over(&labels, now), None);
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(over(&labels, now).is_some());
        // Another of that number, and one of another machine, tell nothing of it.
        assert!(is_gone(&maker.replace(&format!(" {} ", child.id()), " 1 ")));
        labels.insert(MAKER.into(), format!("another {maker}"));
        assert_eq!(over(&labels, now), None);
    }
}

//! Room in the kernel's neighbour tables for many probes at once.
//!
//! The tables are shared by all namespaces of the host and hold 1024 entries by default
//! (`net.ipv4.neigh.default.gc_thresh3`, arp(7)): a hundred workloads that probe each other would fill
//! them, and cut off the host itself. Entries marked as learned externally are not counted
//! (`NTF_EXT_LEARNED`, since Linux 5.0), are resolved like any other, and are taken away afterwards.

use crate::netlink::{Netlink, Request};
use crate::netns::Netns;
use pod_core::{Error, Result};
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

/// An entry: on which interface, for which address.
pub(crate) type Entry = (u32, IpAddr);

/// One namespace's uncounted entries, shared by all probes of this process that need them.
#[derive(Debug)]
pub(crate) struct Neighbours {
    netlink: Netlink,
    /// How many probes need an entry; those that were there before are not in it.
    held: Mutex<HashMap<Entry, usize>>,
}

/// Those in use, by namespace.
type Open = HashMap<(u64, u64), Weak<Neighbours>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message((interface, ip): Entry) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = interface;
    message.header.state = NeighbourState::None;
    message.header.flags = NeighbourFlags::ExtLearned;
    message.attributes = vec![NeighbourAttribute::Destination(ip.into())];
    message
}

fn add(entry: Entry) -> Request {
    Request::create(RouteNetlinkMessage::NewNeighbour(message(entry)))
}

fn delete(entry: Entry) -> Request {
    Request::plain(RouteNetlinkMessage::DelNeighbour(message(entry)))
}

impl Neighbours {
    /// The entries of a namespace. Held weakly, so that a namespace is not kept alive by them.
    pub(crate) fn of(netns: &Netns) -> Result<Arc<Self>> {
        static OPEN: LazyLock<Mutex<Open>> = LazyLock::new(Mutex::default);
        let id = netns.id()?;
        if let Some(found) = lock(&OPEN).get(&id).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let made = Arc::new(Self { netlink: netns.netlink()?, held: Mutex::default() });
        let mut open = lock(&OPEN);
        open.retain(|_, weak| weak.strong_count() > 0);
        if let Some(found) = open.get(&id).and_then(Weak::upgrade) {
            return Ok(found);
        }
        open.insert(id, Arc::downgrade(&made));
        Ok(made)
    }

    /// A socket in the namespace.
    pub(crate) fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Makes entries, and gives back those that are now held and must be let go.
    pub(crate) fn hold(self: &Arc<Self>, entries: &[Entry]) -> Result<Held> {
        let mut held = lock(&self.held);
        let new: Vec<Entry> = entries.iter().copied().filter(|e| !held.contains_key(e)).collect();
        let mut mine: Vec<Entry> = entries.iter().copied().filter(|e| held.contains_key(e)).collect();
        for entry in &mine {
            held.entry(*entry).and_modify(|n| *n += 1);
        }
        for (entry, answer) in new.iter().zip(self.netlink.batch(new.iter().copied().map(add).collect())?) {
            match answer {
                Ok(_) => {
                    held.insert(*entry, 1);
                    mine.push(*entry);
                }
                // the workload's own, or the kernel's: left as it is
                Err(refusal) if refusal.is_taken() => {}
                Err(refusal) => {
                    return Err(refusal
                        .into_error("make a neighbour entry")
                        .with_context("address", entry.1.to_string()));
                }
            }
        }
        Ok(Held { neighbours: Arc::clone(self), entries: mine })
    }

    fn release(&self, entries: &[Entry]) -> Result<()> {
        let mut held = lock(&self.held);
        let mut gone = Vec::new();
        for entry in entries {
            if let Some(count) = held.get_mut(entry) {
                *count -= 1;
                if *count == 0 {
                    held.remove(entry);
                    gone.push(*entry);
                }
            }
        }
        for answer in self.netlink.batch(gone.into_iter().map(delete).collect())? {
            match answer {
                Ok(_) => {}
                // the interface went meanwhile, and its entries with it
                Err(refusal) if refusal.is_absent() => {}
                Err(refusal) => return Err(refusal.into_error("remove a neighbour entry")),
            }
        }
        Ok(())
    }
}

/// Entries that a probe holds.
#[derive(Debug)]
pub(crate) struct Held {
    neighbours: Arc<Neighbours>,
    entries: Vec<Entry>,
}

impl Held {
    /// Has the kernel ask for these addresses anew when they are next sent to: by itself it asks once
    /// a second (`retrans_time_ms`), longer than some probes take. Entries that others hold too, or
    /// that are not held, are left alone.
    pub(crate) fn renew(&self, addresses: &[IpAddr]) -> Result<()> {
        let held = lock(&self.neighbours.held);
        let again: Vec<Entry> =
            self.entries.iter().copied().filter(|e| addresses.contains(&e.1) && held.get(e) == Some(&1)).collect();
        let requests = again.iter().flat_map(|e| [delete(*e), add(*e)]).collect();
        self.neighbours.netlink.batch(requests).map(drop)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.neighbours.release(&self.entries) {
            tracing::warn!(%error, "neighbour entries of a probe are left behind");
        }
    }
}

/// Turns a neighbour error into one that a probe can go on without.
pub(crate) fn or_go_on<T>(held: Result<T>) -> Option<T> {
    held.inspect_err(|error: &Error| tracing::debug!(%error, "probing with the kernel's own neighbour entries")).ok()
}

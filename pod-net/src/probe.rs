//! Reach, asked from inside a workload by ICMP echo.

use crate::attach::carrier;
use crate::host::{HostNet, Inner, Sandbox};
use crate::icmp::{Echo, Heard, Mark, ip_of, is_delivery_error, is_link_local};
use crate::neighbour::{Entry, Held, Neighbours, or_go_on};
use crate::netns::Netns;
use crate::store::AttachmentRecord;
use nix::errno::Errno;
use pod_core::{Error, IfName, IoResultExt, ProbeOutcome, ProbeRequest, ProbeTarget, Result, ResultExt};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// When a target is asked, as parts of the time it has.
const ATTEMPTS: [f64; 3] = [0.0, 0.3, 0.65];
/// How many requests are sent before answers are read: a bridge hands each broadcast to all its ports,
/// and the kernel's queue for them is finite (`net.core.netdev_max_backlog`).
const BURST: usize = 16;

impl HostNet {
    /// Asks from inside a workload whether addresses answer (ICMP echo); the outcomes come in the order
    /// of the targets. All are asked at once, each several times; it ends early when all have
    /// answered. Needs nothing in the workload, and leaves nothing there. What a trunk's own interface
    /// sends has no tag; its VLANs are asked by its sub-interfaces.
    ///
    /// # Errors
    /// `WrongState` when the sandbox has no namespace.
    pub async fn probe(&self, sandbox: &Sandbox, request: &ProbeRequest) -> Result<Vec<ProbeOutcome>> {
        let (sandbox, targets, timeout) = (sandbox.clone(), request.targets.clone(), request.timeout);
        self.blocking(move |host| host.probe(&sandbox, &targets, timeout).operation("probe")).await
    }
}

/// One target and what is known of it.
#[derive(Debug)]
struct Asked {
    ip: IpAddr,
    socket: Option<usize>,
    sent: Vec<Option<Instant>>,
    outcome: Option<ProbeOutcome>,
    /// The last word of the network or of the kernel, should no answer come.
    word: Option<ProbeOutcome>,
}

impl Inner {
    fn probe(&self, sandbox: &Sandbox, targets: &[ProbeTarget], timeout: Duration) -> Result<Vec<ProbeOutcome>> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let netns = sandbox.open()?;
        let records = self.store.attachments_of(&sandbox.workload)?;
        let (sockets, mut asked) = open_sockets(&netns, targets)?;
        let held = or_go_on(self.make_room(&records, &netns, targets)).unwrap_or_default();
        let result = ask_all(&sockets, &mut asked, &held, timeout);
        drop(held);
        result?;
        Ok(asked.into_iter().map(|t| t.outcome.or(t.word).unwrap_or(ProbeOutcome::NoAnswer)).collect())
    }

    /// Makes uncounted neighbour entries for the targets here, and at those targets that are
    /// workloads of this host for the prober.
    fn make_room(&self, records: &[AttachmentRecord], netns: &Netns, targets: &[ProbeTarget]) -> Result<Vec<Held>> {
        let here = Neighbours::of(netns)?;
        let mut entries = BTreeSet::new();
        let mut held = Vec::new();
        for record in records {
            let a = &record.attachment;
            let carrier = carrier(a)?;
            let Some(interface) = here.netlink().link(carrier.as_str())? else { continue };
            for target in targets {
                let by_it = target.interface.as_ref().map(|i| *i == carrier);
                if by_it == Some(false) || a.ips.iter().any(|own| own.addr() == target.ip) {
                    continue;
                }
                let own = a.ips.iter().find(|net| net.contains(&target.ip));
                // Out of an interface that is named, the kernel takes every address for one on the link.
                if own.is_some() || by_it == Some(true) {
                    entries.insert((interface.index, target.ip));
                }
                let Some(own) = own else { continue };
                let Some(holder) = self.store.holder_of_ip(&a.network, target.ip)? else { continue };
                let Some(peer) = self.store.attachment(&a.network, &holder)? else { continue };
                // a peer that is not running answers nobody
                let Some(netns) = Netns::open(&peer.netns)? else { continue };
                let there = Neighbours::of(&netns)?;
                let Some(link) = there.netlink().link(crate::attach::carrier(&peer.attachment)?.as_str())? else {
                    continue;
                };
                held.push(there.hold(&[(link.index, own.addr())])?);
            }
        }
        let entries: Vec<Entry> = entries.into_iter().collect();
        held.insert(0, here.hold(&entries)?);
        Ok(held)
    }
}

/// The sockets of a probe.
#[derive(Debug)]
struct Sockets {
    list: Vec<Echo>,
    /// The workload's own addresses.
    own: BTreeSet<IpAddr>,
}

/// Opens a socket per family and interface. Targets that none fits know why at once.
fn open_sockets(netns: &Netns, targets: &[ProbeTarget]) -> Result<(Sockets, Vec<Asked>)> {
    let key = |t: &ProbeTarget| (t.ip.is_ipv6(), t.interface.clone());
    let wanted: BTreeSet<(bool, Option<IfName>)> = targets.iter().map(key).collect();
    let mut sockets = Vec::new();
    let mut opened = BTreeMap::new();
    let own = netns.run(|| {
        for (ipv6, interface) in wanted {
            let socket = match Echo::open(ipv6, interface.as_ref().map(IfName::as_str)) {
                Ok(socket) => {
                    sockets.push(socket);
                    Ok(sockets.len() - 1)
                }
                Err(Errno::ENODEV | Errno::ENXIO) => {
                    Err(format!("the workload has no interface {}", interface.as_ref().map_or("", IfName::as_str)))
                }
                Err(Errno::EAFNOSUPPORT) => Err("this kernel has no IPv6".to_owned()),
                Err(e) => return Err(Error::io("open an ICMP socket", e.into())),
            };
            opened.insert((ipv6, interface), socket);
        }
        let addresses = nix::ifaddrs::getifaddrs().map_err(|e| Error::io("list the workload's addresses", e.into()))?;
        Ok(addresses.filter_map(|a| ip_of(&a.address?)).collect())
    })?;
    let asked = targets
        .iter()
        .map(|target| {
            let mut asked = Asked { ip: target.ip, socket: None, sent: Vec::new(), outcome: None, word: None };
            let nowhere = match target.ip {
                IpAddr::V6(ip) if is_link_local(ip) && target.interface.is_none() => {
                    Some("a link-local address needs an interface".to_owned())
                }
                ip if ip.is_unspecified() || ip.is_multicast() => Some("it is no host's address".to_owned()),
                _ => None,
            };
            match (nowhere, opened.get(&key(target))) {
                (None, Some(Ok(socket))) => asked.socket = Some(*socket),
                (None, Some(Err(why))) => asked.outcome = Some(ProbeOutcome::Unknown(why.clone())),
                (why, _) => asked.outcome = Some(ProbeOutcome::Unknown(why.unwrap_or_default())),
            }
            asked
        })
        .collect();
    Ok((Sockets { list: sockets, own }, asked))
}

/// Asks all targets until each has an outcome or the time is over.
fn ask_all(sockets: &Sockets, asked: &mut [Asked], held: &[Held], timeout: Duration) -> Result<()> {
    let nonce = nonce();
    let start = Instant::now();
    let end = start + timeout;
    for (attempt, part) in ATTEMPTS.iter().enumerate() {
        listen(sockets, asked, nonce, start + timeout.mul_f64(*part))?;
        let open: Vec<usize> = (0..asked.len()).filter(|i| asked[*i].outcome.is_none()).collect();
        if open.is_empty() {
            return Ok(());
        }
        if attempt > 0
            && let Some(here) = held.first()
        {
            let addresses: Vec<IpAddr> = open.iter().map(|i| asked[*i].ip).collect();
            or_go_on(here.renew(&addresses));
        }
        for burst in open.chunks(BURST) {
            for i in burst {
                let mark = Mark { nonce, target: *i as u32, attempt: attempt as u32 };
                ask(sockets, &mut asked[*i], mark);
            }
            listen(sockets, asked, nonce, Instant::now())?;
        }
    }
    listen(sockets, asked, nonce, end)
}

fn ask(sockets: &Sockets, target: &mut Asked, mark: Mark) {
    let Some(socket) = target.socket.and_then(|i| sockets.list.get(i)) else { return };
    let now = Instant::now();
    let sent = socket.ask(target.ip, mark).or_else(|first| {
        // an error that is pending from another target is reported by the next call, whatever it is for
        if is_delivery_error(first) { socket.ask(target.ip, mark) } else { Err(first) }
    });
    target.sent.push(sent.is_ok().then_some(now));
    match sent {
        Ok(()) => {}
        Err(e) if is_delivery_error(e) => {
            target.outcome = Some(ProbeOutcome::Refused(e.desc().to_lowercase()));
        }
        // no room at the moment: the next attempt may have it
        Err(e) => target.word = Some(ProbeOutcome::Unknown(format!("the request could not be sent: {}", e.desc()))),
    }
}

/// Takes in answers until `end`, or until every target has an outcome.
fn listen(sockets: &Sockets, asked: &mut [Asked], nonce: u64, end: Instant) -> Result<()> {
    loop {
        for socket in &sockets.list {
            while let Some(heard) = socket.hear(nonce).map_err(std::io::Error::from).doing(|| "read an ICMP answer")? {
                take_in(&sockets.own, asked, heard);
            }
            while let Some(heard) =
                socket.hear_error(nonce).map_err(std::io::Error::from).doing(|| "read an ICMP error")?
            {
                take_in(&sockets.own, asked, heard);
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || asked.iter().all(|t| t.outcome.is_some()) {
            return Ok(());
        }
        let mut fds: Vec<_> = sockets.list.iter().map(|s| PollFd::new(s, PollFlags::IN)).collect();
        let wait = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::io("wait for ICMP answers", e.into())),
        }
    }
}

fn take_in(own: &BTreeSet<IpAddr>, asked: &mut [Asked], heard: Heard) {
    match heard {
        Heard::Reply { mark, from } => {
            let Some(target) = asked.get_mut(mark.target as usize) else { return };
            let sent = target.sent.get(mark.attempt as usize).copied().flatten();
            if let Some(sent) = sent
                && target.ip == from
                && target.outcome.is_none()
            {
                target.outcome = Some(ProbeOutcome::Reached(sent.elapsed()));
            }
        }
        Heard::Error { mark, error, by } => {
            // the workload's own kernel only says that nobody answered; a router's word is news
            if by.is_some_and(|by| !own.contains(&by))
                && let Some(target) = asked.get_mut(mark.target as usize)
            {
                let text = error.to_string();
                let text = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
                target.word = Some(ProbeOutcome::Refused(text));
            }
        }
    }
}

/// A number that no other probe has: the keys of a hasher are random.
fn nonce() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(std::process::id())
}

//! ICMP echo sockets and packets (RFC 792, RFC 4443).

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, recvmsg,
    sendto, setsockopt, socket, sockopt,
};
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What marks a packet as one of a probe: its target and which asking of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Tells one probe from every other.
    pub(crate) nonce: u64,
    /// The target's place in the list.
    pub(crate) target: u32,
    /// Which asking, from 0.
    pub(crate) attempt: u32,
}

const HEADER: usize = 8;
const BODY: usize = 16;

// types of RFC 792 and of RFC 4443 sections 4.1 and 4.2
const ECHO_REPLY_V4: u8 = 0;
const ECHO_V4: u8 = 8;
const ECHO_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

impl Mark {
    /// The echo request that carries the mark.
    pub(crate) fn request(self, ipv6: bool) -> [u8; HEADER + BODY] {
        let mut packet = [0; HEADER + BODY];
        packet[0] = if ipv6 { ECHO_V6 } else { ECHO_V4 };
        let id = u16::from_be_bytes([(self.nonce >> 8) as u8, self.nonce as u8]);
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[6..8].copy_from_slice(&(self.target as u16).to_be_bytes());
        packet[8..16].copy_from_slice(&self.nonce.to_be_bytes());
        packet[16..20].copy_from_slice(&self.target.to_be_bytes());
        packet[20..24].copy_from_slice(&self.attempt.to_be_bytes());
        if !ipv6 {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    /// The mark of an echo message of type `kind`, if it is one of the probe `nonce`.
    fn read(packet: &[u8], kind: u8, nonce: u64) -> Option<Self> {
        let body = packet.get(HEADER..HEADER + BODY)?;
        let number = |part: &[u8]| Some(u32::from_be_bytes(part.try_into().ok()?));
        let mark = Self {
            nonce: u64::from_be_bytes(body[..8].try_into().ok()?),
            target: number(&body[8..12])?,
            attempt: number(&body[12..16])?,
        };
        let same_header = packet[..2] == [kind, 0] && packet[4..8] == mark.request(false)[4..8];
        (same_header && mark.nonce == nonce).then_some(mark)
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(data: &[u8]) -> u16 {
    let mut sum: u32 = data.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What a socket had to say.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An answer.
    Reply { mark: Mark, from: IpAddr },
    /// The network's word that a request can't be delivered.
    Error {
        mark: Mark,
        error: std::io::Error,
        /// Who says so; `None` is the kernel itself.
        by: Option<IpAddr>,
    },
}

/// A raw ICMP socket of one family, perhaps bound to one interface.
#[derive(Debug)]
pub(crate) struct Echo {
    fd: OwnedFd,
    ipv6: bool,
    /// The interface's index, for link-local targets; 0 for none.
    scope: u32,
}

impl AsFd for Echo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Echo {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open(ipv6: bool, interface: Option<&str>) -> nix::Result<Self> {
        let (family, protocol) =
            if ipv6 { (AddressFamily::Inet6, SockProtocol::IcmpV6) } else { (AddressFamily::Inet, SockProtocol::Icmp) };
        let fd = socket(family, SockType::Raw, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, protocol)?;
        let mut scope = 0;
        if let Some(name) = interface {
            setsockopt(&fd, sockopt::BindToDevice, &name.into())?;
            scope = nix::net::if_::if_nametoindex(name)?;
        }
        if ipv6 {
            setsockopt(&fd, sockopt::Ipv6RecvErr, &true)?;
        } else {
            setsockopt(&fd, sockopt::Ipv4RecvErr, &true)?;
        }
        // requests wait in the socket's name while addresses are resolved
        setsockopt(&fd, sockopt::SndBufForce, &(8 << 20))?;
        setsockopt(&fd, sockopt::RcvBufForce, &(4 << 20))?;
        let socket = Self { fd, ipv6, scope };
        socket.only_replies()?;
        Ok(socket)
    }

    /// Has the kernel drop all but echo replies.
    #[allow(unsafe_code)]
    fn only_replies(&self) -> nix::Result<()> {
        // icmp6_filter of linux/icmpv6.h: a set bit blocks the type; icmp_filter of linux/icmp.h is the
        // first 32 of such bits
        let (level, mut filter) =
            if self.ipv6 { (libc::IPPROTO_ICMPV6, [u32::MAX; 8]) } else { (libc::SOL_RAW, [u32::MAX; 8]) };
        let kind = usize::from(if self.ipv6 { ECHO_REPLY_V6 } else { ECHO_REPLY_V4 });
        filter[kind / 32] &= !(1 << (kind % 32));
        let length: libc::socklen_t = if self.ipv6 { 32 } else { 4 };
        // ICMP_FILTER and ICMPV6_FILTER are both 1
        // SAFETY: the descriptor is open, and `filter` is alive and at least `length` bytes long
        let set = unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, 1, filter.as_ptr().cast(), length) };
        nix::errno::Errno::result(set).map(drop)
    }

    /// Sends an echo request.
    pub(crate) fn ask(&self, ip: IpAddr, mark: Mark) -> nix::Result<()> {
        let mut to = SocketAddr::new(ip, 0);
        if let SocketAddr::V6(to) = &mut to
            && is_link_local(*to.ip())
        {
            to.set_scope_id(self.scope);
        }
        sendto(self.fd.as_raw_fd(), &mark.request(self.ipv6), &SockaddrStorage::from(to), MsgFlags::empty()).map(drop)
    }

    /// The next answer to the probe `nonce`; `None` when there is none yet.
    pub(crate) fn hear(&self, nonce: u64) -> nix::Result<Option<Heard>> {
        let mut buffer = [0; 256];
        loop {
            let (length, from) = match recvfrom::<SockaddrStorage>(self.fd.as_raw_fd(), &mut buffer) {
                Ok(got) => got,
                Err(nix::errno::Errno::EAGAIN) => return Ok(None),
                Err(nix::errno::Errno::EINTR) => continue,
                // a pending error: the queue tells whose it is
                Err(error) => match self.hear_error(nonce)? {
                    Some(heard) => return Ok(Some(heard)),
                    None if is_delivery_error(error) => continue,
                    None => return Err(error),
                },
            };
            let packet = &buffer[..length];
            // an IPv4 raw socket gives the IP header too (raw(7)), whose length is in 32-bit words
            let start = if self.ipv6 { 0 } else { usize::from(packet.first().copied().unwrap_or(0) & 0xf) * 4 };
            let kind = if self.ipv6 { ECHO_REPLY_V6 } else { ECHO_REPLY_V4 };
            let mark = packet.get(start..).and_then(|p| Mark::read(p, kind, nonce));
            if let (Some(mark), Some(from)) = (mark, from.as_ref().and_then(ip_of)) {
                return Ok(Some(Heard::Reply { mark, from }));
            }
        }
    }

    /// The next delivery error of the probe `nonce`.
    pub(crate) fn hear_error(&self, nonce: u64) -> nix::Result<Option<Heard>> {
        loop {
            let mut buffer = [0; 256];
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let mut space = nix::cmsg_space!([u8; 128]);
            let got = recvmsg::<SockaddrStorage>(
                self.fd.as_raw_fd(),
                &mut parts,
                Some(&mut space),
                MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
            );
            let message = match got {
                Ok(message) => message,
                Err(nix::errno::Errno::EAGAIN) => return Ok(None),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(e) => return Err(e),
            };
            let mut told = None;
            for control in message.cmsgs()? {
                match control {
                    ControlMessageOwned::Ipv4RecvErr(e, by) => {
                        let by = by.map(|a| IpAddr::from(u32::from_be(a.sin_addr.s_addr).to_be_bytes()));
                        told = Some((e.ee_errno, by));
                    }
                    ControlMessageOwned::Ipv6RecvErr(e, by) => {
                        told = Some((e.ee_errno, by.map(|a| IpAddr::from(a.sin6_addr.s6_addr))));
                    }
                    _ => {}
                }
            }
            let length = message.bytes;
            let kind = if self.ipv6 { ECHO_V6 } else { ECHO_V4 };
            let packet = &buffer[..length];
            let mark = Mark::read(packet, kind, nonce)
                .or_else(|| Mark::read(packet.get(usize::from(packet.first()? & 0xf) * 4..)?, kind, nonce));
            if let (Some(mark), Some((errno, by))) = (mark, told) {
                let error = std::io::Error::from_raw_os_error(errno.cast_signed());
                return Ok(Some(Heard::Error { mark, error, by }));
            }
        }
    }
}

/// Whether an error number says that a packet can't be delivered, rather than that the call is wrong.
pub(crate) fn is_delivery_error(errno: nix::errno::Errno) -> bool {
    use nix::errno::Errno::{
        EACCES, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EMSGSIZE, ENETDOWN, ENETUNREACH, ENOPROTOOPT, EOPNOTSUPP, EPERM,
        EPROTO,
    };
    matches!(
        errno,
        EACCES
            | ECONNREFUSED
            | EHOSTDOWN
            | EHOSTUNREACH
            | EMSGSIZE
            | ENETDOWN
            | ENETUNREACH
            | ENOPROTOOPT
            | EOPNOTSUPP
            | EPERM
            | EPROTO
    )
}

/// Whether an IPv6 address means something on its link only (RFC 4291 section 2.5.6).
pub(crate) fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

/// The IP address in a socket address.
pub(crate) fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(v4.ip().into());
    }
    address.as_sockaddr_in6().map(|v6| v6.ip().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_way_there_and_back() {
        let mark = Mark { nonce: 0x0123_4567_89ab_cdef, target: 70_000, attempt: 2 };
        let mut packet = mark.request(false);
        assert_eq!(checksum(&packet), 0, "a packet with its checksum sums to zero");
        packet[0] = ECHO_REPLY_V4;
        assert_eq!(Mark::read(&packet, ECHO_REPLY_V4, mark.nonce), Some(mark));
        assert_eq!(Mark::read(&packet, ECHO_REPLY_V4, mark.nonce + 1), None);
        assert_eq!(Mark::read(&packet[..20], ECHO_REPLY_V4, mark.nonce), None);
        packet[5] ^= 1;
        assert_eq!(Mark::read(&packet, ECHO_REPLY_V4, mark.nonce), None, "another's id");
    }
}

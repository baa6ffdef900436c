//! New addresses made known to their neighbours, who may remember another holder: gratuitous ARP
//! (RFC 5227 section 3) and unsolicited neighbour advertisements (RFC 4861 section 7.2.6).

use crate::netns::Netns;
use ipnet::IpNet;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, bind, sendto, setsockopt, socket, sockopt,
};
use pod_core::{Error, MacAddr, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

const BROADCAST: [u8; 6] = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Announces that `mac` holds `ips` on the link `interface` of `netns`.
pub(crate) fn announce(netns: &Netns, interface: u32, mac: MacAddr, ips: &[IpNet]) -> Result<()> {
    if ips.is_empty() {
        return Ok(());
    }
    netns.run(|| {
        for ip in ips {
            let sent = match ip.addr() {
                IpAddr::V4(ip) => arp(interface, mac, ip),
                IpAddr::V6(ip) => advertise(interface, mac, ip),
            };
            sent.map_err(|e| Error::io("announce an address", e).with_context("address", ip.to_string()))?;
        }
        Ok(())
    })
}

/// An ARP request for one's own address (RFC 826): 28 bytes, whoever remembers the address takes note.
fn arp_packet(mac: MacAddr, ip: Ipv4Addr) -> Vec<u8> {
    // Ethernet, IPv4, their lengths, request
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    for owner in [mac.octets(), [0; 6]] {
        packet.extend(owner);
        packet.extend(ip.octets());
    }
    packet
}

#[allow(unsafe_code)]
fn arp(interface: u32, mac: MacAddr, ip: Ipv4Addr) -> std::io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
    let packet = arp_packet(mac, ip);
    // SAFETY: sockaddr_ll is plain numbers, for which zero is a value
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_protocol = (libc::ETH_P_ARP as u16).to_be();
    to.sll_ifindex = interface.cast_signed();
    to.sll_halen = 6;
    to.sll_addr[..6].copy_from_slice(&BROADCAST);
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the descriptor is open; `packet` and `to` are alive, and the lengths are theirs
    let sent = unsafe {
        libc::sendto(fd.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0, std::ptr::from_ref(&to).cast(), length)
    };
    if sent < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// A neighbour advertisement (RFC 4861 section 4.4) that overrides what is remembered; the kernel fills
/// in the checksum.
fn advertisement(mac: MacAddr, ip: Ipv6Addr) -> Vec<u8> {
    const OVERRIDE: u8 = 0x20;
    let mut packet = vec![136, 0, 0, 0, OVERRIDE, 0, 0, 0];
    packet.extend(ip.octets());
    // the target link-layer address option, one unit of 8 bytes
    packet.extend([2, 1]);
    packet.extend(mac.octets());
    packet
}

fn advertise(interface: u32, mac: MacAddr, ip: Ipv6Addr) -> std::io::Result<()> {
    let fd = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6)?;
    // any other hop limit is not believed (RFC 4861 section 7.1.2)
    setsockopt(&fd, sockopt::Ipv6MulticastHops, &255)?;
    bind(fd.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(ip, 0, 0, interface)))?;
    let to = SockaddrIn6::from(SocketAddrV6::new(ALL_NODES, 0, 0, interface));
    sendto(fd.as_raw_fd(), &advertisement(mac, ip), &to, MsgFlags::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_the_standards_say() {
        let mac: MacAddr = "02:00:00:00:00:07".parse().expect("mac");
        let packet = arp_packet(mac, Ipv4Addr::new(10, 1, 0, 5));
        assert_eq!(packet.len(), 28);
        assert_eq!(packet[8..18], [2, 0, 0, 0, 0, 7, 10, 1, 0, 5]);
        assert_eq!(packet[18..28], [0, 0, 0, 0, 0, 0, 10, 1, 0, 5]);
        let packet = advertisement(mac, "fd00::5".parse().expect("ip"));
        assert_eq!((packet.len(), packet[0], packet[4]), (32, 136, 0x20));
        assert_eq!(packet[24..], [2, 1, 2, 0, 0, 0, 0, 7]);
    }
}

//! Addresses and routes of an interface.

use crate::netlink::{Netlink, Request};
use ipnet::IpNet;
use pod_core::{Result, Route};
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn route_address(ip: IpAddr) -> RouteAddress {
    match ip {
        IpAddr::V4(ip) => RouteAddress::Inet(ip),
        IpAddr::V6(ip) => RouteAddress::Inet6(ip),
    }
}

/// Gives an interface an address. IPv6 ones act at once: POD hands each out once, so duplicate address
/// detection (RFC 4862 section 5.4) would only delay the workload.
pub(crate) fn add(interface: u32, ip: IpNet) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = family(ip.addr());
    message.header.prefix_len = ip.prefix_len();
    message.header.index = interface;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![AddressAttribute::Local(ip.addr()), AddressAttribute::Address(ip.addr())];
    match ip {
        IpNet::V4(ip) => message.attributes.push(AddressAttribute::Broadcast(ip.broadcast())),
        IpNet::V6(_) => message.header.flags |= AddressHeaderFlags::Nodad,
    }
    Request::create(RouteNetlinkMessage::NewAddress(message))
}

/// Adds a route through an interface.
pub(crate) fn add_route(interface: u32, route: &Route) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.to.addr());
    message.header.destination_prefix_length = route.to.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope =
        if route.via.is_none() && route.to.addr().is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
    message.attributes = vec![RouteAttribute::Oif(interface)];
    if route.to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route_address(route.to.network())));
    }
    if let Some(via) = route.via {
        message.attributes.push(RouteAttribute::Gateway(route_address(via)));
    }
    Request::create(RouteNetlinkMessage::NewRoute(message))
}

impl Netlink {
    /// The addresses of an interface, without those that the kernel makes up itself (link-local IPv6).
    pub(crate) fn addresses(&self, interface: u32) -> Result<Vec<IpNet>> {
        let mut message = AddressMessage::default();
        message.header.index = interface;
        let mut found = Vec::new();
        for answer in self.dump(RouteNetlinkMessage::GetAddress(message))? {
            let RouteNetlinkMessage::NewAddress(answer) = answer else { continue };
            if answer.header.index != interface || answer.header.scope == AddressScope::Link {
                continue;
            }
            // IPv4 names its own address Local; IPv6 has only Address
            let local = answer.attributes.iter().find_map(|a| match a {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            });
            let ip = local.or_else(|| {
                answer.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Address(ip) => Some(*ip),
                    _ => None,
                })
            });
            if let Some(net) = ip.and_then(|ip| IpNet::new(ip, answer.header.prefix_len).ok()) {
                found.push(net);
            }
        }
        Ok(found)
    }

    /// The routes that someone added through an interface, not those the kernel derives from addresses.
    pub(crate) fn routes(&self, interface: u32, ipv6: bool) -> Result<Vec<Route>> {
        let mut message = RouteMessage::default();
        message.header.address_family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.attributes = vec![RouteAttribute::Oif(interface)];
        let mut found = Vec::new();
        for answer in self.dump(RouteNetlinkMessage::GetRoute(message))? {
            let RouteNetlinkMessage::NewRoute(answer) = answer else { continue };
            if answer.header.protocol == RouteProtocol::Kernel || answer.header.table != RouteHeader::RT_TABLE_MAIN {
                continue;
            }
            let mut to = None;
            let mut via = None;
            let mut out = None;
            for attribute in answer.attributes {
                match attribute {
                    RouteAttribute::Destination(ip) => to = as_ip(&ip),
                    RouteAttribute::Gateway(ip) => via = as_ip(&ip),
                    RouteAttribute::Oif(index) => out = Some(index),
                    _ => {}
                }
            }
            let any = if ipv6 { IpAddr::from([0u16; 8]) } else { IpAddr::from([0u8; 4]) };
            if let Ok(to) = IpNet::new(to.unwrap_or(any), answer.header.destination_prefix_length)
                && out == Some(interface)
            {
                found.push(Route { to, via });
            }
        }
        Ok(found)
    }
}

fn as_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// A route in words.
pub(crate) fn show_route(route: &Route) -> String {
    match route.via {
        Some(via) => format!("via {via}"),
        None => "on-link".to_owned(),
    }
}

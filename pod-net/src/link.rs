//! Links as netlink shows them, and the messages that make and change them.

use crate::netlink::{Netlink, Request};
use pod_core::{MacAddr, Result};
use rtnetlink::packet_route::link::{
    AfSpecBridge, BridgeStpState, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridge, InfoBridgePort, InfoData, InfoKind,
    InfoPortData, InfoPortKind, InfoVeth, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::os::fd::{AsRawFd, BorrowedFd};

/// What POD looks at in a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    pub(crate) mac: Option<[u8; 6]>,
    /// The kind, such as `veth`; physical links have none.
    pub(crate) kind: Option<String>,
    /// The index of the bridge it is a port of.
    pub(crate) master: Option<u32>,
    /// A veth's peer or a sub-interface's parent.
    pub(crate) lower: Option<u32>,
    /// The namespace of `lower`, by the id this namespace gave it; `None` is this one.
    pub(crate) lower_netns: Option<i32>,
    /// Whether the bridge keeps it apart from other isolated ports.
    pub(crate) isolated: Option<bool>,
    /// Whether a bridge tells VLANs apart.
    pub(crate) vlan_filtering: Option<bool>,
    /// A sub-interface's VLAN id.
    pub(crate) vlan_id: Option<u16>,
}

impl Link {
    pub(crate) fn read(message: LinkMessage) -> Self {
        let mut link =
            Self { index: message.header.index, up: message.header.flags.contains(LinkFlags::Up), ..Self::default() };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(mac) => link.mac = mac.try_into().ok(),
                LinkAttribute::Controller(index) => link.master = Some(index),
                LinkAttribute::Link(index) => link.lower = Some(index),
                LinkAttribute::LinkNetNsId(id) => link.lower_netns = Some(id),
                LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| link.read_info(info)),
                _ => {}
            }
        }
        link
    }

    fn read_info(&mut self, info: LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = Some(kind.to_string()),
            LinkInfo::Data(InfoData::Bridge(list)) => {
                for item in list {
                    if let InfoBridge::VlanFiltering(on) = item {
                        self.vlan_filtering = Some(on);
                    }
                }
            }
            LinkInfo::Data(InfoData::Vlan(list)) => {
                for item in list {
                    if let InfoVlan::Id(id) = item {
                        self.vlan_id = Some(id);
                    }
                }
            }
            LinkInfo::PortData(InfoPortData::BridgePort(list)) => {
                for item in list {
                    if let InfoBridgePort::Isolated(on) = item {
                        self.isolated = Some(on);
                    }
                }
            }
            _ => {}
        }
    }

    /// The MAC address, where it is a unicast one.
    pub(crate) fn mac(&self) -> Option<MacAddr> {
        self.mac.and_then(|octets| MacAddr::new(octets).ok())
    }
}

/// VLANs of a bridge port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PortVlans {
    /// The VLAN that untagged frames belong to.
    pub(crate) untagged: Option<u16>,
    /// The VLANs that pass tagged.
    pub(crate) tagged: Vec<u16>,
}

fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = attributes;
    message
}

fn raise(mut message: LinkMessage) -> LinkMessage {
    message.header.flags |= LinkFlags::Up;
    message.header.change_mask |= LinkFlags::Up;
    message
}

/// Asks about one link, by name.
pub(crate) fn get(name: &str) -> Request {
    Request::plain(RouteNetlinkMessage::GetLink(message(vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
    ])))
}

/// The change that brings a link up.
pub(crate) fn up(index: u32) -> LinkMessage {
    let mut up = raise(message(Vec::new()));
    up.header.index = index;
    up
}

/// Removes a link, by name.
pub(crate) fn remove(name: &str) -> Request {
    Request::plain(RouteNetlinkMessage::DelLink(message(vec![LinkAttribute::IfName(name.to_owned())])))
}

/// Makes a bridge that forwards at once, learns, speaks no spanning tree, and floods all multicast: a
/// plain wire. With `vlan_aware` its ports belong to no VLAN until they are told.
pub(crate) fn bridge(name: &str, mtu: u32, vlan_aware: bool) -> Request {
    let mut data = vec![
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::ForwardDelay(0),
        InfoBridge::MulticastSnooping(false),
    ];
    if vlan_aware {
        data.extend([InfoBridge::VlanFiltering(true), InfoBridge::VlanDefaultPvid(0)]);
    }
    Request::create(RouteNetlinkMessage::NewLink(raise(message(vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(data))]),
    ]))))
}

/// The workload's end of a veth pair to make.
#[derive(Debug)]
pub(crate) struct Peer<'a> {
    pub(crate) name: &'a str,
    pub(crate) netns: BorrowedFd<'a>,
    pub(crate) mac: MacAddr,
}

/// Makes a veth pair: `port` here, enslaved to `master`, and the peer in its own namespace, down: it
/// can't come up before the pair is whole.
pub(crate) fn veth(port: &str, master: u32, mtu: u32, port_up: bool, peer: &Peer<'_>) -> Request {
    let peer = message(vec![
        LinkAttribute::IfName(peer.name.to_owned()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::Address(peer.mac.octets().to_vec()),
        LinkAttribute::NetNsFd(peer.netns.as_raw_fd()),
    ]);
    let pair = message(vec![
        LinkAttribute::IfName(port.to_owned()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::Controller(master),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ]);
    Request::create(RouteNetlinkMessage::NewLink(if port_up { raise(pair) } else { pair }))
}

/// Sets whether a bridge port is kept apart from other isolated ports.
pub(crate) fn isolate(port: u32, isolated: bool) -> Request {
    let mut change = message(vec![LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(isolated)])),
    ])]);
    change.header.index = port;
    Request::plain(RouteNetlinkMessage::NewLink(change))
}

/// Puts a port of a VLAN-aware bridge into VLANs, besides those it is in.
pub(crate) fn port_vlans(port: u32, vlans: &PortVlans) -> Request {
    let untagged = vlans
        .untagged
        .map(|vid| BridgeVlanInfo { flags: BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged, vid });
    let tagged = vlans.tagged.iter().map(|vid| BridgeVlanInfo { flags: BridgeVlanInfoFlags::empty(), vid: *vid });
    let list = untagged.into_iter().chain(tagged).map(AfSpecBridge::VlanInfo).collect();
    let mut change = message(vec![LinkAttribute::AfSpecBridge(list)]);
    change.header.interface_family = AddressFamily::Bridge;
    change.header.index = port;
    Request::plain(RouteNetlinkMessage::SetLink(change))
}

impl Netlink {
    /// The link of this name, if there is one.
    pub(crate) fn link(&self, name: &str) -> Result<Option<Link>> {
        match self.request(get(name))? {
            Ok(messages) => Ok(messages.into_iter().find_map(as_link)),
            Err(refusal) if refusal.is_absent() => Ok(None),
            Err(refusal) => Err(refusal.into_error("look at the link").with_context("link", name)),
        }
    }

    /// All links of the namespace.
    pub(crate) fn links(&self) -> Result<Vec<Link>> {
        let all = message(vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])]);
        Ok(self.dump(RouteNetlinkMessage::GetLink(all))?.into_iter().filter_map(as_link).collect())
    }

    /// The VLANs of every bridge port of the namespace, by index.
    pub(crate) fn port_vlans(&self) -> Result<std::collections::BTreeMap<u32, PortVlans>> {
        let mut all = message(vec![LinkAttribute::ExtMask(vec![LinkExtentMask::Brvlan])]);
        all.header.interface_family = AddressFamily::Bridge;
        let mut found = std::collections::BTreeMap::new();
        for answer in self.dump(RouteNetlinkMessage::GetLink(all))? {
            let RouteNetlinkMessage::NewLink(answer) = answer else { continue };
            let vlans: &mut PortVlans = found.entry(answer.header.index).or_default();
            for attribute in answer.attributes {
                let LinkAttribute::AfSpecBridge(list) = attribute else { continue };
                for info in list {
                    let AfSpecBridge::VlanInfo(info) = info else { continue };
                    if info.flags.contains(BridgeVlanInfoFlags::Pvid) {
                        vlans.untagged = Some(info.vid);
                    } else {
                        vlans.tagged.push(info.vid);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Removes the link of this name; `false` when there is none.
    pub(crate) fn remove_link(&self, name: &str) -> Result<bool> {
        match self.request(remove(name))? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.is_absent() => Ok(false),
            Err(refusal) => Err(refusal.into_error("remove the link").with_context("link", name)),
        }
    }
}

/// The link in an answer.
pub(crate) fn as_link(answer: RouteNetlinkMessage) -> Option<Link> {
    match answer {
        RouteNetlinkMessage::NewLink(message) => Some(Link::read(message)),
        _ => None,
    }
}

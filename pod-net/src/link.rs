//! Links as netlink shows them, and the messages that make and change them.

use crate::netlink::{Netlink, Request};
use pod_core::{MacAddr, Result};
use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
    InfoVeth, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, State,
};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether a link carries frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Nobody brought it up.
    #[default]
    Down,
    /// It is up, but the other end is not, or the kernel has yet to notice that it is.
    Waiting,
    Up,
}

impl LinkState {
    pub(crate) fn is_up(self) -> bool {
        self == Self::Up
    }
}

impl std::fmt::Display for LinkState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Waiting => "up without carrier",
            Self::Up => "up",
        })
    }
}

/// What POD looks at in a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) state: LinkState,
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
    /// Whether the bridge passes its frames on.
    pub(crate) forwards: Option<bool>,
    /// Whether a bridge tells VLANs apart.
    pub(crate) vlan_filtering: Option<bool>,
    /// A sub-interface's VLAN id.
    pub(crate) vlan_id: Option<u16>,
}

impl Link {
    pub(crate) fn read(message: LinkMessage) -> Self {
        let mut link = Self { index: message.header.index, ..Self::default() };
        let admin_up = message.header.flags.contains(LinkFlags::Up);
        // `unknown` is how links without a notion of carrier are up (RFC 2863; operstates.rst of the kernel)
        let mut carries = true;
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(mac) => link.mac = mac.try_into().ok(),
                LinkAttribute::Controller(index) => link.master = Some(index),
                LinkAttribute::Link(index) => link.lower = Some(index),
                LinkAttribute::OperState(state) => carries = matches!(state, State::Up | State::Unknown),
                LinkAttribute::LinkNetNsId(id) => link.lower_netns = Some(id),
                LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| link.read_info(info)),
                _ => {}
            }
        }
        link.state = match (admin_up, carries && link.forwards != Some(false)) {
            (false, _) => LinkState::Down,
            (true, false) => LinkState::Waiting,
            (true, true) => LinkState::Up,
        };
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
                    match item {
                        InfoBridgePort::Isolated(on) => self.isolated = Some(on),
                        InfoBridgePort::State(state) => self.forwards = Some(state == BridgePortState::Forwarding),
                        _ => {}
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

/// The change that brings a link down.
pub(crate) fn down(index: u32) -> LinkMessage {
    let mut down = message(Vec::new());
    down.header.index = index;
    down.header.change_mask |= LinkFlags::Up;
    down
}

/// Removes a link, by name.
pub(crate) fn remove(name: &str) -> Request {
    Request::plain(RouteNetlinkMessage::DelLink(message(vec![LinkAttribute::IfName(name.to_owned())])))
}

/// Makes a bridge that forwards at once, learns, speaks no spanning tree, and floods all multicast: a
/// plain wire. With `vlan_aware` its ports belong to no VLAN until they are told.
pub(crate) fn bridge(name: &str, vlan_aware: bool) -> Request {
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
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(data))]),
    ]))))
}

/// A kind of link.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Bridge,
    Veth,
    Vlan,
}

/// A request for a link of a kind with a multicast address, which no link can have: each kind checks
/// that before anything else (`br_validate`, `veth_validate` and `vlan_validate` of Linux).
pub(crate) fn impossible(kind: Kind) -> Request {
    let kind = match kind {
        Kind::Bridge => InfoKind::Bridge,
        Kind::Veth => InfoKind::Veth,
        Kind::Vlan => InfoKind::Vlan,
    };
    Request::create(RouteNetlinkMessage::NewLink(message(vec![
        LinkAttribute::Address(vec![1, 0, 0, 0, 0, 0]),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
    ])))
}

/// `IFLA_BR_VLAN_PROTOCOL` of `linux/if_link.h`.
const IFLA_BR_VLAN_PROTOCOL: u16 = 8;

/// A request for a bridge whose tags are of no protocol, and whose frames are shorter than any
/// (`br_validate` and then `dev_validate_mtu` of Linux).
pub(crate) fn impossible_tags() -> Request {
    let protocol = DefaultNla::new(IFLA_BR_VLAN_PROTOCOL, vec![0xff, 0xff]);
    let data = vec![InfoBridge::Other(protocol)];
    Request::create(RouteNetlinkMessage::NewLink(message(vec![
        LinkAttribute::Mtu(1),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(data))]),
    ])))
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

/// Makes `link` a port of a bridge.
pub(crate) fn enslave(link: u32, master: u32) -> Request {
    let mut change = message(vec![LinkAttribute::Controller(master)]);
    change.header.index = link;
    Request::plain(RouteNetlinkMessage::SetLink(change))
}

/// Makes an 802.1Q sub-interface of `lower`, in the namespace `netns` or in this one.
pub(crate) fn vlan(name: &str, lower: u32, id: u16, mtu: Option<u32>, netns: Option<BorrowedFd<'_>>) -> Request {
    let mut attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Link(lower),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)])),
        ]),
    ];
    attributes.extend(mtu.map(LinkAttribute::Mtu));
    attributes.extend(netns.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
    Request::create(RouteNetlinkMessage::NewLink(message(attributes)))
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

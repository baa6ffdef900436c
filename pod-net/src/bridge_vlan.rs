//! The VLANs of bridge ports: set, and read back by the bridge's own messages (`RTM_GETVLAN` of
//! `linux/rtnetlink.h`, since Linux 5.6), which can tell of one port alone.

use crate::netlink::{Netlink, Request};
use pod_core::Result;
use rtnetlink::packet_core::{NLA_TYPE_MASK, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use rtnetlink::packet_route::link::{AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::{BTreeMap, BTreeSet};

// linux/rtnetlink.h
const RTM_NEWVLAN: u16 = 112;
const RTM_GETVLAN: u16 = 114;
/// `struct br_vlan_msg` of `linux/if_bridge.h`: family, two reserved fields, interface index.
const HEADER: usize = 8;
const BRIDGE_VLANDB_ENTRY: u16 = 1;
const BRIDGE_VLANDB_ENTRY_INFO: u16 = 1;
const BRIDGE_VLANDB_ENTRY_RANGE: u16 = 2;

/// VLANs of a bridge port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PortVlans {
    /// The VLAN that untagged frames belong to, which leaves untagged.
    pub(crate) untagged: Option<u16>,
    /// The VLANs that pass tagged.
    pub(crate) tagged: BTreeSet<u16>,
}

impl std::fmt::Display for PortVlans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> = self.tagged.iter().map(|v| format!("{v} tagged")).collect();
        if let Some(v) = self.untagged {
            parts.insert(0, format!("{v} untagged"));
        }
        f.write_str(&if parts.is_empty() { "none".to_owned() } else { parts.join(", ") })
    }
}

/// Puts a port of a VLAN-aware bridge into VLANs, besides those it is in.
pub(crate) fn join(port: u32, vlans: &PortVlans) -> Request {
    let untagged = vlans
        .untagged
        .map(|vid| BridgeVlanInfo { flags: BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged, vid });
    let tagged = vlans.tagged.iter().map(|vid| BridgeVlanInfo { flags: BridgeVlanInfoFlags::empty(), vid: *vid });
    let mut change = LinkMessage::default();
    change.header.interface_family = AddressFamily::Bridge;
    change.header.index = port;
    change.attributes =
        vec![LinkAttribute::AfSpecBridge(untagged.into_iter().chain(tagged).map(AfSpecBridge::VlanInfo).collect())];
    Request::plain(RouteNetlinkMessage::SetLink(change))
}

/// A message of the bridge's VLAN database.
#[derive(Debug)]
struct VlanMessage {
    interface: u32,
    body: Vec<u8>,
}

impl NetlinkSerializable for VlanMessage {
    fn message_type(&self) -> u16 {
        RTM_GETVLAN
    }

    fn buffer_len(&self) -> usize {
        HEADER
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..HEADER].fill(0);
        buffer[0] = u8::from(AddressFamily::Bridge);
        buffer[4..HEADER].copy_from_slice(&self.interface.to_ne_bytes());
    }
}

impl NetlinkDeserializable for VlanMessage {
    type Error = std::io::Error;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> std::io::Result<Self> {
        let interface = payload.get(4..HEADER).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
        match interface {
            Some(interface) if header.message_type == RTM_NEWVLAN => {
                Ok(Self { interface, body: payload[HEADER..].to_vec() })
            }
            _ => Err(std::io::Error::other(format!("a message of type {} about VLANs", header.message_type))),
        }
    }
}

/// The attributes in `bytes`, by type.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let [l0, l1, t0, t1, rest @ ..] = bytes {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let Some(value) = length.checked_sub(4).and_then(|n| rest.get(..n)) else { break };
        found.push((u16::from_ne_bytes([*t0, *t1]) & NLA_TYPE_MASK, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

impl VlanMessage {
    fn read_into(&self, vlans: &mut PortVlans) {
        for (_, entry) in attributes(&self.body).into_iter().filter(|(kind, _)| *kind == BRIDGE_VLANDB_ENTRY) {
            let mut info = None;
            let mut last = None;
            for (kind, value) in attributes(entry) {
                match (kind, value) {
                    // struct bridge_vlan_info: flags, id
                    (BRIDGE_VLANDB_ENTRY_INFO, [f0, f1, v0, v1]) => {
                        let flags = BridgeVlanInfoFlags::from_bits_retain(u16::from_ne_bytes([*f0, *f1]));
                        info = Some((flags, u16::from_ne_bytes([*v0, *v1])));
                    }
                    (BRIDGE_VLANDB_ENTRY_RANGE, [v0, v1, ..]) => last = Some(u16::from_ne_bytes([*v0, *v1])),
                    _ => {}
                }
            }
            let Some((flags, first)) = info else { continue };
            if flags.contains(BridgeVlanInfoFlags::Pvid) {
                vlans.untagged = Some(first);
            } else {
                vlans.tagged.extend(first..=last.unwrap_or(first));
            }
        }
    }
}

impl Netlink {
    /// The VLANs of a bridge port, or of all with index 0, by index.
    pub(crate) fn port_vlans(&self, port: u32) -> Result<BTreeMap<u32, PortVlans>> {
        let mut found = BTreeMap::new();
        for message in self.dump(VlanMessage { interface: port, body: Vec::new() })? {
            message.read_into(found.entry(message.interface).or_default());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).expect("short").to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn ranges_and_the_untagged_vlan_are_read() {
        let info = |flags: u16, vid: u16| {
            attribute(BRIDGE_VLANDB_ENTRY_INFO, &[flags.to_ne_bytes(), vid.to_ne_bytes()].concat())
        };
        let entry = |parts: Vec<u8>| attribute(BRIDGE_VLANDB_ENTRY | 0x8000, &parts);
        let range = attribute(BRIDGE_VLANDB_ENTRY_RANGE, &202u16.to_ne_bytes());
        let message =
            VlanMessage { interface: 3, body: [entry(info(6, 100)), entry([info(0, 200), range].concat())].concat() };
        let mut vlans = PortVlans::default();
        message.read_into(&mut vlans);
        assert_eq!(vlans, PortVlans { untagged: Some(100), tagged: [200, 201, 202].into() });
        assert_eq!(vlans.to_string(), "100 untagged, 200 tagged, 201 tagged, 202 tagged");
    }
}

//! What this kernel can do for networks, found by asking it.

use crate::link;
use crate::netlink::Netlink;
use pod_core::{Capabilities, Capability, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::OnceLock;

/// What this kernel can do for networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KernelFeatures {
    /// Virtual Ethernet pairs (`CONFIG_VETH`).
    pub veth: bool,
    /// Bridges (`CONFIG_BRIDGE`).
    pub bridge: bool,
    /// Bridges that tell VLANs apart (`CONFIG_BRIDGE_VLAN_FILTERING`).
    pub vlan_filtering: bool,
    /// Tagged sub-interfaces (`CONFIG_VLAN_8021Q`).
    pub vlan_8021q: bool,
    /// Bridge ports that reach no other such port (since Linux 4.18: told by its version).
    pub port_isolation: bool,
    /// IPv6 (`CONFIG_IPV6`, not turned off).
    pub ipv6: bool,
}

impl KernelFeatures {
    /// What this kernel can do, asked once in a process.
    pub(crate) fn detect() -> Result<Self> {
        static KNOWN: OnceLock<KernelFeatures> = OnceLock::new();
        if let Some(known) = KNOWN.get() {
            return Ok(known.clone());
        }
        let found = Self::ask()?;
        Ok(KNOWN.get_or_init(|| found).clone())
    }

    /// Asks for links that can't be made: a kernel that knows the kind of link says what is wrong with
    /// it, after it has loaded the module where it has to, and one that does not knows no such kind.
    /// Nothing is made. To make each and take it down costs tens of milliseconds, and a namespace whose
    /// end holds up the next one.
    fn ask() -> Result<Self> {
        let netlink = Netlink::open()?;
        let knows = |kind, name: &str| {
            let refusal = match netlink.request(link::impossible(kind))? {
                Ok(_) => return Err(Error::unexpected(format!("the kernel made {name} that can't be"))),
                Err(refusal) => refusal,
            };
            if refusal.errno == libc::EADDRNOTAVAIL || refusal.errno == libc::EINVAL {
                return Ok(true);
            }
            if refusal.is_unsupported() {
                return Ok(false);
            }
            let e = refusal.into_error(format!("ask whether the kernel has {name}"));
            Err(if e.kind() == ErrorKind::PermissionDenied {
                e.with_hint("run as root: networks need CAP_SYS_ADMIN and CAP_NET_ADMIN")
            } else {
                e
            })
        };
        let bridge = knows(link::Kind::Bridge, "bridges")?;
        let veth = knows(link::Kind::Veth, "veth pairs")?;
        let vlan_8021q = knows(link::Kind::Vlan, "802.1Q sub-interfaces")?;
        // One that can tell VLANs apart looks at the tag's protocol first; others pass it over.
        let vlan_filtering = bridge
            && match netlink.request(link::impossible_tags())? {
                Ok(_) => return Err(Error::unexpected("the kernel made a bridge that can't be")),
                Err(refusal) => refusal.errno == libc::EPROTONOSUPPORT,
            };
        let port_isolation = bridge && since(&rustix::system::uname().release().to_string_lossy(), (4, 18));
        let ipv6 = Path::new("/proc/sys/net/ipv6/conf/all").exists();
        Ok(Self { veth, bridge, vlan_filtering, vlan_8021q, port_isolation, ipv6 })
    }

    /// What a backend on this kernel can do with networks.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let mut found = Capabilities::none();
        if !(self.veth && self.bridge) {
            return found;
        }
        for c in [
            Capability::Networks,
            Capability::VlanAccess,
            Capability::FixedIp,
            Capability::FixedMac,
            Capability::Mtu,
            Capability::AttachmentMtu,
            Capability::InterfaceName,
            Capability::Unaddressed,
            Capability::Routes,
            Capability::OverlappingSubnets,
            Capability::HotAttach,
            Capability::Plan,
            Capability::Probe,
            Capability::Verify,
        ] {
            found = found.with(c);
        }
        for (has, c) in [
            (self.vlan_filtering, Capability::VlanTrunk),
            (self.vlan_8021q, Capability::Uplink),
            (self.ipv6, Capability::Ipv6),
            (self.port_isolation, Capability::Isolate),
        ] {
            if has {
                found = found.with(c);
            }
        }
        found
    }
}

/// Whether a kernel release such as `6.1.0-13-amd64` is this one or a later one.
fn since(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, expected) in [
            ("4.18.0-553.el8", true),
            ("4.9.0", false),
            ("5.2", true),
            ("4.17.19", false),
            ("10.0.1", true),
            ("", false),
        ] {
            assert_eq!(since(release, (4, 18)), expected, "{release:?}");
        }
    }
}

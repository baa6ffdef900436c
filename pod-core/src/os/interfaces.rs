//! Network interfaces as the operating system sees them.

use crate::os::Os;
use crate::{Error, MacAddr, Result, VlanId};
use ipnet::IpNet;
use std::fmt;

/// What an interface is, by the words iproute2 uses (`ip -d link`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(into = "String")]
#[non_exhaustive]
pub enum LinkKind {
    /// The loopback.
    Loopback,
    /// A network card, real or given by a hypervisor.
    Ethernet,
    /// One end of a virtual cable.
    Veth,
    /// A bridge.
    Bridge,
    /// An 802.1Q sub-interface.
    Vlan,
    /// A macvlan.
    Macvlan,
    /// An ipvlan.
    Ipvlan,
    /// A VXLAN tunnel.
    Vxlan,
    /// A bond.
    Bond,
    /// A dummy.
    Dummy,
    /// A TUN or TAP device.
    Tun,
    /// Anything else, by the kernel's word; `virtual` where only that much is known.
    Other(String),
}

impl LinkKind {
    /// The kind of this word.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "loopback" => Self::Loopback,
            "ethernet" => Self::Ethernet,
            "veth" => Self::Veth,
            "bridge" => Self::Bridge,
            "vlan" => Self::Vlan,
            "macvlan" => Self::Macvlan,
            "ipvlan" => Self::Ipvlan,
            "vxlan" => Self::Vxlan,
            "bond" => Self::Bond,
            "dummy" => Self::Dummy,
            "tun" => Self::Tun,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Loopback => "loopback",
            Self::Ethernet => "ethernet",
            Self::Veth => "veth",
            Self::Bridge => "bridge",
            Self::Vlan => "vlan",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Vxlan => "vxlan",
            Self::Bond => "bond",
            Self::Dummy => "dummy",
            Self::Tun => "tun",
            Self::Other(word) => word,
        }
    }

    /// Whether an interface of this kind stands on another one.
    pub(crate) fn stacked(&self) -> bool {
        matches!(self, Self::Vlan | Self::Macvlan | Self::Ipvlan | Self::Vxlan)
            || matches!(self, Self::Other(w) if matches!(w.as_str(), "macvtap" | "ipvtap" | "macsec"))
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<LinkKind> for String {
    fn from(kind: LinkKind) -> Self {
        kind.as_str().to_owned()
    }
}

/// An interface's operational state (RFC 2863, `ifOperStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// It can pass packets.
    Up,
    /// It can't.
    Down,
    /// What it stands on is down, or its cable's other end is.
    LowerLayerDown,
    /// It waits for something outside, such as 802.1X.
    Dormant,
    /// It is under test.
    Testing,
    /// A part of it is missing.
    NotPresent,
    /// The driver doesn't say; the loopback never does.
    #[default]
    Unknown,
}

impl LinkState {
    /// The state of this word of iproute2 or sysfs, in any case.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "up" => Self::Up,
            "down" => Self::Down,
            "lowerlayerdown" => Self::LowerLayerDown,
            "dormant" => Self::Dormant,
            "testing" => Self::Testing,
            "notpresent" => Self::NotPresent,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::LowerLayerDown => "lower layer down",
            Self::Dormant => "dormant",
            Self::Testing => "testing",
            Self::NotPresent => "not present",
            Self::Unknown => "unknown",
        })
    }
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Interface {
    /// Its name, without the `@…` that `ip` prints behind it.
    pub name: String,
    /// The kernel's number for it; `None` where nothing tells.
    pub index: Option<u32>,
    /// What it is.
    pub kind: LinkKind,
    /// Its MAC address; `None` where it has none, as the loopback.
    pub mac: Option<MacAddr>,
    /// All its addresses with their prefix lengths, IPv4 first, link-local ones too.
    pub addresses: Vec<IpNet>,
    /// The largest packet in bytes; `None` where nothing tells.
    pub mtu: Option<u32>,
    /// Whether it was set up by the administrator.
    pub up: bool,
    /// Whether it works.
    pub state: LinkState,
    /// Its 802.1Q VLAN id, if it is a VLAN sub-interface.
    pub vlan: Option<VlanId>,
    /// What it stands on (VLAN, macvlan, ipvlan, VXLAN), if that is in the same namespace.
    pub parent: Option<String>,
    /// The bridge or bond it is a port of.
    pub master: Option<String>,
}

impl Interface {
    /// An interface of this name of which nothing else is known.
    pub(crate) fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            index: None,
            kind: LinkKind::Other("virtual".into()),
            mac: None,
            addresses: Vec::new(),
            mtu: None,
            up: false,
            state: LinkState::Unknown,
            vlan: None,
            parent: None,
            master: None,
        }
    }
}

impl Os {
    /// The network interfaces, in the kernel's order.
    ///
    /// Read by `ip` where there is one, else by `ifconfig`, `/proc` and `/sys`.
    ///
    /// # Errors
    /// As [`Os::execute`].
    pub async fn interfaces(&self) -> Result<Vec<Interface>> {
        self.execute(self.dialect().interfaces(), "os.interfaces").await
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound), or as [`Os::execute`].
    pub async fn interface(&self, name: &str) -> Result<Interface> {
        let found = self.interfaces().await?.into_iter().find(|i| i.name == name);
        found.ok_or_else(|| Error::not_found("interface", name).with_operation("os.interfaces"))
    }
}

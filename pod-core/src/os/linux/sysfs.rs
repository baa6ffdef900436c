//! What `/sys/class/net` tells of a link (sysfs-class-net in the kernel's ABI documentation).

use crate::MacAddr;
use crate::os::interfaces::{Interface, LinkKind, LinkState};

/// `IFF_UP` and `ARPHRD_LOOPBACK` of the kernel's `if.h` and `if_arp.h`.
const IFF_UP: u32 = 1;
const ARPHRD_LOOPBACK: u32 = 772;

/// One link.
#[derive(Debug, Default)]
pub(super) struct SysLink {
    pub(super) name: String,
    pub(super) index: Option<u32>,
    pub(super) mac: Option<MacAddr>,
    link_index: Option<u32>,
    mtu: Option<u32>,
    state: Option<LinkState>,
    flags: Option<u32>,
    arp_type: Option<u32>,
    device_type: Option<String>,
    lower: Option<String>,
    master: Option<String>,
    has: Vec<String>,
}

/// Reads the section that the script wrote: a line `name …` begins a link.
pub(super) fn links(text: &str) -> Vec<SysLink> {
    let mut all: Vec<SysLink> = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(' ') else { continue };
        if key == "name" {
            all.push(SysLink { name: value.to_owned(), ..SysLink::default() });
        } else if let Some(link) = all.last_mut() {
            link.set(key, value);
        }
    }
    all
}

impl SysLink {
    fn set(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return; // the kernel refuses some reads, such as the MTU of a link that is going away
        }
        match key {
            "ifindex" => self.index = value.parse().ok(),
            "iflink" => self.link_index = value.parse().ok(),
            "address" => self.mac = value.parse().ok(),
            "mtu" => self.mtu = value.parse().ok(),
            "operstate" => self.state = Some(LinkState::of(value)),
            "flags" => self.flags = u32::from_str_radix(value.trim_start_matches("0x"), 16).ok(),
            "type" => self.arp_type = value.parse().ok(),
            "uevent" => {
                if let Some(kind) = value.strip_prefix("DEVTYPE=") {
                    self.device_type = Some(kind.to_owned());
                }
            }
            "lower" => self.lower = Some(value.to_owned()),
            "master" => self.master = Some(value.to_owned()),
            "has" => self.has.push(value.to_owned()),
            _ => {}
        }
    }

    fn kind(&self) -> LinkKind {
        let has = |what: &str| self.has.iter().any(|h| h == what);
        if self.arp_type == Some(ARPHRD_LOOPBACK) {
            LinkKind::Loopback
        } else if let Some(kind) = &self.device_type {
            LinkKind::of(kind)
        } else if has("bridge") {
            LinkKind::Bridge
        } else if has("bonding") {
            LinkKind::Bond
        } else if has("tun_flags") {
            LinkKind::Tun
        } else if has("device") {
            LinkKind::Ethernet
        } else if self.lower.is_none() && self.link_index.is_some_and(|l| l != 0 && Some(l) != self.index) {
            LinkKind::Veth
        } else {
            LinkKind::Other("virtual".into())
        }
    }

    /// Adds to an interface what it lacks.
    pub(super) fn complete(&self, i: &mut Interface) {
        if matches!(&i.kind, LinkKind::Other(word) if word == "virtual") {
            i.kind = self.kind();
        }
        i.index = i.index.or(self.index);
        i.mac = i.mac.or(self.mac);
        i.mtu = i.mtu.or(self.mtu);
        if let Some(state) = self.state {
            i.state = state;
        }
        if let Some(flags) = self.flags {
            i.up = flags & IFF_UP != 0;
        }
        // A bridge or bond has its ports as lower links, but is its own `iflink`.
        if self.link_index != self.index && self.lower.is_some() {
            i.parent.clone_from(&self.lower);
        }
        if i.master.is_none() {
            i.master.clone_from(&self.master);
        }
    }
}

//! Networks: what to make, and what there is.

use crate::{Capability, Error, ErrorKind, IfName, Labels, NetworkName, Requires, Result, VlanId};
use ipnet::IpNet;
use std::net::IpAddr;

/// A network to make.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct NetworkSpec {
    /// Its name within the backend.
    pub name: NetworkName,
    /// Its VLAN id; `None` is untagged.
    pub vlan: Option<VlanId>,
    /// Its subnets; empty is a network without addresses.
    pub subnets: Vec<IpNet>,
    /// Addresses that are never handed out, besides each subnet's own and broadcast address.
    pub reserved: Vec<IpAddr>,
    /// The interface by which it leaves the host, tagged with `vlan`; `None` stays inside. Without a
    /// VLAN id it has the uplink to itself, untagged, where the platform can do that.
    pub uplink: Option<IfName>,
    /// Its MTU in bytes, 68 to 65535; 1280 or more with an IPv6 subnet (RFC 8200 section 5).
    pub mtu: u32,
    /// Whether its workloads are cut off from each other.
    pub isolated: bool,
    /// Labels for finding it again.
    pub labels: Labels,
}

/// The MTU of a network that names none.
pub const DEFAULT_MTU: u32 = 1500;

impl NetworkSpec {
    /// An untagged network without subnets.
    #[must_use]
    pub fn new(name: NetworkName) -> Self {
        Self {
            name,
            vlan: None,
            subnets: Vec::new(),
            reserved: Vec::new(),
            uplink: None,
            mtu: DEFAULT_MTU,
            isolated: false,
            labels: Labels::new(),
        }
    }

    /// Sets the VLAN id.
    #[must_use]
    pub fn with_vlan(mut self, vlan: VlanId) -> Self {
        self.vlan = Some(vlan);
        self
    }

    /// Adds a subnet.
    #[must_use]
    pub fn with_subnet(mut self, subnet: IpNet) -> Self {
        self.subnets.push(subnet);
        self
    }

    /// Never hands out this address.
    #[must_use]
    pub fn with_reserved(mut self, ip: IpAddr) -> Self {
        self.reserved.push(ip);
        self
    }

    /// Leaves the host by this interface.
    #[must_use]
    pub fn with_uplink(mut self, uplink: IfName) -> Self {
        self.uplink = Some(uplink);
        self
    }

    /// Sets the MTU.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Cuts its workloads off from each other.
    #[must_use]
    pub fn with_isolated(mut self, isolated: bool) -> Self {
        self.isolated = isolated;
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Checks what no type checks: subnets, MTU, reserved addresses.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] names the network, the part and the
    /// way out.
    pub fn validate(&self) -> Result<()> {
        let bad = |message: String| Error::invalid(message).with_context("network", self.name.as_str());
        if !(68..=65535).contains(&self.mtu) {
            return Err(bad(format!("MTU {} is out of range", self.mtu)).with_hint("use 68 to 65535"));
        }
        for (i, net) in self.subnets.iter().enumerate() {
            if net.trunc() != *net {
                return Err(bad(format!("{net} is an address within a subnet, not a subnet"))
                    .with_hint(format!("write {}", net.trunc())));
            }
            let longest = if net.addr().is_ipv4() { 30 } else { 126 };
            if net.prefix_len() > longest {
                return Err(bad(format!("the subnet {net} is too small: it has no two addresses for workloads"))
                    .with_hint(format!("use a prefix length of {longest} or less")));
            }
            if net.prefix_len() == 0 || net.addr().is_multicast() || net.addr().is_loopback() {
                return Err(bad(format!("{net} can't be a network's subnet")));
            }
            if net.addr().is_ipv6() && self.mtu < 1280 {
                return Err(bad(format!("IPv6 needs an MTU of 1280 or more, not {}", self.mtu)));
            }
            if let Some(other) = self.subnets[..i].iter().find(|o| o.contains(net) || net.contains(*o)) {
                return Err(bad(format!("the subnets {other} and {net} overlap")));
            }
        }
        for ip in &self.reserved {
            if !self.subnets.iter().any(|n| n.contains(ip)) {
                return Err(bad(format!("the reserved address {ip} is in none of its subnets")));
            }
        }
        Ok(())
    }

    /// Whether `ip` can be handed to a workload, and the prefix length it gets.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when `ip` is outside the subnets,
    /// a subnet's own address, its broadcast address, or reserved.
    pub fn assignable(&self, ip: IpAddr) -> Result<IpNet> {
        let bad = |message: String| Error::invalid(message).with_context("network", self.name.as_str());
        let Some(net) = self.subnets.iter().find(|n| n.contains(&ip)) else {
            let list: Vec<_> = self.subnets.iter().map(ToString::to_string).collect();
            return Err(bad(format!("the address {ip} is outside the network's subnets")).with_hint(
                if list.is_empty() {
                    "the network has no subnet".into()
                } else {
                    format!("choose one within {}", list.join(" or "))
                },
            ));
        };
        if ip == net.network() {
            return Err(bad(format!("{ip} is the subnet's own address")));
        }
        if ip.is_ipv4() && ip == net.broadcast() {
            return Err(bad(format!("{ip} is the subnet's broadcast address")));
        }
        if self.reserved.contains(&ip) {
            return Err(bad(format!("{ip} is reserved in this network")));
        }
        IpNet::new(ip, net.prefix_len()).map_err(|e| Error::unexpected("prefix length").with_source(e))
    }

    /// The lowest assignable address of `subnet` for which `taken` is false.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] when there is none.
    pub fn next_free(&self, subnet: IpNet, taken: impl Fn(IpAddr) -> bool) -> Result<IpNet> {
        subnet.hosts().filter_map(|ip| self.assignable(ip).ok()).find(|ip| !taken(ip.addr())).ok_or_else(|| {
            Error::new(ErrorKind::Exhausted, format!("no address is free in {subnet}"))
                .with_context("network", self.name.as_str())
                .with_hint("detach what is no longer needed, or use a larger subnet")
        })
    }
}

impl Requires for NetworkSpec {
    fn requires(&self) -> Vec<Capability> {
        let mut need = vec![Capability::Networks];
        let mut on = |wanted: bool, c| {
            if wanted {
                need.push(c);
            }
        };
        on(self.vlan.is_some(), Capability::VlanAccess);
        on(self.uplink.is_some(), Capability::Uplink);
        on(self.mtu != DEFAULT_MTU, Capability::Mtu);
        on(self.subnets.iter().any(|n| n.addr().is_ipv6()), Capability::Ipv6);
        on(self.subnets.is_empty(), Capability::Unaddressed);
        on(self.isolated, Capability::Isolate);
        need
    }
}

/// A network as it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Network {
    /// What was asked for.
    pub spec: NetworkSpec,
    /// The platform's own name for it: a bridge, a definition, a port group.
    pub id: String,
    /// How many workloads are attached.
    pub attachments: usize,
}

impl Network {
    /// A network of these parts.
    #[must_use]
    pub fn new(spec: NetworkSpec, id: impl Into<String>, attachments: usize) -> Self {
        Self { spec, id: id.into(), attachments }
    }
}

/// What [`Networking::create`](crate::Networking::create) did.
#[derive(Debug, Clone, PartialEq)]
pub enum CreateNetworkOutcome {
    /// It was made.
    Created(Network),
    /// One of that name with the same spec was there.
    AlreadyExists(Network),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(subnet: &str) -> NetworkSpec {
        NetworkSpec::new(NetworkName::new("n").expect("name")).with_subnet(subnet.parse().expect("subnet"))
    }

    #[test]
    fn subnets_are_checked() {
        assert!(net("10.0.0.0/24").validate().is_ok());
        assert!(net("10.0.0.0/30").validate().is_ok());
        for bad in ["10.0.0.1/24", "10.0.0.0/31", "fd00::/127", "0.0.0.0/0", "224.0.0.0/8", "127.0.0.0/8"] {
            assert!(net(bad).validate().is_err(), "{bad}");
        }
        assert!(net("10.0.0.0/16").with_subnet("10.0.1.0/24".parse().expect("subnet")).validate().is_err());
    }

    #[test]
    fn network_broadcast_and_reserved_addresses_are_never_handed_out() {
        let n = net("10.0.0.0/29").with_reserved("10.0.0.1".parse().expect("ip"));
        for bad in ["10.0.0.0", "10.0.0.7", "10.0.0.1", "10.0.1.1"] {
            assert!(n.assignable(bad.parse().expect("ip")).is_err(), "{bad}");
        }
        let first = n.next_free(n.subnets[0], |_| false).expect("free");
        assert_eq!(first.to_string(), "10.0.0.2/29");
        assert_eq!(n.next_free(n.subnets[0], |_| true).map_err(|e| e.kind()), Err(ErrorKind::Exhausted));
    }
}

//! Configuring the network of a workload from inside.

use crate::os::{Interface, LinkKind, Os, RouteEntry};
use crate::{Error, ErrorKind, IfName, Result, ResultExt, VlanId};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// A VLAN sub-interface to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VlanLink {
    /// The interface it stands on.
    pub parent: IfName,
    /// Its 802.1Q id.
    pub id: VlanId,
}

/// How one interface is to be.
///
/// What is named is added: other addresses, routes and interfaces stay as they are, unless
/// [`NetworkConfig::exact`] is set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkConfig {
    /// The interface.
    pub interface: IfName,
    /// Makes the interface as a VLAN sub-interface; one that is there already must be just that.
    pub vlan: Option<VlanLink>,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Removes all other addresses but link-local ones.
    pub exact: bool,
    /// The default gateways, at most one for IPv4 and one for IPv6. Each takes the place of the default
    /// route of the same metric.
    pub gateways: Vec<IpAddr>,
    /// The DNS servers; empty leaves those that are set.
    pub dns: Vec<IpAddr>,
    /// The domains in which names are searched; empty leaves those that are set.
    pub search: Vec<String>,
    /// The MTU in bytes, 68 to 65535 (IPv6 needs 1280; RFC 791, RFC 8200).
    pub mtu: Option<u32>,
    /// Keeps the configuration over a reboot.
    pub persist: bool,
}

impl NetworkConfig {
    /// A configuration that only sets the interface up.
    #[must_use]
    pub fn new(interface: IfName) -> Self {
        Self {
            interface,
            vlan: None,
            addresses: Vec::new(),
            exact: false,
            gateways: Vec::new(),
            dns: Vec::new(),
            search: Vec::new(),
            mtu: None,
            persist: false,
        }
    }

    /// Makes the interface as a VLAN sub-interface.
    #[must_use]
    pub fn with_vlan(mut self, parent: IfName, id: VlanId) -> Self {
        self.vlan = Some(VlanLink { parent, id });
        self
    }

    /// Adds an address.
    #[must_use]
    pub fn with_address(mut self, address: IpNet) -> Self {
        self.addresses.push(address);
        self
    }

    /// Removes all other addresses but link-local ones.
    #[must_use]
    pub fn with_exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// Adds a default gateway.
    #[must_use]
    pub fn with_gateway(mut self, gateway: IpAddr) -> Self {
        self.gateways.push(gateway);
        self
    }

    /// Adds a DNS server.
    #[must_use]
    pub fn with_dns(mut self, server: IpAddr) -> Self {
        self.dns.push(server);
        self
    }

    /// Adds a search domain.
    #[must_use]
    pub fn with_search(mut self, domain: impl Into<String>) -> Self {
        self.search.push(domain.into());
        self
    }

    /// Sets the MTU.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Keeps the configuration over a reboot.
    #[must_use]
    pub fn with_persist(mut self, persist: bool) -> Self {
        self.persist = persist;
        self
    }

    /// Checks what can be checked without the machine.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] names the part.
    pub fn validate(&self) -> Result<()> {
        if let Some(mtu) = self.mtu
            && !(68..=65535).contains(&mtu)
        {
            return Err(Error::invalid(format!("an MTU of {mtu} is out of range")).with_hint("use 68 to 65535"));
        }
        if self.mtu.is_some_and(|m| m < 1280) && self.addresses.iter().any(|a| matches!(a, IpNet::V6(_))) {
            return Err(Error::invalid("IPv6 needs an MTU of at least 1280"));
        }
        if self.vlan.as_ref().is_some_and(|v| v.parent == self.interface) {
            return Err(Error::invalid("a VLAN sub-interface can't stand on itself")
                .with_context("interface", self.interface.as_str()));
        }
        for address in &self.addresses {
            let ip = address.addr();
            let v4_edge = matches!(address, IpNet::V4(n) if n.prefix_len() < 31 && (n.network() == n.addr() || n.broadcast() == n.addr()));
            if ip.is_unspecified() || ip.is_multicast() || v4_edge {
                return Err(Error::invalid("no interface can have this address")
                    .with_context("address", address.to_string())
                    .with_hint("it is the network's own, its broadcast, or a multicast address"));
            }
        }
        for v6 in [false, true] {
            let mut gateways = self.gateways.iter().filter(|g| g.is_ipv6() == v6);
            if let (Some(_), Some(second)) = (gateways.next(), gateways.next()) {
                return Err(Error::invalid("there is more than one default gateway of a family")
                    .with_context("gateway", second.to_string()));
            }
        }
        let domain = |d: &String| {
            !d.is_empty() && d.len() <= 253 && d.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        if let Some(bad) = self.search.iter().find(|d| !domain(d)) {
            return Err(Error::invalid("that is no domain").with_context("search", format!("{bad:?}")));
        }
        Ok(())
    }
}

/// Who configures the network of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NetworkManager {
    /// NetworkManager.
    NetworkManager,
    /// systemd-networkd.
    SystemdNetworkd,
}

impl fmt::Display for NetworkManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NetworkManager => "NetworkManager",
            Self::SystemdNetworkd => "systemd-networkd",
        })
    }
}

/// What is needed to change the network and to undo that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkState {
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// The routes.
    pub routes: Vec<RouteEntry>,
    /// The rest.
    pub names: NameState,
}

/// How names are resolved, and who configures the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameState {
    /// What is in `/etc/resolv.conf`; `None` where there is none.
    pub resolv_conf: Option<Vec<u8>>,
    /// Whether systemd-resolved owns that file, so that servers are given to it instead.
    pub resolved: bool,
    /// The servers that systemd-resolved has for the interface.
    pub servers: Vec<String>,
    /// The domains that systemd-resolved has for the interface.
    pub domains: Vec<String>,
    /// Who configures the network, if anyone does.
    pub manager: Option<NetworkManager>,
}

/// What [`Os::configure_network`] did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct NetworkReport {
    /// The interface as it was read back.
    pub interface: Interface,
    /// Whether the interface was made.
    pub created: bool,
    /// Who keeps the configuration over a reboot; `None`: the interface, its addresses, MTU and gateway
    /// last until the next boot, or until the workload stops.
    pub kept_by: Option<NetworkManager>,
}

impl Os {
    /// Configures one interface, reads it back, and undoes all when a step fails or something differs.
    /// Twice in a row gives the same. Needs the right to configure the network (`CAP_NET_ADMIN`).
    ///
    /// What changes at once is changed by `ip`, and `/etc/resolv.conf` or systemd-resolved. With
    /// `persist`, NetworkManager (a profile `pod-INTERFACE`) or systemd-networkd
    /// (`/etc/systemd/network/10-pod-INTERFACE.network`) is given the same configuration for the next
    /// boot, when the interface will have just that. Without, only `/etc/resolv.conf` stays, where no
    /// one else writes it.
    ///
    /// On cancellation, what was done so far stays.
    ///
    /// # Errors
    /// `InvalidInput`; `NotFound` without the interface or the VLAN's parent;
    /// [`ErrorKind::Conflict`] when the interface is there and is not that VLAN;
    /// [`ErrorKind::Unsupported`] without `ip`, for a kernel without 802.1Q, or for `persist` where
    /// nobody can keep it; `PermissionDenied`; [`ErrorKind::Integrity`] when what is read back differs;
    /// else as [`Os::execute`].
    pub async fn configure_network(&self, config: &NetworkConfig) -> Result<NetworkReport> {
        const OPERATION: &str = "os.configure_network";
        config.validate().operation(OPERATION)?;
        let before = self.network_state(&config.interface).await.operation(OPERATION)?;
        check(config, &before).operation(OPERATION)?;
        let done = self.change_network(config, &before).await;
        let error = match done {
            Ok(report) => return Ok(report),
            Err(e) => e.with_operation(OPERATION).with_context("interface", config.interface.as_str()),
        };
        let undone = async {
            let now = self.network_state(&config.interface).await?;
            self.execute(self.dialect().restore_network(config, &before, &now), OPERATION).await
        };
        Err(match undone.await {
            Ok(()) => error,
            Err(e) => error.with_context("not_undone", e.to_string()),
        })
    }

    async fn network_state(&self, interface: &IfName) -> Result<NetworkState> {
        let names = self.execute(self.dialect().name_state(interface), "os.name_state").await?;
        Ok(NetworkState { interfaces: self.interfaces().await?, routes: self.routes().await?, names })
    }

    async fn change_network(&self, config: &NetworkConfig, before: &NetworkState) -> Result<NetworkReport> {
        const OPERATION: &str = "os.configure_network";
        self.execute(self.dialect().apply_network(config, before), OPERATION).await?;
        let now = self.network_state(&config.interface).await?;
        verify(config, &now)?;
        let mut kept_by = None;
        if config.persist {
            self.execute(self.dialect().persist_network(config, before), OPERATION).await?;
            kept_by = before.names.manager;
        }
        let find = |s: &NetworkState| s.interfaces.iter().find(|i| i.name == config.interface.as_str()).cloned();
        let interface = find(&now).ok_or_else(|| Error::not_found("interface", config.interface.as_str()))?;
        Ok(NetworkReport { interface, created: find(before).is_none(), kept_by })
    }
}

/// Checks a configuration against the system as it is.
fn check(config: &NetworkConfig, now: &NetworkState) -> Result<()> {
    let find = |name: &IfName| now.interfaces.iter().find(|i| i.name == name.as_str());
    let there = find(&config.interface);
    match (&config.vlan, there) {
        (None, None) => return Err(Error::not_found("interface", config.interface.as_str())),
        (Some(vlan), Some(i)) => {
            if i.kind != LinkKind::Vlan || i.vlan != Some(vlan.id) || i.parent.as_deref() != Some(vlan.parent.as_str())
            {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "the interface is there and is not that VLAN sub-interface",
                )
                .with_context("interface", config.interface.as_str())
                .with_hint("choose another name, or remove it first"));
            }
        }
        (Some(vlan), None) => {
            if find(&vlan.parent).is_none() {
                return Err(Error::not_found("interface", vlan.parent.as_str()));
            }
            let same = |i: &&Interface| i.vlan == Some(vlan.id) && i.parent.as_deref() == Some(vlan.parent.as_str());
            if let Some(other) = now.interfaces.iter().find(same) {
                return Err(Error::new(ErrorKind::Conflict, "that VLAN is on its parent by another name already")
                    .with_context("interface", &other.name));
            }
        }
        (None, Some(_)) => {}
    }
    if config.persist && now.names.manager.is_none() {
        return Err(Error::unsupported("nothing in the workload keeps a network configuration over a reboot")
            .with_hint("NetworkManager and systemd-networkd can; without `persist` it lasts until the next boot"));
    }
    Ok(())
}

/// Compares what was asked for with what is.
fn verify(config: &NetworkConfig, now: &NetworkState) -> Result<()> {
    let differs = |what: &'static str, wanted: String| {
        Err(Error::new(ErrorKind::Integrity, "the interface is not as it was set").with_context(what, wanted))
    };
    let Some(i) = now.interfaces.iter().find(|i| i.name == config.interface.as_str()) else {
        return differs("interface", config.interface.to_string());
    };
    if let Some(missing) = config.addresses.iter().find(|a| !i.addresses.contains(a)) {
        return differs("address", missing.to_string());
    }
    if config.mtu.is_some() && i.mtu.is_some() && i.mtu != config.mtu {
        return differs("mtu", i.mtu.unwrap_or_default().to_string());
    }
    if !i.up {
        return differs("state", "down".into());
    }
    if let Some(vlan) = &config.vlan
        && (i.vlan != Some(vlan.id) || i.parent.as_deref() != Some(vlan.parent.as_str()))
    {
        return differs("vlan", vlan.id.to_string());
    }
    for gateway in &config.gateways {
        let hit = |r: &RouteEntry| {
            r.is_default() && r.via == Some(*gateway) && r.interface.as_deref() == Some(i.name.as_str())
        };
        if !now.routes.iter().any(hit) {
            return differs("gateway", gateway.to_string());
        }
    }
    Ok(())
}

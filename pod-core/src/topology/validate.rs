//! What must hold between the values of a topology, found before anything is touched.

use super::{Place, Topology, TopologyWorkload, addresses, matching};
use crate::{AttachMode, Error, IfName, MacAddr, NetworkName, NetworkSpec, Result, check_label};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Things that must be unique, each with where it was first.
struct Unique<K>(BTreeMap<K, Place>);

impl<K: Ord> Unique<K> {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Where the same was before, if it was.
    fn insert(&mut self, key: K, place: &Place) -> Option<Place> {
        self.0.insert(key, place.clone())
    }
}

fn first_was(error: Error, first: &Place) -> Error {
    if first.line() == 0 { error } else { error.with_context("first", first.to_string()) }
}

/// Where a network meets a platform; without one, all of them.
struct Segment<'a> {
    platform: Option<&'a str>,
    uplink: &'a IfName,
    network: &'a NetworkSpec,
}

impl Segment<'_> {
    /// Whether the other is the same place on the same wire.
    fn is(&self, other: &Segment<'_>) -> bool {
        let meet = self.platform.is_none() || other.platform.is_none() || self.platform == other.platform;
        meet && (self.uplink, self.network.vlan) == (other.uplink, other.network.vlan)
    }
}

impl Topology {
    /// Checks all that can be checked without a backend: names, ids, subnets, addresses, and that the
    /// subnets hold the workloads.
    ///
    /// # Errors
    /// `InvalidInput`, or `Exhausted` for a subnet that is too small, for the first mistake, with its
    /// place when the topology came from a file.
    pub fn check(&self) -> Result<()> {
        if self.networks.is_empty() && self.workloads.is_empty() {
            return Err(Error::invalid("the topology holds no network and no workload")
                .with_context("topology", self.name.as_str())
                .with_hint("`pod down` takes a topology down"));
        }
        self.check_networks()?;
        self.check_workloads()?;
        for rule in &self.reach {
            for name in [&rule.from, &rule.to] {
                if self.workload(name).is_none() {
                    return Err(Error::invalid("an expectation names a workload that is not in the topology")
                        .with_context("workload", name.as_str()));
                }
            }
        }
        addresses::allocate(self, &[]).map(|_| ())
    }

    fn check_networks(&self) -> Result<()> {
        let mut names = Unique::new();
        let mut segments: Vec<Segment<'_>> = Vec::new();
        for network in &self.networks {
            let (spec, place) = (&network.spec, &network.place);
            let mark = |e: Error| place.mark(e);
            spec.validate().map_err(mark)?;
            for (key, value) in &spec.labels {
                check_label(key, value).map_err(|e| mark(e.with_context("network", spec.name.as_str())))?;
            }
            if let Some(first) = names.insert(&spec.name, place) {
                let error = Error::invalid("two networks have the same name");
                return Err(mark(first_was(error.with_context("network", spec.name.as_str()), &first)));
            }
            let all = spec.uplink.iter().map(|uplink| (None, uplink));
            let each = network.segments.iter().map(|(platform, uplink)| (Some(platform.as_str()), uplink));
            let own: Vec<_> = if network.segments.is_empty() { all.collect() } else { each.collect() };
            let own = own.into_iter().map(|(platform, uplink)| Segment { platform, uplink, network: spec });
            let own: Vec<_> = own.collect();
            let clash = own.iter().find_map(|a| segments.iter().find(|b| a.is(b)));
            if let Some(Segment { uplink, network: NetworkSpec { name: other, .. }, .. }) = clash {
                let vlan = spec.vlan.map(|v| v.to_string()).unwrap_or_default();
                return Err(mark(
                    Error::invalid(format!("two networks are VLAN {vlan} on {uplink}: on the wire they are one"))
                        .with_context("networks", format!("{other}, {}", spec.name))
                        .with_hint("give one of them another VLAN id, or make them one network with two subnets"),
                ));
            }
            segments.extend(own);
        }
        Ok(())
    }

    fn check_workloads(&self) -> Result<()> {
        let mut names = Unique::new();
        let mut ips: Unique<(&NetworkName, IpAddr)> = Unique::new();
        let mut macs: Unique<(&NetworkName, [u8; 6])> = Unique::new();
        for workload in &self.workloads {
            let about = |e: Error| e.with_context("workload", workload.spec.name.as_str());
            if let Some(first) = names.insert(&workload.spec.name, &workload.place) {
                let error = first_was(about(Error::invalid("two workloads have the same name")), &first);
                return Err(workload.place.mark(error));
            }
            workload.spec.validate().map_err(|e| workload.place.mark(about(e)))?;
            for (key, value) in &workload.spec.labels {
                check_label(key, value).map_err(|e| workload.place.mark(about(e)))?;
            }
            self.check_attachments(workload, &mut ips, &mut macs).map_err(about)?;
        }
        Ok(())
    }

    fn check_attachments<'a>(
        &'a self,
        workload: &'a TopologyWorkload,
        ips: &mut Unique<(&'a NetworkName, IpAddr)>,
        macs: &mut Unique<(&'a NetworkName, [u8; 6])>,
    ) -> Result<()> {
        let mut networks = Unique::new();
        let mut interfaces = Unique::new();
        for (i, attachment) in workload.spec.attachments.iter().enumerate() {
            let place = workload.attachment_place(i);
            let name = &attachment.network;
            let bad = |message: String| Error::invalid(message).with_context("network", name.as_str());
            let Some(network) = self.network(name).map(|n| &n.spec) else {
                let known = self.networks.iter().map(|n| n.spec.name.as_str());
                return Err(place.mark(
                    bad("no network of the topology has this name".into())
                        .with_hint(matching::hint(name.as_str(), known)),
                ));
            };
            if let Some(first) = networks.insert(name, place) {
                return Err(place.mark(first_was(bad("it is on this network twice".into()), &first)));
            }
            if attachment.interface.as_ref().is_some_and(|i| i.as_str() == "lo") {
                return Err(place.mark(
                    bad("lo is the workload's loopback interface".into()).with_hint("choose another interface name"),
                ));
            }
            if let Some(interface) = &attachment.interface
                && let Some(first) = interfaces.insert(interface, place)
            {
                let error = bad(format!("two of its interfaces are named {interface}"));
                return Err(place.mark(first_was(error, &first)));
            }
            for (n, ip) in attachment.ips.iter().enumerate() {
                let place = workload.ip_place(i, n);
                network.assignable(*ip).map_err(|e| place.mark(e))?;
                if let Some(first) = ips.insert((name, *ip), place) {
                    let error = bad(format!("the address {ip} is used twice in this network"));
                    return Err(place.mark(first_was(error, &first)));
                }
            }
            if let Some(mac) = attachment.mac
                && let Some(first) = macs.insert((name, MacAddr::octets(mac)), place)
            {
                let error = bad(format!("the MAC address {mac} is used twice in this network"));
                return Err(place.mark(first_was(error, &first)));
            }
            if let AttachMode::Trunk(_) = attachment.mode
                && network.vlan.is_none()
            {
                return Err(place.mark(
                    bad("a trunk is tagged, and this network is untagged".into())
                        .with_hint("give the network `vlan: 1` to `vlan: 4094`, or leave the trunk out"),
                ));
            }
            let asks_for_address = !attachment.ips.is_empty() || !attachment.routes.is_empty();
            if asks_for_address && !addresses::is_addressed(network, attachment) {
                let own = network.vlan.map(|v| v.to_string()).unwrap_or_default();
                return Err(place.mark(
                    bad(format!("the trunk does not carry the network's own VLAN {own}, so it has no address of it"))
                        .with_hint(format!("add {own} to the trunk, or leave addresses and routes out")),
                ));
            }
            let mtu = attachment.mtu.unwrap_or(network.mtu);
            if mtu > network.mtu {
                return Err(place.mark(
                    bad(format!("the MTU {mtu} is above the network's, {}", network.mtu))
                        .with_hint("lower it, or give the network a higher `mtu:`"),
                ));
            }
            if mtu < 1280 && network.subnets.iter().any(|s| s.addr().is_ipv6()) {
                return Err(place.mark(bad(format!("IPv6 needs an MTU of 1280 or more, not {mtu}"))));
            }
            for (n, route) in attachment.routes.iter().enumerate() {
                if attachment.routes[..n].iter().any(|r| r.to == route.to) {
                    return Err(place.mark(bad(format!("the route to {} is given twice", route.to))));
                }
                check_route(network, attachment, route).map_err(|e| place.mark(e))?;
            }
        }
        Ok(())
    }
}

fn check_route(network: &NetworkSpec, attachment: &crate::AttachmentSpec, route: &crate::Route) -> Result<()> {
    let bad = |message: String| Err(Error::invalid(message).with_context("network", network.name.as_str()));
    let Some(via) = route.via else { return Ok(()) };
    if via.is_ipv4() != route.to.addr().is_ipv4() {
        return bad(format!("the route to {} and its next hop {via} are of two address families", route.to));
    }
    if !network.subnets.iter().any(|s| s.contains(&via)) {
        return bad(format!("the next hop {via} of the route to {} is outside the network's subnets", route.to));
    }
    if attachment.ips.contains(&via) {
        return bad(format!("the next hop {via} of the route to {} is the workload's own address", route.to));
    }
    Ok(())
}

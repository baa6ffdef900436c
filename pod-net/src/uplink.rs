//! Uplinks: a tagged sub-interface of a host's interface, moved to POD's namespace and joined to a
//! bridge there. The host's interface itself stays where it is and as it is.

use crate::attach::{done, found};
use crate::bridge_vlan::{self, PortVlans};
use crate::host::Inner;
use crate::link::{self, Link};
use crate::netlink::{Netlink, Request};
use crate::netns::Netns;
use crate::store::NetworkRecord;
use pod_core::{Error, ErrorKind, IfName, NetworkSpec, Result, VlanId};
use rtnetlink::packet_route::RouteNetlinkMessage;

/// Checks a network by itself. An uplink is shared with the host, so its frames need a tag.
pub(crate) fn validate(spec: &NetworkSpec) -> Result<()> {
    spec.validate()?;
    if spec.uplink.is_some() && spec.vlan.is_none() {
        return Err(Error::invalid("a network with an uplink needs a VLAN id to be tagged with")
            .with_context("network", spec.name.as_str())
            .with_hint("give it `vlan: 1` to `vlan: 4094`, or leave the uplink out"));
    }
    Ok(())
}

/// Checks that a network's uplink is there, up, and wide enough; needs no change.
pub(crate) fn check(spec: &NetworkSpec) -> Result<()> {
    match &spec.uplink {
        Some(uplink) => find(&Netlink::open()?, spec, uplink).map(drop),
        None => Ok(()),
    }
}

fn find(host: &Netlink, spec: &NetworkSpec, uplink: &IfName) -> Result<Link> {
    let about = |e: Error| e.with_context("network", spec.name.as_str()).with_context("uplink", uplink.as_str());
    let Some(link) = host.link(uplink.as_str())? else {
        let mut names: Vec<_> = host.links()?.into_iter().map(|l| l.name).filter(|n| n != "lo").collect();
        names.sort_unstable();
        let there =
            if names.is_empty() { "this host has none".into() } else { format!("there are {}", names.join(", ")) };
        return Err(about(Error::new(ErrorKind::NotFound, "the uplink does not exist on this host")).with_hint(there));
    };
    if uplink.as_str() == "lo" {
        return Err(about(Error::invalid("lo leads nowhere: it can't be an uplink")));
    }
    if !link.state.is_up() {
        return Err(about(Error::new(ErrorKind::WrongState, format!("the uplink is {}", link.state)))
            .with_hint(format!("bring it up: `ip link set {uplink} up`")));
    }
    if spec.mtu > link.mtu {
        return Err(about(Error::invalid(format!("MTU {} is more than the uplink's {}", spec.mtu, link.mtu)))
            .with_hint("lower the network's MTU, or raise the uplink's"));
    }
    Ok(link)
}

impl Inner {
    /// Makes the port that joins a network to its uplink, or finds it made. The caller holds the lock.
    pub(crate) fn make_uplink(&self, outside: &Netlink, network: &NetworkRecord, bridge: u32) -> Result<()> {
        let (Some(port_name), Some(uplink), Some(vlan)) =
            (&network.uplink_port, &network.spec.uplink, network.spec.vlan)
        else {
            return Ok(());
        };
        let about =
            |e: Error| e.with_context("network", network.spec.name.as_str()).with_context("uplink", uplink.as_str());
        let port = match outside.link(port_name.as_str())? {
            Some(port) => port,
            None => {
                let host = Netlink::open()?;
                let lower = find(&host, &network.spec, uplink)?;
                let netns = self
                    .existing_netns()?
                    .ok_or_else(|| Error::unexpected("POD's namespace vanished while a network was being made"))?;
                self.make_sub_interface(&host, &lower, vlan, network, &netns, port_name).map_err(about)?;
                found(Some(outside.request(link::get(port_name.as_str()))?), "look at the uplink's sub-interface")?
            }
        };
        let mut requests = vec![link::enslave(port.index, bridge)];
        if let Some(pvid) = network.pvid {
            requests.push(bridge_vlan::join(port.index, &PortVlans { untagged: Some(pvid), ..PortVlans::default() }));
        }
        requests.push(Request::plain(RouteNetlinkMessage::SetLink(link::up(port.index))));
        for answer in outside.batch(requests)? {
            done(Some(answer), "join the uplink's sub-interface to the bridge").map_err(about)?;
        }
        Ok(())
    }

    fn make_sub_interface(
        &self,
        host: &Netlink,
        lower: &Link,
        vlan: VlanId,
        network: &NetworkRecord,
        netns: &Netns,
        name: &IfName,
    ) -> Result<()> {
        let request = link::vlan(name.as_str(), lower.index, vlan.get(), Some(network.spec.mtu), Some(netns.fd()));
        match host.request(request)? {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.is_taken() => {
                let holder =
                    host.links()?.into_iter().find(|l| l.lower == Some(lower.index) && l.vlan_id == Some(vlan.get()));
                let holder = holder.map_or_else(|| "an interface in another namespace".to_owned(), |l| l.name);
                Err(Error::new(ErrorKind::Conflict, format!("VLAN {vlan} of the uplink is in use on this host"))
                    .with_context("held by", holder)
                    .with_hint("remove that interface, or choose another VLAN id"))
            }
            Err(refusal) => Err(refusal.into_error("make the uplink's tagged sub-interface")),
        }
    }
}

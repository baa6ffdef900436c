//! What a new attachment gets: checked against everything there is, and what was left open filled in.

use crate::host::Inner;
use crate::kernel::KernelFeatures;
use crate::store::NetworkRecord;
use ipnet::IpNet;
use pod_core::{
    AttachMode, Attachment, AttachmentSpec, Error, ErrorKind, IfName, MacAddr, NetworkSpec, Result, WorkloadName,
};
use std::collections::HashSet;
use std::net::IpAddr;

/// What is taken, as far as a new attachment is concerned.
pub(crate) trait Taken {
    /// Who holds an address of the network.
    fn ip(&self, network: &NetworkSpec, ip: IpAddr) -> Result<Option<WorkloadName>>;
    /// Addresses of the network that may be held; all that are held are in it.
    fn ips(&self, network: &NetworkSpec) -> Result<HashSet<IpAddr>>;
    /// Who holds a MAC address of the network.
    fn mac(&self, network: &NetworkSpec, mac: MacAddr) -> Result<Option<WorkloadName>>;
    /// What holds an interface name of the workload.
    fn interface(&self, workload: &WorkloadName, name: &str) -> Result<Option<String>>;
}

impl Inner {
    /// What a workload gets when it is attached to `network` so.
    pub(crate) fn allocate(
        &self,
        network: &NetworkRecord,
        workload: &WorkloadName,
        spec: &AttachmentSpec,
        taken: &impl Taken,
    ) -> Result<Attachment> {
        let about =
            |e: Error| e.with_context("workload", workload.as_str()).with_context("network", spec.network.as_str());
        self.fill_in(network, workload, spec, taken).map_err(about)
    }

    fn fill_in(
        &self,
        network: &NetworkRecord,
        workload: &WorkloadName,
        spec: &AttachmentSpec,
        taken: &impl Taken,
    ) -> Result<Attachment> {
        let net = &network.spec;
        let interface = match &spec.interface {
            None => first_free(workload, taken)?,
            Some(name) => match taken.interface(workload, name.as_str())? {
                None => name.clone(),
                Some(holder) => {
                    return Err(conflict(format!("the interface name {name} is taken in the workload"))
                        .with_context("held by", holder)
                        .with_hint("choose another interface name"));
                }
            },
        };
        let addressed = check_mode(&self.kernel, network, spec, &interface)?;

        let mtu = spec.mtu.unwrap_or(net.mtu);
        if mtu > net.mtu {
            return Err(Error::invalid(format!("MTU {mtu} is more than the network's {}", net.mtu))
                .with_hint("lower it, or give the network a higher MTU"));
        }
        let ips = if addressed { pick_ips(net, spec, taken)? } else { Vec::new() };
        if mtu < 1280 && ips.iter().any(|ip| ip.addr().is_ipv6()) {
            return Err(Error::invalid(format!("IPv6 needs an MTU of 1280 or more, not {mtu}")));
        }
        for route in &spec.routes {
            if let Some(via) = route.via
                && !ips.iter().any(|ip| ip.contains(&via) && ip.addr() != via)
            {
                return Err(Error::invalid(format!("the next hop {via} is no neighbour in the attachment's subnets"))
                    .with_context("route", route.to.to_string()));
            }
        }
        let seed = format!("{}\0{workload}\0{}", self.instance, net.name);
        let mac = spec.mac.unwrap_or_else(|| MacAddr::derived(seed.as_bytes()));
        if let Some(holder) = taken.mac(net, mac)? {
            return Err(conflict(format!("the MAC address {mac} is taken")).with_context("held by", holder.as_str()));
        }

        let mut attachment = Attachment::new(workload.clone(), net.name.clone(), interface, mac, mtu);
        attachment.mode = spec.mode.clone();
        attachment.vlan = net.vlan;
        attachment.ips = ips;
        attachment.routes.clone_from(&spec.routes);
        attachment.dns.clone_from(&spec.dns);
        Ok(attachment)
    }
}

fn conflict(message: String) -> Error {
    Error::new(ErrorKind::Conflict, message)
}

fn first_free(workload: &WorkloadName, taken: &impl Taken) -> Result<IfName> {
    for n in 0..=u16::MAX {
        let name = format!("eth{n}");
        if taken.interface(workload, &name)?.is_none() {
            return IfName::new(name);
        }
    }
    Err(Error::new(ErrorKind::Exhausted, "no interface name is free in the workload"))
}

/// Checks a mode against the network and the kernel; whether the attachment has addresses.
fn check_mode(
    kernel: &KernelFeatures,
    network: &NetworkRecord,
    spec: &AttachmentSpec,
    interface: &IfName,
) -> Result<bool> {
    let AttachMode::Trunk(ids) = &spec.mode else { return Ok(true) };
    let Some(vlan) = network.spec.vlan else {
        return Err(Error::invalid("a trunk is tagged, and this network is untagged")
            .with_hint("attach to a network with a VLAN id, or leave the trunk out"));
    };
    for (has, what, option) in [
        (network.pvid.is_some(), "bridges that tell VLANs apart, which a trunk needs", "CONFIG_BRIDGE_VLAN_FILTERING"),
        (kernel.vlan_8021q, "tagged sub-interfaces, which a trunk needs", "CONFIG_VLAN_8021Q"),
    ] {
        if !has {
            return Err(Error::unsupported(format!("this kernel has no {what}"))
                .with_context("missing", option)
                .with_hint(format!("use a kernel with {option}, or attach to each VLAN's network")));
        }
    }
    for id in ids {
        crate::attach::sub_interface(interface, *id)?;
    }
    let addressed = ids.contains(&vlan);
    let wants_address = !spec.ips.is_empty() || !spec.routes.is_empty();
    if wants_address && !addressed {
        return Err(Error::invalid(format!(
            "the trunk does not carry the network's own VLAN {vlan}, so no address of it"
        ))
        .with_hint(format!("add {vlan} to the trunk, or leave addresses and routes out")));
    }
    Ok(addressed)
}

fn pick_ips(net: &NetworkSpec, spec: &AttachmentSpec, taken: &impl Taken) -> Result<Vec<IpNet>> {
    let mut ips = Vec::new();
    if spec.ips.is_empty() {
        let claimed = if net.subnets.is_empty() { HashSet::new() } else { taken.ips(net)? };
        for subnet in &net.subnets {
            // stale claims are looked into only when nothing else is free
            let free = net
                .next_free(*subnet, |ip| claimed.contains(&ip))
                .or_else(|_| net.next_free(*subnet, |ip| !matches!(taken.ip(net, ip), Ok(None))));
            ips.push(free?);
        }
    }
    for ip in &spec.ips {
        let ip = net.assignable(*ip)?;
        if let Some(holder) = taken.ip(net, ip.addr())? {
            return Err(conflict(format!("the address {} is taken", ip.addr()))
                .with_context("held by", holder.as_str())
                .with_hint("choose another, or detach the holder"));
        }
        ips.push(ip);
    }
    Ok(ips)
}

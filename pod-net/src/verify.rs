//! All of it read back: bridges, ports, interfaces, addresses; and what should not be there.

use crate::attach::Inside;
use crate::bridge_vlan::PortVlans;
use crate::compare::{Comparison, Subject, master};
use crate::host::{HostNet, Inner, Sandbox};
use crate::link::{Link, LinkState};
use crate::netlink::Netlink;
use crate::store::{AttachmentRecord, NetworkRecord};
use pod_core::{Error, Finding, NetworkName, Result, ResultExt, VerifyReport, VerifyRequest, WorkloadName};
use std::collections::BTreeMap;
use std::time::Duration;

impl HostNet {
    /// Reads networks and attachments back, from POD's namespace and from inside `sandboxes`, and
    /// compares them with the records; finds what was added behind POD's back. A workload without a
    /// sandbox in the list is taken not to run, and its attachments are not looked for. Changes
    /// nothing.
    ///
    /// # Errors
    /// `NotFound` for the network asked for. Differences are findings, not errors.
    pub async fn verify(&self, sandboxes: &[Sandbox], request: &VerifyRequest) -> Result<VerifyReport> {
        let (sandboxes, request) = (sandboxes.to_vec(), request.clone());
        self.blocking(move |host| host.verify(&sandboxes, request.network.as_ref()).operation("verify networks")).await
    }
}

/// How long to wait before a difference is looked at again: it may be a change that is being made.
const SECOND_LOOK: Duration = Duration::from_millis(100);

impl Inner {
    fn verify(&self, sandboxes: &[Sandbox], only: Option<&NetworkName>) -> Result<VerifyReport> {
        let first = self.look(sandboxes, only)?;
        if first.findings.is_empty() {
            return Ok(VerifyReport::new(first.checked, Vec::new()));
        }
        std::thread::sleep(SECOND_LOOK);
        let mut second = self.look(sandboxes, only)?;
        second.findings.retain(|f| first.findings.contains(f));
        Ok(VerifyReport::new(second.checked, second.findings))
    }

    fn look(&self, sandboxes: &[Sandbox], only: Option<&NetworkName>) -> Result<Comparison> {
        let mut seen = Comparison::default();
        let outside = self.existing_netns()?.map(|netns| netns.netlink()).transpose()?;
        // links come before records, which are written first: a link without a record is nobody's
        let links = outside.as_ref().map(Netlink::links).transpose()?.unwrap_or_default();
        let networks = self.store.networks()?;
        let wanted: Vec<&NetworkRecord> = networks.iter().filter(|n| only.is_none_or(|o| *o == n.spec.name)).collect();
        if let Some(only) = only
            && wanted.is_empty()
        {
            return Err(Error::not_found("network", only.as_str()));
        }
        let Some(outside) = outside else {
            for network in wanted {
                let place = format!("POD's network namespace {}", self.netns.display());
                seen.same(&Subject::network(&network.spec.name, place), "", "a namespace", "nothing");
            }
            return Ok(seen);
        };
        let vlans = if networks.iter().any(|n| n.pvid.is_some()) { outside.port_vlans(0)? } else { BTreeMap::new() };
        let mut records = BTreeMap::new();
        for network in &networks {
            records.insert(network.spec.name.clone(), self.store.attachments_to(&network.spec.name)?);
        }
        let there = There { links: &links, vlans: &vlans, networks: &networks, records: &records };
        let running: BTreeMap<&WorkloadName, &Sandbox> = sandboxes.iter().map(|s| (&s.workload, s)).collect();
        for network in wanted {
            there.bridge(network, &outside, &mut seen)?;
            for record in records.get(&network.spec.name).into_iter().flatten() {
                if let Some(sandbox) = running.get(&record.attachment.workload) {
                    there.attachment(network, record, sandbox, &mut seen)?;
                }
            }
        }
        there.strangers(only, &mut seen);
        Ok(seen)
    }
}

/// What was found in POD's namespace, and what should be there.
#[derive(Debug)]
struct There<'a> {
    links: &'a [Link],
    vlans: &'a BTreeMap<u32, PortVlans>,
    networks: &'a [NetworkRecord],
    records: &'a BTreeMap<NetworkName, Vec<AttachmentRecord>>,
}

impl<'a> There<'a> {
    fn named(&self, name: &str) -> Option<&'a Link> {
        self.links.iter().find(|l| l.name == name)
    }

    fn bridge(&self, network: &NetworkRecord, outside: &Netlink, seen: &mut Comparison) -> Result<()> {
        let name = network.bridge.as_str();
        let subject = Subject::network(&network.spec.name, format!("bridge {name}"));
        let bridge = seen.present(&subject, "bridge", self.named(name));
        if let Some(bridge) = bridge {
            // a bridge whose ports are all down has no carrier, and that is theirs to say
            let raised = if bridge.state == LinkState::Down { bridge.state } else { LinkState::Up };
            seen.same(&subject, "state", LinkState::Up, raised);
            let aware = |aware| if aware { "kept apart" } else { "not told apart" };
            seen.same(&subject, "VLANs", aware(network.pvid.is_some()), aware(bridge.vlan_filtering == Some(true)));
            // with an address it would answer, and could route to other bridges
            let own = outside.addresses(bridge.index)?;
            let own: Vec<String> = own.iter().map(ToString::to_string).collect();
            seen.same(&subject, "addresses", "none", if own.is_empty() { "none".into() } else { own.join(", ") });
        }
        if let (Some(port), Some(uplink)) = (&network.uplink_port, &network.spec.uplink) {
            let subject =
                Subject::network(&network.spec.name, format!("port {port} of {name}, to the uplink {uplink}"));
            if let Some(port) = seen.present(&subject, "vlan", self.named(port.as_str())) {
                seen.same(&subject, "state", LinkState::Up, port.state);
                let id = |v: Option<u16>| v.map_or_else(|| "none".to_owned(), |v| v.to_string());
                seen.same(&subject, "VLAN id", id(network.spec.vlan.map(pod_core::VlanId::get)), id(port.vlan_id));
                seen.same(&subject, "bridge", name, master(port, |index| self.name_of(index)));
                if let Some(pvid) = network.pvid {
                    let expected = PortVlans { untagged: Some(pvid), ..PortVlans::default() };
                    let none = PortVlans::default();
                    seen.same(&subject, "VLANs", expected, self.vlans.get(&port.index).unwrap_or(&none));
                }
            }
        }
        Ok(())
    }

    fn attachment(
        &self,
        network: &NetworkRecord,
        record: &AttachmentRecord,
        sandbox: &Sandbox,
        seen: &mut Comparison,
    ) -> Result<()> {
        let port = self.named(record.port.as_str());
        let none = PortVlans::default();
        let vlans = port.and_then(|p| self.vlans.get(&p.index)).unwrap_or(&none);
        seen.port(network, record, port, vlans, |index| self.name_of(index));
        match Inside::open(sandbox) {
            Ok(inside) => seen.inside(record, &inside.netlink, port.map(|p| p.index)),
            Err(e) => {
                let mut finding =
                    Finding::new(format!("namespace {}", sandbox.netns.display()), "a namespace", e.message());
                finding.network = Some(record.attachment.network.clone());
                seen.findings.push(finding.with_workload(record.attachment.workload.clone()));
                Ok(())
            }
        }
    }

    /// Finds links that nothing recorded accounts for, and says what they join.
    fn strangers(&self, only: Option<&NetworkName>, seen: &mut Comparison) {
        let mut ours: Vec<&str> = vec!["lo"];
        for network in self.networks {
            ours.push(network.bridge.as_str());
            ours.extend(network.uplink_port.as_ref().map(|p| p.as_str()));
            ours.extend(self.records.get(&network.spec.name).into_iter().flatten().map(|r| r.port.as_str()));
        }
        for link in self.links {
            seen.checked += 1;
            if ours.contains(&link.name.as_str()) {
                continue;
            }
            let on = link.master.map(|master| self.networks_of(master, link.index));
            let concerned = on.iter().flatten().find(|n| only.is_none_or(|o| *o == n.spec.name));
            if only.is_some() && concerned.is_none() {
                continue;
            }
            let place = match link.master {
                Some(master) => format!("bridge {}, port {}", self.name_of(master), link.name),
                None => format!("POD's network namespace, link {}", link.name),
            };
            let kind = link.kind.as_deref().unwrap_or("interface");
            let finding =
                Finding::new(place, "no such link", format!("a {kind} that is not POD's{}", self.far_end(link)));
            seen.findings.push(match concerned {
                Some(network) => finding.with_network(network.spec.name.clone()),
                None => finding,
            });
        }
    }

    fn name_of(&self, index: u32) -> String {
        self.links.iter().find(|l| l.index == index).map_or_else(|| format!("link {index}"), |l| l.name.clone())
    }

    /// The networks that a port of a bridge is on: the bridge's only one, or those of the port's VLANs.
    fn networks_of(&self, bridge: u32, port: u32) -> Vec<&'a NetworkRecord> {
        let name = self.name_of(bridge);
        let all: Vec<_> = self.networks.iter().filter(|n| n.bridge.as_str() == name).collect();
        if all.len() <= 1 {
            return all;
        }
        let vlans = self.vlans.get(&port).cloned().unwrap_or_default();
        let on = |n: &&NetworkRecord| n.pvid.is_some_and(|p| vlans.untagged == Some(p) || vlans.tagged.contains(&p));
        all.into_iter().filter(on).collect()
    }

    /// Where the other end of a link leads.
    fn far_end(&self, link: &Link) -> String {
        let Some(lower) = link.lower else { return String::new() };
        if link.lower_netns.is_some() {
            return ", its other end in another namespace".to_owned();
        }
        let Some(end) = self.links.iter().find(|l| l.index == lower) else {
            return ", its other end unknown".to_owned();
        };
        let Some(master) = end.master else { return format!(", its other end {} on no bridge", end.name) };
        let names: Vec<_> = self.networks_of(master, end.index).iter().map(|n| n.spec.name.to_string()).collect();
        let of = if names.is_empty() { String::new() } else { format!(" of network {}", names.join(", ")) };
        format!(", its other end {} on bridge {}{of}", end.name, self.name_of(master))
    }
}

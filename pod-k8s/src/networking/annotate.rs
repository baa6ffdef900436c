//! What a pod is given so that Multus attaches it: the annotation, the addresses, the DNS servers.

use super::claims;
use super::record::{ATTACHMENTS, Record, records_text};
use crate::allocate::Holder;
use crate::cluster::Cluster;
use crate::nad::network::{definition_of, kind_of, label, network_of, object_name, plugin_of};
use crate::nad::{self, Allocator, Definitions, NETWORKS, Plugin, Selection, selections};
use crate::policy;
use k8s_openapi::api::core::v1::{Affinity, Pod, PodAffinity, PodAffinityTerm, PodDNSConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use pod_core::{
    AttachMode, Attachment, AttachmentSpec, Capability, Error, ErrorKind, IfName, MacAddr, NetworkSpec, Result,
    WorkloadName, WorkloadSpec,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The label of pods that have attachments.
pub(crate) const ATTACHED: &str = "pod.attached";
/// The label of pods on networks that end at their node: they share one.
const TOGETHER: &str = "pod.one-node";

/// How many DNS servers a pod can have (the API's validation, and resolv.conf(5)).
const MOST_SERVERS: usize = 3;

/// Puts a workload's attachments on its pod: Multus' annotation with name, interface, addresses and MAC
/// address of each, and the DNS servers as `dnsConfig`. The addresses are held from then on:
/// [`release`](super::release) gives them back when the pod is not made after all, or is gone.
///
/// DNS servers given with attachments are the pod's only ones (`dnsPolicy: None`): a resolver asks the
/// next server only when one does not answer, so beside the cluster's they would never be asked.
///
/// # Errors
/// `NotFound` for a network that is not there; `InvalidInput`, `Conflict` and `Exhausted` as
/// [`Networking::attach`](pod_core::Networking::attach) has them; `Unsupported` for what the network's
/// plugin can't do. Nothing is held then.
pub(crate) async fn annotate(cluster: &Cluster, spec: &WorkloadSpec, pod: &mut Pod) -> Result<()> {
    if spec.attachments.is_empty() {
        return Ok(());
    }
    let pod_name = pod.metadata.name.clone().unwrap_or_default();
    let mut maker = Maker {
        definitions: Definitions::new(cluster.clone()),
        cluster,
        workload: &spec.name,
        holder: Holder {
            pod: pod_name,
            claim: uuid::Uuid::new_v4().simple().to_string(),
            since: jiff::Timestamp::now().as_second(),
        },
        names: taken_names(&spec.attachments)?,
        together: false,
    };
    let mut made = Vec::new();
    for attachment in &spec.attachments {
        let one = maker.one(attachment).await.map_err(|e| {
            let named = e.context().iter().any(|(k, _)| *k == "network");
            let e = e.with_context("workload", spec.name.as_str());
            if named { e } else { e.with_context("network", attachment.network.as_str()) }
        });
        match one {
            Ok(one) => made.push(one),
            Err(error) => {
                let records: Vec<Record> = made.into_iter().map(|(_, record)| record).collect();
                return Err(match claims::give_back(cluster, &records).await {
                    Ok(()) => error,
                    Err(left) => error.with_context("left_behind", left.to_string()),
                });
            }
        }
    }
    let together = maker.together;
    put(pod, made, together)?;
    servers(pod, &spec.attachments)
}

/// The interface names that attachments name, each once.
fn taken_names(all: &[AttachmentSpec]) -> Result<BTreeSet<String>> {
    // eth0 is the cluster network's.
    let mut names = BTreeSet::from(["eth0".to_owned(), "lo".to_owned()]);
    let mut networks = BTreeSet::new();
    let mut servers: BTreeSet<IpAddr> = BTreeSet::new();
    for spec in all {
        if !networks.insert(&spec.network) {
            return Err(Error::invalid("a network is given twice").with_context("network", spec.network.as_str()));
        }
        if let Some(name) = &spec.interface
            && !names.insert(name.as_str().to_owned())
        {
            return Err(Error::new(ErrorKind::Conflict, format!("the interface name {name} is taken in the workload"))
                .with_context("network", spec.network.as_str())
                .with_hint("choose another interface name; eth0 is the cluster network's"));
        }
        servers.extend(spec.dns.iter().copied());
    }
    if servers.len() > MOST_SERVERS {
        return Err(Error::invalid(format!("a pod has at most {MOST_SERVERS} DNS servers, not {}", servers.len())));
    }
    Ok(names)
}

struct Maker<'a> {
    definitions: Definitions,
    cluster: &'a Cluster,
    workload: &'a WorkloadName,
    holder: Holder,
    names: BTreeSet<String>,
    together: bool,
}

impl Maker<'_> {
    fn interface(&mut self, spec: &AttachmentSpec) -> Result<IfName> {
        if let Some(name) = &spec.interface {
            return Ok(name.clone());
        }
        // as Multus names them
        let free = (1..).map(|n| format!("net{n}")).find(|n| !self.names.contains(n));
        let name = IfName::new(free.unwrap_or_default())?;
        self.names.insert(name.as_str().to_owned());
        Ok(name)
    }

    async fn one(&mut self, spec: &AttachmentSpec) -> Result<(Selection, Record)> {
        if spec.mode != AttachMode::Access {
            return Err(Error::unsupported("Kubernetes attaches no trunks")
                .with_context("capability", Capability::VlanTrunk.path())
                .with_hint("attach to each VLAN's network"));
        }
        let object = object_name(&spec.network);
        let base = self.definitions.find(&object).await?;
        let Some(base) = base.filter(|o| o.metadata.deletion_timestamp.is_none()) else {
            return Err(Error::not_found("network", spec.network.as_str())
                .with_context("namespace", self.cluster.namespace.clone())
                .with_hint("`pod net create` makes one"));
        };
        let interface = self.interface(spec)?;
        match network_of(&base)? {
            Some(network) => {
                let plugin = plugin_of(&base)?;
                self.own(spec, &network, &plugin, interface).await
            }
            None => foreign(spec, &base, self.workload, &self.holder, interface),
        }
    }

    /// An attachment to a network of POD's.
    async fn own(
        &mut self,
        spec: &AttachmentSpec,
        network: &NetworkSpec,
        plugin: &Plugin,
        interface: IfName,
    ) -> Result<(Selection, Record)> {
        let kind = &kind_of(network, &self.cluster.namespace, plugin)?;
        let mtu = spec.mtu.unwrap_or(network.mtu);
        check_mtu(mtu, network)?;
        let definition = self.variant(spec, network, plugin, mtu).await?;
        if spec.mac.is_some() && !kind.takes_mac() {
            return Err(Error::unsupported(format!("{} lets no pod choose its MAC address", kind.plugin()))
                .with_context("capability", Capability::FixedMac.path()));
        }
        let ips = claims::take(self.cluster, network, spec, &self.holder).await?;
        let record = |ips, mac| {
            let mut attachment =
                Attachment::new(self.workload.clone(), network.name.clone(), interface.clone(), mac, mtu);
            attachment.vlan = network.vlan;
            attachment.ips = ips;
            attachment.routes.clone_from(&spec.routes);
            attachment.dns.clone_from(&spec.dns);
            let (claim, definition) = (self.holder.claim.clone(), definition.clone());
            Record { claim, definition, foreign: false, plugins_mac: !kind.takes_mac(), attachment }
        };
        let seed = format!("{}\0{}\0{}", self.cluster.namespace, self.workload, network.name);
        let mac = spec.mac.unwrap_or_else(|| MacAddr::derived(seed.as_bytes()));
        let record = record(ips, mac);
        if let Err(e) = check_routes(spec, &record.attachment) {
            return Err(match claims::give_back(self.cluster, &[record]).await {
                Ok(()) => e,
                Err(left) => e.with_context("left_behind", left.to_string()),
            });
        }
        self.together |= network.uplink.is_none();
        let mut selection = Selection { name: definition, ..Selection::default() };
        selection.interface = Some(interface.as_str().to_owned());
        selection.ips = record.attachment.ips.iter().map(ToString::to_string).collect();
        selection.mac = kind.takes_mac().then(|| mac.to_string());
        Ok((selection, record))
    }

    /// The definition with this MTU and these routes; made where there is none, because a pod can
    /// choose neither.
    async fn variant(&self, spec: &AttachmentSpec, network: &NetworkSpec, plugin: &Plugin, mtu: u32) -> Result<String> {
        let namespace = &self.cluster.namespace;
        let definition = definition_of(network, namespace, plugin, mtu, &spec.routes)?;
        if mtu == network.mtu && spec.routes.is_empty() {
            return Ok(definition.name);
        }
        if !matches!(definition.allocator, Allocator::PerPod) && !spec.routes.is_empty() {
            return Err(Error::invalid("routes need an address, and the network has no subnet"));
        }
        if self.definitions.find(&definition.name).await?.is_none() {
            let mut object = definition.object()?;
            label(&mut object, network);
            self.definitions.apply(&object).await?;
            policy::cover(self.cluster, &network.name, &definition.name).await?;
        }
        Ok(definition.name)
    }
}

fn check_mtu(mtu: u32, network: &NetworkSpec) -> Result<()> {
    if !(68..=65535).contains(&mtu) {
        return Err(Error::invalid(format!("MTU {mtu} is out of range")).with_hint("use 68 to 65535"));
    }
    if mtu > network.mtu {
        return Err(Error::invalid(format!("MTU {mtu} is more than the network's {}", network.mtu))
            .with_hint("lower it, or give the network a higher MTU"));
    }
    if mtu < 1280 && network.subnets.iter().any(|n| n.addr().is_ipv6()) {
        return Err(Error::invalid(format!("IPv6 needs an MTU of 1280 or more, not {mtu}")));
    }
    Ok(())
}

fn check_routes(spec: &AttachmentSpec, made: &Attachment) -> Result<()> {
    for route in &spec.routes {
        if let Some(via) = route.via
            && !made.ips.iter().any(|ip| ip.contains(&via) && ip.addr() != via)
        {
            return Err(Error::invalid(format!("the next hop {via} is no neighbour in the attachment's subnets"))
                .with_context("route", route.to.to_string()));
        }
    }
    Ok(())
}

/// An attachment to a definition that POD did not make: as it stands.
fn foreign(
    spec: &AttachmentSpec,
    base: &nad::NetworkAttachmentDefinition,
    workload: &WorkloadName,
    holder: &Holder,
    interface: IfName,
) -> Result<(Selection, Record)> {
    nad::check(&base.spec.config).into_result(base.name())?;
    let parsed = nad::parse(base).ok();
    let cant = |what: &str, capability: Capability| {
        Err(Error::unsupported(format!("the definition is not POD's, and {what} can't be chosen with it"))
            .with_context("definition", base.name())
            .with_context("capability", capability.path())
            .with_hint("make the network with `pod net create`"))
    };
    if !spec.ips.is_empty() {
        return cant("addresses", Capability::FixedIp);
    }
    if spec.mtu.is_some() {
        return cant("an MTU", Capability::AttachmentMtu);
    }
    if !spec.routes.is_empty() {
        return cant("routes", Capability::Routes);
    }
    if spec.mac.is_some() && !parsed.as_ref().is_some_and(|d| d.kind.takes_mac()) {
        return cant("a MAC address", Capability::FixedMac);
    }
    if parsed.as_ref().is_some_and(|d| d.allocator == Allocator::PerPod) {
        return Err(Error::invalid("the definition lets pods name their addresses, and POD does not know its subnet")
            .with_context("definition", base.name())
            .with_hint("make the network with `pod net create`, then POD hands its addresses out"));
    }
    let mac = spec.mac.unwrap_or_else(|| MacAddr::derived(interface.as_str().as_bytes()));
    let mtu = parsed.as_ref().and_then(|d| d.mtu).unwrap_or(pod_core::DEFAULT_MTU);
    let mut attachment = Attachment::new(workload.clone(), spec.network.clone(), interface.clone(), mac, mtu);
    attachment.vlan = parsed.as_ref().and_then(|d| d.kind.vlan());
    attachment.routes = parsed.map(|d| d.routes).unwrap_or_default();
    attachment.dns.clone_from(&spec.dns);
    let mut selection = Selection { name: base.name().to_owned(), ..Selection::default() };
    selection.interface = Some(interface.as_str().to_owned());
    selection.mac = spec.mac.map(|m| m.to_string());
    let (claim, definition) = (holder.claim.clone(), base.name().to_owned());
    let record = Record { claim, definition, foreign: true, plugins_mac: false, attachment };
    Ok((selection, record))
}

/// Writes annotations, label and affinity.
fn put(pod: &mut Pod, made: Vec<(Selection, Record)>, together: bool) -> Result<()> {
    let mut asked = selections(pod)?;
    let (new, records): (Vec<Selection>, Vec<Record>) = made.into_iter().unzip();
    asked.extend(new);
    let text = serde_json::to_string(&asked).map_err(|e| Error::unexpected("an annotation's JSON").with_source(e))?;
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(NETWORKS.into(), text);
    annotations.insert(ATTACHMENTS.into(), records_text(&records)?);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(ATTACHED.into(), "true".into());
    if together {
        labels.insert(TOGETHER.into(), "true".into());
        same_node(pod);
    }
    Ok(())
}

/// A network without an uplink ends at its node, so the pods on such networks share one. (The
/// scheduler lets the first pod of such a group go anywhere.)
fn same_node(pod: &mut Pod) {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some([(TOGETHER.to_owned(), "true".to_owned())].into()),
            ..LabelSelector::default()
        }),
        topology_key: "kubernetes.io/hostname".into(),
        ..PodAffinityTerm::default()
    };
    let affinity = pod.spec.get_or_insert_default().affinity.get_or_insert_with(Affinity::default);
    let together = affinity.pod_affinity.get_or_insert_with(PodAffinity::default);
    together.required_during_scheduling_ignored_during_execution.get_or_insert_default().push(term);
}

fn servers(pod: &mut Pod, all: &[AttachmentSpec]) -> Result<()> {
    let mut servers: Vec<IpAddr> = Vec::new();
    for server in all.iter().flat_map(|a| &a.dns) {
        if !servers.contains(server) {
            servers.push(*server);
        }
    }
    if servers.is_empty() {
        return Ok(());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.dns_policy = Some("None".into());
    let config = spec.dns_config.get_or_insert_with(PodDNSConfig::default);
    config.nameservers.get_or_insert_default().extend(servers.iter().map(ToString::to_string));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod_core::NetworkName;

    fn asked(network: &str) -> AttachmentSpec {
        AttachmentSpec::new(NetworkName::new(network).expect("name"))
    }

    #[test]
    fn interface_names_and_networks_are_used_once() {
        let lan = IfName::new("lan0").expect("name");
        assert!(taken_names(&[asked("a"), asked("b")]).is_ok());
        let twice = taken_names(&[asked("a"), asked("a")]).expect_err("twice");
        assert_eq!(twice.kind(), ErrorKind::InvalidInput);
        let clash = [asked("a").with_interface(lan.clone()), asked("b").with_interface(lan)];
        assert_eq!(taken_names(&clash).expect_err("clash").kind(), ErrorKind::Conflict);
        let eth0 = [asked("a").with_interface(IfName::new("eth0").expect("name"))];
        assert_eq!(taken_names(&eth0).expect_err("eth0").kind(), ErrorKind::Conflict);
        let many = (1..=4u8).fold(asked("a"), |a, n| a.with_dns(IpAddr::from([10, 0, 0, n])));
        assert!(taken_names(&[many]).is_err());
    }

    #[test]
    fn dns_servers_are_the_pods_own() {
        let mut pod = Pod::default();
        let server: IpAddr = "10.1.0.53".parse().expect("ip");
        servers(&mut pod, &[asked("a").with_dns(server), asked("b").with_dns(server)]).expect("servers");
        let spec = pod.spec.expect("spec");
        assert_eq!(spec.dns_policy.as_deref(), Some("None"));
        assert_eq!(spec.dns_config.expect("config").nameservers.expect("servers"), ["10.1.0.53"]);
        let mut pod = Pod::default();
        servers(&mut pod, &[asked("a")]).expect("none");
        assert_eq!(pod, Pod::default());
    }

    #[test]
    fn pods_of_networks_without_an_uplink_share_a_node() {
        let mut pod = Pod::default();
        same_node(&mut pod);
        let text = serde_json::to_value(&pod).expect("JSON");
        let terms = &text["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        assert_eq!(terms[0]["topologyKey"], "kubernetes.io/hostname");
    }
}

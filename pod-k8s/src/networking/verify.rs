//! Networks and attachments held against what they should be: the definition, what Multus says, and the
//! pod from inside.

use super::K8sNetworking;
use super::record::{Record, records_of, status_of};
use crate::nad::network::{NETWORK_PLUGIN, definition_of, network_of, plugin_of};
use crate::nad::{NetworkAttachmentDefinition, check, compare, network_status, parse};
use futures_util::{StreamExt, stream};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Pod;
use pod_core::os::Os;
use pod_core::{Finding, NetworkName, NetworkSpec, Networking, Result, VerifyReport, VerifyRequest};
use std::collections::BTreeMap;

/// How many pods are looked into at once.
const AT_ONCE: usize = 8;

/// Collects what was compared and what differs.
#[derive(Default)]
struct Comparison {
    checked: usize,
    findings: Vec<Finding>,
}

impl Comparison {
    fn same(&mut self, about: &Finding, expected: impl ToString, found: impl ToString) {
        self.checked += 1;
        let (expected, found) = (expected.to_string(), found.to_string());
        if expected != found {
            let mut finding = about.clone();
            finding.expected = expected;
            finding.found = found;
            self.findings.push(finding);
        }
    }
}

fn about(record: &Record, part: &str) -> Finding {
    let a = &record.attachment;
    Finding::new(format!("interface {}, {part}", a.interface), "", "")
        .with_network(a.network.clone())
        .with_workload(a.workload.clone())
}

pub(super) async fn verify(networking: &K8sNetworking, request: &VerifyRequest) -> Result<VerifyReport> {
    let wanted: Vec<NetworkName> = match &request.network {
        Some(network) => {
            networking.existing(network).await?;
            vec![network.clone()]
        }
        None => networking.list().await?.into_iter().map(|n| n.spec.name).collect(),
    };
    let mut all = Comparison::default();
    let mut objects = BTreeMap::new();
    for object in networking.definitions().objects(Some(crate::nad::network::LABEL_NETWORK)).await? {
        objects.insert(object.name().to_owned(), object);
    }
    for object in objects.values() {
        if let Some(spec) = network_of(object)?.filter(|s| wanted.contains(&s.name)) {
            of_definition(object, &spec, networking, &mut all)?;
            if spec.isolated {
                let place = Finding::new("isolation", "", "").with_network(spec.name.clone());
                let leaks = crate::policy::leaks(networking, &spec).await?;
                let found = if leaks.is_empty() { "cut off".to_owned() } else { leaks.join(", ") };
                all.same(&place, "cut off", found);
            }
        }
    }
    let mut looks = Vec::new();
    for pod in networking.pods().await? {
        let records: Vec<Record> =
            records_of(&pod)?.into_iter().filter(|r| wanted.contains(&r.attachment.network)).collect();
        let ended = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        let going = pod.metadata.deletion_timestamp.is_some();
        if !records.is_empty() && !going && ended == Some("Running") {
            looks.push((pod, records));
        }
    }
    let found: Vec<Result<Comparison>> = stream::iter(looks)
        .map(|(pod, records)| async move { of_pod(networking, &pod, &records).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for one in found {
        let one = one?;
        all.checked += one.checked;
        all.findings.extend(one.findings);
    }
    all.findings.sort_by(|a, b| (&a.network, &a.workload, &a.place).cmp(&(&b.network, &b.workload, &b.place)));
    Ok(VerifyReport::new(all.checked, all.findings))
}

/// Whether the definition is what its network asks for.
fn of_definition(
    object: &NetworkAttachmentDefinition,
    spec: &NetworkSpec,
    networking: &K8sNetworking,
    all: &mut Comparison,
) -> Result<()> {
    let place = |part: &str| {
        Finding::new(format!("definition {}{part}", object.name()), "", "").with_network(spec.name.clone())
    };
    if object.annotation(NETWORK_PLUGIN).is_none() {
        // Written by hand for this network: what counts is that it does what it says.
        all.checked += 1;
        for fault in check(&object.spec.config).faults {
            let mut finding = place(&format!(", {}", fault.at));
            finding.expected = fault.hint.unwrap_or_else(|| "a part that the plugin reads".into());
            finding.found = fault.message;
            all.findings.push(finding);
        }
        return Ok(());
    }
    let plugin = match parse(object) {
        Ok(_) => plugin_of(object)?,
        Err(e) => {
            all.same(&place(""), "a configuration that POD can read", e.message());
            return Ok(());
        }
    };
    let wanted = definition_of(spec, &networking.cluster.namespace, &plugin, spec.mtu, &[])?.object()?;
    let differences = compare(object, &wanted);
    all.checked += 1;
    for d in differences {
        let nothing = || "nothing".to_owned();
        let mut finding = place(&format!(", {}", d.at));
        finding.expected = d.expected.unwrap_or_else(nothing);
        finding.found = d.found.unwrap_or_else(nothing);
        all.findings.push(finding);
    }
    Ok(())
}

/// A pod, by what Multus says and from inside.
async fn of_pod(networking: &K8sNetworking, pod: &Pod, records: &[Record]) -> Result<Comparison> {
    let mut all = Comparison::default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or(&networking.cluster.namespace);
    let statuses = network_status(pod)?.unwrap_or_default();
    for record in records {
        let a = &record.attachment;
        let status = status_of(record, namespace, &statuses);
        let said = if status.is_some() { "attached" } else { "nothing" };
        all.same(&about(record, "what Multus says"), "attached", said);
        let Some(status) = status.filter(|_| !record.foreign) else { continue };
        if !status.ips.is_empty() {
            let wanted: Vec<_> = a.ips.iter().map(IpNet::addr).collect();
            all.same(&about(record, "addresses by Multus"), list(&wanted), list(&status.ips));
        }
        if let Some(mac) = status.mac_address() {
            all.same(&about(record, "MAC address by Multus"), a.mac, mac);
        }
    }
    let Some(first) = records.first() else { return Ok(all) };
    let connection = (networking.connect)(first.attachment.workload.clone()).await?;
    let os = match Os::detect(connection).await {
        Ok(os) => os,
        Err(e) => {
            // Without a shell nothing can be seen from inside, and that is not as it should be proven.
            all.same(&about(first, "from inside"), "something to look with", e.message());
            return Ok(all);
        }
    };
    let (interfaces, routes) = (os.interfaces().await?, os.routes().await?);
    for record in records {
        let a = &record.attachment;
        let inside = interfaces.iter().find(|i| i.name == a.interface.as_str());
        all.same(&about(record, "from inside"), "there", if inside.is_some() { "there" } else { "missing" });
        let Some(inside) = inside else { continue };
        all.same(&about(record, "state"), "up", if inside.up { "up" } else { "down" });
        if let Some(mtu) = inside.mtu {
            all.same(&about(record, "MTU"), a.mtu, mtu);
        }
        if record.foreign {
            continue;
        }
        if let Some(mac) = inside.mac {
            all.same(&about(record, "MAC address"), a.mac, mac);
        }
        let global: Vec<IpNet> = inside.addresses.iter().copied().filter(|n| !is_link_local(n)).collect();
        all.same(&about(record, "addresses"), list(&a.ips), list(&global));
        for route in &a.routes {
            let show = |via: Option<std::net::IpAddr>| via.map_or_else(|| "on-link".to_owned(), |v| format!("via {v}"));
            let is = routes
                .iter()
                .find(|r| r.to == route.to.trunc() && r.interface.as_deref() == Some(a.interface.as_str()))
                .map_or_else(|| "nothing".to_owned(), |r| show(r.via));
            all.same(&about(record, &format!("route to {}", route.to)), show(route.via), is);
        }
    }
    Ok(all)
}

fn is_link_local(net: &IpNet) -> bool {
    match net {
        IpNet::V6(n) => n.addr().segments()[0] & 0xffc0 == 0xfe80,
        IpNet::V4(_) => false,
    }
}

fn list<T: ToString>(all: &[T]) -> String {
    if all.is_empty() {
        return "none".into();
    }
    let mut texts: Vec<_> = all.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.join(", ")
}

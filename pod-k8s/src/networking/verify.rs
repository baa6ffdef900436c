//! Networks and attachments held against what they should be: the definition, what Multus says, and the
//! pod from inside.

use super::K8sNetworking;
use super::record::{Record, records_of, status_of};
use crate::nad::network::{NETWORK_PLUGIN, definition_of, network_of, plugin_of};
use crate::nad::{NetworkAttachmentDefinition, check, compare, network_status, parse};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Pod;
use pod_core::{Finding, NetworkName, NetworkSpec, Networking, Result, VerifyReport, VerifyRequest};
use pod_shell::{Comparison, list};
use std::collections::BTreeMap;

fn about(record: &Record, part: &str) -> Finding {
    pod_shell::about(&record.attachment, part)
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
    let looks = looks.into_iter().map(|(pod, records)| async move { of_pod(networking, &pod, &records).await });
    all.report(looks).await
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
        if let Some(mac) = status.mac_address().filter(|_| !record.plugins_mac) {
            all.same(&about(record, "MAC address by Multus"), a.mac, mac);
        }
    }
    let Some(first) = records.first() else { return Ok(all) };
    let connection = (networking.connect)(first.attachment.workload.clone()).await?;
    let foreign: Vec<_> = records.iter().filter(|r| r.foreign).map(|r| &r.attachment.network).collect();
    let attached = |r: &Record| r.clone().attached(status_of(r, namespace, &statuses));
    let attachments: Vec<_> = records.iter().map(attached).collect();
    all.inside(connection, &attachments, |a| !foreign.contains(&&a.network)).await?;
    Ok(all)
}

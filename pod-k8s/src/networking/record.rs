//! What POD attached a pod to, as the pod itself carries it.

use crate::nad::{self, NetworkStatus, network_status};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Pod;
use pod_core::{Attachment, Error, ErrorKind, Result};

/// The annotation of a pod with its attachments, JSON.
pub(crate) const ATTACHMENTS: &str = "pod.attachments";

/// One attachment of a pod.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Record {
    /// By which its addresses are held.
    pub(crate) claim: String,
    /// The definition.
    pub(crate) definition: String,
    /// Whether the definition is not POD's: then addresses and MAC address are what Multus says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) foreign: bool,
    /// Whether the plugin chooses the MAC address: then it is what Multus says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) plugins_mac: bool,
    /// What it was to be.
    pub(crate) attachment: Attachment,
}

impl Record {
    /// The attachment as it is: of what was not POD's to choose, what Multus says.
    pub(crate) fn attached(self, status: Option<&NetworkStatus>) -> Attachment {
        let mut attachment = self.attachment;
        let Some(status) = status else { return attachment };
        if self.foreign {
            attachment.ips = status.ips.iter().map(|ip| IpNet::from(*ip)).collect();
            attachment.mtu = status.mtu.unwrap_or(attachment.mtu);
        }
        if self.foreign || self.plugins_mac {
            attachment.mac = status.mac_address().unwrap_or(attachment.mac);
        }
        attachment
    }
}

/// What to write on a pod.
pub(crate) fn records_text(records: &[Record]) -> Result<String> {
    serde_json::to_string(records).map_err(|e| Error::unexpected("an annotation's JSON").with_source(e))
}

/// What POD attached a pod to; nothing for a pod without the annotation.
pub(crate) fn records_of(pod: &Pod) -> Result<Vec<Record>> {
    let annotations = pod.metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|a| a.get(ATTACHMENTS)) else { return Ok(Vec::new()) };
    serde_json::from_str(text).map_err(|e| {
        Error::new(ErrorKind::Integrity, "the pod's record of attachments can't be read")
            .with_context("pod", pod.metadata.name.clone().unwrap_or_default())
            .with_context("annotation", ATTACHMENTS)
            .with_source(e)
    })
}

/// What Multus says of an attachment: by definition and interface, else by interface alone (a status
/// may name no definition).
pub(crate) fn status_of<'s>(
    record: &Record,
    namespace: &str,
    statuses: &'s [NetworkStatus],
) -> Option<&'s NetworkStatus> {
    let name = format!("{namespace}/{}", record.definition);
    let interface = record.attachment.interface.as_str();
    let here = |s: &&NetworkStatus| !s.primary && s.interface.as_deref().is_none_or(|i| i == interface);
    statuses
        .iter()
        .find(|s| here(s) && s.name == name)
        .or_else(|| statuses.iter().find(|s| here(s) && s.name.is_empty() && s.interface.is_some()))
}

/// A pod's attachments, by interface.
pub(crate) fn attachments_of(pod: &Pod) -> Result<Vec<Attachment>> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let statuses = network_status(pod)?.unwrap_or_default();
    let mut all: Vec<Attachment> = records_of(pod)?
        .into_iter()
        .map(|record| {
            let status = status_of(&record, &namespace, &statuses);
            record.attached(status)
        })
        .collect();
    all.sort_by(|a, b| a.interface.cmp(&b.interface));
    Ok(all)
}

/// Whether a pod that runs was attached as it was to be.
///
/// While Multus restarts, pods are made on the cluster's network alone, and run: their annotation is
/// passed over without a word. Only what it writes on the pod tells.
pub(crate) fn check_attached(pod: &Pod) -> Result<()> {
    let records = records_of(pod)?;
    if records.is_empty() {
        return Ok(());
    }
    let name = pod.metadata.name.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let wrong = |message: String, record: &Record| {
        Error::new(ErrorKind::Integrity, message)
            .with_context("pod", name.clone())
            .with_context("network", record.attachment.network.as_str())
            .with_context("interface", record.attachment.interface.as_str())
    };
    let Some(statuses) = network_status(pod)? else {
        return Err(wrong("the pod runs, and was attached to none of its networks".into(), &records[0])
            .with_context("missing", nad::NETWORK_STATUS)
            .with_hint(
                "Multus did not see the pod: it is not installed on the node, or was away; make the pod again",
            ));
    };
    for record in &records {
        let Some(status) = status_of(record, &namespace, &statuses) else {
            return Err(wrong("the pod runs without one of its networks".into(), record)
                .with_hint("look at the pod's events, then make it again"));
        };
        let wanted = &record.attachment;
        let missing = wanted.ips.iter().find(|ip| !status.ips.contains(&ip.addr()));
        if let (Some(ip), false, false) = (missing, record.foreign, status.ips.is_empty()) {
            let has: Vec<_> = status.ips.iter().map(ToString::to_string).collect();
            return Err(wrong(format!("the pod has the address {} instead of {}", has.join(", "), ip.addr()), record)
                .with_hint("the definition lacks the capability `ips`, or was changed: `pod net verify`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod_core::{IfName, MacAddr, NetworkName, WorkloadName};

    fn record() -> Record {
        let mut attachment = Attachment::new(
            WorkloadName::new("web").expect("name"),
            NetworkName::new("red").expect("name"),
            IfName::new("net1").expect("name"),
            MacAddr::derived(b"web"),
            1500,
        );
        attachment.ips = vec!["10.1.0.5/24".parse().expect("net")];
        Record { claim: "c".into(), definition: "red".into(), foreign: false, plugins_mac: false, attachment }
    }

    fn pod(records: &[Record], status: Option<&str>) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web".into());
        pod.metadata.namespace = Some("shop".into());
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(ATTACHMENTS.into(), records_text(records).expect("text"));
        if let Some(status) = status {
            annotations.insert(nad::NETWORK_STATUS.into(), status.into());
        }
        pod
    }

    #[test]
    fn a_pod_on_the_wrong_networks_is_an_error() {
        let records = [record()];
        let eth0 = r#"{"name": "cbr0", "interface": "eth0", "ips": ["10.244.0.9"], "default": true}"#;
        for (status, words) in [
            (None, "none of its networks"),
            (Some(format!("[{eth0}]")), "without one of its networks"),
            (Some(format!(r#"[{eth0}, {{"name": "shop/blue", "interface": "net1"}}]"#)), "without one"),
            (
                Some(r#"[{"name": "shop/red", "interface": "net1", "ips": ["10.1.0.0"]}]"#.to_owned()),
                "10.1.0.0 instead of 10.1.0.5",
            ),
        ] {
            let error = check_attached(&pod(&records, status.as_deref())).expect_err("wrong");
            assert_eq!(error.kind(), ErrorKind::Integrity);
            assert!(error.to_string().contains(words), "{words} in {error}");
        }
        for status in [
            r#"[{"name": "shop/red", "interface": "net1", "ips": ["10.1.0.5"]}]"#,
            r#"[{"name": "shop/red", "interface": "net1"}]"#,
            r#"[{"name": "", "interface": "net1", "ips": ["10.1.0.5"]}]"#,
        ] {
            check_attached(&pod(&records, Some(status))).expect("as asked");
        }
        check_attached(&Pod::default()).expect("nothing was asked for");
    }

    #[test]
    fn a_foreign_definitions_addresses_are_what_multus_says() {
        let mut foreign = record();
        foreign.foreign = true;
        foreign.attachment.ips.clear();
        let status = r#"[{"name": "shop/red", "interface": "net1", "ips": ["10.9.0.3"], "mac": "02:00:00:00:00:09"}]"#;
        let found = attachments_of(&pod(&[foreign], Some(status))).expect("attachments");
        assert_eq!(found[0].ips[0].addr().to_string(), "10.9.0.3");
        assert_eq!(found[0].mac.to_string(), "02:00:00:00:00:09");
        let plugins = Record { plugins_mac: true, ..record() };
        let found = attachments_of(&pod(&[plugins], Some(status))).expect("attachments");
        assert_eq!(found[0].ips[0].addr().to_string(), "10.1.0.5", "the address was POD's to choose");
        assert_eq!(found[0].mac.to_string(), "02:00:00:00:00:09");
        assert_eq!(attachments_of(&pod(&[record()], None)).expect("attachments")[0].ips.len(), 1);
    }
}

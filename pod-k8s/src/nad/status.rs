//! What Multus says it attached: the annotation `network-status`.

use super::object::{NETWORK_STATUS, NETWORKS_STATUS};
use k8s_openapi::api::core::v1::Pod;
use pod_core::{Error, ErrorKind, MacAddr, Result};
use std::net::IpAddr;

/// One interface of a pod, as Multus saw it made. Parts may be missing: older versions leave out
/// addresses, and some plugins name no interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NetworkStatus {
    /// `NAMESPACE/NAME` of the definition; the cluster network's has a name of its own.
    pub name: String,
    /// The interface's name in the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its addresses, without prefix lengths.
    pub ips: Vec<IpAddr>,
    /// Its MAC address, as text: a plugin may leave it empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Its MTU in bytes, where the plugin says so (CNI 1.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether it is the cluster's own network.
    #[serde(rename = "default")]
    pub primary: bool,
}

impl NetworkStatus {
    /// The MAC address, where there is one.
    #[must_use]
    pub fn mac_address(&self) -> Option<MacAddr> {
        self.mac.as_deref().filter(|m| !m.is_empty()).and_then(|m| m.parse().ok())
    }
}

/// What Multus says of a pod; `None` when it says nothing: it was away when the pod's sandbox was made,
/// is not installed, or the pod has no sandbox yet.
///
/// # Errors
/// [`ErrorKind::Integrity`] when the annotation is no list of statuses.
pub fn network_status(pod: &Pod) -> Result<Option<Vec<NetworkStatus>>> {
    let annotations = pod.metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|a| a.get(NETWORK_STATUS).or_else(|| a.get(NETWORKS_STATUS))) else {
        return Ok(None);
    };
    serde_json::from_str(text).map(Some).map_err(|e| {
        Error::new(ErrorKind::Integrity, "the pod's network status can't be read")
            .with_context("pod", pod.metadata.name.clone().unwrap_or_default())
            .with_context("annotation", NETWORK_STATUS)
            .with_source(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(key: &str, text: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.annotations = Some([(key.to_owned(), text.to_owned())].into());
        pod
    }

    const STATUS: &str = r#"[
        {"name": "podnet", "interface": "eth0", "ips": ["10.244.1.5"], "mac": "0a:00:00:00:00:01", "default": true, "dns": {}},
        {"name": "default/red", "interface": "net1", "ips": ["10.1.0.5", "fd00::5"], "mac": "", "dns": {},
         "device-info": {"type": "pci", "version": "1.0.0"}}]"#;

    #[test]
    fn both_keys_are_read_and_parts_may_be_missing() {
        for key in [NETWORK_STATUS, NETWORKS_STATUS] {
            let read = network_status(&pod(key, STATUS)).expect("status").expect("there");
            assert_eq!(read.len(), 2);
            assert!(read[0].primary && !read[1].primary);
            assert_eq!(read[1].interface.as_deref(), Some("net1"));
            assert_eq!((read[1].ips.len(), read[1].mac_address()), (2, None));
        }
        let bare = network_status(&pod(NETWORK_STATUS, r#"[{"name": ""}]"#)).expect("status").expect("there");
        assert_eq!(bare, [NetworkStatus::default()]);
        assert_eq!(network_status(&Pod::default()).expect("none"), None);
    }

    #[test]
    fn what_is_no_status_is_an_error() {
        let error = network_status(&pod(NETWORK_STATUS, "{")).expect_err("no list");
        assert_eq!(error.kind(), ErrorKind::Integrity);
    }
}

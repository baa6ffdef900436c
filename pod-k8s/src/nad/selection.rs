//! Which definitions a pod asks for: the annotation `networks`.

use super::object::NETWORKS;
use k8s_openapi::api::core::v1::Pod;
use pod_core::{Error, ErrorKind, Result};
use std::net::IpAddr;

/// One definition that a pod asks for (the Network Plumbing Working Group's *Kubernetes Network Custom
/// Resource Definition De-facto Standard*, section 4.1.2.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Selection {
    /// The definition's name.
    pub name: String,
    /// Its namespace; `None` is the pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The interface's name in the pod; `None` is `net1`, `net2`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its addresses, with their prefix lengths. The definition must have the capability `ips`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// Its MAC address. The definition must have the capability `mac`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The gateways of the pod's default route, in place of the cluster network's.
    #[serde(default, rename = "default-route", skip_serializing_if = "Vec::is_empty")]
    pub default_route: Vec<IpAddr>,
}

impl Selection {
    /// Reads `[NAMESPACE/]NAME[@INTERFACE]`.
    fn short(text: &str) -> Self {
        let (name, interface) = match text.split_once('@') {
            Some((name, interface)) => (name, Some(interface.to_owned())),
            None => (text, None),
        };
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, name),
        };
        Self { name: name.to_owned(), namespace, interface, ..Self::default() }
    }

    /// Whether it means the definition of this name in this namespace; `own` is the pod's namespace.
    pub(crate) fn means(&self, namespace: &str, name: &str, own: &str) -> bool {
        self.name == name && self.namespace.as_deref().unwrap_or(own) == namespace
    }
}

/// The definitions that a pod asks for; none when it has no annotation.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when the annotation is neither form.
pub fn selections(pod: &Pod) -> Result<Vec<Selection>> {
    let annotations = pod.metadata.annotations.as_ref();
    let text = annotations.and_then(|a| a.get(NETWORKS)).map_or("", |t| t.trim());
    if text.starts_with(['[', '{', '"']) {
        return serde_json::from_str(text).map_err(|e| {
            Error::new(ErrorKind::InvalidInput, "the pod's list of networks can't be read")
                .with_context("pod", pod.metadata.name.clone().unwrap_or_default())
                .with_context("annotation", NETWORKS)
                .with_source(e)
        });
    }
    Ok(text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(Selection::short).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Selection>> {
        let mut pod = Pod::default();
        pod.metadata.annotations = Some([(NETWORKS.to_owned(), text.to_owned())].into());
        selections(&pod)
    }

    #[test]
    fn both_forms_are_read() {
        let found = read("red, other/blue@lan0").expect("list");
        assert!(found[0].means("default", "red", "default") && !found[0].means("other", "red", "default"));
        assert!(found[1].means("other", "blue", "default"));
        assert_eq!(found[1].interface.as_deref(), Some("lan0"));
        let found = read(r#"[{"name": "red", "ips": ["10.1.0.5/24"], "mac": "02:00:00:00:00:01"}]"#).expect("list");
        assert_eq!((found[0].name.as_str(), found[0].ips.len()), ("red", 1));
        assert!(read("[{").is_err());
        assert_eq!(selections(&Pod::default()).expect("none"), []);
    }
}

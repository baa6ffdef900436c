//! The custom resource itself, as the API server keeps it.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::borrow::Cow;

/// The API group of definitions and policies for attachments.
pub const GROUP: &str = "k8s.cni.cncf.io";
/// The plural under which the API server serves definitions.
pub const PLURAL: &str = "network-attachment-definitions";
/// The annotation of a pod that names the definitions it wants: a list in JSON.
pub const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";
/// The annotation of a pod in which Multus says what it attached.
pub const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
/// What older versions of Multus call [`NETWORK_STATUS`].
pub const NETWORKS_STATUS: &str = "k8s.v1.cni.cncf.io/networks-status";
/// The annotation of a definition that names the device plugin's resource (SR-IOV).
pub const RESOURCE_NAME: &str = "k8s.v1.cni.cncf.io/resourceName";

/// A `NetworkAttachmentDefinition` (`k8s.cni.cncf.io/v1`): a CNI configuration by name, for pods of
/// its namespace.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkAttachmentDefinition {
    /// `k8s.cni.cncf.io/v1`.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// `NetworkAttachmentDefinition`.
    #[serde(default = "kind")]
    pub kind: String,
    /// Name, namespace, labels, annotations.
    pub metadata: ObjectMeta,
    /// What it holds.
    #[serde(default)]
    pub spec: NetworkAttachmentDefinitionSpec,
}

/// What a definition holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NetworkAttachmentDefinitionSpec {
    /// The CNI configuration or list of them, JSON in a string. Empty: Multus looks for a file of the
    /// definition's name on the node.
    #[serde(default)]
    pub config: String,
}

fn api_version() -> String {
    format!("{GROUP}/v1")
}

fn kind() -> String {
    "NetworkAttachmentDefinition".into()
}

impl NetworkAttachmentDefinition {
    /// A definition of this name with this CNI configuration.
    #[must_use]
    pub fn new(name: impl Into<String>, config: impl Into<String>) -> Self {
        Self {
            api_version: api_version(),
            kind: kind(),
            metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
            spec: NetworkAttachmentDefinitionSpec { config: config.into() },
        }
    }

    /// Its name; empty when the server has not given one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// An annotation's text.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// A label's text.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

impl kube::Resource for NetworkAttachmentDefinition {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "NetworkAttachmentDefinition".into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

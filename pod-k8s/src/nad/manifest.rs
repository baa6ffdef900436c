//! Definitions in files: manifests as `kubectl` takes them, or a CNI configuration alone.

use super::object::{GROUP, NetworkAttachmentDefinition};
use pod_core::{Error, Result};
use serde_json::Value;
use serde_saphyr::SingleQuoted;

const KIND: &str = "NetworkAttachmentDefinition";

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Manifests {
    /// The definitions, in order.
    pub definitions: Vec<NetworkAttachmentDefinition>,
    /// What else there is, as `Pod web`.
    pub others: Vec<String>,
}

impl Manifests {
    /// Reads YAML or JSON: one or several documents, lists of them, or one CNI configuration, which is
    /// taken for that of a definition of its own name, else of `name`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](pod_core::ErrorKind::InvalidInput) for what is neither.
    pub fn read(text: &str, name: &str) -> Result<Self> {
        let bad = |e: serde_saphyr::Error| Error::invalid(format!("the file is no YAML and no JSON: {e}"));
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(bad)?;
        let mut all = Self::default();
        for document in documents {
            all.add(document, name)?;
        }
        Ok(all)
    }

    fn add(&mut self, document: Value, name: &str) -> Result<()> {
        let one = match document {
            Value::Null => return Ok(()),
            Value::Array(list) => return list.into_iter().try_for_each(|one| self.add(one, name)),
            Value::Object(one) => one,
            _ => return Err(Error::invalid("a document of the file is no object")),
        };
        let text = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, version) = (text("kind"), text("apiVersion"));
        if kind.is_empty() && version.is_empty() {
            if !["type", "plugins", "cniVersion"].iter().any(|k| one.contains_key(*k)) {
                return Err(Error::invalid("a document of the file is no manifest and no CNI configuration")
                    .with_hint("a manifest has `apiVersion` and `kind`, a CNI configuration has `type` or `plugins`"));
            }
            let own = text("name");
            let name = if own.is_empty() { name.to_owned() } else { own };
            self.definitions.push(NetworkAttachmentDefinition::new(name, Value::Object(one).to_string()));
            return Ok(());
        }
        if kind == KIND && version.split('/').next() == Some(GROUP) {
            let object: NetworkAttachmentDefinition = serde_json::from_value(Value::Object(one))
                .map_err(|e| Error::invalid(format!("a {KIND} can't be read: {e}")))?;
            if object.name().is_empty() {
                return Err(Error::invalid(format!("a {KIND} has no `metadata.name`")));
            }
            self.definitions.push(object);
        } else if let Some(Value::Array(items)) = one.get("items") {
            items.iter().try_for_each(|item| self.add(item.clone(), name))?;
        } else {
            let meta = one.get("metadata").and_then(|m| m.get("name")).and_then(Value::as_str);
            self.others.push(format!("{kind} {}", meta.unwrap_or("without a name")));
        }
        Ok(())
    }
}

/// Definitions as YAML documents for `kubectl apply -f -`, without what only the server writes.
///
/// # Errors
/// [`ErrorKind::Unexpected`](pod_core::ErrorKind::Unexpected) if one can't be written.
pub fn yaml(definitions: &[NetworkAttachmentDefinition]) -> Result<String> {
    let bad = |e: &dyn std::fmt::Display| Error::unexpected(format!("a definition can't be written as YAML: {e}"));
    let mut documents = Vec::new();
    for definition in definitions {
        let mut definition = definition.clone();
        definition.metadata.managed_fields = None;
        let parts = Document {
            api_version: &definition.api_version,
            kind: &definition.kind,
            // By way of a value, whose keys come in the order of their names.
            metadata: serde_json::to_value(&definition.metadata).map_err(|e| bad(&e))?,
            spec: Spec { config: SingleQuoted(&definition.spec.config) },
        };
        // JSON is read most easily between single quotes, which can't hold everything.
        let text = match serde_saphyr::to_string(&parts) {
            Ok(text) => text,
            Err(_) => crate::rbac::document(&definition)?,
        };
        documents.push(text);
    }
    Ok(documents.join("---\n"))
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Value,
    spec: Spec<'a>,
}

#[derive(serde::Serialize)]
struct Spec<'a> {
    config: SingleQuoted<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: &str = "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {name: red}\n\
                       spec:\n  config: '{\"type\": \"bridge\"}'\n";

    #[test]
    fn manifests_lists_and_bare_configurations_are_read() {
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n";
        let all = Manifests::read(&format!("{RED}---\n{pod}---\n"), "file").expect("read");
        assert_eq!((all.definitions.len(), all.others.as_slice()), (1, &["Pod web".to_owned()][..]));
        assert_eq!(all.definitions[0].spec.config, r#"{"type": "bridge"}"#);
        let bare = Manifests::read(r#"{"cniVersion": "1.0.0", "type": "macvlan"}"#, "file").expect("read");
        assert_eq!(bare.definitions[0].name(), "file");
        let named = Manifests::read(r#"{"name": "own", "type": "macvlan"}"#, "file").expect("read");
        assert_eq!(named.definitions[0].name(), "own");
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: k8s.cni.cncf.io/v1\n  \
                    kind: NetworkAttachmentDefinition\n  metadata: {name: a}\n";
        assert_eq!(Manifests::read(list, "file").expect("read").definitions[0].name(), "a");
        for bad in ["{", "7", "a: b", "apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\nmetadata: {}"]
        {
            assert!(Manifests::read(bad, "file").is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let two =
            [NetworkAttachmentDefinition::new("a", r#"{"type": "x"}"#), NetworkAttachmentDefinition::new("b", "")];
        let text = yaml(&two).expect("text");
        assert_eq!(Manifests::read(&text, "file").expect(&text).definitions, two);
        assert!(text.starts_with("apiVersion: k8s.cni.cncf.io/v1\nkind: NetworkAttachmentDefinition\n"), "{text}");
    }
}

//! Reads the text of a topology file and says what is wrong with it in POD's words.

use super::file::File;
use super::{Place, Topology, lower, matching};
use crate::{Error, ErrorKind, Result};
use serde_saphyr::Error as Yaml;
use std::path::Path;
use std::sync::Arc;

/// Reads and checks a topology; `folder` is what relative image paths start from.
pub(super) fn parse(text: &str, default_name: &str, file: Option<String>, folder: Option<&Path>) -> Result<Topology> {
    let file: Option<Arc<str>> = file.map(Into::into);
    let read: File = serde_saphyr::from_str(text).map_err(|e| explain(&e, file.clone()))?;
    let topology = lower::lower(read, default_name, file, folder)?;
    topology.check()?;
    Ok(topology)
}

fn explain(error: &Yaml, file: Option<Arc<str>>) -> Error {
    let place = match error.location().filter(|l| l.line() > 0) {
        Some(at) => Place::new(file, at),
        None => Place::start_of(file),
    };
    let error = error.without_snippet();
    let (message, hint) = words(error);
    let mut out = Error::new(ErrorKind::ConfigInvalid, message);
    if let Some(hint) = hint {
        out = out.with_hint(hint);
    }
    place.mark(out)
}

/// The message and, where there is one, the way out.
fn words(error: &Yaml) -> (String, Option<String>) {
    match error {
        Yaml::AliasError { error, .. } => words(error),
        Yaml::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown key `{field}`"), Some(matching::hint(field, expected.iter().copied())))
        }
        Yaml::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown word `{variant}`"), Some(matching::hint(variant, expected.iter().copied())))
        }
        Yaml::SerdeMissingField { field, .. } => (format!("the key `{field}` is missing"), None),
        Yaml::DuplicateMappingKey { key, .. } => (
            match key {
                Some(key) => format!("`{key}` is given twice"),
                None => "a key is given twice".into(),
            },
            Some("keep one of the two".into()),
        ),
        Yaml::NullIntoString { .. } => {
            ("a value is missing here".into(), Some("write \"\" if an empty text is meant".into()))
        }
        Yaml::Unexpected { expected: "sequence start", .. } => {
            ("a list is expected here".into(), Some("write it as [one, two]".into()))
        }
        Yaml::Unexpected { expected: "mapping start", .. } => {
            ("a mapping is expected here".into(), Some("write it as key: value, or {} for an empty one".into()))
        }
        Yaml::Eof { .. } => ("the file holds no topology".into(), Some("it needs at least `workloads:`".into())),
        Yaml::InvalidScalar { ty, .. } => (format!("that is no {}", kind(ty)), None),
        Yaml::SerdeInvalidType { unexpected, expected, .. } | Yaml::SerdeInvalidValue { unexpected, expected, .. } => {
            (format!("{unexpected} stands where {expected} is expected"), None)
        }
        other => {
            let text = other.to_string();
            // The place is told apart from the message.
            let message = match text.rfind(" at line ") {
                Some(at) => &text[..at],
                None => &text,
            };
            let hint = message.starts_with("mapping values are not allowed").then(|| {
                "put a value that ends in ':' or holds ': ' in quotes, such as backend: \"local:\"".to_owned()
            });
            (message.to_owned(), hint)
        }
    }
}

fn kind(ty: &str) -> &str {
    match ty {
        "bool" | "boolean" => "true or false",
        t if t.starts_with(['i', 'u']) => "whole number of the size that fits here",
        t if t.starts_with('f') => "number",
        other => other,
    }
}

//! Committed lists of what backends can do.

use crate::{Failure, Outcome};
use pod_core::{Backend, Capability};
use std::path::Path;

/// When this environment variable is `1`, [`check`] writes the file instead of comparing it.
pub const BLESS: &str = "POD_BLESS";

/// Compares what a backend says it can do with a committed file, so that nothing is lost unseen.
///
/// # Errors
/// What differs, one line for each capability; a file that can't be read or, with [`BLESS`], written.
pub fn check(backend: &dyn Backend, path: &Path) -> Outcome {
    check_on_any(backend, &[], path)
}

/// As [`check`], taking the capabilities that depend on the machine, `varying`, for there.
///
/// # Errors
/// As [`check`].
pub fn check_on_any(backend: &dyn Backend, varying: &[Capability], path: &Path) -> Outcome {
    let about = |e: &dyn std::fmt::Display| Failure::new(format!("{}: {e}", path.display()));
    let capabilities = varying.iter().fold(backend.capabilities(), |all, c| all.with(*c));
    let mut text = serde_json::to_string_pretty(&capabilities).map_err(|e| about(&e))?;
    text.push('\n');
    if std::env::var_os(BLESS).is_some_and(|v| v == "1") {
        return std::fs::write(path, text).map_err(|e| about(&e));
    }
    let golden = std::fs::read_to_string(path).map_err(|e| about(&format!("{e}; {BLESS}=1 writes it")))?;
    compare(&golden, &text).map_err(|differences| {
        about(&format!("the capabilities differ:\n{differences}\nif that is meant, {BLESS}=1 writes the file anew"))
    })
}

fn compare(golden: &str, found: &str) -> Result<(), String> {
    if golden == found {
        return Ok(());
    }
    let parse =
        |text: &str| -> Result<serde_json::Value, String> { serde_json::from_str(text).map_err(|e| e.to_string()) };
    let (golden, found) = (parse(golden)?, parse(found)?);
    let empty = serde_json::Map::new();
    let mut lines = Vec::new();
    let groups =
        |v: &serde_json::Value| v.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut all = groups(&golden);
    all.extend(groups(&found));
    all.sort();
    all.dedup();
    for group in all {
        let (a, b) = (golden[&group].as_object().unwrap_or(&empty), found[&group].as_object().unwrap_or(&empty));
        for name in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
            let (was, is) = (a.get(name), b.get(name));
            if was != is {
                let show = |v: Option<&serde_json::Value>| v.map_or("nothing".into(), ToString::to_string);
                lines.push(format!("  {group}.{name}: expected {}, found {}", show(was), show(is)));
            }
        }
    }
    Err(if lines.is_empty() { "  only the form of the file".into() } else { lines.join("\n") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let (a, b) = (r#"{"exec":{"tty":true,"run":true}}"#, r#"{"exec":{"tty":false,"run":true,"new":true}}"#);
        assert_eq!(compare(a, a), Ok(()));
        let e = compare(a, b).expect_err("they differ");
        assert!(e.contains("exec.tty: expected true, found false") && e.contains("exec.new: expected nothing"), "{e}");
        assert!(!e.contains("exec.run"), "{e}");
    }
}

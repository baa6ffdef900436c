//! Checks that what the documents name exists.

mod claims;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The documents whose relative links are followed.
const LINKED: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "BENCHMARKS.md"];

/// Every path and identifier in code marks of ARCHITECTURE.md is there, every relative link of a document
/// leads to a file, and every test that `docs/claims.md` cites is in the source.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let mut wrong = Vec::new();
    let architecture = read(&root.join("ARCHITECTURE.md"))?;
    let known = words(root)?;
    for span in code_spans(&architecture) {
        if let Err(why) = check_span(root, &known, &span) {
            wrong.push(format!("ARCHITECTURE.md: `{span}`: {why}"));
        }
    }
    for document in LINKED {
        for link in links(&read(&root.join(document))?) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !link.contains("://") && !root.join(file).exists() {
                wrong.push(format!("{document}: no file {file}"));
            }
        }
    }
    wrong.extend(claims::faults(root)?);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n      ")) }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The text between single code marks, outside of fenced blocks.
fn code_spans(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut spans = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    spans
}

fn check_span(root: &Path, known: &BTreeSet<String>, span: &str) -> Result<(), String> {
    if span.contains(' ') || span.contains("://") || span.starts_with(['/', '-', '<']) {
        return Ok(()); // a command line, an address, a path of the system's, a flag
    }
    if known.contains(span) {
        return Ok(());
    }
    if span.contains('/') || [".md", ".toml", ".rs", ".yaml"].iter().any(|end| span.ends_with(end)) {
        return if root.join(span).exists() { Ok(()) } else { Err("no such file".into()) };
    }
    let identifiers = span.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-');
    for name in identifiers.filter(|n| n.starts_with(|c: char| c.is_alphabetic())) {
        let parts = name.split('-').all(|part| known.contains(part));
        if !parts && !root.join(name).exists() {
            return Err(format!("{name} is nowhere in the source"));
        }
    }
    Ok(())
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// Every word of the sources and manifests, and their files' names.
fn words(root: &Path) -> Result<BTreeSet<String>, String> {
    let mut known = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                if !is_ours(&path) {
                    continue;
                }
                folders.push(path);
            } else if path.extension().is_some_and(|e| ["rs", "toml", "yaml"].iter().any(|s| e == *s)) {
                let text = read(&path)?;
                known.insert(entry.file_name().to_string_lossy().into_owned());
                known.extend(text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
            }
        }
    }
    Ok(known)
}

fn is_ours(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default();
    name != "target" && !name.to_string_lossy().starts_with('.') && folder.file_name().is_some_and(|n| n != "xtask")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_exist_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let known = words(root).expect("sources");
        let check = |span| check_span(root, &known, span);
        for good in [
            "pod-core/src/backend.rs",
            "Backend",
            "Registry::connect",
            "pod-net",
            "cargo xtask test",
            "/run/pod",
            "lib.rs",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["pod-core/src/no_such.rs", "no_such.rs", "NoSuchTrait", "Registry::no_such_method"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_and_links_are_read() {
        assert_eq!(code_spans("a `b` c `d e`\n```\n`x`\n```\n`f`"), ["b", "d e", "f"]);
        assert_eq!(links("see [a](b.md#c) and [d](https://e)"), ["b.md#c", "https://e"]);
    }
}

//! `docs/claims.md`: one row for each claim, and every test that it cites is there.

use super::{code_spans, read};
use std::path::Path;

/// The document, from the workspace's root.
const DOCUMENT: &str = "docs/claims.md";

/// How many claims there are: P01 to P73.
const CLAIMS: usize = 73;

/// The verdicts that a row may have.
const VERDICTS: &[&str] = &["proven", "will be proven", "can't be proven here", "not adopted"];

/// What is wrong with the document.
pub(super) fn faults(root: &Path) -> Result<Vec<String>, String> {
    let text = read(&root.join(DOCUMENT))?;
    Ok(faults_of(root, &text).into_iter().map(|why| format!("{DOCUMENT}: {why}")).collect())
}

fn faults_of(root: &Path, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let rows: Vec<Vec<&str>> = text.lines().filter(|l| l.starts_with("| P")).map(cells).collect();
    let ids: Vec<&str> = rows.iter().filter_map(|r| r.first().copied()).collect();
    let expected: Vec<String> = (1..=CLAIMS).map(|n| format!("P{n:02}")).collect();
    if ids != expected {
        wrong.push(format!("its rows are not P01 to P{CLAIMS}, each once and in order"));
    }
    for row in &rows {
        let [id, _, verdict, by] = row[..] else {
            wrong.push(format!("{}: not four cells", row.first().copied().unwrap_or_default()));
            continue;
        };
        if !VERDICTS.contains(&verdict) {
            wrong.push(format!("{id}: no such verdict: {verdict}"));
        }
        let cited: Vec<String> = code_spans(by).into_iter().filter(|span| span.contains(".rs::")).collect();
        if verdict == "proven" && cited.is_empty() {
            wrong.push(format!("{id}: no test is cited"));
        }
        wrong.extend(cited.iter().filter_map(|test| Some(format!("{id}: `{test}`: {}", missing(root, test)?))));
    }
    wrong
}

fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// Why there is no such test; a test is cited as `FILE::FUNCTION`.
fn missing(root: &Path, test: &str) -> Option<String> {
    let (file, function) = test.split_once("::")?;
    let Ok(source) = read(&root.join(file)) else { return Some("no such file".into()) };
    let begins = format!("fn {function}");
    // Whole words: a longer name that begins so is another.
    let there = source.match_indices(&begins).any(|(at, _)| source[at + begins.len()..].starts_with(['(', '<']));
    (!there).then(|| format!("no function {function} there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
    }

    #[test]
    fn every_claim_is_answered_and_every_cited_test_is_there() {
        assert_eq!(faults(root()), Ok(Vec::new()));
    }

    #[test]
    fn a_test_that_does_not_exist_is_found() {
        let own = "xtask/src/names/claims.rs::a_test_that_does_not_exist_is_found";
        assert_eq!(missing(root(), own), None);
        for bad in ["xtask/src/names/claims.rs::a_test_that_does", "xtask/src/names/no_such.rs::a"] {
            assert!(missing(root(), bad).is_some(), "{bad}");
        }
        let rows = |row: &str| {
            let all = (1..=CLAIMS).map(|n| format!("| P{n:02} | it works | not adopted | no |\n")).collect::<String>();
            faults_of(root(), &all.replace("| P07 | it works | not adopted | no |", row))
        };
        assert_eq!(rows(&format!("| P07 | it works | proven | `{own}` |")), Vec::<String>::new());
        for bad in [
            "| P07 | it works | proven | surely |",
            "| P07 | it works | proven | `xtask/src/names.rs::no_such_test` |",
            "| P07 | it works | perhaps | no |",
            "| P08 | it works | not adopted | no |",
            "| P07 | it works | not adopted |",
        ] {
            assert_eq!(rows(bad).len(), 1, "{bad}");
        }
    }
}

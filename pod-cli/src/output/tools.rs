//! What the commands about POD itself print as JSON and YAML; the same rules hold as for the other
//! views.

use super::{Report, Table};
use pod::{BackendInfo, Capabilities, Capability};
use std::collections::BTreeMap;

/// A backend there is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct BackendView {
    pub(crate) name: String,
    pub(crate) uri: String,
    pub(crate) about: String,
    #[serde(rename = "default")]
    pub(crate) is_default: bool,
}

/// The backends there are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct BackendList(pub(crate) Vec<BackendView>);

impl Report for BackendList {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::new(["NAME", "URI", "DEFAULT", "ABOUT"]);
        for b in &self.0 {
            t.row([b.name.as_str(), &b.uri, if b.is_default { "yes" } else { "" }, &b.about]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|b| b.name.clone()).collect()
    }
}

/// What a backend can do.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct CapsView {
    pub(crate) uri: String,
    pub(crate) product: String,
    pub(crate) version: String,
    pub(crate) capabilities: BTreeMap<&'static str, BTreeMap<&'static str, bool>>,
    #[serde(skip)]
    set: Capabilities,
}

impl CapsView {
    /// The view of a backend.
    pub(crate) fn new(info: &BackendInfo, set: Capabilities) -> Self {
        Self {
            uri: info.uri.to_string(),
            product: info.product.clone(),
            version: info.version.clone(),
            capabilities: set.groups(),
            set,
        }
    }
}

impl Report for CapsView {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::new(["CAPABILITY", "HAS", "MEANING"]);
        for c in Capability::ALL {
            t.row([c.path(), if self.set.has(*c) { "yes" } else { "no" }, c.describe()]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.set.iter().map(|c| c.path().to_owned()).collect()
    }
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All is there.
    Good,
    /// It works, with something less.
    Limited,
    /// What is needed is not there.
    Missing,
}

/// One thing that a backend needs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Check {
    pub(crate) subject: String,
    pub(crate) verdict: Verdict,
    pub(crate) found: String,
    /// The command that closes the gap.
    pub(crate) fix: Option<String>,
}

impl Check {
    /// A check that found this, with nothing to be done about it.
    pub(crate) fn new(subject: impl Into<String>, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { subject: subject.into(), verdict, found: found.into(), fix: None }
    }

    /// Says what fixes it.
    pub(crate) fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// What a backend needs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct CheckList(pub(crate) Vec<Check>);

impl CheckList {
    /// Whether nothing is missing.
    pub(crate) fn good(&self) -> bool {
        self.0.iter().all(|c| c.verdict != Verdict::Missing)
    }
}

impl Report for CheckList {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::new(["CHECK", "RESULT", "FOUND", "FIX"]);
        for c in &self.0 {
            let verdict = match c.verdict {
                Verdict::Good => "good",
                Verdict::Limited => "limited",
                Verdict::Missing => "MISSING",
            };
            t.row([c.subject.as_str(), verdict, &c.found, c.fix.as_deref().unwrap_or_default()]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().filter(|c| c.verdict == Verdict::Missing).map(|c| c.subject.clone()).collect()
    }
}

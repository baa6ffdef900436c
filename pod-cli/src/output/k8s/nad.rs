//! What the commands on network attachment definitions print.

use crate::output::{ProbeView, Report, Table};
use pod::Result;
use pod::k8s::nad::{Checked, Difference, Fault, Fixed, Listed, NadVerified, NetworkAttachmentDefinition, yaml};

/// The definitions of a namespace.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct DefinitionList(pub(crate) Vec<Listed>);

impl Report for DefinitionList {
    fn table(&self, wide: bool) -> Table {
        let mut head = vec!["NAME", "PLUGIN", "PARENT", "VLAN", "MTU", "PODS", "FAULTS"];
        if wide {
            head.extend(["NETWORK", "USED BY"]);
        }
        let mut t = Table::new(head);
        for l in &self.0 {
            let kind = l.definition.as_ref().map(|d| &d.kind);
            let parent = kind.and_then(|k| k.parent().ok().flatten()).map(|p| p.to_string());
            let mut row = vec![
                l.name.clone(),
                kind.map(|k| k.plugin().to_owned()).unwrap_or_default(),
                parent.unwrap_or_default(),
                kind.and_then(|k| k.vlan()).map(|v| v.to_string()).unwrap_or_default(),
                l.definition.as_ref().and_then(|d| d.mtu).map(|m| m.to_string()).unwrap_or_default(),
                l.pods.len().to_string(),
                l.faults.to_string(),
            ];
            if wide {
                row.extend([l.network.clone().unwrap_or_default(), l.pods.join(",")]);
            }
            t.row(row);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|l| l.name.clone()).collect()
    }
}

/// Definitions as they stand: as YAML documents where nothing else is asked for.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct ManifestsView {
    all: Vec<NetworkAttachmentDefinition>,
    #[serde(skip)]
    text: String,
}

impl ManifestsView {
    /// The view of these.
    pub(crate) fn new(all: Vec<NetworkAttachmentDefinition>) -> Result<Self> {
        Ok(Self { text: yaml(&all)?, all })
    }
}

impl Report for ManifestsView {
    fn table(&self, _wide: bool) -> Table {
        Table::text(self.text.clone())
    }

    fn names(&self) -> Vec<String> {
        self.all.iter().map(|d| d.name().to_owned()).collect()
    }
}

/// What a check found of one definition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct CheckedView {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) faults: Vec<Fault>,
    pub(crate) notes: Vec<Fault>,
}

impl CheckedView {
    /// The view of a check.
    pub(crate) fn new(name: &str, checked: Checked) -> Self {
        Self { name: name.to_owned(), ok: checked.ok(), faults: checked.faults, notes: checked.notes }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct CheckedList(pub(crate) Vec<CheckedView>);

impl Report for CheckedList {
    fn table(&self, _wide: bool) -> Table {
        let mut text = String::new();
        for c in &self.0 {
            let count = match c.faults.len() {
                0 => "no faults".to_owned(),
                1 => "1 fault".to_owned(),
                n => format!("{n} faults"),
            };
            text.push_str(&format!("{}: {count}\n", c.name));
            for fault in &c.faults {
                text.push_str(&format!("  fault  {fault}\n"));
            }
            for note in &c.notes {
                text.push_str(&format!("  note   {note}\n"));
            }
        }
        Table::text(text)
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().filter(|c| !c.ok).map(|c| c.name.clone()).collect()
    }
}

/// Definitions that do what was meant: as YAML documents where nothing else is asked for.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct FixedList {
    all: Vec<Fixed>,
    #[serde(skip)]
    text: String,
}

impl FixedList {
    /// The view of these.
    pub(crate) fn new(all: Vec<Fixed>) -> Result<Self> {
        let definitions: Vec<_> = all.iter().map(|f| f.definition.clone()).collect();
        Ok(Self { text: yaml(&definitions)?, all })
    }
}

impl Report for FixedList {
    fn table(&self, _wide: bool) -> Table {
        Table::text(self.text.clone())
    }

    fn names(&self) -> Vec<String> {
        self.all.iter().map(|f| f.definition.name().to_owned()).collect()
    }
}

/// One part in which a definition differs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct DifferenceView {
    pub(crate) name: String,
    /// A path such as `config.mtu`; `definition` is the whole, which is not there.
    pub(crate) at: String,
    pub(crate) expected: Option<String>,
    pub(crate) found: Option<String>,
}

/// In what definitions differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct DifferenceList(pub(crate) Vec<DifferenceView>);

impl DifferenceList {
    /// Adds what differs of one definition; `None` when it is not there.
    pub(crate) fn add(&mut self, name: &str, differences: Option<Vec<Difference>>) {
        let view = |at: String, expected, found| DifferenceView { name: name.to_owned(), at, expected, found };
        match differences {
            Some(all) => self.0.extend(all.into_iter().map(|d| view(d.at, d.expected, d.found))),
            None => self.0.push(view("definition".into(), Some("there".into()), None)),
        }
    }
}

impl Report for DifferenceList {
    fn table(&self, _wide: bool) -> Table {
        let mut t = if self.0.is_empty() { Table::bare() } else { Table::new(["NAME", "PLACE", "EXPECTED", "FOUND"]) };
        for d in &self.0 {
            let text = |s: &Option<String>| s.clone().unwrap_or_default();
            t.row([d.name.clone(), d.at.clone(), text(&d.expected), text(&d.found)]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.0.iter().map(|d| d.name.clone()).collect();
        names.dedup();
        names
    }
}

/// What was seen of a definition from every node.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct NadVerifiedView {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) plugin: String,
    pub(crate) parent: Option<String>,
    pub(crate) vlan: Option<u16>,
    pub(crate) nodes: Vec<NodeView>,
    /// What could not be removed afterwards.
    pub(crate) left_behind: Vec<String>,
}

/// What was seen from one node.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct NodeView {
    pub(crate) node: String,
    /// Why there is nothing to see.
    pub(crate) error: Option<String>,
    pub(crate) interface: Option<String>,
    pub(crate) addresses: Vec<String>,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Option<String>,
    pub(crate) reach: Vec<ReachView>,
}

/// Whether another node's pod answers.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct ReachView {
    pub(crate) node: String,
    /// `reached`, `no_answer`, `refused` or `unknown`.
    pub(crate) outcome: &'static str,
    pub(crate) milliseconds: Option<f64>,
    pub(crate) reason: Option<String>,
}

impl From<NadVerified> for NadVerifiedView {
    fn from(seen: NadVerified) -> Self {
        let ok = seen.ok();
        let nodes = seen.nodes.into_iter().map(|n| NodeView {
            error: n.error,
            interface: n.interface,
            addresses: n.addresses.iter().map(ToString::to_string).collect(),
            mtu: n.mtu,
            mac: n.mac.map(|m| m.to_string()),
            reach: n
                .reach
                .iter()
                .map(|(to, outcome)| {
                    let probe = ProbeView::new(&n.node, to, "", outcome);
                    let ProbeView { to: node, outcome, milliseconds, reason, .. } = probe;
                    ReachView { node, outcome, milliseconds, reason }
                })
                .collect(),
            node: n.node,
        });
        Self {
            ok,
            name: seen.name,
            plugin: seen.plugin,
            parent: seen.parent,
            vlan: seen.vlan.map(pod::VlanId::get),
            nodes: nodes.collect(),
            left_behind: seen.left_behind,
        }
    }
}

impl Report for NadVerifiedView {
    fn table(&self, wide: bool) -> Table {
        let mut head = vec!["NODE", "INTERFACE", "VLAN", "MTU", "ADDRESS", "REACHES"];
        if wide {
            head.extend(["PLUGIN", "PARENT", "MAC"]);
        }
        let mut t = Table::new(head);
        let vlan = self.vlan.map_or_else(|| "untagged".to_owned(), |v| v.to_string());
        for n in &self.nodes {
            let reach = n.reach.iter().map(|r| match (r.milliseconds, &r.reason) {
                (Some(ms), _) => format!("{} in {ms:.2} ms", r.node),
                (None, Some(why)) => format!("{}: {}, {why}", r.node, r.outcome.replace('_', " ")),
                (None, None) => format!("NOT {}: {}", r.node, r.outcome.replace('_', " ")),
            });
            let reach = match &n.error {
                Some(error) => error.clone(),
                None => reach.collect::<Vec<_>>().join(", "),
            };
            let mut row = vec![
                n.node.clone(),
                n.interface.clone().unwrap_or_default(),
                vlan.clone(),
                n.mtu.map(|m| m.to_string()).unwrap_or_default(),
                n.addresses.join(","),
                reach,
            ];
            if wide {
                let parent = self.parent.clone().unwrap_or_default();
                row.extend([self.plugin.clone(), parent, n.mac.clone().unwrap_or_default()]);
            }
            t.row(row);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        let failed = |n: &&NodeView| n.error.is_some() || n.reach.iter().any(|r| r.outcome != "reached");
        self.nodes.iter().filter(failed).map(|n| n.node.clone()).collect()
    }
}

//! What the commands on topologies print as JSON and YAML; the same rules hold as for the other views.

use super::{Report, Table};
use pod::topology::{Plan, UpReport, Verification};
use pod::{NetworkName, WorkloadName};

impl Report for Plan {
    fn table(&self, _wide: bool) -> Table {
        Table::text(self.to_string())
    }

    fn names(&self) -> Vec<String> {
        self.changes.iter().map(|c| c.name.clone()).collect()
    }
}

/// What a verification found.
#[derive(Debug, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct VerificationView(pub(crate) Verification);

impl Report for VerificationView {
    fn table(&self, _wide: bool) -> Table {
        Table::text(self.0.to_string())
    }

    fn paint(&self, rows: String) -> String {
        let good = anstyle::AnsiColor::Green.on_default();
        let bad = anstyle::AnsiColor::Red.on_default().effects(anstyle::Effects::BOLD);
        let style = if self.0.ok() { good } else { bad };
        // The cells that are not as expected, and the sentence that says how it went.
        let rows = ["YES!", "NO!"].iter().fold(rows, |t, cell| t.replace(cell, &format!("{bad}{cell}{bad:#}")));
        let judge = |line: &str| line.contains(" pairs: ");
        let paint = |line: &str| if judge(line) { format!("{style}{line}{style:#}\n") } else { format!("{line}\n") };
        rows.lines().map(paint).collect()
    }

    fn names(&self) -> Vec<String> {
        self.0.matrix.differing().map(|c| format!("{} -> {}", c.from, c.to)).collect()
    }
}

/// What `up` did and found.
#[derive(Debug, serde::Serialize)]
pub(crate) struct UpView {
    pub(crate) topology: String,
    /// Whether all is as it should be, as far as it was looked at.
    pub(crate) ok: bool,
    #[serde(flatten)]
    pub(crate) report: UpReport,
    pub(crate) verification: Option<VerificationView>,
}

impl UpView {
    /// The view of an `up` and what was found after it.
    pub(crate) fn new(report: UpReport, verification: Option<Verification>) -> Self {
        let ok = verification.as_ref().is_none_or(Verification::ok);
        let topology = report.plan.topology.to_string();
        Self { topology, ok, report, verification: verification.map(VerificationView) }
    }
}

impl Report for UpView {
    fn table(&self, wide: bool) -> Table {
        match &self.verification {
            Some(v) => v.table(wide),
            None => self.report.plan.table(wide),
        }
    }

    fn paint(&self, rows: String) -> String {
        match &self.verification {
            Some(v) => v.paint(rows),
            None => rows,
        }
    }

    fn names(&self) -> Vec<String> {
        self.report.plan.names()
    }
}

/// What a `down` removed, or would.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Gone {
    pub(crate) workloads: Vec<WorkloadName>,
    pub(crate) networks: Vec<NetworkName>,
}

impl Gone {
    /// The view of these.
    pub(crate) fn new(workloads: Vec<WorkloadName>, networks: Vec<NetworkName>) -> Self {
        Self { workloads, networks }
    }
}

impl Report for Gone {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::bare();
        for w in &self.workloads {
            t.row(["workload", w.as_str()]);
        }
        for n in &self.networks {
            t.row(["network", n.as_str()]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        let workloads = self.workloads.iter().map(ToString::to_string);
        workloads.chain(self.networks.iter().map(ToString::to_string)).collect()
    }
}

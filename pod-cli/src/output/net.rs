//! What the commands on networks print as JSON and YAML; the same rules hold as for the other views.

use super::{Report, Table};
use pod::{Enforcement, Finding, Labels, Network, PolicyReport, ProbeOutcome, VerifyReport};

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct NetworkView {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) vlan: Option<u16>,
    pub(crate) subnets: Vec<String>,
    pub(crate) reserved: Vec<String>,
    pub(crate) uplink: Option<String>,
    pub(crate) mtu: u32,
    pub(crate) isolated: bool,
    pub(crate) attachments: usize,
    pub(crate) labels: Labels,
}

impl From<&Network> for NetworkView {
    fn from(n: &Network) -> Self {
        Self {
            name: n.spec.name.to_string(),
            id: n.id.clone(),
            vlan: n.spec.vlan.map(pod::VlanId::get),
            subnets: n.spec.subnets.iter().map(ToString::to_string).collect(),
            reserved: n.spec.reserved.iter().map(ToString::to_string).collect(),
            uplink: n.spec.uplink.as_ref().map(ToString::to_string),
            mtu: n.spec.mtu,
            isolated: n.spec.isolated,
            attachments: n.attachments,
            labels: n.spec.labels.clone(),
        }
    }
}

/// The networks of a backend.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct NetworkList(pub(crate) Vec<NetworkView>);

impl Report for NetworkList {
    fn table(&self, wide: bool) -> Table {
        let mut head = vec!["NAME", "VLAN", "SUBNETS", "UPLINK", "WORKLOADS"];
        if wide {
            head.extend(["MTU", "ISOLATED", "ID"]);
        }
        let mut t = Table::new(head);
        for n in &self.0 {
            let mut row = vec![
                n.name.clone(),
                n.vlan.map(|v| v.to_string()).unwrap_or_default(),
                n.subnets.join(","),
                n.uplink.clone().unwrap_or_default(),
                n.attachments.to_string(),
            ];
            if wide {
                row.extend([n.mtu.to_string(), if n.isolated { "yes" } else { "no" }.into(), n.id.clone()]);
            }
            t.row(row);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|n| n.name.clone()).collect()
    }
}

/// What is known of a policy or isolation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct PolicyView {
    pub(crate) network: String,
    pub(crate) enforcement: Enforcement,
    pub(crate) evidence: Vec<String>,
}

impl PolicyView {
    /// The view of a report on `network`.
    pub(crate) fn new(network: impl ToString, report: PolicyReport) -> Self {
        Self { network: network.to_string(), enforcement: report.enforcement, evidence: report.evidence }
    }
}

impl Report for PolicyView {
    fn table(&self, _wide: bool) -> Table {
        let word = match self.enforcement {
            Enforcement::Enforced => "enforced",
            Enforcement::NotEnforced => "not enforced",
            Enforcement::Unknown => "unknown",
        };
        let mut t = Table::new(["NETWORK", "KNOWN", "EVIDENCE"]);
        if self.evidence.is_empty() {
            t.row([self.network.as_str(), word, ""]);
        }
        for line in &self.evidence {
            t.row([self.network.as_str(), word, line]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        vec![self.network.clone()]
    }
}

/// What a read-back found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct VerifyView {
    pub(crate) ok: bool,
    /// How many things were compared.
    pub(crate) checked: usize,
    pub(crate) findings: Vec<FindingView>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct FindingView {
    pub(crate) network: Option<String>,
    pub(crate) workload: Option<String>,
    pub(crate) place: String,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl From<&Finding> for FindingView {
    fn from(f: &Finding) -> Self {
        Self {
            network: f.network.as_ref().map(ToString::to_string),
            workload: f.workload.as_ref().map(ToString::to_string),
            place: f.place.clone(),
            expected: f.expected.clone(),
            found: f.found.clone(),
        }
    }
}

impl From<&VerifyReport> for VerifyView {
    fn from(r: &VerifyReport) -> Self {
        Self { ok: r.ok(), checked: r.checked, findings: r.findings.iter().map(Into::into).collect() }
    }
}

impl Report for VerifyView {
    fn table(&self, _wide: bool) -> Table {
        if self.findings.is_empty() {
            let mut t = Table::bare();
            t.row([format!("{} things compared, all as they should be", self.checked)]);
            return t;
        }
        let mut t = Table::new(["NETWORK", "WORKLOAD", "PLACE", "EXPECTED", "FOUND"]);
        for f in &self.findings {
            t.row([
                f.network.clone().unwrap_or_default(),
                f.workload.clone().unwrap_or_default(),
                f.place.clone(),
                f.expected.clone(),
                f.found.clone(),
            ]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.findings.iter().map(|f| f.place.clone()).collect()
    }
}

/// What one probe saw.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct ProbeView {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) address: String,
    /// `reached`, `no_answer`, `refused` or `unknown`.
    pub(crate) outcome: &'static str,
    /// How long the answer took, in milliseconds.
    pub(crate) milliseconds: Option<f64>,
    /// Why, for `refused` and `unknown`.
    pub(crate) reason: Option<String>,
    /// Whether it is what was expected.
    pub(crate) ok: bool,
}

impl ProbeView {
    /// The view of one outcome; whether it is what was expected is for the caller to say.
    pub(crate) fn new(from: &str, to: &str, address: impl ToString, outcome: &ProbeOutcome) -> Self {
        let (word, milliseconds, reason) = match outcome {
            ProbeOutcome::Reached(time) => ("reached", Some(time.as_secs_f64() * 1e3), None),
            ProbeOutcome::NoAnswer => ("no_answer", None, None),
            ProbeOutcome::Refused(why) => ("refused", None, Some(why.clone())),
            ProbeOutcome::Unknown(why) => ("unknown", None, Some(why.clone())),
            _ => ("unknown", None, Some("an outcome of another version".into())),
        };
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            address: address.to_string(),
            outcome: word,
            milliseconds,
            reason,
            ok: false,
        }
    }
}

/// What probes saw.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct ProbeList(pub(crate) Vec<ProbeView>);

impl Report for ProbeList {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::new(["FROM", "TO", "ADDRESS", "OUTCOME", "AS EXPECTED", "REMARK"]);
        for p in &self.0 {
            let remark = match (p.milliseconds, &p.reason) {
                (Some(ms), _) => format!("{ms:.2} ms"),
                (None, Some(why)) => why.clone(),
                (None, None) => String::new(),
            };
            let outcome = p.outcome.replace('_', " ");
            t.row([p.from.as_str(), &p.to, &p.address, &outcome, if p.ok { "yes" } else { "NO" }, &remark]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().filter(|p| !p.ok).map(|p| p.to.clone()).collect()
    }
}

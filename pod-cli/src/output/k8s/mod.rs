//! What the commands on what only Kubernetes has print as JSON and YAML; the same rules hold as for the
//! other views.

mod nad;

pub(crate) use nad::*;

use super::{Report, Table, age};
use jiff::Timestamp;
use pod::k8s::cni::{CniReport, Presence};
use pod::k8s::{Leftover, Namespace};
use pod::{Error, Result};
use serde_json::{Value, json};

/// The network plugins of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct CniView(pub(crate) CniReport);

impl Report for CniView {
    fn table(&self, wide: bool) -> Table {
        let mut t = Table::new(["PLUGIN", "THERE", "VERSION", "READY", "EVIDENCE", "WHAT IT DOES"]);
        for p in &self.0.plugins {
            let there = match p.presence {
                Presence::Present => "yes",
                Presence::Absent => "no",
                Presence::NotSeen => "not seen",
            };
            // What is there is told first; the others in full only when asked for.
            let told = match p.presence {
                Presence::NotSeen => format!("may not be looked at: {}", p.unseen.join(", ")),
                _ => p.evidence.join(", "),
            };
            let ready = p.ready.map(|(ready, wanted)| format!("{ready} of {wanted}")).unwrap_or_default();
            let version = p.version.clone().unwrap_or_default();
            let about = if wide || p.presence == Presence::Present { p.about } else { "" };
            t.row([p.plugin.as_str(), there, &version, &ready, &told, about]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.present().map(|p| p.plugin.to_string()).collect()
    }
}

/// The namespaces of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct NamespaceList(pub(crate) Vec<Namespace>);

impl Report for NamespaceList {
    fn table(&self, wide: bool) -> Table {
        let mut head = vec!["NAME", "STATE", "AGE"];
        if wide {
            head.push("LABELS");
        }
        let (mut t, now) = (Table::new(head), Timestamp::now());
        for n in &self.0 {
            let mut row = vec![
                n.name.clone(),
                if n.going { "going" } else { "active" }.into(),
                n.created.map(|c| age(c, now)).unwrap_or_default(),
            ];
            if wide {
                row.push(n.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","));
            }
            t.row(row);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|n| n.name.clone()).collect()
    }
}

/// Roles: as documents for `kubectl apply` where nothing else is asked for, else as a `List` of them.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct RolesView {
    list: Value,
    #[serde(skip)]
    text: String,
}

impl RolesView {
    /// Reads YAML documents.
    pub(crate) fn read(text: String) -> Result<Self> {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).map_err(|e| Error::unexpected("read the roles back").with_source(e))?;
        Ok(Self { list: json!({"apiVersion": "v1", "kind": "List", "items": documents}), text })
    }
}

impl Report for RolesView {
    fn table(&self, _wide: bool) -> Table {
        Table::text(self.text.clone())
    }

    fn names(&self) -> Vec<String> {
        let items = self.list["items"].as_array().into_iter().flatten();
        items.filter_map(|i| Some(format!("{}/{}", i["kind"].as_str()?, i["metadata"]["name"].as_str()?))).collect()
    }
}

/// What operations left behind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct LeftoverList(pub(crate) Vec<Leftover>);

impl Report for LeftoverList {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::new(["POD", "NAMESPACE", "OPERATION", "TIME WAS OVER"]);
        for l in &self.0 {
            t.row([l.pod.clone(), l.namespace.clone(), l.operation.clone(), l.lease.to_string()]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|l| l.pod.clone()).collect()
    }
}

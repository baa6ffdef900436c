//! What `pod forward` prints.

use super::{Report, Table};

/// An address here that leads to a port of a workload.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ForwardView {
    /// `IP:PORT`, or `[IP]:PORT`.
    pub(crate) address: String,
    pub(crate) workload: String,
    pub(crate) port: u16,
}

/// The addresses here that lead to a workload.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct ForwardList(pub(crate) Vec<ForwardView>);

impl Report for ForwardList {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::bare();
        for f in &self.0 {
            t.row([f.address.clone(), "->".into(), format!("{}:{}", f.workload, f.port)]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|f| f.address.clone()).collect()
    }
}

//! What the commands print of Docker.

use super::{Report, Table};
use pod::docker::{Leftover, LeftoverKind};

/// What operations left behind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct ContainerLeftoverList(pub(crate) Vec<Leftover>);

impl Report for ContainerLeftoverList {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::new(["NAME", "WHAT", "ID", "OPERATION", "OVER AT THE LATEST"]);
        for l in &self.0 {
            let short = l.id.get(..12).unwrap_or(&l.id);
            let what = match l.kind {
                LeftoverKind::Isolation => "network half isolated",
                _ => "container never started",
            };
            t.row([l.name.clone(), what.to_owned(), short.to_owned(), l.operation.clone(), l.lease.to_string()]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|l| l.name.clone()).collect()
    }
}

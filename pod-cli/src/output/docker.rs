//! What the commands print of Docker.

use super::{Report, Table};
use pod::docker::Leftover;

/// What operations left behind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct ContainerLeftoverList(pub(crate) Vec<Leftover>);

impl Report for ContainerLeftoverList {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::new(["CONTAINER", "ID", "OPERATION", "TIME WAS OVER"]);
        for l in &self.0 {
            let short = l.id.get(..12).unwrap_or(&l.id);
            t.row([l.name.clone(), short.to_owned(), l.operation.clone(), l.lease.to_string()]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|l| l.name.clone()).collect()
    }
}

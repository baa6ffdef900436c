//! Where in a topology file something stands.

use crate::Error;
use std::fmt;
use std::sync::Arc;

/// Where in a topology file something stands: `file:line:column`, both counted from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    file: Option<Arc<str>>,
    line: u64,
    column: u64,
}

impl Place {
    pub(super) fn new(file: Option<Arc<str>>, at: serde_saphyr::Location) -> Self {
        Self { file, line: at.line(), column: at.column() }
    }

    pub(super) fn start_of(file: Option<Arc<str>>) -> Self {
        Self { file, line: 1, column: 1 }
    }

    /// The line, from 1; 0 for what stands in no file.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The column, from 1; 0 for what stands in no file.
    #[must_use]
    pub fn column(&self) -> u64 {
        self.column
    }

    /// Adds this place to an error, unless it stands in no file.
    pub(super) fn mark(&self, error: Error) -> Error {
        if self.line == 0 { error } else { error.with_context("place", self.to_string()) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (_, 0) => f.write_str("no file"),
            (Some(file), _) => write!(f, "{file}:{}:{}", self.line, self.column),
            (None, _) => write!(f, "line {}, column {}", self.line, self.column),
        }
    }
}

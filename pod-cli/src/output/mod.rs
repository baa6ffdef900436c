//! What goes to stdout: data only, in the format asked for.

mod docker;
mod forward;
mod k8s;
mod net;
mod os;
mod table;
mod tools;
mod topology;
mod views;

pub(crate) use docker::*;
pub(crate) use forward::*;
pub(crate) use k8s::*;
pub(crate) use net::*;
pub(crate) use os::*;
pub(crate) use table::{Table, age};
pub(crate) use tools::*;
pub(crate) use topology::*;
pub(crate) use views::*;

use crate::args::{Globals, OutputFormat};
use pod::{Error, Result};
use std::io::Write;

/// Data that can be printed in every format. Its JSON and YAML form is that of its serde type, which
/// only ever gains keys.
pub(crate) trait Report: serde::Serialize {
    /// The rows for people; more columns when `wide`.
    fn table(&self, wide: bool) -> Table;

    /// The names alone, one a line.
    fn names(&self) -> Vec<String>;

    /// The rows with colors, for a terminal; as they are unless a report has something to point out.
    fn paint(&self, rows: String) -> String {
        rows
    }
}

/// Prints a report.
///
/// # Errors
/// When stdout can't be written; a closed pipe is none.
pub(crate) fn print(globals: &Globals, report: &impl Report) -> Result<()> {
    let rows = |wide| {
        let rows = report.table(wide).render();
        if globals.color.for_stdout() { report.paint(rows) } else { rows }
    };
    let text = match globals.output.unwrap_or_default() {
        OutputFormat::Table => rows(false),
        OutputFormat::Wide => rows(true),
        OutputFormat::Name => report.names().into_iter().map(|n| n + "\n").collect(),
        OutputFormat::Json => json(report)? + "\n",
        OutputFormat::Yaml => yaml(report)?,
    };
    print_text(&text)
}

/// The value as indented JSON, with no newline at its end.
pub(crate) fn json(value: &(impl serde::Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|e| Error::unexpected("print JSON").with_source(e))
}

/// The value as one line of JSON, with its newline.
pub(crate) fn json_line(value: &(impl serde::Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(value).map(|s| s + "\n").map_err(|e| Error::unexpected("print JSON").with_source(e))
}

fn yaml(value: &impl serde::Serialize) -> Result<String> {
    serde_saphyr::to_string(value).map_err(|e| Error::unexpected("print YAML").with_source(e))
}

/// Whether whoever reads stdout still does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// It does.
    There,
    /// It closed the pipe: nothing more is wanted.
    Gone,
}

/// Writes bytes to stdout now, and says whether anyone still reads.
pub(crate) fn write_bytes(bytes: &[u8]) -> Result<Reader> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(e) => Err(Error::io("write to stdout", e)),
    }
}

/// Writes text to stdout; a closed pipe is no error, for then nothing more is wanted.
pub(crate) fn print_text(text: &str) -> Result<()> {
    write_bytes(text.as_bytes()).map(|_| ())
}

/// Prints one line of JSON to stdout.
pub(crate) fn print_json_line(value: &(impl serde::Serialize + ?Sized)) -> Result<Reader> {
    write_bytes(json_line(value)?.as_bytes())
}

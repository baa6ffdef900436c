//! Who reaches whom: expected against measured.

use super::Expect;
use crate::WorkloadName;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The most workloads of which a matrix prints a table; of more it lists what differs.
const WIDEST_TABLE: usize = 20;

/// What a probe of one ordered pair found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measured {
    /// The target answered after this long.
    Reached(Duration),
    /// No address of the target answered, by any interface of the prober, while there was a control:
    /// the same prober reached another, and the target answered itself (see
    /// [`Deployment::verify`](super::Deployment::verify)).
    Blocked,
    /// There is no proof either way: the reason.
    Unknown(String),
}

impl Measured {
    /// The word in output.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Reached(_) => "reached",
            Self::Blocked => "blocked",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached(after) => write!(f, "reached in {:.1} ms", after.as_secs_f64() * 1e3),
            Self::Blocked => f.write_str("blocked"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// One ordered pair of workloads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cell {
    /// Who asked.
    pub from: WorkloadName,
    /// Who was asked.
    pub to: WorkloadName,
    /// What should be.
    pub expected: Expect,
    /// What is.
    pub measured: Measured,
}

impl Cell {
    /// A cell of these parts.
    #[must_use]
    pub fn new(from: WorkloadName, to: WorkloadName, expected: Expect, measured: Measured) -> Self {
        Self { from, to, expected, measured }
    }

    /// Whether it is as expected: what is unknown is not, unless nothing is expected.
    #[must_use]
    pub fn ok(&self) -> bool {
        matches!(
            (self.expected, &self.measured),
            (Expect::Any, _) | (Expect::Reached, Measured::Reached(_)) | (Expect::Blocked, Measured::Blocked)
        )
    }

    /// The cell in a table: `yes` and `no` as expected, in capitals when not, `?` unknown, in brackets
    /// where nothing is expected.
    fn mark(&self) -> &'static str {
        match (self.expected, &self.measured) {
            (Expect::Any, Measured::Reached(_)) => "(yes)",
            (Expect::Any, Measured::Blocked) => "(no)",
            (Expect::Any, Measured::Unknown(_)) => "(?)",
            (_, Measured::Unknown(_)) => "?",
            (Expect::Reached, Measured::Reached(_)) => "yes",
            (Expect::Blocked, Measured::Reached(_)) => "YES!",
            (Expect::Blocked, Measured::Blocked) => "no",
            (Expect::Reached, Measured::Blocked) => "NO!",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: expected {}, {}", self.from, self.to, self.expected.as_str(), self.measured)
    }
}

/// In JSON: `{from, to, expected, measured, seconds, reason, ok}`; `seconds` and `reason` may be null.
impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (seconds, reason) = match &self.measured {
            Measured::Reached(after) => (Some(after.as_secs_f64()), None),
            Measured::Blocked => (None, None),
            Measured::Unknown(why) => (None, Some(why)),
        };
        let mut s = serializer.serialize_struct("Cell", 7)?;
        s.serialize_field("from", &self.from)?;
        s.serialize_field("to", &self.to)?;
        s.serialize_field("expected", &self.expected)?;
        s.serialize_field("measured", self.measured.as_str())?;
        s.serialize_field("seconds", &seconds)?;
        s.serialize_field("reason", &reason)?;
        s.serialize_field("ok", &self.ok())?;
        s.end()
    }
}

/// Every ordered pair of workloads, expected against measured.
///
/// `Display` prints a table of up to 20 workloads, the counts, and a line for every pair that is not
/// as expected.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Matrix {
    /// The workloads, in the order of the file.
    pub workloads: Vec<WorkloadName>,
    /// The pairs: by row, that is by who asked.
    pub cells: Vec<Cell>,
}

impl Matrix {
    /// A matrix of these parts.
    #[must_use]
    pub fn new(workloads: Vec<WorkloadName>, cells: Vec<Cell>) -> Self {
        Self { workloads, cells }
    }

    /// Whether every pair is as expected.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.cells.iter().all(Cell::ok)
    }

    /// The pairs that are not as expected.
    pub fn differing(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|c| !c.ok())
    }

    /// The pair of these two.
    #[must_use]
    pub fn cell(&self, from: &str, to: &str) -> Option<&Cell> {
        self.cells.iter().find(|c| c.from.as_str() == from && c.to.as_str() == to)
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let marks: BTreeMap<(&str, &str), &str> =
            self.cells.iter().map(|c| ((c.from.as_str(), c.to.as_str()), c.mark())).collect();
        let longest = self.workloads.iter().map(|w| w.as_str().len()).max().unwrap_or_default();
        // Long names would make a table that no terminal holds: columns are then numbered.
        let numbered = (longest.max(5) + 2) * (self.workloads.len() + 1) > 120;
        let column = |i: usize, w: &WorkloadName| if numbered { (i + 1).to_string() } else { w.to_string() };
        let row = |i: usize, w: &WorkloadName| if numbered { format!("{:>2} {w}", i + 1) } else { w.to_string() };
        let corner = "from \\ to";
        let first = if numbered { longest + 3 } else { longest }.max(corner.len());
        let width = if numbered { 5 } else { longest.max(5) };
        let mut lines =
            vec![(corner.to_owned(), self.workloads.iter().enumerate().map(|(i, w)| column(i, w)).collect())];
        for (i, from) in self.workloads.iter().enumerate() {
            let mark = |to: &WorkloadName| marks.get(&(from.as_str(), to.as_str())).copied().unwrap_or("-").to_owned();
            lines.push((row(i, from), self.workloads.iter().map(mark).collect::<Vec<String>>()));
        }
        for (head, cells) in lines {
            let mut line = format!("{head:first$}");
            for cell in cells {
                line.push_str(&format!("  {cell:width$}"));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        f.write_str("\n")
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (1..=WIDEST_TABLE).contains(&self.workloads.len()) {
            self.table(f)?;
        }
        let count = |which: fn(&Cell) -> bool| self.cells.iter().filter(|c| which(c)).count();
        let reached = count(|c| matches!(c.measured, Measured::Reached(_)));
        let blocked = count(|c| c.measured == Measured::Blocked);
        let unknown = count(|c| matches!(c.measured, Measured::Unknown(_)));
        write!(f, "{} pairs: {reached} reached, {blocked} blocked", self.cells.len())?;
        if unknown > 0 {
            write!(f, ", {unknown} unknown")?;
        }
        match self.differing().count() {
            0 => f.write_str("; all as expected"),
            n => write!(f, "; {n} not as expected:"),
        }?;
        for cell in self.differing() {
            write!(f, "\n  {cell}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(names: &[&str], measure: impl Fn(&str, &str) -> (Expect, Measured)) -> Matrix {
        let name = |n: &str| WorkloadName::new(n).expect("name");
        let mut cells = Vec::new();
        for from in names {
            for to in names.iter().filter(|t| *t != from) {
                let (expected, measured) = measure(from, to);
                cells.push(Cell::new(name(from), name(to), expected, measured));
            }
        }
        Matrix::new(names.iter().map(|n| name(n)).collect(), cells)
    }

    fn alike(from: &str, to: &str) -> (Expect, Measured) {
        if from[..1] == to[..1] {
            (Expect::Reached, Measured::Reached(Duration::from_micros(300)))
        } else {
            (Expect::Blocked, Measured::Blocked)
        }
    }

    #[test]
    fn a_small_matrix_is_a_table() {
        let m = matrix(&["a1", "a2", "b1"], alike);
        assert!(m.ok());
        let text: Vec<String> = m.to_string().lines().map(ToOwned::to_owned).collect();
        assert_eq!(
            text,
            [
                "from \\ to  a1     a2     b1",
                "a1         -      yes    no",
                "a2         yes    -      no",
                "b1         no     no     -",
                "",
                "6 pairs: 2 reached, 4 blocked; all as expected",
            ]
        );
    }

    #[test]
    fn what_differs_stands_out_and_is_listed() {
        let m = matrix(&["a1", "a2", "b1"], |f, t| match (f, t) {
            ("a1", "b1") => (Expect::Blocked, Measured::Reached(Duration::from_millis(2))),
            ("a2", "a1") => (Expect::Reached, Measured::Blocked),
            ("b1", "a1") => (Expect::Blocked, Measured::Unknown("no control".into())),
            ("b1", "a2") => (Expect::Any, Measured::Unknown("no address".into())),
            _ => alike(f, t),
        });
        assert!(!m.ok());
        let text: Vec<String> = m.to_string().lines().map(ToOwned::to_owned).collect();
        assert_eq!(
            text,
            [
                "from \\ to  a1     a2     b1",
                "a1         -      yes    YES!",
                "a2         NO!    -      no",
                "b1         ?      (?)    -",
                "",
                "6 pairs: 2 reached, 2 blocked, 2 unknown; 3 not as expected:",
                "  a1 -> b1: expected blocked, reached in 2.0 ms",
                "  a2 -> a1: expected reached, blocked",
                "  b1 -> a1: expected blocked, unknown: no control",
            ]
        );
    }

    #[test]
    fn a_large_matrix_is_a_list() {
        let names: Vec<String> = (0..21).map(|i| format!("a{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(matrix(&names, alike).to_string(), "420 pairs: 420 reached, 0 blocked; all as expected");
        // Twenty of them still make a table, its columns numbered so that it fits.
        let text = matrix(&names[..20], alike).to_string();
        assert!(text.lines().all(|l| l.len() <= 160), "{text}");
        assert!(text.contains("\n20 a19 "), "{text}");
    }

    #[test]
    fn the_json_form_is_stable() {
        let m = matrix(&["a1", "b1"], alike);
        assert_eq!(
            serde_json::to_value(&m).expect("json"),
            serde_json::json!({
                "workloads": ["a1", "b1"],
                "cells": [
                    { "from": "a1", "to": "b1", "expected": "blocked", "measured": "blocked", "seconds": null, "reason": null, "ok": true },
                    { "from": "b1", "to": "a1", "expected": "blocked", "measured": "blocked", "seconds": null, "reason": null, "ok": true },
                ]
            })
        );
    }
}

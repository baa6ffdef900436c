//! Tables for people: aligned columns, no lines.

use crate::failure::clean;
use jiff::Timestamp;

/// Rows of cells below a heading.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
    text: Option<String>,
}

impl Table {
    /// A table with these column names.
    pub(crate) fn new<I: IntoIterator<Item = S>, S: Into<String>>(heading: I) -> Self {
        Self { heading: heading.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// A table without a heading.
    pub(crate) fn bare() -> Self {
        Self::default()
    }

    /// Text that was laid out already.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: Some(clean(&text.into())), ..Self::default() }
    }

    /// Adds a row. An empty cell is printed as `-`, so that columns can be cut by white space.
    pub(crate) fn row<I: IntoIterator<Item = S>, S: Into<String>>(&mut self, cells: I) {
        self.rows.push(
            cells
                .into_iter()
                .map(|c| {
                    let c = clean(&c.into()).replace(['\n', '\t'], " ");
                    if c.is_empty() { "-".into() } else { c }
                })
                .collect(),
        );
    }

    /// The table as text, each line with its newline.
    pub(crate) fn render(&self) -> String {
        if let Some(text) = &self.text {
            return text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        }
        if self.rows.is_empty() && self.heading.is_empty() {
            return String::new();
        }
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        if !self.heading.is_empty() {
            table.set_header(self.heading.iter().map(String::as_str));
        }
        for row in &self.rows {
            table.add_row(row.iter().map(String::as_str));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

/// How long ago, in the largest unit that gives a whole number.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        s if s < 120 => format!("{s}s"),
        s if s < 7_200 => format!("{}m", s / 60),
        s if s < 172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_cells_are_cleaned() {
        let mut t = Table::new(["NAME", "STATE"]);
        t.row(["web", "running"]);
        t.row(["a-long-name", ""]);
        t.row(["x\u{1b}[2J", "a\nb"]);
        assert_eq!(t.render(), "NAME         STATE\nweb          running\na-long-name  -\nx\\u{1b}[2J   a b\n");
    }

    #[test]
    fn ages_have_one_unit() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().expect("time");
        let at = |s: &str| age(s.parse().expect("time"), now);
        assert_eq!(at("2026-01-01T23:59:30Z"), "30s");
        assert_eq!(at("2026-01-01T23:00:00Z"), "60m");
        assert_eq!(at("2026-01-01T00:00:00Z"), "24h");
        assert_eq!(at("2025-01-01T00:00:00Z"), "366d");
        assert_eq!(at("2026-01-03T00:00:00Z"), "0s");
    }
}

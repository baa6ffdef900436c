//! Times, medians, and the table of them.

use std::time::Duration;

/// The times of one contestant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The middle one; of an even number the mean of the middle two.
    pub(crate) fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        match sorted.len() {
            0 => Duration::ZERO,
            n if n % 2 == 1 => sorted[n / 2],
            n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2,
        }
    }
}

/// What a measure is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At most so many times the first peer's time.
    Ratio(f64),
    /// At most so many times the second peer's time.
    Second(f64),
    /// At most so many times the floor's time.
    Floor(f64),
    /// At most so long.
    AtMost(Duration),
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) own: Duration,
    /// The tools it is compared with.
    pub(crate) peers: Vec<(&'static str, Duration)>,
    /// The barest program that can do it.
    pub(crate) floor: Option<(&'static str, Duration)>,
    /// What it is held against; nothing when it is reported only.
    pub(crate) targets: Vec<Target>,
}

/// A time in a unit that suits it.
fn show(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1e3),
    }
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64().max(1e-9)
}

impl Row {
    /// A target, and whether it is met; `None` where there is nobody to compare with.
    fn verdict(&self, target: Target) -> Option<String> {
        let (most, of, met) = match target {
            Target::AtMost(most) => (show(most), "", self.own <= most),
            Target::Ratio(most) => (most.to_string(), "", ratio(self.own, self.peers.first()?.1) <= most),
            Target::Second(most) => {
                let (name, time) = self.peers.get(1)?;
                (most.to_string(), *name, ratio(self.own, *time) <= most)
            }
            Target::Floor(most) => (most.to_string(), "floor", ratio(self.own, self.floor?.1) <= most),
        };
        let of = if of.is_empty() { String::new() } else { format!(" of {of}") };
        Some(format!("≤ {most}{of}, {}", if met { "met" } else { "MISSED" }))
    }

    fn cells(&self) -> [String; 6] {
        let named = |name: &str, time: Duration| format!("{name} {}", show(time));
        let peers: Vec<_> = self.peers.iter().map(|(name, time)| named(name, *time)).collect();
        let ratios: Vec<_> = self.peers.iter().map(|(_, time)| format!("{:.2}", ratio(self.own, *time))).collect();
        let targets: Vec<_> = self.targets.iter().filter_map(|target| self.verdict(*target)).collect();
        [
            self.what.to_owned(),
            show(self.own),
            peers.join(", "),
            ratios.join(", "),
            targets.join("; "),
            self.floor.map(|(name, time)| named(name, time)).unwrap_or_default(),
        ]
    }
}

/// The table, in Markdown with columns that line up.
pub(crate) fn print(rows: &[Row]) -> String {
    let head = ["what", "POD", "beside", "ratio", "target", "floor"].map(String::from);
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for (i, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
        text += &format!("|{}\n", cells.collect::<String>());
        if i == 0 {
            let rules = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
            text += &format!("|{}\n", rules.collect::<String>());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_verdicts() {
        let mut times = Times::default();
        for ms in [5, 1, 9] {
            times.add(Duration::from_millis(ms));
        }
        assert_eq!(times.median(), Duration::from_millis(5));
        times.add(Duration::from_millis(7));
        assert_eq!(times.median(), Duration::from_millis(6));
        let ms = Duration::from_millis;
        let row = |own, most| Row {
            what: "x",
            own: ms(own),
            peers: vec![("runc", ms(40)), ("crun", ms(10))],
            floor: Some(("fork", ms(1))),
            targets: vec![Target::Ratio(most)],
        };
        assert_eq!(row(20, 0.5).cells()[4], "≤ 0.5, met");
        assert_eq!(row(21, 0.5).cells()[4], "≤ 0.5, MISSED");
        assert_eq!(row(20, 0.5).cells()[3], "0.50, 2.00");
        let more = Row { targets: vec![Target::Second(2.0), Target::Floor(1.11)], ..row(20, 0.5) };
        assert_eq!(more.cells()[4], "≤ 2 of crun, met; ≤ 1.11 of floor, MISSED");
    }
}

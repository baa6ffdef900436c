//! Runs steps one after the other, or two rows of them side by side, counts what their tests report, and
//! sums up at the end.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A step that runs longer is killed: it hangs.
const LONGEST_STEP: Duration = Duration::from_secs(20 * 60);

/// How often a program that prints nothing is looked at.
const POLL: Duration = Duration::from_millis(50);

/// How long a program's output may stay open after it ended.
const LINGER: Duration = Duration::from_secs(5);

/// Counts of tests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// A tier while it runs.
#[derive(Debug)]
struct Tier {
    name: &'static str,
    budget: Duration,
    started: Instant,
}

/// Where a report's words go.
#[derive(Debug, Default)]
enum Paper {
    /// To stdout as they come.
    #[default]
    Open,
    /// To stdout when a step has ended, all of it at once: another row of steps runs beside it.
    Sheet(String),
}

impl Paper {
    fn write(&mut self, text: &str) {
        match self {
            Self::Open => {
                print!("{text}");
                flush();
            }
            Self::Sheet(sheet) => sheet.push_str(text),
        }
    }

    /// Puts a sheet down.
    fn turn(&mut self) {
        if let Self::Sheet(sheet) = self {
            print!("{}", std::mem::take(sheet));
            flush();
        }
    }
}

/// What has been run, and how it went.
#[derive(Debug, Default)]
pub(crate) struct Report {
    paper: Paper,
    total: Counts,
    failures: Vec<String>,
    remarks: Vec<String>,
    times: Vec<String>,
    tier: Option<Tier>,
    /// How many tests that failed may still be run a second time.
    second_tries: usize,
}

impl Report {
    /// Begins a tier. Going over its budget is a remark, no failure: a slow machine proves nothing.
    pub(crate) fn begin(&mut self, name: &'static str, budget: Duration) {
        self.end();
        println!("\n===== tier {name}, budget {} =====", span(budget));
        self.tier = Some(Tier { name, budget, started: Instant::now() });
    }

    /// From here on so many tests that fail, in each row, are run once more, alone: beside others, real
    /// servers on a small machine may be late. A second pass is said at the end, for it may hide a fault.
    pub(crate) fn try_twice(&mut self, tests: usize) {
        self.second_tries = tests;
    }

    /// Ends the tier that runs.
    pub(crate) fn end(&mut self) {
        self.second_tries = 0;
        let Some(tier) = self.tier.take() else { return };
        let used = tier.started.elapsed();
        let verdict = if used > tier.budget { ", OVER BUDGET" } else { "" };
        let line = format!("tier {}: {} of {}{verdict}", tier.name, span(used), span(tier.budget));
        println!("\n===== {line} =====");
        self.times.push(line);
    }

    /// Runs two rows of steps side by side. What each step says comes when it has ended, in one piece.
    pub(crate) fn beside(&mut self, one: impl FnOnce(&mut Self) + Send, other: impl FnOnce(&mut Self)) {
        let second_tries = self.second_tries;
        let row = || Self { paper: Paper::Sheet(String::new()), second_tries, ..Self::default() };
        let (mut first, mut second) = (row(), row());
        std::thread::scope(|scope| {
            let beside = scope.spawn(|| one(&mut first));
            other(&mut second);
            if beside.join().is_err() {
                second.record("a row of steps", Instant::now(), Err("it broke off".into()), &[]);
            }
        });
        for mut row in [first, second] {
            row.paper.turn();
            self.total.add(row.total);
            self.failures.append(&mut row.failures);
            self.remarks.append(&mut row.remarks);
        }
    }

    /// Says something that must not be overlooked at the end.
    pub(crate) fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.paper.write(&format!("note: {text}\n"));
        self.remarks.push(text);
    }

    /// Runs a check of our own.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<(), String>) -> bool {
        self.head(name, "");
        let started = Instant::now();
        let result = check();
        let good = Counts { passed: 1, ..Counts::default() };
        self.record(name, started, result.map(|()| good), &[])
    }

    /// Runs a program; its output is passed on. What its tests report is counted; a program that
    /// reports none counts as one.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) -> bool {
        self.carry_out(name, command, |counts| match counts {
            none if none == Counts::default() => Ok(Counts { passed: 1, ..none }),
            counts => Ok(counts),
        })
    }

    /// The same for chosen tests of a program: it fails when all of them are ignored, or there are none.
    pub(crate) fn run_chosen(&mut self, name: &str, command: &mut Command) -> bool {
        self.carry_out(name, command, |counts| match counts.passed {
            0 => Err("none of the chosen tests was run".into()),
            _ => Ok(counts),
        })
    }

    fn carry_out(
        &mut self,
        name: &str,
        command: &mut Command,
        judge: impl FnOnce(Counts) -> Result<Counts, String>,
    ) -> bool {
        self.head(name, &format!("    {}\n", show(command)));
        let started = Instant::now();
        let mut heard = Heard::default();
        let status = watch(command, &mut self.paper, &mut heard);
        let mut result = status.and_then(|()| judge(heard.counts));
        if result.is_err() && self.pass_alone(name, command, &heard) {
            let Counts { passed, failed, ignored } = heard.counts;
            result = Ok(Counts { passed: passed + failed, failed: 0, ignored });
        }
        if result.is_err() {
            // The step itself is one more failure only if none of its tests was.
            self.total.passed += heard.counts.passed;
            self.total.ignored += heard.counts.ignored;
            self.total.failed += heard.counts.failed.saturating_sub(1);
        }
        self.record(name, started, result, &heard.failed)
    }

    /// Runs the tests that failed once more, each alone; whether all passed now.
    fn pass_alone(&mut self, name: &str, command: &Command, heard: &Heard) -> bool {
        let tests = &heard.failed;
        if tests.is_empty() || tests.len() > self.second_tries || heard.counts.failed != tests.len() as u64 {
            return false;
        }
        self.second_tries -= tests.len();
        for test in tests {
            self.paper.write(&format!("\n--- {name}: {test}, alone\n"));
            let mut again = Heard::default();
            let status = watch(&mut alone(command, test), &mut self.paper, &mut again);
            if status.is_err() || again.counts.passed == 0 {
                return false;
            }
        }
        for test in tests {
            self.remark(format!("UNSTEADY: {name}: {test} failed, and passed alone"));
        }
        true
    }

    /// Says what begins; beside another row, at once too, so that it is known what has not ended.
    fn head(&mut self, name: &str, more: &str) {
        if matches!(self.paper, Paper::Sheet(_)) {
            println!("begins: {name}");
            flush();
        }
        self.paper.write(&format!("\n--- {name}\n{more}"));
    }

    fn record(&mut self, name: &str, started: Instant, result: Result<Counts, String>, tests: &[String]) -> bool {
        let time = span(started.elapsed());
        let good = match result {
            Ok(counts) => {
                self.paper.write(&format!("    ok, {time}\n"));
                self.total.add(counts);
                true
            }
            Err(why) => {
                self.paper.write(&format!("    FAILED after {time}: {why}\n"));
                self.total.failed += 1;
                let tests: String = tests.iter().map(|t| format!("\n      {t}")).collect();
                self.failures.push(format!("{name}: {why}{tests}"));
                false
            }
        };
        self.paper.turn();
        good
    }

    /// Prints the sum; its last line holds the counts.
    pub(crate) fn finish(mut self) -> ExitCode {
        self.end();
        println!();
        for line in &self.times {
            println!("{line}");
        }
        for line in &self.remarks {
            println!("note: {line}");
        }
        if !self.failures.is_empty() {
            println!("failed:");
            for line in &self.failures {
                println!("  {line}");
            }
        }
        let Counts { passed, failed, ignored } = self.total;
        println!("{passed} passed, {failed} failed, {ignored} ignored");
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// What was heard from a program.
#[derive(Debug, Default)]
struct Heard {
    counts: Counts,
    failed: Vec<String>,
}

impl Heard {
    fn line(&mut self, line: &str) {
        if let Some(counts) = summary(line) {
            self.counts.add(counts);
        } else if let Some(name) = failed_test(line) {
            self.failed.push(name.to_owned());
        }
    }
}

/// The counts of a summary line as libtest and libtest-mimic print it:
/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn summary(line: &str) -> Option<Counts> {
    let rest = line.trim().strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut counts = Counts::default();
    for part in rest.split("; ") {
        let (number, what) = part.trim().split_once(' ')?;
        match what {
            "passed" => counts.passed = number.parse().ok()?,
            "failed" => counts.failed = number.parse().ok()?,
            "ignored" => counts.ignored = number.parse().ok()?,
            _ => break,
        }
    }
    Some(counts)
}

fn failed_test(line: &str) -> Option<&str> {
    let rest = line.trim().strip_prefix("test ")?;
    Some(rest.strip_suffix(" ... FAILED").or_else(|| rest.strip_suffix(" ... failed"))?.trim())
}

/// Runs a program to its end, passing its stdout on line by line.
fn watch(command: &mut Command, paper: &mut Paper, heard: &mut Heard) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("run {}: {e}", command.get_program().to_string_lossy()))?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let (lines, incoming) = mpsc::channel::<String>();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    let started = Instant::now();
    let mut open = true;
    let mut ended: Option<(ExitStatus, Instant)> = None;
    while open || ended.is_none() {
        match incoming.recv_timeout(POLL) {
            Ok(line) => {
                paper.write(&line);
                heard.line(&line);
                continue;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                open = false;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        match ended {
            Some((_, when)) if open && when.elapsed() > LINGER => {
                return Err("it ended, but something it started still holds its stdout".into());
            }
            None if started.elapsed() > LONGEST_STEP => {
                end_tree(&mut child);
                return Err(format!("still running after {}: killed", span(LONGEST_STEP)));
            }
            None => ended = child.try_wait().map_err(|e| e.to_string())?.map(|s| (s, Instant::now())),
            Some(_) => {}
        }
    }
    match ended {
        Some((status, _)) if !status.success() => Err(status.to_string()),
        _ => Ok(()),
    }
}

/// The same command for one of its tests.
fn alone(command: &Command, test: &str) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args()).args([test, "--exact"]);
    if let Some(folder) = command.get_current_dir() {
        again.current_dir(folder);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => again.env(key, value),
            None => again.env_remove(key),
        };
    }
    again
}

/// Kills a program and every process beneath it.
fn end_tree(child: &mut Child) {
    let mut found = VecDeque::from([child.id()]);
    let mut all = Vec::new();
    while let Some(pid) = found.pop_front() {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|p| p.parse::<u32>().ok()));
        all.push(pid.to_string());
    }
    // What ended meanwhile makes kill(1) fail, and is what was wanted.
    let _ = Command::new("kill").arg("-KILL").args(&all).status();
    let _ = child.wait();
}

/// A command as one would type it.
fn show(command: &Command) -> String {
    let env = command.get_envs().filter_map(|(k, v)| Some(format!("{}={}", k.to_string_lossy(), v?.to_string_lossy())));
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args()).map(|w| {
        let w = w.to_string_lossy();
        if w.contains([' ', '"']) { format!("'{w}'") } else { w.into_owned() }
    });
    env.chain(words).collect::<Vec<_>>().join(" ")
}

fn flush() {
    // A closed stdout shows at the next line printed.
    let _ = std::io::stdout().flush();
}

/// A time span in words.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:.0} s", time.as_secs() / 60, seconds % 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_both_runners_are_read() {
        let libtest =
            "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.1s";
        assert_eq!(summary(libtest), Some(Counts { passed: 3, failed: 2, ignored: 1 }));
        assert_eq!(summary("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured").map(|c| c.passed), Some(1));
        assert_eq!(summary("running 3 tests"), None);
        assert_eq!(failed_test("test a::b ... FAILED\n"), Some("a::b"));
        assert_eq!(failed_test("test a::b ... ok\n"), None);
    }

    #[test]
    fn a_failing_program_is_a_failure_and_its_tests_are_named() {
        let mut report = Report::default();
        let script = "echo 'test x ... FAILED'; echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'; exit 101";
        assert!(!report.run("step", Command::new("sh").args(["-c", script])));
        assert_eq!(report.total, Counts { passed: 2, failed: 1, ignored: 0 });
        assert!(
            report.failures[0].contains("101") && report.failures[0].contains("\n      x"),
            "{:?}",
            report.failures
        );
    }

    #[test]
    fn a_failing_program_without_failed_tests_is_one_failure() {
        let mut report = Report::default();
        assert!(!report.run("step", &mut Command::new("false")));
        assert!(report.run("step", &mut Command::new("true")));
        assert_eq!(report.total, Counts { passed: 1, failed: 1, ignored: 0 });
    }

    #[test]
    fn a_test_that_fails_is_run_again_alone_where_that_is_allowed() {
        // Fails beside others; alone, with its name and `--exact`, "late" passes and "broken" does not.
        let script = |test: &str| {
            format!(
                "case $1 in '') echo 'test {test} ... FAILED'; echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'; exit 101;; \
                 late) [ $# = 2 ] && echo 'test result: ok. 1 passed; 0 failed; 0 ignored';; \
                 *) echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored'; exit 101; esac"
            )
        };
        let run = |report: &mut Report, test| report.run("step", Command::new("sh").args(["-c", &script(test), "sh"]));
        let mut report = Report::default();
        assert!(!run(&mut report, "late"), "nobody allowed it");
        report.try_twice(2);
        assert!(run(&mut report, "late"));
        assert!(report.remarks.iter().any(|r| r.contains("UNSTEADY") && r.contains("late")), "{:?}", report.remarks);
        assert!(!run(&mut report, "broken"), "twice is a failure");
        assert!(!run(&mut report, "late"), "there were two already");
        assert_eq!(report.total, Counts { passed: 9, failed: 3, ignored: 0 });
    }

    #[test]
    fn chosen_tests_that_are_none_are_a_failure() {
        let said = |n: u8| format!("echo 'test result: ok. {n} passed; 0 failed; 2 ignored'");
        let mut report = Report::default();
        assert!(!report.run_chosen("none", Command::new("sh").args(["-c", &said(0)])));
        assert!(report.run_chosen("one", Command::new("sh").args(["-c", &said(1)])));
        assert_eq!(report.failures.len(), 1);
    }

    #[test]
    fn two_rows_run_side_by_side_and_all_of_both_counts() {
        let (to, from) = mpsc::channel();
        let mut report = Report::default();
        report.beside(
            move |row| {
                // It can end only when the other row runs too.
                assert!(row.check("waits", || from.recv_timeout(LINGER).map_err(|e| e.to_string())));
                row.remark("a remark");
            },
            |row| {
                assert!(row.check("tells", || to.send(()).map_err(|e| e.to_string())));
                assert!(!row.run("fails", &mut Command::new("false")));
            },
        );
        assert_eq!(report.total, Counts { passed: 2, failed: 1, ignored: 0 });
        assert_eq!((report.failures.len(), report.remarks.len()), (1, 1));
        report.beside(|_| panic!("as it should"), |_| {});
        assert_eq!(report.total.failed, 2);
    }

    #[test]
    fn output_held_open_by_what_is_left_behind_is_a_failure() {
        let mut report = Report::default();
        assert!(!report.run("step", Command::new("sh").args(["-c", "sleep 8 & exit 0"])));
        assert!(report.failures[0].contains("holds its stdout"), "{:?}", report.failures);
    }
}

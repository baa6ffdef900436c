//! Progress of long work on stderr: a bar on a terminal, nothing elsewhere.

use crate::args::Globals;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

/// How often a bar is drawn, per second.
const RATE: u8 = 12;

/// How often a bar moves that hears nothing.
const TICK: Duration = Duration::from_millis(250);

/// A bar for each phase of the work.
#[derive(Debug)]
pub(crate) struct Bars {
    shown: bool,
    current: Mutex<Option<ProgressBar>>,
}

impl Bars {
    /// Bars are drawn when stderr is a terminal, and neither silence nor log lines are asked for.
    pub(crate) fn new(globals: &Globals) -> Self {
        Self {
            shown: !globals.quiet && globals.verbose == 0 && globals.log.is_none() && std::io::stderr().is_terminal(),
            current: Mutex::new(None),
        }
    }

    /// Takes the bar away that there is, then draws another.
    fn replace(&self, make: impl FnOnce() -> Option<ProgressBar>) {
        let mut current = self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(old) = current.take() {
            old.finish_and_clear();
        }
        *current = make().inspect(|bar| bar.enable_steady_tick(TICK));
    }

    fn with(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = &*self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            act(bar);
        }
    }

    /// Begins a bar that counts bytes; without a total it only counts.
    pub(crate) fn bytes(&self, name: &str) {
        if !self.shown {
            return;
        }
        self.replace(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(RATE));
            bar.set_style(style("{prefix} {bytes} ({bytes_per_sec}) {wide_msg}"));
            bar.set_prefix(crate::failure::clean(name));
            Some(bar)
        });
    }

    /// So many bytes of so many entries have been copied.
    pub(crate) fn copied(&self, bytes: u64, entries: u64) {
        self.with(|bar| {
            bar.set_position(bytes);
            bar.set_message(format!("{entries} entries"));
        });
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.replace(|| None);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.end();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; one that is not understood falls back to a plain bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl pod::topology::Progress for Bars {
    fn phase(&self, name: &str, total: usize) {
        tracing::info!(phase = name, steps = total, "begins");
        if !self.shown {
            return;
        }
        self.replace(|| {
            let target = ProgressDrawTarget::stderr_with_hz(RATE);
            let bar = ProgressBar::with_draw_target(Some(total as u64), target);
            bar.set_style(style("{prefix:24} {bar:30} {pos}/{len} {wide_msg}"));
            bar.set_prefix(name.to_owned());
            Some(bar)
        });
    }

    fn step(&self, what: &str) {
        tracing::debug!(what, "done");
        self.with(|bar| {
            bar.set_message(crate::failure::clean(what));
            bar.inc(1);
        });
    }
}

//! The lab as `cargo xtask test` uses it: built in the background, up for the tests, down after them.

use super::process;
use super::site::{self, Lab};
use crate::install;
use crate::report::span;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A lab for the tests.
#[derive(Debug)]
pub(crate) struct ForTests {
    name: String,
    /// Whether it was there before, and stays.
    kept: bool,
}

impl ForTests {
    /// The lab that `POD_LAB_NAME` tells, which stays up, else one of this process's own.
    pub(crate) fn choose() -> Result<Self, String> {
        match std::env::var("POD_LAB_NAME") {
            Ok(name) => Ok(Self { name: Lab::check_name(&name)?, kept: true }),
            Err(_) => Ok(Self { name: format!("test{}", std::process::id()), kept: false }),
        }
    }

    /// Brings it up, if it is not.
    pub(crate) fn ensure(&self, install: bool) -> Result<(), String> {
        install::ensure(install::LAB, install)?;
        // Of a run that was killed: its process is gone, and nobody else will take them down.
        for name in site::names() {
            let pid = name.strip_prefix("test").and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
                call(&["down"], &name)?;
            }
        }
        call(&["up"], &self.name)
    }

    /// The words in front of a command that runs in it.
    pub(crate) fn runner(&self) -> Result<Vec<String>, String> {
        let own = crate::project::own()?;
        let words = ["lab", "run", "--name", &self.name, "--"].map(String::from);
        Ok(std::iter::once(own.display().to_string()).chain(words).collect())
    }

    /// Takes it down, unless it was there before.
    pub(crate) fn end(&self) -> Result<(), String> {
        if self.kept { Ok(()) } else { call(&["down"], &self.name) }
    }
}

/// A command of `xtask lab`, by this program again: it becomes root by itself.
pub(super) fn call(words: &[&str], name: &str) -> Result<(), String> {
    let own = crate::project::own()?;
    let mut command = Command::new(own);
    let status = command.arg("lab").args(words).args(["--name", name]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo xtask lab {} --name {name}: {status}", words.join(" "))),
        Err(e) => Err(format!("run this program: {e}")),
    }
}

/// The building of the lab's programs, in the background.
#[derive(Debug)]
pub(crate) struct Build {
    child: Child,
    log: PathBuf,
    since: Instant,
}

/// How long building from nothing may take beside other work.
const LONGEST_BUILD: Duration = Duration::from_secs(25 * 60);

impl Build {
    /// Begins, with all other work going first.
    pub(crate) fn begin(log: PathBuf) -> Result<Self, String> {
        let own = crate::project::own()?;
        let open = || fs::File::create(&log).and_then(|f| Ok((f.try_clone()?, f)));
        let (out, err) = open().map_err(|e| format!("{}: {e}", log.display()))?;
        // A session of its own, so that all of it can be ended.
        let child = Command::new("setsid")
            .args(["chrt", "--idle", "0"])
            .arg(own)
            .args(["lab", "build"])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| format!("run setsid: {e}"))?;
        Ok(Self { child, log, since: Instant::now() })
    }

    /// Waits for its end, and says what it did.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if self.since.elapsed() < LONGEST_BUILD => std::thread::sleep(process::POLL),
                Ok(None) => return Err(format!("still building after {}: killed", span(LONGEST_BUILD))),
                Err(e) => return Err(e.to_string()),
            }
        };
        let told = fs::read_to_string(&self.log).unwrap_or_default();
        print!("{told}");
        if status.success() { Ok(()) } else { Err(format!("cargo xtask lab build: {status}: {}", told.trim())) }
    }
}

impl Drop for Build {
    /// Ends a build that nobody waits for.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let group = format!("-{}", self.child.id());
            // What ended meanwhile makes kill(1) fail, and is what is wanted.
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_nobody_waits_for_ends() {
        let child = Command::new("setsid").args(["sh", "-c", "sleep 60; true"]).spawn().expect("a shell");
        let pid = child.id();
        let inner = process::wait(Duration::from_secs(5), || match children(pid).is_empty() {
            true => Err("no child yet".into()),
            false => Ok(()),
        });
        assert_eq!(inner, Ok(()));
        let inner = children(pid);
        drop(Build { child, log: "/dev/null".into(), since: Instant::now() });
        for pid in inner {
            let gone = process::wait(Duration::from_secs(5), || {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
            });
            assert_eq!(gone, Ok(()));
        }
    }

    fn children(pid: u32) -> Vec<u32> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().filter_map(|p| p.parse().ok()).collect()
    }
}

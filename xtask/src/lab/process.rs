//! Servers as processes: started in a place, known by pid and start time, stopped.

use super::groups;
use super::site::{Lab, make, write};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often something awaited is looked at.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// How long a server may take to end when asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Where a program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The name of the network namespace.
    pub(super) netns: String,
    /// The process whose mount namespace it is, if not this machine's own.
    pub(super) mounts_of: Option<u32>,
}

impl Place {
    /// A command in this place, with nothing of the caller's environment: a proxy set there can't be
    /// reached from here, and no server should depend on whose shell started it.
    pub(super) fn command<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program).args(arguments);
        command.env_clear().env("PATH", PATH).env("HOME", "/").env("LANG", "C.UTF-8").current_dir("/");
        command.stdin(Stdio::null());
        command
    }

    /// How to enter it. `ip netns exec` would not do: it mounts another `/sys`, without control groups.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = vec!["nsenter".to_owned(), format!("--net=/var/run/netns/{}", self.netns)];
        words.extend(self.mounts_of.map(|pid| format!("--mount=/proc/{pid}/ns/mnt")));
        words.push("--".into());
        words
    }
}

/// The folders of programs for servers.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The output of a command that must succeed.
pub(super) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{}: {e}", name(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let told = told.trim().lines().last().unwrap_or_default().to_owned();
    Err(format!("{}: {}: {told}", name(command), output.status))
}

/// What a server answers to a GET, over HTTP or over HTTPS with whatever certificate it shows.
pub(super) fn get(place: &Place, url: &str) -> Result<String, String> {
    // Not wget's own -T: with it, Debian's static busybox dies by SIGSEGV.
    let words = ["5", "busybox", "wget", "-q", "-O-", "--no-check-certificate", url];
    output(&mut place.command("timeout", words))
}

/// The program that a command is about, without the `nsenter` in front.
fn name(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let start = words.iter().position(|w| *w == "--").map_or(0, |at| at + 1);
    let words: Vec<_> = words[start..].iter().take(4).map(|w| w.to_string_lossy()).collect();
    words.join(" ")
}

/// A server's program, and where it runs.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) place: Place,
    pub(super) words: Vec<String>,
}

/// A process, told from a later one with the same id by when it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) pid: u32,
    /// In ticks since the machine was started.
    started: u64,
}

impl Record {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let started = started(&stat)?;
        Some(Self { pid, started })
    }

    fn file(name: &str, part: &str) -> PathBuf {
        Lab::folder(name).join("parts").join(format!("{part}.pid"))
    }

    /// What was written down about a part's process.
    pub(super) fn load(lab: &str, part: &str) -> Option<Self> {
        let text = fs::read_to_string(Self::file(lab, part)).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// Whether the process still runs.
    pub(super) fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// How long it has run.
    pub(super) fn age(self) -> Option<Duration> {
        // USER_HZ is 100 on every architecture that Debian has for this.
        let up = fs::read_to_string("/proc/uptime").ok()?;
        let up: f64 = up.split_whitespace().next()?.parse().ok()?;
        #[expect(clippy::cast_precision_loss, reason = "ticks since the start of the machine are few")]
        let since = up - self.started as f64 / 100.0;
        Some(Duration::from_secs_f64(since.max(0.0)))
    }
}

/// The start time of a process that has not ended, from its line in proc(5).
fn started(stat: &str) -> Option<u64> {
    // The name, in brackets, may hold anything; state is field 3, the start time field 22.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The file to which a part's program writes.
pub(super) fn log(lab: &str, part: &str) -> PathBuf {
    Lab::folder(lab).join("parts").join(format!("{part}.log"))
}

/// The last lines that a part's program wrote.
pub(super) fn last_words(lab: &str, part: &str) -> String {
    let text = fs::read(log(lab, part)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].iter().map(|l| format!("\n      {l}")).collect()
}

/// Starts a server: in the lab's control group from its first instruction, in a session of its own.
pub(super) fn launch(lab: &Lab, part: &str, program: &Program) -> Result<Record, String> {
    let file = log(&lab.name, part);
    make(file.parent().unwrap_or(Path::new("/")))?;
    let open = || fs::OpenOptions::new().create(true).append(true).open(&file);
    let (out, err) = (open(), open());
    let (out, err) = out.and_then(|o| Ok((o, err?))).map_err(|e| format!("{}: {e}", file.display()))?;
    let group = groups::servers(lab)?;
    let inner = program.place.command(&program.words[0], &program.words[1..]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo $$ >\"$1\" && shift && exec setsid \"$@\"", "sh"])
        .arg(group)
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    let child = command.spawn().map_err(|e| format!("{part}: {e}"))?;
    let record =
        Record::of(child.id()).ok_or_else(|| format!("{part} ended at once:{}", last_words(&lab.name, part)))?;
    write(&Record::file(&lab.name, part), &format!("{} {}\n", record.pid, record.started))?;
    Ok(record)
}

/// Stops a part's process: asks it to end, or kills it outright, and waits until it is gone.
pub(super) fn stop(lab: &str, part: &str, kill: bool) -> Result<bool, String> {
    let Some(record) = Record::load(lab, part).filter(|r| r.alive()) else { return Ok(false) };
    let signals = if kill { &["-KILL"][..] } else { &["-TERM", "-KILL"] };
    for signal in signals {
        // It may have ended by itself just now: the look below tells.
        let _ = Command::new("kill").arg(signal).arg(record.pid.to_string()).stderr(Stdio::null()).status();
        if wait(GRACE, || if record.alive() { Err("it runs".into()) } else { Ok(()) }).is_ok() {
            return Ok(true);
        }
    }
    Err(format!("{part}: process {} does not end", record.pid))
}

/// Looks until what is awaited is there.
pub(super) fn wait(limit: Duration, mut look: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let until = Instant::now() + limit;
    loop {
        let Err(why) = look() else { return Ok(()) };
        if Instant::now() > until {
            return Err(format!("after {} s: {why}", limit.as_secs()));
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_its_start_and_an_ended_one_is_gone() {
        let line = |state: &str| format!("12 (a) b) {state} 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20");
        assert_eq!(started(&line("S")), Some(777));
        assert_eq!(started(&line("Z")), None);
        let own = Record::of(std::process::id()).expect("this process");
        assert!(own.alive());
        assert!(!Record { started: own.started + 1, ..own }.alive());
        let mut child = Command::new("true").spawn().expect("true");
        let gone = wait(Duration::from_secs(5), || match Record::of(child.id()) {
            Some(_) => Err("it runs".into()),
            None => Ok(()),
        });
        assert_eq!(gone, Ok(()), "a zombie counts as gone");
        child.wait().expect("its status");
    }

    #[test]
    fn a_place_is_entered_without_the_callers_environment() {
        let place = Place { netns: "n".into(), mounts_of: Some(7) };
        let command = place.command("etcd", ["--x"]);
        let words: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        assert_eq!(words, ["--net=/var/run/netns/n", "--mount=/proc/7/ns/mnt", "--", "etcd", "--x"]);
        assert_eq!(name(&command), "etcd --x");
    }
}

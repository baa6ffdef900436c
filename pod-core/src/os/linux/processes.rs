//! Processes from `/proc`.

use crate::os::plan::Plan;
use crate::os::processes::{ProcessInfo, ProcessState};
use crate::os::script::{NONE, Sections, garbled, script};
use crate::{Error, Output, Result, Signal};
use std::collections::BTreeMap;

/// One `grep` reads the status of all processes: it names the file before each line, and a status
/// holds no line end of a stranger's (the kernel escapes those in names), so that no process can pass
/// for another. Its code is 2 when a process went away meanwhile.
const STATUS: &str = r#"
s self; echo "$$"
s passwd; cat /etc/passwd 2>/dev/null
s status
if has grep; then grep -E '^(Name|State|PPid|Uid|VmRSS):' /proc/[0-9]*/status 2>/dev/null
else
  for f in /proc/[0-9]*/status; do
    while IFS= read -r l; do printf '%s:%s\n' "$f" "$l"; done 2>/dev/null <"$f"
  done
fi
"#;

/// The arguments of all processes. A `grep` that passes zero bytes prints them at once, with the
/// file's name before each line; else a `tr` is forked for each: its id, a zero byte, its arguments, a
/// zero byte. In both, \x01 stands for the zero byte behind an argument.
const ARGS: &str = r#"
if [ "$(printf 'a\0b\n' | grep -a b 2>/dev/null | tr '\0' .)" = a.b ]; then
  s grep; s args
  grep -a '' /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\001'
else
  s args
  for d in /proc/[0-9]*; do
    printf '%s\0' "${d##*/}"; { tr '\0' '\001' <"$d/cmdline"; } 2>/dev/null; printf '\0'
  done
fi
exit 0
"#;

/// The plan that reads the processes.
pub(crate) fn plan() -> Plan<Vec<ProcessInfo>> {
    Plan::new(script(&format!("{STATUS}{ARGS}"), NONE), read)
}

fn read(output: &Output) -> Result<Vec<ProcessInfo>> {
    let (sections, rest) = Sections::with_tail(output, "args")?;
    let args = if sections.bytes("grep").is_ok() { args_by_grep(rest) } else { args_by_zero(rest) };
    let me = number(&sections.line("self")?)?;
    let users = user_names(&sections.text("passwd")?);
    let mut all = BTreeMap::<u32, ProcessInfo>::new();
    for line in sections.text("status")?.lines() {
        let Some((pid, key, value)) = status_line(line) else { continue };
        let p = all.entry(pid).or_insert_with(|| ProcessInfo {
            pid,
            ppid: 0,
            uid: 0,
            user: String::new(),
            state: ProcessState::Unknown,
            rss: 0,
            name: String::new(),
            args: args.get(&pid).cloned().unwrap_or_default(),
        });
        let first = value.split_whitespace().next().unwrap_or_default();
        match key {
            "Name" => value.clone_into(&mut p.name),
            "State" => p.state = first.chars().next().map_or(ProcessState::Unknown, ProcessState::of),
            "PPid" => p.ppid = number(first)?,
            // Real, effective, saved and file system id: what it may do goes by the effective one.
            "Uid" => p.uid = number(value.split_whitespace().nth(1).unwrap_or(first))?,
            "VmRSS" => p.rss = u64::from(number(first)?) << 10,
            _ => {}
        }
    }
    if all.is_empty() {
        return Err(Error::unsupported("/proc shows no process").with_hint("mount proc in the workload"));
    }
    // The probe's own shell and what it started.
    all.retain(|pid, p| *pid != me && p.ppid != me);
    for p in all.values_mut() {
        p.user = users.get(&p.uid).cloned().unwrap_or_else(|| p.uid.to_string());
    }
    Ok(all.into_values().collect())
}

fn number(word: &str) -> Result<u32> {
    word.parse().map_err(|e| garbled("a field of a process is no number").with_source(e))
}

/// `/proc/12/status:Name:\tcat`.
fn status_line(line: &str) -> Option<(u32, &str, &str)> {
    let (pid, rest) = line.strip_prefix("/proc/")?.split_once("/status:")?;
    let (key, value) = rest.split_once(':')?;
    Some((pid.parse().ok()?, key, value.trim()))
}

/// The name of each user id in passwd(5); the first of several names counts.
fn user_names(passwd: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|u| u.parse().ok())) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

fn split(args: &[u8]) -> Vec<String> {
    let args = args.strip_suffix(&[1]).unwrap_or(args);
    if args.is_empty() {
        return Vec::new();
    }
    args.split(|b| *b == 1).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

fn args_by_zero(bytes: &[u8]) -> BTreeMap<u32, Vec<String>> {
    let mut all = BTreeMap::new();
    let mut parts = bytes.split(|b| *b == 0);
    while let (Some(pid), Some(args)) = (parts.next(), parts.next()) {
        if let Some(pid) = std::str::from_utf8(pid).ok().and_then(|p| p.parse().ok()) {
            all.insert(pid, split(args));
        }
    }
    all
}

fn args_by_grep(bytes: &[u8]) -> BTreeMap<u32, Vec<String>> {
    let mut whole = BTreeMap::<u32, Vec<u8>>::new();
    for line in bytes.split(|b| *b == b'\n') {
        let Some(at) = line.iter().position(|b| *b == b':') else { continue };
        let path = std::str::from_utf8(&line[..at]).ok();
        let pid = path.and_then(|p| p.strip_prefix("/proc/")?.strip_suffix("/cmdline")?.parse().ok());
        let Some(pid) = pid else { continue };
        // An argument with a line end comes as several lines, each with the file's name.
        let more = &line[at + 1..];
        whole
            .entry(pid)
            .and_modify(|args: &mut Vec<u8>| {
                args.push(b'\n');
                args.extend_from_slice(more);
            })
            .or_insert_with(|| more.to_vec());
    }
    whole.into_iter().map(|(pid, args)| (pid, split(&args))).collect()
}

/// The plan that sends a signal.
pub(crate) fn kill(pid: u32, signal: Signal) -> Result<Plan<()>> {
    if pid == 0 {
        return Err(Error::invalid("process 0 is no process").with_hint("to a shell it means its whole group"));
    }
    // A shell's own `kill` takes a number in each dialect; what it says is not the same in all.
    let step = script(
        r#"[ -d "/proc/$1" ] || fail 90 "no such process: $1"
if e=$(kill "-$2" "$1" 2>&1); then exit 0; fi
[ -d "/proc/$1" ] || fail 90 "no such process: $1"
case $e in *ermitted*|*denied*) fail 93 "no permission to signal process $1" ;; esac
printf '%s\n' "$e" >&2; exit 1"#,
        [pid.to_string(), signal.get().to_string()],
    );
    Ok(Plan::new(step, |_| Ok(())))
}

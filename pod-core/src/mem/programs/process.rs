//! Programs about processes, users and the terminal.

use super::{OK, add, options, print};
use crate::mem::fs::NodeKind;
use crate::mem::program::{ProgramContext, Programs, find_user};
use crate::{ExitStatus, Signal};
use std::fmt::Write as _;
use std::time::Duration;

pub(super) fn register(programs: &Programs) {
    add(programs, "true", |_| std::future::ready(OK));
    add(programs, "false", |_| std::future::ready(ExitStatus::Exited(1)));
    add(programs, "sleep", sleep);
    add(programs, "env", env);
    add(programs, "id", id);
    add(programs, "hostname", hostname);
    add(programs, "uname", uname);
    add(programs, "kill", kill);
    add(programs, "ps", ps);
    add(programs, "tty", tty);
    add(programs, "stty", stty);
    add(programs, "test", test);
    add(programs, "[", test);
}

/// A time of sleep(1): seconds, with an optional `s`, `m`, `h` or `d`; `infinity`.
fn duration(text: &str) -> Option<Duration> {
    if matches!(text, "inf" | "infinity") {
        return Some(Duration::MAX);
    }
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, text.as_bytes()[text.len() - 1]),
        None => (text, b's'),
    };
    let scale = match unit {
        b'm' => 60.0,
        b'h' => 3600.0,
        b'd' => 86400.0,
        _ => 1.0,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
}

/// `sleep TIME…`
async fn sleep(mut cx: ProgramContext) -> ExitStatus {
    let mut total = Duration::ZERO;
    for arg in cx.args() {
        match duration(&arg) {
            Some(d) => total = total.saturating_add(d),
            None => return cx.fail(1, format!("{arg:?} is no time")).await,
        }
    }
    if cx.argv().len() < 2 {
        return cx.fail(1, "a time is expected").await;
    }
    match tokio::time::Instant::now().checked_add(total).filter(|_| total < Duration::from_secs(1 << 30)) {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending::<()>().await,
    }
    OK
}

/// `env [-i] [NAME=VALUE…] [PROGRAM ARGUMENT…]`
async fn env(mut cx: ProgramContext) -> ExitStatus {
    let mut env = cx.launch.env.clone();
    let mut rest = &cx.argv()[1..];
    if rest.first().is_some_and(|a| a == b"-i") {
        env.clear();
        rest = &rest[1..];
    }
    while let Some(pair) = rest.first().and_then(|a| a.iter().position(|b| *b == b'=').map(|i| a.split_at(i))) {
        env.insert(pair.0.to_vec(), pair.1[1..].to_vec());
        rest = &rest[1..];
    }
    if rest.is_empty() {
        let mut out = Vec::new();
        for (key, value) in &env {
            out.extend(key);
            out.push(b'=');
            out.extend(value);
            out.push(b'\n');
        }
        return print(cx, out).await;
    }
    let mut launch = cx.child(rest.to_vec());
    launch.env = env;
    match crate::mem::process::launch(&cx.machine, launch) {
        Ok(child) => child.wait().await,
        Err(e) => cx.fail(e.code, e.text).await,
    }
}

/// `id [-u | -g] [-n] [USER]`
async fn id(mut cx: ProgramContext) -> ExitStatus {
    let (found, operands) = match options(&cx.argv()[1..], "ugn", "") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    let cred = match operands.first().map(|u| find_user(&cx.machine, &String::from_utf8_lossy(u))).transpose() {
        Ok(cred) => cred.map_or(cx.launch.cred, |(c, _)| c),
        Err(why) => return cx.fail(1, why).await,
    };
    let has = |c: char| found.iter().any(|(f, _)| *f == c);
    let name = |file: &str, id: u32| {
        let bytes = cx.read_file(file).unwrap_or_default(); // an image without the file has no names
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.lines()
            .find(|l| l.split(':').nth(2) == Some(&id.to_string()))
            .and_then(|l| l.split(':').next())
            .map(str::to_owned)
    };
    let (user, group) = (name("/etc/passwd", cred.uid), name("/etc/group", cred.gid));
    let line = match (has('u'), has('g'), has('n')) {
        (true, _, true) => user.unwrap_or_else(|| cred.uid.to_string()),
        (true, _, false) => cred.uid.to_string(),
        (_, true, true) => group.unwrap_or_else(|| cred.gid.to_string()),
        (_, true, false) => cred.gid.to_string(),
        _ => {
            let named = |id: u32, name: Option<String>| name.map_or(id.to_string(), |n| format!("{id}({n})"));
            format!("uid={} gid={}", named(cred.uid, user), named(cred.gid, group))
        }
    };
    print(cx, format!("{line}\n")).await
}

/// `hostname`
async fn hostname(cx: ProgramContext) -> ExitStatus {
    let name = cx.read_file("/etc/hostname").unwrap_or_else(|_| format!("{}\n", cx.workload()).into());
    print(cx, name).await
}

/// `uname [-s | -n | -r | -m]`
async fn uname(mut cx: ProgramContext) -> ExitStatus {
    let (found, _) = match options(&cx.argv()[1..], "snrma", "") {
        Ok(parsed) => parsed,
        Err(why) => return cx.fail(2, why).await,
    };
    let name = cx.workload().to_string();
    let fields = [('s', "Linux"), ('n', &name), ('r', "0.0.0-pod-mem"), ('m', std::env::consts::ARCH)];
    let wanted = |c: char| match &found[..] {
        [] => c == 's',
        flags => flags.iter().any(|(f, _)| *f == c || *f == 'a'),
    };
    let words: Vec<_> = fields.iter().filter(|(c, _)| wanted(*c)).map(|(_, w)| *w).collect();
    let line = format!("{}\n", words.join(" "));
    print(cx, line).await
}

/// `kill [-SIGNAL | -s SIGNAL] PID…`; 0 as a signal asks whether the process is there.
async fn kill(mut cx: ProgramContext) -> ExitStatus {
    let args = cx.args();
    match send_signals(&cx, &args) {
        Ok(()) => OK,
        Err(why) => cx.fail(1, why).await,
    }
}

/// Carries out the arguments of kill(1).
pub(in crate::mem) fn send_signals(cx: &ProgramContext, args: &[String]) -> Result<(), String> {
    let mut args = args.iter().map(String::as_str).peekable();
    let mut signal = "TERM";
    match args.peek().copied() {
        Some("-s") => {
            args.next();
            signal = args.next().ok_or("a signal is expected")?;
        }
        Some(first) if first.len() > 1 && first.starts_with('-') && first != "--" => {
            signal = &first[1..];
            args.next();
        }
        _ => {}
    }
    if args.peek() == Some(&"--") {
        args.next();
    }
    let n = match signal {
        "0" => 0,
        name => name.parse::<Signal>().map_err(|e| e.to_string())?.get(),
    };
    for pid in args {
        let proc = pid.parse::<u32>().ok().and_then(|pid| cx.machine.proc(pid));
        let proc = proc.ok_or_else(|| format!("({pid}): No such process"))?;
        if cx.uid() != 0 && cx.uid() != proc.cred.uid {
            return Err(format!("({pid}): Operation not permitted"));
        }
        if n > 0 {
            proc.deliver(n);
        }
    }
    Ok(())
}

/// `ps`: process id, parent, user, state and command of every process.
async fn ps(cx: ProgramContext) -> ExitStatus {
    let mut out = String::from("PID PPID UID STAT COMMAND\n");
    for proc in cx.machine.procs() {
        let argv: Vec<_> = proc.argv().iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
        let state = if proc.is_stopped() { 'T' } else { 'S' };
        // Writing to a String can't fail.
        let _ = writeln!(out, "{} {} {} {state} {}", proc.pid, proc.parent, proc.cred.uid, argv.join(" "));
    }
    print(cx, out).await
}

/// `tty`
async fn tty(cx: ProgramContext) -> ExitStatus {
    if cx.stdin.is_terminal() {
        print(cx, "/dev/pts/0\n").await
    } else {
        match print(cx, "not a tty\n").await {
            OK => ExitStatus::Exited(1),
            other => other,
        }
    }
}

/// `stty size`
async fn stty(mut cx: ProgramContext) -> ExitStatus {
    if cx.args() != ["size"] {
        return cx.fail(1, "this simulated program has only 'size'").await;
    }
    match cx.tty_size().filter(|_| cx.stdin.is_terminal()) {
        Some(size) => print(cx, format!("{} {}\n", size.rows, size.cols)).await,
        None => cx.fail(1, "standard input: Inappropriate ioctl for device").await,
    }
}

/// `test EXPRESSION`, `[ EXPRESSION ]`
async fn test(mut cx: ProgramContext) -> ExitStatus {
    let argv = cx.argv().to_vec();
    match evaluate(&cx, &argv) {
        Ok(true) => OK,
        Ok(false) => ExitStatus::Exited(1),
        Err(why) => cx.fail(2, why).await,
    }
}

/// Carries out test(1): `argv` begins with `test` or `[`.
pub(in crate::mem) fn evaluate(cx: &ProgramContext, argv: &[Vec<u8>]) -> Result<bool, String> {
    let (name, mut rest) = argv.split_first().ok_or("nothing to test")?;
    if name == b"[" {
        rest = match rest.split_last() {
            Some((last, rest)) if last == b"]" => rest,
            _ => return Err("']' is missing".into()),
        };
    }
    if let Some(at) = rest.iter().position(|w| w == b"-o").filter(|i| *i > 0) {
        return Ok(expression(cx, &rest[..at])? || expression(cx, &rest[at + 1..])?);
    }
    if let Some(at) = rest.iter().position(|w| w == b"-a").filter(|i| *i > 0) {
        return Ok(expression(cx, &rest[..at])? && expression(cx, &rest[at + 1..])?);
    }
    expression(cx, rest)
}

fn expression(cx: &ProgramContext, words: &[Vec<u8>]) -> Result<bool, String> {
    let text = |w: &[u8]| String::from_utf8_lossy(w).into_owned();
    let number = |w: &[u8]| text(w).trim().parse::<i64>().map_err(|_| format!("{:?} is no number", text(w)));
    match words {
        [] => Ok(false),
        [word] => Ok(!word.is_empty()),
        [not, rest @ ..] if not == b"!" => Ok(!expression(cx, rest)?),
        [a, op, b] => Ok(match op.as_slice() {
            b"=" | b"==" => a == b,
            b"!=" => a != b,
            b"-eq" => number(a)? == number(b)?,
            b"-ne" => number(a)? != number(b)?,
            b"-lt" => number(a)? < number(b)?,
            b"-le" => number(a)? <= number(b)?,
            b"-gt" => number(a)? > number(b)?,
            b"-ge" => number(a)? >= number(b)?,
            other => return Err(format!("this simulated program has no {:?}", text(other))),
        }),
        [op, a] => {
            let fs = cx.machine.fs.lock();
            let (cred, cwd) = (cx.launch.cred, cx.launch.cwd);
            let at = |follow| fs.lookup(cred, cwd, a, follow).ok();
            let kind = |want: fn(&NodeKind) -> bool, follow| {
                at(follow).and_then(|ino| fs.node(ino).ok()).is_some_and(|n| want(&n.kind))
            };
            Ok(match op.as_slice() {
                b"-n" => !a.is_empty(),
                b"-z" => a.is_empty(),
                b"-e" => at(true).is_some(),
                b"-f" => kind(|k| matches!(k, NodeKind::File(_)), true),
                b"-d" => kind(|k| matches!(k, NodeKind::Dir(_)), true),
                b"-L" | b"-h" => kind(|k| matches!(k, NodeKind::Symlink(_)), false),
                b"-s" => at(true).and_then(|ino| fs.node(ino).ok()).is_some_and(|n| n.size() > 0),
                b"-r" => at(true).is_some_and(|ino| fs.may(cred, ino, true, false)),
                b"-w" => at(true).is_some_and(|ino| fs.may(cred, ino, false, true)),
                b"-x" => at(true).is_some_and(|ino| {
                    fs.may_execute(cred, ino).is_ok() || kind(|k| matches!(k, NodeKind::Dir(_)), true)
                }),
                b"-t" => match a.as_slice() {
                    b"0" => cx.stdin.is_terminal(),
                    b"1" => cx.stdout.is_terminal(),
                    b"2" => cx.stderr.is_terminal(),
                    _ => false,
                },
                other => return Err(format!("this simulated program has no {:?}", text(other))),
            })
        }
        _ => Err("too many words".into()),
    }
}

//! run and exec: codes, argv, streams, terminals, time-outs, interrupts.

use crate::Engine;
use crate::driver::{Driver, Ran};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn with_workload() -> Engine {
    let engine = Engine::new();
    assert_eq!(engine.run(["run", "--name", "w", "--", "sleep", "1000"]).ok().out, "w\n");
    engine
}

/// How many processes of the workload have `pattern` in their command line. The pattern is written so
/// that it does not match itself.
fn count(engine: &Engine, pattern: &str) -> usize {
    let script = format!("grep -l '{pattern}' /proc/[0-9]*/cmdline 2>/dev/null | wc -l");
    engine.run(["exec", "w", "--", "sh", "-c", &script]).ok().out.trim().parse().unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32).unwrap()
}

#[test]
fn codes_say_how_a_program_ended() {
    let engine = with_workload();
    let code = |args: &[&str]| -> Ran { engine.run(["exec"].iter().chain(args)) };
    assert_eq!(code(&["w", "--", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(code(&["w", "--", "sh", "-c", "kill -9 $$"]).code, 137);
    let missing = code(&["w", "--", "no-such-program"]);
    assert_eq!(missing.code, 127);
    assert!(missing.err.contains("no such program") && missing.err.contains("no-such-program"), "{}", missing.err);
    let denied = code(&["w", "--", "/etc/passwd"]);
    assert_eq!(denied.code, 126);
    assert!(denied.err.contains("can't be executed") && denied.err.contains("/etc/passwd"), "{}", denied.err);
    let nobody = code(&["nobody-here", "--", "true"]);
    assert_eq!(nobody.code, 125);
    assert!(nobody.err.contains("no such workload") && nobody.err.contains("nobody-here"), "{}", nobody.err);
    assert_eq!(engine.run(["rm", "-f", "w"]).ok().code, 0);
    engine.assert_nothing_left();
}

/// As where a shell started POD in the background: what it ignores is not for its workloads to ignore.
#[test]
fn programs_ignore_no_signal() {
    let engine = Engine::new();
    let pod = engine.pod(["run", "--name", "w", "--", "sleep", "1000"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' INT QUIT HUP; \"$@\"", "sh"]).arg(pod.get_program()).args(pod.get_args());
    shell.envs(pod.get_envs().filter_map(|(k, v)| Some((k, v?))));
    assert!(shell.stdin(Stdio::null()).status().unwrap().success());
    let command = "cat /proc/$(grep -l sleep /proc/[0-9]*/comm | cut -d/ -f3)/status";
    for script in ["cat /proc/self/status", command] {
        let status = engine.run(["exec", "w", "--", "sh", "-c", script]).ok().out;
        assert!(status.contains("SigIgn:\t0000000000000000\n"), "{script}: {status}");
    }
    assert_eq!(engine.run(["rm", "-f", "w"]).ok().code, 0);
}

#[test]
fn argv_arrives_as_it_was() {
    let engine = with_workload();
    let args = ["a b", "", "$HOME", "\"q\"", "it's", "*", "new\nline", "\\", "--flag"];
    let ran = engine.run(["exec", "w", "--", "printf", "<%s>"].iter().chain(&args)).ok();
    assert_eq!(ran.out, args.iter().map(|a| format!("<{a}>")).collect::<String>());
}

/// The most memory a process ever had resident, in MiB (proc(5), VmHWM).
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|k| k >> 10)
}

fn helper_of(engine: &Engine) -> u32 {
    let status = std::fs::read(engine.path().join("run/workloads/w/status.json")).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", status["init"])).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_gibibyte_passes_both_ways_in_64_mebibytes_of_memory() {
    let engine = with_workload();
    let mut child =
        engine.pod(["exec", "-i", "w", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let byte = |at: usize| (at.wrapping_mul(31) ^ (at >> 13)) as u8;
    let feeder = std::thread::spawn(move || {
        let piece: Vec<u8> = (0..1 << 20).map(byte).collect();
        for _ in 0..1024 {
            stdin.write_all(&piece).unwrap();
        }
    });
    let expected: Vec<u8> = (0..1 << 20).map(byte).collect();
    let (mut seen, mut buf, mut memory) = (0usize, vec![0u8; 256 << 10], 0);
    loop {
        let n = stdout.read(&mut buf).unwrap();
        if n == 0 {
            break;
        }
        let (mut at, mut rest) = (seen % expected.len(), &buf[..n]);
        while !rest.is_empty() {
            let len = rest.len().min(expected.len() - at);
            assert_eq!(rest[..len], expected[at..at + len], "changed near byte {seen}");
            (at, rest) = (0, &rest[len..]);
        }
        seen += n;
        if seen > 1 << 29 {
            memory = memory.max(peak(child.id()).unwrap_or_default());
        }
    }
    feeder.join().unwrap();
    let helper = peak(helper_of(&engine)).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(seen, 1 << 30);
    assert!((1..=64).contains(&memory), "the command had {memory} MiB");
    assert!(helper <= 64, "the helper had {helper} MiB");
}

#[test]
fn a_time_out_is_124_and_leaves_no_process() {
    let engine = with_workload();
    let begun = Instant::now();
    let ran = engine.run(["exec", "--timeout", "1s", "w", "--", "sleep", "6161"]);
    assert_eq!(ran.code, 124, "{}", ran.err);
    assert!((1..10).contains(&begun.elapsed().as_secs()));
    assert!(ran.err.contains("longer than 1 s"), "{}", ran.err);
    assert_eq!(count(&engine, "616[1]"), 0);
}

#[test]
fn an_interrupt_ends_the_program_and_all_it_started() {
    let engine = with_workload();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let script = "(setsid sleep 7171 &) ; sleep 7171";
        let child = engine.start(["exec", "w", "--", "sh", "-c", script]);
        until("the program", || count(&engine, "717[1]") >= 2);
        kill_process(pid(&child), signal).unwrap();
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!(ran.code, code, "{}", ran.err);
        assert_eq!(count(&engine, "717[1]"), 0);
    }
}

#[test]
fn an_interrupted_run_leaves_no_workload() {
    let engine = Engine::new();
    for wait in [0, 2, 5, 10, 20, 40, 80] {
        let child = engine.start(["run", "--name", "cut", "--", "sleep", "5151"]);
        std::thread::sleep(std::time::Duration::from_millis(wait));
        // It may have ended already.
        let _ = kill_process(pid(&child), Signal::INT);
        let ran: Ran = child.wait_with_output().unwrap().into();
        let left = engine.run(["ps", "-a", "-o", "name"]);
        match ran.code {
            0 => assert_eq!(left.out, "cut\n", "after {wait} ms: {}", left.err),
            _ => assert_eq!(left.out, "", "after {wait} ms, exit code {}: {}", ran.code, ran.err),
        }
        engine.run(["rm", "-f", "cut"]);
    }
}

/// A terminal of the test's own.
fn terminal() -> (OwnedFd, OwnedFd) {
    let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    (master, slave)
}

fn resize(master: &OwnedFd, rows: u16, cols: u16) {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size).unwrap();
}

#[test]
fn a_terminal_is_one_and_resizes() {
    let engine = with_workload();
    let (master, slave) = terminal();
    resize(&master, 40, 132);
    let script = "tty; stty size; trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut child = engine
        .pod(["exec", "-t", "-i", "w", "--", "sh", "-c", script])
        .stdin(Stdio::from(slave.try_clone().unwrap()))
        .stdout(Stdio::from(slave))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut screen = std::fs::File::from(master.try_clone().unwrap());
    let mut text = String::new();
    let mut read_until = |word: &str| {
        let mut buf = [0u8; 4096];
        while !text.contains(word) {
            let n = screen.read(&mut buf).unwrap();
            text.push_str(&String::from_utf8_lossy(&buf[..n]));
        }
        text.clone()
    };
    let first = read_until("ready");
    assert!(first.contains("/dev/pts/") && first.contains("40 132"), "{first}");
    resize(&master, 33, 77);
    kill_process(pid(&child), Signal::WINCH).unwrap();
    let then = read_until("33 77");
    assert!(then.contains("33 77"));
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn the_hosts_secrets_are_not_shown() {
    let engine = with_workload();
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    let seen = engine.run(["exec", "w", "--", "sh", "-c", "cat /etc/shadow; ls -A /root"]).out;
    for line in shadow.lines().filter(|l| l.contains(':') && !l.starts_with("root:")) {
        assert!(!seen.contains(line), "a line of the host's shadow file shows");
    }
    for entry in std::fs::read_dir("/root").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!seen.lines().any(|l| l == name), "{name} of the host's /root shows");
    }
}

#[test]
fn what_the_user_lacks_is_said() {
    let engine = Engine::new();
    let reference = engine.run(["run", "--image", "debian:12", "--name", "w", "--", "true"]);
    assert_eq!(reference.code, 125);
    assert!(reference.err.contains("host"), "{}", reference.err);
    let none = engine.run(["run", "--image", "rootfs:/nonexistent", "--name", "w", "--", "true"]);
    assert!(none.err.contains("/nonexistent"), "{}", none.err);
    // Without root.
    let pod = env!("CARGO_BIN_EXE_pod");
    let bare = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", pod, "run", "--name", "w", "--", "true"])
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&bare.stderr).into_owned();
    // A build folder that others can't enter can't be run from either.
    assert!(text.contains("root") || text.contains("ermission denied"), "{text}");
    assert_ne!(bare.status.code(), Some(0));
    engine.assert_nothing_left();
}

#[test]
fn an_own_command_that_ends_at_once_is_told() {
    let engine = Engine::new();
    let ran = engine.run(["run", "--name", "w"]).ok();
    assert!(ran.err.contains("--keep-alive") && ran.err.contains("/bin/sh"), "{}", ran.err);
    let kept = engine.run(["run", "--name", "v", "--keep-alive"]).ok();
    assert!(!kept.err.contains("at once"), "{}", kept.err);
    assert_eq!(engine.run(["exec", "v", "--", "echo", "here"]).ok().out, "here\n");
    engine.run(["rm", "-f", "w", "v"]).ok();
    engine.assert_nothing_left();
}

#[test]
fn attached_runs_pass_streams_and_code() {
    let engine = Engine::new();
    let ran =
        engine.feed(["run", "-i", "--rm", "--name", "w", "--", "sh", "-c", "cat; echo side >&2; exit 3"], b"through\n");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (3, "through\n", "side\n"));
    engine.run(["run", "--name", "v", "--", "sh", "-c", "echo one; exit 9"]).ok();
    assert_eq!(engine.run(["wait", "v"]).code, 9);
    assert_eq!(engine.run(["logs", "v"]).ok().out, "one\n");
    engine.run(["rm", "v"]).ok();
    engine.assert_nothing_left();
}

//! Programs' streams and exit codes pass through.

use crate::support::{pod, ran, run};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `pod` as a child whose streams the test holds.
fn child(arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("pod"));
    command.env_clear().env("POD_BACKEND", "mem:").env("HOME", "/nonexistent").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn exit_codes_pass() {
    for (program, code) in [("true", 0), ("false", 1)] {
        let ran = run(&["run", "--rm", "--", program]);
        assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{program}");
    }
    let missing = run(&["run", "-a", "--", "no-such-program"]);
    assert_eq!(missing.code, 127);
    assert!(missing.stderr.contains("no-such-program"), "{}", missing.stderr);
    let not_executable = run(&["run", "-a", "--", "/etc/hosts"]);
    assert_eq!(not_executable.code, 126, "{}", not_executable.stderr);
}

#[test]
fn arguments_arrive_as_they_were() {
    let arguments = ["a  b", "", "$HOME", "'quoted\"", "new\nline", "*", "--help", "-x"];
    let mut all = vec!["run", "--rm", "--", "printf", "[%s]"];
    all.extend(arguments);
    let expected: String = arguments.iter().map(|a| format!("[{a}]")).collect();
    assert_eq!(run(&all).stdout, expected);
}

#[test]
fn stdin_reaches_the_program_and_its_end_is_seen() {
    let data: Vec<u8> = (0..3_000_017u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let output = pod().args(["run", "--rm", "-i", "--", "cat"]).write_stdin(data.clone()).output().expect("pod runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == data, "{} bytes came back of {}", output.stdout.len(), data.len());
}

#[test]
fn without_i_stdin_is_empty() {
    let output = pod().args(["run", "--rm", "--", "cat"]).write_stdin("not for it").output().expect("pod runs");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_stdin_that_stays_open_does_not_hold_up_the_end() {
    let begun = Instant::now();
    let mut pod = child(&["run", "--rm", "-i", "--", "false"]).spawn().expect("pod runs");
    let stdin = pod.stdin.take().expect("stdin");
    assert_eq!(pod.wait().expect("pod ends").code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(stdin);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    // A program that writes for ever: the reader's leaving ends it.
    let mut pod = child(&["run", "--rm", "--", "yes"]).spawn().expect("pod runs");
    let mut stdout = pod.stdout.take().expect("stdout");
    let mut first = [0; 4];
    stdout.read_exact(&mut first).expect("read");
    assert_eq!(&first, b"y\ny\n");
    drop(stdout);
    let output = pod.wait_with_output().expect("pod ends");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    // Data of our own: there is nothing more to do.
    for arguments in [&["backend", "caps", "mem:"][..], &["--help"], &["man"], &["ps"], &["ps", "-o", "json"]] {
        let mut pod = child(arguments).spawn().expect("pod runs");
        drop(pod.stdout.take());
        let output = pod.wait_with_output().expect("pod ends");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn a_closed_stderr_is_no_failure_either() {
    let mut pod = child(&["exec", "none", "--", "true"]).spawn().expect("pod runs");
    drop(pod.stderr.take());
    assert_eq!(pod.wait_with_output().expect("pod ends").status.code(), Some(125));
}

#[test]
fn a_terminal_that_is_none_is_refused_before_anything_is_done() {
    for arguments in [&["exec", "-t", "web", "--", "true"][..], &["run", "-t", "--", "true"]] {
        let e = run(arguments);
        assert_eq!(e.code, 125, "{arguments:?}");
        assert!(e.stderr.contains("no terminal"), "{arguments:?}: {}", e.stderr);
    }
    let e = run(&["exec", "-i", "a,b", "--", "true"]);
    assert_eq!(e.code, 125);
    assert!(e.stderr.contains("one workload only"), "{}", e.stderr);
}

/// Sends a signal to a child that was given time to begin.
#[cfg(unix)]
fn signalled(arguments: &[&str], signal: rustix::process::Signal) -> (Option<i32>, String, Duration) {
    let mut pod = child(arguments).spawn().expect("pod runs");
    // The program says that it runs before it is asked to end.
    let mut first = [0];
    pod.stdout.as_mut().expect("stdout").read_exact(&mut first).expect("the program writes");
    let begun = Instant::now();
    rustix::process::kill_process(rustix::process::Pid::from_child(&pod), signal).expect("kill");
    let mut stdin = pod.stdin.take().expect("stdin");
    // It stays open: the end must not wait for it.
    let _ = stdin.write_all(b"");
    let mut stdout = pod.stdout.take().expect("stdout");
    std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    let code = pod.wait().expect("pod ends").code();
    let mut stderr = String::new();
    pod.stderr.take().expect("stderr").read_to_string(&mut stderr).expect("stderr");
    (code, stderr, begun.elapsed())
}

#[cfg(unix)]
#[test]
fn a_signal_ends_an_attached_workload() {
    use rustix::process::Signal;
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (got, stderr, took) = signalled(&["run", "--rm", "-i", "--", "yes"], signal);
        assert_eq!((got, stderr.as_str()), (Some(code), ""), "{signal:?}");
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
}

#[test]
fn what_a_user_names_twice_is_refused() {
    // Two workloads of one name can't be in one process, so the flags' own conflicts stand for it.
    let e = ran(pod().args(["run", "-d", "-a", "--", "true"]));
    assert_eq!(e.code, 125);
    assert!(e.stderr.contains("--attach"), "{}", e.stderr);
    let e = run(&["run", "--rm", "--keep-alive", "--", "true"]);
    assert!(e.stderr.contains("--keep-alive"), "{}", e.stderr);
}

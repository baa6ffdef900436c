//! A terminal is passed on, follows our own size, and is put back whatever happens.
#![cfg(unix)]

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A pseudo-terminal and the `pod` on it.
struct Terminal {
    master: File,
    slave: OwnedFd,
    before: Termios,
    pod: Child,
    seen: String,
}

impl Terminal {
    fn run(arguments: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("ptsname");
        let slave: OwnedFd =
            File::options().read(true).write(true).open(name.to_str().expect("a path")).expect("the slave").into();
        let terminal = |fd: &OwnedFd| fd.try_clone().expect("dup");
        tcsetwinsize(&slave, size(30, 100)).expect("a size");
        let before = tcgetattr(&slave).expect("modes");
        let pod = Command::new(assert_cmd::cargo::cargo_bin!("pod"))
            .env_clear()
            .env("POD_BACKEND", "mem:")
            .env("HOME", "/nonexistent")
            .env("TERM", "xterm")
            .args(arguments)
            .stdin(terminal(&slave))
            .stdout(terminal(&slave))
            .stderr(terminal(&slave))
            .spawn()
            .expect("pod runs");
        Self { master: master.into(), slave, before, pod, seen: String::new() }
    }

    /// Reads until `text` was seen since the last call.
    fn expect(&mut self, text: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(text) {
            assert!(Instant::now() < until, "{text:?} does not come: {:?}", self.seen);
            let wait = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            match poll(&mut fds, Some(&wait)) {
                // Other tests' children end meanwhile.
                Ok(0) | Err(Errno::INTR) => continue,
                other => other.expect("poll"),
            };
            let mut buffer = [0; 4096];
            let n = self.master.read(&mut buffer).expect("read");
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        self.seen.clear();
    }

    fn write(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).expect("type");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.pod), signal).expect("kill");
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).expect("modes").local_modes.contains(LocalModes::ICANON)
    }

    fn until_raw(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.is_raw() {
            assert!(Instant::now() < until, "raw mode does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The exit code; the terminal must be as it was.
    fn end(mut self) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.pod.try_wait().expect("wait") {
                break status;
            }
            assert!(Instant::now() < until, "pod does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let after = tcgetattr(&self.slave).expect("modes");
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        status.code()
    }
}

fn size(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

#[test]
fn a_program_gets_our_terminal_and_its_size() {
    let mut t = Terminal::run(&["run", "--rm", "-t", "--", "sh"]);
    t.until_raw();
    t.write(b"tty && stty size\n");
    t.expect("30 100");
    tcsetwinsize(&t.slave, size(50, 120)).expect("a size");
    // The kernel sends this to the terminal's foreground processes; the test has no session of its own.
    t.signal(Signal::WINCH);
    t.write(b"sleep 0.2; stty size\n");
    t.expect("50 120");
    t.write(b"exit 9\n");
    assert_eq!(t.end(), Some(9));
}

#[test]
fn ctrl_c_goes_to_the_program() {
    // A key is a byte like any other here; the workload's terminal makes a signal of it.
    let mut t = Terminal::run(&["run", "--rm", "-t", "--", "cat"]);
    t.until_raw();
    t.write(b"begun\r");
    t.expect("begun");
    t.write(b"\x03");
    assert_eq!(t.end(), Some(130));
}

#[test]
fn a_signal_puts_the_terminal_back() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let t = Terminal::run(&["run", "--rm", "-t", "--", "sleep", "100"]);
        t.until_raw();
        t.signal(signal);
        assert_eq!(t.end(), Some(code), "{signal:?}");
    }
}

#[test]
fn the_detach_keys_leave_the_program() {
    let mut t = Terminal::run(&["run", "-t", "--name", "w", "--", "cat"]);
    t.until_raw();
    t.write(b"x\x10y");
    t.expect("x");
    t.write(b"\x10\x11");
    assert_eq!(t.end(), Some(0));
}

#[test]
fn progress_is_drawn_on_a_terminal_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("t.yaml");
    std::fs::write(&file, "workloads: { a: {}, b: {} }\n").expect("write");
    let file = file.to_str().expect("a path in text");
    let mut t = Terminal::run(&["up", "--no-verify", file]);
    t.expect("start workloads");
    t.expect("2 changes in");
    assert_eq!(t.end(), Some(0));
    let plain = crate::support::run(&["up", "--no-verify", file]);
    assert!(!plain.stderr.contains("start workloads"), "{}", plain.stderr);
    assert!(!plain.stdout.contains('\x1b') && !plain.stderr.contains('\x1b'));
}

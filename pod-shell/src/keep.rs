//! A workload that outlives its command: a script, its first process, runs the command and writes down how it
//! ended.
//!
//! The command has the script's stdin, and every signal that the script can pass on. Without a terminal a
//! shell can only do that for a program that it runs beside itself, and such a one is started with SIGINT and
//! SIGQUIT ignored (POSIX.1-2017, "Asynchronous Lists"); with a terminal it is run in front, where the keys
//! reach it and other signals do not. The program is looked for first: the script ends at once as a shell
//! does, with 126 or 127, when it can't be run.

use pod_core::ExitStatus;

/// The script. Its arguments come from [`keep`].
const SCRIPT: &str = include_str!("keep.sh");

/// Where the status is kept; a file that the command's user can write to, or a directory where it can make
/// one.
pub const STATUS: &str = "/.pod/status";
/// The signal by which the command is run again once it has ended.
pub const AGAIN: pod_core::Signal = pod_core::Signal::USR2;

/// What, run by `shell`, runs the command that is added to it, and goes on when that has ended. The signal
/// `end`, named as trap(1) does, is passed on as SIGTERM, and ends the script with the command's exit status
/// as soon as there is one.
#[must_use]
pub fn keep(shell: &str, end: &str) -> Vec<String> {
    in_file(shell, end, STATUS)
}

fn in_file(shell: &str, end: &str, file: &str) -> Vec<String> {
    [shell, "-c", SCRIPT, "pod", end, file].map(str::to_owned).to_vec()
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// How many times the command was begun.
    pub run: u64,
    /// How it ended the last time; `None` while it runs.
    pub status: Option<ExitStatus>,
}

impl Kept {
    /// The longest that the file is while the command runs.
    pub const RUNNING: u64 = 20;

    /// Reads the file; `None` while it is being written.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        // A line without its end is not all of it.
        let mut words = text.strip_suffix('\n')?.split(' ');
        let run = words.next()?.parse().ok()?;
        let status = match words.next() {
            None => None,
            Some(code) => Some(ExitStatus::Exited(code.parse().ok()?)),
        };
        Some(Self { run, status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn what_the_file_says_is_read_whole_or_not_at_all() {
        let of = |run, status: Option<u8>| Some(Kept { run, status: status.map(ExitStatus::Exited) });
        for (text, kept) in [
            ("1\n", of(1, None)),
            ("12 143 are numbers\n", of(12, Some(143))),
            ("3 0\n", of(3, Some(0))),
            ("", None),
            ("\n", None),
            ("1", None),
            ("1 14", None),
            ("1 256\n", None),
            ("1 x\n", None),
        ] {
            assert_eq!(Kept::read(text), kept, "{text:?}");
        }
    }

    struct Shell {
        child: Child,
        dir: tempfile::TempDir,
    }

    impl Shell {
        fn new(script: &str, stdin: Stdio) -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            let file = dir.path().join("status");
            let argv = in_file("/bin/sh", "PWR", file.to_str().expect("text"));
            let mut command = Command::new(&argv[0]);
            command.args(&argv[1..]).args(["sh", "-c", script]).env("D", dir.path()).current_dir(dir.path());
            let child = command.stdin(stdin).spawn().expect("a shell");
            Self { child, dir }
        }

        fn until(&self, what: impl Fn(&Kept) -> bool) -> Kept {
            let until = Instant::now() + Duration::from_secs(20);
            loop {
                let text = std::fs::read_to_string(self.dir.path().join("status")).unwrap_or_default();
                if let Some(kept) = Kept::read(&text).filter(&what) {
                    return kept;
                }
                assert!(Instant::now() < until, "it says {text:?}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }

        /// Waits for a file that the command makes.
        fn ready(&self) {
            let until = Instant::now() + Duration::from_secs(20);
            while !self.dir.path().join("ready").exists() {
                assert!(Instant::now() < until, "the command does not begin");
                std::thread::sleep(Duration::from_millis(5));
            }
        }

        fn signal(&self, name: &str) {
            let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
            assert!(sent.expect("kill").success());
        }

        fn code(&mut self) -> Option<i32> {
            self.child.wait().expect("its end").code()
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            // It may have ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[test]
    fn it_goes_on_runs_again_and_ends_with_the_commands_status() {
        let mut shell = Shell::new("exit 3", Stdio::null());
        assert_eq!(shell.until(|k| k.status.is_some()).status, Some(ExitStatus::Exited(3)));
        assert_eq!(shell.child.try_wait().expect("asked"), None);
        shell.signal("USR2");
        assert_eq!(shell.until(|k| k.run == 2 && k.status.is_some()).status, Some(ExitStatus::Exited(3)));
        shell.signal("PWR");
        assert_eq!(shell.code(), Some(3));
    }

    #[test]
    fn signals_reach_the_command_and_only_one_ends_the_script() {
        let script =
            "trap 'echo usr >\"$D/usr\"' USR1; trap 'exit 9' TERM; : >\"$D/ready\"; while :; do sleep 0.01; done";
        let mut shell = Shell::new(script, Stdio::null());
        shell.ready();
        shell.signal("USR1");
        let until = Instant::now() + Duration::from_secs(20);
        while !shell.dir.path().join("usr").exists() {
            assert!(Instant::now() < until, "the signal is lost");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(shell.until(|_| true), Kept { run: 1, status: None });
        shell.signal("TERM");
        assert_eq!(shell.until(|k| k.status.is_some()).status, Some(ExitStatus::Exited(9)));
        assert_eq!(shell.child.try_wait().expect("asked"), None);
        shell.signal("TERM");
        assert_eq!(shell.code(), Some(9));

        let mut shell = Shell::new(script, Stdio::null());
        shell.ready();
        shell.signal("PWR");
        assert_eq!(shell.code(), Some(9));
    }

    #[test]
    fn a_command_that_was_killed_is_told() {
        let shell = Shell::new("kill -KILL $$", Stdio::null());
        assert_eq!(shell.until(|k| k.status.is_some()).status, Some(ExitStatus::Exited(137)));
    }

    #[test]
    fn the_command_has_the_stdin() {
        let (read, write) = std::io::pipe().expect("a pipe");
        let shell = Shell::new("read x; [ \"$x\" = there ] && exit 4", Stdio::from(read));
        std::io::Write::write_all(&mut { write }, b"there\n").expect("written");
        assert_eq!(shell.until(|k| k.status.is_some()).status, Some(ExitStatus::Exited(4)));
    }

    #[test]
    fn nothing_of_the_scripts_is_in_the_environment() {
        let shell = Shell::new("env >\"$D/env\"; [ -z \"$(grep _pod_ \"$D/env\")\" ] && exit 5", Stdio::null());
        assert_eq!(shell.until(|k| k.status.is_some()).status, Some(ExitStatus::Exited(5)));
    }

    #[test]
    fn a_program_that_can_not_be_run_ends_it_as_a_shell_does() {
        for (program, code) in [("no-such-program", 127), ("/no/such", 127), ("/etc/passwd", 126), ("/etc", 126)] {
            let argv = in_file("/bin/sh", "TERM", "/nonexistent/status");
            let ended = Command::new(&argv[0]).args(&argv[1..]).arg(program).status().expect("a shell");
            assert_eq!((ended.code(), ended.signal()), (Some(code), None), "{program}");
        }
    }
}

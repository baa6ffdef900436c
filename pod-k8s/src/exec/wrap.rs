//! The script around a program, and the one that ends it.
//!
//! Kubernetes can't signal what an exec runs, gives it no environment and no working directory, and ends
//! an exec only when nobody holds its output any more. So a program is started by the image's `sh`
//! (`run.sh`), which costs a fork and no second exec:
//!
//! - its environment holds `POD_EXEC=TOKEN`, by which a second exec finds all it started ([`pod_shell::signal`]);
//! - marks ([`pod_shell::Mark`]) tell when it begins, what kept it from that, and how it ended, while
//!   a child it left behind may go on;
//! - nothing of the request becomes part of a script: all is passed as arguments.
//!
//! The scripts keep to what dash, bash and BusyBox have in common (POSIX.1-2017, "Shell Command
//! Language"). The shell's own words, such as `Killed`, go nowhere: they are nobody's output. Their
//! variables begin with `_pod_`, so that they change none of the workload's.

use pod_core::{Error, ExecRequest, Result, Signal};

/// Looks the program up as execvp(3) does, says what it found, and runs it: by its path where the shell has
/// something of its own by that name, as BusyBox does for all its programs. Its arguments: the token, a
/// terminal's rows and columns or nothing, a directory or nothing, how many variables follow for the
/// shell and how many for `env`, how many of what follows comes as lines of stdin instead (negative: and
/// nothing else does); the variables; the program and its arguments.
const RUN: &str = include_str!("run.sh");

/// Runs a script of POD's own in a shell below, and says by a mark how it ended. Its arguments: the token,
/// the script, the script's.
const SCRIPT: &str = "_pod_t=$1 _pod_s=$2; shift 2; (eval \"$_pod_s\"); _pod_s=$?; \
                      printf '\\001pod:%s:E%s\\002' \"$_pod_t\" \"$_pod_s\" >&2; exit \"$_pod_s\"";

/// Variables that shells keep for themselves or read in their own way, such as numbers only: `env` sets
/// them when the shell is gone.
const OWN: &[&str] = &[
    "_",
    "BASHOPTS",
    "BASHPID",
    "BASH_VERSINFO",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "IFS",
    "LINENO",
    "OLDPWD",
    "OPTARG",
    "OPTIND",
    "POSIXLY_CORRECT",
    "PPID",
    "PS1",
    "PS2",
    "PS4",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "UID",
];

/// Whether a shell can set a variable of this name.
fn is_plain(name: &[u8]) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.first().is_some_and(|b| letter(*b))
        && name.iter().all(|b| letter(*b) || b.is_ascii_digit())
        && !OWN.iter().any(|own| own.as_bytes() == name)
}

/// More than this is not put into an address: clients, servers and proxies know no more than 64 KiB.
const ADDRESS: usize = 40 << 10;

/// A program to start by the image's shell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrapped {
    /// The argv.
    pub(crate) argv: Vec<Vec<u8>>,
    /// What is written to stdin before the program's own, where the arguments don't fit the address or are
    /// no text.
    pub(crate) first: Vec<u8>,
}

/// What runs a request's program under this token.
///
/// # Errors
/// `Unsupported` for a program with `=` in its name beside a variable that only `env` can set: `env` would
/// take the program for a variable. Likewise beside a terminal, for arguments that are too long or no text.
pub(crate) fn run(request: &ExecRequest, token: &str) -> Result<Wrapped> {
    let (plain, odd): (Vec<_>, Vec<_>) = request.env.iter().partition(|(name, _)| is_plain(name));
    if let (Some((name, _)), Some(program)) = (odd.first(), request.argv.first())
        && program.contains(&b'=')
    {
        return Err(Error::unsupported("a program with `=` in its name can't be given this variable")
            .with_context("variable", String::from_utf8_lossy(name))
            .with_hint("run it by `sh -c`"));
    }
    let counts = [plain.len(), odd.len()].map(|n| n.to_string());
    let mut words: Vec<Vec<u8>> =
        plain.into_iter().chain(odd).map(|(name, value)| [name.as_slice(), b"=", value].concat()).collect();
    words.extend(request.argv.iter().cloned());
    let text = words.iter().all(|w| std::str::from_utf8(w).is_ok());
    // Percent-encoding makes three bytes of most that are no letters.
    let length: usize = words.iter().map(|w| w.len() * if w.is_ascii() { 2 } else { 3 }).sum();
    let mut first = Vec::new();
    let mut lines = 0;
    if !text || length > ADDRESS {
        if request.tty.is_some() {
            return Err(Error::unsupported(
                "with a terminal, arguments can't be that long, nor bytes that are no UTF-8",
            )
            .with_context("bytes", length.to_string())
            .with_hint("pass what is long by a file"));
        }
        lines = words.len();
        for word in words.drain(..) {
            first.extend(pod_shell::escaped(&word).into_bytes());
            first.push(b'\n');
        }
    }
    let (rows, cols) = request.tty.map_or_else(Default::default, |t| (t.rows.to_string(), t.cols.to_string()));
    let lines = format!("{}{lines}", if lines > 0 && !request.stdin { "-" } else { "" });
    let cwd = request.cwd.as_deref().unwrap_or_default();
    let argv = ["sh", "-c", RUN, "pod", token, &rows, &cols, cwd, &counts[0], &counts[1], &lines];
    let argv = argv.iter().map(|a| a.as_bytes().to_vec()).chain(words).collect();
    Ok(Wrapped { argv, first })
}

/// What runs a script of POD's own under this token.
pub(crate) fn script(script: &str, args: &[String], token: &str) -> Vec<Vec<u8>> {
    let fixed = ["sh", "-c", SCRIPT, "pod", token, script].map(str::as_bytes);
    fixed.into_iter().chain(args.iter().map(String::as_bytes)).map(<[u8]>::to_vec).collect()
}

/// The argv that signals one process of this token, or kills all of it.
pub(crate) fn signal(token: &str, to: Option<(Signal, u32)>) -> Vec<Vec<u8>> {
    pod_shell::signal("sh", token, to).into_iter().map(String::into_bytes).collect()
}

/// The argv that succeeds when nothing of this token is there.
pub(crate) fn search(token: &str) -> Vec<Vec<u8>> {
    pod_shell::search("sh", token).into_iter().map(String::into_bytes).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use pod_shell::{Mark, Scanner};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    /// The shells of this machine: each as the argv that stands for `sh`.
    fn shells() -> Vec<Vec<&'static str>> {
        let known: [Vec<&str>; 3] = [vec!["/bin/dash"], vec!["/bin/bash", "--posix"], vec!["/bin/busybox", "sh"]];
        let here: Vec<_> = known.into_iter().filter(|s| std::path::Path::new(s[0]).exists()).collect();
        assert!(!here.is_empty(), "this machine has none of dash, bash, busybox");
        here
    }

    fn command(shell: &[&str], argv: &[Vec<u8>]) -> Command {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).args(argv[1..].iter().map(|a| OsStr::from_bytes(a)));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("KEPT", "kept");
        command
    }

    struct Ran {
        out: Vec<u8>,
        err: Vec<u8>,
        marks: Vec<Mark>,
        code: Option<i32>,
    }

    fn ran(shell: &[&str], request: &ExecRequest) -> Ran {
        let wrapped = run(request, "token").expect("an argv");
        let mut child = command(shell, &wrapped.argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the shell runs");
        let mut stdin = child.stdin.take().expect("a stdin");
        let own = if request.stdin { &b"own\n"[..] } else { b"" };
        std::io::Write::write_all(&mut stdin, &[&wrapped.first, own].concat()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("the shell ends");
        let mut scanner = Scanner::new("token");
        let (err, marks) = scanner.scan(output.stderr.into());
        let (out, ends) = Scanner::new("token").scan(output.stdout.into());
        assert_eq!(ends.as_slice(), marks.last().copied().as_slice(), "stdout's end is marked, too");
        Ran { out: out.to_vec(), err: [err, scanner.rest()].concat(), marks, code: output.status.code() }
    }

    #[test]
    fn what_is_given_arrives_and_marks_frame_it() {
        let args = ["a b", "", "$HOME `id` \"'\\", "*", "-n", "new\nline", "grüße"];
        for shell in shells() {
            let mut request =
                ExecRequest::new(["/bin/sh", "-c", "for a; do printf '<%s>' \"$a\"; done; echo err >&2; exit 7", "sh"]);
            request.argv.extend(args.map(Into::into));
            let got = ran(&shell, &request);
            let expected: String = args.iter().map(|a| format!("<{a}>")).collect();
            assert_eq!(String::from_utf8_lossy(&got.out), expected, "{shell:?}");
            assert_eq!(got.err, b"err\n", "{shell:?}");
            assert_eq!(got.code, Some(7), "{shell:?}");
            assert!(
                matches!(got.marks[..], [Mark::Began(pid), Mark::Ended(7)] if pid > 1),
                "{shell:?} {:?}",
                got.marks
            );
        }
    }

    #[test]
    fn environment_and_directory_are_set_whatever_their_names() {
        for shell in shells() {
            let request = ExecRequest::new(["env"])
                .with_cwd("/usr/share")
                .with_env("ONE", "a b\n$x 'y'")
                .with_env("EMPTY", "")
                .with_env("odd.name-1", "odd")
                .with_env("UID", "none")
                .with_env("OPTIND", "word")
                .with_env("IFS", "ab");
            let text = String::from_utf8_lossy(&ran(&shell, &request).out).into_owned();
            let wanted = [
                "ONE=a b\n$x 'y'\n",
                "EMPTY=\n",
                "odd.name-1=odd\n",
                "UID=none\n",
                "OPTIND=word\n",
                "IFS=ab\n",
                "KEPT=kept\n",
            ];
            for line in wanted.iter().chain(&["POD_EXEC=token\n"]) {
                assert!(text.contains(line), "{shell:?}: {line:?} is not in {text:?}");
            }
            assert!(!text.contains("_pod_"), "{shell:?}: the script's own variables are exported: {text}");
            let out = ran(&shell, &ExecRequest::new(["pwd"]).with_cwd("/usr/share")).out;
            assert_eq!(out, b"/usr/share\n", "{shell:?}");
        }
    }

    #[test]
    fn long_arguments_and_any_bytes_come_by_stdin() {
        let all: Vec<u8> = (1..=255).collect();
        let mut request =
            ExecRequest::new(["sh", "-c", "for a; do printf '%s\\0' \"$a\"; done; wc -c; printf '%s' \"$B\"", "sh"]);
        let args =
            [all.clone(), b"\\n\\0101 \\".to_vec(), Vec::new(), b"\n\n".to_vec(), vec![b'x'; 100_000], b"7".to_vec()];
        request.argv.extend(args.iter().cloned());
        request = request.with_env("B", all.clone());
        for (request, own) in [(request.clone(), "0"), (request.with_stdin(), "4")] {
            for shell in shells() {
                let got = ran(&shell, &request);
                let mut parts: Vec<&[u8]> = got.out.split(|b| *b == 0).collect();
                let rest = parts.pop().expect("what comes last");
                assert!(parts == args, "{shell:?}: {:?}", parts.iter().map(|p| p.len()).collect::<Vec<_>>());
                let (count, variable) = rest.split_at(rest.iter().position(|b| *b == b'\n').expect("a line") + 1);
                assert_eq!(String::from_utf8_lossy(count).trim(), own, "{shell:?}: what is left of stdin");
                assert!(variable == all, "{shell:?}: the variable");
            }
        }
        let tty = ExecRequest::new([vec![0xff]]).with_tty(pod_core::TtySize::default());
        assert_eq!(run(&tty, "t").map_err(|e| e.kind()), Err(pod_core::ErrorKind::Unsupported));
    }

    #[test]
    fn what_keeps_a_program_from_running_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("data"), "no program").expect("a file");
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        for shell in shells() {
            let cases = [
                (ExecRequest::new(["no-such-program-anywhere"]), Mark::NoProgram),
                (ExecRequest::new(["/no/such"]), Mark::NoProgram),
                (ExecRequest::new(["./none"]), Mark::NoProgram),
                (ExecRequest::new([path("data")]), Mark::NotExecutable),
                (ExecRequest::new(["/etc"]), Mark::NotExecutable),
                (ExecRequest::new(["data"]).with_env("PATH", path("")), Mark::NotExecutable),
                (ExecRequest::new(["test"]).with_env("PATH", "/nowhere"), Mark::NoProgram),
                (ExecRequest::new(["pwd"]).with_cwd("/no/such"), Mark::NoDirectory),
            ];
            for (request, mark) in cases {
                let got = ran(&shell, &request);
                assert_eq!(got.marks.first(), Some(&mark), "{shell:?} {request:?}");
                assert!(got.out.is_empty() && got.err.is_empty(), "{shell:?} {request:?}");
            }
            let own = tempfile::tempdir().expect("a directory");
            std::os::unix::fs::symlink("/bin/echo", own.path().join("cat")).expect("a link");
            let both = format!("{}:/usr/bin:/bin", own.path().display());
            let got = ran(&shell, &ExecRequest::new(["cat", "own"]).with_env("PATH", both));
            assert_eq!(got.out, b"own\n", "{shell:?}: the first of the PATH");
        }
    }

    #[test]
    fn a_death_is_told_without_the_shells_words() {
        for shell in shells() {
            let got = ran(&shell, &ExecRequest::shell("kill -9 $$; sleep 5"));
            assert_eq!(got.marks.last(), Some(&Mark::Ended(137)), "{shell:?}");
            assert_eq!((got.code, got.err.as_slice()), (Some(137), &b""[..]), "{shell:?}");
        }
    }

    fn alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    /// What a test started, killed when the test fails before.
    struct Family {
        child: Child,
        pids: Vec<std::path::PathBuf>,
    }

    impl Drop for Family {
        fn drop(&mut self) {
            for file in &self.pids {
                let pid = std::fs::read_to_string(file).ok().and_then(|t| t.trim().parse::<i32>().ok());
                if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
                    // It is gone when the test went well.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// A program, a child that ignores signals, one in a session of its own, one without the variable.
    fn family(shell: &[&str], token: &str, dir: &std::path::Path) -> Family {
        let script = "cd \"$1\"; echo $$ >main; sh -c 'trap \"\" TERM HUP; echo $$ >child; while :; do sleep 1; done' & \
                      setsid sh -c 'echo $$ >apart; sleep 60' & \
                      env -u POD_EXEC sh -c 'echo $$ >bare; sleep 60; true' & \
                      while ! [ -s main -a -s child -a -s apart -a -s bare ]; do sleep 0.05; done; : >ready; wait";
        let request = ExecRequest::new(["sh", "-c", script, "sh", &dir.to_string_lossy()]);
        let argv = run(&request, token).expect("an argv").argv;
        let child = command(shell, &argv)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawned");
        let pids = ["main", "child", "apart", "bare"].iter().map(|n| dir.join(n)).collect();
        let family = Family { child, pids };
        let since = Instant::now();
        while !dir.join("ready").exists() {
            assert!(since.elapsed() < Duration::from_secs(20), "{shell:?}: the family did not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        family
    }

    #[test]
    fn all_that_a_program_started_is_killed_and_nothing_else() {
        for shell in shells() {
            for tools in ["/usr/bin:/bin", "/nowhere"] {
                let (ours, other) =
                    (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
                let token = uuid::Uuid::new_v4().simple().to_string();
                let mut family_of = family(&shell, &token, ours.path());
                let mut others = family(&shell, "another", other.path());
                let found = || {
                    let found = command(&shell, &search(&token)).env("PATH", tools).status().expect("the shell runs");
                    !found.success()
                };
                // Without tools a search reads all there is of a machine byte by byte.
                let quick = tools != "/nowhere";
                assert!(!quick || found(), "{shell:?} with {tools}: it is not found");
                let killed =
                    command(&shell, &signal(&token, None)).env("PATH", tools).output().expect("the shell runs");
                assert!(!quick || !found(), "{shell:?} with {tools}: another's is found");
                assert_eq!(killed.status.code(), Some(0), "{shell:?}: {}", String::from_utf8_lossy(&killed.stdout));
                let read =
                    |dir: &tempfile::TempDir, name| std::fs::read_to_string(dir.path().join(name)).expect("a pid");
                for name in ["main", "child", "apart", "bare"] {
                    assert!(!alive(&read(&ours, name)), "{shell:?} with {tools}: {name} still runs");
                    assert!(alive(&read(&other, name)), "{shell:?} with {tools}: another's {name} was killed");
                }
                family_of.child.wait().expect("reaped");
                let killed = command(&shell, &signal("another", None)).output().expect("the shell runs");
                assert!(killed.status.success());
                others.child.wait().expect("reaped");
            }
        }
    }

    #[test]
    fn a_signal_goes_to_the_program_alone() {
        for shell in shells() {
            let dir = tempfile::tempdir().expect("a directory");
            let token = uuid::Uuid::new_v4().simple().to_string();
            let mut child = family(&shell, &token, dir.path());
            let read = |name| std::fs::read_to_string(dir.path().join(name)).expect("a pid");
            let pid: u32 = read("main").trim().parse().expect("a number");
            let strange = command(&shell, &signal("another", Some((Signal::TERM, pid)))).status().expect("runs");
            assert!(strange.success() && alive(&read("main")), "{shell:?}: another token's process was signalled");
            assert!(command(&shell, &signal(&token, Some((Signal::TERM, pid)))).status().expect("runs").success());
            let status = child.child.wait().expect("reaped");
            assert_eq!(status.code(), Some(143), "{shell:?}");
            assert!(alive(&read("child")), "{shell:?}: a child was signalled");
            assert!(command(&shell, &signal(&token, None)).status().expect("runs").success());
        }
    }
}

//! The script around a program, and the one that ends it.
//!
//! `run.sh` looks the program up as execvp(3) does, says what it found, and runs it: by its path where the
//! shell has something of its own by that name, as BusyBox does for all its programs. Its environment holds
//! `POD_EXEC=TOKEN`, by which a second exec ([`pod_shell::signal`]) finds all it started. Nothing of the request
//! becomes part of a script: all is passed as arguments or environment.
//!
//! The scripts keep to what dash, bash and BusyBox have in common (POSIX.1-2017, "Shell Command
//! Language"). The shell's own words, such as `Killed`, go nowhere: they are nobody's output.

use pod_core::{Error, ExecRequest, Result};

/// Its arguments: the token, a terminal's rows and columns or nothing, a word where there is a stdin, how many variables follow for
/// `env`, how many words follow as escapes (all or none); the variables; the program and its arguments.
const RUN: &str = include_str!("run.sh");

/// The shell that runs the scripts.
pub(crate) const SHELL: &str = "/bin/sh";

/// The variable that marks a program and all it starts.
pub(crate) const MARK: &str = "POD_EXEC";

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

/// Whether a shell hands on a variable of this name as it is.
fn is_plain(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.chars().next().is_some_and(letter)
        && name.chars().all(|c| letter(c) || c.is_ascii_digit())
        && !OWN.contains(&name)
}

/// A program as the daemon is asked to run it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrapped {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<String>,
}

/// What runs a request's program under this token. The API takes text only, UTF-8; where there are other
/// bytes, all words go as escapes that the script takes back.
///
/// # Errors
/// `Unsupported` for a program with `=` in its name beside a variable that only `env` can set: `env` would
/// take the program for a variable.
pub(crate) fn run(request: &ExecRequest, token: &str) -> Result<Wrapped> {
    let (mut env, mut odd) = (vec![format!("{MARK}={token}")], Vec::new());
    for (name, value) in &request.env {
        let pair = [name.as_slice(), b"=", value].concat();
        match String::from_utf8(pair) {
            Ok(pair) if is_plain(&String::from_utf8_lossy(name)) => env.push(pair),
            Ok(pair) => odd.push(pair.into_bytes()),
            Err(no_text) => odd.push(no_text.into_bytes()),
        }
    }
    if let (Some(pair), Some(program)) = (odd.first(), request.argv.first())
        && program.contains(&b'=')
    {
        let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
        return Err(Error::unsupported("a program with `=` in its name can't be given this variable")
            .with_context("variable", String::from_utf8_lossy(name))
            .with_hint("run it by `sh -c`"));
    }
    let count = odd.len();
    let words: Vec<Vec<u8>> = odd.into_iter().chain(request.argv.iter().cloned()).collect();
    let plain: std::result::Result<Vec<String>, _> = words.iter().cloned().map(String::from_utf8).collect();
    let (words, escapes) = match plain {
        Ok(words) => (words, 0),
        Err(_) => (words.iter().map(|w| pod_shell::escaped(w)).collect(), words.len()),
    };
    let (rows, cols) = request.tty.map_or_else(Default::default, |t| (t.rows.to_string(), t.cols.to_string()));
    let (count, escapes) = (count.to_string(), escapes.to_string());
    let stdin = if request.stdin { "stdin" } else { "" };
    let fixed = [SHELL, "-c", RUN, "pod", token, &rows, &cols, stdin, &count, &escapes];
    let argv = fixed.iter().map(|w| (*w).to_owned()).chain(words).collect();
    Ok(Wrapped { argv, env })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use pod_shell::{Mark, Scanner};
    use std::process::{Command, Stdio};

    /// The shells of this machine: each as the argv that stands for `/bin/sh`.
    fn shells() -> Vec<Vec<&'static str>> {
        let known: [Vec<&str>; 3] = [vec!["/bin/dash"], vec!["/bin/bash", "--posix"], vec!["/bin/busybox", "sh"]];
        let here: Vec<_> = known.into_iter().filter(|s| std::path::Path::new(s[0]).exists()).collect();
        assert!(!here.is_empty(), "this machine has none of dash, bash, busybox");
        here
    }

    fn ran(shell: &[&str], request: &ExecRequest) -> (String, Vec<Mark>) {
        let (out, marks) = bytes(shell, request);
        (String::from_utf8_lossy(&out).into_owned(), marks)
    }

    fn bytes(shell: &[&str], request: &ExecRequest) -> (Vec<u8>, Vec<Mark>) {
        let wrapped = run(request, "token").expect("an argv");
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).args(&wrapped.argv[1..]).env_clear().env("PATH", "/usr/bin:/bin");
        command.envs(wrapped.env.iter().filter_map(|pair| pair.split_once('=')));
        let output = command.stdin(Stdio::null()).output().expect("the shell runs");
        let (_, marks) = Scanner::new("token").scan(output.stderr.into());
        let (out, ends) = Scanner::new("token").scan(output.stdout.into());
        assert_eq!(ends.as_slice(), marks.last().copied().as_slice(), "stdout's end is marked, too");
        (out.to_vec(), marks)
    }

    #[test]
    fn what_is_given_arrives_and_marks_frame_it() {
        let args = ["a b", "", "$HOME `id` \"'\\", "*", "-n", "new\nline", "grüße"];
        for shell in shells() {
            let mut request = ExecRequest::new(["sh", "-c", "for a; do printf '<%s>' \"$a\"; done; exit 7", "sh"]);
            request.argv.extend(args.map(Into::into));
            let (out, marks) = ran(&shell, &request);
            assert_eq!(out, args.iter().map(|a| format!("<{a}>")).collect::<String>(), "{shell:?}");
            assert!(matches!(marks[..], [Mark::Began(pid), Mark::Ended(7)] if pid > 1), "{shell:?} {marks:?}");
        }
    }

    #[test]
    fn variables_are_set_whatever_their_names() {
        for shell in shells() {
            let request = ExecRequest::new(["env"])
                .with_env("ONE", "a b\n$x 'y'")
                .with_env("EMPTY", "")
                .with_env("odd.name-1", "odd")
                .with_env("UID", "none");
            let (out, _) = ran(&shell, &request);
            for line in ["ONE=a b\n$x 'y'\n", "EMPTY=\n", "odd.name-1=odd\n", "UID=none\n", "POD_EXEC=token\n"] {
                assert!(out.contains(line), "{shell:?}: {line:?} is not in {out:?}");
            }
            assert!(!out.contains("_pod_"), "{shell:?}: the script's own variables are exported: {out}");
        }
    }

    #[test]
    fn what_keeps_a_program_from_running_is_told() {
        for shell in shells() {
            for (program, mark) in [
                ("no-such-program-anywhere", Mark::NoProgram),
                ("/no/such", Mark::NoProgram),
                ("/etc/passwd", Mark::NotExecutable),
                ("/etc", Mark::NotExecutable),
            ] {
                let (out, marks) = ran(&shell, &ExecRequest::new([program]));
                assert_eq!((marks.first(), out.as_str()), (Some(&mark), ""), "{shell:?} {program}");
            }
        }
    }

    #[test]
    fn what_a_program_does_not_read_of_its_stdin_is_taken() {
        use std::io::Write as _;
        for shell in shells() {
            let wrapped = run(&ExecRequest::new(["echo", "done"]).with_stdin(), "token").expect("an argv");
            let mut command = Command::new(shell[0]);
            command.args(&shell[1..]).args(&wrapped.argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.stderr(Stdio::null()).spawn().expect("the shell runs");
            let mut stdin = child.stdin.take().expect("a pipe");
            // More than a pipe holds, and no line's end in it.
            stdin.write_all(&vec![b'x'; 1 << 20]).expect("nobody has closed it");
            drop(stdin);
            let output = child.wait_with_output().expect("an end");
            let (out, ends) = Scanner::new("token").scan(output.stdout.into());
            assert_eq!((out.as_ref(), ends), (&b"done\n"[..], vec![Mark::Ended(0)]), "{shell:?}");
        }
    }

    #[test]
    fn words_may_hold_any_bytes() {
        let all: Vec<u8> = (1..=255).collect();
        let script = "for a; do printf '%s\\0' \"$a\"; done; printf '%s' \"$B\" | wc -c";
        for shell in shells() {
            let mut request = ExecRequest::new(["sh", "-c", script, "sh"]).with_env("B", all.clone());
            let args = [all.clone(), b"\\n\\0101 \\".to_vec(), Vec::new(), b"\n\n".to_vec(), b"7".to_vec()];
            request.argv.extend(args.iter().cloned());
            let (out, _) = bytes(&shell, &request);
            let mut parts: Vec<&[u8]> = out.split(|b| *b == 0).collect();
            assert_eq!(String::from_utf8_lossy(parts.pop().expect("a count")).trim(), "255", "{shell:?}");
            assert!(
                parts == args,
                "{shell:?}: {:?}",
                parts.iter().map(|p| p.escape_ascii().to_string()).collect::<Vec<_>>()
            );
        }
    }
}

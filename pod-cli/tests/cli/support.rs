//! The command under test.

use assert_cmd::Command;
use std::sync::OnceLock;

/// `pod` with an empty environment but for the search path and `mem:` as the default backend.
pub(crate) fn pod() -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("pod");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("POD_BACKEND", "mem:");
    // No configuration of the user's counts.
    command.env("HOME", "/nonexistent");
    command.timeout(std::time::Duration::from_secs(60));
    command
}

/// What a run of `pod` printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `pod` with these arguments.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    ran(pod().args(arguments))
}

/// Runs a command that was made ready.
pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("pod runs");
    Ran {
        code: output.status.code().expect("pod exits by itself"),
        stdout: String::from_utf8(output.stdout).expect("text on stdout"),
        stderr: String::from_utf8(output.stderr).expect("text on stderr"),
    }
}

/// The ways to all commands, such as `["net", "ls"]`, as the command's own completion tells them.
pub(crate) fn commands() -> &'static [Vec<String>] {
    static FOUND: OnceLock<Vec<Vec<String>>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut found = Vec::new();
        below(&[], &mut found);
        found
    })
}

fn below(path: &[String], found: &mut Vec<Vec<String>>) {
    for word in completions(path, "") {
        if word.starts_with('-') {
            continue;
        }
        let mut sub = path.to_vec();
        sub.push(word);
        // The other words are values.
        if is_command(&sub) {
            found.push(sub.clone());
            below(&sub, found);
        }
    }
}

/// Whether the last word is a command of the words before it: their help lists it.
fn is_command(path: &[String]) -> bool {
    let (last, before) = path.split_last().expect("a word");
    let help = run(&before.iter().map(String::as_str).chain(["-h"]).collect::<Vec<_>>()).stdout;
    let listed = help.split("Commands:").nth(1).unwrap_or_default();
    let listed = listed.split("\n\n").next().unwrap_or_default();
    listed.lines().any(|line| line.split_whitespace().next() == Some(last))
}

/// What the command offers to a shell after these words.
pub(crate) fn completions(path: &[String], word: &str) -> Vec<String> {
    let mut command = pod();
    command.env("COMPLETE", "fish").args(["--", "pod"]).args(path).arg(word);
    let ran = ran(&mut command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout.lines().filter_map(|line| line.split('\t').next().map(Into::into)).collect()
}

//! Completion and manual pages know every command.

use crate::support::{commands, completions, run};

#[test]
fn every_verb_of_the_help_is_completed() {
    let help = run(&["-h"]).stdout;
    let listed = help.split("Commands:").nth(1).and_then(|s| s.split("\n\n").next()).expect("a list of commands");
    let verbs: Vec<&str> = listed.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert!(verbs.len() > 10, "{verbs:?}");
    let offered = completions(&[], "");
    for verb in verbs {
        assert!(offered.iter().any(|o| o == verb), "{verb} is not completed");
        // So are its flags.
        let flags = completions(&[verb.to_owned()], "--");
        assert!(flags.iter().any(|f| f == "--help"), "{verb}: {flags:?}");
    }
}

#[test]
fn every_shell_gets_a_script_that_asks_the_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.code, 0);
        assert!(script.stdout.contains("COMPLETE") && script.stdout.contains("pod"), "{shell}: {}", script.stdout);
    }
    let unknown = run(&["completions", "bsh"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("'bash'"), "{}", unknown.stderr);
}

#[test]
fn values_are_completed() {
    assert_eq!(completions(&["ps".into(), "-o".into()], "j"), ["json"]);
    assert_eq!(completions(&["net".into(), "test".into(), "--expect".into()], ""), ["reached", "blocked"]);
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("a path in text");
    assert_eq!(run(&["man", "--dir", path]).code, 0);
    for command in commands() {
        let page = dir.path().join(format!("pod-{}.1", command.join("-")));
        assert!(page.is_file(), "{}", page.display());
    }
    let page = run(&["man"]);
    assert_eq!(page.code, 0);
    assert!(page.stdout.contains(".TH pod 1"), "{}", page.stdout);
}

//! Help is part of the contract: a change of it is seen in a review.

use crate::support::{commands, run};

#[test]
fn the_help_of_every_command() {
    let mut all = run(&["--help"]).stdout;
    for path in commands() {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["-h"]).collect();
        let help = run(&arguments);
        assert_eq!(help.code, 0);
        // The flags of every command stand in the first help only.
        let begin = help.stdout.find("Global options:").expect("global options");
        let end = help.stdout[begin..].find("\n\n").map_or(help.stdout.len(), |n| begin + n + 2);
        all.push_str(&format!(
            "\n{:=^100}\n\n{}{}",
            format!(" pod {} ", path.join(" ")),
            &help.stdout[..begin],
            &help.stdout[end..]
        ));
    }
    insta::assert_snapshot!("help", all);
}

#[test]
fn every_help_ends_with_examples() {
    for path in commands() {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = run(&arguments).stdout;
        let group = help.contains("\nCommands:\n");
        let tail = help.rsplit("\n\n").next().unwrap_or_default();
        assert!(group || tail.starts_with("Examples:\n  "), "pod {}: {tail}", path.join(" "));
        // An example shows the command itself.
        assert!(group || tail.contains(&format!("pod {}", path.join(" "))), "pod {}: {tail}", path.join(" "));
    }
}

#[test]
fn the_version_is_one_line() {
    let version = run(&["--version"]);
    assert_eq!((version.code, version.stdout.as_str()), (0, concat!("pod ", env!("CARGO_PKG_VERSION"), "\n")));
}

//! The command on this machine and on real container engines: the same words, the same meaning.
#![allow(clippy::unwrap_used, missing_docs)]

mod crashes;
#[path = "../driver/mod.rs"]
#[expect(dead_code, reason = "the other tests use all of it")]
mod driver;

use driver::Driver;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the lab tells its tests.
fn lab(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask test`"))
}

/// A folder for this machine's own workloads.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("pod-cli-docker-").tempdir_in("/var/tmp").unwrap())
    }

    /// A file of this text.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Driver for World {
    fn pod<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pod"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/nonexistent");
        command.env("POD_LOCAL_ROOT", self.0.path().join("local"));
        command.args(args).stdin(Stdio::null()).current_dir(self.0.path());
        command
    }
}

/// Takes a topology down, however its test ends.
struct Up<'a>(&'a World, String);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let down = self.0.run(["down", &self.1]);
        assert!(std::thread::panicking() || down.code == 0, "{}{}", down.out, down.err);
    }
}

/// The words after a row's name.
fn row(matrix: &str, name: &str) -> Vec<String> {
    let line = matrix.lines().find(|l| l.split_whitespace().next() == Some(name)).unwrap_or_else(|| panic!("{matrix}"));
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_topology_comes_up_on_each_platform_by_one_word() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/anywhere.yaml");
    let text = std::fs::read_to_string(example).unwrap();
    let image = lab("POD_LAB_IMAGE");
    for word in [
        "local:".to_owned(),
        format!("docker:?image={image}&socket={}", lab("POD_LAB_DOCKER")),
        format!("podman:?image={image}&socket={}", lab("POD_LAB_PODMAN")),
    ] {
        let w = World::new();
        let changed = text.replacen("backend: \"local:\"", &format!("backend: {word:?}"), 1);
        assert_eq!(changed == text, word == "local:", "{text}");
        let file = w.file("anywhere.yaml", &changed);
        let taken_down = Up(&w, file.clone());
        let up = w.run(["up", &file]).ok();
        for (workload, reached) in [
            ("a1", ["-", "yes", "no", "no", "yes"]),
            ("a2", ["yes", "-", "no", "no", "yes"]),
            ("b1", ["no", "no", "-", "yes", "yes"]),
            ("b2", ["no", "no", "yes", "-", "yes"]),
            ("both", ["yes", "yes", "yes", "yes", "-"]),
        ] {
            assert_eq!(row(&up.out, workload), reached, "{word}: {}", up.out);
        }
        let again = w.run(["up", &file]).ok();
        assert!(again.err.contains("nothing to change"), "{word}: {}", again.err);
        let listed = |words: &[&str]| {
            let names = w.run([&["-b", &word], words, &["-o", "name"]].concat()).ok().out;
            names.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(listed(&["ps", "--topology", "anywhere"]), ["a1", "a2", "b1", "b2", "both"], "{word}");
        drop(taken_down);
        assert!(listed(&["ps", "-a", "--topology", "anywhere"]).is_empty(), "{word}");
        let networks = listed(&["net", "ls"]);
        assert!(!networks.iter().any(|n| ["blue", "red"].contains(&n.as_str())), "{word}: {networks:?}");
    }
}

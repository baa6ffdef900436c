//! Tier 2: real links and real workloads. Cargo runs as whoever called; its runner, this program, makes
//! the namespaces and becomes root.

use super::cargo;
use crate::install;
use crate::lab;
use crate::project::{MarkedTest, Project};
use crate::report::{Report, span};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

/// How many tests of one row may need a second try. More than that is no matter of a busy machine.
const SECOND_TRIES: usize = 3;

/// What the tier is to do.
pub(super) struct Plan {
    /// Missing packages may be installed.
    pub(super) install: bool,
    /// The long bounds.
    pub(super) soak: bool,
    /// The lab's programs are being built.
    pub(super) build: Option<lab::Build>,
}

pub(super) fn run(project: &Project, report: &mut Report, plan: Plan) {
    let Plan { install, soak, build } = plan;
    let ready = report.check("root", || install::as_root("true").map(drop))
        && report.check("tools", || install::ensure(install::SYSTEM, install));
    if !ready {
        return;
    }
    let mut programs = None;
    let built = report.check("programs", || {
        programs = Some((crate::project::own()?, Programs::build(project)?));
        Ok(())
    });
    let Some((own, programs)) = programs.filter(|_| built) else { return };
    report.try_twice(SECOND_TRIES);
    let world = World { own, pod: project.target.join("debug/pod"), soak, programs };
    let since = Instant::now();
    // Most of both rows is waiting: one for the cluster, one for the links of this machine.
    let (up, came_up) = mpsc::channel();
    let (beside, in_cluster): (Vec<_>, Vec<_>) = project.lab_tests().into_iter().partition(apart_from_the_cluster);
    let mut lab = None;
    report.beside(
        |row| {
            lab = raise(row, install, build);
            let runner = lab.as_ref().and_then(|(_, runner)| runner.clone());
            // The other row is gone only when it broke off.
            let _ = up.send(runner.clone());
            row.remark(format!("the lab was ready after {}", span(since.elapsed())));
            lab_tests(row, &world, &in_cluster, runner.as_deref());
        },
        |row| {
            root_tests(project, row, &world);
            on_second_kernel(project, row, &world);
            examples(project, row, &world);
            topologies(project, row, &world);
            let runner = came_up.recv().ok().flatten();
            lab_tests(row, &world, &beside, runner.as_deref());
        },
    );
    if let Some((lab, _)) = lab {
        report.check("lab: down", || lab.end());
    }
    // Not beside anything: on its one slow processor the servers there would give each other up.
    tagged_tests(project, report, &world);
}

/// Whether a test of the lab has nothing to do with its cluster, whose servers other tests stop.
fn apart_from_the_cluster(test: &MarkedTest) -> bool {
    test.package == "pod-docker"
}

/// How a program is run on real links.
struct World {
    own: PathBuf,
    pod: PathBuf,
    soak: bool,
    programs: Programs,
}

/// The test programs of this tier.
struct Programs(HashMap<PathBuf, PathBuf>);

impl Programs {
    /// Has cargo build all of them, and what they start, at once: one by one, each package would have its
    /// dependencies built anew with the features that it alone asks for.
    fn build(project: &Project) -> Result<Self, String> {
        let mut tests = project.root_tests();
        tests.extend(project.lab_tests());
        tests.extend(project.tagged_tests());
        let mut command = cargo(project, &["build", "--locked", "--workspace", "--bins"]);
        for test in &tests {
            command.args(["--features", &test.features.join(","), "--test", &test.target]);
        }
        command.args(["--message-format", "json-render-diagnostics"]);
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| format!("run cargo build: {e}"))?;
        if !output.status.success() {
            return Err(format!("cargo build: {}", output.status));
        }
        Ok(Self(built(&String::from_utf8_lossy(&output.stdout))))
    }

    fn of(&self, test: &MarkedTest) -> Result<&Path, String> {
        let program = self.0.get(&test.source).map(PathBuf::as_path);
        program.ok_or_else(|| format!("cargo built no program from {}", test.source.display()))
    }
}

/// The test programs that cargo says it built, by their main files.
fn built(messages: &str) -> HashMap<PathBuf, PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let tests = messages.filter(|m| m["target"]["kind"].as_array().is_some_and(|k| k.iter().any(|k| k == "test")));
    let pairs =
        tests.filter_map(|m| Some((m["target"]["src_path"].as_str()?.into(), m["executable"].as_str()?.into())));
    pairs.collect()
}

impl World {
    fn set(&self, command: &mut Command) {
        command.env("POD_SHIM", &self.pod).env("XDG_CONFIG_HOME", "/nonexistent");
        if self.soak {
            command.env("POD_SOAK", "1");
        }
    }

    /// A program in namespaces of its own.
    fn isolated(&self, project: &Project, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.own);
        command.args(["isolated", "--"]).arg(program).args(arguments).current_dir(&project.root);
        super::scrub(&mut command);
        self.set(&mut command);
        command
    }
}

/// Every test target that needs root.
fn root_tests(project: &Project, report: &mut Report, world: &World) {
    let tests = project.root_tests();
    report.check("there are tests for root", || if tests.is_empty() { Err("none was found".into()) } else { Ok(()) });
    let runner = [world.own.display().to_string(), "isolated".into(), "--".into()];
    for test in tests {
        marked(report, world, &test, &runner);
    }
}

/// What is run on the second kernel too, and which tests of it: what this machine's kernel may lack the
/// features for, and no more, for programs start slowly there.
const ON_SECOND_KERNEL: &[(&str, &str, &str)] = &[
    ("pod-net", "root", "tags"),
    ("pod-local", "contract", "trunk"),
    ("pod-local", "contract", "limits"),
    ("pod-local", "contract", "kill"),
];
/// One processor does it all there, and mostly waits; its console is a terminal.
const OPTIONS: &[&str] = &["--test-threads=6", "--color=never"];

/// Tests that need tags, or control groups of version 2, where there are any.
fn on_second_kernel(project: &Project, report: &mut Report, world: &World) {
    let own = world.own.display().to_string();
    let tests = project.root_tests();
    for (package, target, filter) in ON_SECOND_KERNEL {
        let Some(test) = tests.iter().find(|t| t.package == *package && t.target == *target) else {
            report.check(&format!("{package}: {target}"), || Err("there is no such test".into()));
            continue;
        };
        let runner = [&own, "second-kernel", "--", &own, "isolated", "--"].map(str::to_owned);
        let name = format!("{package}: {target} {filter} on the second kernel");
        if let Some(mut command) = started(report, world, test, &name, &runner) {
            report.run_chosen(&name, command.arg(filter).args(OPTIONS));
        }
    }
}

/// Every test target that needs a lab on a kernel with tags: a small one in the second kernel.
fn tagged_tests(project: &Project, report: &mut Report, world: &World) {
    let own = world.own.display().to_string();
    let kernel = [&own, "second-kernel", "--"];
    let lab = [&own, "lab", "run", "--once", "--nodes", "1", "--small", "--name", "tagged", "--"];
    let runner: Vec<String> = kernel.iter().chain(&lab).map(ToString::to_string).collect();
    for test in project.tagged_tests() {
        let name = format!("{}: {} in a lab on the second kernel", test.package, test.target);
        if let Some(mut command) = started(report, world, &test, &name, &runner) {
            report.run_chosen(&name, &mut command);
        }
    }
}

/// Starts the lab. With it, the words in front of a command that runs in it; none is a failure that has been
/// told.
fn raise(
    report: &mut Report,
    install: bool,
    build: Option<lab::Build>,
) -> Option<(lab::ForTests, Option<Vec<String>>)> {
    if !build.is_none_or(|build| report.check("lab: programs", || build.finish())) {
        return None;
    }
    let mut lab = None;
    let mut runner = None;
    report.check("lab: up", || {
        let chosen = lab.insert(lab::ForTests::choose()?);
        chosen.ensure(install)?;
        runner = Some(chosen.runner()?);
        Ok(())
    });
    lab.map(|lab| (lab, runner))
}

/// Test targets that need the lab.
fn lab_tests(report: &mut Report, world: &World, tests: &[MarkedTest], runner: Option<&[String]>) {
    for test in tests {
        match runner {
            Some(runner) => marked(report, world, test, runner),
            None => {
                report.check(&format!("{}: {}", test.package, test.target), || Err("the lab is not up".into()));
            }
        }
    }
}

/// A test program, started by the words in front of it, as cargo would.
fn marked(report: &mut Report, world: &World, test: &MarkedTest, runner: &[String]) {
    let name = format!("{}: {}", test.package, test.target);
    if let Some(mut command) = started(report, world, test, &name, runner) {
        report.run(&name, &mut command);
    }
}

/// The command that does so; none is a failure that has been told.
fn started(report: &mut Report, world: &World, test: &MarkedTest, name: &str, runner: &[String]) -> Option<Command> {
    let program = match world.programs.of(test) {
        Ok(program) => program,
        Err(why) => {
            report.check(name, || Err(why));
            return None;
        }
    };
    let mut command = Command::new(&runner[0]);
    command.args(&runner[1..]).arg(program).current_dir(&test.folder).env("CARGO_MANIFEST_DIR", &test.folder);
    super::scrub(&mut command);
    world.set(&mut command);
    Some(command)
}

/// Every example program, on the backend in memory and on the embedded engine.
fn examples(project: &Project, report: &mut Report, world: &World) {
    for example in project.examples() {
        let program = project.target.join("debug").join(&example);
        for backend in ["mem:", "local:"] {
            let mut command = world.isolated(project, &program, &[backend]);
            report.run(&format!("example {example} on {backend}"), &mut command);
        }
    }
}

/// Every topology file: up, once more, and down again without a trace, under a firewall that forwards
/// nothing.
fn topologies(project: &Project, report: &mut Report, world: &World) {
    let script = project.root.join("xtask/scripts/up-and-down.sh").display().to_string();
    let mut files: Vec<PathBuf> = std::fs::read_dir(project.root.join("examples"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    report.check("there are topology files", || if files.is_empty() { Err("none was found".into()) } else { Ok(()) });
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = world.isolated(project, Path::new("/bin/sh"), &[&script, &file.display().to_string()]);
        report.run(&format!("up and down: {name}"), &mut command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_in_what_cargo_says() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"src_path":"/w/a/src/lib.rs"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"src_path":"/w/a/t.rs"},"executable":"/t/t-1"}"#,
            "\nnot a message\n",
        );
        let found = built(messages);
        assert_eq!(found.len(), 1);
        assert_eq!(found.get(Path::new("/w/a/t.rs")), Some(&PathBuf::from("/t/t-1")));
    }
}

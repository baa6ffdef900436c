//! `cargo xtask bench`: builds for release, measures apart from all else, prints a table.

pub(crate) mod python;

use crate::project::{Project, cargo};
use crate::{install, isolate, lab};
use clap::ValueEnum;
use std::ffi::OsString;
use std::fs;
use std::process::{Command, ExitCode, Stdio};

/// What to measure, and where to put it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every measure runs in turn with the tools it is compared with, and the medians count. It fails only
when something could not be measured, never because of a time.

Measures:
  local   version, exec, start, copy, up
  docker  exec, copy, files, start
  k8s     exec, copy, files, network, start, many

Examples:
  cargo xtask bench --install
  cargo xtask bench --only exec --runs 101
  cargo xtask bench --on k8s --write")]
pub(crate) struct Args {
    /// Where to measure
    #[arg(long, value_enum, default_value_t)]
    on: Group,

    /// Install what the benchmark compares with, with apt-get, and for docker and k8s with pip
    #[arg(long)]
    install: bool,

    /// How often each short thing is done
    #[arg(long, value_name = "NUMBER", default_value_t = 41, value_parser = clap::value_parser!(u32).range(3..))]
    runs: u32,

    /// Only these measures
    #[arg(long, value_name = "MEASURE")]
    only: Vec<String>,

    /// Write the table to BENCHMARKS.md, in the place of this group's last one
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

/// Measures that are taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Group {
    /// The embedded engine on this machine
    #[default]
    Local,
    /// Docker, in the lab
    Docker,
    /// Kubernetes, in the lab
    K8s,
}

/// Where a group's table ends in BENCHMARKS.md.
const END: &str = "<!-- the table ends -->\n";

impl Group {
    /// What stands behind `cargo xtask bench` for it.
    fn words(self) -> &'static str {
        match self {
            Self::Local => "",
            Self::Docker => " --on docker",
            Self::K8s => " --on k8s",
        }
    }

    /// Where its table begins in BENCHMARKS.md.
    fn begin(self) -> String {
        format!("<!-- the table of `cargo xtask bench{} --write` -->\n", self.words())
    }
}

pub(crate) fn bench(args: &Args) -> Result<ExitCode, String> {
    let project = Project::find()?;
    let tools = match args.on {
        Group::Local => install::BENCH,
        Group::Docker | Group::K8s => install::LAB,
    };
    install::ensure(tools, args.install)?;
    let interpreter = match args.on {
        Group::Local => None,
        Group::Docker => Some(python::Client::Docker),
        Group::K8s => Some(python::Client::Kubernetes),
    };
    let interpreter = interpreter.map(|client| python::ensure(client, &project.target, args.install)).transpose()?;
    let build = ["build", "--locked", "--release", "-p", "pod-cli", "-p", "xtask", "--features", "xtask/measure"];
    let built = cargo(&build).current_dir(&project.root).status().map_err(|e| format!("run cargo: {e}"))?;
    if !built.success() {
        return Err(format!("cargo build: {built}"));
    }
    let release = project.target.join("release");
    let mut program = vec![release.join("xtask").into_os_string(), "measure".into()];
    program.extend(args.on.words().split_whitespace().map(OsString::from));
    program.push(format!("--runs={}", args.runs).into());
    program.extend(args.only.iter().map(|o| format!("--only={o}").into()));
    let set = |mut command: Command| {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("POD_") && !name.starts_with("POD_LAB_") {
                command.env_remove(&*name);
            }
        }
        command.env("POD_SHIM", release.join("pod")).env("XDG_CONFIG_HOME", "/nonexistent");
        command.envs(interpreter.as_ref().map(|path| (python::VARIABLE, path)));
        table(command)
    };
    let table = match args.on {
        Group::Local => set(isolate::command(&program)?)?,
        Group::Docker | Group::K8s => in_lab(&program, args.install, set)?,
    };
    if args.write {
        let path = project.root.join("BENCHMARKS.md");
        let text = fs::read_to_string(&path).map_err(|e| format!("BENCHMARKS.md: {e}"))?;
        fs::write(&path, replace(&text, args.on, &format!("{}\n{table}", machine(args)))?)
            .map_err(|e| format!("BENCHMARKS.md: {e}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the program that measures, and gives its table, which is printed as well.
fn table(mut command: Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("run the benchmark: {e}"))?;
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{table}");
    if !output.status.success() {
        return Err(format!("the benchmark: {}", output.status));
    }
    Ok(table)
}

/// Runs the program in a lab, which is taken down again unless it was up before.
fn in_lab<T>(program: &[OsString], install: bool, run: impl FnOnce(Command) -> Result<T, String>) -> Result<T, String> {
    let lab = lab::ForTests::choose()?;
    let done = lab.ensure(install).and_then(|()| lab.runner()).and_then(|runner| {
        let mut command = Command::new(&runner[0]);
        command.args(&runner[1..]).args(program);
        run(command)
    });
    let down = lab.end();
    let done = done?;
    down.map(|()| done)
}

/// Puts the new table where the group's old one stands.
fn replace(text: &str, group: Group, table: &str) -> Result<String, String> {
    let begin = group.begin();
    let missing = |mark: &str| format!("BENCHMARKS.md: there is no line {}", mark.trim());
    let (before, rest) = text.split_once(&begin).ok_or_else(|| missing(&begin))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
    Ok(format!("{before}{begin}\n{table}\n{END}{after}"))
}

/// The command and the machine, in a sentence.
fn machine(args: &Args) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, m)| m);
    let kernel = read("/proc/sys/kernel/osrelease");
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().map(|o| o.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or_default().replace(" version", "")
    };
    let programs: &[&str] = match args.on {
        Group::Local => &["runc", "crun"],
        Group::Docker => &["dockerd", "containerd", "runc"],
        Group::K8s => &["containerd", "runc"],
    };
    let programs: Vec<_> = programs.iter().map(|p| version(p)).collect();
    format!(
        "`cargo xtask bench{} --write`, {} runs; {cores} cores of {cpu}; Linux {}; {}.\n",
        args.on.words(),
        args.runs,
        kernel.trim(),
        programs.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_table_takes_its_groups_old_ones_place() {
        let (begin, other) = (Group::K8s.begin(), Group::Local.begin());
        let old = format!("# Head\n{other}kept\n{END}\n{begin}old\n{END}tail\n");
        let new = replace(&old, Group::K8s, "| new |\n").expect("marks");
        assert_eq!(new, format!("# Head\n{other}kept\n{END}\n{begin}\n| new |\n\n{END}tail\n"));
        assert_eq!(replace(&new, Group::K8s, "| new |\n").as_ref(), Ok(&new));
        assert!(replace("no marks", Group::Local, "x").is_err());
    }

    #[test]
    fn every_group_has_a_place() {
        let text = include_str!("../../BENCHMARKS.md");
        for group in Group::value_variants() {
            assert!(replace(text, *group, "x\n").is_ok(), "{group:?}");
        }
    }
}

//! `cargo xtask bench`: builds for release, measures in namespaces of its own, prints a table.

use crate::project::{Project, cargo};
use crate::{install, isolate};
use std::fs;
use std::process::{Command, ExitCode, Stdio};

/// What to measure, and where to put it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every measure runs in turn with the tools it is compared with, and the medians count. It fails only
when something could not be measured, never because of a time.

Examples:
  cargo xtask bench --install
  cargo xtask bench --only exec --runs 101")]
pub(crate) struct Args {
    /// Install what the benchmark compares with, with apt-get
    #[arg(long)]
    install: bool,

    /// How often each short thing is done
    #[arg(long, value_name = "NUMBER", default_value_t = 41, value_parser = clap::value_parser!(u32).range(3..))]
    runs: u32,

    /// Only these measures: version, exec, start, copy, up
    #[arg(long, value_name = "MEASURE")]
    only: Vec<String>,

    /// Write the table to BENCHMARKS.md
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

/// Where the table stands in BENCHMARKS.md.
const BEGIN: &str = "<!-- the table of `cargo xtask bench --write` -->\n";
const END: &str = "<!-- the table ends -->\n";

pub(crate) fn bench(args: &Args) -> Result<ExitCode, String> {
    let project = Project::find()?;
    install::ensure(install::BENCH, args.install)?;
    let build = ["build", "--locked", "--release", "-p", "pod-cli", "-p", "xtask", "--features", "xtask/measure"];
    let built = cargo(&build).current_dir(&project.root).status().map_err(|e| format!("run cargo: {e}"))?;
    if !built.success() {
        return Err(format!("cargo build: {built}"));
    }
    let release = project.target.join("release");
    let mut program = vec![release.join("xtask").into_os_string(), "measure".into()];
    program.push(format!("--runs={}", args.runs).into());
    program.extend(args.only.iter().map(|o| format!("--only={o}").into()));
    let mut command = isolate::command(&program)?;
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("POD_")) {
        command.env_remove(name);
    }
    let output = command
        .env("POD_SHIM", release.join("pod"))
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("run the benchmark: {e}"))?;
    let table = String::from_utf8_lossy(&output.stdout);
    print!("{table}");
    if !output.status.success() {
        return Err(format!("the benchmark: {}", output.status));
    }
    if args.write {
        let path = project.root.join("BENCHMARKS.md");
        let text = fs::read_to_string(&path).map_err(|e| format!("BENCHMARKS.md: {e}"))?;
        fs::write(&path, replace(&text, &format!("{}\n{table}", machine(args.runs)))?)
            .map_err(|e| format!("BENCHMARKS.md: {e}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts the new table where the old one stands.
fn replace(text: &str, table: &str) -> Result<String, String> {
    let (before, rest) = text.split_once(BEGIN).ok_or("BENCHMARKS.md: the table's beginning is not marked")?;
    let (_, after) = rest.split_once(END).ok_or("BENCHMARKS.md: the table's end is not marked")?;
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

/// The command and the machine, in a sentence.
fn machine(runs: u32) -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, m)| m);
    let kernel = read("/proc/sys/kernel/osrelease");
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().map(|o| o.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or_default().replace(" version", "")
    };
    format!(
        "`cargo xtask bench --write`, {runs} runs; {cores} cores of {cpu}; Linux {}; {}, {}.\n",
        kernel.trim(),
        version("runc"),
        version("crun"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_table_takes_the_old_ones_place() {
        let old = format!("# Head\n{BEGIN}old\n{END}tail\n");
        let new = replace(&old, "| new |\n").expect("marks");
        assert_eq!(new, format!("# Head\n{BEGIN}\n| new |\n\n{END}tail\n"));
        assert_eq!(replace(&new, "| new |\n").as_ref(), Ok(&new));
        assert!(replace("no marks", "x").is_err());
    }
}

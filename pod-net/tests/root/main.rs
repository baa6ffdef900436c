//! Tests on real links. Each runs in a process of its own, in network and mount namespaces made for
//! it, so that the host's links, mounts and firewall are never touched.

mod attach;
mod probe;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};
use world::World;

/// A test: its name, and what it does in its world.
type Case = (&'static str, fn(World));

const CASES: &[&[Case]] = &[attach::CASES, probe::CASES];

/// Names the case a child process is to run.
const CHILD: &str = "POD_NET_CASE";

fn main() {
    if let Ok(name) = std::env::var(CHILD) {
        let case = CASES.iter().copied().flatten().find(|(n, _)| *n == name).expect("the case to run");
        (case.1)(World::enter());
        return;
    }
    let trials = CASES.iter().copied().flatten().map(|(name, _)| Trial::test(*name, move || run(name))).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn run(name: &str) -> Result<(), Failed> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = std::process::Command::new(program).env(CHILD, name).output().map_err(|e| e.to_string())?;
    if std::env::var_os("POD_NET_SHOW").is_some() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
    if output.status.success() {
        return Ok(());
    }
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&text)).into())
}

//! `cargo xtask test`: the tiers, and what each runs.

mod system;
mod unit;

use crate::lab;
use crate::project::Project;
use crate::report::Report;
use clap::ValueEnum;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Which tests, and what may be installed for them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Tiers:
  1, unit     formatting, lints, documentation, and every test that needs no root and no network
  2, system   real links and real workloads, as root, in namespaces of their own; the examples; the
              tests against real servers, in the lab
  3, soak     tier 2 with long bounds

All that fails is collected and listed at the end; the last line counts tests and checks.

Examples:
  cargo xtask test --install
  cargo xtask test --tier unit")]
pub(crate) struct Args {
    /// Install what the tests need, with apt-get
    #[arg(long)]
    install: bool,

    /// Only these tiers; 1 and 2 unless told
    #[arg(long, value_name = "TIER")]
    tier: Vec<Tier>,

    /// The soak tier as well
    #[arg(long)]
    soak: bool,
}

/// A tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// No root, no network
    #[value(alias = "1")]
    Unit,
    /// Real links and workloads
    #[value(alias = "2")]
    System,
    /// The same, with long bounds
    #[value(alias = "3")]
    Soak,
}

/// Runs the tiers asked for.
pub(crate) fn test(args: &Args) -> Result<ExitCode, String> {
    let mut tiers = args.tier.clone();
    if tiers.is_empty() {
        tiers = vec![Tier::Unit, Tier::System];
    }
    if args.soak && !tiers.contains(&Tier::Soak) {
        tiers.push(Tier::Soak);
    }
    let project = Project::find()?;
    let mut report = Report::default();
    // From here on, beside all else: it is long.
    let mut build = None;
    if tiers.iter().any(|t| *t != Tier::Unit) && !project.lab_tests().is_empty() {
        build = Some(lab::Build::begin(project.target.join("lab-build.log"))?);
    }
    if tiers.contains(&Tier::Unit) {
        report.begin("1, unit", minutes(15));
        unit::run(&project, &mut report);
    }
    if tiers.contains(&Tier::System) {
        report.begin("2, system", minutes(24));
        system::run(&project, &mut report, system::Plan { install: args.install, soak: false, build: build.take() });
    }
    if tiers.contains(&Tier::Soak) {
        report.begin("3, soak", minutes(60));
        system::run(&project, &mut report, system::Plan { install: args.install, soak: true, build: build.take() });
    }
    Ok(report.finish())
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// A `cargo` command in the workspace's folder, without the settings of this user's own `pod`.
fn cargo(project: &Project, arguments: &[&str]) -> Command {
    let mut command = crate::project::cargo(arguments);
    command.current_dir(&project.root);
    scrub(&mut command);
    command
}

/// Takes out of a command's environment what would make the tests depend on whose they are.
fn scrub(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        // Where the lab is says nothing of whose tests they are.
        if name.to_string_lossy().starts_with("POD_") && !name.to_string_lossy().starts_with("POD_LAB_") {
            command.env_remove(name);
        }
    }
}

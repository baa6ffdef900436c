//! Tier 1: what needs no root and no network.

use super::cargo;
use crate::project::Project;
use crate::report::Report;
use crate::{dependencies, install, names};

pub(super) fn run(project: &Project, report: &mut Report) {
    report.run("formatting", &mut cargo(project, &["fmt", "--all", "--check"]));
    report.check("dependencies: sources, licenses, banned crates", || dependencies::check(project));
    if install::find("cargo-deny").is_some() {
        let what =
            ["deny", "--workspace", "--offline", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
        report.run("cargo deny", &mut cargo(project, &what));
    } else {
        report.remark("cargo-deny is not installed: deny.toml was checked by xtask alone, duplicate versions were not");
    }
    report.check("documents: names and links", || names::check(&project.root));
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    report.run("lints", &mut cargo(project, &clippy));
    report.run("tests", &mut cargo(project, &["test", "--locked", "--workspace", "--no-fail-fast"]));
    let doc = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
    report.run("documentation", cargo(project, &doc).env("RUSTDOCFLAGS", "-D warnings"));
    let alone = ["check", "--locked", "--package", "pod-sdk", "--no-default-features"];
    report.run("the facade without features", &mut cargo(project, &alone));
    for feature in project.features("pod-sdk") {
        let mut check = cargo(project, &alone);
        report.run(&format!("the facade with {feature} alone"), check.args(["--features", &feature]));
    }
}

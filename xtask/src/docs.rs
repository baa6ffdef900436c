//! `cargo xtask docs`: what a package of `pod` ships beside the program.

use crate::project::{Project, cargo};
use std::fs;
use std::process::{Command, ExitCode};

/// The shells whose completions are written, and the names under which they look for them.
const SHELLS: &[(&str, &str)] = &[("bash", "pod"), ("zsh", "_pod"), ("fish", "pod.fish")];

pub(crate) fn docs() -> Result<ExitCode, String> {
    let project = Project::find()?;
    let built = cargo(&["build", "--locked", "--package", "pod-cli"]).current_dir(&project.root).status();
    if !built.as_ref().is_ok_and(std::process::ExitStatus::success) {
        return Err(format!("cargo build: {built:?}"));
    }
    let pod = project.target.join("debug/pod");
    let docs = project.target.join("docs");
    let (man, completions) = (docs.join("man"), docs.join("completions"));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    run(Command::new(&pod).arg("man").arg("--dir").arg(&man))?;
    for (shell, name) in SHELLS {
        let script = run(Command::new(&pod).args(["completions", shell]))?;
        let path = completions.join(name);
        fs::write(&path, script).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    println!("{}", docs.display());
    Ok(ExitCode::SUCCESS)
}

fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|e| format!("run pod: {e}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

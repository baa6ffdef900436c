//! The Kubernetes client for Python, in an environment of its own below the target folder.

use crate::install;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that tells the measures which interpreter has the client.
pub(crate) const VARIABLE: &str = "XTASK_BENCH_PYTHON";

/// The interpreter that has the client; installs it when told to and it is missing.
pub(super) fn ensure(target: &Path, may_install: bool) -> Result<PathBuf, String> {
    let folder = target.join("bench-python");
    let python = folder.join("bin/python");
    if has_client(&python) {
        return Ok(python);
    }
    if !may_install {
        return Err("missing: the Kubernetes client for Python; give --install".into());
    }
    // Debian's python3 comes without what makes environments.
    if !Command::new("python3").args(["-c", "import ensurepip, venv"]).status().is_ok_and(|s| s.success()) {
        install::apt(&["python3", "python3-venv"])?;
    }
    println!("    installing the Kubernetes client for Python");
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "kubernetes"]))?;
    if has_client(&python) { Ok(python) } else { Err("still missing: the Kubernetes client for Python".into()) }
}

fn has_client(python: &Path) -> bool {
    let asked = Command::new(python).args(["-c", "import kubernetes.stream"]).output();
    asked.is_ok_and(|o| o.status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    let words = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{words}: {status}")),
        Err(e) => Err(format!("{words}: {e}")),
    }
}

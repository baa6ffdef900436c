//! The platforms' clients for Python, in an environment of their own below the target folder.

use crate::install;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The variable that tells the measures which interpreter has the client.
pub(crate) const VARIABLE: &str = "XTASK_BENCH_PYTHON";

/// A client, by its package.
#[derive(Debug, Clone, Copy)]
pub(super) enum Client {
    Kubernetes,
    Docker,
}

impl Client {
    fn package(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Docker => "docker",
        }
    }

    /// What of it must be there.
    fn module(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes.stream",
            Self::Docker => "docker",
        }
    }
}

/// The interpreter that has the client; installs it when told to and it is missing.
pub(super) fn ensure(client: Client, target: &Path, may_install: bool) -> Result<PathBuf, String> {
    let folder = target.join("bench-python");
    let python = folder.join("bin/python");
    if has_client(&python, client) {
        return Ok(python);
    }
    if !may_install {
        return Err(format!("missing: the client `{}` for Python; give --install", client.package()));
    }
    // Debian's python3 comes without what makes environments.
    if !Command::new("python3").args(["-c", "import ensurepip, venv"]).status().is_ok_and(|s| s.success()) {
        install::apt(&["python3", "python3-venv"])?;
    }
    println!("    installing the client `{}` for Python", client.package());
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", client.package()]))?;
    if has_client(&python, client) {
        Ok(python)
    } else {
        Err(format!("still missing: the client `{}` for Python", client.package()))
    }
}

fn has_client(python: &Path, client: Client) -> bool {
    let asked = Command::new(python).args(["-c", &format!("import {}", client.module())]).output();
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

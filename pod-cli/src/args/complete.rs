//! Completion: a shell asks the command itself what could come next.

use super::command;
use crate::runtime::Load;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::CompleteEnv;
use pod::{Capabilities, Defaults, Filter, Registry, Result};
use std::ffi::OsStr;
use std::time::Duration;

/// The variable by which a shell asks.
pub(crate) const VARIABLE: &str = "COMPLETE";

/// How long a backend has to list its workloads before the user gets none.
const PATIENCE: Duration = Duration::from_millis(700);

/// Answers a shell that asks for completions, and ends; else does nothing.
pub(crate) fn complete() {
    if std::env::var_os(VARIABLE).is_some() {
        CompleteEnv::with_factory(command).var(VARIABLE).complete();
    }
}

/// Completes the names of workloads on the default backend.
pub(super) fn workloads() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let Some(current) = current.to_str() else { return Vec::new() };
        // `exec` takes several with commas between.
        let (before, last) = current.rfind(',').map_or(("", current), |i| current.split_at(i + 1));
        let names = names().unwrap_or_default();
        names.iter().filter(|n| n.starts_with(last)).map(|n| CompletionCandidate::new(format!("{before}{n}"))).collect()
    })
}

fn names() -> Result<Vec<String>> {
    let registry = Registry::from_environment()?;
    let uri = registry.default_backend(std::env::var("POD_BACKEND").ok().as_deref())?;
    crate::runtime::run(Load::Light, async {
        let list = async {
            let workloads = registry.connect_for(&uri, Capabilities::none()).await?.list(Filter::all()).await?;
            Ok(workloads.iter().map(|w| w.name().to_string()).collect())
        };
        tokio::time::timeout(PATIENCE, list).await.unwrap_or(Ok(Vec::new()))
    })
}

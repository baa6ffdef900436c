//! `pod gc`

use super::k8s;
use crate::args::Gc;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{ContainerLeftoverList, LeftoverList, Report};
use pod::docker::{DockerBackend, DockerConfig};
use pod::{BackendUri, Error, IoResultExt, Result};
use std::future::Future;
use std::io::{IsTerminal, Write};

pub(super) async fn run(context: &Context, args: Gc) -> Result<Exit> {
    let uri = context.backend_uri(args.uri.as_deref())?;
    match uri.scheme() {
        "k8s" => {
            let backend = k8s::open(&uri).await?;
            let found = backend.gc_candidates().await?;
            let list = LeftoverList(found.clone());
            collect(context, &args, found.len(), &list, backend.gc(&found)).await
        }
        scheme if pod::docker::SCHEMES.contains(&scheme) => {
            let backend = daemon(&uri).await?;
            let found = backend.gc_candidates().await?;
            let list = ContainerLeftoverList(found.clone());
            collect(context, &args, found.len(), &list, backend.gc(&found)).await
        }
        _ => Err(Error::unsupported("nothing is left behind on this backend for others to collect")
            .with_context("backend", uri.to_string())
            .with_hint("its next command finishes or undoes what a killed one left")),
    }
}

/// Reaches a Docker daemon.
pub(super) async fn daemon(uri: &BackendUri) -> Result<DockerBackend> {
    let named = |e: Error| e.with_operation("connect").with_backend(uri.to_string());
    DockerBackend::open(DockerConfig::from_uri(uri)?).await.map_err(named)
}

/// Shows what was found, and removes it when that is agreed to.
async fn collect(
    context: &Context,
    args: &Gc,
    count: usize,
    list: &impl Report,
    removal: impl Future<Output = Result<usize>>,
) -> Result<Exit> {
    context.print(list)?;
    if count == 0 {
        context.say("nothing is left behind");
        return Ok(Exit::OK);
    }
    if !args.yes && !agreed(count)? {
        context.say("nothing was removed");
        return Ok(Exit::NO);
    }
    let removed = removal.await?;
    context.say(&format!("{removed} of {count} removed"));
    Ok(Exit::OK)
}

/// Asks on the terminal.
fn agreed(count: usize) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::invalid("there is no terminal to ask on").with_hint("-y removes them without asking"));
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "remove {count}? [y/N] ").and_then(|()| stderr.flush()).doing(|| "ask")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).doing(|| "read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

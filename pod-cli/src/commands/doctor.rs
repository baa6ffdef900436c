//! `pod doctor`

use crate::args::Doctor;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Check, CheckList, Verdict};
use pod::{Backend, BackendUri, Capabilities, Capability, Error, Result};
use std::sync::Arc;

pub(super) async fn run(context: &Context, args: Doctor) -> Result<Exit> {
    let uri = context.backend_uri(args.uri.as_deref())?;
    let mut checks = Vec::new();
    match answer(context, &uri).await {
        Ok(backend) => {
            checks.push(Check::new(format!("{uri} answers"), Verdict::Good, "it does"));
            checks.extend(lacking(backend.capabilities()));
        }
        Err(e) => {
            let check = Check::new(format!("{uri} answers"), Verdict::Missing, whole(&e));
            checks.push(match e.hint() {
                Some(hint) => check.with_fix(hint),
                None => check,
            });
        }
    }
    #[cfg(target_os = "linux")]
    if uri.scheme() == "local" {
        checks.extend(pod::local::doctor().into_iter().map(|d| check(d.subject, d.good, d.optional, d.found, d.fix)));
    }
    // A cluster that does not answer was told above.
    if uri.scheme() == "k8s"
        && let Ok(cluster) = super::k8s::open(&uri).await
    {
        let found = cluster.doctor().await;
        checks.extend(found.into_iter().map(|d| check(d.subject, d.good, d.optional, d.found, d.fix)));
    }
    // As above: a daemon that does not answer was told.
    if pod::docker::SCHEMES.contains(&uri.scheme())
        && let Ok(daemon) = super::gc::daemon(&uri).await
    {
        let found = daemon.doctor().await;
        checks.extend(found.into_iter().map(|d| check(d.subject, d.good, d.optional, d.found, d.fix)));
    }
    let list = CheckList(checks);
    context.print(&list)?;
    Ok(Exit::yes_or_no(list.good()))
}

async fn answer(context: &Context, uri: &BackendUri) -> Result<Arc<dyn Backend>> {
    let backend = context.reach(uri).await?;
    backend.ping().await?;
    Ok(backend)
}

/// One finding of a backend's own.
fn check(
    subject: impl Into<String>,
    good: bool,
    optional: bool,
    found: String,
    fix: Option<impl Into<String>>,
) -> Check {
    let verdict = match (good, optional) {
        (true, _) => Verdict::Good,
        (false, true) => Verdict::Limited,
        (false, false) => Verdict::Missing,
    };
    let check = Check::new(subject, verdict, found);
    match fix {
        Some(fix) => check.with_fix(fix),
        None => check,
    }
}

/// What the verbs could do on another backend and can't on this one.
fn lacking(has: Capabilities) -> impl Iterator<Item = Check> {
    let lacking = Capability::ALL.iter().filter(move |c| !has.has(**c));
    lacking.map(|c| Check::new(c.path(), Verdict::Limited, format!("it can't: {}", c.describe())))
}

/// An error with all its causes that it does not tell by itself, on one line; without its hint, which is the
/// fix.
fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    if let Some(hint) = error.hint()
        && let Some(rest) = text.strip_suffix(&format!("; {hint}"))
    {
        text.truncate(rest.len());
    }
    let first: &dyn std::error::Error = error;
    for cause in std::iter::successors(first.source(), |e| e.source()).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

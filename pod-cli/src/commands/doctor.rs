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
        Err(e) => checks.push(Check::new(format!("{uri} answers"), Verdict::Missing, whole(&e))),
    }
    #[cfg(target_os = "linux")]
    if uri.scheme() == "local" {
        checks.extend(pod::local::doctor().into_iter().map(|d| {
            let verdict = match (d.good, d.optional) {
                (true, _) => Verdict::Good,
                (false, true) => Verdict::Limited,
                (false, false) => Verdict::Missing,
            };
            let check = Check::new(d.subject, verdict, d.found);
            match d.fix {
                Some(fix) => check.with_fix(fix),
                None => check,
            }
        }));
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

/// What the verbs could do on another backend and can't on this one.
fn lacking(has: Capabilities) -> impl Iterator<Item = Check> {
    let lacking = Capability::ALL.iter().filter(move |c| !has.has(**c));
    lacking.map(|c| Check::new(c.path(), Verdict::Limited, format!("it can't: {}", c.describe())))
}

/// An error with all its causes, on one line.
fn whole(error: &Error) -> String {
    let first: &dyn std::error::Error = error;
    let all: Vec<_> = std::iter::successors(Some(first), |e| e.source()).map(ToString::to_string).collect();
    all.join(": ")
}

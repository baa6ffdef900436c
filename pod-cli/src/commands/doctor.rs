//! `pod doctor`

use crate::args::Doctor;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Check, CheckList, Verdict};
use pod::{BackendUri, Result};

pub(super) async fn run(context: &Context, args: Doctor) -> Result<Exit> {
    let uri = context.backend_uri(args.uri.as_deref())?;
    let mut checks = platform(&uri).await;
    checks.push(answers(context, &uri).await);
    let list = CheckList(checks);
    context.print(&list)?;
    Ok(Exit::yes_or_no(list.good()))
}

/// Whether the backend answers at all.
async fn answers(context: &Context, uri: &BackendUri) -> Check {
    let result = async { context.reach(uri).await?.ping().await };
    let subject = format!("{uri} answers");
    match result.await {
        Ok(()) => Check { subject, verdict: Verdict::Good, found: "it does".into(), fix: None },
        Err(e) => Check {
            subject,
            verdict: Verdict::Missing,
            found: std::iter::successors(Some(&e as &dyn std::error::Error), |e| e.source())
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(": "),
            fix: None,
        },
    }
}

/// What only this platform knows to check.
// Each platform with checks of its own has an arm here.
#[allow(clippy::unused_async, reason = "platforms' own checks await their systems")]
async fn platform(_uri: &BackendUri) -> Vec<Check> {
    Vec::new()
}

//! Doing one thing to many workloads.

use crate::args::{Chosen, LabelArg};
use crate::context::{Context, Target};
use crate::exit::Exit;
use crate::output::OutcomeList;
use futures_util::StreamExt;
use futures_util::stream;
use pod::{Capabilities, Filter, Result};
use std::future::Future;

/// A filter for these labels.
pub(crate) fn filter(labels: &[LabelArg]) -> Filter {
    labels.iter().fold(Filter::all(), |f, l| f.with_label(&l.key, &l.value))
}

/// The workloads named, or those of the default backend that pass the labels.
pub(crate) async fn choose(context: &Context, chosen: &Chosen) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for text in &chosen.workloads {
        targets.push(context.target(text).await?);
    }
    if !chosen.label.is_empty() {
        targets.extend(by_label(context, filter(&chosen.label)).await?);
    }
    let mut seen = std::collections::BTreeSet::new();
    targets.retain(|t| seen.insert((t.backend.info().uri.clone(), t.name.clone())));
    Ok(targets)
}

/// The workloads of the default backend that pass.
pub(crate) async fn by_label(context: &Context, filter: Filter) -> Result<Vec<Target>> {
    let backend = context.reach_for(&context.default_backend()?, Capabilities::none()).await?;
    let list = backend.list(filter).await?;
    Ok(list.iter().map(|w| Target { backend: backend.clone(), name: w.name().clone() }).collect())
}

/// Does `act` to every target, `jobs` at once, and prints what was done in the order of the targets.
/// One that fails holds up no other; its error is printed, and the highest exit code returned.
pub(crate) async fn each<R, F, Fut>(context: &Context, targets: Vec<Target>, jobs: usize, act: F) -> Result<Exit>
where
    R: serde::Serialize,
    F: Fn(Target) -> Fut,
    Fut: Future<Output = Result<R>>,
{
    let act = &act;
    let mut done = stream::iter(targets)
        .map(|t| async move {
            let result = act(t.clone()).await;
            match result {
                Ok(r) => (t, Ok(r)),
                Err(e) => {
                    let e = t.explain(e).await;
                    (t, Err(e))
                }
            }
        })
        .buffered(jobs);
    let (mut outcomes, mut exit) = (OutcomeList::default(), Exit::OK);
    while let Some((target, result)) = done.next().await {
        match result {
            Ok(outcome) => outcomes.add(&target.name, &outcome),
            Err(e) => exit = exit.max(context.report(&e)),
        }
    }
    context.print(&outcomes)?;
    Ok(exit)
}

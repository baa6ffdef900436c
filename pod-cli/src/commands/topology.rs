//! `pod up`, `pod plan`, `pod verify` and `pod down`

use crate::args::{Down, Plan, Up, Verify};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Gone, UpView, VerificationView};
use crate::progress::Bars;
use crate::signals::Controls;
use pod::topology::{Deployment, Topology, down_named};
use pod::{BackendUri, Result, TopologyName};
use std::collections::BTreeSet;
use std::path::Path;

pub(super) async fn up(context: &Context, args: Up) -> Result<Exit> {
    let deployment = deploy(context, &args.file).await?;
    if args.dry_run {
        context.print(&deployment.plan().await?)?;
        return Ok(Exit::OK);
    }
    let bars = Bars::new(&context.globals);
    let mut controls = Controls::new(false)?;
    let report = match controls.unless_ended(deployment.up(&bars, args.jobs)).await? {
        Ok(report) => report,
        Err(signal) => {
            bars.end();
            context.say(&format!("ended by {signal}; {}", deployment.resume_hint()));
            return Ok(Exit::of_signal(signal.get()));
        }
    };
    bars.end();
    let changes = report.plan.changes.len();
    let took = report.elapsed.as_secs_f64();
    context.say(&match changes {
        0 => format!("{}: nothing to change", deployment.topology().name),
        1 => format!("{}: 1 change in {took:.2} s", deployment.topology().name),
        n => format!("{}: {n} changes in {took:.2} s", deployment.topology().name),
    });
    let verification = match args.no_verify {
        true => None,
        false => match controls.unless_ended(deployment.verify(&bars)).await? {
            Ok(verification) => Some(verification),
            Err(signal) => return Ok(Exit::of_signal(signal.get())),
        },
    };
    bars.end();
    let ok = verification.as_ref().is_none_or(pod::topology::Verification::ok);
    context.print(&UpView::new(report, verification))?;
    Ok(Exit::yes_or_no(ok))
}

pub(super) async fn plan(context: &Context, args: Plan) -> Result<Exit> {
    let plan = deploy(context, &args.file).await?.plan().await?;
    context.print(&plan)?;
    Ok(if args.detailed_exitcode && !plan.is_empty() { Exit::CHANGES } else { Exit::OK })
}

pub(super) async fn verify(context: &Context, args: Verify) -> Result<Exit> {
    let deployment = deploy(context, &args.file).await?;
    let bars = Bars::new(&context.globals);
    let verification = deployment.verify(&bars).await?;
    bars.end();
    let ok = verification.ok();
    context.print(&VerificationView(verification))?;
    Ok(Exit::yes_or_no(ok))
}

pub(super) async fn down(context: &Context, args: Down) -> Result<Exit> {
    let bars = Bars::new(&context.globals);
    let path = Path::new(&args.topology);
    let report = if is_file(path) {
        let topology = Topology::load(path)?;
        if args.dry_run {
            return would_remove(context, &topology.name, uris(context, &topology)?).await;
        }
        connect(context, topology).await?.down(&bars).await?
    } else {
        let name = TopologyName::new(args.topology.as_str())?;
        if args.dry_run {
            return would_remove(context, &name, BTreeSet::from([context.default_backend()?])).await;
        }
        down_named(context.reach_default().await?, &name, &bars).await?
    };
    bars.end();
    if report.is_empty() {
        context.say("nothing to remove");
    }
    context.print(&Gone::new(report.workloads, report.networks))?;
    Ok(Exit::OK)
}

/// Whether an operand of `down` is a file and not a name.
fn is_file(path: &Path) -> bool {
    let named_as_one = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    named_as_one || path.components().count() > 1 || path.is_file()
}

async fn deploy(context: &Context, file: &Path) -> Result<Deployment> {
    connect(context, Topology::load(file)?).await
}

async fn connect(context: &Context, topology: Topology) -> Result<Deployment> {
    let default = default(context, &topology)?;
    Deployment::connect(context.registry()?, topology, &default).await
}

/// The backend of what the topology puts nowhere. Where there is no default one, that is no mistake
/// as long as the topology names its own.
fn default(context: &Context, topology: &Topology) -> Result<BackendUri> {
    match context.default_backend() {
        Err(_) if topology.backend.is_some() => BackendUri::new("none"),
        other => other,
    }
}

/// Every backend that a topology names.
fn uris(context: &Context, topology: &Topology) -> Result<BTreeSet<BackendUri>> {
    let mut uris = BTreeSet::new();
    let named = topology.workloads.iter().filter_map(|w| w.backend.as_deref()).chain(topology.backend.as_deref());
    for text in named {
        uris.insert(context.backend_uri(Some(text))?);
    }
    if topology.backend.is_none() {
        uris.insert(context.default_backend()?);
    }
    Ok(uris)
}

async fn would_remove(context: &Context, name: &TopologyName, uris: BTreeSet<BackendUri>) -> Result<Exit> {
    let (mut workloads, mut networks) = (Vec::new(), Vec::new());
    for uri in &uris {
        let backend = context.reach(uri).await?;
        let list = backend.list(pod::Filter::all().with_topology(name.as_str())).await?;
        workloads.extend(list.iter().map(|w| w.name().clone()));
        if let Some(networking) = backend.networking() {
            let ours = |n: &pod::Network| n.spec.labels.get(pod::LABEL_TOPOLOGY).is_some_and(|t| t == name.as_str());
            networks.extend(networking.list().await?.into_iter().filter(ours).map(|n| n.spec.name));
        }
    }
    if workloads.is_empty() && networks.is_empty() {
        context.say("nothing to remove");
    }
    context.print(&Gone::new(workloads, networks))?;
    Ok(Exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_file() {
        assert!(is_file(Path::new("two-vlans.yaml")));
        assert!(is_file(Path::new("./two-vlans")));
        assert!(is_file(Path::new("examples/two-vlans")));
        assert!(!is_file(Path::new("two-vlans")));
    }
}

//! `pod net`

use crate::args::{self, Expectation, Net, NetCommand, Verdict};
use crate::context::{Context, Target};
use crate::exit::Exit;
use crate::output::{
    AttachmentList, AttachmentView, NetworkList, NetworkView, OutcomeList, PolicyView, ProbeList, ProbeView, VerifyView,
};
use pod::{
    AttachMode, AttachNetworkRequest, Attachment, AttachmentFilter, AttachmentSpec, BackendExt, Capabilities,
    CreateNetworkOutcome, DetachRequest, Enforcement, Error, IsolateRequest, NetworkSpec, Networking, PolicyReport,
    PolicySpec, ProbeOutcome, ProbeRequest, ProbeTarget, Result, VerifyRequest,
};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) async fn run(context: &Context, args: Net) -> Result<Exit> {
    match args.command {
        NetCommand::Create(args) => create(context, args).await,
        NetCommand::Ls(args) => list(context, args).await,
        NetCommand::Rm(args) => remove(context, args).await,
        NetCommand::Attach(args) => attach(context, args).await,
        NetCommand::Detach(args) => detach(context, args).await,
        NetCommand::Isolate(args) => {
            let request = IsolateRequest::new(args.network.clone(), !args.off);
            known(context, &args.network, networking(context).await?.isolate(request).await?)
        }
        NetCommand::Policy(args) => {
            let rules = args.rule.into_iter().map(|r| r.0).collect();
            let policy = PolicySpec::new(args.network.clone(), rules, args.default == Verdict::Allow);
            known(context, &args.network, networking(context).await?.apply_policy(policy).await?)
        }
        NetCommand::Verify(args) => {
            let request = args.network.map_or_else(VerifyRequest::default, VerifyRequest::of);
            let report = networking(context).await?.verify(request).await?;
            context.print(&VerifyView::from(&report))?;
            Ok(Exit::yes_or_no(report.ok()))
        }
        NetCommand::Test(args) => test(context, args).await,
    }
}

async fn networking(context: &Context) -> Result<Arc<dyn Networking>> {
    context.reach_default().await?.require_networking()
}

async fn create(context: &Context, args: args::NetCreate) -> Result<Exit> {
    let mut spec = NetworkSpec::new(args.name.clone()).with_mtu(args.mtu).with_isolated(args.isolated);
    spec.vlan = args.vlan;
    spec.uplink = args.uplink;
    spec.subnets = args.subnet;
    spec.reserved = args.reserve;
    for label in args.label {
        pod::check_label(&label.key, &label.value)?;
        spec = spec.with_label(label.key, label.value);
    }
    let word = match networking(context).await?.create(spec).await? {
        CreateNetworkOutcome::Created(_) => "created",
        CreateNetworkOutcome::AlreadyExists(_) => "already_there",
    };
    done(context, &args.name, &word)
}

fn done(context: &Context, name: &impl ToString, outcome: &impl serde::Serialize) -> Result<Exit> {
    let mut list = OutcomeList::default();
    list.add(name.to_string(), outcome);
    context.print(&list)?;
    Ok(Exit::OK)
}

/// Prints what is known to act; only what acts is a success.
fn known(context: &Context, network: &impl ToString, report: PolicyReport) -> Result<Exit> {
    let acts = report.enforcement == Enforcement::Enforced;
    context.print(&PolicyView::new(network.to_string(), report))?;
    Ok(Exit::yes_or_no(acts))
}

async fn list(context: &Context, args: args::NetLs) -> Result<Exit> {
    let networking = networking(context).await?;
    if args.attachments {
        let all = networking.attachments(AttachmentFilter::default()).await?;
        context.print(&AttachmentList(all.iter().map(AttachmentView::from).collect()))?;
    } else {
        let all = networking.list().await?;
        context.print(&NetworkList(all.iter().map(NetworkView::from).collect()))?;
    }
    Ok(Exit::OK)
}

async fn remove(context: &Context, args: args::NetRm) -> Result<Exit> {
    let networking = networking(context).await?;
    let (mut outcomes, mut exit) = (OutcomeList::default(), Exit::OK);
    for network in &args.networks {
        match networking.remove(network).await {
            Ok(outcome) => outcomes.add(network, &outcome),
            Err(e) => exit = exit.max(context.report(&e)),
        }
    }
    context.print(&outcomes)?;
    Ok(exit)
}

async fn attach(context: &Context, args: args::NetAttach) -> Result<Exit> {
    let target = context.target_for(&args.workload, Capabilities::all()).await?;
    let mut spec = AttachmentSpec::new(args.network);
    if !args.trunk.is_empty() {
        spec.mode = AttachMode::Trunk(args.trunk);
    }
    spec.interface = args.interface;
    spec.ips = args.ip;
    spec.mac = args.mac;
    spec.mtu = args.mtu;
    spec.routes = args.route;
    spec.dns = args.dns;
    let request = AttachNetworkRequest::new(target.name.clone(), spec);
    match target.backend.require_networking()?.attach(request).await {
        Ok(attachment) => {
            context.print(&AttachmentList(vec![(&attachment).into()]))?;
            Ok(Exit::OK)
        }
        Err(e) => Err(target.explain(e).await),
    }
}

async fn detach(context: &Context, args: args::NetDetach) -> Result<Exit> {
    let target = context.target_for(&args.workload, Capabilities::all()).await?;
    let request = DetachRequest::new(target.name.clone(), args.network);
    match target.backend.require_networking()?.detach(request).await {
        Ok(outcome) => done(context, &target.name, &outcome),
        Err(e) => Err(target.explain(e).await),
    }
}

/// One address to probe, and the workload that should answer there.
struct Aim {
    shown: String,
    ip: IpAddr,
    workload: Option<Target>,
}

async fn test(context: &Context, args: args::NetTest) -> Result<Exit> {
    let from = context.target_for(&args.from, Capabilities::all()).await?;
    let mut aims = Vec::new();
    for to in &args.to {
        match to.parse::<IpAddr>() {
            Ok(ip) => aims.push(Aim { shown: to.clone(), ip, workload: None }),
            Err(_) => aims.extend(addresses(context, to).await?),
        }
    }
    let targets = aims.iter().map(|a| ProbeTarget::new(a.ip)).collect();
    let request = ProbeRequest::new(from.name.clone(), targets).with_timeout(args.timeout);
    let outcomes = match from.backend.require_networking()?.probe(request).await {
        Ok(outcomes) => outcomes,
        Err(e) => return Err(from.explain(e).await),
    };
    let mut list = Vec::new();
    for (aim, outcome) in aims.iter().zip(&outcomes) {
        let mut view = ProbeView::new(from.name.as_str(), &aim.shown, aim.ip, outcome);
        view.ok = match args.expect {
            Expectation::Reached => outcome.reached(),
            Expectation::Blocked => blocked(aim, outcome, &args, &mut view).await?,
        };
        list.push(view);
    }
    let good = list.iter().all(|p| p.ok);
    context.print(&ProbeList(list))?;
    Ok(Exit::yes_or_no(good))
}

/// Every address of a workload.
async fn addresses(context: &Context, to: &str) -> Result<Vec<Aim>> {
    let target = context.target_for(to, Capabilities::all()).await?;
    let attachments: Vec<Attachment> = match target.backend.inspect(&target.name).await {
        Ok(workload) => workload.attachments,
        Err(e) => return Err(target.explain(e).await),
    };
    let aims: Vec<Aim> = attachments
        .iter()
        .flat_map(|a| &a.ips)
        .map(|ip| Aim { shown: target.name.to_string(), ip: ip.addr(), workload: Some(target.clone()) })
        .collect();
    if aims.is_empty() {
        return Err(Error::invalid("the workload has no address to probe")
            .with_context("workload", target.name.as_str())
            .with_hint("`pod net attach` attaches it to a network"));
    }
    Ok(aims)
}

/// Whether a target is blocked by evidence: it gave no answer, though it answers itself.
async fn blocked(aim: &Aim, outcome: &ProbeOutcome, args: &args::NetTest, view: &mut ProbeView) -> Result<bool> {
    match outcome {
        ProbeOutcome::NoAnswer | ProbeOutcome::Refused(_) => {}
        _ => return Ok(false),
    }
    let Some(target) = &aim.workload else {
        view.reason = Some("an address alone can't be asked whether it answers itself; name its workload".into());
        return Ok(false);
    };
    let request = ProbeRequest::new(target.name.clone(), vec![ProbeTarget::new(aim.ip)]).with_timeout(args.timeout);
    let itself = target.backend.require_networking()?.probe(request).await?;
    let answers = itself.first().is_some_and(ProbeOutcome::reached);
    view.reason = Some(if answers { "it answers itself" } else { "it does not answer itself either" }.into());
    Ok(answers)
}

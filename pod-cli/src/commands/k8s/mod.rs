//! `pod k8s`

mod files;
mod nad;

use crate::args::{
    K8s, K8sCommand, K8sPolicyCommand, NamespaceCommand, NamespaceCreate, NamespaceRm, PolicyApply, Rbac, Verdict,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{CniView, NamespaceList, OutcomeList, PolicyView, RolesView};
use crate::signals::Controls;
use pod::k8s::rbac::{Who, yaml};
use pod::k8s::{CreateNamespaceOutcome, K8sBackend, K8sConfig};
use pod::{BackendUri, Enforcement, Error, ErrorKind, Result};
use std::future::Future;

pub(super) async fn run(context: &Context, args: K8s) -> Result<Exit> {
    let at = At { context, namespace: args.namespace };
    match args.command {
        K8sCommand::Cni(_) => {
            context.print(&CniView(at.reach().await?.cni().await?))?;
            Ok(Exit::OK)
        }
        K8sCommand::Nad(args) => Box::pin(nad::run(&at, args)).await,
        K8sCommand::Namespace(args) => namespace(&at, args.command).await,
        K8sCommand::Rbac(args) => rbac(&at, args),
        K8sCommand::Policy(args) => policy(&at, args.command).await,
    }
}

/// Where a command works.
pub(super) struct At<'a> {
    context: &'a Context,
    namespace: Option<String>,
}

impl At<'_> {
    /// The address of the cluster: the default backend if it is one, else the kubeconfig's current context.
    fn uri(&self) -> Result<BackendUri> {
        let uri = match self.context.default_backend() {
            Ok(uri) if uri.scheme() == "k8s" => uri,
            Ok(uri) if self.context.globals.backend.is_some() => {
                return Err(Error::new(ErrorKind::ConfigInvalid, "that backend is no Kubernetes cluster")
                    .with_context("backend", uri.to_string())
                    .with_hint("name one: -b k8s: or -b k8s://CONTEXT"));
            }
            Err(e) if self.context.globals.backend.is_some() => return Err(e),
            _ => BackendUri::new("k8s")?,
        };
        Ok(match &self.namespace {
            Some(namespace) => uri.with_path(format!("{namespace}/")),
            None => uri,
        })
    }

    async fn reach(&self) -> Result<K8sBackend> {
        open(&self.uri()?).await
    }
}

/// Reaches a cluster, for what only Kubernetes has.
pub(super) async fn open(uri: &BackendUri) -> Result<K8sBackend> {
    let named = |e: Error| e.with_operation("connect").with_backend(uri.to_string());
    K8sBackend::open(K8sConfig::from_uri(uri)?).await.map_err(named)
}

/// Waits for work that makes probe pods and takes them away at its end. A first signal does not cut it
/// off, or they would stay; a second one does.
async fn whole<T>(context: &Context, work: impl Future<Output = Result<T>>) -> Result<std::result::Result<T, Exit>> {
    let mut controls = Controls::new(false)?;
    let mut work = std::pin::pin!(work);
    let signal = tokio::select! {
        done = &mut work => return done.map(Ok),
        signal = controls.end() => signal,
    };
    context.say(&format!("ended by {signal} when the probe pods are removed; once more leaves them"));
    tokio::select! {
        done = work => done.map(|_| Err(Exit::of_signal(signal.get()))),
        signal = controls.end() => Ok(Err(Exit::of_signal(signal.get()))),
    }
}

async fn namespace(at: &At<'_>, command: NamespaceCommand) -> Result<Exit> {
    let spaces = at.reach().await?.namespaces();
    match command {
        NamespaceCommand::Ls(_) => {
            at.context.print(&NamespaceList(spaces.list().await?))?;
            Ok(Exit::OK)
        }
        NamespaceCommand::Create(NamespaceCreate { name, label }) => {
            let labels = label.into_iter().map(|l| (l.key, l.value)).collect();
            let word = match spaces.create(&name, labels).await? {
                CreateNamespaceOutcome::Created(_) => "created",
                _ => "already_there",
            };
            let mut outcomes = OutcomeList::default();
            outcomes.add(name, &word);
            at.context.print(&outcomes)?;
            Ok(Exit::OK)
        }
        NamespaceCommand::Rm(NamespaceRm { names, force }) => {
            let (mut outcomes, mut exit) = (OutcomeList::default(), Exit::OK);
            for name in &names {
                match spaces.remove(name, force).await {
                    Ok(outcome) => outcomes.add(name, &outcome),
                    Err(e) => exit = exit.max(at.context.report(&e)),
                }
            }
            at.context.print(&outcomes)?;
            Ok(exit)
        }
    }
}

fn rbac(at: &At<'_>, args: Rbac) -> Result<Exit> {
    let user = args.user.map(Who::User);
    let who = user.or(args.group.map(Who::Group)).or(args.service_account.map(Who::ServiceAccount));
    // An address that names a namespace counts, but none has to be reached.
    let of_address = || K8sConfig::from_uri(&at.uri().ok()?).ok()?.namespace;
    let namespace = at.namespace.clone().or_else(of_address).unwrap_or_else(|| "default".into());
    let text = yaml(&args.name, &namespace, &args.purposes, who.as_ref())?;
    at.context.print(&RolesView::read(text)?)?;
    Ok(Exit::OK)
}

async fn policy(at: &At<'_>, command: K8sPolicyCommand) -> Result<Exit> {
    let policies = at.reach().await?.policies();
    let mut outcomes = OutcomeList::default();
    match command {
        K8sPolicyCommand::Probe(args) => {
            let report = match whole(at.context, policies.probe(args.image)).await? {
                Ok(report) => report,
                Err(exit) => return Ok(exit),
            };
            let acts = report.enforcement == Enforcement::Enforced;
            at.context.print(&PolicyView::new("the cluster's own", report))?;
            return Ok(Exit::yes_or_no(acts));
        }
        K8sPolicyCommand::Apply(PolicyApply { name, rule, default }) => {
            let rules = rule.into_iter().map(|r| r.0).collect();
            let applied = policies.apply(&name, rules, default == Verdict::Allow).await?;
            for policy in &applied.policies {
                outcomes.add(policy, &"applied");
            }
            at.context.say("whether anything enforces them, `pod k8s policy probe` finds out");
        }
        K8sPolicyCommand::Rm(args) => outcomes.add(&args.name, &policies.remove(&args.name).await?),
    }
    at.context.print(&outcomes)?;
    Ok(Exit::OK)
}

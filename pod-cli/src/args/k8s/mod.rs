//! Flags of the commands on what only Kubernetes has.

mod nad;
mod rbac;

pub(crate) use nad::*;
pub(crate) use rbac::*;

use super::net::Verdict;
use super::values::{LabelArg, RuleArg};
use clap::{Args, Subcommand};
use pod::{Image, NetworkName};

/// Look at what only Kubernetes has: definitions of networks, roles, namespaces
#[derive(Debug, Args)]
pub(crate) struct K8s {
    #[command(subcommand)]
    pub(crate) command: K8sCommand,

    /// The namespace; that of the address or of the kubeconfig's context unless told
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

/// What to do with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum K8sCommand {
    Cni(K8sCni),
    Nad(Nad),
    Namespace(Namespace),
    Rbac(Rbac),
    Policy(K8sPolicy),
}

/// Print which network plugins the cluster has
#[derive(Debug, Args)]
#[command(after_help = "\
A plugin is absent only when all that would show it could be looked at; else it is not seen. The
default backend is k8s:, the current context of the kubeconfig.

Examples:
  pod k8s cni
  pod k8s cni -b k8s://lab -o json")]
pub(crate) struct K8sCni {}

/// Make, list and remove namespaces
#[derive(Debug, Args)]
pub(crate) struct Namespace {
    #[command(subcommand)]
    pub(crate) command: NamespaceCommand,
}

/// What to do with namespaces.
#[derive(Debug, Subcommand)]
pub(crate) enum NamespaceCommand {
    #[command(alias = "list")]
    Ls(NamespaceLs),
    Create(NamespaceCreate),
    #[command(alias = "delete")]
    Rm(NamespaceRm),
}

/// List namespaces
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod k8s namespace ls
  pod k8s namespace ls -o name")]
pub(crate) struct NamespaceLs {}

/// Make a namespace
#[derive(Debug, Args)]
#[command(after_help = "\
One that is there is no error, and is left as it is.

Examples:
  pod k8s namespace create shop
  pod k8s namespace create shop -l pod-security.kubernetes.io/enforce=baseline")]
pub(crate) struct NamespaceCreate {
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Set a label
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<LabelArg>,
}

/// Remove namespaces and all that is in them
#[derive(Debug, Args)]
#[command(after_help = "\
Only those that this user made with POD are removed, unless -f is given. One that is not there is no
error. The command returns when they are gone.

Examples:
  pod k8s namespace rm shop
  pod k8s namespace rm -f somebody-elses")]
pub(crate) struct NamespaceRm {
    /// The namespaces
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Also those that others made
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Set policies on the cluster's own network, and find out whether they act
#[derive(Debug, Args)]
pub(crate) struct K8sPolicy {
    #[command(subcommand)]
    pub(crate) command: K8sPolicyCommand,
}

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum K8sPolicyCommand {
    Probe(PolicyProbe),
    Apply(PolicyApply),
    Rm(PolicyRm),
}

/// Find out whether the cluster enforces policies
#[derive(Debug, Args)]
#[command(after_help = "\
Two probe pods reach each other, a policy shuts one of them, and it is asked again; the other way
is the control. Pods and policy are removed afterwards. The exit code is 0 only when policies are
enforced. Attachments of Multus are never covered: `pod net isolate` and `pod net policy` are for
those.

Examples:
  pod k8s policy probe
  pod k8s policy probe --image busybox:1.36 -o json")]
pub(crate) struct PolicyProbe {
    /// The image of the probe pods, with a shell and ping; that of the address unless told
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<Image>,
}

/// Replace the rules of a name between the namespace's pods
#[derive(Debug, Args)]
#[command(after_help = "\
The API server takes policies whether or not anything enforces them: `pod k8s policy probe` finds
out.

Examples:
  pod k8s policy apply shop --rule 'allow app=web -> app=db' --default deny
  pod k8s policy apply shop --default allow")]
pub(crate) struct PolicyApply {
    /// The name under which the rules stand
    #[arg(value_name = "NAME")]
    pub(crate) name: NetworkName,

    /// A rule: 'allow FROM -> TO' or 'deny FROM -> TO', each side * or KEY=VALUE,...
    #[arg(long, value_name = "RULE")]
    pub(crate) rule: Vec<RuleArg>,

    /// What counts when no rule matches
    #[arg(long, value_name = "VERDICT")]
    pub(crate) default: Verdict,
}

/// Remove the rules of a name
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pod k8s policy rm shop")]
pub(crate) struct PolicyRm {
    /// The name under which the rules stand
    #[arg(value_name = "NAME")]
    pub(crate) name: NetworkName,
}

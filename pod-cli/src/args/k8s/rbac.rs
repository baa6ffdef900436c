//! Flags of `pod k8s rbac`.

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use pod::k8s::rbac::Purpose;

/// Print the least roles for what a user wants to do
#[derive(Debug, Args)]
#[command(after_help = "\
No cluster is asked. What is printed is for `kubectl apply -f -`: a Role in the namespace,
`default` unless -n names another, and a ClusterRole where the whole cluster is looked at. Without
a user, group or service account, nobody is given the roles.

Examples:
  pod k8s rbac exec logs -n shop --user alice
  pod k8s rbac run networks verify -n lab --service-account ci | kubectl apply -f -
  pod k8s rbac inspect --group developers")]
pub(crate) struct Rbac {
    /// What the user wants to do
    #[arg(required = true, value_name = "PURPOSE", value_parser = purposes())]
    pub(crate) purposes: Vec<Purpose>,

    /// The name of the roles
    #[arg(long, value_name = "NAME", default_value = "pod")]
    pub(crate) name: String,

    /// Give them to this user
    #[arg(long, value_name = "NAME", group = "who")]
    pub(crate) user: Option<String>,

    /// Give them to this group
    #[arg(long, value_name = "NAME", group = "who")]
    pub(crate) group: Option<String>,

    /// Give them to this service account of the namespace
    #[arg(long, value_name = "NAME", group = "who")]
    pub(crate) service_account: Option<String>,
}

fn purposes() -> impl TypedValueParser<Value = Purpose> {
    let all = Purpose::ALL.iter().map(|p| PossibleValue::new(p.as_str()).help(p.about()));
    PossibleValuesParser::new(all).try_map(|word| word.parse::<Purpose>())
}

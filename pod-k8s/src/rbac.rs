//! The least that a user must be allowed, as Kubernetes' own roles.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::api::ObjectMeta;
use pod_core::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Something a user wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// `pod ps`, `inspect`.
    Inspect,
    /// `pod run`, `rm`, `gc`, `up`, `down`.
    Run,
    /// `pod logs`.
    Logs,
    /// `pod events`, `wait`.
    Events,
    /// `pod exec`, `os`.
    Exec,
    /// `pod attach`.
    Attach,
    /// `pod cp`.
    Copy,
    /// `pod cp --helper`: whoever may do this may run any image in the pods that are there.
    CopyHelper,
    /// `pod forward`.
    Forward,
    /// `pod k8s nad`, `pod net`.
    Networks,
    /// `pod net isolate`, `policy`.
    Policy,
    /// `pod k8s nad verify`, `pod verify`.
    Verify,
    /// `pod k8s namespace`; of the whole cluster.
    Namespaces,
    /// `pod doctor`, `pod k8s cni`; of the whole cluster.
    Doctor,
}

/// One thing that a user may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Access {
    pub(crate) group: &'static str,
    /// With its part, such as `pods/exec`.
    pub(crate) resource: &'static str,
    pub(crate) verb: &'static str,
    /// Of the whole cluster, and not of one namespace.
    pub(crate) whole_cluster: bool,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        f.write_str(if self.whole_cluster { " of the whole cluster" } else { "" })
    }
}

/// Group, resource, verbs.
type Rule = (&'static str, &'static str, &'static [&'static str]);

const NADS: &str = "k8s.cni.cncf.io";

impl Purpose {
    /// Every purpose.
    pub const ALL: &'static [Self] = &[
        Self::Inspect,
        Self::Run,
        Self::Logs,
        Self::Events,
        Self::Exec,
        Self::Attach,
        Self::Copy,
        Self::CopyHelper,
        Self::Forward,
        Self::Networks,
        Self::Policy,
        Self::Verify,
        Self::Namespaces,
        Self::Doctor,
    ];

    /// The word for it, as the command takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Run => "run",
            Self::Logs => "logs",
            Self::Events => "events",
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::Copy => "copy",
            Self::CopyHelper => "copy-helper",
            Self::Forward => "forward",
            Self::Networks => "networks",
            Self::Policy => "policy",
            Self::Verify => "verify",
            Self::Namespaces => "namespaces",
            Self::Doctor => "doctor",
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Inspect => "list and inspect workloads",
            Self::Run => "make and remove workloads, topologies",
            Self::Logs => "read logs",
            Self::Events => "watch and wait",
            Self::Exec => "run programs in workloads",
            Self::Attach => "attach to workloads",
            Self::Copy => "copy in and out",
            Self::CopyHelper => "copy by a container put beside one without a shell",
            Self::Forward => "reach ports",
            Self::Networks => "make networks, attachments and definitions",
            Self::Policy => "isolate, and set policies",
            Self::Verify => "prove definitions and topologies",
            Self::Namespaces => "make and remove namespaces, in the whole cluster",
            Self::Doctor => "look at nodes and network plugins, in the whole cluster",
        }
    }

    /// What is needed within a namespace.
    ///
    /// Streams over WebSocket are asked for by GET, so up to Kubernetes 1.34 they need the verb `get`;
    /// from 1.35 on they need `create` (feature `AuthorizePodWebsocketUpgradeCreatePermission`). Both
    /// are given.
    fn rules(self) -> &'static [Rule] {
        match self {
            Self::Inspect => &[("", "pods", &["get", "list"])],
            Self::Run => &[
                ("", "pods", &["create", "delete", "get", "list", "patch", "watch"]),
                ("", "events", &["list", "watch"]),
            ],
            Self::Logs => &[("", "pods", &["get", "list", "watch"]), ("", "pods/log", &["get"])],
            Self::Events => &[("", "pods", &["get", "list", "watch"])],
            // Copies are scripts that are run.
            Self::Exec | Self::Copy => {
                &[("", "pods", &["get", "list", "watch"]), ("", "pods/exec", &["create", "get"])]
            }
            Self::CopyHelper => &[
                ("", "pods", &["get", "list", "watch"]),
                ("", "pods/exec", &["create", "get"]),
                ("", "pods/ephemeralcontainers", &["patch"]),
            ],
            Self::Attach => &[
                ("", "pods", &["get", "list", "watch"]),
                ("", "pods/attach", &["create", "get"]),
                ("", "pods/exec", &["create", "get"]),
                ("", "pods/log", &["get"]),
            ],
            Self::Forward => &[("", "pods", &["get"]), ("", "pods/portforward", &["create", "get"])],
            Self::Networks => &[
                ("", "pods", &["get", "list", "watch"]),
                (NADS, "network-attachment-definitions", &["create", "delete", "get", "list", "patch"]),
                // Those of a network change and go with it.
                (NADS, "multi-networkpolicies", &["delete", "list", "patch"]),
            ],
            // Whether a policy acts is asked from inside the pods.
            Self::Policy => &[
                ("", "pods", &["get", "list", "watch"]),
                ("", "pods/exec", &["create", "get"]),
                (NADS, "network-attachment-definitions", &["get", "list", "patch"]),
                ("networking.k8s.io", "networkpolicies", &["create", "delete", "list", "patch"]),
                (NADS, "multi-networkpolicies", &["create", "delete", "list", "patch"]),
            ],
            // The probe pods hold addresses, which are written on the definition.
            Self::Verify => &[
                ("", "pods", &["create", "delete", "get", "list", "patch", "watch"]),
                ("", "events", &["list", "watch"]),
                ("", "pods/exec", &["create", "get"]),
                (NADS, "network-attachment-definitions", &["get", "list", "patch"]),
            ],
            Self::Namespaces | Self::Doctor => &[],
        }
    }

    /// What is needed of the whole cluster.
    fn cluster_rules(self) -> &'static [Rule] {
        match self {
            Self::Namespaces => &[("", "namespaces", &["create", "delete", "get", "list", "watch"])],
            Self::Doctor => &[
                ("", "nodes", &["get", "list"]),
                ("", "namespaces", &["get", "list"]),
                ("", "pods", &["list"]),
                ("apps", "daemonsets", &["list"]),
                ("apiextensions.k8s.io", "customresourcedefinitions", &["get", "list"]),
            ],
            Self::Verify => &[("", "nodes", &["get", "list"])],
            _ => &[],
        }
    }

    /// Everything that is needed, one by one.
    pub(crate) fn accesses(self) -> impl Iterator<Item = Access> {
        let of = |rules: &'static [Rule], whole_cluster: bool| {
            rules.iter().flat_map(move |(group, resource, verbs)| {
                verbs.iter().map(move |verb| Access { group, resource, verb, whole_cluster })
            })
        };
        of(self.rules(), false).chain(of(self.cluster_rules(), true))
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Purpose {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Self::ALL.iter().find(|p| p.as_str() == s).copied().ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|p| p.as_str()).collect();
            Error::new(ErrorKind::InvalidInput, "no such purpose")
                .with_context("purpose", s)
                .with_hint(format!("one or more of: {}", all.join(", ")))
        })
    }
}

/// Joins rules on the same resource, and resources with the same verbs.
fn join<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<PolicyRule> {
    let mut verbs: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (group, resource, allowed) in rules {
        verbs.entry((group, resource)).or_default().extend(allowed.iter());
    }
    let mut joined: BTreeMap<(&str, BTreeSet<&str>), Vec<String>> = BTreeMap::new();
    for ((group, resource), allowed) in verbs {
        joined.entry((group, allowed)).or_default().push(resource.to_owned());
    }
    let rule = |((group, verbs), resources): ((&str, BTreeSet<&str>), Vec<String>)| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(resources),
        verbs: verbs.into_iter().map(str::to_owned).collect(),
        ..PolicyRule::default()
    };
    joined.into_iter().map(rule).collect()
}

/// Whom a role is given to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Who {
    /// A user, as the API server names them.
    User(String),
    /// A group.
    Group(String),
    /// A service account of the role's namespace.
    ServiceAccount(String),
}

impl Who {
    fn subject(&self, namespace: &str) -> Subject {
        let (kind, name, group, namespace) = match self {
            Self::User(name) => ("User", name, Some("rbac.authorization.k8s.io"), None),
            Self::Group(name) => ("Group", name, Some("rbac.authorization.k8s.io"), None),
            Self::ServiceAccount(name) => ("ServiceAccount", name, None, Some(namespace.to_owned())),
        };
        Subject { kind: kind.into(), name: name.clone(), api_group: group.map(str::to_owned), namespace }
    }
}

/// Roles, and whom they are given to, as documents for `kubectl apply -f -`.
///
/// # Errors
/// `InvalidInput` without a purpose.
pub fn yaml(name: &str, namespace: &str, purposes: &[Purpose], who: Option<&Who>) -> Result<String> {
    if purposes.is_empty() {
        return Err(Error::invalid("no purpose was given"));
    }
    crate::config::check_namespace(namespace)?;
    let within = join(purposes.iter().flat_map(|p| p.rules()));
    let whole = join(purposes.iter().flat_map(|p| p.cluster_rules()));
    let meta = |namespace: Option<&str>| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ObjectMeta::default()
    };
    let to = |kind: &str| RoleRef {
        api_group: "rbac.authorization.k8s.io".into(),
        kind: kind.into(),
        name: name.to_owned(),
    };
    let subjects = who.map(|w| vec![w.subject(namespace)]);
    let mut documents = Vec::new();
    if !within.is_empty() {
        documents.push(document(&Role { metadata: meta(Some(namespace)), rules: Some(within) })?);
        if subjects.is_some() {
            let subjects = subjects.clone();
            documents.push(document(&RoleBinding { metadata: meta(Some(namespace)), role_ref: to("Role"), subjects })?);
        }
    }
    if !whole.is_empty() {
        documents.push(document(&ClusterRole { metadata: meta(None), rules: Some(whole), ..ClusterRole::default() })?);
        if subjects.is_some() {
            documents.push(document(&ClusterRoleBinding {
                metadata: meta(None),
                role_ref: to("ClusterRole"),
                subjects,
            })?);
        }
    }
    Ok(documents.join("---\n"))
}

/// An object as a YAML document, its keys by name.
pub(crate) fn document(object: &impl serde::Serialize) -> Result<String> {
    let bad = |e: &dyn fmt::Display| Error::unexpected(format!("an object can't be written as YAML: {e}"));
    // By way of a value, whose keys come in the order of their names.
    let value = serde_json::to_value(object).map_err(|e| bad(&e))?;
    let mut text = serde_saphyr::to_string(&value).map_err(|e| bad(&e))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_are_joined_and_no_more_is_given() {
        let text = yaml("pod", "shop", &[Purpose::Exec, Purpose::Logs], None).expect("a role");
        let role: Role = serde_saphyr::from_str(&text).expect(&text);
        assert_eq!(role.metadata.namespace.as_deref(), Some("shop"));
        let found: Vec<_> = role
            .rules
            .unwrap_or_default()
            .into_iter()
            .map(|r| (r.resources.unwrap_or_default().join(","), r.verbs.join(",")))
            .collect();
        let expected = [("pods/exec", "create,get"), ("pods/log", "get"), ("pods", "get,list,watch")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(found, expected);
        assert!(!text.contains('*'), "{text}");
    }

    #[test]
    fn what_is_the_clusters_is_a_cluster_role() {
        let who = Who::ServiceAccount("ci".into());
        let text = yaml("pod", "shop", &[Purpose::Run, Purpose::Namespaces], Some(&who)).expect("roles");
        let kinds: Vec<_> = text.lines().filter(|l| l.starts_with("kind:")).collect();
        assert_eq!(
            kinds,
            ["kind: Role", "kind: RoleBinding", "kind: ClusterRole", "kind: ClusterRoleBinding"],
            "{text}"
        );
        assert!(yaml("pod", "shop", &[], None).is_err());
        assert!(yaml("pod", "No", &[Purpose::Run], None).is_err());
    }

    #[test]
    fn streams_have_both_verbs() {
        for (purpose, resource) in
            [(Purpose::Exec, "pods/exec"), (Purpose::Attach, "pods/attach"), (Purpose::Forward, "pods/portforward")]
        {
            let verbs = purpose.rules().iter().find(|(_, r, _)| *r == resource).map(|(_, _, v)| v.to_vec());
            assert_eq!(verbs, Some(vec!["create", "get"]), "{purpose}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for purpose in Purpose::ALL {
            assert_eq!(purpose.as_str().parse::<Purpose>().ok(), Some(*purpose));
        }
        assert!("everything".parse::<Purpose>().is_err());
    }
}

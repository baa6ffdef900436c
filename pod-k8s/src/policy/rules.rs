//! From ordered rules to Kubernetes' policies.
//!
//! POD's rules are read in order and the first that matches counts. A policy of Kubernetes only allows:
//! a pod that one selects takes what some policy allows, all others take anything. So the pods are
//! divided into classes by which rules' `to` they match, and each class gets a policy that allows exactly
//! the senders that the rules let through.

use crate::owner::fits_label;
use pod_core::{Error, Labels, PolicySpec, Result};
use std::collections::BTreeSet;

/// How many different targets rules may name: the classes double with each.
const MOST_TARGETS: usize = 5;
/// How many selectors a policy may hold.
const MOST_PEERS: usize = 64;

/// What a label has to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Requirement {
    key: String,
    value: String,
    is: bool,
}

/// Pods that meet all of these.
pub(crate) type Selector = BTreeSet<Requirement>;

/// A policy: to these pods, only from those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allow {
    /// The pods that are sent to.
    pub(crate) to: Selector,
    /// Who may send; none at all when it is empty.
    pub(crate) from: Vec<Selector>,
}

fn all_of(labels: &Labels) -> Selector {
    labels.iter().map(|(k, v)| Requirement { key: k.clone(), value: v.clone(), is: true }).collect()
}

/// The selectors that together match what `labels` does not.
fn none_of(labels: &Labels) -> Vec<Selector> {
    labels.iter().map(|(k, v)| BTreeSet::from([Requirement { key: k.clone(), value: v.clone(), is: false }])).collect()
}

/// Both together; `None` when no pod can match.
fn both(a: &Selector, b: &Selector) -> Option<Selector> {
    let all: Selector = a.union(b).cloned().collect();
    let clash = all.iter().any(|r| {
        r.is && all.iter().any(|o| o.key == r.key && if o.is { o.value != r.value } else { o.value == r.value })
    });
    if clash {
        return None;
    }
    // `a is x` says all that `a is not y` would.
    let said: BTreeSet<&str> = all.iter().filter(|r| r.is).map(|r| r.key.as_str()).collect();
    Some(all.iter().filter(|r| r.is || !said.contains(r.key.as_str())).cloned().collect())
}

fn each_with_each(a: &[Selector], b: &[Selector]) -> Vec<Selector> {
    let mut all: Vec<Selector> = a.iter().flat_map(|x| b.iter().filter_map(move |y| both(x, y))).collect();
    all.sort();
    all.dedup();
    // What a wider one matches needs no narrower one.
    let wide = all.clone();
    all.retain(|s| !wide.iter().any(|w| w != s && w.is_subset(s)));
    all
}

/// The policies that do what the rules say.
///
/// # Errors
/// `Unsupported` for labels that pods can't carry, or more targets than can be told apart.
pub(crate) fn translate(policy: &PolicySpec) -> Result<Vec<Allow>> {
    let about = |e: Error| e.with_context("network", policy.network.as_str());
    for (key, value) in policy.rules.iter().flat_map(|r| r.from.iter().chain(&r.to)) {
        if !fits_label(key, value) {
            return Err(about(
                Error::unsupported("Kubernetes can't select by this label")
                    .with_context("label", format!("{key}={value}"))
                    .with_hint("use labels of at most 63 letters, digits, '-', '_' and '.'"),
            ));
        }
    }
    let mut targets: Vec<&Labels> = policy.rules.iter().map(|r| &r.to).filter(|t| !t.is_empty()).collect();
    targets.sort();
    targets.dedup();
    if targets.len() > MOST_TARGETS {
        return Err(about(
            Error::unsupported(format!("rules for {} different targets can't be expressed", targets.len()))
                .with_hint(format!("name at most {MOST_TARGETS} different `to`")),
        ));
    }
    let mut all = Vec::new();
    for class in 0..1u32 << targets.len() {
        let within =
            |t: &Labels| t.is_empty() || targets.iter().position(|x| *x == t).is_some_and(|n| class >> n & 1 == 1);
        let mut selectors = vec![Selector::new()];
        for target in &targets {
            let part = if within(target) { vec![all_of(target)] } else { none_of(target) };
            selectors = each_with_each(&selectors, &part);
        }
        if selectors.is_empty() {
            continue;
        }
        // From the last rule to the first: who may send.
        let mut from = if policy.default_allow { vec![Selector::new()] } else { Vec::new() };
        for rule in policy.rules.iter().rev().filter(|r| within(&r.to)) {
            if rule.allow {
                from.push(all_of(&rule.from));
                from = each_with_each(&from, &[Selector::new()]);
            } else {
                from = each_with_each(&from, &none_of(&rule.from));
            }
        }
        if from.len() > MOST_PEERS {
            return Err(about(Error::unsupported("the rules need more selectors than a policy should hold")));
        }
        // Who takes anything needs no policy.
        if from.iter().any(BTreeSet::is_empty) {
            continue;
        }
        all.extend(selectors.into_iter().map(|to| Allow { to, from: from.clone() }));
    }
    Ok(all)
}

/// A selector as the API has it.
pub(crate) fn selector_json(selector: &Selector) -> serde_json::Value {
    let labels: serde_json::Map<String, serde_json::Value> =
        selector.iter().filter(|r| r.is).map(|r| (r.key.clone(), r.value.clone().into())).collect();
    let not: Vec<_> = selector
        .iter()
        .filter(|r| !r.is)
        .map(|r| serde_json::json!({"key": r.key, "operator": "NotIn", "values": [r.value]}))
        .collect();
    let mut json = serde_json::Map::new();
    if !labels.is_empty() {
        json.insert("matchLabels".into(), labels.into());
    }
    if !not.is_empty() {
        json.insert("matchExpressions".into(), not.into());
    }
    json.into()
}

/// The `spec` of a policy, the same for `NetworkPolicy` and `MultiNetworkPolicy`.
pub(crate) fn spec_json(allow: &Allow) -> serde_json::Value {
    let peers: Vec<_> = allow.from.iter().map(|s| serde_json::json!({"podSelector": selector_json(s)})).collect();
    let ingress = if peers.is_empty() { serde_json::json!([]) } else { serde_json::json!([{"from": peers}]) };
    serde_json::json!({"podSelector": selector_json(&allow.to), "policyTypes": ["Ingress"], "ingress": ingress})
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod_core::{NetworkName, PolicyRule};

    fn labels(text: &str) -> Labels {
        text.split(',')
            .filter(|t| !t.is_empty())
            .filter_map(|t| t.split_once('='))
            .map(|(k, v)| (k.into(), v.into()))
            .collect()
    }

    fn rule(from: &str, to: &str, allow: bool) -> PolicyRule {
        PolicyRule::new(labels(from), labels(to), allow)
    }

    fn matches(selector: &Selector, pod: &Labels) -> bool {
        selector.iter().all(|r| (pod.get(&r.key) == Some(&r.value)) == r.is)
    }

    /// What Kubernetes does with these policies.
    fn passes(policies: &[Allow], from: &Labels, to: &Labels) -> bool {
        let mut on = policies.iter().filter(|p| matches(&p.to, to)).peekable();
        on.peek().is_none() || on.any(|p| p.from.iter().any(|s| matches(s, from)))
    }

    /// What the rules say.
    fn says(policy: &PolicySpec, from: &Labels, to: &Labels) -> bool {
        let holds = |of: &Labels, pod: &Labels| of.iter().all(|(k, v)| pod.get(k) == Some(v));
        let first = policy.rules.iter().find(|r| holds(&r.from, from) && holds(&r.to, to));
        first.map_or(policy.default_allow, |r| r.allow)
    }

    #[test]
    fn policies_do_what_the_rules_say() {
        let pods: Vec<Labels> =
            ["", "a=1", "a=2", "b=1", "a=1,b=1", "a=2,b=1", "a=1,b=2", "a=2,b=2"].map(labels).into();
        let sides = ["", "a=1", "b=1", "a=1,b=1"];
        let mut rules = Vec::new();
        for from in sides {
            for to in sides {
                rules.extend([rule(from, to, true), rule(from, to, false)]);
            }
        }
        let mut checked = 0;
        for first in &rules {
            for second in &rules {
                for third in rules.iter().step_by(5) {
                    for default in [true, false] {
                        let all = vec![first.clone(), second.clone(), third.clone()];
                        let policy = PolicySpec::new(NetworkName::new("red").expect("name"), all, default);
                        let policies = translate(&policy).expect("policies");
                        for from in &pods {
                            for to in &pods {
                                checked += 1;
                                assert_eq!(
                                    passes(&policies, from, to),
                                    says(&policy, from, to),
                                    "{policy:?} {from:?} {to:?}"
                                );
                            }
                        }
                    }
                }
            }
        }
        assert!(checked > 100_000);
    }

    #[test]
    fn a_policy_is_written_as_the_api_has_it() {
        let policy = PolicySpec::new(
            NetworkName::new("red").expect("name"),
            vec![rule("app=web", "app=db", true), rule("", "app=db", false)],
            true,
        );
        let policies = translate(&policy).expect("policies");
        assert_eq!(policies.len(), 1);
        assert_eq!(
            spec_json(&policies[0]),
            serde_json::json!({
                "podSelector": {"matchLabels": {"app": "db"}},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
            })
        );
        let nobody = PolicySpec::new(NetworkName::new("red").expect("name"), vec![], false);
        let policies = translate(&nobody).expect("policies");
        assert_eq!(spec_json(&policies[0])["ingress"], serde_json::json!([]));
        assert_eq!(spec_json(&policies[0])["podSelector"], serde_json::json!({}));
        let all = PolicySpec::new(NetworkName::new("red").expect("name"), vec![], true);
        assert_eq!(translate(&all).expect("policies"), []);
        // a typed policy takes it
        let typed: k8s_openapi::api::networking::v1::NetworkPolicySpec =
            serde_json::from_value(spec_json(&policies[0])).expect("a NetworkPolicySpec");
        assert_eq!(typed.policy_types.as_deref(), Some(&["Ingress".to_owned()][..]));
    }

    #[test]
    fn what_can_not_be_expressed_is_refused() {
        let red = || NetworkName::new("red").expect("name");
        let many = (0..6).map(|n| rule("", &format!("k{n}=v"), false)).collect();
        assert!(translate(&PolicySpec::new(red(), many, true)).is_err());
        assert!(translate(&PolicySpec::new(red(), vec![rule("a b=1", "", true)], true)).is_err());
    }
}

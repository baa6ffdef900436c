//! Who may send to whom, and whether that is enforced.

use crate::{Capability, Labels, NetworkName, Requires};

/// Asks for the workloads of a network to be cut off from each other, or joined again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IsolateRequest {
    /// The network.
    pub network: NetworkName,
    /// Cut off, or joined again.
    pub isolated: bool,
}

impl IsolateRequest {
    /// Cuts the workloads of `network` off from each other (`true`), or joins them again.
    #[must_use]
    pub fn new(network: NetworkName, isolated: bool) -> Self {
        Self { network, isolated }
    }
}

impl Requires for IsolateRequest {
    fn requires(&self) -> Vec<Capability> {
        vec![Capability::Isolate]
    }
}

/// One rule between workloads of a network.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct PolicyRule {
    /// From workloads with all these labels; empty is any.
    pub from: Labels,
    /// To workloads with all these labels; empty is any.
    pub to: Labels,
    /// Let pass, or drop.
    pub allow: bool,
}

impl PolicyRule {
    /// Allows (`true`) or denies what `from` sends to `to`.
    #[must_use]
    pub fn new(from: Labels, to: Labels, allow: bool) -> Self {
        Self { from, to, allow }
    }
}

/// The rules of a network: the first that matches counts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct PolicySpec {
    /// The network.
    pub network: NetworkName,
    /// The rules, in order; replaces those there are.
    pub rules: Vec<PolicyRule>,
    /// What counts when none matches.
    pub default_allow: bool,
}

impl PolicySpec {
    /// These rules for `network`.
    #[must_use]
    pub fn new(network: NetworkName, rules: Vec<PolicyRule>, default_allow: bool) -> Self {
        Self { network, rules, default_allow }
    }
}

impl Requires for PolicySpec {
    fn requires(&self) -> Vec<Capability> {
        vec![Capability::Policy]
    }
}

/// Whether what was asked for acts, by evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// It acts: read back or probed.
    Enforced,
    /// It does not act.
    NotEnforced,
    /// There is no evidence either way.
    Unknown,
}

/// What is known of a policy or isolation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PolicyReport {
    /// Whether it acts.
    pub enforcement: Enforcement,
    /// By what, and how it is known.
    pub evidence: Vec<String>,
}

impl PolicyReport {
    /// A report of these parts.
    #[must_use]
    pub fn new(enforcement: Enforcement, evidence: Vec<String>) -> Self {
        Self { enforcement, evidence }
    }
}

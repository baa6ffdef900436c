//! Whether networks are as they were asked for.

use crate::{Capability, NetworkName, Requires, WorkloadName};
use std::fmt;

/// Asks for networks to be read back and compared with what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyRequest {
    /// Only this network; `None` is all of this backend's.
    pub network: Option<NetworkName>,
}

impl VerifyRequest {
    /// Only this network.
    #[must_use]
    pub fn of(network: NetworkName) -> Self {
        Self { network: Some(network) }
    }
}

impl Requires for VerifyRequest {
    fn requires(&self) -> Vec<Capability> {
        vec![Capability::Verify]
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The network.
    pub network: Option<NetworkName>,
    /// The workload, if one is concerned.
    pub workload: Option<WorkloadName>,
    /// Where: an interface, a bridge port, a route.
    pub place: String,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
}

impl Finding {
    /// At `place`, `found` stands instead of `expected`.
    #[must_use]
    pub fn new(place: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { network: None, workload: None, place: place.into(), expected: expected.into(), found: found.into() }
    }

    /// Concerns this network.
    #[must_use]
    pub fn with_network(mut self, network: NetworkName) -> Self {
        self.network = Some(network);
        self
    }

    /// Concerns this workload.
    #[must_use]
    pub fn with_workload(mut self, workload: WorkloadName) -> Self {
        self.workload = Some(workload);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(n) = &self.network {
            write!(f, "network {n}: ")?;
        }
        if let Some(w) = &self.workload {
            write!(f, "workload {w}: ")?;
        }
        write!(f, "{}: expected {}, found {}", self.place, self.expected, self.found)
    }
}

/// What a read-back found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// How many things were compared.
    pub checked: usize,
    /// What differs; empty when all is as it should be.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// A report of these parts.
    #[must_use]
    pub fn new(checked: usize, findings: Vec<Finding>) -> Self {
        Self { checked, findings }
    }

    /// Whether all is as it should be.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.findings.is_empty()
    }
}

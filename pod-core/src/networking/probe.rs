//! Whether a workload reaches an address.

use crate::{Capability, IfName, Requires, WorkloadName};
use std::net::IpAddr;
use std::time::Duration;

/// An address to probe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ProbeTarget {
    /// The address.
    pub ip: IpAddr,
    /// The interface to send from; `None` lets the routes decide.
    pub interface: Option<IfName>,
}

impl ProbeTarget {
    /// Probes `ip` by the workload's routes.
    #[must_use]
    pub fn new(ip: IpAddr) -> Self {
        Self { ip, interface: None }
    }

    /// Sends from this interface.
    #[must_use]
    pub fn with_interface(mut self, interface: IfName) -> Self {
        self.interface = Some(interface);
        self
    }
}

/// Asks whether addresses are reached from inside a workload: all at once, from one process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeRequest {
    /// From where.
    pub workload: WorkloadName,
    /// To where.
    pub targets: Vec<ProbeTarget>,
    /// How long a target has to answer; each is asked several times meanwhile. 1 s unless told.
    pub timeout: Duration,
}

impl ProbeRequest {
    /// Probes from `workload` to `targets`.
    #[must_use]
    pub fn new(workload: WorkloadName, targets: Vec<ProbeTarget>) -> Self {
        Self { workload, targets, timeout: Duration::from_secs(1) }
    }

    /// Gives the targets this long to answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl Requires for ProbeRequest {
    fn requires(&self) -> Vec<Capability> {
        vec![Capability::Probe]
    }
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProbeOutcome {
    /// The target answered after this long.
    Reached(Duration),
    /// No answer in the time given.
    NoAnswer,
    /// The sender was told that there is no way: the error's text.
    Refused(String),
    /// The probe could not be made: the reason.
    Unknown(String),
}

impl ProbeOutcome {
    /// Whether the target answered.
    #[must_use]
    pub fn reached(&self) -> bool {
        matches!(self, Self::Reached(_))
    }
}

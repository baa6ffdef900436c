//! What shall be, and the steps to it.

use crate::{AttachNetworkRequest, Attachment, DetachRequest, NetworkName, NetworkSpec};
use std::fmt;

/// What should be: these networks, and these workloads on them. What it does not name is left alone.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct NetworkIntent {
    /// Networks that should exist, so.
    pub networks: Vec<NetworkSpec>,
    /// Attachments that should exist, so.
    pub attachments: Vec<AttachNetworkRequest>,
    /// Attachments that should not exist.
    pub absent_attachments: Vec<DetachRequest>,
    /// Networks that should not exist.
    pub absent_networks: Vec<NetworkName>,
}

impl NetworkIntent {
    /// Wants this network.
    #[must_use]
    pub fn with_network(mut self, network: NetworkSpec) -> Self {
        self.networks.push(network);
        self
    }

    /// Wants this attachment.
    #[must_use]
    pub fn with_attachment(mut self, attachment: AttachNetworkRequest) -> Self {
        self.attachments.push(attachment);
        self
    }

    /// Does not want this attachment.
    #[must_use]
    pub fn without_attachment(mut self, attachment: DetachRequest) -> Self {
        self.absent_attachments.push(attachment);
        self
    }

    /// Does not want this network.
    #[must_use]
    pub fn without_network(mut self, network: NetworkName) -> Self {
        self.absent_networks.push(network);
        self
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum NetworkStep {
    /// Makes a network.
    CreateNetwork(NetworkSpec),
    /// Removes a network, which is kept here to be put back.
    RemoveNetwork(NetworkSpec),
    /// Attaches a workload.
    Attach(AttachNetworkRequest),
    /// Detaches a workload; the attachment is kept here to be put back.
    Detach(Attachment),
}

impl fmt::Display for NetworkStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: ToString>(items: &[T]) -> String {
            items.iter().map(|i| format!(" {}", i.to_string())).collect()
        }
        match self {
            Self::CreateNetwork(n) => {
                write!(f, "+ network {}", n.name)?;
                match n.vlan {
                    Some(v) => write!(f, " vlan {v}")?,
                    None => write!(f, " untagged")?,
                }
                f.write_str(&list(&n.subnets))?;
                if let Some(u) = &n.uplink {
                    write!(f, " uplink {u}")?;
                }
                Ok(())
            }
            Self::RemoveNetwork(n) => write!(f, "- network {}", n.name),
            Self::Attach(a) => {
                write!(f, "+ attach {} to {}{}", a.workload, a.attachment.network, list(&a.attachment.ips))
            }
            Self::Detach(a) => write!(f, "- detach {} from {}", a.workload, a.network),
        }
    }
}

/// What would be done, in order. Empty when all is as it should be.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct NetworkPlan {
    /// The steps.
    pub steps: Vec<NetworkStep>,
}

impl NetworkPlan {
    /// A plan of these steps.
    #[must_use]
    pub fn new(steps: Vec<NetworkStep>) -> Self {
        Self { steps }
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for NetworkPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return f.write_str("nothing to do");
        }
        for (i, step) in self.steps.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            step.fmt(f)?;
        }
        Ok(())
    }
}

/// What applying a plan did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Applied {
    /// How many steps were carried out.
    pub steps: usize,
    /// The attachments that were made.
    pub attachments: Vec<Attachment>,
}

impl Applied {
    /// What was done.
    #[must_use]
    pub fn new(steps: usize, attachments: Vec<Attachment>) -> Self {
        Self { steps, attachments }
    }
}

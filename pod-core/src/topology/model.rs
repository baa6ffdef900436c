//! A topology, read and checked.

use super::Place;
use crate::{BackendUri, Error, IfName, NetworkName, NetworkSpec, Result, TopologyName, WorkloadName, WorkloadSpec};
use std::collections::BTreeMap;
use std::path::Path;

/// Networks, workloads on them, and the reach expected between them; read from a file or built from
/// code.
///
/// ```
/// use pod_core::topology::Topology;
/// let topology = Topology::parse("networks: { blue: { vlan: 100, subnet: 10.1.0.0/24 } }\n\
///                                 workloads: { a: { networks: [blue] }, b: { networks: [blue] } }", "pair")?;
/// assert_eq!(topology.workloads.len(), 2);
/// # Ok::<(), pod_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Topology {
    /// Its name: the label of all that it makes.
    pub name: TopologyName,
    /// Where all runs unless a workload says otherwise: an address, or a configured name. `None` is
    /// the default backend.
    pub backend: Option<String>,
    /// Its networks.
    pub networks: Vec<TopologyNetwork>,
    /// Its workloads.
    pub workloads: Vec<TopologyWorkload>,
    /// Where the expected reach differs from the rule; of two that match a pair the later counts.
    pub reach: Vec<ReachRule>,
}

/// A network of a topology.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TopologyNetwork {
    /// What to make.
    pub spec: NetworkSpec,
    /// The uplink for each platform, where it is not the spec's for all: by the scheme of its backends, such
    /// as `docker`, or by a backend's address, which goes before the scheme.
    pub segments: BTreeMap<String, IfName>,
    /// Where it stands in the file.
    pub place: Place,
}

impl TopologyNetwork {
    /// What to make on the backend at this address.
    ///
    /// # Errors
    /// `InvalidInput` when it has uplinks by platform, and none for this one.
    pub(super) fn on(&self, backend: &BackendUri) -> Result<NetworkSpec> {
        if self.segments.is_empty() {
            return Ok(self.spec.clone());
        }
        let address = backend.to_string();
        match self.segments.get(&address).or_else(|| self.segments.get(backend.scheme())) {
            Some(uplink) => Ok(self.spec.clone().with_uplink(uplink.clone())),
            None => Err(self.place.mark(
                Error::invalid("the network has no uplink for a backend that has workloads on it")
                    .with_context("network", self.spec.name.as_str())
                    .with_backend(address)
                    .with_hint(format!("add `{}: INTERFACE` to its `uplink:`", backend.scheme())),
            )),
        }
    }
}

/// A workload of a topology.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TopologyWorkload {
    /// What to make. Attachments without addresses get theirs when it is brought up.
    pub spec: WorkloadSpec,
    /// Where it runs; `None` is where the topology runs.
    pub backend: Option<String>,
    /// Where it stands in the file.
    pub place: Place,
    /// Whether `keep_alive` was not asked for, only taken because there is no command.
    pub(super) keep_alive_by_default: bool,
    /// Where its attachments stand in the file, in their order.
    pub(super) attachment_places: Vec<AttachmentPlace>,
}

/// Where an attachment and its addresses stand in the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct AttachmentPlace {
    pub(super) network: Place,
    pub(super) ips: Vec<Place>,
}

impl TopologyWorkload {
    /// Where the attachment of this index stands.
    pub(super) fn attachment_place(&self, index: usize) -> &Place {
        self.attachment_places.get(index).map_or(&self.place, |p| &p.network)
    }

    /// Where an address of an attachment stands.
    pub(super) fn ip_place(&self, attachment: usize, ip: usize) -> &Place {
        self.attachment_places
            .get(attachment)
            .and_then(|p| p.ips.get(ip))
            .unwrap_or_else(|| self.attachment_place(attachment))
    }
}

/// Whether one workload is expected to reach another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// It answers.
    Reached,
    /// It does not, and that is proven: see [`Measured`](super::Measured).
    Blocked,
    /// Nothing is expected: what is measured is shown and never wrong.
    Any,
}

impl Expect {
    /// The word in files and output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Blocked => "blocked",
            Self::Any => "any",
        }
    }
}

/// What is expected of one ordered pair.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReachRule {
    /// Who asks.
    pub from: WorkloadName,
    /// Who should answer, or not.
    pub to: WorkloadName,
    /// What is expected.
    pub expect: Expect,
}

impl ReachRule {
    /// Expects this when `from` asks `to`.
    #[must_use]
    pub fn new(from: WorkloadName, to: WorkloadName, expect: Expect) -> Self {
        Self { from, to, expect }
    }
}

impl Topology {
    /// A topology of this name that holds nothing yet. What is added is checked by
    /// [`Topology::check`], at the latest when it is [connected](super::Deployment::connect).
    #[must_use]
    pub fn new(name: TopologyName) -> Self {
        Self { name, backend: None, networks: Vec::new(), workloads: Vec::new(), reach: Vec::new() }
    }

    /// Adds a network.
    #[must_use]
    pub fn with_network(mut self, spec: NetworkSpec) -> Self {
        self.networks.push(TopologyNetwork { spec, segments: BTreeMap::new(), place: Place::default() });
        self
    }

    /// Has the network that was added last leave its hosts by another interface on each platform: by scheme,
    /// such as `docker`, or by a backend's address. Without a network it does nothing.
    #[must_use]
    pub fn with_segment(mut self, platform: impl Into<String>, uplink: IfName) -> Self {
        if let Some(network) = self.networks.last_mut() {
            network.segments.insert(platform.into(), uplink);
        }
        self
    }

    /// Adds a workload, as it is: unlike in a file, `keep_alive` is off unless set.
    #[must_use]
    pub fn with_workload(mut self, spec: WorkloadSpec) -> Self {
        self.workloads.push(TopologyWorkload {
            spec,
            backend: None,
            place: Place::default(),
            keep_alive_by_default: false,
            attachment_places: Vec::new(),
        });
        self
    }

    /// Adds an expectation.
    #[must_use]
    pub fn with_reach(mut self, rule: ReachRule) -> Self {
        self.reach.push(rule);
        self
    }

    /// Reads and checks the file at `path`. Its stem is the name unless it gives one; `rootfs:` and
    /// `archive:` images are relative to its folder. Blocks while the file is read.
    ///
    /// # Errors
    /// `NotFound` and what else keeps the file from being read; `ConfigInvalid` for what is no YAML or
    /// no topology, `InvalidInput` for a value that can't be: each names the line and the column.
    pub fn load(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::io("the topology file can't be read", e).with_context("file", shown.clone()))?;
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = std::path::absolute(path)
            .map_err(|e| Error::io("the topology file's folder is not known", e).with_context("file", shown.clone()))?
            .parent()
            .map(Path::to_path_buf);
        super::parse::parse(&text, &stem, Some(shown), folder.as_deref())
    }

    /// Reads and checks the text of a topology file.
    ///
    /// # Errors
    /// As [`Topology::load`], with line and column only.
    pub fn parse(text: &str, default_name: &str) -> Result<Self> {
        super::parse::parse(text, default_name, None, None)
    }

    /// The network of this name.
    #[must_use]
    pub fn network(&self, name: &NetworkName) -> Option<&TopologyNetwork> {
        self.networks.iter().find(|n| n.spec.name == *name)
    }

    /// The workload of this name.
    #[must_use]
    pub fn workload(&self, name: &WorkloadName) -> Option<&TopologyWorkload> {
        self.workloads.iter().find(|w| w.spec.name == *name)
    }
}

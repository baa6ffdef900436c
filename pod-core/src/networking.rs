//! Networks and attachments: layer-2 segments with a VLAN id and subnets, and workloads on them.

use crate::{
    Attachment, AttachmentSpec, Capability, Error, ErrorKind, IfName, Labels, NetworkName, RemoveOutcome, Requires,
    Result, VlanId, WorkloadName,
};
use async_trait::async_trait;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A network to make.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct NetworkSpec {
    /// Its name within the backend.
    pub name: NetworkName,
    /// Its VLAN id; `None` is untagged.
    pub vlan: Option<VlanId>,
    /// Its subnets; empty is a network without addresses.
    pub subnets: Vec<IpNet>,
    /// Addresses that are never handed out, besides each subnet's own and broadcast address.
    pub reserved: Vec<IpAddr>,
    /// The interface by which it leaves the host, tagged with `vlan`; `None` stays inside. Without a
    /// VLAN id it has the uplink to itself, untagged, where the platform can do that.
    pub uplink: Option<IfName>,
    /// Its MTU in bytes, 68 to 65535; 1280 or more with an IPv6 subnet (RFC 8200 section 5).
    pub mtu: u32,
    /// Whether its workloads are cut off from each other.
    pub isolated: bool,
    /// Labels for finding it again.
    pub labels: Labels,
}

/// The MTU of a network that names none.
pub const DEFAULT_MTU: u32 = 1500;

impl NetworkSpec {
    /// An untagged network without subnets.
    #[must_use]
    pub fn new(name: NetworkName) -> Self {
        Self {
            name,
            vlan: None,
            subnets: Vec::new(),
            reserved: Vec::new(),
            uplink: None,
            mtu: DEFAULT_MTU,
            isolated: false,
            labels: Labels::new(),
        }
    }

    /// Sets the VLAN id.
    #[must_use]
    pub fn with_vlan(mut self, vlan: VlanId) -> Self {
        self.vlan = Some(vlan);
        self
    }

    /// Adds a subnet.
    #[must_use]
    pub fn with_subnet(mut self, subnet: IpNet) -> Self {
        self.subnets.push(subnet);
        self
    }

    /// Never hands out this address.
    #[must_use]
    pub fn with_reserved(mut self, ip: IpAddr) -> Self {
        self.reserved.push(ip);
        self
    }

    /// Leaves the host by this interface.
    #[must_use]
    pub fn with_uplink(mut self, uplink: IfName) -> Self {
        self.uplink = Some(uplink);
        self
    }

    /// Sets the MTU.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Cuts its workloads off from each other.
    #[must_use]
    pub fn with_isolated(mut self, isolated: bool) -> Self {
        self.isolated = isolated;
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Checks what no type checks: subnets, MTU, reserved addresses.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] names the network, the part and the
    /// way out.
    pub fn validate(&self) -> Result<()> {
        let bad = |message: String| Error::invalid(message).with_context("network", self.name.as_str());
        if !(68..=65535).contains(&self.mtu) {
            return Err(bad(format!("MTU {} is out of range", self.mtu)).with_hint("use 68 to 65535"));
        }
        for (i, net) in self.subnets.iter().enumerate() {
            if net.trunc() != *net {
                return Err(bad(format!("{net} is an address within a subnet, not a subnet"))
                    .with_hint(format!("write {}", net.trunc())));
            }
            let longest = if net.addr().is_ipv4() { 30 } else { 126 };
            if net.prefix_len() > longest {
                return Err(bad(format!("the subnet {net} is too small: it has no two addresses for workloads"))
                    .with_hint(format!("use a prefix length of {longest} or less")));
            }
            if net.prefix_len() == 0 || net.addr().is_multicast() || net.addr().is_loopback() {
                return Err(bad(format!("{net} can't be a network's subnet")));
            }
            if net.addr().is_ipv6() && self.mtu < 1280 {
                return Err(bad(format!("IPv6 needs an MTU of 1280 or more, not {}", self.mtu)));
            }
            if let Some(other) = self.subnets[..i].iter().find(|o| o.contains(net) || net.contains(*o)) {
                return Err(bad(format!("the subnets {other} and {net} overlap")));
            }
        }
        for ip in &self.reserved {
            if !self.subnets.iter().any(|n| n.contains(ip)) {
                return Err(bad(format!("the reserved address {ip} is in none of its subnets")));
            }
        }
        Ok(())
    }

    /// Whether `ip` can be handed to a workload, and the prefix length it gets.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when `ip` is outside the subnets,
    /// a subnet's own address, its broadcast address, or reserved.
    pub fn assignable(&self, ip: IpAddr) -> Result<IpNet> {
        let bad = |message: String| Error::invalid(message).with_context("network", self.name.as_str());
        let Some(net) = self.subnets.iter().find(|n| n.contains(&ip)) else {
            let list: Vec<_> = self.subnets.iter().map(ToString::to_string).collect();
            return Err(bad(format!("the address {ip} is outside the network's subnets")).with_hint(
                if list.is_empty() {
                    "the network has no subnet".into()
                } else {
                    format!("choose one within {}", list.join(" or "))
                },
            ));
        };
        if ip == net.network() {
            return Err(bad(format!("{ip} is the subnet's own address")));
        }
        if ip.is_ipv4() && ip == net.broadcast() {
            return Err(bad(format!("{ip} is the subnet's broadcast address")));
        }
        if self.reserved.contains(&ip) {
            return Err(bad(format!("{ip} is reserved in this network")));
        }
        IpNet::new(ip, net.prefix_len()).map_err(|e| Error::unexpected("prefix length").with_source(e))
    }

    /// The lowest assignable address of `subnet` for which `taken` is false.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] when there is none.
    pub fn next_free(&self, subnet: IpNet, taken: impl Fn(IpAddr) -> bool) -> Result<IpNet> {
        subnet.hosts().filter_map(|ip| self.assignable(ip).ok()).find(|ip| !taken(ip.addr())).ok_or_else(|| {
            Error::new(ErrorKind::Exhausted, format!("no address is free in {subnet}"))
                .with_context("network", self.name.as_str())
                .with_hint("detach what is no longer needed, or use a larger subnet")
        })
    }
}

impl Requires for NetworkSpec {
    fn requires(&self) -> Vec<Capability> {
        let mut need = vec![Capability::Networks];
        let mut on = |wanted: bool, c| {
            if wanted {
                need.push(c);
            }
        };
        on(self.vlan.is_some(), Capability::VlanAccess);
        on(self.uplink.is_some(), Capability::Uplink);
        on(self.mtu != DEFAULT_MTU, Capability::Mtu);
        on(self.subnets.iter().any(|n| n.addr().is_ipv6()), Capability::Ipv6);
        on(self.isolated, Capability::Isolate);
        need
    }
}

/// A network as it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Network {
    /// What was asked for.
    pub spec: NetworkSpec,
    /// The platform's own name for it: a bridge, a definition, a port group.
    pub id: String,
    /// How many workloads are attached.
    pub attachments: usize,
}

impl Network {
    /// A network of these parts.
    #[must_use]
    pub fn new(spec: NetworkSpec, id: impl Into<String>, attachments: usize) -> Self {
        Self { spec, id: id.into(), attachments }
    }
}

/// What [`Networking::create`] did.
#[derive(Debug, Clone, PartialEq)]
pub enum CreateNetworkOutcome {
    /// It was made.
    Created(Network),
    /// One of that name with the same spec was there.
    AlreadyExists(Network),
}

/// Asks for a workload to be attached to a network.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AttachNetworkRequest {
    /// The workload.
    pub workload: WorkloadName,
    /// How.
    pub attachment: AttachmentSpec,
}

impl AttachNetworkRequest {
    /// Attaches `workload` so.
    #[must_use]
    pub fn new(workload: WorkloadName, attachment: AttachmentSpec) -> Self {
        Self { workload, attachment }
    }
}

impl Requires for AttachNetworkRequest {
    fn requires(&self) -> Vec<Capability> {
        let mut need = self.attachment.requires();
        need.push(Capability::HotAttach);
        need
    }
}

/// Asks for a workload to be detached from a network.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DetachRequest {
    /// The workload.
    pub workload: WorkloadName,
    /// The network.
    pub network: NetworkName,
}

impl DetachRequest {
    /// Detaches `workload` from `network`.
    #[must_use]
    pub fn new(workload: WorkloadName, network: NetworkName) -> Self {
        Self { workload, network }
    }
}

impl Requires for DetachRequest {
    fn requires(&self) -> Vec<Capability> {
        vec![Capability::HotAttach]
    }
}

/// What a detach did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DetachOutcome {
    /// It was detached.
    Detached,
    /// It was not attached.
    AlreadyDetached,
}

/// Which attachments to list; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachmentFilter {
    /// Only of this workload.
    pub workload: Option<WorkloadName>,
    /// Only on this network.
    pub network: Option<NetworkName>,
}

impl AttachmentFilter {
    /// Only of this workload.
    #[must_use]
    pub fn with_workload(mut self, workload: WorkloadName) -> Self {
        self.workload = Some(workload);
        self
    }

    /// Only on this network.
    #[must_use]
    pub fn with_network(mut self, network: NetworkName) -> Self {
        self.network = Some(network);
        self
    }

    /// Whether `a` passes.
    #[must_use]
    pub fn matches(&self, a: &Attachment) -> bool {
        self.workload.as_ref().is_none_or(|w| *w == a.workload) && self.network.as_ref().is_none_or(|n| *n == a.network)
    }
}

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

/// A backend's networks and the attachments of its workloads.
///
/// Every change validates all, plans, applies, reads back, and else rolls back *including the step that
/// failed*.
#[async_trait]
pub trait Networking: fmt::Debug + Send + Sync + 'static {
    /// Makes a network. Twice in a row with the same spec: `AlreadyExists` as an outcome. On failure or
    /// cancellation nothing is left. Needs `network.networks` and what the spec's parts need.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one of that name with another spec; `Unsupported` names the
    /// kernel option or platform part that is missing; `NotFound` for an absent uplink.
    async fn create(&self, spec: NetworkSpec) -> Result<CreateNetworkOutcome>;

    /// The networks that POD made here, by name.
    ///
    /// # Errors
    /// As the platform says.
    async fn list(&self) -> Result<Vec<Network>>;

    /// Removes a network. A missing one: `AlreadyAbsent`.
    ///
    /// # Errors
    /// `Busy` while a workload is attached, naming it.
    async fn remove(&self, network: &NetworkName) -> Result<RemoveOutcome>;

    /// What would be done to make the intent true; changes nothing. Needs `network.plan`.
    ///
    /// # Errors
    /// Every mistake in the intent is found here: `InvalidInput`, `NotFound`, `Unsupported`.
    async fn plan(&self, intent: NetworkIntent) -> Result<NetworkPlan>;

    /// Carries out a plan as one: on failure or cancellation everything is as before. Needs
    /// `network.plan`.
    ///
    /// # Errors
    /// That of the step that failed, with what could not be undone, if anything, as context.
    async fn apply(&self, plan: NetworkPlan) -> Result<Applied>;

    /// Attaches a workload, running or not, and reads the attachment back from inside it. Twice in a
    /// row the same: the one there is. A workload that stops keeps its attachments; when it starts
    /// again they are there before its command. Needs `network.hot_attach` and what the parts need.
    ///
    /// # Errors
    /// `NotFound` for workload or network; `Conflict` when an address or interface name is taken, or
    /// when it is attached to that network in another way; `Exhausted` when no address is free.
    async fn attach(&self, request: AttachNetworkRequest) -> Result<Attachment>;

    /// Detaches a workload from a network. Not attached: `AlreadyDetached`. Needs
    /// `network.hot_attach`.
    ///
    /// # Errors
    /// `NotFound` for the workload.
    async fn detach(&self, request: DetachRequest) -> Result<DetachOutcome>;

    /// The attachments that pass the filter, by workload and interface.
    ///
    /// # Errors
    /// As the platform says.
    async fn attachments(&self, filter: AttachmentFilter) -> Result<Vec<Attachment>>;

    /// Cuts the workloads of a network off from each other, or joins them again; from then on
    /// [`list`](Self::list) gives the spec with `isolated` so. Needs `network.isolate`.
    ///
    /// # Errors
    /// `NotFound`. What can't be enforced is an error, or said in the report; never passed over.
    async fn isolate(&self, request: IsolateRequest) -> Result<PolicyReport>;

    /// Replaces the rules of a network. Needs `network.policy`.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` for a rule the platform can't express: then nothing is applied.
    async fn apply_policy(&self, policy: PolicySpec) -> Result<PolicyReport>;

    /// Reads networks and attachments back from the platform and from inside the workloads, and
    /// compares. Changes nothing. Needs `network.verify`.
    ///
    /// # Errors
    /// `NotFound` for the network asked for. Differences are findings, not errors.
    async fn verify(&self, request: VerifyRequest) -> Result<VerifyReport>;

    /// Asks from inside a workload whether addresses answer (ICMP echo, RFC 792 and RFC 4443); the
    /// outcomes come in the order of the targets. Needs `network.probe`, and no tool in the workload.
    ///
    /// # Errors
    /// `NotFound`; `WrongState` when the workload does not run.
    async fn probe(&self, request: ProbeRequest) -> Result<Vec<ProbeOutcome>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(subnet: &str) -> NetworkSpec {
        NetworkSpec::new(NetworkName::new("n").expect("name")).with_subnet(subnet.parse().expect("subnet"))
    }

    #[test]
    fn subnets_are_checked() {
        assert!(net("10.0.0.0/24").validate().is_ok());
        assert!(net("10.0.0.0/30").validate().is_ok());
        for bad in ["10.0.0.1/24", "10.0.0.0/31", "fd00::/127", "0.0.0.0/0", "224.0.0.0/8", "127.0.0.0/8"] {
            assert!(net(bad).validate().is_err(), "{bad}");
        }
        assert!(net("10.0.0.0/16").with_subnet("10.0.1.0/24".parse().expect("subnet")).validate().is_err());
    }

    #[test]
    fn network_broadcast_and_reserved_addresses_are_never_handed_out() {
        let n = net("10.0.0.0/29").with_reserved("10.0.0.1".parse().expect("ip"));
        for bad in ["10.0.0.0", "10.0.0.7", "10.0.0.1", "10.0.1.1"] {
            assert!(n.assignable(bad.parse().expect("ip")).is_err(), "{bad}");
        }
        let first = n.next_free(n.subnets[0], |_| false).expect("free");
        assert_eq!(first.to_string(), "10.0.0.2/29");
        assert_eq!(n.next_free(n.subnets[0], |_| true).map_err(|e| e.kind()), Err(ErrorKind::Exhausted));
    }
}

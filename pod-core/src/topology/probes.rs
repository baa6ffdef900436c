//! Which addresses are asked to fill the matrix, and what the answers prove.
//!
//! Where two workloads share a network and should reach each other, the target's address there is
//! asked by the interface there. Otherwise every address of the target is asked by every interface of
//! the prober: only so are two networks on one subnet told apart.

use super::deployment::{Deployment, Found};
use super::expect::{expectations, members};
use super::{Cell, Expect, Matrix, Measured, Topology};
use crate::{AttachMode, Attachment, Error, Finding, IfName, NetworkName, ProbeOutcome, ProbeTarget, WorkloadName};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A workload of the matrix.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: WorkloadName,
    pub(super) site: usize,
    /// Why it can't be asked.
    pub(super) absent: Option<String>,
    attachments: Vec<Attachment>,
}

/// A way out of a workload: an interface, or a trunk's sub-interface for one VLAN.
#[derive(Debug, Clone)]
struct Door {
    interface: IfName,
    /// The network it is attached to.
    network: NetworkName,
    /// The networks it may lead to, by VLAN.
    leads_to: BTreeSet<NetworkName>,
}

/// One address to ask from one workload.
#[derive(Debug)]
pub(super) struct Ask {
    /// Whose address it is; the prober's own for its control.
    pub(super) target: usize,
    ip: IpAddr,
    /// How it is asked; none for the prober's own address.
    by: Option<Door>,
    /// Others on that network who may answer in the target's place.
    others: Vec<WorkloadName>,
    /// Whether this very address must answer.
    must: bool,
    /// Whether silence is worth a second question.
    pub(super) again: bool,
}

/// The ways out that an attachment gives.
fn doors(topology: &Topology, attachment: &Attachment) -> impl Iterator<Item = Door> {
    let door = |interface: IfName, leads_to| Door { interface, network: attachment.network.clone(), leads_to };
    let doors: Vec<Door> = match &attachment.mode {
        AttachMode::Trunk(ids) => ids
            .iter()
            .filter_map(|id| {
                let interface = IfName::new(format!("{}.{id}", attachment.interface)).ok()?;
                let tagged = topology.networks.iter().filter(|n| n.spec.vlan == Some(*id));
                Some(door(interface, tagged.map(|n| n.spec.name.clone()).collect()))
            })
            .collect(),
        _ => vec![door(attachment.interface.clone(), BTreeSet::from([attachment.network.clone()]))],
    };
    doors.into_iter()
}

/// Whether an attachment has an address of the family of `ip`.
fn speaks(attachment: &Attachment, ip: IpAddr) -> bool {
    attachment.ips.iter().any(|own| own.addr().is_ipv4() == ip.is_ipv4())
}

impl Node {
    pub(super) fn is_on(&self, network: &NetworkName) -> bool {
        self.attachments.iter().any(|a| a.network == *network)
    }

    /// Whether an address is its own, on whatever network: then it answers itself.
    fn holds(&self, ip: IpAddr) -> bool {
        self.attachments.iter().flat_map(|a| &a.ips).any(|own| own.addr() == ip)
    }
}

impl Ask {
    pub(super) fn probe(&self) -> ProbeTarget {
        let target = ProbeTarget::new(self.ip);
        match &self.by {
            Some(door) => target.with_interface(door.interface.clone()),
            None => target,
        }
    }
}

/// All that is asked: the workloads, and of each what it asks.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) nodes: Vec<Node>,
    pub(super) asks: Vec<Vec<Ask>>,
    expected: BTreeMap<(usize, usize), Expect>,
}

impl Deployment {
    /// Lays out the questions. Interfaces and addresses are those there are, not those there should be.
    pub(super) fn survey(&self, found: &[Found]) -> Survey {
        let topology = &self.topology;
        let by_name = expectations(topology);
        let mut nodes = Vec::new();
        for name in members(topology) {
            let Some(home) = topology.workloads.iter().position(|w| w.spec.name == name).map(|w| self.homes[w]) else {
                continue;
            };
            let absent = match found[home].workloads.get(&name) {
                None => Some(format!("{name} does not exist")),
                Some(_) if !found[home].owns(&name, topology) => Some(format!("{name} is not the topology's")),
                Some(w) if !w.state.is_running() => Some(format!("{name} does not run: {}", w.state)),
                Some(_) => None,
            };
            let attachments = found[home].attachments_of(&name).cloned().collect();
            nodes.push(Node { name, site: home, absent, attachments });
        }
        let mut owners: BTreeMap<(&NetworkName, IpAddr), BTreeSet<&WorkloadName>> = BTreeMap::new();
        for a in found.iter().flat_map(|f| &f.attachments) {
            for ip in &a.ips {
                owners.entry((&a.network, ip.addr())).or_default().insert(&a.workload);
            }
        }
        let isolated: BTreeSet<&NetworkName> =
            topology.networks.iter().filter(|n| n.spec.isolated).map(|n| &n.spec.name).collect();
        let mut expected = BTreeMap::new();
        let mut asks = Vec::new();
        for (f, from) in nodes.iter().enumerate() {
            let mut list = Vec::new();
            if from.absent.is_none() {
                list.extend(from.attachments.iter().flat_map(|a| &a.ips).map(|ip| Ask {
                    target: f,
                    ip: ip.addr(),
                    by: None,
                    others: Vec::new(),
                    must: false,
                    again: true,
                }));
            }
            for (t, to) in nodes.iter().enumerate().filter(|(t, _)| *t != f) {
                let expect = by_name.get(&(from.name.clone(), to.name.clone())).copied().unwrap_or(Expect::Any);
                expected.insert((f, t), expect);
                if from.absent.is_some() || to.absent.is_some() {
                    continue;
                }
                let shared = |mine: &Attachment, theirs: &Attachment| mine.network == theirs.network;
                let share = from.attachments.iter().any(|m| to.attachments.iter().any(|t| shared(m, t)));
                for mine in &from.attachments {
                    for theirs in &to.attachments {
                        let here = shared(mine, theirs);
                        if share && expect != Expect::Blocked && !here {
                            continue;
                        }
                        let asked = doors(topology, mine)
                            .flat_map(|door| theirs.ips.iter().map(move |ip| (door.clone(), ip.addr())));
                        for (door, ip) in asked {
                            let mut others: BTreeSet<&WorkloadName> = door
                                .leads_to
                                .iter()
                                .flat_map(|n| owners.get(&(n, ip)).into_iter().flatten().copied())
                                .collect();
                            others.remove(&to.name);
                            if from.holds(ip) {
                                others.insert(&from.name);
                            }
                            let must = here
                                && expect == Expect::Reached
                                && mine.mode == AttachMode::Access
                                && !isolated.contains(&mine.network)
                                && speaks(mine, ip);
                            list.push(Ask {
                                target: t,
                                ip,
                                by: Some(door),
                                others: others.into_iter().cloned().collect(),
                                must,
                                again: must || (expect == Expect::Reached && !here),
                            });
                        }
                    }
                }
            }
            asks.push(list);
        }
        Survey { nodes, asks, expected }
    }
}

/// What the answers prove.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) matrix: Matrix,
    /// The addresses that are silent though their workload is reached by another.
    pub(super) findings: Vec<Finding>,
    /// The probers that reached no one and are believed all the same.
    pub(super) trusted: Vec<WorkloadName>,
}

impl Survey {
    /// Those whom the file gives no one to reach: no answer can prove that their questions go out.
    pub(super) fn lonely(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|f| {
            let others = (0..self.nodes.len()).filter(|t| t != f);
            others.map(|t| self.expected.get(&(*f, t))).all(|e| e != Some(&Expect::Reached))
        })
    }

    /// What the outcomes prove. `sound` are the workloads whose interfaces a backend read back and found as
    /// they should be.
    pub(super) fn judge(&self, outcomes: &[Vec<ProbeOutcome>], sound: &BTreeSet<usize>) -> Judgement {
        // Who answered where, no matter whom.
        let mut alive: BTreeSet<(usize, IpAddr)> = BTreeSet::new();
        // Whose questions go out: it reached another.
        let mut probing = vec![false; self.nodes.len()];
        for (f, (asks, outcomes)) in self.asks.iter().zip(outcomes).enumerate() {
            for (ask, _) in asks.iter().zip(outcomes).filter(|(a, o)| o.reached() && a.others.is_empty()) {
                alive.insert((ask.target, ask.ip));
                probing[f] |= ask.target != f;
            }
        }
        let mut trusted = Vec::new();
        for f in self.lonely().filter(|f| sound.contains(f)) {
            let mut own = self.asks[f].iter().filter(|a| a.target == f).peekable();
            if !probing[f] && own.peek().is_some() && own.all(|a| alive.contains(&(f, a.ip))) {
                probing[f] = true;
                trusted.push(self.nodes[f].name.clone());
            }
        }
        let mut cells = Vec::new();
        let mut findings = Vec::new();
        for f in 0..self.nodes.len() {
            let mut by_target: BTreeMap<usize, Vec<(&Ask, &ProbeOutcome)>> = BTreeMap::new();
            for (ask, outcome) in self.asks[f].iter().zip(&outcomes[f]) {
                by_target.entry(ask.target).or_default().push((ask, outcome));
            }
            for t in (0..self.nodes.len()).filter(|t| *t != f) {
                let expected = self.expected.get(&(f, t)).copied().unwrap_or(Expect::Any);
                let pairs = by_target.remove(&t).unwrap_or_default();
                let measured = self.measure(f, t, &pairs, probing[f], &alive);
                if matches!(measured, Measured::Reached(_)) {
                    findings.extend(
                        pairs.iter().filter(|(a, o)| a.must && !o.reached()).map(|(a, o)| self.silent(f, a, o)),
                    );
                }
                cells.push(Cell::new(self.nodes[f].name.clone(), self.nodes[t].name.clone(), expected, measured));
            }
        }
        let names = self.nodes.iter().map(|n| n.name.clone()).collect();
        Judgement { matrix: Matrix::new(names, cells), findings, trusted }
    }

    fn measure(
        &self,
        f: usize,
        t: usize,
        pairs: &[(&Ask, &ProbeOutcome)],
        probing: bool,
        alive: &BTreeSet<(usize, IpAddr)>,
    ) -> Measured {
        let (from, to) = (&self.nodes[f], &self.nodes[t]);
        if let Some(why) = from.absent.as_ref().or(to.absent.as_ref()) {
            return Measured::Unknown(why.clone());
        }
        let times = pairs.iter().filter(|(a, _)| a.others.is_empty()).filter_map(|(_, o)| match o {
            ProbeOutcome::Reached(after) => Some(*after),
            _ => None,
        });
        if let Some(after) = times.min() {
            return Measured::Reached(after);
        }
        if pairs.is_empty() {
            let who = if from.attachments.is_empty() {
                (&from.name, "interface to ask by")
            } else {
                (&to.name, "address to ask")
            };
            return Measured::Unknown(format!("{} has no {}", who.0, who.1));
        }
        if let Some((ask, _)) = pairs.iter().find(|(_, o)| o.reached()) {
            let network = ask.by.as_ref().map(|d| d.network.to_string()).unwrap_or_default();
            let others = ask.others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Measured::Unknown(format!(
                "the address {} also belongs to {others}, who may have answered on {network}",
                ask.ip
            ));
        }
        if let Some(why) = pairs.iter().find_map(|(_, o)| match o {
            ProbeOutcome::Unknown(why) => Some(why),
            _ => None,
        }) {
            return Measured::Unknown(why.clone());
        }
        if !probing {
            return Measured::Unknown(format!("no answer, and no control: {} reached no other workload", from.name));
        }
        if let Some((ask, _)) = pairs.iter().find(|(a, _)| !alive.contains(&(t, a.ip))) {
            return Measured::Unknown(format!(
                "no answer, and no control: {} did not answer at {} even itself",
                to.name, ask.ip
            ));
        }
        Measured::Blocked
    }

    fn silent(&self, f: usize, ask: &Ask, outcome: &ProbeOutcome) -> Finding {
        let found = match outcome {
            ProbeOutcome::Reached(_) | ProbeOutcome::NoAnswer => "none".to_owned(),
            ProbeOutcome::Refused(why) | ProbeOutcome::Unknown(why) => why.clone(),
        };
        let (network, interface) = match &ask.by {
            Some(door) => (Some(door.network.clone()), door.interface.to_string()),
            None => (None, "its own".to_owned()),
        };
        let place = format!("{interface}, asking {} of {}", ask.ip, self.nodes[ask.target].name);
        let mut finding = Finding::new(place, "an answer", found).with_workload(self.nodes[f].name.clone());
        finding.network = network;
        finding
    }
}

/// The outcomes of questions that could not be asked at all.
pub(super) fn unasked(asks: &[Ask], why: &Error) -> Vec<ProbeOutcome> {
    vec![ProbeOutcome::Unknown(why.to_string()); asks.len()]
}

/// The rounds in which is asked: how many workloads ask at once, and how long they wait. What is silent
/// and should not be, or could not be asked, is asked again with more time and less company.
pub(super) const ROUNDS: [(usize, Duration); 2] = [(64, Duration::from_secs(1)), (8, Duration::from_secs(2))];

//! The backend in memory, and its networking.

use super::connection::MemConnection;
use super::machine::Machine;
use super::network::Networks;
use super::plane::{Fate, Hosts};
use super::{MemBackend, Shared};
use crate::{
    Applied, AttachNetworkRequest, AttachRequest, Attachment, AttachmentFilter, Backend, BackendInfo, Capabilities,
    Connection, CreateNetworkOutcome, CreateRequest, DetachOutcome, DetachRequest, Enforcement, Error, ErrorKind,
    Event, EventKind, EventStream, EventsRequest, Filter, Image, IsolateRequest, Labels, LogStreamOf, LogsRequest,
    Network, NetworkIntent, NetworkName, NetworkPlan, NetworkSpec, Networking, PolicyReport, PolicySpec, ProbeOutcome,
    ProbeRequest, Process, RemoveOutcome, RemoveRequest, Result, StartOutcome, StartRequest, StopOutcome, StopRequest,
    VerifyReport, VerifyRequest, Workload, WorkloadName,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// What a backend holds.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) workloads: BTreeMap<WorkloadName, Arc<Machine>>,
    pub(super) networks: Networks,
    made: u64,
}

impl World {
    fn machine(&self, name: &WorkloadName) -> Result<Arc<Machine>> {
        self.workloads
            .get(name)
            .cloned()
            .ok_or_else(|| Error::not_found("workload", name.as_str()).with_hint("`pod ps -a` lists those there are"))
    }

    fn describe(&self, machine: &Machine) -> Workload {
        let mut workload = machine.workload();
        workload.attachments = self.networks.of_workload(&machine.name);
        workload
    }

    /// Makes a change of the networks: all of it, or none.
    fn change<T>(
        &mut self,
        act: impl FnOnce(&mut Networks, &BTreeMap<WorkloadName, Arc<Machine>>) -> Result<T>,
    ) -> Result<T> {
        let before = self.networks.clone();
        let done = act(&mut self.networks, &self.workloads).and_then(|done| {
            self.tell_workloads(&before)?;
            Ok(done)
        });
        if done.is_err() {
            self.networks = before;
        }
        self.show_ports();
        done
    }

    /// Shows every workload's interfaces inside it.
    pub(super) fn show_ports(&self) {
        for (name, machine) in &self.workloads {
            let mut ports: Vec<_> = self.networks.plane.ports.iter().filter(|p| p.workload == *name).cloned().collect();
            ports.sort_by(|a, b| a.interface.cmp(&b.interface));
            machine.set_ports(ports);
        }
    }

    /// Writes the files that depend on attachments, and tells watchers what changed.
    fn tell_workloads(&self, before: &Networks) -> Result<()> {
        for (name, machine) in &self.workloads {
            let (old, new) = (before.of_workload(name), self.networks.of_workload(name));
            if old == new {
                continue;
            }
            let servers = |list: &[Attachment]| -> String {
                list.iter().flat_map(|a| &a.dns).map(|ip| format!("nameserver {ip}\n")).collect()
            };
            if servers(&old) != servers(&new) {
                machine.write_etc(b"/etc/resolv.conf", &servers(&new))?;
            }
            let gone = old.iter().filter(|a| !new.contains(a)).map(|a| EventKind::Detached(a.network.clone()));
            let made = new.iter().filter(|a| !old.contains(a)).map(|a| EventKind::Attached(a.network.clone()));
            for kind in gone.chain(made) {
                // No one may be watching.
                let _ = machine.events.send(Event::now(name.clone(), kind));
            }
        }
        Ok(())
    }
}

impl Hosts for BTreeMap<WorkloadName, Arc<Machine>> {
    fn is_running(&self, workload: &WorkloadName) -> bool {
        self.get(workload).is_some_and(|m| m.is_running())
    }
    fn labels(&self, workload: &WorkloadName) -> Labels {
        self.get(workload).map(|m| m.workload().spec.labels).unwrap_or_default()
    }
}

impl Shared {
    fn make(&self, request: CreateRequest) -> Result<(Arc<Machine>, Workload)> {
        let mut spec = request.spec;
        spec.validate()?;
        let mut world = self.world();
        if world.workloads.contains_key(&spec.name) {
            return Err(Error::new(ErrorKind::AlreadyExists, "there is a workload of that name")
                .with_context("workload", spec.name.as_str())
                .with_hint("remove it first, or choose another name"));
        }
        let image = spec.image.get_or_insert_with(|| Image::Reference("mem".into())).clone();
        let image = self.image(&image)?;
        world.made += 1;
        let workload = Workload::new(spec.clone(), format!("mem-{}", world.made));
        let machine = Machine::new(workload, image, self.programs.clone(), self.events.clone(), self.disk())?;
        let machine = Arc::new(machine);
        world.workloads.insert(spec.name.clone(), machine.clone());
        // No one may be watching.
        let _ = self.events.send(Event::now(spec.name.clone(), EventKind::Created));
        let attached = world.change(|networks, _| {
            for attachment in &spec.attachments {
                let request = AttachNetworkRequest::new(spec.name.clone(), attachment.clone());
                if !networks.attach(&request)?.1 {
                    return Err(Error::invalid("the workload is attached to a network twice")
                        .with_context("network", attachment.network.as_str()));
                }
            }
            Ok(())
        });
        let begun = attached.and_then(|()| if request.start { machine.start().map(|_| ()) } else { Ok(()) });
        if let Err(e) = begun {
            self.forget(&mut world, &machine);
            return Err(e);
        }
        let workload = world.describe(&machine);
        Ok((machine, workload))
    }

    fn forget(&self, world: &mut World, machine: &Arc<Machine>) -> bool {
        if !machine.mark_removed() {
            return false;
        }
        world.networks.forget(&machine.name);
        world.workloads.remove(&machine.name);
        // No one may be watching.
        let _ = self.events.send(Event::now(machine.name.clone(), EventKind::Removed));
        true
    }

    fn machine(&self, name: &WorkloadName) -> Result<Arc<Machine>> {
        self.world().machine(name)
    }
}

/// Takes a creation back whose answer nobody waits for any more.
struct Undo(Option<(Arc<Shared>, Arc<Machine>)>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some((shared, machine)) = self.0.take() {
            tokio::spawn(async move {
                machine.kill_all_running().await;
                shared.forget(&mut shared.world(), &machine);
            });
        }
    }
}

#[async_trait]
impl Backend for MemBackend {
    fn info(&self) -> &BackendInfo {
        &self.shared.info
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn ping(&self) -> Result<()> {
        self.shared.travel().await;
        Ok(())
    }

    async fn create(&self, request: CreateRequest) -> Result<Workload> {
        self.shared.travel().await;
        let (machine, workload) = self.shared.make(request)?;
        let mut undo = Undo(Some((self.shared.clone(), machine)));
        self.shared.travel().await;
        undo.0 = None;
        Ok(workload)
    }

    async fn start(&self, request: StartRequest) -> Result<StartOutcome> {
        self.shared.travel().await;
        self.shared.machine(&request.name)?.start()
    }

    async fn stop(&self, request: StopRequest) -> Result<StopOutcome> {
        self.shared.travel().await;
        let machine = self.shared.machine(&request.name)?;
        machine.stop(&request).await
    }

    async fn remove(&self, request: RemoveRequest) -> Result<RemoveOutcome> {
        self.shared.travel().await;
        let Some(machine) = self.shared.world().workloads.get(&request.name).cloned() else {
            return Ok(RemoveOutcome::AlreadyAbsent);
        };
        if machine.is_running() {
            if !request.force {
                return Err(Error::new(ErrorKind::WrongState, "the workload runs")
                    .with_context("workload", request.name.as_str())
                    .with_hint("stop it first, or remove it by force"));
            }
            machine.kill_all().await;
        }
        let removed = self.shared.forget(&mut self.shared.world(), &machine);
        Ok(if removed { RemoveOutcome::Removed } else { RemoveOutcome::AlreadyAbsent })
    }

    async fn inspect(&self, name: &WorkloadName) -> Result<Workload> {
        self.shared.travel().await;
        let world = self.shared.world();
        let machine = world.machine(name)?;
        Ok(world.describe(&machine))
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Workload>> {
        self.shared.travel().await;
        let world = self.shared.world();
        Ok(world.workloads.values().map(|m| world.describe(m)).filter(|w| filter.matches(w)).collect())
    }

    async fn logs(&self, request: LogsRequest) -> Result<LogStreamOf> {
        self.shared.travel().await;
        Ok(self.shared.machine(&request.name)?.output.clone().read(&request))
    }

    async fn events(&self, request: EventsRequest) -> Result<EventStream> {
        self.shared.travel().await;
        let receiver = self.shared.events.subscribe();
        let state = (receiver, request.workload);
        Ok(Box::pin(futures_util::stream::unfold(state, |(mut receiver, only)| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) if only.as_ref().is_none_or(|w| *w == event.workload) => {
                        return Some((Ok(event), (receiver, only)));
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(n)) => {
                        let e = Error::new(
                            ErrorKind::Exhausted,
                            format!("{n} events were missed: they came faster than they were read"),
                        );
                        return Some((Err(e.with_operation("events")), (receiver, only)));
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        })))
    }

    async fn attach(&self, request: AttachRequest) -> Result<Process> {
        self.shared.travel().await;
        self.shared.machine(&request.name)?.attach(&request)
    }

    async fn connect(&self, name: &WorkloadName) -> Result<Arc<dyn Connection>> {
        self.shared.travel().await;
        Ok(Arc::new(MemConnection {
            machine: self.shared.machine(name)?,
            shared: self.shared.clone(),
            capabilities: self.capabilities,
        }))
    }

    fn networking(&self) -> Option<Arc<dyn Networking>> {
        Some(Arc::new(MemNetworking(self.shared.clone())))
    }
}

/// The networks of a backend in memory.
#[derive(Debug)]
struct MemNetworking(Arc<Shared>);

#[async_trait]
impl Networking for MemNetworking {
    async fn create(&self, spec: NetworkSpec) -> Result<CreateNetworkOutcome> {
        self.0.travel().await;
        self.0.world().change(|n, _| n.create(spec))
    }

    async fn list(&self) -> Result<Vec<Network>> {
        self.0.travel().await;
        Ok(self.0.world().networks.list())
    }

    async fn remove(&self, network: &NetworkName) -> Result<RemoveOutcome> {
        self.0.travel().await;
        let removed = self.0.world().change(|n, _| n.remove(network))?;
        Ok(if removed { RemoveOutcome::Removed } else { RemoveOutcome::AlreadyAbsent })
    }

    async fn plan(&self, intent: NetworkIntent) -> Result<NetworkPlan> {
        self.0.travel().await;
        let world = self.0.world();
        world.networks.plan(&intent, |w| world.workloads.contains_key(w))
    }

    async fn apply(&self, plan: NetworkPlan) -> Result<Applied> {
        self.0.travel().await;
        self.0.world().change(|networks, workloads| {
            let mut made = Vec::new();
            for (i, step) in plan.steps.iter().enumerate() {
                let done = networks.step(step, |w| workloads.contains_key(w));
                made.extend(
                    done.map_err(|e| e.with_context("step", format!("{} of {}: {step}", i + 1, plan.steps.len())))?,
                );
            }
            Ok(Applied::new(plan.steps.len(), made))
        })
    }

    async fn attach(&self, request: AttachNetworkRequest) -> Result<Attachment> {
        self.0.travel().await;
        let mut world = self.0.world();
        world.machine(&request.workload)?;
        world.change(|n, _| n.attach(&request).map(|(a, _)| a))
    }

    async fn detach(&self, request: DetachRequest) -> Result<DetachOutcome> {
        self.0.travel().await;
        let mut world = self.0.world();
        world.machine(&request.workload)?;
        let was = world.change(|n, _| Ok(n.detach(&request.workload, &request.network)))?;
        Ok(if was.is_some() { DetachOutcome::Detached } else { DetachOutcome::AlreadyDetached })
    }

    async fn attachments(&self, filter: AttachmentFilter) -> Result<Vec<Attachment>> {
        self.0.travel().await;
        Ok(self.0.world().networks.attachments.values().filter(|a| filter.matches(a)).cloned().collect())
    }

    async fn isolate(&self, request: IsolateRequest) -> Result<PolicyReport> {
        self.0.travel().await;
        let mut world = self.0.world();
        let networks = &mut world.networks;
        networks.record(&request.network)?;
        if let Some(record) = networks.records.get_mut(&request.network) {
            record.spec.isolated = request.isolated;
        }
        if let Some(segment) = networks.plane.segments.get_mut(&request.network) {
            segment.isolated = request.isolated;
        }
        let acts = networks.plane.segments.get(&request.network).is_some_and(|s| s.isolated == request.isolated);
        let word = if request.isolated { "isolated" } else { "not isolated" };
        Ok(report(acts, format!("the simulated segment was read back: it is {word}")))
    }

    async fn apply_policy(&self, policy: PolicySpec) -> Result<PolicyReport> {
        self.0.travel().await;
        let mut world = self.0.world();
        let networks = &mut world.networks;
        networks.record(&policy.network)?;
        if let Some(record) = networks.records.get_mut(&policy.network) {
            record.policy = Some(policy.clone());
        }
        if let Some(segment) = networks.plane.segments.get_mut(&policy.network) {
            segment.policy = Some(policy.clone());
        }
        let acts = networks.plane.segments.get(&policy.network).is_some_and(|s| s.policy.as_ref() == Some(&policy));
        Ok(report(acts, format!("the simulated segment was read back: it holds {} rules", policy.rules.len())))
    }

    async fn verify(&self, request: VerifyRequest) -> Result<VerifyReport> {
        self.0.travel().await;
        self.0.world().networks.verify(request.network.as_ref())
    }

    async fn probe(&self, request: ProbeRequest) -> Result<Vec<ProbeOutcome>> {
        self.0.travel().await;
        let begun = std::time::Instant::now();
        let world = self.0.world();
        let machine = world.machine(&request.workload)?;
        if !machine.is_running() {
            return Err(Error::new(ErrorKind::WrongState, "the workload does not run")
                .with_context("workload", request.workload.as_str())
                .with_hint("`pod start` starts it"));
        }
        let plane = &world.networks.plane;
        let probe =
            |t: &crate::ProbeTarget| match plane.probe(&world.workloads, &request.workload, t.ip, t.interface.as_ref())
            {
                Fate::Answered => ProbeOutcome::Reached(begun.elapsed()),
                Fate::Lost => ProbeOutcome::NoAnswer,
                Fate::NoRoute => ProbeOutcome::Refused("Network is unreachable".into()),
            };
        Ok(request.targets.iter().map(probe).collect())
    }
}

fn report(acts: bool, evidence: String) -> PolicyReport {
    PolicyReport::new(if acts { Enforcement::Enforced } else { Enforcement::NotEnforced }, vec![evidence])
}

//! Carries out a plan.

use super::Progress;
use super::deployment::Deployment;
use super::hosts;
use super::plan::{Plan, Step};
use super::run::{OnFailure, Task, and_hint, gather, run};
use crate::{CreateRequest, Error, IsolateRequest, RemoveRequest, Result, StartRequest, WorkloadName};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What [`up`](Deployment::up) did.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct UpReport {
    /// What was changed; empty when all was as it should be.
    pub plan: Plan,
    /// How long it took; in JSON `seconds`.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: serde::Serializer>(d: &Duration, s: S) -> std::result::Result<S::Ok, S::Error> {
    s.serialize_f64(d.as_secs_f64())
}

/// Whether a step belongs to a phase.
type Belongs = fn(&Step) -> bool;

/// The phases of an `up`, in order: what goes makes room for what comes.
const PHASES: [(&str, Belongs); 9] = [
    ("remove workloads", |s| matches!(s, Step::RemoveWorkload(..))),
    ("detach", |s| matches!(s, Step::Detach(..))),
    ("remove networks", |s| matches!(s, Step::RemoveNetwork(..))),
    ("create networks", |s| matches!(s, Step::CreateNetwork(..))),
    ("isolate networks", |s| matches!(s, Step::Isolate(..))),
    ("start workloads", |s| matches!(s, Step::CreateWorkload(..))),
    ("attach", |s| matches!(s, Step::Attach(..))),
    ("start stopped workloads", |s| matches!(s, Step::Start(..))),
    ("tell names", |s| matches!(s, Step::Names(..))),
];

impl Deployment {
    /// Makes the topology true: changes what [`plan`](Self::plan) says and nothing else, `jobs` things
    /// at once (16 is a good number). Workloads are made, attached and started in one step each.
    ///
    /// Twice in a row changes nothing. When it fails, or the future is dropped, what was made stays:
    /// the next `up` goes on from there, [`down`](Self::down) takes it down.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), before anything is changed; then those of the backends, with the
    /// workload's or network's place in the file.
    pub async fn up(&self, progress: &dyn Progress, jobs: usize) -> Result<UpReport> {
        let begun = Instant::now();
        let plan = self.plan().await?;
        for (name, belongs) in PHASES {
            let tasks = self.tasks(plan.steps().filter(|s| belongs(s)));
            let errors = run(name, tasks, jobs, OnFailure::Stop, progress).await;
            gather(errors).map_err(|e| {
                and_hint(e.with_context("topology", self.topology.name.as_str()), &self.resume_hint())
                    .with_operation("up")
            })?;
        }
        Ok(UpReport { plan, elapsed: begun.elapsed() })
    }

    /// The tasks of one phase. Steps of one workload follow each other, so that its interfaces come in
    /// the order of the file.
    fn tasks<'a>(&'a self, steps: impl Iterator<Item = &'a Step>) -> Vec<Task<'a>> {
        let mut tasks = Vec::new();
        let mut chains: BTreeMap<(usize, &WorkloadName), Vec<&Step>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Attach(s, request) => chains.entry((*s, &request.workload)).or_default().push(step),
                Step::Detach(s, request) => chains.entry((*s, &request.workload)).or_default().push(step),
                _ => tasks.push(Task { what: what(step), work: Box::pin(self.carry_out(step)) }),
            }
        }
        for ((_, workload), steps) in chains {
            let work = async move {
                for step in steps {
                    self.carry_out(step).await?;
                }
                Ok(())
            };
            tasks.push(Task { what: format!("workload {workload}"), work: Box::pin(work) });
        }
        tasks
    }

    async fn carry_out(&self, step: &Step) -> Result<()> {
        let mark = |e: Error| match step {
            Step::RemoveWorkload(_, n) | Step::Start(_, n) | Step::Names(_, n, _) => self.mark_workload(e, n),
            Step::CreateWorkload(_, spec) => self.mark_workload(e, &spec.name),
            Step::Attach(_, r) => self.mark_workload(e, &r.workload),
            Step::Detach(_, r) => self.mark_workload(e, &r.workload),
            Step::RemoveNetwork(_, n) | Step::Isolate(_, n, _) => self.mark_network(e, n),
            Step::CreateNetwork(_, spec) => self.mark_network(e, &spec.name),
        };
        self.call(step).await.map_err(mark)
    }

    async fn call(&self, step: &Step) -> Result<()> {
        match step {
            Step::RemoveWorkload(s, name) => {
                self.sites[*s].backend.remove(RemoveRequest::new(name.clone()).with_force(true)).await?;
            }
            Step::Detach(s, request) => {
                self.sites[*s].networking()?.detach(request.clone()).await?;
            }
            Step::RemoveNetwork(s, name) => {
                self.sites[*s].networking()?.remove(name).await?;
            }
            Step::CreateNetwork(s, spec) => {
                self.sites[*s].networking()?.create(spec.clone()).await?;
            }
            Step::Isolate(s, name, isolated) => {
                self.sites[*s].networking()?.isolate(IsolateRequest::new(name.clone(), *isolated)).await?;
            }
            Step::CreateWorkload(s, spec) => {
                self.sites[*s].backend.create(CreateRequest::new(spec.as_ref().clone()).with_start()).await?;
            }
            Step::Attach(s, request) => {
                self.sites[*s].networking()?.attach(request.clone()).await?;
            }
            Step::Start(s, name) => {
                self.sites[*s].backend.start(StartRequest::new(name.clone())).await?;
            }
            Step::Names(s, name, change) => {
                let backend = self.sites[*s].backend.as_ref();
                if hosts::readable(backend.capabilities()) {
                    hosts::update(backend, name, &change.made, &change.wanted).await?;
                }
            }
        }
        Ok(())
    }

    /// Adds which workload an error is about, and its place, unless the error says so already.
    fn mark_workload(&self, error: Error, name: &WorkloadName) -> Error {
        let error = name_it(error, "workload", name.as_str());
        match self.topology.workload(name) {
            Some(workload) => workload.place.mark(error),
            None => error,
        }
    }

    fn mark_network(&self, error: Error, name: &crate::NetworkName) -> Error {
        let error = name_it(error, "network", name.as_str());
        match self.topology.network(name) {
            Some(network) => network.place.mark(error),
            None => error,
        }
    }
}

pub(super) fn name_it(error: Error, key: &'static str, name: &str) -> Error {
    if error.context().iter().any(|(k, v)| *k == key && v == name) { error } else { error.with_context(key, name) }
}

fn what(step: &Step) -> String {
    match step {
        Step::RemoveWorkload(_, n) | Step::Start(_, n) | Step::Names(_, n, _) => format!("workload {n}"),
        Step::CreateWorkload(_, spec) => format!("workload {}", spec.name),
        Step::RemoveNetwork(_, n) | Step::Isolate(_, n, _) => format!("network {n}"),
        Step::CreateNetwork(_, spec) => format!("network {}", spec.name),
        Step::Attach(_, r) => format!("workload {}", r.workload),
        Step::Detach(_, r) => format!("workload {}", r.workload),
    }
}

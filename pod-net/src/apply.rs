//! Plans carried out as one: on failure everything is as before.

use crate::attach::Attached;
use crate::host::{HostNet, Inner, Sandbox};
use crate::store::AttachmentRecord;
use pod_core::{
    Applied, Attachment, CreateNetworkOutcome, Error, ErrorKind, NetworkName, NetworkPlan, NetworkSpec, NetworkStep,
    RemoveOutcome, Result, ResultExt, WorkloadName,
};
use std::collections::BTreeMap;

impl HostNet {
    /// Carries out a plan as one: on failure or cancellation everything is as before. `sandboxes` are
    /// those of the workloads it names.
    ///
    /// # Errors
    /// That of the step that failed, with what could not be undone, if anything, as context; `Conflict`
    /// when things have changed since the plan was made; `NotFound` for a workload without a sandbox.
    pub async fn apply(&self, sandboxes: &[Sandbox], plan: &NetworkPlan) -> Result<Applied> {
        let (sandboxes, plan) = (sandboxes.to_vec(), plan.clone());
        let carried_out = self
            .blocking_or_undo(
                move |host| host.apply(sandboxes, &plan).operation("apply the plan"),
                |host, done: Progress| done.undo(host),
            )
            .await?;
        Ok(Applied::new(carried_out.undo.len(), carried_out.made))
    }
}

/// How one step is undone.
#[derive(Debug)]
enum Undo {
    Nothing,
    RemoveNetwork(NetworkName),
    CreateNetwork(NetworkSpec),
    Detach(WorkloadName, NetworkName),
    Attach(Box<AttachmentRecord>),
}

/// What was carried out so far.
#[derive(Debug)]
struct Progress {
    sandboxes: BTreeMap<WorkloadName, Sandbox>,
    undo: Vec<Undo>,
    made: Vec<Attachment>,
}

impl Inner {
    fn apply(&self, sandboxes: Vec<Sandbox>, plan: &NetworkPlan) -> Result<Progress> {
        let sandboxes = sandboxes.into_iter().map(|s| (s.workload.clone(), s)).collect();
        let mut progress = Progress { sandboxes, undo: Vec::new(), made: Vec::new() };
        progress.check(plan)?;
        for (i, step) in plan.steps.iter().enumerate() {
            if let Err(e) = progress.step(self, step) {
                let e = e.with_context("step", format!("{} of {}: {step}", i + 1, plan.steps.len()));
                return Err(match progress.undo(self) {
                    Ok(()) => e,
                    Err(left) => e.with_context("not undone", left.to_string()),
                });
            }
        }
        Ok(progress)
    }
}

impl Progress {
    fn sandbox(&self, workload: &WorkloadName) -> Result<&Sandbox> {
        self.sandboxes.get(workload).ok_or_else(|| Error::not_found("workload", workload.as_str()))
    }

    /// Checks that every workload to attach has a sandbox, before anything is changed.
    fn check(&self, plan: &NetworkPlan) -> Result<()> {
        for step in &plan.steps {
            if let NetworkStep::Attach(request) = step {
                self.sandbox(&request.workload)?.open()?;
            }
        }
        Ok(())
    }

    fn step(&mut self, host: &Inner, step: &NetworkStep) -> Result<()> {
        let undo = match step {
            NetworkStep::CreateNetwork(spec) => match host.create_network(spec)? {
                CreateNetworkOutcome::Created(_) => Undo::RemoveNetwork(spec.name.clone()),
                CreateNetworkOutcome::AlreadyExists(_) => Undo::Nothing,
            },
            NetworkStep::RemoveNetwork(spec) => {
                if let Some(is) = host.store.network(&spec.name)?
                    && is.spec != *spec
                {
                    return Err(changed("network", spec.name.as_str()));
                }
                match host.remove_network(&spec.name)? {
                    RemoveOutcome::Removed => Undo::CreateNetwork(spec.clone()),
                    RemoveOutcome::AlreadyAbsent => Undo::Nothing,
                }
            }
            NetworkStep::Attach(request) => {
                let sandbox = self.sandbox(&request.workload)?.clone();
                match host.attach(&sandbox, &request.attachment)? {
                    Attached::New(a) => {
                        let undo = Undo::Detach(a.workload.clone(), a.network.clone());
                        self.made.push(a);
                        undo
                    }
                    Attached::Before(a) => {
                        self.made.push(a);
                        Undo::Nothing
                    }
                }
            }
            NetworkStep::Detach(attachment) => {
                match host.store.attachment(&attachment.network, &attachment.workload)? {
                    None => Undo::Nothing,
                    Some(record) if record.attachment != *attachment => {
                        return Err(changed("workload", attachment.workload.as_str()));
                    }
                    Some(record) => {
                        host.detach(&attachment.workload, &attachment.network)?;
                        Undo::Attach(Box::new(record))
                    }
                }
            }
            other => {
                return Err(Error::unsupported("this host's networking has no such step")
                    .with_context("step", other.to_string()));
            }
        };
        self.undo.push(undo);
        Ok(())
    }

    /// Undoes all, the last first; goes on past what fails and tells of it.
    fn undo(self, host: &Inner) -> Result<()> {
        let mut left = Vec::new();
        for undo in self.undo.iter().rev() {
            let undone = match undo {
                Undo::Nothing => Ok(()),
                Undo::RemoveNetwork(name) => host.remove_network(name).map(|_| ()),
                Undo::CreateNetwork(spec) => host.create_network(spec).map(|_| ()),
                Undo::Detach(workload, network) => host.detach(workload, network).map(|_| ()),
                Undo::Attach(record) => host.put_back(record, &self.sandboxes),
            };
            if let Err(e) = undone {
                left.push(e.to_string());
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Partial, left.join("; ")))
    }
}

impl Inner {
    /// Attaches a workload as it was before, to the letter.
    fn put_back(&self, record: &AttachmentRecord, sandboxes: &BTreeMap<WorkloadName, Sandbox>) -> Result<()> {
        let a = &record.attachment;
        let _workload = self.store.lock_workload(&a.workload)?;
        {
            let _lock = self.store.lock()?;
            self.network(&a.network)?;
            for ip in &a.ips {
                if let Some(holder) = self.store.holder_of_ip(&a.network, ip.addr())? {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("the address {} was taken meanwhile", ip.addr()),
                    )
                    .with_context("held by", holder.as_str()));
                }
            }
            self.store.put_attachment(record)?;
            // one that does not run is restored when it does
            self.store.settle(record)?;
        }
        match sandboxes.get(&a.workload) {
            Some(sandbox) => self.restore_locked(sandbox).map(|_| ()),
            None => Ok(()),
        }
    }
}

fn changed(what: &'static str, name: &str) -> Error {
    Error::new(ErrorKind::Conflict, "it was changed since the plan was made")
        .with_context(what, name)
        .with_hint("plan again")
}

//! Commands that are started again.

use super::logs;
use crate::case::{cases, ensure, ensure_eq};
use crate::{Failure, Lab, Outcome};
use pod_core::{ExitStatus, LogStream, LogsRequest, RestartPolicy, State, StopOutcome, StopRequest, WorkloadName};
use std::num::NonZeroU32;

cases! { "restart":
    what_fails_is_started_again_so_many_times [Create, Restart, Logs, ExitStatusKept];
    what_succeeds_is_left [Create, Restart, Logs, ExitStatusKept];
    one_that_was_stopped_stays_so [Create, Restart, StartStop];
}

/// How often a command that says so has run.
async fn runs(lab: &Lab, name: &WorkloadName) -> Result<usize, Failure> {
    let records = logs::read(lab, LogsRequest::new(name.clone())).await?;
    Ok(logs::text(&records, LogStream::Stdout).lines().filter(|line| *line == "run").count())
}

async fn what_fails_is_started_again_so_many_times(lab: &Lab) -> Outcome {
    let policy = RestartPolicy::OnFailure(NonZeroU32::new(2));
    let name = lab.start(lab.script("echo run; exit 3")?.with_restart(policy)).await?.spec.name;
    lab.eventually(20_000, "it was started again twice and has ended for good", || async {
        let found = lab.backend().inspect(&name).await?;
        Ok(found.state == State::Exited(ExitStatus::Exited(3)) && found.restarts == 2 && runs(lab, &name).await? == 3)
    })
    .await?;
    ensure_eq!(lab.backend().inspect(&name).await?.spec.restart, policy, "the policy");
    Ok(())
}

async fn what_succeeds_is_left(lab: &Lab) -> Outcome {
    let policy = RestartPolicy::OnFailure(None);
    let name = lab.start(lab.script("echo run")?.with_restart(policy)).await?.spec.name;
    ensure_eq!(lab.ended(&name).await?, ExitStatus::Exited(0), "the status");
    lab.eventually(5000, "it has run once", || async { Ok(runs(lab, &name).await? == 1) }).await?;
    ensure_eq!(lab.backend().inspect(&name).await?.restarts, 0, "how often it was started again");
    Ok(())
}

async fn one_that_was_stopped_stays_so(lab: &Lab) -> Outcome {
    let spec = lab.script("trap 'exit 0' TERM; while :; do sleep 0.05; done")?;
    for policy in [RestartPolicy::Always, RestartPolicy::UnlessStopped] {
        let mut spec = spec.clone().with_restart(policy);
        spec.name = lab.name()?;
        let name = lab.start(spec).await?.spec.name;
        let outcome = lab.backend().stop(StopRequest::new(name.clone()).with_grace(lab.ms(5000))).await?;
        ensure!(matches!(outcome, StopOutcome::Stopped | StopOutcome::Killed), "the outcome is {outcome:?}");
        let found = lab.backend().inspect(&name).await?;
        ensure!(matches!(found.state, State::Exited(_)), "with {policy} it is {} after the stop", found.state);
        ensure_eq!(found.restarts, 0, "how often it was started again");
    }
    Ok(())
}

//! Workloads: made, started, stopped, watched.

use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use futures_util::StreamExt;
use pod_core::{
    BackendExt, Capability, CreateRequest, ErrorKind, EventKind, EventsRequest, ExitStatus, Filter, StartOutcome,
    StartRequest, State, StopOutcome, StopRequest,
};
use std::time::Duration;

cases! { "lifecycle":
    create_makes_one_that_does_not_run [Create, StartStop];
    create_can_start_it [Create];
    start_runs_it [Create, StartStop];
    start_twice_is_already_running [Create, StartStop];
    stop_asks_with_sigterm [Create, StartStop, ExitStatusKept];
    stop_asks_with_the_signal_given [Create, StartStop, ExitStatusKept];
    stop_kills_when_the_grace_is_over [Create, StartStop];
    stop_without_grace_kills_at_once [Create, StartStop];
    stop_twice_is_already_stopped [Create, StartStop];
    an_exit_code_is_kept [Create, ExitStatusKept];
    a_stopped_one_starts_again [Create, StartStop];
    a_failed_start_leaves_the_shells_code [Create, StartStop, StartFailureKept];
    a_failed_create_leaves_nothing [Create];
    keep_alive_outlives_the_command [Create, KeepAlive, Exec];
    events_come_in_order [Create, Events];
    wait_exit_gives_the_status [Create, Events];
    eight_at_once [Create];
    of_two_at_once_one_is_made [Create];
}

async fn create_makes_one_that_does_not_run(lab: &Lab) -> Outcome {
    let spec = lab.spec()?;
    let before = jiff::Timestamp::now();
    let made = lab.backend().create(CreateRequest::new(spec.clone())).await?;
    let found = lab.backend().inspect(&spec.name).await?;
    for w in [&made, &found] {
        ensure_eq!(w.name(), &spec.name, "the name");
        ensure_eq!(w.state, State::Created, "the state");
        ensure!(w.started.is_none(), "one that was never started has a start time: {:?}", w.started);
        ensure!(!w.id.is_empty(), "it has no id");
        // Far clocks may differ a little, and some platforms count whole seconds.
        let age = before.duration_since(w.created).as_secs().abs();
        ensure!(age <= 5, "created at {}, but it is {before}", w.created);
    }
    ensure_eq!(made.id, found.id, "the id");
    let running = lab.backend().list(Filter::all().with_running(true)).await?;
    ensure!(!running.iter().any(|w| *w.name() == spec.name), "it is listed as running");
    Ok(())
}

async fn create_can_start_it(lab: &Lab) -> Outcome {
    let made = lab.start(lab.spec()?).await?;
    ensure!(made.state.is_running(), "after create with start it is {}", made.state);
    ensure!(lab.backend().inspect(made.name()).await?.state.is_running(), "it does not run");
    Ok(())
}

async fn start_runs_it(lab: &Lab) -> Outcome {
    let made = lab.backend().create(CreateRequest::new(lab.spec()?)).await?;
    let outcome = lab.backend().start(StartRequest::new(made.name().clone())).await?;
    ensure_eq!(outcome, StartOutcome::Started, "the outcome");
    let found = lab.backend().inspect(made.name()).await?;
    ensure_eq!(found.state, State::Running { command: None }, "the state");
    ensure!(found.started.is_some(), "it has no start time");
    Ok(())
}

async fn start_twice_is_already_running(lab: &Lab) -> Outcome {
    let made = lab.start(lab.spec()?).await?;
    let outcome = lab.backend().start(StartRequest::new(made.name().clone())).await?;
    ensure_eq!(outcome, StartOutcome::AlreadyRunning, "the second start");
    let found = lab.backend().inspect(made.name()).await?;
    ensure_eq!(found.started, made.started, "the start time after the second start");
    Ok(())
}

/// Starts a workload that says on its first line that its trap is set.
async fn trapping(lab: &Lab, trap: &str) -> Result<pod_core::WorkloadName, Failure> {
    let script = format!("trap '{trap}; : >/tmp/ready; while :; do sleep 0.02; done");
    let name = lab.start(lab.script(&script)?).await?.spec.name;
    if lab.has(Capability::CopyOut) {
        let connection = lab.backend().connect(&name).await?;
        lab.eventually(5000, "the trap is set", || async {
            Ok(connection.stat(pod_core::copy::StatRequest::new("/tmp/ready")).await?.is_some())
        })
        .await?;
    } else {
        tokio::time::sleep(lab.ms(300)).await;
    }
    Ok(name)
}

async fn stop_asks_with_sigterm(lab: &Lab) -> Outcome {
    let name = trapping(lab, "exit 3' TERM").await?;
    let request = StopRequest::new(name.clone()).with_grace(lab.ms(10_000));
    let outcome = lab.within(8000, "a stop that is obeyed", lab.backend().stop(request)).await??;
    ensure_eq!(outcome, StopOutcome::Stopped, "the outcome");
    let found = lab.backend().inspect(&name).await?;
    ensure_eq!(found.state, State::Exited(ExitStatus::Exited(3)), "the state");
    ensure!(found.finished >= found.started, "finished {:?}, started {:?}", found.finished, found.started);
    Ok(())
}

async fn stop_asks_with_the_signal_given(lab: &Lab) -> Outcome {
    let name = trapping(lab, "exit 5' USR1; trap '' TERM").await?;
    let request = StopRequest::new(name.clone()).with_grace(lab.ms(10_000)).with_signal(pod_core::Signal::USR1);
    let outcome = lab.within(8000, "a stop that is obeyed", lab.backend().stop(request)).await??;
    ensure_eq!(outcome, StopOutcome::Stopped, "the outcome");
    let found = lab.backend().inspect(&name).await?;
    ensure_eq!(found.state, State::Exited(ExitStatus::Exited(5)), "the state");
    Ok(())
}

/// What became of a command that SIGKILL ended, as far as the backend can tell.
fn was_killed(state: &State) -> bool {
    matches!(state, State::Exited(ExitStatus::Signaled(9) | ExitStatus::Exited(137)))
}

async fn stop_kills_when_the_grace_is_over(lab: &Lab) -> Outcome {
    let name = trapping(lab, "' TERM").await?;
    let grace = lab.ms(300);
    let begun = tokio::time::Instant::now();
    let request = StopRequest::new(name.clone()).with_grace(grace);
    let outcome = lab.within(8000, "the kill after the grace", lab.backend().stop(request)).await??;
    ensure_eq!(outcome, StopOutcome::Killed, "the outcome");
    ensure!(begun.elapsed() >= grace, "it was killed after {:?}, before its grace was over", begun.elapsed());
    let found = lab.backend().inspect(&name).await?;
    ensure!(was_killed(&found.state), "the state: {}", found.state);
    Ok(())
}

async fn stop_without_grace_kills_at_once(lab: &Lab) -> Outcome {
    let name = trapping(lab, "exit 3' TERM").await?;
    let request = StopRequest::new(name.clone()).with_grace(Duration::ZERO);
    let outcome = lab.within(5000, "a kill", lab.backend().stop(request)).await??;
    ensure_eq!(outcome, StopOutcome::Killed, "the outcome");
    let found = lab.backend().inspect(&name).await?;
    ensure!(was_killed(&found.state), "the state: {}", found.state);
    Ok(())
}

async fn stop_twice_is_already_stopped(lab: &Lab) -> Outcome {
    let name = lab.start(lab.spec()?).await?.spec.name;
    let stop = || StopRequest::new(name.clone()).with_grace(Duration::ZERO);
    lab.backend().stop(stop()).await?;
    ensure_eq!(lab.backend().stop(stop()).await?, StopOutcome::AlreadyStopped, "the second stop");
    let created = lab.backend().create(CreateRequest::new(lab.spec()?)).await?.spec.name;
    let outcome = lab.backend().stop(StopRequest::new(created)).await?;
    ensure_eq!(outcome, StopOutcome::AlreadyStopped, "the stop of one that was never started");
    Ok(())
}

async fn an_exit_code_is_kept(lab: &Lab) -> Outcome {
    for code in [0, 7, 255] {
        let name = lab.start(lab.script(&format!("exit {code}"))?).await?.spec.name;
        ensure_eq!(lab.ended(&name).await?, ExitStatus::Exited(code), "the status");
        for _ in 0..2 {
            let found = lab.backend().inspect(&name).await?;
            ensure_eq!(found.state, State::Exited(ExitStatus::Exited(code)), "the state, later");
        }
    }
    Ok(())
}

async fn a_stopped_one_starts_again(lab: &Lab) -> Outcome {
    // It counts its starts in a file, which stays, and ends with the count.
    let script = "echo x >>/tmp/starts; exit $(wc -l </tmp/starts)";
    let made = lab.backend().create(CreateRequest::new(lab.script(script)?)).await?;
    for n in 1..=3 {
        let outcome = lab.backend().start(StartRequest::new(made.name().clone())).await?;
        ensure_eq!(outcome, StartOutcome::Started, "start {n}");
        let status = lab.ended(made.name()).await?;
        ensure_eq!(status, ExitStatus::Exited(n), "the status after start {n}");
    }
    ensure_eq!(lab.backend().inspect(made.name()).await?.id, made.id, "the id");
    Ok(())
}

async fn a_failed_start_leaves_the_shells_code(lab: &Lab) -> Outcome {
    for (program, code) in [("no-such-program-anywhere", 127), ("/etc/passwd", 126)] {
        let spec = lab.spec()?.with_command([program]);
        let name = lab.backend().create(CreateRequest::new(spec)).await?.spec.name;
        let started = lab.backend().start(StartRequest::new(name.clone())).await;
        let e = expect_error(started, ErrorKind::CommandFailed, "the start")?;
        ensure_eq!(e.exit_code(), Some(code), "the exit code of the error for {program}");
        let found = lab.backend().inspect(&name).await?;
        ensure_eq!(found.state, State::Exited(ExitStatus::Exited(code)), "the state for {program}");
    }
    Ok(())
}

async fn a_failed_create_leaves_nothing(lab: &Lab) -> Outcome {
    let missing = lab.spec()?.with_command(["no-such-program-anywhere"]);
    let name = missing.name.clone();
    let made = lab.backend().create(CreateRequest::new(missing).with_start()).await;
    expect_error(made, ErrorKind::CommandFailed, "a create with a start that fails")?;
    expect_error(lab.backend().inspect(&name).await, ErrorKind::NotFound, "what it left")?;

    let no_image = lab.spec()?.with_image(lab.target().bad_image.clone());
    let name = no_image.name.clone();
    let made = lab.made(no_image).await;
    ensure!(made.is_err(), "an image that is none was taken: {made:?}");
    expect_error(lab.backend().inspect(&name).await, ErrorKind::NotFound, "what it left")?;
    Ok(())
}

async fn keep_alive_outlives_the_command(lab: &Lab) -> Outcome {
    let name = lab.start(lab.script("exit 3")?.with_keep_alive(true)).await?.spec.name;
    ensure_eq!(lab.ended(&name).await?, ExitStatus::Exited(3), "the command's status");
    let found = lab.backend().inspect(&name).await?;
    ensure_eq!(found.state, State::Running { command: Some(ExitStatus::Exited(3)) }, "the state");
    let connection = lab.backend().connect(&name).await?;
    ensure_eq!(lab.sh(&*connection, "echo here").await?, "here\n", "what an exec prints");
    if lab.has(Capability::StartStop) {
        lab.backend().stop(StopRequest::new(name.clone()).with_grace(lab.ms(5000))).await?;
        let found = lab.backend().inspect(&name).await?;
        ensure_eq!(found.state, State::Exited(ExitStatus::Exited(3)), "the state after the stop");
    }
    Ok(())
}

async fn events_come_in_order(lab: &Lab) -> Outcome {
    let spec = lab.script("exit 4")?;
    let name = spec.name.clone();
    let other = lab.spec()?;
    let mut own = lab.backend().events(EventsRequest::of(name.clone())).await?;
    let mut all = lab.backend().events(EventsRequest::default()).await?;
    lab.made(other.clone()).await?;
    lab.start(spec).await?;
    lab.ended(&name).await?;
    lab.backend().remove(pod_core::RemoveRequest::new(name.clone())).await?;
    let status = if lab.has(Capability::ExitStatusKept) { ExitStatus::Exited(4) } else { ExitStatus::Unknown };
    let expected = [EventKind::Created, EventKind::Started, EventKind::Exited(status), EventKind::Removed];
    let mut seen = Vec::new();
    let mut last = None;
    while seen.len() < expected.len() {
        let event = lab.within(5000, &format!("the next event, after {seen:?},"), own.next()).await?;
        let event = event.ok_or_else(|| Failure::new("the event stream ended"))??;
        ensure_eq!(event.workload, name, "whose event it is");
        ensure!(last.is_none_or(|t| t <= event.time), "an event is earlier than the one before");
        last = Some(event.time);
        seen.push(event.kind);
    }
    ensure_eq!(seen[..], expected[..], "the events");
    // A watcher of all sees the other one too.
    let found = async {
        while let Some(event) = all.next().await {
            if event?.workload == other.name {
                return Ok(true);
            }
        }
        Ok::<_, pod_core::Error>(false)
    };
    ensure!(lab.within(5000, "the other's event", found).await??, "a watcher of all did not see the other workload");
    Ok(())
}

async fn wait_exit_gives_the_status(lab: &Lab) -> Outcome {
    let status = if lab.has(Capability::ExitStatusKept) { ExitStatus::Exited(6) } else { ExitStatus::Unknown };
    let name = lab.start(lab.script("sleep 0.2; exit 6")?).await?.spec.name;
    for when in ["while it runs", "after its end"] {
        let found = lab.within(10_000, "the wait", lab.backend().wait_exit(&name)).await??;
        ensure_eq!(found, status, "the status, asked {when}");
    }
    Ok(())
}

async fn eight_at_once(lab: &Lab) -> Outcome {
    let specs = (0..8).map(|_| lab.spec()).collect::<Result<Vec<_>, _>>()?;
    let made = futures_util::future::join_all(specs.iter().map(|spec| lab.start(spec.clone()))).await;
    for workload in made {
        ensure!(workload?.state.is_running(), "one of eight does not run");
    }
    let listed = lab.backend().list(Filter::all()).await?;
    for spec in &specs {
        ensure!(listed.iter().any(|w| *w.name() == spec.name), "{} is not listed", spec.name);
    }
    let ids: std::collections::BTreeSet<_> =
        listed.iter().filter(|w| specs.iter().any(|s| s.name == *w.name())).map(|w| &w.id).collect();
    ensure_eq!(ids.len(), 8, "how many ids there are");
    Ok(())
}

async fn of_two_at_once_one_is_made(lab: &Lab) -> Outcome {
    let spec = lab.spec()?;
    let create = || lab.made(spec.clone());
    let (a, b, c) = tokio::join!(create(), create(), create());
    let mut made = Vec::new();
    for result in [a, b, c] {
        match result {
            Ok(workload) => made.push(workload),
            Err(e) => ensure_eq!(e.kind(), ErrorKind::AlreadyExists, "how the others fail"),
        }
    }
    ensure_eq!(made.len(), 1, "how many were made");
    ensure_eq!(lab.backend().inspect(&spec.name).await?.id, made[0].id, "which one is there");
    Ok(())
}

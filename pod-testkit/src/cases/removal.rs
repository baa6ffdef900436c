//! Workloads: listed, found, removed, absent.

use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Lab, Outcome};
use pod_core::{
    AttachRequest, Capability, ErrorKind, ExecRequest, Filter, LogsRequest, RemoveOutcome, RemoveRequest, StartRequest,
    StopRequest,
};

cases! { "lifecycle":
    a_name_is_taken_once [Create];
    remove_twice_is_already_absent [Create];
    a_running_one_is_removed_only_by_force [Create];
    what_is_missing_is_not_found [Create];
    a_removed_ones_connection_is_dead [Create, Exec];
    a_name_can_be_used_again [Create, Exec];
    all_are_listed_by_name [Create];
    lists_filter_by_label [Create, Labels];
    lists_filter_by_state [Create];
}

async fn a_name_is_taken_once(lab: &Lab) -> Outcome {
    let spec = lab.spec()?;
    let first = lab.made(spec.clone()).await?;
    let other = spec.clone().with_command(["false"]);
    let second = lab.made(other).await;
    expect_error(second, ErrorKind::AlreadyExists, "a second create")?;
    let found = lab.backend().inspect(&spec.name).await?;
    ensure_eq!(found.id, first.id, "the first one's id");
    ensure_eq!(found.spec.command, spec.command, "the first one's command");
    Ok(())
}

async fn remove_twice_is_already_absent(lab: &Lab) -> Outcome {
    let name = lab.idle().await?;
    let remove = || lab.backend().remove(RemoveRequest::new(name.clone()));
    ensure_eq!(remove().await?, RemoveOutcome::Removed, "the first removal");
    ensure_eq!(remove().await?, RemoveOutcome::AlreadyAbsent, "the second removal");
    let never = lab.backend().remove(RemoveRequest::new(lab.name()?).with_force(true)).await?;
    ensure_eq!(never, RemoveOutcome::AlreadyAbsent, "the removal of what never was");
    Ok(())
}

async fn a_running_one_is_removed_only_by_force(lab: &Lab) -> Outcome {
    let name = lab.start(lab.spec()?).await?.spec.name;
    let refused = lab.backend().remove(RemoveRequest::new(name.clone())).await;
    expect_error(refused, ErrorKind::WrongState, "the removal of one that runs")?;
    ensure!(lab.backend().inspect(&name).await?.state.is_running(), "the refused removal stopped it");
    let forced = lab.backend().remove(RemoveRequest::new(name.clone()).with_force(true)).await?;
    ensure_eq!(forced, RemoveOutcome::Removed, "the removal by force");
    expect_error(lab.backend().inspect(&name).await, ErrorKind::NotFound, "what is left")?;
    Ok(())
}

async fn what_is_missing_is_not_found(lab: &Lab) -> Outcome {
    let backend = lab.backend();
    let name = lab.name()?;
    let missing = ErrorKind::NotFound;
    expect_error(backend.inspect(&name).await, missing, "inspect")?;
    expect_error(backend.connect(&name).await, missing, "connect")?;
    if lab.has(Capability::StartStop) {
        expect_error(backend.start(StartRequest::new(name.clone())).await, missing, "start")?;
        expect_error(backend.stop(StopRequest::new(name.clone())).await, missing, "stop")?;
    }
    if lab.has(Capability::Logs) {
        let logs = backend.logs(LogsRequest::new(name.clone())).await.map(|_| "a stream");
        expect_error(logs, missing, "logs")?;
    }
    if lab.has(Capability::AttachStdio) {
        expect_error(backend.attach(AttachRequest::new(name.clone())).await, missing, "attach")?;
    }
    Ok(())
}

async fn a_removed_ones_connection_is_dead(lab: &Lab) -> Outcome {
    let (name, connection) = lab.running().await?;
    lab.backend().remove(RemoveRequest::new(name).with_force(true)).await?;
    expect_error(connection.exec(ExecRequest::new(["true"])).await, ErrorKind::NotFound, "exec")?;
    Ok(())
}

async fn a_name_can_be_used_again(lab: &Lab) -> Outcome {
    let spec = lab.spec()?;
    let first = lab.start(spec.clone()).await?;
    let connection = lab.backend().connect(&spec.name).await?;
    lab.sh(&*connection, "echo old >/tmp/file").await?;
    lab.backend().remove(RemoveRequest::new(spec.name.clone()).with_force(true)).await?;
    let second = lab.start(spec.clone()).await?;
    ensure!(first.id != second.id, "a new workload has the old one's id {}", first.id);
    let connection = lab.backend().connect(&spec.name).await?;
    let left = lab.sh(&*connection, "test ! -e /tmp/file || cat /tmp/file").await?;
    ensure_eq!(left, "", "the file of the removed workload");
    Ok(())
}

async fn all_are_listed_by_name(lab: &Lab) -> Outcome {
    for _ in 0..3 {
        lab.made(lab.spec()?).await?;
    }
    let all = lab.backend().list(Filter::all()).await?;
    let names: Vec<_> = all.iter().map(|w| w.name().clone()).collect();
    ensure!(names.is_sorted(), "the list is not in the order of the names: {names:?}");
    let own: Vec<_> = all.iter().filter(|w| w.name().as_str().starts_with(lab.prefix())).collect();
    ensure_eq!(own.len(), 3, "how many of three are listed");
    for listed in own {
        let found = lab.backend().inspect(listed.name()).await?;
        ensure_eq!(found.id, listed.id, "the id of {}", listed.name());
        ensure_eq!(found.state, listed.state, "the state of {}", listed.name());
    }
    Ok(())
}

async fn lists_filter_by_label(lab: &Lab) -> Outcome {
    let key = format!("{}.role", lab.prefix());
    let mut names = Vec::new();
    for (role, tier) in [("web", "1"), ("web", "2"), ("db", "1")] {
        let spec = lab.spec()?.with_label(&key, role).with_label("tier", tier);
        names.push(spec.name.clone());
        lab.made(spec).await?;
    }
    for (filter, expected) in [
        (Filter::all().with_label(&key, "web"), &names[..2]),
        (Filter::all().with_label(&key, "web").with_label("tier", "2"), &names[1..2]),
        (Filter::all().with_label(&key, "none"), &[]),
    ] {
        let found: Vec<_> = lab.backend().list(filter.clone()).await?.iter().map(|w| w.name().clone()).collect();
        ensure_eq!(found[..], expected[..], "the list for {:?}", filter.labels);
    }
    let found = lab.backend().inspect(&names[2]).await?;
    ensure_eq!(found.spec.labels.get(&key).map(String::as_str), Some("db"), "the label read back");
    Ok(())
}

async fn lists_filter_by_state(lab: &Lab) -> Outcome {
    let running = lab.start(lab.spec()?).await?.spec.name;
    let idle = lab.idle().await?;
    let listed = lab.backend().list(Filter::all().with_running(true)).await?;
    ensure!(listed.iter().any(|w| *w.name() == running), "a running workload is not listed as such");
    ensure!(!listed.iter().any(|w| *w.name() == idle), "one that does not run is listed as running");
    Ok(())
}

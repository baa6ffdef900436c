//! What holds for every call.

use super::copy_files::{put, with_content};
use super::network::{SUBNET, attachments_of, verified};
use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::copy::CopyOutRequest;
use pod_core::{
    AttachNetworkRequest, AttachmentSpec, Capability, ConnectionExt, CreateRequest, Error, ErrorKind, ExecRequest,
    Filter, LogsRequest, ProbeRequest, RemoveRequest, StartRequest, StopRequest,
};
use std::time::Duration;

cases! { "cross":
    errors_name_operation_and_backend [Create, Exec];
    errors_of_networks_do_too [Create, Networks];
    an_unknown_option_is_refused [];
    secrets_are_not_shown [Create, Env, Exec, ExecEnv];
    a_cancelled_create_leaves_all_or_nothing [Create];
    a_cancelled_exec_leaves_no_program [Create, Exec, ExecKill];
    a_cancelled_attach_leaves_all_or_nothing [Create, Networks, VlanAccess, HotAttach];
    a_cancelled_stop_or_remove_can_be_repeated [Create, StartStop];
}

fn named<T: std::fmt::Debug>(lab: &Lab, what: &str, result: Result<T, Error>) -> Outcome {
    match result {
        Ok(done) => Err(Failure::new(format!("{what}: it was done: {done:?}"))),
        Err(e) => {
            ensure!(e.operation().is_some_and(|o| !o.is_empty()), "{what}: the error names no operation: {e:?}");
            let uri = lab.backend().info().uri.to_string();
            ensure_eq!(e.backend(), Some(uri.as_str()), "{what}: the backend that the error names");
            ensure!(!e.message().is_empty(), "{what}: the error says nothing");
            let first = e.message().chars().next().unwrap_or_default();
            ensure!(!e.message().ends_with('.') && !first.is_uppercase(), "{what}: the message is a sentence: {e}");
            Ok(())
        }
    }
}

async fn errors_name_operation_and_backend(lab: &Lab) -> Outcome {
    let backend = lab.backend();
    let nobody = lab.name()?;
    named(lab, "inspect", backend.inspect(&nobody).await)?;
    named(lab, "connect", backend.connect(&nobody).await)?;
    named(lab, "start", backend.start(StartRequest::new(nobody.clone())).await)?;
    named(lab, "stop", backend.stop(StopRequest::new(nobody.clone())).await)?;
    if lab.has(Capability::Logs) {
        named(lab, "logs", backend.logs(LogsRequest::new(nobody)).await.map(|_| "a stream"))?;
    }
    let (name, connection) = lab.running().await?;
    named(lab, "create", lab.made(lab.spec()?.with_command([""])).await)?;
    let mut again = lab.spec()?;
    again.name = name.clone();
    named(lab, "create twice", lab.made(again).await)?;
    named(lab, "remove", backend.remove(RemoveRequest::new(name)).await)?;
    named(lab, "exec", connection.exec(ExecRequest::new(["no-such-program-anywhere"])).await)?;
    named(lab, "exec of nothing", connection.exec(ExecRequest::default()).await)?;
    if lab.has(Capability::CopyOut) {
        named(lab, "copy out", connection.copy_out(CopyOutRequest::new("/no/such/file")).await)?;
    }
    if lab.has(Capability::CopyIn) {
        named(lab, "copy in", put(&*connection, "/no/such/file", vec![with_content("", "x")]).await)?;
    }
    Ok(())
}

async fn errors_of_networks_do_too(lab: &Lab) -> Outcome {
    let networking = lab.networking()?;
    named(lab, "create network", networking.create(lab.network_spec(None, &["10.0.0.1/24"])?).await)?;
    let (workload, _) = lab.running().await?;
    if lab.has(Capability::HotAttach) && lab.has(Capability::VlanAccess) {
        let request = AttachNetworkRequest::new(workload, AttachmentSpec::new(lab.network_name()?));
        named(lab, "attach", networking.attach(request).await)?;
    }
    if lab.has(Capability::Probe) {
        named(lab, "probe", networking.probe(ProbeRequest::new(lab.name()?, vec![])).await)?;
    }
    Ok(())
}

async fn an_unknown_option_is_refused(lab: &Lab) -> Outcome {
    let uri = lab.target().uri.clone().with_option("no-such-option", "1");
    let e = expect_error(lab.target().registry.connect(&uri).await, ErrorKind::ConfigInvalid, "an unknown option")?;
    ensure!(e.to_string().contains("no-such-option"), "the error does not name the option: {e}");
    Ok(())
}

async fn secrets_are_not_shown(lab: &Lab) -> Outcome {
    const SECRET: &str = "hunter2-5f1c";
    let hidden = |what: &str, e: &Error| {
        let mut text = format!("{e} {e:?} {}", Failure::from(Error::new(e.kind(), e.to_string())));
        text.push_str(&serde_json::to_string(e).unwrap_or_default());
        ensure!(!text.contains(SECRET), "{what}: the error shows the secret: {e}");
        Ok(())
    };
    let spec = lab.spec()?.with_env("TOKEN", SECRET).with_command(["no-such-program-anywhere"]);
    let made = lab.backend().create(CreateRequest::new(spec).with_start()).await;
    hidden("create", &expect_error(made, ErrorKind::CommandFailed, "a missing program")?)?;
    let (_, connection) = lab.running().await?;
    let request = ExecRequest::new(["no-such-program-anywhere"]).with_env("TOKEN", SECRET);
    hidden("exec", &expect_error(connection.exec(request).await, ErrorKind::CommandFailed, "a missing program")?)?;
    let request = ExecRequest::new(["sleep", "60"]).with_env("TOKEN", SECRET).with_timeout(lab.ms(50));
    hidden("timeout", &expect_error(connection.run(request).await, ErrorKind::Timeout, "a long program")?)?;
    let bad = ExecRequest::new(["true"]).with_env("TOKEN", format!("{SECRET}\0"));
    hidden("bad", &expect_error(connection.exec(bad).await, ErrorKind::InvalidInput, "a zero byte")?)?;
    for backend in [format!("{:?}", lab.backend()), format!("{connection:?}")] {
        ensure!(!backend.contains(SECRET), "the handle's debug text shows the secret");
    }
    Ok(())
}

/// Some time up to this many microseconds.
fn random(most: u64) -> Duration {
    let seed = uuid::Uuid::new_v4().as_u128() as u64;
    Duration::from_micros(seed % most)
}

/// How long an operation takes here, so that it can be cancelled on its way: in microseconds.
async fn length<T>(doing: impl Future<Output = T>) -> (u64, T) {
    let begun = tokio::time::Instant::now();
    let done = doing.await;
    (u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(50), done)
}

async fn a_cancelled_create_leaves_all_or_nothing(lab: &Lab) -> Outcome {
    let (mut takes, made) = length(lab.start(lab.spec()?)).await;
    let first = made?.spec.name;
    for _ in 0..12 {
        let spec = lab.spec()?;
        let name = spec.name.clone();
        let (took, cancelled) = length(tokio::time::timeout(random(takes * 5 / 4), lab.start(spec.clone()))).await;
        // The first may have been the slow one: most of the others are to be cancelled on their way.
        takes = takes.min(if cancelled.is_ok() { took } else { takes });
        // What a cancelled call goes on to do must come to rest: there or gone.
        let state = async || {
            let all = lab.backend().list(Filter::all()).await?;
            let strange = all
                .iter()
                .map(|w| w.name())
                .find(|n| n.as_str().starts_with(lab.prefix()) && **n != name && **n != first)
                .cloned();
            ensure!(strange.is_none(), "the cancelled create left {strange:?}");
            Ok::<_, Failure>(all.into_iter().find(|w| *w.name() == name))
        };
        if cancelled.is_ok() {
            ensure!(state().await?.is_some_and(|w| w.state.is_running()), "what was made does not run");
        }
        tokio::time::sleep(lab.ms(20)).await;
        state().await?;
        lab.backend().remove(RemoveRequest::new(name.clone()).with_force(true)).await?;
        lab.eventually(3000, "what was left is gone", async || Ok(state().await?.is_none())).await?;
        // The name is free.
        lab.start(spec).await?;
        lab.backend().remove(RemoveRequest::new(name.clone()).with_force(true)).await?;
    }
    Ok(())
}

async fn a_cancelled_exec_leaves_no_program(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let (takes, first) = length(connection.exec(ExecRequest::new(["true"]))).await;
    first?;
    for i in 0..12 {
        let request = ExecRequest::shell(format!("echo $$ >/tmp/pid{i}; exec sleep 300"));
        let cancelled = tokio::time::timeout(random(takes * 5 / 4), connection.exec(request)).await;
        drop(cancelled);
    }
    tokio::time::sleep(lab.ms(100)).await;
    let written = lab.sh(&*connection, "for f in /tmp/pid*; do test -e $f && echo $f; done; true").await?;
    for file in written.lines() {
        super::exec_control::is_gone(lab, &*connection, file).await?;
    }
    Ok(())
}

async fn a_cancelled_attach_leaves_all_or_nothing(lab: &Lab) -> Outcome {
    let network = lab.network(Some(101), SUBNET).await?.spec.name;
    let (workload, _) = lab.running().await?;
    let networking = lab.networking()?;
    let request = || AttachNetworkRequest::new(workload.clone(), AttachmentSpec::new(network.clone()));
    let detach = || pod_core::DetachRequest::new(workload.clone(), network.clone());
    let (takes, first) = length(networking.attach(request())).await;
    first?;
    networking.detach(detach()).await?;
    for _ in 0..12 {
        let cancelled = tokio::time::timeout(random(takes * 5 / 4), networking.attach(request())).await;
        drop(cancelled);
        tokio::time::sleep(lab.ms(20)).await;
        let found = attachments_of(lab, &workload).await?.len();
        ensure!(found <= 1, "there are {found} attachments");
        // Done or not, it can be done again, and then it is whole.
        networking.attach(request()).await?;
        verified(lab, &network).await?;
        let cancelled = tokio::time::timeout(random(takes), networking.detach(detach())).await;
        drop(cancelled);
        tokio::time::sleep(lab.ms(20)).await;
        networking.detach(detach()).await?;
        ensure_eq!(attachments_of(lab, &workload).await?, [], "what is attached after the detach");
        verified(lab, &network).await?;
    }
    Ok(())
}

async fn a_cancelled_stop_or_remove_can_be_repeated(lab: &Lab) -> Outcome {
    for _ in 0..6 {
        // As process 1, a program that sets no trap hears nothing of a SIGTERM (pid_namespaces(7)).
        let spec = lab.script("trap 'exit 0' TERM; while :; do sleep 0.05; done")?;
        let name = lab.start(spec).await?.spec.name;
        let stop = StopRequest::new(name.clone()).with_grace(lab.ms(5000));
        drop(tokio::time::timeout(random(2000), lab.backend().stop(stop.clone())).await);
        lab.within(8000, "the second stop", lab.backend().stop(stop)).await??;
        ensure!(!lab.backend().inspect(&name).await?.state.is_running(), "it still runs");
        drop(tokio::time::timeout(random(1000), lab.backend().remove(RemoveRequest::new(name.clone()))).await);
        lab.within(8000, "the second removal", lab.backend().remove(RemoveRequest::new(name.clone()))).await??;
        expect_error(lab.backend().inspect(&name).await, ErrorKind::NotFound, "what is left")?;
    }
    Ok(())
}

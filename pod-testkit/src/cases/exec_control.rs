//! Programs run in a workload: signalled, killed, timed out, let go.

use super::stdio::read_until;
use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::{Connection, ConnectionExt, ErrorKind, ExecRequest, ExitStatus, Process, Signal};

cases! { "exec":
    a_dropped_process_is_killed [Create, Exec, ExecKill];
    kill_ends_all_it_started [Create, Exec, ExecKill];
    kill_after_the_end_ends_what_was_left [Create, Exec, ExecKill];
    a_timeout_ends_all_it_started [Create, Exec, ExecKill];
    a_timeout_leaves_others_alone [Create, Exec, ExecKill];
    what_ends_in_time_is_no_timeout [Create, Exec];
    signals_arrive [Create, Exec, ExecSignal];
    a_signal_after_the_end_is_no_error [Create, Exec, ExecSignal];
    a_detached_program_goes_on [Create, Exec];
    the_workloads_end_ends_programs [Create, Exec];
}

/// Whether the process whose number is in a file still runs.
async fn runs(lab: &Lab, connection: &dyn Connection, pid_file: &str) -> Result<bool, Failure> {
    // A zombie is no running process.
    let script = format!(
        "p=$(cat {pid_file}); kill -0 $p 2>/dev/null || {{ echo gone; exit; }}; \
         [ -r /proc/$p/stat ] && read -r _ _ s _ </proc/$p/stat && [ \"$s\" = Z ] && {{ echo gone; exit; }}; echo runs"
    );
    Ok(lab.sh(connection, &script).await? == "runs\n")
}

/// Fails unless the process whose number is in a file ends soon.
pub(super) async fn is_gone(lab: &Lab, connection: &dyn Connection, pid_file: &str) -> Outcome {
    lab.eventually(3000, &format!("the process of {pid_file} is gone"), || async {
        Ok(!runs(lab, connection, pid_file).await?)
    })
    .await
}

/// Starts a shell and a child of it, their numbers in `/tmp/shell` and `/tmp/child`.
async fn family(lab: &Lab, connection: &dyn Connection, request: ExecRequest) -> Result<Process, Failure> {
    let mut process = connection.exec(request).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("there is no stdout"))?;
    read_until(lab, &mut stdout, "ready\n").await?;
    for file in ["/tmp/shell", "/tmp/child"] {
        ensure!(runs(lab, connection, file).await?, "the process of {file} does not run");
    }
    Ok(process)
}

const FAMILY: &str = "echo $$ >/tmp/shell; sh -c 'echo $$ >/tmp/child; trap \"\" TERM HUP; echo ready; while :; do sleep 1; done' & wait";

async fn both_gone(lab: &Lab, connection: &dyn Connection) -> Outcome {
    is_gone(lab, connection, "/tmp/shell").await?;
    is_gone(lab, connection, "/tmp/child").await
}

async fn a_dropped_process_is_killed(lab: &Lab) -> Outcome {
    let (name, connection) = lab.running().await?;
    drop(family(lab, &*connection, ExecRequest::shell(FAMILY)).await?);
    both_gone(lab, &*connection).await?;
    ensure!(lab.backend().inspect(&name).await?.state.is_running(), "the workload went as well");
    Ok(())
}

async fn kill_ends_all_it_started(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let mut process = family(lab, &*connection, ExecRequest::shell(FAMILY)).await?;
    lab.within(5000, "the kill", process.kill()).await??;
    for file in ["/tmp/shell", "/tmp/child"] {
        ensure!(!runs(lab, &*connection, file).await?, "after the kill, the process of {file} still runs");
    }
    let status = lab.within(5000, "the end", process.wait()).await??;
    ensure!(matches!(status, ExitStatus::Signaled(9) | ExitStatus::Exited(137)), "the status after a kill: {status}");
    Ok(())
}

async fn kill_after_the_end_ends_what_was_left(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let script = "sleep 60 >/dev/null 2>&1 & echo $! >/tmp/child; exit 2";
    let mut process = connection.exec(ExecRequest::shell(script)).await?;
    ensure_eq!(lab.within(5000, "the end", process.wait()).await??, ExitStatus::Exited(2), "the status");
    ensure!(runs(lab, &*connection, "/tmp/child").await?, "what it left ended with it");
    lab.within(5000, "the kill", process.kill()).await??;
    is_gone(lab, &*connection, "/tmp/child").await?;
    ensure_eq!(process.wait().await?, ExitStatus::Exited(2), "the status after the kill");
    Ok(())
}

async fn a_timeout_ends_all_it_started(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let request = ExecRequest::shell(FAMILY).with_timeout(lab.ms(1000));
    let mut process = family(lab, &*connection, request).await?;
    let waited = lab.within(5000, "the wait", process.wait()).await?;
    expect_error(waited, ErrorKind::Timeout, "a program that runs too long")?;
    both_gone(lab, &*connection).await
}

async fn a_timeout_leaves_others_alone(lab: &Lab) -> Outcome {
    let (name, connection) = lab.running().await?;
    let mut other = connection.exec(ExecRequest::shell("sleep 1.5; exit 3")).await?;
    let timed = connection.run(ExecRequest::new(["sleep", "60"]).with_timeout(lab.ms(200))).await;
    expect_error(timed, ErrorKind::Timeout, "a program that runs too long")?;
    ensure_eq!(lab.within(10_000, "the other", other.wait()).await??, ExitStatus::Exited(3), "the other's status");
    ensure!(lab.backend().inspect(&name).await?.state.is_running(), "the workload went as well");
    Ok(())
}

async fn what_ends_in_time_is_no_timeout(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let request = ExecRequest::shell("echo done; exit 3").with_timeout(lab.ms(20_000));
    let out = connection.run(request).await?;
    ensure_eq!((out.stdout_text().as_str(), out.status), ("done\n", ExitStatus::Exited(3)), "output and status");
    Ok(())
}

async fn signals_arrive(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let script = "trap 'echo usr1' USR1; trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    let mut process = connection.exec(ExecRequest::shell(script)).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| Failure::new("there is no stdout"))?;
    read_until(lab, &mut stdout, "ready\n").await?;
    process.signal(Signal::USR1).await?;
    ensure_eq!(read_until(lab, &mut stdout, "usr1\n").await?, "usr1\n", "what it says of the signal");
    process.signal(Signal::TERM).await?;
    ensure_eq!(lab.within(5000, "the end", process.wait()).await??, ExitStatus::Exited(9), "the status");
    Ok(())
}

async fn a_signal_after_the_end_is_no_error(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let mut process = connection.exec(ExecRequest::new(["true"])).await?;
    process.wait().await?;
    process.signal(Signal::TERM).await?;
    ensure_eq!(process.wait().await?, ExitStatus::Exited(0), "the status");
    Ok(())
}

async fn a_detached_program_goes_on(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let script = "while [ ! -e /tmp/go ]; do sleep 0.02; done; echo >/tmp/went; sleep 3600";
    let process = connection.exec(ExecRequest::shell(format!("{script} >/dev/null 2>&1"))).await?;
    process.detach().await?;
    tokio::time::sleep(lab.ms(100)).await;
    lab.sh(&*connection, ": >/tmp/go").await?;
    lab.eventually(5000, "the detached program went on", || async {
        Ok(lab.sh(&*connection, "test -e /tmp/went && echo yes || echo no").await? == "yes\n")
    })
    .await
}

async fn the_workloads_end_ends_programs(lab: &Lab) -> Outcome {
    let (name, connection) = lab.running().await?;
    let mut process = connection.exec(ExecRequest::shell("trap '' TERM; while :; do sleep 0.05; done")).await?;
    if lab.has(pod_core::Capability::StartStop) {
        let request = pod_core::StopRequest::new(name).with_grace(std::time::Duration::ZERO);
        lab.within(5000, "the stop", lab.backend().stop(request)).await??;
    } else {
        let request = pod_core::RemoveRequest::new(name).with_force(true);
        lab.within(5000, "the removal", lab.backend().remove(request)).await??;
    }
    // How it ended may be told or lost; that it ended must be.
    let end = lab.within(5000, "the program's end", process.wait()).await?;
    ensure!(!end.as_ref().is_ok_and(|s| s.success()), "a program that was killed ended with {end:?}");
    Ok(())
}

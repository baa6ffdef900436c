//! Limits act.

use crate::case::{cases, ensure};
use crate::{Failure, Lab, Outcome};
use pod_core::{Connection, ConnectionExt, ExecRequest, Limits};
use std::time::Duration;

cases! { "limits":
    memory_beyond_the_limit_kills [Create, LimitMemory, Exec];
    processes_beyond_the_limit_are_refused [Create, LimitPids, Exec];
    cpu_time_is_shared_out [Create, LimitCpu, Exec];
}

async fn memory_beyond_the_limit_kills(lab: &Lab) -> Outcome {
    // `tail` holds what has no line end.
    let script = "head -c 67108864 /dev/zero | tail >/dev/null; echo $?";
    let limit = 32 << 20;
    let name = lab.start(lab.spec()?.with_limits(Limits::default().with_memory(limit))).await?.spec.name;
    let connection = lab.backend().connect(&name).await?;
    // The killer may take the shell as well.
    let out = lab.within(30_000, "the program", connection.run(ExecRequest::shell(script))).await??;
    ensure!(out.stdout_text() != "0\n", "a program held 64 MiB under a limit of 32 MiB");
    // The same without the limit is done.
    let (_, free) = lab.running().await?;
    let done = lab.sh(&*free, script).await?;
    ensure!(done == "0\n", "without a limit it ended with {done:?}");
    Ok(())
}

async fn processes_beyond_the_limit_are_refused(lab: &Lab) -> Outcome {
    // Each says when it runs; all end with the exec.
    let script = "i=0; while [ $i -lt 40 ]; do (echo x; sleep 2) & i=$((i+1)); done 2>/dev/null; wait";
    let limited = lab.spec()?.with_limits(Limits::default().with_pids(20));
    let name = lab.start(limited).await?.spec.name;
    let connection = lab.backend().connect(&name).await?;
    let out = lab.within(30_000, "the program", connection.run(ExecRequest::shell(script))).await??;
    let ran = out.stdout_text().lines().count();
    ensure!(ran < 20, "{ran} of 40 processes ran under a limit of 20");
    let (_, free) = lab.running().await?;
    let out = free.run(ExecRequest::shell(script)).await?;
    let ran = out.stdout_text().lines().count();
    ensure!(ran == 40, "without a limit only {ran} of 40 ran: {:?}", out.stderr_text());
    Ok(())
}

/// Enough work to fill more than one period of any scheduler.
const ENOUGH: Duration = Duration::from_millis(150);

async fn cpu_time_is_shared_out(lab: &Lab) -> Outcome {
    // The quickest of some: on a busy machine the others tell of its other work.
    let took = async |connection: &dyn Connection, turns: u32, times: u32| {
        let mut quickest = Duration::MAX;
        for _ in 0..times {
            let begun = tokio::time::Instant::now();
            lab.sh(connection, &format!("i=0; while [ $i -lt {turns} ]; do i=$((i+1)); done")).await?;
            quickest = quickest.min(begun.elapsed());
        }
        Ok::<_, Failure>(quickest)
    };
    let (_, free) = lab.running().await?;
    let name = lab.start(lab.spec()?.with_limits(Limits::default().with_cpus(0.05))).await?.spec.name;
    let limited = lab.backend().connect(&name).await?;
    // What an exec takes that does nothing is no work.
    let nothing = took(&*free, 0, 3).await?;
    let mut turns = 2000;
    let mut work = Duration::ZERO;
    while work < ENOUGH && turns < 10_000_000 {
        turns *= 2;
        work = took(&*free, turns, 3).await?.saturating_sub(nothing);
        if work >= ENOUGH {
            // Once more: three slow execs in a row are no work either.
            work = work.min(took(&*free, turns, 3).await?.saturating_sub(nothing));
        }
    }
    let mut slowed = took(&*limited, turns, 2).await?.saturating_sub(nothing);
    // On a busy machine the work without a limit is slow as well; the more of it, the less noise tells.
    for _ in 0..2 {
        if slowed > work * 3 {
            break;
        }
        turns *= 2;
        work = took(&*free, turns, 3).await?.saturating_sub(nothing);
        slowed = took(&*limited, turns, 2).await?.saturating_sub(nothing);
    }
    ensure!(slowed > work * 3, "with a twentieth of a CPU the work took {slowed:?}, without a limit {work:?}");
    Ok(())
}

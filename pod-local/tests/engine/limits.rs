//! Limits that act.

use crate::Bench;
use crate::bench_root::spec;
use pod_core::{ExitStatus, Limits};
use std::time::Instant;

#[tokio::test]
async fn memory_beyond_the_limit_is_killed() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"]).with_limits(Limits::default().with_memory(32 << 20))).await;
    // tail keeps what it reads: one line without end.
    let out = bench.sh("w", "head -c 200000000 /dev/zero | tail -n 1 | wc -c; echo ${PIPESTATUS:-}").await;
    assert!(!out.stdout_text().contains("200000000"), "{}", out.stdout_text());
    assert_eq!(bench.sh("w", "head -c 1000 /dev/zero | tail -n 1 | wc -c").await.stdout_text().trim(), "1000");
    bench.remove("w").await;
    bench.assert_nothing_left();
}

#[tokio::test]
async fn processes_beyond_the_limit_are_refused() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"]).with_limits(Limits::default().with_pids(8))).await;
    let out = bench.sh("w", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 >/dev/null 2>&1 & done; wait").await;
    assert!(out.stderr_text().contains("ork"), "{out:?}");
    assert_ne!(out.status, ExitStatus::Exited(0));
    bench.remove("w").await;
    bench.assert_nothing_left();
}

#[tokio::test]
async fn cpu_time_is_bounded() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"]).with_limits(Limits::default().with_cpus(0.2))).await;
    let begun = Instant::now();
    // A quarter of a second of work at a fifth of a CPU takes over a second, however fast the machine.
    let script = "t() { read -r a b c < /proc/self/schedstat; echo $a; }; s=$(cat /proc/$$/schedstat | cut -d' ' -f1); \
        while :; do n=$(cut -d' ' -f1 /proc/$$/schedstat); [ $((n - s)) -gt 100000000 ] && break; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; done";
    let out = bench.sh("w", script).await;
    assert!(out.status.success(), "{out:?}");
    assert!(begun.elapsed().as_millis() >= 300, "100 ms of work took {:?} at a fifth of a CPU", begun.elapsed());
    bench.remove("w").await;
}

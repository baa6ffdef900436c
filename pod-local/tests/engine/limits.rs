//! Limits and device rules that act.

use crate::Bench;
use crate::bench_root::spec;
use pod_core::{ConnectionExt, ErrorKind, ExecRequest, ExitStatus, Limits};
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

/// What a workload may open is decided by the control group: the file in `/dev` is not enough.
#[tokio::test]
async fn only_the_devices_of_every_container_open() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"])).await;
    // Memory, a disk, the kernel's log: the machine's own.
    for (kind, major, minor) in [("c", 1, 1), ("b", 8, 0), ("b", 259, 0), ("b", 254, 0), ("c", 1, 11), ("c", 4, 64)] {
        let device = format!("{kind} {major} {minor}");
        let script = format!("mknod /dev/it {device} && echo made; dd if=/dev/it of=/dev/null count=1; rm -f /dev/it");
        let out = bench.sh("w", &script).await;
        assert_eq!(out.stdout_text(), "made\n", "{device}: {out:?}");
        assert!(out.stderr_text().contains("not permitted"), "{device}: {out:?}");
    }
    let script = "set -e; for d in null zero full random urandom; do dd if=/dev/$d of=/dev/null bs=1 count=1; done; \
        mknod /dev/it c 1 5; dd if=/dev/it of=/dev/null count=1; echo >/dev/null; test -e /dev/ptmx; : <>/dev/ptmx";
    let out = bench.sh("w", script).await;
    assert!(out.status.success(), "{out:?}");
    bench.remove("w").await;
    bench.assert_nothing_left();
}

/// A limit holds for the smallest numbers too: none of the processes that made the workload counts.
#[tokio::test]
async fn one_process_is_enough_for_a_command() {
    let bench = Bench::new().await;
    let limits = Limits::default().with_pids(1).with_memory(16 << 20).with_cpus(0.1);
    bench.run(spec("w", &["sleep", "600"]).with_limits(limits)).await;
    let refused = bench.connect("w").await.run(ExecRequest::new(["true"])).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted, "{refused:?}");
    bench.remove("w").await;
    bench.assert_nothing_left();
}

/// The helper is not in the workload's groups, and leaves no dead children about.
#[tokio::test]
async fn the_helper_is_outside_and_has_one_child() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"]).with_limits(Limits::default().with_pids(8))).await;
    let helper = bench.helper("w");
    let groups = std::fs::read_to_string(format!("/proc/{helper}/cgroup")).unwrap();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(groups, own);
    let children = || std::fs::read_to_string(format!("/proc/{helper}/task/{helper}/children")).unwrap();
    let begun = Instant::now();
    while children().split_whitespace().count() != 1 {
        assert!(begun.elapsed().as_secs() < 5, "{}", children());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    bench.remove("w").await;
    bench.assert_nothing_left();
}

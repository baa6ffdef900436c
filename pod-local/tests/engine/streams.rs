//! Exec, attach and logs: what is particular to the helper and PID 1.

use crate::Bench;
use crate::bench_root::{name, spec};
use futures_util::StreamExt;
use pod_core::{
    AttachRequest, Backend, BackendExt, ErrorKind, ExecRequest, ExitStatus, LogsRequest, StartOutcome, StartRequest,
    State,
};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The most memory a process ever had resident, in KiB (proc(5), VmHWM).
fn peak_memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn large_streams_pass_both_ways_and_cost_the_helper_no_memory() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"])).await;
    let mut process = bench.connect("w").await.exec(ExecRequest::new(["cat"]).with_stdin()).await.unwrap();
    let (mut stdin, mut stdout) = (process.take_stdin().unwrap(), process.take_stdout().unwrap());
    let total: usize = 256 << 20;
    let feed = async move {
        let piece: Vec<u8> = (0..1 << 20).map(|i: usize| (i * 7 + i / 251) as u8).collect();
        for _ in 0..total / piece.len() {
            stdin.write_all(&piece).await.unwrap();
        }
        stdin.shutdown().await.unwrap();
    };
    let drain = async move {
        let mut buf = vec![0u8; 1 << 20];
        let (mut seen, mut wrong) = (0usize, 0usize);
        loop {
            let n = stdout.read(&mut buf).await.unwrap();
            if n == 0 {
                return (seen, wrong);
            }
            for (i, byte) in buf[..n].iter().enumerate() {
                let at = (seen + i) % (1 << 20);
                wrong += usize::from(*byte != (at * 7 + at / 251) as u8);
            }
            seen += n;
        }
    };
    let ((), (seen, wrong)) = tokio::join!(feed, drain);
    assert_eq!((seen, wrong), (total, 0));
    assert_eq!(process.wait().await.unwrap(), ExitStatus::Exited(0));
    let peak = peak_memory(bench.helper("w"));
    assert!(peak < 64 << 10, "the helper had {peak} KiB");
    bench.remove("w").await;
}

#[tokio::test]
async fn a_dropped_attachment_leaves_the_command_and_stdin_open() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sh", "-c", "while read -r line; do echo got $line; done; echo end"]).with_stdin(true)).await;
    for word in ["one", "two"] {
        let mut attached = bench.backend.attach(AttachRequest::new(name("w")).with_stdin(true)).await.unwrap();
        let (mut stdin, mut stdout) = (attached.take_stdin().unwrap(), attached.take_stdout().unwrap());
        stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        let expected = format!("got {word}\n");
        let mut got = vec![0; expected.len()];
        stdout.read_exact(&mut got).await.unwrap();
        assert_eq!(got, expected.as_bytes());
        // All at once, as when the client dies.
        drop((attached, stdin, stdout));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(bench.backend.inspect(&name("w")).await.unwrap().state.is_running());
    }
    let mut attached =
        bench.backend.attach(AttachRequest::new(name("w")).with_stdin(true).with_logs(true)).await.unwrap();
    drop(attached.take_stdin());
    let mut text = String::new();
    attached.take_stdout().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "got one\ngot two\nend\n");
    assert_eq!(attached.wait().await.unwrap(), ExitStatus::Exited(0));
    bench.remove("w").await;
    bench.assert_nothing_left();
}

#[tokio::test]
async fn the_command_comes_and_goes_and_the_workload_stays() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sh", "-c", "echo run; exit 4"]).with_keep_alive(true)).await;
    assert_eq!(bench.backend.wait_exit(&name("w")).await.unwrap(), ExitStatus::Exited(4));
    let state = bench.backend.inspect(&name("w")).await.unwrap().state;
    assert_eq!(state, State::Running { command: Some(ExitStatus::Exited(4)) });
    assert_eq!(bench.sh("w", "echo here").await.stdout_text(), "here\n");
    assert_eq!(bench.backend.start(StartRequest::new(name("w"))).await.unwrap(), StartOutcome::Started);
    assert_eq!(bench.backend.wait_exit(&name("w")).await.unwrap(), ExitStatus::Exited(4));
    let logs: Vec<_> = bench.backend.logs(LogsRequest::new(name("w"))).await.unwrap().collect().await;
    assert_eq!(logs.len(), 2);
    bench.remove("w").await;
    bench.assert_nothing_left();
}

#[tokio::test]
async fn an_image_whose_own_command_ends_at_once_says_so() {
    let bench = Bench::new().await;
    bench.run(spec("w", &[])).await;
    assert_eq!(bench.backend.wait_exit(&name("w")).await.unwrap(), ExitStatus::Exited(0));
    let notes = bench.backend.inspect(&name("w")).await.unwrap().notes;
    assert!(notes.iter().any(|n| n.contains("--keep-alive")), "{notes:?}");
    bench.run(spec("v", &["true"])).await;
    bench.backend.wait_exit(&name("v")).await.unwrap();
    assert!(bench.backend.inspect(&name("v")).await.unwrap().notes.is_empty());
    bench.remove("w").await;
    bench.remove("v").await;
}

#[tokio::test]
async fn a_program_that_starts_many_leaves_none_when_its_time_is_over() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"])).await;
    // New sessions, orphans, and a program that ignores what can be ignored.
    let script = "trap '' TERM INT HUP; for i in 1 2 3 4 5; do setsid sh -c 'trap \"\" TERM; (sleep 7777 &) ; sleep 7777' & done; sleep 7777";
    let request = ExecRequest::shell(script).with_timeout(Duration::from_millis(300));
    let mut process = bench.connect("w").await.exec(request).await.unwrap();
    assert_eq!(process.wait().await.unwrap_err().kind(), ErrorKind::Timeout);
    let left = bench.sh("w", "grep -l '777[7]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l").await;
    assert_eq!(left.stdout_text().trim(), "0");
    bench.remove("w").await;
    bench.assert_nothing_left();
}

#[tokio::test]
async fn arguments_of_two_mebibytes_and_any_bytes_arrive() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"])).await;
    let long = vec![b'x'; 100_000];
    let mut argv = vec![b"sh".to_vec(), b"-c".to_vec(), b"printf %s \"$*\" | wc -c".to_vec(), b"sh".to_vec()];
    argv.extend(std::iter::repeat_n(long, 12));
    let out = bench.connect("w").await.exec(ExecRequest::new(argv)).await.unwrap().output(1 << 20).await.unwrap();
    assert_eq!(out.stdout_text().trim(), (12 * 100_000 + 11).to_string());
    let odd: Vec<u8> = (1..=255).collect();
    let out = bench
        .connect("w")
        .await
        .exec(ExecRequest::new([b"printf".to_vec(), b"%s".to_vec(), odd.clone()]))
        .await
        .unwrap();
    assert_eq!(out.output(1 << 20).await.unwrap().stdout, odd);
    bench.remove("w").await;
}

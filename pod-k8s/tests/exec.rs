//! Exec on a real cluster: what the contract suite does not ask.

mod lab;

use lab::Pod;
use libtest_mimic::{Arguments, Failed, Trial};
use pod_core::{ConnectionExt, ErrorKind, ExecRequest, ExitStatus, RemoveRequest, Result, TtySize, WorkloadName};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// A removed pod ends what ran in it, soon and not with success.
async fn a_removed_pod_ends_its_programs(pod: Arc<Pod>) -> Result<()> {
    let mut process = pod.connection.exec(ExecRequest::shell("trap '' TERM; while :; do sleep 1; done")).await?;
    tokio::time::sleep(Duration::from_secs(4)).await; // the pod is watched now
    let removal = pod.backend.remove(RemoveRequest::new(pod.name.clone()).with_force(true));
    let (removed, status) = tokio::join!(removal, timeout(Duration::from_secs(30), process.wait()));
    removed?;
    let status = status.expect("the program's end is told")?;
    assert!(!status.success(), "{status}");
    let e = pod.connection.exec(ExecRequest::new(["true"])).await.expect_err("a pod that is gone");
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
    Ok(())
}

/// Errors name the pod, and no request is needed to find out that there is none.
async fn what_is_not_there_is_named(pod: Arc<Pod>) -> Result<()> {
    let e = pod.backend.connect(&WorkloadName::new("no-such-pod")?).await.expect_err("no pod");
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
    let e = pod.connection.exec(ExecRequest::new(["no-such-program"])).await.expect_err("no program");
    assert_eq!(e.exit_code(), Some(127), "{e}");
    let text = e.to_string();
    assert!(text.contains("no-such-program") && text.contains(pod.name.as_str()), "{text}");
    Ok(())
}

/// A script's exit code of 127 is its own.
async fn a_programs_own_127_is_no_error(pod: Arc<Pod>) -> Result<()> {
    for code in [125, 126, 127, 137] {
        let out = pod.connection.run(ExecRequest::shell(format!("exit {code}"))).await?;
        assert_eq!(out.status, ExitStatus::Exited(code));
    }
    Ok(())
}

/// What a program starts in a session of its own is killed with it.
async fn what_went_its_own_way_is_killed(pod: Arc<Pod>) -> Result<()> {
    let script = "setsid sh -c 'sleep 3000' & (setsid sh -c 'sleep 3000' &) ; echo ready; wait";
    let mut process = pod.connection.exec(ExecRequest::shell(script)).await?;
    let mut stdout = process.take_stdout().expect("stdout");
    stdout.read_exact(&mut [0; 6]).await.expect("ready");
    process.kill().await?;
    assert_eq!(process.wait().await?, ExitStatus::Exited(137));
    let left = pod.sh("ps | grep -v grep | grep -c 'sleep 3000' || true").await?;
    assert_eq!(left.trim(), "0");
    Ok(())
}

/// A start that nobody waits for leaves nothing running, whenever it is given up.
async fn a_cancelled_start_leaves_nothing(pod: Arc<Pod>) -> Result<()> {
    for ms in [1, 5, 10, 20, 40, 60, 80, 120] {
        let exec = pod.connection.exec(ExecRequest::new(["sleep", "4000"]));
        drop(timeout(Duration::from_millis(ms), exec).await);
    }
    let begun = Instant::now();
    loop {
        // The list holds the script itself.
        let left = pod.sh("ps | grep -v grep | grep -c 'sleep 400[0]' || true").await?;
        if left.trim() == "0" && begun.elapsed() > Duration::from_secs(2) {
            return Ok(());
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{} are left", left.trim());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Much output that nobody reads holds nothing else up, and comes whole when it is read.
async fn unread_errors_come_whole(pod: Arc<Pod>) -> Result<()> {
    let script = "head -c 40000000 /dev/zero >&2; echo done";
    let mut process = pod.connection.exec(ExecRequest::shell(script)).await?;
    let (mut stdout, mut stderr) = (process.take_stdout().expect("stdout"), process.take_stderr().expect("stderr"));
    let mut said = Vec::new();
    timeout(Duration::from_secs(60), stdout.read_to_end(&mut said)).await.expect("in time").expect("stdout");
    assert_eq!(said, b"done\n");
    let mut errors = Vec::new();
    timeout(Duration::from_secs(60), stderr.read_to_end(&mut errors)).await.expect("in time").expect("stderr");
    assert_eq!(errors.len(), 40_000_000);
    assert_eq!(process.wait().await?, ExitStatus::Exited(0));
    Ok(())
}

/// What is written through `cat` into a file arrives whole, although nothing holds stdout open.
async fn a_redirected_cat_loses_nothing(pod: Arc<Pod>) -> Result<()> {
    const SIZE: usize = 64 << 20;
    for _ in 0..3 {
        let mut process = pod.connection.exec(ExecRequest::shell("cat >/tmp/big").with_stdin()).await?;
        let mut stdin = process.take_stdin().expect("stdin");
        stdin.write_all(&vec![7; SIZE]).await.expect("written");
        stdin.shutdown().await.expect("ended");
        assert_eq!(process.wait().await?, ExitStatus::Exited(0));
        assert_eq!(pod.sh("wc -c </tmp/big").await?.trim(), SIZE.to_string());
    }
    Ok(())
}

/// A terminal has its size before the program looks.
async fn a_terminal_has_its_size_at_once(pod: Arc<Pod>) -> Result<()> {
    for _ in 0..10 {
        let request = ExecRequest::new(["stty", "size"]).with_tty(TtySize { rows: 12, cols: 34 });
        let out = pod.connection.run(request).await?;
        assert_eq!(out.stdout_text(), "12 34\r\n");
    }
    Ok(())
}

/// Environment variables of any name and programs by their path.
async fn odd_variables_arrive(pod: Arc<Pod>) -> Result<()> {
    let request = ExecRequest::new(["env"]).with_env("odd.name", "1").with_env("UID", "x").with_env("A", "b\nc");
    let text = pod.connection.run(request).await?.stdout_text();
    for line in ["odd.name=1\n", "UID=x\n", "A=b\nc\n"] {
        assert!(text.contains(line), "{line:?} in {text:?}");
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime"));
    let mut trials: Vec<Trial> = Vec::new();
    macro_rules! own {
        ($($name:ident),* $(,)?) => {$({
            let runtime = runtime.clone();
            trials.push(Trial::test(concat!("k8s::", stringify!($name)), move || -> std::result::Result<(), Failed> {
                lab::with_pod(&runtime, $name)
            }));
        })*};
    }
    own![
        a_removed_pod_ends_its_programs,
        what_is_not_there_is_named,
        a_programs_own_127_is_no_error,
        what_went_its_own_way_is_killed,
        a_cancelled_start_leaves_nothing,
        unread_errors_come_whole,
        a_redirected_cat_loses_nothing,
        a_terminal_has_its_size_at_once,
        odd_variables_arrive,
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

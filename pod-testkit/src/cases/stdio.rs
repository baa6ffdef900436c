//! The streams of a workload's own command.

use super::copy_files::pattern;
use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::{AttachRequest, BoxRead, ErrorKind, ExitStatus, TtySize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

cases! { "attach":
    stdin_and_stdout_are_carried [Create, AttachStdio];
    the_end_of_stdin_is_seen [Create, AttachStdio];
    much_stdin_arrives_whole [Create, AttachStdio, ExitStatusKept];
    letting_go_leaves_it_running [Create, AttachStdio];
    letting_go_leaves_its_terminal_open [Create, AttachStdio, Tty];
    what_was_printed_before_comes_first [Create, AttachStdio];
    without_stdin_asked_for_there_is_none [Create, AttachStdio];
    one_that_does_not_run_is_refused [Create, AttachStdio];
    signals_go_to_the_command [Create, AttachStdio, ExitStatusKept];
    the_command_can_have_a_terminal [Create, AttachStdio, Tty];
}

fn missing(what: &str) -> Failure {
    Failure::new(format!("there is no {what}"))
}

/// Reads until what was read ends so.
pub(super) async fn read_until(lab: &Lab, from: &mut BoxRead, end: &str) -> Result<String, Failure> {
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    while !String::from_utf8_lossy(&all).ends_with(end) {
        let n = lab
            .within(
                10_000,
                &format!("reading up to {end:?}, after {:?}", String::from_utf8_lossy(&all)),
                from.read(&mut buf),
            )
            .await??;
        ensure!(n > 0, "the stream ended before {end:?}: {:?}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buf[..n]);
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

async fn stdin_and_stdout_are_carried(lab: &Lab) -> Outcome {
    let script = "while read line; do echo \"got $line\"; echo \"err $line\" >&2; done; echo end";
    let name = lab.start(lab.script(script)?.with_stdin(true)).await?.spec.name;
    let mut process = lab.backend().attach(AttachRequest::new(name).with_stdin(true)).await?;
    let mut stdin = process.take_stdin().ok_or_else(|| missing("stdin"))?;
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    let mut stderr = process.take_stderr().ok_or_else(|| missing("stderr"))?;
    for word in ["one", "two words"] {
        stdin.write_all(format!("{word}\n").as_bytes()).await?;
        stdin.flush().await?;
        ensure_eq!(read_until(lab, &mut stdout, "\n").await?, format!("got {word}\n"), "what comes back");
        ensure_eq!(read_until(lab, &mut stderr, "\n").await?, format!("err {word}\n"), "what comes on stderr");
    }
    Ok(())
}

async fn the_end_of_stdin_is_seen(lab: &Lab) -> Outcome {
    let name = lab.start(lab.script("wc -c; exit 4")?.with_stdin(true)).await?.spec.name;
    let mut process = lab.backend().attach(AttachRequest::new(name.clone()).with_stdin(true)).await?;
    let mut stdin = process.take_stdin().ok_or_else(|| missing("stdin"))?;
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    stdin.write_all(b"12345").await?;
    stdin.shutdown().await?;
    let mut all = String::new();
    lab.within(10_000, "the end of stdout", stdout.read_to_string(&mut all)).await??;
    ensure_eq!(all.trim(), "5", "how many bytes came");
    let status = lab.within(10_000, "the command's end", process.wait()).await??;
    ensure_eq!(status, ExitStatus::Exited(4), "the status");
    Ok(())
}

async fn much_stdin_arrives_whole(lab: &Lab) -> Outcome {
    // Far more than pipes hold, and a command that does not read at once.
    let script = "sleep 0.2; sha256sum; exit 3";
    let name = lab.start(lab.script(script)?.with_stdin(true)).await?.spec.name;
    let process = lab.backend().attach(AttachRequest::new(name).with_stdin(true)).await?;
    let input = pattern((5 << 20) + 321);
    let out = lab.within(20_000, "the command", process.communicate(&input, 1000)).await??;
    let sum: String = Sha256::digest(&input).iter().map(|b| format!("{b:02x}")).collect();
    let said = out.stdout_text();
    ensure_eq!((said.split(' ').next(), out.status), (Some(sum.as_str()), ExitStatus::Exited(3)), "sum and status");
    Ok(())
}

async fn letting_go_leaves_its_terminal_open(lab: &Lab) -> Outcome {
    let script = "while read line; do echo \"got $line\"; done; sleep 3600";
    let name = lab.start(lab.script(script)?.with_tty(true).with_stdin(true)).await?.spec.name;
    for word in ["one", "two"] {
        let mut process = lab.backend().attach(AttachRequest::new(name.clone()).with_stdin(true)).await?;
        let mut stdin = process.take_stdin().ok_or_else(|| missing("stdin"))?;
        let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
        stdin.write_all(format!("{word}\n").as_bytes()).await?;
        stdin.flush().await?;
        read_until(lab, &mut stdout, &format!("got {word}\r\n")).await?;
    }
    Ok(())
}

async fn letting_go_leaves_it_running(lab: &Lab) -> Outcome {
    let script = "while read line; do echo \"got $line\"; done; sleep 3600";
    let name = lab.start(lab.script(script)?.with_stdin(true)).await?.spec.name;
    for word in ["one", "two"] {
        let mut process = lab.backend().attach(AttachRequest::new(name.clone()).with_stdin(true)).await?;
        let mut stdin = process.take_stdin().ok_or_else(|| missing("stdin"))?;
        let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
        stdin.write_all(format!("{word}\n").as_bytes()).await?;
        stdin.flush().await?;
        ensure_eq!(read_until(lab, &mut stdout, "\n").await?, format!("got {word}\n"), "what comes back");
        if word == "one" {
            process.detach().await?;
        } else {
            drop(process);
        }
        tokio::time::sleep(lab.ms(100)).await;
        let found = lab.backend().inspect(&name).await?;
        ensure!(found.state.is_running(), "when it was let go of, it was {}", found.state);
    }
    Ok(())
}

async fn what_was_printed_before_comes_first(lab: &Lab) -> Outcome {
    let name = lab.start(lab.script("echo before; read line; echo after")?.with_stdin(true)).await?.spec.name;
    let request = AttachRequest::new(name.clone()).with_logs(true);
    let mut first = lab.backend().attach(request.clone()).await?;
    let mut stdout = first.take_stdout().ok_or_else(|| missing("stdout"))?;
    ensure_eq!(read_until(lab, &mut stdout, "before\n").await?, "before\n", "what the first sees");
    let mut second = lab.backend().attach(request.with_stdin(true)).await?;
    let mut stdout = second.take_stdout().ok_or_else(|| missing("stdout"))?;
    let mut stdin = second.take_stdin().ok_or_else(|| missing("stdin"))?;
    stdin.write_all(b"go\n").await?;
    stdin.flush().await?;
    ensure_eq!(read_until(lab, &mut stdout, "after\n").await?, "before\nafter\n", "what the second sees");
    Ok(())
}

async fn without_stdin_asked_for_there_is_none(lab: &Lab) -> Outcome {
    // A command made without `stdin` reads an empty one.
    let name = lab.start(lab.script("wc -c; sleep 3600")?).await?.spec.name;
    let refused = lab.backend().attach(AttachRequest::new(name.clone()).with_stdin(true)).await;
    expect_error(refused, ErrorKind::WrongState, "attaching stdin to a command without")?;
    let mut process = lab.backend().attach(AttachRequest::new(name).with_logs(true)).await?;
    ensure!(process.take_stdin().is_none(), "a stdin was given that was not asked for");
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    let found = read_until(lab, &mut stdout, "0\n").await?;
    ensure_eq!(found.trim(), "0", "how many bytes the command read");
    Ok(())
}

async fn one_that_does_not_run_is_refused(lab: &Lab) -> Outcome {
    let name = lab.idle().await?;
    let attached = lab.backend().attach(AttachRequest::new(name)).await;
    expect_error(attached, ErrorKind::WrongState, "attaching to one that does not run")?;
    Ok(())
}

async fn signals_go_to_the_command(lab: &Lab) -> Outcome {
    let script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.02; done";
    let name = lab.start(lab.script(script)?).await?.spec.name;
    let mut process = lab.backend().attach(AttachRequest::new(name.clone()).with_logs(true)).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    read_until(lab, &mut stdout, "ready\n").await?;
    process.signal(pod_core::Signal::USR1).await?;
    let status = lab.within(10_000, "the command's end", process.wait()).await??;
    ensure_eq!(status, ExitStatus::Exited(9), "the status");
    Ok(())
}

async fn the_command_can_have_a_terminal(lab: &Lab) -> Outcome {
    // A platform may answer before the terminal has its size: the command waits for it.
    let script = "test -t 0 && test -t 1 && test -t 2 && echo terminal; \
                  until [ \"$(stty size)\" = '40 90' ]; do sleep 0.1; done; stty size; read go; \
                  until [ \"$(stty size)\" = '31 117' ]; do sleep 0.1; done; stty size; sleep 3600";
    let name = lab.start(lab.script(script)?.with_tty(true).with_stdin(true)).await?.spec.name;
    let request = AttachRequest::new(name).with_stdin(true).with_logs(true);
    let mut process = lab.backend().attach(request.with_tty(Some(TtySize { rows: 40, cols: 90 }))).await?;
    ensure!(process.take_stderr().is_none(), "there is a stderr beside the terminal");
    let mut stdin = process.take_stdin().ok_or_else(|| missing("stdin"))?;
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    let begun = read_until(lab, &mut stdout, "40 90\r\n").await?;
    ensure!(begun.starts_with("terminal\r\n"), "it has no terminal: {begun:?}");
    process.resize(TtySize { rows: 31, cols: 117 }).await?;
    stdin.write_all(b"go\n").await?;
    stdin.flush().await?;
    read_until(lab, &mut stdout, "31 117\r\n").await?;
    Ok(())
}

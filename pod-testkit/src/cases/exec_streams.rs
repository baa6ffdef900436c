//! Programs run in a workload: their streams.

use super::stdio::read_until;
use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::{Connection, ConnectionExt, ErrorKind, ExecRequest, ExitStatus, TtySize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

cases! { "exec":
    stdout_and_stderr_are_apart [Create, Exec];
    much_output_comes_whole [Create, Exec];
    stdin_comes_back_both_ways [Create, Exec, ExecStdin];
    nobody_need_read [Create, Exec];
    the_end_of_stdin_is_seen [Create, Exec, ExecStdin];
    without_stdin_there_is_an_empty_one [Create, Exec];
    a_program_need_not_read_its_stdin [Create, Exec, ExecStdin];
    output_comes_as_it_is_printed [Create, Exec, ExecStdin];
    collected_output_is_bounded [Create, Exec];
    wait_does_not_wait_for_what_was_left [Create, Exec];
    a_terminal_is_one [Create, Exec, ExecTty];
    a_terminal_resizes [Create, Exec, ExecTty, ExecResize, ExecStdin];
    a_terminal_interrupts [Create, Exec, ExecTty, ExecStdin];
}

fn missing(what: &str) -> Failure {
    Failure::new(format!("there is no {what}"))
}

async fn stdout_and_stderr_are_apart(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let out = connection.run(ExecRequest::shell("echo out; echo err >&2; printf 'o\\000\\377'")).await?;
    ensure_eq!(out.stdout, b"out\no\x00\xff", "stdout");
    ensure_eq!(out.stderr, b"err\n", "stderr");
    Ok(())
}

const MUCH: u64 = 64 << 20;

async fn much_output_comes_whole(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for _ in 0..lab.target().losses {
        if much_output(lab, &*connection).await? == ExitStatus::Exited(0) {
            return Ok(());
        }
    }
    ensure_eq!(much_output(lab, &*connection).await?, ExitStatus::Exited(0), "the status");
    Ok(())
}

/// Reads much output, and gives the status: what comes with a status is whole. `Unknown` is a platform's word
/// for what it lost: a machine that is busy may make it lose an output, never a part in silence.
async fn much_output(lab: &Lab, connection: &dyn Connection) -> Result<ExitStatus, Failure> {
    let mut process = connection.exec(ExecRequest::shell(format!("head -c {MUCH} /dev/zero; echo end"))).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    let mut buf = vec![0; 256 << 10];
    let (mut total, mut tail) = (0u64, Vec::new());
    let mut whole = true;
    loop {
        let n = match lab.within(60_000, "the next piece", stdout.read(&mut buf)).await? {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionAborted => {
                whole = false;
                break;
            }
            Err(e) => return Err(e.into()),
        };
        let zeros = buf[..n].iter().take_while(|b| **b == 0).count();
        ensure!(tail.is_empty() || zeros == 0, "there are zeros after the end");
        tail.extend_from_slice(&buf[zeros..n]);
        total += zeros as u64;
    }
    let status = process.wait().await;
    if !whole || status.as_ref().is_ok_and(|s| *s == ExitStatus::Unknown) || status.is_err() {
        return Ok(ExitStatus::Unknown);
    }
    ensure_eq!(total, MUCH, "how many zeros came");
    ensure_eq!(tail, b"end\n", "what came after them");
    Ok(status?)
}

async fn stdin_comes_back_both_ways(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let mut process = connection.exec(ExecRequest::new(["cat"]).with_stdin()).await?;
    let mut stdin = process.take_stdin().ok_or_else(|| missing("stdin"))?;
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    // Bytes that repeat only after a prime number of them, so that a lost or moved piece shows.
    let block: Vec<u8> = (0..1_000_003u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let blocks = MUCH / block.len() as u64;
    let mut sent = Sha256::new();
    for _ in 0..blocks {
        sent.update(&block);
    }
    let feed = async {
        for _ in 0..blocks {
            stdin.write_all(&block).await?;
        }
        stdin.shutdown().await
    };
    let read = async {
        let (mut hash, mut n, mut buf) = (Sha256::new(), 0u64, vec![0; 256 << 10]);
        loop {
            match stdout.read(&mut buf).await? {
                0 => return Ok::<_, std::io::Error>((hash.finalize(), n)),
                got => {
                    hash.update(&buf[..got]);
                    n += got as u64;
                }
            }
        }
    };
    let both = async { tokio::join!(feed, read) };
    let (fed, came) = lab.within(60_000, "both ways", both).await?;
    fed?;
    let (hash, n) = came?;
    ensure_eq!(n, blocks * block.len() as u64, "how many bytes came back");
    ensure!(hash == sent.finalize(), "the bytes that came back differ");
    ensure_eq!(lab.within(10_000, "the end", process.wait()).await??, ExitStatus::Exited(0), "the status");
    Ok(())
}

async fn nobody_need_read(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let script = "head -c 8000000 /dev/zero; head -c 8000000 /dev/zero >&2; exit 3";
    let mut process = connection.exec(ExecRequest::shell(script)).await?;
    let status = lab.within(30_000, "a wait without reading", process.wait()).await??;
    ensure_eq!(status, ExitStatus::Exited(3), "the status");
    // stdout read, stderr left alone: less than a pipe holds of it must not stop the program.
    let mut process = connection.exec(ExecRequest::shell("echo x >&2; head -c 8000000 /dev/zero; exit 4")).await?;
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    let mut all = Vec::new();
    lab.within(30_000, "stdout", stdout.read_to_end(&mut all)).await??;
    ensure_eq!(all.len(), 8_000_000, "how much of stdout came");
    ensure_eq!(lab.within(10_000, "the end", process.wait()).await??, ExitStatus::Exited(4), "the status");
    Ok(())
}

async fn the_end_of_stdin_is_seen(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for by in ["shutting it down", "dropping it"] {
        let mut process = connection.exec(ExecRequest::new(["wc", "-c"]).with_stdin()).await?;
        let mut stdin = process.take_stdin().ok_or_else(|| missing("stdin"))?;
        let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
        stdin.write_all(b"12345").await?;
        if by == "dropping it" {
            stdin.flush().await?;
            drop(stdin);
        } else {
            stdin.shutdown().await?;
        }
        let mut all = String::new();
        lab.within(5_000, &format!("the end of stdout after {by}"), stdout.read_to_string(&mut all)).await??;
        ensure_eq!(all.trim(), "5", "how many bytes came");
        process.wait().await?;
    }
    // `wait` closes a stdin that nobody took.
    let mut process = connection.exec(ExecRequest::new(["cat"]).with_stdin()).await?;
    let status = lab.within(5_000, "a wait", process.wait()).await??;
    ensure_eq!(status, ExitStatus::Exited(0), "the status");
    Ok(())
}

async fn without_stdin_there_is_an_empty_one(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let mut process = connection.exec(ExecRequest::new(["wc", "-c"])).await?;
    ensure!(process.take_stdin().is_none(), "a stdin was given that was not asked for");
    let out = lab.within(5_000, "the program", process.output(1000)).await??;
    ensure_eq!(out.stdout_text().trim(), "0", "how many bytes it read");
    Ok(())
}

async fn a_program_need_not_read_its_stdin(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let process = connection.exec(ExecRequest::new(["echo", "done"]).with_stdin()).await?;
    let input = vec![b'x'; 4 << 20];
    let out = lab.within(20_000, "the program", process.communicate(&input, 1000)).await??;
    ensure_eq!((out.stdout_text().as_str(), out.status), ("done\n", ExitStatus::Exited(0)), "output and status");
    Ok(())
}

async fn output_comes_as_it_is_printed(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let script = "while read x; do printf '<%s>' \"$x\"; done";
    let mut process = connection.exec(ExecRequest::new(["sh", "-c", script]).with_stdin()).await?;
    let mut stdin = process.take_stdin().ok_or_else(|| missing("stdin"))?;
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    for i in 0..20 {
        stdin.write_all(format!("{i}\n").as_bytes()).await?;
        stdin.flush().await?;
        ensure_eq!(read_until(lab, &mut stdout, ">").await?, format!("<{i}>"), "the answer");
    }
    Ok(())
}

async fn collected_output_is_bounded(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let process = connection.exec(ExecRequest::new(["head", "-c", "1000", "/dev/zero"])).await?;
    ensure_eq!(process.output(1000).await?.stdout.len(), 1000, "as much as the limit");
    let process = connection.exec(ExecRequest::new(["sh", "-c", "echo $$ >/tmp/pid; exec yes"])).await?;
    let collected = lab.within(20_000, "the collection", process.output(100_000)).await?;
    expect_error(collected, ErrorKind::Exhausted, "more than the limit")?;
    if lab.has(pod_core::Capability::ExecKill) {
        super::exec_control::is_gone(lab, &*connection, "/tmp/pid").await?;
    }
    Ok(())
}

async fn wait_does_not_wait_for_what_was_left(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let mut process = connection.exec(ExecRequest::shell("sleep 30 & echo started; exit 5")).await?;
    let status = lab.within(5_000, "the wait", process.wait()).await??;
    ensure_eq!(status, ExitStatus::Exited(5), "the status");
    Ok(())
}

async fn a_terminal_is_one(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let script = "test -t 0 && test -t 1 && test -t 2 && echo terminal; stty size; echo err >&2; exit 6";
    let mut process = connection.exec(ExecRequest::shell(script).with_tty(TtySize { rows: 33, cols: 101 })).await?;
    ensure!(process.take_stderr().is_none(), "there is a stderr beside the terminal");
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    ensure_eq!(read_until(lab, &mut stdout, "err\r\n").await?, "terminal\r\n33 101\r\nerr\r\n", "what it printed");
    ensure_eq!(lab.within(10_000, "the end", process.wait()).await??, ExitStatus::Exited(6), "the status");
    let mut process = connection.exec(ExecRequest::shell("test -t 0 || test -t 1 || exit 8")).await?;
    ensure_eq!(process.wait().await?, ExitStatus::Exited(8), "without a terminal");
    Ok(())
}

async fn a_terminal_resizes(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let script = "echo ready; while read x; do stty size; done";
    let request = ExecRequest::shell(script).with_tty(TtySize { rows: 24, cols: 80 }).with_stdin();
    let mut process = connection.exec(request).await?;
    let mut stdin = process.take_stdin().ok_or_else(|| missing("stdin"))?;
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    read_until(lab, &mut stdout, "ready\r\n").await?;
    for (rows, cols) in [(24, 80), (50, 132), (10, 20)] {
        process.resize(TtySize { rows, cols }).await?;
        // The size takes a way of its own, and may come behind the line.
        let size = format!("{rows} {cols}\r\n");
        loop {
            stdin.write_all(b"\n").await?;
            stdin.flush().await?;
            match tokio::time::timeout(lab.ms(500), read_until(lab, &mut stdout, &size)).await {
                Ok(read) => {
                    read?;
                    break;
                }
                Err(_) => continue,
            }
        }
    }
    let plain = connection.exec(ExecRequest::new(["sleep", "5"])).await?;
    expect_error(plain.resize(TtySize { rows: 1, cols: 1 }).await, ErrorKind::WrongState, "no terminal")?;
    Ok(())
}

async fn a_terminal_interrupts(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    // No shell: dash loses an interrupt that comes just when it forks or executes.
    let request = ExecRequest::new(["cat"]).with_tty(TtySize::default()).with_stdin();
    let mut process = connection.exec(request).await?;
    let mut stdin = process.take_stdin().ok_or_else(|| missing("stdin"))?;
    let mut stdout = process.take_stdout().ok_or_else(|| missing("stdout"))?;
    stdin.write_all(b"ready\n").await?;
    stdin.flush().await?;
    // The terminal's echo says nothing of the program; its own line does.
    read_until(lab, &mut stdout, "ready\r\nready\r\n").await?;
    stdin.write_all(&[3]).await?;
    stdin.flush().await?;
    let status = lab.within(10_000, "the end after ^C", process.wait()).await??;
    ensure!(matches!(status, ExitStatus::Signaled(2) | ExitStatus::Exited(130)), "the status after ^C: {status}");
    Ok(())
}

//! What a command prints is kept.

use crate::case::{cases, ensure, ensure_eq};
use crate::{Failure, Lab, Outcome};
use futures_util::StreamExt;
use pod_core::{
    Capability, ConnectionExt, ErrorKind, ExecRequest, LogRecord, LogStream, LogsRequest, StartRequest, WorkloadName,
};

cases! { "logs":
    both_streams_are_kept [Create, Logs];
    the_tail_is_the_last_records [Create, Logs];
    records_carry_their_time [Create, Logs, LogTimestamps];
    since_leaves_out_what_was_before [Create, Logs, LogTimestamps];
    following_goes_on_to_the_end [Create, Logs, LogsFollow];
    they_hold_bytes_as_they_were [Create, Logs];
    they_hold_line_ends_as_they_were [Create, Logs, LogBytes];
    a_second_start_adds_to_them [Create, StartStop, Logs];
    there_are_none_before_the_start [Create, StartStop, Logs];
}

/// All that a log holds now.
pub(super) async fn read(lab: &Lab, request: LogsRequest) -> Result<Vec<LogRecord>, Failure> {
    let mut stream = lab.backend().logs(request).await?;
    let mut all = Vec::new();
    while let Some(record) = lab.within(20_000, "the next log record", stream.next()).await? {
        all.push(record?);
    }
    Ok(all)
}

/// What the records hold of a stream.
pub(super) fn text(records: &[LogRecord], stream: LogStream) -> String {
    let bytes: Vec<u8> = records.iter().filter(|r| r.stream == stream).flat_map(|r| r.data.to_vec()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs a script to its end, and waits until its log holds its last line, `end`.
async fn logged(lab: &Lab, script: &str) -> Result<WorkloadName, Failure> {
    let name = lab.start(lab.script(&format!("{script}; echo end"))?).await?.spec.name;
    lab.ended(&name).await?;
    lab.eventually(5000, "the log holds the last line", || async {
        // Where the streams are one, a line of stderr may come after the last of stdout.
        let found = text(&read(lab, LogsRequest::new(name.clone())).await?, LogStream::Stdout);
        Ok(found.ends_with("end\n") || !lab.has(Capability::LogStreams) && found.contains("end\n"))
    })
    .await?;
    Ok(name)
}

async fn both_streams_are_kept(lab: &Lab) -> Outcome {
    let name = logged(lab, "echo one; echo problem >&2; echo two").await?;
    for when in ["once", "twice"] {
        let records = read(lab, LogsRequest::new(name.clone())).await?;
        if lab.has(Capability::LogStreams) {
            ensure_eq!(text(&records, LogStream::Stdout), "one\ntwo\nend\n", "stdout, read {when}");
            ensure_eq!(text(&records, LogStream::Stderr), "problem\n", "stderr, read {when}");
        } else {
            // As one, and between two streams the order is not told.
            lab.eventually(5000, "the log holds stderr's line", || async {
                Ok(text(&read(lab, LogsRequest::new(name.clone())).await?, LogStream::Stdout).contains("problem\n"))
            })
            .await?;
            let records = read(lab, LogsRequest::new(name.clone())).await?;
            let all = text(&records, LogStream::Stdout);
            let (problems, lines): (Vec<_>, Vec<_>) = all.lines().partition(|l| *l == "problem");
            ensure_eq!(problems.len(), 1, "how often stderr's line is there, read {when}");
            ensure_eq!(lines, ["one", "two", "end"], "stdout's lines, read {when}");
            ensure!(records.iter().all(|r| r.stream == LogStream::Stdout), "a stream is told that is not known");
        }
    }
    Ok(())
}

async fn the_tail_is_the_last_records(lab: &Lab) -> Outcome {
    let name = logged(lab, "seq 1 100").await?;
    for (tail, expected) in [(0, ""), (2, "100\nend\n"), (101, &numbers())] {
        let records = read(lab, LogsRequest::new(name.clone()).with_tail(Some(tail))).await?;
        ensure_eq!(text(&records, LogStream::Stdout), expected, "the last {tail}");
    }
    Ok(())
}

fn numbers() -> String {
    (1..=100).map(|n| format!("{n}\n")).chain(["end\n".to_owned()]).collect()
}

async fn records_carry_their_time(lab: &Lab) -> Outcome {
    let before = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(5);
    let name = logged(lab, "echo one; sleep 0.3; echo two").await?;
    let records = read(lab, LogsRequest::new(name)).await?;
    let mut times = Vec::new();
    for record in &records {
        let time = record.time.ok_or_else(|| Failure::new(format!("a record has no time: {record:?}")))?;
        let after = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(5);
        ensure!(time > before && time < after, "a record is of {time}, and now it is {after}");
        times.push(time);
    }
    ensure!(times.is_sorted(), "the times are not in order: {times:?}");
    let apart = times[1].duration_since(times[0]);
    ensure!(apart.as_millis() >= 200, "two lines printed 300 ms apart are {apart:?} apart in the log");
    Ok(())
}

async fn since_leaves_out_what_was_before(lab: &Lab) -> Outcome {
    let name = logged(lab, "echo one; sleep 0.3; echo two").await?;
    let all = read(lab, LogsRequest::new(name.clone())).await?;
    let second = all.get(1).and_then(|r| r.time).ok_or_else(|| Failure::new("the second record has no time"))?;
    let records = read(lab, LogsRequest::new(name.clone()).with_since(Some(second))).await?;
    ensure_eq!(text(&records, LogStream::Stdout), "two\nend\n", "since the second line");
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    let records = read(lab, LogsRequest::new(name).with_since(Some(later))).await?;
    ensure_eq!(records.len(), 0, "how many records there are since a time to come");
    Ok(())
}

async fn following_goes_on_to_the_end(lab: &Lab) -> Outcome {
    let script = "echo early; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo late; printf unfinished";
    let name = lab.start(lab.script(script)?).await?.spec.name;
    let mut stream = lab.backend().logs(LogsRequest::new(name.clone()).with_follow(true)).await?;
    let first = lab.within(10_000, "the first record", stream.next()).await?;
    let first = first.ok_or_else(|| Failure::new("the stream ended while the command ran"))??;
    ensure_eq!(text(&[first], LogStream::Stdout), "early\n", "the first record");
    if lab.has(Capability::Exec) {
        let connection = lab.backend().connect(&name).await?;
        // The command ends by it, and with the command the shell, maybe before its own end is told.
        match connection.run(ExecRequest::shell(": >/tmp/go")).await {
            Err(e) if e.kind() != ErrorKind::Unavailable => return Err(e.into()),
            _ => {}
        }
    }
    let mut rest = Vec::new();
    while let Some(record) = lab.within(10_000, "the end of the log", stream.next()).await? {
        rest.push(record?);
    }
    ensure_eq!(text(&rest, LogStream::Stdout), "late\nunfinished", "what was followed");
    // Following what has ended gives all, and ends.
    let again = read(lab, LogsRequest::new(name).with_follow(true)).await?;
    ensure_eq!(text(&again, LogStream::Stdout), "early\nlate\nunfinished", "following after the end");
    Ok(())
}

async fn they_hold_bytes_as_they_were(lab: &Lab) -> Outcome {
    let name = logged(lab, "printf '\\377\\000\\001 no \\r text\\n'; printf 'a\\n\\nb'; echo").await?;
    let records = read(lab, LogsRequest::new(name)).await?;
    let found: Vec<u8> = records.iter().flat_map(|r| r.data.to_vec()).collect();
    ensure_eq!(found, b"\xff\x00\x01 no \r text\na\n\nb\nend\n", "the bytes");
    Ok(())
}

async fn they_hold_line_ends_as_they_were(lab: &Lab) -> Outcome {
    let name = logged(lab, "printf 'one\\r\\ntwo\\n\\r\\n'").await?;
    let records = read(lab, LogsRequest::new(name)).await?;
    let found: Vec<u8> = records.iter().flat_map(|r| r.data.to_vec()).collect();
    ensure_eq!(found, b"one\r\ntwo\n\r\nend\n", "the bytes");
    Ok(())
}

async fn a_second_start_adds_to_them(lab: &Lab) -> Outcome {
    let name = logged(lab, "true").await?;
    lab.backend().start(StartRequest::new(name.clone())).await?;
    lab.ended(&name).await?;
    lab.eventually(5000, "the log holds both runs", || async {
        Ok(text(&read(lab, LogsRequest::new(name.clone())).await?, LogStream::Stdout) == "end\nend\n")
    })
    .await
}

async fn there_are_none_before_the_start(lab: &Lab) -> Outcome {
    let made = lab.backend().create(pod_core::CreateRequest::new(lab.spec()?)).await?;
    let records = read(lab, LogsRequest::new(made.spec.name)).await?;
    ensure_eq!(records.len(), 0, "how many records one has that was never started");
    Ok(())
}

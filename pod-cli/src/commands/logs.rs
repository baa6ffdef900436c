//! `pod logs`

use crate::args::Logs;
use crate::context::{Context, Target};
use crate::exit::Exit;
use crate::output::{Reader, print_json_line, write_bytes};
use futures_util::StreamExt;
use pod::{IoResultExt, LogRecord, LogStream, LogsRequest, Result};
use std::io::Write;

pub(super) async fn run(context: &Context, args: Logs) -> Result<Exit> {
    let target = context.target(&args.workload).await?;
    let request = LogsRequest::new(target.name.clone())
        .with_follow(args.follow)
        .with_tail(args.tail)
        .with_since(args.since.map(|s| s.0));
    print(context, &target, request, args.timestamps).await?;
    Ok(Exit::OK)
}

/// One record as JSON.
#[derive(Debug, serde::Serialize)]
struct RecordView<'a> {
    time: Option<jiff::Timestamp>,
    stream: LogStream,
    /// Bytes that are no UTF-8 replaced.
    data: std::borrow::Cow<'a, str>,
}

/// Prints a workload's log until it ends, or until nobody reads it any more.
pub(super) async fn print(context: &Context, target: &Target, request: LogsRequest, timestamps: bool) -> Result<()> {
    let mut records = match target.backend.logs(request).await {
        Ok(records) => records,
        Err(e) => return Err(target.explain(e).await),
    };
    while let Some(record) = records.next().await {
        let record = record?;
        if context.wants_json() {
            let data = String::from_utf8_lossy(&record.data);
            let view = RecordView { time: record.time, stream: record.stream, data };
            if print_json_line(&view)? == Reader::Gone {
                break;
            }
        } else if write(&record, timestamps)? == Reader::Gone {
            break;
        }
    }
    Ok(())
}

/// Writes a record's bytes to the stream they came from.
fn write(record: &LogRecord, timestamps: bool) -> Result<Reader> {
    let mut bytes = Vec::with_capacity(record.data.len() + 32);
    if timestamps {
        match record.time {
            Some(time) => bytes.extend_from_slice(format!("{time} ").as_bytes()),
            None => bytes.extend_from_slice(b"- "),
        }
    }
    bytes.extend_from_slice(&record.data);
    match record.stream {
        LogStream::Stdout => write_bytes(&bytes),
        LogStream::Stderr => {
            std::io::stderr().lock().write_all(&bytes).doing(|| "write to stderr")?;
            Ok(Reader::There)
        }
    }
}

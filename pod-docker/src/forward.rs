//! Ports of a container's own loopback, by a tool in it.
//!
//! The API has no way to such a port, and an address of a container reaches neither its loopback nor, from
//! another machine, the container. So a program in the container connects: its `nc`, else its `bash`, which
//! opens TCP connections by itself. With `bash` the end of what is sent is not told before all is closed.

use crate::exec::{self, Target};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pod_core::{BoxDuplex, BoxRead, Error, ExecRequest, ExitStatus, ForwardRequest, Process, Result};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

const SCRIPT: &str = include_str!("forward.sh");
/// The script's code where the container has no tool.
const NO_TOOL: u8 = 126;
/// The most that is read of what the tool complains of.
const SAID: u64 = 4 << 10;

/// Opens a connection to a port of a container's loopback.
///
/// # Errors
/// As [`Connection::forward`](pod_core::Connection::forward); what the tool learns later is an error of the
/// stream.
pub(crate) async fn forward(target: &Target, request: ForwardRequest) -> Result<BoxDuplex> {
    request.validate()?;
    let port = request.port.to_string();
    let argv = ["/bin/sh", "-c", SCRIPT, "pod", &port];
    let mut process = exec::start(target.clone(), ExecRequest::new(argv).with_stdin()).await?;
    let none = || target.about(Error::unexpected("a program without a terminal has all its streams"));
    let stdin = process.take_stdin().ok_or_else(none)?;
    let stdout = process.take_stdout().ok_or_else(none)?;
    let stderr = process.take_stderr().ok_or_else(none)?;
    let incoming = Incoming { stdout, end: Some(end(process, stderr).boxed()) };
    Ok(Box::pin(tokio::io::join(incoming, stdin)))
}

/// How the tool ended, once all that it printed was read.
async fn end(mut process: Process, stderr: BoxRead) -> io::Result<()> {
    let mut said = Vec::new();
    // What can't be read is not said; the status tells all the same.
    let _ = stderr.take(SAID).read_to_end(&mut said).await;
    let status = process.wait().await.map_err(io::Error::other)?;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    match status {
        ExitStatus::Exited(0) => Ok(()),
        ExitStatus::Exited(NO_TOOL) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the image has neither `nc` nor `bash`, by which its ports are reached",
        )),
        _ if said.to_ascii_lowercase().contains("refused") || said.is_empty() => {
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nothing listens at this port of the workload"))
        }
        other => Err(io::Error::other(format!("the connection to the workload's port broke: {said} ({other})"))),
    }
}

/// What comes from the port; its end only when the tool ended well.
struct Incoming {
    stdout: BoxRead,
    /// Holds the tool, which is killed when this is dropped.
    end: Option<BoxFuture<'static, io::Result<()>>>,
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.stdout.as_mut().poll_read(cx, buf))?;
        if buf.filled().len() > before || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(Ok(())) };
        let ended = ready!(end.as_mut().poll(cx));
        self.end = None;
        Poll::Ready(ended)
    }
}

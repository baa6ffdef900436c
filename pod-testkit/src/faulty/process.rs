//! Running programs with a fault.

use super::Fault;
use async_trait::async_trait;
use pod_core::{
    Backend, BoxRead, BoxWrite, ExitStatus, Process, ProcessDriver, Result, Signal, StopRequest, Streams, TtySize,
    WorkloadName,
};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedMutexGuard, watch};

/// Carries a process on, with a fault.
struct Relay {
    inner: Option<Process>,
    fault: Fault,
    backend: Arc<dyn Backend>,
    workload: WorkloadName,
    /// Whether the streams have ended.
    drained: watch::Receiver<bool>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("fault", &self.fault).finish_non_exhaustive()
    }
}

#[async_trait]
impl ProcessDriver for Relay {
    async fn wait(&mut self) -> Result<ExitStatus> {
        let status = match &mut self.inner {
            Some(process) => process.wait().await?,
            None => std::future::pending().await,
        };
        if self.fault == Fault::EndWaitsForStreams {
            // The sender may have gone: then they have ended.
            let _ = self.drained.wait_for(|d| *d).await;
        }
        Ok(match self.fault {
            Fault::StatusIsZero => ExitStatus::Exited(0),
            Fault::StatusLost => ExitStatus::Unknown,
            _ => status,
        })
    }

    async fn resize(&mut self, size: TtySize) -> Result<()> {
        match self.inner.as_ref().filter(|_| self.fault != Fault::ResizeLost).map(|p| p.resize(size)) {
            Some(resized) => resized.await,
            None => Ok(()),
        }
    }

    async fn signal(&mut self, signal: Signal) -> Result<()> {
        match self.inner.as_ref().filter(|_| self.fault != Fault::SignalsLost).map(|p| p.signal(signal)) {
            Some(sent) => sent.await,
            None => Ok(()),
        }
    }

    async fn kill(&mut self) -> Result<()> {
        match self.fault {
            Fault::KillLost => self.let_go().await,
            Fault::KillOnlyOne => {
                if let Some(sent) = self.inner.as_ref().map(|p| p.signal(Signal::KILL)) {
                    sent.await?;
                }
                self.let_go().await
            }
            Fault::KillTooMuch => {
                let stop = StopRequest::new(self.workload.clone()).with_grace(Duration::ZERO);
                self.backend.stop(stop).await.map(drop)
            }
            _ => match self.inner.as_ref().map(Process::kill) {
                Some(killed) => killed.await,
                None => Ok(()),
            },
        }
    }

    async fn detach(&mut self) -> Result<()> {
        if self.fault == Fault::DetachKills {
            return self.kill().await;
        }
        self.let_go().await
    }
}

impl Relay {
    async fn let_go(&mut self) -> Result<()> {
        match self.inner.take() {
            Some(process) => process.detach().await,
            None => Ok(()),
        }
    }
}

/// A stdin that loses something.
struct FaultyStdin {
    inner: Option<BoxWrite>,
    fault: Fault,
}

impl AsyncWrite for FaultyStdin {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let fault = self.fault;
        match (&mut self.inner, fault) {
            (Some(inner), Fault::StdinEndLost) => inner.as_mut().poll_write(cx, bytes),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let fault = self.fault;
        match (&mut self.inner, fault) {
            (Some(inner), Fault::StdinLost) => inner.as_mut().poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for FaultyStdin {
    fn drop(&mut self) {
        if self.fault == Fault::StdinEndLost {
            // Kept open for good: that is the fault.
            std::mem::forget(self.inner.take());
        }
    }
}

/// What an exec or an attach is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Exec,
    Attach,
}

/// Puts the fault around a process.
pub(super) fn relay(
    mut process: Process,
    way: Way,
    fault: Fault,
    backend: &Arc<dyn Backend>,
    workload: &WorkloadName,
    turn: Option<OwnedMutexGuard<()>>,
) -> Process {
    let (mut stdin, mut stdout, mut stderr) = (process.take_stdin(), process.take_stdout(), process.take_stderr());
    let (ended, drained) = watch::channel(false);
    match fault {
        Fault::StdinLost | Fault::StdinEndLost => {
            stdin = stdin.map(|inner| Box::pin(FaultyStdin { inner: Some(inner), fault }) as BoxWrite);
        }
        Fault::StdinInvented => {
            let given = stdin.take();
            stdin = Some(given.unwrap_or_else(|| Box::pin(tokio::io::sink())));
        }
        Fault::StdoutTruncated => stdout = stdout.map(|s| Box::pin(s.take(1 << 20)) as BoxRead),
        Fault::StderrOnStdout => {
            if let (Some(out), Some(err)) = (stdout.take(), stderr.take()) {
                stdout = Some(Box::pin(out.chain(err)));
                stderr = Some(Box::pin(tokio::io::empty()));
            }
        }
        Fault::StdoutHeldBack | Fault::EndWaitsForStreams => {
            stdout = stdout.map(|out| pumped(out, fault == Fault::StdoutHeldBack, ended));
        }
        _ => {}
    }
    let relay = Relay {
        inner: Some(process),
        fault,
        backend: backend.clone(),
        workload: workload.clone(),
        drained,
        _turn: turn,
    };
    let streams = Streams { stdin, stdout, stderr };
    match way {
        Way::Attach if fault != Fault::AttachKills => Process::attached(Box::new(relay), streams),
        _ => Process::spawn(Box::new(relay), streams, None),
    }
}

/// Reads a stream in a task; held back, nothing is passed on before all is there.
fn pumped(mut from: BoxRead, held_back: bool, ended: watch::Sender<bool>) -> BoxRead {
    let (mut to, out) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        if held_back {
            let mut all = Vec::new();
            if from.read_to_end(&mut all).await.is_ok() {
                // Who reads no more does not want it.
                let _ = to.write_all(&all).await;
            }
        } else {
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
        ended.send_replace(true);
    });
    Box::pin(out) as Pin<Box<dyn AsyncRead + Send>>
}

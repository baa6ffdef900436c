//! Connections with a fault.

use super::copying;
use super::process::{Way, relay};
use super::{Fault, spoilt};
use async_trait::async_trait;
use pod_core::copy::{
    CopyInRequest, CopyOutRequest, CopyReport, CopySource, EntryStream, FileStat, FileType, StatRequest, Verify,
};
use pod_core::{
    Backend, BoxDuplex, Connection, Error, ErrorKind, ExecRequest, ForwardRequest, Process, Result, TtySize,
    WorkloadName,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

#[derive(Debug)]
pub(super) struct FaultyConnection {
    pub(super) inner: Arc<dyn Connection>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) fault: Fault,
    pub(super) turn: Arc<Mutex<()>>,
}

/// What a fault makes of a program to run.
pub(super) fn mangle(fault: Fault, argv: &mut Vec<Vec<u8>>) {
    match fault {
        Fault::ArgvMangled => {
            let line = argv.join(&b' ');
            *argv = line.split(|b| *b == b' ').filter(|w| !w.is_empty()).map(<[u8]>::to_vec).collect();
        }
        Fault::BytesReplaced => {
            for arg in argv {
                *arg = String::from_utf8_lossy(arg).into_owned().into_bytes();
            }
        }
        _ => {}
    }
}

impl FaultyConnection {
    fn spoil<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|e| spoilt(self.fault, e))
    }

    /// Refuses a path that leads through a link.
    async fn without_links(&self, path: &[u8]) -> Result<()> {
        let ends = path.iter().enumerate().filter(|(i, b)| **b == b'/' && *i > 0).map(|(i, _)| i);
        for end in ends.collect::<Vec<_>>() {
            let stat = self.inner.stat(StatRequest::new(&path[..end]).with_follow(false)).await?;
            if stat.is_some_and(|s| s.kind == FileType::Symlink) {
                return Err(Error::new(ErrorKind::Unsupported, "the path leads through a link"));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Connection for FaultyConnection {
    fn workload(&self) -> &WorkloadName {
        self.inner.workload()
    }

    async fn exec(&self, mut request: ExecRequest) -> Result<Process> {
        mangle(self.fault, &mut request.argv);
        let secret: Vec<_> = request.env.iter().map(|(_, v)| String::from_utf8_lossy(v).into_owned()).collect();
        match self.fault {
            Fault::EnvDropped => request.env.clear(),
            Fault::CwdDropped => request.cwd = None,
            Fault::UserDropped => request.user = None,
            Fault::TtyDropped => request.tty = None,
            Fault::TimeoutIgnored => request.timeout = None,
            Fault::Unchecked => {
                request.argv.retain(|a| !a.is_empty());
                request.argv.iter_mut().for_each(|a| a.retain(|b| *b != 0));
                if request.argv.is_empty() {
                    request.argv.push(b"true".to_vec());
                }
                request.env.retain(|(k, _)| !k.is_empty());
                request.env.iter_mut().for_each(|(_, v)| v.retain(|b| *b != 0));
                request.cwd = request.cwd.map(|c| if c.starts_with('/') { c } else { format!("/{c}") });
            }
            _ => {}
        }
        // The timeout of the relay: the inner one's kill would not pass through the fault.
        let timeout = match self.fault {
            Fault::KillLost | Fault::KillOnlyOne | Fault::KillTooMuch => request.timeout.take(),
            _ => None,
        };
        let turn = match self.fault {
            Fault::ExecSerial => Some(self.turn.clone().lock_owned().await),
            _ => None,
        };
        let process = self.inner.exec(request).await.map_err(|e| match self.fault {
            Fault::SecretsShown => spoilt(self.fault, e).with_context("environment", secret.join(" ")),
            _ => spoilt(self.fault, e),
        })?;
        let relayed = relay(process, Way::Exec, self.fault, &self.backend, self.inner.workload(), turn);
        Ok(match timeout {
            Some(timeout) => timed(relayed, timeout),
            None => relayed,
        })
    }

    async fn copy_in(&self, mut request: CopyInRequest) -> Result<CopyReport> {
        let wanted = request.verify;
        match self.fault {
            Fault::AlwaysArchive => request.archive = true,
            Fault::NeverArchive => request.archive = false,
            Fault::ResumeIgnored => request.resume = false,
            Fault::NeverVerified => request.verify = Verify::None,
            Fault::Unchecked if request.dest.first() != Some(&b'/') => {
                request.dest = [b"/tmp/", request.dest.as_slice()].concat();
                request.dest.retain(|b| *b != 0);
                if request.dest == b"/tmp/" {
                    request.dest = b"/tmp/unnamed".to_vec();
                }
            }
            Fault::LinksRefused => self.without_links(&request.dest).await?,
            Fault::CopyReplaces => {
                let argv = [b"rm".to_vec(), b"-rf".to_vec(), request.dest.clone()];
                pod_core::ConnectionExt::run(&*self.inner, ExecRequest::new(argv)).await?;
            }
            Fault::ParentsMade => {
                let dir =
                    request.dest.iter().rposition(|b| *b == b'/').map_or(&b"/"[..], |i| &request.dest[..i.max(1)]);
                let argv = [b"mkdir".to_vec(), b"-p".to_vec(), dir.to_vec()];
                pod_core::ConnectionExt::run(&*self.inner, ExecRequest::new(argv)).await?;
            }
            Fault::NotAtomic => {
                let empty = pod_core::copy::Entry::new("", pod_core::copy::EntryKind::File { size: 0 });
                let source = CopySource::Memory(vec![(empty, bytes::Bytes::new())]);
                // What can't be made shows in the copy itself.
                let _ = self.inner.copy_in(CopyInRequest::new(request.dest.clone(), source)).await;
            }
            _ => {}
        }
        if self.fault == Fault::CopyInLost {
            copying::drain(request.source.open()?).await?;
            return Ok(CopyReport::default());
        }
        if self.fault == Fault::ShellCopy {
            return copying::by_shell(&*self.inner, &request.dest, request.source.open()?).await;
        }
        let stream = copying::through(self.fault, copying::Direction::In, request.source.open()?);
        request.source = CopySource::Stream(stream);
        let mut report = self.spoil(self.inner.copy_in(request).await)?;
        if self.fault == Fault::ReportEmpty {
            report = CopyReport::default();
            report.checked = wanted;
        }
        Ok(report)
    }

    async fn copy_out(&self, mut request: CopyOutRequest) -> Result<EntryStream> {
        match self.fault {
            Fault::AlwaysFollow => request.follow = true,
            Fault::NeverFollow => request.follow = false,
            Fault::ResumeIgnored => request.have = None,
            Fault::Unchecked if request.path.first() != Some(&b'/') => request.path = b"/etc/passwd".to_vec(),
            Fault::LinksRefused => self.without_links(&request.path).await?,
            _ => {}
        }
        match self.inner.copy_out(request).await {
            Err(e) if self.fault == Fault::AbsentIsEmpty && e.kind() == ErrorKind::NotFound => {
                let empty = pod_core::copy::Entry::new("", pod_core::copy::EntryKind::File { size: 0 });
                CopySource::Memory(vec![(empty, bytes::Bytes::new())]).open()
            }
            other => Ok(copying::through(self.fault, copying::Direction::Out, self.spoil(other)?)),
        }
    }

    async fn stat(&self, mut request: StatRequest) -> Result<Option<FileStat>> {
        if self.fault == Fault::Unchecked && request.path.first() != Some(&b'/') {
            request.path = b"/".to_vec();
        }
        let found = self.spoil(self.inner.stat(request).await)?;
        Ok(found.map(|mut stat| {
            if self.fault == Fault::StatLies {
                (stat.size, stat.target) = (0, None);
            }
            stat
        }))
    }

    async fn forward(&self, mut request: ForwardRequest) -> Result<BoxDuplex> {
        if self.fault == Fault::Unchecked {
            request.port = request.port.max(1);
        }
        if self.fault == Fault::ForwardDead {
            // Whatever is sent is lost, and there is nothing to read.
            return Ok(Box::pin(tokio::io::join(tokio::io::empty(), tokio::io::sink())));
        }
        self.spoil(self.inner.forward(request).await)
    }
}

/// The same process with a timeout, whose kill passes through the process' own.
fn timed(mut process: Process, timeout: Duration) -> Process {
    let streams =
        pod_core::Streams { stdin: process.take_stdin(), stdout: process.take_stdout(), stderr: process.take_stderr() };
    Process::spawn(Box::new(Held(Some(process))), streams, Some(timeout))
}

/// A process as the driver of another.
#[derive(Debug)]
struct Held(Option<Process>);

#[async_trait]
impl pod_core::ProcessDriver for Held {
    async fn wait(&mut self) -> Result<pod_core::ExitStatus> {
        match &mut self.0 {
            Some(process) => process.wait().await,
            None => std::future::pending().await,
        }
    }
    async fn resize(&mut self, size: TtySize) -> Result<()> {
        match self.0.as_ref().map(|p| p.resize(size)) {
            Some(done) => done.await,
            None => Ok(()),
        }
    }
    async fn signal(&mut self, signal: pod_core::Signal) -> Result<()> {
        match self.0.as_ref().map(|p| p.signal(signal)) {
            Some(done) => done.await,
            None => Ok(()),
        }
    }
    async fn kill(&mut self) -> Result<()> {
        match self.0.as_ref().map(Process::kill) {
            Some(done) => done.await,
            None => Ok(()),
        }
    }
    async fn detach(&mut self) -> Result<()> {
        match self.0.take() {
            Some(process) => process.detach().await,
            None => Ok(()),
        }
    }
}

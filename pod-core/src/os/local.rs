//! A connection, for tests alone, that runs programs on this machine.

use crate::copy::{CopyInRequest, CopyOutRequest, CopyReport, EntryStream, FileStat, StatRequest};
use crate::{
    BoxDuplex, Connection, Error, ErrorKind, ExecRequest, ExitStatus, ForwardRequest, Output, Process, ProcessDriver,
    Result, Signal, Streams, TtySize, WorkloadName,
};
use async_trait::async_trait;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

/// Runs programs on this machine, each argv behind a prefix such as `chroot DIR`.
#[derive(Debug)]
pub(crate) struct Local {
    name: WorkloadName,
    prefix: Vec<String>,
    path: String,
}

impl Local {
    /// Programs of this machine.
    pub(crate) fn host() -> Self {
        Self::behind(&[], "/usr/local/bin:/usr/bin:/bin")
    }

    /// Programs behind a prefix, with this `PATH`.
    pub(crate) fn behind(prefix: &[&str], path: &str) -> Self {
        let name = WorkloadName::new("here").expect("a good name");
        Self { name, prefix: prefix.iter().map(|p| (*p).to_owned()).collect(), path: path.to_owned() }
    }
}

#[derive(Debug)]
struct Child(tokio::process::Child);

#[async_trait]
impl ProcessDriver for Child {
    async fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.0.wait().await.map_err(|e| Error::io("wait", e))?;
        let byte = |n: i32| u8::try_from(n).unwrap_or(u8::MAX);
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) => ExitStatus::Exited(byte(code)),
            (None, Some(signal)) => ExitStatus::Signaled(byte(signal)),
            (None, None) => ExitStatus::Unknown,
        })
    }
    async fn resize(&mut self, _: TtySize) -> Result<()> {
        Err(Error::unsupported("no terminal"))
    }
    async fn signal(&mut self, _: Signal) -> Result<()> {
        Err(Error::unsupported("no signals"))
    }
    async fn kill(&mut self) -> Result<()> {
        self.0.kill().await.map_err(|e| Error::io("kill", e))
    }
    async fn detach(&mut self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Connection for Local {
    fn workload(&self) -> &WorkloadName {
        &self.name
    }

    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        request.validate()?;
        let mut argv = self.prefix.iter().map(OsStr::new).chain(request.argv.iter().map(|a| OsStr::from_bytes(a)));
        let program = argv.next().expect("validated");
        let mut command = tokio::process::Command::new(program);
        command.args(argv).env_clear().env("PATH", &self.path).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if request.stdin { Stdio::piped() } else { Stdio::null() }).kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|e| Error::new(ErrorKind::CommandFailed, "no such program").with_exit_code(127).with_source(e))?;
        let streams = Streams {
            stdin: child.stdin.take().map(|s| Box::pin(s) as _),
            stdout: child.stdout.take().map(|s| Box::pin(s) as _),
            stderr: child.stderr.take().map(|s| Box::pin(s) as _),
        };
        Ok(Process::spawn(Box::new(Child(child)), streams, request.timeout))
    }

    async fn copy_in(&self, _: CopyInRequest) -> Result<CopyReport> {
        Err(Error::unsupported("no copy"))
    }

    async fn copy_out(&self, _: CopyOutRequest) -> Result<EntryStream> {
        Err(Error::unsupported("no copy"))
    }

    async fn stat(&self, _: StatRequest) -> Result<Option<FileStat>> {
        Err(Error::unsupported("no copy"))
    }

    async fn forward(&self, _: ForwardRequest) -> Result<BoxDuplex> {
        Err(Error::unsupported("no forward"))
    }
}

/// Answers each request by a function, and runs nothing.
pub(crate) struct Scripted<F>(pub(crate) WorkloadName, pub(crate) F);

impl<F> std::fmt::Debug for Scripted<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

#[derive(Debug)]
struct Ended(ExitStatus);

#[async_trait]
impl ProcessDriver for Ended {
    async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.0)
    }
    async fn resize(&mut self, _: TtySize) -> Result<()> {
        Ok(())
    }
    async fn signal(&mut self, _: Signal) -> Result<()> {
        Ok(())
    }
    async fn kill(&mut self) -> Result<()> {
        Ok(())
    }
    async fn detach(&mut self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl<F: Fn(&ExecRequest) -> Result<Output> + Send + Sync + 'static> Connection for Scripted<F> {
    fn workload(&self) -> &WorkloadName {
        &self.0
    }

    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        let output = (self.1)(&request)?;
        let read = |bytes: Vec<u8>| Some(Box::pin(std::io::Cursor::new(bytes)) as crate::BoxRead);
        let streams = Streams { stdin: None, stdout: read(output.stdout), stderr: read(output.stderr) };
        Ok(Process::spawn(Box::new(Ended(output.status)), streams, None))
    }

    async fn copy_in(&self, _: CopyInRequest) -> Result<CopyReport> {
        Err(Error::unsupported("no copy"))
    }

    async fn copy_out(&self, _: CopyOutRequest) -> Result<EntryStream> {
        Err(Error::unsupported("no copy"))
    }

    async fn stat(&self, _: StatRequest) -> Result<Option<FileStat>> {
        Err(Error::unsupported("no copy"))
    }

    async fn forward(&self, _: ForwardRequest) -> Result<BoxDuplex> {
        Err(Error::unsupported("no forward"))
    }
}

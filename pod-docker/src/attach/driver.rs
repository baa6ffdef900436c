//! Holding a command that is attached to. It is the first process of its container: how it ended is the
//! container's to tell, and killing it kills all that runs there.

use crate::containers::{self, Inspected};
use crate::engine::{Query, part};
use crate::exec::Target;
use crate::exec::pump::{Carried, End, end_of};
use async_trait::async_trait;
use pod_core::{Error, ErrorKind, ExitStatus, ProcessDriver, Result, Signal, TtySize};
use pod_shell::attach::feed::{Unfed, unfed};
use std::future::pending;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

/// How long a command may take to be known as ended once its stream was lost: who waits for one that goes
/// on shall hear so soon.
const LOST: Duration = Duration::from_secs(10);
/// How long the stream may take to end once the command has.
const REST: Duration = Duration::from_secs(1);
/// How long the log may take to tell the rest, unless nobody reads it.
const TOLD: Duration = Duration::from_secs(5);

/// A container's command, attached to.
#[derive(Debug)]
pub(super) struct AttachDriver {
    target: Target,
    tty: bool,
    /// Whether the container goes on when the command has ended.
    kept: bool,
    carried: Option<Carried>,
    rests: Vec<oneshot::Receiver<()>>,
    unfed: Option<watch::Receiver<Option<Unfed>>>,
    over: Option<ExitStatus>,
}

impl AttachDriver {
    pub(super) fn new(
        target: Target,
        found: &Inspected,
        carried: Option<Carried>,
        rests: Vec<oneshot::Receiver<()>>,
        unfed: Option<watch::Receiver<Option<Unfed>>>,
    ) -> Self {
        let (tty, kept) = (found.config.tty, found.is_kept());
        Self { target, tty, kept, carried, rests, unfed, over: None }
    }

    /// Waits until a stream has ended for another reason than the command's end.
    async fn broken(&self) -> Error {
        let lost = async {
            if let Some(carried) = &self.carried
                && let End::Lost(why) = end_of(&mut carried.progress.clone()).await
            {
                return why;
            }
            pending().await
        };
        let error = tokio::select! {
            why = lost => Error::new(ErrorKind::Unavailable, "the stream to the command was lost; the command still runs")
                .with_context("cause", why)
                .with_hint("attach again"),
            unfed = unfed(self.unfed.clone()) => unfed.error(),
        };
        sleep(LOST).await;
        self.target.about(error)
    }

    /// Waits until the command has ended.
    async fn ended(&self) -> Result<ExitStatus> {
        let (engine, id) = (&self.target.engine, &self.target.id);
        let ended = match self.kept {
            true => containers::kept::ended(engine, id).await,
            false => containers::stopped(engine, id).await,
        };
        ended.map_err(|f| {
            let cause = self.target.engine.error(f);
            self.target
                .about(Error::new(ErrorKind::Unavailable, "how the command ended can't be asked").with_source(cause))
        })
    }
}

#[async_trait]
impl ProcessDriver for AttachDriver {
    async fn wait(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.over {
            return Ok(status);
        }
        let status = tokio::select! {
            biased;
            status = self.ended() => status?,
            broken = self.broken() => return Err(broken),
        };
        if let Some(carried) = &mut self.carried {
            // What somebody reads slowly goes on to its end.
            let _ = timeout(REST, end_of(&mut carried.progress)).await;
            carried.leave();
        }
        while let Some(rest) = self.rests.last_mut() {
            // Its end is all that it tells.
            let _ = timeout(TOLD, rest).await;
            self.rests.pop();
        }
        self.over = Some(status);
        Ok(status)
    }

    async fn resize(&mut self, size: TtySize) -> Result<()> {
        if !self.tty {
            return Err(Error::new(ErrorKind::WrongState, "the command has no terminal"));
        }
        let query = Query::new().with("h", size.rows.to_string()).with("w", size.cols.to_string());
        match self.target.engine.post(&format!("/containers/{}/resize", part(&self.target.id)), query).await {
            Ok(_) => Ok(()),
            // One that has just ended needs no size.
            Err(f) if f.is_not_found() || f.is_conflict() => Ok(()),
            Err(f) => match self.target.engine.error(f) {
                e if e.kind() == ErrorKind::WrongState => Ok(()),
                e => Err(self.target.about(e)),
            },
        }
    }

    async fn signal(&mut self, signal: Signal) -> Result<()> {
        let sent = containers::signal(&self.target.engine, &self.target.id, signal).await;
        sent.map(drop).map_err(|e| self.target.about(e))
    }

    async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL).await?;
        self.ended().await.map(drop)
    }

    async fn detach(&mut self) -> Result<()> {
        Ok(())
    }
}

//! Holding a program that runs in a container.

use super::pump::{End, Progress, end_of};
use super::{Target, run_script, wrap};
use crate::engine::{Query, part};
use async_trait::async_trait;
use pod_core::{Error, ErrorKind, ExitStatus, ProcessDriver, Result, Signal, TtySize};
use tokio::sync::watch;

/// What is wrong with an image that no program can be run in.
pub(crate) const SHELL_LESS: &str = "the image has no `/bin/sh`, by which programs are run in it";

/// A program in a container.
#[derive(Debug)]
pub(crate) struct ExecDriver {
    pub(crate) target: Target,
    /// The exec's id.
    pub(crate) exec: String,
    /// By which it is found again.
    pub(crate) token: String,
    /// Its process id within the container.
    pub(crate) pid: u32,
    pub(crate) tty: bool,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) discard: watch::Sender<bool>,
}

/// Signals one process of a token, or kills all of it. As root: what a program started may run as anyone.
async fn signal(target: &Target, token: &str, to: Option<(Signal, u32)>) -> Result<()> {
    let ran = run_script(target, &pod_shell::signal(wrap::SHELL, token, to)).await;
    pod_shell::signalled(ran).map_err(|e| target.about(e))
}

#[async_trait]
impl ProcessDriver for ExecDriver {
    async fn wait(&mut self) -> Result<ExitStatus> {
        match end_of(&mut self.progress).await {
            End::Exited(status) | End::NotBegun(_, status) => Ok(status),
            End::Lost(why) => Err(self.target.about(
                Error::new(ErrorKind::Unavailable, "how the program ended is not known: the daemon went away")
                    .with_context("cause", why),
            )),
        }
    }

    async fn resize(&mut self, size: TtySize) -> Result<()> {
        if !self.tty {
            return Err(Error::new(ErrorKind::WrongState, "the program has no terminal"));
        }
        if self.progress.borrow().end.is_some() {
            return Ok(());
        }
        let query = Query::new().with("h", size.rows.to_string()).with("w", size.cols.to_string());
        match self.target.engine.post(&format!("/exec/{}/resize", part(&self.exec)), query).await {
            Ok(_) => Ok(()),
            // One that has just ended needs no size.
            Err(f) if f.is_not_found() || f.is_conflict() => Ok(()),
            Err(f) => Err(self.target.about(self.target.engine.error(f))),
        }
    }

    async fn signal(&mut self, to: Signal) -> Result<()> {
        if self.progress.borrow().end.is_some() {
            return Ok(());
        }
        signal(&self.target, &self.token, Some((to, self.pid))).await
    }

    async fn kill(&mut self) -> Result<()> {
        signal(&self.target, &self.token, None).await?;
        // Its status comes behind what it printed, whether somebody reads that or not. Whoever still waits
        // for it is there as long as this is.
        self.discard.send_replace(true);
        Ok(())
    }

    async fn detach(&mut self) -> Result<()> {
        Ok(())
    }
}

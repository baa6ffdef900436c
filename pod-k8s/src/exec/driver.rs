//! Holding a program that runs in a container.

use super::gone::{PodWatch, Watching, answers};
use super::start::run_script;
use super::{End, Order, Progress, Target, wrap};
use async_trait::async_trait;
use pod_core::{Error, ErrorKind, ExitStatus, ProcessDriver, Result, Signal, TtySize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long a program runs before its pod is watched: most are shorter.
const BEFORE_WATCH: Duration = Duration::from_secs(3);
/// How long a status may come after its pod was seen to be gone.
const GRACE: Duration = Duration::from_secs(2);

/// How long a signal may take to be sent.
pub(crate) const SIGNAL: Duration = Duration::from_secs(20);
/// How long killing all of a program may take; its script gives up after 40 s.
const KILL: Duration = Duration::from_secs(60);

/// A program in a container.
#[derive(Debug)]
pub(crate) struct ExecDriver {
    pub(crate) target: Arc<Target>,
    pub(crate) watch: Arc<PodWatch>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) orders: mpsc::Sender<Order>,
    /// By which it is found again, and its process id; `None` where the image has no shell.
    pub(crate) known: Option<(String, u32)>,
    pub(crate) tty: bool,
    pub(crate) began: Instant,
    pub(crate) watching: Option<Arc<Watching>>,
}

impl ExecDriver {
    fn ended(&self) -> bool {
        self.progress.borrow().end.is_some()
    }

    fn shell_less(&self, what: &str) -> Error {
        self.target.about(
            Error::unsupported(format!("the image has no `sh`, so its programs can't be {what}: the program was left"))
                .with_hint("use an image with a POSIX shell and /proc"),
        )
    }
}

/// Waits for a session's end.
pub(crate) async fn end_of(progress: &mut watch::Receiver<Progress>) -> End {
    let ended = progress.wait_for(|p| p.end.is_some()).await;
    ended.ok().and_then(|p| p.end.clone()).unwrap_or_else(|| End::Lost("the runtime was shut down".into()))
}

/// Kills all of a token.
///
/// # Errors
/// `Unsupported` where the image has no shell or no `/proc`; `PermissionDenied` when something of it can't
/// be killed; `Timeout` when the node does not answer.
pub(crate) async fn kill(target: &Target, token: &str) -> Result<()> {
    signal(target, token, None).await
}

async fn signal(target: &Target, token: &str, to: Option<(Signal, u32)>) -> Result<()> {
    let limit = if to.is_some() { SIGNAL } else { KILL };
    let ran = run_script(target, &wrap::signal(token, to), limit).await.map_err(|e| match e.kind() {
        ErrorKind::CommandFailed => {
            Error::unsupported("the image's `sh` can't be run to signal by: the program was left").with_source(e)
        }
        _ => e,
    });
    pod_shell::signalled(ran).map_err(|e| target.about(e))
}

#[async_trait]
impl ProcessDriver for ExecDriver {
    async fn wait(&mut self) -> Result<ExitStatus> {
        let end = loop {
            let Some(watching) = self.watching.clone() else {
                tokio::select! {
                    biased;
                    end = end_of(&mut self.progress) => break end,
                    () = tokio::time::sleep_until(self.began + BEFORE_WATCH) => {
                        self.watching = Some(self.watch.join(&self.target));
                    }
                }
                continue;
            };
            tokio::select! {
                biased;
                end = end_of(&mut self.progress) => break end,
                why = watching.gone() => {
                    if let Ok(end) = tokio::time::timeout(GRACE, end_of(&mut self.progress)).await {
                        break end;
                    }
                    // A session that has ended meanwhile takes no orders.
                    let _ = self.orders.send(Order::Abandon(why)).await;
                    break end_of(&mut self.progress).await;
                }
            }
        };
        self.watching = None;
        // No mark proves this success, and a lost node looks the same.
        let unproven = self.tty || self.known.is_none();
        if unproven && end == End::Exited(ExitStatus::Exited(0)) && !answers(&self.target).await {
            return Ok(ExitStatus::Unknown);
        }
        match end {
            End::Exited(status) => Ok(status),
            End::Refused(words) if self.known.is_none() => Err(self.target.about(super::status::refused(&words, None))),
            End::Refused(why) | End::Lost(why) => {
                tracing::warn!(target: "pod", pod = self.target.pod, why, "how a program ended is not known");
                Ok(ExitStatus::Unknown)
            }
        }
    }

    async fn resize(&mut self, size: TtySize) -> Result<()> {
        if !self.tty {
            return Err(Error::new(ErrorKind::WrongState, "the program has no terminal"));
        }
        // One that has ended needs no size.
        let _ = self.orders.send(Order::Resize(size)).await;
        Ok(())
    }

    async fn signal(&mut self, to: Signal) -> Result<()> {
        if self.ended() {
            return Ok(());
        }
        match &self.known {
            Some((token, pid)) => signal(&self.target, token, Some((to, *pid))).await,
            None => Err(self.shell_less("signalled")),
        }
    }

    async fn kill(&mut self) -> Result<()> {
        let Some((token, _)) = &self.known else {
            return if self.ended() { Ok(()) } else { Err(self.shell_less("killed")) };
        };
        kill(&self.target, token).await?;
        // Its status comes behind what it printed, whether somebody reads that or not.
        let _ = self.orders.send(Order::Flush).await;
        Ok(())
    }

    async fn detach(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Cluster;
    use crate::config::K8sConfig;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_hangs_holds_no_signal_and_no_kill() {
        // It takes connections, and never says a word.
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", server.local_addr().expect("an address"));
        let mut config = kube::Config::new(address.parse().expect("an address"));
        (config.connect_timeout, config.read_timeout, config.write_timeout) = (None, None, None);
        let cluster = Cluster {
            client: kube::Client::try_from(config).expect("a client"),
            namespace: "lab".into(),
            context: "lab".into(),
            server: address,
            version: "v1.33.1".into(),
            config: Arc::new(K8sConfig::default()),
        };
        let target = Target { cluster, pod: "w".into(), container: "main".into() };
        for (to, limit) in [(Some((Signal::TERM, 7)), SIGNAL), (None, KILL)] {
            let begun = Instant::now();
            let error = signal(&target, "token", to).await.expect_err("nobody answers");
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert_eq!(begun.elapsed().as_secs(), limit.as_secs());
        }
    }
}

//! A container of a pod as the far end of a copy.

use crate::exec::driver::end_of;
use crate::exec::session::Session;
use crate::exec::start::start_script;
use crate::exec::{End, Order, PodWatch, Target, status};
use async_trait::async_trait;
use futures_util::FutureExt;
use pod_core::{BoxRead, Error, ErrorKind, Result};
use pod_shell::copy::{Far, Running};
use std::sync::Arc;
use tokio::io::BufReader;

/// A container of a pod as the far end.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) target: Arc<Target>,
    pub(crate) watch: Arc<PodWatch>,
}

#[async_trait]
impl Far for Container {
    async fn start(&self, script: &str, args: &[String], stdin: bool) -> Result<Running> {
        let (session, half_close) = start_script(&self.target, script, args, stdin).await?;
        let Session { stdin, stdout, stderr, mut progress, orders } = session;
        let far = self.clone();
        let end = async move {
            let watching = far.watch.join(&far.target);
            let end = tokio::select! {
                biased;
                end = end_of(&mut progress) => end,
                why = watching.gone() => {
                    // A session that has ended meanwhile takes no orders.
                    let _ = orders.send(Order::Abandon(why)).await;
                    end_of(&mut progress).await
                }
            };
            // As long as this lives, the session does.
            drop(orders);
            match end {
                End::Exited(status) => Ok(status),
                End::Refused(words) => Err(far.target.about(status::refused(&words, Some(b"sh")))),
                End::Lost(why) => Err(far.target.about(
                    Error::new(ErrorKind::Unavailable, "the stream to the pod was lost during the copy")
                        .with_context("cause", why),
                )),
            }
        };
        Ok(Running {
            stdin: stdin.map(|s| Box::pin(s) as _),
            stdout: BufReader::with_capacity(64 << 10, stdout.map_or_else(empty, |s| Box::pin(s) as _)),
            stderr: stderr.map_or_else(empty, |s| Box::pin(s) as _),
            end: end.boxed(),
            half_close,
        })
    }

    fn about(&self, error: Error) -> Error {
        self.target.about(error)
    }

    fn without_shell(&self) -> &'static str {
        "use an image with a POSIX shell and `tar` or `cat`, or a helper: `pod cp --helper IMAGE`"
    }
}

fn empty() -> BoxRead {
    Box::pin(tokio::io::empty())
}

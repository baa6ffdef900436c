//! The machine as a whole: its name, reboot and shutdown.

use crate::os::{Os, Step, handle};
use crate::{Error, ErrorKind, ExitStatus, Output, Result, ResultExt};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How long one question to a machine that may be down takes at most.
const ASK: Duration = Duration::from_secs(10);

/// How long between two questions.
const PAUSE: Duration = Duration::from_millis(500);

/// Checks a host name: RFC 1123, section 2.1, and the 64 bytes that Linux keeps (gethostname(2)).
pub(crate) fn checked(name: &str) -> Result<&str> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if name.len() > 64 || !name.split('.').all(label) {
        return Err(Error::invalid("that is no host name")
            .with_context("host_name", format!("{name:?}"))
            .with_hint("labels of letters, digits and `-` between dots, at most 64 bytes"));
    }
    Ok(name)
}

impl Os {
    /// The host name as it is now.
    ///
    /// # Errors
    /// As [`Os::execute`].
    pub async fn hostname(&self) -> Result<String> {
        self.execute(self.dialect().hostname(), "os.hostname").await
    }

    /// Sets the host name, now and, in `/etc/hostname`, for the next boot. `/etc/hosts` is left alone.
    ///
    /// # Errors
    /// `InvalidInput` for what is no host name; `PermissionDenied`, as in most containers; else as
    /// [`Os::execute`].
    pub async fn set_hostname(&self, name: &str) -> Result<()> {
        self.execute(self.dialect().set_hostname(name), "os.set_hostname").await
    }

    /// What tells this boot from the next: the kernel's boot id and, as a container keeps that over a
    /// restart, when process 1 began.
    ///
    /// # Errors
    /// As [`Os::execute`].
    pub async fn boot_id(&self) -> Result<String> {
        self.execute(self.dialect().boot_id(), "os.boot_id").await
    }

    /// Reboots, and returns the new boot id when that has changed and exec answers again.
    ///
    /// On cancellation the reboot goes on.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where no init system runs: restart the workload through its backend;
    /// `PermissionDenied`; [`ErrorKind::Timeout`] when it is not back in time; else as [`Os::execute`].
    pub async fn reboot(&self, deadline: Duration) -> Result<String> {
        let until = Instant::now() + deadline;
        let before = self.boot_id().await.operation("os.reboot")?;
        self.order(self.dialect().reboot()).await.operation("os.reboot")?;
        let mut last = None;
        loop {
            match timeout_at(until.min(Instant::now() + ASK), self.boot_id()).await {
                Ok(Ok(now)) if now != before => return Ok(now),
                Ok(Ok(_)) => {}
                Ok(Err(e)) => last = Some(e), // it is on its way down or up
                Err(_) => {}
            }
            if Instant::now() + PAUSE >= until {
                let mut error =
                    Error::new(ErrorKind::Timeout, "the machine was told to reboot and is not back in time")
                        .with_context("waited", format!("{} s", deadline.as_secs()))
                        .with_hint("a container only ends: start it again through its backend")
                        .with_operation("os.reboot");
                if let Some(last) = last {
                    error = error.with_source(last);
                }
                return Err(error);
            }
            sleep(PAUSE).await;
        }
    }

    /// Shuts down, and returns when exec answers no more.
    ///
    /// On cancellation the shutdown goes on.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where no init system runs: stop the workload through its backend;
    /// `PermissionDenied`; [`ErrorKind::Timeout`] when it still answers in the end; else as
    /// [`Os::execute`].
    pub async fn shutdown(&self, deadline: Duration) -> Result<()> {
        let until = Instant::now() + deadline;
        self.order(self.dialect().shutdown()).await.operation("os.shutdown")?;
        loop {
            match timeout_at(until.min(Instant::now() + ASK), self.boot_id()).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) if Instant::now() < until => return Ok(()), // not a word within a fair time
                Err(_) => {}
            }
            if Instant::now() + PAUSE >= until {
                return Err(Error::new(ErrorKind::Timeout, "the machine was told to shut down and still answers")
                    .with_context("waited", format!("{} s", deadline.as_secs()))
                    .with_operation("os.shutdown"));
            }
            sleep(PAUSE).await;
        }
    }

    /// Gives an order that may cut the very exec that carries it: only a program that ended and said no
    /// is a failure.
    async fn order(&self, plan: Result<crate::os::Plan<()>>) -> Result<()> {
        let plan = plan?;
        for step in plan.steps() {
            match self.run_one(step).await {
                Ok(output) => match output.status {
                    ExitStatus::Exited(_) => crate::os::plan::check(&output)?,
                    ExitStatus::Signaled(_) | ExitStatus::Unknown => {}
                },
                Err(e) if matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::WrongState | ErrorKind::Timeout) => {
                    tracing::debug!(error = %e, "the order to go down cut its own connection");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    async fn run_one(&self, step: &Step) -> Result<Output> {
        handle::run_step(&**self.connection(), self.user_of_programs(), step).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_checked() {
        for good in ["a", "web-1", "web-1.example.org", "9"] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "a.", "a_b", "a b", "ü", &"x".repeat(64), &["x"; 33].join(".")] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}

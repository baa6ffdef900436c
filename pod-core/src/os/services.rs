//! Services of the init system.

use crate::os::Os;
use crate::{Error, Result};
use std::fmt;

/// What a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceState {
    /// It runs.
    Running,
    /// It did its work and counts as started.
    Exited,
    /// It is being started.
    Starting,
    /// It is being stopped.
    Stopping,
    /// It does not run.
    Stopped,
    /// It failed or crashed.
    Failed,
    /// The init system doesn't say.
    Unknown,
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Service {
    /// Its name, without `.service`.
    pub name: String,
    /// What it is, in the words of whoever packaged it; empty where nothing tells.
    pub description: String,
    /// What it is doing.
    pub state: ServiceState,
    /// Whether it starts at boot; `None` where that can't be set (systemd's static units).
    pub enabled: Option<bool>,
    /// Its main process.
    pub pid: Option<u32>,
}

/// What to do with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceAction {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop it if it runs, and start it.
    Restart,
    /// Have it start at boot.
    Enable,
    /// Have it not start at boot.
    Disable,
}

impl ServiceAction {
    /// The word that init systems use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Enable => "enable",
            Self::Disable => "disable",
        }
    }
}

/// Whether an action changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceOutcome {
    /// It did.
    Changed,
    /// It was so already.
    Unchanged,
}

/// Checks a service's name: it becomes an argument and, for some init systems, a file's name.
pub(crate) fn checked(name: &str) -> Result<&str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._@:+-\\".contains(c);
    if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(allowed) {
        return Err(Error::invalid("that is no name of a service").with_context("service", format!("{name:?}")));
    }
    Ok(name)
}

impl Os {
    /// The services, by name.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where no init system runs, as in most
    /// containers; else as [`Os::execute`].
    pub async fn services(&self) -> Result<Vec<Service>> {
        self.execute(self.dialect().services(), "os.services").await
    }

    /// The service of this name.
    ///
    /// # Errors
    /// `NotFound`; else as [`Os::services`].
    pub async fn service(&self, name: &str) -> Result<Service> {
        self.execute(self.dialect().service(name), "os.service").await
    }

    /// Starts, stops, restarts, enables or disables a service, and returns when that is done. Starting
    /// one that runs, stopping one that doesn't, and so on, is no error; a restart always restarts.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied`; [`ErrorKind::WrongState`](crate::ErrorKind::WrongState) when it
    /// is masked, or can't be enabled; `CommandFailed` when it doesn't start; else as [`Os::services`].
    pub async fn control_service(&self, name: &str, action: ServiceAction) -> Result<ServiceOutcome> {
        self.execute(self.dialect().control_service(name, action), "os.control_service").await
    }

    /// Restarts the service that configures the network: the first of NetworkManager,
    /// systemd-networkd, networking, network, wicked, connman that is started.
    ///
    /// # Errors
    /// `Unsupported` where none of them is; else as [`Os::control_service`].
    pub async fn restart_network(&self) -> Result<String> {
        const NAMES: [&str; 6] = ["NetworkManager", "systemd-networkd", "networking", "network", "wicked", "connman"];
        let all = self.services().await?;
        let started = |name: &str| {
            let state = all.iter().find(|s| s.name == name).map(|s| s.state);
            matches!(state, Some(ServiceState::Running | ServiceState::Exited))
        };
        let Some(name) = NAMES.iter().find(|n| started(n)) else {
            return Err(Error::unsupported("no service that configures the network is started")
                .with_hint(format!("known are {}", NAMES.join(", ")))
                .with_operation("os.restart_network"));
        };
        self.control_service(name, ServiceAction::Restart).await?;
        Ok((*name).to_owned())
    }
}

//! The operating system of one workload, over a connection.

use crate::os::linux::Linux;
use crate::os::plan::{Plan, Step, check};
use crate::os::{OsDialect, OsFacts};
use crate::{Connection, Error, ErrorKind, ExecRequest, Output, Result, ResultExt};
use std::sync::Arc;

/// The operating system in a workload: a dialect over a connection. Cheap to clone.
///
/// Each operation is one exec where that is possible. Programs run as the workload's own user unless
/// [`Os::with_user`] says otherwise; POD never calls `sudo`.
///
/// ```no_run
/// # async fn f(connection: std::sync::Arc<dyn pod_core::Connection>) -> pod_core::Result<()> {
/// use pod_core::os::Os;
/// let os = Os::detect(connection).await?;
/// println!("{} on {}", os.facts().pretty_name, os.facts().kernel_release);
/// for interface in os.interfaces().await? {
///     println!("{} {:?} {:?}", interface.name, interface.vlan, interface.addresses);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Os {
    connection: Arc<dyn Connection>,
    dialect: Arc<dyn OsDialect>,
    user: Option<String>,
}

impl Os {
    /// Finds out, by one exec, which operating system the workload has.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the workload has no `/bin/sh`, or is no Linux; else as
    /// [`Connection::exec`].
    pub async fn detect(connection: Arc<dyn Connection>) -> Result<Self> {
        Self::detect_as(connection, None).await
    }

    /// As [`Os::detect`], with every program run as `user` (see [`ExecRequest::user`]). Needs
    /// `exec.user`.
    ///
    /// # Errors
    /// As [`Os::detect`].
    pub async fn detect_as(connection: Arc<dyn Connection>, user: Option<String>) -> Result<Self> {
        let facts = run(&*connection, user.as_deref(), Linux::detect()).await.operation("os.detect")?;
        if facts.kernel != "Linux" {
            return Err(
                Error::unsupported(format!("no dialect speaks to {}", facts.kernel)).with_operation("os.detect")
            );
        }
        Ok(Self { connection, dialect: Arc::new(Linux::new(facts)), user })
    }

    /// Speaks this dialect, asking nothing first.
    #[must_use]
    pub fn new(connection: Arc<dyn Connection>, dialect: Arc<dyn OsDialect>) -> Self {
        Self { connection, dialect, user: None }
    }

    /// Runs programs as this user from now on (see [`ExecRequest::user`]); `None` is the workload's own.
    /// The facts stay those that were read. Needs `exec.user`.
    #[must_use]
    pub fn with_user(mut self, user: Option<String>) -> Self {
        self.user = user;
        self
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &Arc<dyn Connection> {
        &self.connection
    }

    /// The dialect.
    #[must_use]
    pub fn dialect(&self) -> &dyn OsDialect {
        &*self.dialect
    }

    pub(crate) fn user_of_programs(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The facts read by [`Os::detect`].
    #[must_use]
    pub fn facts(&self) -> &OsFacts {
        self.dialect.facts()
    }

    /// Runs a plan of the dialect's: its programs in order, up to the first that fails.
    ///
    /// On cancellation the running program is killed; what ran before is not undone.
    ///
    /// # Errors
    /// The plan's own, if there is none. Of a program that fails: `PermissionDenied`, `NotFound`,
    /// `AlreadyExists`, `Exhausted`, `Busy`, `Unsupported` or `Unavailable` where its words tell, else
    /// [`ErrorKind::CommandFailed`], with its stderr as context. `Timeout` after the step's time. Else
    /// as [`Connection::exec`].
    pub async fn execute<T: 'static>(&self, plan: Result<Plan<T>>, operation: &'static str) -> Result<T> {
        let plan = plan.operation(operation)?;
        run(&*self.connection, self.user.as_deref(), plan).await.operation(operation)
    }
}

async fn run<T: 'static>(connection: &dyn Connection, user: Option<&str>, plan: Plan<T>) -> Result<T> {
    let mut outputs = Vec::with_capacity(plan.steps().len());
    for step in plan.steps() {
        let output = run_step(connection, user, step).await?;
        check(&output)?;
        outputs.push(output);
    }
    plan.read(&outputs)
}

/// Runs one program to its end.
pub(crate) async fn run_step(connection: &dyn Connection, user: Option<&str>, step: &Step) -> Result<Output> {
    let mut request: ExecRequest = step.request.clone();
    if let Some(user) = user {
        request.user = Some(user.to_owned());
    }
    let process = connection.exec(request).await.map_err(no_shell)?;
    match &step.input {
        Some(input) => process.communicate(input.as_bytes(), step.limit).await,
        None => process.output(step.limit).await,
    }
}

/// A workload without a shell can't be asked anything.
fn no_shell(error: Error) -> Error {
    if error.kind() == ErrorKind::CommandFailed && error.exit_code().is_some() {
        return Error::unsupported("the workload has no shell that runs, so its operating system can't be asked")
            .with_hint("use an image with /bin/sh")
            .with_source(error);
    }
    error
}

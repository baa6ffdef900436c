//! One case of the suite, and what it works with.

use crate::Target;
use futures_util::future::BoxFuture;
use pod_core::{
    Backend, BackendExt, Capability, Connection, ConnectionExt, CreateRequest, ErrorKind, ExecRequest, Filter, Image,
    Network, NetworkName, NetworkSpec, Networking, Output, RemoveRequest, Result, Workload, WorkloadName, WorkloadSpec,
};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Why a case failed: with the whole chain of an error.
pub struct Failure(String);

impl Failure {
    /// A failure with these words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<pod_core::Error> for Failure {
    fn from(e: pod_core::Error) -> Self {
        let mut text = format!(
            "{} error in {} on {}: {e}",
            e.kind(),
            e.operation().unwrap_or("(no operation)"),
            e.backend().unwrap_or("(no backend)")
        );
        let mut next = std::error::Error::source(&e);
        while let Some(cause) = next {
            text.push_str(&format!("\n  caused by: {cause}"));
            next = cause.source();
        }
        Self(text)
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self(format!("input or output failed: {e}"))
    }
}

/// What a case gives.
pub type Outcome = Result<(), Failure>;

/// Fails the case with these words unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err($crate::Failure::new(format!($($words)+)));
        }
    };
}

/// Fails the case unless both are equal, and says what they are of.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($words:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => {
                if *found != *expected {
                    return Err($crate::Failure::new(format!(
                        "{}: expected {:?}, found {:?}",
                        format_args!($($words)+),
                        expected,
                        found
                    )));
                }
            }
        }
    };
}

pub(crate) use {ensure, ensure_eq};

/// Fails unless the result is an error of this kind.
pub(crate) fn expect_error<T: fmt::Debug>(
    result: Result<T>,
    kind: ErrorKind,
    what: &str,
) -> Result<pod_core::Error, Failure> {
    match result {
        Err(e) if e.kind() == kind => Ok(e),
        Err(e) => Err(Failure::new(format!("{what}: expected {kind}, found: {}", Failure::from(e)))),
        Ok(value) => Err(Failure::new(format!("{what}: expected {kind}, but it was done: {value:?}"))),
    }
}

type Run = for<'a> fn(&'a Lab) -> BoxFuture<'a, Outcome>;

/// One case: what it needs of a backend, and what it does.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    needs: &'static [Capability],
    run: Run,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}

impl Case {
    /// A case of this name that is run on backends with these capabilities.
    #[must_use]
    pub const fn new(name: &'static str, needs: &'static [Capability], run: Run) -> Self {
        Self { name, needs, run }
    }

    /// Its name, such as `exec::argv_is_kept`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The capabilities it needs.
    #[must_use]
    pub fn needs(&self) -> &'static [Capability] {
        self.needs
    }

    pub(crate) fn start<'a>(&self, lab: &'a Lab) -> BoxFuture<'a, Outcome> {
        (self.run)(lab)
    }
}

/// Lists cases: a name and the capabilities it needs, from functions of the same names.
macro_rules! cases {
    ($group:literal: $($name:ident [$($capability:ident),* $(,)?];)*) => {
        /// The cases of this file.
        pub(crate) const CASES: &[$crate::Case] = &[
            $($crate::Case::new(
                concat!($group, "::", stringify!($name)),
                &[$(pod_core::Capability::$capability),*],
                |lab| Box::pin($name(lab)),
            ),)*
        ];
    };
}

pub(crate) use cases;

/// What a case works with: the backend, and names of its own.
#[derive(Debug)]
pub struct Lab {
    backend: Arc<dyn Backend>,
    target: Arc<Target>,
    prefix: String,
    made: AtomicU32,
}

impl Lab {
    /// A lab on this backend, which was reached at the target's address.
    #[must_use]
    pub fn new(target: Arc<Target>, backend: Arc<dyn Backend>) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self { backend, target, prefix: format!("t{}", &id[..10]), made: AtomicU32::new(0) }
    }

    /// The backend, behind its layers.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// What the suite is run against.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether the backend says that it can do something.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.backend.capabilities().has(capability)
    }

    pub(crate) fn networking(&self) -> Result<Arc<dyn Networking>> {
        self.backend.require_networking()
    }

    /// A wait of this many milliseconds on a fast machine.
    pub(crate) fn ms(&self, fast: u64) -> Duration {
        self.target.time(Duration::from_millis(fast))
    }

    /// The beginning of all names of this case.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn next(&self) -> u32 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// A workload's name of this case.
    pub(crate) fn name(&self) -> Result<WorkloadName> {
        WorkloadName::new(format!("{}w{}", self.prefix, self.next()))
    }

    /// A network's name of this case.
    pub(crate) fn network_name(&self) -> Result<NetworkName> {
        NetworkName::new(format!("{}n{}", self.prefix, self.next()))
    }

    /// A workload's specification with the target's image, that runs until it is stopped.
    pub(crate) fn spec(&self) -> Result<WorkloadSpec> {
        let spec = WorkloadSpec::new(self.name()?).with_command(["sleep", "3600"]);
        Ok(match &self.target.image {
            Some(image) => spec.with_image(Image::clone(image)),
            None => spec,
        })
    }

    /// A specification that runs a shell script.
    pub(crate) fn script(&self, script: &str) -> Result<WorkloadSpec> {
        Ok(self.spec()?.with_command(["sh", "-c", script]))
    }

    /// Asks for a workload that need not run: started only where it can't be made otherwise.
    pub(crate) fn request(&self, spec: WorkloadSpec) -> CreateRequest {
        let request = CreateRequest::new(spec);
        if self.has(Capability::StartStop) { request } else { request.with_start() }
    }

    /// Makes a workload that need not run.
    pub(crate) async fn made(&self, spec: WorkloadSpec) -> Result<Workload> {
        self.backend.create(self.request(spec)).await
    }

    /// A workload that does not run: never started, or ended where it can't be made so.
    pub(crate) async fn idle(&self) -> Result<WorkloadName, Failure> {
        if self.has(Capability::StartStop) {
            return Ok(self.made(self.spec()?).await?.spec.name);
        }
        let name = self.start(self.spec()?.with_command(["true"])).await?.spec.name;
        self.ended(&name).await?;
        Ok(name)
    }

    /// Makes and starts a workload.
    pub(crate) async fn start(&self, spec: WorkloadSpec) -> Result<Workload> {
        self.backend.create(CreateRequest::new(spec).with_start()).await
    }

    /// A running workload, and a way into it.
    pub(crate) async fn running(&self) -> Result<(WorkloadName, Arc<dyn Connection>)> {
        let workload = self.start(self.spec()?).await?;
        let connection = self.backend.connect(workload.name()).await?;
        Ok((workload.spec.name, connection))
    }

    /// A running workload on these networks, each with an address or the next free one.
    pub(crate) async fn attached(&self, networks: &[(&NetworkName, Option<&str>)]) -> Result<WorkloadName, Failure> {
        let mut spec = self.spec()?;
        for (network, ip) in networks {
            let mut attachment = pod_core::AttachmentSpec::new((*network).clone());
            if let Some(ip) = ip {
                attachment = attachment.with_ip(address(ip)?);
            }
            spec = spec.with_attachment(attachment);
        }
        Ok(self.start(spec).await?.spec.name)
    }

    /// Makes a network with this subnet.
    pub(crate) async fn network(&self, vlan: Option<u16>, subnet: &str) -> Result<Network, Failure> {
        let spec = self.network_spec(vlan, &[subnet])?;
        match self.networking()?.create(spec).await? {
            pod_core::CreateNetworkOutcome::Created(network) => Ok(network),
            other @ pod_core::CreateNetworkOutcome::AlreadyExists(_) => {
                Err(Failure::new(format!("a new network was there already: {other:?}")))
            }
        }
    }

    /// A network's specification; the VLAN id only where the backend has VLANs.
    pub(crate) fn network_spec(&self, vlan: Option<u16>, subnets: &[&str]) -> Result<NetworkSpec, Failure> {
        let mut spec = NetworkSpec::new(self.network_name()?);
        for subnet in subnets {
            spec = spec.with_subnet(subnet.parse().map_err(|e| Failure::new(format!("{subnet}: {e}")))?);
        }
        if let Some(vlan) = vlan {
            spec = spec.with_vlan(vlan.try_into()?);
        }
        Ok(spec)
    }

    /// Runs a program to its end.
    pub(crate) async fn run(&self, connection: &dyn Connection, request: ExecRequest) -> Result<Output> {
        connection.run(request).await
    }

    /// Runs a shell script in a workload, and gives what it printed; any failure fails the case.
    pub(crate) async fn sh(&self, connection: &dyn Connection, script: &str) -> Result<String, Failure> {
        let out = connection.run(ExecRequest::shell(script)).await?;
        if !out.status.success() {
            return Err(Failure::new(format!(
                "the script {script:?} {}\n  stdout: {:?}\n  stderr: {:?}",
                out.status,
                out.stdout_text(),
                out.stderr_text()
            )));
        }
        Ok(out.stdout_text())
    }

    /// Tries until something holds, for at most this many milliseconds on a fast machine.
    pub(crate) async fn eventually<F, Fut>(&self, fast: u64, what: &str, mut holds: F) -> Outcome
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Result<bool, Failure>> + Send,
    {
        let end = tokio::time::Instant::now() + self.ms(fast);
        loop {
            if holds().await? {
                return Ok(());
            }
            if tokio::time::Instant::now() >= end {
                return Err(Failure::new(format!("after {:?} it still does not hold that {what}", self.ms(fast))));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Gives something at most this many milliseconds on a fast machine.
    pub(crate) async fn within<T>(
        &self,
        fast: u64,
        what: &str,
        doing: impl Future<Output = T> + Send,
    ) -> Result<T, Failure> {
        tokio::time::timeout(self.ms(fast), doing)
            .await
            .map_err(|_| Failure::new(format!("{what} took longer than {:?}", self.ms(fast))))
    }

    /// Waits until a workload's command has ended.
    pub(crate) async fn ended(&self, name: &WorkloadName) -> Result<pod_core::ExitStatus, Failure> {
        let end = tokio::time::Instant::now() + self.ms(5000);
        loop {
            let workload = self.backend.inspect(name).await?;
            match workload.state {
                pod_core::State::Exited(status) | pod_core::State::Running { command: Some(status) } => {
                    return Ok(status);
                }
                state if tokio::time::Instant::now() >= end => {
                    return Err(Failure::new(format!("the command of {name} did not end: {state}")));
                }
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Removes all that the case made, and says what could not be removed.
    pub async fn clean_up(&self) -> Outcome {
        let mut left = Vec::new();
        match self.backend.list(Filter::all()).await {
            Ok(all) => {
                for workload in all.iter().filter(|w| w.name().as_str().starts_with(&self.prefix)) {
                    let request = RemoveRequest::new(workload.name().clone()).with_force(true);
                    if let Err(e) = self.backend.remove(request).await {
                        left.push(Failure::from(e).0);
                    }
                }
            }
            Err(e) => left.push(Failure::from(e).0),
        }
        if let Some(networking) = self.backend.networking().filter(|_| self.has(Capability::Networks)) {
            match networking.list().await {
                Ok(all) => {
                    for network in all.iter().filter(|n| n.spec.name.as_str().starts_with(&self.prefix)) {
                        if let Err(e) = networking.remove(&network.spec.name).await {
                            left.push(Failure::from(e).0);
                        }
                    }
                }
                Err(e) => left.push(Failure::from(e).0),
            }
        }
        if left.is_empty() { Ok(()) } else { Err(Failure(format!("could not clean up: {}", left.join("; ")))) }
    }
}

/// An address given in a case.
pub(crate) fn address(text: &str) -> Result<std::net::IpAddr, Failure> {
    text.parse().map_err(|e| Failure::new(format!("{text}: {e}")))
}

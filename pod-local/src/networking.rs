//! The networks of the `local:` backend: pod-net's, with the workloads' namespaces.

use crate::backend::{Engine, blocking};
use crate::events;
use crate::own_files;
use crate::store::{Inside, Store};
use async_trait::async_trait;
use pod_core::{
    Applied, AttachNetworkRequest, Attachment, AttachmentFilter, AttachmentSpec, Capability, CreateNetworkOutcome,
    DetachOutcome, DetachRequest, Error, ErrorKind, Event, EventKind, IsolateRequest, Network, NetworkIntent,
    NetworkName, NetworkPlan, NetworkSpec, NetworkStep, Networking, PolicyReport, PolicySpec, ProbeOutcome,
    ProbeRequest, RemoveOutcome, Result, VerifyReport, VerifyRequest, WorkloadName,
};
use pod_net::{HostNet, HostNetConfig, Sandbox};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tokio::sync::OnceCell;

/// Whether a network namespace is mounted at `path` (NSFS_MAGIC, statfs(2)).
pub(crate) fn is_netns(path: &Path) -> bool {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|s| s.f_type == NSFS_MAGIC)
}

/// pod-net, opened when it is first needed: most commands need no network.
#[derive(Debug)]
pub(crate) struct Net {
    config: HostNetConfig,
    records: PathBuf,
    open: OnceCell<HostNet>,
}

fn sandbox(store: &Store, name: &WorkloadName) -> Sandbox {
    Sandbox::new(name.clone(), store.netns(name))
}

impl Net {
    pub(crate) fn new(store: &Store) -> Self {
        let records = store.lib.join("net");
        let config = HostNetConfig {
            state_dir: store.lib.clone(),
            run_dir: store.run.clone(),
            instance: store.instance.clone(),
        };
        Self { config, records, open: OnceCell::new() }
    }

    /// The capabilities this machine's kernel has no means for.
    pub(crate) async fn lacking(&self) -> Result<Vec<Capability>> {
        let able = self.host().await?.capabilities();
        // DNS servers are files here, and no business of the kernel's.
        let networks = |c: &Capability| c.path().starts_with("network.") && *c != Capability::Dns;
        Ok(Capability::ALL.iter().copied().filter(|c| networks(c) && !able.has(*c)).collect())
    }

    async fn host(&self) -> Result<&HostNet> {
        self.open.get_or_try_init(|| HostNet::open(self.config.clone())).await
    }

    /// Whether any network was ever made here; if not, nothing is attached.
    fn unused(&self) -> bool {
        !self.records.exists()
    }

    pub(crate) async fn attach(&self, store: &Store, name: &WorkloadName, spec: &AttachmentSpec) -> Result<Attachment> {
        let made = self.host().await?.attach(&sandbox(store, name), spec).await?;
        events::emit(&store.journal(), &Event::now(name.clone(), EventKind::Attached(made.network.clone())));
        Ok(made)
    }

    /// Brings a workload's ports up or down.
    pub(crate) async fn set_running(&self, name: &WorkloadName, running: bool) -> Result<()> {
        if self.unused() {
            return Ok(());
        }
        self.host().await?.set_running(name, running).await
    }

    pub(crate) async fn restore(&self, store: &Store, name: &WorkloadName) -> Result<()> {
        if self.unused() {
            return Ok(());
        }
        self.host().await?.restore(&sandbox(store, name)).await.map(drop)
    }

    pub(crate) async fn forget(&self, name: &WorkloadName) -> Result<()> {
        if self.unused() {
            return Ok(());
        }
        self.host().await?.forget(name).await
    }

    pub(crate) async fn attachments_of(&self, name: &WorkloadName) -> Result<Vec<Attachment>> {
        if self.unused() {
            return Ok(Vec::new());
        }
        self.host().await?.attachments(&AttachmentFilter::default().with_workload(name.clone())).await
    }

    pub(crate) async fn all_attachments(&self) -> Result<Vec<Attachment>> {
        if self.unused() {
            return Ok(Vec::new());
        }
        self.host().await?.attachments(&AttachmentFilter::default()).await
    }
}

/// The networks of one engine.
#[derive(Debug)]
pub(crate) struct LocalNetworking {
    engine: Engine,
}

impl LocalNetworking {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        let store = &self.engine.store;
        Ok(store
            .names()?
            .iter()
            .map(|n| sandbox(store, n))
            .filter(|s| is_netns(&s.netns) && store.alive(&s.workload).unwrap_or(false))
            .collect())
    }

    /// The sandbox of a workload that exists, its namespace made if a reboot took it.
    async fn existing(&self, name: &WorkloadName) -> Result<Sandbox> {
        self.engine.store.record(name)?;
        self.engine.ensure_netns(name).await?;
        Ok(sandbox(&self.engine.store, name))
    }

    async fn enter(&self) -> Result<Inside> {
        let store = self.engine.store.clone();
        blocking(move || store.enter()).await
    }

    /// The DNS servers of a workload's attachments.
    async fn servers(&self, name: &WorkloadName) -> Result<Vec<IpAddr>> {
        let attachments = self.engine.net.attachments_of(name).await?;
        Ok(attachments.into_iter().flat_map(|a| a.dns).collect())
    }

    /// Tells a workload its DNS servers if they are others than before. What it wrote itself stays as
    /// long as they are the same.
    async fn tell_servers(&self, name: &WorkloadName, before: &[IpAddr]) -> Result<()> {
        let servers = self.servers(name).await?;
        if servers == before {
            return Ok(());
        }
        let root = self.engine.root(name).await?;
        blocking(move || own_files::tell_servers(&root.fd, &servers)).await
    }

    fn emit(&self, name: &WorkloadName, kind: EventKind) {
        events::emit(&self.engine.store.journal(), &Event::now(name.clone(), kind));
    }
}

#[async_trait]
impl Networking for LocalNetworking {
    async fn create(&self, spec: NetworkSpec) -> Result<CreateNetworkOutcome> {
        let _inside = self.enter().await?;
        self.engine.net.host().await?.create_network(&spec).await
    }

    async fn list(&self) -> Result<Vec<Network>> {
        if self.engine.net.unused() {
            return Ok(Vec::new());
        }
        self.engine.net.host().await?.list().await
    }

    async fn remove(&self, network: &NetworkName) -> Result<RemoveOutcome> {
        if self.engine.net.unused() {
            return Ok(RemoveOutcome::AlreadyAbsent);
        }
        let outcome = self.engine.net.host().await?.remove_network(network).await?;
        self.engine.store.tidy();
        Ok(outcome)
    }

    async fn plan(&self, intent: NetworkIntent) -> Result<NetworkPlan> {
        for request in &intent.attachments {
            self.engine.store.record(&request.workload)?;
        }
        self.engine.net.host().await?.plan(&intent).await
    }

    async fn apply(&self, plan: NetworkPlan) -> Result<Applied> {
        let _inside = self.enter().await?;
        let mut before = BTreeMap::new();
        for step in &plan.steps {
            let name = match step {
                NetworkStep::Attach(request) => &request.workload,
                NetworkStep::Detach(attachment) => &attachment.workload,
                _ => continue,
            };
            self.existing(name).await?;
            before.insert(name, self.servers(name).await?);
        }
        let sandboxes = self.sandboxes()?;
        let applied = self.engine.net.host().await?.apply(&sandboxes, &plan).await?;
        for (name, servers) in before {
            self.tell_servers(name, &servers).await?;
        }
        Ok(applied)
    }

    async fn attach(&self, request: AttachNetworkRequest) -> Result<Attachment> {
        self.existing(&request.workload).await?;
        let before = self.servers(&request.workload).await?;
        let made = self.engine.net.attach(&self.engine.store, &request.workload, &request.attachment).await?;
        if let Err(e) = self.tell_servers(&request.workload, &before).await {
            let sandbox = sandbox(&self.engine.store, &request.workload);
            return Err(match self.engine.net.host().await?.detach(&sandbox, &made.network).await {
                Ok(_) => e,
                Err(left) => e.with_context("left_behind", left.to_string()),
            });
        }
        if !self.engine.store.alive(&request.workload)? {
            self.engine.net.set_running(&request.workload, false).await?;
        }
        Ok(made)
    }

    async fn detach(&self, request: DetachRequest) -> Result<DetachOutcome> {
        let sandbox = self.existing(&request.workload).await?;
        if self.engine.net.unused() {
            return Ok(DetachOutcome::AlreadyDetached);
        }
        let before = self.servers(&request.workload).await?;
        let outcome = self.engine.net.host().await?.detach(&sandbox, &request.network).await?;
        if outcome == DetachOutcome::Detached {
            self.tell_servers(&request.workload, &before).await?;
            self.emit(&request.workload, EventKind::Detached(request.network));
        }
        Ok(outcome)
    }

    async fn attachments(&self, filter: AttachmentFilter) -> Result<Vec<Attachment>> {
        if self.engine.net.unused() {
            return Ok(Vec::new());
        }
        self.engine.net.host().await?.attachments(&filter).await
    }

    async fn isolate(&self, request: IsolateRequest) -> Result<PolicyReport> {
        self.engine.net.host().await?.isolate(&request).await
    }

    async fn apply_policy(&self, policy: PolicySpec) -> Result<PolicyReport> {
        Err(Error::unsupported("the local engine has no policy rules yet")
            .with_context("network", policy.network.as_str())
            .with_hint("`pod net isolate` cuts the workloads of a network off from each other"))
    }

    async fn verify(&self, request: VerifyRequest) -> Result<VerifyReport> {
        let sandboxes = self.sandboxes()?;
        if self.engine.net.unused() && request.network.is_none() {
            return Ok(VerifyReport::default());
        }
        self.engine.net.host().await?.verify(&sandboxes, &request).await
    }

    async fn probe(&self, request: ProbeRequest) -> Result<Vec<ProbeOutcome>> {
        let workload = self.engine.store.workload(&request.workload)?;
        if !workload.state.is_running() {
            return Err(Error::new(ErrorKind::WrongState, "the workload does not run")
                .with_context("workload", request.workload.as_str())
                .with_hint(format!("start it: `pod start {}`", request.workload)));
        }
        self.engine.net.host().await?.probe(&sandbox(&self.engine.store, &request.workload), &request).await
    }
}

//! Networks and attachments on Docker and Podman.
//!
//! A network without an uplink is a bridge of its own: `internal`, so that nothing is forwarded to or from
//! it and no port of it is published, and without an address of the machine's on it, so that the machine
//! is no member. It needs no tags, whatever its VLAN id. With an uplink it is a macvlan (or ipvlan) network
//! on `UPLINK.VID`, or on the uplink itself without a VLAN id; the daemon makes that sub-interface and
//! removes it. Podman has the former alone, by an API of its own (`libpod.rs`).
//!
//! A workload that publishes ports is on none of them, and none is attached while it does: a bridge like ours
//! publishes nothing, and one that does leads to the machine and out of it.
//!
//! POD chooses all subnets and addresses; the daemon's own pools are never used. The daemon refuses a
//! subnet that it has already, and keeps one address of each ([`network`]). What was asked for is a label
//! of the network; who has which address is what the daemon says of its containers, running or not.

mod attach;
mod endpoint;
mod journal;
mod network;
mod plan;
mod remake;
mod seen;
mod verify;

pub(crate) use attach::{Joining, TRIES};
pub(crate) use endpoint::{MAC_EACH, Place, Settings, attached, attachments_of, is_held};
pub(crate) use network::{Raw, Wanted, of_pod};

use self::attach::Attached;
use crate::config::Plugin;
use crate::connection::DockerConnection;
use crate::containers;
use crate::engine::{Engine, Info, Kind, part};
use crate::exec::Target;
use crate::operation::Over;
use async_trait::async_trait;
use pod_core::{
    Applied, AttachNetworkRequest, Attachment, AttachmentFilter, Capability, Connection, CreateNetworkOutcome,
    DetachOutcome, DetachRequest, Error, ErrorKind, IsolateRequest, Network, NetworkIntent, NetworkName, NetworkPlan,
    NetworkSpec, Networking, PolicyReport, PolicySpec, ProbeOutcome, ProbeRequest, RemoveOutcome, Result, VerifyReport,
    VerifyRequest, WorkloadName,
};
use pod_shell::Pinger;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex, broadcast, oneshot};

/// How many changes are kept for one who follows slowly.
const CHANGES: usize = 256;

/// The networks of POD's that a daemon has, by name.
type Known = BTreeMap<NetworkName, (Raw, NetworkSpec)>;

/// What networks can do on a daemon.
pub(crate) fn capabilities(engine: &Engine, info: &Info, plugin: Plugin) -> Vec<Capability> {
    use Capability as C;
    let has = |driver: &str| info.plugins.network.iter().flatten().any(|n| n == driver);
    if !has("bridge") || (engine.kind == Kind::Podman && engine.libpod.is_none()) {
        return Vec::new();
    }
    if engine.libpod.is_some() {
        // A bridge of Podman's joins all that are on it, and it makes no sub-interface of an uplink.
        return vec![
            C::Networks,
            C::VlanAccess,
            C::FixedIp,
            C::FixedMac,
            C::InterfaceName,
            C::Mtu,
            C::HotAttach,
            C::Plan,
            C::Probe,
            C::Verify,
        ];
    }
    let mut able =
        vec![C::Networks, C::VlanAccess, C::FixedIp, C::Mtu, C::HotAttach, C::Plan, C::Isolate, C::Probe, C::Verify];
    if has(plugin.word()) {
        able.push(C::Uplink);
    }
    if endpoint::takes_names(engine) {
        able.push(C::InterfaceName);
    }
    // An interface of an ipvlan has its parent's.
    if engine.version >= endpoint::MAC_EACH && plugin != Plugin::Ipvlan {
        able.push(C::FixedMac);
    }
    able
}

/// The networks of one daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct DockerNetworking {
    engine: Engine,
    owner: String,
    plugin: Plugin,
    /// Held while an address is chosen and taken.
    turn: Arc<Mutex<()>>,
    /// Held while workloads are attached, and while that is undone: who attaches one again after a call that
    /// was given up finds either all of it or nothing.
    attaching: Arc<Mutex<()>>,
    /// What is changed from here, for those who follow the events of a Podman.
    changes: broadcast::Sender<Change>,
}

/// A container that was put on a network, or taken off it.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The container's id.
    pub(crate) container: String,
    pub(crate) network: NetworkName,
    /// Whether it is on the network now.
    pub(crate) attached: bool,
}

/// Does all of something in a task of its own: a caller that gives up does not leave half of it, and what was
/// done for nobody is undone.
async fn whole<T, U>(
    work: impl Future<Output = Result<T>> + Send + 'static,
    undo: impl FnOnce(T) -> U + Send + 'static,
) -> Result<T>
where
    T: Send + 'static,
    U: Future<Output = Result<()>> + Send,
{
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        if let Err(Ok(done)) = tell.send(work.await)
            && let Err(e) = undo(done).await
        {
            tracing::warn!(error = %e, "a cancelled change of networks could not be undone");
        }
    });
    told.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Cancelled, "the runtime was shut down")))
}

impl DockerNetworking {
    pub(crate) fn new(engine: Engine, owner: String, plugin: Plugin) -> Self {
        let changes = broadcast::Sender::new(CHANGES);
        Self { engine, owner, plugin, turn: Arc::default(), attaching: Arc::default(), changes }
    }

    /// What is changed from here, from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Tells of a change those who follow, if anyone does.
    fn tell(&self, container: &str, network: &NetworkName, attached: bool) {
        let change = Change { container: container.to_owned(), network: network.clone(), attached };
        // Nobody listens: that is no failure.
        let _ = self.changes.send(change);
    }

    async fn existing(&self, name: &NetworkName) -> Result<(Raw, NetworkSpec)> {
        if let Some(there) = of_pod(&self.engine).await?.remove(name) {
            return Ok(there);
        }
        // It may be missing because somebody was killed who was about to make it again.
        remake::resume(self, name).await?;
        of_pod(&self.engine).await?.remove(name).ok_or_else(|| network::missing(name))
    }

    /// How many containers are on a network.
    async fn count(&self, name: &NetworkName) -> Result<usize> {
        Ok(endpoint::members(&self.engine).await?.iter().filter(|m| m.on(name).is_some()).count())
    }

    async fn make(&self, spec: &NetworkSpec) -> Result<CreateNetworkOutcome> {
        network::wanted(spec, self.plugin, self.engine.libpod.as_ref())?;
        if let Some(there) = self.of_name(spec).await? {
            return Ok(there);
        }
        if remake::resume(self, &spec.name).await?
            && let Some(there) = self.of_name(spec).await?
        {
            return Ok(there);
        }
        match network::create(&self.engine, spec, &self.owner, self.plugin).await {
            Ok(id) => Ok(CreateNetworkOutcome::Created(Network::new(spec.clone(), id, 0))),
            // Someone else was faster: it may be the same one.
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) => {
                self.of_name(spec).await?.ok_or(e)
            }
            Err(e) => Err(e),
        }
    }

    /// The network of a specification's name, if it is the same.
    ///
    /// # Errors
    /// `AlreadyExists` when it is another.
    async fn of_name(&self, spec: &NetworkSpec) -> Result<Option<CreateNetworkOutcome>> {
        let found = network::all(&self.engine).await?.into_iter().find(|n| n.name == spec.name.as_str());
        let Some(raw) = found else { return Ok(None) };
        let other = |words: &str, hint: &str| {
            Err(Error::new(ErrorKind::AlreadyExists, words).with_context("network", spec.name.as_str()).with_hint(hint))
        };
        match raw.spec() {
            Some(there) if there == *spec => {
                let count = self.count(&spec.name).await?;
                Ok(Some(CreateNetworkOutcome::AlreadyExists(Network::new(there, raw.id, count))))
            }
            Some(_) => {
                other("there is another network of this name", "remove it with `pod net rm`, or choose another name")
            }
            None => other("the daemon has a network of this name that is not POD's", "choose another name"),
        }
    }

    async fn take_away(&self, name: &NetworkName) -> Result<RemoveOutcome> {
        // What was left of it is not to bring it back.
        if let Some(left) = journal::of_network(self, name).await? {
            journal::forget(self, &left).await?;
        }
        if !of_pod(&self.engine).await?.contains_key(name) {
            return Ok(RemoveOutcome::AlreadyAbsent);
        }
        // The daemon itself looks only at containers that run.
        let members = endpoint::members(&self.engine).await?;
        let users: Vec<String> = members.iter().filter(|m| m.on(name).is_some()).map(endpoint::Member::name).collect();
        let busy = |users: String| {
            Error::new(ErrorKind::Busy, "workloads are attached to the network")
                .with_context("network", name.as_str())
                .with_context("workloads", users)
                .with_hint("detach or remove them first")
        };
        if !users.is_empty() {
            return Err(busy(users.join(", ")));
        }
        match self.engine.delete(&format!("/networks/{}", part(name.as_str())), crate::engine::Query::new()).await {
            Ok(()) => Ok(RemoveOutcome::Removed),
            Err(f) if f.is_not_found() => Ok(RemoveOutcome::AlreadyAbsent),
            Err(f) if f.words().is_some_and(|w| w.contains("active endpoints") || w.contains("is being used")) => {
                Err(busy("one that just came".into()))
            }
            Err(f) => Err(self.engine.error(f).with_context("network", name.as_str())),
        }
    }

    /// What was left of networks that were being made again, by their names.
    pub(crate) async fn left(&self) -> Result<Vec<(NetworkName, String, Over)>> {
        let all = journal::all(self).await?.into_iter();
        Ok(all.map(|left| (left.remake.old.name.clone(), left.volume, left.over)).collect())
    }

    /// Finishes what was left of a network by this operation, if it still is.
    pub(crate) async fn finish(&self, network: &NetworkName, operation: &str) -> Result<bool> {
        match journal::of_network(self, network).await? {
            Some(left) if left.over.operation == operation => remake::finish(self, &left).await.map(|()| true),
            _ => Ok(false),
        }
    }

    /// The attachments of all containers, or of one.
    async fn all_attachments(&self, of: Option<&WorkloadName>) -> Result<Vec<Attachment>> {
        let known = of_pod(&self.engine).await?;
        let mut all = Vec::new();
        for member in endpoint::members(&self.engine).await? {
            let wanted = of.is_none_or(|w| w.as_str() == member.name());
            if !wanted || !known.keys().any(|n| member.on(n).is_some()) {
                continue;
            }
            // One that was removed since has none any more.
            let found = containers::by_id(&self.engine, &member.id).await.map_err(|f| self.engine.error(f))?;
            if let Some(found) = found.filter(|f| f.name().is_ok()) {
                all.extend(attachments_of(&self.engine, &found, &known).await?);
            }
        }
        all.sort_by(|a, b| (&a.workload, &a.interface).cmp(&(&b.workload, &b.interface)));
        Ok(all)
    }

    fn connection(&self, id: String, name: WorkloadName) -> Arc<dyn Connection> {
        Arc::new(DockerConnection::new(Target { engine: self.engine.clone(), id, name }))
    }

    /// Asks from inside a workload whether addresses answer.
    async fn ask(&self, request: ProbeRequest) -> Result<Vec<ProbeOutcome>> {
        let found = containers::find(&self.engine, &request.workload).await?;
        if !found.is_running() {
            return Err(Error::new(ErrorKind::WrongState, "the workload does not run")
                .with_context("workload", request.workload.as_str()));
        }
        if request.targets.is_empty() {
            return Ok(Vec::new());
        }
        let connection = self.connection(found.id, request.workload);
        Pinger::new(request.targets, request.timeout).ask(&*connection).await
    }
}

#[async_trait]
impl Networking for DockerNetworking {
    async fn create(&self, spec: NetworkSpec) -> Result<CreateNetworkOutcome> {
        let (this, undo) = (self.clone(), self.clone());
        whole(async move { this.make(&spec).await }, |made| async move {
            match made {
                CreateNetworkOutcome::Created(network) => undo.take_away(&network.spec.name).await.map(drop),
                CreateNetworkOutcome::AlreadyExists(_) => Ok(()),
            }
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Network>> {
        let known = of_pod(&self.engine).await?;
        let members = endpoint::members(&self.engine).await?;
        let count = |name: &NetworkName| members.iter().filter(|m| m.on(name).is_some()).count();
        Ok(known.into_values().map(|(raw, spec)| Network::new(spec.clone(), raw.id, count(&spec.name))).collect())
    }

    async fn remove(&self, network: &NetworkName) -> Result<RemoveOutcome> {
        self.take_away(network).await
    }

    async fn plan(&self, intent: NetworkIntent) -> Result<NetworkPlan> {
        plan::plan(self, &intent).await
    }

    async fn apply(&self, plan: NetworkPlan) -> Result<Applied> {
        let (this, undo) = (self.clone(), self.clone());
        let work = async move {
            let held = this.attaching.clone().lock_owned().await;
            plan::apply(&this, &plan).await.map(|done| (done, held))
        };
        let done = whole(work, |(done, held)| async move {
            let undone = done.undo(&undo).await;
            drop(held);
            undone
        });
        done.await.map(|(done, _)| done.applied())
    }

    async fn attach(&self, request: AttachNetworkRequest) -> Result<Attachment> {
        let (this, undo) = (self.clone(), self.clone());
        let work = async move {
            let held = this.attaching.clone().lock_owned().await;
            this.join(&request.workload, &request.attachment).await.map(|done| (done, held))
        };
        let done = whole(work, |(done, held)| async move {
            let undone = match done {
                Attached::New(a) => undo.part(&a.workload, &a.network).await.map(drop),
                Attached::Before(_) => Ok(()),
            };
            drop(held);
            undone
        });
        done.await.map(|(done, _)| match done {
            Attached::New(a) | Attached::Before(a) => a,
        })
    }

    async fn detach(&self, request: DetachRequest) -> Result<DetachOutcome> {
        self.part(&request.workload, &request.network).await
    }

    async fn attachments(&self, filter: AttachmentFilter) -> Result<Vec<Attachment>> {
        let all = self.all_attachments(filter.workload.as_ref()).await?;
        Ok(all.into_iter().filter(|a| filter.matches(a)).collect())
    }

    async fn isolate(&self, request: IsolateRequest) -> Result<PolicyReport> {
        let this = self.clone();
        // To its end, whoever waits: half of it is a network without its workloads.
        whole(async move { remake::isolate(&this, &request).await }, |_| async { Ok(()) }).await
    }

    async fn apply_policy(&self, policy: PolicySpec) -> Result<PolicyReport> {
        self.existing(&policy.network).await?;
        Err(Error::unsupported("the daemon has no rules between workloads")
            .with_context("capability", Capability::Policy.path())
            .with_hint("networks of their own, or isolation, cut workloads off from each other"))
    }

    async fn verify(&self, request: VerifyRequest) -> Result<VerifyReport> {
        verify::verify(self, &request).await
    }

    async fn probe(&self, request: ProbeRequest) -> Result<Vec<ProbeOutcome>> {
        self.ask(request).await
    }
}

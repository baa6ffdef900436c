//! Attachments: a workload's interface on a network, made, read back, restored and removed.

use crate::allocate::Taken;
use crate::bridge_vlan;
use crate::compare::{Comparison, port_vlans};
use crate::host::{HostNet, Inner, Sandbox};
use crate::link::{self, Link, Peer};
use crate::netlink::{Answer, Netlink, Request};
use crate::netns::{LOOPBACK, Netns};
use crate::store::{AttachmentRecord, NetworkRecord, Store};
use crate::{address, check};
use pod_core::{
    AttachMode, Attachment, AttachmentFilter, AttachmentSpec, DetachOutcome, Error, ErrorKind, IfName, MacAddr,
    NetworkName, NetworkSpec, Result, ResultExt, VlanId, WorkloadName,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

impl HostNet {
    /// Attaches a workload to a network and reads the attachment back from inside it. Twice the same:
    /// the one there is. On failure or cancellation nothing is left.
    ///
    /// # Errors
    /// `NotFound` for the network; `WrongState` without a namespace; `InvalidInput` for an address
    /// outside the network's subnets or an MTU out of range; `Conflict` when an address, a MAC address
    /// or the interface's name is taken, naming the holder, or when the workload is attached to that
    /// network in another way; `Exhausted` when no address is free; `Integrity` when the read-back
    /// differs.
    pub async fn attach(&self, sandbox: &Sandbox, spec: &AttachmentSpec) -> Result<Attachment> {
        let (sandbox, spec) = (sandbox.clone(), spec.clone());
        let made = self
            .blocking_or_undo(
                move |host| host.attach(&sandbox, &spec).operation("attach"),
                |host, made| match made {
                    Attached::New(a) => host.detach(&a.workload, &a.network).map(|_| ()),
                    Attached::Before(_) => Ok(()),
                },
            )
            .await?;
        Ok(made.into_inner())
    }

    /// Detaches a workload from a network. The sandbox's namespace may be gone already.
    ///
    /// # Errors
    /// As the kernel says.
    pub async fn detach(&self, sandbox: &Sandbox, network: &NetworkName) -> Result<DetachOutcome> {
        let (workload, network) = (sandbox.workload.clone(), network.clone());
        self.blocking(move |host| host.detach(&workload, &network).operation("detach")).await
    }

    /// Makes a workload's recorded attachments again in a fresh namespace, as after a reboot, and
    /// returns them; those that are as they should be are left alone.
    ///
    /// # Errors
    /// As [`HostNet::attach`]; what was restored before the failure stays.
    pub async fn restore(&self, sandbox: &Sandbox) -> Result<Vec<Attachment>> {
        let sandbox = sandbox.clone();
        self.blocking(move |host| host.restore(&sandbox).operation("restore attachments")).await
    }

    /// Detaches a workload from everything and frees its addresses: it was removed.
    ///
    /// # Errors
    /// As the kernel says; what could be freed is.
    pub async fn forget(&self, workload: &WorkloadName) -> Result<()> {
        let workload = workload.clone();
        self.blocking(move |host| host.forget(&workload).operation("forget attachments")).await
    }

    /// The attachments that pass the filter, by workload and interface. One that was begun by a call
    /// that was killed is none yet.
    ///
    /// # Errors
    /// When a record can't be read.
    pub async fn attachments(&self, filter: &AttachmentFilter) -> Result<Vec<Attachment>> {
        let filter = filter.clone();
        self.blocking(move |host| {
            let mut made = Vec::new();
            for record in host.store.attachments(&filter)? {
                if host.store.is_settled(&record.attachment)? {
                    made.push(record.attachment);
                }
            }
            Ok(made)
        })
        .await
    }
}

/// An attachment, and whether it was there before.
#[derive(Debug)]
pub(crate) enum Attached {
    New(Attachment),
    Before(Attachment),
}

impl Attached {
    pub(crate) fn into_inner(self) -> Attachment {
        match self {
            Self::New(a) | Self::Before(a) => a,
        }
    }
}

impl Inner {
    pub(crate) fn attach(&self, sandbox: &Sandbox, spec: &AttachmentSpec) -> Result<Attached> {
        let about = |e: Error| {
            e.with_context("workload", sandbox.workload.as_str()).with_context("network", spec.network.as_str())
        };
        check::spec(spec).map_err(about)?;
        let inside = Inside::open(sandbox)?;
        let lock = self.store.lock_workload(&sandbox.workload)?;
        self.attach_locked(sandbox, spec, &inside).map_err(|e| {
            let tidied = lock.remove_if_empty().and_then(|()| {
                let _lock = self.store.lock()?;
                self.store.tidy()
            });
            match tidied {
                Ok(()) => e,
                Err(left) => e.with_context("not undone", left.to_string()),
            }
        })
    }

    fn attach_locked(&self, sandbox: &Sandbox, spec: &AttachmentSpec, inside: &Inside) -> Result<Attached> {
        if let Some(record) = self.store.attachment(&spec.network, &sandbox.workload)? {
            let settled = self.store.is_settled(&record.attachment)?;
            match check::same(&record, spec) {
                Ok(()) => {
                    let network = self.network(&spec.network)?;
                    let record = self.moved_to(record, sandbox)?;
                    self.realize(&network, &record, inside, None)?;
                    self.store.settle(&record)?;
                    let a = record.attachment;
                    return Ok(if settled { Attached::Before(a) } else { Attached::New(a) });
                }
                Err(e) if settled => return Err(e),
                // a call that was killed wanted something else
                Err(_) => self.undo(&record)?,
            }
        }
        let port = self.name("pv", &[sandbox.workload.as_str(), spec.network.as_str()])?;
        let outside = self.existing_netns()?.map(|netns| netns.netlink()).transpose()?;
        if let Some(outside) = &outside {
            // a port that no record stands for is what is left when records are lost
            outside.remove_link(port.as_str())?;
        }
        let (network, record) = {
            let _lock = self.store.lock()?;
            let network = self.network(&spec.network)?;
            let records = self.store.attachments_of(&sandbox.workload)?;
            let taken = InUse { store: &self.store, records, inside: inside.netlink.links()? };
            let attachment = self.allocate(&network, &sandbox.workload, spec, &taken)?;
            let record = AttachmentRecord { spec: spec.clone(), attachment, port, netns: sandbox.netns.clone() };
            if let Err(e) = self.store.put_attachment(&record) {
                return Err(match self.store.drop_attachment(&record) {
                    Ok(()) => e,
                    Err(left) => e.with_context("not undone", left.to_string()),
                });
            }
            (network, record)
        };
        let made = self.realize(&network, &record, inside, outside);
        match made.and_then(|()| self.store.settle(&record)) {
            Ok(()) => Ok(Attached::New(record.attachment)),
            Err(e) => Err(match self.undo(&record) {
                Ok(()) => e,
                Err(left) => e.with_context("not undone", left.to_string()),
            }),
        }
    }

    /// The record with the place the workload's namespace has now.
    fn moved_to(&self, mut record: AttachmentRecord, sandbox: &Sandbox) -> Result<AttachmentRecord> {
        if record.netns != sandbox.netns {
            record.netns.clone_from(&sandbox.netns);
            self.store.put_attachment(&record)?;
        }
        Ok(record)
    }

    pub(crate) fn network(&self, name: &NetworkName) -> Result<NetworkRecord> {
        self.store.network(name)?.ok_or_else(|| Error::not_found("network", name.as_str()).with_hint("create it first"))
    }

    /// Removes what there is of an attachment, then its record.
    fn undo(&self, record: &AttachmentRecord) -> Result<()> {
        self.store.unsettle(record)?;
        if let Some(netns) = self.existing_netns()? {
            // the workload's end goes with it
            netns.netlink()?.remove_link(record.port.as_str())?;
        }
        self.store.drop_attachment(record)
    }

    pub(crate) fn detach(&self, workload: &WorkloadName, network: &NetworkName) -> Result<DetachOutcome> {
        let Some(lock) = self.store.lock_attached(workload)? else { return Ok(DetachOutcome::AlreadyDetached) };
        let outcome = match self.store.attachment(network, workload)? {
            Some(record) => {
                self.undo(&record)?;
                DetachOutcome::Detached
            }
            None => {
                self.store.drop_index(network, workload)?;
                DetachOutcome::AlreadyDetached
            }
        };
        lock.remove_if_empty()?;
        Ok(outcome)
    }

    fn restore(&self, sandbox: &Sandbox) -> Result<Vec<Attachment>> {
        let Some(_lock) = self.store.lock_attached(&sandbox.workload)? else { return Ok(Vec::new()) };
        self.restore_locked(sandbox)
    }

    /// Makes a workload's recorded attachments again. The caller holds the workload's lock.
    pub(crate) fn restore_locked(&self, sandbox: &Sandbox) -> Result<Vec<Attachment>> {
        let mut records = self.store.attachments_of(&sandbox.workload)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        records.sort_by(|a, b| a.attachment.interface.cmp(&b.attachment.interface));
        let inside = Inside::open(sandbox)?;
        let mut restored = Vec::new();
        for record in records {
            let network = self.network(&record.attachment.network)?;
            let record = self.moved_to(record, sandbox)?;
            self.realize(&network, &record, &inside, None)?;
            self.store.settle(&record)?;
            restored.push(record.attachment);
        }
        Ok(restored)
    }

    fn forget(&self, workload: &WorkloadName) -> Result<()> {
        let Some(lock) = self.store.lock_attached(workload)? else { return Ok(()) };
        let mut failed = None;
        for record in self.store.attachments_of(workload)? {
            if let Err(e) = self.undo(&record) {
                failed.get_or_insert(e.with_context("network", record.attachment.network.as_str()));
            }
        }
        if let Some(e) = failed {
            return Err(e.with_context("workload", workload.as_str()));
        }
        self.store.clear_workload(workload)?;
        lock.remove_if_empty()
    }

    /// Makes an attachment from its record, or finds it made, and reads it back. `outside` is a socket
    /// in POD's namespace, if the caller has one.
    fn realize(
        &self,
        network: &NetworkRecord,
        record: &AttachmentRecord,
        inside: &Inside,
        outside: Option<Netlink>,
    ) -> Result<()> {
        let a = &record.attachment;
        let about = |e: Error| {
            e.with_context("workload", a.workload.as_str())
                .with_context("network", a.network.as_str())
                .with_context("interface", a.interface.as_str())
        };
        let (outside, bridge) = self.bridge(network, outside)?;
        if let Some(port) = outside.link(record.port.as_str())? {
            if read_back(network, record, bridge, &outside, &inside.netlink)?.findings.is_empty() {
                return Ok(());
            }
            // what a broken-off call left, or what someone changed: made anew
            outside.remove_link(&port.name)?;
        }
        if let Some(other) = inside.netlink.link(a.interface.as_str())? {
            let kind = other.kind.map(|k| format!(", a {k}")).unwrap_or_default();
            let message = format!("the workload has another interface of that name{kind}");
            return Err(about(Error::new(ErrorKind::Conflict, message)));
        }
        self.wire(network, record, bridge, &outside, inside).map_err(about)?;
        wait_for_carrier(record, &outside, &inside.netlink)?;
        if let Err(error) = self.announce(record, inside) {
            // neighbours that remember another holder find out by themselves, only later
            tracing::debug!(%error, workload = %a.workload, "new addresses were not announced");
        }
        let seen = read_back(network, record, bridge, &outside, &inside.netlink)?;
        match seen.findings.first() {
            None => Ok(()),
            Some(first) => Err(about(
                Error::new(ErrorKind::Integrity, "the attachment that was made is not what was asked for")
                    .with_context("found", first.to_string()),
            )),
        }
    }

    fn announce(&self, record: &AttachmentRecord, inside: &Inside) -> Result<()> {
        let a = &record.attachment;
        match inside.netlink.link(carrier(a)?.as_str())? {
            Some(link) => crate::announce::announce(&inside.netns, link.index, a.mac, &a.ips),
            None => Ok(()),
        }
    }

    /// Makes the veth pair and sets both ends.
    fn wire(
        &self,
        network: &NetworkRecord,
        record: &AttachmentRecord,
        bridge: u32,
        outside: &Netlink,
        inside: &Inside,
    ) -> Result<()> {
        let a = &record.attachment;
        let port_name = record.port.as_str();
        // a port that must not pass everything comes up only when it is fenced
        let fenced = network.pvid.is_some() || network.spec.isolated;
        let peer = Peer { name: a.interface.as_str(), netns: inside.netns.fd(), mac: a.mac };
        let mut answers = outside
            .batch(vec![link::veth(port_name, bridge, a.mtu, !fenced, &peer), link::get(port_name)])?
            .into_iter();
        done(answers.next(), "make the virtual Ethernet pair")?;
        let port = found(answers.next(), "look at the bridge port")?;
        if fenced {
            let mut fence = Steps::default();
            if network.spec.isolated {
                fence.add(link::isolate(port.index, true), "isolate the bridge port");
            }
            if let Some(vlans) = port_vlans(network, &a.mode) {
                fence.add(bridge_vlan::join(port.index, &vlans), "put the bridge port into its VLANs");
            }
            fence.take(outside)?;
            let up = Request::plain(RouteNetlinkMessage::SetLink(link::up(port.index)));
            done(Some(outside.request(up)?), "bring the bridge port up")?;
        }
        let interface = inside
            .netlink
            .link(a.interface.as_str())?
            .ok_or_else(|| Error::new(ErrorKind::Integrity, "the interface did not arrive in the workload"))?;
        let up = |index| Request::plain(RouteNetlinkMessage::SetLink(link::up(index)));
        let mut steps = Steps::default();
        steps.add(up(LOOPBACK), "bring lo up");
        steps.add(up(interface.index), "bring the interface up");
        let mut on = interface.index;
        if let AttachMode::Trunk(ids) = &a.mode {
            for id in ids {
                let name = sub_interface(&a.interface, *id)?;
                let made = link::vlan(name.as_str(), interface.index, id.get(), None, None);
                steps.add(made, format!("make the tagged sub-interface {name}"));
            }
            std::mem::take(&mut steps).take(&inside.netlink)?;
            let carrier = carrier(a)?;
            for id in ids {
                let name = sub_interface(&a.interface, *id)?;
                let made = found(Some(inside.netlink.request(link::get(name.as_str()))?), "look at the sub-interface")?;
                steps.add(up(made.index), format!("bring {name} up"));
                if name == carrier {
                    on = made.index;
                }
            }
        }
        for ip in &a.ips {
            steps.add(address::add(on, *ip), format!("add the address {ip}"));
        }
        for route in &a.routes {
            steps.add(address::add_route(on, route), format!("add the route to {}", route.to));
        }
        steps.take(&inside.netlink)
    }
}

/// Requests that are sent together, and what each does.
#[derive(Debug, Default)]
struct Steps {
    requests: Vec<Request>,
    doing: Vec<String>,
}

impl Steps {
    fn add(&mut self, request: Request, doing: impl Into<String>) {
        self.requests.push(request);
        self.doing.push(doing.into());
    }

    /// Carries them out; the first that failed is the error.
    fn take(self, netlink: &Netlink) -> Result<()> {
        for (answer, doing) in netlink.batch(self.requests)?.into_iter().zip(self.doing) {
            done(Some(answer), doing)?;
        }
        Ok(())
    }
}

/// The name of a trunk's tagged sub-interface in the workload.
pub(crate) fn sub_interface(interface: &IfName, id: VlanId) -> Result<IfName> {
    IfName::new(format!("{interface}.{id}"))
        .map_err(|e| e.with_hint("a trunk's sub-interfaces are named INTERFACE.VID: choose a shorter interface name"))
}

/// Waits until frames pass both ends.
fn wait_for_carrier(record: &AttachmentRecord, outside: &Netlink, inside: &Netlink) -> Result<()> {
    let up = |link: Option<Link>| link.is_none_or(|l| l.state.is_up());
    wait_for(|| Ok(up(outside.link(record.port.as_str())?) && up(inside.link(record.attachment.interface.as_str())?)))
}

/// Waits for links to carry frames: the kernel notices a moment after both ends are up, on a thread of
/// its own. What never does is for a read-back to tell.
pub(crate) fn wait_for(ready: impl Fn() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(2);
    let mut pause = Duration::from_micros(50);
    while !ready()? && Instant::now() < end {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    Ok(())
}

/// The interface that carries an attachment's addresses: a trunk's sub-interface of the network's own
/// VLAN, else the interface itself. A trunk that does not list that VLAN has no addresses.
pub(crate) fn carrier(a: &Attachment) -> Result<IfName> {
    match (&a.mode, a.vlan) {
        (AttachMode::Trunk(ids), Some(own)) if ids.contains(&own) => sub_interface(&a.interface, own),
        _ => Ok(a.interface.clone()),
    }
}

/// Compares one attachment with what is there, on both sides.
fn read_back(
    network: &NetworkRecord,
    record: &AttachmentRecord,
    bridge: u32,
    outside: &Netlink,
    inside: &Netlink,
) -> Result<Comparison> {
    let mut seen = Comparison::default();
    let port = outside.link(record.port.as_str())?;
    let vlans = match (&port, network.pvid) {
        (Some(port), Some(_)) => outside.port_vlans(port.index)?.remove(&port.index).unwrap_or_default(),
        _ => bridge_vlan::PortVlans::default(),
    };
    let name_of = |index| if index == bridge { network.bridge.to_string() } else { format!("link {index}") };
    seen.port(network, record, port.as_ref(), &vlans, name_of);
    seen.inside(record, inside, port.map(|p| p.index))?;
    Ok(seen)
}

/// What is taken on this host: by records, and by the links in the workload's namespace.
#[derive(Debug)]
struct InUse<'a> {
    store: &'a Store,
    /// The workload's attachments.
    records: Vec<AttachmentRecord>,
    /// The links in its namespace.
    inside: Vec<Link>,
}

impl Taken for InUse<'_> {
    fn ip(&self, network: &NetworkSpec, ip: IpAddr) -> Result<Option<WorkloadName>> {
        self.store.holder_of_ip(&network.name, ip)
    }

    fn ips(&self, network: &NetworkSpec) -> Result<HashSet<IpAddr>> {
        self.store.claimed_ips(&network.name)
    }

    fn mac(&self, network: &NetworkSpec, mac: MacAddr) -> Result<Option<WorkloadName>> {
        self.store.holder_of_mac(&network.name, mac)
    }

    fn interface(&self, _workload: &WorkloadName, name: &str) -> Result<Option<String>> {
        if let Some(record) = self.records.iter().find(|r| r.attachment.interface.as_str() == name) {
            return Ok(Some(format!("the attachment to {}", record.attachment.network)));
        }
        let link = self.inside.iter().find(|l| l.name == name);
        Ok(link.map(|l| format!("an interface of kind {}", l.kind.as_deref().unwrap_or("unknown"))))
    }
}

/// A workload's namespace, and a socket in it.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) netns: Netns,
    pub(crate) netlink: Netlink,
}

impl Inside {
    pub(crate) fn open(sandbox: &Sandbox) -> Result<Self> {
        let netns = sandbox.open()?;
        let netlink = netns.netlink()?;
        Ok(Self { netns, netlink })
    }
}

/// Takes an answer for done.
pub(crate) fn done(answer: Option<Answer>, doing: impl Into<String>) -> Result<()> {
    match answer {
        Some(Ok(_)) => Ok(()),
        Some(Err(refusal)) => Err(refusal.into_error(doing)),
        None => Err(Error::unexpected("the kernel gave no answer to a netlink request")),
    }
}

/// The link in an answer.
pub(crate) fn found(answer: Option<Answer>, doing: &str) -> Result<Link> {
    match answer {
        Some(Ok(messages)) => messages
            .into_iter()
            .find_map(link::as_link)
            .ok_or_else(|| Error::unexpected("the kernel gave no link").with_context("doing", doing)),
        Some(Err(refusal)) => Err(refusal.into_error(doing)),
        None => Err(Error::unexpected("the kernel gave no answer to a netlink request")),
    }
}

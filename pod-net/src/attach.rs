//! Attachments: a workload's interface on a network, made, read back, restored and removed.

use crate::host::{HostNet, Inner, Sandbox};
use crate::link::{self, Link, Peer, PortVlans};
use crate::netlink::{Answer, Netlink, Request};
use crate::netns::{LOOPBACK, Netns};
use crate::store::{AttachmentRecord, NetworkRecord};
use crate::{address, check};
use pod_core::{
    AttachMode, Attachment, AttachmentFilter, AttachmentSpec, DetachOutcome, Error, ErrorKind, NetworkName, Result,
    ResultExt, WorkloadName,
};
use rtnetlink::packet_route::RouteNetlinkMessage;

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

    /// The attachments that pass the filter, by workload and interface.
    ///
    /// # Errors
    /// When a record can't be read.
    pub async fn attachments(&self, filter: &AttachmentFilter) -> Result<Vec<Attachment>> {
        let filter = filter.clone();
        self.blocking(move |host| Ok(host.store.attachments(&filter)?.into_iter().map(|r| r.attachment).collect()))
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
        let attached = self.attach_locked(sandbox, spec, &inside);
        if attached.is_err() {
            lock.remove_if_empty()?;
            let _lock = self.store.lock()?;
            self.store.tidy()?;
        }
        attached
    }

    fn attach_locked(&self, sandbox: &Sandbox, spec: &AttachmentSpec, inside: &Inside) -> Result<Attached> {
        if let Some(record) = self.store.attachment(&spec.network, &sandbox.workload)? {
            check::same(&record, spec)?;
            let network = self.network(&spec.network)?;
            let record = self.moved_to(record, sandbox)?;
            self.realize(&network, &record, inside)?;
            return Ok(Attached::Before(record.attachment));
        }
        let (network, record) = {
            let _lock = self.store.lock()?;
            let network = self.network(&spec.network)?;
            let record = self.allocate(&network, sandbox, spec, inside)?;
            self.store.put_attachment(&record)?;
            (network, record)
        };
        match self.realize(&network, &record, inside) {
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
            None => DetachOutcome::AlreadyDetached,
        };
        lock.remove_if_empty()?;
        Ok(outcome)
    }

    fn restore(&self, sandbox: &Sandbox) -> Result<Vec<Attachment>> {
        let Some(_lock) = self.store.lock_attached(&sandbox.workload)? else { return Ok(Vec::new()) };
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
            self.realize(&network, &record, &inside)?;
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

    /// Makes an attachment from its record, or finds it made, and reads it back.
    fn realize(&self, network: &NetworkRecord, record: &AttachmentRecord, inside: &Inside) -> Result<()> {
        let a = &record.attachment;
        let about = |e: Error| {
            e.with_context("workload", a.workload.as_str())
                .with_context("network", a.network.as_str())
                .with_context("interface", a.interface.as_str())
        };
        let (outside, bridge) = self.bridge(network)?;
        if let Some(port) = outside.link(record.port.as_str())? {
            if check::read_back(network, record, bridge, &outside, &inside.netlink)?.is_empty() {
                return Ok(());
            }
            // what a broken-off call left, or what someone changed: made anew
            outside.remove_link(&port.name)?;
        }
        if let Some(other) = inside.netlink.link(a.interface.as_str())? {
            return Err(about(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the workload has another interface of that name{}",
                    other.kind.map(|k| format!(", a {k}")).unwrap_or_default()
                ),
            )));
        }
        self.wire(network, record, bridge, &outside, inside).map_err(about)?;
        let differences = check::read_back(network, record, bridge, &outside, &inside.netlink)?;
        if let Some(first) = differences.first() {
            return Err(about(
                Error::new(ErrorKind::Integrity, "the attachment that was made is not what was asked for")
                    .with_context("found", first.to_string()),
            ));
        }
        Ok(())
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
            let mut requests = Vec::new();
            let mut doing = Vec::new();
            if network.spec.isolated {
                requests.push(link::isolate(port.index, true));
                doing.push("isolate the bridge port");
            }
            if let Some(vlans) = port_vlans(network, &a.mode) {
                requests.push(link::port_vlans(port.index, &vlans));
                doing.push("put the bridge port into its VLANs");
            }
            requests.push(Request::plain(RouteNetlinkMessage::SetLink(link::up(port.index))));
            doing.push("bring the bridge port up");
            for (answer, doing) in outside.batch(requests)?.into_iter().zip(doing) {
                done(Some(answer), doing)?;
            }
        }
        let interface = inside
            .netlink
            .link(a.interface.as_str())?
            .ok_or_else(|| Error::new(ErrorKind::Integrity, "the interface did not arrive in the workload"))?;
        let mut requests = vec![
            Request::plain(RouteNetlinkMessage::SetLink(link::up(LOOPBACK))),
            Request::plain(RouteNetlinkMessage::SetLink(link::up(interface.index))),
        ];
        let mut doing = vec!["bring lo up".to_owned(), "bring the interface up".to_owned()];
        for ip in &a.ips {
            requests.push(address::add(interface.index, *ip));
            doing.push(format!("add the address {ip}"));
        }
        for route in &a.routes {
            requests.push(address::add_route(interface.index, route));
            doing.push(format!("add the route to {}", route.to));
        }
        for (answer, doing) in inside.netlink.batch(requests)?.into_iter().zip(doing) {
            done(Some(answer), doing)?;
        }
        Ok(())
    }
}

/// The VLANs of an attachment's port; `None` on a plain bridge.
pub(crate) fn port_vlans(network: &NetworkRecord, mode: &AttachMode) -> Option<PortVlans> {
    let pvid = network.pvid?;
    Some(match mode {
        AttachMode::Trunk(ids) => PortVlans { untagged: None, tagged: ids.iter().map(|id| id.get()).collect() },
        _ => PortVlans { untagged: Some(pvid), tagged: Vec::new() },
    })
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

fn done(answer: Option<Answer>, doing: impl Into<String>) -> Result<()> {
    match answer {
        Some(Ok(_)) => Ok(()),
        Some(Err(refusal)) => Err(refusal.into_error(doing)),
        None => Err(Error::unexpected("the kernel gave no answer to a netlink request")),
    }
}

fn found(answer: Option<Answer>, doing: &str) -> Result<Link> {
    match answer {
        Some(Ok(messages)) => messages
            .into_iter()
            .find_map(link::as_link)
            .ok_or_else(|| Error::unexpected("the kernel gave no link").with_context("doing", doing)),
        Some(Err(refusal)) => Err(refusal.into_error(doing)),
        None => Err(Error::unexpected("the kernel gave no answer to a netlink request")),
    }
}

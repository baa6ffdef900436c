//! What POD was asked for, on disk: one JSON file per network and one per attachment.
//!
//! ```text
//! networks/NET/network.json       the network
//! networks/NET/at/WORKLOAD.json   an attachment to it
//! networks/NET/ip/ADDRESS         a link whose target is the workload that holds the address
//! networks/NET/mac/ADDRESS        the same for MAC addresses
//! workloads/WORKLOAD/NET          the workload is attached to that network: empty until all of it is made
//! ```
//!
//! A record is written before anything is made and removed after everything is undone, so that
//! whatever a crash leaves in between has a record by which it is finished or cleaned. The links and
//! files of the workloads are an index: one that no record confirms is stale and is taken over.

use crate::lock::{DirLock, remove_dir_if_empty};
use pod_core::{
    Attachment, AttachmentFilter, AttachmentSpec, Error, IfName, IoResultExt, MacAddr, NetworkName, NetworkSpec,
    Result, WorkloadName,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A network as recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkRecord {
    pub(crate) spec: NetworkSpec,
    /// The bridge that carries it, in POD's namespace.
    pub(crate) bridge: IfName,
    /// The VLAN of its access ports on a VLAN-aware bridge; `None` on a plain one.
    pub(crate) pvid: Option<u16>,
    /// The tagged sub-interface that joins it to its uplink.
    pub(crate) uplink_port: Option<IfName>,
}

/// An attachment as recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachmentRecord {
    /// What was asked for.
    pub(crate) spec: AttachmentSpec,
    /// What it came to.
    pub(crate) attachment: Attachment,
    /// The bridge port, in POD's namespace.
    pub(crate) port: IfName,
    /// Where the workload's namespace is mounted.
    pub(crate) netns: PathBuf,
}

/// The records of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Locks all records against change: for allocation, and for networks coming and going.
    pub(crate) fn lock(&self) -> Result<DirLock> {
        DirLock::make(&self.root)
    }

    /// Locks one workload's attachments.
    pub(crate) fn lock_workload(&self, workload: &WorkloadName) -> Result<DirLock> {
        DirLock::make(&self.workload(workload))
    }

    /// Locks one workload's attachments; `None` when it has none.
    pub(crate) fn lock_attached(&self, workload: &WorkloadName) -> Result<Option<DirLock>> {
        DirLock::existing(&self.workload(workload))
    }

    fn network_dir(&self, network: &NetworkName) -> PathBuf {
        self.root.join("networks").join(network.as_str())
    }

    fn workload(&self, workload: &WorkloadName) -> PathBuf {
        self.root.join("workloads").join(workload.as_str())
    }

    fn attachment_path(&self, network: &NetworkName, workload: &WorkloadName) -> PathBuf {
        self.network_dir(network).join("at").join(format!("{workload}.json"))
    }

    /// The network of this name.
    pub(crate) fn network(&self, network: &NetworkName) -> Result<Option<NetworkRecord>> {
        read(&self.network_dir(network).join("network.json"))
    }

    /// All networks, by name.
    pub(crate) fn networks(&self) -> Result<Vec<NetworkRecord>> {
        let mut found = Vec::new();
        for name in names(&self.root.join("networks"))? {
            if let Ok(name) = NetworkName::new(name)
                && let Some(record) = self.network(&name)?
            {
                found.push(record);
            }
        }
        Ok(found)
    }

    /// Records a network, or what changed in it.
    pub(crate) fn put_network(&self, record: &NetworkRecord) -> Result<()> {
        let dir = self.network_dir(&record.spec.name);
        for part in ["at", "ip", "mac"] {
            let dir = dir.join(part);
            std::fs::create_dir_all(&dir).doing(|| format!("make the directory {}", dir.display()))?;
        }
        write(&dir.join("network.json"), record)
    }

    /// Forgets a network that nothing is attached to.
    pub(crate) fn drop_network(&self, network: &NetworkName) -> Result<()> {
        let dir = self.network_dir(network);
        // the record goes first: without it the rest is nothing
        remove_file(&dir.join("network.json"))?;
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove the network's records", e).with_context("path", dir.display().to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Removes what no record stands for: parts of networks, directories that hold nothing, and indexes
    /// of workloads when there is no network for them to be on. The caller holds the lock.
    pub(crate) fn tidy(&self) -> Result<()> {
        for name in names(&self.root.join("networks"))? {
            // what a broken-off call made before the record
            if let Ok(network) = NetworkName::new(name)
                && self.network(&network)?.is_none()
            {
                self.drop_network(&network)?;
            }
        }
        if self.networks()?.is_empty() {
            for name in names(&self.root.join("workloads"))? {
                if let Ok(workload) = WorkloadName::new(name) {
                    self.clear_workload(&workload)?;
                    remove_dir_if_empty(&self.workload(&workload))?;
                }
            }
        }
        for dir in [self.root.join("networks"), self.root.join("workloads"), self.root.clone()] {
            remove_dir_if_empty(&dir)?;
        }
        Ok(())
    }

    /// Removes what is left in a workload's index: entries that no record confirms.
    pub(crate) fn clear_workload(&self, workload: &WorkloadName) -> Result<()> {
        let dir = self.workload(workload);
        for name in names(&dir)? {
            remove_file(&dir.join(name))?;
        }
        Ok(())
    }

    /// One workload's attachment to one network.
    pub(crate) fn attachment(
        &self,
        network: &NetworkName,
        workload: &WorkloadName,
    ) -> Result<Option<AttachmentRecord>> {
        read(&self.attachment_path(network, workload))
    }

    /// One workload's attachments, by network.
    pub(crate) fn attachments_of(&self, workload: &WorkloadName) -> Result<Vec<AttachmentRecord>> {
        let mut found = Vec::new();
        for name in names(&self.workload(workload))? {
            if let Ok(network) = NetworkName::new(name)
                && let Some(record) = self.attachment(&network, workload)?
            {
                found.push(record);
            }
        }
        Ok(found)
    }

    /// The workloads attached to a network, by name.
    pub(crate) fn attached(&self, network: &NetworkName) -> Result<Vec<WorkloadName>> {
        Ok(names(&self.network_dir(network).join("at"))?
            .into_iter()
            .filter_map(|file| WorkloadName::new(file.strip_suffix(".json")?).ok())
            .collect())
    }

    /// A network's attachments, by workload.
    pub(crate) fn attachments_to(&self, network: &NetworkName) -> Result<Vec<AttachmentRecord>> {
        let mut found = Vec::new();
        for workload in self.attached(network)? {
            found.extend(self.attachment(network, &workload)?);
        }
        Ok(found)
    }

    /// The attachments that pass the filter, by workload and interface.
    pub(crate) fn attachments(&self, filter: &AttachmentFilter) -> Result<Vec<AttachmentRecord>> {
        let mut found = match (&filter.workload, &filter.network) {
            (Some(workload), _) => self.attachments_of(workload)?,
            (None, Some(network)) => self.attachments_to(network)?,
            (None, None) => {
                let mut all = Vec::new();
                for network in self.networks()? {
                    all.extend(self.attachments_to(&network.spec.name)?);
                }
                all
            }
        };
        found.retain(|r| filter.matches(&r.attachment));
        found.sort_by(|a, b| {
            let key = |r: &AttachmentRecord| (r.attachment.workload.clone(), r.attachment.interface.clone());
            key(a).cmp(&key(b))
        });
        Ok(found)
    }

    /// Who holds an address of a network.
    pub(crate) fn holder_of_ip(&self, network: &NetworkName, ip: IpAddr) -> Result<Option<WorkloadName>> {
        let holds = |r: &AttachmentRecord| r.attachment.ips.iter().any(|net| net.addr() == ip);
        self.holder(network, "ip", &ip.to_string(), holds)
    }

    /// Who holds a MAC address of a network.
    pub(crate) fn holder_of_mac(&self, network: &NetworkName, mac: MacAddr) -> Result<Option<WorkloadName>> {
        self.holder(network, "mac", &mac.to_string(), |r| r.attachment.mac == mac)
    }

    fn holder(
        &self,
        network: &NetworkName,
        part: &str,
        key: &str,
        holds: impl Fn(&AttachmentRecord) -> bool,
    ) -> Result<Option<WorkloadName>> {
        let path = self.network_dir(network).join(part).join(key);
        let target = match std::fs::read_link(&path) {
            Ok(target) => target,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                return Err(Error::io("read who holds an address", e).with_context("path", path.display().to_string()));
            }
        };
        let Some(Ok(workload)) = target.to_str().map(WorkloadName::new) else { return Ok(None) };
        Ok(self.attachment(network, &workload)?.filter(holds).map(|_| workload))
    }

    /// The addresses of a network that may be held: all that are, and stale ones.
    pub(crate) fn claimed_ips(&self, network: &NetworkName) -> Result<std::collections::HashSet<IpAddr>> {
        Ok(names(&self.network_dir(network).join("ip"))?.iter().filter_map(|n| n.parse().ok()).collect())
    }

    /// Records an attachment that is to be made. Its addresses must be free: the caller holds the lock and
    /// has looked.
    pub(crate) fn put_attachment(&self, record: &AttachmentRecord) -> Result<()> {
        let a = &record.attachment;
        let dir = self.network_dir(&a.network);
        // the record comes last and goes first: an index entry that it does not confirm is nothing
        let index = self.workload(&a.workload).join(a.network.as_str());
        std::fs::write(&index, b"").doing(|| format!("write {}", index.display()))?;
        for net in &a.ips {
            claim(&dir.join("ip").join(net.addr().to_string()), &a.workload)?;
        }
        claim(&dir.join("mac").join(a.mac.to_string()), &a.workload)?;
        write(&self.attachment_path(&a.network, &a.workload), record)
    }

    /// Notes that all of a recorded attachment is made.
    pub(crate) fn settle(&self, record: &AttachmentRecord) -> Result<()> {
        let a = &record.attachment;
        let index = self.workload(&a.workload).join(a.network.as_str());
        // not synced: what a power failure takes goes with the interfaces, and restoring tells again
        std::fs::write(&index, b"made\n").doing(|| format!("write {}", index.display()))
    }

    /// Notes that a recorded attachment is not made whole any more, for it is about to be removed.
    pub(crate) fn unsettle(&self, record: &AttachmentRecord) -> Result<()> {
        let a = &record.attachment;
        let index = self.workload(&a.workload).join(a.network.as_str());
        match std::fs::OpenOptions::new().write(true).truncate(true).open(&index) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("write a record", e).with_context("path", index.display().to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Whether all of a recorded attachment was made. One that was not is what a call that was killed left;
    /// it is finished by attaching again, and removed by detaching.
    pub(crate) fn is_settled(&self, attachment: &Attachment) -> Result<bool> {
        let index = self.workload(&attachment.workload).join(attachment.network.as_str());
        match std::fs::metadata(&index) {
            Ok(meta) => Ok(meta.len() > 0),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("look at a record", e).with_context("path", index.display().to_string())),
        }
    }

    /// Forgets an attachment and frees its addresses.
    pub(crate) fn drop_attachment(&self, record: &AttachmentRecord) -> Result<()> {
        let a = &record.attachment;
        let dir = self.network_dir(&a.network);
        remove_file(&self.attachment_path(&a.network, &a.workload))?;
        for net in &a.ips {
            release(&dir.join("ip").join(net.addr().to_string()), &a.workload)?;
        }
        release(&dir.join("mac").join(a.mac.to_string()), &a.workload)?;
        self.drop_index(&a.network, &a.workload)
    }

    /// Forgets that a workload is attached to a network, where no record says so any more.
    pub(crate) fn drop_index(&self, network: &NetworkName, workload: &WorkloadName) -> Result<()> {
        remove_file(&self.workload(workload).join(network.as_str()))
    }
}

fn claim(path: &Path, workload: &WorkloadName) -> Result<()> {
    loop {
        match std::os::unix::fs::symlink(workload.as_str(), path) {
            Ok(()) => return Ok(()),
            // a stale claim of an attachment that a crash kept from being recorded
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => remove_file(path)?,
            Err(e) => return Err(Error::io("claim an address", e).with_context("path", path.display().to_string())),
        }
    }
}

fn release(path: &Path, workload: &WorkloadName) -> Result<()> {
    match std::fs::read_link(path) {
        Ok(target) if target.as_os_str() == workload.as_str() => remove_file(path),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("release an address", e).with_context("path", path.display().to_string())),
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove a record", e).with_context("path", path.display().to_string()))
        }
        _ => Ok(()),
    }
}

/// The names in a directory, sorted; those that begin with a dot are being written.
fn names(dir: &Path) -> Result<Vec<String>> {
    let fail = |e| Error::io("list the records", e).with_context("path", dir.display().to_string());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        match entry.map_err(fail)?.file_name().into_string() {
            Ok(name) if !name.starts_with('.') => found.push(name),
            _ => {}
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read a record", e).with_context("path", path.display().to_string())),
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| {
        Error::unexpected("a record can't be read")
            .with_context("path", path.display().to_string())
            .with_hint("remove the file if nothing of it is needed; what it stood for is then unknown to POD")
            .with_source(e)
    })
}

/// Writes a file as a whole or not at all: readers see the old one or the new one, also after a crash.
fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let fail = |e: std::io::Error| Error::io("write a record", e).with_context("path", path.display().to_string());
    let text = serde_json::to_vec_pretty(value).map_err(|e| fail(e.into()))?;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::unexpected("a record's path has no directory"));
    };
    let temporary = dir.join(format!(".{}.{}", name.display(), unique()));
    let written = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(&text)?;
        file.sync_data()?;
        std::fs::rename(&temporary, path)
    })();
    written.map_err(|e| {
        // what could not be written must not be left either; its own error would hide the cause
        let _ = std::fs::remove_file(&temporary);
        fail(e)
    })
}

/// A suffix that no other thread or process uses now.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

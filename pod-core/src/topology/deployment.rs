//! A topology and the backends it runs on.

use super::Topology;
use crate::{
    Attachment, AttachmentFilter, Backend, BackendUri, Capability, Error, ErrorKind, Filter, LABEL_TOPOLOGY, Network,
    NetworkName, NetworkSpec, Networking, Registry, Result, Workload, WorkloadName,
};
use futures_util::future::try_join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A topology on the backends it names: what [plans](Self::plan), [brings up](Self::up),
/// [verifies](Self::verify) and [takes down](Self::down). Only the backends that the topology names are
/// looked at: what an older version of a file made elsewhere, [`down_named`](super::down_named) removes.
///
/// ```
/// use pod_core::{mem::MemBackend, topology::{Deployment, Topology}};
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let topology = Topology::parse("networks: { blue: { vlan: 100, subnet: 10.1.0.0/24 } }\n\
///                                 workloads: { a: { networks: [blue] }, b: { networks: [blue] } }", "pair")?;
/// let deployment = Deployment::on(std::sync::Arc::new(MemBackend::new()), topology)?;
/// deployment.up(&(), 16).await?;
/// assert!(deployment.plan().await?.is_empty());
/// assert!(deployment.verify(&()).await?.ok());
/// deployment.down(&()).await?;
/// # Ok::<(), pod_core::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Deployment {
    pub(super) topology: Topology,
    pub(super) sites: Vec<Site>,
    /// Which site each workload runs at, in their order.
    pub(super) homes: Vec<usize>,
}

/// One backend of a deployment.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) uri: String,
    pub(super) backend: Arc<dyn Backend>,
    /// The networks to make here, by their indexes in the topology's.
    pub(super) networks: BTreeMap<usize, NetworkSpec>,
}

impl Site {
    pub(super) fn has(&self, capability: Capability) -> bool {
        self.backend.capabilities().has(capability)
    }

    /// Its networks; an error that names the backend when it has none.
    pub(super) fn networking(&self) -> Result<Arc<dyn Networking>> {
        self.backend.networking().ok_or_else(|| {
            Error::unsupported("the topology has networks, and this backend has none").with_backend(self.uri.clone())
        })
    }
}

/// What is at one site.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) workloads: BTreeMap<WorkloadName, Workload>,
    pub(super) networks: BTreeMap<NetworkName, Network>,
    pub(super) attachments: Vec<Attachment>,
}

impl Found {
    /// Whether there is a workload of this name that the topology made.
    pub(super) fn owns(&self, workload: &WorkloadName, topology: &Topology) -> bool {
        self.workloads
            .get(workload)
            .is_some_and(|w| w.spec.labels.get(LABEL_TOPOLOGY).map(String::as_str) == Some(topology.name.as_str()))
    }

    pub(super) fn attachments_of<'a>(&'a self, workload: &'a WorkloadName) -> impl Iterator<Item = &'a Attachment> {
        self.attachments.iter().filter(move |a| a.workload == *workload)
    }
}

impl Deployment {
    /// Reaches the backends that the topology names, `default` where it names none. Checks the
    /// topology; changes nothing.
    ///
    /// # Errors
    /// As [`Topology::check`] and [`Registry::connect`]; `InvalidInput` when a network without an
    /// uplink has workloads on two backends, which nothing would join.
    pub async fn connect(registry: &Registry, topology: Topology, default: &BackendUri) -> Result<Self> {
        let resolve = |text: Option<&String>| match text {
            None => Ok(default.clone()),
            Some(text) => registry.default_backend(Some(text)),
        };
        let here = resolve(topology.backend.as_ref())?;
        let mut uris = Vec::new();
        for workload in &topology.workloads {
            uris.push(match &workload.backend {
                None => here.clone(),
                text => resolve(text.as_ref())
                    .map_err(|e| workload.place.mark(e.with_context("workload", workload.spec.name.as_str())))?,
            });
        }
        let mut distinct: Vec<&BackendUri> = Vec::new();
        let mut homes = Vec::new();
        // A topology without workloads, or with networks that no workload is on, needs its own.
        if uris.is_empty() || topology.networks.iter().any(|n| !is_used(&topology, &n.spec.name)) {
            distinct.push(&here);
        }
        for uri in &uris {
            homes.push(distinct.iter().position(|u| *u == uri).unwrap_or_else(|| {
                distinct.push(uri);
                distinct.len() - 1
            }));
        }
        let backends = try_join_all(distinct.iter().map(|uri| registry.connect(uri))).await?;
        Self::assemble(topology, backends, homes)
    }

    /// Puts the whole topology on one backend, whatever backends it names.
    ///
    /// # Errors
    /// As [`Topology::check`].
    pub fn on(backend: Arc<dyn Backend>, topology: Topology) -> Result<Self> {
        let homes = vec![0; topology.workloads.len()];
        Self::assemble(topology, vec![backend], homes)
    }

    fn assemble(mut topology: Topology, backends: Vec<Arc<dyn Backend>>, homes: Vec<usize>) -> Result<Self> {
        topology.check()?;
        let mut sites: Vec<Site> = backends
            .into_iter()
            .map(|backend| Site { uri: backend.info().uri.to_string(), backend, networks: BTreeMap::new() })
            .collect();
        for (n, network) in topology.networks.iter().enumerate() {
            let on = |w: &super::TopologyWorkload| w.spec.attachments.iter().any(|a| a.network == network.spec.name);
            let users = topology.workloads.iter().zip(&homes).filter(|(w, _)| on(w));
            let mut at: BTreeSet<usize> = users.map(|(_, home)| *home).collect();
            if at.is_empty() {
                at.insert(0);
            }
            if at.len() > 1 && network.spec.uplink.is_none() && network.segments.is_empty() {
                let list: Vec<_> = at.iter().map(|s| sites[*s].uri.as_str()).collect();
                return Err(network.place.mark(
                    Error::invalid(
                        "a network without an uplink ends at its backend, and this one has workloads on two",
                    )
                    .with_context("network", network.spec.name.as_str())
                    .with_context("backends", list.join(", "))
                    .with_hint("give it an `uplink:` and a `vlan:`, or a network for each backend"),
                ));
            }
            for site in at {
                let spec = network.on(&sites[site].backend.info().uri)?;
                sites[site].networks.insert(n, spec);
            }
        }
        for (workload, home) in topology.workloads.iter_mut().zip(&homes) {
            if workload.keep_alive_by_default && !sites[*home].has(Capability::KeepAlive) {
                workload.spec.keep_alive = false;
            }
        }
        Ok(Self { topology, sites, homes })
    }

    /// The topology.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What the user can do when [`up`](Self::up) was cut off: what it made stays.
    #[must_use]
    pub fn resume_hint(&self) -> String {
        format!("what was made stays: `pod up` goes on from there, `pod down {}` takes it down", self.topology.name)
    }

    /// Reads what there is, at all sites at once.
    pub(super) async fn observe(&self) -> Result<Vec<Found>> {
        try_join_all(self.sites.iter().map(observe)).await
    }

    /// Whose a thing is when it is not this topology's, as an error.
    pub(super) fn conflict(&self, what: &'static str, name: &str, owner: Option<&String>, site: &Site) -> Error {
        let message = match owner {
            Some(other) => format!("a {what} of this name belongs to the topology {other}"),
            None => format!("a {what} of this name is there already, and no topology made it"),
        };
        Error::new(ErrorKind::Conflict, message).with_context(what, name).with_backend(site.uri.clone()).with_hint(
            match (owner, what) {
                (Some(other), _) => format!("take that one down with `pod down {other}`, or choose another name"),
                (None, "network") => format!("remove it with `pod net rm {name}`, or choose another name"),
                (None, _) => format!("remove it with `pod rm {name}`, or choose another name"),
            },
        )
    }
}

fn is_used(topology: &Topology, network: &NetworkName) -> bool {
    topology.workloads.iter().any(|w| w.spec.attachments.iter().any(|a| a.network == *network))
}

/// Reads what is at one site.
pub(super) async fn observe(site: &Site) -> Result<Found> {
    let workloads = async { site.backend.list(Filter::all()).await };
    let networks = async {
        match site.backend.networking() {
            Some(n) if site.has(Capability::Networks) => {
                tokio::try_join!(n.list(), n.attachments(AttachmentFilter::default()))
            }
            _ => Ok(Default::default()),
        }
    };
    let (workloads, (networks, attachments)) = tokio::try_join!(workloads, networks)?;
    Ok(Found {
        workloads: workloads.into_iter().map(|w| (w.name().clone(), w)).collect(),
        networks: networks.into_iter().map(|n| (n.spec.name.clone(), n)).collect(),
        attachments,
    })
}

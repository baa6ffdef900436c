//! What would be done to make a topology true.

use super::deployment::{Deployment, Found};
use super::desired::Desired;
use super::draft::Draft;
use super::hosts::{self, Names};
use crate::{
    AttachNetworkRequest, Capability, CreateRequest, DetachRequest, Error, ErrorKind, Image, NetworkIntent,
    NetworkName, NetworkSpec, Requires, Result, TopologyName, Workload, WorkloadName, WorkloadSpec,
};
use futures_util::{StreamExt, stream};
use std::collections::BTreeSet;
use std::fmt;

/// How many workloads are asked at once while a plan is made.
const READERS: usize = 32;

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It makes something.
    Add,
    /// It removes something.
    Remove,
    /// It changes something that stays, or makes it anew.
    Change,
}

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Thing {
    /// A network.
    Network,
    /// A workload.
    Workload,
    /// A workload's place on a network.
    Attachment,
    /// The names that a workload knows.
    Names,
}

impl Thing {
    fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Workload => "workload",
            Self::Attachment => "attachment",
            Self::Names => "names",
        }
    }
}

/// One change of a plan.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Change {
    /// What it does.
    pub action: Action,
    /// What it is about.
    pub thing: Thing,
    /// Which one: a name; of an attachment `WORKLOAD on NETWORK`.
    pub name: String,
    /// Where.
    pub backend: String,
    /// The particulars, or why.
    pub detail: String,
    #[serde(skip)]
    pub(super) steps: Vec<Step>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Add => '+',
            Action::Remove => '-',
            Action::Change => '~',
        };
        write!(f, "{sign} {} {}", self.thing.as_str(), self.name)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// One call on a backend; the number is the site's.
#[derive(Debug, Clone)]
pub(super) enum Step {
    RemoveWorkload(usize, WorkloadName),
    Detach(usize, DetachRequest),
    RemoveNetwork(usize, NetworkName),
    CreateNetwork(usize, NetworkSpec),
    Isolate(usize, NetworkName, bool),
    CreateWorkload(usize, Box<WorkloadSpec>),
    Attach(usize, AttachNetworkRequest),
    Start(usize, WorkloadName),
    Names(usize, WorkloadName, NameChange),
}

/// The names a workload was made with, and those it must know.
#[derive(Debug, Clone)]
pub(super) struct NameChange {
    pub(super) made: Names,
    pub(super) wanted: Names,
}

/// What [`up`](Deployment::up) would do, in no order: nothing when all is as it should be.
///
/// `Display` prints a line for each change: `+` what is made, `-` what is removed, `~` what changes.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The topology.
    pub topology: TopologyName,
    /// The changes.
    pub changes: Vec<Change>,
}

impl Plan {
    /// Whether all is as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.changes.iter().flat_map(|c| &c.steps)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing to change");
        }
        let places: BTreeSet<&str> = self.changes.iter().map(|c| c.backend.as_str()).collect();
        for (i, change) in self.changes.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            change.fmt(f)?;
            if places.len() > 1 {
                write!(f, " [{}]", change.backend)?;
            }
        }
        Ok(())
    }
}

impl Deployment {
    /// What [`up`](Self::up) would do. Reads what there is and changes nothing; every mistake that can
    /// be seen beforehand is found here.
    ///
    /// # Errors
    /// `Conflict` when something of the same name is not this topology's; `Unsupported` when a backend
    /// lacks what the topology asks for; `NotFound` for an uplink or an image's file that does not
    /// exist; `Exhausted` when no address is left.
    pub async fn plan(&self) -> Result<Plan> {
        let found = self.observe().await?;
        self.plan_from(&found).await
    }

    pub(super) async fn plan_from(&self, found: &[Found]) -> Result<Plan> {
        let desired = self.desired(found)?;
        let mut changes = Vec::new();
        let mut settled = Vec::new();
        for (s, site) in self.sites.iter().enumerate() {
            let draft = Draft { deployment: self, s, site, found: &found[s], desired: &desired };
            let remade = draft.networks(&mut changes)?;
            draft.workloads(&remade, &mut changes, &mut settled)?;
        }
        self.check_capabilities(&changes)?;
        self.check_images(&changes).await?;
        self.check_networks(&changes, found).await?;
        changes.extend(self.name_changes(&desired, found, settled).await?);
        Ok(Plan { topology: self.topology.name.clone(), changes })
    }

    /// Refuses what a backend can't do before anything is changed.
    fn check_capabilities(&self, changes: &[Change]) -> Result<()> {
        for step in changes.iter().flat_map(|c| &c.steps) {
            let (s, needs, place, about) = match step {
                Step::CreateWorkload(s, spec) => {
                    // As `up` makes it: running at once, which a backend that can't start one later can, too.
                    let needs = CreateRequest::new(spec.as_ref().clone()).with_start().requires();
                    let place = self.topology.workload(&spec.name).map(|w| &w.place);
                    (*s, needs, place, ("workload", spec.name.to_string()))
                }
                Step::CreateNetwork(s, spec) => {
                    let place = self.topology.network(&spec.name).map(|n| &n.place);
                    (*s, spec.requires(), place, ("network", spec.name.to_string()))
                }
                Step::Attach(s, request) => {
                    let place = self.topology.workload(&request.workload).map(|w| &w.place);
                    (*s, request.requires(), place, ("workload", request.workload.to_string()))
                }
                _ => continue,
            };
            let site = &self.sites[s];
            if let Some(missing) = needs.into_iter().find(|c| !site.has(*c)) {
                let error = Error::unsupported(missing.lacking())
                    .with_context(about.0, about.1)
                    .with_context("capability", missing.path())
                    .with_hint(format!("`pod backend caps {}` lists what it can do", site.uri))
                    .with_backend(site.uri.clone());
                return Err(match place {
                    Some(place) => place.mark(error),
                    None => error,
                });
            }
        }
        Ok(())
    }

    /// Refuses images that are files of this machine and are not there.
    async fn check_images(&self, changes: &[Change]) -> Result<()> {
        let mut seen = BTreeSet::new();
        for step in changes.iter().flat_map(|c| &c.steps) {
            let Step::CreateWorkload(s, spec) = step else { continue };
            // Elsewhere a path may be another machine's, or no path at all.
            let Some(image) = spec.image.as_ref().filter(|_| self.sites[*s].backend.info().uri.scheme() == "local")
            else {
                continue;
            };
            if !seen.insert(image.to_string()) {
                continue;
            }
            check_image(image).await.map_err(|e| {
                let error = e.with_context("image", image.to_string()).with_context("workload", spec.name.as_str());
                match self.topology.workload(&spec.name) {
                    Some(workload) => workload.place.mark(error),
                    None => error,
                }
            })?;
        }
        Ok(())
    }

    /// Lets each backend look for mistakes in what is to be done to its networks: an uplink that does
    /// not exist, a kernel that lacks something, an address that is taken.
    async fn check_networks(&self, changes: &[Change], found: &[Found]) -> Result<()> {
        for (s, site) in self.sites.iter().enumerate().filter(|(_, site)| site.has(Capability::Plan)) {
            let (mut intent, mut names, mut gone) = (NetworkIntent::default(), Vec::new(), BTreeSet::new());
            let mut detached = Vec::new();
            for step in changes.iter().flat_map(|c| &c.steps) {
                match step {
                    Step::CreateNetwork(at, spec) if *at == s => {
                        names.push(spec.name.clone());
                        intent = intent.with_network(spec.clone());
                    }
                    Step::RemoveNetwork(at, name) if *at == s => {
                        gone.insert(name.clone());
                    }
                    Step::Attach(at, request) if *at == s => intent = intent.with_attachment(request.clone()),
                    Step::Detach(at, request) if *at == s => detached.push(request.clone()),
                    Step::RemoveWorkload(at, name) if *at == s => {
                        let of = found[s].attachments_of(name);
                        detached.extend(of.map(|a| DetachRequest::new(name.clone(), a.network.clone())));
                    }
                    _ => {}
                }
            }
            for request in detached {
                let again = |a: &AttachNetworkRequest| {
                    a.workload == request.workload && a.attachment.network == request.network
                };
                if !intent.attachments.iter().any(again) {
                    intent = intent.without_attachment(request);
                }
            }
            for name in gone.into_iter().filter(|n| !names.contains(n)) {
                intent = intent.without_network(name);
            }
            if intent == NetworkIntent::default() {
                continue;
            }
            site.networking()?.plan(intent).await.map_err(|e| {
                // The place of the network that the error names, or of the only one there is.
                let named = |n: &&NetworkName| e.context().iter().any(|(k, v)| *k == "network" && v == n.as_str());
                let at = names.iter().find(named).or(names.first().filter(|_| names.len() == 1));
                match at.and_then(|name| self.topology.network(name)) {
                    Some(network) => network.place.mark(e),
                    None => e,
                }
            })?;
        }
        Ok(())
    }

    /// The workloads that stay and don't know the names they must know.
    async fn name_changes(&self, desired: &Desired, found: &[Found], settled: Vec<usize>) -> Result<Vec<Change>> {
        let asked = settled.into_iter().filter(|w| hosts::readable(self.sites[self.homes[*w]].backend.capabilities()));
        let answers: Vec<Result<Option<Change>>> = stream::iter(asked)
            .map(|w| async move {
                let (s, spec) = (self.homes[w], &desired.workloads[w]);
                let Some(workload) = found[s].workloads.get(&spec.name) else { return Ok(None) };
                let made = &workload.spec.hosts;
                let known = hosts::known(self.sites[s].backend.as_ref(), &spec.name, made).await?;
                if known == spec.hosts {
                    return Ok(None);
                }
                Ok(Some(Change {
                    action: Action::Change,
                    thing: Thing::Names,
                    name: spec.name.to_string(),
                    backend: self.sites[s].uri.clone(),
                    detail: names_detail(&known, &spec.hosts),
                    steps: vec![Step::Names(s, spec.name.clone(), name_change(workload, spec))],
                }))
            })
            .buffered(READERS)
            .collect()
            .await;
        answers.into_iter().filter_map(Result::transpose).collect()
    }
}

/// Whether an image that is a file or directory is there.
async fn check_image(image: &Image) -> Result<()> {
    let (path, folder) = match image {
        Image::Rootfs(path) => (path, true),
        Image::Archive(path) => (path, false),
        Image::Host | Image::Reference(_) => return Ok(()),
    };
    match tokio::fs::metadata(path).await {
        Ok(m) if m.is_dir() == folder => Ok(()),
        Ok(_) if folder => Err(Error::invalid("the image is no directory")
            .with_hint(format!("write archive:{path} for an image in a file"))),
        Ok(_) => Err(Error::invalid("the image is a directory, not an archive")
            .with_hint(format!("write rootfs:{path} for a directory that holds a root file system"))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::NotFound, "there is no such image")
                .with_hint("a path in a topology file starts from the file's folder"))
        }
        Err(e) => Err(Error::io("the image can't be read", e)),
    }
}

pub(super) fn name_change(workload: &Workload, spec: &WorkloadSpec) -> NameChange {
    NameChange { made: workload.spec.hosts.clone(), wanted: spec.hosts.clone() }
}

fn names_detail(known: &Names, wanted: &Names) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(wanted.iter().filter(|(n, ip)| known.get(*n) != Some(ip)).map(|(n, ip)| format!("{n} is {ip}")));
    parts.extend(known.keys().filter(|n| !wanted.contains_key(*n)).map(|n| format!("{n} is gone")));
    let more = parts.len().saturating_sub(4);
    parts.truncate(4);
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_image_that_is_none_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("write");
        let (dir, file) = (dir.path().display().to_string(), file.display().to_string());
        for right in [Image::Host, Image::Rootfs(dir.clone()), Image::Archive(file.clone())] {
            assert!(check_image(&right).await.is_ok(), "{right}");
        }
        let kind = |e: Error| e.kind();
        assert_eq!(check_image(&Image::Rootfs(file)).await.map_err(kind), Err(ErrorKind::InvalidInput));
        assert_eq!(check_image(&Image::Archive(dir.clone())).await.map_err(kind), Err(ErrorKind::InvalidInput));
        let none = Image::Rootfs(format!("{dir}/none"));
        assert_eq!(check_image(&none).await.map_err(kind), Err(ErrorKind::NotFound));
    }
}

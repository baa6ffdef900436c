//! What would be done to make a topology true.

use super::deployment::{Deployment, Found, Site};
use super::desired::{Desired, user_labels};
use super::hosts::{self, Names};
use crate::{
    AttachNetworkRequest, Attachment, AttachmentSpec, Capability, CreateRequest, DetachRequest, Error, ErrorKind,
    Image, LABEL_SPEC_HASH, LABEL_TOPOLOGY, NetworkIntent, NetworkName, NetworkSpec, Requires, Result, State,
    TopologyName, Workload, WorkloadName, WorkloadSpec,
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
                    let needs = CreateRequest::new(spec.as_ref().clone()).requires();
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
                let error = Error::unsupported(format!("this backend lacks {missing}: {}", missing.describe()))
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

fn name_change(workload: &Workload, spec: &WorkloadSpec) -> NameChange {
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

/// The plan of one site in the making.
struct Draft<'a> {
    deployment: &'a Deployment,
    s: usize,
    site: &'a Site,
    found: &'a Found,
    desired: &'a Desired,
}

impl Draft<'_> {
    fn change(&self, action: Action, thing: Thing, name: &str, detail: impl Into<String>, steps: Vec<Step>) -> Change {
        Change { action, thing, name: name.to_owned(), backend: self.site.uri.clone(), detail: detail.into(), steps }
    }

    fn is_ours(&self, labels: &crate::Labels) -> bool {
        labels.get(LABEL_TOPOLOGY).map(String::as_str) == Some(self.deployment.topology.name.as_str())
    }

    /// The changes of networks; gives the names of those that are made anew.
    fn networks(&self, changes: &mut Vec<Change>) -> Result<BTreeSet<NetworkName>> {
        let topology = &self.deployment.topology;
        let mut remade = BTreeSet::new();
        if !self.site.networks.is_empty() {
            self.site.networking()?;
        }
        for n in &self.site.networks {
            let (spec, place) = (&self.desired.networks[*n], &topology.networks[*n].place);
            let create = Step::CreateNetwork(self.s, spec.clone());
            let Some(actual) = self.found.networks.get(&spec.name) else {
                changes.push(self.change(
                    Action::Add,
                    Thing::Network,
                    spec.name.as_str(),
                    network_detail(spec),
                    vec![create],
                ));
                continue;
            };
            if !self.is_ours(&actual.spec.labels) {
                let owner = actual.spec.labels.get(LABEL_TOPOLOGY);
                return Err(place.mark(self.deployment.conflict("network", spec.name.as_str(), owner, self.site)));
            }
            let differing = network_differences(&actual.spec, spec);
            if differing.is_empty() {
                continue;
            }
            let detail = differing.join(", ");
            if differing == ["isolated"] && self.site.has(Capability::Isolate) {
                let isolate = Step::Isolate(self.s, spec.name.clone(), spec.isolated);
                let detail = if spec.isolated { "isolated from now on" } else { "no longer isolated" };
                changes.push(self.change(Action::Change, Thing::Network, spec.name.as_str(), detail, vec![isolate]));
                continue;
            }
            self.refuse_strangers(&spec.name).map_err(|e| place.mark(e))?;
            let steps = vec![Step::RemoveNetwork(self.s, spec.name.clone()), create];
            let detail = format!("made anew: {detail} changed");
            changes.push(self.change(Action::Change, Thing::Network, spec.name.as_str(), detail, steps));
            remade.insert(spec.name.clone());
        }
        for (name, actual) in &self.found.networks {
            let wanted = self.site.networks.iter().any(|n| topology.networks[*n].spec.name == *name);
            if !wanted && self.is_ours(&actual.spec.labels) {
                self.refuse_strangers(name)?;
                let steps = vec![Step::RemoveNetwork(self.s, name.clone())];
                changes.push(self.change(Action::Remove, Thing::Network, name.as_str(), "", steps));
            }
        }
        Ok(remade)
    }

    /// A network that a workload of someone else is on can't be removed.
    fn refuse_strangers(&self, network: &NetworkName) -> Result<()> {
        let topology = &self.deployment.topology;
        let mut on = self.found.attachments.iter().filter(|a| a.network == *network);
        match on.find(|a| !self.found.owns(&a.workload, topology)) {
            None => Ok(()),
            Some(a) => Err(Error::new(
                ErrorKind::Conflict,
                "a network must be removed, and a workload that is not the topology's is on it",
            )
            .with_context("network", network.as_str())
            .with_context("workload", a.workload.as_str())
            .with_backend(self.site.uri.clone())
            .with_hint(format!("`pod net detach {} {network}` takes it off", a.workload))),
        }
    }

    /// The changes of workloads and their attachments; `settled` gets those that stay as they are and
    /// run.
    fn workloads(
        &self,
        remade: &BTreeSet<NetworkName>,
        changes: &mut Vec<Change>,
        settled: &mut Vec<usize>,
    ) -> Result<()> {
        let deployment = self.deployment;
        for (w, spec) in self.desired.workloads.iter().enumerate().filter(|(w, _)| deployment.homes[*w] == self.s) {
            let name = spec.name.as_str();
            let create = || Step::CreateWorkload(self.s, Box::new(spec.clone()));
            let Some(actual) = self.found.workloads.get(&spec.name) else {
                changes.push(self.change(Action::Add, Thing::Workload, name, workload_detail(spec), vec![create()]));
                continue;
            };
            if !self.is_ours(&actual.spec.labels) {
                let owner = actual.spec.labels.get(LABEL_TOPOLOGY);
                let error = deployment.conflict("workload", name, owner, self.site);
                return Err(deployment.topology.workloads[w].place.mark(error));
            }
            let moves = self.attachment_changes(spec, remade);
            let why = if actual.spec.labels.get(LABEL_SPEC_HASH) != spec.labels.get(LABEL_SPEC_HASH) {
                Some(format!("made anew: {} changed", workload_differences(&actual.spec, spec).join(", ")))
            } else if let State::Failed(reason) = &actual.state {
                Some(format!("made anew: it failed: {reason}"))
            } else if !moves.is_empty() && !self.site.has(Capability::HotAttach) {
                Some(
                    "made anew: its attachments changed, and this backend attaches only when it makes a workload"
                        .into(),
                )
            } else {
                None
            };
            if let Some(why) = why {
                let steps = vec![Step::RemoveWorkload(self.s, spec.name.clone()), create()];
                changes.push(self.change(Action::Change, Thing::Workload, name, why, steps));
                continue;
            }
            changes.extend(moves);
            if actual.state.is_running() {
                settled.push(w);
            } else {
                // What it knows is looked at when it runs: the backend may write the names anew.
                let steps = vec![
                    Step::Start(self.s, spec.name.clone()),
                    Step::Names(self.s, spec.name.clone(), name_change(actual, spec)),
                ];
                let detail = format!("started: it is {}", actual.state);
                changes.push(self.change(Action::Change, Thing::Workload, name, detail, steps));
            }
        }
        for (name, actual) in &self.found.workloads {
            let homes = self.desired.workloads.iter().zip(&deployment.homes);
            let wanted = homes.into_iter().any(|(w, home)| w.name == *name && *home == self.s);
            if !wanted && self.is_ours(&actual.spec.labels) {
                let steps = vec![Step::RemoveWorkload(self.s, name.clone())];
                changes.push(self.change(Action::Remove, Thing::Workload, name.as_str(), "", steps));
            }
        }
        Ok(())
    }

    fn attachment_changes(&self, spec: &WorkloadSpec, remade: &BTreeSet<NetworkName>) -> Vec<Change> {
        let mut out = Vec::new();
        let subject = |network: &NetworkName| format!("{} on {network}", spec.name);
        let detach =
            |network: &NetworkName| Step::Detach(self.s, DetachRequest::new(spec.name.clone(), network.clone()));
        for actual in self.found.attachments_of(&spec.name) {
            if !spec.attachments.iter().any(|a| a.network == actual.network) {
                let steps = vec![detach(&actual.network)];
                out.push(self.change(Action::Remove, Thing::Attachment, &subject(&actual.network), "", steps));
            }
        }
        for wanted in &spec.attachments {
            let network = &wanted.network;
            let attach = Step::Attach(self.s, AttachNetworkRequest::new(spec.name.clone(), wanted.clone()));
            let Some(actual) = self.found.attachments_of(&spec.name).find(|a| a.network == *network) else {
                let detail = list(&wanted.ips);
                out.push(self.change(Action::Add, Thing::Attachment, &subject(network), detail, vec![attach]));
                continue;
            };
            let mtu = self.desired.networks.iter().find(|n| n.name == *network).map(|n| n.mtu);
            let differing = attachment_differences(actual, wanted, mtu);
            let detail = if remade.contains(network) {
                "made anew with its network".to_owned()
            } else if !differing.is_empty() {
                format!("made anew: {} changed", differing.join(", "))
            } else {
                continue;
            };
            let steps = vec![detach(network), attach];
            out.push(self.change(Action::Change, Thing::Attachment, &subject(network), detail, steps));
        }
        out
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn network_detail(spec: &NetworkSpec) -> String {
    let mut parts = vec![spec.vlan.map_or_else(|| "untagged".to_owned(), |v| format!("vlan {v}"))];
    parts.extend(spec.subnets.iter().map(ToString::to_string));
    parts.extend(spec.uplink.iter().map(|u| format!("uplink {u}")));
    parts.extend(spec.isolated.then(|| "isolated".to_owned()));
    parts.join(", ")
}

fn workload_detail(spec: &WorkloadSpec) -> String {
    let mut parts: Vec<String> = spec.image.iter().map(ToString::to_string).collect();
    parts.extend(spec.attachments.iter().map(|a| format!("{} {}", a.network, list(&a.ips)).trim_end().to_owned()));
    parts.join(", ")
}

/// The parts in which two specs of a network differ, as the file names them.
fn network_differences(actual: &NetworkSpec, wanted: &NetworkSpec) -> Vec<&'static str> {
    let sorted = |ips: &[std::net::IpAddr]| ips.iter().copied().collect::<BTreeSet<_>>();
    [
        ("vlan", actual.vlan != wanted.vlan),
        ("subnets", actual.subnets != wanted.subnets),
        ("reserved", sorted(&actual.reserved) != sorted(&wanted.reserved)),
        ("uplink", actual.uplink != wanted.uplink),
        ("mtu", actual.mtu != wanted.mtu),
        ("isolated", actual.isolated != wanted.isolated),
        ("labels", !user_labels(&actual.labels).eq(user_labels(&wanted.labels))),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

/// The parts in which two specs of a workload differ, as the file names them; `what it is made from`
/// when they can't be told.
fn workload_differences(actual: &WorkloadSpec, wanted: &WorkloadSpec) -> Vec<&'static str> {
    let parts: Vec<&'static str> = [
        ("image", actual.image != wanted.image),
        ("command", actual.command != wanted.command),
        ("env", actual.env != wanted.env),
        ("cwd", actual.cwd != wanted.cwd),
        ("user", actual.user != wanted.user),
        ("labels", !user_labels(&actual.labels).eq(user_labels(&wanted.labels))),
        ("limits", actual.limits != wanted.limits),
        ("tty", actual.tty != wanted.tty),
        ("keep_alive", actual.keep_alive != wanted.keep_alive),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect();
    if parts.is_empty() { vec!["what it is made from"] } else { parts }
}

/// The parts in which an attachment differs from what is asked for. A MAC address or an interface name
/// that is not asked for may be any.
fn attachment_differences(actual: &Attachment, wanted: &AttachmentSpec, network_mtu: Option<u32>) -> Vec<&'static str> {
    let addresses: BTreeSet<_> = actual.ips.iter().map(ipnet::IpNet::addr).collect();
    let sorted = |routes: &[crate::Route]| {
        let mut all: Vec<_> = routes.iter().map(|r| (r.to, r.via)).collect();
        all.sort();
        all
    };
    [
        ("trunk", actual.mode != wanted.mode),
        ("ip", addresses != wanted.ips.iter().copied().collect()),
        ("mac", wanted.mac.is_some_and(|m| m != actual.mac)),
        ("interface", wanted.interface.as_ref().is_some_and(|i| *i != actual.interface)),
        ("mtu", wanted.mtu.or(network_mtu).is_some_and(|m| m != actual.mtu)),
        ("routes", sorted(&actual.routes) != sorted(&wanted.routes)),
        ("dns", actual.dns != wanted.dns),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
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

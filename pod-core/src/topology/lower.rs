//! Turns a file as it stands into a topology: names, addresses and ids get their types, defaults are
//! filled in, counted workloads are multiplied.

use super::file::{At, AttachmentFile, CommonFile, File, Named, NetworkFile, ReachFile, UplinkFile, WorkloadFile};
use super::model::AttachmentPlace;
use super::{Place, ReachRule, Topology, TopologyNetwork, TopologyWorkload, matching};
use crate::{
    AttachMode, AttachmentSpec, Error, IfName, Image, Labels, Limits, Mount, MountSource, NetworkSpec, PublishedPort,
    Result, TopologyName, VlanId, WorkloadName, WorkloadSpec, check_label,
};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// The most workloads one `count` makes.
const MOST_COPIES: u32 = 9999;

struct Context<'a> {
    file: Option<Arc<str>>,
    folder: Option<&'a Path>,
    defaults: CommonFile,
}

/// The topology a file describes; what needs a look at more than one value is left to
/// [`Topology::check`].
pub(super) fn lower(read: File, default_name: &str, file: Option<Arc<str>>, folder: Option<&Path>) -> Result<Topology> {
    let cx = Context { file, folder, defaults: read.defaults };
    let name = match &read.name {
        Some(name) => cx.convert(name)?,
        None => TopologyName::new(default_name)
            .map_err(|e| Place::start_of(cx.file.clone()).mark(e.with_hint("give the file a `name:` of its own")))?,
    };
    let mut topology = Topology::new(name);
    topology.backend = read.backend.map(|b| b.value);
    for (name, network) in &read.networks.0 {
        topology.networks.push(cx.network(name, network)?);
    }
    // Which workloads a name in the file stands for.
    let mut groups: BTreeMap<String, Vec<WorkloadName>> = BTreeMap::new();
    for (name, workload) in &read.workloads.0 {
        let made = cx.workload(name, workload)?;
        groups.insert(name.value.clone(), made.iter().map(|w| w.spec.name.clone()).collect());
        topology.workloads.extend(made);
    }
    for workload in &topology.workloads {
        let name = &workload.spec.name;
        groups.entry(name.to_string()).or_insert_with(|| vec![name.clone()]);
    }
    for rule in &read.reach {
        topology.reach.extend(cx.reach(rule, &groups)?);
    }
    Ok(topology)
}

impl Context<'_> {
    fn place<T>(&self, at: &At<T>) -> Place {
        Place::new(self.file.clone(), at.referenced)
    }

    fn mark<T, R>(&self, at: &At<T>, result: Result<R>) -> Result<R> {
        result.map_err(|e| self.place(at).mark(e))
    }

    fn convert<T: FromStr<Err = Error>>(&self, text: &At<String>) -> Result<T> {
        self.mark(text, text.value.parse())
    }

    fn ip(&self, text: &At<String>) -> Result<IpAddr> {
        let given = text.value.as_str();
        self.mark(
            text,
            given.parse().map_err(|_| {
                let e = Error::invalid("that is no IP address").with_context("given", format!("{given:?}"));
                match given.parse::<IpNet>() {
                    Ok(net) => e.with_hint(format!("leave the prefix length out: {}", net.addr())),
                    Err(_) => e.with_hint("write it as 10.0.0.5 or fd00::5"),
                }
            }),
        )
    }

    fn subnet(&self, text: &At<String>) -> Result<IpNet> {
        let given = text.value.as_str();
        let parsed = given.parse::<IpNet>().map_err(|_| {
            Error::invalid("that is no subnet")
                .with_context("given", format!("{given:?}"))
                .with_hint("write it with its prefix length, as 10.0.0.0/24 or fd00::/64")
        });
        self.mark(text, parsed)
    }

    fn vlan(&self, id: &At<i64>) -> Result<Option<VlanId>> {
        let parsed = u16::try_from(id.value)
            .map_err(|_| {
                Error::invalid(format!("VLAN id {} is out of range", id.value))
                    .with_hint("use 1 to 4094, or leave it out for an untagged network")
            })
            .and_then(VlanId::from_tag);
        self.mark(id, parsed)
    }

    fn labels(&self, all: [&Named<At<String>>; 2]) -> Result<Labels> {
        let mut labels = Labels::new();
        for (key, value) in all.into_iter().flat_map(|n| &n.0) {
            self.mark(key, check_label(&key.value, &value.value))?;
            labels.insert(key.value.clone(), value.value.clone());
        }
        Ok(labels)
    }

    fn network(&self, name: &At<String>, read: &NetworkFile) -> Result<TopologyNetwork> {
        let about = |e: Error| e.with_context("network", &name.value);
        let mut segments = BTreeMap::new();
        let mut build = || -> Result<NetworkSpec> {
            let mut spec = NetworkSpec::new(self.convert(name)?);
            if let Some(id) = &read.vlan {
                spec.vlan = self.vlan(id)?;
            }
            for text in read.subnet.iter().chain(&read.subnets) {
                spec.subnets.push(self.subnet(text)?);
            }
            for text in &read.reserved {
                spec.reserved.push(self.ip(text)?);
            }
            if let Some(uplink) = &read.uplink {
                match &uplink.value {
                    UplinkFile::All(name) => spec.uplink = Some(self.mark(uplink, IfName::new(name))?),
                    UplinkFile::Each(Named(all)) => {
                        for (platform, name) in all {
                            segments.insert(platform.value.clone(), self.convert(name)?);
                        }
                    }
                }
                if spec.vlan.is_none() {
                    let message = match &read.vlan {
                        Some(_) => "VLAN 0 is untagged, and an uplink needs a tag",
                        None => "an uplink needs a VLAN id to be tagged with",
                    };
                    let interfaces: Vec<&str> =
                        spec.uplink.iter().chain(segments.values()).map(IfName::as_str).collect();
                    let error = Error::invalid(message).with_context("uplink", interfaces.join(", "));
                    let hint = "give the network `vlan: 1` to `vlan: 4094`, or leave the uplink out";
                    return Err(self.place(uplink).mark(error.with_hint(hint)));
                }
            }
            if let Some(mtu) = &read.mtu {
                spec.mtu = mtu.value;
            }
            spec.isolated = read.isolated;
            spec.labels = self.labels([&read.labels, &Named::default()])?;
            Ok(spec)
        };
        Ok(TopologyNetwork { spec: build().map_err(about)?, segments, place: self.place(name) })
    }

    /// The workloads that one name stands for: itself, or `NAME-1` to `NAME-n` with a count.
    fn workload(&self, name: &At<String>, read: &WorkloadFile) -> Result<Vec<TopologyWorkload>> {
        let about = |e: Error| e.with_context("workload", &name.value);
        let names = match &read.count {
            None => vec![name.value.clone()],
            Some(count) if (1..=MOST_COPIES).contains(&count.value) => {
                (1..=count.value).map(|i| format!("{}-{i}", name.value)).collect()
            }
            Some(count) => {
                let error = Error::invalid(format!("a count is from 1 to {MOST_COPIES}"));
                return Err(about(self.place(count).mark(error.with_context("count", count.value.to_string()))));
            }
        };
        if read.count.as_ref().is_some_and(|c| c.value > 1) {
            for text in &read.ports {
                let port: PublishedPort = self.convert(text).map_err(about)?;
                if port.host_port != 0 {
                    let error = Error::invalid("a port of the machine can't be given to several workloads at once")
                        .with_context("port", port.to_string())
                        .with_hint(format!("leave it out, each copy gets a free one: {}/{}", port.port, port.protocol));
                    return Err(about(self.place(text).mark(error)));
                }
            }
            for (_, a) in &read.networks.0 {
                if let Some(only) = a.ip.iter().chain(&a.ips).chain(&a.mac).next() {
                    let error = Error::invalid("an address can't be given to several workloads at once")
                        .with_context("address", &only.value)
                        .with_hint("leave it out: each copy gets its own; or write the workloads one by one");
                    return Err(about(self.place(only).mark(error)));
                }
            }
        }
        let (template, keep_alive_by_default, attachment_places) = self.template(name, read).map_err(about)?;
        names
            .into_iter()
            .map(|each| {
                let mut spec = template.clone();
                spec.name = self.mark(name, WorkloadName::new(each)).map_err(about)?;
                Ok(TopologyWorkload {
                    spec,
                    backend: read.backend.as_ref().or(self.defaults.backend.as_ref()).map(|b| b.value.clone()),
                    place: self.place(name),
                    keep_alive_by_default,
                    attachment_places: attachment_places.clone(),
                })
            })
            .collect()
    }

    fn template(&self, name: &At<String>, read: &WorkloadFile) -> Result<(WorkloadSpec, bool, Vec<AttachmentPlace>)> {
        let common = &self.defaults;
        let mut spec = WorkloadSpec::new(self.convert(name)?);
        if let Some(image) = read.image.as_ref().or(common.image.as_ref()) {
            spec.image = Some(self.image(image)?);
        }
        spec.command = read.command.as_ref().or(common.command.as_ref()).cloned().unwrap_or_default();
        for (key, value) in common.env.0.iter().chain(&read.env.0) {
            self.mark(key, crate::workload::check_env(key.value.as_bytes(), value.value.as_bytes()))?;
            spec.env.insert(key.value.clone(), value.value.clone());
        }
        spec.cwd = read.cwd.clone().or_else(|| common.cwd.clone());
        spec.user = read.user.clone().or_else(|| common.user.clone());
        spec.labels = self.labels([&common.labels, &read.labels])?;
        spec.limits = Limits {
            cpus: read.limits.cpus.or(common.limits.cpus),
            memory: read.limits.memory.or(common.limits.memory),
            pids: read.limits.pids.or(common.limits.pids),
        };
        spec.tty = read.tty.or(common.tty).unwrap_or_default();
        let asked = read.keep_alive.or(common.keep_alive);
        let by_default = asked.is_none() && spec.command.is_empty();
        if let Some(restart) = read.restart.as_ref().or(common.restart.as_ref()) {
            spec.restart = self.convert(restart)?;
        }
        // One that is started again need not outlive its command.
        let by_default = by_default && spec.restart.is_no();
        spec.keep_alive = asked.unwrap_or(by_default);
        for mount in common.mounts.iter().chain(&read.mounts) {
            spec.mounts.push(self.mount(mount)?);
        }
        for port in &read.ports {
            spec.ports.push(self.convert(port)?);
        }
        let mut places = Vec::new();
        for (network, attachment) in &read.networks.0 {
            let (attachment, place) =
                self.attachment(network, attachment).map_err(|e| e.with_context("network", &network.value))?;
            spec.attachments.push(attachment);
            places.push(place);
        }
        Ok((spec, by_default, places))
    }

    /// A path, from the file's folder.
    fn absolute(&self, path: String) -> String {
        match self.folder {
            Some(folder) => folder.join(&path).to_str().map(ToOwned::to_owned).unwrap_or(path),
            None => path,
        }
    }

    fn image(&self, text: &At<String>) -> Result<Image> {
        Ok(match self.convert(text)? {
            Image::Rootfs(path) => Image::Rootfs(self.absolute(path)),
            Image::Archive(path) => Image::Archive(self.absolute(path)),
            other => other,
        })
    }

    fn mount(&self, read: &At<Mount>) -> Result<Mount> {
        let mut mount = read.value.clone();
        if let MountSource::Host(path) = mount.source {
            mount.source = MountSource::Host(self.absolute(path));
        }
        self.mark(read, mount.validate())?;
        Ok(mount)
    }

    fn attachment(&self, network: &At<String>, read: &AttachmentFile) -> Result<(AttachmentSpec, AttachmentPlace)> {
        let mut spec = AttachmentSpec::new(self.convert(network)?);
        let mut place = AttachmentPlace { network: self.place(network), ips: Vec::new() };
        for text in read.ip.iter().chain(&read.ips) {
            spec.ips.push(self.ip(text)?);
            place.ips.push(self.place(text));
        }
        spec.mac = read.mac.as_ref().map(|m| self.convert(m)).transpose()?;
        spec.interface = read.interface.as_ref().map(|i| self.convert(i)).transpose()?;
        if let Some(mtu) = &read.mtu {
            let checked = if (68..=65535).contains(&mtu.value) {
                Ok(mtu.value)
            } else {
                Err(Error::invalid(format!("MTU {} is out of range", mtu.value)).with_hint("use 68 to 65535"))
            };
            spec.mtu = Some(self.mark(mtu, checked)?);
        }
        for route in &read.routes {
            let to = route.value.to;
            if to != to.trunc() {
                let error = Error::invalid(format!("{to} is an address within a subnet, not a subnet"));
                return Err(self.place(route).mark(error.with_hint(format!("write {}", to.trunc()))));
            }
            spec.routes.push(route.value.clone());
        }
        for server in &read.dns {
            spec.dns.push(self.ip(server)?);
        }
        if let Some(trunk) = &read.trunk {
            let mut ids = Vec::new();
            for id in trunk {
                let error = |m: &str| Err(self.place(id).mark(Error::invalid(m).with_hint("use 1 to 4094")));
                match self.vlan(id)? {
                    None => return error("a trunk is tagged, and VLAN 0 is untagged"),
                    Some(v) if ids.contains(&v) => return error(&format!("VLAN {v} is given twice")),
                    Some(v) => ids.push(v),
                }
            }
            if ids.is_empty() {
                let error = Error::invalid("a trunk carries at least one VLAN");
                return Err(self.place(network).mark(error.with_hint("list its VLAN ids, such as trunk: [100, 200]")));
            }
            spec.mode = AttachMode::Trunk(ids);
        }
        Ok((spec, place))
    }

    fn reach(&self, rule: &At<ReachFile>, groups: &BTreeMap<String, Vec<WorkloadName>>) -> Result<Vec<ReachRule>> {
        let find = |name: &At<String>| {
            groups.get(&name.value).ok_or_else(|| {
                self.place(name).mark(
                    Error::invalid("no workload of the topology has this name")
                        .with_context("workload", &name.value)
                        .with_hint(matching::hint(&name.value, groups.keys().map(String::as_str))),
                )
            })
        };
        let (from, to) = (find(&rule.value.from)?, find(&rule.value.to)?);
        let mut rules = Vec::new();
        for f in from {
            for t in to.iter().filter(|t| *t != f) {
                rules.push(ReachRule::new(f.clone(), t.clone(), rule.value.expect));
            }
        }
        if rules.is_empty() {
            let error = Error::invalid("a workload's reach of itself is not measured");
            return Err(self.place(rule).mark(error.with_context("workload", &rule.value.from.value)));
        }
        Ok(rules)
    }
}

//! The types that the command prints as JSON and YAML. They are its contract with scripts: keys are
//! added, never renamed or removed.

use super::{Report, Table, age};
use jiff::Timestamp;
use pod::{AttachMode, Attachment, BackendUri, ExitStatus, Labels, Mount, PublishedPort, State, Workload};
use std::collections::BTreeMap;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ExitView {
    /// As a shell gives it: 128+n for signal n; `null` when it was lost.
    pub(crate) code: Option<u8>,
    /// The signal that killed it.
    pub(crate) signal: Option<u8>,
}

impl From<ExitStatus> for ExitView {
    fn from(status: ExitStatus) -> Self {
        let signal = match status {
            ExitStatus::Signaled(n) => Some(n),
            _ => None,
        };
        Self { code: status.shell_code(), signal }
    }
}

/// A workload's interface on a network.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct AttachmentView {
    pub(crate) workload: String,
    pub(crate) network: String,
    pub(crate) interface: String,
    /// `access` or `trunk`.
    pub(crate) mode: &'static str,
    pub(crate) vlan: Option<u16>,
    /// The VLAN ids of a trunk.
    pub(crate) trunk: Vec<u16>,
    /// With prefix lengths.
    pub(crate) addresses: Vec<String>,
    pub(crate) mac: String,
    pub(crate) mtu: u32,
    pub(crate) routes: Vec<RouteView>,
    pub(crate) dns: Vec<String>,
}

/// A route given with an attachment.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct RouteView {
    pub(crate) to: String,
    pub(crate) via: Option<String>,
}

impl From<&Attachment> for AttachmentView {
    fn from(a: &Attachment) -> Self {
        let (mode, trunk) = match &a.mode {
            AttachMode::Trunk(ids) => ("trunk", ids.iter().map(|v| v.get()).collect()),
            _ => ("access", Vec::new()),
        };
        Self {
            workload: a.workload.to_string(),
            network: a.network.to_string(),
            interface: a.interface.to_string(),
            mode,
            vlan: a.vlan.map(pod::VlanId::get),
            trunk,
            addresses: a.ips.iter().map(ToString::to_string).collect(),
            mac: a.mac.to_string(),
            mtu: a.mtu,
            routes: a
                .routes
                .iter()
                .map(|r| RouteView { to: r.to.to_string(), via: r.via.map(|v| v.to_string()) })
                .collect(),
            dns: a.dns.iter().map(ToString::to_string).collect(),
        }
    }
}

impl AttachmentView {
    fn tag(&self) -> String {
        match (self.vlan, self.trunk.as_slice()) {
            (_, [_, ..]) => format!("trunk {}", self.trunk.iter().map(u16::to_string).collect::<Vec<_>>().join(",")),
            (Some(v), _) => v.to_string(),
            (None, _) => String::new(),
        }
    }
}

/// The attachments of a backend.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct AttachmentList(pub(crate) Vec<AttachmentView>);

impl Report for AttachmentList {
    fn table(&self, wide: bool) -> Table {
        let mut head = vec!["WORKLOAD", "NETWORK", "INTERFACE", "VLAN", "ADDRESSES"];
        if wide {
            head.extend(["MAC", "MTU"]);
        }
        let mut t = Table::new(head);
        for a in &self.0 {
            let mut row =
                vec![a.workload.clone(), a.network.clone(), a.interface.clone(), a.tag(), a.addresses.join(",")];
            if wide {
                row.extend([a.mac.clone(), a.mtu.to_string()]);
            }
            t.row(row);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|a| format!("{}/{}", a.workload, a.network)).collect()
    }
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct PortView {
    /// The address of the engine's machine.
    pub(crate) address: String,
    /// The port of the engine's machine; 0 while none is chosen.
    pub(crate) host_port: u16,
    /// The port inside.
    pub(crate) port: u16,
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    #[serde(skip)]
    text: String,
}

impl From<&PublishedPort> for PortView {
    fn from(p: &PublishedPort) -> Self {
        Self {
            address: p.address.to_string(),
            host_port: p.host_port,
            port: p.port,
            protocol: p.protocol.as_str(),
            text: p.to_string(),
        }
    }
}

/// A workload.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct WorkloadView {
    pub(crate) name: String,
    /// The whole address, for any command.
    pub(crate) address: String,
    pub(crate) id: String,
    /// `created`, `starting`, `running`, `exited` or `failed`.
    pub(crate) state: &'static str,
    /// Why, for `failed`.
    pub(crate) reason: Option<String>,
    /// How its command ended, if it did.
    pub(crate) exit: Option<ExitView>,
    pub(crate) image: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) created: Timestamp,
    pub(crate) started: Option<Timestamp>,
    pub(crate) finished: Option<Timestamp>,
    pub(crate) pid: Option<u32>,
    /// Of all its interfaces, with prefix lengths.
    pub(crate) addresses: Vec<String>,
    pub(crate) networks: Vec<AttachmentView>,
    pub(crate) mounts: Vec<Mount>,
    /// Where its ports are published; while it does not run, where they are to be.
    pub(crate) ports: Vec<PortView>,
    /// `no`, `on-failure`, `on-failure:COUNT`, `always` or `unless-stopped`.
    pub(crate) restart: String,
    /// How often its command was started again.
    pub(crate) restarts: u32,
    pub(crate) labels: Labels,
}

impl WorkloadView {
    /// The view of a workload of the backend at `backend`.
    pub(crate) fn new(backend: &BackendUri, w: &Workload) -> Self {
        let exit = match w.state {
            State::Exited(status) | State::Running { command: Some(status) } => Some(status.into()),
            _ => None,
        };
        let reason = match &w.state {
            State::Failed(why) => Some(why.clone()),
            _ => None,
        };
        let networks: Vec<AttachmentView> = w.attachments.iter().map(Into::into).collect();
        let ports = if w.state.is_running() { &w.ports } else { &w.spec.ports };
        Self {
            name: w.name().to_string(),
            address: address_of(backend, w.name().as_str()),
            id: w.id.clone(),
            state: w.state.word(),
            reason,
            exit,
            image: w.spec.image.as_ref().map(ToString::to_string),
            command: w.spec.command.clone(),
            created: w.created,
            started: w.started,
            finished: w.finished,
            pid: w.pid,
            addresses: networks.iter().flat_map(|n| n.addresses.clone()).collect(),
            networks,
            mounts: w.spec.mounts.clone(),
            ports: ports.iter().map(Into::into).collect(),
            restart: w.spec.restart.to_string(),
            restarts: w.restarts,
            labels: w.spec.labels.clone(),
        }
    }

    /// The policy by which it is started again, if there is one, and how often it was.
    fn restart_cell(&self) -> String {
        match (self.restart.as_str(), self.restarts) {
            ("no", _) => String::new(),
            (policy, 0) => policy.to_owned(),
            (policy, times) => format!("{policy} ({times} so far)"),
        }
    }

    /// The state in a word; with `exit`, how the command of a workload that runs on has ended, too.
    fn state_cell(&self, exit: bool) -> String {
        let code = match &self.exit {
            None => return self.state.to_owned(),
            Some(ExitView { code: Some(code), .. }) => code.to_string(),
            Some(ExitView { code: None, .. }) => "unknown".into(),
        };
        match self.state {
            "running" if exit => format!("running, its command exited ({code})"),
            "running" => "running".into(),
            state => format!("{state} ({code})"),
        }
    }
}

/// The address of the workload `name` on `backend`.
pub(crate) fn address_of(backend: &BackendUri, name: &str) -> String {
    let path = match backend.path() {
        base if base.is_empty() || base.ends_with('/') => format!("{base}{name}"),
        base => format!("{base}/{name}"),
    };
    backend.clone().with_path(path).to_string()
}

/// Workloads, as `ps` lists them.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct WorkloadList(pub(crate) Vec<WorkloadView>);

impl Report for WorkloadList {
    fn table(&self, wide: bool) -> Table {
        let now = Timestamp::now();
        let mut head = vec!["NAME", "STATE", "IMAGE", "ADDRESSES", "AGE"];
        if wide {
            head.extend(["PID", "NETWORKS", "PORTS", "MOUNTS", "RESTART", "COMMAND", "LABELS", "ID"]);
        }
        let mut t = Table::new(head);
        for w in &self.0 {
            let mut row = vec![
                w.name.clone(),
                w.state_cell(wide),
                w.image.clone().unwrap_or_default(),
                w.addresses.join(","),
                age(w.created, now),
            ];
            if wide {
                let networks: Vec<_> = w.networks.iter().map(|n| n.network.clone()).collect();
                row.extend([
                    w.pid.map(|p| p.to_string()).unwrap_or_default(),
                    networks.join(","),
                    w.ports.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join(","),
                    w.mounts.iter().map(|m| m.at.as_str()).collect::<Vec<_>>().join(","),
                    w.restart_cell(),
                    w.command.join(" "),
                    labels(&w.labels),
                    w.id.clone(),
                ]);
            }
            t.row(row);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|w| w.name.clone()).collect()
    }
}

/// The labels that tell a user something.
fn labels(labels: &Labels) -> String {
    let told = |key: &str| key != pod::LABEL_OWNER && key != pod::LABEL_SPEC_HASH;
    labels.iter().filter(|(key, _)| told(key)).map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

/// A workload in full, as `inspect` prints it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct InspectView {
    #[serde(flatten)]
    pub(crate) workload: WorkloadView,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) limits: pod::Limits,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) keep_alive: bool,
    pub(crate) hosts: BTreeMap<String, String>,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
}

impl InspectView {
    /// The view of a workload of the backend at `backend`.
    pub(crate) fn new(backend: &BackendUri, w: &Workload) -> Self {
        Self {
            workload: WorkloadView::new(backend, w),
            env: w.spec.env.clone(),
            cwd: w.spec.cwd.clone(),
            user: w.spec.user.clone(),
            limits: w.spec.limits,
            tty: w.spec.tty,
            stdin: w.spec.stdin,
            keep_alive: w.spec.keep_alive,
            hosts: w.spec.hosts.iter().map(|(n, ip)| (n.clone(), ip.to_string())).collect(),
            notes: w.notes.clone(),
        }
    }
}

/// Workloads in full.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct InspectList(pub(crate) Vec<InspectView>);

impl Report for InspectList {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::bare();
        for v in &self.0 {
            let w = &v.workload;
            let mut put = |key: &str, value: String| {
                if !value.is_empty() {
                    t.row([format!("{key}:"), value]);
                }
            };
            put("name", w.name.clone());
            put("address", w.address.clone());
            put("id", w.id.clone());
            put("state", w.state_cell(true));
            put("reason", w.reason.clone().unwrap_or_default());
            put("image", w.image.clone().unwrap_or_default());
            put("command", format!("{:?}", w.command));
            put("created", w.created.to_string());
            put("started", w.started.map(|t| t.to_string()).unwrap_or_default());
            put("finished", w.finished.map(|t| t.to_string()).unwrap_or_default());
            put("pid", w.pid.map(|p| p.to_string()).unwrap_or_default());
            put("user", v.user.clone().unwrap_or_default());
            put("cwd", v.cwd.clone().unwrap_or_default());
            for (key, value) in &v.env {
                put("env", format!("{key}={value}"));
            }
            put("cpus", v.limits.cpus.map(|c| c.to_string()).unwrap_or_default());
            put("memory", v.limits.memory.map(pod::size::human).unwrap_or_default());
            put("pids", v.limits.pids.map(|p| p.to_string()).unwrap_or_default());
            put("tty", if v.tty { "yes".into() } else { String::new() });
            put("stdin", if v.stdin { "open".into() } else { String::new() });
            put("keep-alive", if v.keep_alive { "yes".into() } else { String::new() });
            for n in &w.networks {
                let vlan = match n.tag() {
                    tag if tag.is_empty() => "untagged".to_owned(),
                    tag => format!("vlan {tag}"),
                };
                put(
                    "network",
                    format!("{} on {}, {vlan}, {}, {}", n.interface, n.network, n.addresses.join(" "), n.mac),
                );
            }
            for p in &w.ports {
                put("port", p.text.clone());
            }
            for m in &w.mounts {
                put("mount", m.to_string());
            }
            put("restart", w.restart_cell());
            for (name, ip) in &v.hosts {
                put("host", format!("{name} is {ip}"));
            }
            for (key, value) in &w.labels {
                put("label", format!("{key}={value}"));
            }
            for note in &v.notes {
                put("note", note.clone());
            }
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|v| v.workload.name.clone()).collect()
    }
}

/// What a command did to one thing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct OutcomeView {
    pub(crate) name: String,
    /// In one or two words, such as `already_running`.
    pub(crate) outcome: String,
}

/// What a command did to each thing it was given.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct OutcomeList(pub(crate) Vec<OutcomeView>);

impl OutcomeList {
    /// Adds what was done to `name`; `outcome` is one of the unit enums of outcomes.
    pub(crate) fn add(&mut self, name: impl ToString, outcome: &impl serde::Serialize) {
        let outcome = match serde_json::to_value(outcome) {
            Ok(serde_json::Value::String(word)) => word,
            _ => "done".into(),
        };
        self.0.push(OutcomeView { name: name.to_string(), outcome });
    }
}

impl Report for OutcomeList {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::bare();
        for o in &self.0 {
            t.row([o.name.clone(), o.outcome.replace('_', " ")]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|o| o.name.clone()).collect()
    }
}

/// How a workload's command ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct WaitView {
    pub(crate) name: String,
    pub(crate) exit: ExitView,
}

/// How the commands of workloads ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct WaitList(pub(crate) Vec<WaitView>);

impl Report for WaitList {
    fn table(&self, wide: bool) -> Table {
        let mut t = Table::bare();
        for w in &self.0 {
            let code = w.exit.code.map_or_else(|| "unknown".to_owned(), |c| c.to_string());
            if wide || self.0.len() > 1 { t.row([w.name.clone(), code]) } else { t.row([code]) }
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|w| w.name.clone()).collect()
    }
}

/// What a copy did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct CopyView(pub(crate) pod::copy::CopyReport);

impl Report for CopyView {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::new(["ENTRIES", "BYTES", "NOT KEPT"]);
        t.row([self.0.entries.to_string(), self.0.bytes.to_string(), self.0.not_kept.join(",")]);
        t
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

//! Workloads: what to run, what is running, how it ended.

use crate::{
    Attachment, AttachmentSpec, Capability, Error, Mount, PublishedPort, Requires, RestartPolicy, Result, WorkloadName,
    mounts, ports,
};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The labels of a workload or network.
pub type Labels = BTreeMap<String, String>;

/// The prefix of the labels that POD itself sets; users can't.
pub const OWN_LABEL_PREFIX: &str = "pod.";
/// The label that names the owner: machine id and user.
pub const LABEL_OWNER: &str = "pod.owner";
/// The label that names the topology a thing belongs to.
pub const LABEL_TOPOLOGY: &str = "pod.topology";
/// The label that holds a hash of the part of the topology file a thing was made from.
pub const LABEL_SPEC_HASH: &str = "pod.spec";

/// Checks a label key and value given by a user.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput): an empty key, one longer than 253
/// bytes, one with white space, `=` or `,`, one that begins with `pod.`, or a value with a newline or
/// longer than 1,024 bytes.
pub fn check_label(key: &str, value: &str) -> Result<()> {
    let bad = |why: &str| Err(Error::invalid(format!("bad label: {why}")).with_context("label", format!("{key:?}")));
    if key.is_empty() || key.len() > 253 {
        return bad("a key is 1 to 253 bytes long");
    }
    if key.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '=' | ',')) {
        return bad("a key holds no white space, '=' or ','");
    }
    if key.starts_with(OWN_LABEL_PREFIX) {
        return bad("keys that begin with 'pod.' are POD's own");
    }
    if value.len() > 1024 || value.contains(['\n', '\0']) {
        return bad("a value is one line of at most 1,024 bytes");
    }
    Ok(())
}

/// Where a workload's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Image {
    /// `host`: a throw-away copy of this machine's own root (`local:` only).
    Host,
    /// `rootfs:DIR`: a directory that holds a root file system; it is not written to.
    Rootfs(String),
    /// `archive:FILE`: a docker-archive or an OCI layout in a tar file.
    Archive(String),
    /// A registry reference, or a name that the platform knows.
    Reference(String),
}

impl FromStr for Image {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let need = |rest: &str, what: &str| {
            if rest.is_empty() {
                Err(Error::invalid(format!("the image {s:?} names no {what}")))
            } else {
                Ok(rest.to_owned())
            }
        };
        if s == "host" {
            Ok(Self::Host)
        } else if let Some(rest) = s.strip_prefix("rootfs:") {
            need(rest, "directory").map(Self::Rootfs)
        } else if let Some(rest) = s.strip_prefix("archive:") {
            need(rest, "file").map(Self::Archive)
        } else if s.is_empty() || s.chars().any(|c| c.is_whitespace() || c.is_control()) {
            Err(Error::invalid("that is no image")
                .with_context("image", format!("{s:?}"))
                .with_hint("`host`, `rootfs:DIR`, `archive:FILE` or a reference such as debian:12"))
        } else {
            Ok(Self::Reference(s.to_owned()))
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Rootfs(d) => write!(f, "rootfs:{d}"),
            Self::Archive(d) => write!(f, "archive:{d}"),
            Self::Reference(r) => f.write_str(r),
        }
    }
}

impl serde::Serialize for Image {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Image {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Limits on what a workload may use; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// CPUs' worth of time, 0.01 or more: 0.5 is half of one CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Bytes of memory, 4 MiB or more.
    #[serde(skip_serializing_if = "Option::is_none", with = "crate::size::option")]
    pub memory: Option<u64>,
    /// Processes and threads, 1 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

impl Limits {
    /// Limits CPU time to this many CPUs' worth.
    #[must_use]
    pub fn with_cpus(mut self, cpus: f64) -> Self {
        self.cpus = Some(cpus);
        self
    }

    /// Limits memory to this many bytes.
    #[must_use]
    pub fn with_memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Limits the number of processes and threads.
    #[must_use]
    pub fn with_pids(mut self, pids: u32) -> Self {
        self.pids = Some(pids);
        self
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) names the limit and its range.
    pub fn validate(&self) -> Result<()> {
        if self.cpus.is_some_and(|c| !(0.01..=4096.0).contains(&c)) {
            return Err(Error::invalid("a CPU limit is from 0.01 to 4096 CPUs"));
        }
        if self.memory.is_some_and(|m| m < 4 << 20) {
            return Err(Error::invalid("a memory limit is 4 MiB or more"));
        }
        if self.pids == Some(0) {
            return Err(Error::invalid("a limit of processes is 1 or more"));
        }
        Ok(())
    }
}

/// What to run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct WorkloadSpec {
    /// Its name within the backend.
    pub name: WorkloadName,
    /// Where its root file system comes from; `None` is the backend's default.
    pub image: Option<Image>,
    /// The command; empty is the image's own.
    pub command: Vec<String>,
    /// Environment variables, added to the image's.
    pub env: BTreeMap<String, String>,
    /// The working directory; `None` is the image's.
    pub cwd: Option<String>,
    /// The user, `NAME`, `UID`, `NAME:GROUP` or `UID:GID`; `None` is the image's.
    pub user: Option<String>,
    /// Labels for finding it again.
    pub labels: Labels,
    /// Limits on what it may use.
    pub limits: Limits,
    /// Whether the command gets a terminal.
    pub tty: bool,
    /// Whether the command's stdin stays open for [`Backend::attach`](crate::Backend::attach).
    pub stdin: bool,
    /// Whether the workload goes on when its command has ended.
    pub keep_alive: bool,
    /// Host names to know, each with its address: written to the workload's `/etc/hosts`.
    pub hosts: BTreeMap<String, IpAddr>,
    /// Attachments made before the command starts.
    pub attachments: Vec<AttachmentSpec>,
    /// What is mounted in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Its ports on the machine that it runs on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PublishedPort>,
    /// When its command is started again.
    #[serde(default, skip_serializing_if = "RestartPolicy::is_no")]
    pub restart: RestartPolicy,
}

impl WorkloadSpec {
    /// A workload of this name with the backend's default image and its own command.
    #[must_use]
    pub fn new(name: WorkloadName) -> Self {
        Self {
            name,
            image: None,
            command: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            user: None,
            labels: Labels::new(),
            limits: Limits::default(),
            tty: false,
            stdin: false,
            keep_alive: false,
            hosts: BTreeMap::new(),
            attachments: Vec::new(),
            mounts: Vec::new(),
            ports: Vec::new(),
            restart: RestartPolicy::No,
        }
    }

    /// Takes its root file system from `image`.
    #[must_use]
    pub fn with_image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// Runs this command.
    #[must_use]
    pub fn with_command<I: IntoIterator<Item = S>, S: Into<String>>(mut self, argv: I) -> Self {
        self.command = argv.into_iter().map(Into::into).collect();
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn with_env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(key.into(), value.into());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn with_cwd(mut self, cwd: impl Into<String>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Sets the user.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Gives the command a terminal.
    #[must_use]
    pub fn with_tty(mut self, tty: bool) -> Self {
        self.tty = tty;
        self
    }

    /// Keeps the command's stdin open for attach.
    #[must_use]
    pub fn with_stdin(mut self, stdin: bool) -> Self {
        self.stdin = stdin;
        self
    }

    /// Lets the workload outlive its command.
    #[must_use]
    pub fn with_keep_alive(mut self, keep_alive: bool) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// Adds an attachment made before the command starts.
    #[must_use]
    pub fn with_attachment(mut self, attachment: AttachmentSpec) -> Self {
        self.attachments.push(attachment);
        self
    }

    /// Mounts something in it.
    #[must_use]
    pub fn with_mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// Publishes a port of it.
    #[must_use]
    pub fn with_port(mut self, port: PublishedPort) -> Self {
        self.ports.push(port);
        self
    }

    /// Sets when its command is started again.
    #[must_use]
    pub fn with_restart(mut self, restart: RestartPolicy) -> Self {
        self.restart = restart;
        self
    }

    /// Checks what no type checks: argv, environment, labels, limits, mounts, ports, and that a workload
    /// which outlives its command does not start it again.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) names the part.
    pub fn validate(&self) -> Result<()> {
        if self.command.first().is_some_and(String::is_empty) {
            return Err(Error::invalid("the command's program name is empty"));
        }
        if self.command.iter().any(|a| a.contains('\0')) {
            return Err(Error::invalid("an argument holds a zero byte"));
        }
        for (key, value) in &self.env {
            check_env(key.as_bytes(), value.as_bytes())?;
        }
        if let Some(cwd) = &self.cwd
            && !cwd.starts_with('/')
        {
            return Err(Error::invalid("the working directory is not absolute").with_context("cwd", cwd));
        }
        for (key, value) in &self.labels {
            if !key.starts_with(OWN_LABEL_PREFIX) {
                check_label(key, value)?;
            }
        }
        self.limits.validate()?;
        mounts::validate(&self.mounts)?;
        ports::validate(&self.ports)?;
        if self.keep_alive && !self.restart.is_no() {
            return Err(Error::invalid("a workload that outlives its command does not start it again")
                .with_context("restart", self.restart.to_string())
                .with_hint("leave keep-alive out, or the restart policy"));
        }
        Ok(())
    }
}

/// Checks an environment variable.
pub(crate) fn check_env(key: &[u8], value: &[u8]) -> Result<()> {
    if key.is_empty() || key.contains(&b'=') || key.contains(&0) || value.contains(&0) {
        return Err(Error::invalid("bad environment variable: a name is not empty and holds no '=' or zero byte")
            .with_context("name", String::from_utf8_lossy(key)));
    }
    Ok(())
}

impl Requires for WorkloadSpec {
    fn requires(&self) -> Vec<Capability> {
        let mut need = vec![Capability::Create];
        let mut on = |wanted: bool, c| {
            if wanted {
                need.push(c);
            }
        };
        on(!self.env.is_empty(), Capability::Env);
        on(self.cwd.is_some(), Capability::Cwd);
        on(self.user.is_some(), Capability::User);
        on(!self.labels.is_empty(), Capability::Labels);
        on(self.tty, Capability::Tty);
        on(self.stdin, Capability::AttachStdio);
        on(self.keep_alive, Capability::KeepAlive);
        on(self.limits.cpus.is_some(), Capability::LimitCpu);
        on(self.limits.memory.is_some(), Capability::LimitMemory);
        on(self.limits.pids.is_some(), Capability::LimitPids);
        on(!self.mounts.is_empty(), Capability::Mounts);
        on(!self.ports.is_empty(), Capability::Ports);
        on(!self.ports.is_empty() && !self.attachments.is_empty(), Capability::PortsOnNetworks);
        on(!self.restart.is_no(), Capability::Restart);
        for a in &self.attachments {
            need.extend(a.requires());
        }
        need
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExitStatus {
    /// It exited with this code.
    Exited(u8),
    /// A signal of this number killed it.
    Signaled(u8),
    /// The status was lost; never taken for 0.
    Unknown,
}

impl ExitStatus {
    /// Whether it exited with 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The code as a shell gives it: 128+n for signal n; `None` for [`ExitStatus::Unknown`].
    #[must_use]
    pub fn shell_code(self) -> Option<u8> {
        match self {
            Self::Exited(code) => Some(code),
            Self::Signaled(n) => Some(128u8.saturating_add(n)),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited ({code})"),
            Self::Signaled(n) => write!(f, "killed by signal {n}"),
            Self::Unknown => f.write_str("exited (unknown)"),
        }
    }
}

/// What a workload is doing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// It is made and was never started.
    Created,
    /// It is being started, or is to be started again.
    Starting,
    /// It runs. Of a kept-alive workload whose command has ended, `command` holds the status.
    Running {
        /// How the command ended, if it did and the workload stays.
        command: Option<ExitStatus>,
    },
    /// Its command ended, and the workload with it.
    Exited(ExitStatus),
    /// It could not be started or was lost; the text says why.
    Failed(String),
}

impl State {
    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// The state in one word, as `ps` prints it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running { .. } => "running",
            Self::Exited(_) => "exited",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { command: Some(status) } => write!(f, "running, its command {status}"),
            Self::Exited(status) => status.fmt(f),
            Self::Failed(why) => write!(f, "failed: {why}"),
            _ => f.write_str(self.word()),
        }
    }
}

/// A workload as it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Workload {
    /// What was asked for, defaults filled in.
    pub spec: WorkloadSpec,
    /// The platform's own id; a new workload of the same name has another.
    pub id: String,
    /// What it is doing.
    pub state: State,
    /// When it was made, RFC 3339.
    pub created: jiff::Timestamp,
    /// When its command was last started.
    pub started: Option<jiff::Timestamp>,
    /// When its command last ended.
    pub finished: Option<jiff::Timestamp>,
    /// The command's process id on the host, where the platform has one.
    pub pid: Option<u32>,
    /// Its attachments.
    pub attachments: Vec<Attachment>,
    /// Where its ports are published while it runs, each with the port that it got.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// How often the platform started its command again since it was last started by a request.
    #[serde(default)]
    pub restarts: u32,
    /// What the user should know: a missing limit, an image's command that ended at once.
    pub notes: Vec<String>,
}

impl Workload {
    /// A workload made now from `spec`, not started.
    #[must_use]
    pub fn new(spec: WorkloadSpec, id: impl Into<String>) -> Self {
        Self {
            spec,
            id: id.into(),
            state: State::Created,
            created: jiff::Timestamp::now(),
            started: None,
            finished: None,
            pid: None,
            attachments: Vec::new(),
            ports: Vec::new(),
            restarts: 0,
            notes: Vec::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &WorkloadName {
        &self.spec.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_parse_and_print_alike() {
        for s in ["host", "rootfs:/srv/root", "archive:a.tar", "debian:12"] {
            assert_eq!(s.parse::<Image>().map(|i| i.to_string()).ok().as_deref(), Some(s));
        }
        for s in ["", "rootfs:", "archive:", "a b"] {
            assert!(s.parse::<Image>().is_err(), "{s}");
        }
    }

    #[test]
    fn a_lost_status_is_never_success() {
        assert_eq!(ExitStatus::Unknown.shell_code(), None);
        assert!(!ExitStatus::Unknown.success());
        assert_eq!(ExitStatus::Signaled(9).shell_code(), Some(137));
    }

    #[test]
    fn a_specification_of_an_earlier_version_is_read() {
        let spec = WorkloadSpec::new(WorkloadName::new("web").expect("a name"));
        let text = serde_json::to_string(&spec).expect("JSON");
        for new in ["mounts", "ports", "restart"] {
            assert!(!text.contains(new), "{text}");
        }
        assert_eq!(serde_json::from_str::<WorkloadSpec>(&text).expect("a specification"), spec);
    }

    #[test]
    fn what_a_specification_needs_is_told() {
        let port = "80".parse().expect("a port");
        let spec = WorkloadSpec::new(WorkloadName::new("web").expect("a name"));
        assert_eq!(spec.requires(), [Capability::Create]);
        let spec = spec.with_port(port).with_restart(RestartPolicy::Always);
        assert_eq!(spec.requires(), [Capability::Create, Capability::Ports, Capability::Restart]);
        let network = crate::NetworkName::new("red").expect("a name");
        let spec = spec.with_attachment(AttachmentSpec::new(network));
        assert!(spec.requires().contains(&Capability::PortsOnNetworks));
        assert!(spec.validate().is_ok() && spec.with_keep_alive(true).validate().is_err());
    }

    #[test]
    fn own_labels_are_refused_to_users() {
        assert!(check_label("pod.owner", "x").is_err());
        assert!(check_label("a b", "x").is_err());
        assert!(check_label("app", "web").is_ok());
    }
}

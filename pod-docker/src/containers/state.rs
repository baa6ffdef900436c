//! What a daemon says of a container, as a workload.
//!
//! Only what is needed is read, and nothing is taken for granted: Podman leaves fields out, and calls some
//! states otherwise.

use super::kept::Told;
use super::machine::{self, Bindings, Mounted, RawPolicy};
use crate::networking::Settings;
use crate::operation;
use crate::owner::{KEPT, SPEC};
use pod_core::{ExitStatus, Image, Labels, Limits, Result, Signal, State, Workload, WorkloadName, WorkloadSpec};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A container (`GET /containers/ID/json`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspected {
    pub(crate) id: String,
    name: String,
    #[serde(default)]
    created: String,
    #[serde(default)]
    pub(crate) state: RawState,
    #[serde(default)]
    pub(crate) config: Config,
    #[serde(default)]
    host_config: HostConfig,
    #[serde(rename = "NetworkSettings", default)]
    pub(crate) networks: Settings,
    #[serde(default)]
    mounts: Option<Vec<Mounted>>,
    #[serde(default)]
    restart_count: u32,
    /// How its command ended, where it outlives that and somebody looked.
    #[serde(skip)]
    pub(super) told: Option<Told>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RawState {
    pub(crate) status: String,
    running: bool,
    pub(crate) paused: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    pub(crate) pid: u32,
    pub(crate) exit_code: i64,
    error: String,
    started_at: String,
    finished_at: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Config {
    image: String,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: String,
    pub(crate) user: String,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    stop_signal: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    #[serde(rename = "NanoCpus")]
    nano_cpus: i64,
    memory: i64,
    pids_limit: Option<i64>,
    network_mode: String,
    pid_mode: String,
    tmpfs: Option<BTreeMap<String, String>>,
    mounts: Option<Vec<Mounted>>,
    port_bindings: Option<Bindings>,
    publish_all_ports: bool,
    restart_policy: Option<RawPolicy>,
}

/// A point in time; `None` for Go's zero time, which stands for never.
fn timestamp(text: &str) -> Option<jiff::Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    (time.as_second() > 0).then_some(time)
}

/// An exit code as the daemon has it: 128 + n for a signal.
pub(crate) fn exit_status(code: i64) -> ExitStatus {
    u8::try_from(code).map_or(ExitStatus::Unknown, ExitStatus::Exited)
}

impl Inspected {
    /// Whether this is its name, not the beginning of its id.
    pub(crate) fn is_called(&self, name: &WorkloadName) -> bool {
        self.name.trim_start_matches('/') == name.as_str()
    }

    /// Its labels.
    pub(crate) fn labels(&self) -> Labels {
        self.config.labels.clone().unwrap_or_default()
    }

    /// Its own name; an error when it can't be a workload's.
    pub(crate) fn name(&self) -> Result<WorkloadName> {
        WorkloadName::new(self.name.trim_start_matches('/'))
    }

    /// The network that it was made on.
    pub(crate) fn first_network(&self) -> &str {
        match self.host_config.network_mode.as_str() {
            "" | "default" => "bridge",
            name => name,
        }
    }

    /// Whether it has a network namespace of its own that networks can be added to.
    pub(crate) fn is_on_bridges(&self) -> bool {
        self.host_config.network_mode == "bridge"
    }

    /// Whether it outlives its command.
    pub(crate) fn is_kept(&self) -> bool {
        self.config.labels.as_ref().is_some_and(|l| l.contains_key(KEPT))
    }

    /// Whether the daemon may start it again when it ends.
    pub(crate) fn is_started_again(&self) -> bool {
        self.host_config.restart_policy.as_ref().is_some_and(|p| !p.policy().is_no())
    }

    /// The signal by which its daemon stops it.
    pub(crate) fn stop_signal(&self) -> Signal {
        let told = match &self.config.stop_signal {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|n| u8::try_from(n).ok()?.try_into().ok()),
        };
        told.unwrap_or(Signal::TERM)
    }

    /// Whether it has ended so shortly ago, by its daemon's clock and ours.
    pub(crate) fn ended_within(&self, time: Duration) -> bool {
        let ended = timestamp(&self.state.finished_at);
        ended.is_some_and(|at| jiff::Timestamp::now().duration_since(at).unsigned_abs() < time)
    }

    /// Whether ports of it are published when it runs.
    pub(crate) fn publishes(&self) -> bool {
        let host = &self.host_config;
        host.publish_all_ports || host.port_bindings.as_ref().is_some_and(|b| !b.is_empty())
    }

    /// Whether its command runs; also while the daemon waits to start it again, as the daemon has it.
    pub(crate) fn is_running(&self) -> bool {
        self.state.running || self.state.paused
    }

    /// Whether its processes are among those of others: the first process is not its command.
    pub(crate) fn shares_processes(&self) -> bool {
        !matches!(self.host_config.pid_mode.as_str(), "" | "private")
    }

    /// Whether memory is mounted in it, which its daemon does not see.
    pub(crate) fn has_tmpfs(&self) -> bool {
        self.host_config.tmpfs.as_ref().is_some_and(|t| !t.is_empty())
            || self.mounts.iter().flatten().any(|m| m.of == "tmpfs")
    }

    /// Whether it was made and never started.
    pub(crate) fn is_new(&self) -> bool {
        !self.is_running() && timestamp(&self.state.started_at).is_none()
    }

    pub(crate) fn state(&self) -> State {
        let raw = &self.state;
        if self.is_running() && raw.status != "restarting" {
            return State::Running { command: self.command() };
        }
        match raw.status.as_str() {
            "restarting" | "initialized" => State::Starting,
            // A start that failed leaves the shell's code (126, 127) or 128.
            "created" | "configured" => match raw.exit_code {
                0 if raw.error.is_empty() => State::Created,
                code @ (126 | 127) => State::Exited(exit_status(code)),
                _ => State::Failed(raw.error.clone()),
            },
            "dead" => State::Failed(match raw.error.as_str() {
                "" => "the daemon could not remove it whole".to_owned(),
                error => error.to_owned(),
            }),
            _ if matches!(raw.exit_code, 126 | 127) && self.is_new() => State::Exited(exit_status(raw.exit_code)),
            // How the command ended, not how what held it was.
            _ => State::Exited(self.command().unwrap_or(exit_status(raw.exit_code))),
        }
    }

    /// What was asked for, where POD made it; else what the container says.
    pub(crate) fn spec(&self, name: WorkloadName) -> WorkloadSpec {
        let mut labels = self.labels();
        for own in [SPEC, KEPT].into_iter().chain(operation::LABELS) {
            labels.remove(own);
        }
        let asked = self.config.labels.as_ref().and_then(|l| l.get(SPEC));
        let mut spec = match asked.and_then(|text| serde_json::from_str::<WorkloadSpec>(text).ok()) {
            Some(spec) => spec,
            None => self.read_off(name.clone()),
        };
        // A container that was renamed, or a label that lies, is known by what it is called.
        spec.name = name;
        spec.labels = labels;
        spec
    }

    fn read_off(&self, name: WorkloadName) -> WorkloadSpec {
        let mut spec = WorkloadSpec::new(name);
        let text = |s: &String| (!s.is_empty()).then(|| s.clone());
        spec.image = text(&self.config.image).and_then(|i| i.parse::<Image>().ok());
        spec.command = self.config.cmd.clone().unwrap_or_default();
        for pair in self.config.env.iter().flatten() {
            if let Some((key, value)) = pair.split_once('=') {
                spec.env.insert(key.to_owned(), value.to_owned());
            }
        }
        spec.cwd = text(&self.config.working_dir);
        spec.user = text(&self.config.user);
        spec.tty = self.config.tty;
        spec.stdin = self.config.open_stdin;
        let mut limits = Limits::default();
        if self.host_config.nano_cpus > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a number of CPUs, in billionths")]
            let cpus = self.host_config.nano_cpus as f64 / 1e9;
            limits = limits.with_cpus(cpus);
        }
        if let Ok(memory @ 1..) = u64::try_from(self.host_config.memory) {
            limits = limits.with_memory(memory);
        }
        if let Some(Ok(pids @ 1..)) = self.host_config.pids_limit.map(u32::try_from) {
            limits = limits.with_pids(pids);
        }
        spec.limits = limits;
        let host = &self.host_config;
        let (there, asked) = (self.mounts.as_deref(), host.mounts.as_deref());
        spec.mounts = machine::mounts(there.unwrap_or_default(), asked.unwrap_or_default());
        spec.ports = host.port_bindings.as_ref().map(machine::published).unwrap_or_default();
        spec.restart = host.restart_policy.as_ref().map(RawPolicy::policy).unwrap_or_default();
        spec
    }

    /// It as a workload.
    ///
    /// # Errors
    /// `InvalidInput` for a container whose name is no workload's.
    pub(crate) fn workload(&self) -> Result<Workload> {
        let mut workload = Workload::new(self.spec(self.name()?), self.id.clone());
        workload.state = self.state();
        workload.created = self.created.parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        workload.started = timestamp(&self.state.started_at);
        workload.finished = match self.told {
            Some(told) => told.at,
            None => timestamp(&self.state.finished_at).filter(|_| !self.is_running()),
        };
        workload.pid = (self.state.pid > 0).then_some(self.state.pid);
        workload.restarts = self.restart_count;
        if self.is_running() {
            workload.ports = self.networks.ports().map(machine::published).unwrap_or_default();
        }
        if self.state.paused {
            workload.notes.push("it is paused".into());
        }
        if self.state.oom_killed {
            workload.notes.push("a process of it was killed for want of memory".into());
        }
        Ok(workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(state: Value) -> Inspected {
        serde_json::from_value(json!({
            "Id": "0123456789ab", "Name": "/web", "Created": "2026-01-02T03:04:05.678Z", "State": state,
            "Config": {"Image": "debian:12", "Cmd": ["sleep", "1"], "Env": ["A=b=c", "PATH=/bin"], "User": "",
                "Labels": {"app": "web"}, "WorkingDir": "/srv"},
            "HostConfig": {"NanoCpus": 500_000_000, "Memory": 33_554_432, "PidsLimit": null},
        }))
        .expect("a container")
    }

    #[test]
    fn states_are_read() {
        let never = "0001-01-01T00:00:00Z";
        let once = "2026-01-02T03:04:06.5Z";
        let table = [
            (json!({"Status": "created", "StartedAt": never}), State::Created),
            (
                json!({"Status": "created", "ExitCode": 127, "Error": "no", "StartedAt": never}),
                State::Exited(ExitStatus::Exited(127)),
            ),
            (
                json!({"Status": "created", "ExitCode": 128, "Error": "no", "StartedAt": never}),
                State::Failed("no".into()),
            ),
            (
                json!({"Status": "running", "Running": true, "Pid": 7, "StartedAt": once}),
                State::Running { command: None },
            ),
            (json!({"Status": "paused", "Running": true, "Paused": true}), State::Running { command: None }),
            (json!({"Status": "restarting"}), State::Starting),
            (json!({"Status": "restarting", "Running": true, "ExitCode": 3}), State::Starting),
            (json!({"Status": "exited", "ExitCode": 3, "StartedAt": once}), State::Exited(ExitStatus::Exited(3))),
            (json!({"Status": "stopped", "ExitCode": 137, "StartedAt": once}), State::Exited(ExitStatus::Exited(137))),
            (json!({"Status": "exited", "ExitCode": -1}), State::Exited(ExitStatus::Unknown)),
        ];
        for (raw, state) in table {
            assert_eq!(container(raw.clone()).workload().expect("a workload").state, state, "{raw}");
        }
    }

    #[test]
    fn a_container_of_others_is_read_off() {
        let workload = container(json!({"Status": "exited", "FinishedAt": "0001-01-01T00:00:00Z"})).workload();
        let workload = workload.expect("a workload");
        let spec = &workload.spec;
        assert_eq!(spec.image.as_ref().map(ToString::to_string).as_deref(), Some("debian:12"));
        assert_eq!(spec.env.get("A").map(String::as_str), Some("b=c"));
        assert_eq!((spec.limits.cpus, spec.limits.memory, spec.limits.pids), (Some(0.5), Some(32 << 20), None));
        assert_eq!((spec.cwd.as_deref(), spec.labels.get("app").map(String::as_str)), (Some("/srv"), Some("web")));
        assert_eq!((workload.finished, workload.pid), (None, None));
    }

    #[test]
    fn ports_are_where_they_are_now() {
        let mut raw = json!({
            "Id": "1", "Name": "/web", "State": {"Status": "running", "Running": true}, "RestartCount": 2,
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
                "RestartPolicy": {"Name": "always"}},
            "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}]}},
        });
        let read = |raw: &Value| serde_json::from_value::<Inspected>(raw.clone()).expect("a container");
        let found = read(&raw);
        assert!(found.publishes() && found.is_started_again());
        let workload = found.workload().expect("a workload");
        let told = |ports: &[pod_core::PublishedPort]| ports.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told(&workload.spec.ports), ["127.0.0.1:0:80/tcp"]);
        assert_eq!((told(&workload.ports), workload.restarts), (vec!["127.0.0.1:32768:80/tcp".to_owned()], 2));
        raw["State"] = json!({"Status": "exited"});
        assert_eq!(read(&raw).workload().expect("a workload").ports, []);
    }

    #[test]
    fn the_signal_of_a_stop_is_read_as_each_writes_it() {
        for (told, signal) in
            [(json!("15"), 15), (json!("SIGINT"), 2), (json!(3), 3), (json!(""), 15), (Value::Null, 15)]
        {
            let mut found = container(json!({"Status": "running"}));
            found.config.stop_signal = told;
            assert_eq!(found.stop_signal().get(), signal);
        }
    }

    #[test]
    fn what_ended_lately_is_told_from_what_ended_before_or_by_another_clock() {
        let now = jiff::Timestamp::now();
        for (seconds, lately) in [(-1, true), (1, true), (-60, false), (3600, false)] {
            let at = now + jiff::SignedDuration::from_secs(seconds);
            let found = container(json!({"Status": "exited", "FinishedAt": at.to_string()}));
            assert_eq!(found.ended_within(Duration::from_secs(5)), lately, "{seconds}");
        }
        assert!(!container(json!({"Status": "created"})).ended_within(Duration::from_secs(5)));
    }

    #[test]
    fn what_was_asked_for_counts_and_the_name_is_the_containers() {
        let mut found = container(json!({"Status": "created"}));
        let asked = WorkloadSpec::new(WorkloadName::new("other").expect("a name")).with_command(["true"]);
        let labels = found.config.labels.get_or_insert_default();
        labels.insert(SPEC.into(), serde_json::to_string(&asked).expect("json"));
        let spec = found.workload().expect("a workload").spec;
        assert_eq!((spec.name.as_str(), spec.command), ("web", vec!["true".to_owned()]));
        assert_eq!(spec.labels.keys().collect::<Vec<_>>(), ["app"]);
    }

    #[test]
    fn an_id_is_no_name() {
        let found = container(json!({}));
        assert!(found.is_called(&WorkloadName::new("web").expect("a name")));
        assert!(!found.is_called(&WorkloadName::new("0123").expect("a name")));
    }
}

//! What a daemon says of a container, as a workload.
//!
//! Only what is needed is read, and nothing is taken for granted: Podman leaves fields out, and calls some
//! states otherwise.

use crate::owner::{LEASE, OPERATION, SPEC};
use pod_core::{ExitStatus, Image, Labels, Limits, Result, State, Workload, WorkloadName, WorkloadSpec};
use serde::Deserialize;
use std::collections::BTreeMap;

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
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RawState {
    pub(crate) status: String,
    running: bool,
    pub(crate) paused: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    pid: u32,
    exit_code: i64,
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
    open_stdin: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    #[serde(rename = "NanoCpus")]
    nano_cpus: i64,
    memory: i64,
    pids_limit: Option<i64>,
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

    /// Whether its command runs.
    pub(crate) fn is_running(&self) -> bool {
        self.state.running || self.state.paused
    }

    /// Whether it was made and never started.
    pub(crate) fn is_new(&self) -> bool {
        !self.is_running() && timestamp(&self.state.started_at).is_none()
    }

    fn state(&self) -> State {
        let raw = &self.state;
        if self.is_running() {
            return State::Running { command: None };
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
            _ => State::Exited(exit_status(raw.exit_code)),
        }
    }

    /// What was asked for, where POD made it; else what the container says.
    fn spec(&self, name: WorkloadName) -> WorkloadSpec {
        let mut labels = self.labels();
        for own in [SPEC, OPERATION, LEASE] {
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
        workload.finished = timestamp(&self.state.finished_at).filter(|_| !self.is_running());
        workload.pid = (self.state.pid > 0).then_some(self.state.pid);
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
    use serde_json::{Value, json};

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

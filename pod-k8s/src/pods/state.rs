//! From a pod to a workload: what it was made with, what it does.

use crate::owner::{DEFAULT_CONTAINER, LEASE, SPEC};
use crate::pods::failure;
use crate::pods::spec::{MAIN, STATUS};
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use pod_core::{Error, ExitStatus, Image, Limits, Result, State, Workload, WorkloadName, WorkloadSpec};

/// The container of a pod that is the workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Main<'a> {
    /// As it was asked for.
    pub(crate) container: &'a Container,
    /// What the kubelet says of it; `None` before it said anything.
    pub(crate) status: Option<&'a ContainerStatus>,
}

fn status_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|s| s.name == name)
}

/// The container that is meant: the one named, else the pod's default, else its first.
///
/// # Errors
/// `NotFound` when the pod has none of that name; the error lists those it has.
pub(crate) fn main_of<'a>(pod: &'a Pod, asked: Option<&str>) -> Result<Main<'a>> {
    let containers = pod.spec.as_ref().map_or(&[][..], |s| &s.containers[..]);
    let default = pod.metadata.annotations.as_ref().and_then(|a| a.get(DEFAULT_CONTAINER)).map(String::as_str);
    let found = match asked {
        Some(name) => containers.iter().find(|c| c.name == name).ok_or_else(|| {
            let names: Vec<_> = containers.iter().map(|c| c.name.as_str()).collect();
            Error::not_found("container", name)
                .with_context("pod", pod.metadata.name.clone().unwrap_or_default())
                .with_hint(format!("there are: {}", names.join(", ")))
        })?,
        None => default
            .and_then(|name| containers.iter().find(|c| c.name == name))
            .or_else(|| containers.first())
            .ok_or_else(|| Error::unexpected("a pod has no container"))?,
    };
    Ok(Main { container: found, status: status_of(pod, &found.name) })
}

/// The workload's name: as it was asked for, else the pod's.
pub(crate) fn name_of(pod: &Pod) -> Result<WorkloadName> {
    let pod_name = pod.metadata.name.clone().unwrap_or_default();
    match kept_spec(pod) {
        Some(Ok(spec)) if crate::pods::pod_name(&spec.name) == pod_name => Ok(spec.name),
        _ => WorkloadName::new(pod_name),
    }
}

/// What the workload was made with, where POD made it.
fn kept_spec(pod: &Pod) -> Option<Result<WorkloadSpec>> {
    let text = pod.metadata.annotations.as_ref()?.get(SPEC)?;
    Some(
        serde_json::from_str(text)
            .map_err(|e| Error::unexpected("the specification that was written down is not understood").with_source(e)),
    )
}

/// How a container ended.
pub(crate) fn exit_of(end: &ContainerStateTerminated) -> ExitStatus {
    // The kubelet makes up a code for a container that it lost.
    if end.reason.as_deref() == Some("ContainerStatusUnknown") {
        return ExitStatus::Unknown;
    }
    match end.signal {
        Some(signal @ 1..=64) => u8::try_from(signal).map_or(ExitStatus::Unknown, ExitStatus::Signaled),
        _ => u8::try_from(end.exit_code).map_or(ExitStatus::Unknown, ExitStatus::Exited),
    }
}

fn terminated(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
    state.and_then(|s| s.terminated.as_ref())
}

/// How the command of a kept-alive workload ended, if it did.
fn told(pod: &Pod) -> Option<&ContainerStateTerminated> {
    terminated(status_of(pod, STATUS)?.state.as_ref())
}

/// Whether POD made the pod so that it outlives its command.
fn is_kept(pod: &Pod) -> bool {
    let containers = pod.spec.as_ref().map_or(&[][..], |s| &s.containers[..]);
    matches!(containers, [main, status] if main.name == MAIN && status.name == STATUS)
}

/// What the workload does.
pub(crate) fn state_of(pod: &Pod, main: Main<'_>) -> State {
    let status = pod.status.as_ref();
    let container = main.status.and_then(|s| s.state.as_ref());
    if let Some(end) = terminated(container) {
        if failure::is_start_error(end) {
            return State::Failed(
                failure::of_pod(pod, &main.container.name)
                    .map_or_else(|| "the container could not be started".to_owned(), |f| f.words()),
            );
        }
        // A kept-alive one that was killed keeps its command's own status.
        let end = if is_kept(pod) && main.container.name == MAIN { told(pod).unwrap_or(end) } else { end };
        return State::Exited(exit_of(end));
    }
    if container.is_some_and(|s| s.running.is_some()) {
        if status.and_then(|s| s.reason.as_deref()) == Some("NodeLost") {
            return State::Failed("NodeLost: its node does not answer".into());
        }
        let command = if is_kept(pod) && main.container.name == MAIN { told(pod).map(exit_of) } else { None };
        return State::Running { command };
    }
    if let Some(failure) = failure::of_pod(pod, &main.container.name) {
        return State::Failed(failure.words());
    }
    State::Starting
}

/// A time of Kubernetes', whole seconds.
fn time(time: Option<&Time>) -> Option<jiff::Timestamp> {
    time.map(|t| t.0)
}

/// What can be told of a pod that POD did not make.
fn read_spec(pod: &Pod, main: &Container) -> Result<WorkloadSpec> {
    let mut spec = WorkloadSpec::new(name_of(pod)?);
    spec.image = main.image.clone().map(Image::Reference);
    spec.command = main.command.iter().flatten().chain(main.args.iter().flatten()).cloned().collect();
    for variable in main.env.iter().flatten() {
        if let Some(value) = &variable.value {
            spec.env.insert(variable.name.clone(), value.clone());
        }
    }
    spec.cwd = main.working_dir.clone();
    let pod_spec = pod.spec.as_ref();
    let security = main.security_context.as_ref();
    let outer = pod_spec.and_then(|s| s.security_context.as_ref());
    let uid = security.and_then(|s| s.run_as_user).or_else(|| outer.and_then(|s| s.run_as_user));
    let gid = security.and_then(|s| s.run_as_group).or_else(|| outer.and_then(|s| s.run_as_group));
    spec.user = uid.map(|u| gid.map_or_else(|| u.to_string(), |g| format!("{u}:{g}")));
    spec.labels = pod.metadata.labels.clone().unwrap_or_default();
    spec.limits = read_limits(main);
    spec.tty = main.tty.unwrap_or(false);
    spec.stdin = main.stdin.unwrap_or(false);
    for alias in pod_spec.iter().flat_map(|s| s.host_aliases.iter().flatten()) {
        if let Ok(ip) = alias.ip.parse() {
            spec.hosts.extend(alias.hostnames.iter().flatten().map(|name| (name.clone(), ip)));
        }
    }
    Ok(spec)
}

fn read_limits(main: &Container) -> Limits {
    let most = main.resources.as_ref().and_then(|r| r.limits.as_ref());
    let mut limits = Limits::default();
    limits.cpus = most.and_then(|m| m.get("cpu")).and_then(|q| quantity(&q.0));
    limits.memory = most.and_then(|m| m.get("memory")).and_then(|q| quantity(&q.0)).map(|bytes| bytes as u64);
    limits
}

/// A quantity as a number (apimachinery's `resource.Quantity`): a decimal with one suffix or an exponent.
fn quantity(text: &str) -> Option<f64> {
    let units = [
        ("Ki", 1024f64),
        ("Mi", 1024f64.powi(2)),
        ("Gi", 1024f64.powi(3)),
        ("Ti", 1024f64.powi(4)),
        ("Pi", 1024f64.powi(5)),
        ("Ei", 1024f64.powi(6)),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
    ];
    let (number, factor) =
        units.iter().find_map(|(unit, f)| text.strip_suffix(unit).map(|n| (n, *f))).unwrap_or((text, 1.0));
    number.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0).map(|n| n * factor)
}

/// The workload that a pod is.
///
/// # Errors
/// `InvalidInput` when the pod's name is longer than a workload's may be; `NotFound` when it has no
/// container of the name asked for.
pub(crate) fn workload_of(pod: &Pod, container: Option<&str>) -> Result<Workload> {
    let main = main_of(pod, container)?;
    let mut notes = Vec::new();
    let mut spec = match kept_spec(pod) {
        Some(Ok(spec)) => spec,
        Some(Err(e)) => {
            notes.push(format!("{e}; what is shown is read from the pod"));
            read_spec(pod, main.container)?
        }
        None => read_spec(pod, main.container)?,
    };
    if let Some(owner) = pod.metadata.labels.as_ref().and_then(|l| l.get(pod_core::LABEL_OWNER)) {
        spec.labels.insert(pod_core::LABEL_OWNER.into(), owner.clone());
    }
    let mut workload = Workload::new(spec, pod.metadata.uid.clone().unwrap_or_default());
    workload.state = state_of(pod, main);
    workload.created = time(pod.metadata.creation_timestamp.as_ref()).unwrap_or_else(jiff::Timestamp::now);
    let state = main.status.and_then(|s| s.state.as_ref());
    let end = terminated(state);
    workload.started = match (state.and_then(|s| s.running.as_ref()), end) {
        (Some(running), _) => time(running.started_at.as_ref()),
        (None, Some(end)) => time(end.started_at.as_ref()),
        (None, None) => None,
    };
    workload.finished = match (is_kept(pod), told(pod)) {
        (true, Some(told)) => time(told.finished_at.as_ref()),
        _ => end.and_then(|e| time(e.finished_at.as_ref())),
    };
    if end.is_some_and(|e| e.reason.as_deref() == Some("OOMKilled")) {
        notes.push("its command was killed: it used more memory than its limit".into());
    }
    if let Some(status) = &pod.status
        && status.reason.as_deref() == Some("Evicted")
    {
        notes.push(format!("it was evicted: {}", status.message.as_deref().unwrap_or("no reason given")));
    }
    if let Some(count) = main.status.map(|s| s.restart_count).filter(|n| *n > 0) {
        notes.push(format!("its container was started again {count} times"));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        notes.push("it is being removed".into());
    }
    if pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(LEASE)) {
        notes.push("the operation that makes it is not over".into());
    }
    Ok(workload)
}

/// Whether the cluster has lost the pod's node. Its controller then marks the pods there as not ready, and
/// gives no reason, which a kubelet always does (`MarkPodsNotReady` of the node lifecycle controller).
pub(crate) fn is_lost(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let mut ready = conditions.filter(|c| c.type_ == "Ready");
    ready.any(|c| c.status == "False" && c.reason.as_deref().unwrap_or_default().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web-0", "uid": "u1", "creationTimestamp": "2026-01-02T03:04:05Z",
                         "labels": {"app": "web"}},
            "spec": {
                "containers": [
                    {"name": "web", "image": "web:1", "command": ["run"], "args": ["a"],
                     "env": [{"name": "A", "value": "b"}, {"name": "S", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
                     "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}, "tty": true},
                    {"name": "log", "image": "log:1"}],
                "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}],
                "securityContext": {"runAsUser": 7}},
            "status": status
        }))
        .expect("a pod")
    }

    fn state(status: serde_json::Value) -> State {
        workload_of(&pod(status), None).expect("a workload").state
    }

    fn container(state: serde_json::Value) -> serde_json::Value {
        serde_json::json!({"phase": "Running", "containerStatuses": [
            {"name": "log", "image": "", "imageID": "", "ready": true, "restartCount": 0,
             "state": {"running": {"startedAt": "2026-01-02T03:04:06Z"}}},
            {"name": "web", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state}]})
    }

    #[test]
    fn a_pod_of_others_is_read() {
        let found = workload_of(&pod(serde_json::json!({"phase": "Pending"})), None).expect("a workload");
        let spec = &found.spec;
        assert_eq!((spec.name.as_str(), found.id.as_str()), ("web-0", "u1"));
        assert_eq!(spec.command, ["run", "a"]);
        assert_eq!(spec.env.len(), 1);
        assert_eq!(spec.user.as_deref(), Some("7"));
        assert_eq!((spec.limits.cpus, spec.limits.memory), (Some(1.5), Some(64 << 20)));
        assert_eq!(spec.hosts.len(), 2);
        assert_eq!(found.state, State::Starting);
        assert_eq!(found.created.to_string(), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn states_are_those_of_the_container_that_is_meant() {
        let running = serde_json::json!({"running": {"startedAt": "2026-01-02T03:04:06Z"}});
        assert_eq!(state(container(running)), State::Running { command: None });
        let ended = |code: i32, reason: &str| {
            container(serde_json::json!({"terminated": {"exitCode": code, "reason": reason}}))
        };
        assert_eq!(state(ended(0, "Completed")), State::Exited(ExitStatus::Exited(0)));
        assert_eq!(state(ended(137, "OOMKilled")), State::Exited(ExitStatus::Exited(137)));
        assert_eq!(state(ended(137, "ContainerStatusUnknown")), State::Exited(ExitStatus::Unknown));
        assert!(matches!(state(ended(128, "StartError")), State::Failed(_)));
        let waiting = |reason: &str| container(serde_json::json!({"waiting": {"reason": reason, "message": "why"}}));
        assert_eq!(state(waiting("ContainerCreating")), State::Starting);
        assert_eq!(state(waiting("ImagePullBackOff")), State::Failed("ImagePullBackOff: why".into()));
        let evicted = serde_json::json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
        assert_eq!(state(evicted), State::Failed("Evicted: low on memory".into()));
    }

    #[test]
    fn containers_are_chosen_by_name_default_and_order() {
        let mut pod = pod(serde_json::json!({}));
        assert_eq!(main_of(&pod, None).expect("the first").container.name, "web");
        assert_eq!(main_of(&pod, Some("log")).expect("the named").container.name, "log");
        let error = main_of(&pod, Some("x")).map(|m| m.container.name.clone()).expect_err("none");
        assert!(error.to_string().contains("web, log"), "{error}");
        let annotations = [(DEFAULT_CONTAINER.to_owned(), "log".to_owned())];
        pod.metadata.annotations = Some(annotations.into());
        assert_eq!(main_of(&pod, None).expect("the default").container.name, "log");
    }

    #[test]
    fn quantities_are_numbers() {
        for (text, value) in
            [("1", 1.0), ("0.5", 0.5), ("100m", 0.1), ("1Gi", 1073741824.0), ("1e3", 1000.0), ("2k", 2000.0)]
        {
            assert_eq!(quantity(text), Some(value), "{text}");
        }
        assert_eq!(quantity("x"), None);
    }

    #[test]
    fn a_lost_node_is_told_from_a_pod_that_is_not_ready() {
        let with = |status: &str, reason: serde_json::Value| -> Pod {
            let ready = serde_json::json!({"type": "Ready", "status": status, "reason": reason});
            let json = serde_json::json!({"status": {"phase": "Running", "conditions": [
                {"type": "ContainersReady", "status": "True"}, ready]}});
            serde_json::from_value(json).expect("a pod")
        };
        assert!(is_lost(&with("False", serde_json::Value::Null)));
        assert!(!is_lost(&with("False", "ContainersNotReady".into())));
        assert!(!is_lost(&with("True", serde_json::Value::Null)));
        assert!(!is_lost(&Pod::default()));
    }
}

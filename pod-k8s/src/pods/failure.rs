//! Why a pod can't start: the kubelet's and the scheduler's own reasons, told from what passes by itself.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Event, Pod};
use pod_core::{Error, ErrorKind};

/// Why a pod can't start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What went wrong, by meaning.
    pub(crate) kind: ErrorKind,
    /// Kubernetes' own word for it.
    pub(crate) reason: String,
    /// Kubernetes' own sentence.
    pub(crate) message: String,
    /// 126 or 127 where the program is to blame.
    pub(crate) exit_code: Option<u8>,
    /// Whether it stays so whatever is waited for.
    pub(crate) final_: bool,
    /// Whether a server was slow, or away: however often that comes, it may pass.
    pub(crate) slow: bool,
    /// What can be done.
    pub(crate) hint: Option<&'static str>,
}

impl Failure {
    fn new(kind: ErrorKind, reason: &str, message: &str) -> Self {
        Self {
            kind,
            reason: reason.to_owned(),
            message: message.trim().to_owned(),
            exit_code: None,
            final_: true,
            slow: false,
            hint: None,
        }
    }

    fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    fn with_code(mut self, code: u8) -> Self {
        self.exit_code = Some(code);
        self
    }

    /// It may pass.
    fn passing(mut self) -> Self {
        self.final_ = false;
        self
    }

    /// Whether nothing is waited for any more, told for the first time or once more.
    pub(crate) fn ends_the_wait(&self, again: bool) -> bool {
        self.final_ || (again && !self.slow)
    }

    /// Reason and sentence.
    pub(crate) fn words(&self) -> String {
        if self.message.is_empty() { self.reason.clone() } else { format!("{}: {}", self.reason, self.message) }
    }

    /// The error for the pod of this name.
    pub(crate) fn into_error(self, pod: &str) -> Error {
        let message = match (self.kind, self.exit_code) {
            (ErrorKind::CommandFailed, Some(127)) => "no such program in the workload",
            (ErrorKind::CommandFailed, _) => "the program can't be executed",
            _ => "the pod can't start",
        };
        let mut error = Error::new(self.kind, message)
            .with_context("pod", pod)
            .with_context("reason", self.reason)
            .with_context("message", self.message);
        if let Some(code) = self.exit_code {
            error = error.with_exit_code(code);
        }
        if let Some(hint) = self.hint {
            error = error.with_hint(hint);
        }
        error
    }
}

/// Whether a container never began: its program could not be executed.
pub(crate) fn is_start_error(end: &ContainerStateTerminated) -> bool {
    matches!(end.reason.as_deref(), Some("StartError" | "ContainerCannotRun"))
}

/// What the runtime said of a container that could not be started.
fn start_error(reason: &str, message: &str) -> Failure {
    let lower = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    let failure = |kind| Failure::new(kind, reason, message);
    if has(&["chdir to cwd", "mkdir cwd", "working directory"]) {
        return failure(ErrorKind::NotFound).with_hint("give a working directory that the image has");
    }
    if has(&["unable to find user", "no users found", "unable to find group"]) {
        return failure(ErrorKind::InvalidInput).with_hint("give a numeric user");
    }
    if has(&["exec: \"/bin/sh\"", "exec \"/bin/sh\"", "`/bin/sh`"]) && has(&["no such file", "not found"]) {
        return failure(ErrorKind::CommandFailed)
            .with_code(127)
            .with_hint("to be kept alive a workload needs /bin/sh in its image");
    }
    if has(&["executable file not found", "no such file or directory", "not found in $path"]) {
        return failure(ErrorKind::CommandFailed).with_code(127);
    }
    if has(&["permission denied", "is a directory", "exec format error", "operation not permitted"]) {
        return failure(ErrorKind::CommandFailed).with_code(126);
    }
    failure(ErrorKind::Unexpected)
}

/// What an image could not be fetched for.
fn image_error(reason: &str, message: &str) -> Failure {
    let lower = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if has(&["unauthorized", "authentication required", "access denied", "403 forbidden", "denied:"]) {
        return Failure::new(ErrorKind::PermissionDenied, reason, message).with_hint(
            "the image may not exist, or the service account lacks an image pull secret: k8s:?service_account=NAME",
        );
    }
    if has(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "network is unreachable",
        "tls:",
        "deadline exceeded",
    ]) {
        return Failure::new(ErrorKind::Unavailable, reason, message)
            .with_hint("the node can't reach the image's registry: check the reference and the node's network");
    }
    Failure::new(ErrorKind::NotFound, reason, message)
        .with_hint("check the image's reference; the node must be able to fetch it, or have it")
}

/// What a kubelet that has just begun says of a container before it has heard from the API server
/// (`getServiceEnvVarMap`, kubelet_pods.go).
const SERVICES: &str = "services have not yet been read at least once";

/// What a container waits for, when waiting won't help.
pub(crate) fn waiting(state: &ContainerState) -> Option<Failure> {
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let message = waiting.message.as_deref().unwrap_or_default();
    Some(match reason {
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            image_error(reason, message)
        }
        "ErrImageNeverPull" => Failure::new(ErrorKind::NotFound, reason, message)
            .with_hint("the node has no such image, and may not fetch it"),
        "InvalidImageName" => Failure::new(ErrorKind::InvalidInput, reason, message),
        "SignatureValidationFailed" => Failure::new(ErrorKind::PermissionDenied, reason, message),
        "CreateContainerConfigError" if message.contains(SERVICES) => return None,
        "CreateContainerConfigError" if message.contains("not found") => {
            Failure::new(ErrorKind::NotFound, reason, message)
        }
        "CreateContainerConfigError" => Failure::new(ErrorKind::InvalidInput, reason, message)
            .with_hint("an image that runs as root needs a numeric user where root is not allowed"),
        "CreateContainerError" if message.contains("no command specified") => {
            Failure::new(ErrorKind::InvalidInput, reason, message)
                .with_hint("the image runs nothing by itself: give a command")
        }
        "CreateContainerError" | "RunContainerError" => start_error(reason, message),
        "PostStartHookError" | "PreCreateHookError" | "PreStartHookError" | "CrashLoopBackOff" => {
            Failure::new(ErrorKind::WrongState, reason, message)
        }
        _ => return None,
    })
}

fn container(status: &ContainerStatus) -> Option<Failure> {
    let state = status.state.as_ref()?;
    if let Some(end) = state.terminated.as_ref().filter(|e| is_start_error(e)) {
        let reason = end.reason.as_deref().unwrap_or("StartError");
        return Some(start_error(reason, end.message.as_deref().unwrap_or_default()));
    }
    waiting(state)
}

/// Why the pod can't start or was lost, as its status says it.
pub(crate) fn of_pod(pod: &Pod, main: &str) -> Option<Failure> {
    let status = pod.status.as_ref()?;
    let containers = || status.container_statuses.iter().flatten();
    let own = containers().filter(|s| s.name == main).chain(containers().filter(|s| s.name != main));
    if let Some(failure) = own.filter_map(container).next() {
        return Some(failure);
    }
    for init in status.init_container_statuses.iter().flatten() {
        if let Some(failure) = container(init) {
            return Some(Failure { message: format!("init container {}: {}", init.name, failure.message), ..failure });
        }
        let end = init.state.as_ref().and_then(|s| s.terminated.as_ref()).filter(|e| e.exit_code != 0);
        if let Some(end) = end.filter(|_| status.phase.as_deref() == Some("Failed")) {
            let message = format!("the init container {} ended with {}", init.name, end.exit_code);
            return Some(Failure::new(ErrorKind::WrongState, "InitContainerFailed", &message));
        }
    }
    let began = containers()
        .any(|s| s.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some()));
    if status.phase.as_deref() == Some("Failed") && !began {
        let reason = status.reason.as_deref().unwrap_or("Failed");
        let message = status.message.as_deref().unwrap_or_default();
        let kind = match reason {
            r if r.starts_with("OutOf") || r == "Evicted" => ErrorKind::Exhausted,
            "NodeLost" | "NodeShutdown" | "Terminated" => ErrorKind::Unavailable,
            _ => ErrorKind::WrongState,
        };
        return Some(Failure::new(kind, reason, message));
    }
    None
}

/// Why no node takes the pod, as the scheduler says it. A node may come.
pub(crate) fn unschedulable(pod: &Pod) -> Option<Failure> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    if scheduled.reason.as_deref() != Some("Unschedulable") {
        return None;
    }
    let message = scheduled.message.as_deref().unwrap_or_default();
    let kind = if message.contains("Insufficient") { ErrorKind::Exhausted } else { ErrorKind::Unavailable };
    Some(
        Failure::new(kind, "Unschedulable", message)
            .passing()
            .with_hint("`kubectl describe nodes` shows what the nodes have"),
    )
}

/// What Go's clients say of a server that is slow or away. Multus gives the API server 2.5 s, for one.
const SLOW: &[&str] =
    &["context deadline exceeded", "i/o timeout", "tls handshake timeout", "connection refused", "request timed out"];

/// Why a pod can't start, as a warning of the kubelet says it.
pub(crate) fn of_event(event: &Event) -> Option<Failure> {
    let reason = event.reason.as_deref()?;
    let message = event.message.as_deref().unwrap_or_default();
    let lower = message.to_ascii_lowercase();
    let missing = lower.contains("not found") || lower.contains("cannot find");
    match reason {
        "FailedCreatePodSandBox" if lower.contains("network-attachment-definition") && missing => Some(
            Failure::new(ErrorKind::NotFound, reason, message)
                .with_hint("the network definition is not in the namespace: `pod k8s nad` lists those there are"),
        ),
        "FailedCreatePodSandBox" if lower.contains("failed to find plugin") => Some(
            Failure::new(ErrorKind::Unsupported, reason, message)
                .with_hint("the node lacks that CNI plugin: install it in the node's CNI folder"),
        ),
        "FailedMount" if missing => Some(Failure::new(ErrorKind::NotFound, reason, message)),
        // The kubelet tries again, and often the second time it works; a node that is busy may need more.
        "FailedCreatePodSandBox" | "FailedCreatePodContainer" | "FailedMount" | "FailedAttachVolume" => {
            let slow = SLOW.iter().any(|words| lower.contains(words));
            Some(Failure { slow, ..Failure::new(ErrorKind::Unavailable, reason, message).passing() })
        }
        _ => None,
    }
}

/// How often an event has been seen.
pub(crate) fn times(event: &Event) -> i32 {
    event.series.as_ref().and_then(|s| s.count).or(event.count).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: serde_json::Value, more: serde_json::Value) -> Pod {
        let mut status = serde_json::json!({"phase": "Pending", "containerStatuses": [
            {"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": containers}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            status[key] = value.clone();
        }
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p"}, "spec": {"containers": [{"name": "main"}]}, "status": status
        }))
        .expect("a pod")
    }

    fn of_waiting(reason: &str, message: &str) -> Option<Failure> {
        of_pod(
            &pod(serde_json::json!({"waiting": {"reason": reason, "message": message}}), serde_json::json!({})),
            "main",
        )
    }

    #[test]
    fn the_kubelets_reasons_have_their_kinds() {
        use ErrorKind as K;
        let table = [
            ("ErrImagePull", "rpc error: docker.io/library/x:1: not found", K::NotFound),
            ("ErrImagePull", "failed to do request: dial tcp: lookup r.example: no such host", K::Unavailable),
            (
                "ImagePullBackOff",
                "pull access denied, repository does not exist or may require authorization",
                K::PermissionDenied,
            ),
            ("ErrImageNeverPull", "Container image \"x\" is not present with pull policy of Never", K::NotFound),
            ("InvalidImageName", "couldn't parse image name", K::InvalidInput),
            ("CreateContainerConfigError", "secret \"s\" not found", K::NotFound),
            ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root", K::InvalidInput),
            ("CreateContainerError", "failed to generate spec: no command specified", K::InvalidInput),
            ("RunContainerError", "exec: \"x\": executable file not found in $PATH", K::CommandFailed),
            ("CrashLoopBackOff", "back-off 10s", K::WrongState),
        ];
        for (reason, message, kind) in table {
            let message = message.replace("pull access denied", "pull access denied: access denied");
            assert_eq!(of_waiting(reason, &message).map(|f| f.kind), Some(kind), "{reason} {message}");
        }
        let begun = "services have not yet been read at least once, cannot construct envvars";
        for (passing, message) in
            [("ContainerCreating", ""), ("PodInitializing", ""), ("CreateContainerConfigError", begun)]
        {
            assert_eq!(of_waiting(passing, message), None);
        }
    }

    #[test]
    fn programs_that_can_t_run_have_the_shells_codes() {
        let runc = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
                    failed: unable to start container process: ";
        let table = [
            ("exec: \"nosuch\": executable file not found in $PATH: unknown", Some(127)),
            ("exec: \"/no/such\": stat /no/such: no such file or directory: unknown", Some(127)),
            ("exec: \"/etc/passwd\": permission denied: unknown", Some(126)),
            ("exec: \"/x\": exec format error", Some(126)),
            ("chdir to cwd (\"/x\") set in config.json failed: not a directory", None),
            ("something else", None),
        ];
        for (message, code) in table {
            let ended = serde_json::json!({"terminated": {"exitCode": 128, "reason": "StartError",
                                                          "message": format!("{runc}{message}")}});
            let failure = of_pod(&pod(ended, serde_json::json!({"phase": "Failed"})), "main").expect(message);
            assert_eq!(failure.exit_code, code, "{message}");
            let error = failure.into_error("p");
            assert_eq!(error.kind() == ErrorKind::CommandFailed, code.is_some(), "{message}");
            assert_eq!(error.exit_code(), code);
        }
    }

    #[test]
    fn init_containers_and_evictions_are_told() {
        let init = serde_json::json!({"phase": "Failed", "initContainerStatuses": [
            {"name": "setup", "image": "", "imageID": "", "ready": false, "restartCount": 0,
             "state": {"terminated": {"exitCode": 3}}}]});
        let waiting = serde_json::json!({"waiting": {"reason": "PodInitializing"}});
        let failure = of_pod(&pod(waiting.clone(), init), "main").expect("a failure");
        assert!(failure.message.contains("setup ended with 3"), "{failure:?}");
        let evicted = serde_json::json!({"phase": "Failed", "reason": "OutOfcpu", "message": "no room"});
        assert_eq!(of_pod(&pod(waiting, evicted), "main").map(|f| f.kind), Some(ErrorKind::Exhausted));
    }

    #[test]
    fn the_scheduler_is_heard() {
        let conditions = serde_json::json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/2 nodes are available: 2 Insufficient cpu."}]});
        let found = unschedulable(&pod(serde_json::json!({}), conditions)).expect("a failure");
        assert_eq!((found.kind, found.final_), (ErrorKind::Exhausted, false));
        assert_eq!(unschedulable(&pod(serde_json::json!({}), serde_json::json!({}))), None);
    }

    #[test]
    fn a_missing_network_definition_is_final_and_other_warnings_may_pass() {
        let event = |reason: &str, message: &str| -> Event {
            serde_json::from_value(serde_json::json!({
                "metadata": {}, "involvedObject": {}, "reason": reason, "message": message
            }))
            .expect("an event")
        };
        let missing = "Multus: [ns/p/u]: error loading k8s delegates: cannot find a network-attachment-definition \
                       (blue) in namespace (ns): network-attachment-definitions.k8s.cni.cncf.io \"blue\" not found";
        let failure = of_event(&event("FailedCreatePodSandBox", missing)).expect("a failure");
        assert!(failure.ends_the_wait(false) && failure.kind == ErrorKind::NotFound);
        let failure = of_event(&event("FailedCreatePodSandBox", "context deadline exceeded")).expect("a failure");
        assert!(!failure.ends_the_wait(false) && !failure.ends_the_wait(true), "a server may be slow for long");
        let failure = of_event(&event("FailedCreatePodSandBox", "no IP addresses available")).expect("a failure");
        assert!(!failure.ends_the_wait(false) && failure.ends_the_wait(true));
        assert_eq!(of_event(&event("Pulling", "pulling image")), None);
    }
}

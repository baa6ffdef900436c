//! From a workload's specification to a pod.
//!
//! What a pod is made with, unless a raw pod says otherwise ([`create_pod`]): it is not restarted
//! (`restartPolicy: Never`), holds no token (`automountServiceAccountToken: false`) and no service
//! links, has the runtime's seccomp profile and can't gain privileges. It runs as the image says, which
//! is mostly root, with the runtime's default capabilities: that passes the Pod Security level
//! *baseline*. With a numeric user other than 0 it also has `runAsNonRoot` and no capability, and passes
//! *restricted* (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>).
//!
//! Limits are limits and reserve nothing: the requests are 0.
//!
//! [`create_pod`]: crate::K8sBackend::create_pod

use crate::config::{K8sConfig, Pull};
use crate::owner::{DEFAULT_CONTAINER, LEASE, MANAGED_BY, MANAGER, OPERATION, SPEC, fits_label};
use crate::pods::pod_name;
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, EmptyDirVolumeSource, EnvVar, HostAlias, NodeAffinity, NodeSelector,
    NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, ResourceRequirements, SeccompProfile, SecurityContext,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;
use pod_core::{Error, Image, LABEL_OWNER, Limits, Result, WorkloadSpec};
use pod_shell::STATUS as STATUS_FILE;
use std::collections::BTreeMap;

/// The name of the container that runs the command.
pub(crate) const MAIN: &str = "main";
/// The name of the container that ends with the command's status while the workload is kept alive.
pub(crate) const STATUS: &str = "pod-status";
/// Where the two of a kept-alive workload meet: the directory of [`STATUS_FILE`].
const SHARED: &str = "/.pod";
/// The shell of both.
const SHELL: &str = "/bin/sh";

/// The signal by which the kubelet ends a container whose image names no other, as trap(1) calls it.
const END: &str = "TERM";

/// Ends with the status that the file holds.
const TELL: &str = r#"trap 'exit 0' TERM
until read -r n s x <"$1" && [ -n "$s" ]; do sleep 0.1 || sleep 1; done 2>/dev/null
exit "$s""#;

/// Whose a pod is, and which operation makes it until when.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    /// The owner, a label's value.
    pub(crate) owner: String,
    /// The operation, a label's value.
    pub(crate) operation: String,
    /// When the operation is over at the latest.
    pub(crate) lease: jiff::Timestamp,
}

/// Marks a pod as made by POD, and as not made whole yet.
pub(crate) fn mark(pod: &mut Pod, marks: &Marks) {
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels.insert(LABEL_OWNER.into(), marks.owner.clone());
    labels.insert(OPERATION.into(), marks.operation.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(LEASE.into(), marks.lease.to_string());
}

/// Whether a label is Kubernetes' to hold: it fits, and is none of those that POD sets itself.
pub(crate) fn is_shown(key: &str, value: &str) -> bool {
    fits_label(key, value) && ![MANAGED_BY, LABEL_OWNER, OPERATION].contains(&key)
}

/// The image's reference.
fn image(spec: &WorkloadSpec, config: &K8sConfig) -> Result<String> {
    match spec.image.as_ref().or(config.image.as_ref()) {
        Some(Image::Reference(reference)) => Ok(reference.clone()),
        Some(other) => Err(Error::invalid("Kubernetes takes images by reference only")
            .with_context("image", other.to_string())
            .with_hint("give a name that the nodes can fetch or have, such as debian:12")),
        None => {
            Err(Error::invalid("the workload names no image").with_hint("give one with --image, or k8s:?image=REF"))
        }
    }
}

/// `UID[:GID]` as numbers.
fn user(text: &str) -> Result<(i64, Option<i64>)> {
    let number = |s: &str| s.parse::<u32>().ok().map(i64::from);
    let parsed = match text.split_once(':') {
        Some((user, group)) => number(user).zip(number(group)).map(|(u, g)| (u, Some(g))),
        None => number(text).map(|u| (u, None)),
    };
    parsed.ok_or_else(|| {
        Error::invalid("Kubernetes takes users by number only")
            .with_context("user", text)
            .with_hint("give UID or UID:GID, such as 1000:1000")
    })
}

/// Guards text against Kubernetes' own expansion of `$(NAME)` (kubelet's `expansion.Expand`).
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn security(user: Option<(i64, Option<i64>)>) -> SecurityContext {
    let unprivileged = user.is_some_and(|(uid, _)| uid != 0);
    SecurityContext {
        allow_privilege_escalation: Some(false),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), ..SeccompProfile::default() }),
        run_as_user: user.map(|(uid, _)| uid),
        run_as_group: user.and_then(|(_, gid)| gid),
        run_as_non_root: unprivileged.then_some(true),
        capabilities: unprivileged.then(|| Capabilities { drop: Some(vec!["ALL".into()]), ..Capabilities::default() }),
        ..SecurityContext::default()
    }
}

fn resources(limits: &Limits) -> Option<ResourceRequirements> {
    let mut most = BTreeMap::new();
    if let Some(cpus) = limits.cpus {
        // In thousandths, never rounded to more than was asked for, and 10 at the least.
        most.insert("cpu".to_owned(), Quantity(format!("{}m", (cpus * 1000.0).floor().max(1.0))));
    }
    if let Some(bytes) = limits.memory {
        most.insert("memory".to_owned(), Quantity(bytes.to_string()));
    }
    if most.is_empty() {
        return None;
    }
    let requests = most.keys().map(|k| (k.clone(), Quantity("0".into()))).collect();
    Some(ResourceRequirements { limits: Some(most), requests: Some(requests), ..ResourceRequirements::default() })
}

/// Only this node; the scheduler still looks whether the pod fits there.
fn only(node: &str) -> Affinity {
    let is = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![is]), ..NodeSelectorTerm::default() };
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector { node_selector_terms: vec![term] }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// The pod for a workload, without its marks and attachments.
pub(crate) fn build(spec: &WorkloadSpec, config: &K8sConfig) -> Result<Pod> {
    let image = image(spec, config)?;
    let user = spec.user.as_deref().map(user).transpose()?;
    if spec.limits.pids.is_some() {
        return Err(Error::unsupported("Kubernetes limits processes per node, not per pod"));
    }
    let mut asked = spec.clone();
    asked.image = Some(Image::Reference(image.clone()));
    let annotation = serde_json::to_string(&asked)
        .map_err(|e| Error::unexpected("the specification can't be written down").with_source(e))?;
    let labels = spec.labels.iter().filter(|(k, v)| is_shown(k, v)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut main = Container {
        name: MAIN.into(),
        image: Some(image),
        image_pull_policy: config.pull.map(|p| Pull::as_policy(p).to_owned()),
        args: (!spec.command.is_empty()).then(|| spec.command.iter().map(|a| literal(a)).collect()),
        env: (!spec.env.is_empty()).then(|| {
            let of = |(k, v): (&String, &String)| EnvVar { name: k.clone(), value: Some(literal(v)), value_from: None };
            spec.env.iter().map(of).collect()
        }),
        working_dir: spec.cwd.clone(),
        tty: spec.tty.then_some(true),
        stdin: (spec.stdin || spec.tty).then_some(true),
        // Without this the end of its input can't be told; a terminal's is typed.
        stdin_once: (spec.stdin && !spec.tty).then_some(true),
        resources: resources(&spec.limits),
        security_context: Some(security(user)),
        ..Container::default()
    };
    let mut containers = Vec::new();
    let mut volumes = None;
    if spec.keep_alive {
        if spec.command.is_empty() {
            return Err(Error::invalid("a workload that is kept alive needs a command")
                .with_hint("what the image runs by itself can't be outlived here: name the command"));
        }
        let words = |argv: Vec<String>| Some(argv.iter().map(|word| literal(word)).collect::<Vec<_>>());
        let shared = VolumeMount { name: "pod".into(), mount_path: SHARED.into(), ..VolumeMount::default() };
        main.command = words(pod_shell::keep(SHELL, END));
        main.volume_mounts = Some(vec![shared.clone()]);
        containers.push(Container {
            name: STATUS.into(),
            image: main.image.clone(),
            image_pull_policy: main.image_pull_policy.clone(),
            command: words([SHELL, "-c", TELL, "pod", STATUS_FILE].map(str::to_owned).to_vec()),
            volume_mounts: Some(vec![shared]),
            security_context: main.security_context.clone(),
            ..Container::default()
        });
        let memory = EmptyDirVolumeSource { medium: Some("Memory".into()), size_limit: Some(Quantity("64Ki".into())) };
        volumes = Some(vec![Volume { name: "pod".into(), empty_dir: Some(memory), ..Volume::default() }]);
    }
    containers.insert(0, main);
    let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, ip) in &spec.hosts {
        hosts.entry(ip.to_string()).or_default().push(name.clone());
    }
    Ok(Pod {
        metadata: ObjectMeta {
            name: Some(pod_name(&spec.name)),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([
                (SPEC.to_owned(), annotation),
                (DEFAULT_CONTAINER.to_owned(), MAIN.to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers,
            volumes,
            restart_policy: Some("Never".into()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            service_account_name: config.service_account.clone(),
            affinity: config.node.as_deref().map(only),
            host_aliases: (!hosts.is_empty())
                .then(|| hosts.into_iter().map(|(ip, names)| HostAlias { ip, hostnames: Some(names) }).collect()),
            ..PodSpec::default()
        }),
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod_core::{ErrorKind, WorkloadName};

    fn spec() -> WorkloadSpec {
        WorkloadSpec::new(WorkloadName::new("web").expect("a name"))
            .with_image(Image::Reference("busybox:1".into()))
            .with_command(["echo", "$(HOME)", "$$"])
    }

    fn made(spec: &WorkloadSpec) -> PodSpec {
        build(spec, &K8sConfig::default()).expect("a pod").spec.expect("its spec")
    }

    #[test]
    fn nothing_is_expanded_by_kubernetes() {
        let pod = made(&spec().with_env("A", "$(B) $x"));
        let main = &pod.containers[0];
        assert_eq!(main.args.as_deref(), Some(&["echo".to_owned(), "$$(HOME)".into(), "$$$$".into()][..]));
        assert_eq!(main.env.as_ref().and_then(|e| e[0].value.as_deref()), Some("$$(B) $$x"));
    }

    #[test]
    fn what_is_asked_for_is_kept_whole_and_labels_where_they_fit() {
        let spec = spec().with_label("app", "web").with_label("long", "not = a label").with_label(MANAGED_BY, "me");
        let pod = build(&spec, &K8sConfig::default()).expect("a pod");
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["app"]);
        let kept: WorkloadSpec =
            serde_json::from_str(&pod.metadata.annotations.unwrap_or_default()[SPEC]).expect("a specification");
        assert_eq!(kept, spec);
    }

    #[test]
    fn limits_reserve_nothing() {
        let limits = Limits::default().with_cpus(0.1).with_memory(64 << 20);
        let found = made(&spec().with_limits(limits)).containers[0].resources.clone().expect("resources");
        let most = found.limits.expect("limits");
        assert_eq!((most["cpu"].0.as_str(), most["memory"].0.as_str()), ("100m", "67108864"));
        assert!(found.requests.expect("requests").values().all(|q| q.0 == "0"));
        let pids = build(&spec().with_limits(Limits::default().with_pids(9)), &K8sConfig::default());
        assert_eq!(pids.map(drop).map_err(|e| e.kind()), Err(ErrorKind::Unsupported));
    }

    #[test]
    fn users_are_numbers_and_the_unprivileged_are_restricted() {
        let of = |user: &str| made(&spec().with_user(user)).containers[0].security_context.clone().expect("a context");
        let some = of("1000:2000");
        assert_eq!((some.run_as_user, some.run_as_group, some.run_as_non_root), (Some(1000), Some(2000), Some(true)));
        assert!(some.capabilities.is_some());
        let root = of("0");
        assert_eq!((root.run_as_user, root.run_as_non_root), (Some(0), None));
        for bad in ["nobody", "1000:users", "-1", "", "1:", "4294967296"] {
            let made = build(&spec().with_user(bad), &K8sConfig::default());
            assert_eq!(made.map(drop).map_err(|e| e.kind()), Err(ErrorKind::InvalidInput), "{bad}");
        }
    }

    #[test]
    fn images_are_references() {
        let mut spec = spec();
        spec.image = None;
        assert!(build(&spec, &K8sConfig::default()).is_err());
        let config = K8sConfig { image: Some(Image::Reference("a:1".into())), ..K8sConfig::default() };
        assert!(build(&spec, &config).is_ok());
        spec.image = Some(Image::Host);
        assert!(build(&spec, &config).is_err());
    }

    #[test]
    fn a_kept_one_has_a_second_container_and_needs_a_command() {
        let pod = made(&spec().with_keep_alive(true));
        assert_eq!(pod.containers.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), [MAIN, STATUS]);
        assert!(
            build(&spec().with_keep_alive(true).with_command(Vec::<String>::new()), &K8sConfig::default()).is_err()
        );
    }
}

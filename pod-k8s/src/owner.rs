//! Whose pods are whose: the labels that everything made here carries.

use pod_core::{Error, ErrorKind, Result};

/// Kubernetes' own label for what manages a thing; its value is [`MANAGER`].
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on all that POD makes.
pub(crate) const MANAGER: &str = "pod";
/// The label with the operation that is making a pod; gone when the pod is made.
pub(crate) const OPERATION: &str = "pod.operation";
/// The annotation with the time after which an unfinished operation counts as left behind (RFC 3339).
pub(crate) const LEASE: &str = "pod.lease";
/// The label of a pod that is made only to look from, with the time after which it counts as left behind
/// (seconds since 1970).
pub(crate) const PROBE_UNTIL: &str = "pod.probe-until";
/// The annotation with the whole specification of a workload, JSON.
pub(crate) const SPEC: &str = "pod.workload";
/// Kubernetes' annotation for the container that is meant when none is named.
pub(crate) const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Whether `text` is a label's value, or the name of a label's key: at most 63 letters, digits, `-`,
/// `_` and `.`, the first and last a letter or digit (apimachinery's `IsValidLabelValue`).
fn is_word(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && ends(text.chars().next())
        && ends(text.chars().next_back())
}

/// Whether Kubernetes takes this as a label's value.
pub(crate) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_word(value)
}

/// Whether Kubernetes takes this as a label.
pub(crate) fn fits_label(key: &str, value: &str) -> bool {
    let prefix = |p: &str| {
        let part = |l: &str| is_word(l) && l.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        p.len() <= 253 && p.split('.').all(part)
    };
    let key = match key.split_once('/') {
        Some((p, name)) => prefix(p) && is_word(name),
        None => is_word(key),
    };
    key && is_label_value(value)
}

/// Who makes things here, as a label's value: the machine and the user.
///
/// # Errors
/// `ConfigInvalid` when the machine has no id by which it differs from others.
pub(crate) fn this_user() -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
    let machine = read("/etc/machine-id")
        .or_else(|| read("/var/lib/dbus/machine-id"))
        .or_else(|| read("/proc/sys/kernel/hostname"))
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .ok_or_else(|| {
            Error::new(ErrorKind::ConfigInvalid, "this machine has no id to mark what is made as its own")
                .with_hint("give one: k8s:?owner=NAME")
        })?;
    let owner = format!("{}.{}", clean(&machine, 48), user());
    Ok(owner)
}

#[cfg(unix)]
fn user() -> String {
    rustix::process::getuid().as_raw().to_string()
}

#[cfg(not(unix))]
fn user() -> String {
    clean(&std::env::var("USERNAME").unwrap_or_default(), 14)
}

/// At most `most` characters that a label takes.
fn clean(text: &str, most: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_alphanumeric).take(most).collect();
    if text.is_empty() { "unknown".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_kubernetes_labels() {
        for (key, value) in [("app", "web"), ("a.b/c_d", ""), ("pod.owner", "x.0"), ("app.kubernetes.io/name", "A-1")] {
            assert!(fits_label(key, value), "{key}={value}");
        }
        let long = "x".repeat(64);
        for (key, value) in
            [("app", "web=1"), ("app", "-a"), ("a/b/c", "x"), ("A_/b", "x"), ("", "x"), (&long, "x"), ("x", &long)]
        {
            assert!(!fits_label(key, value), "{key}={value}");
        }
    }

    #[test]
    fn the_owner_is_a_label_value() {
        let owner = this_user().expect("an owner");
        assert!(is_label_value(&owner) && owner.contains('.'), "{owner}");
    }
}

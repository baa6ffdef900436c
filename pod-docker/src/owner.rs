//! Whose containers are whose: the labels that everything made here carries.

use pod_core::{Error, ErrorKind, Result};

/// The label with the whole specification of a workload, JSON.
pub(crate) const SPEC: &str = "pod.workload";
/// The label of a container that outlives its command.
pub(crate) const KEPT: &str = "pod.kept";
/// Who makes things here: the machine and the user.
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
                .with_hint("give one: docker:?owner=NAME")
        })?;
    Ok(format!("{}.{}", clean(&machine, 48), user()))
}

#[cfg(unix)]
fn user() -> String {
    rustix::process::getuid().as_raw().to_string()
}

#[cfg(not(unix))]
fn user() -> String {
    clean(&std::env::var("USERNAME").unwrap_or_default(), 14)
}

/// At most `most` letters and digits.
fn clean(text: &str, most: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_alphanumeric).take(most).collect();
    if text.is_empty() { "unknown".into() } else { text }
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_an_owner() {
        let owner = super::this_user().expect("an owner");
        assert!(owner.contains('.') && !owner.contains(char::is_whitespace), "{owner}");
    }
}

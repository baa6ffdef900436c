//! From workloads' names to pods' names.

use pod_core::WorkloadName;
use sha2::{Digest, Sha256};

/// The name of the pod for a workload.
///
/// A pod's name is an RFC 1123 subdomain. A workload's name that is none (it may hold capitals and
/// `_`) becomes one, with eight digits of its hash, so that two names never meet in one pod.
pub(crate) fn pod_name(name: &WorkloadName) -> String {
    let name = name.as_str();
    let label = |l: &str| {
        !l.starts_with('-')
            && !l.ends_with('-')
            && !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.split('.').all(label) {
        return name.to_owned();
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let plain: String = name.chars().map(plain).take(54).collect();
    let hash = Sha256::digest(name.as_bytes());
    let hash: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{plain}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> String {
        pod_name(&WorkloadName::new(name).expect(name))
    }

    #[test]
    fn names_become_pod_names_each_its_own() {
        assert_eq!(of("web-1.a"), "web-1.a");
        let names = ["Web", "web", "WEB", "a_b", "a.b", "a-b", "a..b", "a.-b", &"X".repeat(63)];
        let found: std::collections::BTreeSet<_> = names.iter().map(|n| of(n)).collect();
        assert_eq!(found.len(), names.len(), "{found:?}");
        for name in found {
            assert!(name.len() <= 63 && !name.contains("..") && !name.contains('_'), "{name}");
            assert_eq!(name, name.to_ascii_lowercase());
        }
    }
}

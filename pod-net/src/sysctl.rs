//! Kernel settings of POD's own namespace.

use pod_core::{IoResultExt, Result};

/// Settings of a namespace that only bridges, and what they are set to: frames pass no firewall rules,
/// and no interface speaks IPv6 itself.
const SETTINGS: &[(&str, &str)] = &[
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/bridge/bridge-nf-call-arptables", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

/// Applies the settings to the calling thread's namespace. One that the namespace does not have (before
/// Linux 5.3 the bridge's are the host's alone, and a namespace's rules are its own anyway) is passed
/// over.
pub(crate) fn quiet_bridges() -> Result<()> {
    for (key, value) in SETTINGS {
        let path = format!("/proc/sys/{key}");
        match std::fs::write(&path, value) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).doing(|| format!("write {path}")),
            _ => {}
        }
    }
    Ok(())
}

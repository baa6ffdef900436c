//! The files every workload has of its own: its name, the hosts it knows, its DNS servers. They are
//! written into the upper layer before the first start; afterwards only through the running root.

use pod_core::{IoResultExt, Result, WorkloadSpec};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Writes `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf` (hosts(5), resolv.conf(5)).
pub(crate) fn write(spec: &WorkloadSpec, lower: &[PathBuf], upper: &Path) -> Result<()> {
    let etc = upper.join("etc");
    let made = make_etc(lower, &etc)
        .and_then(|()| put(&etc.join("hostname"), &format!("{}\n", spec.name)))
        .and_then(|()| put(&etc.join("hosts"), &hosts(spec.name.as_str(), &spec.hosts)))
        .and_then(|()| {
            let servers: Vec<IpAddr> = spec.attachments.iter().flat_map(|a| a.dns.iter().copied()).collect();
            put(&etc.join("resolv.conf"), &resolv_conf(&servers))
        });
    made.doing(|| "write the workload's own files")
}

/// `/etc` of the upper layer has the mode and owner of the image's, for it is what shows.
fn make_etc(lower: &[PathBuf], etc: &Path) -> io::Result<()> {
    if etc.exists() {
        return Ok(());
    }
    fs::DirBuilder::new().mode(0o755).create(etc)?;
    if let Some(meta) = lower.iter().find_map(|l| fs::metadata(l.join("etc")).ok()) {
        fs::set_permissions(etc, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
        std::os::unix::fs::chown(etc, Some(meta.uid()), Some(meta.gid()))?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

fn hosts(name: &str, known: &BTreeMap<String, IpAddr>) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if !known.contains_key(name) {
        text.push_str(&format!("127.0.1.1\t{name}\n"));
    }
    for (host, ip) in known {
        text.push_str(&format!("{ip}\t{host}\n"));
    }
    text
}

/// Writes `/etc/resolv.conf` anew inside a workload's root; links in it lead nowhere else.
pub(crate) fn tell_servers(root: &OwnedFd, servers: &[IpAddr]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, "etc/resolv.conf", flags, Mode::from_raw_mode(0o644), inside)
        .map_err(io::Error::from)
        .and_then(|fd| fs::File::from(fd).write_all(resolv_conf(servers).as_bytes()))
        .doing(|| "write the workload's /etc/resolv.conf")
}

/// The text of a resolv.conf with these servers; at most three count (resolv.conf(5)).
fn resolv_conf(servers: &[IpAddr]) -> String {
    servers.iter().map(|s| format!("nameserver {s}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_knows_itself_and_its_peers() {
        let known = BTreeMap::from([("b".to_owned(), "10.0.0.2".parse().expect("ip"))]);
        let text = hosts("a", &known);
        assert!(text.contains("127.0.1.1\ta\n") && text.contains("10.0.0.2\tb\n"));
    }
}

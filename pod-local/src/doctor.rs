//! What this machine has of what the engine needs, and the command that fixes each gap. Read-only.

use crate::cgroup::Hierarchies;
use crate::client;

/// One thing the engine needs or can use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnosis {
    /// What was looked at.
    pub subject: &'static str,
    /// Whether it is as it should be.
    pub good: bool,
    /// Whether workloads run without it.
    pub optional: bool,
    /// What was found.
    pub found: String,
    /// A command or setting that fixes the gap.
    pub fix: Option<&'static str>,
}

fn needed(subject: &'static str, good: bool, found: impl Into<String>, fix: &'static str) -> Diagnosis {
    Diagnosis { subject, good, optional: false, found: found.into(), fix: (!good).then_some(fix) }
}

fn optional(subject: &'static str, good: bool, found: impl Into<String>, fix: &'static str) -> Diagnosis {
    Diagnosis { optional: true, ..needed(subject, good, found, fix) }
}

/// Looks at everything the verbs of `local:` need.
#[must_use]
pub fn doctor() -> Vec<Diagnosis> {
    let root = rustix::process::getuid().is_root();
    let mut all =
        vec![needed("root", root, if root { "yes" } else { "no: the engine needs root for now" }, "sudo pod …")];
    let helper = client::helper_program();
    all.push(match &helper {
        Ok(path) => needed("helper program", true, path.display().to_string(), ""),
        Err(e) => needed("helper program", false, e.to_string(), "export POD_SHIM=/path/to/pod"),
    });
    let file_systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |name: &str| file_systems.lines().any(|l| l.split_whitespace().last() == Some(name));
    let found = |good| if good { "there" } else { "missing" };
    all.push(needed("overlay file system", has("overlay"), found(has("overlay")), "modprobe overlay"));
    all.push(needed(
        "control groups, version 2",
        has("cgroup2"),
        found(has("cgroup2")),
        "a kernel with CONFIG_CGROUPS",
    ));
    match Hierarchies::find() {
        Ok(groups) => {
            for (subject, controller, fix) in [
                ("limit of CPU time", "cpu", "a kernel with CONFIG_CFS_BANDWIDTH, its controller enabled"),
                ("limit of memory", "memory", "boot with cgroup_enable=memory"),
                ("limit of processes", "pids", "a kernel with CONFIG_CGROUP_PIDS, its controller enabled"),
            ] {
                let good = groups.has_controller(controller);
                all.push(optional(subject, good, found(good), fix));
            }
        }
        Err(e) => all.push(needed("control groups", false, e.to_string(), "mount -t cgroup2 none /sys/fs/cgroup")),
    }
    all
}

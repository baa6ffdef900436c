//! The OCI runtime configuration of a workload (runtime-spec 1.2, config.md and config-linux.md).

use crate::wire::Start;
use serde_json::{Value, json};
use std::path::Path;

/// What a workload may do: the set that Docker gives its containers.
pub(crate) const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Files of `/proc` and `/sys` that tell about, or change, the whole machine.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The configuration for `start`, its root mounted at `root`. It names no resources: the control groups
/// are POD's own work. Where they can't bound devices, the workload can't make device files.
pub(crate) fn build(start: &Start, root: &Path, devices_bound: bool) -> Value {
    let capabilities: Vec<&str> = CAPABILITIES.into_iter().filter(|c| devices_bound || *c != "CAP_MKNOD").collect();
    let mut mounts = vec![
        json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] }),
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] }),
        json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] }),
        json!({ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] }),
        json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }),
    ];
    if start.tmpfs_run {
        mounts.push(json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs",
                            "options": ["nosuid", "nodev", "mode=755", "size=65536k"] }));
    }
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": root },
        "hostname": start.name,
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["pod-init"],
            "env": [format!("PATH={}", crate::init::DEFAULT_PATH)],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
            "noNewPrivileges": true
        },
        "mounts": mounts,
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" },
                { "type": "network", "path": start.netns }
            ],
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY
        }
    })
}

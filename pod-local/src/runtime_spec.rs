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

/// The period of a CPU limit in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// The configuration for `start`, its root mounted at `root`.
pub(crate) fn build(start: &Start, root: &Path) -> Value {
    let mut resources = json!({
        "devices": [
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 7, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 8, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 9, "access": "rwm" },
            { "allow": true, "type": "c", "major": 5, "minor": 0, "access": "rwm" },
            { "allow": true, "type": "c", "major": 5, "minor": 2, "access": "rwm" },
            { "allow": true, "type": "c", "major": 136, "access": "rwm" }
        ]
    });
    if let Some(cpus) = start.limits.cpus {
        resources["cpu"] = json!({ "period": CPU_PERIOD, "quota": (cpus * CPU_PERIOD as f64).round() as i64 });
    }
    if let Some(bytes) = start.limits.memory {
        resources["memory"] = json!({ "limit": bytes });
    }
    if let Some(pids) = start.limits.pids {
        // PID 1 is one of them, and is POD's own.
        resources["pids"] = json!({ "limit": i64::from(pids) + 1 });
    }
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
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES
            },
            "noNewPrivileges": true
        },
        "mounts": mounts,
        "linux": {
            "cgroupsPath": start.cgroup,
            "resources": resources,
            "namespaces": [
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" },
                { "type": "network", "path": start.netns }
            ],
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY
        }
    })
}

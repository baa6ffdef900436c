//! What a daemon has of what the verbs need, and what closes each gap. Read-only.

use crate::DockerBackend;
use crate::engine::{Info, Kind, NEWEST, Query};

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// What was looked at.
    pub subject: String,
    /// Whether it is as it should be.
    pub good: bool,
    /// Whether workloads run without it.
    pub optional: bool,
    /// What was found.
    pub found: String,
    /// A command or setting that closes the gap.
    pub fix: Option<String>,
}

fn good(subject: &str, found: impl Into<String>) -> Diagnosis {
    Diagnosis { subject: subject.into(), good: true, optional: true, found: found.into(), fix: None }
}

fn limited(subject: &str, found: impl Into<String>, fix: impl Into<String>) -> Diagnosis {
    Diagnosis { good: false, fix: Some(fix.into()), ..good(subject, found) }
}

fn missing(subject: &str, found: impl Into<String>, fix: impl Into<String>) -> Diagnosis {
    Diagnosis { optional: false, ..limited(subject, found, fix) }
}

/// What the daemon says of itself.
fn of_info(kind: Kind, info: &Info) -> Vec<Diagnosis> {
    let mut all = Vec::new();
    let rootless = info.security_options.iter().flatten().any(|o| o.contains("rootless"));
    all.push(good("who runs the daemon", if rootless { "an ordinary user: rootless" } else { "root" }));
    let files = format!(
        "{}, control groups of version {}",
        info.driver,
        match info.cgroup_version.as_str() {
            "" => "unknown",
            version => version,
        }
    );
    all.push(match info.driver.as_str() {
        "vfs" => limited(
            "storage",
            format!("{files}: each container is a whole copy"),
            "use overlay2: storage-driver in daemon.json",
        ),
        _ => good("storage", files),
    });
    for (subject, has) in [
        ("CPU limits", info.cpu_cfs_quota),
        ("memory limits", info.memory_limit),
        ("limits of processes", info.pids_limit),
    ] {
        all.push(if has {
            good(subject, "they act")
        } else if rootless {
            limited(
                subject,
                "this daemon can't set them",
                "delegate the controller to the user: https://rootlesscontaine.rs/getting-started/common/cgroup2/",
            )
        } else {
            limited(subject, "this daemon can't set them", "turn the controller on in the kernel")
        });
    }
    let drivers = info.plugins.log.clone().unwrap_or_default();
    let driver = kind.log_driver();
    all.push(if drivers.is_empty() || drivers.iter().any(|d| d == driver) {
        good("logs", format!("the driver `{driver}` keeps them, byte for byte"))
    } else {
        missing("logs", format!("the daemon lacks the driver `{driver}`"), "update the daemon")
    });
    for warning in info.warnings.iter().flatten() {
        let words = warning.trim_start_matches("WARNING: ").to_owned();
        all.push(limited("the daemon warns", words, kind.info()));
    }
    all
}

impl DockerBackend {
    /// Looks at everything that the verbs need of the daemon. What can't be looked at is told as that.
    pub async fn doctor(&self) -> Vec<Diagnosis> {
        let engine = self.engine();
        let mut all = Vec::new();
        let version = &engine.about.version;
        let api = format!("{} {version}, API {} of at most {NEWEST}", engine.kind.product(), engine.version);
        all.push(good("daemon", api));
        all.push(if engine.is_open() {
            limited(
                "way to the daemon",
                format!("{}, in plain text: whoever reaches the port is root on that machine", engine.place()),
                "protect it with TLS: https://docs.docker.com/engine/security/protect-access/",
            )
        } else {
            good("way to the daemon", engine.place())
        });
        if engine.kind == Kind::Podman {
            all.push(match &engine.libpod {
                Some(l) => good("networks", if l.cni { "made by CNI's plugins" } else { "made by netavark" }),
                None => limited(
                    "networks",
                    "POD uses those of Podman 4 or later, run by root, alone",
                    "use root's service: `sudo systemctl start podman.socket`, podman:?socket=/run/podman/podman.sock",
                ),
            });
        }
        match engine.get::<Info>("/info", Query::new()).await {
            Ok(info) => all.extend(of_info(engine.kind, &info)),
            Err(f) => all.push(missing("what the daemon can do", engine.error(f).to_string(), engine.kind.info())),
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_daemon_lacks_is_told_with_the_way_out() {
        let text = r#"{"Driver":"vfs","CgroupVersion":"1","MemoryLimit":true,"CpuCfsQuota":true,"PidsLimit":false,
            "SecurityOptions":["name=seccomp","name=rootless"],"Plugins":{"Log":["json-file"]},
            "Warnings":["WARNING: No swap limit support"]}"#;
        let info: Info = serde_json::from_str(text).expect("info");
        let found = of_info(Kind::Docker, &info);
        let of = |subject: &str| found.iter().find(|d| d.subject == subject).expect(subject);
        assert!(of("who runs the daemon").found.contains("rootless"));
        assert!(!of("storage").good && of("memory limits").good && !of("limits of processes").good);
        assert!(of("limits of processes").fix.is_some());
        assert!(!of("logs").good && !of("logs").optional);
        assert_eq!(of("the daemon warns").found, "No swap limit support");
    }
}

//! Copy by the container's own tools, as [`pod_shell::copy`] does it: where the daemon's archive API does
//! not do.

use crate::containers::Inspected;
use crate::engine::Kind;
use crate::exec::{SHELL, Target, open_as, open_script};
use async_trait::async_trait;
use futures_util::FutureExt;
use pod_core::{Error, Result};
use pod_shell::copy::{Far, Running};
use tokio::io::BufReader;

/// What is mounted in every container, and nowhere to be found for the daemon.
const HIDDEN: &[&[u8]] = &[b"/dev", b"/proc", b"/sys"];

/// Whether a path is to be reached from inside the container. The daemon sees its own files and volumes, but
/// no tmpfs: it would write below the mount, or read what is hidden there. As any link may lead into one,
/// all paths of a container with a tmpfs are reached so. Podman's archives follow links and keep no owners.
pub(super) fn from_inside(engine: Kind, found: &Inspected, path: &[u8]) -> bool {
    let below = |top: &[u8]| path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
    engine == Kind::Podman || found.has_tmpfs() || HIDDEN.iter().any(|top| below(top))
}

/// A container as the far end, as its root or as its own user, whose files then are what is copied.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    pub(super) target: Target,
    pub(super) root: bool,
}

#[async_trait]
impl Far for Inside {
    async fn start(&self, script: &str, args: &[String], stdin: bool) -> Result<Running> {
        let fixed = [SHELL, "-c", script, "pod"].map(str::to_owned);
        let argv: Vec<String> = fixed.into_iter().chain(args.iter().cloned()).collect();
        let mut running = match self.root {
            true => open_script(&self.target, &argv, stdin).await?,
            false => open_as(&self.target, &argv, None, stdin).await?,
        };
        let none = || Box::pin(tokio::io::empty()) as pod_core::BoxRead;
        let (input, stdout) = (running.stdin.take(), std::mem::replace(&mut running.stdout, none()));
        let stderr = std::mem::replace(&mut running.stderr, none());
        Ok(Running {
            stdin: input,
            stdout: BufReader::with_capacity(64 << 10, stdout),
            stderr,
            end: async move { running.end().await }.boxed(),
            half_close: true,
        })
    }

    fn about(&self, error: Error) -> Error {
        self.target.about(error)
    }

    fn without_shell(&self) -> &'static str {
        "use an image with a POSIX shell, and `tar` or `cat`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn container(host: Value, mounts: Value) -> Inspected {
        serde_json::from_value(json!({"Id": "i", "Name": "/web", "HostConfig": host, "Mounts": mounts})).expect("one")
    }

    #[test]
    fn what_a_daemon_does_not_see_is_reached_from_inside() {
        let plain = container(json!({"Tmpfs": null}), json!([{"Type": "volume", "Destination": "/data"}]));
        for (path, inside) in [("/data/x", false), ("/procs", false), ("/proc/1", true), ("/dev", true)] {
            assert_eq!(from_inside(Kind::Docker, &plain, path.as_bytes()), inside, "{path}");
        }
        assert!(from_inside(Kind::Podman, &plain, b"/data/x"));
        for one in [
            container(json!({"Tmpfs": {"/run": ""}}), json!([])),
            container(json!({}), json!([{"Type": "tmpfs", "Destination": "/run"}])),
        ] {
            assert!(from_inside(Kind::Docker, &one, b"/var/run/x"));
        }
    }
}

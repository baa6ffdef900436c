//! The programs that the tests need, and the packages of Debian and Ubuntu that bring them.

use std::path::PathBuf;
use std::process::Command;

/// A program and its package.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What the tests on real links and workloads need.
pub(crate) const SYSTEM: &[Tool] = &[
    tool("unshare", "util-linux"),
    tool("nsenter", "util-linux"),
    tool("find", "findutils"),
    tool("ip", "iproute2"),
    tool("iptables", "iptables"),
    tool("ping", "iputils-ping"),
    tool("busybox", "busybox-static"),
    tool("setpriv", "util-linux"),
    tool("tcpdump", "tcpdump"),
    tool("linux.uml", "user-mode-linux"),
    tool("modprobe", "kmod"),
];

/// What a lab is made of, beside the programs it builds.
pub(crate) const LAB: &[Tool] = &[
    tool("unshare", "util-linux"),
    tool("nsenter", "util-linux"),
    tool("setsid", "util-linux"),
    tool("ip", "iproute2"),
    tool("iptables", "iptables"),
    tool("busybox", "busybox-static"),
    tool("openssl", "openssl"),
    tool("etcd", "etcd-server"),
    tool("containerd", "containerd"),
    tool("ctr", "containerd"),
    tool("runc", "runc"),
    tool("dockerd", "docker.io"),
    tool("podman", "podman"),
    tool("docker-registry", "docker-registry"),
    // What is partly C is built with it.
    tool("gcc", "gcc"),
    // No folder of programs: an absolute path is looked for as it is.
    tool("/usr/lib/cni/bridge", "containernetworking-plugins"),
];

/// What the benchmark compares with, and is made of.
pub(crate) const BENCH: &[Tool] = &[
    tool("unshare", "util-linux"),
    tool("nsenter", "util-linux"),
    tool("ip", "iproute2"),
    tool("busybox", "busybox-static"),
    tool("runc", "runc"),
    tool("crun", "crun"),
];

/// Where a program is, the folders of system programs included, which an ordinary user's `PATH` lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|p| p.is_file())
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    effective_uid() == Some(0)
}

fn effective_uid() -> Option<u32> {
    // proc(5): real, effective, saved and file system UID.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|l| l.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

/// A command that runs as root: as it is for root, else by sudo.
///
/// # Errors
/// Says what to do when neither is to be had.
pub(crate) fn as_root(program: &str) -> Result<Vec<String>, String> {
    if is_root() {
        return Ok(vec![program.into()]);
    }
    if find("sudo").is_none() {
        return Err("these tests need root, and there is no sudo: run `cargo xtask test` as root".into());
    }
    // Asks for the password once, on the terminal; where there is none, it fails.
    let allowed = Command::new("sudo").arg("-v").status().is_ok_and(|s| s.success());
    if !allowed {
        return Err("these tests need root, and sudo refuses: run `cargo xtask test` as root".into());
    }
    Ok(["sudo", "--preserve-env", "--", program].map(String::from).to_vec())
}

/// Makes sure the tools are there; installs what is missing when told to.
pub(crate) fn ensure(tools: &[Tool], install: bool) -> Result<(), String> {
    let missing = packages(tools);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !install {
        return Err(format!("missing: {list}; install with `apt-get install {list}`, or give --install"));
    }
    let done = apt(&missing);
    let still = packages(tools);
    if still.is_empty() {
        return Ok(());
    }
    done.and_then(|()| Err(format!("still missing after the installation: {}", still.join(" "))))
}

/// Installs packages.
pub(crate) fn apt(packages: &[&str]) -> Result<(), String> {
    println!("    installing {}", packages.join(" "));
    let mut last = String::new();
    // The package lists may be missing or old: then once more, with new ones.
    for steps in [&["install"][..], &["update", "install"]] {
        last.clear();
        for step in steps {
            let mut words = as_root("apt-get")?;
            words.extend(["-q", "-y"].map(String::from));
            words.push((*step).into());
            if *step == "install" {
                words.push("--no-install-recommends".into());
                words.extend(packages.iter().map(|p| (*p).to_owned()));
            }
            let status = Command::new(&words[0]).args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive").status();
            match status {
                Ok(status) if status.success() => {}
                Ok(status) => last = format!("apt-get {step}: {status}"),
                Err(e) => last = format!("run apt-get: {e}"),
            }
        }
        if last.is_empty() {
            break;
        }
    }
    if last.is_empty() { Ok(()) } else { Err(last) }
}

fn packages(tools: &[Tool]) -> Vec<&'static str> {
    let mut list: Vec<_> = tools.iter().filter(|t| find(t.program).is_none()).map(|t| t.package).collect();
    list.sort_unstable();
    list.dedup();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_way_out() {
        let missing = tool("no-such-program-anywhere", "no-such-package");
        let error = ensure(&[missing, tool("sh", "dash")], false).expect_err("a missing tool");
        assert_eq!(
            error,
            "missing: no-such-package; install with `apt-get install no-such-package`, or give --install"
        );
        assert_eq!(ensure(&[tool("sh", "dash")], false), Ok(()));
    }
}

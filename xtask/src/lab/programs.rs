//! Programs built from Go modules, each once: a folder of the cache is named after what went into it.

use super::images::digest;
use super::site::{self, make};
use crate::install;
use crate::report::span;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A Go module below `lab/`, and the programs of it.
#[derive(Debug)]
struct Module {
    /// Its folder.
    folder: &'static str,
    /// The programs' names, and their packages.
    programs: &'static [(&'static str, &'static str)],
    /// The same for programs that are partly C.
    with_c: &'static [(&'static str, &'static str)],
    /// What of them is left out, by their build constraints.
    tags: &'static str,
    /// What the linker is told.
    linker: &'static str,
}

const MODULES: &[Module] = &[
    Module {
        folder: "kubernetes",
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ],
        with_c: &[],
        tags: "",
        // The version of go.mod, which the programs don't know by themselves.
        linker: "-s -w \
            -X k8s.io/component-base/version.gitVersion=v1.33.13 \
            -X k8s.io/component-base/version.gitMajor=1 \
            -X k8s.io/component-base/version.gitMinor=33",
    },
    Module {
        folder: "multus",
        programs: &[("multus", "gopkg.in/k8snetworkplumbingwg/multus-cni.v4/cmd/multus")],
        with_c: &[],
        tags: "",
        linker: "-s -w",
    },
    Module {
        folder: "whereabouts",
        programs: &[("whereabouts", "github.com/k8snetworkplumbingwg/whereabouts/cmd")],
        with_c: &[],
        tags: "",
        linker: "-s -w",
    },
    Module {
        folder: "moby",
        programs: &[
            ("dockerd", "github.com/moby/moby/v2/cmd/dockerd"),
            ("docker-proxy", "github.com/moby/moby/v2/cmd/docker-proxy"),
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
        ],
        with_c: &[("runc", "github.com/opencontainers/runc")],
        // A third of containerd's packages serve Kubernetes and file systems that no lab has. The last two are
        // for runc: with them it shares what is compiled for the others.
        tags: "no_btrfs,no_zfs,no_devmapper,no_cri,no_tracing,no_systemd,no_embedded_containerd,\
            exclude_graphdriver_zfs,exclude_graphdriver_btrfs,exclude_graphdriver_fuseoverlayfs,exclude_disk_quota,\
            netgo,osusergo",
        linker: "-s -w",
    },
];

/// What the compiler is told: to describe nothing for debuggers, which the linker would leave out anyway, and
/// which is a seventh of the work.
const COMPILER: &str = "all=-dwarf=false";

/// The oldest Go that the modules build with.
const GO: [u32; 3] = [1, 26, 6];

/// Builds what the cache lacks; gives the folders of the programs.
pub(super) fn build(cache: &Path, say: impl Fn(&str)) -> Result<Vec<PathBuf>, String> {
    let mut version = None;
    let mut folders = Vec::new();
    for module in MODULES {
        let source = site::manifests().join(module.folder);
        let read = |name: &str| fs::read(source.join(name)).map_err(|e| format!("{}/{name}: {e}", source.display()));
        let programs = module.programs.iter().chain(module.with_c);
        let mut programs: String = programs.map(|(name, package)| format!("{name} {package}\n")).collect();
        programs += module.tags;
        let key = key(&[
            &read("go.mod")?,
            &read("go.sum")?,
            programs.as_bytes(),
            module.linker.as_bytes(),
            std::env::consts::ARCH.as_bytes(),
        ]);
        let folder = cache.join("programs").join(format!("{}-{key}", module.folder));
        if !folder.exists() {
            if version.is_none() {
                version = Some(check_go()?);
            }
            make_one(module, &source, &folder, &say)?;
        }
        folders.push(folder);
    }
    Ok(folders)
}

/// Builds one module into a folder that appears when it is whole.
fn make_one(module: &Module, source: &Path, folder: &Path, say: &impl Fn(&str)) -> Result<(), String> {
    make(folder.parent().unwrap_or(folder))?;
    // Two labs that want the same: the second waits, and finds it done.
    let lock = folder.with_extension("lock");
    let lock =
        fs::File::create(&lock).and_then(|f| f.lock().map(|()| f)).map_err(|e| format!("{}: {e}", lock.display()))?;
    if folder.exists() {
        return Ok(());
    }
    let begun = folder.with_extension("begun");
    if begun.exists() {
        fs::remove_dir_all(&begun).map_err(|e| format!("{}: {e}", begun.display()))?;
    }
    make(&begun)?;
    let since = Instant::now();
    say(&format!("building {} from its Go modules: minutes from nothing", module.folder));
    // All at once: while one program is linked, another is compiled.
    go(module, source, &begun, module.programs, false)?;
    if !module.with_c.is_empty() {
        go(module, source, &begun, module.with_c, true)?;
    }
    fs::rename(&begun, folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    say(&format!("built {} ({})", module.folder, span(since.elapsed())));
    drop(lock);
    Ok(())
}

/// Has Go build programs of a module into a folder.
fn go(module: &Module, source: &Path, to: &Path, programs: &[(&str, &str)], with_c: bool) -> Result<(), String> {
    let done = Command::new("go")
        .args(["build", "-buildvcs=false", "-gcflags", COMPILER, "-ldflags", module.linker, "-tags", module.tags, "-o"])
        // With a slash it is a folder.
        .arg(to.join(""))
        .args(programs.iter().map(|(_, package)| package))
        .current_dir(source)
        .env("CGO_ENABLED", if with_c { "1" } else { "0" })
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(|e| format!("run go: {e}"))?;
    if !done.status.success() {
        let told = String::from_utf8_lossy(&done.stderr);
        let lines: Vec<_> = told.lines().filter(|l| !l.starts_with("go: downloading")).collect();
        let last: String = lines[lines.len().saturating_sub(12)..].iter().map(|l| format!("\n      {l}")).collect();
        return Err(format!("go build in lab/{}: {}{last}", module.folder, done.status));
    }
    for (name, package) in programs {
        let made = to.join(package.rsplit('/').next().unwrap_or(package));
        let wanted = to.join(name);
        if made != wanted {
            fs::rename(&made, &wanted).map_err(|e| format!("{}: {e}", made.display()))?;
        }
    }
    Ok(())
}

/// A name for what went into something.
pub(super) fn key(parts: &[&[u8]]) -> String {
    // The parts' own digests, so that what moves from one to the next is seen.
    let all: String = parts.iter().map(|p| digest(p)).collect();
    digest(all.as_bytes())[..16].to_owned()
}

fn check_go() -> Result<(), String> {
    let way_out = format!(
        "the lab's servers are built with Go {} or later: https://go.dev/dl/",
        GO.map(|n| n.to_string()).join(".")
    );
    if install::find("go").is_none() {
        return Err(format!("no go on the PATH; {way_out}"));
    }
    let told = Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output();
    let told =
        told.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).map_err(|e| format!("run go: {e}"))?;
    match go_version(&told) {
        Some(version) if version >= GO => Ok(()),
        _ => Err(format!("go is {told:?}; {way_out}")),
    }
}

fn go_version(told: &str) -> Option<[u32; 3]> {
    let mut numbers = told.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some([major, minor, numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_read() {
        assert_eq!(go_version("go1.26.8"), Some([1, 26, 8]));
        assert_eq!(go_version("go1.26"), Some([1, 26, 0]));
        assert_eq!(go_version("devel"), None);
    }

    #[test]
    fn a_key_follows_every_part() {
        let one = key(&[b"ab", b"c"]);
        assert_eq!(one, key(&[b"ab", b"c"]));
        assert_ne!(one, key(&[b"a", b"bc"]));
        assert_eq!(one.len(), 16);
    }

    #[test]
    fn the_version_told_is_that_of_the_manifest() {
        let manifest = fs::read_to_string(site::manifests().join("kubernetes/go.mod")).expect("go.mod");
        let version =
            manifest.lines().find_map(|l| l.trim().strip_prefix("require k8s.io/kubernetes ")).expect("a version");
        let minor: Vec<_> = version.trim_start_matches('v').split('.').collect();
        for part in
            [format!("gitVersion={version} "), format!("gitMajor={} ", minor[0]), format!("gitMinor={}", minor[1])]
        {
            assert!(MODULES[0].linker.contains(&part), "{part}");
        }
    }

    #[test]
    fn every_module_has_its_manifest_and_needs_no_newer_go() {
        for module in MODULES {
            let manifest = fs::read_to_string(site::manifests().join(module.folder).join("go.mod")).expect("go.mod");
            let needs = manifest.lines().find_map(|l| l.strip_prefix("go ")).expect("a version of Go");
            assert!(go_version(&format!("go{needs}")).is_some_and(|needs| needs <= GO), "{}: {needs}", module.folder);
            for file in ["go.mod", "go.sum"] {
                assert!(site::manifests().join(module.folder).join(file).is_file(), "{}/{file}", module.folder);
            }
        }
    }
}

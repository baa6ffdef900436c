//! Podman: its API's service in a network namespace of its own, with no uplink.
//!
//! Like Docker's daemon it has a mount namespace of its own. It has folders of its own for all that Podman
//! keeps, and what of the machine's has a fixed place is covered: `/run`, the addresses that CNI's plugins
//! gave, and the control groups, of which it sees only the lab's. So what it starts is found with the lab's
//! other processes.

use super::docker::{ask, load};
use super::parts::Part;
use super::process::{Place, Program};
use super::site::{self, Lab, make, write};
use super::{certificates, containerd, groups, network, registry};
use std::path::PathBuf;

/// The name of the part.
pub(super) const NAME: &str = "podman";

/// The service of Podman's API.
#[derive(Debug)]
pub(super) struct Podman;

/// The service's socket.
pub(super) fn socket(lab: &Lab) -> PathBuf {
    lab.path("podman/podman.sock")
}

/// containers.conf(5). Limits are those that a root without CAP_SYS_RESOURCE may set; crun does not run on
/// hybrid control groups; locks are files, because shared memory has one name on the whole machine.
fn configuration(lab: &Lab) -> String {
    let path = |below: &str| lab.path(below).display().to_string();
    format!(
        "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\nlock_type = \"file\"\n\
         static_dir = {:?}\ntmp_dir = {:?}\nvolume_path = {:?}\n\
         [network]\nnetwork_backend = \"cni\"\nnetwork_config_dir = {:?}\n",
        path("podman/data/libpod"),
        path("podman/state"),
        path("podman/data/volumes"),
        path("podman/networks"),
    )
}

/// containers-storage.conf(5).
fn storage(lab: &Lab) -> Result<String, String> {
    // The kernel puts no overlay upon an overlay, such as a container's root is.
    let driver = if containerd::is_on_overlay(lab)? { "vfs" } else { "overlay" };
    let (root, run) = (lab.path("podman/data"), lab.path("podman/storage"));
    Ok(format!("[storage]\ndriver = \"{driver}\"\ngraphroot = {root:?}\nrunroot = {run:?}\n"))
}

impl Part for Podman {
    fn name(&self) -> String {
        NAME.into()
    }

    fn needs(&self) -> Vec<String> {
        vec![network::NAME.into(), certificates::NAME.into()]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        for folder in ["run", "state", "networks", "addresses"] {
            make(&lab.path("podman").join(folder))?;
        }
        registry::trust(lab, &lab.path("podman/etc"))?;
        write(&lab.path("podman/containers.conf"), &configuration(lab))?;
        write(&lab.path("podman/storage.conf"), &storage(lab)?)
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let place = Place { netns: lab.engine_netns(site::PODMAN), mounts_of: None };
        let quote = |path: PathBuf| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        let own = groups::of_podman(lab);
        let mut script = format!(
            "mkdir -p /var/lib/cni\nmount --bind {} /var/lib/cni\nmount --bind {} /run\nmount --bind {} /etc/docker\n",
            quote(lab.path("podman/addresses")),
            quote(lab.path("podman/run")),
            quote(lab.path("podman/etc")),
        );
        for (hierarchy, group) in &own {
            script += &format!("mount --bind {} {}\n", quote(group.clone()), quote(hierarchy.clone()));
        }
        // With version 2, a group that passes controllers on holds no process.
        script += &format!(
            "g=/sys/fs/cgroup\nif [ -e $g/cgroup.controllers ]; then mkdir -p $g/service; echo $$ >$g/service/cgroup.procs; fi\n\
             export CONTAINERS_CONF={} CONTAINERS_STORAGE_CONF={}\nexec podman system service --time 0 {}",
            quote(lab.path("podman/containers.conf")),
            quote(lab.path("podman/storage.conf")),
            quote(PathBuf::from(format!("unix://{}", socket(lab).display()))),
        );
        // First into the groups, which are then the root of what a namespace of control groups shows.
        let join: String = own.iter().map(|(_, g)| format!("echo $$ >{}\n", quote(g.join("cgroup.procs")))).collect();
        let join = format!("{join}exec unshare --mount --propagation private --cgroup -- sh -ec \"$1\"");
        let words = ["sh", "-ec", &join, "sh", &script];
        Ok(Some(Program { place, words: words.map(str::to_owned).to_vec() }))
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        let (status, answer) = ask(&socket(lab), "GET", "/_ping", None)?;
        if status == 200 { Ok(()) } else { Err(format!("it answers {status}: {answer}")) }
    }

    fn settle(&self, lab: &Lab) -> Result<(), String> {
        load(&socket(lab), lab)
    }
}

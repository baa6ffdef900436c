//! A node's own root: this machine's, with folders of its own where its servers keep things.
//!
//! A mount namespace, held by a process that sleeps. Servers find everything at the usual paths, two nodes
//! don't meet, and what they mount goes with the namespace: `down` has nothing to unmount.

use super::parts::Part;
use super::process::{Place, Program, Record, output};
use super::site::{Lab, Node, make, write};
use super::{certificates, network};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The folders that a node has for itself. `/etc` begins as a copy, the others empty.
const OWN: &[&str] = &["/etc", "/opt", "/run", "/tmp", "/var/lib", "/var/log"];

/// What kubelet sets for a whole machine. A node has files of its own there, so that this one stays as it is.
const SETTINGS: &[&str] = &[
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/keys/root_maxbytes",
];

/// Where Debian's `containernetworking-plugins` puts the reference plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// Holds a node's mount namespace.
#[derive(Debug)]
pub(super) struct NodeRoot(pub(super) Node);

/// The name of a node's part.
pub(super) fn name(node: Node) -> String {
    node.name()
}

/// Where a node's servers run.
pub(super) fn place(lab: &Lab, node: Node) -> Result<Place, String> {
    let record = Record::load(&lab.name, &name(node)).filter(|r| r.alive());
    let pid = record.ok_or_else(|| format!("{} is not up", node.name()))?.pid;
    Ok(Place { netns: lab.node_netns(node), mounts_of: Some(pid) })
}

impl Part for NodeRoot {
    fn name(&self) -> String {
        name(self.0)
    }

    fn needs(&self) -> Vec<String> {
        [network::NAME, certificates::NAME].map(String::from).to_vec()
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        let node = self.0;
        if lab.on_node(node, "/etc/cni/net.d/00-multus.conf").exists() {
            return Ok(());
        }
        for folder in OWN {
            make(&lab.on_node(node, folder))?;
        }
        output(Command::new("chmod").arg("1777").arg(lab.on_node(node, "/tmp")))?;
        output(Command::new("cp").args(["--archive", "/etc/."]).arg(lab.on_node(node, "/etc")))?;
        for secret in ["/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssh", "/etc/cni"] {
            remove(&lab.on_node(node, secret))?;
        }
        for folder in ["/run/lab", "/run/netns", "/var/lib/cni", "/var/log/pods", "/var/log/containers"] {
            make(&lab.on_node(node, folder))?;
        }
        for setting in SETTINGS {
            let value = fs::read_to_string(setting).map_err(|e| format!("{setting}: {e}"))?;
            write(&lab.path(format!("{}-settings/{}", node.name(), setting.replace('/', "."))), &value)?;
        }
        self.plugins(lab)
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let place = Place { netns: lab.node_netns(self.0), mounts_of: None };
        let words = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-ec"].map(String::from);
        let mut words = words.to_vec();
        words.push(self.script(lab)?);
        Ok(Some(Program { place, words }))
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        let Some(record) = Record::load(&lab.name, &self.name()) else { return Err("it has no process".into()) };
        let comm = fs::read_to_string(format!("/proc/{}/comm", record.pid)).unwrap_or_default();
        // The last word of the script; nothing before it may fail.
        if comm.trim() == "sleep" { Ok(()) } else { Err(format!("its mounts are not made: {} runs", comm.trim())) }
    }
}

impl NodeRoot {
    /// Makes the mounts, then sleeps.
    fn script(&self, lab: &Lab) -> Result<String, String> {
        let node = self.0;
        let quote = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        let mut lines = Vec::new();
        // The cache may be in a folder that is hidden.
        let programs = lab.program("kubelet")?;
        let programs = programs.parent().ok_or("kubelet has no folder")?;
        lines.push(format!("mount --bind {} {}", quote(programs), quote(&lab.on_node(node, "/run/lab"))));
        for folder in OWN {
            lines.push(format!("mount --rbind {} {folder}", quote(&lab.on_node(node, folder))));
        }
        for setting in SETTINGS {
            let file = lab.path(format!("{}-settings/{}", node.name(), setting.replace('/', ".")));
            lines.push(format!("mount --bind {} {setting}", quote(&file)));
        }
        // As on a machine with systemd: volumes may ask for mounts to be passed on.
        lines.push("mount --make-rshared /".into());
        lines.push("exec sleep infinity".into());
        Ok(lines.join("\n"))
    }

    /// The CNI plugins, and a configuration that has Multus call the bridge for each pod's first interface.
    fn plugins(&self, lab: &Lab) -> Result<(), String> {
        let node = self.0;
        let bin = lab.on_node(node, "/opt/cni/bin");
        make(&bin)?;
        output(Command::new("cp").arg("--archive").arg(format!("{PLUGINS}/.")).arg(&bin))?;
        for plugin in ["multus", "whereabouts"] {
            let to = bin.join(plugin);
            fs::copy(lab.program(plugin)?, &to).map_err(|e| format!("{}: {e}", to.display()))?;
        }
        let configuration = lab.on_node(node, "/etc/cni/net.d");
        let kubeconfig = "/etc/cni/net.d/lab.d/cni.kubeconfig";
        certificates::kubeconfig(lab, "cni", &lab.on_node(node, kubeconfig))?;
        let whereabouts = serde_json::json!({
            "datastore": "kubernetes",
            "kubernetes": { "kubeconfig": kubeconfig },
            "log_file": "/var/log/whereabouts.log",
            "log_level": "error",
        });
        write(&configuration.join("whereabouts.d/whereabouts.conf"), &format!("{whereabouts:#}\n"))?;
        write(&configuration.join("10-bridge.conflist"), &format!("{:#}\n", bridge(node)))?;
        // Last: its presence says that all is there.
        write(&configuration.join("00-multus.conf"), &format!("{:#}\n", multus(node, kubeconfig)))
    }
}

fn remove(path: &Path) -> Result<(), String> {
    let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match gone {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", path.display())),
        _ => Ok(()),
    }
}

/// Each pod's first interface: a bridge of the node's, routed to the other nodes.
fn bridge(node: Node) -> serde_json::Value {
    serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{ "subnet": node.pods() }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

fn multus(node: Node, kubeconfig: &str) -> serde_json::Value {
    serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "multus",
        "type": "multus",
        "kubeconfig": kubeconfig,
        "confDir": "/etc/cni/net.d",
        "cniDir": "/var/lib/cni/multus",
        "binDir": "/opt/cni/bin",
        "capabilities": { "portMappings": true },
        "delegates": [bridge(node)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multus_gives_the_bridge_of_its_node() {
        let multus = multus(Node(2), "/k");
        let bridge = &multus["delegates"][0]["plugins"][0];
        assert_eq!(bridge["ipam"]["ranges"][0][0]["subnet"], "10.244.2.0/24");
        assert_eq!(multus["kubeconfig"], "/k");
    }
}

//! One lab: its name, its folders, and the addresses in it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The most nodes a lab has: names of links and addresses are made for one digit.
pub(super) const MOST_NODES: u8 = 3;

/// Where the control plane listens: the lab's own address on the bridge of the nodes.
pub(super) const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The network of the nodes.
pub(super) const NODES: &str = "10.99.0.0/24";

/// The addresses of services, and the first of them, which is the API server's.
pub(super) const SERVICES: &str = "10.96.0.0/16";
pub(super) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The addresses of pods; each node has a /24 of it.
pub(super) const PODS: &str = "10.244.0.0/16";

/// The engines beside the cluster, each in a network namespace of its own: Debian's Docker, the Docker of today,
/// Podman.
pub(super) const DOCKER: &str = "docker";
pub(super) const MOBY: &str = "moby";
pub(super) const PODMAN: &str = "podman";

/// Where the registry listens: the lab's own address on the wire of the engines.
pub(super) const REGISTRY: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);

/// Wires for the networks of tests, each a bridge of its own. A node and a Docker's namespace have an interface
/// of that name on each, the lab's own namespace one called `up-NAME`.
pub(super) const PARENTS: &[&str] = &["net1", "net2"];

/// A node of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node(pub(super) u8);

impl Node {
    /// Its name in the cluster.
    pub(super) fn name(self) -> String {
        format!("node-{}", self.0)
    }

    /// Its address on the bridge of the nodes.
    pub(super) fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, 0, 10 + self.0)
    }

    /// The addresses of its pods.
    pub(super) fn pods(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }
}

/// A lab.
#[derive(Debug, Clone)]
pub(super) struct Lab {
    /// Its name, which is in the name of all it makes.
    pub(super) name: String,
    /// How many nodes its cluster has.
    pub(super) nodes: u8,
    /// Whether it goes without the Docker of today and the registry.
    pub(super) small: bool,
    /// What is the same for all labs: programs and images.
    pub(super) cache: PathBuf,
    /// The folders of programs, first to last.
    pub(super) programs: Vec<PathBuf>,
    /// The archive of the image for sandboxes and tests.
    pub(super) image: PathBuf,
}

impl Lab {
    /// Checks a name: it becomes part of the names of folders, namespaces and control groups.
    pub(super) fn check_name(name: &str) -> Result<String, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if name.is_empty() || name.len() > 20 || !name.chars().all(good) {
            return Err(format!("a lab's name is 1 to 20 lower-case letters and digits, not {name:?}"));
        }
        Ok(name.to_owned())
    }

    /// The name of its control group and of its main network namespace.
    pub(super) fn mark(name: &str) -> String {
        format!("pod-lab-{name}")
    }

    /// The folder of a lab's state. Short, because the paths of unix sockets are (unix(7): 108 bytes).
    pub(super) fn folder(name: &str) -> PathBuf {
        let parent = std::env::var_os("POD_LAB_STATE").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        parent.join(Self::mark(name))
    }

    /// Its state's folder.
    pub(super) fn state(&self) -> PathBuf {
        Self::folder(&self.name)
    }

    /// A folder or file of its state.
    pub(super) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.state().join(below)
    }

    /// A file of a node's root, as this machine sees it.
    pub(super) fn on_node(&self, node: Node, path: &str) -> PathBuf {
        self.path(node.name()).join(path.trim_start_matches('/'))
    }

    /// The network namespace of the control plane, and of commands run in the lab.
    pub(super) fn netns(&self) -> String {
        Self::mark(&self.name)
    }

    /// The network namespace of a node.
    pub(super) fn node_netns(&self, node: Node) -> String {
        format!("{}-{}", self.netns(), node.name())
    }

    /// The network namespace of an engine.
    pub(super) fn engine_netns(&self, engine: &str) -> String {
        format!("{}-{engine}", self.netns())
    }

    /// Its engines.
    pub(super) fn engines(&self) -> &'static [&'static str] {
        if self.small { &[DOCKER, PODMAN] } else { &[DOCKER, MOBY, PODMAN] }
    }

    /// Its nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        (1..=self.nodes).map(Node)
    }

    /// A program of the cache.
    pub(super) fn program(&self, name: &str) -> Result<PathBuf, String> {
        let found = self.programs.iter().map(|folder| folder.join(name)).find(|p| p.is_file());
        found.ok_or_else(|| format!("{name} is not in the cache {}: run `cargo xtask lab up`", self.cache.display()))
    }

    /// The kubeconfig of the cluster's administrator.
    pub(super) fn admin(&self) -> PathBuf {
        self.path("admin.conf")
    }

    /// Writes down what `load` reads.
    pub(super) fn save(&self) -> Result<(), String> {
        let text = serde_json::json!({
            "nodes": self.nodes,
            "small": self.small,
            "cache": self.cache,
            "programs": self.programs,
            "image": self.image,
        });
        write(&self.path("lab.json"), &format!("{text:#}\n"))
    }

    /// A lab that has been begun, or nothing.
    pub(super) fn load(name: &str) -> Result<Option<Self>, String> {
        let file = Self::folder(name).join("lab.json");
        let text = match fs::read_to_string(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| format!("{}: {e}", file.display()))?,
        };
        let bad = || format!("{}: not as this xtask writes it: `cargo xtask lab down` removes it", file.display());
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|_| bad())?;
        let path = |value: &serde_json::Value| value.as_str().map(PathBuf::from).ok_or_else(bad);
        Ok(Some(Self {
            name: name.to_owned(),
            nodes: value["nodes"].as_u64().and_then(|n| u8::try_from(n).ok()).ok_or_else(bad)?,
            small: value["small"].as_bool().ok_or_else(bad)?,
            cache: path(&value["cache"])?,
            programs: value["programs"].as_array().ok_or_else(bad)?.iter().map(path).collect::<Result<_, _>>()?,
            image: path(&value["image"])?,
        }))
    }

    /// Where a lab that is wholly up says so.
    pub(super) fn complete(name: &str) -> PathBuf {
        Self::folder(name).join("complete")
    }
}

/// The folder of manifests: `lab/` beside this package.
pub(super) fn manifests() -> PathBuf {
    // Cargo sets it when it runs this; the folder may have moved since this was built.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.filter(|p| p.ends_with("xtask")).unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    package.parent().unwrap_or(&package).join("lab")
}

/// The names of the labs that have a folder on this machine.
pub(super) fn names() -> Vec<String> {
    let parent = Lab::folder("x").parent().map(Path::to_owned).unwrap_or_default();
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().to_str()?.strip_prefix("pod-lab-").map(str::to_owned));
    names.filter(|name| Lab::check_name(name).is_ok()).collect()
}

/// The folder of what all labs share.
pub(super) fn cache() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("POD_LAB_CACHE") {
        return Ok(folder.into());
    }
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let folder = caches.or_else(home).ok_or("neither HOME nor XDG_CACHE_HOME is set")?;
    Ok(folder.join("pod-lab"))
}

/// Writes a file, and the folder it is in.
pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// Makes a folder, and those above it.
pub(super) fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_fit_are_refused() {
        assert_eq!(Lab::check_name("main2").as_deref(), Ok("main2"));
        for bad in ["", "a/b", "..", "A", "a b", "abcdefghijklmnopqrstu"] {
            assert!(Lab::check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_longest_names_fit() {
        // linux/if.h: IFNAMSIZ is 16, with the zero
        for parent in PARENTS {
            assert!(format!("{}-{parent}", Node(MOST_NODES).name()).len() < 16);
        }
        let lab = Lab {
            name: "abcdefghijklmnopqrst".into(),
            nodes: MOST_NODES,
            small: false,
            cache: "/c".into(),
            programs: Vec::new(),
            image: "/i".into(),
        };
        // containerd appends .ttrpc to the name of its socket
        let socket = lab.on_node(Node(MOST_NODES), "/run/containerd/containerd.sock.ttrpc");
        assert!(socket.as_os_str().len() < 108, "{}", socket.display());
    }

    #[test]
    fn every_node_has_addresses_of_its_own() {
        assert_eq!(Node(2).address().to_string(), "10.99.0.12");
        assert_eq!(Node(2).pods(), "10.244.2.0/24");
        assert_ne!(Node(1).address(), CONTROL);
    }
}

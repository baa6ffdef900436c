//! What this kernel can do for networks, found by trying.

use crate::link;
use crate::netlink::Netlink;
use pod_core::{Capabilities, Capability, Error, ErrorKind, IoResultExt, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::OnceLock;

/// What this kernel can do for networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KernelFeatures {
    /// Virtual Ethernet pairs (`CONFIG_VETH`).
    pub veth: bool,
    /// Bridges (`CONFIG_BRIDGE`).
    pub bridge: bool,
    /// Bridges that tell VLANs apart (`CONFIG_BRIDGE_VLAN_FILTERING`).
    pub vlan_filtering: bool,
    /// Tagged sub-interfaces (`CONFIG_VLAN_8021Q`).
    pub vlan_8021q: bool,
    /// Bridge ports that reach no other such port (Linux 4.18).
    pub port_isolation: bool,
    /// IPv6 (`CONFIG_IPV6`, not turned off).
    pub ipv6: bool,
}

/// What was found, and what it holds for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    key: String,
    features: KernelFeatures,
}

/// What the features are a function of: this boot, and the modules that could be loaded.
fn key() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let boot = std::fs::read_to_string(path).doing(|| format!("read {path}"))?;
    let release = rustix::system::uname();
    let index = format!("/lib/modules/{}/modules.dep", release.release().to_string_lossy());
    // installing modules writes their index anew; a kernel without modules has none
    let modules = rustix::fs::stat(&*index).map_or(0, |s| s.st_mtime);
    let loaded = Path::new("/sys/module/8021q").exists();
    Ok(format!("{} {modules} {loaded}", boot.trim()))
}

impl KernelFeatures {
    /// What this kernel can do: from this process's memory, else from the note in `run_dir` if nothing
    /// has changed since, else by trying in a namespace made for it.
    pub(crate) fn detect(run_dir: &Path) -> Result<Self> {
        static KNOWN: OnceLock<KernelFeatures> = OnceLock::new();
        if let Some(known) = KNOWN.get() {
            return Ok(known.clone());
        }
        let path = run_dir.join("kernel.json");
        let key = key()?;
        // a note that is missing, of another boot or of another version is made anew
        let noted = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        let features = match noted.filter(|n| n.key == key) {
            Some(note) => note.features,
            None => {
                let note = Note { key, features: Self::try_out()? };
                if let Err(error) = note.write(run_dir, &path) {
                    // it only saves the next process some milliseconds
                    tracing::debug!(%error, "the kernel's features were not noted");
                }
                note.features
            }
        };
        Ok(KNOWN.get_or_init(|| features).clone())
    }

    /// Tries everything in a namespace that ends with the attempt.
    fn try_out() -> Result<Self> {
        let attempt = std::thread::Builder::new()
            .name("pod-net-kernel".into())
            .spawn(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).map_err(|e| {
                    let e = Error::io("try what the kernel can do for networks", e.into());
                    if e.kind() == ErrorKind::PermissionDenied {
                        e.with_hint("run as root: networks need CAP_SYS_ADMIN and CAP_NET_ADMIN")
                    } else {
                        e
                    }
                })?;
                Self::try_here()
            })
            .doing(|| "start a thread")?;
        attempt.join().unwrap_or_else(|_| Err(Error::unexpected("trying the kernel's features panicked")))
    }

    fn try_here() -> Result<Self> {
        let netlink = Netlink::open()?;
        let ok = |request, what: &str| match netlink.request(request)? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.is_unsupported() => Ok(false),
            Err(refusal) => Err(refusal.into_error(format!("try whether the kernel has {what}"))),
        };
        let here = crate::netns::Netns::current()?;
        let bridge = ok(link::bridge("b0", false), "bridges")?;
        let master = netlink.link("b0")?.map_or(0, |b| b.index);
        // Asked of a bridge that is there: where it can't, the kernel takes tens of milliseconds to undo one.
        let vlan_filtering = bridge && ok(link::tell_vlans_apart(master), "VLAN-aware bridges")?;
        let mac = pod_core::MacAddr::derived(b"kernel");
        let peer = link::Peer { name: "v1", netns: here.fd(), mac };
        let veth = ok(link::veth("v0", master, 1500, true, &peer), "veth pairs")?;
        let port = netlink.link("v0")?.map_or(0, |p| p.index);
        let port_isolation = bridge && veth && ok(link::isolate(port, true), "port isolation")? && {
            netlink.link("v0")?.and_then(|p| p.isolated) == Some(true)
        };
        let lower = netlink.link("v1")?.map_or(0, |p| p.index);
        let vlan_8021q = veth && ok(link::vlan("v1.2", lower, 2, None, None), "802.1Q sub-interfaces")?;
        let ipv6 = Path::new("/proc/sys/net/ipv6/conf/all").exists();
        Ok(Self { veth, bridge, vlan_filtering, vlan_8021q, port_isolation, ipv6 })
    }

    /// What a backend on this kernel can do with networks.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let mut found = Capabilities::none();
        if !(self.veth && self.bridge) {
            return found;
        }
        for c in [
            Capability::Networks,
            Capability::VlanAccess,
            Capability::FixedIp,
            Capability::FixedMac,
            Capability::Mtu,
            Capability::Routes,
            Capability::OverlappingSubnets,
            Capability::HotAttach,
            Capability::Plan,
            Capability::Probe,
            Capability::Verify,
        ] {
            found = found.with(c);
        }
        for (has, c) in [
            (self.vlan_filtering, Capability::VlanTrunk),
            (self.vlan_8021q, Capability::Uplink),
            (self.ipv6, Capability::Ipv6),
            (self.port_isolation, Capability::Isolate),
        ] {
            if has {
                found = found.with(c);
            }
        }
        found
    }
}

impl Note {
    fn write(&self, run_dir: &Path, path: &Path) -> std::io::Result<()> {
        // where nothing is kept yet, asking leaves nothing behind either
        if !run_dir.is_dir() {
            return Ok(());
        }
        let temporary = run_dir.join(format!(".kernel.json.{}", crate::store::unique()));
        std::fs::write(&temporary, serde_json::to_vec(self)?)?;
        std::fs::rename(&temporary, path)
    }
}

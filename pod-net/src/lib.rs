//! One Linux host's networking, over rtnetlink: networks, attachments, isolation, probes; planned,
//! applied, read back, rolled back.
//!
//! A [`HostNet`] is one instance's networks on this host. They live in a network namespace of their own,
//! made on demand and mounted at `RUN_DIR/net/ns`: a bridge for each network, or one for all VLANs of an
//! uplink where the kernel has VLAN-aware bridges. The host's firewall has no say there. A workload's
//! interface is a veth pair whose far end is a port of the bridge; an uplink is a tagged sub-interface of
//! the host's own interface, moved in. Nothing of it is left when the last network is removed.
//!
//! What was asked for is recorded beneath `STATE_DIR/net` before it is made, and forgotten after it is
//! undone, so a call that was broken off, or a reboot, is made good by the next call. Any number of
//! processes may work on one instance at once.
//!
//! Needs root: `CAP_SYS_ADMIN`, `CAP_NET_ADMIN` and, for probes, `CAP_NET_RAW`. The calls block on
//! threads of their own, never on the runtime's, and no thread of the runtime ever changes its namespace.
//!
//! ```no_run
//! use pod_core::{AttachmentSpec, NetworkName, NetworkSpec, ProbeRequest, ProbeTarget, VlanId, WorkloadName};
//! use pod_net::{HostNet, HostNetConfig, Sandbox, netns};
//!
//! # async fn example() -> pod_core::Result<()> {
//! let host = HostNet::open(HostNetConfig {
//!     state_dir: "/var/lib/example".into(),
//!     run_dir: "/run/example".into(),
//!     instance: "example".into(),
//! })
//! .await?;
//! let red = NetworkName::new("red")?;
//! let subnet = "10.1.0.0/24".parse().expect("a subnet");
//! host.create_network(&NetworkSpec::new(red.clone()).with_vlan(VlanId::try_from(100)?).with_subnet(subnet)).await?;
//!
//! let mut targets = Vec::new();
//! let mut sandboxes = Vec::new();
//! for name in ["a", "b"] {
//!     let sandbox = Sandbox::new(WorkloadName::new(name)?, format!("/run/example/{name}"));
//!     netns::create(&sandbox.netns)?;
//!     let attachment = host.attach(&sandbox, &AttachmentSpec::new(red.clone())).await?;
//!     targets.extend(attachment.ips.iter().map(|ip| ProbeTarget::new(ip.addr())));
//!     sandboxes.push(sandbox);
//! }
//! let request = ProbeRequest::new(sandboxes[0].workload.clone(), targets);
//! for outcome in host.probe(&sandboxes[0], &request).await? {
//!     println!("{outcome:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod address;
mod allocate;
mod announce;
mod apply;
mod attach;
mod bridge_vlan;
mod check;
mod compare;
mod errors;
mod host;
mod icmp;
mod isolate;
mod kernel;
mod layout;
mod link;
mod lock;
mod neighbour;
mod netlink;
pub mod netns;
mod network;
mod plan;
mod probe;
mod running;
mod store;
mod sysctl;
mod task;
mod uplink;
mod verify;

pub use host::{HostNet, HostNetConfig, Sandbox};
pub use kernel::KernelFeatures;

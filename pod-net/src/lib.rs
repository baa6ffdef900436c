//! One Linux host's networking, over rtnetlink.
mod address;
mod attach;
mod check;
mod errors;
mod host;
mod icmp;
mod kernel;
mod link;
mod lock;
mod neighbour;
mod netlink;
pub mod netns;
mod network;
mod probe;
mod store;
mod sysctl;
mod task;

pub use host::{HostNet, HostNetConfig, Sandbox};
pub use kernel::KernelFeatures;

//! NetworkAttachmentDefinitions: written, read, checked, put right, applied, compared and verified.
//!
//! A definition is a CNI configuration in a string. The API server takes any string, the plugins drop
//! every key they don't know, and so a definition that asks for a VLAN may give none. Here a definition
//! is made from typed parts ([`Definition`]), and one that comes from elsewhere is held against what the
//! plugins really read ([`check()`]) and put right ([`fix()`]).

mod addresses;
mod api;
mod check;
mod definition;
mod fix;
mod keys;
mod manifest;
pub(crate) mod network;
mod object;
mod parse;
mod selection;
mod status;
mod verify;

pub use api::{ApplyOutcome, Definitions, Difference, Listed};
pub(crate) use api::{MANAGER, compare, users};
pub use check::{Checked, Fault, VERSIONS, check};
pub use definition::{Allocator, CNI_VERSION, Definition, FixedAddress, IpvlanMode, Kind, MacvlanMode};
pub use fix::{Fixed, fix};
pub use manifest::{Manifests, yaml};
pub use network::Plugin;
pub use object::{
    GROUP, NETWORK_STATUS, NETWORKS, NETWORKS_STATUS, NetworkAttachmentDefinition, NetworkAttachmentDefinitionSpec,
    PLURAL, RESOURCE_NAME,
};
pub use parse::parse;
pub use selection::{Selection, selections};
pub use status::{NetworkStatus, network_status};
pub use verify::{NadVerified, NodeSeen};

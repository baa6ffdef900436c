//! Tags: VLAN-aware bridges, uplinks and trunks, on kernels that have them.

use crate::Case;

pub(crate) const CASES: &[Case] = &[];

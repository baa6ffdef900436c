//! Copy over exec: by the image's own tools, or by a helper's beside it, as [`pod_shell::copy`] does it.

mod container;
mod helper;

pub(crate) use container::Container;
pub(crate) use helper::Helper;
